//! The tables of limits in the README and in docs/PRODUCERS.md say what the code and the template keep, and that of reasons has each once.
//!
//! Each row is written here once more, out of the constants: a limit that changes changes the row that is expected, and a row with
//! a number that nothing here makes is an error.

use std::fs;
use std::path::Path;

use ingest_relay::config::SETTINGS;
use relay_core::limits::{
    BATCH_BYTES_MAX, BATCH_MEASUREMENTS_MAX, CODE_CHARS_MAX, DAY_MS, JSON_DEPTH_MAX, MEASUREMENT_BYTES_MAX,
    MESSAGE_INFLATED_BYTES_MAX, MESSAGE_MEASUREMENTS_MAX, TS_AHEAD_MAX_MS, UID_CHARS_MAX, WINDOW_MS, WINDOW_SAFE_MS,
};
use relay_core::reason::Reason;

const MIB: usize = 1024 * 1024;
/// Messages of a standard queue that can be received and not yet deleted. Source: the quotas of SQS.
const SQS_IN_FLIGHT_MAX: usize = 120_000;

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)).unwrap()
}

/// The first number behind `key` in the template, from the line `from` on.
fn number(template: &str, from: &str, key: &str) -> usize {
    let lines = template.lines().skip_while(|line| line.trim() != from);
    let found = lines.map(str::trim).find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("expected {from} {key}"));
    found.split(" #").next().unwrap().trim().parse().unwrap_or_else(|_| panic!("expected a number behind {from} {key}"))
}

fn default_of(setting: &str) -> usize {
    let (_, default) = SETTINGS.iter().find(|(name, _)| *name == setting).unwrap();
    default.unwrap().parse().unwrap()
}

/// `16,000` of 16000.
fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

/// The rows that have numbers: of what, the most of it, and what is said of beyond where that has numbers too.
fn expected(template: &str) -> Vec<(&'static str, String, String)> {
    let message = number(template, "Queue:", "MaximumMessageSize:");
    let kept_days = number(template, "Queue:", "MessageRetentionPeriod:") / 86_400;
    let rings = number(template, "InFlightAlarm:", "Threshold:");
    let requests = default_of("REQUESTS_PER_SECOND");
    let days = |ms: i64| ms / DAY_MS;
    let (batch, ahead) = (thousands(BATCH_MEASUREMENTS_MAX), TS_AHEAD_MAX_MS / 60_000);
    vec![
        (
            "a message",
            format!(
                "{} MiB, or a pointer to S3; {} MiB inflated; {} measurements",
                message / MIB,
                MESSAGE_INFLATED_BYTES_MAX / MIB,
                thousands(MESSAGE_MEASUREMENTS_MAX)
            ),
            String::new(),
        ),
        (
            "a measurement",
            format!("{} bytes, JSON {JSON_DEPTH_MAX} deep, {ahead} minutes ahead of now", thousands(MEASUREMENT_BYTES_MAX)),
            String::new(),
        ),
        ("a batch", format!("{batch} measurements, {} bytes", thousands(BATCH_BYTES_MAX)), String::new()),
        ("age at the first send", format!("{} days", days(WINDOW_SAFE_MS)), format!("after {}", days(WINDOW_MS))),
        (
            "a message that cannot be settled",
            format!("`ExhaustAfterDays`, {}", default_of("EXHAUST_AFTER_DAYS")),
            format!("after {kept_days}"),
        ),
        (
            "requests",
            format!(
                "`RequestsPerSecond`, {requests}: {} measurements a second in full batches",
                thousands(requests * BATCH_MEASUREMENTS_MAX)
            ),
            String::new(),
        ),
        (
            "messages in flight",
            format!("{}, by SQS; an alarm rings at {}", thousands(SQS_IN_FLIGHT_MAX), thousands(rings)),
            String::new(),
        ),
    ]
}

/// The cells of the table below `heading`, without its head.
fn table(document: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(document);
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let below = text.lines().skip_while(|line| *line != heading).skip_while(|line| !line.starts_with('|'));
    let rows: Vec<Vec<String>> = below.skip(2).take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(!rows.is_empty(), "expected a table below {heading:?} of {document}");
    rows
}

/// Holds the rows to what is expected of them: of what, the most, and what is said of beyond.
fn hold(table: &[Vec<String>], expected: &[(&str, String, String)]) {
    for (of, most, beyond) in expected {
        let row = table.iter().find(|row| row[0] == *of).unwrap_or_else(|| panic!("expected a limit of {of:?}: {table:?}"));
        assert_eq!(&row[1], most, "the limit of {of}");
        assert!(row[2].contains(beyond.as_str()), "expected {beyond:?} in {:?}", row[2]);
    }
    for row in table {
        let is_held = expected.iter().any(|(of, ..)| *of == row[0]);
        let has_number = row.iter().any(|cell| cell.contains(|character: char| character.is_ascii_digit()));
        assert!(is_held || !has_number, "expected the limit of {:?} to be made of constants here, too", row[0]);
    }
}

#[test]
fn the_readmes_limits_are_those_of_code_and_template() {
    hold(&table("README.md", "## Limits"), &expected(&read("template.yaml")));
}

#[test]
fn the_limits_that_producers_are_told_are_the_same() {
    let message = number(&read("template.yaml"), "Queue:", "MaximumMessageSize:");
    let row = |of, most, beyond: &str| (of, most, beyond.to_owned());
    hold(
        &table("docs/PRODUCERS.md", "## Limits"),
        &[
            row("measurement", format!("{} bytes", thousands(MEASUREMENT_BYTES_MAX)), "`Oversize`"),
            row("`uid`", format!("1 to {UID_CHARS_MAX} characters"), "`UidTooLong`"),
            row("`meter`, `account`, code of a data field", format!("1 to {CODE_CHARS_MAX} characters"), "`MeterInvalid`"),
            row("measurements in a message", thousands(MESSAGE_MEASUREMENTS_MAX), "`Oversize`"),
            row("nesting", format!("{JSON_DEPTH_MAX} levels"), "`NotJson`"),
            row("message, inflated", format!("{} MiB", MESSAGE_INFLATED_BYTES_MAX / MIB), "`Oversize`"),
            row("message on the queue", format!("{} MiB, body and attributes", message / MIB), "SQS refuses it"),
        ],
    );
}

#[test]
fn producers_are_told_of_each_reason_once_and_of_no_other() {
    let text = read("docs/PRODUCERS.md");
    let section = text.split("\n## ").find(|section| section.starts_with("What is refused")).unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    let mut told: Vec<&str> = rows.map(|(reason, _)| reason).collect();
    let mut all = Reason::ALL.map(Reason::name);
    told.sort_unstable();
    all.sort_unstable();
    assert_eq!(told, all);
}

#[test]
fn thousands_are_told_apart() {
    assert_eq!([0, 999, 1_000, 511_980, 1_048_576].map(thousands), ["0", "999", "1,000", "511,980", "1,048,576"]);
}
