//! What m3ter accepted and rejected later, from the first look to the end, as `explain`, `quarantine` and `replay` tell it.

use std::time::{Duration, UNIX_EPOCH};

use relay_store::{LedgerAnswer, Outcome};
use serde_json::Value;

use crate::queue_stub::{QueueStub, Script};
use crate::store_given::{Given, START_MS, err, json, measurement, out, qid, rejected};

const ACCEPTED: LedgerAnswer = LedgerAnswer::Accepted;
const HOUR_MS: i64 = 3_600_000;

/// What `explain u-1` says: the place, the words at the end, what happened.
fn told(given: &Given) -> (String, String, Vec<String>) {
    let told = json(&given.run(&["explain", "u-1", "--json"]), 0);
    let story = &told["measurements"][0];
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let events = story["events"].as_array().unwrap().iter().map(|event| word(&event["event"])).collect();
    (word(&story["place"]), word(&story["sentence"]), events)
}

/// A measurement that m3ter accepted, and rejected since it has no such meter.
fn undefined_meter() -> Given {
    let given = Given::new();
    given.ledger(&[("u-1", ACCEPTED, None)]);
    let text = measurement("u-1");
    given.quarantine(vec![rejected("first", &text, "UndefinedMeter", None)]);
    given
}

/// Sends the entry `name` again, as an operator does, and has m3ter accept it. Gives back under which uid.
fn replayed(given: &Given, name: &str, more: &[&str]) -> String {
    let queue = QueueStub::start(Script::all_well());
    let id = qid(name).to_string();
    let told = json(&given.run_with(&queue, &[&["replay", "--qid", &id, "--json"], more].concat()), 0);
    assert_eq!(told["sent"], 1, "{told}");
    let sent: Value = serde_json::from_str(&queue.seen().taken[0]).unwrap();
    let uid = sent["uid"].as_str().unwrap().to_owned();
    given.ledger(&[(&uid, ACCEPTED, Some(&format!("replay:{id}")))]);
    // The store has had the marker since the beginning: the ledger, which lies in the past, is read from there on.
    let marker = given.folder.path().join(format!("actions/v1/{id}/replay-1.json"));
    let start = UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs());
    std::fs::File::options().write(true).open(marker).unwrap().set_modified(start).unwrap();
    uid
}

/// How many entries `quarantine list` calls open in whatever way, and of how many the uid is taken.
fn open(given: &Given) -> (u64, u64) {
    let told = json(&given.run(&["quarantine", "list", "--json"]), 0);
    let [open, taken] = ["entries", "uid_taken"].map(|name| told[name].as_u64().unwrap());
    (open, taken)
}

#[test]
fn what_was_rejected_later_is_replayed_and_ingested_and_each_step_is_told() {
    let given = undefined_meter();
    let (place, sentence, _) = told(&given);
    assert_eq!(place, "rejected-later");
    assert!(sentence.contains("rejected it later: UndefinedMeter") && sentence.contains("nothing was done"), "{sentence}");
    assert_eq!(open(&given), (1, 0));
    assert_eq!(replayed(&given, "first", &[]), "u-1");
    given.events_read(HOUR_MS - 1);
    let (place, sentence, _) = told(&given);
    assert_eq!(place, "accepted");
    assert!(sentence.contains("no rejection was seen yet"), "{sentence}");
    given.events_read(HOUR_MS);
    let (place, sentence, mut events) = told(&given);
    assert_eq!(place, "ingested");
    assert!(sentence.contains("UndefinedMeter") && sentence.contains("counts once"), "{sentence}");
    // The operator's clock is this machine's, the rest is given: so what happened counts, and not in which order.
    events.sort();
    assert_eq!(events, ["accepted", "accepted-again", "queued", "queued", "rejected-later", "replayed"]);
    let text = out(&given.run(&["explain", "u-1"]));
    assert!(text.contains("rejected later  UndefinedMeter: in m3ter's words"), "{text}");
    assert_eq!(open(&given), (0, 0));
}

#[test]
fn a_replay_that_is_rejected_again_came_back_and_the_newer_entry_counts() {
    let given = undefined_meter();
    replayed(&given, "first", &[]);
    let (text, of) = (measurement("u-1"), format!("replay:{}", qid("first")));
    given.quarantine(vec![rejected("second", &text, "MissingField", Some(&of))]);
    given.events_read(9 * HOUR_MS);
    let (place, sentence, _) = told(&given);
    assert_eq!(place, "rejected-later");
    assert!(sentence.contains("MissingField") && sentence.contains(&qid("second").to_string()), "{sentence}");
    assert_eq!(open(&given), (1, 0));
    let listed = json(&given.run(&["quarantine", "list", "--json"]), 0);
    assert_eq!((&listed["accepted"], &listed["came_back"]), (&0.into(), &1.into()));
    let shown = out(&given.run(&["quarantine", "show", &qid("first").to_string()]));
    assert!(shown.contains(&format!("it came back as entry {}", qid("second"))), "{shown}");
    let queue = QueueStub::start(Script::all_well());
    let output = given.run_with(&queue, &["replay", "--qid", &qid("first").to_string()]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(out(&output).contains("not sent: 1 CameBack"), "{output:?}");
    replayed(&given, "second", &[]);
    given.events_read(HOUR_MS);
    assert_eq!((told(&given).0.as_str(), open(&given)), ("ingested", (0, 0)));
}

#[test]
fn a_replay_that_m3ter_dropped_goes_out_under_a_new_uid_and_is_superseded_by_it() {
    let given = undefined_meter();
    replayed(&given, "first", &[]);
    let (text, of) = (measurement("u-1"), format!("replay:{}", qid("first")));
    given.quarantine(vec![rejected("second", &text, "ReplayDropped", Some(&of))]);
    let (place, sentence, _) = told(&given);
    assert_eq!(place, "rejected-later");
    assert!(sentence.contains("kept its uid") && sentence.contains("--new-uid"), "{sentence}");
    assert_eq!(open(&given), (1, 1));
    assert!(out(&given.run(&["quarantine", "list"])).contains("replay --new-uid what was not counted"));
    let shown = out(&given.run(&["quarantine", "show", &qid("second").to_string()]));
    assert!(shown.contains("dropped later as a copy") && shown.contains("with --new-uid"), "{shown}");
    let queue = QueueStub::start(Script::all_well());
    let output = given.run_with(&queue, &["replay", "--reason", "ReplayDropped"]);
    assert!(out(&output).contains("not sent: 1 UidTaken") && out(&output).contains("--new-uid"), "{output:?}");
    assert!(queue.seen().taken.is_empty());
    let new = replayed(&given, "second", &["--new-uid"]);
    assert_ne!(new, "u-1");
    given.events_read(9 * HOUR_MS);
    let (place, sentence, _) = told(&given);
    assert_eq!((place.as_str(), open(&given)), ("superseded", (0, 0)));
    assert!(sentence.contains(&format!("under the new uid {new}")) && !sentence.contains("counts once"), "{sentence}");
    let told = json(&given.run(&["explain", &new, "--json"]), 0);
    assert_eq!(told["measurements"][0]["place"], "ingested");
}

#[test]
fn another_content_that_m3ter_dropped_leaves_the_first_ingested_and_cannot_be_mended_under_its_uid() {
    let given = Given::new();
    given.ledger(&[("u-1", ACCEPTED, None)]);
    given.ledger(&[("u-1", ACCEPTED, None)]);
    let text = measurement("u-1");
    given.quarantine(vec![rejected("other", &text, "UidConflict", None)]);
    given.events_read(HOUR_MS);
    let (place, sentence, _) = told(&given);
    assert_eq!(place, "ingested");
    assert!(sentence.contains("UidConflict") && sentence.contains("--new-uid"), "{sentence}");
    assert_eq!(open(&given), (1, 1));
    let line = format!("{{\"qid\":\"{}\",\"measurement\":{text}}}\n", qid("other"));
    let path = given.file("mended", &line).display().to_string();
    let queue = QueueStub::start(Script::all_well());
    let output = given.run_with(&queue, &["quarantine", "import", &path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(err(&output).contains("line 1: m3ter has this uid"), "{output:?}");
    assert!(queue.seen().taken.is_empty());
}

#[test]
fn a_receipt_and_a_field_that_could_not_be_calculated_are_told_with_the_measurement() {
    let given = Given::new();
    given.ledger(&[("u-1", ACCEPTED, None)]);
    given.ledger(&[("u-1", ACCEPTED, None)]);
    given.act("u-1", "DuplicateUid", Outcome::Receipt);
    given.act("u-1", "CalculationError", Outcome::Recorded);
    given.act("another", "DuplicateUid", Outcome::Receipt);
    given.events_read(9 * HOUR_MS);
    let (place, sentence, events) = told(&given);
    assert_eq!(place, "ingested");
    assert!(sentence.contains("confirmed") && sentence.contains("CalculationError"), "{sentence}");
    assert_eq!(events.iter().filter(|event| *event == "receipt" || *event == "not-calculated").count(), 2);
    let text = out(&given.run(&["explain", "u-1"]));
    for word in ["receipt         m3ter dropped a copy of what it has", "not calculated  m3ter counted it without a field"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn until_when_m3ter_was_heard_is_said_and_never_is_said_too() {
    let given = Given::new();
    given.ledger(&[("u-1", ACCEPTED, None)]);
    assert!(out(&given.run(&["explain", "u-1"])).contains("ingest-watch has not run"));
    let heard = |given: &Given| json(&given.run(&["explain", "u-1", "--json"]), 0)["events_read_until"].clone();
    assert_eq!(heard(&given), Value::Null);
    given.events_read(0);
    assert_eq!(heard(&given), "2026-06-01T00:01:00.000Z");
}

#[test]
fn a_copy_that_nobody_can_judge_is_told_without_a_ledger() {
    let given = Given::new();
    given.act("u-1", "DuplicateUid", Outcome::Unjudged);
    let (place, sentence, events) = told(&given);
    assert_eq!((place.as_str(), events), ("accepted", vec!["unjudged".to_owned()]));
    assert!(sentence.contains("nobody can say of what"), "{sentence}");
}
