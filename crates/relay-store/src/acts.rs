//! What was done about each of m3ter's events, so that each is acted on once though it is listed many times.
//!
//! An act is filed under the day of its event, not of the act: whoever reads a day of events again needs just that day's acts.
//! Acts are also the receipts: m3ter's word that it has a uid already.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use crate::lines::Lines;
use crate::scan::{Listed, StoredObject, Unreadable};
use crate::store::{Store, StoreError, day_folder};

const FOLDER: &str = "watch/v1/acts";

/// What was done about one failure that an event tells of.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// m3ter's id of the event.
    pub event: String,
    /// When m3ter raised it: milliseconds since the epoch.
    pub event_at: i64,
    /// m3ter's name of the failure.
    pub r#type: String,
    /// What was done.
    pub outcome: Outcome,
    /// The measurement's uid, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Its meter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
    /// Its account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Why it was quarantined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qid: Option<Uuid>,
}

impl fmt::Debug for Act {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Act").field("type", &self.r#type).field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The measurement is in the quarantine.
    Quarantined,
    /// m3ter dropped a copy of what it has: proof that it has it.
    Receipt,
    /// m3ter counted the measurement all the same; somebody should look.
    Recorded,
    /// m3ter dropped a copy, and without a ledger nobody can say of what.
    Unjudged,
}

impl Store {
    /// Writes `acts`, one object for each day of their events, before `until`. `pass` names them, once.
    ///
    /// # Errors
    /// [`StoreError`] if some may not be there.
    pub async fn put_acts(&self, pass: &str, now_ms: i64, acts: &[Act], until: Instant) -> Result<(), StoreError> {
        let mut days: Vec<String> = acts.iter().map(|act| day_folder(act.event_at)).collect();
        days.sort_unstable();
        days.dedup();
        for day in days {
            let name = format!("{FOLDER}/{day}/{now_ms}-{pass}.ndjson.zst");
            let of_day = acts.iter().filter(|act| day_folder(act.event_at) == day);
            let packed = pack(of_day)
                .map_err(|_| StoreError::Unreadable { name: name.clone(), expected: "lines of JSON that zstd can compress" })?;
            self.put(&name, packed, until).await?;
        }
        Ok(())
    }

    /// Where the acts are of the events of the day that holds `at_ms`, in UTC.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn acts_of_day(&self, at_ms: i64) -> Result<Listed, StoreError> {
        self.packed_below(&format!("{FOLDER}/{}", day_folder(at_ms))).await
    }

    /// Gives what `keep` makes of each act of `objects` to `each`, in no order. Returns the objects that could not be read.
    pub async fn acts<T: Send + 'static>(
        &self,
        objects: impl IntoIterator<Item = StoredObject>,
        keep: impl Fn(Act) -> Option<T> + Send + Sync + 'static,
        mut each: impl FnMut(T),
    ) -> Vec<Unreadable> {
        let read = move |kept: &mut Vec<T>, text: &[u8]| {
            kept.extend(keep(serde_json::from_slice(text).map_err(|_| "one act a line")?));
            Ok(())
        };
        self.sift(objects, read, |_, kept| kept.into_iter().for_each(&mut each)).await
    }
}

fn pack<'a>(acts: impl Iterator<Item = &'a Act>) -> std::io::Result<bytes::Bytes> {
    let mut lines = Lines::new()?;
    for act in acts {
        lines.push(|line| Ok(serde_json::to_writer(line, act)?))?;
    }
    lines.finish()
}
