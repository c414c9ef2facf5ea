//! `usage-relay catalogue`: what m3ter had when it was last asked.

use relay_store::{AccountLine, MeterLine, StoredCatalogue};
use serde_json::json;

use crate::store_given::{Given, START_MS, err, json as told, out};

/// Two meters and three accounts, of which one each is no longer listed and one is a skeleton.
fn given() -> Given {
    let given = Given::new();
    let meter = |code: &str, last_seen_ms| MeterLine {
        code: code.into(),
        id: format!("id-{code}"),
        fields: vec![("MEASURE".into(), "calls".into()), ("WHAT".into(), "region".into())],
        last_seen_ms,
    };
    let account = |code: &str, last_seen_ms, skeleton| AccountLine {
        code: code.into(),
        id: format!("id-{code}"),
        created_ms: Some(0),
        last_seen_ms,
        skeleton,
    };
    given.catalogue(&StoredCatalogue {
        read_at_ms: START_MS,
        meters: vec![meter("api", START_MS), meter("old", START_MS - 1_000)],
        accounts: vec![
            account("acme", START_MS, false),
            account("ghost", START_MS, true),
            account("left", START_MS - 1_000, true),
        ],
    });
    given
}

#[test]
fn it_says_when_m3ter_was_asked_and_what_it_had() {
    let output = given().run_plain(&["catalogue"]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    let text = out(&output);
    assert!(text.starts_with("m3ter was asked 2026-06-01T00:00:00"), "{text}");
    assert!(text.contains("1 meter and 2 accounts, of which 1 it made by itself"), "{text}");
    assert!(text.contains("1 meter and 1 account that it no longer lists"), "{text}");
    assert!(!text.contains("acme"), "nothing is listed unasked");
}

#[test]
fn lists_show_what_is_no_longer_listed_and_skeletons_are_those_that_are_still_there() {
    let given = given();
    let text = out(&given.run_plain(&["catalogue", "--meters", "--accounts"]));
    assert!(text.contains("meter api  id id-api  measure.calls what.region\n"), "{text}");
    assert!(text.contains("meter old  id id-old  measure.calls what.region  last listed 2026-05-31T23:59:59"), "{text}");
    assert!(text.contains("account ghost  id id-ghost  created 1970-01-01T00:00:00") && text.contains("skeleton"), "{text}");
    let text = out(&given.run_plain(&["catalogue", "--skeletons"]));
    assert!(text.contains("account ghost") && !text.contains("account left") && !text.contains("acme"), "{text}");
}

#[test]
fn the_same_as_json() {
    let given = given();
    let whole = told(&given.run_plain(&["catalogue", "--meters", "--skeletons", "--json"]), 0);
    let count = |name: &str| whole[name].as_u64().unwrap();
    assert_eq!(["meters", "accounts", "skeletons", "meters_gone", "accounts_gone"].map(count), [1, 2, 1, 1, 1]);
    assert!(whole["age_seconds"].as_i64().is_some());
    let ghost = json!({"account": "ghost", "id": "id-ghost", "created": 0, "last_seen": START_MS, "skeleton": true});
    assert_eq!(whole["list"]["accounts"], json!([ghost]));
    assert_eq!(whole["list"]["meters"][0]["fields"], json!([["MEASURE", "calls"], ["WHAT", "region"]]));
    assert_eq!(told(&given.run_plain(&["catalogue", "--json"]), 0)["list"], json!({}));
}

#[test]
fn none_yet_is_said_with_what_writes_it_and_is_1() {
    let output = Given::new().run_plain(&["catalogue"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("found none: ingest-watch writes it"), "{output:?}");
}

#[test]
fn one_that_is_torn_is_an_error_and_is_2() {
    let given = given();
    let path = given.folder.path().join("catalogue/v1/current.ndjson.zst");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let output = given.run_plain(&["catalogue"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("catalogue/v1/current.ndjson.zst is not readable"), "{output:?}");
}
