//! Entries of all ages and standings, over a store in memory.

use futures_util::StreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use relay_core::inbound::{Origin, OriginKind};
use relay_core::limits::DAY_MS;
use relay_store::{Action, EntryText, LedgerAnswer, LedgerMode, LedgerWrite, Marker, NewEntry, NewLine, quarantine_id};
use tokio::time::Instant;

use super::*;

/// 2100-01-01T00:00:00Z in milliseconds since the epoch: later than any clock that a store in memory stamps its objects with.
pub(crate) const NOW_MS: i64 = 4_102_444_800_000;
const QUEUE: &str = "arn:aws:sqs:eu-west-1:123456789012:usage";
const TEXT: &str = r#"{"uid":"u","meter":"m","account":"a","ts":"1970-01-01T00:00:00Z"}"#;

/// A store, and what lies under it.
pub(crate) struct Shelf {
    pub(crate) store: Store,
    objects: Arc<InMemory>,
}

/// An entry by its name, first sent so long ago; `None` if it never was.
fn entry(name: &str, sent_ago_ms: Option<i64>) -> NewEntry<'_> {
    NewEntry {
        qid: None,
        uid: Some(name),
        reason: "RefusedByApi",
        detail: "expected better",
        stage: "submit",
        first_sent_at_ms: sent_ago_ms.map(|ago_ms| NOW_MS - ago_ms),
        message_id: name,
        position: 0,
        source: QUEUE,
        attributes: Vec::new(),
        queued_at_ms: None,
        first_received_at_ms: None,
        receives: 1,
        origin: None,
        text: EntryText::Measurement(TEXT),
    }
}

fn qid(name: &str) -> Uuid {
    quarantine_id(QUEUE, name, 0)
}

impl Shelf {
    pub(crate) fn new() -> Shelf {
        let objects = Arc::new(InMemory::new());
        Shelf { store: Store::over(objects.clone(), Path::from("relay")), objects }
    }

    /// Quarantines `entries` in one object, so long ago.
    async fn keep(&self, ago_ms: i64, entries: impl IntoIterator<Item = NewEntry<'_>>) {
        let name = Uuid::from_u128(self.objects.list(None).count().await as u128).to_string();
        self.store.quarantine(&name, NOW_MS - ago_ms, entries, Instant::now() + LONG).await.unwrap();
    }

    /// The same of one entry, by its name, which was sent when it was quarantined.
    pub(crate) async fn keep_sent(&self, name: &str, ago_ms: i64) {
        self.keep(ago_ms, [entry(name, Some(ago_ms))]).await;
    }

    /// An operator did this about the entry, so long ago.
    async fn mark(&self, name: &str, marker: &str, ago_ms: i64) {
        let action = if marker == DROP { Action::Drop } else { Action::Replay };
        let (by, because, new_uid, supersedes) = Default::default();
        let made =
            Marker { action, at: NOW_MS - ago_ms, run: Uuid::nil(), by, because, new_uid, supersedes, beyond_window: false };
        self.store.mark(qid(name), marker, &made, Instant::now() + LONG).await.unwrap();
    }

    /// The ledger says that what was sent again from the entry was answered so, so long ago.
    async fn answered(&self, name: &str, answer: LedgerAnswer, ago_ms: i64) {
        let (of, sent_at_ms) = (qid(name).to_string(), NOW_MS - ago_ms);
        let line = NewLine {
            uid: name,
            meter: "m",
            account: "a",
            ts: "1970-01-01T00:00:00Z",
            ts_ms: 0,
            batch: 1,
            message_id: "again",
            queued_at_ms: None,
            sent_at_ms,
            attempts: 1,
            receives: 1,
            answer,
            origin: Some(Origin { kind: OriginKind::Replay, of: &of }),
            text: TEXT,
        };
        let how = (LedgerMode::Full, LedgerWrite::Required);
        assert_eq!(self.store.record(how, &of, sent_at_ms, [line], Instant::now() + LONG).await.unwrap(), 1);
    }

    /// An object that nobody of ours wrote.
    pub(crate) async fn put(&self, name: &str, content: &'static [u8]) {
        self.objects.put(&Path::from(name), PutPayload::from_static(content)).await.unwrap();
    }

    /// Looks: open, leaving soon, outside, unreadable, and whether all was read.
    async fn check(&self, expected: (u64, u64, u64, u64, bool)) {
        let counts = look(&self.store, NOW_MS).await.unwrap();
        let found = (counts.open.values().sum(), counts.leaves_window_soon, counts.outside_window, counts.unreadable);
        assert_eq!((found.0, found.1, found.2, found.3, counts.is_whole), expected, "{counts:?}");
    }
}

const LONG: std::time::Duration = std::time::Duration::from_secs(60);

#[tokio::test]
async fn an_empty_store_is_whole_and_holds_nothing() {
    Shelf::new().check((0, 0, 0, 0, true)).await;
}

#[tokio::test]
async fn entries_of_all_ages_are_counted_by_how_soon_they_leave() {
    let shelf = Shelf::new();
    let ages = [0, 29 * DAY_MS, 30 * DAY_MS - 1, 30 * DAY_MS, 34 * DAY_MS - 1, 34 * DAY_MS, 60 * DAY_MS];
    for (number, age_ms) in ages.into_iter().enumerate() {
        shelf.keep_sent(&number.to_string(), age_ms).await;
    }
    shelf.keep(40 * DAY_MS, [entry("never sent", None)]).await;
    shelf.keep(0, [entry("long on the queue", Some(31 * DAY_MS))]).await;
    shelf.check((9, 3, 2, 0, true)).await;
}

#[tokio::test]
async fn what_was_dropped_accepted_or_came_back_is_no_longer_open() {
    let shelf = Shelf::new();
    let ago_ms = 31 * DAY_MS;
    for name in ["dropped", "accepted", "accepted late", "came back", "came back and was dropped"] {
        shelf.keep_sent(name, ago_ms).await;
    }
    shelf.mark("dropped", DROP, DAY_MS).await;
    for name in ["accepted", "accepted late", "came back", "came back and was dropped"] {
        shelf.mark(name, "replay-1", 20 * DAY_MS).await;
    }
    shelf.answered("accepted", LedgerAnswer::Accepted, 20 * DAY_MS - 1).await;
    shelf.answered("accepted late", LedgerAnswer::Unknown, 20 * DAY_MS - 1).await;
    shelf.answered("accepted late", LedgerAnswer::Accepted, 11 * DAY_MS).await;
    for (name, old) in [("newer", "came back"), ("newer dropped", "came back and was dropped")] {
        let old = qid(old).to_string();
        let origin = Some(Origin { kind: OriginKind::Replay, of: &old });
        shelf.keep(19 * DAY_MS, [NewEntry { origin, ..entry(name, Some(ago_ms)) }]).await;
    }
    shelf.mark("newer dropped", DROP, DAY_MS).await;
    shelf.check((1, 1, 0, 0, true)).await;
}

#[tokio::test]
async fn what_was_sent_again_without_an_answer_is_open_and_counts_as_sent() {
    let shelf = Shelf::new();
    shelf.keep(50 * DAY_MS, ["silent", "unanswered", "late"].map(|name| entry(name, None))).await;
    shelf.keep(DAY_MS, [entry("under way", None)]).await;
    shelf.mark("silent", "replay-1", 31 * DAY_MS).await;
    shelf.mark("silent", "replay-2", DAY_MS).await;
    shelf.mark("unanswered", "replay-1", 32 * DAY_MS).await;
    shelf.answered("unanswered", LedgerAnswer::Unknown, 32 * DAY_MS - 1).await;
    shelf.mark("late", "replay-1", 45 * DAY_MS).await;
    shelf.mark("under way", "replay-1", 60_000).await;
    shelf.check((4, 2, 1, 0, true)).await;
}

#[tokio::test]
async fn an_entry_that_was_written_twice_is_one_and_the_first_counts() {
    let shelf = Shelf::new();
    shelf.keep(DAY_MS, [NewEntry { reason: "Later", ..entry("twice", Some(DAY_MS)) }]).await;
    shelf.keep(2 * DAY_MS, [NewEntry { reason: "Earlier", ..entry("twice", Some(31 * DAY_MS)) }]).await;
    let counts = look(&shelf.store, NOW_MS).await.unwrap();
    assert_eq!((counts.open, counts.leaves_window_soon), ([("Earlier".to_owned(), 1)].into(), 1));
}

#[tokio::test]
async fn markers_of_a_later_kind_settle_nothing() {
    let shelf = Shelf::new();
    shelf.keep_sent("noted", 31 * DAY_MS).await;
    shelf.mark("noted", "note", DAY_MS).await;
    shelf.check((1, 1, 0, 0, true)).await;
}

#[tokio::test]
async fn what_was_quarantined_more_than_seventy_days_ago_is_not_looked_at() {
    let shelf = Shelf::new();
    shelf.keep_sent("seen", LOOK_BACK_MS).await;
    shelf.keep_sent("unseen", LOOK_BACK_MS + 3_600_000).await;
    shelf.check((1, 0, 1, 0, true)).await;
}

#[tokio::test]
async fn what_a_clock_that_is_ahead_wrote_is_seen() {
    let shelf = Shelf::new();
    shelf.keep_sent("ahead", -CLOCKS_MS).await;
    shelf.check((1, 0, 0, 0, true)).await;
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_counted_and_hides_no_other() {
    let shelf = Shelf::new();
    shelf.keep_sent("whole", 31 * DAY_MS).await;
    shelf.put("relay/quarantine/v1/dt=2099-12-31/hr=00/0-torn.ndjson.zst", b"\x28\xb5\x2f\xfd").await;
    shelf.check((1, 1, 0, 1, false)).await;
    shelf.put("relay/quarantine/v2/dt=2099-12-31/later", b"").await;
    shelf.check((1, 1, 0, 2, false)).await;
}

#[tokio::test]
async fn a_torn_ledger_or_marker_is_counted_but_the_quarantine_is_whole() {
    let shelf = Shelf::new();
    shelf.keep(60 * DAY_MS, [entry("claimed", None)]).await;
    shelf.put(&format!("relay/actions/v1/{}/replay-1.json", qid("claimed")), b"{").await;
    shelf.put("relay/ledger/v1/dt=2099-12-31/hr=00/0_0_0_1_x.ndjson.zst", b"\x28\xb5\x2f\xfd").await;
    // Of a torn marker the store knows when it was written: by its clock long before this test's.
    shelf.check((1, 0, 1, 2, true)).await;
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_and_no_count() {
    let shelf = Shelf::new();
    for name in ["a", "b", "c", "d"] {
        shelf.keep_sent(name, DAY_MS).await;
    }
    shelf.mark("c", "replay-1", 0).await;
    shelf.mark("d", "replay-1", 0).await;
    let most = Most { open: 2, sent_again: 2 };
    assert!(look_for(&shelf.store, NOW_MS, most).await.is_ok());
    let said = async |most| look_for(&shelf.store, NOW_MS, most).await.unwrap_err().to_string();
    assert_eq!(said(Most { open: 1, ..most }).await, "expected at most 1 entries that are open");
    assert_eq!(said(Most { sent_again: 1, ..most }).await, "expected at most 1 entries that were sent again in 70 days");
}

#[test]
fn reasons_are_told_apart_as_long_as_they_are_few_and_look_like_one() {
    let mut reasons = Reasons::default();
    let names: Vec<String> = (0..REASONS_MAX + 2).map(|number| format!("Reason{number}")).collect();
    let odd = ["", "not a name", "é", "x\"y", &"x".repeat(65)];
    for odd in odd {
        let place = reasons.place(odd);
        assert_eq!((reasons.at(place), reasons.named(odd)), (OTHER_REASONS, OTHER_REASONS), "{odd}");
    }
    for (number, name) in names.iter().enumerate() {
        let place = reasons.place(name);
        assert_eq!(place, reasons.place(name));
        let expected = if number < REASONS_MAX { name } else { OTHER_REASONS };
        assert_eq!((reasons.at(place), reasons.named(name)), (expected, expected));
    }
}
