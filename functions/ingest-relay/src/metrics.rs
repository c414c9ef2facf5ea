//! Every metric by name, and the lines that carry them.
//!
//! One line closes the accounts of an invocation; one more for each reason of quarantine, since a line holds one value of a
//! dimension. Numbers and message ids only: no body, account or uid.

use lambda_shell::line::{Invocation, Metric, VALUES_MAX, metric, push};
use relay::Report;
use relay::brake::Braked;
use serde_json::{Value, json};

/// All metrics.
pub const METRICS: [Metric; 33] = [
    metric("Received", "Count", "messages delivered"),
    metric("Done", "Count", "messages that left the queue"),
    metric("Returned", "Count", "messages left in the queue"),
    metric("Found", "Count", "measurements found in messages, and bodies that held none"),
    metric("Accepted", "Count", "measurements that m3ter accepted"),
    metric("Collapsed", "Count", "copies of an accepted measurement in the same invocation"),
    metric("Quarantined", "Count", "measurements quarantined; by reason with the dimension Reason"),
    metric("Unresolved", "Count", "measurements left for a later delivery"),
    metric("AccountsMismatch", "Count", "invocations whose accounts did not balance; everything was returned"),
    metric("Batches", "Count", "batches packed"),
    metric("BatchFill", "Percent", "measurements in batches, of the most that they can hold"),
    metric("Attempts", "Count", "requests with a batch"),
    metric("SubmitLatency", "Milliseconds", "time from request to answer"),
    metric("Throttled", "Count", "answers 429"),
    metric("ServerFault", "Count", "answers 408, 409 and 5xx"),
    metric("UnknownAnswer", "Count", "no answer, or one that is not m3ter's"),
    metric("GiveUp", "Count", "batches given up for a fault of ours: credentials, host, permission"),
    metric("SecretUnreadable", "Count", "times that the secret could not be read, whatever the cause"),
    metric("Unproven", "Count", "batches turned down without evidence that data is to blame"),
    metric("StoreFailed", "Count", "invocations in which the quarantine or a required ledger could not be written"),
    metric("UnknownMeters", "Count", "measurements with a meter that m3ter has not, by the catalogue"),
    metric("MissingFields", "Count", "measurements without a data field of their meter"),
    metric("UnconfiguredFields", "Count", "measurements with a data field that their meter has not; m3ter stores it"),
    metric("NearAccounts", "Count", "measurements with an unknown account code that is nearly a known one"),
    metric("Recorded", "Count", "lines written to the ledger"),
    metric("Unrecorded", "Count", "accepted measurements whose lines could not be written"),
    metric("PayloadPointers", "Count", "messages whose body lies in S3, returned"),
    metric("OverBudget", "Count", "messages returned because the invocation held enough already"),
    metric("Braked", "Count", "returned messages whose next delivery was set"),
    metric("BrakeFailed", "Count", "returned messages whose next delivery could not be set"),
    metric("QueueLag", "Milliseconds", "age of the oldest message delivered"),
    metric("OldestReturnedAge", "Milliseconds", "age of the oldest message returned"),
    metric("Duration", "Milliseconds", "time from event to answer"),
];

/// The lines of one invocation, each with its line break.
pub fn lines(invocation: Invocation<'_>, report: &Report, braked: Braked) -> String {
    let mut lines = String::new();
    push(&mut lines, &METRICS, invocation, (level(report), "invocation"), values(invocation, report, braked), &[]);
    for (reason, count) in &report.reasons {
        let values = vec![("Quarantined", json!(count))];
        push(&mut lines, &METRICS, invocation, ("warn", "quarantined"), values, &[("Reason", reason.name())]);
    }
    lines
}

/// error: a person must act. warn: something unwelcome was handled. A data field that no meter has is neither.
fn level(report: &Report) -> &'static str {
    let found = report.preflight;
    let doubted = found.unknown_meters > 0 || found.missing_fields > 0 || found.near_accounts > 0;
    if !report.balanced || report.client.give_ups > 0 || report.unproven > 0 || !report.store_ok {
        "error"
    } else if report.accounts.returned > 0 || report.accounts.quarantined > 0 || report.unrecorded > 0 || doubted {
        "warn"
    } else {
        "info"
    }
}

fn values(invocation: Invocation<'_>, report: &Report, braked: Braked) -> Vec<(&'static str, Value)> {
    let accounts = report.accounts;
    let client = &report.client;
    let mut values = vec![
        ("Received", json!(accounts.received)),
        ("Done", json!(accounts.done)),
        ("Returned", json!(accounts.returned)),
        ("Found", json!(accounts.found)),
        ("Accepted", json!(accounts.accepted)),
        ("Collapsed", json!(accounts.collapsed)),
        ("Quarantined", json!(accounts.quarantined)),
        ("Unresolved", json!(accounts.unresolved)),
        ("AccountsMismatch", json!(u8::from(!report.balanced))),
        ("Batches", json!(report.batches)),
        ("Attempts", json!(client.attempts)),
        ("Throttled", json!(client.throttled)),
        ("ServerFault", json!(client.server_faults)),
        ("UnknownAnswer", json!(client.unknown_answers)),
        ("GiveUp", json!(client.give_ups)),
        ("SecretUnreadable", json!(client.secret_failures)),
        ("Unproven", json!(report.unproven)),
        ("StoreFailed", json!(u8::from(!report.store_ok))),
        ("UnknownMeters", json!(report.preflight.unknown_meters)),
        ("MissingFields", json!(report.preflight.missing_fields)),
        ("UnconfiguredFields", json!(report.preflight.unconfigured_fields)),
        ("NearAccounts", json!(report.preflight.near_accounts)),
        ("Recorded", json!(report.recorded)),
        ("Unrecorded", json!(report.unrecorded)),
        ("PayloadPointers", json!(report.pointers)),
        ("OverBudget", json!(report.over_budget)),
        ("Braked", json!(braked.delayed)),
        ("BrakeFailed", json!(braked.failed)),
        ("Duration", json!(invocation.took_ms)),
    ];
    if report.batches > 0 {
        let full = report.batches.saturating_mul(relay_core::limits::BATCH_MEASUREMENTS_MAX as u64);
        values.push(("BatchFill", json!((report.batched as f64 * 1_000.0 / full as f64).round() / 10.0)));
    }
    if !client.latencies_ms.is_empty() {
        values.push(("SubmitLatency", json!(client.latencies_ms.iter().take(VALUES_MAX).collect::<Vec<_>>())));
    }
    values.extend(report.lag_ms.map(|age_ms| ("QueueLag", json!(age_ms))));
    values.extend(report.oldest_returned_ms.map(|age_ms| ("OldestReturnedAge", json!(age_ms))));
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::reason::Reason;

    fn report() -> Report {
        Report {
            balanced: true,
            store_ok: true,
            reasons: [(Reason::UidMissing, 2), (Reason::NotJson, 1)].into(),
            batches: 2,
            batched: 1_500,
            lag_ms: Some(5),
            oldest_returned_ms: Some(4),
            client: m3ter_client::Counts { latencies_ms: vec![7; 200], ..m3ter_client::Counts::default() },
            ..Report::default()
        }
    }

    #[test]
    fn every_metric_is_in_the_lines_with_its_unit_and_every_name_in_the_lines_is_a_metric() {
        let invocation = Invocation { function: "f", request_id: "r", now_ms: 0, took_ms: 3 };
        let lines = lines(invocation, &report(), Braked::default());
        let parsed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed.len(), 3);
        let main = &parsed[0];
        let names: Vec<&str> = main["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect();
        for metric in &METRICS {
            assert!(names.contains(&metric.name) && main.get(metric.name).is_some(), "{}", metric.name);
        }
        assert_eq!(names.len(), METRICS.len());
        assert_eq!(main["BatchFill"], json!(75.0));
        assert_eq!(main["SubmitLatency"].as_array().unwrap().len(), VALUES_MAX);
        assert_eq!(parsed[1]["Reason"], "NotJson");
        assert_eq!(parsed[2]["Quarantined"], 2);
    }

    #[test]
    fn the_level_says_whether_a_person_must_act() {
        assert_eq!(level(&Report { reasons: Default::default(), ..report() }), "info");
        let found = |preflight| level(&Report { preflight, reasons: Default::default(), ..report() });
        assert_eq!(found(relay::FindingCounts { near_accounts: 1, ..relay::FindingCounts::default() }), "warn");
        assert_eq!(found(relay::FindingCounts { unconfigured_fields: 1, ..relay::FindingCounts::default() }), "info");
        assert_eq!(level(&Report { balanced: false, ..report() }), "error");
        let gave_up = m3ter_client::Counts { give_ups: 1, ..m3ter_client::Counts::default() };
        assert_eq!(level(&Report { client: gave_up, ..report() }), "error");
    }
}
