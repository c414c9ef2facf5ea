//! What producers send: measurements whose every text is a canary, and the bodies they travel in.

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use m3ter_sandbox::Sandbox;
use runtime_api::{Record, SqsEvent};
use serde_json::{Value, json};

/// Stands in every body, account, uid and secret, and in nothing that may be printed.
pub(crate) const CANARY: &str = "canary";

/// The one meter there is.
pub(crate) const METER: &str = "api";

/// Makes measurements of one time, an hour before the test.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    ts: String,
}

impl Producer {
    pub(crate) fn at(sandbox: &Sandbox) -> Producer {
        Producer { ts: timestamp(sandbox, -3_600) }
    }

    /// A measurement that passes every check, in its smallest form. Its uid is [`uid`]`(name)`.
    pub(crate) fn small(&self, name: &str) -> Value {
        json!({"uid": uid(name), "meter": METER, "account": "canary-account", "ts": self.ts, "measure": {"calls": 1}})
    }

    /// The same with a text of its own.
    pub(crate) fn good(&self, name: &str) -> Value {
        but(self.small(name), "metadata", json!({"note": format!("canary-note-{name}")}))
    }

    /// `count` of them; the uids are `name-0` and so on.
    pub(crate) fn many(&self, name: &str, count: usize) -> Vec<Value> {
        (0..count).map(|number| self.good(&format!("{name}-{number}"))).collect()
    }

    /// One that guard refuses as `MeterMissing`.
    pub(crate) fn bad(&self, name: &str) -> Value {
        but(self.good(name), "meter", Value::Null)
    }
}

/// The uid of the measurement `name`.
pub(crate) fn uid(name: &str) -> String {
    format!("canary-uid-{name}")
}

/// The sandbox's time `after_s` seconds from now, as text with whole seconds.
pub(crate) fn timestamp(sandbox: &Sandbox, after_s: i64) -> String {
    let by = Duration::from_secs(after_s.unsigned_abs());
    let at = if after_s < 0 { sandbox.now().checked_sub(by) } else { sandbox.now().checked_add(by) };
    format!("{:.0}", at.unwrap())
}

/// The same with another value under `key`.
pub(crate) fn but(mut measurement: Value, key: &str, value: Value) -> Value {
    measurement[key] = value;
    measurement
}

/// A body as the API takes it.
pub(crate) fn body(measurements: &[Value]) -> String {
    json!({ "measurements": measurements }).to_string()
}

/// An event of ordinary messages on their first delivery.
pub(crate) fn event<B: Into<String>>(bodies: impl IntoIterator<Item = B>) -> SqsEvent {
    redelivery(bodies, 1)
}

/// The same messages on a later delivery.
pub(crate) fn redelivery<B: Into<String>>(bodies: impl IntoIterator<Item = B>, receives: u32) -> SqsEvent {
    SqsEvent::builder().bodies(bodies).receives(receives).build().unwrap()
}

/// An event of any records.
pub(crate) fn event_of(records: impl IntoIterator<Item = Record>) -> SqsEvent {
    SqsEvent::builder().records(records).build().unwrap()
}

/// A message whose body is compressed, and says so.
pub(crate) fn gzipped(text: &str) -> Record {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    Record::new(BASE64_STANDARD.encode(gzip.finish().unwrap())).attribute("Content-Encoding", "gzip")
}
