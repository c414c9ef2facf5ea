//! What the largest events cost a process. Figures are printed, to be seen in any run; what is asserted of memory is only what
//! a limit of the relay is there for.

use std::io::Write;
use std::time::Duration;

use relay_core::limits::{INVOCATION_INFLATED_BYTES_MAX, INVOCATION_MEASUREMENTS_MAX, MESSAGE_MEASUREMENTS_MAX};
use runtime_api::{RECORDS_MAX, Record, SqsEvent};
use serde_json::Value;

use crate::usage::{body, but, event_of, gzipped};
use crate::world::{Delivery, Outside, World};

/// What a function of Lambda's smallest size has.
const SMALLEST_FUNCTION_BYTES: u64 = 128 << 20;

/// Prints what `delivery` of `event` cost, and gives back the peak of memory, in bytes.
fn cost(what: &str, world: &World, event: &SqsEvent, delivery: &Delivery) -> u64 {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let usage = world.function.usage().unwrap();
    let figures = format!(
        "{what}, {:.1} MiB: {:.0?}, {:.0?} of processor time with its start, peak memory {:.1} MiB",
        mib(event.bytes().len() as u64),
        delivery.invocation.elapsed,
        usage.cpu,
        mib(usage.peak_rss_bytes),
    );
    // Not through the test's captured output: a figure is of use only where it is seen.
    writeln!(std::io::stderr(), "{figures}").unwrap();
    usage.peak_rss_bytes
}

#[tokio::test]
async fn ten_thousand_messages_go_in_ten_requests_of_a_thousand() {
    let mut world = World::start().await;
    let bodies = (0..RECORDS_MAX).map(|number| world.usage.small(&number.to_string()).to_string());
    let event = SqsEvent::builder().short_receipt_handles().bodies(bodies).build().unwrap();
    let delivery = world.deliver(&event).await;
    assert!(delivery.returned.is_empty());
    delivery.counts(&[("Received", 10_000), ("Done", 10_000), ("Accepted", 10_000), ("Batches", 10), ("Attempts", 10)]);
    let sizes: Vec<_> = world.ledger().requests.iter().map(|request| request.measurements).collect();
    assert_eq!(sizes, [1_000; 10]);
    world.counted_once(10_000);
    cost("10,000 messages accepted", &world, &event, &delivery);
}

#[tokio::test]
async fn ten_thousand_messages_that_are_all_bad_are_all_kept() {
    let mut world = World::start().await;
    let bad = |number: usize| but(world.usage.small(&number.to_string()), "meter", Value::Null).to_string();
    let event = SqsEvent::builder().short_receipt_handles().bodies((0..RECORDS_MAX).map(bad)).build().unwrap();
    let delivery = world.deliver(&event).await;
    delivery.counts(&[("Done", 10_000), ("Quarantined", 10_000), ("Attempts", 0)]);
    assert_eq!((world.quarantine_objects(), world.quarantined().await.len()), (1, 10_000));
    cost("10,000 messages quarantined", &world, &event, &delivery);
}

/// 32 MiB is as much as an invocation inflates.
#[tokio::test]
async fn compressed_messages_beyond_what_an_invocation_inflates_come_back_and_the_smallest_function_lives() {
    let mut world = World::start().await;
    let note = "canary ".repeat(400);
    let batch = |message: usize| {
        let one = |number: usize| {
            let name = format!("{message}-{number}");
            but(world.usage.small(&name), "metadata", serde_json::json!({ "note": note }))
        };
        body(&(0..1_400).map(one).collect::<Vec<_>>())
    };
    let bodies: Vec<_> = (0..9).map(batch).collect();
    let inflated = |count: usize| bodies.iter().take(count).map(String::len).sum::<usize>();
    assert!((inflated(8)..inflated(9)).contains(&INVOCATION_INFLATED_BYTES_MAX), "{} bytes each", bodies[0].len());
    let event = event_of(bodies.iter().map(|body| gzipped(body)));
    let delivery = world.deliver(&event).await;
    assert_eq!(delivery.returned, event.message_ids()[8..]);
    delivery.counts(&[("Done", 8), ("OverBudget", 1), ("Accepted", 8 * 1_400)]);
    world.counted_once(8 * 1_400);
    let peak_bytes = cost("32 MiB of measurements, compressed", &world, &event, &delivery);
    assert!(peak_bytes < SMALLEST_FUNCTION_BYTES, "{peak_bytes}");
}

/// A list of very little is many times its bytes once it is taken apart.
#[tokio::test]
async fn messages_of_nothing_but_commas_come_back_or_are_kept_and_the_smallest_function_lives() {
    let mut world = World::start().await;
    let list = |count: usize| format!("[{}]", vec!["1"; count].join(","));
    let fullest = MESSAGE_MEASUREMENTS_MAX;
    let counts = [fullest + 1, 2_000_000, 500_000, fullest, INVOCATION_MEASUREMENTS_MAX - fullest, 2];
    let event = event_of(counts.iter().map(|count| gzipped(&list(*count))));
    let delivery = world.deliver(&event).await;
    assert_eq!(delivery.returned, event.message_ids()[5..]);
    delivery.counts(&[("Done", 5), ("OverBudget", 1), ("Quarantined", 3 + INVOCATION_MEASUREMENTS_MAX as u64), ("Attempts", 0)]);
    let peak_bytes = cost("100,000 refusals of one byte each", &world, &event, &delivery);
    assert!(peak_bytes < SMALLEST_FUNCTION_BYTES, "{peak_bytes}");
}

/// What each refusal is kept with must not be what all of them bring.
#[tokio::test]
async fn a_message_of_many_refusals_and_huge_attributes_is_kept_and_the_smallest_function_lives() {
    let mut world = World::start().await;
    let list = format!("[{}]", vec!["1"; MESSAGE_MEASUREMENTS_MAX].join(","));
    let record = Record::new(&list).attribute("note", "x".repeat(800_000));
    let delivery = world.deliver(&event_of([record])).await;
    delivery.counts(&[("Done", 1), ("Quarantined", MESSAGE_MEASUREMENTS_MAX as u64), ("Attempts", 0)]);
    let peak_bytes = cost("80,000 refusals with 0.8 MB of attributes", &world, &event_of([Record::new("")]), &delivery);
    assert!(peak_bytes < SMALLEST_FUNCTION_BYTES, "{peak_bytes}");
}

/// The price of the ledger, side by side: five full events after one to warm up, each in its own process. A figure, no verdict.
#[tokio::test]
async fn a_ledger_in_full_in_uids_and_off_holds_what_its_mode_says() {
    let mut spent_ms = Vec::new();
    for (mode, lines) in [("off", 0), ("uids", RECORDS_MAX), ("full", RECORDS_MAX)] {
        let outside = Outside::start().await;
        let spec = outside.spec().env("LEDGER_MODE", mode);
        let mut world = outside.run(spec).await;
        let (mut before, mut spent) = (Duration::ZERO, Duration::ZERO);
        for round in 0..6 {
            let bodies = (0..RECORDS_MAX).map(|number| world.usage.small(&format!("{round}-{number}")).to_string());
            let event = SqsEvent::builder().short_receipt_handles().bodies(bodies).build().unwrap();
            let delivery = world.deliver(&event).await;
            delivery.counts(&[("Done", RECORDS_MAX as u64), ("Recorded", lines as u64)]);
            let now = world.function.usage().unwrap().cpu;
            (before, spent) = (now, if round == 0 { spent } else { spent + now.saturating_sub(before) });
        }
        assert_eq!(world.recorded().len(), 6 * lines);
        spent_ms.push(spent.as_secs_f64() * 1_000.0 / 5.0);
    }
    let [off, uids, full] = spent_ms[..] else { panic!("three modes") };
    let figures = format!(
        "10,000 messages without a ledger {off:.1} ms of processor time; with uids {:.2} times that, in full {:.2} times",
        uids / off,
        full / off
    );
    writeln!(std::io::stderr(), "{figures}").unwrap();
}
