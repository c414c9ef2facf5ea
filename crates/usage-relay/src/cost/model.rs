//! From a load to a bill, by arithmetic alone.
//!
//! The stack is `template.yaml` with its defaults: what it says is repeated in [`stack`], and a test holds the two together. What AWS
//! does not publish, or nobody can know, is in [`assumed`], and every answer says it: how the pollers gather messages, how fast m3ter
//! answers, how well a ledger packs.
//!
//! Averages of a load that comes evenly. Absent: bursts, failures and what is sent again, quarantine, replay, reading by operators.

use super::measured::Cpu;
use super::prices as price;

/// Seconds of a month: 730 hours, as AWS's own calculator has it.
pub(super) const MONTH_S: f64 = 730.0 * 3_600.0;

/// `template.yaml`, as far as it costs.
pub(super) mod stack {
    /// Parameter BatchingWindowSeconds.
    pub(crate) const WINDOW_S: f64 = 20.0;
    /// BatchSize of the queue's mapping.
    pub(crate) const BATCH_MESSAGES_MAX: f64 = 10_000.0;
    /// Parameter MaximumConcurrency.
    pub(crate) const CONCURRENCY: f64 = 4.0;
    /// The same of the dead-letter queue's mapping.
    pub(crate) const DEAD_LETTER_CONCURRENCY: f64 = 2.0;
    /// The same of the mapping of the queue of files.
    pub(crate) const UPLOAD_CONCURRENCY: f64 = 2.0;
    /// Parameter BatchesInFlight.
    pub(crate) const BATCHES_IN_FLIGHT: f64 = 4.0;
    /// Parameter RequestsPerSecond.
    pub(crate) const REQUESTS_PER_SECOND: f64 = 16.0;
    /// MemorySize of ingest-relay, in MB.
    pub(crate) const MEMORY_MB: u32 = 256;
    /// MemorySize of ingest-watch, in MB.
    pub(crate) const WATCH_MEMORY_MB: f64 = 512.0;
    /// Parameter WatchMinutes.
    pub(crate) const WATCH_MINUTES: f64 = 5.0;
    /// Parameter LedgerRetentionDays.
    pub(crate) const LEDGER_DAYS: f64 = 400.0;
    /// When the ledger moves to Standard-IA.
    pub(crate) const LEDGER_MOVES_AFTER_DAYS: f64 = 30.0;
    /// Alarms.
    pub(crate) const ALARMS: f64 = 41.0;
    /// Metrics of ingest-relay and ingest-watch, and one more of ingest-watch for a meter. (Those of dead-letter and bulk-upload
    /// cost something only while they have something to do.)
    pub(crate) const METRICS: f64 = 33.0 + 22.0 + 1.0;
}

/// What is taken for granted. The source is named where there is one.
pub(super) mod assumed {
    /// Messages that a producer sends in one call, as `usage-relay send` does. The most that SQS takes.
    pub(crate) const SENT_TOGETHER: f64 = 10.0;
    /// Seconds that a poller takes for one call that brings something: what has come since, it brings.
    pub(crate) const RECEIVE_S: f64 = 0.02;
    /// Seconds that a poller waits where nothing comes. The most that SQS allows.
    pub(crate) const RECEIVE_WAIT_S: f64 = 20.0;
    /// Bytes of an event that are not its bodies, for each record: ids, attributes, a receipt handle. Measured by `make bench`.
    pub(crate) const RECORD_BYTES: f64 = 850.0;
    /// How much longer a body is in an event, where its quotes are escaped. Measured by `make bench`.
    pub(crate) const ESCAPED: f64 = 1.13;
    /// Seconds until m3ter answers a request.
    pub(crate) const M3TER_ANSWER_S: f64 = 0.1;
    /// Seconds until S3 answers the ledger's PUT.
    pub(crate) const S3_ANSWER_S: f64 = 0.03;
    /// Bytes of one line of the ledger, packed, mode full. Measured with measurements of 250 bytes and random uids.
    pub(crate) const LEDGER_BYTES: f64 = 95.0;
    /// Bytes of log for an invocation: its own line, and Lambda's about its start and end. Measured.
    pub(crate) const LOG_BYTES: f64 = 2_900.0;
    /// Seconds of one look of ingest-watch.
    pub(crate) const WATCH_S: f64 = 2.0;
    /// What it writes to the store and lists there, and what it reads, in one look.
    pub(crate) const WATCH_CALLS: [f64; 2] = [5.0, 15.0];
    /// How often an environment reads the secret in a month: once an hour, when it is new.
    pub(crate) const SECRET_READS: f64 = 730.0;
}

/// Most bytes of one message and of one SendMessageBatch or ReceiveMessage. Source: the SQS developer guide, message quotas.
pub(super) const MESSAGE_BYTES_MAX: f64 = 1_048_576.0;
/// Most bytes of an event. Source: the Lambda developer guide, quotas: 6 MB.
const EVENT_BYTES_MAX: f64 = 6.0 * 1_048_576.0;
/// Messages in one receive or delete. Source: the SQS API reference.
const CALL_MESSAGES_MAX: f64 = 10.0;
/// Measurements in one request to m3ter, and bytes of its body. Source: relay-core's limits.
const REQUEST_MEASUREMENTS_MAX: f64 = relay_core::limits::BATCH_MEASUREMENTS_MAX as f64;
const REQUEST_BYTES_MAX: f64 = relay_core::limits::BATCH_BYTES_MAX as f64;
/// Memory at which a function has one core, in MB. Source: the Lambda developer guide, memory.
const CORE_MB: f64 = 1_769.0;
/// Smallest object that moves to Standard-IA by itself, in bytes. Source: the S3 user guide, lifecycle transitions.
const MOVES_FROM_BYTES: f64 = 131_072.0;
const GB: f64 = 1_000_000_000.0;
const MB_IN_GB: f64 = 1_024.0;

/// What comes in, and what it runs on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Load {
    /// Measurements a second.
    pub(super) per_second: f64,
    /// Measurements in a message.
    pub(super) per_message: f64,
    /// Bytes of a measurement.
    pub(super) bytes: f64,
    /// Memory of the function, in MB.
    pub(super) memory_mb: f64,
    /// Dollars for a second with 1 GB.
    pub(super) gb_second: f64,
}

/// One invocation, on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Invocation {
    /// A second.
    pub(super) per_second: f64,
    /// Messages in it.
    pub(super) messages: f64,
    /// Measurements in it.
    pub(super) measurements: f64,
    /// Requests to m3ter.
    pub(super) requests: f64,
    /// Processor time on a whole core, in milliseconds.
    pub(super) cpu_ms: f64,
    /// What is billed, in milliseconds.
    pub(super) billed_ms: f64,
}

/// One line of the bill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Part {
    /// In JSON.
    pub(super) name: &'static str,
    /// For people.
    pub(super) title: &'static str,
    /// A month.
    pub(super) dollars: f64,
}

impl Load {
    fn messages_per_second(&self) -> f64 {
        self.per_second / self.per_message
    }

    /// A message of one measurement is that; more are `{"measurements":[…]}`.
    pub(super) fn message_bytes(&self) -> f64 {
        if self.per_message > 1.0 { self.per_message * (self.bytes + 1.0) + 18.0 } else { self.bytes }
    }

    /// One invocation of a function that takes `cpu`, with a ledger object to write or without.
    pub(super) fn invocation(&self, cpu: Cpu, has_ledger: bool) -> Invocation {
        let arrive = self.messages_per_second();
        let record_bytes = assumed::RECORD_BYTES + assumed::ESCAPED * self.message_bytes();
        // A poller's window opens with a message and gathers that poller's share.
        let gathered = 1.0 + arrive / stack::CONCURRENCY * stack::WINDOW_S;
        let messages = gathered.min(stack::BATCH_MESSAGES_MAX).min((EVENT_BYTES_MAX / record_bytes).floor().max(1.0));
        let measurements = messages * self.per_message;
        let by_bytes = measurements * (self.bytes + 1.0) / REQUEST_BYTES_MAX;
        let requests = (measurements / REQUEST_MEASUREMENTS_MAX).max(by_bytes).ceil();
        let waits_s = (requests / stack::BATCHES_IN_FLIGHT).ceil() * assumed::M3TER_ANSWER_S
            + if has_ledger { assumed::S3_ANSWER_S } else { 0.0 };
        let cpu_ms = cpu.invocation(messages, measurements, self.bytes) / 1_000.0;
        let share = (self.memory_mb / CORE_MB).min(1.0);
        // What waits for m3ter works on nothing else, and what works waits for nothing: the dearer reading.
        let billed_ms = (cpu_ms / share + waits_s * 1_000.0).ceil();
        Invocation { per_second: arrive / messages, messages, measurements, requests, cpu_ms, billed_ms }
    }

    /// What Lambda charges for those invocations in a month: for their number, and for their time.
    pub(super) fn lambda(&self, invocation: &Invocation) -> [f64; 2] {
        let invocations = invocation.per_second * MONTH_S;
        let gb_seconds = invocations * invocation.billed_ms / 1_000.0 * self.memory_mb / MB_IN_GB;
        [invocations * price::LAMBDA_REQUEST, gb_seconds * self.gb_second]
    }

    /// The whole bill of a month.
    pub(super) fn bill(&self, invocation: &Invocation) -> Vec<Part> {
        let part = |name, title, dollars| Part { name, title, dollars };
        let [sends, receives, deletes] = self.queue(invocation);
        let [invocations, time] = self.lambda(invocation);
        let [written, kept] = self.ledger(invocation);
        let (watch, looks) = self.watch();
        let logs_gb = (invocation.per_second * MONTH_S + looks) * assumed::LOG_BYTES / GB;
        let metrics = stack::METRICS * price::METRIC + stack::ALARMS * price::ALARM + price::DASHBOARD;
        let secret_reads = looks + stack::CONCURRENCY * assumed::SECRET_READS;
        let out_gb = self.per_second * MONTH_S * (self.bytes + 1.0) / GB;
        vec![
            part("sqs_sends", "SQS, sends", sends),
            part("sqs_receives", "SQS, receives", receives),
            part("sqs_deletes", "SQS, deletes", deletes),
            part("lambda_requests", "Lambda, invocations", invocations),
            part("lambda_time", "Lambda, time", time),
            part("ledger_puts", "S3, ledger objects written", written),
            part("ledger_storage", "S3, ledger kept for 400 days", kept),
            part("logs", "CloudWatch, logs", logs_gb * price::LOG_GB),
            part("metrics", "CloudWatch, metrics, alarms, dashboard", metrics),
            part("secret", "Secrets Manager", price::SECRET + secret_reads * price::SECRET_READ),
            part("watch", "ingest-watch, and waiting for dead letters and files", watch),
            part("data_out", "Data out to m3ter, if that is the internet", out_gb * price::DATA_OUT_GB),
        ]
    }

    /// SQS's requests: sends, receives, deletes.
    fn queue(&self, invocation: &Invocation) -> [f64; 3] {
        let (arrive, bytes) = (self.messages_per_second(), self.message_bytes());
        // So many together that they fit into one call; then by chunks of what they weigh.
        let requests = |together: f64| {
            let together = together.min((MESSAGE_BYTES_MAX / bytes).floor()).max(1.0);
            (together * bytes / price::SQS_CHUNK_BYTES).ceil() / together
        };
        let come = arrive / stack::CONCURRENCY * assumed::RECEIVE_S;
        let receives = arrive * requests(come.clamp(1.0, CALL_MESSAGES_MAX).floor());
        let waits = stack::CONCURRENCY / assumed::RECEIVE_WAIT_S;
        let deletes = invocation.per_second * (invocation.messages / CALL_MESSAGES_MAX).ceil();
        [arrive * requests(assumed::SENT_TOGETHER), receives.max(waits), deletes]
            .map(|a_second| a_second * MONTH_S * price::SQS_REQUEST)
    }

    /// The ledger's objects: written, and kept once the oldest are deleted.
    fn ledger(&self, invocation: &Invocation) -> [f64; 2] {
        let (objects, bytes) = (invocation.per_second * MONTH_S, invocation.measurements * assumed::LEDGER_BYTES);
        let gb_a_day = objects * bytes / GB / (MONTH_S / 86_400.0);
        let (moved_days, moves) = match bytes >= MOVES_FROM_BYTES {
            true => (stack::LEDGER_DAYS - stack::LEDGER_MOVES_AFTER_DAYS, objects * price::S3_IA_MOVE),
            false => (0.0, 0.0),
        };
        let kept = (stack::LEDGER_DAYS - moved_days) * price::S3_GB_MONTH + moved_days * price::S3_IA_GB_MONTH;
        [objects * price::S3_PUT, gb_a_day * kept + moves]
    }

    /// ingest-watch and the pollers of dead letters and files, in dollars; and how often ingest-watch looks.
    fn watch(&self) -> (f64, f64) {
        let looks = MONTH_S / 60.0 / stack::WATCH_MINUTES;
        let gb_seconds = looks * assumed::WATCH_S * stack::WATCH_MEMORY_MB / MB_IN_GB;
        let [writes, reads] = assumed::WATCH_CALLS;
        let store = looks * (writes * price::S3_PUT + reads * price::S3_GET);
        let pollers = stack::DEAD_LETTER_CONCURRENCY + stack::UPLOAD_CONCURRENCY;
        let polls = pollers / assumed::RECEIVE_WAIT_S * MONTH_S * price::SQS_REQUEST;
        (looks * price::LAMBDA_REQUEST + gb_seconds * self.gb_second + store + polls, looks)
    }
}

impl Invocation {
    /// Requests to m3ter in a second.
    pub(super) fn requests_per_second(&self) -> f64 {
        self.per_second * self.requests
    }

    /// How many run at once.
    pub(super) fn at_once(&self) -> f64 {
        self.per_second * self.billed_ms / 1_000.0
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
