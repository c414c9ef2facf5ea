//! What the console's books promise.

use super::*;

fn key(uid: &str) -> Option<Key> {
    Some(Key::uid(uid))
}

fn entry(number: u128, message_id: &str, position: usize, uid: Option<&str>) -> Quarantined {
    let qid = Uuid::from_u128(number);
    Quarantined { qid, message_id: message_id.to_owned(), position, uid: uid.map(Key::uid), is_rejected: false }
}

fn rejected(number: u128, uid: &str) -> Quarantined {
    Quarantined { is_rejected: true, ..entry(number, "m", 0, Some(uid)) }
}

/// `[sent, ingested, dropped, rejected, quarantined, waiting]`.
fn check(books: &mut Books, expected: [u64; 6]) {
    let Totals { sent, ingested, dropped, rejected, quarantined, waiting, .. } = books.totals(false, 1_000);
    assert_eq!([sent, ingested, dropped, rejected, quarantined, waiting], expected);
    assert_eq!(sent, ingested + dropped + rejected + quarantined + waiting, "sent is the sum of its places");
}

#[test]
fn what_was_sent_waits_until_there_is_evidence() {
    let mut books = Books::default();
    books.sent("m", vec![key("a"), key("b"), None], 400);
    check(&mut books, [3, 0, 0, 0, 0, 3]);
    assert_eq!(books.totals(false, 1_000).oldest_waiting_ms, 600);
    books.accepted(Key::uid("a"), None);
    books.quarantined(&entry(1, "m", 2, None));
    check(&mut books, [3, 1, 0, 0, 1, 1]);
    books.accepted(Key::uid("b"), None);
    check(&mut books, [3, 2, 0, 0, 1, 0]);
    assert_eq!(books.totals(false, 1_000).oldest_waiting_ms, 0);
}

#[test]
fn evidence_counts_once_whenever_and_however_often_it_comes() {
    let mut books = Books::default();
    for _ in 0..2 {
        books.accepted(Key::uid("a"), None);
        books.quarantined(&entry(1, "m", 1, None));
        books.quarantined(&rejected(2, "c"));
    }
    books.sent("m", vec![key("a"), key("b"), key("c")], 0);
    check(&mut books, [3, 1, 0, 1, 1, 0]);
    books.accepted(Key::uid("b"), Some(Uuid::from_u128(1)));
    check(&mut books, [3, 2, 0, 1, 0, 0]);
}

#[test]
fn an_entry_is_placed_by_where_it_stood_and_not_by_the_uid_that_could_be_read() {
    for is_sent_first in [true, false] {
        let mut books = Books::default();
        if is_sent_first {
            books.sent("m", vec![None, key("b")], 0);
        }
        books.quarantined(&entry(1, "m", 0, Some("far too long a uid")));
        books.quarantined(&entry(2, "m", 1, None));
        if !is_sent_first {
            check(&mut books, [2, 0, 0, 0, 2, 0]);
            books.sent("m", vec![None, key("b")], 0);
        }
        check(&mut books, [2, 0, 0, 0, 2, 0]);
    }
}

#[test]
fn copies_of_what_m3ter_has_are_dropped_and_a_conflict_is_not_a_copy() {
    let mut books = Books::default();
    books.sent("m", vec![key("a"), key("a")], 0);
    books.sent("n", vec![key("a")], 0);
    check(&mut books, [3, 0, 0, 0, 0, 3]);
    books.accepted(Key::uid("a"), None);
    check(&mut books, [3, 1, 2, 0, 0, 0]);
    books.quarantined(&entry(1, "m", 1, Some("a")));
    check(&mut books, [3, 1, 1, 0, 1, 0]);
}

#[test]
fn what_others_sent_is_known_by_its_evidence_alone() {
    let mut books = Books::default();
    books.accepted(Key::uid("x"), None);
    books.quarantined(&entry(1, "theirs", 7, None));
    books.quarantined(&entry(2, "theirs", 8, Some("y")));
    check(&mut books, [3, 1, 0, 0, 2, 0]);
}

#[test]
fn what_m3ter_rejected_and_was_sent_again_is_ingested() {
    let mut books = Books::default();
    books.sent("m", vec![key("a")], 0);
    books.accepted(Key::uid("a"), None);
    books.quarantined(&rejected(1, "a"));
    check(&mut books, [1, 0, 0, 1, 0, 0]);
    books.accepted(Key::uid("a"), Some(Uuid::from_u128(1)));
    check(&mut books, [1, 1, 0, 0, 0, 0]);
}

#[test]
fn a_message_that_is_kept_as_a_whole_places_all_it_holds() {
    let mut books = Books::default();
    books.sent("m", vec![key("a"), None, key("b")], 0);
    books.quarantined(&entry(1, "m", WHOLE_MESSAGE, None));
    check(&mut books, [3, 0, 0, 0, 3, 0]);
}

#[test]
fn only_an_empty_queue_for_a_minute_makes_what_waits_lost() {
    let mut books = Books::default();
    books.sent("m", vec![key("a")], 0);
    let nowhere = |books: &mut Books, is_empty, now_ms| books.totals(is_empty, now_ms).nowhere;
    assert_eq!(nowhere(&mut books, true, 0), 0);
    assert_eq!(nowhere(&mut books, true, EMPTY_FOR_MS - 1), 0);
    assert_eq!(nowhere(&mut books, true, EMPTY_FOR_MS), 1);
    assert_eq!(nowhere(&mut books, false, EMPTY_FOR_MS), 0);
    assert_eq!(nowhere(&mut books, true, EMPTY_FOR_MS + 1), 0, "it begins anew");
    books.accepted(Key::uid("a"), None);
    assert_eq!(nowhere(&mut books, true, 3 * EMPTY_FOR_MS), 0);
}

#[test]
fn what_is_sent_is_not_lost_because_the_queue_was_empty_before() {
    let mut books = Books::default();
    books.totals(true, 0);
    books.sent("m", vec![key("a")], EMPTY_FOR_MS);
    assert_eq!(books.totals(true, EMPTY_FOR_MS).nowhere, 0);
    assert_eq!(books.totals(true, 2 * EMPTY_FOR_MS).nowhere, 1);
}

#[test]
fn no_more_are_followed_than_fit_and_the_rest_is_counted() {
    let mut books = Books { most: 10, ..Books::default() };
    for number in 0..13 {
        books.accepted(Key::uid(&number.to_string()), None);
    }
    let totals = books.totals(true, 0);
    assert_eq!((books.room(), totals.ingested, totals.untracked), (0, 10, 3));
    books.accepted(Key::uid("0"), None);
    assert_eq!(books.totals(true, 0).untracked, 3, "one that is followed is not counted again");
}

#[test]
fn copies_take_room_too() {
    let mut books = Books { most: 10, ..Books::default() };
    for number in 0..3 {
        books.sent(&number.to_string(), vec![key("a"), key("b"), key("c")], 0);
    }
    assert_eq!(books.room(), 1);
}
