//! A model of SQS: a standard queue with a dead-letter queue, as far as messages can be lost, repeated or reordered by it.
//!
//! It knows time only as it is told. Where SQS promises little (order, one delivery at a time, a deletion that lasts), the
//! generator that comes along decides.

use std::collections::BTreeMap;

/// Where a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the queue, visible or in flight.
    Queue,
    /// In the dead-letter queue.
    DeadLetter,
    /// Deleted.
    Deleted,
    /// Older than the queue keeps anything.
    Expired,
}

/// A message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    /// Its place among what producers sent.
    pub(crate) sending: usize,
    pub(crate) bytes: usize,
    pub(crate) sent_ms: i64,
    pub(crate) first_received_ms: Option<i64>,
    pub(crate) receives: u32,
    pub(crate) place: Place,
    visible_ms: i64,
    handle: String,
}

/// One delivery of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The place of the message in the queue's list.
    pub(crate) message: usize,
    pub(crate) handle: String,
    pub(crate) receives: u32,
}

/// How the queue is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) visibility_ms: i64,
    pub(crate) retention_ms: i64,
    pub(crate) receives_max: u32,
}

/// What one call asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Messages at most.
    pub(crate) messages: usize,
    /// Bytes at most, metadata included.
    pub(crate) bytes: usize,
    /// The chance that a message stays visible although it is delivered.
    pub(crate) twice: f64,
}

/// Bytes that Lambda adds to each message in an event.
pub(crate) const METADATA_BYTES: usize = 900;

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    settings: Settings,
    messages: Vec<Message>,
    /// When each message that is in the queue becomes visible.
    waiting: BTreeMap<(i64, usize), ()>,
    handles: u64,
}

impl Queue {
    pub(crate) fn new(settings: Settings) -> Queue {
        Queue { settings, messages: Vec::new(), waiting: BTreeMap::new(), handles: 0 }
    }

    /// Takes a message, and gives its place.
    pub(crate) fn send(&mut self, sending: usize, bytes: usize, now_ms: i64) -> usize {
        let place = self.messages.len();
        self.messages.push(Message {
            id: format!("059f36b4-87a3-44ab-83d2-{place:012x}"),
            sending,
            bytes,
            sent_ms: now_ms,
            first_received_ms: None,
            receives: 0,
            place: Place::Queue,
            visible_ms: now_ms,
            handle: String::new(),
        });
        self.waiting.insert((now_ms, place), ());
        place
    }

    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// How many are in the queue.
    pub(crate) fn left(&self) -> usize {
        self.waiting.len()
    }

    /// When the next message becomes, or became, visible.
    pub(crate) fn next_visible_ms(&self) -> Option<i64> {
        self.waiting.keys().next().map(|(at_ms, _)| *at_ms)
    }

    fn see_again(&mut self, place: usize, at_ms: i64) {
        let message = &mut self.messages[place];
        self.waiting.remove(&(message.visible_ms, place));
        message.visible_ms = at_ms;
        if message.place == Place::Queue {
            self.waiting.insert((at_ms, place), ());
        }
    }

    fn leave(&mut self, place: usize, to: Place) {
        let message = &mut self.messages[place];
        self.waiting.remove(&(message.visible_ms, place));
        message.place = to;
    }

    /// Drops what is older than the queue keeps anything. A dead-letter queue goes by the time of the first sending, too.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        let before_ms = now_ms - self.settings.retention_ms;
        for place in 0..self.messages.len() {
            let message = &self.messages[place];
            if message.sent_ms < before_ms && matches!(message.place, Place::Queue | Place::DeadLetter) {
                self.leave(place, Place::Expired);
            }
        }
    }

    /// Delivers some of what is visible, in any order. What was received too often goes to the dead-letter queue instead.
    pub(crate) fn receive(&mut self, wanted: Wanted, now_ms: i64, rng: &mut fastrand::Rng) -> Vec<Delivery> {
        let visible = self.waiting.range(..=(now_ms, usize::MAX)).map(|((_, place), ())| *place);
        let mut visible: Vec<usize> = visible.collect();
        rng.shuffle(&mut visible);
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        for place in visible {
            bytes += self.messages[place].bytes + METADATA_BYTES;
            if deliveries.len() == wanted.messages || (bytes > wanted.bytes && !deliveries.is_empty()) {
                break;
            }
            if self.messages[place].receives >= self.settings.receives_max {
                self.leave(place, Place::DeadLetter);
                continue;
            }
            deliveries.push(self.deliver(place, now_ms));
            if rng.f64() < wanted.twice {
                match rng.bool() && deliveries.len() < wanted.messages {
                    true => deliveries.push(self.deliver(place, now_ms)),
                    false => self.see_again(place, now_ms + 1),
                }
            }
        }
        deliveries
    }

    fn deliver(&mut self, place: usize, now_ms: i64) -> Delivery {
        self.handles += 1;
        self.see_again(place, now_ms + self.settings.visibility_ms);
        let message = &mut self.messages[place];
        message.receives += 1;
        message.first_received_ms.get_or_insert(now_ms);
        message.handle = format!("handle-{}-{place}", self.handles);
        Delivery { message: place, handle: message.handle.clone(), receives: message.receives }
    }

    /// Deletes a message by any handle that it was ever delivered with.
    pub(crate) fn delete(&mut self, place: usize) {
        if self.messages[place].place == Place::Queue {
            self.leave(place, Place::Deleted);
        }
    }

    /// Brings a deleted message back, as a server does that missed the deletion.
    pub(crate) fn undelete(&mut self, place: usize, at_ms: i64) {
        if self.messages[place].place == Place::Deleted {
            self.messages[place].place = Place::Queue;
            self.see_again(place, at_ms);
        }
    }

    /// Sets when a delivery ends. False unless `handle` is of the latest delivery of a message that is in flight.
    pub(crate) fn delay(&mut self, handle: &str, seconds: u32, now_ms: i64) -> bool {
        let place = handle.rsplit('-').next().and_then(|place| place.parse::<usize>().ok());
        let Some(place) = place.filter(|place| *place < self.messages.len()) else { return false };
        let message = &self.messages[place];
        let in_flight = message.place == Place::Queue && message.handle == handle && message.visible_ms > now_ms;
        if in_flight {
            self.see_again(place, now_ms + i64::from(seconds) * 1_000);
        }
        in_flight
    }
}

mod tests {
    use super::*;

    const ALL: Wanted = Wanted { messages: 10, bytes: 6_000_000, twice: 0.0 };

    fn queue() -> Queue {
        let mut queue = Queue::new(Settings { visibility_ms: 100, retention_ms: 10_000, receives_max: 3 });
        queue.send(0, 10, 0);
        queue
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
    fn what_is_older_than_the_queue_keeps_anything_is_gone() {
        let mut queue = queue();
        queue.expire(10_000);
        assert_eq!(queue.left(), 1);
        queue.expire(10_001);
        assert_eq!((queue.messages()[0].place, queue.left()), (Place::Expired, 0));
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
        receive(&mut queue, 0);
        queue.delete(0);
        assert_eq!((receive(&mut queue, 500).len(), queue.left()), (0, 0));
        queue.undelete(0, 600);
        assert_eq!(receive(&mut queue, 600)[0].receives, 2);
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
        let mut queue = Queue::new(Settings { visibility_ms: 100, retention_ms: 10_000, receives_max: 3 });
        for sending in 0..30 {
            queue.send(sending, 1_000, 0);
        }
        assert_eq!(receive(&mut queue, 0).len(), 10);
        let small = Wanted { bytes: 3 * (1_000 + METADATA_BYTES), ..ALL };
        assert_eq!(queue.receive(small, 0, &mut fastrand::Rng::with_seed(1)).len(), 3);
        let tiny = Wanted { bytes: 1, ..ALL };
        assert_eq!(queue.receive(tiny, 0, &mut fastrand::Rng::with_seed(1)).len(), 1);
    }

    #[test]
    fn messages_come_in_any_order() {
        let orders = (0..8).map(|seed| {
            let mut queue = Queue::new(Settings { visibility_ms: 100, retention_ms: 10_000, receives_max: 3 });
            for sending in 0..5 {
                queue.send(sending, 1, 0);
            }
            let deliveries = queue.receive(ALL, 0, &mut fastrand::Rng::with_seed(seed));
            deliveries.into_iter().map(|delivery| delivery.message).collect::<Vec<_>>()
        });
        assert!(orders.collect::<std::collections::BTreeSet<_>>().len() > 4);
    }
}
