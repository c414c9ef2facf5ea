//! What a look at m3ter's events came to, for metrics.

use std::collections::BTreeMap;

use recovery::kept::{DUPLICATE_OF_UNKNOWN, REPLAY_DROPPED};
use serde::Serialize;

/// Most pairs of meter and reason that are told apart: each is a metric that costs money.
const PAIRS_MAX: usize = 60;
/// All others together; also what is not known.
pub const OTHER: &str = "Other";

/// Counts of one look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Events acted on.
    pub events: u64,
    /// Measurements that m3ter rejected.
    pub rejected: u64,
    /// The same by meter and reason.
    #[serde(skip)]
    pub rejected_by: BTreeMap<(String, String), u64>,
    /// Copies that m3ter dropped of what it has.
    pub receipts: u64,
    /// Measurements that m3ter counted without a derived field.
    pub calculation_errors: u64,
    /// Failures of a type that m3ter does not document.
    pub unknown_types: u64,
    /// Replays of rejections that m3ter dropped.
    pub replay_dropped: u64,
    /// Copies of what nobody here sent before.
    pub duplicate_of_unknown: u64,
    /// Copies that cannot be judged without a ledger.
    pub unjudged: u64,
    /// Events that wait for a deeper look, or for their log.
    pub waiting: u64,
    /// Events left to the next look for want of time.
    pub late: u64,
    /// Logs that could not be fetched.
    pub unread_logs: u64,
    /// Objects of the store that could not be read.
    pub unreadable: u64,
}

impl Counts {
    pub(crate) fn rejected(&mut self, meter: Option<&str>, reason: &str, is_unknown_type: bool) {
        self.rejected += 1;
        self.unknown_types += u64::from(is_unknown_type);
        self.replay_dropped += u64::from(reason == REPLAY_DROPPED);
        self.duplicate_of_unknown += u64::from(reason == DUPLICATE_OF_UNKNOWN);
        let pair = (meter.unwrap_or(OTHER).to_owned(), reason.to_owned());
        let is_known = self.rejected_by.contains_key(&pair) || self.rejected_by.len() < PAIRS_MAX;
        *self.rejected_by.entry(if is_known { pair } else { (OTHER.to_owned(), OTHER.to_owned()) }).or_default() += 1;
    }
}
