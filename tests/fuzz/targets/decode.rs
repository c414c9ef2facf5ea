//! Any body, with and without an encoding → its measurements, each guarded. The first byte chooses encoding and settings.
#![no_main]

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;
use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::fuzz_target;
use peak_alloc::PeakAlloc;
use relay_core::canonical::{canonical, content_uid};
use relay_core::decode::{Decoded, Found, InflateBudget, decode};
use relay_core::guard::{FirstSent, Guarded, Judged, MissingUid, Rules, guard, uid_of};
use relay_core::inbound::{Attribute, CONTENT_ENCODING, Inbound};
use relay_core::limits::{MEASUREMENT_BYTES_MAX, MESSAGE_MEASUREMENTS_MAX, UID_CHARS_MAX};
use relay_core::pointer::pointer;
use relay_fuzz::{Reading, bounded};
use serde_json::Value;

#[global_allocator]
static ALLOC: PeakAlloc = PeakAlloc;

/// 2026-01-02T04:04:05Z, an hour after the seeds' measurements.
const NOW_MS: i64 = 1_767_326_645_000;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else { return };
    let (body, encoding) = match choice % 4 {
        0 => (text(rest), None),
        1 => (text(rest), Some("gzip")),
        // What is inside a gzip stream cannot be guessed from outside: its checksum is in the way.
        2 => (packed(rest), Some("GZip ")),
        _ => (text(rest), Some("deflate")),
    };
    let missing_uid = if choice & 4 == 0 { MissingUid::Refuse } else { MissingUid::Content };
    let first_sent = if choice & 8 == 0 { FirstSent::NotBefore(NOW_MS - 60_000) } else { FirstSent::Unknown };
    bounded(&ALLOC, body.len(), MESSAGE_MEASUREMENTS_MAX, || {
        one(&body, encoding, first_sent, Rules { missing_uid, now_ms: NOW_MS })
    });
});

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn packed(bytes: &[u8]) -> String {
    let mut writer = GzEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).expect("a Vec takes all");
    STANDARD.encode(writer.finish().expect("a Vec takes all"))
}

fn one(body: &str, encoding: Option<&str>, first_sent: FirstSent, rules: Rules) -> usize {
    let arena = Bump::new();
    let attribute = |value| Attribute { name: CONTENT_ENCODING, data_type: "String", value };
    let message = Inbound { id: "m", handle: "h", body, attributes: encoding.map(attribute).into_iter().collect(), source: "q", ..Inbound::default() };
    let mut found = Vec::new();
    let points_somewhere = pointer(&message, &arena).is_some();
    match decode(&message, 7, &arena, &mut InflateBudget::default(), &mut found) {
        Decoded::Found => assert!(!found.is_empty() && !points_somewhere),
        Decoded::Pointer => assert!(found.is_empty()),
        Decoded::OverBudget => panic!("one message never fills an invocation"),
    }
    for (place, found) in found.iter().enumerate() {
        assert_eq!((found.message, found.position), (7, place));
        assert!(found.refusal.as_ref().is_none_or(|refusal| !refusal.detail.is_empty()));
        let judged = guard(found, first_sent, rules, &arena);
        match (&found.refusal, judged) {
            (None, Judged::Good(good)) => is_the_same(found, good, &arena),
            (None, Judged::NotDue(ahead_ms)) => assert!(ahead_ms > 0),
            (None, Judged::Refused(refusal)) => assert!(!refusal.detail.is_empty()),
            // The walk asks guard only about what decode let through; it must not fall over the rest either.
            (Some(_), _) => {}
        }
        assert!(uid_of(found.text, &arena).is_none_or(|uid| uid.chars().count() <= UID_CHARS_MAX));
    }
    arena.allocated_bytes()
}

/// What is good is sent: it must be JSON, within the limit, and say what its producer said.
fn is_the_same(found: &Found<'_>, good: Guarded<'_>, arena: &Bump) {
    assert!(good.text.len() <= MEASUREMENT_BYTES_MAX);
    let written = canonical(found.text, arena).expect("what is good has a canonical form");
    assert_eq!(canonical(good.text, arena).as_ref(), Some(&written));
    let (was, is) = (Reading::of(found.text.as_bytes()), Reading::of(good.text.as_bytes()));
    let (Reading::Is(was), Reading::Is(is)) = (&was, &is) else {
        assert!(matches!((&was, &is), (Reading::Untold, Reading::Untold)), "{was:?} became {is:?}");
        return;
    };
    for key in ["meter", "account", "ts", "measure", "metadata"] {
        let was = Some(&was[key]).filter(|was| !was.is_null());
        assert_eq!(was, is.get(key), "{key}");
    }
    assert_eq!(is["uid"], good.uid);
    match &was["uid"] {
        Value::String(uid) if !uid.is_empty() => assert_eq!(uid, good.uid),
        _ => assert_eq!(content_uid(&written).to_string(), good.uid),
    }
}
