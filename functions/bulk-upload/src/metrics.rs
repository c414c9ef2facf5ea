//! Every metric by name, and the line that ends an invocation.

use lambda_shell::line::{Invocation, Metric, metric, push};
use serde_json::{Value, json};

use upload::report::Status;

use crate::file::Ending;

/// All metrics.
pub const METRICS: [Metric; 10] = [
    metric("Received", "Count", "messages delivered"),
    metric("Returned", "Count", "messages left in the queue: their files have not ended"),
    metric("UploadsDone", "Count", "files of which m3ter has processed all that was to be sent"),
    metric("UploadsFailed", "Count", "files that were refused or not sent as a whole, and messages that tell of no file"),
    metric("UploadsStuck", "Count", "files that could not be gone on with: m3ter or the store did not let us"),
    metric("UploadRows", "Count", "rows of files that have ended"),
    metric("UploadQuarantined", "Count", "rows of files that have ended and that are in the quarantine"),
    metric("UploadPartsSent", "Count", "parts of files that have ended and that m3ter has processed"),
    metric("OldestReturnedAge", "Milliseconds", "age of the oldest message returned"),
    metric("Duration", "Milliseconds", "time from event to answer"),
];

/// What an invocation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages delivered.
    pub received: u64,
    /// Messages left in the queue.
    pub returned: u64,
    /// Files done.
    pub done: u64,
    /// Files that failed or were refused, and messages that tell of none.
    pub failed: u64,
    /// Files that could not be gone on with.
    pub stuck: u64,
    /// Rows of files that have ended.
    pub rows: u64,
    /// Of these, in the quarantine.
    pub quarantined: u64,
    /// Parts sent of files that have ended.
    pub parts: u64,
    /// Age of the oldest message returned, in milliseconds.
    pub oldest_returned_ms: Option<i64>,
}

impl Counts {
    /// Adds a file that has ended.
    pub fn add(&mut self, ending: &Ending) {
        match ending.status {
            Status::Done => self.done += 1,
            Status::Failed | Status::Refused => self.failed += 1,
            Status::Continues => {}
        }
        self.rows += ending.rows;
        self.quarantined += ending.quarantined;
        self.parts += ending.parts;
    }
}

/// The line, with its line break.
pub fn line(invocation: Invocation<'_>, counts: Counts) -> String {
    let mut values: Vec<(&'static str, Value)> = vec![
        ("Received", json!(counts.received)),
        ("Returned", json!(counts.returned)),
        ("UploadsDone", json!(counts.done)),
        ("UploadsFailed", json!(counts.failed)),
        ("UploadsStuck", json!(counts.stuck)),
        ("UploadRows", json!(counts.rows)),
        ("UploadQuarantined", json!(counts.quarantined)),
        ("UploadPartsSent", json!(counts.parts)),
        ("Duration", json!(invocation.took_ms)),
    ];
    values.extend(counts.oldest_returned_ms.map(|age| ("OldestReturnedAge", json!(age))));
    let mut line = String::new();
    push(&mut line, &METRICS, invocation, (level(counts), "invocation"), values, &[]);
    line
}

/// error: a person must act. warn: something unwelcome was handled.
fn level(counts: Counts) -> &'static str {
    match () {
        () if counts.failed > 0 || counts.stuck > 0 => "error",
        () if counts.quarantined > 0 => "warn",
        () => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_line_is_in_the_table_and_the_other_way_round() {
        let invocation = Invocation { function: "f", request_id: "r", now_ms: 1_000, took_ms: 3 };
        let counts = Counts { oldest_returned_ms: Some(7), ..Counts::default() };
        let line: Value = serde_json::from_str(&line(invocation, counts)).unwrap();
        let mut said: Vec<&str> = line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["Name"].as_str().unwrap())
            .collect();
        let mut known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
        said.sort_unstable();
        known.sort_unstable();
        assert_eq!(said, known);
    }

    #[test]
    fn the_level_says_whether_somebody_must_act() {
        let of = |counts: Counts| level(counts);
        assert_eq!(of(Counts { done: 1, rows: 3, ..Counts::default() }), "info");
        assert_eq!(of(Counts { quarantined: 1, ..Counts::default() }), "warn");
        assert_eq!(of(Counts { failed: 1, ..Counts::default() }), "error");
        assert_eq!(of(Counts { stuck: 1, ..Counts::default() }), "error");
    }
}
