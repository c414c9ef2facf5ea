//! `usage-relay cost`, run as a user runs it: without network, environment or files.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn cost(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
    command.env_clear().current_dir("/").arg("cost").args(words).stdin(Stdio::null()).output().unwrap()
}

fn out(output: &Output) -> String {
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn larger_messages_cost_less_and_more_usage_costs_more() {
    let month = |words: &[&str]| -> f64 {
        let told: Value = serde_json::from_str(&out(&cost(&[words, &["--json"]].concat()))).unwrap();
        told["total"]["dollars_a_month"].as_f64().unwrap()
    };
    let thousand = month(&["--per-second", "1000"]);
    assert!(month(&["--per-second", "1000", "--per-message", "100"]) < thousand / 2.0);
    assert!(month(&["--per-second", "2000"]) > thousand);
    assert!(month(&["--per-second", "1000", "--memory", "10240"]) > thousand);
    assert!(month(&["--per-second", "1000", "--architecture", "x86_64"]) > thousand);
    assert!(month(&["--per-second", "1000", "--bytes", "5000"]) > thousand);
}

#[test]
fn the_text_says_what_it_costs_of_what_and_what_that_assumes() {
    let text = out(&cost(&["--per-second", "1000", "--per-message", "10"]));
    for words in [
        "1,000 measurements a second, 10 in a message",
        "SQS, receives",
        "all of it",
        "This assumes:",
        "free tiers not taken off",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn the_table_is_markdown_of_eight_loads() {
    let text = out(&cost(&["--table"]));
    assert_eq!(text.lines().filter(|line| line.starts_with("| ")).count(), 9, "{text}");
}

#[test]
fn what_cannot_be_is_64_and_says_what_was_expected() {
    for (words, expected) in [
        (&[][..], "--per-second <N>"),
        (&["--per-second", "0"], "expected a number from 0.001 to 500000"),
        (&["--per-second", "nan"], "expected a number from 0.001 to 500000"),
        (&["--per-second", "1", "--per-message", "0"], "expected a number from 1 to 10000"),
        (&["--per-second", "1", "--bytes", "39"], "expected a number from 40 to 500000"),
        (&["--per-second", "1", "--memory", "127"], "expected a number from 128 to 10240"),
        (&["--per-second", "1", "--per-message", "10000"], "expected a message of at most 1048576 bytes"),
        (&["--table", "--json"], "cannot be used with"),
        (&["--per-second", "1", "--architecture", "mips"], "possible values: arm64, x86_64"),
    ] {
        let output = cost(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(64), 0), "{words:?}");
        assert!(said.contains(expected), "{words:?}: {said}");
    }
}
