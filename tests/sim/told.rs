//! Law 11: the relay's ledger is true. What left the queue as accepted has a line that says so, and a line that says so is
//! of something m3ter has.
//!
//! The lines are read by a reader of this file's own.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::books::Entry;
use crate::fault::Fault;
use crate::made::{Expect, Made};
use crate::plan::Ledger;
use crate::world::World;

/// A line of the ledger.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Line {
    uid: String,
    pub(crate) batch: String,
    pub(crate) queued_at: Option<i64>,
    pub(crate) sent_at: i64,
    pub(crate) attempts: u32,
    pub(crate) receives: u32,
    pub(crate) answer: String,
    pub(crate) content_hash: String,
    /// When its object was written, as its name says.
    #[serde(skip)]
    pub(crate) written_ms: i64,
    meter: Option<String>,
    account: Option<String>,
    ts: Option<String>,
    measurement: Option<Box<RawValue>>,
}

impl Line {
    /// Whether it may be of this measurement; without its content by its uid alone.
    fn is_of(&self, made: &Made) -> bool {
        made.uid.as_deref() == Some(&self.uid) && self.measurement.as_ref().is_none_or(|text| made.is(text.get()))
    }
}

/// All lines, by uid.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    by_uid: HashMap<String, Vec<Line>>,
    /// By invocation, how many lines it stored.
    pub(crate) by_invocation: HashMap<String, u64>,
}

impl Lines {
    /// Enters a stored object.
    pub(crate) fn enter(&mut self, name: &str, object: &[u8]) -> Result<u64, String> {
        let lines = zstd::stream::decode_all(object).map_err(|fault| fault.to_string())?;
        let lines = String::from_utf8(lines).map_err(|fault| fault.to_string())?;
        let file = name.rsplit('/').next().unwrap_or_default();
        let invocation = file.splitn(5, '_').nth(4).unwrap_or_default().trim_end_matches(".ndjson.zst");
        let written_ms = file.split('_').next().and_then(|at_ms| at_ms.parse().ok()).ok_or("its name does not say when")?;
        let mut count = 0;
        for line in lines.lines() {
            let mut line: Line = serde_json::from_str(line).map_err(|fault| fault.to_string())?;
            if !line.batch.starts_with(invocation) || line.attempts == 0 {
                return Err(format!("the line of {} is not of {invocation}", line.uid));
            }
            line.written_ms = written_ms;
            self.by_uid.entry(line.uid.clone()).or_default().push(line);
            count += 1;
        }
        *self.by_invocation.entry(invocation.to_owned()).or_default() += count;
        Ok(count)
    }

    /// The lines of a uid.
    pub(crate) fn of_uid(&self, uid: &str) -> &[Line] {
        self.by_uid.get(uid).map_or(&[], Vec::as_slice)
    }

    /// The lines of a measurement.
    fn of<'l>(&'l self, made: &'l Made) -> impl Iterator<Item = &'l Line> {
        let lines = made.uid.as_deref().and_then(|uid| self.by_uid.get(uid));
        lines.into_iter().flatten().filter(|line| line.is_of(made))
    }

    /// Whether a line says that m3ter accepted it.
    pub(crate) fn say_accepted(&self, made: &Made) -> bool {
        self.of(made).any(|line| line.answer == "accepted")
    }
}

/// Law 11, when the world is over. `taken` says whether m3ter took that very measurement, `kept` gives its entries.
pub(crate) fn is_true<'e>(
    world: &World,
    lines: &Lines,
    made: &BTreeMap<&str, Vec<&Made>>,
    taken: impl Fn(&Made) -> bool,
    kept: impl Fn(&Made) -> Vec<&'e Entry>,
) -> Result<(), String> {
    let ledger = world.nature.plan.ledger;
    for line in lines.by_uid.values().flatten() {
        world.nature.sometimes(&format!("ledger: {}", line.answer));
        let candidates = made.get(line.uid.as_str()).map_or(&[] as &[_], Vec::as_slice);
        let Some(_) = candidates.iter().find(|made| line.is_of(made)) else {
            return Err(format!("the ledger holds what nobody made: {line:?}"));
        };
        if line.answer == "accepted" && !candidates.iter().any(|made| line.is_of(made) && taken(made)) {
            return Err(format!("the ledger says accepted of what m3ter never took: {line:?}"));
        }
        let is_bare = line.meter.is_none() && line.account.is_none() && line.ts.is_none() && line.measurement.is_none();
        if is_bare != (ledger == Ledger::Uids) || ledger == Ledger::Off {
            return Err(format!("a ledger in mode {ledger:?} holds {line:?}"));
        }
    }
    for one in made.values().flatten() {
        let entries = kept(one);
        let never_sent = entries.iter().find(|entry| entry.first_sent_at.is_none());
        if let Some(entry) = never_sent
            && taken(one)
            && !may_be_in_both(world, one, entry)
        {
            return Err(format!("m3ter has what is kept as never sent: {entry:?}"));
        }
        // Without its content a line cannot be told from one of another content under its uid.
        if ledger != Ledger::Uids
            && lines.say_accepted(one)
            && let Some(entry) = entries.iter().find(|entry| !matches!(entry.reason.as_str(), "Exhausted" | "UidConflict"))
            && !may_be_in_both(world, one, entry)
        {
            return Err(format!("the ledger says accepted of what is kept as {}: {}", entry.reason, one.text));
        }
    }
    Ok(())
}

/// A copy in another message, or in another delivery, can have another fate where a clock, a proxy or the catalogue changed between the
/// two. What the catalogue turned down is never kept as never sent.
fn may_be_in_both(world: &World, made: &Made, entry: &Entry) -> bool {
    let plan = &world.nature.plan;
    (made.expect == Expect::Ahead && plan.has(Fault::ClockSkew) && entry.reason == "TimestampInFuture")
        || (made.expect == Expect::Large && entry.reason == "RefusedByApi")
        || (entry.first_sent_at.is_some() && world.goods.doubt(made).is_some_and(|doubt| doubt == entry.reason))
}

/// Whether a measurement of a message that is done has no line, where one is promised.
pub(crate) fn is_missing(world: &World, lines: &Lines, made: &Made, kept: bool) -> bool {
    let promised = matches!(world.nature.plan.ledger, Ledger::Full | Ledger::Uids);
    promised && !kept && !lines.say_accepted(made)
}
