//! A marker is created by one and by nobody else, on every kind of store.

use relay_store::{Action, Marked, Marker, StoreError};
use uuid::Uuid;

use crate::given::{files, in_folder, in_memory, soon};

const QID: Uuid = Uuid::from_u128(7);

fn marker(run: u128) -> Marker {
    Marker {
        action: Action::Replay,
        at: 5,
        run: Uuid::from_u128(run),
        by: Some("ada".into()),
        because: None,
        new_uid: None,
        supersedes: None,
        beyond_window: false,
    }
}

#[tokio::test]
async fn of_two_who_create_a_marker_one_does() {
    let folder = tempfile::tempdir().unwrap();
    for store in [in_folder(folder.path()), in_memory()] {
        let (mine, theirs) = (marker(1), marker(2));
        let (one, other) = tokio::join!(store.mark(QID, "replay-1", &mine, soon()), store.mark(QID, "replay-1", &theirs, soon()));
        let mut marked = [one.unwrap(), other.unwrap()];
        marked.sort_by_key(|marked| *marked == Marked::TakenBefore);
        assert_eq!(marked, [Marked::Created, Marked::TakenBefore]);
        assert_eq!(store.mark(QID, "replay-2", &theirs, soon()).await.unwrap(), Marked::Created);
    }
}

#[tokio::test]
async fn a_marker_of_the_same_run_is_ours_since_an_answer_may_have_been_lost() {
    let store = in_memory();
    assert_eq!(store.mark(QID, "drop", &marker(1), soon()).await.unwrap(), Marked::Created);
    assert_eq!(store.mark(QID, "drop", &marker(1), soon()).await.unwrap(), Marked::Created);
    assert_eq!(store.mark(QID, "drop", &marker(2), soon()).await.unwrap(), Marked::TakenBefore);
    assert_eq!(store.marker(QID, "drop").await.unwrap(), marker(1), "the first stays");
}

#[tokio::test]
async fn markers_are_listed_by_entry_and_read_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    let other = Uuid::from_u128(8);
    let full = Marker {
        action: Action::Import,
        because: Some("why".into()),
        new_uid: Some("n".into()),
        supersedes: Some("o".into()),
        beyond_window: true,
        ..marker(3)
    };
    for (qid, name, marker) in [(QID, "replay-2", &full), (QID, "drop", &marker(1)), (other, "replay-1", &marker(2))] {
        store.mark(qid, name, marker, soon()).await.unwrap();
    }
    let listed = store.markers_of(&[QID, other].into()).await.unwrap();
    let names: Vec<_> = listed[&QID].iter().map(|one| one.name.as_str()).collect();
    assert_eq!((names, listed.len()), (vec!["drop", "replay-2"], 2));
    assert!(listed[&QID].iter().all(|one| one.written_at_ms > 0));
    assert_eq!(store.marker(QID, "replay-2").await.unwrap(), full);
    assert_eq!(files(folder.path())[0].display().to_string(), format!("actions/v1/{QID}/drop.json"));
}

#[tokio::test]
async fn a_marker_that_is_torn_or_absent_is_an_error_and_what_is_no_marker_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    let at = folder.path().join(format!("actions/v1/{QID}"));
    std::fs::create_dir_all(&at).unwrap();
    std::fs::write(at.join("replay-1.json"), "{\"action\":").unwrap();
    std::fs::write(at.join("notes.txt"), "x").unwrap();
    std::fs::create_dir(folder.path().join("actions/v1/no-id")).unwrap();
    std::fs::write(folder.path().join("actions/v1/no-id/drop.json"), "{}").unwrap();
    assert!(matches!(store.marker(QID, "replay-1").await, Err(StoreError::Unreadable { .. })));
    assert!(matches!(store.marker(QID, "replay-9").await, Err(StoreError::Failed(_))));
    let listed = store.markers_of(&[QID].into()).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[&QID].len(), 1);
}

#[tokio::test]
async fn markers_of_a_few_entries_and_of_many_are_the_same() {
    let store = in_memory();
    let ids: std::collections::BTreeSet<Uuid> = (0..300).map(Uuid::from_u128).collect();
    for qid in ids.iter().step_by(3) {
        store.mark(*qid, "replay-1", &marker(1), soon()).await.unwrap();
    }
    let all = store.markers_of(&ids).await.unwrap();
    assert_eq!((all.len(), store.markers().await.unwrap()), (100, all.clone()));
    let few = ids.iter().copied().take(30).collect();
    let listed = store.markers_of(&few).await.unwrap();
    assert_eq!(listed.keys().collect::<Vec<_>>(), all.keys().take(10).collect::<Vec<_>>());
    assert!(store.markers_of(&[Uuid::max()].into()).await.unwrap().is_empty());
    assert!(store.markers_of(&std::collections::BTreeSet::new()).await.unwrap().is_empty());
}
