//! Settings that are wrong: the function refuses to start, and says all that is wrong at once.

use runtime_api::{FunctionSpec, StartError};
use serde_json::Value;

use crate::usage::CANARY;
use crate::world::Outside;

/// Settings, each with a value that is refused. Each value that could be a secret's has a canary in it.
const FAULTS: [(&str, &str); 11] = [
    ("M3TER_ORG_ID", "canary/org"),
    ("M3TER_API_URL", "https://canary-user:canary-password@api.m3ter.com"),
    ("M3TER_INGEST_URL", "http://canary.example.com"),
    ("M3TER_SECRET_ARN", "{\"access_key_id\":\"canary-key\",\"api_secret\":\"canary-secret\"}"),
    ("STORE_URL", "s3:///canary-prefix"),
    ("QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/canary.fifo"),
    ("REQUESTS_PER_SECOND", "0"),
    ("MAXIMUM_CONCURRENCY", "canary"),
    ("BATCHES_IN_FLIGHT", "17"),
    ("MISSING_UID", "canary"),
    ("EXHAUST_AFTER_DAYS", "15"),
];

/// What the one line says that is printed by a function that refuses to start.
async fn detail(outside: &Outside, spec: FunctionSpec) -> String {
    let StartError::Exited { status, output } = outside.refusal(spec).await else { panic!("it ends by itself") };
    assert_eq!(status.code(), Some(1));
    assert_eq!(output.stderr.text(), "");
    let lines = output.stdout.lines();
    let [line] = &lines[..] else { panic!("one line was expected: {lines:?}") };
    assert!(!line.contains(CANARY), "it prints a value: {line}");
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((line["level"].as_str(), line["message"].as_str()), (Some("error"), Some("refused to start")));
    line["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_function_with_faulty_settings_refuses_to_start_and_names_all_of_them() {
    let outside = Outside::start().await;
    let faulty = FAULTS.iter().fold(outside.spec(), |spec, (name, value)| spec.env(*name, *value));
    let detail = detail(&outside, faulty).await;
    for (name, _) in FAULTS {
        assert_eq!(detail.matches(&format!("{name}: expected ")).count(), 1, "{name} in {detail}");
    }
    assert_eq!(outside.aws.secrets().calls(), 0);
}

#[tokio::test]
async fn a_function_without_settings_names_the_four_that_have_no_default() {
    let outside = Outside::start().await;
    let without = ["M3TER_ORG_ID", "M3TER_SECRET_ARN", "STORE_URL", "QUEUE_URL"];
    let empty = without.iter().fold(outside.spec(), |spec, name| spec.env(*name, ""));
    let detail = detail(&outside, empty).await;
    let named: Vec<_> = detail.split("; ").filter_map(|fault| Some(fault.split_once(": ")?.0)).collect();
    assert_eq!(named, without);
}

#[tokio::test]
async fn a_function_with_a_misspelt_setting_refuses_to_start_although_the_right_one_has_a_default() {
    let outside = Outside::start().await;
    let spec = outside.spec().env("LEDGER_MOD", "off").env("M3TER_API_SECRET", "canary-secret");
    let expected = "LEDGER_MOD: expected no setting of this name; LEDGER_MODE is one; M3TER_API_SECRET: expected no setting of this name; \
                    those of m3ter are M3TER_ORG_ID, M3TER_SECRET_ARN, M3TER_API_URL, M3TER_INGEST_URL";
    assert_eq!(detail(&outside, spec).await, expected);
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_a_reason_not_to_start() {
    let outside = Outside::start().await;
    for url in ["s3://", "file:///canary/nowhere", "s3://canary/%ff"] {
        let detail = detail(&outside, outside.spec().env("STORE_URL", url)).await;
        assert!(detail.starts_with("STORE_URL: "), "{detail}");
    }
}
