//! Stories of one uid, told from hand-made lines, entries, markers and acts.

use serde_json::json;

use super::*;
use crate::kept::tests::{NOW_MS, kept};
use crate::standing::CLAIM_MS;
use crate::standing::tests::{claims, marker, newer};

/// Long after everything else.
const FAR_MS: i64 = NOW_MS + 9 * HORIZON_MS;

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
    heard((lines, episodes, &[]), Some(FAR_MS), place, words)
}

/// The same, with what m3ter said later, and until when its events were read.
fn heard(
    (lines, episodes, acts): (&[Line], &[Episode], &[Act]),
    events_read_to_ms: Option<i64>,
    place: Place,
    words: &[&str],
) -> Story {
    let story = Story::of("u", &Known { lines, episodes, acts, events_read_to_ms, since_ms: 0, now_ms: NOW_MS });
    assert_eq!(story.place, place, "{}", story.sentence);
    for word in words {
        assert!(story.sentence.contains(word), "{word}: {}", story.sentence);
    }
    assert!(story.sentence.ends_with('.'), "{}", story.sentence);
    assert!(story.events.is_sorted_by_key(|event| event.at_ms));
    story
}

fn act(outcome: &str, event_at: i64) -> Act {
    let act = json!({"event": "e", "event_at": event_at, "type": "CalculationError", "outcome": outcome, "uid": "u"});
    serde_json::from_value(act).unwrap()
}

/// An entry that m3ter rejected for `reason`, with this id and from that one.
fn rejected(id: u128, reason: &str, of: Option<u128>, facts: Facts) -> Episode {
    let origin = of.map(|of| json!({"kind": "replay", "of": Uuid::from_u128(of)}));
    let at_ms = NOW_MS + i64::try_from(id).unwrap();
    let qid = Uuid::from_u128(id);
    episode(json!({"qid": qid, "stage": "ingest", "reason": reason, "quarantined_at": at_ms, "origin": origin}), facts)
}

/// What became of an entry: sent again, accepted, and come back as `newer_id`.
fn back(newer_id: u128, is_rejected: bool) -> Facts {
    let came_back_as = newer(Uuid::from_u128(newer_id), is_rejected);
    Facts { claims: claims(&[9]), again_accepted_at_ms: is_rejected.then_some(NOW_MS), came_back_as, ..Facts::default() }
}

fn again(at_ms: i64, new_uid: Option<&str>) -> Facts {
    let mut facts = Facts { claims: claims(&[9]), again_accepted_at_ms: Some(at_ms), ..Facts::default() };
    facts.claims[0].1.new_uid = new_uid.map(str::to_owned);
    facts
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
    let story = check(&lines, &[], Place::Ingested, &["counts once", "3 times", &time(NOW_MS + 5)]);
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
    check(&[], &[episode(guard, open.clone())], Place::Quarantined, &["never sent to m3ter", "RefusedByApi", "nothing was done"]);
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
    let old = episode(
        json!({}),
        Facts { claims: claims(&[5]), came_back_as: crate::standing::tests::newer(newer, false), ..Facts::default() },
    );
    let new = episode(json!({"qid": newer, "reason": "Exhausted", "quarantined_at": NOW_MS + 5}), Facts::default());
    check(&[], &[old, new], Place::Quarantined, &["Exhausted", &newer.to_string()]);
}

#[test]
fn a_later_rejection_outweighs_the_acceptance_until_something_came_of_it() {
    let accepted = [line(NOW_MS, "accepted", 1)];
    let one = |facts| rejected(5, "NoSuchMeter", None, facts);
    let story = check(&accepted, &[one(Facts::default())], Place::RejectedLater, &["rejected it later", "NoSuchMeter"]);
    assert_eq!(words(&story), ["queued", "accepted", "rejected-later"]);
    let replayed = one(again(NOW_MS + 9, None));
    let said = ["rejected it later: NoSuchMeter", &format!("accepted it {}", time(NOW_MS + 9)), "counts once"];
    let story = check(&accepted, &[replayed], Place::Ingested, &said);
    assert!(!story.sentence.contains("holds no rejection"), "{}", story.sentence);
}

#[test]
fn accepted_is_called_ingested_when_an_hour_of_events_was_read_and_the_horizon_is_said() {
    let lines = [line(NOW_MS, "accepted", 1)];
    let told = |read_to_ms, place, words: &[&str]| heard((&lines, &[], &[]), read_to_ms, place, words);
    let read_to = NOW_MS + HORIZON_MS;
    told(Some(read_to), Place::Ingested, &["ingested", &time(read_to), "counts once"]);
    told(Some(read_to - 1), Place::Accepted, &["no rejection was seen yet", &time(read_to - 1)]);
    told(None, Place::Accepted, &["never read", "ingest-watch has not run"]);
    // What was sent again has its own hour.
    let replayed = [rejected(5, "UndefinedMeter", None, again(NOW_MS + 9, None))];
    heard((&lines, &replayed, &[]), Some(read_to + 8), Place::Accepted, &["no rejection was seen yet"]);
    heard((&lines, &replayed, &[]), Some(read_to + 9), Place::Ingested, &["counts once"]);
}

#[test]
fn a_replay_that_was_rejected_too_is_told_by_the_newer_entry() {
    let lines = [line(NOW_MS - 9, "accepted", 1), line(NOW_MS, "accepted", 1)];
    let old = rejected(1, "UndefinedMeter", None, back(2, true));
    let new = rejected(2, "MissingField", Some(1), Facts::default());
    let story = check(&lines, &[old.clone(), new], Place::RejectedLater, &["MissingField", &Uuid::from_u128(2).to_string()]);
    assert!(!story.sentence.contains("UndefinedMeter"), "{}", story.sentence);
    let settled = rejected(2, "MissingField", Some(1), again(NOW_MS + 5, None));
    check(&lines, &[old, settled], Place::Ingested, &["counts once"]);
}

#[test]
fn a_replay_of_a_rejection_that_the_relay_could_not_pass_on_does_not_make_it_counted() {
    let accepted = [line(NOW_MS, "accepted", 1)];
    let old = rejected(1, "UndefinedMeter", None, back(2, false));
    let id = Uuid::from_u128(2);
    let origin = json!({"kind": "replay", "of": Uuid::from_u128(1)});
    let new = episode(json!({"qid": id, "reason": "Exhausted", "origin": origin}), Facts::default());
    let words = ["rejected it later, and sent again it could not go on", "Exhausted", &id.to_string()];
    check(&accepted, &[old, new], Place::Quarantined, &words);
}

#[test]
fn a_replay_that_m3ter_dropped_is_superseded_by_what_went_out_under_a_new_uid() {
    let accepted = [line(NOW_MS, "accepted", 1)];
    let old = rejected(1, "UndefinedMeter", None, back(2, true));
    let dropped = |facts| rejected(2, "ReplayDropped", Some(1), facts);
    let open = [old.clone(), dropped(Facts::default())];
    check(&accepted, &open, Place::RejectedLater, &["kept its uid", "ReplayDropped", "--new-uid"]);
    let superseded = [old.clone(), dropped(again(NOW_MS, Some("n")))];
    let story = check(&accepted, &superseded, Place::Superseded, &["under the new uid n", "explain n"]);
    assert!(!story.sentence.contains("counts once"), "{}", story.sentence);
    // What went out under the new uid was rejected: that entry is not of this uid.
    let mut facts = back(3, true);
    facts.claims[0].1.new_uid = Some("n".into());
    let words = ["under the new uid n", &Uuid::from_u128(3).to_string()];
    check(&accepted, &[old, dropped(facts)], Place::RejectedLater, &words);
}

#[test]
fn entries_that_name_each_other_in_a_circle_end_all_the_same() {
    let circle = [rejected(1, "UndefinedMeter", Some(2), back(2, true)), rejected(2, "MissingField", Some(1), back(1, true))];
    check(&[line(NOW_MS, "accepted", 1)], &circle, Place::RejectedLater, &["came back as"]);
}

#[test]
fn another_content_that_m3ter_dropped_leaves_the_first_accepted_and_is_told_beside_it() {
    let lines = [line(NOW_MS - 9, "accepted", 1), line(NOW_MS, "accepted", 2)];
    let known = Facts { uid_accepted_at_ms: Some(NOW_MS), uid_last_accepted_at_ms: Some(NOW_MS), ..Facts::default() };
    let conflict = [rejected(1, "UidConflict", None, known)];
    let words = [&time(NOW_MS - 9), "counts once", "dropped one of the two", "UidConflict", "see in m3ter", "--new-uid"];
    let story = check(&lines, &conflict, Place::Ingested, &words);
    assert!(!story.sentence.contains("rejected it"), "{}", story.sentence);
    check(&[], &conflict, Place::Quarantined, &["another content under this uid", "--new-uid"]);
    let both = [conflict[0].clone(), rejected(2, "UndefinedMeter", None, Facts::default())];
    check(&lines, &both, Place::RejectedLater, &["UndefinedMeter"]);
}

#[test]
fn a_duplicate_that_nothing_here_explains_is_called_so() {
    let one = rejected(1, "DuplicateOfUnknown", None, Facts::default());
    let words = ["a copy of something that was not sent from here", "find out whether m3ter counted it", "--new-uid"];
    check(&[line(NOW_MS, "accepted", 1)], &[one], Place::RejectedLater, &words);
}

#[test]
fn of_two_rejections_the_one_that_is_still_to_be_settled_is_told() {
    let lines = [line(NOW_MS, "accepted", 1), line(NOW_MS, "accepted", 2)];
    let both =
        [rejected(1, "UndefinedMeter", None, Facts::default()), rejected(2, "MissingField", None, again(NOW_MS + 9, None))];
    check(&lines, &both, Place::RejectedLater, &["UndefinedMeter"]);
}

#[test]
fn what_its_producer_sent_once_more_after_a_rejection_is_told_with_it() {
    let one = [rejected(5, "UndefinedMeter", None, Facts::default())];
    let lines = |later_ms| [line(NOW_MS, "accepted", 1), line(later_ms, "accepted", 1)];
    let words = ["UndefinedMeter", "from its producer once more", "find out whether it counts"];
    check(&lines(NOW_MS + 6), &one, Place::RejectedLater, &words);
    let story = check(&lines(NOW_MS + 5), &one, Place::RejectedLater, &[]);
    assert!(!story.sentence.contains("once more"), "{}", story.sentence);
}

#[test]
fn a_receipt_confirms_what_m3ter_has_unless_it_rejected_something_under_the_uid() {
    let lines = [line(NOW_MS - 9, "accepted", 1), line(NOW_MS, "accepted", 1)];
    let receipt = [act("receipt", NOW_MS + 5)];
    let confirmed = format!("confirmed {} that it has it", time(NOW_MS + 5));
    let story = heard((&lines, &[], &receipt), Some(FAR_MS), Place::Ingested, &[&confirmed]);
    assert_eq!(words(&story), ["queued", "accepted", "accepted-again", "receipt"]);
    heard((&lines, &[], &receipt), Some(NOW_MS), Place::Accepted, &[&confirmed]);
    let exhausted = [episode(json!({"reason": "Exhausted"}), Facts::default())];
    heard((&[], &exhausted, &receipt), Some(FAR_MS), Place::Quarantined, &["though m3ter may have it", &confirmed]);
    for facts in [Facts::default(), again(NOW_MS, None)] {
        let one = [rejected(5, "UndefinedMeter", None, facts)];
        let story = Story::of(
            "u",
            &Known { lines: &lines, episodes: &one, acts: &receipt, events_read_to_ms: None, since_ms: 0, now_ms: NOW_MS },
        );
        assert!(!story.sentence.contains("confirmed"), "a copy of what m3ter rejected: {}", story.sentence);
    }
}

#[test]
fn what_m3ter_could_not_calculate_counts_and_is_told() {
    let lines = [line(NOW_MS, "accepted", 1)];
    let words_of = ["counts once", "without a field that it derives (CalculationError", "do not send it again"];
    let story = heard((&lines, &[], &[act("recorded", NOW_MS + 5)]), Some(FAR_MS), Place::Ingested, &words_of);
    assert_eq!(words(&story), ["queued", "accepted", "not-calculated"]);
}

#[test]
fn without_a_ledger_what_m3ter_said_is_all_that_is_known() {
    let unjudged = [act("unjudged", NOW_MS)];
    let story = heard((&[], &[], &unjudged), Some(FAR_MS), Place::Accepted, &["m3ter has its uid", "nobody can say of what"]);
    assert_eq!(words(&story), ["unjudged"]);
}

#[test]
fn what_went_out_under_a_new_uid_says_which() {
    check(&[], &[episode(json!({}), again(NOW_MS, Some("new")))], Place::Superseded, &["under the new uid new"]);
}

#[test]
fn what_was_accepted_under_its_own_uid_is_not_superseded_by_a_claim_of_a_new_one() {
    let mut facts = Facts { claims: claims(&[99 * CLAIM_MS, 9]), again_accepted_at_ms: Some(NOW_MS), ..Facts::default() };
    facts.claims[1].1.new_uid = Some("new".into());
    let own = Line { origin: None, ..line(NOW_MS, "accepted", 1) };
    let origin = json!({"kind": "replay", "of": Uuid::from_u128(5)});
    let again = Line { origin: serde_json::from_value(origin).unwrap(), ..line(NOW_MS + 9, "accepted", 1) };
    let one = [rejected(5, "UndefinedMeter", None, facts)];
    check(&[own.clone(), again], &one, Place::Ingested, &["counts once"]);
    check(&[own], &one, Place::Superseded, &["under the new uid new"]);
}

#[test]
fn what_was_sent_beyond_the_window_is_not_called_counted_once_without_a_doubt() {
    let mut facts = again(NOW_MS, None);
    let accepted = [line(NOW_MS, "accepted", 1)];
    let story = check(&accepted, &[episode(json!({}), facts.clone())], Place::Ingested, &["and counts once."]);
    assert!(!story.sentence.contains("unless"));
    facts.claims[0].1.beyond_window = true;
    check(&accepted, &[episode(json!({}), facts)], Place::Ingested, &["unless m3ter had counted it already"]);
}

#[test]
fn another_content_in_the_quarantine_is_told_beside_the_accepted_one() {
    let known = Facts { uid_accepted_at_ms: Some(NOW_MS), uid_last_accepted_at_ms: Some(NOW_MS), ..Facts::default() };
    let conflict = episode(json!({"reason": "UidConflict"}), known);
    check(&[line(NOW_MS, "accepted", 1)], &[conflict], Place::Ingested, &["UidConflict", "--new-uid"]);
}

#[test]
fn without_an_answer_it_is_on_the_queue_and_without_a_trace_it_is_not_found() {
    check(&[line(NOW_MS, "unknown", 1)], &[], Place::Unanswered, &["no answer", "Exhausted"]);
    let story = check(&[], &[], Place::NotFound, &["never reached", "ledger is off", "--since"]);
    assert!(story.events.is_empty());
}

#[test]
fn what_went_in_a_file_is_followed_by_its_upload() {
    let upload = LineOrigin { kind: "upload".into(), of: "up-1".into() };
    // An upload is no entry that it came from.
    assert_eq!(upload.entry(), None);
    let sent = Line { origin: Some(upload), message_id: "up-1".into(), queued_at: None, ..line(NOW_MS, "unknown", 1) };
    check(std::slice::from_ref(&sent), &[], Place::Unanswered, &["in a file", "--resume up-1"]);
    let processed = Line { sent_at: NOW_MS + 9, answer: LedgerAnswer::Accepted, ..sent.clone() };
    let story = check(&[sent, processed], &[], Place::Ingested, &["m3ter accepted it"]);
    let in_file = |event: &Event| matches!(&event.what, What::Unanswered(sent) | What::Accepted(sent) if sent.in_file);
    assert!(story.events.len() == 2 && story.events.iter().all(in_file), "{:?}", story.events);
}
