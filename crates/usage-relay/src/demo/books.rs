//! Balances the books: finds the one place in which each produced measurement ended.
//!
//! The rule: a place needs evidence. What is in the quarantine is found by message and position; what reached m3ter by
//! uid, with what m3ter made of it and its content. A copy that was not sent again, because the relay collapses copies
//! within an invocation, is placed by the copy that was: same uid, same content, ingested. Nothing is placed by subtraction,
//! so whatever is lost has no place, and the books do not balance.
//!
//! Pure: no clock, no network. What is absent here is how the evidence is fetched.

use std::collections::BTreeMap;

use relay_core::reason::Reason;

use super::plan::{Due, Produced};

/// A measurement that m3ter accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Landed {
    /// Its uid.
    pub(crate) uid: String,
    /// What m3ter made of it.
    pub(crate) fate: Fate,
    /// It, as m3ter got it.
    pub(crate) text: String,
}

/// What m3ter makes of an accepted measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not yet decided.
    Pending,
    /// Counted.
    Ingested,
    /// Dropped, because its uid had been seen: `DuplicateUid`.
    Duplicate,
    /// Dropped for this other reason.
    Rejected(String),
}

/// An entry of the quarantine; entries of one `qid` are one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The queue's id of the message.
    pub(crate) message_id: String,
    /// The place in the message, from 0.
    pub(crate) position: usize,
    /// The uid, where the relay could read one.
    pub(crate) uid: Option<String>,
    /// The stable name of the reason.
    pub(crate) reason: String,
}

/// Where a produced measurement ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Counted by m3ter.
    Ingested,
    /// Submitted, and dropped by m3ter because it had counted a copy.
    Dropped,
    /// Not submitted: a copy in the same invocation was, and shares its fate.
    Collapsed,
    /// Accepted by m3ter and rejected later, for this reason.
    Rejected(String),
    /// Kept in the quarantine, for this reason.
    Quarantined(String),
    /// Nowhere, or not in one place: why not.
    Nowhere(&'static str),
}

/// The books after all evidence was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Books {
    /// The place of each produced measurement, in the order of production.
    pub(crate) places: Vec<Place>,
    /// Measurements of this run that m3ter accepted, each time it did.
    pub(crate) accepted: u64,
    /// Measurements of this run that m3ter accepted beyond the copies produced: sent again by the relay, and dropped by m3ter.
    pub(crate) sent_again: u64,
    /// What is wrong, one line each. Empty if the books balance.
    pub(crate) faults: Vec<String>,
}

const NO_TRACE: &str = "neither at m3ter nor in the quarantine";
const OTHER_CONTENT: &str = "m3ter counted another content under its uid";
const UNDECIDED: &str = "m3ter has not decided yet";

/// Places each of `produced`. `message_ids` holds the queue's id of each message, by its number.
pub(crate) fn balance(produced: &[Produced], message_ids: &[String], landed: &[Landed], kept: &[Kept]) -> Books {
    let kept: BTreeMap<(&str, usize), &Kept> =
        kept.iter().map(|entry| ((entry.message_id.as_str(), entry.position), entry)).collect();
    let mut by_uid: BTreeMap<&str, Vec<&Landed>> = BTreeMap::new();
    for one in landed {
        by_uid.entry(&one.uid).or_default().push(one);
    }
    let mut books = Books { places: vec![Place::Nowhere(NO_TRACE); produced.len()], ..Books::default() };
    let mut copies: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, one) in produced.iter().enumerate() {
        let id = message_ids.get(one.message).map_or("", String::as_str);
        match (kept.get(&(id, one.position)), &one.uid) {
            (Some(entry), uid) => {
                if uid.is_some() && entry.uid.is_some() && *uid != entry.uid {
                    books.fault(one, "its entry in the quarantine has another uid");
                }
                books.put(index, Place::Quarantined(entry.reason.clone()));
                copies.entry(uid.as_deref().unwrap_or_default()).or_default();
            }
            (None, Some(uid)) => copies.entry(uid).or_default().push(index),
            (None, None) => {}
        }
    }
    for (uid, copies) in &copies {
        let landed = by_uid.get(uid).map_or(&[][..], Vec::as_slice);
        books.accepted += landed.len() as u64;
        books.place_copies(uid, copies, landed, produced);
    }
    for (one, place) in produced.iter().zip(books.places.clone()) {
        books.hold_to(one, &place);
    }
    books.faults.extend(given_up(message_ids, &kept));
    books
}

/// A fault for each message that the queue gave up: it is in the quarantine as a whole, and must not be, even if m3ter has all of it.
fn given_up(message_ids: &[String], kept: &BTreeMap<(&str, usize), &Kept>) -> Vec<String> {
    let given_up = |id: &String| {
        let entries = kept.range((id.as_str(), 0)..=(id.as_str(), usize::MAX));
        entries.into_iter().any(|(_, entry)| entry.reason == Reason::DeliveryExhausted.name())
    };
    let numbers = message_ids.iter().enumerate().filter(|(_, id)| given_up(id)).map(|(number, _)| number);
    numbers.map(|number| format!("message {number}: the queue gave it up; it is in the quarantine as it was sent")).collect()
}

impl Books {
    /// Places the measurements of one uid that are not in the quarantine, by what m3ter has under that uid.
    fn place_copies(&mut self, uid: &str, copies: &[usize], landed: &[&Landed], produced: &[Produced]) {
        let of = |fate: &Fate| landed.iter().filter(|one| one.fate == *fate).count();
        let ingested: Vec<&&Landed> = landed.iter().filter(|one| one.fate == Fate::Ingested).collect();
        if ingested.len() > 1 {
            self.faults.push(format!("{uid}: m3ter counted it {} times", ingested.len()));
        }
        if copies.is_empty() {
            if !landed.is_empty() {
                self.faults.push(format!("{uid}: m3ter accepted what is in the quarantine"));
            }
            return;
        }
        if of(&Fate::Pending) > 0 {
            copies.iter().for_each(|index| self.put(*index, Place::Nowhere(UNDECIDED)));
            return;
        }
        let rejection = landed.iter().find_map(|one| match &one.fate {
            Fate::Rejected(reason) => Some((one, reason)),
            Fate::Pending | Fate::Ingested | Fate::Duplicate => None,
        });
        match (ingested.first(), rejection) {
            (Some(counted), _) => self.place_counted(copies, &counted.text, of(&Fate::Duplicate), produced),
            (None, Some((first, reason))) => {
                for index in copies {
                    let same = produced.get(*index).is_some_and(|one| same_content(&one.text, &first.text));
                    let place = if same { Place::Rejected(reason.clone()) } else { Place::Nowhere(OTHER_CONTENT) };
                    self.put(*index, place);
                }
                self.sent_again += landed.len().saturating_sub(copies.len()) as u64;
            }
            (None, None) => {}
        }
    }

    /// One of `copies` is the one that m3ter counted; of the others it dropped `drops`, and the rest were never submitted.
    fn place_counted(&mut self, copies: &[usize], counted: &str, drops: usize, produced: &[Produced]) {
        let (same, other): (Vec<usize>, Vec<usize>) =
            copies.iter().partition(|index| produced.get(**index).is_some_and(|one| same_content(&one.text, counted)));
        let mut drops = drops;
        for (place, index) in same.into_iter().enumerate() {
            if place == 0 {
                self.put(index, Place::Ingested);
            } else if drops > 0 {
                drops -= 1;
                self.put(index, Place::Dropped);
            } else {
                self.put(index, Place::Collapsed);
            }
        }
        other.into_iter().for_each(|index| self.put(index, Place::Nowhere(OTHER_CONTENT)));
        self.sent_again += drops as u64;
    }

    /// Notes a fault if `place` is not where `one` was due.
    fn hold_to(&mut self, one: &Produced, place: &Place) {
        let holds = match (one.due, place) {
            (Due::Ingested, Place::Ingested | Place::Dropped | Place::Collapsed) => true,
            (Due::Rejected(due), Place::Rejected(reason)) | (Due::Quarantined(due), Place::Quarantined(reason)) => due == reason,
            (Due::Ingested | Due::Rejected(_) | Due::Quarantined(_), _) => false,
        };
        match place {
            Place::Nowhere(why) => self.fault(one, why),
            found if !holds => self.fault(one, &format!("expected {}, found {}", due_words(one.due), place_words(found))),
            Place::Ingested | Place::Dropped | Place::Collapsed | Place::Rejected(_) | Place::Quarantined(_) => {}
        }
    }

    fn fault(&mut self, one: &Produced, what: &str) {
        let name = one.uid.as_deref().unwrap_or("a measurement without uid");
        self.faults.push(format!("{name} (message {}, position {}): {what}", one.message, one.position));
    }

    fn put(&mut self, index: usize, place: Place) {
        if let Some(slot) = self.places.get_mut(index) {
            *slot = place;
        }
    }

    /// Whether all evidence is there: nothing is nowhere.
    pub(crate) fn is_settled(&self) -> bool {
        !self.places.iter().any(|place| matches!(place, Place::Nowhere(_)))
    }
}

fn due_words(due: Due) -> String {
    match due {
        Due::Ingested => "it ingested".to_owned(),
        Due::Rejected(reason) => format!("it rejected later as {reason}"),
        Due::Quarantined(reason) => format!("it quarantined as {reason}"),
    }
}

fn place_words(place: &Place) -> String {
    match place {
        Place::Ingested => "it ingested".to_owned(),
        Place::Dropped => "it dropped as a duplicate".to_owned(),
        Place::Collapsed => "it collapsed with a copy".to_owned(),
        Place::Rejected(reason) => format!("it rejected later as {reason}"),
        Place::Quarantined(reason) => format!("it quarantined as {reason}"),
        Place::Nowhere(why) => (*why).to_owned(),
    }
}

/// Whether two measurements say the same, whatever the order of their keys.
fn same_content(one: &str, other: &str) -> bool {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    one == other || (read(one).is_some() && read(one) == read(other))
}

#[cfg(test)]
#[path = "books_tests.rs"]
mod tests;
