//! The books of the console: one place for each measurement, by evidence that is read bit by bit.
//!
//! The rule: a place needs evidence. A line of the ledger says that m3ter accepted a uid, an entry of the quarantine says why something
//! could not go on. What was sent from the page is known by uid before there is any evidence, so what has none is waiting; what still
//! has none when the queue is empty is nowhere, and the page says so. Of usage that others send, only what left evidence is known.
//!
//! Evidence may come in any order and twice, and the places are the same.
//!
//! Bounded: at most [`TRACKED_MAX`] uids are followed, and as many copies that the page sent, some 80 MB. Beyond them evidence is counted,
//! and the books say that they are full.
//!
//! Pure: no clock, no network.

use std::collections::HashMap;

use relay_core::canonical::content_uid;
use serde::Serialize;
use uuid::Uuid;

/// Most measurements that are followed.
pub(super) const TRACKED_MAX: usize = 500_000;
/// For so long the queue must be empty before what has no place is called lost. SQS says that its counts may be a minute behind.
/// Source: the SQS API reference, `GetQueueAttributes`.
const EMPTY_FOR_MS: i64 = 60_000;
/// The position under which a whole message is quarantined.
const WHOLE_MESSAGE: usize = u32::MAX as usize;

/// A uid, or the place of what has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u128);

impl Key {
    /// Of a uid.
    pub(super) fn uid(uid: &str) -> Self {
        Self(content_uid(uid).as_u128())
    }

    /// Of what stands at `position` of a message.
    pub(super) fn place(message_id: &str, position: usize) -> Self {
        Self(content_uid(&format!("{message_id}\n{position}")).as_u128())
    }
}

/// What is known of one uid.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Copies that were sent from the page.
    sent: u32,
    /// When the last was: milliseconds since the epoch.
    sent_at_ms: i64,
    /// Copies in the quarantine that never reached m3ter, or that it refused.
    quarantined: u32,
    is_accepted: bool,
    is_rejected: bool,
}

/// An entry of the quarantine, as far as the books need it.
#[derive(Debug, Clone)]
pub(super) struct Quarantined {
    /// Its id.
    pub(super) qid: Uuid,
    /// The queue's id of the message.
    pub(super) message_id: String,
    /// The place in the message.
    pub(super) position: usize,
    /// Its uid.
    pub(super) uid: Option<Key>,
    /// Whether m3ter rejected it after it had accepted it.
    pub(super) is_rejected: bool,
}

/// The books.
#[derive(Debug)]
pub(super) struct Books {
    /// Most that is followed.
    most: usize,
    /// Copies that the page sent.
    copies: usize,
    known: HashMap<Key, Known>,
    /// What was sent from the page, by message: the uid at each position, where there is one.
    messages: HashMap<String, Vec<Option<Key>>>,
    /// Entries, and what they put into the quarantine; nothing once they were sent again.
    entries: HashMap<Uuid, Vec<Key>>,
    /// The entry of each place in a message.
    places: HashMap<Key, Uuid>,
    untracked: u64,
    empty_since_ms: Option<i64>,
}

/// The books as numbers. `sent` is the sum of the five places.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Totals {
    /// Measurements that the page sent, and all others that left evidence.
    pub(super) sent: u64,
    /// Accepted by m3ter, and not rejected later.
    pub(super) ingested: u64,
    /// Copies of what m3ter has: they change no total.
    pub(super) dropped: u64,
    /// Accepted by m3ter and rejected later.
    pub(super) rejected: u64,
    /// Kept in the quarantine by the relay.
    pub(super) quarantined: u64,
    /// Sent from the page, and without evidence yet.
    pub(super) waiting: u64,
    /// Those of `waiting` that nothing is left to bring home.
    pub(super) nowhere: u64,
    /// Evidence of measurements beyond those that are followed.
    pub(super) untracked: u64,
    /// Age of the oldest that waits, in milliseconds.
    pub(super) oldest_waiting_ms: u64,
}

impl Default for Books {
    fn default() -> Self {
        let (known, messages, entries, places, untracked, empty_since_ms) = Default::default();
        Self { most: TRACKED_MAX, copies: 0, known, messages, entries, places, untracked, empty_since_ms }
    }
}

impl Books {
    /// How many measurements can still be sent from the page.
    pub(super) fn room(&self) -> usize {
        self.most.saturating_sub(self.known.len().max(self.copies))
    }

    /// A message is on the queue that holds these uids, in this order.
    pub(super) fn sent(&mut self, message_id: &str, uids: Vec<Option<Key>>, at_ms: i64) {
        self.copies += uids.len();
        // The queue was asked before this.
        self.empty_since_ms = None;
        for (position, uid) in uids.iter().enumerate() {
            let place = Key::place(message_id, position);
            let key = uid.unwrap_or(place);
            self.found_before(place, key);
            let known = self.known.entry(key).or_default();
            known.sent += 1;
            known.sent_at_ms = at_ms;
        }
        self.messages.insert(message_id.to_owned(), uids);
    }

    /// An entry that was read before its message was known stood under what it said of itself.
    fn found_before(&mut self, place: Key, key: Key) {
        let Some(keys) = self.places.get(&place).and_then(|qid| self.entries.get_mut(qid)) else { return };
        for old in keys.iter_mut().filter(|old| **old != key) {
            if let Some(known) = self.known.get_mut(old) {
                known.quarantined = known.quarantined.saturating_sub(1);
                if known.quarantined == 0 && known.sent == 0 && !known.is_accepted {
                    self.known.remove(old);
                }
            }
            self.known.entry(key).or_default().quarantined += 1;
            *old = key;
        }
    }

    /// m3ter accepted `uid`; it was sent again from `entry`, if from one.
    pub(super) fn accepted(&mut self, uid: Key, entry: Option<Uuid>) {
        for key in entry.and_then(|qid| self.entries.get_mut(&qid)).map(std::mem::take).unwrap_or_default() {
            if let Some(known) = self.known.get_mut(&key) {
                known.quarantined = known.quarantined.saturating_sub(1);
                known.is_rejected = false;
            }
        }
        if let Some(known) = self.track(uid) {
            known.is_accepted = true;
        }
    }

    /// An entry is in the quarantine. Says whether it is a new one.
    pub(super) fn quarantined(&mut self, entry: &Quarantined) -> bool {
        if self.entries.contains_key(&entry.qid) {
            return false;
        }
        let keys = self.keys(entry);
        for key in &keys {
            let Some(known) = self.track(*key) else { continue };
            if entry.is_rejected {
                known.is_accepted = true;
                known.is_rejected = true;
            } else {
                known.quarantined += 1;
            }
        }
        if self.entries.len() < self.most {
            self.entries.insert(entry.qid, keys);
            if !entry.is_rejected {
                self.places.insert(Key::place(&entry.message_id, entry.position), entry.qid);
            }
        }
        true
    }

    /// What `entry` keeps: one measurement, or all of a message.
    fn keys(&self, entry: &Quarantined) -> Vec<Key> {
        let place = Key::place(&entry.message_id, entry.position);
        let Some(message) = self.messages.get(&entry.message_id).filter(|_| !entry.is_rejected) else {
            return vec![entry.uid.unwrap_or(place)];
        };
        if entry.position == WHOLE_MESSAGE {
            let whole = message.iter().enumerate();
            return whole.map(|(position, uid)| uid.unwrap_or_else(|| Key::place(&entry.message_id, position))).collect();
        }
        // What the page says it sent counts, and not what could be read of it.
        vec![message.get(entry.position).copied().unwrap_or(entry.uid).unwrap_or(place)]
    }

    fn track(&mut self, key: Key) -> Option<&mut Known> {
        if self.known.len() >= self.most && !self.known.contains_key(&key) {
            self.untracked += 1;
            return None;
        }
        Some(self.known.entry(key).or_default())
    }

    /// The books at `now_ms`, all evidence read that there was when the queue was asked how many messages it holds.
    pub(super) fn totals(&mut self, queue_is_empty: bool, now_ms: i64) -> Totals {
        let mut totals = Totals { untracked: self.untracked, ..Totals::default() };
        let mut oldest_ms = now_ms;
        for known in self.known.values() {
            let Known { sent, sent_at_ms, quarantined, is_accepted, is_rejected } = *known;
            let found = quarantined + u32::from(is_accepted);
            totals.sent += u64::from(sent.max(found));
            totals.quarantined += u64::from(quarantined);
            totals.rejected += u64::from(is_accepted && is_rejected);
            totals.ingested += u64::from(is_accepted && !is_rejected);
            match is_accepted {
                true => totals.dropped += u64::from(sent.saturating_sub(found)),
                false if sent > found => {
                    totals.waiting += u64::from(sent - found);
                    oldest_ms = oldest_ms.min(sent_at_ms);
                }
                false => {}
            }
        }
        totals.oldest_waiting_ms = now_ms.saturating_sub(oldest_ms).unsigned_abs();
        self.empty_since_ms = queue_is_empty.then(|| self.empty_since_ms.unwrap_or(now_ms));
        let is_over = self.empty_since_ms.is_some_and(|since_ms| now_ms.saturating_sub(since_ms) >= EMPTY_FOR_MS);
        totals.nowhere = if is_over { totals.waiting } else { 0 };
        totals
    }
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
