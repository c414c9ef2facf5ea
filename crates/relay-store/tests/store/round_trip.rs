//! What was quarantined is read as it was, once, wherever and however often it was written.

use relay_core::inbound::{Attribute, Origin};
use relay_store::{Entry, EntryAttribute, EntryText, NewEntry, Store, quarantine_id};

use crate::given::{START_MS, entry, files, in_folder, in_memory, soon};

/// Writes to a store of each kind, and reads again what the folder's file holds.
async fn round_trip(entries: &[NewEntry<'_>]) -> Vec<Entry> {
    let folder = tempfile::tempdir().unwrap();
    let (file, memory) = (in_folder(folder.path()), in_memory());
    for store in [&file, &memory] {
        store.quarantine("i-1", START_MS, entries.iter().cloned(), soon()).await.unwrap();
    }
    let (from_file, from_memory) = (in_folder(folder.path()).quarantined().await.unwrap(), memory.quarantined().await.unwrap());
    assert_eq!(format!("{from_file:?}"), format!("{from_memory:?}"));
    from_file
}

#[tokio::test]
async fn every_field_comes_back() {
    let attribute = Attribute { name: "Content-Encoding", data_type: "String", value: "gzip\n\"" };
    let whole = NewEntry {
        uid: Some("ü-1"),
        first_sent_at_ms: Some(-5),
        attributes: vec![attribute],
        queued_at_ms: Some(1),
        first_received_at_ms: Some(2),
        receives: 1_000,
        origin: Origin::parse("replay:\"q\""),
        ..entry(7, EntryText::Measurement("{}"))
    };
    let read = round_trip(&[whole]).await;
    let [one] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!((one.qid, one.uid.as_deref(), one.position), (quarantine_id("arn:queue", "m-1", 7), Some("ü-1"), 7));
    assert_eq!((one.reason.as_str(), one.detail.as_str(), one.stage.as_str()), ("NotJson", "expected JSON", "decode"));
    assert_eq!((one.first_sent_at, one.queued_at, one.first_received_at, one.receives), (Some(-5), Some(1), Some(2), 1_000));
    assert_eq!((one.message_id.as_str(), one.source_arn.as_str(), one.quarantined_at), ("m-1", "arn:queue", START_MS));
    assert_eq!(one.origin.as_ref().map(|origin| (origin.kind.as_str(), origin.of.as_str())), Some(("replay", "\"q\"")));
    assert_eq!(one.attributes.as_deref(), Some([read_attribute("Content-Encoding", "gzip\n\"")].as_slice()));
}

fn read_attribute(name: &str, value: &str) -> EntryAttribute {
    EntryAttribute { name: name.into(), data_type: "String".into(), value: value.into() }
}

#[tokio::test]
async fn every_entry_of_a_message_has_its_attributes_though_only_the_first_is_written_with_them() {
    let huge = "x".repeat(10_000);
    let attributed = |position, message_id, value| NewEntry {
        message_id,
        attributes: vec![Attribute { name: "a", data_type: "String", value }],
        ..entry(position, EntryText::Measurement("{}"))
    };
    let mine = (0..500).map(|place| attributed(place, "m-1", huge.as_str()));
    let none = NewEntry { message_id: "m-2", ..entry(0, EntryText::Body("x")) };
    let entries: Vec<_> = mine.chain([none, attributed(0, "m-3", "y"), attributed(1, "m-3", "y")]).collect();
    // 5 MB of attributes, were they written each time.
    let read = round_trip(&entries).await;
    assert_eq!(read.len(), 503);
    for entry in read {
        let expected = match entry.message_id.as_str() {
            "m-1" => vec![read_attribute("a", &huge)],
            "m-2" => vec![],
            _ => vec![read_attribute("a", "y")],
        };
        assert!(entry.attributes.as_deref() == Some(expected.as_slice()), "{}", entry.message_id);
    }
}

#[tokio::test]
async fn without_an_entry_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    in_folder(folder.path()).quarantine("i-1", START_MS, [], soon()).await.unwrap();
    assert!(files(folder.path()).is_empty());
}

#[tokio::test]
async fn what_is_absent_comes_back_absent() {
    let read = round_trip(&[entry(0, EntryText::Body(""))]).await;
    let one = read.first().unwrap();
    assert_eq!((&one.uid, one.first_sent_at, one.queued_at, one.first_received_at), (&None, None, None, None));
    assert_eq!((one.body.as_deref(), one.measurement.is_none()), (Some(""), true));
}

/// Keeps `text` as a measurement; expected: what is read.
async fn measurement(text: &str, expected: &str) {
    let read = round_trip(&[entry(0, EntryText::Measurement(text))]).await;
    let one = read.first().unwrap();
    assert_eq!(one.measurement.as_ref().map(|raw| raw.get()), Some(expected), "{text}");
    assert_eq!(one.body, None);
}

#[tokio::test]
async fn a_measurement_is_kept_as_it_was_written() {
    for text in [
        "{}",
        r#"{"n":1.000,"m":1e999,"big":123456789012345678901234567890,"twice":1,"twice":2}"#,
        r#"{ "spaced" : [ 1 , 2 ] }"#,
        r#"{"escaped":"\u0041\/\n\"","plain":"ü 😀"}"#,
        r#"{"half":"\ud800","other half":"\udc00"}"#,
    ] {
        measurement(text, text).await;
    }
}

#[tokio::test]
async fn a_measurement_over_several_lines_becomes_one_line() {
    measurement("{\r\n  \"a\": 1,\n  \"b\": \"x\\ny\"\r\n}", "{    \"a\": 1,   \"b\": \"x\\ny\"  }").await;
}

#[tokio::test]
async fn a_measurement_however_deep_is_kept() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
    measurement(&deep, &deep).await;
}

#[tokio::test]
async fn a_body_is_kept_to_the_character() {
    let long = "x".repeat(300_000);
    for text in ["", "not JSON", "{\"a\":\n1}", "\u{0}\u{1}\t\r\n\"\\", "\u{2028}ü😀", "null", long.as_str()] {
        let read = round_trip(&[entry(0, EntryText::Body(text))]).await;
        assert_eq!(read.first().unwrap().body.as_deref(), Some(text));
    }
}

#[tokio::test]
async fn what_was_called_a_measurement_and_is_not_json_is_kept_as_a_body() {
    for text in ["{", "{}{}", "", "{\"a\":\"\u{1}\"}"] {
        let read = round_trip(&[entry(0, EntryText::Measurement(text))]).await;
        let one = read.first().unwrap();
        assert_eq!((one.body.as_deref(), one.measurement.is_none()), (Some(text), true));
    }
}

#[tokio::test]
async fn an_entry_written_twice_is_one_and_the_first_counts() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    let first = [entry(0, EntryText::Body("first")), entry(1, EntryText::Body("other"))];
    store.quarantine("i-9", START_MS, first, soon()).await.unwrap();
    store.quarantine("i-1", START_MS + 5, [entry(0, EntryText::Body("second"))], soon()).await.unwrap();
    store.quarantine("i-0", START_MS + 3_600_000, [entry(0, EntryText::Body("third"))], soon()).await.unwrap();
    let bodies: Vec<_> = store.quarantined().await.unwrap().into_iter().filter_map(|entry| entry.body).collect();
    assert_eq!((bodies.len(), files(folder.path()).len()), (2, 3));
    assert!(bodies.contains(&"first".to_owned()) && bodies.contains(&"other".to_owned()), "{bodies:?}");
}

#[tokio::test]
async fn one_object_may_hold_an_entry_twice() {
    let read = round_trip(&[entry(0, EntryText::Body("a")), entry(0, EntryText::Body("b"))]).await;
    assert_eq!(read.len(), 1);
}

#[test]
fn the_id_of_an_entry_is_made_from_queue_message_and_position_and_never_changes() {
    let id = quarantine_id("arn:queue", "m-1", 0);
    assert_eq!(id.to_string(), GOLDEN);
    for other in
        [quarantine_id("arn:queue", "m-1", 1), quarantine_id("arn:queue", "m-2", 0), quarantine_id("arn:other", "m-1", 0)]
    {
        assert_ne!(id, other);
    }
}

/// UUIDv5 of `arn:queue\nm-1\n0` in the UUIDv5 of `usage-relay/quarantine/v1` in the URL namespace, by another library.
const GOLDEN: &str = "b0ef4eae-dd03-5cce-a261-981cfe11d98a";

#[tokio::test]
async fn objects_lie_in_the_folder_of_their_hour_in_utc_and_are_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    let long = "x".repeat(100_000);
    for (invocation, at_ms) in [("a", START_MS), ("b", START_MS + 3_599_999), ("c", START_MS + 3_600_000), ("d", START_MS - 1)] {
        store.quarantine(invocation, at_ms, [entry(0, EntryText::Body(&long))], soon()).await.unwrap();
    }
    let at = |day: &str, at_ms: i64, name: &str| format!("quarantine/v1/{day}/{at_ms}-{name}.ndjson.zst");
    let expected = [
        at("dt=2026-05-31/hr=23", START_MS - 1, "d"),
        at("dt=2026-06-01/hr=00", START_MS, "a"),
        at("dt=2026-06-01/hr=00", START_MS + 3_599_999, "b"),
        at("dt=2026-06-01/hr=01", START_MS + 3_600_000, "c"),
    ];
    let found = files(folder.path());
    assert_eq!(found.iter().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(), expected);
    for path in found {
        assert!(std::fs::metadata(folder.path().join(path)).unwrap().len() < 2_000);
    }
}

#[tokio::test]
async fn a_store_that_holds_nothing_reads_as_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for store in [in_memory(), in_folder(folder.path())] {
        assert!(store.quarantined().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_prefix_is_part_of_every_name() {
    let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
    let below = |prefix: &str| Store::over(objects.clone(), object_store::path::Path::from(prefix));
    below("some/prefix").quarantine("i", START_MS, [entry(0, EntryText::Body("x"))], soon()).await.unwrap();
    assert_eq!(below("some/prefix").quarantined().await.unwrap().len(), 1);
    assert_eq!(below("some").quarantined().await.unwrap().len(), 0);
}
