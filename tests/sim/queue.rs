//! A model of SQS: a standard queue with a dead-letter queue, as far as messages can be lost, repeated or reordered by it.
//!
//! It knows time only as it is told. Where SQS promises little (order, one delivery at a time, a deletion that lasts, what a
//! deletion by an old handle does), the generator or the closure that comes along decides.
//!
//! `queue_itself` tests it alone; `queue_and_emulator` gives it and an emulator of SQS the same calls, and compares.
//!
//! Absent, as nothing here asks for it: sending with a delay, a visibility timeout of more than 12 hours in all, the limit of
//! 120,000 messages in flight, and what a dead-letter queue is asked for.

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
    /// As old as the queue keeps anything.
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
#[derive(Clone, Debug)]
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

    /// Drops what is as old as the queue keeps anything. A dead-letter queue goes by the time of the first sending, too.
    pub(crate) fn expire(&mut self, now_ms: i64) {
        let before_ms = now_ms - self.settings.retention_ms;
        for place in 0..self.messages.len() {
            let message = &self.messages[place];
            if message.sent_ms <= before_ms && matches!(message.place, Place::Queue | Place::DeadLetter) {
                self.leave(place, Place::Expired);
            }
        }
    }

    /// What could be delivered.
    pub(crate) fn visible(&self, now_ms: i64) -> Vec<usize> {
        self.waiting.range(..=(now_ms, usize::MAX)).map(|((_, place), ())| *place).collect()
    }

    /// Delivers some of what is visible, in any order. What was received too often goes to the dead-letter queue instead.
    pub(crate) fn receive(&mut self, wanted: Wanted, now_ms: i64, rng: &mut fastrand::Rng) -> Vec<Delivery> {
        let mut visible = self.visible(now_ms);
        rng.shuffle(&mut visible);
        self.receive_of(&visible, wanted, now_ms, rng)
    }

    /// The same in the order of `visible`, which somebody else decides.
    pub(crate) fn receive_of(
        &mut self,
        visible: &[usize],
        wanted: Wanted,
        now_ms: i64,
        rng: &mut fastrand::Rng,
    ) -> Vec<Delivery> {
        let (mut deliveries, mut bytes) = (Vec::new(), 0);
        for place in visible.iter().copied() {
            if deliveries.len() == wanted.messages {
                break;
            }
            if self.messages[place].receives >= self.settings.receives_max {
                self.leave(place, Place::DeadLetter);
                continue;
            }
            bytes += self.messages[place].bytes + METADATA_BYTES;
            if bytes > wanted.bytes && !deliveries.is_empty() {
                break;
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

    /// Deletes a message by the handle of its latest delivery, in flight or not. An older handle deletes it only if `by_old` says
    /// so: SQS answers with success, which does not mean that it is deleted. True if it is gone by this.
    pub(crate) fn delete(&mut self, handle: &str, by_old: impl FnOnce() -> bool) -> bool {
        let Some(place) = self.place_of(handle) else { return false };
        let message = &self.messages[place];
        let is_deleted = message.place == Place::Queue && (message.handle == handle || by_old());
        if is_deleted {
            self.leave(place, Place::Deleted);
        }
        is_deleted
    }

    /// Brings a deleted message back, as a server does that missed the deletion.
    pub(crate) fn undelete(&mut self, place: usize, at_ms: i64) {
        if self.messages[place].place == Place::Deleted {
            self.messages[place].place = Place::Queue;
            self.see_again(place, at_ms);
        }
    }

    /// The message that `handle` was made for.
    fn place_of(&self, handle: &str) -> Option<usize> {
        let place = handle.rsplit('-').next().and_then(|place| place.parse::<usize>().ok());
        place.filter(|place| *place < self.messages.len())
    }

    /// Sets when a delivery ends. False unless `handle` is of the latest delivery of a message that is in flight.
    pub(crate) fn delay(&mut self, handle: &str, seconds: u32, now_ms: i64) -> bool {
        let Some(place) = self.place_of(handle) else { return false };
        let message = &self.messages[place];
        let in_flight = message.place == Place::Queue && message.handle == handle && message.visible_ms > now_ms;
        if in_flight {
            self.see_again(place, now_ms + i64::from(seconds) * 1_000);
        }
        in_flight
    }
}
