//! What the demo sends: mostly good measurements, and among them each kind of trouble, each with the place it must end in.
//!
//! Trouble stands in slots, one in ten, so that a slot's neighbours are good ones. It follows from its place alone: two
//! plans of the same run and size are equal to the byte.

use std::ops::RangeInclusive;

use crate::failure::Failure;
use crate::sample::{METER, Run, Values};
use crate::send::measurement::MESSAGE_BYTES_MAX;
use crate::send::pack::Message;

/// Meter code that the demo never creates, so that m3ter rejects its measurements after it accepted them.
pub(crate) const UNKNOWN_METER: &str = "usage_relay_demo_unknown";
/// A slot of trouble is the sixth of every ten positions.
const SLOT: usize = 10;
const SLOT_AT: usize = 5;
/// Fewest measurements in a message: one slot.
const PER_MESSAGE: RangeInclusive<u64> = SLOT as u64..=10_000;
/// More than any request can hold: the ingest API takes bodies below 512,000 bytes.
const OVERSIZE_BYTES: usize = 520_000;
/// Four of these and a message of ordinary ones are more than one request holds, so a batch is closed by bytes.
const LARGE_BYTES: usize = 110_000;
const LARGE_AT: [usize; 4] = [1, 2, 3, 8];
const OVERSIZE_AT: usize = 7;

/// One measurement as it was produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Produced {
    /// The number of its message, from 0.
    pub(crate) message: usize,
    /// Its place in the message, from 0.
    pub(crate) position: usize,
    /// Its uid, where it has one that counts.
    pub(crate) uid: Option<String>,
    /// `measure.calls`, where it has one that counts.
    pub(crate) calls: u64,
    /// `measure.bytes`, where it has one that counts.
    pub(crate) bytes: u64,
    /// It, as it was written.
    pub(crate) text: String,
    /// Where it must end.
    pub(crate) due: Due,
}

/// Where a measurement must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// At m3ter: itself ingested, or a copy of one that was.
    Ingested,
    /// At m3ter, which rejects it later for this reason.
    Rejected(&'static str),
    /// In the quarantine, for this reason.
    Quarantined(&'static str),
}

/// The trouble that can stand in a slot.
#[derive(Debug, Clone, Copy)]
enum Trouble {
    /// The measurement before it once more.
    CopyBeside,
    /// A measurement of an earlier message once more.
    CopyFar,
    /// The measurement before it, with its keys in another order.
    CopyReordered,
    /// Another content under the uid of the measurement before it.
    Conflict,
    /// A meter that m3ter does not know.
    UnknownMeter,
    /// Something the relay must refuse, by its place in [`malformed`].
    Malformed(usize),
}

const MALFORMED: usize = 14;

/// Trouble in the order in which slots take it, over and over; slots beyond it hold good measurements.
const ROUND: [Trouble; 32] = {
    use Trouble::{Conflict, CopyBeside, CopyFar, CopyReordered, Malformed, UnknownMeter};
    [
        CopyBeside,
        CopyFar,
        Malformed(0),
        UnknownMeter,
        Conflict,
        Malformed(1),
        CopyFar,
        Malformed(2),
        CopyBeside,
        UnknownMeter,
        Malformed(3),
        CopyReordered,
        Malformed(4),
        CopyFar,
        Malformed(5),
        Malformed(6),
        CopyBeside,
        CopyFar,
        Malformed(7),
        UnknownMeter,
        Conflict,
        Malformed(8),
        CopyFar,
        Malformed(9),
        CopyBeside,
        UnknownMeter,
        Malformed(10),
        CopyReordered,
        Malformed(11),
        CopyFar,
        Malformed(12),
        Malformed(13),
    ]
};
/// Slots after which a round begins again: two thirds of them good, so about 3 % of all measurements are trouble.
const ROUND_SLOTS: usize = 96;
const _: () = assert!(ROUND.len() < ROUND_SLOTS);

/// Plans `measurements` measurements in `messages` messages of `run`.
///
/// # Errors
/// [`Failure::Usage`] if that makes messages which are too small to hold the mix, or too large for the queue.
pub(crate) fn plan(run: Run, measurements: u64, messages: u64) -> Result<Vec<Produced>, Failure> {
    let per_message = measurements.checked_div(messages).unwrap_or_default();
    if !PER_MESSAGE.contains(&per_message) {
        let (least, most) = (PER_MESSAGE.start(), PER_MESSAGE.end());
        return Err(Failure::Usage(format!("expected {least} to {most} measurements a message, found {per_message}")));
    }
    let sizes = Sizes { base: per_message as usize, longer: (measurements % messages) as usize, messages: messages as usize };
    let mut produced: Vec<Produced> = Vec::with_capacity(measurements as usize);
    let mut slots = 0;
    for message in 0..sizes.messages {
        for position in 0..sizes.of(message) {
            let at = Place { run, index: produced.len() as u64, message, position };
            let next = if position % SLOT == SLOT_AT {
                slots += 1;
                let trouble = ROUND.get((slots - 1) % ROUND_SLOTS).copied();
                trouble.and_then(|trouble| at.trouble(trouble, &produced, &sizes))
            } else {
                at.large(&sizes)
            };
            produced.push(next.unwrap_or_else(|| at.good("")));
        }
    }
    Ok(produced)
}

/// The messages that hold `produced`.
///
/// # Errors
/// [`Failure::Usage`] if one is too large for the queue.
pub(crate) fn messages(produced: &[Produced]) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::new();
    for group in produced.chunk_by(|one, next| one.message == next.message) {
        let texts: Vec<&str> = group.iter().map(|one| one.text.as_str()).collect();
        // One measurement a line: an emulator that reads a body as JSON and writes it again would drop the malformed part of some.
        let body = texts.join("\n");
        if body.len() > MESSAGE_BYTES_MAX {
            return Err(Failure::Usage(format!("expected messages of at most {MESSAGE_BYTES_MAX} bytes: ask for more messages")));
        }
        let number = messages.len() as u64;
        let origin = format!("demo message {}", number + 1);
        let measurements = group.len() as u64;
        messages.push(Message { number, body, attributes: Vec::new(), measurements, origin });
    }
    Ok(messages)
}

/// How many measurements each message holds.
struct Sizes {
    base: usize,
    longer: usize,
    messages: usize,
}

impl Sizes {
    fn of(&self, message: usize) -> usize {
        self.base + usize::from(message < self.longer)
    }

    /// Where message `message` begins among all measurements.
    fn start(&self, message: usize) -> usize {
        message * self.base + message.min(self.longer)
    }
}

/// Where a measurement is about to stand.
#[derive(Clone, Copy)]
struct Place {
    run: Run,
    index: u64,
    message: usize,
    position: usize,
}

impl Place {
    fn produced(self, uid: Option<String>, values: &Values, text: String, due: Due) -> Produced {
        let Self { message, position, .. } = self;
        Produced { message, position, uid, calls: values.calls, bytes: values.bytes, text, due }
    }

    /// A good measurement, with `more` before its last brace.
    fn good(self, more: &str) -> Produced {
        let (uid, values) = (self.run.uid(self.index), self.run.values(self.index));
        let mut text = values.json(METER, &uid);
        text.insert_str(text.len() - 1, more);
        self.produced(Some(uid), &values, text, Due::Ingested)
    }

    /// The large measurements of two messages, and the one that no request can hold.
    fn large(self, sizes: &Sizes) -> Option<Produced> {
        let fill = |bytes: usize| format!(r#","other":{{"padding":"{}"}}"#, "x".repeat(bytes));
        let is_large = self.message == sizes.messages / 4 || self.message == sizes.messages * 3 / 4;
        if self.message == sizes.messages / 2 && self.position == OVERSIZE_AT {
            Some(Produced { due: Due::Quarantined("Oversize"), ..self.good(&fill(OVERSIZE_BYTES)) })
        } else if is_large && LARGE_AT.contains(&self.position) {
            Some(self.good(&fill(LARGE_BYTES)))
        } else {
            None
        }
    }

    /// `trouble` in this slot; nothing if it needs an earlier message and there is none.
    fn trouble(self, trouble: Trouble, before: &[Produced], sizes: &Sizes) -> Option<Produced> {
        let Self { message, position, .. } = self;
        let beside = before.last();
        let copy = |of: &Produced| Produced { message, position, ..of.clone() };
        match trouble {
            Trouble::CopyBeside => beside.map(copy),
            Trouble::CopyFar => {
                let earlier = message.checked_sub((sizes.messages / 2).max(1))?;
                before.get(sizes.start(earlier) + position - 1).map(copy)
            }
            Trouble::CopyReordered => beside.map(|of| Produced { text: reordered(&of.text), ..copy(of) }),
            Trouble::Conflict => beside.map(|of| {
                let values = self.run.values(self.index);
                let text = values.json(METER, of.uid.as_deref().unwrap_or_default());
                self.produced(of.uid.clone(), &values, text, Due::Quarantined("UidConflict"))
            }),
            Trouble::UnknownMeter => {
                let (uid, values) = (self.run.uid(self.index), self.run.values(self.index));
                let text = values.json(UNKNOWN_METER, &uid);
                Some(self.produced(Some(uid), &values, text, Due::Rejected("UndefinedMeter")))
            }
            Trouble::Malformed(kind) => Some(self.malformed(kind)),
        }
    }

    fn malformed(self, kind: usize) -> Produced {
        let uid = self.run.uid(self.index);
        let values = self.run.values(self.index);
        let good = values.json(METER, &uid);
        let (reason, text) = malformed(kind, &good, &uid, &values);
        let uid = (!matches!(reason, "UidMissing" | "UidTooLong" | "NotAMeasurement")).then_some(uid);
        self.produced(uid, &values, text, Due::Quarantined(reason))
    }
}

/// A measurement made wrong in one way, and the reason the relay must give for it.
fn malformed(kind: usize, good: &str, uid: &str, values: &Values) -> (&'static str, String) {
    let Values { account, ts, calls, region, .. } = values;
    let swap = |from: String, to: String| good.replacen(&from, &to, 1);
    match kind % MALFORMED {
        0 => ("UidMissing", swap(format!(r#""uid":"{uid}","#), String::new())),
        1 => ("TimestampMissing", swap(format!(r#","ts":"{ts}""#), String::new())),
        2 => ("AccountInvalid", swap(account.clone(), format!(" {account}"))),
        3 => ("FieldNotNumber", swap(format!(r#""calls":{calls}"#), format!(r#""calls":"{calls}""#))),
        4 => ("TimestampInvalid", swap(ts.clone(), "yesterday".to_owned())),
        5 => ("MeterMissing", swap(format!(r#","meter":"{METER}""#), String::new())),
        6 => ("FieldNotText", swap(format!(r#""region":"{region}""#), r#""region":7"#.to_owned())),
        7 => ("AccountMissing", swap(format!(r#","account":"{account}""#), String::new())),
        8 => ("DuplicateField", swap(r#""region":"#.to_owned(), r#""calls":"7","region":"#.to_owned())),
        9 => ("UidTooLong", swap(uid.to_owned(), format!("{uid}-and-fifteen-more"))),
        10 => ("DuplicateKey", swap(r#""account":"#.to_owned(), r#""account":"twice","account":"#.to_owned())),
        11 => ("NotAMeasurement", format!("[{good}]")),
        12 => ("FieldCodeInvalid", swap(r#""region":"#.to_owned(), r#""the region":"x","region":"#.to_owned())),
        _ => ("TimestampInFuture", swap(ts.clone(), "2999-01-01T00:00:00Z".to_owned())),
    }
}

/// The same content with `uid` last instead of first.
fn reordered(text: &str) -> String {
    let parts = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).and_then(|inner| inner.split_once(','));
    parts.map_or_else(|| text.to_owned(), |(uid, rest)| format!("{{ {rest}, {uid} }}"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn standard() -> Vec<Produced> {
        plan("2026-11-22T09:30:00Z".parse().unwrap(), 10_000, 40).unwrap()
    }

    #[test]
    fn ten_thousand_measurements_go_into_forty_messages_of_250() {
        let produced = standard();
        let messages = messages(&produced).unwrap();
        assert_eq!((produced.len(), messages.len()), (10_000, 40));
        assert!(messages.iter().all(|message| message.measurements == 250 && message.body.len() <= MESSAGE_BYTES_MAX));
        for message in &messages {
            let read = message.body.lines().map(serde_json::from_str::<serde_json::Value>);
            assert_eq!(read.filter(Result::is_ok).count(), 250, "each line is one JSON value");
        }
    }

    #[test]
    fn a_run_is_planned_the_same_every_time() {
        assert_eq!(standard(), standard());
    }

    #[test]
    fn every_kind_of_trouble_is_there() {
        let produced = standard();
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for one in &produced {
            if let Due::Quarantined(reason) | Due::Rejected(reason) = one.due {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        assert_eq!(reasons.len(), MALFORMED + 3, "malformed, conflict, oversize, unknown meter: {reasons:?}");
        assert_eq!(reasons["Oversize"], 1);
        assert!(reasons["UidConflict"] >= 10 && reasons["UndefinedMeter"] >= 10, "{reasons:?}");
        let good: Vec<&Produced> = produced.iter().filter(|one| one.due == Due::Ingested).collect();
        let mut uids: Vec<&str> = good.iter().filter_map(|one| one.uid.as_deref()).collect();
        uids.sort_unstable();
        uids.dedup();
        assert!(good.len() - uids.len() >= 50, "copies");
        assert!(produced.iter().any(|one| one.text.starts_with("{ \"meter\"")), "copies in another order");
        assert!(produced.iter().filter(|one| one.text.len() > LARGE_BYTES).count() >= 9);
    }

    #[test]
    fn copies_lie_in_the_same_message_and_in_another() {
        let produced = standard();
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut beside, mut far) = (0, 0);
        for one in produced.iter().filter(|one| one.due == Due::Ingested) {
            match first.get(one.uid.as_deref().unwrap()) {
                Some(message) if *message == one.message => beside += 1,
                Some(_) => far += 1,
                None => drop(first.insert(one.uid.as_deref().unwrap(), one.message)),
            }
        }
        assert!(beside >= 10 && far >= 10, "{beside} beside, {far} far");
    }

    #[test]
    fn each_malformed_one_differs_from_a_good_one() {
        for one in standard() {
            if let Due::Quarantined(reason) = one.due
                && !matches!(reason, "UidConflict" | "Oversize")
            {
                let run: Run = "2026-11-22T09:30:00Z".parse().unwrap();
                let index = (one.message * 250 + one.position) as u64;
                assert_ne!(one.text, run.measurement(index), "{reason}");
            }
        }
    }

    #[test]
    fn messages_that_cannot_hold_the_mix_are_refused() {
        let run: Run = "2026-11-22T09:30:00Z".parse().unwrap();
        assert!(matches!(plan(run, 100, 20), Err(Failure::Usage(_))));
        assert!(matches!(plan(run, 100, 0), Err(Failure::Usage(_))));
        let uneven = plan(run, 103, 10).unwrap();
        assert_eq!(uneven.len(), 103);
        let huge = plan(run, 10_000, 1).unwrap();
        assert!(matches!(messages(&huge), Err(Failure::Usage(_))));
    }
}
