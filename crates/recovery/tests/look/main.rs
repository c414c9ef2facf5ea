//! What is read from a store that the relay wrote, in whatever order and however often it wrote it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops where it is")]

use std::time::Duration;

use recovery::gather::{Depth, Look};
use recovery::kept::Selection;
use recovery::life::{HORIZON_MS, Place};
use recovery::standing::{CLAIM_MS, Standing, claim_name};
use recovery::window::leaves_soon;
use relay_core::inbound::{Attribute, Origin};
use relay_store::{
    Act, Action, EntryText, LedgerAnswer, LedgerMode, LedgerWrite, Marker, NewEntry, NewLine, Outcome, S3Access, Store,
    quarantine_id,
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
        qid: None,
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

/// An entry that m3ter rejected, sent again from `of`.
fn rejected<'a>(message_id: &'a str, of: &'a str) -> NewEntry<'a> {
    NewEntry { stage: "ingest", reason: "UndefinedMeter", origin: Origin::parse(of), ..entry(message_id) }
}

#[tokio::test]
async fn a_replay_that_m3ter_accepted_and_rejected_later_came_back_and_nothing_else_is_newer_than_that() {
    let store = store();
    quarantine(&store, START_MS, vec![entry("old")]).await;
    claim(&store, qid("old"), 1, START_MS + 5).await;
    let origin = format!("replay:{}", qid("old"));
    accepted(&store, START_MS + 9, &[("u", Some(&origin))]).await;
    // Objects are read in no order: the ways to be newer are written in every one.
    let early = NewEntry { stage: "guard", origin: Origin::parse(&origin), ..entry("back-1") };
    let late = NewEntry { stage: "guard", origin: Origin::parse(&origin), ..entry("back-9") };
    quarantine(&store, START_MS + 20, vec![early]).await;
    quarantine(&store, START_MS + 21, vec![rejected("back-2", &origin)]).await;
    quarantine(&store, START_MS + 22, vec![rejected("back-3", &origin)]).await;
    quarantine(&store, START_MS + 23, vec![late]).await;
    for depth in [Depth::All, Depth::Claimed] {
        let found: std::collections::BTreeMap<Uuid, Standing> = standings(&store, depth).await.into_iter().collect();
        assert_eq!(found[&qid("old")], Standing::CameBack { qid: qid("back-3") }, "{depth:?}");
    }
}

#[tokio::test]
async fn an_entry_that_was_rejected_once_more_is_not_settled_by_what_was_accepted_in_between() {
    let store = store();
    for at_ms in [START_MS, START_MS + 20] {
        quarantine(&store, at_ms, vec![NewEntry { stage: "ingest", reason: "UndefinedMeter", ..entry("m-1") }]).await;
    }
    claim(&store, qid("m-1"), 1, START_MS + 5).await;
    accepted(&store, START_MS + 9, &[("u", None)]).await;
    let silent = Standing::Silent { since_ms: START_MS + 5 };
    assert_eq!(standings(&store, Depth::All).await, [(qid("m-1"), silent)]);
    accepted(&store, START_MS + 30, &[("u", None)]).await;
    let settled = Standing::Accepted { at_ms: START_MS + 30, again: false };
    assert_eq!(standings(&store, Depth::All).await, [(qid("m-1"), settled)]);
}

async fn act(store: &Store, name: &str, uid: &str, outcome: Outcome, event_at: i64) {
    let (meter, account, reason, qid) = Default::default();
    let (event, r#type, uid) = ("e-1".to_owned(), "DuplicateUid".to_owned(), Some(uid.to_owned()));
    let act = Act { event, event_at, r#type, outcome, uid, meter, account, reason, qid };
    store.put_acts(name, NOW_MS, &[act], soon()).await.unwrap();
}

#[tokio::test]
async fn a_story_tells_what_m3ter_said_later_once_and_until_when_it_was_heard() {
    let store = store();
    accepted(&store, START_MS, &[("u", None), ("other", None)]).await;
    let told = async |uids: &[&str]| {
        let mut nothing = |_: u64, _: u64| {};
        let mut look = Look::new(&store, (START_MS, NOW_MS), &mut nothing);
        let uids: Vec<String> = uids.iter().map(|uid| (*uid).to_owned()).collect();
        let stories = look.stories(&uids).await.unwrap();
        assert!(look.looked.unreadable.is_empty());
        let words = |story: &recovery::life::Story| serde_json::to_value(&story.events).unwrap().to_string();
        let stories: Vec<(Place, String)> = stories.iter().map(|story| (story.place, words(story))).collect();
        (stories, look.looked.events_read_to_ms)
    };
    let (stories, read_to_ms) = told(&["u"]).await;
    assert_eq!((stories[0].0, read_to_ms), (Place::Accepted, None));
    for name in ["one", "the-same-again"] {
        act(&store, name, "u", Outcome::Receipt, START_MS + DAY_MS + 5).await;
    }
    act(&store, "rejected", "nobody-asked", Outcome::Quarantined, START_MS + 5).await;
    act(&store, "before", "off", Outcome::Unjudged, START_MS + 5).await;
    store.put_document("watch/v1/cursor.json", &serde_json::json!({"read_to": 0}), soon()).await.unwrap();
    assert_eq!(told(&["u"]).await.1, None, "0 is never");
    let cursor = serde_json::json!({"read_to": START_MS + HORIZON_MS, "counted_to": 5, "new": []});
    store.put_document("watch/v1/cursor.json", &cursor, soon()).await.unwrap();
    let (stories, read_to_ms) = told(&["off", "other", "u"]).await;
    assert_eq!(read_to_ms, Some(START_MS + HORIZON_MS));
    let places: Vec<Place> = stories.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [Place::Accepted, Place::Ingested, Place::Ingested]);
    let counts = |word: &str| stories.iter().map(|(_, words)| words.matches(word).count()).collect::<Vec<_>>();
    assert_eq!((counts("\"receipt\""), counts("\"unjudged\"")), (vec![0, 0, 1], vec![1, 0, 0]));
}

#[tokio::test]
async fn a_cursor_or_acts_that_cannot_be_read_are_told_and_nothing_is_called_ingested() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", folder.path().display()), &S3Access::default()).unwrap();
    accepted(&store, START_MS, &[("u", None)]).await;
    let day = folder.path().join("watch/v1/acts/dt=2026-06-01");
    std::fs::create_dir_all(&day).unwrap();
    std::fs::write(day.join("1-torn.ndjson.zst"), "half").unwrap();
    std::fs::write(folder.path().join("watch/v1/cursor.json"), "{\"read_to\":").unwrap();
    let mut nothing = |_: u64, _: u64| {};
    let mut look = Look::new(&store, (START_MS, NOW_MS), &mut nothing);
    let stories = look.stories(&["u".to_owned()]).await.unwrap();
    assert_eq!(stories[0].place, Place::Accepted);
    let named = |end: &str| look.looked.unreadable.iter().any(|one| one.name.ends_with(end));
    assert!(named("torn.ndjson.zst") && named("watch/v1/cursor.json"), "{:?}", look.looked.unreadable);
}
