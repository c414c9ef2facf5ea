//! What is known outside the relay while a world runs: what m3ter took, what the store holds, what was requested.
//!
//! The stored objects are read by a reader of this file's own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::rejected::Acts;
use crate::told::Lines;

/// A line of the quarantine.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Entry {
    pub(crate) qid: String,
    pub(crate) reason: String,
    pub(crate) detail: String,
    pub(crate) stage: String,
    pub(crate) message_id: String,
    pub(crate) position: usize,
    pub(crate) source_arn: String,
    pub(crate) quarantined_at: i64,
    pub(crate) first_sent_at: Option<i64>,
    pub(crate) uid: Option<String>,
    measurement: Option<Box<RawValue>>,
    body: Option<String>,
}

impl Entry {
    /// What is kept.
    pub(crate) fn text(&self) -> &str {
        self.measurement.as_deref().map(RawValue::get).or(self.body.as_deref()).unwrap_or_default()
    }
}

/// The lines of a stored object.
pub(crate) fn entries(object: &[u8]) -> Result<Vec<Entry>, String> {
    let lines = zstd::stream::decode_all(object).map_err(|fault| fault.to_string())?;
    let lines = String::from_utf8(lines).map_err(|fault| fault.to_string())?;
    lines.lines().map(|line| serde_json::from_str(line).map_err(|fault| fault.to_string())).collect()
}

/// One request with a batch, as it left an environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) at_ms: i64,
    pub(crate) environment: u32,
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// By uid, every content that m3ter took.
    taken: HashMap<String, Vec<String>>,
    /// By trace, how many measurements m3ter took.
    taken_under: HashMap<String, u64>,
    /// By message and position, what the store holds.
    pub(crate) kept: BTreeMap<(String, usize), Vec<Entry>>,
    /// By invocation, how many entries it stored.
    pub(crate) kept_by: HashMap<String, u64>,
    /// What m3ter rejected, as the store holds it.
    pub(crate) rejected: Vec<Entry>,
    /// What was done about m3ter's events.
    pub(crate) acted: Acts,
    /// What the ledger says.
    pub(crate) told: Lines,
    /// Every request with a batch.
    pub(crate) asked: Vec<Asked>,
    /// Environments whose put failed because the store is down, and since when.
    pub(crate) warned: BTreeMap<u32, i64>,
    /// Environments that were not scheduled for a while: what waited inside them went out at once.
    pub(crate) stalled: BTreeSet<u32>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    measurements: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    uid: Option<String>,
}

/// The measurements of a request body, as written.
pub(crate) fn measurements(body: &[u8]) -> Result<Vec<&RawValue>, String> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|fault| fault.to_string())?;
    Ok(body.measurements)
}

/// The uid of a measurement.
pub(crate) fn uid(measurement: &str) -> Option<String> {
    serde_json::from_str::<Named>(measurement).ok()?.uid
}

impl Books {
    /// Enters a request that m3ter took.
    pub(crate) fn take(&mut self, trace: Option<&str>, body: &[u8]) {
        let taken = measurements(body).unwrap_or_default();
        if let Some(trace) = trace.and_then(|trace| trace.get(3..35)) {
            *self.taken_under.entry(trace.to_owned()).or_default() += taken.len() as u64;
        }
        for measurement in taken {
            let text = measurement.get();
            let texts = self.taken.entry(uid(text).unwrap_or_default()).or_default();
            if !texts.iter().any(|other| other == text) {
                texts.push(text.to_owned());
            }
        }
    }

    /// Every content that m3ter took under a uid.
    pub(crate) fn taken(&self, uid: &str) -> &[String] {
        self.taken.get(uid).map_or(&[], Vec::as_slice)
    }

    /// How many measurements m3ter took in requests of an invocation.
    pub(crate) fn taken_under(&self, request_id: &str) -> u64 {
        self.taken_under.get(&request_id.replace('-', "")).copied().unwrap_or(0)
    }

    /// Enters a stored object. Gives back how many lines it holds.
    pub(crate) fn store(&mut self, name: &str, object: &[u8]) -> Result<u64, String> {
        match name.split('/').nth(1) {
            Some("quarantine") => self.keep(name, object),
            Some("ledger") => self.told.enter(name, object),
            Some("probe" | "catalogue" | "upload-journals") => Ok(1),
            Some("watch") if name.ends_with("/cursor.json") => Ok(1),
            Some("watch") => self.acted.enter(object),
            _ => Err("nobody knows what it is".into()),
        }
    }

    fn keep(&mut self, name: &str, object: &[u8]) -> Result<u64, String> {
        let entries = entries(object)?;
        let count = entries.len() as u64;
        let invocation = name.rsplit('/').next().and_then(|file| file.split_once('-')).map_or("", |(_, rest)| rest);
        let invocation = invocation.trim_end_matches(".ndjson.zst").to_owned();
        *self.kept_by.entry(invocation).or_default() += count;
        for entry in entries {
            if entry.stage == "ingest" {
                self.rejected.push(entry);
                continue;
            }
            self.kept.entry((entry.message_id.clone(), entry.position)).or_default().push(entry);
        }
        Ok(count)
    }
}
