//! Every metric by name, and the lines of a round.
//!
//! What is unknown is not zero: a part that failed or was not due says no count, and CloudWatch sees that something is missing. A
//! count that is more than nothing is said even if its part failed later.

use lambda_shell::line::{Invocation, Metric, metric, push};
use serde_json::{Value, json};
use watch::look;
use watch::round::Round;

/// All metrics.
pub const METRICS: [Metric; 22] = [
    metric("Events", "Count", "m3ter's events of failed ingests that were acted on"),
    metric("Rejected", "Count", "measurements that m3ter rejected after it had accepted them; also by Meter and Reason"),
    metric("Receipts", "Count", "copies that m3ter dropped of what it has: proof that it has it"),
    metric("CalculationErrors", "Count", "measurements that m3ter counted without one of their derived fields"),
    metric("UnknownTypes", "Count", "rejections of a type that m3ter does not document"),
    metric("ReplayDropped", "Count", "replays of rejections that m3ter dropped, since it keeps their uids"),
    metric("DuplicateOfUnknown", "Count", "measurements that m3ter dropped as copies of what nobody here sent"),
    metric("Waiting", "Count", "events that wait for a deeper look, or for their log"),
    metric("EventsUnreadable", "Count", "1 if m3ter's events or their logs could not be read, else 0"),
    metric("CursorAgeSeconds", "Seconds", "time since all new events were last read; 28 days if they never were"),
    metric("Ingested", "Count", "measurements that are past the horizon without a rejection; also by Meter"),
    metric("OldestUnsettledSeconds", "Seconds", "age of the oldest accepted measurement that is not past the horizon"),
    metric("QuarantineOpen", "Count", "entries still to be settled; also by Reason"),
    metric("LeavesWindowSoon", "Count", "open entries that leave m3ter's window within five days"),
    metric("OutsideWindow", "Count", "open entries that have left it: replay refuses them"),
    metric("LookFailed", "Count", "looks at the quarantine that ended without a count"),
    metric("SkeletonAccounts", "Count", "accounts that m3ter made by itself since the catalogue was last refreshed"),
    metric("CatalogueAgeSeconds", "Seconds", "time since the catalogue was last refreshed; 28 days if it never was"),
    metric("Unreconciled", "Count", "differences between ledger and m3ter that nothing explains"),
    metric("ReconcileFailed", "Count", "reconciliations that came to no result, or compared only a part"),
    metric("Unreadable", "Count", "objects of the store that could not be read"),
    metric("Duration", "Milliseconds", "time from event to answer"),
];

type Values = Vec<(&'static str, Value)>;

/// The lines of one round, each with its line break; `None` if it failed as a whole.
pub fn lines(invocation: Invocation<'_>, round: Option<&Round>) -> String {
    let mut values = round.map(values).unwrap_or_else(|| vec![("EventsUnreadable", json!(1))]);
    values.push(("Duration", json!(invocation.took_ms)));
    let mut lines = String::new();
    push(&mut lines, &METRICS, invocation, (level(round), "invocation"), values, &[]);
    let Some(round) = round else { return lines };
    for ((meter, reason), count) in &round.counts.rejected_by {
        let by = [("Meter", meter.as_str()), ("Reason", reason.as_str())];
        push(&mut lines, &METRICS, invocation, ("warn", "rejected"), vec![("Rejected", json!(count))], &by);
    }
    for (meter, count) in &round.ingested {
        push(&mut lines, &METRICS, invocation, ("info", "ingested"), vec![("Ingested", json!(count))], &[("Meter", meter)]);
    }
    for (reason, count) in looked(round).iter().flat_map(|counts| &counts.open) {
        push(&mut lines, &METRICS, invocation, ("info", "open"), vec![("QuarantineOpen", json!(count))], &[("Reason", reason)]);
    }
    lines
}

fn values(round: &Round) -> Values {
    let counts = &round.counts;
    let of_events = [
        ("Events", counts.events),
        ("Rejected", counts.rejected),
        ("Receipts", counts.receipts),
        ("CalculationErrors", counts.calculation_errors),
        ("UnknownTypes", counts.unknown_types),
        ("ReplayDropped", counts.replay_dropped),
        ("DuplicateOfUnknown", counts.duplicate_of_unknown),
        ("Waiting", counts.waiting),
    ];
    let mut values: Values = known(of_events, round.passed.is_ok());
    values.push(("EventsUnreadable", json!(u8::from(round.is_blind()))));
    values.push(("CursorAgeSeconds", json!(round.cursor_age_s)));
    values.extend(round.oldest_unsettled_s.map(|age| ("OldestUnsettledSeconds", json!(age))));
    values.extend(known([("Ingested", round.ingested.values().sum())], round.oldest_unsettled_s.is_some()));
    let mut unreadable = counts.unreadable;
    if let Some(looked) = &round.looked {
        values.push(("LookFailed", json!(u8::from(looked.is_err()))));
    }
    if let Some(looked) = looked(round) {
        let found = [
            ("QuarantineOpen", looked.open.values().sum()),
            ("LeavesWindowSoon", looked.leaves_window_soon),
            ("OutsideWindow", looked.outside_window),
        ];
        values.extend(known(found, looked.is_whole));
        unreadable += looked.unreadable;
    }
    if let Some(Ok(refreshed)) = &round.refreshed {
        values.push(("SkeletonAccounts", json!(refreshed.new_skeletons)));
    }
    values.push(("CatalogueAgeSeconds", json!(round.catalogue_age_s)));
    if let Some(reconciled) = &round.reconciled {
        // What was compared in part says what differs, and not that nothing does.
        let is_whole = reconciled.as_ref().is_ok_and(|nightly| nightly.is_whole);
        values.push(("ReconcileFailed", json!(u8::from(!is_whole))));
        values.extend(
            reconciled
                .as_ref()
                .ok()
                .into_iter()
                .flat_map(|nightly| known([("Unreconciled", nightly.counts.unexplained)], is_whole)),
        );
    }
    values.push(("Unreadable", json!(unreadable)));
    values
}

/// Those that are more than nothing, or all if nothing is missing from them.
fn known<const N: usize>(counts: [(&'static str, u64); N], is_whole: bool) -> Values {
    counts.into_iter().filter(|(_, count)| *count > 0 || is_whole).map(|(name, count)| (name, json!(count))).collect()
}

fn looked(round: &Round) -> Option<&look::Counts> {
    round.looked.as_ref()?.as_ref().ok()
}

/// error: a person must act. warn: so it is, soon.
fn level(round: Option<&Round>) -> &'static str {
    let Some(round) = round else { return "error" };
    let looked = looked(round);
    let is_torn = round.counts.unreadable > 0 || looked.is_some_and(|counts| counts.unreadable > 0);
    let is_late = looked.is_some_and(|counts| counts.leaves_window_soon > 0 || counts.outside_window > 0);
    match () {
        () if is_torn || round.is_blind() || !round.failures().is_empty() => "error",
        () if is_late || round.counts.rejected > 0 || round.counts.calculation_errors > 0 => "warn",
        () => "info",
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
