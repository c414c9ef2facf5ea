//! Bills that were worked out by hand, and the stack as the template has it.

use super::*;

const CPU: Cpu = Cpu { invocation_us: 700.0, message_us: 1.0, measurement_us: 4.0, byte_us: 0.002 };
const TEMPLATE: &str = include_str!("../../../../template.yaml");

fn load(per_second: f64, per_message: f64) -> Load {
    Load { per_second, per_message, bytes: 250.0, memory_mb: 256.0, gb_second: price::LAMBDA_GB_SECOND_ARM }
}

#[track_caller]
fn near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= expected.abs() * 0.000_5, "{what}: found {found}, expected {expected}");
}

/// 5,001 messages: 1 and a quarter of 1,000 a second for 20 s. Of 1,132.5 bytes each (850 + 1.13 × 250), 5,555 would fit. 6 requests are two
/// turns of 100 ms, and 30 ms are the ledger's. 0.7 + 5.001 + 20.004 ms of a core are 177.6 ms of 256 / 1,769 of it.
#[test]
fn an_invocation_gathers_for_the_window_and_is_billed_for_work_and_waiting() {
    let invocation = load(1_000.0, 1.0).invocation(CPU, true);
    assert_eq!((invocation.messages, invocation.measurements, invocation.requests), (5_001.0, 5_001.0, 6.0));
    near(invocation.cpu_ms, 25.705, "processor");
    assert_eq!(invocation.billed_ms, 408.0);
    near(invocation.per_second * MONTH_S, 525_495.0, "invocations a month");
    assert_eq!(load(1_000.0, 1.0).invocation(CPU, false).billed_ms, 378.0, "no ledger, 30 ms less");
}

/// 100 messages a second would make 501 in a window, but 215 of 29,233 bytes are an event: 850 + 1.13 × (100 × 251 + 18).
#[test]
fn an_event_ends_at_6_mb_and_a_batch_at_10_000_messages() {
    let invocation = load(10_000.0, 100.0).invocation(CPU, true);
    assert_eq!((invocation.messages, invocation.measurements, invocation.requests), (215.0, 21_500.0, 22.0));
    assert_eq!(invocation.billed_ms, 1_231.0, "86.915 ms of a core are 600.6 ms; six turns and the ledger are 630 ms");
    near(invocation.requests_per_second(), 10.233, "requests a second");
    near(invocation.at_once(), 0.5726, "at once");
    let tiny = Load { bytes: 1.0, ..load(100_000.0, 1.0) };
    assert_eq!(tiny.invocation(CPU, true).messages, 7_391.0, "6,291,456 / 851.13: hardly more than the metadata");
}

#[test]
fn a_load_of_one_message_in_an_hour_makes_one_invocation_of_it() {
    let invocation = load(1.0 / 3_600.0, 1.0).invocation(CPU, true);
    near(invocation.messages, 1.0 + 5.0 / 3_600.0, "messages");
    assert_eq!(invocation.requests, 1.0);
}

#[test]
fn requests_are_counted_by_bytes_where_measurements_are_large() {
    let large = Load { bytes: 5_119.0, ..load(1.0, 1.0) };
    // 6 messages of 5,120 bytes in one request; 100 of them in a message are 512,000 bytes and one too many.
    assert_eq!(large.invocation(CPU, true).requests, 1.0);
    let many = Load { bytes: 5_119.0, ..load(0.001, 100.0) };
    assert_eq!(many.invocation(CPU, true).requests, 2.0);
}

#[test]
fn more_memory_is_more_of_a_core_up_to_a_whole_one() {
    let billed = |memory_mb| Load { memory_mb, ..load(1_000.0, 1.0) }.invocation(CPU, true).billed_ms;
    assert_eq!([billed(128.0), billed(256.0), billed(1_769.0), billed(10_240.0)], [586.0, 408.0, 256.0, 256.0]);
}

/// By hand, for 525,494.9 invocations and 2,628,000,000 measurements a month:
///
/// * sends: 10 of 250 bytes in a request, 262.8 million requests; receives: 5 in a request, 525.6 million; deletes: 501 an invocation
/// * time: 525,494.9 × 0.408 s × 0.25 GB
/// * ledger: objects of 475,095 bytes, 8.208 GB a day, 30 days at 0.023 and 370 at 0.0125, and each is moved once
/// * logs: 2,900 bytes for each invocation and 8,760 looks; metrics: 56, the alarms, a dashboard
/// * watch: 8,760 × (0.0000002 + 1 GB-s + 5 puts + 15 gets), and 0.2 polls a second
/// * out: 251 bytes each
#[test]
fn the_bill_of_a_thousand_measurements_a_second_is_this_one() {
    let load = load(1_000.0, 1.0);
    let bill = load.bill(&load.invocation(CPU, true));
    let expected = [
        ("sqs_sends", 105.12),
        ("sqs_receives", 210.24),
        ("sqs_deletes", 105.309),
        ("lambda_requests", 0.1051),
        ("lambda_time", 0.7147),
        ("ledger_puts", 2.6275),
        ("ledger_storage", 48.880),
        ("logs", 0.7747),
        ("metrics", 16.8 + 0.1 * stack::ALARMS + 3.0),
        ("secret", 0.4584),
        ("watch", 0.6003),
        ("data_out", 59.3665),
    ];
    assert_eq!(bill.iter().map(|part| part.name).collect::<Vec<_>>(), expected.map(|(name, _)| name));
    for (part, (name, dollars)) in bill.iter().zip(expected) {
        near(part.dollars, dollars, name);
    }
    assert!(bill.iter().any(|part| part.title.contains(&format!("{} days", stack::LEDGER_DAYS))));
}

#[test]
fn a_queue_that_is_nearly_empty_is_asked_all_the_same_and_large_messages_are_several_requests() {
    let queue = |load: Load| load.queue(&load.invocation(CPU, true)).map(|dollars| dollars / MONTH_S / price::SQS_REQUEST);
    let [_, receives, _] = queue(load(0.01, 1.0));
    near(receives, 0.2, "four pollers, three times a minute");
    // 100 × 251 + 18 = 25,118 bytes: ten are 251,180, four requests; one at a time is one.
    let [sends, receives, _] = queue(load(100.0, 100.0));
    near(sends, 0.4, "sends");
    near(receives, 1.0, "receives");
    // 4,000 × 251 + 18 bytes: one in a call, 16 requests each.
    let [sends, ..] = queue(load(4_000.0, 4_000.0));
    near(sends, 16.0, "sends of a megabyte");
}

#[test]
fn small_ledger_objects_stay_where_they_are() {
    // 21 measurements an invocation: 1 + 4 / 4 × 20, 0.1905 a second, 500,571 objects of 1,995 bytes: 0.9986 GB in 30.4167 days.
    let load = load(4.0, 1.0);
    let [written, kept] = load.ledger(&load.invocation(CPU, true));
    near(written, 2.5029, "written");
    near(kept, 0.9986 / 30.416_7 * 400.0 * 0.023, "kept");
}

/// The default of a parameter, as it is written.
fn default(parameter: &str) -> f64 {
    let (_, rest) = TEMPLATE.split_once(&format!("\n  {parameter}:\n")).unwrap();
    let line = rest.lines().find_map(|line| line.trim().strip_prefix("Default: ")).unwrap();
    line.trim_matches('"').parse().unwrap()
}

/// What stands behind `key` in the resource `name`.
fn of(name: &str, key: &str) -> f64 {
    let (_, rest) = TEMPLATE.split_once(&format!("\n  {name}:\n")).unwrap();
    let (_, rest) = rest.split_once(&format!("{key}: ")).unwrap();
    rest.split([' ', '\n', ',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn the_stack_is_the_template_with_its_defaults() {
    for (found, expected) in [
        (default("BatchingWindowSeconds"), stack::WINDOW_S),
        (default("MaximumConcurrency"), stack::CONCURRENCY),
        (default("BatchesInFlight"), stack::BATCHES_IN_FLIGHT),
        (default("RequestsPerSecond"), stack::REQUESTS_PER_SECOND),
        (default("WatchMinutes"), stack::WATCH_MINUTES),
        (default("LedgerRetentionDays"), stack::LEDGER_DAYS),
        (of("StoreBucket", "TransitionInDays"), stack::LEDGER_MOVES_AFTER_DAYS),
        (of("QueueToFunction", "BatchSize"), stack::BATCH_MESSAGES_MAX),
        (of("DeadLetterQueueToFunction", "MaximumConcurrency"), stack::DEAD_LETTER_CONCURRENCY),
        (of("UploadQueueToFunction", "MaximumConcurrency"), stack::UPLOAD_CONCURRENCY),
        (of("Function", "MemorySize"), f64::from(stack::MEMORY_MB)),
        (of("IngestWatchFunction", "MemorySize"), stack::WATCH_MEMORY_MB),
    ] {
        assert_eq!(found, expected);
    }
    assert_eq!(TEMPLATE.matches("\n    Type: AWS::CloudWatch::Alarm\n").count() as f64, stack::ALARMS, "alarms");
}

#[test]
fn the_metrics_are_those_of_the_functions() {
    let count = |source: &str| -> f64 {
        let (_, rest) = source.split_once("METRICS: [Metric; ").unwrap();
        rest.split(']').next().unwrap().parse().unwrap()
    };
    let relay = count(include_str!("../../../../functions/ingest-relay/src/metrics.rs"));
    let watch = count(include_str!("../../../../functions/ingest-watch/src/metrics.rs"));
    assert_eq!(relay + watch + 1.0, stack::METRICS);
}

#[test]
fn the_dashboard_has_the_same_prices() {
    let written = |name: &str, place: usize| -> f64 {
        let (_, rest) = TEMPLATE.split_once(&format!("{name}: ")).unwrap();
        rest.split('"').nth(2 * place + 1).unwrap().parse().unwrap()
    };
    for (found, expected) in [
        (written("GbSecond", 0), price::LAMBDA_GB_SECOND_ARM),
        (written("GbSecond", 1), price::LAMBDA_GB_SECOND_X86),
        (written(" Run", 0), price::LAMBDA_REQUEST),
        (written(" SqsRequest", 0), price::SQS_REQUEST),
    ] {
        assert_eq!(found, expected);
    }
    let (_, when) = price::WHAT.split_once("us-east-1 in ").unwrap();
    assert!(TEMPLATE.contains(&format!("list prices of us-east-1 in {}", &when[..13])), "the same month");
}
