//! What the contenders are given: events of messages, all of one size, and what must arrive for them.
//!
//! Each event of a piece of work holds other measurements, so that "each exactly once" can be held against a whole run. Its sizes are
//! the same, so that every event costs the same.
//!
//! Receipt handles are as long as AWS's, unless a work says `short_handles`: with AWS's own, an event of 10,000 records does not fit Lambda's
//! 6 MB, whatever its bodies are.

use runtime_api::{EventError, PAYLOAD_BYTES_MAX, SqsEvent};
use serde::{Deserialize, Serialize};

use crate::books::Sum;

/// What all measurements of a meter have: codes of m3ter's categories `MEASURE` and `WHAT`.
pub(crate) const METERS: [(&str, &[(&str, &str)]); 2] = [
    ("api_calls", &[("MEASURE", "calls"), ("MEASURE", "bytes"), ("WHAT", "region"), ("WHAT", "plan")]),
    ("m", &[("MEASURE", "n")]),
];
/// Accounts that send.
pub(crate) const ACCOUNTS: usize = 1_000;
/// Most measurements and bytes of one request, read from m3ter's reference on their own: "1,000", and "less than 512,000".
pub(crate) const REQUEST_MEASUREMENTS_MAX: usize = 1_000;
pub(crate) const REQUEST_BYTES_MAX: usize = 511_999;
/// `{"measurements":[` and `]}`.
const ENVELOPE_BYTES: usize = 19;
/// Fewest bytes of a measurement here: a uid, codes of one character, one number.
const SMALLEST_BYTES: usize = 96;

/// One shape of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// Messages in an event.
    pub(crate) messages: usize,
    /// Measurements in a message.
    pub(crate) measurements: usize,
    /// Bytes of one measurement; what is below the smallest is the smallest.
    pub(crate) bytes: usize,
    /// Whether receipt handles are shorter than AWS's.
    pub(crate) short_handles: bool,
}

/// Events of one shape.
pub(crate) struct Work {
    pub(crate) events: Vec<Event>,
    /// The fewest requests that hold one event's measurements within both limits, in their order.
    pub(crate) fewest_requests: usize,
    /// Bytes of the bodies of that many requests.
    pub(crate) posted_bytes: usize,
}

/// One event, and what must arrive for it.
pub(crate) struct Event {
    pub(crate) event: SqsEvent,
    pub(crate) sum: Sum,
}

impl Shape {
    pub(crate) const fn new(messages: usize, measurements: usize, bytes: usize) -> Shape {
        Shape { messages, measurements, bytes, short_handles: false }
    }

    /// The same with short receipt handles.
    pub(crate) const fn short(mut self) -> Shape {
        self.short_handles = true;
        self
    }

    /// Measurements of one event.
    pub(crate) fn in_event(self) -> usize {
        self.messages * self.measurements
    }

    /// As it stands in tables: `1,000 × 1 × 250 B`.
    pub(crate) fn name(self) -> String {
        let handles = if self.short_handles { ", short handles" } else { "" };
        format!("{} × {} × {} B{handles}", thousands(self.messages), self.measurements, thousands(self.bytes.max(SMALLEST_BYTES)))
    }

    /// How many events one run consists of: enough to be measured, and few enough that the relay's rate (25 requests a second and as
    /// many at once, the most that one environment can be set to) does not make it wait for long.
    pub(crate) fn events_a_run(self) -> usize {
        let requests = (self.in_event() / 450).max(self.in_event() * self.bytes / 512_000).max(1);
        (10_000 / self.in_event()).max(20 / requests).clamp(2, 20)
    }

    /// Builds `events` of this shape, with times shortly before `now_ms`.
    pub(crate) fn work(self, events: usize, now_ms: u64) -> Result<Work, EventError> {
        let ts = timestamp(now_ms);
        let mut made = Vec::new();
        let mut sizes = Vec::new();
        for event in 0..events {
            let mut sum = Sum::default();
            let mut builder = SqsEvent::builder().seed(u64::try_from(event).unwrap_or(0));
            if self.short_handles {
                builder = builder.short_receipt_handles();
            }
            sizes.clear();
            for message in 0..self.messages {
                let number = |nth: usize| message * self.measurements + nth;
                let texts: Vec<String> = (0..self.measurements).map(|nth| self.measurement(event, number(nth), &ts)).collect();
                texts.iter().for_each(|text| sum.add_text(text));
                sizes.extend(texts.iter().map(String::len));
                builder = builder.body(if self.measurements == 1 { texts.concat() } else { format!("[{}]", texts.join(",")) });
            }
            made.push(Event { event: builder.build()?, sum });
        }
        let (fewest_requests, posted_bytes) = packed(&sizes);
        Ok(Work { events: made, fewest_requests, posted_bytes })
    }

    fn measurement(self, event: usize, number: usize, ts: &str) -> String {
        if self.bytes <= SMALLEST_BYTES {
            return format!(
                r#"{{"uid":"{event:03x}{number:08x}","meter":"m","account":"a","ts":"{ts}","measure":{{"n":{}}}}}"#,
                number % 10
            );
        }
        let (calls, bytes, account) = (number % 10, 100_000 + number % 900_000, number % ACCOUNTS);
        let mut text = format!(
            r#"{{"uid":"{event:08x}-0000-4000-8000-{number:012x}","meter":"api_calls","account":"customer-{account:04}","ts":"{ts}","measure":{{"calls":{calls},"bytes":{bytes}}},"what":{{"region":"eu-west-1","plan":"standard"}}"#
        );
        pad(&mut text, self.bytes.saturating_sub(1));
        text.push('}');
        text
    }
}

/// Brings `text`, an object without its end, to `bytes`, with metadata of up to 100 characters a value. Leaves it where the room is too little.
fn pad(text: &mut String, bytes: usize) {
    const OPENS: &str = r#","metadata":{"#;
    const AROUND: usize = r#""note000":"""#.len();
    const VALUE_MAX: usize = 100;
    let mut left = bytes.saturating_sub(text.len());
    if left < OPENS.len() + AROUND + 2 {
        return;
    }
    text.push_str(OPENS);
    left -= OPENS.len() + 1;
    for nth in 0.. {
        let comma = usize::from(nth > 0);
        let room = left - comma - AROUND;
        // The last one takes what is too little for one more.
        let value = if room <= VALUE_MAX + AROUND + 2 { room } else { VALUE_MAX };
        let comma = if nth > 0 { "," } else { "" };
        text.push_str(&format!(
            r#"{comma}"note{nth:03}":"{}""#,
            "abcdefgh ijklmn opq ".repeat(7).get(..value).unwrap_or_default()
        ));
        left = room - value;
        if left == 0 {
            break;
        }
    }
    text.push('}');
}

/// How many requests measurements of these sizes need in their order, and how many bytes those have. Filling each as far as it goes is
/// the fewest: a request that is closed earlier only leaves more for those after it.
fn packed(sizes: &[usize]) -> (usize, usize) {
    let (mut requests, mut posted, mut count, mut bytes) = (0, 0, 0, 0);
    for size in sizes {
        if count == REQUEST_MEASUREMENTS_MAX || count == 0 || bytes + 1 + size > REQUEST_BYTES_MAX {
            requests += 1;
            posted += bytes;
            (count, bytes) = (1, ENVELOPE_BYTES + size);
        } else {
            (count, bytes) = (count + 1, bytes + 1 + size);
        }
    }
    (requests, posted + bytes)
}

/// An hour before `now_ms`, as RFC 3339 with whole seconds.
fn timestamp(now_ms: u64) -> String {
    let at = i64::try_from(now_ms / 1_000).unwrap_or(0) - 3_600;
    jiff::Timestamp::from_second(at).map_or_else(|_| "2026-11-23T01:00:00Z".to_owned(), |at| at.to_string())
}

/// A number with a comma between thousands.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let parts: Vec<String> = digits.as_bytes().rchunks(3).rev().map(|part| String::from_utf8_lossy(part).into_owned()).collect();
    parts.join(",")
}

/// Whether an event of this shape can exist: Lambda hands a function at most 6 MB.
pub(crate) fn fits(work: &Work) -> bool {
    work.events.iter().all(|event| event.event.bytes().len() <= PAYLOAD_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(shape: Shape) -> Work {
        shape.work(2, 1_790_000_000_000).unwrap()
    }

    #[test]
    fn a_measurement_has_the_bytes_it_should_and_is_json() {
        for bytes in [96, 250, 251, 260, 300, 500, 1_000, 1_013, 4_999, 5_000] {
            let text = Shape::new(1, 1, bytes).measurement(7, 12_345, "2026-11-23T01:00:00Z");
            let expected = if bytes == 96 { 93..=96 } else { bytes..=bytes };
            assert!(expected.contains(&text.len()), "{bytes}: {} of {text}", text.len());
            let _parsed: serde_json::Value = serde_json::from_str(&text).unwrap();
        }
    }

    #[test]
    fn no_measurement_stands_in_two_events() {
        let work = work(Shape::new(3, 10, 250));
        let [one, two] = &work.events[..] else { panic!("two were asked for") };
        assert_ne!(one.sum, two.sum);
        assert_eq!(one.sum.measurements, 30);
    }

    #[test]
    fn ten_thousand_messages_fit_lambdas_payload_only_with_short_handles() {
        assert!(fits(&work(Shape::new(10_000, 1, 0).short())));
        assert!(!fits(&work(Shape::new(10_000, 1, 0))));
        assert!(fits(&work(Shape::new(5_000, 1, 250))) && fits(&work(Shape::new(1_000, 1, 5_000))));
    }

    #[test]
    fn requests_are_as_few_as_both_limits_allow() {
        assert_eq!(packed(&[250; 1_000]), (1, 251_018));
        assert_eq!(packed(&[250; 1_001]).0, 2);
        assert_eq!(packed(&[511_980; 2]), (2, 2 * 511_999));
        assert_eq!(packed(&[255_989, 255_990, 1]), (2, 19 + 255_989 + 1 + 255_990 + 19 + 1));
        assert_eq!(packed(&[]), (0, 0));
    }

    #[test]
    fn thousands_have_commas() {
        assert_eq!([1, 999, 1_000, 1_234_567].map(thousands), ["1", "999", "1,000", "1,234,567"]);
    }
}
