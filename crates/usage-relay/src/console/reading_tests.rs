//! What a look at the store promises.

use std::time::Duration;

use relay_core::inbound::Origin;
use relay_store::{EntryText, LedgerMode, LedgerWrite, NewEntry, NewLine, S3Access};
use tokio::time::Instant;

use super::*;

/// 2026-06-01T00:10:00Z in milliseconds since the epoch.
const NOW_MS: i64 = 1_780_272_600_000;

fn store() -> Store {
    Store::open("memory:", &S3Access::default()).unwrap()
}

fn line(uid: &str) -> NewLine<'_> {
    NewLine {
        uid,
        meter: "m",
        account: "a",
        ts: "2026-06-01T00:00:00Z",
        ts_ms: NOW_MS,
        batch: 1,
        message_id: "message",
        queued_at_ms: Some(NOW_MS - 700),
        sent_at_ms: NOW_MS,
        attempts: 1,
        receives: 1,
        answer: LedgerAnswer::Accepted,
        origin: None,
        text: "{}",
    }
}

async fn record(store: &Store, name: &str, at_ms: i64, lines: Vec<NewLine<'_>>) {
    let until = Instant::now() + Duration::from_secs(60);
    store.record((LedgerMode::Full, LedgerWrite::Required), name, at_ms, lines, until).await.unwrap();
}

async fn quarantine(store: &Store, at_ms: i64, uid: &str, stage: &str) {
    let entry = NewEntry {
        qid: None,
        uid: Some(uid),
        reason: "AccountInvalid",
        detail: "expected a code",
        stage,
        first_sent_at_ms: None,
        message_id: uid,
        position: 0,
        source: "arn:queue",
        attributes: Vec::new(),
        queued_at_ms: None,
        first_received_at_ms: None,
        receives: 1,
        origin: None,
        text: EntryText::Measurement(r#"{"meter":"m","account":" a"}"#),
    };
    let until = Instant::now() + Duration::from_secs(60);
    store.quarantine(&format!("q-{uid}"), at_ms, [entry], until).await.unwrap();
}

/// A look at `now_ms`: measurements ingested and quarantined by then, and the lag of what was new.
async fn look(reading: &mut Reading, books: &mut Books, seen: &mut Seen, now_ms: i64) -> (u64, u64, u64) {
    let lag_ms = reading.look(now_ms).await.unwrap().enter(books, seen);
    let totals = books.totals(false, now_ms);
    (totals.ingested, totals.quarantined, lag_ms)
}

#[tokio::test]
async fn each_object_is_read_once_and_also_one_that_comes_late() {
    let (store, mut books, mut seen) = (store(), Books::default(), Seen::default());
    let mut reading = Reading::new(store.clone(), NOW_MS - 3_600_000);
    record(&store, "i-1", NOW_MS, vec![line("a"), line("b")]).await;
    quarantine(&store, NOW_MS, "c", "guard").await;
    assert_eq!(look(&mut reading, &mut books, &mut seen, NOW_MS).await, (2, 1, 700));
    assert_eq!(look(&mut reading, &mut books, &mut seen, NOW_MS + 1_000).await, (2, 1, 0), "nothing is read again");
    record(&store, "i-2", NOW_MS - 14 * 60_000, vec![line("d")]).await;
    assert_eq!(look(&mut reading, &mut books, &mut seen, NOW_MS + 2_000).await, (3, 1, 700), "of the hour before");
    assert_eq!(seen.batches_in_all, 2);
    for _ in 0..2 {
        assert_eq!(look(&mut reading, &mut books, &mut seen, NOW_MS + 7_200_000).await, (3, 1, 0));
    }
    assert!(reading.read.is_empty(), "names are forgotten with their hours");
}

#[tokio::test]
async fn what_was_written_before_the_beginning_does_not_count() {
    let (store, mut books, mut seen) = (store(), Books::default(), Seen::default());
    record(&store, "i-1", NOW_MS - 1, vec![line("a")]).await;
    quarantine(&store, NOW_MS - 1, "c", "guard").await;
    let mut reading = Reading::new(store, NOW_MS);
    assert_eq!(look(&mut reading, &mut books, &mut seen, NOW_MS).await, (0, 0, 0));
}

#[tokio::test]
async fn a_batch_is_told_with_its_fill_its_attempts_and_whether_it_was_answered() {
    let (store, mut books, mut seen) = (store(), Books::default(), Seen::default());
    let second = |uid| NewLine { batch: 2, attempts: 3, receives: 2, answer: LedgerAnswer::Unknown, ..line(uid) };
    record(&store, "i", NOW_MS, vec![line("a"), second("b"), second("c")]).await;
    let mut reading = Reading::new(store, NOW_MS);
    assert_eq!(look(&mut reading, &mut books, &mut seen, NOW_MS).await.0, 1, "without an answer nothing is ingested");
    let told: Vec<_> =
        seen.batches().into_iter().map(|one| (one.name, one.measurements, one.attempts, one.receives, one.is_answered)).collect();
    assert_eq!(told, [("i-2".to_owned(), 2, 3, 2, false), ("i-1".to_owned(), 1, 1, 1, true)]);
    assert_eq!(seen.delivered_again, 2);
}

#[tokio::test]
async fn what_is_sent_again_from_the_quarantine_leaves_it() {
    let (store, mut books, mut seen) = (store(), Books::default(), Seen::default());
    quarantine(&store, NOW_MS, "a", "guard").await;
    let mut reading = Reading::new(store.clone(), NOW_MS);
    assert_eq!(look(&mut reading, &mut books, &mut seen, NOW_MS).await, (0, 1, 0));
    let of = format!("replay:{}", relay_store::quarantine_id("arn:queue", "a", 0));
    record(&store, "i", NOW_MS + 5, vec![NewLine { origin: Origin::parse(&of), ..line("a") }]).await;
    assert_eq!(look(&mut reading, &mut books, &mut seen, NOW_MS + 10).await, (1, 0, 700));
}

#[tokio::test]
async fn a_look_reads_no_more_than_its_share_and_the_next_goes_on_with_the_oldest() {
    let (store, mut books, mut seen) = (store(), Books::default(), Seen::default());
    let uids: Vec<String> = (0..6).map(|number| number.to_string()).collect();
    for (name, at_ms) in [("new", NOW_MS + 2), ("old", NOW_MS), ("middle", NOW_MS + 1)] {
        record(&store, name, at_ms, uids.iter().map(|uid| line(uid)).collect()).await;
    }
    let mut reading = Reading { lines_max: 10, ..Reading::new(store, NOW_MS) };
    for (left, newest) in [(2, "old-1"), (1, "middle-1"), (0, "new-1")] {
        let evidence = reading.look(NOW_MS + 10).await.unwrap();
        assert_eq!(evidence.behind, left);
        evidence.enter(&mut books, &mut seen);
        assert!(seen.batches().iter().any(|batch| batch.name == newest), "{newest}");
        assert_eq!(seen.batches_in_all, 3 - left);
    }
}

#[tokio::test]
async fn an_object_that_cannot_be_read_is_counted_and_hides_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file://{}", folder.path().display()), &S3Access::default()).unwrap();
    let (mut books, mut seen) = (Books::default(), Seen::default());
    record(&store, "i", NOW_MS, vec![line("a")]).await;
    let hour = folder.path().join("ledger/v1/dt=2026-06-01/hr=00");
    std::fs::write(hour.join(format!("{NOW_MS}_{NOW_MS}_{NOW_MS}_5_torn.ndjson.zst")), "torn").unwrap();
    let mut reading = Reading::new(store, NOW_MS);
    for _ in 0..2 {
        let evidence = reading.look(NOW_MS).await.unwrap();
        assert_eq!((evidence.unreadable, evidence.behind), (1, 0), "it is counted once");
        evidence.enter(&mut books, &mut seen);
    }
    assert_eq!(books.totals(false, NOW_MS).ingested, 1);
}
