//! Any text as the event of an invocation → as many messages as it has records, each as the event says, each decoded.
#![no_main]

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use relay_core::decode::{Decoded, InflateBudget, decode};
use relay_core::guard::FirstSent;
use relay_core::inbound::Inbound;
use relay_core::limits::INVOCATION_MEASUREMENTS_MAX;
use relay_fuzz::{Reading, bounded};
use serde_json::Value;

// The very file, without the package around it, which would bring the AWS SDKs and minutes of compiling.
#[path = "../../../crates/lambda-shell/src/event.rs"]
mod event;

#[global_allocator]
static ALLOC: PeakAlloc = PeakAlloc;

/// Most records of one event. Source: AWS, `BatchSize` of an event source mapping.
const RECORDS_MAX: usize = 10_000;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    bounded(&ALLOC, text.len(), RECORDS_MAX + INVOCATION_MEASUREMENTS_MAX, || one(&text));
});

fn one(text: &str) -> usize {
    let arena = Bump::new();
    let records = match Reading::of(text.as_bytes()) {
        Reading::Is(Value::Object(mut members)) => members.remove("Records"),
        Reading::Is(_) | Reading::Untold | Reading::Not => None,
    };
    let Ok(messages) = event::messages(text, &arena) else {
        // Only a second key `Records` makes an event of none.
        assert!(!matches!(records, Some(Value::Array(_))) || text.matches("Records").count() > 1 || text.contains('\\'));
        return arena.allocated_bytes();
    };
    assert!(event::dead_letters(text, &arena).is_ok_and(|dead| dead.len() == messages.len()));
    if let Some(Value::Array(records)) = records {
        assert_eq!(messages.len(), records.len());
        messages.iter().zip(&records).for_each(|(message, record)| is_the_same(message, record));
    }
    let (mut found, mut budget) = (Vec::new(), InflateBudget::default());
    for (index, message) in messages.iter().enumerate() {
        assert!(message.receives >= 1);
        let _ = FirstSent::of(message);
        let before = found.len();
        match decode(message, index, &arena, &mut budget, &mut found) {
            Decoded::Found => assert!(found.len() > before),
            Decoded::Pointer | Decoded::OverBudget => assert_eq!(found.len(), before),
        }
        for (place, found) in found.iter().skip(before).enumerate() {
            assert_eq!((found.message, found.position), (index, place));
        }
    }
    arena.allocated_bytes()
}

/// A message has the id and the body that its record has. A record that cannot be read has neither.
fn is_the_same(message: &Inbound<'_>, record: &Value) {
    if !message.id.is_empty() {
        assert_eq!(record["messageId"], message.id);
    }
    if let (Value::String(body), false) = (&record["body"], message.id.is_empty()) {
        assert_eq!(body, message.body);
    }
}
