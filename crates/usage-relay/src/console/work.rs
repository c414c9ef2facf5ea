//! What the console does beside answering: it looks, one look after another, and does what the page's buttons ask for.
//!
//! It looks only while a page is open. A look asks the queue first and reads the store afterwards: what had left an empty queue has
//! its evidence in the store by then. The pause between two looks is four times what a look takes, and at least a second: a
//! slow store is asked less often. After a failure it doubles, up to half a minute, and the page keeps what it last knew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use m3ter_sandbox::{FaultReport, Totals};
use serde::Serialize;
use tokio::sync::{Notify, watch};

use super::books::{Books, Key};
use super::faults::{Trouble, switches, without};
use super::reading::{Evidence, Reading};
use super::seen::Seen;
use super::state::{Before, State, compare};
use crate::clock::{self, Stopwatch};
use crate::config::Credentials;
use crate::demo::m3ter::M3ter;
use crate::demo::plan;
use crate::failure::Failure;
use crate::queue::{Depth, Queue};
use crate::sample::Run;
use crate::send::feed::Input;
use crate::store::store_failed;
use crate::terminal::Progress;
use crate::{demo, send};

/// The shortest pause between two looks.
const PAUSE_LEAST: Duration = Duration::from_secs(1);
/// The longest.
const PAUSE_MOST: Duration = Duration::from_secs(30);
/// A look takes at most this part of the time.
const SHARE: u32 = 4;
/// For so many looks in a row m3ter's own count must differ before the page says so.
const DIFFERENCES: u32 = 3;
/// Measurements in a message.
const PER_MESSAGE: u64 = 100;
/// Measurements that are sent with mistakes among them, and in how many messages: enough for each kind of mistake.
const MISTAKES: (u64, u64) = (1_000, 10);

/// The sandbox, and what it lets in.
#[derive(Debug)]
pub(super) struct Sandbox {
    pub(super) m3ter: M3ter,
    pub(super) credentials: Credentials,
}

/// What one console knows and does.
#[derive(Debug)]
pub(super) struct Work {
    queue: Queue,
    sandbox: Option<Sandbox>,
    /// From when on the store is read: milliseconds since the epoch.
    since_ms: i64,
    known: Mutex<Known>,
    tokens_expire: AtomicBool,
    /// One thing is done at a time.
    acting: tokio::sync::Mutex<Option<Sending>>,
    look_now: Notify,
    states: watch::Sender<Arc<str>>,
}

#[derive(Debug, Default)]
struct Known {
    books: Books,
    seen: Seen,
    before: Option<Before>,
    /// Looks in a row at which m3ter had counted something else.
    differences: u32,
    last: Option<State>,
}

/// What was sent, so that it can be sent again.
#[derive(Debug, Clone, Copy)]
enum Sending {
    Demo { run: Run, count: u64 },
    Mistakes { run: Run },
}

/// What a button did.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Done {
    pub(super) measurements: u64,
    pub(super) messages: u64,
}

impl Work {
    /// Over these places; the store is read from `since_ms` on.
    pub(super) fn new(queue: Queue, sandbox: Option<Sandbox>, since_ms: i64) -> Self {
        let (known, tokens_expire, acting, look_now) = Default::default();
        Self { queue, sandbox, since_ms, known, tokens_expire, acting, look_now, states: watch::channel(Arc::from("")).0 }
    }

    /// Every state from now on, as JSON; the last one at once.
    pub(super) fn states(&self) -> watch::Receiver<Arc<str>> {
        let states = self.states.subscribe();
        self.look_now.notify_one();
        states
    }

    /// How many pages are open.
    pub(super) fn viewers(&self) -> usize {
        self.states.receiver_count()
    }

    /// Looks for ever.
    pub(super) async fn look_on(&self, mut reading: Reading) {
        let mut pause = PAUSE_LEAST;
        loop {
            tokio::select! {
                () = clock::pause(pause), if self.viewers() > 0 => {}
                () = self.look_now.notified() => {}
            }
            let watch = Stopwatch::start();
            let looked = self.look(&mut reading).await;
            pause = match looked {
                Ok(_) => (watch.elapsed() * SHARE).clamp(PAUSE_LEAST, PAUSE_MOST),
                Err(_) => (pause * 2).min(PAUSE_MOST),
            };
            self.publish(looked, pause);
        }
    }

    /// One look: what is so now.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if queue, store or sandbox do not answer.
    pub(super) async fn look(&self, reading: &mut Reading) -> Result<State, Failure> {
        let depth = self.queue.depth().await?;
        let evidence = reading.look(clock::now().as_millisecond()).await.map_err(|error| store_failed(&error))?;
        let told = match &self.sandbox {
            None => None,
            Some(Sandbox { m3ter, credentials }) => {
                if self.tokens_expire.load(Ordering::Relaxed) {
                    m3ter.forget_tokens(credentials).await?;
                }
                // The counts last: whatever the store knows of, m3ter has counted by then.
                Some((m3ter.faults().await?, m3ter.totals().await?))
            }
        };
        let mut state = self.entered(evidence, depth);
        if let Some((report, counted)) = told {
            self.compare(&mut state, &report, &counted);
        }
        Ok(state)
    }

    fn compare(&self, state: &mut State, report: &FaultReport, counted: &Totals) {
        let mut known = self.known();
        let is_quiet = state.queue.total() == 0 && state.behind == 0;
        if is_quiet && state.books.waiting == 0 && known.before.is_none() {
            known.before = Some(Before::of(&state.books, counted));
        }
        let mut told = compare(&mut state.books, counted, known.before.unwrap_or_default(), is_quiet, report.fired.clone());
        // The queue was asked first and m3ter last: what somebody else sent in between is no difference.
        known.differences = if told.agrees == Some(false) { known.differences + 1 } else { 0 };
        told.agrees = told.agrees.filter(|agrees| *agrees || known.differences >= DIFFERENCES);
        state.m3ter = Some(told);
        state.switches = switches(report, self.tokens_expire.load(Ordering::Relaxed));
    }

    fn entered(&self, evidence: Evidence, queue: Depth) -> State {
        let now_ms = clock::now().as_millisecond();
        let mut known = self.known();
        let Known { books, seen, .. } = &mut *known;
        let (behind, unreadable) = (evidence.behind, evidence.unreadable);
        let lag_ms = evidence.enter(books, seen);
        let totals = books.totals(queue.total() == 0 && behind == 0, now_ms);
        seen.lag(lag_ms.max(totals.oldest_waiting_ms));
        State {
            at_ms: now_ms,
            since_ms: self.since_ms,
            queue,
            books: totals,
            room: books.room(),
            m3ter: None,
            switches: Vec::new(),
            batches: seen.batches(),
            batches_in_all: seen.batches_in_all,
            delivered_again: seen.delivered_again,
            reasons: seen.groups(),
            lag_ms: seen.lags(),
            behind,
            unreadable,
            pause_ms: 0,
            failure: None,
        }
    }

    /// Shows `looked` to whoever looks; a failure beside what was known before.
    pub(super) fn publish(&self, looked: Result<State, Failure>, pause: Duration) {
        let mut known = self.known();
        let state = match (looked, known.last.take()) {
            (Ok(state), _) => Some(state),
            (Err(failure), Some(last)) => Some(State { failure: Some(failure.to_string()), ..last }),
            (Err(_), None) => None,
        };
        known.last = state.map(|state| State { pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), ..state });
        if let Some(text) = known.last.as_ref().and_then(|state| serde_json::to_string(state).ok()) {
            self.states.send_replace(text.into());
        }
    }

    fn sandbox(&self) -> Result<&Sandbox, Failure> {
        let expected = || Failure::Data("expected a sandbox: start the console with --sandbox-url".to_owned());
        self.sandbox.as_ref().ok_or_else(expected)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A panic while it was held leaves counts that are at worst too low.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends `count` made-up measurements, as `send --demo` does.
    ///
    /// # Errors
    /// [`Failure`] if there is no room in the books, or the queue does not take all of them.
    pub(super) async fn send_demo(&self, count: u64) -> Result<Done, Failure> {
        let mut last = self.acting.lock().await;
        self.send_again(Sending::Demo { run: Run::starting(clock::now()), count }, &mut last).await
    }

    /// Sends a thousand, as `demo` mixes them: copies, conflicts, malformed ones and an unknown meter among good ones.
    ///
    /// # Errors
    /// As [`Work::send_demo`].
    pub(super) async fn send_mistakes(&self) -> Result<Done, Failure> {
        let mut last = self.acting.lock().await;
        self.send_again(Sending::Mistakes { run: Run::starting(clock::now()) }, &mut last).await
    }

    /// Sends what was sent last once more: the same uids.
    ///
    /// # Errors
    /// As [`Work::send_demo`], and if nothing was sent.
    pub(super) async fn send_last_again(&self) -> Result<Done, Failure> {
        let mut last = self.acting.lock().await;
        let sending =
            last.ok_or_else(|| Failure::Data("expected something to have been sent from this page before".to_owned()))?;
        self.send_again(sending, &mut last).await
    }

    async fn send_again(&self, sending: Sending, last: &mut Option<Sending>) -> Result<Done, Failure> {
        // m3ter itself would count it, or keep rejecting it. A sandbox does not say whether the queue is its relay's.
        self.sandbox()?;
        self.queue.must_be_local().map_err(Failure::Data)?;
        let count = match sending {
            Sending::Demo { count, .. } => count,
            Sending::Mistakes { .. } => MISTAKES.0,
        };
        let room = self.known().books.room() as u64;
        if count > room {
            return Err(Failure::Data(format!(
                "expected at most {room} measurements: the books are full; start the console anew"
            )));
        }
        *last = Some(sending);
        let done = match sending {
            Sending::Demo { run, count } => self.send_good(run, count).await,
            Sending::Mistakes { run } => self.send_mixed(run).await,
        };
        self.look_now.notify_one();
        done
    }

    async fn send_good(&self, run: Run, count: u64) -> Result<Done, Failure> {
        let input = Input::Made { run, count };
        let (delivery, failure) = send::send(&self.queue, input, PER_MESSAGE, &Progress::none()).await;
        let uids_of = |number: u64| {
            let first = number * PER_MESSAGE;
            (first..count.min(first + PER_MESSAGE)).map(|index| Some(Key::uid(&run.uid(index)))).collect()
        };
        let now_ms = clock::now().as_millisecond();
        let mut known = self.known();
        for (number, message_id) in &delivery.taken {
            known.books.sent(message_id, uids_of(*number), now_ms);
        }
        let done = Done { measurements: delivery.measurements, messages: delivery.messages };
        failure.map_or(Ok(done), Err)
    }

    async fn send_mixed(&self, run: Run) -> Result<Done, Failure> {
        let (measurements, messages) = MISTAKES;
        let produced = plan::plan(run, measurements, messages)?;
        let message_ids = demo::send(&self.queue, plan::messages(&produced)?, &Progress::none()).await?;
        let now_ms = clock::now().as_millisecond();
        let mut known = self.known();
        for (of_message, message_id) in produced.chunk_by(|one, next| one.message == next.message).zip(&message_ids) {
            let uids = of_message.iter().map(|one| one.uid.as_deref().map(Key::uid)).collect();
            known.books.sent(message_id, uids, now_ms);
        }
        Ok(Done { measurements, messages: message_ids.len() as u64 })
    }

    /// Switches `trouble` at the sandbox on or off.
    ///
    /// # Errors
    /// [`Failure`] if there is no sandbox, or it does not answer.
    pub(super) async fn switch(&self, trouble: Trouble, on: bool) -> Result<(), Failure> {
        let _one_at_a_time = self.acting.lock().await;
        let Sandbox { m3ter, credentials } = self.sandbox()?;
        match trouble.rule() {
            None => {
                if on {
                    // What makes it forget its tokens would replace its credentials by any others.
                    m3ter.ensure_credentials(credentials).await?;
                    m3ter.forget_tokens(credentials).await?;
                }
                self.tokens_expire.store(on, Ordering::Relaxed);
            }
            Some(rule) => {
                let report = m3ter.faults().await?;
                let stands = report.rules.iter().any(|one| one.rule == rule);
                if on && !stands {
                    m3ter.add_faults(&[rule]).await?;
                } else if !on && stands {
                    let others = without(&report, trouble);
                    m3ter.clear_faults().await?;
                    if !others.is_empty() {
                        m3ter.add_faults(&others).await?;
                    }
                }
            }
        }
        self.look_now.notify_one();
        Ok(())
    }
}
