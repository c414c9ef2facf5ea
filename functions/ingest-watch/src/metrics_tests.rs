//! What the lines of a round say, and what they leave unsaid.

use m3ter_client::NotAnswered;
use watch::counts::Counts;
use watch::look::LookError;
use watch::pass::{PassError, Passed};
use watch::reconcile::{Nightly, ReconcileError};
use watch::refresh::Refreshed;

use super::*;

/// A round of which everything was due and nothing happened.
fn round() -> Round {
    Round {
        counts: Counts::default(),
        passed: Ok(Passed { is_whole: true }),
        cursor_age_s: 0,
        ingested: [("m".to_owned(), 5)].into(),
        oldest_unsettled_s: Some(60),
        looked: Some(Ok(look::Counts { is_whole: true, ..look::Counts::default() })),
        refreshed: Some(Ok(Refreshed { new_skeletons: 0, ..Refreshed::default() })),
        catalogue_age_s: 0,
        reconciled: Some(Err(ReconcileError::TimeUp)),
        counted: Ok(()),
        kept: Ok(()),
    }
}

fn parsed(round: Option<&Round>) -> Vec<Value> {
    let lines = lines(Invocation { function: "f", request_id: "r", now_ms: 0, took_ms: 3 }, round);
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The names of the metrics of the line that closes the invocation, as CloudWatch takes them.
fn told(round: Option<&Round>) -> Vec<String> {
    let line = parsed(round).remove(0);
    let names = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().clone();
    names.iter().map(|metric| metric["Name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_name_in_the_line_is_a_metric_with_its_unit_and_every_metric_can_be_there() {
    let line = parsed(Some(&round())).remove(0);
    let names = line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap().clone();
    let of_failure = ["Unreconciled"];
    for metric in METRICS.iter().filter(|metric| !of_failure.contains(&metric.name)) {
        assert!(
            names.contains(&json!({"Name": metric.name, "Unit": metric.unit})) && line.get(metric.name).is_some(),
            "{}",
            metric.name
        );
    }
    assert_eq!(names.len(), METRICS.len() - of_failure.len(), "a reconciliation that failed found no difference");
}

#[test]
fn rejections_are_told_by_meter_and_reason_and_what_was_ingested_by_meter() {
    let mut some = Round { reconciled: None, ..round() };
    some.counts = Counts { rejected: 3, rejected_by: [(("m".into(), "MissingField".into()), 3)].into(), ..Counts::default() };
    let lines = parsed(Some(&some));
    assert_eq!((&lines[0]["level"], &lines[0]["Rejected"], &lines[0]["Ingested"]), (&json!("warn"), &json!(3), &json!(5)));
    let by = |line: &Value| line["_aws"]["CloudWatchMetrics"][0]["Dimensions"].clone();
    assert_eq!((by(&lines[1]), &lines[1]["Rejected"]), (json!([["Function", "Meter", "Reason"]]), &json!(3)));
    assert_eq!((by(&lines[2]), &lines[2]["Ingested"]), (json!([["Function", "Meter"]]), &json!(5)));
}

#[test]
fn what_failed_or_was_not_due_says_no_count() {
    let blind = Round { passed: Err(PassError::Events(NotAnswered::GiveUp)), ..round() };
    assert!(!told(Some(&blind)).iter().any(|name| ["Events", "Rejected", "Receipts"].contains(&name.as_str())));
    let idle =
        Round { looked: None, refreshed: None, reconciled: None, oldest_unsettled_s: None, ingested: [].into(), ..round() };
    let names = told(Some(&idle));
    for name in ["QuarantineOpen", "LookFailed", "SkeletonAccounts", "ReconcileFailed", "Ingested"] {
        assert!(!names.contains(&name.to_owned()), "{name}");
    }
    assert_eq!(told(None), ["EventsUnreadable", "Duration"]);
    // What was done before it failed is more than nothing.
    let counts = Counts { events: 2, ..Counts::default() };
    let cut = Round { counts, passed: Err(PassError::Events(NotAnswered::Later)), ..round() };
    let line = parsed(Some(&cut)).remove(0);
    assert_eq!((&line["Events"], line.get("Rejected"), &line["EventsUnreadable"]), (&json!(2), None, &json!(1)));
}

#[test]
fn a_quarantine_that_was_read_in_part_says_only_what_it_found() {
    let open: std::collections::BTreeMap<_, _> = [("X".to_owned(), 1)].into();
    let torn = look::Counts { unreadable: 1, leaves_window_soon: 1, open, ..look::Counts::default() };
    let line = parsed(Some(&Round { looked: Some(Ok(torn)), ..round() })).remove(0);
    assert_eq!((&line["QuarantineOpen"], &line["LeavesWindowSoon"], &line["Unreadable"]), (&json!(1), &json!(1), &json!(1)));
    assert_eq!((line.get("OutsideWindow"), &line["level"]), (None, &json!("error")));
}

#[test]
fn the_level_says_whether_a_person_must_act() {
    let calm = || Round { reconciled: None, ..round() };
    assert_eq!(level(Some(&calm())), "info");
    assert_eq!(level(None), "error");
    assert_eq!(level(Some(&Round { looked: Some(Err(LookError::TimeUp)), ..calm() })), "error");
    let late = look::Counts { leaves_window_soon: 1, is_whole: true, ..look::Counts::default() };
    assert_eq!(level(Some(&Round { looked: Some(Ok(late)), ..calm() })), "warn");
    assert_eq!(level(Some(&Round { counts: Counts { calculation_errors: 1, ..Counts::default() }, ..calm() })), "warn");
    assert_eq!(level(Some(&Round { counts: Counts { unread_logs: 1, ..Counts::default() }, ..calm() })), "error");
}

#[test]
fn a_reconciliation_that_compared_only_a_part_has_not_found_that_both_sides_agree() {
    let nightly = |is_whole, unexplained| {
        let counts = watch::reconcile::Counts { unexplained, ..watch::reconcile::Counts::default() };
        let nightly = Nightly { day: jiff::civil::date(2026, 11, 20), counts, is_whole };
        let line = parsed(Some(&Round { reconciled: Some(Ok(nightly)), ..round() })).remove(0);
        (line["ReconcileFailed"].clone(), line.get("Unreconciled").cloned())
    };
    assert_eq!(nightly(true, 0), (json!(0), Some(json!(0))));
    assert_eq!(nightly(false, 0), (json!(1), None));
    assert_eq!(nightly(false, 2), (json!(1), Some(json!(2))));
}
