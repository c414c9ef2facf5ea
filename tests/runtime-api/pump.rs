//! Moves messages from an SQS queue through a function, as the event source mapping would, once per call.
//!
//! An emulator's own mapping hands over ten messages at a time, and one of them deletes messages that it should return. With this,
//! the queue is real (or emulated) and the contract is AWS's: [`crate::check_response`] decides what is deleted, and without a clean answer
//! nothing is.
//!
//! Absent: polling in the background, several pollers, scaling, and back-off. What is returned simply waits out its visibility timeout.

use std::collections::{HashMap, HashSet, VecDeque};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::BoxError;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName};

use crate::function::{Function, Invocation, Outcome};
use crate::record::Record;
use crate::response::{ContractViolation, check_response};
use crate::spec::{PAYLOAD_BYTES_MAX, REGION};
use crate::sqs_event::{EventError, RECORDS_MAX, SqsEvent};

/// Most messages in one receive or delete. Source: SQS API reference.
const PER_REQUEST: usize = 10;
/// What a record may need beside its body: about 0.9 KB, and some for attributes.
const RECORD_OVERHEAD_BYTES: usize = 1_500;

/// Which queue to pump, and how much at a time.
#[derive(Clone, Debug)]
pub struct PumpSpec {
    /// Base URL of SQS.
    pub endpoint_url: String,
    /// The queue's URL.
    pub queue_url: String,
    /// The queue's ARN, as the records name it.
    pub queue_arn: String,
    /// Most messages in one event, 1 to 10,000.
    pub messages_max: usize,
    /// How long the first receive waits for a message, in seconds, 0 to 20.
    pub wait_s: i32,
    /// How long received messages stay hidden, in seconds; `None` leaves it to the queue.
    pub visibility_timeout_s: Option<i32>,
}

/// Pumps one queue. What was received and did not fit an event is kept for the next one.
#[derive(Debug)]
pub struct Pump {
    client: Client,
    spec: PumpSpec,
    held: VecDeque<Message>,
}

/// An event and the messages it was made of.
#[derive(Debug)]
struct Taken {
    event: SqsEvent,
    messages: Vec<Message>,
}

/// What one event did.
#[derive(Debug)]
pub struct Pumped {
    /// The invocation; `None` when the queue had nothing.
    pub invocation: Option<Invocation>,
    /// Ids of the messages that are done and deleted.
    pub deleted: Vec<String>,
    /// Ids of the messages left in the queue: returned, or part of an event that was not answered.
    pub returned: Vec<String>,
}

/// Why messages could not be moved. Nothing that the function did not finish was deleted.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The queue did not do what was asked.
    #[error("the queue failed to {asked}")]
    Queue {
        /// What was asked.
        asked: &'static str,
        /// What came instead.
        #[source]
        cause: BoxError,
    },
    /// The queue kept a message that is done: it will be delivered again.
    #[error("the queue refused to delete message {id}: {code}")]
    DeleteRefused {
        /// The message.
        id: String,
        /// The queue's code.
        code: String,
    },
    /// The event could not be built.
    #[error("no event")]
    Event(#[from] EventError),
    /// The function answered, and not as AWS demands.
    #[error("answer outside the contract")]
    Contract(#[from] ContractViolation),
}

impl Pump {
    /// Prepares to pump; asks nothing yet. Credentials are made up: no real queue accepts them.
    #[must_use]
    pub fn new(spec: PumpSpec) -> Self {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(REGION))
            .credentials_provider(Credentials::new("test", "test", None, None, "pump"))
            .endpoint_url(&spec.endpoint_url)
            .build();
        Self { client: Client::from_conf(config), spec, held: VecDeque::new() }
    }

    /// Receives until the queue has no more or an event is full, hands it to `function`, and deletes what is done.
    ///
    /// # Errors
    /// [`PumpError`].
    pub async fn pump(&mut self, function: &mut Function) -> Result<Pumped, PumpError> {
        let Some(taken) = self.take().await? else {
            return Ok(Pumped { invocation: None, deleted: Vec::new(), returned: Vec::new() });
        };
        let invocation = function.invoke(&taken.event).await;
        let (deleted, returned) = self.settle(&taken, &invocation.outcome).await?;
        Ok(Pumped { invocation: Some(invocation), deleted, returned })
    }

    async fn take(&mut self) -> Result<Option<Taken>, PumpError> {
        let messages = self.receive().await?;
        if messages.is_empty() {
            return Ok(None);
        }
        let records = messages.iter().map(record);
        let event = SqsEvent::builder().queue_arn(&self.spec.queue_arn).records(records).build()?;
        Ok(Some(Taken { event, messages }))
    }

    /// Deletes what `outcome` says is done. Gives the ids of the deleted and of the returned.
    async fn settle(&self, taken: &Taken, outcome: &Outcome) -> Result<(Vec<String>, Vec<String>), PumpError> {
        let returned = match outcome {
            Outcome::Response(answer) => check_response(&taken.event, answer)?,
            Outcome::Error { .. } | Outcome::TimedOut | Outcome::Exited(_) => taken.event.message_ids().to_vec(),
        };
        let deleted = self.delete_all_but(&returned, &taken.messages).await?;
        Ok((deleted, returned))
    }

    async fn receive(&mut self) -> Result<Vec<Message>, PumpError> {
        let most = self.spec.messages_max.clamp(1, RECORDS_MAX);
        let (mut messages, mut bytes) = (Vec::new(), 0);
        loop {
            while messages.len() < most
                && let Some(message) = self.held.pop_front()
            {
                let needs = RECORD_OVERHEAD_BYTES + escaped_len(message.body().unwrap_or_default());
                if bytes + needs > PAYLOAD_BYTES_MAX && !messages.is_empty() {
                    self.held.push_front(message);
                    return Ok(messages);
                }
                bytes += needs;
                messages.push(message);
            }
            let room = (most - messages.len()).min(PER_REQUEST);
            if room == 0 {
                return Ok(messages);
            }
            let received = self.receive_up_to(room, messages.is_empty()).await?;
            if received.is_empty() {
                return Ok(messages);
            }
            self.held.extend(received);
        }
    }

    async fn receive_up_to(&self, count: usize, first: bool) -> Result<Vec<Message>, PumpError> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.spec.queue_url)
            .max_number_of_messages(i32::try_from(count).unwrap_or(1))
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .wait_time_seconds(if first { self.spec.wait_s } else { 0 })
            .set_visibility_timeout(self.spec.visibility_timeout_s);
        let received = request.send().await.map_err(|cause| PumpError::Queue { asked: "receive", cause: cause.into() })?;
        Ok(received.messages.unwrap_or_default())
    }

    async fn delete_all_but(&self, returned: &[String], messages: &[Message]) -> Result<Vec<String>, PumpError> {
        let returned: HashSet<&str> = returned.iter().map(String::as_str).collect();
        let done = messages.iter().filter_map(|message| {
            let id = message.message_id()?;
            (!returned.contains(id)).then_some((id, message.receipt_handle()?))
        });
        let done: Vec<(&str, &str)> = done.collect();
        for ten in done.chunks(PER_REQUEST) {
            self.delete(ten).await?;
        }
        Ok(done.into_iter().map(|(id, _)| id.to_owned()).collect())
    }

    async fn delete(&self, messages: &[(&str, &str)]) -> Result<(), PumpError> {
        let failed = |cause: BoxError| PumpError::Queue { asked: "delete", cause };
        let mut request = self.client.delete_message_batch().queue_url(&self.spec.queue_url);
        let mut names = HashMap::new();
        for (nth, (id, handle)) in messages.iter().enumerate() {
            names.insert(nth.to_string(), *id);
            let entry = DeleteMessageBatchRequestEntry::builder().id(nth.to_string()).receipt_handle(*handle).build();
            request = request.entries(entry.map_err(|cause| failed(cause.into()))?);
        }
        let answer = request.send().await.map_err(|cause| failed(cause.into()))?;
        answer.failed().first().map_or(Ok(()), |refused| {
            Err(PumpError::DeleteRefused {
                id: names.get(refused.id()).copied().unwrap_or("unknown").to_owned(),
                code: refused.code().to_owned(),
            })
        })
    }
}

/// A received message as the record a mapping makes of it.
fn record(message: &Message) -> Record {
    let system = |name| message.attributes().and_then(|all| all.get(&name)).map(String::as_str);
    let number = |name| system(name).and_then(|text| text.parse::<u64>().ok());
    let mut record = Record::new(message.body().unwrap_or_default());
    record.message_id = message.message_id().map(str::to_owned);
    record.receipt_handle = message.receipt_handle().map(str::to_owned);
    record.receives = number(MessageSystemAttributeName::ApproximateReceiveCount).and_then(|count| u32::try_from(count).ok());
    record.sent_at_ms = number(MessageSystemAttributeName::SentTimestamp);
    record.first_received_at_ms = number(MessageSystemAttributeName::ApproximateFirstReceiveTimestamp);
    let attributes = message.message_attributes().into_iter().flatten();
    for (name, value) in attributes {
        if let Some(text) = value.string_value() {
            record = record.attribute(name, text);
        }
    }
    record
}

/// How long `text` is as a JSON string, at most.
fn escaped_len(text: &str) -> usize {
    let cost = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..=31 => 6,
        _ => 1,
    };
    text.bytes().map(cost).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use bytes::Bytes;
    use http::{Request, StatusCode};
    use serde_json::{Value, json};

    use super::*;
    use crate::http_server::{Answer, HttpServer, answer};

    /// A queue of scripted bodies, without visibility or redelivery.
    #[derive(Clone, Default)]
    struct Queue {
        waiting: Arc<Mutex<VecDeque<(String, String)>>>,
        deleted: Arc<Mutex<Vec<String>>>,
    }

    impl Queue {
        async fn serve(self, request: Request<Bytes>) -> Answer {
            let asked: Value = serde_json::from_slice(request.body()).unwrap();
            let given = match request.headers()["x-amz-target"].to_str().unwrap() {
                "AmazonSQS.ReceiveMessage" => self.receive(asked["MaxNumberOfMessages"].as_u64().unwrap()),
                "AmazonSQS.DeleteMessageBatch" => self.delete(asked["Entries"].as_array().unwrap()),
                other => panic!("{other}"),
            };
            answer(StatusCode::OK, "application/x-amz-json-1.0", given.to_string())
        }

        fn receive(&self, most: u64) -> Value {
            let mut waiting = self.waiting.lock().unwrap();
            let count = waiting.len().min(usize::try_from(most).unwrap());
            let message =
                |(id, body): (String, String)| json!({"MessageId": id, "ReceiptHandle": format!("handle-{id}"), "Body": body});
            json!({"Messages": waiting.drain(..count).map(message).collect::<Vec<_>>()})
        }

        fn delete(&self, entries: &[Value]) -> Value {
            assert!((1..=10).contains(&entries.len()));
            let mut deleted = self.deleted.lock().unwrap();
            deleted.extend(entries.iter().map(|entry| entry["ReceiptHandle"].as_str().unwrap().to_owned()));
            let successful: Vec<_> = entries.iter().map(|entry| json!({"Id": entry["Id"]})).collect();
            json!({"Successful": successful, "Failed": []})
        }
    }

    /// A pump of events of at most `messages_max`, on a queue that holds `bodies`; message `n` has the id `m-n`.
    async fn pump(messages_max: usize, bodies: impl IntoIterator<Item = String>) -> (Pump, Queue, HttpServer) {
        let queue = Queue::default();
        let messages = bodies.into_iter().enumerate().map(|(n, body)| (format!("m-{n}"), body));
        queue.waiting.lock().unwrap().extend(messages);
        let serving = queue.clone();
        let server = HttpServer::start(move |request| serving.clone().serve(request)).await.unwrap();
        let pump = Pump::new(PumpSpec {
            endpoint_url: format!("http://{}", server.address()),
            queue_url: "http://queue/usage".to_owned(),
            queue_arn: "arn:aws:sqs:eu-central-1:123456789012:usage".to_owned(),
            messages_max,
            wait_s: 0,
            visibility_timeout_s: None,
        });
        (pump, queue, server)
    }

    fn small(count: usize) -> impl Iterator<Item = String> {
        (0..count).map(|n| format!("{{\"n\":{n}}}"))
    }

    #[tokio::test]
    async fn messages_become_events_of_at_most_the_size_asked_for_and_each_comes_once() {
        let (mut pump, _queue, _server) = pump(12, small(25)).await;
        let mut seen = Vec::new();
        let mut sizes = Vec::new();
        while let Some(taken) = pump.take().await.unwrap() {
            sizes.push(taken.messages.len());
            seen.extend(taken.event.message_ids().to_vec());
        }
        assert_eq!(sizes, [12, 12, 1]);
        assert_eq!(seen, (0..25).map(|n| format!("m-{n}")).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn an_event_never_outgrows_lambdas_payload_and_the_rest_comes_next() {
        let (mut pump, _queue, _server) = pump(100, (0..10).map(|_| "\"".repeat(500_000))).await;
        let mut sizes = Vec::new();
        while let Some(taken) = pump.take().await.unwrap() {
            assert!(taken.event.bytes().len() <= PAYLOAD_BYTES_MAX);
            sizes.push(taken.messages.len());
        }
        assert_eq!(sizes, [6, 4]);
    }

    #[tokio::test]
    async fn what_the_function_finished_is_deleted_and_what_it_returned_is_not() {
        let (mut pump, queue, _server) = pump(100, small(23)).await;
        let taken = pump.take().await.unwrap().unwrap();
        let answer = Outcome::Response(r#"{"batchItemFailures":[{"itemIdentifier":"m-4"}]}"#.into());
        let (deleted, returned) = pump.settle(&taken, &answer).await.unwrap();
        assert_eq!((deleted.len(), returned), (22, vec!["m-4".to_owned()]));
        let handles = queue.deleted.lock().unwrap().clone();
        assert_eq!(handles.len(), 22);
        assert!(!handles.contains(&"handle-m-4".to_owned()));
    }

    #[tokio::test]
    async fn without_a_clean_answer_nothing_is_deleted() {
        let (mut pump, queue, _server) = pump(100, small(3)).await;
        let taken = pump.take().await.unwrap().unwrap();
        let misspelt = Outcome::Response(r#"{"batchItemfailures":[]}"#.into());
        assert!(matches!(pump.settle(&taken, &misspelt).await, Err(PumpError::Contract(_))));
        let (deleted, returned) = pump.settle(&taken, &Outcome::TimedOut).await.unwrap();
        assert_eq!((deleted.len(), returned.len()), (0, 3));
        assert!(queue.deleted.lock().unwrap().is_empty());
    }
}
