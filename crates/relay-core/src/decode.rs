//! Decodes a message into measurements, without yet judging them.
//!
//! A message may be a measurement, an array of them, `{"measurements":[…]}` as the API takes it, or newline-delimited JSON;
//! each also inside one SNS or EventBridge envelope, and compressed where an attribute says so. Keys decide which it is.
//! Trying one parser after another would find *some* reading of almost any body, and not always the same one.
//!
//! Whatever cannot be read becomes a refusal with its own text, so that it can be kept. Neighbours are not touched by it.
//!
//! Absent: anything about the content of a measurement (that is [`crate::guard`]), and fetching payloads from S3 ([`crate::pointer`] finds them).

use bumpalo::Bump;

use crate::inbound::{CONTENT_ENCODING, Inbound};
use crate::inflate::{self, Inflated};
use crate::json::{self, Kind, Member, NotJson, Scan};
use crate::limits::{
    INVOCATION_INFLATED_BYTES_MAX, INVOCATION_MEASUREMENTS_MAX, INVOCATION_READ_BYTES_MAX, MESSAGE_MEASUREMENTS_MAX,
};
use crate::pointer;
use crate::read::{Read, Room, read, read_at};
use crate::reason::{Reason, Refusal};

/// One measurement, or what stood where one was expected.
#[derive(Clone, Debug)]
pub struct Found<'a> {
    /// Index of its message in the invocation.
    pub message: usize,
    /// Its place among the measurements of that message, from 0.
    pub position: usize,
    /// Its text: a JSON object, unless refused.
    pub text: &'a str,
    /// Set where it cannot even be looked at.
    pub refusal: Option<Refusal>,
    /// What decode read of it, so that guard need not read it again.
    pub read: Option<Read<'a, 'a>>,
}

/// What became of a message as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Its measurements and refusals were added; at least one.
    Found,
    /// Its body lies in S3. Nothing was added.
    Pointer,
    /// It would inflate, or has more in it, beyond what one invocation may hold. Nothing was added.
    OverBudget,
}

/// What the messages of one invocation may still take: bytes inflated, measurements, bytes of what was read of them.
#[derive(Debug)]
pub struct InflateBudget {
    /// Bytes left.
    pub(crate) left: usize,
    /// Measurements left. A message that holds only one always finds room.
    pub(crate) measurements: usize,
    /// Bytes left for what decode read of measurements; without any, guard reads them again.
    pub(crate) read_bytes: usize,
}

impl InflateBudget {
    /// The same after `bytes` were already spent.
    pub fn less(self, bytes: usize) -> InflateBudget {
        InflateBudget { left: self.left.saturating_sub(bytes), ..self }
    }
}

impl Default for InflateBudget {
    fn default() -> Self {
        let (left, measurements) = (INVOCATION_INFLATED_BYTES_MAX, INVOCATION_MEASUREMENTS_MAX);
        InflateBudget { left, measurements, read_bytes: INVOCATION_READ_BYTES_MAX }
    }
}

/// Adds what `message`, the one at `index`, holds to `found`. Never fails: what cannot be read is added as a refusal.
///
/// Text that had to be inflated or unescaped lives in `arena`; everything else is a slice of the body.
pub fn decode<'a>(
    message: &Inbound<'a>,
    index: usize,
    arena: &'a Bump,
    budget: &mut InflateBudget,
    found: &mut Vec<Found<'a>>,
) -> Decoded {
    // The pointer itself is never encoded, whatever the message says of its payload.
    if pointer::pointer(message, arena).is_some() {
        return Decoded::Pointer;
    }
    let mut sink = Sink { message: index, position: 0, arena, found, room: Room::default(), budget };
    match inflate::inflate(message.body, message.attribute(CONTENT_ENCODING), arena, sink.budget) {
        Inflated::Text(body) => sink.body(body, Depth::Outside),
        Inflated::OverBudget => Decoded::OverBudget,
        Inflated::Refused(refusal) => sink.refuse(message.body, refusal),
    }
}

/// Whether an envelope may still be opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Outside,
    Inside,
}

/// What an object is, by its keys.
pub(crate) enum Shape<'a> {
    Measurement,
    Batch(&'a str),
    Notification { message: &'a str, encoding: Option<&'a str> },
    EventBridge(&'a str),
    Broken(Refusal),
}

struct Sink<'a, 'f> {
    message: usize,
    position: usize,
    arena: &'a Bump,
    found: &'f mut Vec<Found<'a>>,
    room: Room<'a>,
    budget: &'f mut InflateBudget,
}

impl<'a> Sink<'a, '_> {
    fn push(&mut self, text: &'a str, refusal: Option<Refusal>, read: Option<Read<'a, 'a>>) -> Decoded {
        self.found.push(Found { message: self.message, position: self.position, text, refusal, read });
        self.position += 1;
        Decoded::Found
    }

    fn refuse(&mut self, text: &'a str, refusal: Refusal) -> Decoded {
        self.push(text, Some(refusal), None)
    }

    /// Forgets what was found of this message so far.
    fn forget(&mut self) {
        self.found.truncate(self.found.len() - self.position);
        self.position = 0;
    }

    fn body(&mut self, body: &'a str, depth: Depth) -> Decoded {
        let text = json::trim(body);
        if text.is_empty() {
            return self.refuse(body, Refusal::decode(Reason::Empty, "expected at least one measurement, found an empty body"));
        }
        match json::kind(text) {
            Kind::Object => self.object(text, depth),
            _ if !json::is_value(text) => self.lines(text),
            Kind::Array if pointer::is_pointer(text) => Decoded::Pointer,
            Kind::Array => self.array(text),
            Kind::Text | Kind::Number | Kind::Null | Kind::Other => self.not_a_measurement(text),
        }
    }

    /// One reading finds out what the object is, and reads its measurements if that is what it has.
    fn object(&mut self, text: &'a str, depth: Depth) -> Decoded {
        let (mut scan, mut outer, mut elements) = (Scan::new(text), Room::default(), None);
        let arena = self.arena;
        let read = read_at(&mut scan, arena, &mut outer, |scan, key| {
            if key != "measurements" || elements.is_some() || scan.peek() != b'[' {
                return Ok(None);
            }
            let begin = scan.place();
            elements = Some(self.elements(scan)?);
            Ok(Some(scan.since(begin)))
        });
        let read = match read {
            Ok(read) if scan.is_over() => read,
            Ok(_) | Err(NotJson) => {
                self.forget();
                // Several objects may follow one another.
                return self.lines(text);
            }
        };
        let shape = shape_of(&read, arena);
        if let (Shape::Batch(measurements), Some(count)) = (&shape, elements) {
            return self.count(count, measurements);
        }
        self.forget();
        if depth == Depth::Inside && matches!(shape, Shape::Notification { .. } | Shape::EventBridge(_)) {
            let detail = "expected measurements inside the envelope, found a second envelope; one is opened";
            return self.refuse(text, Refusal::decode(Reason::EnvelopeInvalid, detail));
        }
        match shape {
            Shape::Measurement => {
                let kept = read.kept(arena, &mut self.budget.read_bytes);
                self.push(text, None, kept)
            }
            Shape::Batch(measurements) => self.array(measurements),
            Shape::EventBridge(detail) => self.body(detail, Depth::Inside),
            Shape::Notification { message, encoding } => match inflate::inflate(message, encoding, arena, self.budget) {
                Inflated::Text(inner) => self.body(inner, Depth::Inside),
                Inflated::OverBudget => Decoded::OverBudget,
                Inflated::Refused(refusal) => self.refuse(text, refusal),
            },
            Shape::Broken(refusal) => self.refuse(text, refusal),
        }
    }

    /// Takes an array of measurements, and says how many there are. With more than may be, none of them will be found: the rest is
    /// only counted.
    fn elements(&mut self, scan: &mut Scan<'a>) -> Result<usize, NotJson> {
        let (mut count, most) = (0, MESSAGE_MEASUREMENTS_MAX.min(self.budget.measurements));
        scan.array(|scan| {
            count += 1;
            let (is_object, begin) = (scan.peek() == b'{', scan.place());
            if count > most {
                scan.value(0)?;
            } else if is_object {
                let kept =
                    read_at(scan, self.arena, &mut self.room, |_, _| Ok(None))?.kept(self.arena, &mut self.budget.read_bytes);
                self.push(scan.since(begin), None, kept);
            } else {
                let text = scan.value(0)?;
                self.not_a_measurement(text);
            }
            Ok(())
        })?;
        Ok(count)
    }

    /// The `count` measurements of the array `text` were found; they may be none or too many.
    fn count(&mut self, count: usize, text: &'a str) -> Decoded {
        if count == 0 {
            return self.refuse(text, Refusal::decode(Reason::Empty, "expected at least one measurement, found an empty array"));
        }
        match self.room(count) {
            Ok(()) => Decoded::Found,
            Err(instead) => {
                self.forget();
                self.instead(instead, text)
            }
        }
    }

    /// Takes room for the `count` parts of a message, or says what becomes of it instead. A part takes hundreds of bytes here and
    /// further on, even if its text is `1,`.
    fn room(&mut self, count: usize) -> Result<(), Instead> {
        if count > MESSAGE_MEASUREMENTS_MAX {
            return Err(Instead::TooMany(count));
        }
        self.budget.measurements = self.budget.measurements.checked_sub(count).ok_or(Instead::OverBudget)?;
        Ok(())
    }

    fn instead(&mut self, instead: Instead, text: &'a str) -> Decoded {
        match instead {
            Instead::OverBudget => Decoded::OverBudget,
            Instead::TooMany(count) => {
                let detail = format!("expected at most {MESSAGE_MEASUREMENTS_MAX} measurements in a message, found {count}");
                self.refuse(text, Refusal::decode(Reason::Oversize, detail))
            }
        }
    }

    fn array(&mut self, text: &'a str) -> Decoded {
        let mut scan = Scan::new(text);
        match self.elements(&mut scan) {
            Ok(count) if scan.is_over() => self.count(count, text),
            Ok(_) | Err(NotJson) => {
                self.forget();
                self.refuse(text, not_json())
            }
        }
    }

    /// Newline-delimited JSON, if any line is an object; then each line stands alone.
    fn lines(&mut self, text: &'a str) -> Decoded {
        let lines = || text.split('\n').map(json::trim).filter(|line| !line.is_empty());
        if !lines().any(|line| json::kind(line) == Kind::Object && json::is_value(line)) {
            return self.refuse(text, not_json());
        }
        if let Err(instead) = self.room(lines().count()) {
            return self.instead(instead, text);
        }
        for line in lines() {
            if json::kind(line) == Kind::Object
                && let Ok(read) = read(line, self.arena, &mut self.room)
            {
                let kept = read.kept(self.arena, &mut self.budget.read_bytes);
                self.push(line, None, kept);
            } else if json::is_value(line) {
                self.not_a_measurement(line);
            } else {
                self.refuse(line, Refusal::decode(Reason::NotJson, "expected one JSON object on this line"));
            }
        }
        Decoded::Found
    }

    fn not_a_measurement(&mut self, text: &'a str) -> Decoded {
        let detail = match json::kind(text) {
            Kind::Object => "expected a measurement, found another object",
            Kind::Array => "expected a JSON object, found an array",
            Kind::Text => "expected a JSON object, found a string",
            Kind::Number => "expected a JSON object, found a number",
            Kind::Null => "expected a JSON object, found null",
            Kind::Other => "expected a JSON object, found true or false",
        };
        self.refuse(text, Refusal::decode(Reason::NotAMeasurement, detail))
    }
}

/// What becomes of a message that holds too much.
enum Instead {
    OverBudget,
    TooMany(usize),
}

fn not_json() -> Refusal {
    Refusal::decode(
        Reason::NotJson,
        "expected JSON: a measurement, an array of them, {\"measurements\":[…]}, or one object a line",
    )
}

pub(crate) fn shape<'a>(text: &'a str, arena: &'a Bump) -> Shape<'a> {
    let mut room = Room::default();
    match read(text, arena, &mut room) {
        Ok(read) => shape_of(&read, arena),
        Err(NotJson) => Shape::Broken(not_json()),
    }
}

fn shape_of<'a>(read: &Read<'_, 'a>, arena: &'a Bump) -> Shape<'a> {
    if read.has_broken_key {
        return Shape::Broken(Refusal::decode(Reason::NotJson, "expected keys that are Unicode text"));
    }
    for key in ["measurements", "Type", "Message", "detail-type", "detail"] {
        if read.members.iter().filter(|(other, _)| *other == key).count() > 1 {
            return Shape::Broken(Refusal::decode(Reason::DuplicateKey, format!("expected `{key}` once in the envelope")));
        }
    }
    one_shape(read.members, arena)
}

fn broken<'a>(detail: &'static str) -> Shape<'a> {
    Shape::Broken(Refusal::decode(Reason::EnvelopeInvalid, detail))
}

/// Keys decide. An object with the keys of two shapes is refused whole: to take one would drop what the other holds.
fn one_shape<'a>(members: &[Member<'a>], arena: &'a Bump) -> Shape<'a> {
    let get = |wanted: &str| members.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
    let batch = get("measurements");
    let notification = get("Type") == Some(r#""Notification""#);
    let event_bridge = get("detail-type").is_some();
    // EventBridge's own envelope has an `account` too.
    let measurement =
        ["uid", "meter", "ts"].into_iter().any(|key| get(key).is_some()) || (batch.is_some() && get("account").is_some());
    let envelopes = [notification && get("Message").is_some(), event_bridge && get("detail").is_some(), batch.is_some()];
    if envelopes.into_iter().chain([measurement]).filter(|there| *there).count() > 1 {
        return broken(
            "expected one of a measurement, `measurements`, an SNS or an EventBridge envelope; found two in one object",
        );
    }
    if let Some(measurements) = batch {
        return match json::kind(measurements) {
            Kind::Array => Shape::Batch(measurements),
            Kind::Object | Kind::Text | Kind::Number | Kind::Null | Kind::Other => {
                broken("expected `measurements` to be an array")
            }
        };
    }
    if measurement {
        return Shape::Measurement;
    }
    if notification {
        return match get("Message").map(|message| (json::kind(message), json::string(message, arena))) {
            Some((Kind::Text, Ok(message))) => {
                let encoding = get("MessageAttributes").and_then(|attributes| sns_encoding(attributes, arena));
                Shape::Notification { message, encoding }
            }
            _ => broken("expected `Message` of the SNS notification to be text"),
        };
    }
    if event_bridge {
        return match get("detail") {
            Some(detail) => Shape::EventBridge(detail),
            None => broken("expected `detail` beside `detail-type`"),
        };
    }
    Shape::Measurement
}

/// The `Content-Encoding` that an SNS envelope carries: `{"Content-Encoding":{"Type":"String","Value":"gzip"}}`.
fn sns_encoding<'a>(attributes: &'a str, arena: &'a Bump) -> Option<&'a str> {
    let mut members = Vec::new();
    json::members(attributes, arena, &mut members).ok()?;
    let (_, attribute) = members.iter().find(|(name, _)| name.eq_ignore_ascii_case(CONTENT_ENCODING))?;
    let attribute = *attribute;
    json::members(attribute, arena, &mut members).ok()?;
    let (_, value) = members.iter().find(|(name, _)| *name == "Value")?;
    json::string(value, arena).ok()
}

#[cfg(test)]
mod tests;
