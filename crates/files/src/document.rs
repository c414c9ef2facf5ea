//! JSON documents: an array of measurements, or `{"measurements":[…]}`, one or several after each other.
//!
//! An array is streamed: each element is handed on as it was written before the next one is read. Line numbers are those
//! on which an element begins. Behind JSON that is broken nothing more can be read.

use std::fmt;
use std::io::{BufReader, Read};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use relay_core::reason::Reason;

use crate::gauge::{Gauge, Gauged};
use crate::read::{Sink, Stop, TEXT_BYTES_MAX, refusal, too_large};

/// Most bytes between the ends of two measurements: the largest one, and some white space around it.
const ELEMENT_BYTES_MAX: usize = TEXT_BYTES_MAX + 64 * 1024;
/// A buffer that makes few system calls and stays in the processor's cache.
const BUFFER_BYTES: usize = 64 * 1024;
const BOTH: &str = "expected either `measurements` or a measurement; found both in one object";
const EXPECTED: &str =
    "expected a JSON array of measurements, or {\"measurements\":[…]}; one measurement a line is --format ndjson";

/// Hands each element of the documents in `stream` to `sink`.
///
/// # Errors
/// The first [`Stop`]: of reading, of the text, or of the sink.
pub fn read(stream: impl Read, sink: &mut dyn Sink) -> Result<(), Stop> {
    let gauge = Gauge::default();
    let gauged = Gauged::new(BufReader::with_capacity(BUFFER_BYTES, stream), &gauge, ELEMENT_BYTES_MAX);
    let mut reader = serde_json::Deserializer::from_reader(gauged);
    let mut stop = None;
    loop {
        // `end` skips white space, and fails only if a document follows or reading fails.
        match reader.end() {
            Ok(()) => return Ok(()),
            Err(error) if error.is_io() => return Err(worded(error, &gauge)),
            Err(_) => {}
        }
        let document = Document { sink: &mut *sink, gauge: &gauge, stop: &mut stop };
        if let Err(error) = document.deserialize(&mut reader) {
            return Err(stop.take().unwrap_or_else(|| worded(error, &gauge)));
        }
        gauge.next_measurement();
    }
}

/// What serde_json says, without what it quotes.
fn worded(error: serde_json::Error, gauge: &Gauge) -> Stop {
    if gauge.is_over() {
        return Stop::Line { line: gauge.line(), refusal: too_large() };
    }
    let (line, column) = (error.line() as u64, error.column());
    match error.classify() {
        serde_json::error::Category::Io => Stop::Unreadable(error.into()),
        serde_json::error::Category::Data => Stop::at(line.max(1), Reason::EnvelopeInvalid, EXPECTED),
        serde_json::error::Category::Eof => {
            Stop::at(line, Reason::NotJson, "expected the JSON document to be complete, but it ends here")
        }
        serde_json::error::Category::Syntax => {
            Stop::at(line, Reason::NotJson, format!("expected a JSON document, but the JSON goes wrong at column {column}"))
        }
    }
}

/// One document, whose elements go to the sink.
struct Document<'a> {
    sink: &'a mut dyn Sink,
    gauge: &'a Gauge,
    stop: &'a mut Option<Stop>,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of measurements")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element::<Box<RawValue>>()? {
            let line_feeds = element.get().bytes().filter(|byte| *byte == b'\n').count() as u64;
            if let Err(stop) = self.sink.take(self.gauge.line_of_value_end() - line_feeds, element.get()) {
                *self.stop = Some(stop);
                return Err(A::Error::custom("stopped"));
            }
            self.gauge.next_measurement();
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        if members.next_key::<String>()?.as_deref() != Some("measurements") {
            return Err(A::Error::custom(EXPECTED));
        }
        let Self { sink, gauge, stop } = self;
        members.next_value_seed(Elements(Document { sink: &mut *sink, gauge, stop: &mut *stop }))?;
        while let Some(key) = members.next_key::<String>()? {
            // What stands there would be dropped, since only the first array was handed on.
            let refused = match key.as_str() {
                "measurements" => Some(refusal(Reason::DuplicateKey, "expected `measurements` once in a document")),
                "uid" | "meter" | "account" | "ts" => Some(refusal(Reason::EnvelopeInvalid, BOTH)),
                _ => None,
            };
            if let Some(Err(end)) = refused.map(|refused| sink.refuse(gauge.line(), refused)) {
                *stop = Some(end);
                return Err(A::Error::custom("stopped"));
            }
            members.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// The array under `measurements`: nothing but an array will do.
struct Elements<'a>(Document<'a>);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_seq(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::{collect, collect_all};

    fn check(text: &str, expected: Result<&[(u64, &str)], &str>) {
        crate::read::check(|bytes, sink| read(bytes, sink), text, expected);
    }

    #[test]
    fn the_elements_of_an_array_are_handed_on_as_written() {
        check("[{\"a\": 1.50},\n {\"b\":\"\\u00e9\"} ]\n", Ok(&[(1, "{\"a\": 1.50}"), (2, "{\"b\":\"\\u00e9\"}")]));
        check("[]", Ok(&[]));
        check(" \n", Ok(&[]));
    }

    #[test]
    fn a_request_body_as_the_api_takes_it_is_a_document_too() {
        check("{\"measurements\":[{\"a\":1}],\"note\":{}}", Ok(&[(1, "{\"a\":1}")]));
    }

    #[test]
    fn a_document_that_holds_more_than_its_array_is_refused_and_what_comes_behind_it_is_read() {
        let (once, either) = ("expected `measurements` once in a document", BOTH);
        check("{\"measurements\":[],\n\"measurements\":[]}", Err(&format!("line 2: {once}")));
        check("{\"measurements\":[],\"uid\":\"a\"}", Err(&format!("line 1: {either}")));
        let text = b"{\"measurements\":[{\"a\":1}],\"uid\":\"a\",\n\"measurements\":[{\"b\":2}]}\n[{\"c\":3}]";
        let expected = [(1, "{\"a\":1}"), (1, "EnvelopeInvalid"), (2, "DuplicateKey"), (3, "{\"c\":3}")];
        let expected = expected.map(|(line, text)| (line, text.to_owned()));
        assert_eq!(collect_all(|sink| read(&text[..], sink)), expected);
    }

    #[test]
    fn an_element_stands_on_the_line_on_which_it_begins() {
        let found = collect(|sink| read(&b"[\n  {\n    \"a\": 1\n  },\n  2\n,3\n,\n[\n4],\n  \"x\"\n\n]\n"[..], sink)).unwrap();
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5, 6, 8, 10]);
    }

    #[test]
    fn documents_may_follow_each_other() {
        check("{\"measurements\":[{\"a\":1}]}\n[{\"b\":2}]", Ok(&[(1, "{\"a\":1}"), (2, "{\"b\":2}")]));
    }

    #[test]
    fn a_document_of_another_kind_is_told_what_was_expected() {
        check("\"secret\"", Err(&format!("line 1: {EXPECTED}")));
        check("{\"uid\":\"secret\"}", Err(&format!("line 1: {EXPECTED}")));
        check("{\"measurements\":{}}", Err(&format!("line 1: {EXPECTED}")));
        check("[{\"a\":1},\n", Err("line 2: expected the JSON document to be complete, but it ends here"));
        check("[{\"a\":1},\n x]", Err("line 2: expected a JSON document, but the JSON goes wrong at column 2"));
    }

    #[test]
    fn an_endless_element_is_not_read_to_its_end() {
        let endless = (&b"[{\"a\":\""[..]).chain(std::io::repeat(b'x'));
        let found = collect(|sink| read(endless, sink));
        assert_eq!(found, Err(format!("line 1: {}", too_large().detail)));
    }
}
