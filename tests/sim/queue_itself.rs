//! The model of SQS alone: what it can do that an emulator never does, and the rules that are quickest shown on one message.

use std::collections::BTreeSet;

use crate::queue::{Delivery, METADATA_BYTES, Place, Queue, Settings, Wanted};

const ALL: Wanted = Wanted { messages: 10, bytes: 6_000_000, twice: 0.0 };
const SETTINGS: Settings = Settings { visibility_ms: 100, retention_ms: 10_000, receives_max: 3 };

fn queue() -> Queue {
    queue_of(1)
}

fn queue_of(messages: usize) -> Queue {
    let mut queue = Queue::new(SETTINGS);
    for sending in 0..messages {
        queue.send(sending, 1_000, 0);
    }
    queue
}

fn never() -> bool {
    false
}

fn receive(queue: &mut Queue, now_ms: i64) -> Vec<Delivery> {
    queue.receive(ALL, now_ms, &mut fastrand::Rng::with_seed(1))
}

#[test]
fn a_message_in_flight_is_not_delivered_until_its_visibility_timeout_ends() {
    let mut queue = queue();
    assert_eq!(receive(&mut queue, 0).len(), 1);
    assert_eq!((receive(&mut queue, 99).len(), queue.next_visible_ms()), (0, Some(100)));
    let second = receive(&mut queue, 100);
    assert_eq!((second[0].receives, queue.messages()[0].first_received_ms), (2, Some(0)));
}

#[test]
fn after_so_many_receives_it_goes_to_the_dead_letter_queue() {
    let mut queue = queue();
    for delivery in 0..3 {
        assert_eq!(receive(&mut queue, delivery * 100).len(), 1);
    }
    assert_eq!(receive(&mut queue, 300).len(), 0);
    assert_eq!((queue.messages()[0].place, queue.left()), (Place::DeadLetter, 0));
}

#[test]
fn what_is_as_old_as_the_queue_keeps_anything_is_gone() {
    let mut queue = queue();
    queue.expire(9_999);
    assert_eq!(queue.left(), 1);
    queue.expire(10_000);
    assert_eq!((queue.messages()[0].place, queue.left()), (Place::Expired, 0));
}

#[test]
fn in_the_dead_letter_queue_a_message_ages_from_its_sending() {
    let mut queue = queue();
    for delivery in 0..=3 {
        receive(&mut queue, delivery * 100);
    }
    queue.expire(9_999);
    assert_eq!(queue.messages()[0].place, Place::DeadLetter);
    queue.expire(10_000);
    assert_eq!(queue.messages()[0].place, Place::Expired);
}

#[test]
fn only_the_latest_delivery_in_flight_can_be_delayed() {
    let mut queue = queue();
    let first = receive(&mut queue, 0).remove(0);
    assert!(queue.delay(&first.handle, 5, 50));
    assert_eq!(queue.next_visible_ms(), Some(5_050));
    let second = receive(&mut queue, 5_050).remove(0);
    assert!(!queue.delay(&first.handle, 1, 5_060) && !queue.delay("odd", 1, 5_060));
    assert!(!queue.delay(&second.handle, 1, 6_000), "its visibility timeout has ended");
}

#[test]
fn a_deleted_message_is_gone_unless_a_server_missed_it() {
    let mut queue = queue();
    let delivery = receive(&mut queue, 0).remove(0);
    assert!(queue.delete(&delivery.handle, never));
    assert_eq!((receive(&mut queue, 500).len(), queue.left()), (0, 0));
    assert!(!queue.delay(&delivery.handle, 1, 50) && !queue.delete(&delivery.handle, never));
    queue.undelete(0, 600);
    assert_eq!(receive(&mut queue, 600)[0].receives, 2);
}

#[test]
fn a_message_can_be_deleted_after_its_visibility_timeout() {
    let mut queue = queue();
    let delivery = receive(&mut queue, 0).remove(0);
    assert!(queue.visible(100) == [0] && queue.delete(&delivery.handle, never));
    assert_eq!(queue.messages()[0].place, Place::Deleted);
}

#[test]
fn an_old_handle_deletes_only_where_the_caller_says_so() {
    for by_old in [false, true] {
        let mut queue = queue();
        let first = receive(&mut queue, 0).remove(0);
        receive(&mut queue, 100);
        assert_eq!(queue.delete(&first.handle, || by_old), by_old);
        assert_eq!(queue.left(), usize::from(!by_old));
    }
}

#[test]
fn no_handle_of_the_queue_reaches_into_the_dead_letter_queue() {
    let mut queue = queue();
    let handles: Vec<String> = (0..3).map(|delivery| receive(&mut queue, delivery * 100).remove(0).handle).collect();
    assert!(receive(&mut queue, 300).is_empty());
    assert!(handles.iter().all(|handle| !queue.delete(handle, || true) && !queue.delay(handle, 1, 300)));
    assert_eq!(queue.messages()[0].place, Place::DeadLetter);
}

#[test]
fn a_handle_that_was_never_given_deletes_nothing() {
    let mut queue = queue();
    receive(&mut queue, 0);
    assert!(["odd", "", "handle-1-1"].iter().all(|handle| !queue.delete(handle, || true)));
    assert_eq!(queue.left(), 1);
}

#[test]
fn what_goes_to_the_dead_letter_queue_takes_no_room_in_an_event() {
    let mut queue = queue_of(2);
    for delivery in 0..3 {
        assert_eq!(receive(&mut queue, delivery * 100).len(), 2);
    }
    queue.send(2, 1_000, 300);
    queue.send(3, 1_000, 300);
    let two = Wanted { bytes: 2 * (1_000 + METADATA_BYTES), messages: 2, ..ALL };
    let deliveries = queue.receive_of(&[0, 2, 1, 3], two, 300, &mut fastrand::Rng::with_seed(1));
    assert_eq!(deliveries.iter().map(|delivery| delivery.message).collect::<Vec<_>>(), [2, 3]);
    assert!(queue.messages()[..2].iter().all(|message| message.place == Place::DeadLetter));
}

#[test]
fn a_message_may_come_twice_at_once_or_twice_in_one_event() {
    let (mut in_one, mut at_once) = (0, 0);
    for seed in 0..20 {
        let mut queue = queue();
        let mut rng = fastrand::Rng::with_seed(seed);
        let wanted = Wanted { twice: 1.0, ..ALL };
        let first = queue.receive(wanted, 0, &mut rng).len();
        in_one += usize::from(first == 2);
        at_once += usize::from(first == 1 && receive(&mut queue, 1).len() == 1);
    }
    assert!(in_one > 0 && at_once > 0 && in_one + at_once == 20);
}

#[test]
fn a_call_gives_no_more_messages_and_bytes_than_were_asked_for_but_always_one() {
    let mut queue = queue_of(30);
    assert_eq!(receive(&mut queue, 0).len(), 10);
    let small = Wanted { bytes: 3 * (1_000 + METADATA_BYTES), ..ALL };
    assert_eq!(queue.receive(small, 0, &mut fastrand::Rng::with_seed(1)).len(), 3);
    let tiny = Wanted { bytes: 1, ..ALL };
    assert_eq!(queue.receive(tiny, 0, &mut fastrand::Rng::with_seed(1)).len(), 1);
}

#[test]
fn messages_come_in_any_order() {
    let orders = (0..8).map(|seed| {
        let mut queue = queue_of(5);
        let deliveries = queue.receive(ALL, 0, &mut fastrand::Rng::with_seed(seed));
        deliveries.into_iter().map(|delivery| delivery.message).collect::<Vec<_>>()
    });
    assert!(orders.collect::<BTreeSet<_>>().len() > 4);
}
