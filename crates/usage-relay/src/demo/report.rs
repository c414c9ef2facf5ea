//! Says what became of the demo's measurements, to people and as JSON, and whether the books balance.

use std::collections::BTreeMap;
use std::time::Duration;

use m3ter_sandbox::{Ledger, Number};
use serde::Serialize;

use super::batches::{Batches, look_at};
use super::books::Place;
use super::evidence::Found;
use super::plan::Produced;
use crate::failure::Failure;
use crate::figures::{counted, grouped};
use crate::sample::{METER, Run};

/// Most faults that are shown one by one.
const FAULTS_SHOWN_MAX: usize = 5;

/// The result of a demo.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Whether every check held.
    balanced: bool,
    /// The run.
    run: String,
    /// Measurements sent.
    sent: u64,
    /// Messages they were sent in.
    messages: u64,
    /// Measurements of the run that m3ter accepted, each time it did.
    accepted: u64,
    /// Counted by m3ter.
    ingested: u64,
    /// Accepted, and dropped because m3ter had counted a copy.
    dropped: u64,
    /// Not submitted: a copy in the same invocation was.
    collapsed: u64,
    /// Accepted, and rejected later, by reason.
    rejected: BTreeMap<String, u64>,
    /// Kept in the quarantine, by reason.
    quarantined: BTreeMap<String, u64>,
    /// Without a place.
    nowhere: u64,
    /// Submitted again by the relay beyond the copies sent; m3ter dropped them.
    sent_again: u64,
    /// Messages left on the queue and on the dead-letter queue.
    left: [u64; 2],
    /// How the requests were filled.
    batches: Batches,
    /// What m3ter bills for the run, by data field.
    billed: Vec<Billed>,
    /// Seconds from the first message to the last look.
    seconds: f64,
    /// How many checks did not hold.
    faults: u64,
    /// The first of them, in words.
    first_faults: Vec<String>,
}

/// One data field of the demo's meter: what was produced, and what the sandbox's sum grew by.
#[derive(Debug, Serialize)]
struct Billed {
    field: &'static str,
    produced: u64,
    holds: bool,
}

impl Report {
    /// The report of a run, from its plan, what the sandbox had counted `before`, and what was `found`.
    pub(crate) fn of(run: Run, produced: &[Produced], messages: usize, before: &Ledger, found: &Found, took: Duration) -> Self {
        let books = &found.books;
        let batches = look_at(found.ledger.requests.get(before.requests.len()..).unwrap_or_default());
        let billed = billed(produced, &books.places, before, &found.ledger);
        let mut faults = books.faults.clone();
        faults.extend(batches.faults.iter().cloned());
        faults.extend(billed.iter().filter(|field| !field.holds).map(|field| {
            format!("m3ter does not bill what was produced: {} of measure.{}", grouped(field.produced), field.field)
        }));
        let left = [found.queued, found.dead];
        for (count, queue) in left.iter().zip(["the queue", "the dead-letter queue"]) {
            if *count > 0 {
                faults.push(format!("{} left on {queue}", counted(*count, "message")));
            }
        }
        let count = |wanted: &Place| books.places.iter().filter(|place| *place == wanted).count() as u64;
        let nowhere = books.places.iter().filter(|place| matches!(place, Place::Nowhere(_))).count() as u64;
        Self {
            balanced: faults.is_empty(),
            run: run.to_string(),
            sent: produced.len() as u64,
            messages: messages as u64,
            accepted: books.accepted,
            ingested: count(&Place::Ingested),
            dropped: count(&Place::Dropped),
            collapsed: count(&Place::Collapsed),
            rejected: by_reason(&books.places, |place| if let Place::Rejected(reason) = place { Some(reason) } else { None }),
            quarantined: by_reason(
                &books.places,
                |place| if let Place::Quarantined(reason) = place { Some(reason) } else { None },
            ),
            nowhere,
            sent_again: books.sent_again,
            left,
            batches,
            billed,
            seconds: (took.as_secs_f64() * 10.0).round() / 10.0,
            faults: faults.len() as u64,
            first_faults: faults.into_iter().take(FAULTS_SHOWN_MAX).collect(),
        }
    }

    /// Success only if every check held.
    ///
    /// # Errors
    /// [`Failure::Data`] if one did not.
    pub(crate) fn verdict(&self) -> Result<(), Failure> {
        if self.balanced {
            return Ok(());
        }
        Err(Failure::Data(format!("the books do not balance: {}", counted(self.faults, "fault"))))
    }

    /// The report as a newcomer reads it.
    pub(crate) fn text(&self, colour: bool) -> String {
        let mut lines = vec![
            format!("sent {} in {}", counted(self.sent, "measurement"), counted(self.messages, "message")),
            format!("m3ter accepted {}; accepted is not yet ingested", counted(self.accepted, "measurement")),
            String::new(),
        ];
        lines.extend(self.table());
        lines.push(String::new());
        lines.push(self.batches_line());
        lines.push(self.billed_line());
        if self.sent_again > 0 {
            lines.push(format!("submitted again by the relay: {}, which m3ter dropped", counted(self.sent_again, "measurement")));
        }
        lines.push(String::new());
        lines.push(self.equation());
        let (word, code) = if self.balanced { ("the books balance", "1;32") } else { ("the books do not balance", "1;31") };
        let word = format!("{word} ({:.1} s)", self.seconds);
        lines.push(if colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word });
        lines.extend(self.first_faults.iter().map(|fault| format!("  {fault}")));
        let hidden = self.faults.saturating_sub(self.first_faults.len() as u64);
        if hidden > 0 {
            lines.push(format!("  and {} more", grouped(hidden)));
        }
        lines.join("\n")
    }

    fn table(&self) -> Vec<String> {
        let row = |what: &str, count: u64, why: &str| format!("  {what:<16} {:>11}  {why}", grouped(count)).trim_end().to_owned();
        let sum = |by: &BTreeMap<String, u64>| by.values().sum::<u64>();
        let mut rows = vec![
            row("ingested", self.ingested, "counted by m3ter, once each"),
            row("dropped by m3ter", self.dropped, "DuplicateUid: it had counted a copy"),
            row("collapsed", self.collapsed, "copies within one invocation, submitted once"),
            row("rejected later", sum(&self.rejected), "accepted by m3ter, then turned down:"),
        ];
        rows.extend(self.rejected.iter().map(|(reason, count)| row("", *count, &format!("  {reason}"))));
        rows.push(row("quarantined", sum(&self.quarantined), "kept in the store, with the reason:"));
        rows.extend(self.quarantined.iter().map(|(reason, count)| row("", *count, &format!("  {reason}"))));
        if self.nowhere > 0 {
            rows.push(row("NOWHERE", self.nowhere, "no place was found"));
        }
        rows
    }

    fn batches_line(&self) -> String {
        let Batches { invocations, batches, full, closed_by_bytes, last, .. } = &self.batches;
        let what = format!("{} in {}", counted(*batches, "request"), counted(*invocations, "invocation"));
        format!("batches: {what}; {full} hold 1,000, {closed_by_bytes} closed by bytes, {last} the last of their invocation")
    }

    fn billed_line(&self) -> String {
        let field = |one: &Billed| {
            let sign = if one.holds { "=" } else { "is not" };
            format!("{} of {} produced {sign} billed", grouped(one.produced), one.field)
        };
        format!("money: {}", self.billed.iter().map(field).collect::<Vec<_>>().join("; "))
    }

    fn equation(&self) -> String {
        let mut parts = vec![
            format!("{} ingested", grouped(self.ingested)),
            format!("{} dropped", grouped(self.dropped)),
            format!("{} collapsed", grouped(self.collapsed)),
            format!("{} rejected later", grouped(self.rejected.values().sum())),
            format!("{} quarantined", grouped(self.quarantined.values().sum())),
        ];
        if self.nowhere > 0 {
            parts.push(format!("{} nowhere", grouped(self.nowhere)));
        }
        format!("{} sent = {}", grouped(self.sent), parts.join(" + "))
    }
}

fn by_reason(places: &[Place], reason: impl Fn(&Place) -> Option<&String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for reason in places.iter().filter_map(reason) {
        *counts.entry(reason.clone()).or_default() += 1;
    }
    counts
}

/// Whether the sums of the demo's meter grew by what the ingested measurements say, each uid once.
fn billed(produced: &[Produced], places: &[Place], before: &Ledger, after: &Ledger) -> Vec<Billed> {
    let ingested = || produced.iter().zip(places).filter(|(_, place)| **place == Place::Ingested).map(|(one, _)| one);
    let sum = |ledger: &Ledger, field: &str| {
        ledger.meters.get(METER).and_then(|meter| meter.sums.get(field).copied()).unwrap_or(Number::ZERO)
    };
    let check = |field: &'static str, produced: u64| {
        let grown = sum(before, field).plus(Number::from(produced.cast_signed()));
        Billed { field, produced, holds: grown == sum(after, field) }
    };
    vec![check("calls", ingested().map(|one| one.calls).sum()), check("bytes", ingested().map(|one| one.bytes).sum())]
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
