//! A world that does not answer, or not as it should: each command ends with one clear line and the right exit code.
//!
//! The tables are complete: a command that reads a file, asks AWS or asks m3ter stands in them, or fails them.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;

use crate::every_command::{Ends, World, leaves, line, said};
use crate::store_given::measurement;

/// Commands that ask nobody.
const OFFLINE: [&str; 6] = ["check", "cost", "sandbox", "completions", "man", "console"];
/// Commands that ask m3ter alone: nothing of AWS is in their way.
const WITHOUT_AWS: [&str; 4] = ["jobs list", "jobs show", "jobs wait", "jobs original"];
/// A port that nobody listens on: a service of the first days of the internet.
const CLOSED: &str = "http://127.0.0.1:1";

/// What one line on standard error says; it is all there is.
fn one_line(typed: &str, output: &Output) -> String {
    let (_, errors) = said(output);
    assert_eq!(errors.lines().count(), 1, "expected `{typed}` to say one line, found {errors:?}");
    errors
        .strip_prefix("usage-relay: ")
        .unwrap_or_else(|| panic!("expected `{typed}` to name the program: {errors:?}"))
        .to_owned()
}

/// The commands that ask somebody, each with what it is asked to do.
fn online() -> Vec<String> {
    let known: BTreeSet<String> = leaves().into_iter().map(|(typed, _)| typed).collect();
    assert!(OFFLINE.iter().all(|typed| known.contains(*typed)), "expected OFFLINE to hold commands that there are: {known:?}");
    known.into_iter().filter(|typed| !OFFLINE.contains(&typed.as_str())).collect()
}

/// Those of them that ask AWS. The demo needs a sandbox before it does.
fn asking_aws() -> Vec<String> {
    let asks = |typed: &String| line(typed).1 != Ends::Early && !WITHOUT_AWS.contains(&typed.as_str());
    online().into_iter().filter(asks).collect()
}

#[test]
fn a_closed_port_is_told_in_one_line() {
    let world = World::new();
    // All at once: some try again for a while.
    let asked: Vec<_> = online()
        .into_iter()
        .map(|typed| {
            let mut command = world.command(&typed);
            command.env("AWS_ENDPOINT_URL", CLOSED).env("M3TER_API_URL", CLOSED).env("STORE_URL", "s3://bucket/relay");
            (typed, command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
        })
        .collect();
    let outputs = asked.into_iter().map(|(typed, child)| (typed, child.wait_with_output().unwrap()));
    for (typed, output) in outputs {
        let told = one_line(&typed, &output);
        if typed == "doctor" {
            // Its result is what does not answer.
            assert_eq!((output.status.code(), told.as_str()), (Some(1), "1 thing to mend\n"));
            assert!(said(&output).0.contains("no connection to AWS"), "{output:?}");
            continue;
        }
        assert_eq!(output.status.code(), Some(2), "`{typed}`: {told}");
        let is_clear = ["there is no connection: look at", "look at --api-url and the network", "cannot get a token at"];
        assert!(is_clear.iter().any(|words| told.contains(words)), "expected `{typed}` to say what to look at: {told}");
    }
}

/// What S3 answers to whoever asks in another region than the bucket's, and SQS to a signature for another one.
fn another_region() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming() {
            thread::spawn(move || {
                let mut connection = connection.unwrap();
                let mut reader = BufReader::new(connection.try_clone().unwrap());
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut text = String::new();
                    if reader.read_line(&mut text).unwrap_or(0) <= 2 {
                        break;
                    }
                    head.push_str(&text.to_lowercase());
                    if let Some(bytes) = text.to_lowercase().strip_prefix("content-length:") {
                        length = bytes.trim().parse().unwrap();
                    }
                }
                reader.take(length).read_to_end(&mut Vec::new()).unwrap();
                let (status, body) = match head.contains("x-amz-target") || head.contains("/functions/") {
                    true => {
                        let body = r#"{"__type":"InvalidSecurity","message":"Credential should be scoped to a valid region."}"#;
                        ("403 Forbidden\r\ncontent-type: application/x-amz-json-1.0", body)
                    }
                    false => {
                        ("301 Moved Permanently", "<Error><Code>PermanentRedirect</Code><Message>Elsewhere.</Message></Error>")
                    }
                };
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
                // Whoever asked may have gone.
                drop(connection.write_all(format!("{head}{body}").as_bytes()));
            });
        }
    });
    url
}

#[test]
fn another_region_is_told_in_one_line() {
    let (world, url) = (World::new(), another_region());
    for typed in asking_aws() {
        let mut command = world.command(&typed);
        command.env("AWS_ENDPOINT_URL", &url).env("STORE_URL", "s3://bucket/relay");
        let output = command.output().unwrap();
        let told = one_line(&typed, &output);
        let (code, text) = if typed == "doctor" { (1, said(&output).0) } else { (2, told) };
        assert_eq!(output.status.code(), Some(code), "`{typed}`: {text}");
        assert!(text.contains("region"), "expected `{typed}` to say that the region is another: {text}");
    }
}

#[test]
fn without_credentials_for_aws_one_line_says_what_is_missing_and_not_where_it_was_looked_for() {
    let world = World::new();
    for typed in asking_aws() {
        let mut command = world.command(&typed);
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env("STORE_URL", "s3://bucket/relay");
        let output = command.output().unwrap();
        let told = one_line(&typed, &output);
        let (code, text) = if typed == "doctor" { (1, said(&output).0) } else { (2, told) };
        assert_eq!(output.status.code(), Some(code), "`{typed}`: {text}");
        let expected = "there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
        assert!(text.contains(expected), "expected `{typed}` to say what to do: {text}");
        for word in ["Attempted", "provider", "chain", "dispatch"] {
            assert!(!text.contains(word), "expected `{typed}` to leave the SDK's words out: {text}");
        }
    }
}

/// The commands that read or write a store, as they are called in these tests.
fn with_store() -> Vec<String> {
    fn below(tree: &clap::Command, above: &str) -> Vec<String> {
        let typed = |one: &clap::Command| format!("{above} {}", one.get_name()).trim().to_owned();
        let has_store =
            |one: &clap::Command| one.get_arguments().any(|argument| argument.get_env() == Some("STORE_URL".as_ref()));
        tree.get_subcommands()
            .flat_map(|one| {
                let own = has_store(one).then(|| typed(one));
                own.into_iter().chain(below(one, &typed(one))).collect::<Vec<_>>()
            })
            .collect()
    }
    below(&usage_relay::command(), "")
}

#[test]
fn a_store_in_a_folder_that_is_not_there_is_told_in_one_line_with_its_name() {
    let world = World::new();
    let file = world.given.file("no-folder", "");
    let under_it = file.join("below");
    let commands = with_store();
    assert!(commands.len() > 5, "{commands:?}");
    for typed in commands {
        for (path, expected) in [
            (Path::new("/nowhere/store"), "there is no folder /nowhere/store: look at the URL of the store\n".to_owned()),
            (&file, format!("expected a folder, and {} is none: look at the URL of the store\n", file.display())),
            (&under_it, format!("cannot look into the folder {}: Not a directory (os error 20)\n", under_it.display())),
        ] {
            let output = world.command(&typed).env("STORE_URL", format!("file://{}", path.display())).output().unwrap();
            assert_eq!(one_line(&typed, &output), expected, "`{typed}`");
            assert_eq!(output.status.code(), Some(2), "`{typed}`");
        }
    }
}

/// Arguments that name a file which must be there, and the words around them.
const FILES: [(&str, &str, &[&str]); 6] = [
    ("check", "file", &["check", "{}"]),
    ("send", "files", &["send", "{}", "--queue-url", "http://127.0.0.1:1/0/q"]),
    ("upload", "files", &["upload", "{}", "--store-url", "memory:", "--org-id", "org-1"]),
    ("quarantine import", "file", &["quarantine", "import", "{}", "--dry-run", "--store-url", "memory:"]),
    ("sandbox", "catalogue", &["sandbox", "--catalogue", "{}"]),
    ("sandbox", "faults", &["sandbox", "--faults", "{}"]),
];
/// Those that name one which is made.
const MADE: [(&str, &str); 6] = [
    ("send", "save"),
    ("quarantine export", "output"),
    ("jobs original", "output"),
    ("sandbox", "data"),
    ("man", "folder"),
    ("sandbox", "uploads"),
];

#[test]
fn every_argument_that_names_a_file_is_tried_with_one_that_is_not_there() {
    fn paths(tree: &clap::Command, above: &str) -> Vec<(String, String)> {
        let typed = |one: &clap::Command| format!("{above} {}", one.get_name()).trim().to_owned();
        let is_path = |argument: &&clap::Arg| {
            let path = std::any::TypeId::of::<std::path::PathBuf>();
            argument.get_value_parser().type_id() == path
        };
        tree.get_subcommands()
            .flat_map(|one| {
                let own = one.get_arguments().filter(is_path).map(|argument| (typed(one), argument.get_id().to_string()));
                own.chain(paths(one, &typed(one))).collect::<Vec<_>>()
            })
            .collect()
    }
    let found = paths(&usage_relay::command(), "");
    assert!(found.len() >= FILES.len(), "{found:?}");
    for (typed, name) in found {
        let is_known = FILES.iter().any(|(command, file, _)| (*command, *file) == (&typed, &name))
            || MADE.iter().any(|(command, file)| (*command, *file) == (&typed, &name));
        assert!(is_known, "expected {name} of `{typed}` to stand in FILES, or in MADE if it is made");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_in_one_line_with_its_name() {
    for (typed, _, words) in FILES {
        for (path, reason) in [("/nowhere/usage", "No such file"), ("/proc/self/mem/usage", "Not a directory")] {
            let words = words.iter().map(|word| word.replace("{}", path));
            let output = Command::new(env!("CARGO_BIN_EXE_usage-relay")).env_clear().args(words).output().unwrap();
            let told = one_line(typed, &output);
            assert_eq!(output.status.code(), Some(2), "`{typed}`: {told}");
            assert!(told.starts_with("cannot read") && told.contains(path) && told.contains(reason), "`{typed}`: {told}");
        }
    }
}

/// `words` on a disk where no file can grow: what a full disk does, without filling one.
fn without_room(world: &World, words: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.env_clear().env("STORE_URL", format!("file://{}", world.given.folder.path().display()));
    let limited = "trap '' XFSZ; ulimit -f 0; exec \"$@\"";
    command.args(["-c", limited, "bash", env!("CARGO_BIN_EXE_usage-relay")]).args(words);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_file_that_cannot_be_written_is_told_in_one_line_and_no_half_of_it_stays() {
    let world = World::new();
    let text = measurement("u-9");
    let file = world.given.file("in.ndjson", &format!("{text}\n"));
    let path = |name: &str| world.given.folder.path().join(name);
    let [saved, exported, csv, data] = ["saved", "exported.new", "exported.csv", "journal"].map(path);
    let word = |path: &Path| path.to_str().unwrap().to_owned();
    let since = ["--since", "2026-05-30"].map(str::to_owned);
    let cases: [(&str, Vec<String>, &Path); 4] = [
        (
            "send",
            ["send".into(), word(&file), "--save".into(), word(&saved), "--queue-url".into(), format!("{CLOSED}/0/q")].into(),
            &saved,
        ),
        (
            "export",
            [["quarantine".into(), "export".into(), "--output".into(), word(&exported)].to_vec(), since.to_vec()].concat(),
            &exported,
        ),
        (
            "export",
            [["quarantine".into(), "export".into(), "--output".into(), word(&csv)].to_vec(), since.to_vec()].concat(),
            &csv,
        ),
        ("sandbox", ["sandbox".into(), "--data".into(), word(&data)].into(), Path::new("/nowhere")),
    ];
    for (typed, words, made) in cases {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = without_room(&world, &words);
        let told = one_line(typed, &output);
        assert_eq!(output.status.code(), Some(2), "`{typed}`: {told}");
        assert!(told.contains("File too large"), "`{typed}`: {told}");
        assert!(!made.exists(), "`{typed}` left {}", made.display());
    }
    let pages = path("man1");
    let output = without_room(&world, &["man", pages.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(one_line("man", &output).starts_with(&format!("cannot write {}", pages.display())), "{output:?}");
}

#[test]
fn a_name_in_the_environment_that_is_misspelt_is_told_and_no_key_goes_to_an_address_that_nobody_named() {
    let run = |words: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
        let output = command.env_clear().envs(env.iter().copied()).args(words).output().unwrap();
        (output.status.code(), said(&output).1)
    };
    let (code, errors) = run(&["catalogue"], &[("STORE_ULR", "memory:")]);
    assert_eq!(code, Some(64));
    assert!(
        errors.ends_with("usage-relay: STORE_ULR is in the environment, where nothing reads it: did you mean STORE_URL?\n"),
        "{errors}"
    );
    let keys = [("M3TER_ACCESS_KEY_ID", "key"), ("M3TER_API_SECRET", "canary")];
    let base = [("STORE_URL", "memory:"), ("M3TER_ORG_ID", "org-1")];
    let (code, errors) = run(&["watch", "--once"], &[&base[..], &keys, &[("M3TER_API_ULR", CLOSED)]].concat());
    assert_eq!(code, Some(64));
    assert!(errors.contains("M3TER_API_ULR is in the environment") && errors.contains("M3TER_API_URL?"), "{errors}");
    let sdk = [("M3TER_API_KEY", "key"), ("M3TER_API_SECRET", "canary")];
    let (code, errors) = run(&["watch", "--once"], &[&base[..], &sdk].concat());
    assert_eq!(code, Some(64));
    assert!(errors.contains("did you mean M3TER_ACCESS_KEY_ID?") && !errors.contains("canary"), "{errors}");
}
