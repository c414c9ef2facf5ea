//! What facts come to: nothing, or what is to be mended, and how.
//!
//! Pure: facts in, what to say out. What is expected of each thing, and why, stands in template.yaml beside it; numbers that the
//! relay itself goes by come from `relay-core`. A queue of one's own, which no template made, is held to the same.

use std::collections::BTreeMap;

use relay_core::backoff::before_delivery;
use relay_core::limits::{DAY_MS, EXHAUST_AFTER_DAYS_MAX, RECEIVES_MAX};
use serde_json::Value;

use super::line::Fault;
use crate::figures::{counted, grouped};

/// The longest that SQS keeps a message: 14 days.
const RETENTION_S: u64 = 1_209_600;
/// AWS's rule for a queue that feeds a function: six of its time-outs, and the window. Source: Lambda's guide, "Using Lambda with SQS".
const TIMEOUTS: u64 = 6;
/// The fewest messages that an invocation should be able to take: as many as m3ter takes measurements in a request.
const BATCH_LEAST: u64 = 1_000;
/// A day in seconds.
const DAY_S: u64 = 86_400;

/// What was found, and what is to be mended.
pub(super) type Judged = (String, Vec<Fault>);

/// What a queue says of itself, by SQS's names.
pub(super) type Attributes = BTreeMap<String, String>;

/// What the function is set to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Settings {
    /// Its time-out, in seconds.
    pub(super) timeout_s: u64,
    variables: BTreeMap<String, String>,
}

impl Settings {
    /// Read off Lambda's configuration of it.
    pub(super) fn of(configuration: &Value) -> Self {
        let variables = configuration.pointer("/Environment/Variables").and_then(Value::as_object);
        let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
        Self {
            timeout_s: configuration.get("Timeout").and_then(Value::as_u64).unwrap_or_default(),
            variables: variables.into_iter().flatten().filter_map(text).collect(),
        }
    }

    /// The setting `name`, if it is there.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.get(name).and_then(|value| value.trim().parse().ok()).unwrap_or(otherwise)
    }
}

/// The settings without which it is not the relay's function.
pub(super) const NEEDED: [&str; 4] = ["M3TER_ORG_ID", "M3TER_SECRET_ARN", "STORE_URL", "QUEUE_URL"];

/// The function, as Lambda describes it.
pub(super) fn function(configuration: &Value) -> Judged {
    let settings = Settings::of(configuration);
    let text = |name: &str| configuration.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut faults = Vec::new();
    if !matches!(text("State"), "" | "Active" | "Inactive") {
        let reason = text("StateReason");
        faults.push(Fault::new(format!("it is {} {reason}", text("State")), "wait until it is Active, or deploy it again"));
    }
    if text("LastUpdateStatus") == "Failed" {
        faults.push(Fault::new(format!("its last update failed: {}", text("LastUpdateStatusReason")), "deploy it again"));
    }
    let missing: Vec<&str> = NEEDED.into_iter().filter(|name| settings.get(name).is_none()).collect();
    if !missing.is_empty() {
        let found = format!("it has no setting {}", missing.join(", "));
        faults.push(Fault::new(found, "expected the function that drains the queue: output FunctionName of the stack"));
    }
    (format!("{}, time-out {} s", state(text("State")), settings.timeout_s), faults)
}

/// Lambda calls a function inactive that was not invoked for weeks; it is started when it is.
fn state(state: &str) -> String {
    if state.is_empty() { "there".to_owned() } else { state.to_lowercase() }
}

/// Of `mappings`, which feed the function: that from its queue.
pub(super) fn from_queue<'m>(mappings: &'m [Value], settings: &Settings) -> Option<&'m Value> {
    let wanted = settings.get("QUEUE_URL")?.rsplit('/').next()?;
    mappings.iter().find(|mapping| source_of(mapping).rsplit(':').next() == Some(wanted))
}

fn source_of(mapping: &Value) -> &str {
    mapping.get("EventSourceArn").and_then(Value::as_str).unwrap_or_default()
}

/// Seconds that Lambda gathers messages for.
pub(super) fn window_s(mapping: &Value) -> u64 {
    mapping.get("MaximumBatchingWindowInSeconds").and_then(Value::as_u64).unwrap_or_default()
}

/// The mapping from the queue to the function.
pub(super) fn mapping(mapping: &Value, settings: &Settings) -> Judged {
    let number = |name: &str| mapping.get(name).and_then(Value::as_u64);
    let (batch, window_s) = (number("BatchSize").unwrap_or_default(), window_s(mapping));
    let concurrency = mapping.pointer("/ScalingConfig/MaximumConcurrency").and_then(Value::as_u64);
    let mut faults = disabled(mapping).into_iter().collect::<Vec<_>>();
    let types = mapping.get("FunctionResponseTypes").and_then(Value::as_array);
    if !types.is_some_and(|types| types.iter().any(|one| one == "ReportBatchItemFailures")) {
        let found = "it has no ReportBatchItemFailures, so Lambda deletes messages that the relay asks to keep";
        faults.push(Fault::new(found, "set FunctionResponseTypes to ReportBatchItemFailures, now: messages are being lost"));
    }
    if batch < BATCH_LEAST {
        let found = format!("an invocation gets at most {}", counted(batch, "message"));
        faults.push(Fault::new(found, "set BatchSize to 10000: small batches cost a request to m3ter each"));
    }
    if window_s == 0 {
        let found = "it has no batching window, so light traffic goes in batches of one";
        faults.push(Fault::new(found, "set MaximumBatchingWindowInSeconds to 20"));
    }
    let share = settings.number("MAXIMUM_CONCURRENCY", 4);
    if concurrency != Some(share) {
        let is = concurrency.map_or("no MaximumConcurrency".to_owned(), |most| format!("MaximumConcurrency {most}"));
        let found = format!("it has {is}, and each invocation keeps to 1/{share} of RequestsPerSecond");
        faults.push(Fault::new(
            found,
            format!("set ScalingConfig.MaximumConcurrency to {share}, or the stack's MaximumConcurrency"),
        ));
    }
    if let Some(problem) = mapping.get("LastProcessingResult").and_then(Value::as_str).filter(|said| said.starts_with("PROBLEM"))
    {
        faults.push(Fault::new(format!("Lambda says {problem}"), "look at the function's role and at its log"));
    }
    (
        format!("enabled, up to {} or {window_s} s, {share} at a time, failures reported one by one", counted(batch, "message")),
        faults,
    )
}

fn disabled(mapping: &Value) -> Option<Fault> {
    let text = |name: &str| mapping.get(name).and_then(Value::as_str).unwrap_or_default();
    let state = text("State");
    let reason = text("StateTransitionReason");
    match state {
        "Enabled" | "Updating" => None,
        "Creating" | "Enabling" => Some(Fault::new(format!("it is {state}"), "wait a minute and look again")),
        _ => {
            let mend = format!("enable it: aws lambda update-event-source-mapping --enabled --uuid {}", text("UUID"));
            Some(Fault::new(format!("it is {state}, so the queue only fills ({reason})"), mend))
        }
    }
}

/// The name of the function that `mapping` feeds.
pub(super) fn fed(mapping: &Value) -> &str {
    let arn = mapping.get("FunctionArn").and_then(Value::as_str).unwrap_or_default();
    // Its version or alias may follow.
    arn.split(':').nth(6).unwrap_or_default()
}

/// Of `mappings`, those that take messages, or will in a moment.
fn taking(mappings: &[Value]) -> impl Iterator<Item = &Value> {
    let is_off = |mapping: &Value| {
        let state = mapping.get("State").and_then(Value::as_str);
        matches!(state, Some("Disabled" | "Disabling" | "Deleting"))
    };
    mappings.iter().filter(move |mapping| !is_off(mapping))
}

/// Of the `mappings` of a queue: that which drains it.
pub(super) fn drain(mappings: &[Value]) -> Option<&Value> {
    mappings.iter().find(|mapping| disabled(mapping).is_none())
}

/// Whoever else than `own` takes messages from a queue with these `mappings`.
pub(super) fn others(mappings: &[Value], own: &str) -> Vec<Fault> {
    let fault = |mapping: &Value| {
        let id = mapping.get("UUID").and_then(Value::as_str).unwrap_or_default();
        let found = format!("{} takes messages from it, too, and {own} never gets those", fed(mapping));
        Fault::new(found, format!("disable its mapping: aws lambda update-event-source-mapping --no-enabled --uuid {id}"))
    };
    taking(mappings).filter(|mapping| fed(mapping) != own).map(fault).collect()
}

/// The queue of files and what feeds from it. Files are announced there; what it holds names files that are in the bucket.
pub(super) fn files(attributes: &Attributes, mappings: &[Value]) -> Judged {
    let drain = drain(mappings);
    let nothing = || Fault::new("nothing takes files from their queue", "deploy the stack again: it maps it to bulk-upload");
    let fault = drain.is_none().then(|| mappings.iter().find_map(disabled).unwrap_or_else(nothing));
    let found = format!(
        "their queue is drained by {}; {} waiting, {} in flight",
        drain.map(fed).unwrap_or_default(),
        grouped(number(attributes, "ApproximateNumberOfMessages")),
        grouped(number(attributes, "ApproximateNumberOfMessagesNotVisible")),
    );
    (found, fault.into_iter().collect())
}

/// A queue that is first in, first out feeds the relay nothing.
pub(super) fn fifo(name: &str) -> Option<Fault> {
    let is_fifo = name.ends_with(".fifo");
    let found =
        "it is a FIFO queue, which allows no batching window and ten messages a batch, and one late message holds up its group";
    is_fifo.then(|| Fault::new(found, "use a standard queue: m3ter needs no order"))
}

fn number(attributes: &Attributes, name: &str) -> u64 {
    attributes.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn name_of(attributes: &Attributes) -> &str {
    attributes.get("QueueArn").and_then(|arn| arn.rsplit(':').next()).unwrap_or_default()
}

/// What every queue of the relay's is held to.
fn any_queue(attributes: &Attributes) -> Vec<Fault> {
    let mut faults: Vec<Fault> = fifo(name_of(attributes)).into_iter().collect();
    let retention_s = number(attributes, "MessageRetentionPeriod");
    if retention_s < RETENTION_S {
        let found = format!("it keeps messages for {}", period(retention_s));
        faults.push(Fault::new(found, "set MessageRetentionPeriod to 1209600 (14 days): what is older is gone, and unbilled"));
    }
    let is_encrypted = attributes.get("SqsManagedSseEnabled").is_some_and(|value| value == "true")
        || attributes.get("KmsMasterKeyId").is_some_and(|key| !key.is_empty());
    if !is_encrypted {
        faults.push(Fault::new("it is not encrypted", "set SqsManagedSseEnabled to true, or KmsMasterKeyId"));
    }
    faults
}

/// A message must not come back while the function may still work on it.
fn comes_back_early(attributes: &Attributes, timeout_s: u64, window_s: u64) -> Option<Fault> {
    let visibility_s = number(attributes, "VisibilityTimeout");
    let least_s = TIMEOUTS * timeout_s + window_s;
    let found = format!("a message comes back after {visibility_s} s, while it may still be worked on");
    let sum = format!("6 x the time-out of {timeout_s} s + the window of {window_s} s");
    (visibility_s < least_s).then(|| Fault::new(found, format!("set VisibilityTimeout to {least_s} or more: {sum}")))
}

/// The queue, of which the function works with `window_s`.
pub(super) fn queue(attributes: &Attributes, settings: &Settings, window_s: u64) -> Judged {
    let mut faults = any_queue(attributes);
    let visibility_s = number(attributes, "VisibilityTimeout");
    faults.extend(comes_back_early(attributes, settings.timeout_s, window_s));
    let days = u32::try_from(settings.number("EXHAUST_AFTER_DAYS", u64::from(EXHAUST_AFTER_DAYS_MAX))).unwrap_or(u32::MAX);
    let least = receives_least(days);
    let receives = redrive(attributes).map(|(_, receives)| receives);
    match receives {
        None => {
            let mend =
                "set a RedrivePolicy with maxReceiveCount 1000 to the stack's dead-letter queue (output DeadLetterQueueUrl)";
            faults.push(Fault::new("it has no dead-letter queue, so what kills invocations does so for 14 days", mend));
        }
        Some(receives) if receives < least => {
            let found = format!("it gives a message up after {}", counted(receives, "receive"));
            let why = format!("an outage of m3ter uses up as many before the relay itself quarantines it, after {days} days");
            faults.push(Fault::new(found, format!("set maxReceiveCount to 1000 (at least {least}): {why}")));
        }
        Some(_) => {}
    }
    let found = format!(
        "standard, keeps {}, visible again after {visibility_s} s, given up after {}, up to {} bytes, encrypted; {} waiting, {} in flight",
        period(number(attributes, "MessageRetentionPeriod")),
        counted(receives.unwrap_or_default(), "receive"),
        grouped(number(attributes, "MaximumMessageSize")),
        grouped(number(attributes, "ApproximateNumberOfMessages")),
        grouped(number(attributes, "ApproximateNumberOfMessagesNotVisible")),
    );
    (found, faults)
}

/// The ARN of the dead-letter queue, and after how many receives a message goes there.
pub(super) fn redrive(attributes: &Attributes) -> Option<(String, u64)> {
    let policy: Value = serde_json::from_str(attributes.get("RedrivePolicy")?).ok()?;
    let receives = policy.get("maxReceiveCount")?;
    // Some write it as text.
    let receives = receives.as_u64().or_else(|| receives.as_str()?.parse().ok())?;
    Some((policy.get("deadLetterTargetArn")?.as_str()?.to_owned(), receives))
}

/// The fewest receives that a braked message cannot use up within `days`, however the jitter of the brake falls. What the queue waits
/// by itself counts as nothing; no more than SQS takes.
fn receives_least(days: u32) -> u64 {
    let limit_s = u64::from(days).saturating_mul(DAY_MS.unsigned_abs() / 1_000);
    let mut waited_s = 0;
    let enough = (1..RECEIVES_MAX).find(|receives| {
        waited_s += before_delivery(*receives, 0.0).map_or(0, u64::from);
        waited_s > limit_s
    });
    u64::from(enough.map_or(RECEIVES_MAX, |receives| receives + 1))
}

/// The dead-letter queue of `source`, and the `mappings` that drain it, of which the first is for a function with this time-out. `own`
/// is the stack's own function for it, where the stack is known.
pub(super) fn dead_letters(
    attributes: &Attributes,
    source: &Attributes,
    mappings: &[Value],
    own: Option<&str>,
    timeout_s: u64,
) -> Judged {
    let mut faults = any_queue(attributes);
    let (most, source_most) = (number(attributes, "MaximumMessageSize"), number(source, "MaximumMessageSize"));
    if most < source_most {
        let found = format!("it takes {} bytes, and the queue {}", grouped(most), grouped(source_most));
        faults.push(Fault::new(found, format!("set its MaximumMessageSize to {source_most}")));
    }
    let drain = drain(mappings);
    match drain {
        None => {
            let found = "nothing drains it, so what it holds is gone after 14 days";
            faults.push(Fault::new(found, "map it to the stack's dead-letter function (output DeadLetterFunctionName), enabled"));
        }
        Some(mapping) => faults.extend(comes_back_early(attributes, timeout_s, window_s(mapping))),
    }
    faults.extend(own.into_iter().flat_map(|own| others(mappings, own)));
    let waiting = number(attributes, "ApproximateNumberOfMessages");
    let in_flight = number(attributes, "ApproximateNumberOfMessagesNotVisible");
    if waiting + in_flight > 0 {
        let part = if in_flight > 0 { format!(" ({} in flight)", grouped(in_flight)) } else { String::new() };
        let found = format!("it holds {}{part}", counted(waiting + in_flight, "message"));
        let log = "look at the log of the dead-letter function (output DeadLetterLogGroupName)";
        faults.push(Fault::new(found, format!("they go to the quarantine within a minute; if not, {log}")));
    }
    let (kept, by) = (period(number(attributes, "MessageRetentionPeriod")), drain.map(fed).unwrap_or_default());
    (format!("keeps {kept}, drained by {by}, empty, encrypted"), faults)
}

/// Seconds as days where they are whole ones.
fn period(seconds: u64) -> String {
    if seconds > 0 && seconds.is_multiple_of(DAY_S) { counted(seconds / DAY_S, "day") } else { format!("{seconds} s") }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
