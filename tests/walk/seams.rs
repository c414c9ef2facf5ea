//! The four ways out of the relay as doubles: m3ter, the secret, the store, the queue. Each records, and can misbehave.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::BoxStream;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use m3ter_client::{Credentials, NoAnswer, Secrets, SecretsError, Transport};
use m3ter_sandbox::{Abort, Sandbox};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, UploadPart,
};
use relay::{Delay, Queue};
use tokio::sync::Notify;
use tokio::time::Instant;
use tower::ServiceExt;

/// The end of the process at one of its calls to m3ter or to the store: that call never comes back, before or after it did what it is
/// for. Whoever waits for it waits until it is dropped. Shared by clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Death {
    at: Arc<Mutex<Option<(u32, Dying)>>>,
    came: Arc<Notify>,
}

/// When the call stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dying {
    BeforeItsCall,
    AfterItsCall,
}

impl Death {
    /// Comes at the call of this number from now on, from 0.
    pub(crate) fn at(&self, call: u32, dying: Dying) {
        *self.at.lock().unwrap() = Some((call, dying));
    }

    /// What `life` comes to, or `None` if death comes first; it does not come again.
    pub(crate) async fn or<T>(&self, life: impl Future<Output = T>) -> Option<T> {
        let (life, came) = (pin!(life), pin!(self.came.notified()));
        let end = select(life, came).await;
        *self.at.lock().unwrap() = None;
        match end {
            Either::Left((end, _)) => Some(end),
            Either::Right(_) => None,
        }
    }

    async fn around<T>(&self, call: impl Future<Output = T>) -> T {
        let now = match &mut *self.at.lock().unwrap() {
            Some((0, dying)) => Some(*dying),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        match now {
            None => return call.await,
            Some(Dying::BeforeItsCall) => {}
            Some(Dying::AfterItsCall) => drop(call.await),
        }
        self.came.notify_one();
        pending().await
    }
}

/// One request that went to m3ter.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) traceparent: Option<String>,
}

/// m3ter: the sandbox's router.
pub(crate) struct Door {
    sandbox: Sandbox,
    seen: Mutex<Vec<Seen>>,
    failures: Mutex<VecDeque<NoAnswer>>,
    death: Death,
}

impl Door {
    pub(crate) fn to(sandbox: Sandbox) -> Arc<Door> {
        Door::mortal(sandbox, Death::default())
    }

    pub(crate) fn mortal(sandbox: Sandbox, death: Death) -> Arc<Door> {
        Arc::new(Door { sandbox, seen: Mutex::default(), failures: Mutex::default(), death })
    }

    /// Every request so far, of both kinds.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The requests with a batch.
    pub(crate) fn batches(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path.ends_with("/measurements")).collect()
    }

    /// The next requests get no answer, and do not arrive.
    pub(crate) fn fail_next(&self, failures: &[NoAnswer]) {
        self.failures.lock().unwrap().extend(failures);
    }
}

#[async_trait]
impl Transport for Door {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let traceparent = request.headers().get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        let seen = Seen { at: Instant::now(), path: request.uri().path().to_owned(), traceparent };
        self.seen.lock().unwrap().push(seen);
        if let Some(failure) = self.failures.lock().unwrap().pop_front() {
            return Err(failure);
        }
        let answer = self.death.around(self.sandbox.router().oneshot(request.map(Full::new))).await;
        let answer = answer.unwrap_or_else(|never| match never {});
        if answer.extensions().get::<Abort>().is_some() {
            return Err(NoAnswer::Broken);
        }
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| NoAnswer::Broken)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }
}

/// What the secret does when it is read.
#[derive(Clone, Debug)]
pub(crate) enum Reading {
    Gives(&'static str, &'static str),
    Fails(SecretsError),
    Hangs,
}

/// The secret.
pub(crate) struct Vault {
    reading: Mutex<Reading>,
    reads: Mutex<Vec<Instant>>,
}

impl Vault {
    pub(crate) fn holding(id: &'static str, secret: &'static str) -> Arc<Vault> {
        Arc::new(Vault { reading: Mutex::new(Reading::Gives(id, secret)), reads: Mutex::default() })
    }

    pub(crate) fn now(&self, reading: Reading) {
        *self.reading.lock().unwrap() = reading;
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.lock().unwrap().len()
    }
}

#[async_trait]
impl Secrets for Vault {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        self.reads.lock().unwrap().push(Instant::now());
        let reading = self.reading.lock().unwrap().clone();
        match reading {
            Reading::Gives(id, secret) => Ok(Credentials { access_key_id: id.into(), api_secret: secret.into() }),
            Reading::Fails(error) => Err(error),
            Reading::Hangs => pending().await,
        }
    }
}

/// What the store does with a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Puts {
    Work,
    Fail,
    Hang,
    /// The object is there, but the caller hears of an error.
    LoseTheAnswer,
}

/// What the store does with a get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gets {
    Work,
    Fail,
    Hang,
}

/// The store: objects in memory.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) inner: Arc<InMemory>,
    puts: Mutex<Puts>,
    gets: Mutex<Gets>,
    tried: Mutex<Vec<(Instant, String)>>,
    asked: Mutex<Vec<(Instant, String)>>,
    death: Death,
}

impl Objects {
    pub(crate) fn new() -> Arc<Objects> {
        Objects::mortal(Death::default())
    }

    pub(crate) fn mortal(death: Death) -> Arc<Objects> {
        Arc::new(Objects {
            inner: Arc::new(InMemory::new()),
            puts: Mutex::new(Puts::Work),
            gets: Mutex::new(Gets::Work),
            tried: Mutex::default(),
            asked: Mutex::default(),
            death,
        })
    }

    pub(crate) fn now(&self, puts: Puts) {
        *self.puts.lock().unwrap() = puts;
    }

    pub(crate) fn gets(&self, gets: Gets) {
        *self.gets.lock().unwrap() = gets;
    }

    /// Names of all that was tried to put, those that failed too.
    pub(crate) fn tried(&self) -> Vec<(Instant, String)> {
        self.tried.lock().unwrap().clone()
    }

    /// Names of all that was asked for, with those that were not given, or had not changed.
    pub(crate) fn asked(&self) -> Vec<(Instant, String)> {
        self.asked.lock().unwrap().clone()
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("objects in memory that can misbehave")
    }
}

fn broken() -> object_store::Error {
    object_store::Error::Generic { store: "test", source: "told to fail".into() }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, name: &Path, payload: PutPayload, options: PutOptions) -> object_store::Result<PutResult> {
        self.tried.lock().unwrap().push((Instant::now(), name.to_string()));
        let puts = *self.puts.lock().unwrap();
        match puts {
            Puts::Work => self.death.around(self.inner.put_opts(name, payload, options)).await,
            Puts::Fail => Err(broken()),
            Puts::Hang => pending().await,
            Puts::LoseTheAnswer => self.inner.put_opts(name, payload, options).await.and(Err(broken())),
        }
    }

    async fn put_multipart_opts(
        &self,
        name: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let pieces = self.death.around(self.inner.put_multipart_opts(name, options)).await?;
        Ok(Box::new(Pieces { pieces, death: self.death.clone() }))
    }

    async fn get_opts(&self, name: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.asked.lock().unwrap().push((Instant::now(), name.to_string()));
        let gets = *self.gets.lock().unwrap();
        match gets {
            Gets::Work => self.death.around(self.inner.get_opts(name, options)).await,
            Gets::Fail => Err(broken()),
            Gets::Hang => pending().await,
        }
    }

    fn delete_stream(
        &self,
        names: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(names)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// An object that comes in pieces.
#[derive(Debug)]
struct Pieces {
    pieces: Box<dyn MultipartUpload>,
    death: Death,
}

#[async_trait]
impl MultipartUpload for Pieces {
    fn put_part(&mut self, piece: PutPayload) -> UploadPart {
        let (put, death) = (self.pieces.put_part(piece), self.death.clone());
        Box::pin(async move { death.around(put).await })
    }

    async fn complete(&mut self) -> object_store::Result<PutResult> {
        self.death.around(self.pieces.complete()).await
    }

    async fn abort(&mut self) -> object_store::Result<()> {
        self.pieces.abort().await
    }
}

/// What the queue does with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    Work,
    RefuseEach,
    Hang,
}

/// The queue, as far as the brake reaches it.
pub(crate) struct Line {
    calls: Mutex<Calls>,
    asked: Mutex<Vec<Vec<Delay>>>,
}

impl Line {
    pub(crate) fn new() -> Arc<Line> {
        Arc::new(Line { calls: Mutex::new(Calls::Work), asked: Mutex::default() })
    }

    pub(crate) fn now(&self, calls: Calls) {
        *self.calls.lock().unwrap() = calls;
    }

    /// Every call so far.
    pub(crate) fn asked(&self) -> Vec<Vec<Delay>> {
        self.asked.lock().unwrap().clone()
    }

    /// The seconds of every delay asked for, by handle and in order of the calls.
    pub(crate) fn seconds(&self) -> Vec<(String, u32)> {
        self.asked().into_iter().flatten().map(|delay| (delay.handle, delay.seconds)).collect()
    }
}

/// A handle to a [`Line`], as the handler owns one.
pub(crate) struct LineHandle(pub(crate) Arc<Line>);

#[async_trait]
impl Queue for LineHandle {
    async fn delay(&self, delays: &[Delay]) -> Vec<bool> {
        self.0.asked.lock().unwrap().push(delays.to_vec());
        let calls = *self.0.calls.lock().unwrap();
        match calls {
            Calls::Work => vec![true; delays.len()],
            Calls::RefuseEach => vec![false; delays.len()],
            Calls::Hang => pending().await,
        }
    }
}
