//! How much was ingested: what m3ter accepted, and did not reject within the [horizon](HORIZON_MS).
//!
//! Each ledger object is counted once, when all events up to an hour after it was written have been read. A uid counts once in
//! each count, whatever copies of it were sent; copies in two counts are the one thing that this figure overstates, and
//! `reconcile` does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use recovery::kept::UID_CONFLICT;
use recovery::life::HORIZON_MS;
use relay_core::canonical::content_uid;
use relay_core::limits::DAY_MS;
use relay_store::{Folder, Hours, Outcome, Store, StoreError};
use serde::Deserialize;

use crate::counts::OTHER;
use crate::cursor::HOUR_MS;

/// Most that is counted in one go: an hour of ledger.
const SPAN_MS: i64 = HOUR_MS;
/// Most lines that are counted in one go, but for those of one object: some 30 bytes are kept of each.
const LINES_MAX: u64 = 2_000_000;
/// How much m3ter's clock may be behind ours.
const CLOCKS_MS: i64 = 60_000;
/// Most meters that are told apart.
const METERS_MAX: usize = 60;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Measurements by meter.
    pub by_meter: BTreeMap<String, u64>,
    /// Objects written until then are counted now: milliseconds since the epoch.
    pub counted_to_ms: i64,
    /// Objects that could not be read.
    pub unreadable: u64,
}

#[derive(Deserialize)]
struct Sent {
    uid: String,
    #[serde(default)]
    meter: Option<String>,
    sent_at: i64,
    answer: Answer,
}

#[derive(PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Accepted,
    #[serde(other)]
    Other,
}

/// Counts what was written after `counted_to_ms`, and until `settled_ms` at most: at most an hour of it. Counting starts at
/// `settled_ms` if it never did.
///
/// # Errors
/// [`StoreError`] if the store cannot be asked.
pub async fn ingested(store: &Store, counted_to_ms: i64, settled_ms: i64) -> Result<Ingested, StoreError> {
    let mut found = Ingested { counted_to_ms: counted_to_ms.max(0), ..Ingested::default() };
    if counted_to_ms == 0 || counted_to_ms >= settled_ms {
        found.counted_to_ms = counted_to_ms.max(settled_ms);
        return Ok(found);
    }
    let to_ms = settled_ms.min(counted_to_ms.saturating_add(SPAN_MS));
    let listed = store.objects(Folder::Ledger, Hours::between(counted_to_ms, to_ms)).await?;
    let is_due = |at_ms: i64| counted_to_ms < at_ms && at_ms <= to_ms;
    let mut due: Vec<_> = listed.objects.into_iter().filter_map(|object| Some((object.ledger()?, object))).collect();
    due.retain(|(told, _)| is_due(told.written_at_ms));
    due.sort_by_key(|(told, _)| told.written_at_ms);
    found.counted_to_ms = to_ms;
    let mut lines = 0;
    if let Some(most) = due.iter().position(|(told, _)| {
        lines += told.lines;
        lines > LINES_MAX
    }) && let Some(last_ms) = due.get(most.saturating_sub(1)).map(|(told, _)| told.written_at_ms)
    {
        // Those written in the same millisecond belong together: the next count begins after it.
        due.retain(|(told, _)| told.written_at_ms <= last_ms);
        found.counted_to_ms = last_ms;
    }
    let due: Vec<_> = due.into_iter().map(|(_, object)| object).collect();
    if due.is_empty() {
        return Ok(found);
    }
    let rejected = rejected(store, (counted_to_ms, settled_ms.saturating_add(HORIZON_MS)), &mut found.unreadable).await?;
    let read = |kept: &mut Vec<(u128, Option<String>, i64)>, text: &[u8]| {
        let sent: Sent = serde_json::from_slice(text).map_err(|_| "one ledger entry a line")?;
        if sent.answer == Answer::Accepted {
            kept.push((key(&sent.uid), sent.meter, sent.sent_at));
        }
        Ok(())
    };
    let mut seen = BTreeSet::new();
    let torn = store.sift(due, read, |_, sends| {
        for (uid, meter, sent_at) in sends {
            let is_rejected = rejected.get(&uid).is_some_and(|at_ms| at_ms.saturating_add(CLOCKS_MS) >= sent_at);
            if !is_rejected && seen.insert(uid) {
                let meter = meter.unwrap_or_else(|| OTHER.to_owned());
                let is_known = found.by_meter.contains_key(&meter) || found.by_meter.len() < METERS_MAX;
                *found.by_meter.entry(if is_known { meter } else { OTHER.to_owned() }).or_default() += 1;
            }
        }
    });
    let torn = torn.await.len();
    found.unreadable += (listed.unreadable.len() + torn) as u64;
    Ok(found)
}

/// When each uid was last rejected. A second content under a uid says nothing about the first.
async fn rejected(
    store: &Store,
    (from_ms, until_ms): (i64, i64),
    unreadable: &mut u64,
) -> Result<HashMap<u128, i64>, StoreError> {
    let mut rejected = HashMap::new();
    for day in from_ms.div_euclid(DAY_MS)..=until_ms.div_euclid(DAY_MS) {
        let listed = store.acts_of_day(day * DAY_MS).await?;
        let keep = |act: relay_store::Act| {
            let counts = act.outcome == Outcome::Quarantined && act.reason.as_deref() != Some(UID_CONFLICT);
            counts.then(|| Some((key(act.uid.as_deref()?), act.event_at))).flatten()
        };
        let torn = store.acts(listed.objects, keep, |(uid, at_ms)| {
            let last = rejected.entry(uid).or_insert(at_ms);
            *last = at_ms.max(*last);
        });
        *unreadable += (torn.await.len() + listed.unreadable.len()) as u64;
    }
    Ok(rejected)
}

/// When the oldest ledger object was written that is not past the horizon: milliseconds since the epoch.
///
/// # Errors
/// [`StoreError`] if the store cannot be asked.
pub async fn oldest_unsettled_ms(store: &Store, settled_ms: i64, now_ms: i64) -> Result<Option<i64>, StoreError> {
    let mut from_ms = settled_ms;
    // The first hour that holds one is enough.
    while from_ms <= now_ms.saturating_add(HOUR_MS) {
        let hour = Hours::between(from_ms, from_ms);
        let listed = store.objects(Folder::Ledger, hour).await?;
        let written = listed.objects.iter().filter_map(|object| Some(object.ledger()?.written_at_ms));
        if let Some(oldest_ms) = written.filter(|at_ms| *at_ms > settled_ms).min() {
            return Ok(Some(oldest_ms));
        }
        from_ms = hour.span_ms().1;
    }
    Ok(None)
}

fn key(uid: &str) -> u128 {
    content_uid(uid).as_u128()
}
