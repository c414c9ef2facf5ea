//! `usage-relay quarantine import`: a file is right as a whole, or nothing of it happens.

use relay_store::{EntryText, NewEntry};

use crate::queue_stub::{QueueStub, Script};
use crate::store_given::{AHEAD_MS, Given, entry, err, json, measurement, out, qid};

const BROKEN: &str = "api ";

/// Ten measurements with a meter that no meter has, never sent.
fn broken() -> Given {
    let given = Given::new();
    let uids: Vec<String> = (0..10).map(|index| format!("u-{index}")).collect();
    let texts: Vec<String> = uids.iter().map(|uid| measurement(uid).replace("api", BROKEN)).collect();
    let bad = |(uid, text)| NewEntry { reason: "MeterInvalid", stage: "guard", first_sent_at_ms: None, ..entry(uid, text) };
    given.quarantine(uids.iter().map(String::as_str).zip(texts.iter().map(String::as_str)).map(bad).collect());
    given
}

fn exported(given: &Given, format: &str) -> String {
    let output = given.run(&["quarantine", "export", "--format", format]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    out(&output)
}

#[test]
fn a_mended_export_goes_back_as_corrections_under_the_same_uids_and_once() {
    for format in ["ndjson", "csv"] {
        let given = broken();
        let file = given.file("mended", &exported(&given, format).replace(BROKEN, "api"));
        let path = file.display().to_string();
        let queue = QueueStub::start(Script::all_well());
        let told = json(&given.run_with(&queue, &["quarantine", "import", &path, "--json"]), 0);
        assert_eq!((&told["rows"], &told["sent"], &told["measurements"]), (&10.into(), &10.into(), &10.into()));
        let again = json(&given.run_with(&queue, &["quarantine", "import", &path, "--json"]), 0);
        assert_eq!((&again["sent"], &again["passed_over"]), (&0.into(), &10.into()));
        let seen = queue.seen();
        let mut taken: Vec<serde_json::Value> = seen.taken.iter().map(|body| serde_json::from_str(body).unwrap()).collect();
        taken.sort_by_key(|one| one["uid"].as_str().unwrap().to_owned());
        let expected: Vec<serde_json::Value> =
            (0..10).map(|index| serde_json::from_str(&measurement(&format!("u-{index}"))).unwrap()).collect();
        assert_eq!(taken, expected, "{format}");
        let place = seen.taken.iter().position(|body| body.contains("\"u-3\"")).unwrap();
        assert_eq!(seen.attributes[place], [("usage-relay-origin".to_owned(), format!("correction:{}", qid("u-3")))]);
        assert_eq!(given.marker(qid("u-3"), "replay-1")["action"], "import");
    }
}

#[test]
fn one_row_at_fault_stops_the_whole_file_and_every_fault_is_named_by_its_line() {
    let given = broken();
    let lines: Vec<String> = exported(&given, "ndjson").replace(BROKEN, "api").lines().map(str::to_owned).collect();
    let mut bad = lines.clone();
    bad[1] = bad[1].replace("api", BROKEN);
    bad[2] = bad[2].replace("\"uid\":\"u-", "\"uid\":\"other-");
    bad[3] = bad[3].replace("\"qid\"", "\"id\"");
    bad[4] = bad[5].clone();
    let path = given.file("bad", &bad.join("\n")).display().to_string();
    let queue = QueueStub::start(Script::all_well());
    let output = given.run_with(&queue, &["quarantine", "import", &path]);
    assert_eq!((output.status.code(), out(&output)), (Some(1), String::new()), "{output:?}");
    let said = err(&output);
    for expected in ["line 2: MeterInvalid", "line 3: expected the uid of the entry", "line 4: expected qid", "line 6: expected"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(said.contains("nothing was imported"), "{said}");
    assert!(queue.seen().calls.is_empty());
    assert!((0..10).all(|index| given.markers(qid(&format!("u-{index}"))).is_empty()), "nothing is claimed either");
}

#[test]
fn a_dry_run_judges_everything_and_sends_nothing() {
    let given = broken();
    let path = given.file("mended", &exported(&given, "csv").replace(BROKEN, "api")).display().to_string();
    let output = given.run(&["quarantine", "import", &path, "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(out(&output).contains("all 10 rows are right"), "{output:?}");
    assert!(given.markers(qid("u-1")).is_empty());
}

#[test]
fn a_broken_body_becomes_the_measurements_that_it_should_have_held() {
    let given = Given::new();
    let broken = NewEntry {
        uid: None,
        reason: "NotJson",
        stage: "decode",
        first_sent_at_ms: None,
        text: EntryText::Body("{\"uid\":"),
        ..entry("m-1", "")
    };
    given.quarantine(vec![broken]);
    let line = |uid: &str| format!("{{\"qid\":\"{}\",\"measurement\":{}}}\n", qid("m-1"), measurement(uid));
    let path = given.file("mended", &(line("a") + &line("b"))).display().to_string();
    let queue = QueueStub::start(Script::all_well());
    let told = json(&given.run_with(&queue, &["quarantine", "import", &path, "--json"]), 0);
    assert_eq!((&told["sent"], &told["measurements"]), (&1.into(), &2.into()));
    assert_eq!(queue.seen().taken, [format!("{{\"measurements\":[{},{}]}}", measurement("a"), measurement("b"))]);
}

#[test]
fn an_entry_that_is_too_old_or_dropped_or_unknown_is_a_fault() {
    let given = Given::new();
    let old = measurement("old").replace("2026-05-31", "2020-01-01");
    let text = measurement("dropped");
    given.quarantine(vec![
        NewEntry { first_sent_at_ms: Some(5), ..entry("old", &old) },
        NewEntry { first_sent_at_ms: Some(AHEAD_MS), ..entry("dropped", &text) },
    ]);
    given.run(&["quarantine", "drop", &qid("dropped").to_string(), "--because", "x"]);
    let queue = QueueStub::start(Script::all_well());
    let import = |uid: &str, text: &str, more: &[&str]| {
        let line = format!("{{\"qid\":\"{}\",\"measurement\":{text}}}\n", qid(uid));
        let path = given.file(uid, &line).display().to_string();
        given.run_with(&queue, &[&["quarantine", "import", &path, "--json"], more].concat())
    };
    for (uid, text, expected) in
        [("old", &old, "34 days ago"), ("dropped", &text, "given up"), ("nobody", &text, "expected the qid")]
    {
        let output = import(uid, text, &[]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(err(&output).contains(expected), "{expected}: {output:?}");
    }
    assert_eq!(json(&import("old", &old, &["--beyond-window", "old"]), 0)["sent"], 1);
}

#[test]
fn a_file_that_is_no_export_says_what_was_expected() {
    let given = broken();
    let queue = QueueStub::start(Script::all_well());
    for (content, expected) in
        [("", "expected"), ("{}\n", "expected qid"), ("meter,account,ts\na,b,2026-05-31T00:00:00Z\n", "expected qid")]
    {
        let path = given.file("file", content).display().to_string();
        let output = given.run_with(&queue, &["quarantine", "import", &path]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(err(&output).contains(expected), "{output:?}");
    }
}
