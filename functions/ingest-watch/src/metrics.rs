//! Every metric by name, and the lines of a look.
//!
//! A count is said if it is more than nothing, or if all of the quarantine was read: what is unknown is not zero. So a look that
//! failed says no count, and CloudWatch sees that something is missing.

use lambda_shell::line::{Invocation, Metric, metric, push};
use serde_json::json;

use crate::look::Counts;

/// All metrics.
pub const METRICS: [Metric; 6] = [
    metric("QuarantineOpen", "Count", "entries still to be settled; by reason with the dimension Reason"),
    metric("LeavesWindowSoon", "Count", "open entries that leave m3ter's window within five days"),
    metric("OutsideWindow", "Count", "open entries that have left it: replay refuses them"),
    metric("Unreadable", "Count", "objects that could not be read"),
    metric("LookFailed", "Count", "looks that ended without a count"),
    metric("Duration", "Milliseconds", "time from event to answer"),
];

/// The lines of one look, each with its line break; `None` if it failed.
pub fn lines(invocation: Invocation<'_>, counts: Option<&Counts>) -> String {
    let mut values = vec![("LookFailed", json!(u8::from(counts.is_none()))), ("Duration", json!(invocation.took_ms))];
    if let Some(counts) = counts {
        let found = [
            ("QuarantineOpen", counts.open.values().sum()),
            ("LeavesWindowSoon", counts.leaves_window_soon),
            ("OutsideWindow", counts.outside_window),
        ];
        let known = found.into_iter().filter(|(_, count)| *count > 0 || counts.is_whole);
        values.extend(known.map(|(name, count): (_, u64)| (name, json!(count))));
        values.push(("Unreadable", json!(counts.unreadable)));
    }
    let mut lines = String::new();
    push(&mut lines, &METRICS, invocation, (level(counts), "invocation"), values, None);
    for (reason, count) in counts.iter().flat_map(|counts| &counts.open) {
        let values = vec![("QuarantineOpen", json!(count))];
        push(&mut lines, &METRICS, invocation, ("info", "open"), values, Some(reason));
    }
    lines
}

/// error: a person must act. warn: so it is, soon.
fn level(counts: Option<&Counts>) -> &'static str {
    match counts {
        None => "error",
        Some(counts) if counts.unreadable > 0 => "error",
        Some(counts) if counts.leaves_window_soon > 0 || counts.outside_window > 0 => "warn",
        Some(_) => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn counts() -> Counts {
        let open = [("MeterInvalid".to_owned(), 3), ("Oversize".to_owned(), 2)].into();
        Counts { open, leaves_window_soon: 2, outside_window: 1, unreadable: 0, is_whole: true }
    }

    fn parsed(counts: Option<&Counts>) -> Vec<Value> {
        let lines = lines(Invocation { function: "f", request_id: "r", now_ms: 0, took_ms: 3 }, counts);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The metrics of the line that closes the invocation, as CloudWatch takes them.
    fn told(counts: Option<&Counts>) -> Vec<(String, Value)> {
        let line = parsed(counts).remove(0);
        let names = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
        let name = |metric: &Value| metric["Name"].as_str().unwrap().to_owned();
        let mut told: Vec<_> = names.iter().map(|metric| (name(metric), line[name(metric).as_str()].clone())).collect();
        told.sort_by(|one, other| one.0.cmp(&other.0));
        told
    }

    fn check(counts: Option<&Counts>, expected: &[(&str, u64)]) {
        let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        assert_eq!(told(counts), expected);
    }

    #[test]
    fn every_metric_is_in_the_line_with_its_unit_and_every_name_in_the_line_is_a_metric() {
        let line = parsed(Some(&counts())).remove(0);
        let told = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap();
        assert_eq!(told.len(), METRICS.len());
        for metric in &METRICS {
            assert!(told.contains(&json!({"Name": metric.name, "Unit": metric.unit})) && line.get(metric.name).is_some());
        }
    }

    #[test]
    fn what_is_open_is_told_as_a_whole_and_by_reason() {
        let lines = parsed(Some(&counts()));
        let open: Vec<_> = lines.iter().map(|line| (line["Reason"].as_str(), line["QuarantineOpen"].as_u64())).collect();
        assert_eq!(open, [(None, Some(5)), (Some("MeterInvalid"), Some(3)), (Some("Oversize"), Some(2))]);
    }

    #[test]
    fn a_look_that_failed_says_so_and_no_count() {
        check(None, &[("Duration", 3), ("LookFailed", 1)]);
        assert_eq!(parsed(None).len(), 1);
    }

    #[test]
    fn nothing_is_said_only_if_all_was_read() {
        let nothing = Counts { is_whole: true, ..Counts::default() };
        let zeros = [("LookFailed", 0), ("OutsideWindow", 0), ("QuarantineOpen", 0), ("Unreadable", 0)];
        check(Some(&nothing), &[&[("Duration", 3), ("LeavesWindowSoon", 0)], &zeros[..]].concat());
        let torn = Counts { unreadable: 1, is_whole: false, ..Counts::default() };
        check(Some(&torn), &[("Duration", 3), ("LookFailed", 0), ("Unreadable", 1)]);
        let some = Counts { leaves_window_soon: 1, open: [("X".to_owned(), 1)].into(), ..torn };
        let expected = [("Duration", 3), ("LeavesWindowSoon", 1), ("LookFailed", 0), ("QuarantineOpen", 1), ("Unreadable", 1)];
        check(Some(&some), &expected);
        let ledger_torn = Counts { unreadable: 1, ..nothing };
        check(Some(&ledger_torn), &[&[("Duration", 3), ("LeavesWindowSoon", 0)], &zeros[..3], &[("Unreadable", 1)]].concat());
    }

    #[test]
    fn the_level_says_whether_a_person_must_act() {
        assert_eq!((level(None), level(Some(&counts()))), ("error", "warn"));
        assert_eq!(level(Some(&Counts { unreadable: 1, ..counts() })), "error");
        assert_eq!(level(Some(&Counts { leaves_window_soon: 0, ..counts() })), "warn");
        assert_eq!(level(Some(&Counts { leaves_window_soon: 0, outside_window: 0, ..counts() })), "info");
    }
}
