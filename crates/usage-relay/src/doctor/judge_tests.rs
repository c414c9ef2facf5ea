//! Facts in, what is to be mended out. Each test begins with what is right, and breaks one thing.

use serde_json::json;

use super::*;

fn configuration() -> Value {
    json!({"State": "Active", "LastUpdateStatus": "Successful", "Timeout": 60, "Environment": {"Variables": {
        "M3TER_ORG_ID": "org-1", "M3TER_SECRET_ARN": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:m3ter",
        "STORE_URL": "s3://bucket/relay", "QUEUE_URL": "https://sqs.eu-west-1.amazonaws.com/123456789012/usage",
        "MAXIMUM_CONCURRENCY": "4", "EXHAUST_AFTER_DAYS": "10"}}})
}

fn settings() -> Settings {
    Settings::of(&configuration())
}

fn right_mapping() -> Value {
    json!({"UUID": "u-1", "State": "Enabled", "EventSourceArn": "arn:aws:sqs:eu-west-1:123456789012:usage", "BatchSize": 10_000,
        "FunctionArn": "arn:aws:lambda:eu-west-1:123456789012:function:relay-1:live",
        "MaximumBatchingWindowInSeconds": 20, "FunctionResponseTypes": ["ReportBatchItemFailures"],
        "ScalingConfig": {"MaximumConcurrency": 4}, "LastProcessingResult": "No records processed"})
}

fn right_queue() -> Attributes {
    let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:123456789012:dead","maxReceiveCount":1000}"#;
    [
        ("QueueArn", "arn:aws:sqs:eu-west-1:123456789012:usage"),
        ("MessageRetentionPeriod", "1209600"),
        ("VisibilityTimeout", "380"),
        ("RedrivePolicy", policy),
        ("SqsManagedSseEnabled", "true"),
        ("MaximumMessageSize", "1048576"),
        ("ApproximateNumberOfMessages", "12"),
        ("ApproximateNumberOfMessagesNotVisible", "3"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn dead_queue() -> Attributes {
    let mut dead = right_queue();
    dead.insert("QueueArn".into(), "arn:aws:sqs:eu-west-1:123456789012:dead".into());
    dead.insert("ApproximateNumberOfMessages".into(), "0".into());
    dead.insert("ApproximateNumberOfMessagesNotVisible".into(), "0".into());
    dead
}

/// Expects what is said of it to be these faults: each a word of what was found, and one of what to do.
fn check((found, faults): Judged, expected: &[(&str, &str)]) {
    assert_eq!(faults.len(), expected.len(), "{found}: {faults:?}");
    for (fault, (found, mend)) in faults.iter().zip(expected) {
        assert!(fault.found.contains(found) && fault.mend.contains(mend), "{fault:?} should say {found} and {mend}");
    }
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).unwrap() = new;
    value
}

fn having(mut attributes: Attributes, name: &str, value: &str) -> Attributes {
    attributes.insert(name.into(), value.into());
    attributes
}

#[test]
fn what_is_right_is_said_to_be() {
    assert_eq!(function(&configuration()), ("active, time-out 60 s".to_owned(), vec![]));
    let (found, faults) = mapping(&right_mapping(), &settings());
    assert_eq!(found, "enabled, up to 10,000 messages or 20 s, 4 at a time, failures reported one by one");
    assert_eq!(faults, []);
    let (found, faults) = queue(&right_queue(), &settings(), 20);
    let expected = "standard, keeps 14 days, visible again after 380 s, given up after 1,000 receives, up to 1,048,576 bytes, \
                    encrypted; 12 waiting, 3 in flight";
    assert_eq!((found.as_str(), faults), (expected, vec![]));
    let (found, faults) = dead_letters(&dead_queue(), &right_queue(), &[right_mapping()], Some("relay-1"), 60);
    assert_eq!((found.as_str(), faults), ("keeps 14 days, drained by relay-1, empty, encrypted", vec![]));
    let (found, faults) = files(&right_queue(), &[right_mapping()]);
    assert_eq!((found.as_str(), faults), ("their queue is drained by relay-1; 12 waiting, 3 in flight", vec![]));
}

#[test]
fn a_function_that_is_not_the_relays_or_not_ready_is_told() {
    check(function(&json!({"State": "Active", "Timeout": 3})), &[("no setting M3TER_ORG_ID, M3TER_SECRET_ARN", "FunctionName")]);
    check(function(&with(configuration(), "/State", json!("Failed"))), &[("it is Failed", "deploy it again")]);
    check(function(&with(configuration(), "/LastUpdateStatus", json!("Failed"))), &[("last update failed", "deploy")]);
    check(function(&with(configuration(), "/State", json!("Inactive"))), &[]);
}

#[test]
fn each_thing_that_can_be_wrong_with_a_mapping_is_told_with_what_to_do() {
    for (pointer, new, found, mend) in [
        ("/State", json!("Disabled"), "it is Disabled", "--enabled --uuid u-1"),
        ("/State", json!("Enabling"), "it is Enabling", "wait"),
        ("/FunctionResponseTypes", json!([]), "deletes messages", "ReportBatchItemFailures"),
        ("/FunctionResponseTypes", json!(null), "deletes messages", "ReportBatchItemFailures"),
        ("/BatchSize", json!(10), "at most 10 messages", "BatchSize to 10000"),
        ("/MaximumBatchingWindowInSeconds", json!(0), "no batching window", "to 20"),
        ("/ScalingConfig", json!(null), "no MaximumConcurrency", "MaximumConcurrency to 4"),
        ("/ScalingConfig/MaximumConcurrency", json!(50), "MaximumConcurrency 50", "MaximumConcurrency to 4"),
        ("/LastProcessingResult", json!("PROBLEM: role"), "PROBLEM: role", "role"),
    ] {
        check(mapping(&with(right_mapping(), pointer, new), &settings()), &[(found, mend)]);
    }
}

#[test]
fn the_mapping_is_the_one_from_the_queue_that_the_function_is_set_to() {
    let other = with(right_mapping(), "/EventSourceArn", json!("arn:aws:sqs:eu-west-1:123456789012:other-usage"));
    assert_eq!(from_queue(&[other.clone(), right_mapping()], &settings()), Some(&right_mapping()));
    assert_eq!(from_queue(&[other], &settings()), None);
}

#[test]
fn each_thing_that_can_be_wrong_with_a_queue_is_told_with_what_to_do() {
    let policy = |receives: &str| format!(r#"{{"deadLetterTargetArn":"arn:dead","maxReceiveCount":{receives}}}"#);
    for (name, value, found, mend) in [
        ("QueueArn", "arn:aws:sqs:eu-west-1:123456789012:usage.fifo", "FIFO", "standard queue"),
        ("MessageRetentionPeriod", "345600", "keeps messages for 4 days", "1209600"),
        ("VisibilityTimeout", "379", "comes back after 379 s", "VisibilityTimeout to 380"),
        ("RedrivePolicy", "", "no dead-letter queue", "maxReceiveCount 1000"),
        ("RedrivePolicy", &policy("5"), "after 5 receives", "maxReceiveCount to 1000"),
        ("RedrivePolicy", &policy("\"3\""), "after 3 receives", "maxReceiveCount to 1000"),
        ("SqsManagedSseEnabled", "false", "not encrypted", "SqsManagedSseEnabled"),
    ] {
        check(queue(&having(right_queue(), name, value), &settings(), 20), &[(found, mend)]);
    }
    let by_key = having(having(right_queue(), "SqsManagedSseEnabled", "false"), "KmsMasterKeyId", "alias/mine");
    check(queue(&by_key, &settings(), 20), &[]);
}

#[test]
fn all_that_is_wrong_with_a_queue_is_told_at_once() {
    check(queue(&Attributes::new(), &settings(), 20), &[("", "1209600"), ("", "Sse"), ("", "380"), ("", "RedrivePolicy")]);
}

#[test]
fn a_message_is_never_given_up_by_count_before_it_is_by_age() {
    let least = |days: u32| receives_least(days);
    assert!(least(10) <= u64::from(RECEIVES_MAX) && least(10) > 900, "{}", least(10));
    assert!(least(1) < least(2) && least(2) < least(10));
    assert_eq!(least(14), u64::from(RECEIVES_MAX), "no more than SQS takes");
    let soon = with(configuration(), "/Environment/Variables/EXHAUST_AFTER_DAYS", json!("1"));
    let policy = format!(r#"{{"deadLetterTargetArn":"arn:dead","maxReceiveCount":{}}}"#, least(1));
    check(queue(&having(right_queue(), "RedrivePolicy", &policy), &Settings::of(&soon), 20), &[]);
    check(queue(&having(right_queue(), "RedrivePolicy", &policy), &settings(), 20), &[("gives a message up", "1000")]);
}

#[test]
fn each_thing_that_can_be_wrong_with_a_dead_letter_queue_is_told_with_what_to_do() {
    for (name, value, found, mend) in [
        ("QueueArn", "arn:aws:sqs:eu-west-1:123456789012:dead.fifo", "FIFO", "standard"),
        ("MessageRetentionPeriod", "1209599", "1209599 s", "1209600"),
        ("MaximumMessageSize", "262144", "takes 262,144 bytes", "1048576"),
        ("VisibilityTimeout", "379", "comes back after 379 s", "VisibilityTimeout to 380"),
        ("ApproximateNumberOfMessages", "2", "holds 2 messages", "DeadLetterLogGroupName"),
        ("ApproximateNumberOfMessagesNotVisible", "1", "holds 1 message (1 in flight)", "DeadLetterLogGroupName"),
    ] {
        let dead = having(dead_queue(), name, value);
        check(dead_letters(&dead, &right_queue(), &[right_mapping()], Some("relay-1"), 60), &[(found, mend)]);
    }
    let of = |mappings: &[Value], own| dead_letters(&dead_queue(), &right_queue(), mappings, own, 60);
    check(of(&[], None), &[("nothing drains it", "DeadLetterFunctionName")]);
    let off = with(right_mapping(), "/State", json!("Disabled"));
    check(of(&[off], Some("own")), &[("nothing drains it", "DeadLetterFunctionName")]);
    check(of(&[right_mapping()], Some("own")), &[("relay-1 takes messages from it, too", "--no-enabled --uuid u-1")]);
    check(of(&[right_mapping()], None), &[]);
}

#[test]
fn whoever_else_takes_from_the_queue_is_told() {
    let other = with(right_mapping(), "/FunctionArn", json!("arn:aws:lambda:eu-west-1:123456789012:function:other"));
    let told = |mappings: &[Value]| (String::new(), others(mappings, "relay-1"));
    check(
        told(&[right_mapping(), other.clone()]),
        &[("other takes messages from it, too, and relay-1", "--no-enabled --uuid u-1")],
    );
    check(told(&[with(other.clone(), "/State", json!("Enabling"))]), &[("other takes", "--no-enabled")]);
    check(told(&[with(other, "/State", json!("Disabled")), right_mapping()]), &[]);
}

#[test]
fn files_that_nothing_takes_are_told() {
    check(files(&right_queue(), &[]), &[("nothing takes files", "deploy")]);
    let off = with(right_mapping(), "/State", json!("Disabled"));
    check(files(&right_queue(), &[off]), &[("it is Disabled", "--enabled --uuid u-1")]);
}
