//! SQS as the local emulator has it, over its HTTP API, with a clock that stands still until it is moved.
//!
//! One process serves many queues; each [`Emulated`] is one with its dead-letter queue. Answers come back in plain values, so
//! that the comparison reads as one.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry,
};

use crate::queue::Settings;

/// How long the emulator may take to start.
const BOUND: Duration = Duration::from_secs(60);
/// The longest visibility timeout. Source: SQS, 12 hours.
const VISIBILITY_MAX_S: i32 = 43_200;
/// The longest that SQS keeps anything: 14 days, in seconds.
const RETENTION_MAX_S: i32 = 1_209_600;

/// The emulator. It ends with the test.
pub(crate) struct Emulator {
    process: Child,
    client: Client,
    files: tempfile::TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.process.kill().expect("it was running");
        self.process.wait().expect("it ends");
    }
}

/// A message as it was received.
#[derive(Debug)]
pub(crate) struct Received {
    /// Its body: its place among what was sent.
    pub(crate) sending: usize,
    pub(crate) id: String,
    pub(crate) handle: String,
    pub(crate) receives: u32,
    pub(crate) sent_ms: i64,
    pub(crate) first_received_ms: i64,
}

/// How many messages are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) visible: usize,
    pub(crate) in_flight: usize,
    pub(crate) dead: usize,
}

/// The code of an error, where a call or an entry of it failed.
pub(crate) type Refused = Option<String>;

/// A queue of the emulator and its dead-letter queue.
pub(crate) struct Emulated {
    client: Client,
    url: String,
    dead_url: String,
}

impl Emulator {
    pub(crate) async fn start(now_ms: i64) -> Emulator {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = here.join("../.local/venv/bin/python");
        assert!(python.is_file(), "{} is missing: run `make tools`", python.display());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{address}");
        let files = tempfile::tempdir().unwrap();
        set(&clock_of(&files), now_ms);
        let process = Command::new(python)
            .arg(here.join("sim/queue_and_emulator/emulator_with_a_clock.py"))
            .arg(clock_of(&files))
            .envs([("BIND_HOST", "127.0.0.1"), ("MINISTACK_HOST", "127.0.0.1"), ("SERVICES", "sqs")])
            .envs([("SFTP_ENABLED", "0"), ("IOT_MTLS_ENABLED", "0"), ("AWS_ENDPOINT_URL", &url)])
            .env("GATEWAY_PORT", address.port().to_string())
            .env("TMPDIR", files.path())
            .current_dir(files.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(url);
        let emulator = Emulator { process, client: Client::from_conf(config.build()), files };
        let is_up = async {
            while TcpStream::connect(address).is_err() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(BOUND, is_up).await.expect("the emulator starts");
        emulator
    }

    /// Moves the clock, forth or back.
    pub(crate) fn set_clock(&self, now_ms: i64) {
        set(&clock_of(&self.files), now_ms);
    }

    /// A new queue with these settings, times in whole seconds, and a dead-letter queue that keeps as long.
    pub(crate) async fn queue(&self, name: &str, settings: Settings) -> Emulated {
        let retention_s = (settings.retention_ms / 1_000).to_string();
        let dead = self.client.create_queue().queue_name(format!("{name}-dead"));
        let dead = dead.attributes(QueueAttributeName::MessageRetentionPeriod, &retention_s).send().await.unwrap();
        let redrive = serde_json::json!({
            "deadLetterTargetArn": format!("arn:aws:sqs:eu-central-1:000000000000:{name}-dead"),
            "maxReceiveCount": settings.receives_max,
        });
        let queue = self.client.create_queue().queue_name(name);
        let queue = queue
            .attributes(QueueAttributeName::VisibilityTimeout, (settings.visibility_ms / 1_000).to_string())
            .attributes(QueueAttributeName::MessageRetentionPeriod, &retention_s)
            .attributes(QueueAttributeName::RedrivePolicy, redrive.to_string());
        let queue = queue.send().await.unwrap();
        let url = |url: Option<&str>| url.unwrap().to_owned();
        Emulated { client: self.client.clone(), url: url(queue.queue_url()), dead_url: url(dead.queue_url()) }
    }
}

fn clock_of(files: &tempfile::TempDir) -> PathBuf {
    files.path().join("clock")
}

/// Whoever reads the clock finds the old time or the new one.
fn set(clock: &Path, now_ms: i64) {
    let new = clock.with_extension("new");
    fs::write(&new, now_ms.to_string()).unwrap();
    fs::rename(new, clock).unwrap();
}

fn received(message: &Message) -> Received {
    let attributes = message.attributes().expect("all were asked for");
    let number = |name| attributes[&name].parse::<i64>().unwrap();
    Received {
        sending: message.body().unwrap().parse().unwrap(),
        id: message.message_id().unwrap().to_owned(),
        handle: message.receipt_handle().unwrap().to_owned(),
        receives: u32::try_from(number(MessageSystemAttributeName::ApproximateReceiveCount)).unwrap(),
        sent_ms: number(MessageSystemAttributeName::SentTimestamp),
        first_received_ms: number(MessageSystemAttributeName::ApproximateFirstReceiveTimestamp),
    }
}

/// What became of each of `entries`, whose ids are their places.
fn refused(entries: usize, successful: Vec<&str>, failed: &[BatchResultErrorEntry]) -> Vec<Refused> {
    let one = |place: usize| {
        let id = place.to_string();
        let fault = failed.iter().find(|fault| fault.id() == id);
        assert_ne!(fault.is_some(), successful.contains(&id.as_str()), "each entry is answered once");
        fault.map(|fault| fault.code().to_owned())
    };
    (0..entries).map(one).collect()
}

/// Each call takes one message as it is, and several as a batch.
impl Emulated {
    /// Sends each number as a body. Gives the ids.
    pub(crate) async fn send(&self, sendings: &[usize]) -> Vec<String> {
        if let [sending] = sendings {
            let sent = self.client.send_message().queue_url(&self.url).message_body(sending.to_string());
            return vec![sent.send().await.unwrap().message_id().unwrap().to_owned()];
        }
        let entry = |(place, sending): (usize, &usize)| {
            let entry = SendMessageBatchRequestEntry::builder().id(place.to_string());
            entry.message_body(sending.to_string()).build().unwrap()
        };
        let entries = sendings.iter().enumerate().map(entry).collect();
        let sent = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await.unwrap();
        assert!(sent.failed().is_empty());
        let id = |place: usize| {
            let place = place.to_string();
            sent.successful().iter().find(|entry| entry.id() == place).unwrap().message_id().to_owned()
        };
        (0..sendings.len()).map(id).collect()
    }

    pub(crate) async fn receive(&self, most: i32, visibility_s: Option<i32>) -> Vec<Received> {
        self.receive_from(&self.url, most, visibility_s).await
    }

    async fn receive_from(&self, url: &str, most: i32, visibility_s: Option<i32>) -> Vec<Received> {
        let call = self.client.receive_message().queue_url(url).max_number_of_messages(most).wait_time_seconds(0);
        let call = call.set_visibility_timeout(visibility_s).message_system_attribute_names(MessageSystemAttributeName::All);
        call.send().await.unwrap().messages().iter().map(received).collect()
    }

    pub(crate) async fn delete(&self, handles: &[&str]) -> Vec<Refused> {
        if let [handle] = handles {
            let answer = self.client.delete_message().queue_url(&self.url).receipt_handle(*handle).send().await;
            return vec![answer.err().map(|fault| fault.code().unwrap().to_owned())];
        }
        let entry = |(place, handle): (usize, &&str)| {
            let entry = DeleteMessageBatchRequestEntry::builder().id(place.to_string());
            entry.receipt_handle(*handle).build().unwrap()
        };
        let entries = handles.iter().enumerate().map(entry).collect();
        let answer = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await.unwrap();
        refused(handles.len(), answer.successful().iter().map(|entry| entry.id()).collect(), answer.failed())
    }

    /// Changes visibility timeouts, in seconds.
    pub(crate) async fn delay(&self, delays: &[(&str, i32)]) -> Vec<Refused> {
        if let [(handle, seconds)] = delays {
            let call = self.client.change_message_visibility().queue_url(&self.url);
            let answer = call.receipt_handle(*handle).visibility_timeout(*seconds).send().await;
            return vec![answer.err().map(|fault| fault.code().unwrap().to_owned())];
        }
        let entry = |(place, (handle, seconds)): (usize, &(&str, i32))| {
            let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(place.to_string());
            entry.receipt_handle(*handle).visibility_timeout(*seconds).build().unwrap()
        };
        let entries = delays.iter().enumerate().map(entry).collect();
        let call = self.client.change_message_visibility_batch().queue_url(&self.url);
        let answer = call.set_entries(Some(entries)).send().await.unwrap();
        refused(delays.len(), answer.successful().iter().map(|entry| entry.id()).collect(), answer.failed())
    }

    pub(crate) async fn counts(&self) -> Counts {
        let (queue, dead) = (self.numbers(&self.url).await, self.numbers(&self.dead_url).await);
        assert_eq!(dead.1, 0, "nobody receives from the dead-letter queue");
        Counts { visible: queue.0, in_flight: queue.1, dead: dead.0 }
    }

    /// How many messages of a queue are visible, and in flight.
    async fn numbers(&self, url: &str) -> (usize, usize) {
        use QueueAttributeName::{ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible};
        let names = [ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible];
        let call = self.client.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec()));
        let answer = call.send().await.unwrap();
        let attributes = answer.attributes().unwrap();
        let [visible, in_flight] = names.map(|name| attributes[&name].parse().unwrap());
        (visible, in_flight)
    }

    /// From here on nothing is given up and nothing grows too old, so that [`Emulated::drain`] finds what is left.
    pub(crate) async fn keep_what_is_left(&self) {
        let kept = |url: &str| {
            let call = self.client.set_queue_attributes().queue_url(url);
            call.attributes(QueueAttributeName::MessageRetentionPeriod, RETENTION_MAX_S.to_string())
        };
        kept(&self.url).attributes(QueueAttributeName::RedrivePolicy, "").send().await.unwrap();
        kept(&self.dead_url).send().await.unwrap();
    }

    /// Everything that is visible in the queue, and everything in the dead-letter queue.
    pub(crate) async fn drain(&self) -> (Vec<Received>, Vec<Received>) {
        let mut left = (Vec::new(), Vec::new());
        for (url, left) in [(&self.url, &mut left.0), (&self.dead_url, &mut left.1)] {
            loop {
                let some = self.receive_from(url, 10, Some(VISIBILITY_MAX_S)).await;
                if some.is_empty() {
                    break;
                }
                left.extend(some);
            }
        }
        left
    }
}
