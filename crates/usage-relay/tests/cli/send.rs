//! `usage-relay send`, run as a user runs it, against a queue that fails on demand.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::queue_stub::{Call, QueueStub, Say, Script};
use serde_json::Value;

fn command(stub: &QueueStub) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
    command.env_clear().env("AWS_ENDPOINT_URL", stub.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "eu-west-1");
    command.arg("send").arg("--queue-url").arg(stub.queue_url());
    command
}

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn summary(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The measurements on the queue, in the order in which each message holds them.
fn measurements(bodies: &[String]) -> Vec<Value> {
    let read = bodies.iter().map(|body| serde_json::from_str::<Value>(body).unwrap());
    read.flat_map(|body| body.get("measurements").map_or_else(|| vec![body.clone()], |all| all.as_array().unwrap().clone()))
        .collect()
}

fn uids(bodies: &[String]) -> Vec<String> {
    measurements(bodies).iter().map(|one| one["uid"].as_str().unwrap().to_owned()).collect()
}

fn write(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn ndjson(count: usize) -> String {
    (0..count).map(|index| format!("{{\"uid\":\"u{index:05}\",\"measure\":{{\"n\": {index}.50}}}}\n")).collect()
}

#[test]
fn every_measurement_reaches_the_queue_once_as_written_and_in_order_within_its_message() {
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    let output = run(command(&stub).arg(write(&folder, "in", ndjson(2_345))).arg("--json"));
    assert!(output.status.success(), "{output:?}");
    let said = summary(&output);
    assert_eq!((&said["measurements"], &said["messages"], &said["complete"]), (&2_345.into(), &24.into(), &true.into()));
    let seen = stub.seen();
    let wanted: BTreeSet<String> = ndjson(2_345).lines().map(str::to_owned).collect();
    let sent = |body: &String| -> Vec<String> {
        let inner = body.strip_prefix("{\"measurements\":[").unwrap().strip_suffix("]}").unwrap();
        inner.replace("},{\"uid", "}\n{\"uid").lines().map(str::to_owned).collect()
    };
    let found: Vec<Vec<String>> = seen.taken.iter().map(sent).collect();
    assert!(found.iter().all(|message| message.is_sorted()), "order within a message is the input's");
    assert_eq!(found.concat().len(), 2_345);
    assert_eq!(found.concat().into_iter().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn entries_that_fail_are_sent_again_and_none_is_lost_or_doubled() {
    let entry = |body: &str, sights: usize| match (body.len() % 3, sights) {
        (0, 0) => Say::Again,
        (1, 0) => Say::Nothing,
        _ => Say::Taken,
    };
    let call = |number: usize| if number == 1 { Call::Fail(503, "ServiceUnavailable") } else { Call::Answer };
    let stub = QueueStub::start(Script { call: Box::new(call), entry: Box::new(entry) });
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..95).map(|index| format!("{{\"uid\":\"u{index}\",\"x\":\"{}\"}}\n", "x".repeat(index % 7))).collect();
    let output = run(command(&stub).arg(write(&folder, "in", lines)).args(["--per-message", "1", "--json"]));
    assert!(output.status.success(), "{output:?}");
    let seen = stub.seen();
    let found = uids(&seen.taken);
    assert_eq!((found.len(), found.iter().collect::<BTreeSet<_>>().len()), (95, 95));
    assert_eq!(seen.broken, Vec::<String>::new());
    let said = summary(&output);
    assert!(said["retried"].as_u64().unwrap() >= 10);
    assert!(said["seconds"].as_f64().unwrap() >= 0.1, "it waits before it sends again: {said}");
}

#[test]
fn no_batch_breaks_a_limit_of_the_queue_when_measurements_are_large() {
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    let sizes = [900_000, 10, 300_000, 300_000, 500_000, 10, 1_000_000, 400_000, 200_000];
    let lines: String =
        sizes.iter().enumerate().map(|(i, size)| format!("{{\"uid\":\"{i}\",\"x\":\"{}\"}}\n", "x".repeat(*size))).collect();
    let output = run(command(&stub).arg(write(&folder, "in", lines)).args(["--per-message", "3"]));
    assert!(output.status.success(), "{output:?}");
    let seen = stub.seen();
    assert_eq!(uids(&seen.taken).len(), sizes.len());
    assert_eq!(seen.broken, Vec::<String>::new());
    assert!(seen.calls.iter().all(|(entries, bytes)| *entries <= 10 && *bytes <= 1_048_576));
}

#[test]
fn a_message_the_queue_refuses_ends_the_run_and_is_named_by_its_line() {
    let entry = |body: &str, _: usize| if body.contains("u00001") { Say::Refused } else { Say::Taken };
    let stub = QueueStub::start(Script { call: Box::new(|_| Call::Answer), entry: Box::new(entry) });
    let folder = tempfile::tempdir().unwrap();
    let output = run(command(&stub).arg(write(&folder, "in", ndjson(3))).args(["--per-message", "1", "--json"]));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("in line 2: InvalidMessageContents (2 measurements sent before"), "{said}");
    assert!(!said.contains("u00001"), "a uid never reaches standard error: {said}");
    assert_eq!((&summary(&output)["complete"], stub.seen().taken.len()), (&false.into(), 2));
}

#[test]
fn a_queue_that_denies_access_is_not_asked_again() {
    let call = |_| Call::Fail(403, "AccessDenied");
    let stub = QueueStub::start(Script { call: Box::new(call), entry: Box::new(|_, _| Say::Taken) });
    let folder = tempfile::tempdir().unwrap();
    let output = run(command(&stub).arg(write(&folder, "in", ndjson(3))));
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("(nothing was sent)"), "{output:?}");
    assert_eq!(stub.seen().calls.len(), 1);
}

#[test]
fn a_file_saved_with_minted_uids_sends_the_same_uids_every_time() {
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    let input = write(&folder, "in.csv", "meter,account,ts,measure.calls\nm,a,t,1\nm,a,t,2\nm,b,t,3\n");
    let saved = folder.path().join("saved");
    let refused = run(command(&stub).arg(&input));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("line 2: expected a uid from the producer"), "{refused:?}");
    assert_eq!(stub.seen().calls.len(), 0);

    assert!(run(command(&stub).arg(&input).arg("--save").arg(&saved)).status.success());
    let first = uids(&std::mem::take(&mut stub.seen().taken));
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 3);
    assert!(run(command(&stub).arg(&saved)).status.success());
    assert_eq!(uids(&stub.seen().taken), first);
    let again = run(command(&stub).arg(&input).arg("--save").arg(&saved));
    assert_eq!(again.status.code(), Some(1), "the only copy of the uids is not overwritten");
    assert_eq!(uids(&stub.seen().taken), first);
}

#[test]
fn a_run_killed_while_it_saves_leaves_nothing_that_looks_whole_and_sent_nothing() {
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("saved");
    let mut child = command(&stub).arg("-").arg("--save").arg(&saved).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"{\"meter\":\"m\"}\n{\"meter\":\"m\"}\n").unwrap();
    while !folder.path().join("saved.partial").exists() {
        assert!(child.try_wait().unwrap().is_none() && !saved.exists(), "it waits for the rest of its input");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!saved.exists());
    assert_eq!(stub.seen().calls.len(), 0);
}

#[test]
fn a_bad_line_stops_the_run_and_says_how_much_was_sent() {
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    let lines = format!("{}not json\n{}", ndjson(25), ndjson(25));
    let output = run(command(&stub).arg(write(&folder, "in", lines)).args(["--per-message", "1"]));
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("in line 26: expected one JSON object (20 measurements sent before; running it again is safe"),
        "{said}"
    );
    assert!(!said.contains("not json"), "{said}");
}

#[test]
fn gzip_and_zstd_are_known_by_their_content_from_files_and_from_a_pipe() {
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(ndjson(3).as_bytes()).unwrap();
    let gzip = packed.finish().unwrap();
    let two_members = [gzip.clone(), gzip].concat();
    assert!(run(command(&stub).arg(write(&folder, "plain.txt", two_members))).status.success());
    assert_eq!(uids(&std::mem::take(&mut stub.seen().taken)).len(), 6, "both members of a gzip file are read");

    let zstd = zstd::stream::encode_all(&b"[{\"uid\":\"a\"},\n{\"uid\":\"b\"}]"[..], 0).unwrap();
    let mut child = command(&stub).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&zstd).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(text(&output.stdout).starts_with("sent 2 measurements in 1 message, "));
    assert_eq!(uids(&std::mem::take(&mut stub.seen().taken)), ["a", "b"]);

    let broken = &zstd[..zstd.len() - 4];
    let output = run(command(&stub).arg(write(&folder, "broken", broken)));
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn parquet_is_sent_from_a_file_and_no_other_way() {
    let parquet = include_bytes!("../../../files/src/parquet/by_pyarrow.parquet");
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    let (input, saved) = (write(&folder, "usage.parquet", parquet), folder.path().join("saved"));
    let refused = run(command(&stub).arg(&input));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("usage.parquet line 3: expected a uid from the producer"), "{refused:?}");
    assert!(run(command(&stub).arg(&input).arg("--save").arg(&saved)).status.success());
    let sent = measurements(&stub.seen().taken);
    assert_eq!(sent.iter().take(2).map(|one| one["uid"].as_str().unwrap()).collect::<Vec<_>>(), ["u1", "u2"]);
    assert_eq!((&sent[2]["measure"]["calls"], &sent[2]["ts"]), (&u64::MAX.into(), &"2026-05-31T12:00:00.123456Z".into()));

    let mut child = command(&stub).arg("-").stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(parquet).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("and only from a file: save it, and name that file"), "{said}");
}

#[test]
fn a_demo_run_sent_again_has_the_same_uids_and_a_new_run_has_others() {
    let stub = QueueStub::start(Script::all_well());
    let send = |extra: &[&str]| {
        let output = run(command(&stub).args(["--demo", "30", "--json"]).args(extra));
        assert!(output.status.success(), "{output:?}");
        (summary(&output)["demo_run"].as_str().unwrap().to_owned(), uids(&std::mem::take(&mut stub.seen().taken)))
    };
    let (name, first) = send(&[]);
    let (_, same) = send(&["--demo-run", &name]);
    let (_, other) = send(&["--demo-run", "2026-01-01T00:00:00Z"]);
    assert_eq!(first, same);
    assert!(first.iter().all(|uid| !other.contains(uid)));
}

#[test]
fn an_empty_input_sends_nothing_and_is_no_error() {
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    for content in ["", "\n\n", "[]", "meter,account,ts\n"] {
        let output = run(command(&stub).arg(write(&folder, "in", content)));
        assert!(output.status.success(), "{output:?}");
        assert!(text(&output.stdout).starts_with("sent 0 measurements in 0 messages"));
    }
    assert_eq!(stub.seen().calls.len(), 0);
}

#[test]
fn a_file_that_is_not_there_stops_everything_before_the_first_is_sent() {
    let stub = QueueStub::start(Script::all_well());
    let folder = tempfile::tempdir().unwrap();
    for missing in [Path::new("/nowhere/usage.ndjson"), folder.path()] {
        let output = run(command(&stub).arg(write(&folder, "in", ndjson(1))).arg(missing));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).starts_with("usage-relay: cannot read "));
    }
    assert_eq!(stub.seen().calls.len(), 0);
}
