//! What passed by lately: batches with their fill, reasons with an example, and lag over time.
//!
//! Bounded: the last [`BATCHES_MAX`] batches, [`REASONS_MAX`] reasons with one example each, [`SAMPLES_MAX`] samples of lag.
//!
//! Pure: no clock, no network.

use std::collections::{BTreeMap, VecDeque};

use recovery::kept::{DUPLICATE_OF_UNKNOWN, REPLAY_DROPPED, STAGE_INGEST, UID_CONFLICT};
use relay_core::limits::BATCH_MEASUREMENTS_MAX;
use relay_core::reason::Reason;
use serde::Serialize;
use uuid::Uuid;

use crate::check;

/// Most batches that are shown.
const BATCHES_MAX: usize = 14;
/// Most reasons that are told apart. The relay has 29, and m3ter four that it documents.
const REASONS_MAX: usize = 60;
/// All others together.
const OTHER: &str = "Other";
/// Samples of lag: one each look, so two minutes at the usual pace.
const SAMPLES_MAX: usize = 120;
/// Longest text of an example: what the API said may be long.
const DETAIL_CHARS_MAX: usize = 240;

/// A batch: what one request to m3ter held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Batch {
    /// When it was sent: milliseconds since the epoch.
    pub(super) at_ms: i64,
    /// Its name: the invocation and the number of the request.
    pub(super) name: String,
    /// Measurements in it.
    pub(super) measurements: u64,
    /// The most that one can hold.
    pub(super) of: u64,
    /// Whether m3ter's answer came.
    pub(super) is_answered: bool,
    /// The most requests that one of its measurements took.
    pub(super) attempts: u32,
    /// The most often that one of its messages was delivered.
    pub(super) receives: u32,
}

impl Batch {
    /// An empty one.
    pub(super) fn named(name: String) -> Self {
        let (measurements, of) = (0, BATCH_MEASUREMENTS_MAX as u64);
        Self { at_ms: i64::MAX, name, measurements, of, is_answered: true, attempts: 0, receives: 0 }
    }
}

/// One measurement that could not go on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Example {
    /// The entry's id.
    pub(super) qid: Uuid,
    /// Its uid.
    pub(super) uid: Option<String>,
    /// Its meter.
    pub(super) meter: Option<String>,
    /// Its account.
    pub(super) account: Option<String>,
    /// What was expected.
    pub(super) detail: String,
    /// When it was quarantined: milliseconds since the epoch.
    pub(super) at_ms: i64,
}

/// A reason, and how often.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Group {
    /// The stable name.
    reason: String,
    /// Whether m3ter gave it, after it had accepted the measurement.
    is_later: bool,
    entries: u64,
    mend: &'static str,
    /// The newest.
    example: Example,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Seen {
    batches: VecDeque<Batch>,
    groups: BTreeMap<(String, bool), Group>,
    lag_ms: VecDeque<u64>,
    /// Batches in all.
    pub(super) batches_in_all: u64,
    /// Measurements whose message had been delivered before.
    pub(super) delivered_again: u64,
}

impl Seen {
    /// A batch was sent.
    pub(super) fn batch(&mut self, batch: Batch) {
        self.batches_in_all += 1;
        let place = self.batches.partition_point(|one| one.at_ms <= batch.at_ms);
        self.batches.insert(place, batch);
        if self.batches.len() > BATCHES_MAX {
            self.batches.pop_front();
        }
    }

    /// Something was quarantined.
    pub(super) fn entry(&mut self, reason: &str, stage: &str, mut example: Example) {
        if let Some((end, _)) = example.detail.char_indices().nth(DETAIL_CHARS_MAX) {
            example.detail.truncate(end);
            example.detail.push('…');
        }
        let is_later = stage == STAGE_INGEST;
        let is_known = self.groups.contains_key(&(reason.to_owned(), is_later)) || self.groups.len() < REASONS_MAX;
        let reason = if is_known { reason } else { OTHER };
        let new = || Group {
            reason: reason.to_owned(),
            is_later,
            entries: 0,
            mend: mend(reason, is_later),
            example: Example::default(),
        };
        let group = self.groups.entry((reason.to_owned(), is_later)).or_insert_with(new);
        group.entries += 1;
        if example.at_ms >= group.example.at_ms {
            group.example = example;
        }
    }

    /// How long usage takes, at this look.
    pub(super) fn lag(&mut self, ms: u64) {
        self.lag_ms.push_back(ms);
        if self.lag_ms.len() > SAMPLES_MAX {
            self.lag_ms.pop_front();
        }
    }

    /// The last batches, the newest first.
    pub(super) fn batches(&self) -> Vec<Batch> {
        self.batches.iter().rev().cloned().collect()
    }

    /// The reasons, the most frequent first.
    pub(super) fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.groups.values().cloned().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.entries));
        groups
    }

    /// Lag, the oldest sample first: milliseconds.
    pub(super) fn lags(&self) -> Vec<u64> {
        self.lag_ms.iter().copied().collect()
    }
}

/// How to mend what is kept for `reason`: the words of `check`, and for what m3ter says later those of docs/OPERATING.md.
fn mend(reason: &str, is_later: bool) -> &'static str {
    match (reason, is_later) {
        ("UndefinedMeter", true) => "Create the meter in m3ter and replay; a wrong code: export, mend, import.",
        ("MissingField", true) => "Take the field off the meter and replay; or export, add the field, import.",
        ("DuplicateField", true) => "Export, leave the field under one category, import; and mend the producer.",
        ("InvalidAccountCode", true) => {
            "Another customer: create the account and replay; a typing error: export, mend the code, import."
        }
        (UID_CONFLICT, true) => "Another measurement: replay it under a new uid; the same one, changed: drop it.",
        (REPLAY_DROPPED, true) => "Find out whether m3ter counted it: if not, replay it under a new uid; if so, drop it.",
        (DUPLICATE_OF_UNKNOWN, true) => "Another measurement: replay it under a new uid; the same one: drop it.",
        (_, true) => "Read what m3ter says, and find out whether it was counted before you replay it.",
        (name, false) => {
            let known = Reason::ALL.into_iter().find(|reason| reason.name() == name);
            known.map_or("Read what was expected: usage-relay quarantine show QID.", check::mend)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(at_ms: i64) -> Batch {
        Batch { at_ms, ..Batch::named(format!("b-{at_ms}")) }
    }

    #[test]
    fn the_last_batches_are_kept_and_the_newest_comes_first() {
        let mut seen = Seen::default();
        for at_ms in [5, 3, 100, 4].into_iter().chain(6..30) {
            seen.batch(batch(at_ms));
        }
        let kept: Vec<i64> = seen.batches().iter().map(|batch| batch.at_ms).collect();
        let expected: Vec<i64> = std::iter::once(100).chain((17..30).rev()).collect();
        assert_eq!((kept, seen.batches_in_all), (expected, 28));
    }

    #[test]
    fn reasons_are_counted_with_their_newest_example_and_how_to_mend_it() {
        let mut seen = Seen::default();
        let example = |at_ms| Example { at_ms, uid: Some(format!("u-{at_ms}")), ..Example::default() };
        seen.entry("UidMissing", "guard", example(1));
        for at_ms in [7, 5] {
            seen.entry("UidConflict", "guard", example(at_ms));
        }
        seen.entry("UidConflict", STAGE_INGEST, example(2));
        let groups = seen.groups();
        let told: Vec<_> = groups.iter().map(|one| (one.reason.as_str(), one.is_later, one.entries, one.example.at_ms)).collect();
        assert_eq!(told, [("UidConflict", false, 2, 7), ("UidConflict", true, 1, 2), ("UidMissing", false, 1, 1)]);
        assert_ne!(groups[0].mend, groups[1].mend);
    }

    #[test]
    fn memory_is_bounded_whatever_passes_by() {
        let mut seen = Seen::default();
        for number in 0..1_000 {
            seen.entry(&format!("reason {number}"), "ingest", Example { detail: "ä".repeat(5_000), ..Example::default() });
            seen.lag(number);
        }
        let groups = seen.groups();
        assert_eq!((groups.len(), groups[0].reason.as_str()), (REASONS_MAX + 1, OTHER));
        assert_eq!(groups.iter().map(|group| group.entries).sum::<u64>(), 1_000);
        assert!(groups.iter().all(|group| group.example.detail.chars().count() == DETAIL_CHARS_MAX + 1));
        assert_eq!(seen.lags(), (880..1_000).collect::<Vec<u64>>());
    }

    #[test]
    fn every_reason_of_the_relay_says_how_to_mend_it() {
        for reason in Reason::ALL {
            assert_eq!(mend(reason.name(), false), check::mend(reason));
        }
    }
}
