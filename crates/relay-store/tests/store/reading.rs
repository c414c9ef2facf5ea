//! Many objects are read at once, as streams; one that cannot be read hides neither its neighbours nor itself.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use object_store::memory::InMemory;
use relay_core::inbound::{Attribute, Origin};
use relay_store::{
    EntryText, Folder, Hours, LedgerAnswer, LedgerMode, LedgerWrite, Line, NewEntry, NewLine, Store, Unreadable, Wanted,
    quarantine_id,
};

use crate::given::{START_MS, entry, files, in_folder, in_memory, soon};

const HOUR_MS: i64 = 3_600_000;

fn line<'a>(uid: &'a str, text: &'a str, origin: Option<&'a str>) -> NewLine<'a> {
    NewLine {
        uid,
        meter: "m\"1",
        account: "a",
        ts: "2026-06-01T00:00:00Z",
        ts_ms: START_MS,
        batch: 1,
        message_id: "m-1",
        queued_at_ms: None,
        sent_at_ms: START_MS,
        attempts: 1,
        receives: 1,
        answer: LedgerAnswer::Accepted,
        origin: origin.and_then(Origin::parse),
        text,
    }
}

async fn record(store: &Store, mode: LedgerMode, invocation: &str, at_ms: i64, lines: Vec<NewLine<'_>>) {
    store.record((mode, LedgerWrite::Required), invocation, at_ms, lines, soon()).await.unwrap();
}

/// All that is wanted between two times, sorted, and what could not be read.
async fn lines(store: &Store, (from_ms, until_ms): (i64, i64), wanted: Wanted) -> (Vec<Line>, Vec<Unreadable>) {
    let listed = store.objects(Folder::Ledger, Hours::between(from_ms, until_ms)).await.unwrap();
    let (mut found, mut ended, objects) = (Vec::new(), 0, listed.objects.len());
    let mut unreadable = listed.unreadable;
    let torn = store.ledger_lines(listed.objects, wanted, |_, line| match line {
        Some(line) => found.push(line),
        None => ended += 1,
    });
    let torn = torn.await;
    assert_eq!(ended + torn.len(), objects, "each object ends once, or is told");
    unreadable.extend(torn);
    found.sort_by(|one: &Line, other| one.uid.cmp(&other.uid));
    (found, unreadable)
}

fn uids(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.uid.as_str()).collect()
}

#[tokio::test]
async fn only_the_wanted_lines_of_the_wanted_hours_are_given() {
    let folder = tempfile::tempdir().unwrap();
    for store in [in_folder(folder.path()), in_memory()] {
        let text = r#"{"uid":"x"}"#;
        record(&store, LedgerMode::Full, "i-1", START_MS, vec![line("u-1", text, None), line("u-2", text, None)]).await;
        let again = vec![line("u-3", text, Some("replay:q-1")), line("q\n\"1", text, None)];
        record(&store, LedgerMode::Full, "i-2", START_MS + HOUR_MS, again).await;
        record(&store, LedgerMode::Full, "i-3", START_MS + 50 * HOUR_MS, vec![line("u-1", text, None)]).await;
        let all = (START_MS, START_MS + 50 * HOUR_MS);
        let of = async |span, wanted| lines(&store, span, wanted).await.0;
        assert_eq!(uids(&of(all, Wanted::of(["u-1", "none"], [])).await), ["u-1", "u-1"]);
        assert_eq!(uids(&of((START_MS, START_MS + HOUR_MS), Wanted::of(["u-1"], [])).await), ["u-1"]);
        assert_eq!(uids(&of(all, Wanted::of([], ["q-1"])).await), ["u-3"]);
        assert_eq!(uids(&of(all, Wanted::of(["q\n\"1"], [])).await), ["q\n\"1"]);
        assert_eq!(of(all, Wanted::about(Some("m\"1"), Some("a"))).await.len(), 5);
        assert_eq!(of(all, Wanted::about(Some("m"), None)).await.len(), 0);
    }
}

#[tokio::test]
async fn a_ledger_without_meters_is_found_by_uid_alone() {
    let store = in_memory();
    record(&store, LedgerMode::Uids, "i-1", START_MS, vec![line("u-1", "{}", None)]).await;
    let span = (START_MS, START_MS);
    assert_eq!(uids(&lines(&store, span, Wanted::of(["u-1"], [])).await.0), ["u-1"]);
    assert!(lines(&store, span, Wanted::about(Some("m\"1"), None)).await.0.is_empty());
}

#[tokio::test]
async fn an_object_too_large_to_be_fetched_whole_comes_in_pieces() {
    let store = in_memory();
    // Does not compress, so that the object is larger than a mebibyte.
    let noise: Vec<String> = (0..50_000).map(|index| quarantine_id("q", "m", index).to_string()).collect();
    let texts: Vec<String> = noise.iter().map(|noise| format!(r#"{{"uid":"{noise}"}}"#)).collect();
    let all: Vec<_> = noise.iter().zip(&texts).map(|(uid, text)| line(uid, text, None)).collect();
    record(&store, LedgerMode::Full, "i-1", START_MS, all).await;
    let listed = store.objects(Folder::Ledger, Hours::between(START_MS, START_MS)).await.unwrap();
    assert!(listed.objects[0].bytes() > 1024 * 1024, "{}", listed.objects[0].bytes());
    assert_eq!(listed.objects[0].lines(), Some(50_000));
    let wanted = noise[49_999].as_str();
    let (found, unreadable) = lines(&store, (START_MS, START_MS), Wanted::of([wanted], [])).await;
    assert_eq!((uids(&found), unreadable), (vec![wanted], vec![]));
}

/// A store of three good objects and the file of the second.
async fn three(folder: &Path) -> (Store, std::path::PathBuf) {
    let store = in_folder(folder);
    for (index, uid) in ["u-1", "u-2", "u-3"].into_iter().enumerate() {
        let at_ms = START_MS + HOUR_MS * index as i64;
        record(&store, LedgerMode::Full, &format!("i-{index}"), at_ms, vec![line(uid, "{}", None)]).await;
    }
    let file = folder.join(&files(folder)[1]);
    (store, file)
}

#[tokio::test]
async fn an_object_in_trouble_is_told_by_name_and_its_neighbours_are_read() {
    let packed = |text: &str| zstd::bulk::compress(text.as_bytes(), 3).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (_, whole) = three(folder.path()).await;
    let half = fs::read(whole).unwrap();
    let half = half[..half.len() / 2].to_vec();
    for bad in [half, Vec::new(), b"garbage".to_vec(), packed("{\"uid\":\"u-2\"}\n"), packed("{\"uid\":\"u-2\"")] {
        let folder = tempfile::tempdir().unwrap();
        let (store, file) = three(folder.path()).await;
        fs::write(&file, bad).unwrap();
        let (found, unreadable) = lines(&store, (START_MS, START_MS + 3 * HOUR_MS), Wanted::of(["u-1", "u-2", "u-3"], [])).await;
        assert_eq!(uids(&found), ["u-1", "u-3"]);
        let name = file.strip_prefix(folder.path()).unwrap().display().to_string();
        assert_eq!(unreadable.iter().map(|one| &one.name).collect::<Vec<_>>(), [&name]);
        assert!(unreadable[0].expected.starts_with("expected "), "{unreadable:?}");
    }
}

#[tokio::test]
async fn layouts_and_files_that_nobody_here_knows_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = three(folder.path()).await;
    let newer = folder.path().join("ledger/v2/some");
    fs::create_dir_all(&newer).unwrap();
    fs::write(newer.join("object"), "of the future").unwrap();
    fs::write(file.with_file_name("notes.txt"), "of an operator").unwrap();
    let (found, unreadable) = lines(&store, (START_MS, START_MS + 3 * HOUR_MS), Wanted::of(["u-2"], [])).await;
    assert_eq!(uids(&found), ["u-2"]);
    let names: Vec<&str> = unreadable.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0].ends_with("notes.txt") && names[1] == "ledger/v2/", "{names:?}");
}

#[tokio::test]
async fn an_object_that_vanishes_between_list_and_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (store, file) = three(folder.path()).await;
    let listed = store.objects(Folder::Ledger, Hours::between(START_MS, START_MS + 3 * HOUR_MS)).await.unwrap();
    fs::remove_file(file).unwrap();
    let unreadable = store.ledger_lines(listed.objects, Wanted::of(["u-2"], []), |_, _| {}).await;
    assert_eq!(unreadable.len(), 1);
}

#[tokio::test]
async fn a_prefix_bounds_what_is_listed() {
    let objects = Arc::new(InMemory::new());
    let below = |prefix: &str| Store::over(objects.clone(), object_store::path::Path::from(prefix));
    record(&below("one"), LedgerMode::Full, "i-1", START_MS, vec![line("u", "{}", None)]).await;
    assert_eq!(lines(&below("one"), (START_MS, START_MS), Wanted::of(["u"], [])).await.0.len(), 1);
    assert_eq!(lines(&below("other"), (START_MS, START_MS), Wanted::of(["u"], [])).await.0.len(), 0);
}

#[tokio::test]
async fn entries_come_with_the_attributes_of_their_message_though_only_the_first_is_written_with_them() {
    let store = in_memory();
    let attributes = vec![Attribute { name: "n", data_type: "String", value: "v" }];
    let of =
        |position, message_id| NewEntry { message_id, attributes: attributes.clone(), ..entry(position, EntryText::Body("x")) };
    store.quarantine("i-1", START_MS, [of(0, "m-1"), of(1, "m-1"), of(0, "m-2")], soon()).await.unwrap();
    store.quarantine("i-2", START_MS + HOUR_MS, [of(0, "m-3")], soon()).await.unwrap();
    let listed = store.objects(Folder::Quarantine, Hours::between(START_MS, START_MS)).await.unwrap();
    let mut found = Vec::new();
    let keep = |entry: relay_store::Entry| (entry.message_id != "m-2").then_some(entry);
    let unreadable = store.entries(listed.objects, keep, |_, entry| found.extend(entry)).await;
    assert_eq!((found.len(), unreadable.len()), (2, 0));
    assert!(found.iter().all(|entry| entry.attributes.as_deref().is_some_and(|all| all.len() == 1)));
}
