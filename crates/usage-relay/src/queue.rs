//! The queue as the command line needs it: put messages on, and see how many are left.
//!
//! Credentials and region come as every AWS tool finds them. A queue URL already says where its queue is, so unless
//! `AWS_ENDPOINT_URL` says otherwise, its own host is spoken to: a URL of an emulator never ends up at AWS, and a URL of
//! another region needs no second setting.
//!
//! The SDK's own retries are off: an attempt here is an attempt there, and [`crate::send::deliver`] counts them.

use std::collections::BTreeMap;
use std::error::Error;

use aws_config::Region;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName, SendMessageBatchRequestEntry};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use relay_store::EntryAttribute;
use url::{Host, Url};

use crate::aws::{self, chain, explained};
use crate::config;
use crate::failure::Failure;

/// One queue.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    client: aws_sdk_sqs::Client,
    url: Url,
    /// Whether what is sent stays on this machine, as far as can be told.
    is_local: bool,
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outgoing {
    /// What it says.
    pub(crate) body: String,
    /// What is known of it.
    pub(crate) attributes: Vec<EntryAttribute>,
}

/// Messages on a queue, by what they wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Depth {
    /// To be received.
    pub(crate) visible: u64,
    /// Received, and neither deleted nor back yet.
    pub(crate) in_flight: u64,
    /// To become visible.
    pub(crate) delayed: u64,
}

impl Depth {
    /// All of them.
    pub(crate) fn total(self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// What the queue said about one message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is on the queue, under this message id.
    Taken { message_id: String },
    /// It is not, and sending it again may help.
    Again { code: String },
    /// It is not, and the message itself is why.
    Refused { code: String },
}

/// Why a whole call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallFault {
    /// Another attempt may succeed.
    Passing(String),
    /// Every attempt would fail like this one.
    Lasting(String),
}

/// Checks a queue URL given on the command line.
///
/// # Errors
/// What was expected instead.
pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let expected = "expected a queue URL such as https://sqs.eu-west-1.amazonaws.com/123456789012/usage";
    let url = Url::parse(text).map_err(|_| expected.to_owned())?;
    let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() || name.is_empty() {
        return Err(expected.to_owned());
    }
    if name.ends_with(".fifo") {
        let reason = "a FIFO queue allows no batching window, ten messages a batch, and one late message holds up its group";
        return Err(format!("expected a standard queue: {reason}; m3ter needs no order"));
    }
    Ok(url)
}

/// The region that the host of a queue URL names, as in `sqs.eu-west-1.amazonaws.com`.
fn region_of(url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let rest = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let mut labels = rest.split('.').skip_while(|label| !matches!(*label, "sqs" | "sqs-fips"));
    labels.next()?;
    labels.next().map(str::to_owned)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether a queue at `url` that is spoken to at `endpoint`, or else at its own host, is on this machine, and does not claim to be AWS's.
fn is_local(url: &Url, endpoint: Option<&str>) -> bool {
    let is_at = |endpoint: &str| Url::parse(endpoint).is_ok_and(|place| is_loopback(&place));
    region_of(url).is_none() && endpoint.map_or_else(|| is_loopback(url), is_at)
}

impl Queue {
    /// A client for the queue at `url`. Nothing is called yet.
    pub(crate) async fn at(url: Url) -> Self {
        let mut loader = aws::settings();
        if let Some(region) = region_of(&url) {
            loader = loader.region(Region::new(region));
        } else if is_loopback(&url) {
            // An emulator takes any region, but requests cannot be signed without one.
            loader = loader.region(aws_config::meta::region::RegionProviderChain::default_provider().or_else("us-east-1"));
        }
        let settings = loader.load().await;
        let mut sqs = aws_sdk_sqs::config::Builder::from(&settings);
        let given = config::sqs_endpoint().or_else(|| settings.endpoint_url().map(str::to_owned));
        if given.is_none() {
            sqs = sqs.endpoint_url(url.origin().ascii_serialization());
        }
        let is_local = is_local(&url, given.as_deref());
        Self { client: aws_sdk_sqs::Client::from_conf(sqs.build()), url, is_local }
    }

    /// Holds what only a sandbox may get back from a queue that feeds m3ter itself.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn must_be_local(&self) -> Result<(), String> {
        let expected =
            "made-up usage is for a relay on this machine alone: expected queue and AWS_ENDPOINT_URL to be on loopback";
        if self.is_local { Ok(()) } else { Err(format!("{expected}; nothing was sent")) }
    }

    /// Sends `messages`, at most ten and at most 1 MiB in all. One answer for each, in their order.
    ///
    /// # Errors
    /// [`CallFault`] if the call as a whole got no usable answer: some of them may be on the queue all the same.
    pub(crate) async fn send(&self, messages: Vec<Outgoing>) -> Result<Vec<Answer>, CallFault> {
        let count = messages.len();
        let mut call = self.client.send_message_batch().queue_url(self.url.as_str());
        for (index, Outgoing { body, attributes }) in messages.into_iter().enumerate() {
            let mut entry = SendMessageBatchRequestEntry::builder().id(index.to_string()).message_body(body);
            for EntryAttribute { name, data_type, value } in attributes {
                let is_binary = data_type.starts_with("Binary");
                let builder = MessageAttributeValue::builder().data_type(data_type);
                let value = match is_binary.then(|| BASE64_STANDARD.decode(&value)) {
                    Some(Ok(bytes)) => builder.binary_value(Blob::new(bytes)),
                    Some(Err(_)) | None => builder.string_value(value),
                };
                entry = entry.message_attributes(name, value.build().map_err(|error| CallFault::Lasting(chain(&error)))?);
            }
            call = call.entries(entry.build().map_err(|error| CallFault::Lasting(chain(&error)))?);
        }
        let said = call.send().await.map_err(|error| call_fault(&error))?;
        // An entry the answer does not mention was not confirmed.
        let mut answers = vec![Answer::Again { code: "not mentioned in the answer".to_owned() }; count];
        let mut put = |id: &str, answer: Answer| {
            if let Some(slot) = id.parse::<usize>().ok().and_then(|index| answers.get_mut(index)) {
                *slot = answer;
            }
        };
        for entry in said.successful() {
            put(entry.id(), Answer::Taken { message_id: entry.message_id().to_owned() });
        }
        for entry in said.failed() {
            let code = entry.code().to_owned();
            put(entry.id(), if entry.sender_fault() { Answer::Refused { code } } else { Answer::Again { code } });
        }
        Ok(answers)
    }

    /// How many messages are left: visible, in flight and delayed. SQS calls these counts approximate.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if the queue cannot be asked.
    pub(crate) async fn left(&self) -> Result<u64, Failure> {
        Ok(self.depth().await?.total())
    }

    /// The same, each by itself.
    ///
    /// # Errors
    /// As [`Queue::left`].
    pub(crate) async fn depth(&self) -> Result<Depth, Failure> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ];
        let call = self.client.get_queue_attributes().queue_url(self.url.as_str());
        let said = call.set_attribute_names(Some(names.to_vec())).send().await;
        let said =
            said.map_err(|error| Failure::CouldNot(explained(format!("cannot ask the queue {}: {}", self.url, chain(&error)))))?;
        let count = |name: &QueueAttributeName| {
            let expected = || Failure::CouldNot(format!("expected the queue {} to answer with {name}", self.url));
            said.attributes().and_then(|all| all.get(name)?.parse::<u64>().ok()).ok_or_else(expected)
        };
        let [visible, in_flight, delayed] = &names;
        Ok(Depth { visible: count(visible)?, in_flight: count(in_flight)?, delayed: count(delayed)? })
    }

    /// All that it says of itself, by SQS's names.
    ///
    /// # Errors
    /// Why it says nothing, in one line.
    pub(crate) async fn attributes(&self) -> Result<BTreeMap<String, String>, String> {
        let call = self.client.get_queue_attributes().queue_url(self.url.as_str()).attribute_names(QueueAttributeName::All);
        let said = call.send().await.map_err(|error| explained(chain(&error)))?;
        let named = said.attributes().into_iter().flatten();
        Ok(named.map(|(name, value)| (name.as_str().to_owned(), value.clone())).collect())
    }
}

/// Throttling and faults of the service pass; so does a lost connection, but not a missing credential.
fn call_fault<E>(error: &SdkError<E>) -> CallFault
where
    E: Error + ProvideErrorMetadata + 'static,
{
    let passes = match error {
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        SdkError::DispatchFailure(failure) => failure.is_io() || failure.is_timeout(),
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or_default();
            status >= 500 || matches!(status, 408 | 429) || code.contains("Throttl") || code.contains("RequestLimit")
        }
        // The SDK may add kinds; one that nobody here knows is not tried again blindly.
        SdkError::ConstructionFailure(_) | _ => false,
    };
    let text = explained(chain(error));
    if passes { CallFault::Passing(text) } else { CallFault::Lasting(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_url_names_a_standard_queue() {
        assert!(parse_url("https://sqs.eu-west-1.amazonaws.com/123456789012/usage").is_ok());
        assert!(parse_url("http://127.0.0.1:4566/000000000000/usage").is_ok());
        for wrong in
            ["usage", "arn:aws:sqs:eu-west-1:123456789012:usage", "https://sqs.eu-west-1.amazonaws.com/", "s3://bucket/x"]
        {
            assert!(parse_url(wrong).unwrap_err().starts_with("expected a queue URL"), "{wrong}");
        }
        let fifo = parse_url("https://sqs.eu-west-1.amazonaws.com/123456789012/usage.fifo").unwrap_err();
        assert!(fifo.starts_with("expected a standard queue"), "{fifo}");
    }

    #[test]
    fn the_region_is_read_off_the_host() {
        let region = |text: &str| region_of(&Url::parse(text).unwrap());
        assert_eq!(region("https://sqs.eu-west-1.amazonaws.com/1/q").as_deref(), Some("eu-west-1"));
        assert_eq!(region("https://sqs.cn-north-1.amazonaws.com.cn/1/q").as_deref(), Some("cn-north-1"));
        assert_eq!(region("https://vpce-1-a.sqs.us-west-2.vpce.amazonaws.com/1/q").as_deref(), Some("us-west-2"));
        assert_eq!(region("http://127.0.0.1:4566/1/q"), None);
        assert_eq!(region("http://localstack:4566/1/q"), None);
    }

    #[test]
    fn loopback_is_known_by_name_and_by_address() {
        let loopback = |text: &str| is_loopback(&Url::parse(text).unwrap());
        assert!(loopback("http://127.0.0.1:1/q") && loopback("http://[::1]:1/q") && loopback("http://localhost/q"));
        assert!(!loopback("http://10.0.0.1/q") && !loopback("http://localhost.example.com/q"));
    }

    #[test]
    fn a_queue_is_local_where_it_is_spoken_to_and_never_when_it_is_awss() {
        let aws = "https://sqs.eu-west-1.amazonaws.com/1/q";
        for (url, endpoint, expected) in [
            ("http://127.0.0.1:4566/1/q", None, true),
            ("http://127.0.0.1:4566/1/q", Some("http://localhost:4566"), true),
            ("http://sqs.eu-west-1.localhost.localstack.cloud:4566/1/q", Some("http://127.0.0.1:4566"), true),
            ("http://127.0.0.1:4566/1/q", Some("https://sqs.eu-west-1.amazonaws.com"), false),
            ("http://10.0.0.1/1/q", None, false),
            (aws, None, false),
            (aws, Some("http://127.0.0.1:4566"), false),
        ] {
            assert_eq!(is_local(&Url::parse(url).unwrap(), endpoint), expected, "{url} {endpoint:?}");
        }
    }
}
