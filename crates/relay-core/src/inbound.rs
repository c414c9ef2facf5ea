//! A queue message, as the walk knows it.

/// One message from a queue. Times are milliseconds since the epoch; `None` where the queue did not say.
#[derive(Clone, Debug)]
pub struct Inbound<'a> {
    /// The queue's id of the message: stable over redeliveries, and what a returned message is named by.
    pub id: &'a str,
    /// What the queue wants to be told to delay this delivery of the message.
    pub handle: &'a str,
    /// The body.
    pub body: &'a str,
    /// The producer's attributes.
    pub attributes: Vec<Attribute<'a>>,
    /// How often the message was delivered, from 1.
    pub receives: u32,
    /// When the producer sent it.
    pub sent_at_ms: Option<i64>,
    /// When it was first delivered.
    pub first_received_at_ms: Option<i64>,
    /// Name of the queue that it came from: an ARN where there is one.
    pub source: &'a str,
}

impl Default for Inbound<'_> {
    /// A message of which nothing is known but that it was delivered.
    fn default() -> Self {
        Inbound {
            id: "",
            handle: "",
            body: "",
            attributes: Vec::new(),
            receives: 1,
            sent_at_ms: None,
            first_received_at_ms: None,
            source: "",
        }
    }
}

/// One attribute of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its name.
    pub name: &'a str,
    /// The queue's word for the type of the value: `String`, `Number` or `Binary`, perhaps with a suffix.
    pub data_type: &'a str,
    /// The value; base64 where it is binary.
    pub value: &'a str,
}

/// The attribute that says how the body is encoded.
pub const CONTENT_ENCODING: &str = "Content-Encoding";

/// The attribute, set by replay, that says when the measurements of this message were first sent: milliseconds since the epoch.
pub const FIRST_SENT_AT: &str = "usage-relay-first-sent-at";

/// The attribute that says on whose behalf a message was put on the queue again: `<kind>:<of>`.
pub const ORIGIN: &str = "usage-relay-origin";

/// The attribute, set by replay, that names the one uid for which the operator overrules the window of m3ter's memory.
pub const BEYOND_WINDOW: &str = "usage-relay-beyond-window";

/// Most bytes of what an origin names.
const ORIGIN_OF_BYTES_MAX: usize = 200;

/// Where a message came from, if not from a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// What put it on the queue.
    pub kind: OriginKind,
    /// The id of the quarantine entry, or the uid, that it stands for.
    pub of: &'a str,
}

/// What puts messages on the queue besides producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginKind {
    /// `usage-relay replay`.
    Replay,
    /// A file.
    Upload,
    /// `usage-relay quarantine import`.
    Correction,
    /// An agent beside a producer.
    Agent,
}

impl OriginKind {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            OriginKind::Replay => "replay",
            OriginKind::Upload => "upload",
            OriginKind::Correction => "correction",
            OriginKind::Agent => "agent",
        }
    }

    fn of_name(name: &str) -> Option<OriginKind> {
        let all = [OriginKind::Replay, OriginKind::Upload, OriginKind::Correction, OriginKind::Agent];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

impl<'a> Origin<'a> {
    /// Reads `<kind>:<of>`; `None` if it is anything else: an origin is a note, and nothing depends on it.
    pub fn parse(text: &'a str) -> Option<Origin<'a>> {
        let (kind, of) = text.split_once(':')?;
        let good = (1..=ORIGIN_OF_BYTES_MAX).contains(&of.len());
        Some(Origin { kind: OriginKind::of_name(kind)?, of }).filter(|_| good)
    }
}

impl std::fmt::Display for Origin<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}", self.kind.name(), self.of)
    }
}

impl<'a> Inbound<'a> {
    /// Where it came from, if not from a producer.
    pub fn origin(&self) -> Option<Origin<'a>> {
        Origin::parse(self.attribute(ORIGIN)?)
    }

    /// The value of the attribute `name`; upper and lower case are alike.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name)).map(|attribute| attribute.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_as_it_was_written_and_anything_else_is_none() {
        for text in ["replay:b0ef4eae-dd03-5cce-a261-981cfe11d98a", "upload:a:b", "correction:x", "agent:ü"] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), text);
        }
        let long = format!("replay:{}", "x".repeat(ORIGIN_OF_BYTES_MAX + 1));
        for text in ["", "replay", "replay:", "Replay:x", "redrive:x", ":x", long.as_str()] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_origin_of_a_message_stands_in_its_attribute_however_that_is_capitalised() {
        let of = |name| {
            let attributes = vec![Attribute { name, data_type: "String", value: "replay:x" }];
            let (id, handle, body, source) = ("m", "h", "{}", "q");
            Inbound { id, handle, body, attributes, source, ..Inbound::default() }.origin()
        };
        let expected = Some(Origin { kind: OriginKind::Replay, of: "x" });
        assert_eq!((of(ORIGIN), of("Usage-Relay-Origin"), of("origin")), (expected, expected, None));
    }
}
