//! Reads from the store what is new in it, look by look: each object once.
//!
//! A look lists the hours since the last one and reads the objects that it has not read, the oldest first. Not more of them than
//! [`LINES_MAX`] lines of ledger and [`BYTES_MAX`] bytes of quarantine, but for one object at least: what is left is read by the next looks,
//! and the page says so. The names of what was read are kept as long as their hours are listed, so memory follows what an hour or two hold.

use std::collections::{BTreeMap, HashSet};

use recovery::kept::{STAGE_INGEST, codes};
use relay_store::{Entry, Folder, Hours, LedgerAnswer, LineOrigin, Store, StoreError, StoredObject};
use serde::Deserialize;
use uuid::Uuid;

use super::books::{Books, Key, Quarantined};
use super::seen::{Batch, Example, Seen};

/// Most lines of the ledger that a look reads: a second's work, and some 5 MB.
const LINES_MAX: u64 = 50_000;
/// Most bytes of packed quarantine that a look reads.
const BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How far a look goes behind the one before it: an invocation names its objects when it begins, and lasts at most 15 minutes.
const OVERLAP_MS: i64 = 20 * 60_000;
/// How much a writer's clock may be ahead.
const CLOCKS_MS: i64 = 60_000;

/// A reader that remembers what it has read.
#[derive(Debug)]
pub(super) struct Reading {
    store: Store,
    /// What was written before is not looked at.
    since_ms: i64,
    from_ms: i64,
    read: HashSet<String>,
    unreadable: u64,
    lines_max: u64,
}

/// What a look found.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    entries: Vec<(Quarantined, String, String, Example)>,
    objects: Vec<Sent>,
    /// Objects that wait for the next look.
    pub(super) behind: u64,
    /// Objects that could not be read so far.
    pub(super) unreadable: u64,
}

/// What one object of the ledger says.
#[derive(Debug, Default)]
struct Sent {
    batches: BTreeMap<String, Batch>,
    accepted: Vec<(Key, Option<Uuid>)>,
    delivered_again: u64,
    lag_ms: u64,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Row {
    uid: String,
    batch: String,
    queued_at: Option<i64>,
    sent_at: i64,
    attempts: u32,
    receives: u32,
    answer: LedgerAnswer,
    origin: Option<LineOrigin>,
}

impl Sent {
    fn read(&mut self, text: &[u8]) -> Result<(), &'static str> {
        let row: Row = serde_json::from_slice(text).map_err(|_| "one ledger entry a line")?;
        let batch = self.batches.entry(row.batch).or_insert_with_key(|name| Batch::named(name.clone()));
        batch.measurements += 1;
        batch.at_ms = batch.at_ms.min(row.sent_at);
        batch.attempts = batch.attempts.max(row.attempts);
        batch.receives = batch.receives.max(row.receives);
        self.delivered_again += u64::from(row.receives > 1);
        self.lag_ms = self.lag_ms.max(row.queued_at.map_or(0, |at_ms| row.sent_at.saturating_sub(at_ms).max(0).unsigned_abs()));
        match row.answer {
            LedgerAnswer::Accepted => {
                let entry = row.origin.and_then(|origin| origin.of.parse().ok());
                self.accepted.push((Key::uid(&row.uid), entry));
            }
            LedgerAnswer::Unknown => batch.is_answered = false,
        }
        Ok(())
    }
}

impl Reading {
    /// Of `store`, from `since_ms` on: milliseconds since the epoch.
    pub(super) fn new(store: Store, since_ms: i64) -> Self {
        Self { store, since_ms, from_ms: since_ms, read: HashSet::new(), unreadable: 0, lines_max: LINES_MAX }
    }

    /// What is new at `now_ms`.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be listed. Nothing counts as read then.
    pub(super) async fn look(&mut self, now_ms: i64) -> Result<Evidence, StoreError> {
        let hours = Hours::between(self.from_ms, now_ms.saturating_add(CLOCKS_MS));
        // The quarantine first: what was sent again from an entry stands in the ledger later than the entry here.
        let quarantine = self.store.objects(Folder::Quarantine, hours).await?;
        let ledger = self.store.objects(Folder::Ledger, hours).await?;
        let listed: HashSet<&str> = quarantine.objects.iter().chain(&ledger.objects).map(StoredObject::name).collect();
        self.read.retain(|name| listed.contains(name.as_str()));
        let (entries, left) = self.due(&quarantine.objects, BYTES_MAX, StoredObject::bytes);
        let (objects, more) = self.due(&ledger.objects, self.lines_max, |object| object.lines().unwrap_or_default());

        let mut evidence = Evidence { behind: left + more, ..Evidence::default() };
        let names: Vec<String> = entries.iter().chain(&objects).map(|object| object.name().to_owned()).collect();
        let keep = |entry: Entry| Some(told(entry));
        let mut torn = self.store.entries(entries, keep, |_, told| evidence.entries.extend(told)).await;
        torn.extend(self.store.sift(objects, Sent::read, |_, sent| evidence.objects.push(sent)).await);
        self.unreadable += torn.len() as u64;
        evidence.unreadable = self.unreadable + (quarantine.unreadable.len() + ledger.unreadable.len()) as u64;
        self.read.extend(names);
        if evidence.behind == 0 {
            self.from_ms = self.from_ms.max(now_ms.saturating_sub(OVERLAP_MS)).min(now_ms);
        }
        Ok(evidence)
    }

    /// Of `listed` what was not read, the oldest first and together at most `most`, by `size`; and how many are left.
    fn due(&self, listed: &[StoredObject], most: u64, size: impl Fn(&StoredObject) -> u64) -> (Vec<StoredObject>, u64) {
        let is_due = |at_ms: i64, object: &StoredObject| at_ms >= self.since_ms && !self.read.contains(object.name());
        let mut due: Vec<(i64, &StoredObject)> = listed.iter().map(|object| (written_at_ms(object), object)).collect();
        due.retain(|(at_ms, object)| is_due(*at_ms, object));
        due.sort_by_key(|(at_ms, _)| *at_ms);
        let mut sum = 0_u64;
        let fits = due.iter().position(|(_, object)| {
            sum = sum.saturating_add(size(object));
            sum > most
        });
        let taken = fits.map_or(due.len(), |at| at.max(1));
        let left = (due.len() - taken) as u64;
        (due.into_iter().take(taken).map(|(_, object)| object.clone()).collect(), left)
    }
}

impl Evidence {
    /// Enters it in `books` and `seen`. Returns the longest that a measurement of it waited for its request, in milliseconds.
    pub(super) fn enter(self, books: &mut Books, seen: &mut Seen) -> u64 {
        for (entry, reason, stage, example) in self.entries {
            if books.quarantined(&entry) {
                seen.entry(&reason, &stage, example);
            }
        }
        let mut lag_ms = 0;
        for sent in self.objects {
            sent.accepted.into_iter().for_each(|(uid, entry)| books.accepted(uid, entry));
            sent.batches.into_values().for_each(|batch| seen.batch(batch));
            seen.delivered_again += sent.delivered_again;
            lag_ms = lag_ms.max(sent.lag_ms);
        }
        lag_ms
    }
}

fn told(entry: Entry) -> (Quarantined, String, String, Example) {
    let (meter, account) = entry.measurement.as_deref().map_or((None, None), |text| codes(text.get()));
    let quarantined = Quarantined {
        qid: entry.qid,
        message_id: entry.message_id,
        position: entry.position,
        uid: entry.uid.as_deref().map(Key::uid),
        is_rejected: entry.stage == STAGE_INGEST,
    };
    let (uid, detail, at_ms) = (entry.uid, entry.detail, entry.quarantined_at);
    (quarantined, entry.reason, entry.stage, Example { qid: entry.qid, uid, meter, account, detail, at_ms })
}

/// When an object was written, as its name begins: milliseconds since the epoch.
fn written_at_ms(object: &StoredObject) -> i64 {
    let name = object.name().rsplit('/').next().unwrap_or_default();
    name.split(['-', '_']).next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
