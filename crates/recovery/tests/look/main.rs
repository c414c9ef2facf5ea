//! What is read from a store that the relay wrote, in whatever order and however often it wrote it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops where it is")]

use std::time::Duration;

use recovery::gather::{Depth, Look};
use recovery::kept::Selection;
use recovery::life::Place;
use recovery::standing::{CLAIM_MS, Standing, claim_name};
use recovery::window::leaves_soon;
use relay_core::inbound::{Attribute, Origin};
use relay_store::{
    Action, EntryText, LedgerAnswer, LedgerMode, LedgerWrite, Marker, NewEntry, NewLine, S3Access, Store, quarantine_id,
};
use tokio::time::Instant;
use uuid::Uuid;

/// 2026-06-01T00:00:00Z in milliseconds since the epoch.
const START_MS: i64 = 1_780_272_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const NOW_MS: i64 = START_MS + 2 * DAY_MS;
const TEXT: &str = r#"{"uid":"u","meter":"m","account":"a","ts":"2026-05-31T00:00:00Z"}"#;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

fn store() -> Store {
    Store::open("memory:", &S3Access::default()).unwrap()
}

fn qid(message_id: &str) -> Uuid {
    quarantine_id("arn:queue", message_id, 0)
}

fn entry(message_id: &str) -> NewEntry<'_> {
    NewEntry {
        uid: Some("u"),
        reason: "RefusedByApi",
        detail: "expected better",
        stage: "submit",
        first_sent_at_ms: Some(START_MS),
        message_id,
        position: 0,
        source: "arn:queue",
        attributes: Vec::new(),
        queued_at_ms: Some(START_MS),
        first_received_at_ms: None,
        receives: 1,
        origin: None,
        text: EntryText::Measurement(TEXT),
    }
}

async fn quarantine(store: &Store, at_ms: i64, entries: Vec<NewEntry<'_>>) {
    store.quarantine(&format!("i-{at_ms}"), at_ms, entries, soon()).await.unwrap();
}

async fn accepted(store: &Store, at_ms: i64, uids: &[(&str, Option<&str>)]) {
    let lines = uids.iter().map(|(uid, origin)| NewLine {
        uid,
        meter: "m",
        account: "a",
        ts: "t",
        ts_ms: START_MS,
        batch: 1,
        message_id: "m-9",
        queued_at_ms: None,
        sent_at_ms: at_ms,
        attempts: 1,
        receives: 1,
        answer: LedgerAnswer::Accepted,
        origin: origin.and_then(Origin::parse),
        text: TEXT,
    });
    let mode = (LedgerMode::Full, LedgerWrite::Required);
    store.record(mode, &format!("i-{at_ms}"), at_ms, lines, soon()).await.unwrap();
}

async fn claim(store: &Store, qid: Uuid, number: u32, at: i64) {
    let (by, because, new_uid, supersedes) = Default::default();
    let marker = Marker { action: Action::Replay, at, run: Uuid::nil(), by, because, new_uid, supersedes, beyond_window: false };
    store.mark(qid, &claim_name(number), &marker, soon()).await.unwrap();
}

/// How every entry stands, by its id.
async fn standings(store: &Store, depth: Depth) -> Vec<(Uuid, Standing)> {
    let mut nothing = |_: u64, _: u64| {};
    let mut look = Look::new(store, (START_MS, NOW_MS), &mut nothing);
    let chosen = look.entries(&Selection::all(START_MS, NOW_MS)).await.unwrap();
    let facts = look.facts(&chosen, depth).await.unwrap();
    assert!(look.looked.unreadable.is_empty());
    chosen.kept.values().map(|(kept, _)| (kept.qid, Standing::of(kept, &facts[&kept.qid], NOW_MS))).collect()
}

#[tokio::test]
async fn an_entry_written_twice_is_one() {
    let store = store();
    quarantine(&store, START_MS, vec![entry("m-1"), entry("m-1")]).await;
    quarantine(&store, START_MS + HOUR_MS, vec![NewEntry { reason: "Exhausted", ..entry("m-1") }]).await;
    let mut nothing = |_: u64, _: u64| {};
    let mut look = Look::new(&store, (START_MS, NOW_MS), &mut nothing);
    let chosen = look.entries(&Selection::all(START_MS, NOW_MS)).await.unwrap();
    let reasons: Vec<_> = chosen.kept.values().map(|(kept, _)| kept.reason.as_str()).collect();
    assert_eq!(reasons, ["RefusedByApi"], "the earliest counts, whatever was read first");
}

#[tokio::test]
async fn an_entry_stands_as_what_came_of_it_says() {
    let store = store();
    let names = ["open", "fresh", "silent", "accepted", "back"];
    quarantine(&store, START_MS, names.map(entry).into()).await;
    for (name, age_ms) in [("fresh", 1), ("silent", CLAIM_MS), ("accepted", CLAIM_MS), ("back", 1)] {
        claim(&store, qid(name), 1, NOW_MS - age_ms).await;
    }
    accepted(&store, NOW_MS - 9, &[("new", Some(&format!("replay:{}", qid("accepted"))))]).await;
    let origin = format!("correction:{}", qid("back"));
    quarantine(&store, NOW_MS, vec![NewEntry { origin: Origin::parse(&origin), ..entry("newer") }]).await;
    let found: std::collections::BTreeMap<Uuid, Standing> = standings(&store, Depth::All).await.into_iter().collect();
    let expected = [
        ("open", Standing::Open),
        ("fresh", Standing::UnderWay { since_ms: NOW_MS - 1, free_at_ms: Some(NOW_MS - 1 + CLAIM_MS) }),
        ("silent", Standing::Silent { since_ms: NOW_MS - CLAIM_MS }),
        ("accepted", Standing::Accepted { at_ms: NOW_MS - 9, again: true }),
        ("back", Standing::CameBack { qid: qid("newer") }),
        ("newer", Standing::Open),
    ];
    assert_eq!(found, expected.map(|(name, standing)| (qid(name), standing)).into());
}

#[tokio::test]
async fn a_uid_accepted_elsewhere_is_seen_only_when_all_is_asked() {
    let store = store();
    quarantine(&store, START_MS, vec![entry("m-1")]).await;
    accepted(&store, START_MS, &[("u", None), ("other", None)]).await;
    assert_eq!(standings(&store, Depth::Claimed).await, [(qid("m-1"), Standing::Open)]);
    assert_eq!(standings(&store, Depth::All).await, [(qid("m-1"), Standing::Accepted { at_ms: START_MS, again: false })]);
}

#[tokio::test]
async fn before_anything_is_sent_the_ledger_is_read_as_far_back_as_m3ter_remembers() {
    let store = store();
    accepted(&store, NOW_MS - 34 * DAY_MS, &[("u", None)]).await;
    quarantine(&store, NOW_MS - HOUR_MS, vec![entry("m-1")]).await;
    let mut nothing = |_: u64, _: u64| {};
    let mut look = Look::new(&store, (NOW_MS - 2 * HOUR_MS, NOW_MS), &mut nothing);
    let chosen = look.entries(&Selection::all(0, NOW_MS)).await.unwrap();
    for (depth, accepted_at_ms) in [(Depth::All, None), (Depth::Window, Some(NOW_MS - 34 * DAY_MS))] {
        assert_eq!(look.facts(&chosen, depth).await.unwrap()[&qid("m-1")].uid_accepted_at_ms, accepted_at_ms, "{depth:?}");
    }
}

#[tokio::test]
async fn a_claim_that_cannot_be_read_holds_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", folder.path().display()), &S3Access::default()).unwrap();
    quarantine(&store, START_MS, vec![entry("m-1")]).await;
    let at = folder.path().join(format!("actions/v1/{}", qid("m-1")));
    std::fs::create_dir_all(&at).unwrap();
    std::fs::write(at.join("replay-3.json"), "{\"action\":").unwrap();
    let mut nothing = |_: u64, _: u64| {};
    let mut look = Look::new(&store, (START_MS, NOW_MS), &mut nothing);
    let chosen = look.entries(&Selection::all(START_MS, NOW_MS)).await.unwrap();
    let facts = look.facts(&chosen, Depth::Claimed).await.unwrap();
    let unreadable = look.looked.unreadable.clone();
    assert_eq!(facts[&qid("m-1")].next_claim(), 4);
    assert!(unreadable.iter().any(|one| one.name.ends_with("replay-3.json")), "{unreadable:?}");
}

#[tokio::test]
async fn what_leaves_the_window_soon_can_be_counted() {
    let store = store();
    quarantine(&store, START_MS, vec![entry("m-1"), NewEntry { first_sent_at_ms: None, ..entry("m-2") }]).await;
    let now_ms = START_MS + 31 * DAY_MS;
    let mut nothing = |_: u64, _: u64| {};
    let mut look = Look::new(&store, (START_MS, now_ms), &mut nothing);
    let chosen = look.entries(&Selection::all(START_MS, now_ms)).await.unwrap();
    let facts = look.facts(&chosen, Depth::Claimed).await.unwrap();
    let soon = |(kept, _): &&(recovery::kept::Kept, usize)| {
        let facts = &facts[&kept.qid];
        leaves_soon(kept, facts, &Standing::of(kept, facts, now_ms), now_ms)
    };
    assert_eq!(chosen.kept.values().filter(soon).map(|(kept, _)| kept.qid).collect::<Vec<_>>(), [qid("m-1")]);
}

#[tokio::test]
async fn a_story_is_told_from_ledger_quarantine_and_markers_and_also_of_bodies_that_hold_the_uid() {
    let store = store();
    let packed = NewEntry {
        uid: None,
        attributes: vec![Attribute { name: "Content-Encoding", data_type: "String", value: "gzip" }],
        text: EntryText::Body("no gzip"),
        ..entry("packed")
    };
    let body = format!("{{\"measurements\":[{}]}}", TEXT.replace("\"u\"", "\"in\\u0073ide\""));
    let whole = NewEntry { uid: None, text: EntryText::Body(&body), ..entry("whole") };
    quarantine(&store, START_MS, vec![entry("m-1"), packed, whole]).await;
    claim(&store, qid("m-1"), 1, START_MS + 5).await;
    accepted(&store, START_MS + 9, &[("u", Some(&format!("replay:{}", qid("m-1"))))]).await;
    let mut nothing = |_: u64, _: u64| {};
    let mut look = Look::new(&store, (START_MS, NOW_MS), &mut nothing);
    let stories = look.stories(&["u".to_owned(), "inside".to_owned(), "nobody".to_owned()]).await.unwrap();
    assert_eq!(
        stories.iter().map(|story| story.place).collect::<Vec<_>>(),
        [Place::Accepted, Place::Quarantined, Place::NotFound]
    );
    let words: Vec<String> = serde_json::to_value(&stories[0].events)
        .unwrap()
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(words, ["queued", "quarantined", "replayed", "accepted"]);
}

#[tokio::test]
async fn of_a_meter_the_first_uids_are_named_and_that_there_are_more() {
    let store = store();
    let uids: Vec<String> = (0..20).map(|index| format!("u-{index:02}")).collect();
    let named: Vec<(&str, Option<&str>)> = uids.iter().map(|uid| (uid.as_str(), None)).collect();
    accepted(&store, START_MS, &named[10..]).await;
    accepted(&store, START_MS + HOUR_MS, &named[..10]).await;
    let of = async |meter: &'static str, until_ms, most| {
        let mut nothing = |_: u64, _: u64| {};
        let mut look = Look::new(&store, (START_MS, NOW_MS), &mut nothing);
        look.uids_of((Some(meter), None), until_ms, most).await.unwrap()
    };
    assert_eq!(of("m", NOW_MS, 3).await, (uids[..3].to_vec(), true));
    assert_eq!(of("m", NOW_MS, 20).await, (uids.clone(), false));
    assert_eq!(of("m", START_MS, 20).await, (uids[10..].to_vec(), false));
    assert_eq!(of("other", NOW_MS, 20).await, (vec![], false));
}
