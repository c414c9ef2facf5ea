//! Each way in which the books balance, and each way in which they can fail to.

use super::*;

fn one(message: usize, position: usize, uid: &str, content: &str, due: Due) -> Produced {
    let text = format!("{{\"uid\":\"{uid}\",\"v\":\"{content}\"}}");
    let uid = (!uid.is_empty()).then(|| uid.to_owned());
    Produced { message, position, uid, calls: 1, bytes: 1, text, due }
}

fn landed(uid: &str, content: &str, fate: Fate) -> Landed {
    Landed { uid: uid.to_owned(), fate, text: format!("{{ \"v\":\"{content}\", \"uid\":\"{uid}\" }}") }
}

fn kept(message: usize, position: usize, uid: Option<&str>, reason: &str) -> Kept {
    Kept { message_id: format!("id-{message}"), position, uid: uid.map(str::to_owned), reason: reason.to_owned() }
}

fn rejected(reason: &str) -> Fate {
    Fate::Rejected(reason.to_owned())
}

fn quarantined(reason: &str) -> Place {
    Place::Quarantined(reason.to_owned())
}

fn books(produced: &[Produced], landed: &[Landed], kept: &[Kept]) -> Books {
    balance(produced, &["id-0".to_owned(), "id-1".to_owned()], landed, kept)
}

#[track_caller]
fn balances(produced: &[Produced], landed: &[Landed], kept: &[Kept], places: &[Place]) {
    let books = books(produced, landed, kept);
    assert_eq!((books.places.as_slice(), books.faults.as_slice()), (places, &[][..]));
    assert!(books.is_settled());
}

#[track_caller]
fn fails(produced: &[Produced], landed: &[Landed], kept: &[Kept], fault: &str) {
    let books = books(produced, landed, kept);
    assert!(books.faults.iter().any(|text| text.contains(fault)), "{books:?}");
}

const GOOD: Due = Due::Ingested;

#[test]
fn a_mix_of_everything_balances() {
    let produced = [
        one(0, 0, "a", "1", GOOD),
        one(0, 1, "a", "1", GOOD),
        one(0, 2, "a", "2", Due::Quarantined("UidConflict")),
        one(0, 3, "", "3", Due::Quarantined("UidMissing")),
        one(1, 0, "a", "1", GOOD),
        one(1, 1, "b", "4", Due::Rejected("UndefinedMeter")),
    ];
    let landed = [
        landed("a", "1", Fate::Ingested),
        landed("a", "1", Fate::Duplicate),
        landed("b", "4", rejected("UndefinedMeter")),
        landed("of another run", "9", Fate::Ingested),
    ];
    let kept = [kept(0, 2, Some("a"), "UidConflict"), kept(0, 3, None, "UidMissing"), kept(9, 0, None, "Empty")];
    let places = [
        Place::Ingested,
        Place::Dropped,
        quarantined("UidConflict"),
        quarantined("UidMissing"),
        Place::Collapsed,
        Place::Rejected("UndefinedMeter".to_owned()),
    ];
    balances(&produced, &landed, &kept, &places);
}

#[test]
fn what_the_relay_sent_again_and_m3ter_dropped_changes_no_place() {
    let produced = [one(0, 0, "a", "1", GOOD)];
    let landed = [landed("a", "1", Fate::Ingested), landed("a", "1", Fate::Duplicate), landed("a", "1", Fate::Duplicate)];
    balances(&produced, &landed, &[], &[Place::Ingested]);
    assert_eq!(books(&produced, &landed, &[]).sent_again, 2);
}

#[test]
fn a_rejected_one_whose_uid_stays_used_is_rejected_all_the_same() {
    let due = Due::Rejected("UndefinedMeter");
    let landed = [landed("a", "1", rejected("UndefinedMeter")), landed("a", "1", Fate::Duplicate)];
    let places = [Place::Rejected("UndefinedMeter".to_owned()), Place::Rejected("UndefinedMeter".to_owned())];
    balances(&[one(0, 0, "a", "1", due), one(0, 1, "a", "1", due)], &landed, &[], &places);
}

#[test]
fn a_lost_measurement_has_no_place() {
    let produced = [one(0, 0, "a", "1", GOOD), one(0, 1, "b", "2", GOOD)];
    fails(
        &produced,
        &[landed("a", "1", Fate::Ingested)],
        &[],
        "b (message 0, position 1): neither at m3ter nor in the quarantine",
    );
}

#[test]
fn a_lost_measurement_without_uid_has_no_place() {
    fails(&[one(0, 0, "", "1", Due::Quarantined("UidMissing"))], &[], &[], "a measurement without uid (message 0, position 0)");
}

#[test]
fn drops_alone_are_no_proof_that_anything_was_counted() {
    fails(&[one(0, 0, "a", "1", GOOD)], &[landed("a", "1", Fate::Duplicate)], &[], "neither at m3ter");
}

#[test]
fn another_content_under_the_uid_is_no_copy() {
    let produced = [one(0, 0, "a", "1", GOOD), one(0, 1, "a", "2", Due::Quarantined("UidConflict"))];
    fails(&produced, &[landed("a", "1", Fate::Ingested), landed("a", "2", Fate::Duplicate)], &[], "another content");
    let due = Due::Rejected("UndefinedMeter");
    fails(&[one(0, 0, "a", "2", due)], &[landed("a", "1", rejected("UndefinedMeter"))], &[], "another content");
}

#[test]
fn a_uid_counted_twice_does_not_balance() {
    let landed = [landed("a", "1", Fate::Ingested), landed("a", "1", Fate::Ingested)];
    fails(&[one(0, 0, "a", "1", GOOD)], &landed, &[], "a: m3ter counted it 2 times");
}

#[test]
fn a_measurement_in_two_places_does_not_balance() {
    let produced = [one(0, 0, "a", "1", Due::Quarantined("Oversize"))];
    fails(
        &produced,
        &[landed("a", "1", Fate::Ingested)],
        &[kept(0, 0, Some("a"), "Oversize")],
        "accepted what is in the quarantine",
    );
}

#[test]
fn a_measurement_that_m3ter_has_not_decided_is_not_settled() {
    let produced = [one(0, 0, "a", "1", GOOD)];
    let landed = [landed("a", "1", Fate::Pending)];
    fails(&produced, &landed, &[], "m3ter has not decided yet");
    assert!(!books(&produced, &landed, &[]).is_settled());
}

#[test]
fn an_entry_of_another_message_or_position_is_no_evidence() {
    let produced = [one(0, 0, "a", "1", Due::Quarantined("Oversize"))];
    fails(&produced, &[], &[kept(1, 0, Some("a"), "Oversize")], "neither at m3ter");
    fails(&produced, &[], &[kept(0, 1, Some("a"), "Oversize")], "neither at m3ter");
    fails(&produced, &[], &[kept(0, 0, Some("b"), "Oversize")], "has another uid");
}

#[test]
fn the_wrong_place_does_not_balance() {
    let good = [one(0, 0, "a", "1", GOOD)];
    fails(&good, &[], &[kept(0, 0, Some("a"), "Oversize")], "expected it ingested, found it quarantined as Oversize");
    fails(
        &good,
        &[landed("a", "1", rejected("MissingField"))],
        &[],
        "expected it ingested, found it rejected later as MissingField",
    );
    let missing = [one(0, 0, "", "1", Due::Quarantined("UidMissing"))];
    fails(
        &missing,
        &[],
        &[kept(0, 0, None, "NotJson")],
        "expected it quarantined as UidMissing, found it quarantined as NotJson",
    );
    let unknown = [one(0, 0, "a", "1", Due::Rejected("UndefinedMeter"))];
    fails(&unknown, &[landed("a", "1", Fate::Ingested)], &[], "expected it rejected later as UndefinedMeter, found it ingested");
}

#[test]
fn a_message_that_the_queue_gave_up_is_a_fault_even_if_all_of_it_arrived() {
    let produced = [one(0, 0, "a", "1", GOOD), one(1, 0, "b", "2", GOOD)];
    let landed = [landed("a", "1", Fate::Ingested), landed("b", "2", Fate::Ingested)];
    let foreign = Kept { message_id: "of another run".to_owned(), ..kept(0, 0, None, "DeliveryExhausted") };
    balances(&produced, &landed, &[foreign], &[Place::Ingested, Place::Ingested]);
    let whole = kept(1, u32::MAX as usize, None, "DeliveryExhausted");
    fails(&produced, &landed, &[whole], "message 1: the queue gave it up");
}
