//! `usage-relay replay`: sent at least once, counted once, whoever else replays and wherever it was interrupted.

use relay_core::inbound::Attribute;
use relay_store::{EntryText, LedgerAnswer, NewEntry};
use serde_json::Value;

use crate::queue_stub::{Call, QueueStub, Say, Script};
use crate::store_given::{AHEAD_MS, Given, entry, err, json, measurement, out, qid};

const QUEUE_DOWN: fn(usize) -> Call = |_| Call::Fail(400, "com.amazonaws.sqs#QueueDoesNotExist");

fn three() -> Given {
    let given = Given::new();
    let texts = ["u-1", "u-2", "u-3"].map(measurement);
    given.quarantine(["u-1", "u-2", "u-3"].iter().zip(&texts).map(|(uid, text)| entry(uid, text)).collect());
    given
}

fn refused(told: &Value) -> Vec<(String, String)> {
    let word = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    told["refused"].as_array().unwrap().iter().map(|one| (word(one, "uid"), word(one, "reason"))).collect()
}

#[test]
fn entries_go_back_as_they_were_with_their_first_send_and_their_origin_and_are_claimed() {
    let given = three();
    let queue = QueueStub::start(Script::all_well());
    let told = json(&given.run_with(&queue, &["replay", "--reason", "RefusedByApi", "--json"]), 0);
    assert_eq!((&told["selected"], &told["sent"]), (&3.into(), &3.into()));
    let seen = queue.seen();
    let place = seen.taken.iter().position(|body| *body == measurement("u-2")).unwrap();
    let origin = format!("replay:{}", qid("u-2"));
    let expected = [("usage-relay-first-sent-at".to_owned(), AHEAD_MS.to_string()), ("usage-relay-origin".to_owned(), origin)];
    assert_eq!(seen.attributes[place], expected);
    assert_eq!(given.markers(qid("u-2")), ["replay-1.json"]);
    let marker = given.marker(qid("u-2"), "replay-1");
    assert_eq!((&marker["action"], &marker["by"]), (&"replay".into(), &"ada".into()));
}

#[test]
fn a_dry_run_says_what_would_be_and_does_nothing() {
    let given = three();
    let output = given.run(&["replay", "--uid", "u-1", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(out(&output).contains("1 entry selected: 1 would be sent") && out(&output).contains("dry run"), "{output:?}");
    assert!(given.markers(qid("u-1")).is_empty());
}

#[test]
fn what_is_claimed_is_left_alone_until_the_claim_is_old_and_then_sent_again_loudly() {
    let given = three();
    given.old_claim(qid("u-1"), "replay-1");
    let queue = QueueStub::start(Script::all_well());
    let output = given.run_with(&queue, &["replay", "--reason", "RefusedByApi", "--json"]);
    let told = json(&output, 0);
    assert_eq!((&told["sent"], &told["silent_before"]), (&3.into(), &1.into()));
    assert!(err(&output).contains("WARNING: 1 entry was claimed before"), "{output:?}");
    assert_eq!(given.markers(qid("u-1")), ["replay-1.json", "replay-2.json"]);
    let told = json(&given.run_with(&queue, &["replay", "--reason", "RefusedByApi", "--json"]), 0);
    assert_eq!((&told["sent"], refused(&told).len()), (&0.into(), 3));
    assert!(refused(&told).iter().all(|(_, reason)| reason == "UnderWay"), "{told}");
    assert_eq!(queue.seen().taken.len(), 3);
}

#[test]
fn two_operators_at_once_send_each_entry_once() {
    let given = Given::new();
    let uids: Vec<String> = (0..60).map(|index| format!("u-{index:02}")).collect();
    let texts: Vec<String> = uids.iter().map(|uid| measurement(uid)).collect();
    given.quarantine(uids.iter().zip(&texts).map(|(uid, text)| entry(uid, text)).collect());
    let queue = QueueStub::start(Script::all_well());
    let words = ["replay", "--reason", "RefusedByApi", "--json"];
    let start = || {
        given.sending(&queue, &words).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap()
    };
    let both = [start(), start()].map(|child| json(&child.wait_with_output().unwrap(), 0));
    let sum = |name: &str| both.iter().map(|told| told[name].as_u64().unwrap()).sum::<u64>();
    let under_way: usize = both.iter().map(|told| refused(told).len()).sum();
    assert_eq!(sum("sent"), 60);
    assert_eq!(sum("claimed_by_others") + under_way as u64, 60, "{both:?}");
    let mut taken = queue.seen().taken.clone();
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), 60);
}

#[test]
fn a_queue_that_takes_nothing_leaves_claims_that_the_next_replay_makes_good() {
    let given = three();
    let down = QueueStub::start(Script { call: Box::new(QUEUE_DOWN), entry: Box::new(|_, _| Say::Taken) });
    let output = given.run_with(&down, &["replay", "--uid", "u-1"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = err(&output);
    assert!(said.contains("0 sent, 1 claimed and perhaps not sent") && said.contains("in 15 minutes"), "{said}");
    assert_eq!(given.markers(qid("u-1")), ["replay-1.json"]);
    // Fifteen minutes later.
    given.old_claim(qid("u-1"), "replay-1");
    let up = QueueStub::start(Script::all_well());
    assert_eq!(json(&given.run_with(&up, &["replay", "--uid", "u-1", "--json"]), 0)["sent"], 1);
}

#[test]
fn a_replay_that_was_killed_is_made_good_by_running_it_again() {
    let given = Given::new();
    let uids: Vec<String> = (0..40).map(|index| format!("u-{index:02}")).collect();
    let texts: Vec<String> = uids.iter().map(|uid| measurement(uid)).collect();
    given.quarantine(uids.iter().zip(&texts).map(|(uid, text)| entry(uid, text)).collect());
    let queue = QueueStub::start(Script::all_well());
    let words = ["replay", "--reason", "RefusedByApi", "--json"];
    // Ten at once, then a pause of ten seconds, in which it is killed.
    let mut child = given.sending(&queue, &words).args(["--rate", "1"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    while queue.seen().taken.len() < 10 {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let claimed = uids.iter().filter(|uid| !given.markers(qid(uid)).is_empty()).count();
    assert!((10..=20).contains(&claimed), "{claimed}");
    let told = json(&given.run_with(&queue, &words), 0);
    assert_eq!(told["sent"], 40 - claimed, "at once what was not claimed");
    // Fifteen minutes later.
    uids.iter()
        .filter(|uid| queue.seen().taken.iter().all(|body| *body != measurement(uid)))
        .for_each(|uid| given.old_claim(qid(uid), "replay-1"));
    let told = json(&given.run_with(&queue, &words), 0);
    assert_eq!(told["sent"], told["silent_before"]);
    let mut taken = queue.seen().taken.clone();
    taken.sort();
    assert_eq!(taken, texts, "each once, since nobody was as unlucky as to be killed between call and answer");
}

#[test]
fn what_came_of_a_replay_settles_it() {
    let given = three();
    let origins = ["u-1", "u-2", "u-3"].map(|uid| format!("replay:{}", qid(uid)));
    ["u-1", "u-2", "u-3"].iter().for_each(|uid| given.old_claim(qid(uid), "replay-1"));
    given.ledger(&[("u-1", LedgerAnswer::Accepted, Some(&origins[0])), ("u-3", LedgerAnswer::Unknown, Some(&origins[2]))]);
    let text = measurement("u-2").replace("api", " ");
    let back = NewEntry {
        message_id: "again",
        reason: "MeterInvalid",
        stage: "guard",
        origin: relay_core::inbound::Origin::parse(&origins[1]),
        ..entry("u-2", &text)
    };
    given.quarantine(vec![back]);
    let queue = QueueStub::start(Script::all_well());
    let told = json(&given.run_with(&queue, &["replay", "--yes", "--json"]), 0);
    let mut found = refused(&told);
    found.sort();
    let expected = [("u-1", "Accepted"), ("u-2", "CameBack"), ("u-2", "StillRefused"), ("u-3", "UnderWay")];
    assert_eq!(found, expected.map(|(uid, reason)| (uid.to_owned(), reason.to_owned())));
    assert_eq!((&told["sent"], queue.seen().taken.len()), (&0.into(), 0));
}

#[test]
fn what_is_too_old_goes_only_when_its_very_uid_is_named() {
    let given = Given::new();
    let texts = ["old-1", "old-2"].map(|uid| measurement(uid).replace("2026-05-31", "2020-01-01"));
    let old = |uid, text| NewEntry { first_sent_at_ms: Some(5), ..entry(uid, text) };
    given.quarantine(vec![old("old-1", &texts[0]), old("old-2", &texts[1])]);
    let queue = QueueStub::start(Script::all_well());
    let output = given.run_with(&queue, &["replay", "--uid", "old-1", "--uid", "old-2"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(out(&output).contains("not sent: 2 OutsideWindow") && out(&output).contains(" days"), "{output:?}");
    let told = json(&given.run_with(&queue, &["replay", "--beyond-window", "old-2", "--json"]), 0);
    assert_eq!((&told["selected"], &told["sent"]), (&1.into(), &1.into()));
    let seen = queue.seen();
    assert_eq!(seen.taken, [texts[1].clone()]);
    let attribute = |name: &str| seen.attributes[0].iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str());
    assert_eq!((attribute("usage-relay-beyond-window"), attribute("usage-relay-first-sent-at")), (Some("old-2"), Some("5")));
    assert_eq!(given.marker(qid("old-2"), "replay-1")["beyond_window"], true);
}

#[test]
fn what_never_was_sent_goes_however_old_it_is() {
    let given = Given::new();
    let text = measurement("u-1").replace("2026-05-31", "2020-01-01");
    given.quarantine(vec![NewEntry {
        first_sent_at_ms: None,
        stage: "guard",
        reason: "TimestampInFuture",
        ..entry("u-1", &text)
    }]);
    let queue = QueueStub::start(Script::all_well());
    assert_eq!(json(&given.run_with(&queue, &["replay", "--uid", "u-1", "--json"]), 0)["sent"], 1);
    let names: Vec<String> = queue.seen().attributes[0].iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["usage-relay-origin"]);
}

#[test]
fn a_new_uid_is_the_same_each_time_and_its_marker_says_what_it_supersedes() {
    let given = Given::new();
    let text = measurement("u-1");
    given.quarantine(vec![NewEntry { reason: "UidConflict", ..entry("u-1", &text) }]);
    given.ledger(&[("u-1", LedgerAnswer::Accepted, None)]);
    let queue = QueueStub::start(Script::all_well());
    let told = json(&given.run_with(&queue, &["replay", "--uid", "u-1", "--json"]), 1);
    assert_eq!(refused(&told), [("u-1".to_owned(), "Accepted".to_owned())]);
    let replay = || json(&given.run_with(&queue, &["replay", "--uid", "u-1", "--new-uid", "--json"]), 0);
    assert_eq!(replay()["sent"], 1);
    let marker = given.marker(qid("u-1"), "replay-1");
    assert_eq!(marker["supersedes"], "u-1");
    let new = marker["new_uid"].as_str().unwrap().to_owned();
    assert_eq!(queue.seen().taken, [measurement(&new)]);
    given.old_claim(qid("u-1"), "replay-1");
    assert_eq!(replay()["sent"], 1);
    assert_eq!(queue.seen().taken, [measurement(&new), measurement(&new)]);
}

#[test]
fn a_whole_body_goes_as_a_body_with_its_attributes() {
    let given = Given::new();
    let body = format!("[{}]", measurement("u-1"));
    let attributes = ["usage-relay-first-sent-at", "usage-relay-origin", "trace"];
    let attributes = attributes.iter().map(|name| Attribute { name, data_type: "String", value: "7" }).collect();
    let whole = NewEntry { uid: None, reason: "DeliveryExhausted", attributes, text: EntryText::Body(&body), ..entry("m-1", "") };
    given.quarantine(vec![whole]);
    let queue = QueueStub::start(Script::all_well());
    assert_eq!(json(&given.run_with(&queue, &["replay", "--qid", &qid("m-1").to_string(), "--json"]), 0)["sent"], 1);
    let seen = queue.seen();
    assert_eq!(seen.taken, [body]);
    let expected = [
        ("trace", "7".to_owned()),
        ("usage-relay-first-sent-at", AHEAD_MS.to_string()),
        ("usage-relay-origin", format!("replay:{}", qid("m-1"))),
    ];
    assert_eq!(seen.attributes[0], expected.map(|(name, value)| (name.to_owned(), value)));
}

#[test]
fn a_rate_is_kept() {
    let given = Given::new();
    let uids: Vec<String> = (0..20).map(|index| format!("u-{index:02}")).collect();
    let texts: Vec<String> = uids.iter().map(|uid| measurement(uid)).collect();
    given.quarantine(uids.iter().zip(&texts).map(|(uid, text)| entry(uid, text)).collect());
    let queue = QueueStub::start(Script::all_well());
    let output = given.run_with(&queue, &["replay", "--reason", "RefusedByApi", "--rate", "40"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // 20 messages at 40 a second take half a second, and never less.
    let took =
        out(&output).lines().find_map(|line| line.strip_prefix("sent 20 messages, ")?.strip_suffix(" s")?.parse::<f64>().ok());
    assert!(took.unwrap() >= 0.5, "{output:?}");
}

#[test]
fn an_entry_that_is_named_and_is_not_there_is_1() {
    let given = three();
    let queue = QueueStub::start(Script::all_well());
    let output = given.run_with(&queue, &["replay", "--uid", "nobody"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(err(&output).contains("not in the quarantine"), "{output:?}");
}
