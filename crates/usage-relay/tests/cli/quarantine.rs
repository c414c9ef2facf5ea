//! `usage-relay quarantine list`, `show`, `export` and `drop`.

use relay_store::{EntryText, LedgerAnswer, NewEntry};
use uuid::Uuid;

use crate::store_given::{Given, entry, err, json, measurement, out, qid};

#[test]
fn a_list_counts_by_reason_meter_account_and_hour_and_says_what_can_be_done() {
    let given = Given::new();
    let (one, two, three) = (measurement("u-1"), measurement("u-2"), measurement("u-3").replace("acme", "other"));
    let empty = NewEntry { reason: "Empty", ..entry("u-3", &three) };
    given.quarantine(vec![entry("u-1", &one), entry("u-2", &two), empty]);
    let told = json(&given.run(&["quarantine", "list", "--json"]), 0);
    assert_eq!((&told["open"], &told["entries"], &told["leaves_window_soon"]), (&3.into(), &3.into(), &0.into()));
    let group = |by: &str, index: usize| {
        let group = &told["by"][by][index];
        (group["name"].as_str().unwrap().to_owned(), group["entries"].as_u64().unwrap())
    };
    assert_eq!((group("reason", 0), group("reason", 1)), (("RefusedByApi".into(), 2), ("Empty".into(), 1)));
    assert_eq!((group("account", 0), group("meter", 0)), (("acme".into(), 2), ("api".into(), 3)));
    assert_eq!(group("hour", 0), ("2026-06-01T00".into(), 3));
    assert_eq!(told["by"]["reason"][1]["examples"][0]["uid"], "u-3");
    let text = out(&given.run(&["quarantine", "list", "--by", "account", "--reason", "Empty"]));
    assert!(text.contains("1 entry open") && text.contains("other") && text.contains("next: "), "{text}");
    assert!(!text.contains("acme"), "{text}");
}

#[test]
fn an_entry_that_may_have_been_counted_long_ago_is_warned_about() {
    let given = Given::new();
    let text = measurement("u-1").replace("2026-05-31", "2020-01-01");
    given.quarantine(vec![NewEntry { first_sent_at_ms: Some(0), ..entry("u-1", &text) }]);
    let told = json(&given.run(&["quarantine", "list", "--json"]), 0);
    assert_eq!(told["outside_window"], 1);
    assert!(out(&given.run(&["quarantine", "list"])).contains("too old to be sent again safely"));
}

#[test]
fn settled_entries_are_counted_and_shown_on_request() {
    let given = Given::new();
    let texts = ["u-1", "u-2", "u-3", "u-4"].map(measurement);
    given.quarantine(["u-1", "u-2", "u-3", "u-4"].iter().zip(&texts).map(|(uid, text)| entry(uid, text)).collect());
    for uid in ["u-1", "u-2", "u-3"] {
        given.old_claim(qid(uid), "replay-1");
    }
    given.ledger(&[("u-1", LedgerAnswer::Accepted, Some(&format!("replay:{}", qid("u-1"))))]);
    let origin = format!("replay:{}", qid("u-2"));
    let again = NewEntry {
        message_id: "again",
        reason: "Exhausted",
        origin: relay_core::inbound::Origin::parse(&origin),
        ..entry("u-2", &texts[1])
    };
    given.quarantine(vec![again]);
    let told = json(&given.run(&["quarantine", "list", "--json"]), 0);
    let counts = ["open", "silent", "accepted", "came_back", "dropped", "entries"].map(|name| told[name].as_u64().unwrap());
    assert_eq!(counts, [2, 1, 1, 1, 0, 3], "{told}");
    let told = json(&given.run(&["quarantine", "list", "--json", "--all"]), 0);
    assert_eq!(told["entries"], 5);
}

#[test]
fn an_entry_is_shown_whole_by_its_id_or_its_uid() {
    let given = Given::new();
    let text = measurement("u-1");
    given.quarantine(vec![entry("u-1", &text)]);
    for name in [qid("u-1").to_string(), "u-1".to_owned()] {
        let shown = out(&given.run(&["quarantine", "show", &name]));
        for word in ["RefusedByApi", "note = x", &text, "nothing was done about it", "arn:queue"] {
            assert!(shown.contains(word), "{word}: {shown}");
        }
    }
    assert_eq!(json(&given.run(&["quarantine", "show", "u-1", "--json"]), 0)["measurement"]["uid"], "u-1");
    let nobody = given.run(&["quarantine", "show", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(err(&nobody).contains("1 of 1 not in the quarantine"), "{nobody:?}");
}

#[test]
fn an_export_holds_every_open_entry_as_it_was_written() {
    let given = Given::new();
    let (one, two) = (measurement("u-1"), measurement("u-2"));
    let body = NewEntry { uid: None, text: EntryText::Body("no \"JSON\"\n"), ..entry("m-3", "") };
    given.quarantine(vec![entry("u-1", &one), entry("u-2", &two), body]);
    assert_eq!(given.run(&["quarantine", "drop", &qid("u-2").to_string(), "--because", "x"]).status.code(), Some(0));
    let output = given.run(&["quarantine", "export"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(&one)), "as it was written: {lines:?}");
    assert!(lines.iter().any(|line| line.contains(r#""body":"no \"JSON\"\n""#)), "{lines:?}");
    let to = given.folder.path().join("out.ndjson").display().to_string();
    assert_eq!(given.run(&["quarantine", "export", "--output", &to]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(&to).unwrap().lines().count(), 2);
    let again = given.run(&["quarantine", "export", "--output", &to]);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("not to exist"), "{again:?}");
}

#[test]
fn csv_has_a_column_for_each_field_and_says_what_it_cannot_hold() {
    let given = Given::new();
    let (one, two) = (measurement("u-1"), measurement("u-2").replace("\"measure\"", "\"x\":1,\"measure\""));
    given.quarantine(vec![entry("u-1", &one), entry("u-2", &two)]);
    let output = given.run(&["quarantine", "export", "--format", "csv"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let row = format!("{},RefusedByApi,expected m3ter to accept it,u-1,api,acme,2026-05-31T00:00:00Z,,1.50", qid("u-1"));
    assert_eq!(out(&output), format!("qid,reason,detail,uid,meter,account,ts,ets,measure.calls\n{row}\n"));
    assert!(err(&output).contains("1 other cannot be a row of CSV"), "{output:?}");
}

#[test]
fn a_drop_is_recorded_with_its_reason_and_deletes_nothing() {
    let given = Given::new();
    let text = measurement("u-1");
    given.quarantine(vec![entry("u-1", &text)]);
    let id = qid("u-1").to_string();
    let drop = |because: &str| given.run(&["quarantine", "drop", &id, "--because", because, "--json"]);
    assert_eq!(json(&drop("load test"), 0)["dropped"], 1);
    assert_eq!(json(&drop("another reason"), 0)["dropped_before"], 1);
    let marker = given.marker(qid("u-1"), "drop");
    assert_eq!((&marker["because"], &marker["by"]), (&"load test".into(), &"ada".into()));
    let told = json(&given.run(&["quarantine", "list", "--json"]), 0);
    assert_eq!((&told["open"], &told["dropped"], &told["entries"]), (&0.into(), &1.into(), &0.into()));
    assert!(out(&given.run(&["explain", "u-1"])).contains("because: load test"));
}

#[test]
fn either_all_that_are_named_are_dropped_or_none() {
    let given = Given::new();
    let text = measurement("u-1");
    given.quarantine(vec![entry("u-1", &text)]);
    let output = given.run(&["quarantine", "drop", &qid("u-1").to_string(), &Uuid::nil().to_string(), "--because", "x"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("nothing was dropped"), "{output:?}");
    assert!(given.markers(qid("u-1")).is_empty());
    assert_eq!(given.run(&["quarantine", "drop", &qid("u-1").to_string(), "--because", " "]).status.code(), Some(64));
}
