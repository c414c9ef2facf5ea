//! Reads the store: the ledger added up, and what explains differences. The only place of the reconciliation that does.
//!
//! A ledger object says in its name which times its measurements span. Of the hours from the first day on, until now, those that
//! touch the days asked for are read, each once; those with a uid of several contents a second time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use recovery::kept::STAGE_INGEST;
use recovery::life::HORIZON_MS;
use relay_core::limits::{CLOCK_SKEW_MS, DAY_MS};
use relay_store::{Entry, Folder, Hours, LedgerAnswer, Line, LineOrigin, Store, StoredObject, Unreadable};

use super::explain::{Contest, Explanations, Rejection, explain};
use super::held::{Content, Held, Names, Place, Uid};
use super::report::{Horizon, Unread, time_text};
use super::totals::{Sent, TooMuch, Totals};
use super::{Question, ReconcileError, Step};
use crate::cursor::{Cursor, HOUR_MS};

/// Which measurements are meant: shared by the threads that read.
#[derive(Debug)]
struct Meant {
    from_day: i64,
    until_day: i64,
    meters: BTreeSet<String>,
    accounts: BTreeSet<String>,
}

impl Meant {
    fn holds(&self, place: &Place) -> bool {
        let is_named = |names: &BTreeSet<String>, name: &str| names.is_empty() || names.contains(name);
        (self.from_day..self.until_day).contains(&place.day)
            && is_named(&self.meters, &place.meter)
            && is_named(&self.accounts, &place.account)
    }
}

/// The store's side of a reconciliation.
pub(crate) struct Gathered {
    pub(crate) totals: Totals,
    pub(crate) explanations: Explanations,
    pub(crate) contested: u64,
    pub(crate) lines_without_measurement: u64,
    pub(crate) horizon: Horizon,
    pub(crate) unread: Vec<Unread>,
}

/// Reads what `question` means, written until `now_ms`.
pub(crate) async fn gather(
    store: &Store,
    question: &Question,
    now_ms: i64,
    tell: &mut dyn FnMut(Step, u64, u64),
) -> Result<Gathered, ReconcileError> {
    let (from_day, until_day) = question.days();
    let meant = Arc::new(Meant { from_day, until_day, meters: question.meters.clone(), accounts: question.accounts.clone() });
    // Sent not before its time, less what clocks differ; writers' clocks may be ahead of ours.
    let hours = Hours::between(from_day * DAY_MS - CLOCK_SKEW_MS, now_ms.saturating_add(HOUR_MS));
    let cursor = Cursor::read(store).await?;
    let read_to = Some(cursor.read_to).filter(|at_ms| *at_ms > 0);
    let settled_until_ms = now_ms.min(read_to.unwrap_or(now_ms)).saturating_sub(HORIZON_MS);
    let mut unread = Vec::new();
    let quarantine = listed(store, Folder::Quarantine, hours, &mut unread).await?;
    let quarantine_objects = quarantine.len() as u64;
    let rejections = rejections(store, quarantine, &meant, question.bounds.whole, tell, &mut unread).await?;
    let all = listed(store, Folder::Ledger, hours, &mut unread).await?;
    let ledger_objects_listed = all.len() as u64;
    let (from_ms, until_ms) = (from_day * DAY_MS, until_day * DAY_MS);
    // What does not say what it spans is read.
    let touches =
        |object: &StoredObject| object.ledger().is_none_or(|object| object.ts_min_ms < until_ms && object.ts_max_ms >= from_ms);
    let objects: Vec<StoredObject> = all.into_iter().filter(touches).collect();
    let ledger_objects = objects.len() as u64;
    let mut totals = Totals::new(question.bounds, settled_until_ms, rejections.iter().map(|one| Uid::of(&one.uid)));
    let lines_without_measurement = add_up(store, objects.clone(), &meant, &mut totals, tell, &mut unread).await?;
    let contests = contests(store, objects, &meant, &mut totals, question.bounds.whole, tell, &mut unread).await?;
    let explanations = explain(&mut totals, &rejections, &contests, settled_until_ms);
    unread.sort();
    unread.dedup();
    let (read_from_ms, _) = hours.span_ms();
    let horizon = Horizon {
        read_from: time_text(read_from_ms),
        read_until: time_text(now_ms),
        settled_until: time_text(settled_until_ms),
        events_read_to: read_to.map(time_text),
        ledger_objects,
        ledger_objects_listed,
        quarantine_objects,
    };
    Ok(Gathered { totals, explanations, contested: contests.len() as u64, lines_without_measurement, horizon, unread })
}

async fn listed(
    store: &Store,
    folder: Folder,
    hours: Hours,
    unread: &mut Vec<Unread>,
) -> Result<Vec<StoredObject>, ReconcileError> {
    let listed = store.objects(folder, hours).await?;
    unread.extend(listed.unreadable.into_iter().map(Unread::from));
    Ok(listed.objects)
}

impl From<Unreadable> for Unread {
    fn from(one: Unreadable) -> Unread {
        Unread { name: one.name, expected: one.expected }
    }
}

/// Entries of what m3ter rejected after it had accepted it.
async fn rejections(
    store: &Store,
    objects: Vec<StoredObject>,
    meant: &Arc<Meant>,
    most: usize,
    tell: &mut dyn FnMut(Step, u64, u64),
    unread: &mut Vec<Unread>,
) -> Result<Vec<Rejection>, ReconcileError> {
    let meant = Arc::clone(meant);
    let keep = move |entry: Entry| {
        let measurement = entry.measurement.filter(|_| entry.stage == STAGE_INGEST)?;
        let held = Held::of_text(measurement.get(), &mut Names::default());
        // One that cannot be read may still be known by its uid.
        held.as_ref().is_none_or(|held| meant.holds(&held.place)).then_some(Rejection {
            uid: entry.uid?,
            qid: entry.qid,
            reason: entry.reason,
            quarantined_at_ms: entry.quarantined_at,
            content: Content::of_text(measurement.get()),
            held,
        })
    };
    let (mut done, of) = (0, objects.len() as u64);
    let (mut found, mut too_many) = (Vec::new(), false);
    tell(Step::Quarantine, done, of);
    let unreadable = store.entries(objects, keep, |_, rejection| match rejection {
        Some(rejection) if found.len() < most => found.push(rejection),
        Some(_) => too_many = true,
        None => {
            done += 1;
            tell(Step::Quarantine, done, of);
        }
    });
    unread.extend(unreadable.await.into_iter().map(Unread::from));
    match too_many {
        true => Err(TooMuch { most, what: "rejected measurements" }.into()),
        false => Ok(found),
    }
}

/// What is kept of a ledger object.
#[derive(Default)]
struct Kept {
    names: Names,
    sent: Vec<Sent>,
    without_measurement: u64,
}

/// Reads one line into what is kept; only lines of `only`, if that is given.
fn keep(kept: &mut Kept, text: &[u8], meant: &Meant, only: Option<&BTreeSet<Uid>>) -> Result<(), &'static str> {
    const ENTRY: &str = "one ledger entry a line";
    let line: Line = serde_json::from_slice(text).map_err(|_| ENTRY)?;
    let uid = Uid::of(&line.uid);
    if only.is_some_and(|only| !only.contains(&uid)) {
        return Ok(());
    }
    let accepted = line.answer == LedgerAnswer::Accepted;
    // Each row of a file has such a line before it has another. Those of a file whose job is still open after two days are not told apart.
    if !accepted && line.origin.as_ref().is_some_and(LineOrigin::is_upload) {
        return Ok(());
    }
    let (Some(meter), Some(account), Some(ts), Some(measurement)) = (&line.meter, &line.account, &line.ts, &line.measurement)
    else {
        kept.without_measurement += u64::from(accepted);
        return Ok(());
    };
    let held = Held::of((meter, account, ts), measurement.get(), &mut kept.names).ok_or(ENTRY)?;
    if meant.holds(&held.place) {
        kept.sent.push(Sent { uid, content: Content::of(line.content_hash), sent_at_ms: line.sent_at, accepted, held });
    }
    Ok(())
}

/// Adds up `objects`; gives the number of lines without a measurement.
async fn add_up(
    store: &Store,
    objects: Vec<StoredObject>,
    meant: &Arc<Meant>,
    totals: &mut Totals,
    tell: &mut dyn FnMut(Step, u64, u64),
    unread: &mut Vec<Unread>,
) -> Result<u64, ReconcileError> {
    let meant = Arc::clone(meant);
    let read = move |kept: &mut Kept, text: &[u8]| keep(kept, text, &meant, None);
    let (mut done, of) = (0, objects.len() as u64);
    let (mut without_measurement, mut added) = (0, Ok(()));
    tell(Step::Ledger, done, of);
    let unreadable = store.sift(objects, read, |_, kept: Kept| {
        without_measurement += kept.without_measurement;
        if added.is_ok() {
            added = kept.sent.into_iter().try_for_each(|sent| totals.add(sent));
        }
        done += 1;
        tell(Step::Ledger, done, of);
    });
    unread.extend(unreadable.await.into_iter().map(Unread::from));
    added?;
    Ok(without_measurement)
}

/// Settles the uids with several contents, for which their lines are read again.
async fn contests(
    store: &Store,
    objects: Vec<StoredObject>,
    meant: &Arc<Meant>,
    totals: &mut Totals,
    most: usize,
    tell: &mut dyn FnMut(Step, u64, u64),
    unread: &mut Vec<Unread>,
) -> Result<Vec<Contest>, ReconcileError> {
    let uids = totals.contested();
    if uids.is_empty() {
        return Ok(Vec::new());
    }
    let (meant, uids) = (Arc::clone(meant), Arc::new(uids));
    let read = move |kept: &mut Kept, text: &[u8]| keep(kept, text, &meant, Some(&uids));
    let (mut done, of) = (0, objects.len() as u64);
    let (mut lines, mut held): (BTreeMap<Uid, Vec<Sent>>, usize) = (BTreeMap::new(), 0);
    tell(Step::Contests, done, of);
    let unreadable = store.sift(objects, read, |_, kept: Kept| {
        for sent in kept.sent.into_iter().filter(|sent| sent.accepted) {
            held += 1;
            if held <= most {
                lines.entry(sent.uid).or_default().push(sent);
            }
        }
        done += 1;
        tell(Step::Contests, done, of);
    });
    unread.extend(unreadable.await.into_iter().map(Unread::from));
    if held > most {
        return Err(TooMuch { most, what: "lines whose uid has several contents" }.into());
    }
    let mut contests = Vec::new();
    for lines in lines.into_values() {
        if let Some((earliest, others)) = totals.contest(lines)? {
            contests.push(Contest { earliest, others });
        }
    }
    Ok(contests)
}
