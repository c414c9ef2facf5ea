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

impl<'a> Inbound<'a> {
    /// The value of the attribute `name`; upper and lower case are alike.
    pub fn attribute(&self, name: &str) -> Option<&'a str> {
        self.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name)).map(|attribute| attribute.value)
    }
}
