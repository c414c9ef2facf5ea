//! The store, as the job reaches it that uploads files.
//!
//! While the file is read no time passes here: a thread reads, and tokio's clock stands still as long as it lives. What would hang
//! fails at once, then.

use std::fmt;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, UploadPart,
};

use crate::by_file;
use crate::fault::Fault;
use crate::mortal::Life;
use crate::uploader::NUMBER;
use crate::world::World;

/// Where journals and parts are.
pub(crate) const FOLDER: &str = "relay/upload-journals/";

/// The store, for one run.
#[derive(Clone)]
pub(crate) struct Shelf {
    pub(crate) world: Arc<World>,
    pub(crate) life: Arc<Life>,
}

impl fmt::Debug for Shelf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Shelf")
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a store that fails")
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic { store: "sim", source: "planned".into() }
}

impl Shelf {
    async fn pass(&self, from_ms: i64, to_ms: i64) {
        if !self.world.uploading().is_reading {
            self.world.nature.pass(self.world.nature.between(from_ms, to_ms)).await;
        }
    }

    /// An error, or no answer at all.
    async fn fail<T>(&self, hangs: f64) -> object_store::Result<T> {
        let hangs = self.world.nature.chance(hangs) && !self.world.uploading().is_reading;
        if hangs { pending().await } else { Err(broken()) }
    }

    async fn before_a_put(&self) -> object_store::Result<()> {
        let nature = &self.world.nature;
        self.pass(2, 60).await;
        if nature.strikes(Fault::Panic) {
            resume_unwind(Box::new("planned"));
        }
        if nature.lasts(Fault::StoreDown) {
            return self.fail(0.2).await;
        }
        if nature.strikes(Fault::PutFails) {
            return Err(broken());
        }
        if nature.strikes(Fault::PutHangs) {
            return self.fail(1.0).await;
        }
        Ok(())
    }

    async fn after_a_put<T>(&self, put: T) -> object_store::Result<T> {
        self.pass(0, 30).await;
        if self.world.nature.strikes(Fault::PutAnswerLost) { Err(broken()) } else { Ok(put) }
    }

    async fn put(&self, name: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        let bytes: Vec<u8> = payload.iter().flat_map(|part| part.iter().copied()).collect();
        by_file::goes_on(&self.world, name.as_ref(), &bytes);
        self.before_a_put().await?;
        let put = self.world.objects.put_opts(name, payload, options).await?;
        self.world.stored(NUMBER, name.as_ref(), &bytes);
        by_file::stored(&self.world, name.as_ref(), &bytes);
        self.after_a_put(put).await
    }

    async fn put_piece(&self, put: UploadPart) -> object_store::Result<()> {
        self.before_a_put().await?;
        put.await?;
        self.after_a_put(()).await
    }

    async fn get(&self, name: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.pass(2, 60).await;
        if self.world.nature.lasts(Fault::StoreDown) {
            return self.fail(0.2).await;
        }
        self.world.objects.get_opts(name, options).await
    }

    async fn delete(&self, name: Path) -> object_store::Result<Path> {
        let nature = &self.world.nature;
        if !name.as_ref().starts_with(FOLDER) || name.as_ref().contains("/step-") {
            nature.broke(1, format!("{name} is deleted"));
        }
        self.pass(2, 60).await;
        if nature.lasts(Fault::StoreDown) || nature.strikes(Fault::PutFails) {
            self.world.uploading().is_left_over = true;
            return Err(broken());
        }
        self.world.objects.delete(&name).await?;
        Ok(name)
    }
}

#[async_trait]
impl ObjectStore for Shelf {
    async fn put_opts(&self, name: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.life.around(self.put(name, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        name: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let begin = async {
            self.before_a_put().await?;
            self.world.objects.put_multipart_opts(name, options).await
        };
        let pieces = self.life.around(begin).await?;
        Ok(Box::new(Pieces { pieces, shelf: self.clone() }))
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.life.around(self.get(name, options)).await
    }

    fn delete_stream(
        &self,
        names: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        let shelf = self.clone();
        let delete = move |name: object_store::Result<Path>| {
            let shelf = shelf.clone();
            async move { shelf.life.around(shelf.delete(name?)).await }
        };
        names.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.world.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.world.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.world.objects.copy_opts(from, to, options).await
    }
}

/// An object that comes in pieces.
#[derive(Debug)]
struct Pieces {
    pieces: Box<dyn MultipartUpload>,
    shelf: Shelf,
}

#[async_trait]
impl MultipartUpload for Pieces {
    fn put_part(&mut self, piece: PutPayload) -> UploadPart {
        let (put, shelf) = (self.pieces.put_part(piece), self.shelf.clone());
        Box::pin(async move { shelf.life.around(shelf.put_piece(put)).await })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        let Pieces { pieces, shelf } = self;
        let complete = async {
            shelf.before_a_put().await?;
            let put = pieces.complete().await?;
            shelf.after_a_put(put).await
        };
        shelf.life.around(complete).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.pieces.abort().await
    }
}
