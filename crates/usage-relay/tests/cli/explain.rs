//! `usage-relay explain`: what the store knows about a uid, and what it does not.

use relay_store::{EntryText, LedgerAnswer, NewEntry};

use crate::store_given::{Given, START_MS, entry, err, json, measurement, out, qid};

const ACCEPTED: LedgerAnswer = LedgerAnswer::Accepted;

#[test]
fn a_life_is_told_in_order_and_ends_with_one_sentence() {
    let given = Given::new();
    given.ledger(&[("u-1", LedgerAnswer::Unknown, None), ("other", ACCEPTED, None)]);
    given.ledger(&[("u-1", ACCEPTED, None)]);
    given.ledger(&[("u-1", ACCEPTED, None)]);
    let output = given.run(&["explain", "u-1"]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    let text = out(&output);
    let places: Vec<_> =
        ["u-1  meter api  account acme", "queued", "no answer", "accepted  ", "accepted again", "m3ter accepted it", "looked at"]
            .map(|word| text.find(word).unwrap_or_else(|| panic!("{word}: {text}")))
            .into();
    assert!(places.is_sorted(), "{text}");
    assert!(text.contains("3 ledger objects (4 lines)") && text.contains("counts once"), "{text}");
}

#[test]
fn a_quarantined_measurement_is_told_with_its_reason_also_inside_a_whole_message() {
    let given = Given::new();
    let (text, body) = (measurement("u-1"), format!("[1,{}]", measurement("u-2")));
    let whole = NewEntry { uid: None, reason: "Exhausted", text: EntryText::Body(&body), ..entry("m-2", "") };
    given.quarantine(vec![entry("u-1", &text), whole]);
    let told = json(&given.run(&["explain", "u-1", "u-2", "--json"]), 0);
    let [one, two] = [0, 1].map(|index| &told["measurements"][index]);
    assert_eq!((&one["place"], &two["place"]), (&"quarantined".into(), &"quarantined".into()));
    assert_eq!(one["events"][1]["reason"], "RefusedByApi");
    assert_eq!((&two["events"][1]["whole_message"], &two["events"][1]["qid"]), (&true.into(), &qid("m-2").to_string().into()));
}

#[test]
fn what_is_not_found_is_said_to_mean_something_and_is_1() {
    let given = Given::new();
    given.ledger(&[("u-1", ACCEPTED, None)]);
    let output = given.run(&["explain", "u-1", "nobody"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("never reached the relay") && err(&output).contains("1 uid not found"), "{output:?}");
    assert!(!err(&output).contains("nobody"), "errors hold no uid");
}

#[test]
fn a_meter_and_an_account_find_their_measurements() {
    let given = Given::new();
    given.ledger(&[("u-1", ACCEPTED, None), ("u-2", ACCEPTED, None)]);
    let text = measurement("u-3");
    given.quarantine(vec![entry("u-3", &text)]);
    let uids = |words: &[&str]| -> Vec<String> {
        let told = json(&given.run(&[&["explain", "--json"], words].concat()), 0);
        told["measurements"].as_array().unwrap().iter().map(|one| one["uid"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(uids(&["--meter", "api"]), ["u-1", "u-2", "u-3"]);
    assert_eq!(uids(&["--account", "acme", "--meter", "api"]), ["u-1", "u-2", "u-3"]);
    let nothing = given.run(&["explain", "--account", "other"]);
    assert_eq!(nothing.status.code(), Some(1), "{nothing:?}");
}

#[test]
fn an_object_that_cannot_be_read_is_named_and_what_can_is_shown() {
    let given = Given::new();
    given.ledger(&[("u-1", ACCEPTED, None)]);
    let hour = given.folder.path().join("ledger/v1/dt=2026-06-01/hr=00");
    std::fs::write(hour.join(format!("{START_MS}_0_0_1_torn.ndjson.zst")), "half").unwrap();
    std::fs::create_dir_all(given.folder.path().join("ledger/v2")).unwrap();
    std::fs::write(given.folder.path().join("ledger/v2/x"), "x").unwrap();
    let output = given.run(&["explain", "u-1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("m3ter accepted it"), "{output:?}");
    let said = err(&output);
    assert!(said.contains("torn.ndjson.zst: expected") && said.contains("ledger/v2/: expected the layout v1"), "{said}");
    assert!(said.contains("2 objects could not be read"), "{said}");
    let told = json(&given.run(&["explain", "u-1", "--json"]), 1);
    assert_eq!(told["looked"]["unreadable"].as_array().unwrap().len(), 2);
}

#[test]
fn only_the_hours_asked_for_are_read() {
    let given = Given::new();
    given.ledger(&[("u-1", ACCEPTED, None)]);
    let looked = |since: &str, code| {
        let mut command = given.plain_command(&["explain", "u-1", "--json", "--since", since]);
        json(&command.output().unwrap(), code)["looked"]["ledger_objects"].clone()
    };
    assert_eq!(looked("2026-06-01", 0), 1);
    assert_eq!(looked("2026-06-01T01:00:00Z", 1), 0, "the object is of the hour before");
}

#[test]
fn a_store_that_does_not_answer_is_2() {
    let given = Given::new();
    let mut command = given.command(&["explain", "u-1", "--store-url", "s3://bucket/x"]);
    command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "canary").env("AWS_REGION", "eu-west-1");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(err(&output).contains("the store failed") && !err(&output).contains("canary"), "{output:?}");
}
