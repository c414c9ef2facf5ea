//! Every metric by name, and the line that closes an invocation's accounts: received = stored + returned.

use lambda_shell::line::{Invocation, Metric, metric, push};
use serde_json::json;

/// All metrics.
pub const METRICS: [Metric; 6] = [
    metric("Received", "Count", "messages delivered"),
    metric("Stored", "Count", "messages that are in the quarantine and left the dead-letter queue"),
    metric("Returned", "Count", "messages left in the dead-letter queue"),
    metric("StoreFailed", "Count", "invocations in which the quarantine could not be written"),
    metric("QueueLag", "Milliseconds", "age of the oldest message delivered, since its producer sent it"),
    metric("Duration", "Milliseconds", "time from event to answer"),
];

/// What happened in one invocation.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Messages delivered.
    pub received: usize,
    /// Whether they are in the quarantine: all of them, or, as far as is known, none.
    pub stored: bool,
    /// Age of the oldest, in milliseconds; `None` where the queue did not say.
    pub lag_ms: Option<i64>,
}

/// The line of one invocation, with its line break.
pub fn lines(invocation: Invocation<'_>, report: Report) -> String {
    let mut values = vec![
        ("Received", json!(report.received)),
        ("Stored", json!(if report.stored { report.received } else { 0 })),
        ("Returned", json!(if report.stored { 0 } else { report.received })),
        ("StoreFailed", json!(u8::from(!report.stored))),
        ("Duration", json!(invocation.took_ms)),
    ];
    values.extend(report.lag_ms.map(|age_ms| ("QueueLag", json!(age_ms))));
    let mut lines = String::new();
    push(&mut lines, &METRICS, invocation, (level(report), "invocation"), values, &[]);
    lines
}

/// error: a person must act. warn: something unwelcome was handled, as every message here is.
fn level(report: Report) -> &'static str {
    match report {
        Report { stored: false, .. } => "error",
        Report { received: 0, .. } => "info",
        Report { .. } => "warn",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const STORED: Report = Report { received: 3, stored: true, lag_ms: Some(5) };

    fn line(report: Report) -> Value {
        let lines = lines(Invocation { function: "f", request_id: "r", now_ms: 0, took_ms: 3 }, report);
        serde_json::from_str(&lines).unwrap()
    }

    #[test]
    fn every_metric_is_in_the_line_with_its_unit_and_every_name_in_the_line_is_a_metric() {
        let line = line(STORED);
        let told = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
        assert_eq!(told.len(), METRICS.len());
        for metric in &METRICS {
            assert!(told.contains(&json!({"Name": metric.name, "Unit": metric.unit})) && line.get(metric.name).is_some());
        }
    }

    #[test]
    fn what_was_received_is_stored_or_returned() {
        let counts = |report| ["Received", "Stored", "Returned", "StoreFailed"].map(|name| line(report)[name].clone());
        assert_eq!(counts(STORED), [3, 3, 0, 0]);
        assert_eq!(counts(Report { stored: false, ..STORED }), [3, 0, 3, 1]);
    }

    #[test]
    fn the_level_says_whether_a_person_must_act() {
        assert_eq!(level(STORED), "warn");
        assert_eq!(level(Report { stored: false, ..STORED }), "error");
        assert_eq!(level(Report { received: 0, ..STORED }), "info");
    }
}
