//! The life of a measurement: what the store holds about one uid, in order, and what it comes to in one sentence.
//!
//! A ledger line is one invocation's word about it, a quarantine entry another's; markers are the operators'. Clocks differ
//! between them, so what happened within moments may stand in another order than it happened.

mod ending;

use std::collections::BTreeMap;

use jiff::Timestamp;
use relay_store::{Action, LedgerAnswer, Line};
use serde::Serialize;
use uuid::Uuid;

use self::ending::ending;
use crate::kept::{Kept, STAGE_INGEST};
use crate::standing::Facts;

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
    /// The message.
    pub message_id: String,
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
    /// m3ter accepted it, and no rejection was seen.
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
    /// What `lines` and `episodes`, all of this uid, come to at `now_ms`. `since_ms` is how far back was looked.
    pub fn of(uid: &str, lines: &[Line], episodes: &[Episode], (since_ms, now_ms): (i64, i64)) -> Story {
        let first_accepted = lines.iter().filter(|line| line.answer == LedgerAnswer::Accepted).min_by_key(|line| line.sent_at);
        let mut events = Vec::new();
        queued(lines, episodes, &mut events);
        for line in lines {
            events.push(Event { at_ms: line.sent_at, what: sent(line, first_accepted) });
        }
        for episode in episodes {
            quarantined(episode, &mut events);
        }
        events.sort_by_key(|event| (event.at_ms, event.what.rank()));
        let (place, sentence) = ending(lines, first_accepted, episodes, (since_ms, now_ms));
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
            What::Quarantined { .. } | What::RejectedLater { .. } => 4,
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
    let sent =
        Sent { batch: line.batch.clone(), message_id: line.message_id.clone(), attempts: line.attempts, receives: line.receives };
    match (line.answer, first_accepted) {
        (LedgerAnswer::Unknown, _) => What::Unanswered(sent),
        (LedgerAnswer::Accepted, Some(first)) if !std::ptr::eq(first, line) => {
            What::AcceptedAgain { other_content: first.content_hash != line.content_hash, sent }
        }
        (LedgerAnswer::Accepted, _) => What::Accepted(sent),
    }
}

fn quarantined(episode: &Episode, events: &mut Vec<Event>) {
    let Episode { kept, detail, facts, .. } = episode;
    let (qid, reason, detail) = (kept.qid, kept.reason.clone(), detail.clone());
    let what = match kept.stage == STAGE_INGEST {
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kept::tests::{NOW_MS, kept};
    use crate::standing::CLAIM_MS;
    use crate::standing::tests::{claims, marker};

    fn line(sent_at: i64, answer: &str, hash: u128) -> Line {
        let line = json!({
            "uid": "u", "meter": "m", "account": "a", "ts": "t", "batch": "i-1", "message_id": "m-1", "queued_at": NOW_MS - 50,
            "sent_at": sent_at, "attempts": 1, "receives": 2, "answer": answer, "content_hash": Uuid::from_u128(hash),
        });
        serde_json::from_value(line).unwrap()
    }

    fn episode(fields: serde_json::Value, facts: Facts) -> Episode {
        let kept = kept(fields);
        Episode { kept, detail: "d".into(), message_id: "m-1".into(), queued_at_ms: Some(NOW_MS - 50), receives: 1, facts }
    }

    fn check(lines: &[Line], episodes: &[Episode], place: Place, words: &[&str]) -> Story {
        let story = Story::of("u", lines, episodes, (0, NOW_MS));
        assert_eq!(story.place, place, "{}", story.sentence);
        for word in words {
            assert!(story.sentence.contains(word), "{word}: {}", story.sentence);
        }
        assert!(story.sentence.ends_with('.'), "{}", story.sentence);
        assert!(story.events.is_sorted_by_key(|event| event.at_ms));
        story
    }

    fn words(story: &Story) -> Vec<String> {
        let value = serde_json::to_value(&story.events).unwrap();
        value.as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn of_many_acceptances_the_first_counts_whatever_order_objects_were_read_in() {
        let lines = [
            line(NOW_MS + 9, "accepted", 2),
            line(NOW_MS, "unknown", 1),
            line(NOW_MS + 5, "accepted", 1),
            line(NOW_MS + 7, "accepted", 1),
        ];
        let story = check(&lines, &[], Place::Accepted, &["counts once", "3 times", &time(NOW_MS + 5)]);
        assert_eq!(words(&story), ["queued", "unanswered", "accepted", "accepted-again", "accepted-again"]);
        let value = serde_json::to_value(&story.events).unwrap();
        let others: Vec<bool> = value.as_array().unwrap().iter().filter_map(|event| event["other_content"].as_bool()).collect();
        assert_eq!(others, [false, true]);
        assert_eq!((story.meter.as_deref(), story.account.as_deref()), (Some("m"), Some("a")));
    }

    #[test]
    fn what_is_in_the_quarantine_is_told_with_what_was_done_about_it() {
        let open = Facts::default();
        let guard = json!({"stage": "guard", "first_sent_at": null});
        check(
            &[],
            &[episode(guard, open.clone())],
            Place::Quarantined,
            &["never sent to m3ter", "RefusedByApi", "nothing was done"],
        );
        check(&[], &[episode(json!({}), open)], Place::Quarantined, &["m3ter may have it"]);
        let silent = Facts { claims: claims(&[CLAIM_MS]), ..Facts::default() };
        let story = check(&[], &[episode(json!({}), silent)], Place::Quarantined, &["nothing was heard"]);
        assert_eq!(words(&story), ["replayed", "queued", "quarantined"], "by the clocks of those who wrote it");
        let under_way = Facts { claims: claims(&[1]), ..Facts::default() };
        check(&[], &[episode(json!({}), under_way)], Place::UnderWay, &["under way"]);
        let mut dropped = marker(Action::Drop, NOW_MS + 1);
        dropped.because = Some("a test".into());
        let story = check(
            &[],
            &[episode(json!({}), Facts { dropped: Some(dropped), ..Facts::default() })],
            Place::Dropped,
            &["because: a test"],
        );
        assert_eq!(words(&story), ["queued", "quarantined", "dropped"]);
    }

    #[test]
    fn an_entry_that_came_back_is_told_by_the_newer_one() {
        let newer = Uuid::from_u128(7);
        let old = episode(json!({}), Facts { claims: claims(&[5]), came_back_as: Some(newer), ..Facts::default() });
        let new = episode(json!({"qid": newer, "reason": "Exhausted", "quarantined_at": NOW_MS + 5}), Facts::default());
        check(&[], &[old, new], Place::Quarantined, &["Exhausted", &newer.to_string()]);
    }

    #[test]
    fn a_later_rejection_outweighs_the_acceptance_until_something_came_of_it() {
        let accepted = [line(NOW_MS, "accepted", 1)];
        let rejected = |facts| episode(json!({"stage": "ingest", "reason": "NoSuchMeter", "quarantined_at": NOW_MS + 5}), facts);
        let story = check(&accepted, &[rejected(Facts::default())], Place::RejectedLater, &["rejected it later", "NoSuchMeter"]);
        assert_eq!(words(&story), ["queued", "accepted", "rejected-later"]);
        let again = Facts { claims: claims(&[0]), again_accepted_at_ms: Some(NOW_MS + 9), ..Facts::default() };
        check(&accepted, &[rejected(again)], Place::Accepted, &["counts once"]);
    }

    #[test]
    fn what_went_out_under_a_new_uid_says_which() {
        let mut facts = Facts { claims: claims(&[9]), again_accepted_at_ms: Some(NOW_MS), ..Facts::default() };
        facts.claims[0].1.new_uid = Some("new".into());
        check(&[], &[episode(json!({}), facts)], Place::Superseded, &["under the new uid new"]);
    }

    #[test]
    fn what_was_sent_beyond_the_window_is_not_called_counted_once_without_a_doubt() {
        let mut facts = Facts { claims: claims(&[9]), again_accepted_at_ms: Some(NOW_MS), ..Facts::default() };
        let accepted = [line(NOW_MS, "accepted", 1)];
        let story = check(&accepted, &[episode(json!({}), facts.clone())], Place::Accepted, &["it counts once."]);
        assert!(!story.sentence.contains("unless"));
        facts.claims[0].1.beyond_window = true;
        check(&accepted, &[episode(json!({}), facts)], Place::Accepted, &["unless m3ter had counted it already"]);
    }

    #[test]
    fn another_content_in_the_quarantine_is_told_beside_the_accepted_one() {
        let known = Facts { uid_accepted_at_ms: Some(NOW_MS), uid_last_accepted_at_ms: Some(NOW_MS), ..Facts::default() };
        let conflict = episode(json!({"reason": "UidConflict"}), known);
        check(&[line(NOW_MS, "accepted", 1)], &[conflict], Place::Accepted, &["UidConflict", "--new-uid"]);
    }

    #[test]
    fn without_an_answer_it_is_on_the_queue_and_without_a_trace_it_is_not_found() {
        check(&[line(NOW_MS, "unknown", 1)], &[], Place::Unanswered, &["no answer", "Exhausted"]);
        let story = check(&[], &[], Place::NotFound, &["never reached", "ledger is off", "--since"]);
        assert!(story.events.is_empty());
    }
}
