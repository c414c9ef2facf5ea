//! The life of a measurement: what the store holds about one uid, in order, and what it comes to in one sentence.
//!
//! A ledger line is one invocation's word about it, a quarantine entry another's; markers are the operators', acts tell what
//! m3ter said later. Clocks differ between them, so what happened within moments may stand in another order than it happened.

mod ending;

use std::collections::BTreeMap;

use jiff::Timestamp;
use relay_store::{Act, Action, LedgerAnswer, Line, LineOrigin, Outcome};
use serde::Serialize;
use uuid::Uuid;

use self::ending::ending;
use crate::kept::Kept;
use crate::standing::Facts;

/// A measurement counts as ingested if m3ter rejected it in none of its events until so long after it accepted it: an hour. m3ter
/// says minutes; the horizon is ours.
pub const HORIZON_MS: i64 = 60 * 60 * 1_000;

/// `2026-01-02T03:04:05.678Z` of milliseconds since the epoch.
pub fn time(at_ms: i64) -> String {
    let at = Timestamp::from_millisecond(at_ms).unwrap_or_default();
    format!("{at:.3}")
}

/// A quarantine entry, as its story needs it.
#[derive(Clone, Debug)]
pub struct Episode {
    /// The entry.
    pub kept: Kept,
    /// What was expected.
    pub detail: String,
    /// The queue's id of the message.
    pub message_id: String,
    /// When the message was queued: milliseconds since the epoch.
    pub queued_at_ms: Option<i64>,
    /// How often it had been delivered.
    pub receives: u32,
    /// What was done about it.
    pub facts: Facts,
}

/// What is known of one uid. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its lines of the ledger, in any order.
    pub lines: &'a [Line],
    /// Its entries.
    pub episodes: &'a [Episode],
    /// What m3ter said of it later, but for what is in the quarantine. In order.
    pub acts: &'a [Act],
    /// Until when all of m3ter's events were read; `None` if they never were.
    pub events_read_to_ms: Option<i64>,
    /// How far back was looked.
    pub since_ms: i64,
    /// When.
    pub now_ms: i64,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// When: milliseconds since the epoch.
    pub at_ms: i64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// A message that holds it was put on the queue.
    Queued {
        /// The message.
        message_id: String,
        /// On whose behalf, if not a producer's: `<kind>:<of>`.
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<String>,
    },
    /// m3ter accepted it for the first time.
    Accepted(Sent),
    /// m3ter accepted it once more: it keeps the first.
    AcceptedAgain {
        /// Whether that was another content under the same uid.
        other_content: bool,
        /// The request.
        #[serde(flatten)]
        sent: Sent,
    },
    /// It was sent, and nobody knows whether m3ter took it.
    Unanswered(Sent),
    /// It could not go on.
    Quarantined {
        /// The entry.
        qid: Uuid,
        /// Why.
        reason: String,
        /// What was expected.
        detail: String,
        /// Whether the whole message was quarantined, with it inside.
        whole_message: bool,
    },
    /// m3ter rejected it after it had accepted it.
    RejectedLater {
        /// The entry.
        qid: Uuid,
        /// Why.
        reason: String,
        /// In m3ter's words.
        detail: String,
    },
    /// m3ter dropped a copy of what it has: it has it.
    Receipt,
    /// m3ter counted it, and could not compute a field that it derives.
    NotCalculated,
    /// m3ter dropped a copy under its uid, and without a ledger nobody can say of what.
    Unjudged,
    /// An operator sent it again as it was.
    Replayed(SentAgain),
    /// An operator sent it again after mending it.
    Corrected(SentAgain),
    /// An operator gave it up.
    Dropped {
        /// The entry.
        qid: Uuid,
        /// Why.
        because: String,
        /// Who.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// A request that held it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// The batch: the last that held it in that invocation.
    pub batch: String,
    /// The message, or the upload.
    pub message_id: String,
    /// Whether it went in a file, whose job says later what became of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_file: bool,
    /// How many requests of the invocation held it.
    pub attempts: u32,
    /// How often the message had been delivered.
    pub receives: u32,
}

/// An entry that was sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SentAgain {
    /// The entry.
    pub qid: Uuid,
    /// The claim, from 1.
    pub claim: u32,
    /// The uid it went out under, if not its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new_uid: Option<String>,
    /// Whether its age was overruled.
    pub beyond_window: bool,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// Where a measurement is in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// m3ter accepted it, and rejected it in none of its events until an hour later.
    Ingested,
    /// m3ter accepted it, and it is not known yet whether it rejected it later.
    Accepted,
    /// m3ter rejected it afterwards.
    RejectedLater,
    /// It is in the quarantine, and something is to be done.
    Quarantined,
    /// It was sent again, and the outcome is not there yet.
    UnderWay,
    /// An operator gave it up.
    Dropped,
    /// It went out under another uid.
    Superseded,
    /// It was sent, and nobody knows more.
    Unanswered,
    /// The store knows nothing of it.
    NotFound,
}

/// The story of one uid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Story {
    /// The uid.
    pub uid: String,
    /// Its meter, where that is known.
    pub meter: Option<String>,
    /// Its account.
    pub account: Option<String>,
    /// Its time, as written.
    pub ts: Option<String>,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Where it is.
    pub place: Place,
    /// The same in plain words.
    pub sentence: String,
}

impl Story {
    /// What `known`, all of this uid, comes to.
    pub fn of(uid: &str, known: &Known<'_>) -> Story {
        let Known { lines, episodes, acts, .. } = *known;
        let first_accepted = lines.iter().filter(|line| line.answer == LedgerAnswer::Accepted).min_by_key(|line| line.sent_at);
        let mut events = Vec::new();
        queued(lines, episodes, &mut events);
        for line in lines {
            events.push(Event { at_ms: line.sent_at, what: sent(line, first_accepted) });
        }
        for episode in episodes {
            quarantined(episode, &mut events);
        }
        events.extend(acts.iter().filter_map(|act| Some(Event { at_ms: act.event_at, what: said_later(act)? })));
        events.sort_by_key(|event| (event.at_ms, event.what.rank()));
        let (place, sentence) = ending(known, first_accepted);
        let known = lines.iter().find(|line| line.meter.is_some());
        let kept = episodes.iter().map(|episode| &episode.kept).find(|kept| kept.meter.is_some());
        Story {
            uid: uid.to_owned(),
            meter: known.and_then(|line| line.meter.clone()).or_else(|| kept?.meter.clone()),
            account: known.and_then(|line| line.account.clone()).or_else(|| kept?.account.clone()),
            ts: known.and_then(|line| line.ts.clone()),
            events,
            place,
            sentence,
        }
    }
}

impl What {
    /// Of what happened in the same millisecond, what comes first.
    fn rank(&self) -> u8 {
        match self {
            What::Queued { .. } => 0,
            What::Unanswered(_) => 1,
            What::Accepted(_) => 2,
            What::AcceptedAgain { .. } => 3,
            What::Quarantined { .. } | What::RejectedLater { .. } | What::Receipt | What::NotCalculated | What::Unjudged => 4,
            What::Replayed(_) | What::Corrected(_) => 5,
            What::Dropped { .. } => 6,
        }
    }
}

/// Each message once, though it may have been delivered many times.
fn queued(lines: &[Line], episodes: &[Episode], events: &mut Vec<Event>) {
    let of_lines = lines.iter().map(|line| {
        let origin = line.origin.as_ref().map(|origin| format!("{}:{}", origin.kind, origin.of));
        (&line.message_id, line.queued_at, origin)
    });
    let of_entries = episodes.iter().map(|episode| (&episode.message_id, episode.queued_at_ms, None));
    let mut messages: BTreeMap<&String, (i64, Option<String>)> = BTreeMap::new();
    for (message_id, queued_at, origin) in of_lines.chain(of_entries) {
        let Some(at_ms) = queued_at else { continue };
        let (first_ms, known) = messages.entry(message_id).or_insert((at_ms, None));
        *first_ms = at_ms.min(*first_ms);
        *known = known.take().or(origin);
    }
    for (message_id, (at_ms, origin)) in messages {
        events.push(Event { at_ms, what: What::Queued { message_id: message_id.clone(), origin } });
    }
}

fn sent(line: &Line, first_accepted: Option<&Line>) -> What {
    let in_file = line.origin.as_ref().is_some_and(LineOrigin::is_upload);
    let (batch, message_id) = (line.batch.clone(), line.message_id.clone());
    let sent = Sent { batch, message_id, in_file, attempts: line.attempts, receives: line.receives };
    match (line.answer, first_accepted) {
        (LedgerAnswer::Unknown, _) => What::Unanswered(sent),
        (LedgerAnswer::Accepted, Some(first)) if !std::ptr::eq(first, line) => {
            What::AcceptedAgain { other_content: first.content_hash != line.content_hash, sent }
        }
        (LedgerAnswer::Accepted, _) => What::Accepted(sent),
    }
}

/// What is in the quarantine is told by its entry.
fn said_later(act: &Act) -> Option<What> {
    match act.outcome {
        Outcome::Quarantined => None,
        Outcome::Receipt => Some(What::Receipt),
        Outcome::Recorded => Some(What::NotCalculated),
        Outcome::Unjudged => Some(What::Unjudged),
    }
}

fn quarantined(episode: &Episode, events: &mut Vec<Event>) {
    let Episode { kept, detail, facts, .. } = episode;
    let (qid, reason, detail) = (kept.qid, kept.reason.clone(), detail.clone());
    let what = match kept.is_rejected() {
        true => What::RejectedLater { qid, reason, detail },
        false => What::Quarantined { qid, reason, detail, whole_message: kept.is_body },
    };
    events.push(Event { at_ms: kept.quarantined_at_ms, what });
    for (claim, marker) in &facts.claims {
        let again = SentAgain {
            qid,
            claim: *claim,
            new_uid: marker.new_uid.clone(),
            beyond_window: marker.beyond_window,
            by: marker.by.clone(),
        };
        let what = if marker.action == Action::Import { What::Corrected(again) } else { What::Replayed(again) };
        events.push(Event { at_ms: marker.at, what });
    }
    if let Some(marker) = &facts.dropped {
        let because = marker.because.clone().unwrap_or_default();
        events.push(Event { at_ms: marker.at, what: What::Dropped { qid, because, by: marker.by.clone() } });
    }
}

#[cfg(test)]
#[path = "life_tests.rs"]
mod tests;
