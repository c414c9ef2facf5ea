//! A world: every model around the shipped function, and the order in which things happen in it.
//!
//! Everything runs as one future on one thread under a paused clock. What waits at the same moment is woken in an order
//! that only the seed decides.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{LocalBoxFuture, join_all, select};
use http::{Request, Response};
use m3ter_sandbox::{Category, Choices, Credentials, Limits, MeterRequest, Options, Sandbox};
use object_store::memory::InMemory;
use object_store::path::Path;
use relay_store::Store;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::books::Books;
use crate::courier;
use crate::end::ended;
use crate::fault::Fault;
use crate::lambda::Pool;
use crate::laws;
use crate::m3ter::{Router, router};
use crate::made::METER;
use crate::nature::{Nature, Record, START_MS};
use crate::plan::{Act, Plan, rng};
use crate::poller::poll;
use crate::produce::{Goods, produce};
use crate::queue::{Queue, Settings};
use crate::seams::pair;
use crate::uploader::{Uploading, keep_uploading};
use crate::watcher::{catch_up, keep_watching};

/// As long as SQS keeps anything.
const RETENTION_MS: i64 = 14 * 24 * 3_600_000;

/// What changes outside the relay.
#[derive(Default)]
pub(crate) struct Outside {
    /// The number of the credentials that m3ter takes.
    pub(crate) taken_by_m3ter: u32,
    /// The number of the credentials in the secret.
    pub(crate) in_the_secret: u32,
    /// Requests that are still on their way although the relay gave them up.
    pub(crate) late: Vec<(i64, Request<Bytes>)>,
    /// Messages sent.
    pub(crate) sent: usize,
    /// Invocations that are running.
    pub(crate) running: usize,
    /// Invocations so far.
    pub(crate) invocations: u64,
}

/// The world.
pub(crate) struct World {
    pub(crate) nature: Nature,
    pub(crate) goods: Goods,
    pub(crate) sandbox: Sandbox,
    pub(crate) router: Router,
    pub(crate) objects: Arc<InMemory>,
    books: Mutex<Books>,
    queue: Mutex<Queue>,
    outside: Mutex<Outside>,
    uploading: Mutex<Uploading>,
    /// Whether the watching job read an object, which it then unpacks.
    pub(crate) was_read: AtomicBool,
    /// Something happened that others may wait for.
    pub(crate) moved: Notify,
}

/// What a world left behind.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    pub(crate) record: Record,
    pub(crate) measurements: usize,
    pub(crate) invocations: u64,
}

/// Runs the world `seed` to its end.
pub(crate) fn run(seed: u64, told: bool) -> Ended {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let world = Arc::new(World::new(seed, told));
        world.live().await;
        catch_up(&world).await;
        ended(&world).await;
        let invocations = world.outside().invocations;
        Ended { record: world.nature.record(), measurements: world.goods.made.len(), invocations }
    })
}

impl World {
    fn new(seed: u64, told: bool) -> World {
        let mut rng = rng(seed);
        let plan = Plan::draw(seed, &mut rng);
        let goods = produce(&plan, &mut rng);
        let (id, secret) = pair(0);
        let options = Options {
            start: Some("2026-06-01T00:00:00Z".parse().unwrap()),
            credentials: Credentials::new(id, secret),
            token_lifetime_s: plan.token_lifetime_s,
            bad_credentials_status: [401, 403, 400][(seed % 3) as usize],
            choices: Choices {
                refuse_long_metadata: true,
                enrichment_delay_ms: plan.enrichment_delay_ms,
                rejected_uid: plan.rejected_uid,
                events_per: plan.events_per,
                ..Choices::default()
            },
            limits: Limits { upload_per_second: goods.file.as_ref().map(|file| file.rows_per_second), ..Limits::default() },
            ..Options::default()
        };
        let sandbox = Sandbox::open(options).unwrap();
        sandbox.create_meter(MeterRequest::new(METER).field(Category::Measure, "n")).unwrap();
        let settings =
            Settings { visibility_ms: plan.visibility_ms(), retention_ms: RETENTION_MS, receives_max: plan.receives_max };
        World {
            nature: Nature::new(plan, rng, told),
            goods,
            router: router(&sandbox),
            sandbox,
            objects: Arc::new(InMemory::new()),
            books: Mutex::default(),
            queue: Mutex::new(Queue::new(settings)),
            outside: Mutex::default(),
            uploading: Mutex::default(),
            was_read: AtomicBool::new(false),
            moved: Notify::new(),
        }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap()
    }

    pub(crate) fn uploading(&self) -> MutexGuard<'_, Uploading> {
        self.uploading.lock().unwrap()
    }

    pub(crate) fn outside(&self) -> MutexGuard<'_, Outside> {
        self.outside.lock().unwrap()
    }

    /// Gives a request to m3ter, and enters in the books what it took.
    pub(crate) async fn submit(&self, request: Request<Bytes>) -> Response<Bytes> {
        if courier::is_file(&request) {
            return courier::arrive(self, request).await;
        }
        let trace = request.headers().get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = request.body().clone();
        let answer = (self.router)(request).await;
        if answer.status().as_u16() == 200 {
            self.books().take(trace.as_deref(), &body);
        }
        answer
    }

    /// Enters an object that the store took.
    pub(crate) fn stored(&self, environment: u32, name: &str, object: &[u8]) {
        self.books().warned.remove(&environment);
        match self.books().store(name, object) {
            Ok(lines) => self.nature.tell(&format!("  {lines} lines stored as {name}")),
            Err(fault) => self.nature.broke(3, format!("the stored object {name} is not readable: {fault}")),
        }
    }

    async fn live(self: &Arc<World>) {
        let plan = &self.nature.plan;
        if let Some(known) = &self.goods.known {
            let store = Store::over(self.objects.clone(), Path::from("relay"));
            let until = Instant::now() + Duration::from_secs(60);
            store.put_catalogue(&known.catalogue, false, until).await.unwrap();
        }
        self.nature.tell(&format!("the world {plan:?}"));
        let pool = Pool::default();
        let mut actors: Vec<LocalBoxFuture<'_, ()>> =
            vec![Box::pin(self.produce()), Box::pin(self.act()), Box::pin(self.arrive_late()), Box::pin(keep_watching(self))];
        if self.goods.file.is_some() {
            actors.push(Box::pin(keep_uploading(self)));
        }
        for number in 0..plan.pollers {
            actors.push(Box::pin(poll(self, &pool, number)));
        }
        select(Box::pin(self.watch()), join_all(actors)).await;
    }

    async fn produce(&self) {
        let goods = &self.goods;
        let faults = [
            (Fault::BadMeasurement, goods.bad),
            (Fault::LateRejection, goods.rejected),
            (Fault::TwoContents, goods.rivals),
            (Fault::ProducerRetry, goods.retries),
        ];
        for (fault, times) in faults {
            (0..times).for_each(|_| self.nature.struck(fault));
        }
        for (place, sending) in goods.sendings.iter().enumerate() {
            self.nature.until(sending.at_ms).await;
            let bytes = sending.body.len();
            let message = self.queue().send(place, bytes, self.nature.now_ms());
            self.nature.tell(&format!("sent message {message:x} of {} in {bytes} bytes", sending.items.len()));
            self.outside().sent += 1;
            self.moved.notify_waiters();
        }
    }

    async fn act(&self) {
        for (at_ms, act) in &self.nature.plan.acts {
            self.nature.until(*at_ms).await;
            self.nature.tell(&format!("{act:?}"));
            let mut outside = self.outside();
            match act {
                Act::ForgetTokens => self.sandbox.revoke_tokens(),
                Act::Rotate(forget) => {
                    self.nature.struck(Fault::Rotation);
                    outside.taken_by_m3ter += 1;
                    let (id, secret) = pair(outside.taken_by_m3ter);
                    self.sandbox.set_credentials(Credentials::new(id, secret));
                    if *forget {
                        self.sandbox.revoke_tokens();
                    }
                }
                Act::SecretFollows => outside.in_the_secret = outside.taken_by_m3ter,
            }
        }
    }

    /// Requests that arrive after the relay gave them up.
    async fn arrive_late(&self) {
        loop {
            let moved = self.moved.notified();
            let next = self.outside().late.iter().map(|(at_ms, _)| *at_ms).min();
            match next {
                Some(at_ms) if at_ms <= self.nature.now_ms() => {
                    let request = {
                        let late = &mut self.outside().late;
                        let place = late.iter().position(|(other, _)| *other == at_ms).unwrap();
                        late.remove(place).1
                    };
                    let status = self.submit(request).await.status();
                    self.nature.tell(&format!("a late request arrives -> {status}"));
                    if status.as_u16() == 200 {
                        self.nature.sometimes("late request: taken");
                    }
                    self.moved.notify_waiters();
                }
                Some(at_ms) => drop(select(Box::pin(moved), Box::pin(self.nature.until(at_ms))).await),
                None => moved.await,
            }
        }
    }

    /// Comes back when the world is over: everything is settled, a law is broken, or its time is up.
    async fn watch(&self) {
        let (nature, plan) = (&self.nature, &self.nature.plan);
        loop {
            let moved = self.moved.notified();
            self.queue().expire(nature.now_ms());
            if nature.is_broken() || self.is_over() {
                return;
            }
            let now_ms = nature.now_ms();
            let ends = [plan.faults_end_ms, plan.empty_by_ms(), plan.exhausted_by_ms()];
            let Some(next_ms) = ends.into_iter().find(|end_ms| *end_ms > now_ms) else { return };
            if now_ms >= plan.empty_by_ms() && !self.only_stubborn_are_left() {
                return;
            }
            select(Box::pin(moved), Box::pin(nature.until(next_ms))).await;
        }
    }

    fn is_over(&self) -> bool {
        let outside = self.outside();
        let is_sent = outside.sent == self.goods.sendings.len();
        let is_quiet = outside.running == 0 && outside.late.is_empty() && !self.nature.is_faulty();
        let is_uploaded = self.goods.file.is_none() || self.uploading().ended.is_some();
        is_sent && is_quiet && is_uploaded && self.queue().left() == 0
    }

    /// Whether what is still in the queue can only leave it when it is exhausted: nothing m3ter accepts is in it.
    pub(crate) fn only_stubborn_are_left(&self) -> bool {
        let queue = self.queue();
        let left = queue.messages().iter().filter(|message| message.place == crate::queue::Place::Queue);
        left.into_iter().all(|message| laws::is_stubborn(&self.goods, message.sending))
    }

    /// Time since the world began.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.nature.now_ms() - START_MS).unwrap())
    }
}
