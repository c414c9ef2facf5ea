//! What the ledger says was sent of some uids, read no further back than needed.
//!
//! A ledger may hold hundreds of millions of lines. Most events are about what was sent within hours: that part is read for each.
//! An earlier copy of a measurement has the same `ts`, and the name of a ledger object tells which times it holds: so of older
//! objects only those that may hold the copy are read. All of m3ter's window is read only where nothing else decides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use relay_core::limits::{CLOCK_SKEW_MS, DAY_MS, WINDOW_MS};
use relay_store::{Folder, Hours, Line, Store, StoreError, StoredObject, Wanted};

use crate::cursor::HOUR_MS;

/// How long before an event the send that it is about is looked for.
const NEAR_MS: i64 = 6 * HOUR_MS;

/// Lines by uid, and which objects they were read from.
#[derive(Default)]
pub(crate) struct Sends {
    lines: BTreeMap<String, Vec<Line>>,
    read: BTreeSet<String>,
    /// Objects that could not be read.
    pub(crate) unreadable: u64,
}

impl Sends {
    /// Lines of `uid`, from the earliest on.
    pub(crate) fn of(&self, uid: &str) -> &[Line] {
        self.lines.get(uid).map_or(&[], Vec::as_slice)
    }

    /// Reads what was written from six hours before `first_event_ms` on.
    pub(crate) async fn read_near(
        &mut self,
        store: &Store,
        uids: &BTreeSet<String>,
        (first_event_ms, now_ms): (i64, i64),
    ) -> Result<(), StoreError> {
        let from_ms = first_event_ms.saturating_sub(NEAR_MS).max(now_ms.saturating_sub(WINDOW_MS + DAY_MS));
        let objects = listed(store, (from_ms, now_ms), &mut self.unreadable).await?;
        self.read(store, uids, objects).await;
        Ok(())
    }

    /// Reads what may hold measurements of `times`: milliseconds since the epoch, in order.
    pub(crate) async fn read_times(
        &mut self,
        store: &Store,
        uids: &BTreeSet<String>,
        times: &BTreeSet<i64>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let Some(first) = times.first() else { return Ok(()) };
        // Nothing is sent before its time, clocks aside.
        let from_ms = first.saturating_sub(CLOCK_SKEW_MS).max(now_ms.saturating_sub(WINDOW_MS + DAY_MS)).min(now_ms);
        let mut objects = listed(store, (from_ms, now_ms), &mut self.unreadable).await?;
        objects.retain(|object| {
            object
                .ledger()
                .is_none_or(|object| times.range(object.ts_min_ms..=object.ts_max_ms.max(object.ts_min_ms)).next().is_some())
        });
        self.read(store, uids, objects).await;
        Ok(())
    }

    /// Reads all that m3ter may remember.
    pub(crate) async fn read_all(&mut self, store: &Store, uids: &BTreeSet<String>, now_ms: i64) -> Result<(), StoreError> {
        let objects = listed(store, (now_ms.saturating_sub(WINDOW_MS + DAY_MS), now_ms), &mut self.unreadable).await?;
        self.read(store, uids, objects).await;
        Ok(())
    }

    /// The times of these uids' measurements, as the ledger has them.
    pub(crate) fn times<'a>(&'a self, uids: &'a BTreeSet<String>) -> impl Iterator<Item = i64> + 'a {
        let ts = |line: &Line| Some(line.ts.as_deref()?.parse::<Timestamp>().ok()?.as_millisecond());
        uids.iter().flat_map(|uid| self.of(uid)).filter_map(ts)
    }

    async fn read(&mut self, store: &Store, uids: &BTreeSet<String>, mut objects: Vec<StoredObject>) {
        objects.retain(|object| !self.read.contains(object.name()));
        self.read.extend(objects.iter().map(|object| object.name().to_owned()));
        if uids.is_empty() || objects.is_empty() {
            return;
        }
        let wanted = Wanted::of(uids.iter().map(String::as_str), []);
        let unreadable = store
            .ledger_lines(objects, wanted, |_, line| {
                if let Some(line) = line.filter(|line| uids.contains(&line.uid)) {
                    self.lines.entry(line.uid.clone()).or_default().push(line);
                }
            })
            .await;
        self.unreadable += unreadable.len() as u64;
        self.lines
            .values_mut()
            .for_each(|lines| lines.sort_by(|one, other| (one.sent_at, &one.batch).cmp(&(other.sent_at, &other.batch))));
    }
}

async fn listed(store: &Store, (from_ms, until_ms): (i64, i64), unreadable: &mut u64) -> Result<Vec<StoredObject>, StoreError> {
    // Writers' clocks may be ahead.
    let listed = store.objects(Folder::Ledger, Hours::between(from_ms, until_ms.saturating_add(HOUR_MS))).await?;
    *unreadable += listed.unreadable.len() as u64;
    Ok(listed.objects)
}
