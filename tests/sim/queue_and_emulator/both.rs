//! The model of SQS and the emulator, given the same calls, and held against each other after each.
//!
//! What SQS leaves open the emulator decides, and the model follows it: which of several visible messages a receive returns,
//! and what a deletion by an old handle does. The emulator may only choose what the model allows: a message that is visible,
//! and has not been received too often.
//!
//! Where the emulator is known to differ from AWS, the model keeps to AWS, the difference is expected here as it is, and
//! [`crate::deviations`] has a test that is named for it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::emulator::{Counts, Emulated, Emulator, Received, Refused};
use crate::queue::{Delivery, Place, Queue, Settings, Wanted};

/// When each script begins. Times are multiples of 125 ms, which a Python float has exactly.
pub(crate) const START_MS: i64 = 1_780_272_000_000;
/// The error of a handle that cannot be used.
pub(crate) const INVALID: &str = "ReceiptHandleIsInvalid";
/// The longest visibility timeout. Source: SQS, 12 hours.
const VISIBILITY_MAX_MS: i64 = 43_200_000;
/// Bytes in a message; no limit on bytes is compared here.
const BYTES: usize = 10;

/// One delivery, as each of the two names it.
#[derive(Clone, Debug)]
struct Handle {
    model: String,
    emulator: String,
    message: usize,
}

/// What a handle is good for at the moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Standing {
    /// Never given to anybody.
    MadeUp,
    /// Of the latest delivery, in flight.
    InFlight,
    /// Of the latest delivery, and the message is visible again.
    Lapsed,
    /// The message was delivered again since.
    Old,
    /// The message has left the queue.
    Gone,
}

/// What happened so often while scripts ran: a comparison of nothing would always hold.
pub(crate) type Happened = BTreeMap<String, u64>;

/// How the two differ.
pub(crate) type Compared = Result<(), String>;

/// The two, with what a caller of SQS knows.
pub(crate) struct Both<'e> {
    emulator: &'e Emulator,
    emulated: Emulated,
    model: Queue,
    settings: Settings,
    now_ms: i64,
    ids: Vec<String>,
    handles: Vec<Handle>,
    pub(crate) happened: Happened,
}

fn same<T: PartialEq + Debug>(what: &str, model: &T, emulator: &T) -> Compared {
    if model == emulator { Ok(()) } else { Err(format!("{what}: the model {model:?}, the emulator {emulator:?}")) }
}

impl<'e> Both<'e> {
    /// Two queues with the same settings, unless the model is to be wrong.
    pub(crate) async fn new(emulator: &'e Emulator, name: &str, settings: Settings, of_the_model: Settings) -> Both<'e> {
        emulator.set_clock(START_MS);
        let made_up = Handle {
            model: "handle-0-1000000".into(),
            emulator: "00000000-0000-4000-8000-000000000000".into(),
            message: usize::MAX,
        };
        Both {
            emulator,
            emulated: emulator.queue(name, settings).await,
            model: Queue::new(of_the_model),
            settings: of_the_model,
            now_ms: START_MS,
            ids: Vec::new(),
            handles: vec![made_up],
            happened: Happened::new(),
        }
    }

    /// How many handles there are. The first is made up, the later ones are in the order in which they were given.
    pub(crate) fn handles(&self) -> usize {
        self.handles.len()
    }

    fn note(&mut self, what: impl Into<String>) {
        *self.happened.entry(what.into()).or_default() += 1;
    }

    fn count(&self, place: Place) -> usize {
        self.model.messages().iter().filter(|message| message.place == place).count()
    }

    /// Lets time pass.
    pub(crate) async fn pass(&mut self, ms: i64) -> Compared {
        self.now_ms += ms;
        self.emulator.set_clock(self.now_ms);
        let dead = self.count(Place::DeadLetter);
        self.model.expire(self.now_ms);
        if self.count(Place::DeadLetter) < dead {
            self.note("expired in the dead-letter queue");
        }
        self.counts().await
    }

    pub(crate) async fn send(&mut self, messages: usize) -> Compared {
        let sendings: Vec<usize> = (self.ids.len()..self.ids.len() + messages).collect();
        let ids = self.emulated.send(&sendings).await;
        for (sending, id) in sendings.into_iter().zip(ids) {
            same("the place of a message", &self.model.send(sending, BYTES, self.now_ms), &self.ids.len())?;
            self.ids.push(id);
        }
        self.note(if messages == 1 { "send: one" } else { "send: batch" });
        self.counts().await
    }

    pub(crate) async fn receive(&mut self, most: usize, visibility_s: Option<u32>) -> Compared {
        let received = self.emulated.receive(i32::try_from(most).unwrap(), visibility_s.map(u32::cast_signed)).await;
        let visible = self.model.visible(self.now_ms);
        let is_worn = |place: &&usize| self.model.messages()[**place].receives >= self.settings.receives_max;
        let worn: Vec<usize> = visible.iter().filter(is_worn).copied().collect();
        let chosen: Vec<usize> = received.iter().map(|message| message.sending).collect();
        if let Some(odd) = chosen.iter().find(|place| !visible.contains(place) || worn.contains(place)) {
            return Err(format!("the emulator delivers {odd}; the model has visible {visible:?}, of them worn {worn:?}"));
        }
        let others = visible.iter().filter(|place| !worn.contains(place) && !chosen.contains(place));
        // The emulator looks at all that were received too often before it delivers any; SQS leaves that open, too.
        let order: Vec<usize> = worn.iter().chain(&chosen).chain(others).copied().collect();
        let wanted = Wanted { messages: most, bytes: usize::MAX, twice: 0.0 };
        let deliveries = self.model.receive_of(&order, wanted, self.now_ms, &mut fastrand::Rng::with_seed(0));
        same("messages received", &deliveries.iter().map(|delivery| delivery.message).collect(), &chosen)?;
        for (delivery, received) in deliveries.iter().zip(received) {
            self.compare(delivery, &received)?;
            if received.receives > 1 {
                self.note("receive: again");
            }
            if let Some(seconds) = visibility_s {
                // A visibility timeout of its own is the same as a change at once.
                same("a change at once", &self.model.delay(&delivery.handle, seconds, self.now_ms), &true)?;
            }
            let (model, emulator) = (delivery.handle.clone(), received.handle);
            self.handles.push(Handle { model, emulator, message: delivery.message });
        }
        let notes = [
            (deliveries.is_empty(), "receive: nothing"),
            (visible.len() - worn.len() > most, "receive: a choice of several"),
            (!worn.is_empty(), "receive: given up"),
            (visibility_s.is_some(), "receive: with a visibility timeout of its own"),
        ];
        notes.into_iter().filter(|(happened, _)| *happened).for_each(|(_, what)| self.note(what));
        self.counts().await
    }

    fn compare(&self, delivery: &Delivery, received: &Received) -> Compared {
        let message = &self.model.messages()[delivery.message];
        same("the id", &self.ids[delivery.message], &received.id)?;
        same("the receive count", &delivery.receives, &received.receives)?;
        same("the sent timestamp", &message.sent_ms, &received.sent_ms)?;
        same("the time of the first receive", &message.first_received_ms, &Some(received.first_received_ms))
    }

    fn standing(&self, handle: usize) -> Standing {
        let message = self.handles[handle].message;
        let is_latest = self.handles.iter().rposition(|other| other.message == message) == Some(handle);
        match self.model.messages().get(message) {
            None => Standing::MadeUp,
            Some(found) if found.place != Place::Queue => Standing::Gone,
            Some(_) if !is_latest => Standing::Old,
            Some(_) if self.model.visible(self.now_ms).contains(&message) => Standing::Lapsed,
            Some(_) => Standing::InFlight,
        }
    }

    /// Deletes by each of these handles. AWS answers every handle that it ever gave with success, whether or not it deletes;
    /// the emulator says which deletes.
    pub(crate) async fn delete(&mut self, handles: &[usize]) -> Compared {
        let mut expected: Vec<Refused> = Vec::new();
        for handle in handles {
            let standing = self.standing(*handle);
            self.note(format!("{} by a handle: {standing:?}", if handles.len() == 1 { "delete" } else { "delete in a batch" }));
            let is_deleted = self.model.delete(&self.handles[*handle].model, || false);
            same("a deletion", &is_deleted, &matches!(standing, Standing::InFlight | Standing::Lapsed))?;
            expected.push((!is_deleted).then(|| INVALID.to_owned()));
        }
        let named: Vec<&str> = handles.iter().map(|handle| self.handles[*handle].emulator.as_str()).collect();
        same("what was not deleted", &expected, &self.emulated.delete(&named).await)?;
        self.counts().await
    }

    /// Sets these visibility timeouts, in seconds. AWS refuses what is not in flight; the emulator hides a message once more
    /// by the handle of its latest delivery, and is told to show it again.
    pub(crate) async fn delay(&mut self, delays: &[(usize, u32)]) -> Compared {
        let (mut expected, mut lapsed) = (Vec::<Refused>::new(), Vec::new());
        for (handle, seconds) in delays {
            let standing = self.standing(*handle);
            self.note(format!("{} by a handle: {standing:?}", if delays.len() == 1 { "delay" } else { "delay in a batch" }));
            if *seconds == 0 && standing == Standing::InFlight {
                self.note("delay: to nothing");
            }
            let is_delayed = self.model.delay(&self.handles[*handle].model, *seconds, self.now_ms);
            same("a delay", &is_delayed, &(standing == Standing::InFlight))?;
            if standing == Standing::Lapsed {
                lapsed.push(*handle);
            }
            expected.push((!is_delayed && standing != Standing::Lapsed).then(|| INVALID.to_owned()));
        }
        let name = |handle: &usize| self.handles[*handle].emulator.as_str();
        let named: Vec<(&str, i32)> = delays.iter().map(|(handle, seconds)| (name(handle), seconds.cast_signed())).collect();
        same("what was not delayed", &expected, &self.emulated.delay(&named).await)?;
        for handle in &lapsed {
            same("a message shown again", &vec![None], &self.emulated.delay(&[(name(handle), 0)]).await)?;
        }
        self.counts().await
    }

    async fn counts(&self) -> Compared {
        let visible = self.model.visible(self.now_ms).len();
        let in_flight = self.model.left() - visible;
        let model = Counts { visible, in_flight, dead: self.count(Place::DeadLetter) };
        same("counts", &model, &self.emulated.counts().await)
    }

    /// Compares which messages are where, and what is known of those that are left.
    pub(crate) async fn end(&mut self) -> Compared {
        self.emulated.keep_what_is_left().await;
        self.emulator.set_clock(self.now_ms + VISIBILITY_MAX_MS);
        let (left, dead) = self.emulated.drain().await;
        for (place, found) in [(Place::Queue, &left), (Place::DeadLetter, &dead)] {
            let mut found: Vec<usize> = found.iter().map(|message| message.sending).collect();
            found.sort_unstable();
            let messages = self.model.messages().iter().enumerate();
            let kept: Vec<usize> = messages.filter(|(_, message)| message.place == place).map(|(at, _)| at).collect();
            same(&format!("what is left in {place:?}"), &kept, &found)?;
        }
        for received in left.iter().chain(&dead) {
            let message = &self.model.messages()[received.sending];
            same("the id in the end", &self.ids[received.sending], &received.id)?;
            same("the sent timestamp in the end", &message.sent_ms, &received.sent_ms)?;
        }
        for received in &left {
            let message = &self.model.messages()[received.sending];
            same("the receive count in the end", &message.receives, &(received.receives - 1))?;
        }
        for place in [Place::Queue, Place::DeadLetter, Place::Deleted, Place::Expired] {
            let count = self.count(place) as u64;
            *self.happened.entry(format!("end: {place:?}")).or_default() += count;
        }
        Ok(())
    }
}
