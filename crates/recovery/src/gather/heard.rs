//! Reads what m3ter said later: the acts about its events, and until when these were read.
//!
//! Both are written by the job that watches m3ter. Without it there are none, and nothing is known of what m3ter rejected.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::{StreamExt, TryStreamExt, stream};
use relay_core::limits::DAY_MS;
use relay_store::{Act, Outcome, StoreError, Unreadable};
use serde::Deserialize;

use super::Look;

/// How far m3ter's events were read, as the job that reads them keeps it.
const CURSOR: &str = "watch/v1/cursor.json";
/// Days listed at the same time.
const LISTINGS: usize = 8;

/// Of the cursor, what matters here.
#[derive(Deserialize)]
struct Cursor {
    /// Milliseconds since the epoch; 0 is never.
    #[serde(default)]
    read_to: i64,
}

impl Look<'_> {
    /// Acts about `uids` that put nothing into the quarantine, of events from the day of `from_ms` on, in order.
    pub(super) async fn acts(&mut self, uids: &BTreeSet<String>, from_ms: i64) -> Result<BTreeMap<String, Vec<Act>>, StoreError> {
        let (since_ms, until_ms) = self.hours.span_ms();
        let days = from_ms.max(since_ms).div_euclid(DAY_MS)..=until_ms.div_euclid(DAY_MS);
        let store = self.store;
        let listings = stream::iter(days).map(async |day| store.acts_of_day(day * DAY_MS).await);
        let listed: Vec<_> = listings.buffer_unordered(LISTINGS).try_collect().await?;
        let mut objects = Vec::new();
        for day in listed {
            objects.extend(day.objects);
            self.looked.add_unreadable(day.unreadable);
        }
        let wanted = uids.clone();
        let keep = move |act: Act| {
            let uid = act.uid.clone().filter(|uid| act.outcome != Outcome::Quarantined && wanted.contains(uid))?;
            Some((uid, act))
        };
        let mut found: BTreeMap<String, Vec<Act>> = BTreeMap::new();
        let unreadable = store.acts(objects, keep, |(uid, act)| found.entry(uid).or_default().push(act)).await;
        self.looked.add_unreadable(unreadable);
        // Two looks at the same time may both have acted on an event.
        for acts in found.values_mut() {
            acts.sort_by(|one, other| (one.event_at, &one.event).cmp(&(other.event_at, &other.event)));
            acts.dedup_by(|one, other| one.event == other.event && one.outcome == other.outcome);
        }
        Ok(found)
    }

    /// Until when all of m3ter's events were read; `None` if they never were.
    pub(super) async fn events_read_to(&mut self) -> Result<Option<i64>, StoreError> {
        match self.store.document::<Cursor>(CURSOR).await {
            Ok(cursor) => Ok(cursor.map(|cursor| cursor.read_to).filter(|read_to| *read_to > 0)),
            Err(StoreError::Unreadable { name, expected }) => {
                self.looked.add_unreadable(vec![Unreadable { name, expected: format!("expected {expected}") }]);
                Ok(None)
            }
            Err(error @ (StoreError::Failed(_) | StoreError::TimedOut)) => Err(error),
        }
    }
}
