//! Where a measurement is in the end, and the words that say so.
//!
//! What m3ter rejected later outweighs that it accepted before, until what was sent again from it was accepted. An acceptance
//! outweighs what waits in the quarantine under the same uid, which is then told beside it: another content under a uid that m3ter
//! has is such a thing. And accepted is not called ingested before m3ter's events were read for long enough.

use relay_store::{Act, LedgerAnswer, Line, LineOrigin, Outcome};
use uuid::Uuid;

use super::{Episode, HORIZON_MS, Known, Place, time};
use crate::kept::{DUPLICATE_OF_UNKNOWN, Kept, REPLAY_DROPPED, UID_CONFLICT};
use crate::standing::Standing;

/// Where a measurement is in the end, and the same in plain words.
pub(super) fn ending(known: &Known<'_>, accepted: Option<&Line>) -> (Place, String) {
    let standing = |episode: &Episode| known.standing(episode);
    let latest = |wanted: &dyn Fn(&Episode) -> bool| {
        known.episodes.iter().filter(|episode| wanted(episode)).max_by_key(|episode| episode.kept.quarantined_at_ms)
    };
    let (place, sentence) = if let Some(episode) = known.rejected() {
        of_rejected(episode, known)
    } else if let Some(first) = accepted {
        let waits = |episode: &Episode| {
            let standing = standing(episode);
            standing.is_open() || matches!(standing, Standing::Accepted { again: false, .. })
        };
        of_accepted(first, latest(&waits), known)
    } else if let Some(episode) =
        latest(&|episode| !matches!(standing(episode), Standing::CameBack { .. })).or_else(|| latest(&|_| true))
    {
        let start = match (episode.kept.is_body, episode.kept.first_sent_at_ms) {
            _ if episode.kept.is_rejected() => "m3ter has another content under this uid, and dropped this one",
            (true, _) => "the whole message that holds it could not go on",
            (false, None) => "it could not go on and was never sent to m3ter",
            (false, Some(_)) => "it could not go on, though m3ter may have it",
        };
        of_entry(episode, start, Place::Quarantined, known)
    } else {
        of_nothing(known)
    };
    (place, format!("{sentence}{}", said_later(known)))
}

impl Known<'_> {
    fn standing(&self, episode: &Episode) -> Standing {
        Standing::of(&episode.kept, &episode.facts, self.now_ms)
    }

    fn episode(&self, qid: Uuid) -> Option<&Episode> {
        self.episodes.iter().find(|episode| episode.kept.qid == qid)
    }

    /// The entry that takes the place of a rejection: itself, or the last of those that came of sending it again. Of several, one
    /// that is still to be settled, and then the latest.
    fn rejected(&self) -> Option<&Episode> {
        let heads = self.episodes.iter().filter(|episode| episode.kept.is_uid_rejected()).map(|rejected| {
            let next = |episode: &Episode| {
                let Standing::CameBack { qid } = self.standing(episode) else { return None };
                self.episode(qid)
            };
            // No longer than there are entries, whatever they say of each other.
            std::iter::successors(Some(rejected), |episode| next(episode)).take(self.episodes.len()).last().unwrap_or(rejected)
        });
        heads.max_by_key(|episode| (self.standing(episode).is_open(), episode.kept.quarantined_at_ms))
    }

    /// Whether m3ter accepted what was sent again from the entry under its own uid.
    fn is_accepted_from(&self, qid: Uuid) -> bool {
        let is_from = |line: &Line| line.origin.as_ref().and_then(LineOrigin::entry) == Some(qid);
        self.lines.iter().any(|line| line.answer == LedgerAnswer::Accepted && is_from(line))
    }

    /// What is to be said of an acceptance at `at_ms` that no rejection followed so far.
    fn horizon(&self, at_ms: i64) -> (Place, String) {
        let mut claims = self.episodes.iter().flat_map(|episode| &episode.facts.claims);
        let unless = match claims.any(|(_, marker)| marker.beyond_window) {
            true => ", unless m3ter had counted it already before it was sent again beyond m3ter's window",
            false => "",
        };
        match self.events_read_to_ms {
            Some(read_to_ms) if read_to_ms >= at_ms.saturating_add(HORIZON_MS) => {
                let read_to = time(read_to_ms);
                (
                    Place::Ingested,
                    format!(
                        "m3ter's events were read until {read_to} and hold no later rejection: it is ingested, and counts once{unless}"
                    ),
                )
            }
            Some(read_to_ms) => (
                Place::Accepted,
                format!(
                    "no rejection was seen yet, and m3ter's events were read until {}: if none comes, it counts once{unless}",
                    time(read_to_ms)
                ),
            ),
            None => (
                Place::Accepted,
                format!(
                    "m3ter's events were never read, ingest-watch has not run: if m3ter did not reject it later, it counts once{unless}"
                ),
            ),
        }
    }
}

/// m3ter took it, and turned down neither it nor its uid.
fn of_accepted(first: &Line, waiting: Option<&Episode>, known: &Known<'_>) -> (Place, String) {
    let times = known.lines.iter().filter(|line| line.answer == LedgerAnswer::Accepted).count();
    let often = if times > 1 { format!(" It accepted it {times} times and keeps the first.") } else { String::new() };
    let beside = waiting.map(|episode| {
        let Kept { qid, reason, .. } = &episode.kept;
        match episode.kept.is_rejected() {
            // Which of the two reached m3ter first nobody here knows, if they were sent at nearly the same time.
            true => format!(
                " Another content came under its uid, and m3ter dropped one of the two, which is in the quarantine ({reason}, {qid}): see in m3ter which one counts, then drop the entry, or replay it with --new-uid if it is another measurement and does not count yet."
            ),
            false => format!(
                " An entry under the same uid is in the quarantine ({reason}, {qid}): drop it, or replay it with --new-uid if it is another measurement and counts as well."
            ),
        }
    });
    let (place, horizon) = known.horizon(first.sent_at);
    (place, format!("m3ter accepted it {}; {horizon}.{often}{}", time(first.sent_at), beside.unwrap_or_default()))
}

/// m3ter took it and turned it down later; `episode` is what became of that.
fn of_rejected(episode: &Episode, known: &Known<'_>) -> (Place, String) {
    let (start, place) = match (episode.kept.is_rejected(), episode.kept.reason.as_str()) {
        (false, _) => ("m3ter accepted it and rejected it later, and sent again it could not go on", Place::Quarantined),
        (true, REPLAY_DROPPED) => {
            ("m3ter rejected it, kept its uid, and dropped it as a copy when it was sent again", Place::RejectedLater)
        }
        (true, DUPLICATE_OF_UNKNOWN) => {
            ("m3ter accepted it and dropped it later, as a copy of something that was not sent from here", Place::RejectedLater)
        }
        (true, _) => ("m3ter accepted it and rejected it later", Place::RejectedLater),
    };
    let (place, mut sentence) = of_entry(episode, start, place, known);
    if place == Place::RejectedLater && !episode.kept.is_uid_taken() {
        sentence.push_str(&accepted_since(episode, known));
    }
    (place, sentence)
}

/// A producer that sends again itself may have been heard.
fn accepted_since(episode: &Episode, known: &Known<'_>) -> String {
    let is_later = |line: &&Line| {
        let is_by_producer = line.origin.as_ref().is_none_or(LineOrigin::is_upload) && line.answer == LedgerAnswer::Accepted;
        is_by_producer && line.sent_at > episode.kept.last_quarantined_at_ms
    };
    let first = known.lines.iter().filter(is_later).map(|line| line.sent_at).min();
    let told = |at_ms| {
        format!(
            " m3ter accepted this uid from its producer once more {}, and that was not rejected so far: find out whether it counts before you send the entry again.",
            time(at_ms)
        )
    };
    first.map(told).unwrap_or_default()
}

/// What an entry comes to. `start` is how it came to be here.
fn of_entry(episode: &Episode, start: &str, place: Place, known: &Known<'_>) -> (Place, String) {
    let Episode { kept: Kept { qid, reason, quarantined_at_ms, .. }, facts, .. } = episode;
    let new_uid = facts.claims.iter().rev().find_map(|(_, marker)| marker.new_uid.clone());
    let new_uid = new_uid.filter(|_| !known.is_accepted_from(*qid));
    let (place, then) = match known.standing(episode) {
        Standing::Open => {
            let advice = match (episode.kept.is_uid_taken(), reason.as_str()) {
                (false, _) => "",
                (true, UID_CONFLICT) => ": replay it with --new-uid if it is another measurement, else drop it",
                (true, _) => ": find out whether m3ter counted it; if not, replay it with --new-uid, else drop it",
            };
            (place, format!("it is in the quarantine as {qid}, and nothing was done about it yet{advice}"))
        }
        Standing::Silent { since_ms } => (
            place,
            format!("it was to be sent again {} and nothing was heard of it: the next replay sends it once more", time(since_ms)),
        ),
        Standing::UnderWay { since_ms, .. } => {
            (Place::UnderWay, format!("it was sent again {} and is under way", time(since_ms)))
        }
        Standing::CameBack { qid } => {
            let under = new_uid.map(|uid| format!(" under the new uid {uid}")).unwrap_or_default();
            (place, format!("it was sent again{under} and came back as {qid}"))
        }
        Standing::Dropped => {
            let because = facts.dropped.as_ref().and_then(|marker| marker.because.clone()).unwrap_or_default();
            (Place::Dropped, format!("an operator gave it up, because: {because}"))
        }
        Standing::Accepted { at_ms, .. } => match new_uid {
            Some(uid) => (
                Place::Superseded,
                format!("m3ter accepted it {} under the new uid {uid}, and explain {uid} tells what came of that", time(at_ms)),
            ),
            None => {
                let (place, horizon) = known.horizon(at_ms);
                (place, format!("it was sent again, and m3ter accepted it {}; {horizon}", time(at_ms)))
            }
        },
    };
    let mut sentence = format!("{start}: {reason}, {}; {then}.", time(*quarantined_at_ms));
    if let Some(first) = sentence.get_mut(..1).filter(|_| !sentence_starts_with_a_name(start)) {
        first.make_ascii_uppercase();
    }
    (place, sentence)
}

fn sentence_starts_with_a_name(start: &str) -> bool {
    start.starts_with("m3ter")
}

/// It was not accepted, as far as the ledger knows, and is not in the quarantine.
fn of_nothing(known: &Known<'_>) -> (Place, String) {
    if !known.acts.is_empty() {
        return (Place::Accepted, "The ledger holds no acceptance of it, but m3ter has its uid.".to_owned());
    }
    match known.lines.iter().max_by_key(|line| line.sent_at) {
        Some(Line { sent_at, message_id, origin: Some(origin), .. }) if origin.is_upload() => (
            Place::Unanswered,
            format!(
                "It was sent to m3ter {} in a file, and m3ter did not say so far that it processed that: usage-relay upload --resume {message_id} follows it.",
                time(*sent_at)
            ),
        ),
        Some(line) => (
            Place::Unanswered,
            format!(
                "It was sent to m3ter {}, and no answer was heard: it is on the queue and will be sent again, until m3ter answers or it is quarantined as Exhausted.",
                time(line.sent_at)
            ),
        ),
        None => (
            Place::NotFound,
            format!(
                "Nothing is known of it since {}: it never reached the relay under this uid, or it is on the queue and was not sent yet, or it is older (--since looks further back), or the ledger is off.",
                time(known.since_ms)
            ),
        ),
    }
}

/// What m3ter said of it besides. Where m3ter rejected something under this uid, a receipt may be for that.
fn said_later(known: &Known<'_>) -> String {
    let last = |outcome| known.acts.iter().rev().find(|act| act.outcome == outcome);
    let receipt = last(Outcome::Receipt).filter(|_| !known.episodes.iter().any(|episode| episode.kept.is_uid_rejected()));
    let told = [
        receipt.map(|act| format!(" m3ter confirmed {} that it has it: it dropped a copy.", time(act.event_at))),
        last(Outcome::Recorded).map(not_calculated),
        last(Outcome::Unjudged).map(|act| {
            format!(" m3ter dropped a copy under this uid {}; without a ledger nobody can say of what.", time(act.event_at))
        }),
    ];
    told.into_iter().flatten().collect()
}

fn not_calculated(act: &Act) -> String {
    format!(
        " m3ter counted it without a field that it derives ({}, {}): mend the calculation in m3ter, and do not send it again.",
        act.r#type,
        time(act.event_at)
    )
}
