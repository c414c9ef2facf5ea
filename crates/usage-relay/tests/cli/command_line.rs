//! The command line itself: help that answers, exit codes that mean something.

use std::process::{Command, Output, Stdio};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
    command.env_clear().args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn every_command_has_a_help_text_with_an_example() {
    let quarantine = ["list", "show", "export", "import", "drop"].map(|name| ["quarantine", name, "--help"]);
    let others = [
        &["--help"][..],
        &["check", "--help"],
        &["send", "--help"],
        &["sandbox", "--help"],
        &["demo", "--help"],
        &["explain", "--help"],
    ];
    let more = [&["replay", "--help"][..], &["reconcile", "--help"], &["quarantine", "--help"]];
    for command in others.into_iter().chain(more).chain(quarantine.iter().map(|words| &words[..])) {
        let output = run(command);
        assert_eq!(output.status.code(), Some(0), "{command:?}");
        assert!(text(&output.stdout).contains("Example"), "{command:?}");
        assert!(text(&output.stdout).contains("usage-relay"), "{command:?}");
    }
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}

#[test]
fn a_wrong_command_line_is_64_and_says_what_was_expected() {
    let queue = ["--queue-url", "http://127.0.0.1:9/0/q"];
    let reconcile = ["reconcile", "--store-url", "memory:", "--org-id", "org-1"];
    let fifo = ["--queue-url", "http://127.0.0.1:9/0/q.fifo"];
    for (arguments, expected) in [
        (vec![], "Usage:"),
        (vec!["push"], "unrecognized subcommand"),
        (vec!["check"], "<FILE>"),
        (vec!["check", "file", "--strict"], "--store-url <URL>"),
        (vec!["check", "file", "--missing-uid", "mint"], "possible values: refuse, content"),
        (vec!["check", "file", "--first-sent", "yesterday"], "expected a time such as"),
        (vec!["check", "/dev/null", "--store-url", "bucket"], "expected a store URL"),
        (vec!["send", "file"], "--queue-url <URL>"),
        ([&["send"][..], &queue].concat(), "<FILE>"),
        ([&["send", "file", "--demo", "3"][..], &queue].concat(), "cannot be used with"),
        ([&["send", "--demo", "0"][..], &queue].concat(), "0 is not in 1.."),
        ([&["send", "--demo", "1", "--demo-run", "x"][..], &queue].concat(), "expected the time that names a run"),
        ([&["send", "file"][..], &fifo].concat(), "expected a standard queue"),
        (vec!["send", "file", "--queue-url", "usage"], "expected a queue URL"),
        (vec!["explain", "u"], "--store-url <URL>"),
        (vec!["explain", "--store-url", "memory:"], "<UID>..."),
        (vec!["explain", "u", "--store-url", "bucket"], "expected a store URL"),
        (vec!["explain", "u", "--store-url", "memory:", "--since", "yesterday"], "expected a time such as"),
        (vec!["quarantine"], "Usage:"),
        (vec!["quarantine", "drop", "u", "--because", "x", "--store-url", "memory:"], "expected the id of a quarantine entry"),
        (vec!["replay", "--uid", "u", "--store-url", "memory:"], "--queue-url <URL>"),
        (vec!["reconcile", "--store-url", "memory:"], "--org-id <ID>"),
        ([&reconcile[..], &["--since", "0m"]].concat(), "expected --since to be before today"),
        ([&reconcile[..], &["--day", "7d"]].concat(), "expected a date such as"),
        ([&reconcile[..], &["--day", "2026-11-20", "--since", "7d"]].concat(), "cannot be used with"),
        ([&["replay", "--store-url", "memory:"][..], &queue].concat(), "expected a filter such as"),
        ([&["replay", "--new-uid", "--meter", "m", "--store-url", "memory:"][..], &queue].concat(), "expected --uid or --qid"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(text(&output.stderr).contains(expected), "{arguments:?}: {}", text(&output.stderr));
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
    let mut child = command.args(["send", "--help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()));
}
