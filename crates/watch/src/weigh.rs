//! What a failure means, weighed against what the ledger says was sent. Pure.
//!
//! A measurement that m3ter rejected is quarantined, with m3ter's reason. `DuplicateUid` alone needs judgement: m3ter dropped a
//! copy, but of what? Most are the receipts of re-sends. It is one only if the ledger shows the same content throughout and a
//! plausible earlier send; anything else may be usage that nobody will bill, and is kept.
//!
//! Whether m3ter keeps the uid of what it rejected is unpublished. If it does, the replay of a rejection ends as
//! `DuplicateUid` too: so no such replay is ever taken for a receipt.

use recovery::kept::{DUPLICATE_OF_UNKNOWN, REPLAY_DROPPED, UID_CONFLICT};
use relay_store::{LedgerAnswer, Line, LineOrigin};
use uuid::Uuid;

use crate::echo::is_of;
use crate::failure::{CALCULATION_ERROR, DUPLICATE_UID, Failure, KNOWN};

/// How much m3ter's clock may be behind ours.
const CLOCKS_MS: i64 = 60_000;
/// Two sends that are further apart reached m3ter in that order: a quarter of an hour that a request may be late, and clocks.
const ORDER_MS: i64 = 30 * 60_000;

const CONFLICT_DETAIL: &str = "expected one content under one uid; m3ter keeps the first that it got";

/// What is known besides the failure.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// When m3ter raised the event: milliseconds since the epoch; 0 if it did not say.
    pub event_at_ms: i64,
    /// Lines of the uid, from the earliest on, as far as the ledger was read.
    pub lines: &'a [Line],
    /// Whether the ledger was read as far back as m3ter remembers.
    pub is_whole: bool,
    /// Whether there is a ledger.
    pub has_ledger: bool,
    /// The quarantine entry that the rejected send came from.
    pub came_from: Option<&'a CameFrom>,
}

/// The quarantine entry that a send came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameFrom {
    /// Why it was there, if m3ter had rejected it under the same uid.
    pub rejected_for: Option<String>,
    /// When it was first sent: milliseconds since the epoch; `None` if it certainly never was.
    pub first_sent_at_ms: Option<i64>,
    /// When it was quarantined: milliseconds since the epoch.
    pub quarantined_at_ms: i64,
}

/// What a failure means.
#[derive(Clone, Debug)]
pub enum Meaning<'a> {
    /// m3ter did not count the measurement: it belongs into the quarantine.
    Rejected(Rejection<'a>),
    /// m3ter dropped a copy of what it has.
    Receipt,
    /// m3ter counted it all the same.
    Counted,
    /// Without a ledger nobody can say.
    Unjudged,
    /// More of the ledger has to be read.
    Unread,
}

/// What m3ter did not count.
#[derive(Clone, Debug)]
pub struct Rejection<'a> {
    /// The reason's name.
    pub reason: String,
    /// What was expected, in m3ter's words or in ours.
    pub detail: String,
    /// The send that was rejected.
    pub line: Option<&'a Line>,
    /// When it was first sent: milliseconds since the epoch; 0 if nobody knows.
    pub first_sent_at_ms: i64,
    /// Whether m3ter's reason is none of those it documents.
    pub is_unknown_type: bool,
}

/// The send that a failure is about: the last before the event, among those of the same content if m3ter gave that back.
pub fn rejected_send<'a>(failure: &Failure, event_at_ms: i64, lines: &'a [Line]) -> Option<&'a Line> {
    let is_of = |line: &&Line| is_of(failure, line) == Some(true);
    let is_known = lines.iter().any(|line| is_of(&line));
    let fits = |line: &&Line| !is_known || is_of(line);
    let is_before = |line: &&Line| event_at_ms == 0 || line.sent_at <= event_at_ms.saturating_add(CLOCKS_MS);
    let last = lines.iter().filter(fits).filter(is_before).max_by_key(|line| line.sent_at);
    last.or_else(|| lines.iter().find(fits))
}

/// What `failure` means.
pub fn weigh<'a>(failure: &Failure, known: Known<'a>) -> Meaning<'a> {
    match failure.kind.as_str() {
        CALCULATION_ERROR => Meaning::Counted,
        DUPLICATE_UID => duplicate(failure, known),
        kind => {
            let words = if failure.words.is_empty() { "expected what m3ter checks after it accepts" } else { &failure.words };
            let is_unknown_type = !KNOWN.contains(&kind);
            let rejection = rejection(failure, known, kind, words.to_owned());
            Meaning::Rejected(Rejection { is_unknown_type, ..rejection })
        }
    }
}

fn duplicate<'a>(failure: &Failure, known: Known<'a>) -> Meaning<'a> {
    if !known.has_ledger {
        return Meaning::Unjudged;
    }
    let rejected = |reason: &str, detail: &str| Meaning::Rejected(rejection(failure, known, reason, detail.to_owned()));
    let send = rejected_send(failure, known.event_at_ms, known.lines);
    if let Some(from) = known.came_from
        && let Some(before) = from.rejected_for.as_deref()
    {
        return match before {
            UID_CONFLICT | DUPLICATE_OF_UNKNOWN => {
                rejected(before, "expected a uid that m3ter does not have; it dropped this one again")
            }
            _ => rejected(REPLAY_DROPPED, replay_dropped(send, from, known.lines)),
        };
    }
    let Some(send) = send else {
        return match known.is_whole {
            true => rejected(DUPLICATE_OF_UNKNOWN, "expected a uid that nobody else sends; the ledger shows no send of it"),
            false => Meaning::Unread,
        };
    };
    if let Some(second) = second_content(failure, known.lines) {
        let conflict = rejection(failure, known, UID_CONFLICT, CONFLICT_DETAIL.to_owned());
        return Meaning::Rejected(Rejection { line: Some(second), ..conflict });
    }
    // What m3ter gave back, and what no line has, was sent by somebody else.
    let is_copy = |line: &&Line| is_of(failure, line).unwrap_or(line.content_hash == send.content_hash);
    let (copies, others): (Vec<&Line>, Vec<&Line>) = known.lines.iter().partition(is_copy);
    if !is_first(&copies, &others) {
        return rejected(UID_CONFLICT, CONFLICT_DETAIL);
    }
    // What came from the quarantine may have been sent before it went there.
    let was_sent_before = known.came_from.is_some_and(|from| from.first_sent_at_ms.is_some());
    // A part of a file has two lines for one send: before it, and when m3ter has processed it. Sent again, they count the sends.
    let is_upload = send.origin.as_ref().is_some_and(LineOrigin::is_upload);
    let is_only_send = |line: &&Line| std::ptr::eq(*line, send) || (is_upload && line.batch == send.batch && line.attempts == 1);
    let is_sent_again = !copies.iter().all(is_only_send) || send.attempts > 1 || send.receives > 1 || was_sent_before;
    match (is_sent_again, known.is_whole) {
        (true, _) => Meaning::Receipt,
        (false, false) => Meaning::Unread,
        (false, true) => {
            rejected(DUPLICATE_OF_UNKNOWN, "expected a uid that nobody else sends; the ledger shows one send of it, made once")
        }
    }
}

/// The last send of another content than the first, where m3ter does not say which of them it dropped: then it is held to be that
/// one, since a copy of the first is nothing to keep.
fn second_content<'a>(failure: &Failure, lines: &'a [Line]) -> Option<&'a Line> {
    let first = lines.iter().min_by_key(|line| line.sent_at)?;
    let is_mute = lines.iter().all(|line| is_of(failure, line).is_none());
    lines.iter().filter(|line| is_mute && line.content_hash != first.content_hash).max_by_key(|line| line.sent_at)
}

/// Whether m3ter had accepted one of `copies` before any of the `others` can have been sent. Where late requests and wrong clocks leave
/// that open, it is not: one of two contents is usage that nobody will bill.
fn is_first(copies: &[&Line], others: &[&Line]) -> bool {
    let accepted = copies.iter().filter(|line| line.answer == LedgerAnswer::Accepted).map(|line| line.sent_at).min();
    // What was delivered before may have been sent before.
    let earliest = |line: &&Line| line.queued_at.filter(|_| line.receives > 1).unwrap_or(line.sent_at).min(line.sent_at);
    match others.iter().map(earliest).min() {
        None => !copies.is_empty(),
        Some(other_ms) => accepted.is_some_and(|accepted_ms| accepted_ms.saturating_add(ORDER_MS) < other_ms),
    }
}

fn replay_dropped(send: Option<&Line>, from: &CameFrom, lines: &[Line]) -> &'static str {
    let (mut requests, mut may_be_more) = (0, false);
    for line in lines {
        match send.is_some_and(|send| line.origin == send.origin) {
            true => {
                requests += line.attempts;
                may_be_more |= line.receives > 1;
            }
            // A producer's own copy that came after the rejection may be the one that counts.
            false => may_be_more |= line.sent_at.saturating_add(CLOCKS_MS) >= from.quarantined_at_ms,
        }
    }
    match requests > 1 || may_be_more {
        true => {
            "expected m3ter to have freed the uid of what it rejected; it dropped a copy of what was sent again. Another copy of it was sent, too, and may count: look with reconcile before replay --new-uid"
        }
        false => {
            "expected m3ter to have freed the uid of what it rejected; it has not, and dropped what was sent again: replay --new-uid is the way out"
        }
    }
}

fn rejection<'a>(failure: &Failure, known: Known<'a>, reason: &str, detail: String) -> Rejection<'a> {
    let of_lines = known.lines.iter().map(|line| line.queued_at.unwrap_or(line.sent_at).min(line.sent_at)).min();
    let of_entry = known.came_from.and_then(|from| from.first_sent_at_ms);
    Rejection {
        reason: reason.to_owned(),
        detail,
        line: rejected_send(failure, known.event_at_ms, known.lines),
        // The message was queued before any of its sends.
        first_sent_at_ms: of_lines.into_iter().chain(of_entry).min().unwrap_or(0),
        is_unknown_type: false,
    }
}

/// The quarantine entry that a send came from, if it came from one. Other origins name a uid.
pub fn entry_of(origin: Option<&LineOrigin>) -> Option<Uuid> {
    origin?.entry()
}

#[cfg(test)]
#[path = "weigh_tests.rs"]
mod tests;
