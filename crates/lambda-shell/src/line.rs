//! The lines of the log: one JSON object a line, with CloudWatch's embedded metrics in it.
//!
//! Numbers and message ids only: no body, account or uid. Which metrics there are is a function's own affair; a line takes
//! only those that are in its table.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "UsageRelay";

/// Most values of one metric in one line. Source: the embedded metric format.
pub const VALUES_MAX: usize = 100;

/// A metric: name, unit, meaning.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// CloudWatch's unit.
    pub unit: &'static str,
    /// What it counts.
    pub meaning: &'static str,
}

/// A row of a table of metrics.
pub const fn metric(name: &'static str, unit: &'static str, meaning: &'static str) -> Metric {
    Metric { name, unit, meaning }
}

/// What a line says besides its metrics.
#[derive(Clone, Copy, Debug)]
pub struct Invocation<'a> {
    /// The function.
    pub function: &'a str,
    /// Lambda's id of the invocation.
    pub request_id: &'a str,
    /// Now: milliseconds since the epoch.
    pub now_ms: i64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// Appends one line with `values`, whose units are those of `metrics`, by the function and by `dimensions`. A line holds one value of a
/// dimension, so each value has a line of its own.
pub fn push(
    lines: &mut String,
    metrics: &[Metric],
    invocation: Invocation<'_>,
    (level, message): (&str, &str),
    values: Vec<(&'static str, Value)>,
    dimensions: &[(&'static str, &str)],
) {
    let unit = |name: &str| metrics.iter().find(|metric| metric.name == name).map_or("None", |metric| metric.unit);
    let names: Vec<Value> = values.iter().map(|(name, _)| json!({"Name": name, "Unit": unit(name)})).collect();
    let by: Vec<&str> = ["Function"].into_iter().chain(dimensions.iter().map(|(name, _)| *name)).collect();
    let directive = json!({"Namespace": NAMESPACE, "Dimensions": [by], "Metrics": names});
    let mut line = Map::new();
    line.insert("timestamp".into(), json!(rfc3339(invocation.now_ms)));
    line.insert("level".into(), json!(level));
    line.insert("message".into(), json!(message));
    line.insert("requestId".into(), json!(invocation.request_id));
    line.insert("Function".into(), json!(invocation.function));
    line.extend(dimensions.iter().map(|(name, value)| ((*name).to_owned(), json!(value))));
    line.extend(values.into_iter().map(|(name, value)| (name.to_owned(), value)));
    line.insert("_aws".into(), json!({"Timestamp": invocation.now_ms, "CloudWatchMetrics": [directive]}));
    lines.push_str(&Value::Object(line).to_string());
    lines.push('\n');
}

/// A line that is not about an invocation: `level` is `error` or `info`. `message` and `detail` must hold no data.
pub fn plain(now_ms: i64, level: &str, message: &str, detail: &str) -> String {
    format!("{}\n", json!({"timestamp": rfc3339(now_ms), "level": level, "message": message, "detail": detail}))
}

fn rfc3339(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: [Metric; 2] = [metric("Lost", "Count", "nothing"), metric("Age", "Milliseconds", "time")];
    const INVOCATION: Invocation<'_> = Invocation { function: "f", request_id: "r", now_ms: 1_000, took_ms: 3 };

    fn line(dimensions: &[(&'static str, &str)]) -> Value {
        let mut lines = String::new();
        push(&mut lines, &METRICS, INVOCATION, ("warn", "said"), vec![("Lost", json!(0)), ("Age", json!([1, 2]))], dimensions);
        let (line, rest) = lines.split_once('\n').unwrap();
        assert_eq!(rest, "");
        serde_json::from_str(line).unwrap()
    }

    #[test]
    fn a_line_is_what_cloudwatch_takes_metrics_from() {
        let metrics = json!([{"Name": "Lost", "Unit": "Count"}, {"Name": "Age", "Unit": "Milliseconds"}]);
        let directive = json!({"Namespace": "UsageRelay", "Dimensions": [["Function"]], "Metrics": metrics});
        let expected = json!({
            "timestamp": "1970-01-01T00:00:01Z", "level": "warn", "message": "said", "requestId": "r", "Function": "f",
            "Lost": 0, "Age": [1, 2], "_aws": {"Timestamp": 1_000, "CloudWatchMetrics": [directive]},
        });
        assert_eq!(line(&[]), expected);
    }

    #[test]
    fn a_reason_is_a_dimension_of_its_line() {
        let line = line(&[("Meter", "m"), ("Reason", "NotJson")]);
        assert_eq!((&line["Meter"], &line["Reason"]), (&json!("m"), &json!("NotJson")));
        assert_eq!(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"], json!([["Function", "Meter", "Reason"]]));
    }
}
