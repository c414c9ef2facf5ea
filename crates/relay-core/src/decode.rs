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
use crate::json::{self, Kind, Member};
use crate::limits::{INVOCATION_INFLATED_BYTES_MAX, INVOCATION_MEASUREMENTS_MAX, MESSAGE_MEASUREMENTS_MAX};
use crate::pointer;
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

/// How much the messages of one invocation may still inflate to, and how many measurements they may still hold.
#[derive(Debug)]
pub struct InflateBudget {
    /// Bytes left.
    pub(crate) left: usize,
    /// Measurements left. A message that holds only one always finds room.
    pub(crate) measurements: usize,
}

impl InflateBudget {
    /// The same after `bytes` were already spent.
    pub fn less(self, bytes: usize) -> InflateBudget {
        InflateBudget { left: self.left.saturating_sub(bytes), ..self }
    }
}

impl Default for InflateBudget {
    fn default() -> Self {
        InflateBudget { left: INVOCATION_INFLATED_BYTES_MAX, measurements: INVOCATION_MEASUREMENTS_MAX }
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
    let mut sink = Sink { message: index, position: 0, arena, found };
    let body = match inflate::inflate(message.body, message.attribute(CONTENT_ENCODING), arena, budget) {
        Inflated::Text(text) => text,
        Inflated::OverBudget => return Decoded::OverBudget,
        Inflated::Refused(refusal) => return sink.refuse(message.body, refusal),
    };
    sink.body(body, Depth::Outside, budget)
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
}

impl<'a> Sink<'a, '_> {
    fn push(&mut self, text: &'a str, refusal: Option<Refusal>) -> Decoded {
        self.found.push(Found { message: self.message, position: self.position, text, refusal });
        self.position += 1;
        Decoded::Found
    }

    fn refuse(&mut self, text: &'a str, refusal: Refusal) -> Decoded {
        self.push(text, Some(refusal))
    }

    fn body(&mut self, body: &'a str, depth: Depth, budget: &mut InflateBudget) -> Decoded {
        let text = json::trim(body);
        if text.is_empty() {
            return self.refuse(body, Refusal::decode(Reason::Empty, "expected at least one measurement, found an empty body"));
        }
        match json::kind(text) {
            Kind::Object => self.object(text, depth, budget),
            _ if !json::is_value(text) => self.lines(text, budget),
            Kind::Array if pointer::is_pointer(text) => Decoded::Pointer,
            Kind::Array => self.array(text, budget),
            Kind::Text | Kind::Number | Kind::Null | Kind::Other => self.not_a_measurement(text),
        }
    }

    fn object(&mut self, text: &'a str, depth: Depth, budget: &mut InflateBudget) -> Decoded {
        let shape = shape(text, self.arena);
        // Several objects may follow one another.
        if matches!(shape, Shape::Broken(_)) && !json::is_value(text) {
            return self.lines(text, budget);
        }
        if depth == Depth::Inside && matches!(shape, Shape::Notification { .. } | Shape::EventBridge(_)) {
            let detail = "expected measurements inside the envelope, found a second envelope; one is opened";
            return self.refuse(text, Refusal::decode(Reason::EnvelopeInvalid, detail));
        }
        match shape {
            Shape::Measurement => self.push(text, None),
            Shape::Batch(measurements) => self.array(measurements, budget),
            Shape::EventBridge(detail) => self.body(detail, Depth::Inside, budget),
            Shape::Notification { message, encoding } => match inflate::inflate(message, encoding, self.arena, budget) {
                Inflated::Text(inner) => self.body(inner, Depth::Inside, budget),
                Inflated::OverBudget => Decoded::OverBudget,
                Inflated::Refused(refusal) => self.refuse(text, refusal),
            },
            Shape::Broken(refusal) => self.refuse(text, refusal),
        }
    }

    /// Takes room for the `count` parts of a message, or says what becomes of it instead. A part takes a hundred bytes and
    /// more here and further on, even if its text is `1,`.
    fn room(&mut self, count: usize, text: &'a str, budget: &mut InflateBudget) -> Result<(), Decoded> {
        if count > MESSAGE_MEASUREMENTS_MAX {
            let detail = format!("expected at most {MESSAGE_MEASUREMENTS_MAX} measurements in a message, found {count}");
            return Err(self.refuse(text, Refusal::decode(Reason::Oversize, detail)));
        }
        budget.measurements = budget.measurements.checked_sub(count).ok_or(Decoded::OverBudget)?;
        Ok(())
    }

    fn array(&mut self, text: &'a str, budget: &mut InflateBudget) -> Decoded {
        let Ok(elements) = json::elements(text) else {
            return self.refuse(text, not_json());
        };
        if elements.is_empty() {
            return self.refuse(text, Refusal::decode(Reason::Empty, "expected at least one measurement, found an empty array"));
        }
        if let Err(instead) = self.room(elements.len(), text, budget) {
            return instead;
        }
        for element in elements {
            match json::kind(element) {
                Kind::Object => self.push(element, None),
                Kind::Array | Kind::Text | Kind::Number | Kind::Null | Kind::Other => self.not_a_measurement(element),
            };
        }
        Decoded::Found
    }

    /// Newline-delimited JSON, if any line is an object; then each line stands alone.
    fn lines(&mut self, text: &'a str, budget: &mut InflateBudget) -> Decoded {
        let lines = || text.split('\n').map(json::trim).filter(|line| !line.is_empty());
        let is_object = |line: &str| json::kind(line) == Kind::Object && json::is_value(line);
        if !lines().any(is_object) {
            return self.refuse(text, not_json());
        }
        if let Err(instead) = self.room(lines().count(), text, budget) {
            return instead;
        }
        for line in lines() {
            if is_object(line) {
                self.push(line, None);
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

fn not_json() -> Refusal {
    Refusal::decode(
        Reason::NotJson,
        "expected JSON: a measurement, an array of them, {\"measurements\":[…]}, or one object a line",
    )
}

pub(crate) fn shape<'a>(text: &'a str, arena: &'a Bump) -> Shape<'a> {
    let mut members: Vec<Member<'a>> = Vec::with_capacity(16);
    if json::members(text, arena, &mut members).is_err() {
        return Shape::Broken(Refusal::decode(Reason::NotJson, "expected keys that are Unicode text"));
    }
    for key in ["measurements", "Type", "Message", "detail-type", "detail"] {
        if members.iter().filter(|(other, _)| *other == key).count() > 1 {
            return Shape::Broken(Refusal::decode(Reason::DuplicateKey, format!("expected `{key}` once in the envelope")));
        }
    }
    one_shape(&members, arena)
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
