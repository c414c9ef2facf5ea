//! A store in a folder, with what the relay would have written, and the commands over it.
//!
//! The commands read the clock of this machine, so what is given lies in a fixed past: entries that are inside m3ter's window
//! whatever the day are those that were never sent, and those whose first send lies ahead, which a wrong clock can write.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use relay_core::inbound::{Attribute, Origin};
use relay_store::{
    Act, EntryText, LedgerAnswer, LedgerMode, LedgerWrite, NewEntry, NewLine, Outcome, S3Access, Store, StoredCatalogue,
    quarantine_id,
};
use serde_json::Value;
use uuid::Uuid;

use crate::queue_stub::QueueStub;

/// 2026-06-01T00:00:00Z in milliseconds since the epoch.
pub(crate) const START_MS: i64 = 1_780_272_000_000;
/// 2100-01-01T00:00:00Z: inside the window whatever the day.
pub(crate) const AHEAD_MS: i64 = 4_102_444_800_000;

/// A store that ends with the test.
pub(crate) struct Given {
    pub(crate) folder: tempfile::TempDir,
    store: Store,
    runtime: tokio::runtime::Runtime,
    written: std::cell::Cell<i64>,
}

impl Given {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file://{}", folder.path().display()), &S3Access::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { folder, store, runtime, written: std::cell::Cell::new(0) }
    }

    fn next_ms(&self) -> i64 {
        self.written.set(self.written.get() + 1);
        START_MS + self.written.get() * 60_000
    }

    /// Writes one object of the quarantine.
    pub(crate) fn quarantine(&self, entries: Vec<NewEntry<'_>>) {
        let now_ms = self.next_ms();
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        self.runtime.block_on(self.store.quarantine(&format!("i-{now_ms}"), now_ms, entries, until)).unwrap();
    }

    /// Writes one ledger object of these uids.
    pub(crate) fn ledger(&self, lines: &[(&str, LedgerAnswer, Option<&str>)]) {
        let now_ms = self.next_ms();
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        let lines = lines.iter().map(|(uid, answer, origin)| NewLine {
            uid,
            meter: "api",
            account: "acme",
            ts: "2026-05-31T00:00:00Z",
            ts_ms: START_MS,
            batch: 1,
            message_id: "m-9",
            queued_at_ms: Some(now_ms - 20_000),
            sent_at_ms: now_ms,
            attempts: 1,
            receives: 1,
            answer: *answer,
            origin: origin.and_then(Origin::parse),
            text: "{}",
        });
        let mode = (LedgerMode::Full, LedgerWrite::Required);
        self.runtime.block_on(self.store.record(mode, &format!("i-{now_ms}"), now_ms, lines, until)).unwrap();
    }

    /// Writes one ledger object of these measurements, accepted, each as it is. Their time is 2026-05-31.
    pub(crate) fn ledger_of(&self, mode: LedgerMode, measurements: &[Value]) {
        let now_ms = self.next_ms();
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        let texts: Vec<String> = measurements.iter().map(Value::to_string).collect();
        let lines = measurements.iter().zip(&texts).map(|(one, text)| NewLine {
            uid: one["uid"].as_str().unwrap(),
            meter: one["meter"].as_str().unwrap(),
            account: one["account"].as_str().unwrap(),
            ts: one["ts"].as_str().unwrap(),
            ts_ms: START_MS - 86_400_000,
            batch: 1,
            message_id: "m-9",
            queued_at_ms: Some(now_ms - 20_000),
            sent_at_ms: now_ms,
            attempts: 1,
            receives: 1,
            answer: LedgerAnswer::Accepted,
            origin: None,
            text,
        });
        let mode = (mode, LedgerWrite::Required);
        self.runtime.block_on(self.store.record(mode, &format!("i-{now_ms}"), now_ms, lines, until)).unwrap();
    }

    /// Writes the catalogue.
    pub(crate) fn catalogue(&self, catalogue: &StoredCatalogue) {
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        self.runtime.block_on(self.store.put_catalogue(catalogue, false, until)).unwrap();
    }

    /// Writes what m3ter said of this uid later, and was acted on.
    pub(crate) fn act(&self, uid: &str, kind: &str, outcome: Outcome) {
        let event_at = self.next_ms();
        let (meter, account, reason, qid) = Default::default();
        let (event, r#type, uid) = (format!("e-{event_at}"), kind.to_owned(), Some(uid.to_owned()));
        let act = Act { event, event_at, r#type, outcome, uid, meter, account, reason, qid };
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        self.runtime.block_on(self.store.put_acts(&format!("p-{event_at}"), event_at, &[act], until)).unwrap();
    }

    /// Writes that all of m3ter's events were read, until so long after what was written last.
    pub(crate) fn events_read(&self, later_ms: i64) {
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        let cursor = serde_json::json!({"read_to": START_MS + self.written.get() * 60_000 + later_ms});
        self.runtime.block_on(self.store.put_document("watch/v1/cursor.json", &cursor, until)).unwrap();
    }

    /// Writes a marker of sending again that holds nobody up any more: from a clock that is far ahead, and so none that makes
    /// the entry older. The store has had it since the beginning.
    pub(crate) fn old_claim(&self, qid: Uuid, name: &str) {
        let folder = self.folder.path().join(format!("actions/v1/{qid}"));
        std::fs::create_dir_all(&folder).unwrap();
        let marker = format!("{{\"action\":\"replay\",\"at\":{AHEAD_MS},\"run\":\"{}\"}}", Uuid::nil());
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, marker).unwrap();
        let start = std::time::UNIX_EPOCH + Duration::from_millis(START_MS.unsigned_abs());
        std::fs::File::options().write(true).open(path).unwrap().set_modified(start).unwrap();
    }

    /// The names of the markers of an entry, sorted.
    pub(crate) fn markers(&self, qid: Uuid) -> Vec<String> {
        let Ok(read) = std::fs::read_dir(self.folder.path().join(format!("actions/v1/{qid}"))) else { return Vec::new() };
        let mut names: Vec<String> = read.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A marker, as it lies there.
    pub(crate) fn marker(&self, qid: Uuid, name: &str) -> Value {
        let path = self.folder.path().join(format!("actions/v1/{qid}/{name}.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// A file beside the store.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A command over the store, as far back as it reaches.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = self.plain_command(words);
        command.args(["--since", "2026-05-30"]);
        command
    }

    /// A command over the store, without more.
    pub(crate) fn plain_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
        command.env_clear().args(words).stdin(Stdio::null());
        command.env("STORE_URL", format!("file://{}", self.folder.path().display())).env("USER", "ada");
        command
    }

    /// What it says without more.
    pub(crate) fn run_plain(&self, words: &[&str]) -> Output {
        self.plain_command(words).output().unwrap()
    }

    /// What it says.
    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same with a queue.
    pub(crate) fn run_with(&self, queue: &QueueStub, words: &[&str]) -> Output {
        self.sending(queue, words).output().unwrap()
    }

    /// A command that sends.
    pub(crate) fn sending(&self, queue: &QueueStub, words: &[&str]) -> Command {
        let mut command = self.command(words);
        command.env("AWS_ENDPOINT_URL", queue.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "eu-west-1");
        command.args(["--queue-url", &queue.queue_url()]);
        command
    }
}

/// A good measurement of this uid.
pub(crate) fn measurement(uid: &str) -> String {
    format!(r#"{{"uid":"{uid}","meter":"api","account":"acme","ts":"2026-05-31T00:00:00Z","measure":{{"calls": 1.50}}}}"#)
}

/// The entry that keeps `text`, known by its uid: refused by m3ter, inside the window.
pub(crate) fn entry<'a>(uid: &'a str, text: &'a str) -> NewEntry<'a> {
    NewEntry {
        qid: None,
        uid: Some(uid),
        reason: "RefusedByApi",
        detail: "expected m3ter to accept it",
        stage: "submit",
        first_sent_at_ms: Some(AHEAD_MS),
        message_id: uid,
        position: 0,
        source: "arn:queue",
        attributes: vec![Attribute { name: "note", data_type: "String", value: "x" }],
        queued_at_ms: Some(START_MS),
        first_received_at_ms: None,
        receives: 1,
        origin: None,
        text: EntryText::Measurement(text),
    }
}

/// The entry that keeps `text`, which m3ter accepted and rejected later for `reason`, known by `name`; sent again from `of`.
pub(crate) fn rejected<'a>(name: &'a str, text: &'a str, reason: &'a str, of: Option<&'a str>) -> NewEntry<'a> {
    let origin = of.and_then(Origin::parse);
    NewEntry { message_id: name, stage: "ingest", reason, detail: "in m3ter's words", origin, ..entry("u-1", text) }
}

/// Its id.
pub(crate) fn qid(uid: &str) -> Uuid {
    quarantine_id("arn:queue", uid, 0)
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The line of JSON it printed, having ended with `code`.
pub(crate) fn json(output: &Output, code: i32) -> Value {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    let read = serde_json::from_slice(&output.stdout);
    assert!(read.is_ok(), "{output:?}");
    read.unwrap()
}
