//! `ingest.validation.failure` events: kept for 28 days, newest last here and newest first when listed.
//!
//! The id of an event is its number in disguise, so that a list, a page token and a look-up need no index.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;
use uuid::{Builder, Uuid};

use crate::book::Span;
use crate::clock::has_passed;
use crate::enrich::Failure;

/// How long events are kept (m3ter's documentation: "deleted after 28 days").
pub(crate) const EVENT_WINDOW: Duration = Duration::from_secs(28 * 24 * 60 * 60);
/// The name of the one kind of event that the sandbox raises (m3ter's list of event types).
pub(crate) const EVENT_NAME: &str = "ingest.validation.failure";
/// Its category, as `eventType` filters take it.
pub(crate) const EVENT_TYPE: &str = "IngestValidationFailure";

/// One event.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) at: Timestamp,
    pub(crate) faults: Vec<Fault>,
}

/// One measurement's failure.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The text of the measurement.
    pub(crate) span: Span,
    pub(crate) failure: Failure,
    pub(crate) detail: Option<Box<str>>,
    /// Places in the catalogue, as far as the codes were known.
    pub(crate) meter: Option<u32>,
    pub(crate) account: Option<u32>,
}

/// The events that are kept, numbered from the first that ever was.
#[derive(Debug, Default)]
pub(crate) struct Events {
    kept: VecDeque<Event>,
    forgotten: u64,
}

impl Events {
    /// Adds the newest event.
    pub(crate) fn raise(&mut self, event: Event) {
        self.kept.push_back(event);
    }

    /// Drops what is past its window.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        while self.kept.front().is_some_and(|event| has_passed(event.at, EVENT_WINDOW, now)) {
            self.kept.pop_front();
            self.forgotten += 1;
        }
    }

    /// Events with their numbers, newest first; only those before number `before`, if given.
    pub(crate) fn newest_first(&self, before: Option<u64>) -> impl Iterator<Item = (u64, &Event)> {
        let end = self.forgotten + self.kept.len() as u64;
        (0..end).rev().zip(self.kept.iter().rev()).filter(move |(number, _)| before.is_none_or(|before| *number < before))
    }

    /// The event with this number.
    pub(crate) fn get(&self, number: u64) -> Option<&Event> {
        self.kept.get(usize::try_from(number.checked_sub(self.forgotten)?).ok()?)
    }
}

/// What the ids of events begin with.
const ID_KIND: &[u8; 10] = b"m3tersandb";

/// The id of event `number`.
pub(crate) fn event_id(number: u64) -> Uuid {
    id_of(ID_KIND, number)
}

/// The number of the event with this id, if it is one.
pub(crate) fn event_number(id: &str) -> Option<u64> {
    number_of(ID_KIND, id)
}

/// The id of number `number` of a kind (a version 8 UUID that begins with the kind and whose last six bytes count).
pub(crate) fn id_of(kind: &[u8; 10], number: u64) -> Uuid {
    let mut bytes = [0; 16];
    for (into, from) in bytes.iter_mut().zip(kind.iter().copied().chain(number.to_be_bytes().into_iter().skip(2))) {
        *into = from;
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// The number behind an id of this kind.
pub(crate) fn number_of(kind: &[u8; 10], id: &str) -> Option<u64> {
    let uuid = Uuid::parse_str(id).ok()?;
    let number = uuid.as_bytes().iter().skip(10).fold(0, |number, byte| number << 8 | u64::from(*byte));
    (id_of(kind, number) == uuid).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64) -> Event {
        Event { at: Timestamp::from_second(second).unwrap(), faults: Vec::new() }
    }

    #[test]
    fn an_event_is_forgotten_after_28_days_and_the_others_keep_their_numbers() {
        let mut events = Events::default();
        let window = 28 * 24 * 60 * 60;
        (0..3).for_each(|second| events.raise(event(second)));
        events.forget(Timestamp::from_second(window - 1).unwrap());
        assert!(events.get(0).is_some());
        events.forget(Timestamp::from_second(window).unwrap());
        assert!(events.get(0).is_none());
        let numbers: Vec<u64> = events.newest_first(None).map(|(number, _)| number).collect();
        assert_eq!(numbers, [2, 1]);
        assert_eq!(events.newest_first(Some(2)).count(), 1);
    }

    #[test]
    fn an_id_leads_back_to_its_event() {
        for number in [0, 1, 255, 256, 1 << 40] {
            assert_eq!(event_number(&event_id(number).to_string()), Some(number));
        }
        assert_eq!(event_number("00000000-0000-0000-0000-000000000001"), None);
        assert_eq!(event_number("x"), None);
    }
}
