//! Acts on new events: fetches their logs, weighs each failure against the ledger, quarantines what m3ter rejected, and notes what
//! was done.
//!
//! The order keeps the promise: the quarantine is written before the acts that say so. A kill in between costs a repetition, and
//! writing an entry twice is harmless: its id follows from what was rejected. What cannot be decided yet is left for a deeper
//! look, and noted nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;

use futures_util::{StreamExt, stream};
use m3ter_client::{NotAnswered, Session};
use recovery::gather::Look;
use recovery::kept::{STAGE_INGEST, Selection};
use relay_core::canonical::content_uid;
use relay_core::inbound::Origin;
use relay_core::limits::{ATTEMPT_TIMEOUT, DAY_MS, WINDOW_MS};
use relay_store::{Act, EntryText, LineOrigin, NewEntry, Outcome, Store, StoreError, rejection_id};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::counts::Counts;
use crate::cursor::{Depth, HOUR_MS};
use crate::echo::is_of;
use crate::failure::{DUPLICATE_UID, Event, Failure};
use crate::sends::Sends;
use crate::weigh::{CameFrom, Known, Meaning, Rejection, entry_of, rejected_send, weigh};

/// Logs fetched at the same time.
const LOGS: usize = 8;
/// Failures from which on they are settled: a log may tell of a thousand, and each takes some kilobytes until then.
const TOGETHER: usize = 5_000;
/// The longest that an invocation of the relay may take, and a minute: then the ledger has what it sent.
const UNDER_WAY_MS: i64 = 16 * 60_000;
/// An event that comes so soon after a send is about that one.
const PROMPT_MS: i64 = 2 * 60_000;
/// What was sent has a line in the ledger by then, however often its invocations died: a younger event is not yet called a copy of
/// nothing, and waits for the look of the next hour.
const UNSETTLED_MS: i64 = HOUR_MS;
/// The stage's entries have no queue: this is where they come from.
const SOURCE: &str = "m3ter";

/// An event that was not acted on yet, with its text.
pub(crate) struct New {
    pub(crate) event: Event,
    pub(crate) raw: Box<RawValue>,
}

/// Under which circumstances.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Circumstances<'a> {
    /// Names what is written, once.
    pub(crate) name: &'a str,
    pub(crate) now_ms: i64,
    pub(crate) depth: Depth,
    pub(crate) has_ledger: bool,
    /// No log is waited for longer than this.
    pub(crate) logs_until: Instant,
    /// The ledger is read no longer than this.
    pub(crate) read_until: Instant,
    /// Nothing is written after this.
    pub(crate) until: Instant,
}

/// One failure of an event.
struct Told<'e> {
    event: &'e Event,
    failure: Failure,
    /// Its place among those of its event.
    place: usize,
}

/// Acts on `news`. Returns how many of them still wait: their logs could not be fetched, or more of the ledger must be read.
///
/// # Errors
/// [`StoreError`]: of the events that were not noted before, none is, though some may be in the quarantine.
pub(crate) async fn act(
    m3ter: &Session<'_>,
    store: &Store,
    news: &[New],
    here: Circumstances<'_>,
    counts: &mut Counts,
) -> Result<u64, StoreError> {
    let (mut waiting, mut part, mut told) = (0, 0, Vec::<Told<'_>>::new());
    let mut logs = pin!(stream::iter(news).map(|new| read(m3ter, new, here)).buffered(LOGS));
    while let Some((event, log)) = logs.next().await {
        if told.len() >= TOGETHER {
            part += 1;
            waiting += settle(store, &told, part, here, counts).await?;
            told.clear();
        }
        match log {
            Log::Told(failures) => {
                told.extend(failures.into_iter().enumerate().map(|(place, failure)| Told { event, failure, place }));
            }
            Log::Unread => {
                counts.unread_logs += 1;
                waiting += 1;
            }
            Log::Late => {
                counts.late += 1;
                waiting += 1;
            }
        }
    }
    Ok(waiting + settle(store, &told, part + 1, here, counts).await?)
}

/// What came of asking for the log of an event.
enum Log {
    /// Event and log tell this.
    Told(Vec<Failure>),
    /// It could not be fetched.
    Unread,
    /// Time was up.
    Late,
}

async fn read<'e>(m3ter: &Session<'_>, New { event, raw }: &'e New, here: Circumstances<'_>) -> (&'e Event, Log) {
    let Some(link) = &event.link else { return (event, Log::Told(event.alone(raw.get()))) };
    let began = Instant::now();
    let answer = timeout_at(here.logs_until, m3ter.failed_ingest_log(link)).await;
    let log = match answer {
        // It had its time, and was not to be had.
        Err(_) | Ok(Err(NotAnswered::Later)) if began.elapsed() >= ATTEMPT_TIMEOUT => Log::Unread,
        Err(_) | Ok(Err(NotAnswered::Later)) => Log::Late,
        Ok(Ok(log)) if Event::is_log(&log) => Log::Told(event.with_log(&log)),
        Ok(answer) if is_gone(answer.as_ref().err().copied(), here.now_ms.saturating_sub(event.at_ms)) => {
            Log::Told(event.alone(raw.get()))
        }
        Ok(_) => Log::Unread,
    };
    (event, log)
}

/// Whether a log that was not to be had will never be: then what the event tells is all there is, and it must be acted on before m3ter
/// deletes it too. A log may be there later than its event; a file store says 403 of what it has not; and what is no answer at
/// all may be a network's fault.
fn is_gone(refused: Option<NotAnswered>, age_ms: i64) -> bool {
    match refused {
        Some(NotAnswered::Refused { status: 404 | 410 }) => age_ms >= HOUR_MS,
        Some(NotAnswered::Refused { .. }) => age_ms >= DAY_MS,
        Some(NotAnswered::GiveUp | NotAnswered::Unknown | NotAnswered::Later) | None => age_ms >= 7 * DAY_MS,
    }
}

/// Decides what was told, keeps it, and notes it. Returns how many events wait for a deeper look.
async fn settle(
    store: &Store,
    told: &[Told<'_>],
    part: u32,
    here: Circumstances<'_>,
    counts: &mut Counts,
) -> Result<u64, StoreError> {
    let late = |_| StoreError::TimedOut;
    let sends = timeout_at(here.until, sends(store, told, here)).await.map_err(late)??;
    counts.unreadable += sends.unreadable;
    let (came_from, is_torn) =
        timeout_at(here.until, came_from(store, told, &sends, here.now_ms, counts)).await.map_err(late)??;
    // What could not be read now may be read the next time, and may say something else.
    let is_torn = (is_torn || sends.unreadable > 0) && here.depth < Depth::All;
    let (mut acts, mut rejected, mut waiting) = (Vec::new(), Vec::new(), 0);
    let mut found = counts.clone();
    for failures in told.chunk_by(|one, other| std::ptr::eq(one.event, other.event)) {
        let meanings: Vec<Meaning<'_>> = failures.iter().map(|told| meaning(told, &sends, &came_from, is_torn, here)).collect();
        if meanings.iter().any(|meaning| matches!(meaning, Meaning::Unread)) {
            waiting += 1;
            continue;
        }
        for (told, meaning) in failures.iter().zip(meanings) {
            acts.push(act_of(told, &meaning, &mut found));
            if let Meaning::Rejected(rejection) = meaning {
                rejected.push((told, rejection));
            }
        }
        found.events += 1;
    }
    let name = format!("{}-{part}", here.name);
    let origins: Vec<String> = rejected.iter().map(|(_, rejection)| origin_text(rejection)).collect();
    let entries = rejected.iter().zip(&origins).map(|((told, rejection), origin)| entry(told, rejection, origin));
    store.quarantine(&name, here.now_ms, entries, here.until).await?;
    store.put_acts(&name, here.now_ms, &acts, here.until).await?;
    // What was not noted is done again, and counts then.
    *counts = found;
    Ok(waiting)
}

/// What the ledger says of them, as far as this look reads it.
async fn sends(store: &Store, told: &[Told<'_>], here: Circumstances<'_>) -> Result<Sends, StoreError> {
    let mut sends = Sends::default();
    if !here.has_ledger {
        return Ok(sends);
    }
    let uids = |wanted: &dyn Fn(&Told<'_>) -> bool| -> BTreeSet<String> {
        told.iter().filter(|told| wanted(told)).filter_map(|told| told.failure.uid.clone()).collect()
    };
    let dated = told.iter().map(|told| told.event.at_ms).filter(|at_ms| *at_ms > 0);
    let first_event_ms = dated.min().unwrap_or(here.now_ms);
    sends.read_near(store, &uids(&|_| true), (first_event_ms, here.now_ms)).await?;
    // A rejection needs one send; a copy needs to be told from what m3ter has, which may be older.
    let is_copy = |told: &Told<'_>| told.failure.kind == DUPLICATE_UID;
    let is_missing = |told: &Told<'_>| told.failure.uid.as_ref().is_some_and(|uid| sends.of(uid).is_empty());
    let older = uids(&|told| is_copy(told) || is_missing(told));
    let given = told.iter().filter(|told| told.failure.uid.as_ref().is_some_and(|uid| older.contains(uid)));
    let times: BTreeSet<i64> = given.filter_map(|told| told.failure.ts_ms).chain(sends.times(&older)).collect();
    sends.read_times(store, &older, &times, here.now_ms).await?;
    if here.depth > Depth::New {
        let undecided = uids(&|told| {
            let Some(uid) = told.failure.uid.as_ref() else { return false };
            let known = known(told, sends.of(uid), here, None);
            known.is_whole && is_copy(told) && matches!(weigh(&told.failure, Known { is_whole: false, ..known }), Meaning::Unread)
        });
        if !undecided.is_empty() {
            // A ledger too large for the time there is: they are judged by what was read, which keeps them.
            if let Ok(read) = timeout_at(here.read_until, sends.read_all(store, &undecided, here.now_ms)).await {
                read?;
            }
        }
    }
    Ok(sends)
}

fn known<'a>(
    told: &Told<'_>,
    lines: &'a [relay_store::Line],
    here: Circumstances<'_>,
    came_from: Option<&'a CameFrom>,
) -> Known<'a> {
    let Circumstances { depth, has_ledger, now_ms, .. } = here;
    let is_settled = now_ms.saturating_sub(told.event.at_ms) >= UNSETTLED_MS;
    Known { event_at_ms: told.event.at_ms, lines, is_whole: depth > Depth::New && is_settled, has_ledger, came_from }
}

fn meaning<'a>(
    told: &Told<'_>,
    sends: &'a Sends,
    came_from: &'a BTreeMap<Uuid, CameFrom>,
    is_torn: bool,
    here: Circumstances<'_>,
) -> Meaning<'a> {
    let lines = told.failure.uid.as_deref().map_or(&[][..], |uid| sends.of(uid));
    if may_be_under_way(told, lines, here) || (is_torn && told.failure.kind == DUPLICATE_UID) {
        return Meaning::Unread;
    }
    let from = origin(told, sends).and_then(|origin| came_from.get(&entry_of(Some(origin))?));
    weigh(&told.failure, known(told, lines, here, from))
}

/// Whether the send that the event is about may be missing from the ledger, which is written when its invocation ends. Then the event
/// would be taken for one about an earlier send.
fn may_be_under_way(told: &Told<'_>, lines: &[relay_store::Line], here: Circumstances<'_>) -> bool {
    let at_ms = told.event.at_ms;
    let is_young = at_ms > 0 && here.now_ms.saturating_sub(at_ms) < UNDER_WAY_MS;
    here.has_ledger && is_young && !lines.iter().any(|line| line.sent_at >= at_ms.saturating_sub(PROMPT_MS))
}

fn origin<'a>(told: &Told<'_>, sends: &'a Sends) -> Option<&'a LineOrigin> {
    let lines = sends.of(told.failure.uid.as_deref()?);
    rejected_send(&told.failure, told.event.at_ms, lines)?.origin.as_ref()
}

/// The quarantine entries that rejected sends came from, under the same uid.
async fn came_from(
    store: &Store,
    told: &[Told<'_>],
    sends: &Sends,
    now_ms: i64,
    counts: &mut Counts,
) -> Result<(BTreeMap<Uuid, CameFrom>, bool), StoreError> {
    let asked: BTreeMap<Uuid, &str> =
        told.iter().filter_map(|told| Some((entry_of(origin(told, sends))?, told.failure.uid.as_deref()?))).collect();
    if asked.is_empty() {
        return Ok((BTreeMap::new(), false));
    }
    let since_ms = now_ms.saturating_sub(2 * WINDOW_MS);
    let selection = Selection { qids: asked.keys().copied().collect(), ..Selection::all(since_ms, i64::MAX) };
    let mut nothing = |_: u64, _: u64| {};
    let mut look = Look::new(store, (since_ms, now_ms), &mut nothing);
    let chosen = look.entries(&selection).await?;
    counts.unreadable += look.looked.unreadable.len() as u64;
    let of = |(qid, uid): (Uuid, &str)| {
        let from = match chosen.kept.get(&qid) {
            Some((kept, _)) => CameFrom {
                rejected_for: (kept.stage == STAGE_INGEST && kept.uid.as_deref() == Some(uid)).then(|| kept.reason.clone()),
                first_sent_at_ms: kept.first_sent_at_ms,
                quarantined_at_ms: kept.quarantined_at_ms,
            },
            // It is older than that, or unreadable: it may have been rejected, and that is the safe side.
            None => CameFrom { rejected_for: Some(String::new()), first_sent_at_ms: Some(0), quarantined_at_ms: 0 },
        };
        (qid, from)
    };
    let is_torn = !look.looked.unreadable.is_empty() && asked.keys().any(|qid| !chosen.kept.contains_key(qid));
    Ok((asked.into_iter().map(of).collect(), is_torn))
}

fn act_of(told: &Told<'_>, meaning: &Meaning<'_>, counts: &mut Counts) -> Act {
    let Told { event, failure, .. } = told;
    let line = match meaning {
        Meaning::Rejected(rejection) => rejection.line,
        Meaning::Receipt | Meaning::Counted | Meaning::Unjudged | Meaning::Unread => None,
    };
    let meter = failure.meter.clone().or_else(|| line?.meter.clone());
    let (outcome, reason, qid) = match meaning {
        Meaning::Rejected(rejection) => {
            counts.rejected(meter.as_deref(), &rejection.reason, rejection.is_unknown_type);
            (Outcome::Quarantined, Some(rejection.reason.clone()), Some(qid(told, rejection)))
        }
        Meaning::Receipt => {
            counts.receipts += 1;
            (Outcome::Receipt, None, None)
        }
        Meaning::Counted => {
            counts.calculation_errors += 1;
            (Outcome::Recorded, None, None)
        }
        Meaning::Unjudged | Meaning::Unread => {
            counts.unjudged += 1;
            (Outcome::Unjudged, None, None)
        }
    };
    Act {
        event: event.id.clone(),
        event_at: event.at_ms,
        r#type: failure.kind.clone(),
        outcome,
        uid: failure.uid.clone(),
        meter,
        account: failure.account.clone().or_else(|| line?.account.clone()),
        reason,
        qid,
    }
}

/// Without a uid a failure is known by its event alone.
fn qid(told: &Told<'_>, rejection: &Rejection<'_>) -> Uuid {
    let Told { event, failure, place } = told;
    let Some(uid) = failure.uid.as_deref() else {
        return rejection_id("", content_uid(&format!("{place}\n{}", event.id)), None);
    };
    // However m3ter writes it: what was sent tells, unless it is something else, or may be: a ledger without contents cannot say.
    let is_sent = |line: &&relay_store::Line| !failure.is_measurement || is_of(failure, line) == Some(true);
    let of_line = rejection.line.filter(is_sent).map(|line| line.content_hash);
    let content = of_line.or_else(|| failure.content_hash());
    // What came in a file may have come over the queue, too, and is one measurement.
    let by_producer = rejection.line.and_then(|line| line.origin.as_ref()).is_none_or(LineOrigin::is_upload);
    let origin = (!by_producer).then(|| origin_text(rejection));
    rejection_id(uid, content.unwrap_or_else(|| content_uid(uid)), origin.as_deref())
}

fn origin_text(rejection: &Rejection<'_>) -> String {
    let origin = rejection.line.and_then(|line| line.origin.as_ref());
    origin.map(|origin| format!("{}:{}", origin.kind, origin.of)).unwrap_or_default()
}

fn entry<'a>(told: &'a Told<'_>, rejection: &'a Rejection<'a>, origin: &'a str) -> NewEntry<'a> {
    let Told { event, failure, .. } = told;
    let line = rejection.line;
    // As it was sent, unless m3ter speaks of another content.
    let as_sent = line.filter(|line| is_of(failure, line) != Some(false)).and_then(|line| line.measurement.as_deref());
    let text = match as_sent {
        Some(measurement) => EntryText::Measurement(measurement.get()),
        None if failure.is_measurement => EntryText::Measurement(&failure.text),
        None => EntryText::Body(&failure.text),
    };
    NewEntry {
        qid: Some(qid(told, rejection)),
        uid: failure.uid.as_deref(),
        reason: &rejection.reason,
        detail: &rejection.detail,
        stage: STAGE_INGEST,
        first_sent_at_ms: Some(rejection.first_sent_at_ms),
        message_id: line.map_or(&event.id, |line| &line.message_id),
        position: told.place,
        source: SOURCE,
        attributes: Vec::new(),
        queued_at_ms: line.and_then(|line| line.queued_at),
        first_received_at_ms: None,
        receives: line.map_or(0, |line| line.receives),
        origin: Origin::parse(origin),
        text,
    }
}
