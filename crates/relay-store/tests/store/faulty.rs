//! A store whose answers are lost, fail or never come, as readers and operators meet it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult,
};
use relay_store::{Action, EntryText, Folder, Hours, Marked, Marker, Store, StoreError};
use uuid::Uuid;

use crate::given::{START_MS, entry, soon};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    PutAnswerLost,
    GetFails,
    GetHangs,
    ListFails,
    ListHangs,
}

/// A store in memory with one fault at a time.
#[derive(Debug)]
struct Faulty {
    inner: InMemory,
    fault: Arc<Mutex<Fault>>,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{self:?}")
    }
}

impl Faulty {
    fn has(&self, fault: Fault) -> bool {
        *self.fault.lock().unwrap() == fault
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "as the test wants it".into() }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, name: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let put = self.inner.put_opts(name, payload, options).await;
        if self.has(Fault::PutAnswerLost) { put.and(Err(broken())) } else { put }
    }

    async fn put_multipart_opts(
        &self,
        name: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(name, options).await
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        if self.has(Fault::GetHangs) {
            std::future::pending::<()>().await;
        }
        if self.has(Fault::GetFails) { Err(broken()) } else { self.inner.get_opts(name, options).await }
    }

    fn delete_stream(
        &self,
        names: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(names)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        if self.has(Fault::ListHangs) {
            return stream::pending().boxed();
        }
        if self.has(Fault::ListFails) { stream::iter([Err(broken())]).boxed() } else { self.inner.list(prefix) }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn store() -> (Store, Arc<Mutex<Fault>>) {
    let fault = Arc::new(Mutex::new(Fault::None));
    let faulty = Faulty { inner: InMemory::new(), fault: fault.clone() };
    (Store::over(Arc::new(faulty), Path::default()), fault)
}

fn marker(run: u128) -> Marker {
    let (by, because, new_uid, supersedes) = Default::default();
    Marker { action: Action::Replay, at: 5, run: Uuid::from_u128(run), by, because, new_uid, supersedes, beyond_window: false }
}

const QID: Uuid = Uuid::from_u128(7);

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_held_for_its_maker_and_against_everybody_else() {
    let (store, fault) = store();
    *fault.lock().unwrap() = Fault::PutAnswerLost;
    assert!(matches!(store.mark(QID, "replay-1", &marker(1), soon()).await, Err(StoreError::Failed(_))));
    *fault.lock().unwrap() = Fault::None;
    assert_eq!(store.mark(QID, "replay-1", &marker(2), soon()).await.unwrap(), Marked::TakenBefore);
    assert_eq!(store.mark(QID, "replay-1", &marker(1), soon()).await.unwrap(), Marked::Created);
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_see_whose_a_marker_is_does_not_have_it() {
    let (store, fault) = store();
    store.mark(QID, "replay-1", &marker(1), soon()).await.unwrap();
    for (bad, expected) in [(Fault::GetFails, "the store failed"), (Fault::GetHangs, "the store did not answer in time")] {
        *fault.lock().unwrap() = bad;
        let error = store.mark(QID, "replay-1", &marker(1), soon()).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_fails_or_hangs_is_an_error_and_no_empty_answer() {
    let (store, fault) = store();
    for (bad, expected) in [(Fault::ListFails, "the store failed"), (Fault::ListHangs, "the store did not answer in time")] {
        *fault.lock().unwrap() = bad;
        let objects = store.objects(Folder::Ledger, Hours::between(START_MS, START_MS)).await;
        assert_eq!(objects.unwrap_err().to_string(), expected);
        assert_eq!(store.markers_of(&[QID].into()).await.unwrap_err().to_string(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn objects_that_are_not_handed_over_are_told_by_name() {
    let (store, fault) = store();
    store.quarantine("i-1", START_MS, [entry(0, EntryText::Body("x"))], soon()).await.unwrap();
    let listed = store.objects(Folder::Quarantine, Hours::between(START_MS, START_MS)).await.unwrap();
    for bad in [Fault::GetFails, Fault::GetHangs] {
        *fault.lock().unwrap() = bad;
        let unreadable = store.entries(listed.objects.clone(), Some, |_, _| panic!("nothing was read")).await;
        assert_eq!(unreadable.len(), 1);
        assert!(unreadable[0].expected.starts_with("expected the store to hand it over"), "{unreadable:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_catalogue_that_the_store_does_not_give_is_an_error_in_time_and_no_empty_answer() {
    let (store, fault) = store();
    for (bad, expected) in [(Fault::GetFails, "the store failed"), (Fault::GetHangs, "the store did not answer in time")] {
        *fault.lock().unwrap() = bad;
        assert_eq!(store.catalogue(soon()).await.unwrap_err().to_string(), expected);
        assert_eq!(store.catalogue_unless(None, soon()).await.unwrap_err().to_string(), expected);
    }
}
