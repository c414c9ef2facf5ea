//! Packs measurements into messages, and messages into batches for `SendMessageBatch`.
//!
//! A message holds at most `per_message` measurements and at most 1 MiB; a batch at most 10 messages and at most 1 MiB
//! in all. Order is kept and a closed message is never looked at again, so the same input makes the same messages.
//!
//! A message of one measurement is that measurement; more are `{"measurements":[…]}`, as m3ter's API takes them.
//! Each stands there as it was written. Nothing here knows about SQS's API or about files.

use relay_store::EntryAttribute;

use super::measurement::MESSAGE_BYTES_MAX;

/// Most messages in one `SendMessageBatch`. Source: the SQS API reference.
pub(crate) const BATCH_MESSAGES_MAX: usize = 10;
/// Most bytes of all messages in one `SendMessageBatch`. Source: the SQS API reference.
pub(crate) const BATCH_BYTES_MAX: usize = MESSAGE_BYTES_MAX;

const PREFIX: &str = r#"{"measurements":["#;
const SUFFIX: &str = "]}";

/// One message as it will be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Its place among the messages of this run, from 0.
    pub(crate) number: u64,
    /// What it says.
    pub(crate) body: String,
    /// What is known of it; nothing, of what a producer sends.
    pub(crate) attributes: Vec<EntryAttribute>,
    /// How many measurements it holds.
    pub(crate) measurements: u64,
    /// Where its first measurement stood, for error messages: `FILE line N`.
    pub(crate) origin: String,
}

impl Message {
    /// What SQS counts: body and attributes.
    fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|one| one.name.len() + one.data_type.len() + one.value.len());
        self.body.len() + attributes.sum::<usize>()
    }
}

/// Gathers measurements into messages.
#[derive(Debug)]
pub(crate) struct Packer {
    per_message: u64,
    number: u64,
    open: String,
    measurements: u64,
    origin: String,
}

impl Packer {
    /// A packer of at most `per_message` measurements a message.
    pub(crate) fn new(per_message: u64) -> Self {
        Self { per_message, number: 0, open: String::new(), measurements: 0, origin: String::new() }
    }

    /// Adds `measurement`, at most [`MESSAGE_BYTES_MAX`] bytes long. Returns the message that this closes, if any.
    pub(crate) fn push(&mut self, measurement: &str, origin: impl FnOnce() -> String) -> Option<Message> {
        let grown = self.open.len() + ",".len() + measurement.len() + SUFFIX.len();
        let is_full = self.measurements >= self.per_message || grown > MESSAGE_BYTES_MAX;
        let closed = if self.measurements > 0 && is_full { self.close() } else { None };
        if self.measurements == 0 {
            self.open.push_str(PREFIX);
            self.origin = origin();
        } else {
            self.open.push(',');
        }
        self.open.push_str(measurement);
        self.measurements += 1;
        closed
    }

    /// Closes the message that is open, if any.
    pub(crate) fn close(&mut self) -> Option<Message> {
        let room = self.open.len();
        let mut body = std::mem::replace(&mut self.open, String::with_capacity(room));
        let measurements = std::mem::take(&mut self.measurements);
        match measurements {
            0 => return None,
            1 => body.replace_range(..PREFIX.len(), ""),
            _ => body.push_str(SUFFIX),
        }
        let number = self.number;
        self.number += 1;
        Some(Message { number, body, attributes: Vec::new(), measurements, origin: std::mem::take(&mut self.origin) })
    }
}

/// Gathers messages into batches.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    open: Vec<Message>,
    bytes: usize,
}

impl Batcher {
    /// Adds `message`. Returns the batch that this closes, if any.
    pub(crate) fn push(&mut self, message: Message) -> Option<Vec<Message>> {
        let is_full = self.open.len() >= BATCH_MESSAGES_MAX || self.bytes + message.bytes() > BATCH_BYTES_MAX;
        let closed = if is_full { self.close() } else { None };
        self.bytes += message.bytes();
        self.open.push(message);
        closed
    }

    /// Closes the batch that is open, if any.
    pub(crate) fn close(&mut self) -> Option<Vec<Message>> {
        self.bytes = 0;
        let batch = std::mem::take(&mut self.open);
        if batch.is_empty() { None } else { Some(batch) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn measurement(bytes: usize, index: usize) -> String {
        let head = format!("{{\"i\":{index},\"x\":\"");
        format!("{head}{}\"}}", "x".repeat(bytes.saturating_sub(head.len() + 2)))
    }

    fn pack(measurements: &[String], per_message: u64) -> (Vec<Message>, Vec<Vec<Message>>) {
        let (mut packer, mut batcher) = (Packer::new(per_message), Batcher::default());
        let mut messages: Vec<Message> = measurements.iter().filter_map(|text| packer.push(text, || "f".to_owned())).collect();
        messages.extend(packer.close());
        let mut batches: Vec<Vec<Message>> = messages.iter().cloned().filter_map(|message| batcher.push(message)).collect();
        batches.extend(batcher.close());
        (messages, batches)
    }

    fn contents(messages: &[Message]) -> Vec<String> {
        let mut all = Vec::new();
        for message in messages {
            match message.body.strip_prefix(PREFIX).and_then(|rest| rest.strip_suffix(SUFFIX)) {
                None => all.push(message.body.clone()),
                Some(_) => {
                    let body: std::collections::BTreeMap<String, Vec<Box<serde_json::value::RawValue>>> =
                        serde_json::from_str(&message.body).unwrap();
                    all.extend(body["measurements"].iter().map(|raw| raw.get().to_owned()));
                }
            }
        }
        all
    }

    #[test]
    fn the_101st_measurement_opens_a_second_message() {
        let measurements: Vec<String> = (0..101).map(|index| measurement(40, index)).collect();
        let (messages, batches) = pack(&measurements, 100);
        assert_eq!(messages.iter().map(|message| message.measurements).collect::<Vec<_>>(), [100, 1]);
        assert_eq!(batches.len(), 1);
        assert_eq!(messages[1].body, measurements[100], "a message of one measurement is that measurement");
    }

    #[test]
    fn the_eleventh_message_opens_a_second_batch() {
        let measurements: Vec<String> = (0..11).map(|index| measurement(40, index)).collect();
        let (_, batches) = pack(&measurements, 1);
        assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [10, 1]);
    }

    #[test]
    fn a_measurement_of_a_whole_message_travels_alone() {
        let measurements = vec![measurement(40, 0), measurement(MESSAGE_BYTES_MAX, 1), measurement(40, 2), measurement(40, 3)];
        let (messages, batches) = pack(&measurements, 100);
        assert_eq!(messages.iter().map(|message| message.measurements).collect::<Vec<_>>(), [1, 1, 2]);
        assert_eq!(messages[1].body.len(), MESSAGE_BYTES_MAX);
        assert_eq!(batches.len(), 3);
    }

    #[test]
    fn no_measurements_make_no_message() {
        assert_eq!(pack(&[], 100), (vec![], vec![]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_measurement_travels_once_in_order_and_no_limit_breaks(
            sizes in prop::collection::vec(prop_oneof![8 => 30usize..400, 1 => 100_000usize..700_000, 1 => Just(MESSAGE_BYTES_MAX)], 0..40),
            per_message in 1u64..12,
        ) {
            let measurements: Vec<String> = sizes.iter().enumerate().map(|(index, bytes)| measurement(*bytes, index)).collect();
            let (messages, batches) = pack(&measurements, per_message);
            prop_assert_eq!(contents(&messages), measurements);
            for (number, message) in (0u64..).zip(&messages) {
                prop_assert_eq!(message.number, number);
                prop_assert!(message.body.len() <= MESSAGE_BYTES_MAX && message.measurements <= per_message);
            }
            prop_assert_eq!(batches.concat(), messages);
            for batch in &batches {
                prop_assert!((1..=BATCH_MESSAGES_MAX).contains(&batch.len()));
                prop_assert!(batch.iter().map(|message| message.body.len()).sum::<usize>() <= BATCH_BYTES_MAX);
            }
        }
    }
}
