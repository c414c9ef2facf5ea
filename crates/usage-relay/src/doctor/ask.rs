//! Gathers facts, each with a deadline of its own, and has them judged.
//!
//! What does not depend on each other is asked at the same time: a host that never answers costs its wait once or twice. What cannot be asked
//! because of what another check found is told as skipped.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_sqs::config::ProvideCredentials;
use bytes::Bytes;
use http::{Method, Request};
use m3ter_client::{Credentials, HttpTransport, SecretsError, Transport};
use relay_store::{Folder, Hours};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::{Instant, timeout};
use url::Url;

use super::judge::{self, Attributes, Settings};
use super::line::{Fault, Line, State};
use super::m3ter::M3ter;
use super::signed::{Aws, NotSaid, Service};
use super::{Arguments, lines};
use crate::aws::{MEND_CREDENTIALS, NO_CREDENTIALS, chain, explained, no_credentials};
use crate::clock;
use crate::failure::Failure;
use crate::queue::Queue;
use crate::store::open_store;
use crate::terminal::Progress;

/// How far this machine's clock may be off, in milliseconds. AWS refuses signatures from 5 minutes on; what the operator says with
/// `--since` and the 34 days of `replay` are counted by this clock.
const SKEW_MAX_MS: i64 = 60_000;
/// What stands in the secret until somebody fills it: template.yaml.
const PLACEHOLDER: &str = "not-set";

/// The checks, in the order in which they are told.
const MAPPING: &str = "mapping";
const QUEUE: &str = "queue";
const DEAD_LETTERS: &str = "dead letters";
/// Only where the stack is known: nothing else names the queue of files.
const FILES: &str = "files";
const STORE: &str = "store";
const SECRET: &str = "secret";
const TOKEN: &str = "m3ter token";
const INGEST: &str = "m3ter ingest";
const READS: &str = "m3ter reads";
const CLOCK: &str = "clock";

/// Looks at everything.
///
/// # Errors
/// [`Failure::CouldNot`] if TLS cannot be set up.
pub(super) async fn all(arguments: &Arguments, sdk: &SdkConfig, progress: &Progress) -> Result<Vec<Line>, Failure> {
    let wait = Duration::from_secs(arguments.timeout_s);
    let http = HttpTransport::new().map_err(|error| Failure::CouldNot(format!("cannot set up HTTP: {}", chain(&error))))?;
    let aws = match credentials(&http, sdk, wait).await {
        Ok(aws) => aws,
        Err(fault) => {
            let all = ["function", MAPPING, QUEUE, DEAD_LETTERS, STORE, SECRET, TOKEN, INGEST, READS, CLOCK];
            let rest = all.map(|check| Line::skipped(check, "no AWS credentials or no region"));
            return Ok(std::iter::once(Line::fail("aws", fault)).chain(rest).collect());
        }
    };
    let place = sdk.endpoint_url().map(|url| format!(", at {url}")).unwrap_or_default();
    let mut told = vec![Line::ok("aws", format!("credentials found, region {}{place}", aws.region))];
    progress.set(1);
    let (function, settings, name) = function(&aws, arguments, wait).await;
    let is_relay = function.iter().all(|line| line.state == State::Ok) || settings.get("QUEUE_URL").is_some();
    told.extend(function);
    progress.set(2);
    if !is_relay {
        let rest = [MAPPING, QUEUE, DEAD_LETTERS, STORE, SECRET, TOKEN, INGEST, READS];
        told.extend(rest.map(|check| Line::skipped(check, "it is found by the function's settings")));
        told.extend(clocks(&http, &aws, None, wait).await);
        return Ok(told);
    }
    let api_url = settings.get("M3TER_API_URL").unwrap_or("https://api.m3ter.com");
    let stack = arguments.stack_name.as_deref();
    let (queues, files, store, m3ter, clocks) = tokio::join!(
        queues(&aws, stack, &name, &settings, wait),
        files(&aws, stack, wait),
        store(&settings, arguments.write, wait),
        secret_and_m3ter(&http, &aws, &settings, wait),
        clocks(&http, &aws, Some(api_url), wait),
    );
    told.extend(queues.into_iter().chain(files).chain(store).chain(m3ter).chain(clocks));
    Ok(told)
}

/// `what` within the deadline.
async fn within<T>((subject, wait): (&str, Duration), what: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(wait, what).await.unwrap_or_else(|_| {
        let found = format!("{subject}: no answer in {} s", wait.as_secs());
        Err(Fault::new(found, "look at the network, and at what stands between"))
    })
}

async fn credentials<'a>(http: &'a HttpTransport, sdk: &'a SdkConfig, wait: Duration) -> Result<Aws<'a>, Fault> {
    let found = within(("credentials", wait), async {
        let provider = sdk.credentials_provider().ok_or_else(|| Fault::new(NO_CREDENTIALS, MEND_CREDENTIALS))?;
        let found = provider.provide_credentials().await;
        found.map_err(|error| Fault::new(no_credentials(&error), MEND_CREDENTIALS))
    });
    let credentials = found.await?;
    let region = sdk.region().map(ToString::to_string);
    let region = region.ok_or_else(|| Fault::new("there is no AWS region", "set AWS_REGION to the region of the stack"))?;
    Ok(Aws { http, sdk, credentials, region })
}

/// The function, its settings, and its name.
async fn function(aws: &Aws<'_>, arguments: &Arguments, wait: Duration) -> (Vec<Line>, Settings, String) {
    const CHECK: &str = "function";
    let asked = within(("the function", wait), async {
        let name = match (&arguments.stack_name, &arguments.function_name) {
            (Some(stack), _) => {
                let missing = "look at --stack-name and the region: aws cloudformation list-stacks";
                let found = aws.part_of(stack, "Function").await;
                found.map_err(|error| error.fault("the stack", missing))?
            }
            (None, name) => name.clone().unwrap_or_default(),
        };
        let missing = "look at --function-name and the region: output FunctionName of the stack";
        let configuration = aws.function(&name).await.map_err(|error| error.fault("the function", missing))?;
        Ok((name, configuration))
    });
    match asked.await {
        Err(fault) => (vec![Line::fail(CHECK, fault)], Settings::default(), String::new()),
        Ok((name, configuration)) => {
            let (found, faults) = judge::function(&configuration);
            (lines(CHECK, format!("{name}: {found}"), faults), Settings::of(&configuration), name)
        }
    }
}

/// What to do where there is no mapping.
const NO_MAPPING: &str = "deploy the stack again, or map the queue to the function";

/// What feeds a function, or what a queue feeds.
async fn mappings(aws: &Aws<'_>, filter: String) -> Result<Vec<Value>, Fault> {
    aws.mappings(&filter).await.map_err(|error| error.fault("the mapping", NO_MAPPING))
}

/// What the queue with this ARN feeds.
async fn fed_by(aws: &Aws<'_>, arn: &str) -> Result<Vec<Value>, Fault> {
    let arn: String = url::form_urlencoded::byte_serialize(arn.as_bytes()).collect();
    mappings(aws, format!("EventSourceArn={arn}")).await
}

/// The mapping, the queue and its dead-letter queue.
async fn queues(aws: &Aws<'_>, stack: Option<&str>, function: &str, settings: &Settings, wait: Duration) -> Vec<Line> {
    let url = settings.get("QUEUE_URL").unwrap_or_default();
    let (mappings, source) = tokio::join!(
        within(("the mapping", wait), mappings(aws, format!("FunctionName={function}"))),
        within(("the queue", wait), attributes(url, "the queue")),
    );
    let mut told = Vec::new();
    let mut window_s = 0;
    match mappings.map(|all| judge::from_queue(&all, settings).cloned()) {
        Err(fault) => told.push(Line::fail(MAPPING, fault)),
        Ok(None) => {
            let found = "nothing feeds the function from the queue that it is set to (QUEUE_URL)";
            told.push(Line::fail(MAPPING, Fault::new(found, NO_MAPPING)));
        }
        Ok(Some(mapping)) => {
            window_s = judge::window_s(&mapping);
            let (found, faults) = judge::mapping(&mapping, settings);
            told.extend(lines(MAPPING, found, faults));
        }
    }
    let source = match source {
        Err(fault) => {
            told.extend([Line::fail(QUEUE, fault), Line::skipped(DEAD_LETTERS, "the queue names it")]);
            return told;
        }
        Ok(source) => source,
    };
    let arn = source.get("QueueArn").map(String::as_str).unwrap_or_default();
    let (readers, dead_letters) = tokio::join!(
        within(("the mappings of the queue", wait), fed_by(aws, arn)),
        dead_letters(aws, stack, url, &source, wait),
    );
    let (found, mut faults) = judge::queue(&source, settings, window_s);
    faults.extend(readers.map_or_else(|fault| vec![fault], |readers| judge::others(&readers, function)));
    told.extend(lines(QUEUE, found, faults));
    told.extend(dead_letters);
    told
}

/// The dead-letter queue of the queue at `url`, and who drains it.
async fn dead_letters(aws: &Aws<'_>, stack: Option<&str>, url: &str, source: &Attributes, wait: Duration) -> Vec<Line> {
    let Some((arn, _)) = judge::redrive(source) else {
        return vec![Line::skipped(DEAD_LETTERS, "the queue has none")];
    };
    let missing = "deploy the stack again";
    let ask_own = async {
        let Some(stack) = stack else { return Ok(None) };
        aws.part_of(stack, "DeadLetterFunction").await.map(Some).map_err(|error| error.fault("the stack", missing))
    };
    let ask_drain = async {
        let mappings = fed_by(aws, &arn).await?;
        let Some(drain) = judge::drain(&mappings) else { return Ok((mappings, 0)) };
        let function =
            aws.function(judge::fed(drain)).await.map_err(|error| error.fault("the function that drains it", missing))?;
        Ok((mappings, Settings::of(&function).timeout_s))
    };
    let (dead, own, drain) = tokio::join!(
        within(("the dead-letter queue", wait), async { attributes(&url_of(url, &arn), "the dead-letter queue").await }),
        within(("the stack", wait), ask_own),
        within(("the mapping of the dead-letter queue", wait), ask_drain),
    );
    match dead.and_then(|dead| Ok((dead, own?, drain?))) {
        Err(fault) => vec![Line::fail(DEAD_LETTERS, fault)],
        Ok((dead, own, (mappings, timeout_s))) => {
            let (found, faults) = judge::dead_letters(&dead, source, &mappings, own.as_deref(), timeout_s);
            lines(DEAD_LETTERS, found, faults)
        }
    }
}

/// The queue of files, which only the stack names.
async fn files(aws: &Aws<'_>, stack: Option<&str>, wait: Duration) -> Vec<Line> {
    let Some(stack) = stack else { return Vec::new() };
    let missing = "deploy the stack again: it is of a time before it took files";
    let asked = within(("the queue of files", wait), async {
        let url = aws.part_of(stack, "UploadQueue").await.map_err(|error| error.fault("the queue of files", missing))?;
        let queue = attributes(&url, "the queue of files").await?;
        let mappings = fed_by(aws, queue.get("QueueArn").map(String::as_str).unwrap_or_default()).await?;
        Ok(judge::files(&queue, &mappings))
    });
    match asked.await {
        Ok((found, faults)) => lines(FILES, found, faults),
        Err(fault) => vec![Line::fail(FILES, fault)],
    }
}

/// The URL of the queue `arn`, which lies beside the queue at `url`.
fn url_of(url: &str, arn: &str) -> String {
    let mut parts = arn.rsplit(':');
    let (name, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let base = url.rsplitn(3, '/').nth(2).unwrap_or_default();
    format!("{base}/{account}/{name}")
}

/// All that the queue at `url` says of itself.
async fn attributes(url: &str, what: &str) -> Result<Attributes, Fault> {
    let mend = "look at the function's QUEUE_URL, the region, and that these credentials may call sqs:GetQueueAttributes";
    // One that is first in, first out is told by its name, and not asked.
    if let Some(fault) = judge::fifo(url) {
        return Err(fault);
    }
    let url = Url::parse(url).map_err(|_| Fault::new(format!("{what} has no URL"), mend))?;
    let asked = Queue::at(url).await.attributes().await;
    asked.map_err(|error| Fault::new(format!("{what} cannot be asked: {error}"), mend))
}

/// The store: what is in it can be listed and read, and perhaps written.
async fn store(settings: &Settings, write: bool, wait: Duration) -> Vec<Line> {
    let url = settings.get("STORE_URL").unwrap_or_default();
    let asked = within(("the store", wait), async {
        let mend = "look at the bucket in the function's STORE_URL, at the region, and that these credentials may call \
                    s3:ListBucket and s3:GetObject";
        let failed = |error: &(dyn std::error::Error + 'static)| Fault::new(explained(chain(error)), mend);
        let store = open_store(url).await.map_err(|error| failed(&error))?;
        let now_ms = clock::now().as_millisecond();
        store.objects(Folder::Quarantine, Hours::between(now_ms, now_ms)).await.map_err(|error| failed(&error))?;
        store.document::<Value>("watch/v1/cursor.json").await.map_err(|error| failed(&error))?;
        if write {
            let mend = "look at the bucket's policy and key, and that these credentials may call s3:PutObject";
            let probed = store.probe(Instant::now() + wait).await;
            probed.map_err(|error| Fault::new(format!("it cannot be written: {}", chain(&error)), mend))?;
            return Ok(format!("{url} can be listed, read and written"));
        }
        Ok(format!("{url} can be listed and read"))
    });
    match asked.await {
        Ok(found) => vec![Line::ok(STORE, found)],
        Err(fault) => vec![Line::fail(STORE, fault)],
    }
}

/// The secret, and m3ter with the keys in it.
async fn secret_and_m3ter(http: &HttpTransport, aws: &Aws<'_>, settings: &Settings, wait: Duration) -> Vec<Line> {
    let arn = settings.get("M3TER_SECRET_ARN").unwrap_or_default();
    let asked = within(("the secret", wait), async {
        let missing = "look at the function's M3TER_SECRET_ARN: the secret was deleted, or is another region's";
        aws.secret(arn).await.map_err(|error: NotSaid| error.fault("the secret", missing)).and_then(|secret| keys(&secret))
    });
    let keys = match asked.await {
        Ok(keys) => keys,
        Err(fault) => {
            let rest = [TOKEN, INGEST, READS].map(|check| Line::skipped(check, "there are no keys for m3ter"));
            return std::iter::once(Line::fail(SECRET, fault)).chain(rest).collect();
        }
    };
    let mut told = vec![Line::ok(SECRET, "readable, holds both keys")];
    let get = |name: &str, otherwise: &str| settings.get(name).unwrap_or(otherwise).to_owned();
    let m3ter = M3ter {
        http,
        org_id: get("M3TER_ORG_ID", ""),
        api_url: get("M3TER_API_URL", "https://api.m3ter.com"),
        ingest_url: get("M3TER_INGEST_URL", "https://ingest.m3ter.com"),
    };
    let token = match within(("m3ter", wait), m3ter.token(&keys)).await {
        Err(fault) => {
            told.push(Line::fail(TOKEN, fault));
            told.extend([INGEST, READS].map(|check| Line::skipped(check, "there is no token")));
            return told;
        }
        Ok((token, found)) => {
            told.push(Line::ok(TOKEN, found));
            token
        }
    };
    let (ingest, reads) =
        tokio::join!(within(("m3ter", wait), m3ter.ingest(&token)), within(("m3ter", wait), m3ter.reads(&token)));
    for (check, asked) in [(INGEST, ingest), (READS, reads)] {
        told.push(asked.map_or_else(|fault| Line::fail(check, fault), |found| Line::ok(check, found)));
    }
    told
}

/// The keys in the answer of Secrets Manager.
fn keys(secret: &Value) -> Result<Credentials, Fault> {
    let shape = r#"{"access_key_id":"…","api_secret":"…"}"#;
    let mend = format!("put m3ter's keys into it: aws secretsmanager put-secret-value --secret-string '{shape}' --secret-id …");
    let text = secret.get("SecretString").and_then(Value::as_str);
    let read = text.ok_or(SecretsError::Malformed).and_then(Credentials::from_json);
    match read {
        Err(_) => Err(Fault::new("it does not hold both keys", mend)),
        Ok(keys) if keys.access_key_id.expose_secret() == PLACEHOLDER => {
            Err(Fault::new("it is as the stack made it, without m3ter's keys", mend))
        }
        Ok(keys) => Ok(keys),
    }
}

/// This machine's clock against AWS's and m3ter's.
async fn clocks(http: &HttpTransport, aws: &Aws<'_>, m3ter: Option<&str>, wait: Duration) -> Vec<Line> {
    let lambda = aws.endpoint(Service::Lambda);
    let theirs = async |name: &'static str, url: Option<&str>| Some((name, ahead(http, url?, wait).await?));
    let (of_aws, of_m3ter) = tokio::join!(theirs("AWS", Some(&lambda)), theirs("m3ter", m3ter));
    let all: Vec<(&str, i64)> = of_aws.into_iter().chain(of_m3ter).collect();
    if all.is_empty() {
        return vec![Line::skipped(CLOCK, "neither AWS nor m3ter told the time")];
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    lines(
        CLOCK,
        format!("less than a minute from {}", names.join(" and from ")),
        all.iter().filter_map(|(name, ms)| skewed(name, *ms)).collect(),
    )
}

/// By how many milliseconds the clock of `url` is ahead of this one: at least so many, in either direction. Its answers tell the time
/// to the second. `None` if it does not tell.
async fn ahead(http: &HttpTransport, url: &str, wait: Duration) -> Option<i64> {
    let request = Request::builder().method(Method::GET).uri(url).body(Bytes::new()).ok()?;
    let before_ms = clock::now().as_millisecond();
    let answer = timeout(wait, http.send(request)).await.ok()?.ok()?;
    let after_ms = clock::now().as_millisecond();
    let date = answer.headers().get("date")?.to_str().ok()?;
    let theirs_ms = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_millisecond();
    Some(difference_ms(theirs_ms, (before_ms, after_ms)))
}

/// What is certain of it: between asking and answering lies any time, and a date has no fractions.
fn difference_ms(theirs_ms: i64, (before_ms, after_ms): (i64, i64)) -> i64 {
    let (least, most) = (theirs_ms - after_ms, theirs_ms + 999 - before_ms);
    if least > 0 { least } else { most.min(0) }
}

fn skewed(name: &str, ahead_ms: i64) -> Option<Fault> {
    let side = if ahead_ms > 0 { "behind" } else { "ahead of" };
    let found = format!("this machine is {} s {side} {name}", ahead_ms.abs() / 1_000);
    let why = "from 5 minutes on AWS refuses what it signs, and --since and the 34 days of replay are counted by it";
    (ahead_ms.abs() > SKEW_MAX_MS)
        .then(|| Fault::new(found, format!("set this machine's clock (timedatectl set-ntp true): {why}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_holds_both_keys_and_not_what_the_stack_put_there() {
        let of = |text: &str| keys(&json!({"SecretString": text})).map(|_| ()).map_err(|fault| fault.found);
        assert_eq!(of(r#"{"access_key_id":"a","api_secret":"b"}"#), Ok(()));
        assert!(of(r#"{"access_key_id":"not-set","api_secret":"x"}"#).unwrap_err().contains("as the stack made it"));
        for text in ["", "plain", r#"{"access_key_id":"a"}"#, r#"{"access_key_id":"a","api_secret":""}"#] {
            assert!(of(text).unwrap_err().contains("does not hold both"), "{text}");
        }
        assert!(keys(&json!({"SecretBinary": "AA=="})).is_err());
    }

    #[test]
    fn a_clock_is_off_by_what_is_certain_and_no_more() {
        for (theirs_ms, asked, expected) in [
            (10_000, (10_000, 10_500), 0),
            (10_000, (10_999, 11_500), 0),
            (10_000, (70_999, 71_500), -60_000),
            (130_000, (9_000, 10_000), 120_000),
        ] {
            assert_eq!(difference_ms(theirs_ms, asked), expected, "{theirs_ms} {asked:?}");
        }
        assert_eq!((skewed("m3ter", 60_000), skewed("m3ter", -60_000)), (None, None));
        assert!(skewed("m3ter", 61_000).unwrap().found.contains("61 s behind m3ter"));
        assert!(skewed("AWS", -400_000).unwrap().found.contains("400 s ahead of AWS"));
    }

    #[test]
    fn a_dead_letter_queue_lies_beside_its_queue() {
        let arn = "arn:aws:sqs:eu-west-1:123456789012:dead";
        for (url, expected) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/usage", "https://sqs.eu-west-1.amazonaws.com/123456789012/dead"),
            ("http://127.0.0.1:4566/000000000000/usage", "http://127.0.0.1:4566/123456789012/dead"),
        ] {
            assert_eq!(url_of(url, arn), expected);
        }
    }
}
