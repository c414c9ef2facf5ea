//! A store in trouble: errors that name the object, and what a failed put means for the next.

use std::fs;
use std::path::{Path, PathBuf};

use relay_store::{EntryText, Store, StoreError};

use crate::given::{START_MS, entry, files, in_folder, in_memory, soon};

/// One entry in a folder, and the path of its object.
async fn one_entry(folder: &Path) -> (Store, PathBuf) {
    let store = in_folder(folder);
    let lines = [entry(0, EntryText::Body("x")), entry(1, EntryText::Measurement("{}"))];
    store.quarantine("i-1", START_MS, lines, soon()).await.unwrap();
    let object = files(folder).remove(0);
    (store, folder.join(object))
}

/// The object holds `bytes` instead; expected: the words of the error.
async fn unreadable(bytes: &[u8], expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (store, object) = one_entry(folder.path()).await;
    fs::write(&object, bytes).unwrap();
    let error = store.quarantined().await.unwrap_err();
    let name = object.strip_prefix(folder.path()).unwrap().display().to_string();
    assert_eq!(error.to_string(), format!("the object {name} is not readable: {expected}"));
}

#[tokio::test]
async fn an_object_that_is_no_zstd_stream_is_a_clear_error() {
    for bytes in [b"garbage".as_slice(), b"{\"qid\":1}\n", &[0x28, 0xb5, 0x2f, 0xfd]] {
        unreadable(bytes, "a whole zstd stream").await;
    }
}

#[tokio::test]
async fn a_half_written_object_is_a_clear_error_at_whatever_byte_it_was_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (_, object) = one_entry(folder.path()).await;
    let whole = fs::read(&object).unwrap();
    for length in 1..whole.len() {
        unreadable(&whole[..length], "a whole zstd stream").await;
    }
}

#[tokio::test]
async fn an_object_that_is_empty_is_a_clear_error() {
    unreadable(b"", "a whole zstd stream").await;
}

#[tokio::test]
async fn lines_that_are_no_entries_are_a_clear_error() {
    for lines in ["garbage\n", "{}\n", "[]\n", "{\"qid\":\"x\"}\n", "null\n"] {
        unreadable(&zstd::bulk::compress(lines.as_bytes(), 3).unwrap(), "one quarantine entry a line").await;
    }
}

#[tokio::test]
async fn fields_of_a_later_version_are_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let (store, object) = one_entry(folder.path()).await;
    let lines = String::from_utf8(zstd::stream::decode_all(fs::read(&object).unwrap().as_slice()).unwrap()).unwrap();
    let later = lines.replace("{\"qid\"", "{\"from the future\":{\"a\":[1]},\"qid\"");
    assert_ne!(lines, later);
    fs::write(&object, zstd::bulk::compress(later.as_bytes(), 3).unwrap()).unwrap();
    assert_eq!(store.quarantined().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_failed_put_makes_the_store_suspect_for_all_who_share_it_until_a_probe_works() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    fs::create_dir(&root).unwrap();
    let store = in_folder(&root);
    let shared = store.clone();
    assert!(!store.is_suspect());

    fs::remove_dir(&root).unwrap();
    fs::write(&root, "a file where the folder was").unwrap();
    let put = store.quarantine("i-1", START_MS, [entry(0, EntryText::Body("canary"))], soon()).await;
    let error = put.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)));
    assert!(!format!("{error} {error:?}").contains("canary"));
    assert!(store.is_suspect() && shared.is_suspect());
    assert!(shared.probe(soon()).await.is_err());
    assert!(store.is_suspect(), "a probe that fails changes nothing");

    fs::remove_file(&root).unwrap();
    fs::create_dir(&root).unwrap();
    shared.probe(soon()).await.unwrap();
    assert!(!store.is_suspect() && !shared.is_suspect());
}

#[tokio::test]
async fn a_probe_leaves_no_entry() {
    let store = in_memory();
    store.probe(soon()).await.unwrap();
    store.probe(soon()).await.unwrap();
    assert!(store.quarantined().await.unwrap().is_empty() && !store.is_suspect());
}
