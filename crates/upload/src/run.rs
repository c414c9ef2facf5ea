//! A run of an upload: from where the last one stopped as far as time allows, one step after the other.

use std::cell::RefCell;
use std::time::Duration;

use m3ter_client::{Client, Clock, Session};
use relay_store::{LedgerMode, LedgerWrite, Store};
use tokio::time::Instant;
use uuid::Uuid;

use crate::error::UploadError;
use crate::journal::{Journal, Part, PartState, State};
use crate::options::Options;
use crate::prepare::Input;

/// The longest the store may take for one object, or one piece of a part.
const STORE: Duration = Duration::from_secs(60);
/// The longest a question to m3ter may take, with all its attempts.
const ASK: Duration = Duration::from_secs(90);
/// Less time than this is not worth a step.
pub(crate) const STEP_LEAST: Duration = Duration::from_secs(20);
/// The first wait for m3ter, which may be done at once, and
const POLL_LEAST: Duration = Duration::from_secs(1);
/// the longest: it takes m3ter some five minutes for a part.
const POLL_MOST: Duration = Duration::from_secs(15);
/// Rows that were sent and not processed yet, beyond which nothing more is sent: six hours of m3ter's.
const ROWS_AHEAD_MAX: u64 = 6 * 3_600 * ROWS_PER_SECOND;
/// Rows that m3ter processes in a second. Source: m3ter's documentation.
pub const ROWS_PER_SECOND: u64 = 2_000;

/// What an upload needs of the world.
pub struct Means<'m> {
    /// Journal, parts, quarantine and ledger.
    pub store: &'m Store,
    /// m3ter.
    pub client: &'m Client,
    /// The time.
    pub clock: Clock,
    /// What a ledger line says, and what it means if it cannot be written.
    pub ledger: (LedgerMode, LedgerWrite),
    /// How many look at rows at once, while a file is read.
    pub lookers: usize,
    /// Whether the run may wait for m3ter, or ends instead.
    pub may_wait: bool,
    /// When it must have ended.
    pub until: Instant,
    /// Makes the jitter.
    pub rng: RefCell<fastrand::Rng>,
    /// Is told how far it is.
    pub show: &'m dyn Fn(Stage),
}

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The file is read.
    Preparing {
        /// Bytes of it so far, packed as they are.
        bytes_read: u64,
        /// Of so many, if that is known.
        bytes: Option<u64>,
    },
    /// Parts go to m3ter.
    Sending {
        /// Bytes so far.
        bytes_sent: u64,
        /// Of so many.
        bytes: u64,
    },
    /// m3ter processes them.
    Processing {
        /// Rows so far.
        rows_processed: u64,
        /// Of so many.
        rows: u64,
    },
}

/// How a run ended, where nothing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// m3ter has processed everything.
    Done,
    /// Nothing was sent, or m3ter did not process a part: the state says why.
    Failed,
    /// There is more to do, but not before so long.
    Continues {
        /// Zero if there is work, longer if it is m3ter's turn.
        after: Duration,
    },
}

/// An upload that is at work.
pub struct Run<'m> {
    pub(crate) means: &'m Means<'m>,
    pub(crate) upload: Uuid,
    journal: Journal<'m>,
    /// Attempts to hand over a part that failed in a row.
    pub(crate) handovers: u32,
}

/// What comes after a step.
pub(crate) enum Next {
    /// Another one.
    Step,
    /// Another one, not before so long.
    Wait(Duration),
    /// Another one, which this run has no time for.
    End,
}

/// Whether there is an upload of this id, and how far it is.
///
/// # Errors
/// [`UploadError`] of the store.
pub async fn state(store: &Store, upload: Uuid) -> Result<Option<State>, UploadError> {
    Ok(Journal::open(store, upload, 0).await?.map(|journal| journal.state))
}

/// Begins the upload `upload` of `input`, or goes on with it. Comes back with its state when it has ended or time is up.
///
/// # Errors
/// [`UploadError`]. What was done stays done: another run goes on behind it.
pub async fn begin(means: &Means<'_>, upload: Uuid, options: Options, input: Input) -> Result<(Ended, State), UploadError> {
    let run = means.rng.borrow_mut().u64(..);
    let journal = match Journal::open(means.store, upload, run).await? {
        Some(journal) => journal,
        None => {
            let state = State::new(input.name.clone(), means.clock.now_ms(), options);
            let mut journal = Journal::new(means.store, upload, run, state);
            journal.write(Instant::now() + STORE).await?;
            journal
        }
    };
    let mut run = Run { means, upload, journal, handovers: 0 };
    if !run.state().prepared && !run.state().is_over() {
        run.prepare(input).await?;
    }
    run.go_on().await
}

/// Goes on with an upload whose file was read. Parts that m3ter did not process are sent again.
///
/// # Errors
/// As [`begin`]; [`UploadError::Unknown`] if it was never begun, [`UploadError::NotPrepared`] if its file is needed.
pub async fn resume(means: &Means<'_>, upload: Uuid) -> Result<(Ended, State), UploadError> {
    let run = means.rng.borrow_mut().u64(..);
    let journal = Journal::open(means.store, upload, run).await?.ok_or(UploadError::Unknown)?;
    let mut run = Run { means, upload, journal, handovers: 0 };
    if run.state().fault.is_none() && !run.state().prepared {
        return Err(UploadError::NotPrepared);
    }
    run.take_up_failed();
    run.go_on().await
}

impl<'m> Run<'m> {
    pub(crate) fn state(&self) -> &State {
        &self.journal.state
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        &mut self.journal.state
    }

    /// Writes the journal.
    pub(crate) async fn write(&mut self) -> Result<(), UploadError> {
        self.journal.write(Instant::now() + STORE).await
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.means.clock.now_ms()
    }

    pub(crate) fn store_until(&self) -> Instant {
        Instant::now() + STORE
    }

    pub(crate) fn show(&self, stage: Stage) {
        (self.means.show)(stage);
    }

    /// Time left.
    pub(crate) fn left(&self) -> Duration {
        self.means.until.saturating_duration_since(Instant::now())
    }

    /// A session for one step.
    pub(crate) fn session(&self) -> Session<'m> {
        let ask = i64::try_from(ASK.min(self.left()).as_millis()).unwrap_or(i64::MAX);
        let clock = Clock::starting_at(self.now_ms());
        let rng = self.means.rng.borrow_mut().fork();
        self.means.client.session(clock, clock.budget(self.now_ms().saturating_add(ask)), None, rng)
    }

    fn take_up_failed(&mut self) {
        let state = self.state_mut();
        for part in state.parts.iter_mut().filter(|part| part.state == PartState::Failed) {
            (part.state, part.failures) = (PartState::Ready, 0);
            state.ended_at = None;
        }
    }

    async fn go_on(mut self) -> Result<(Ended, State), UploadError> {
        let mut poll = POLL_LEAST;
        if self.state().is_over() {
            // The run that ended it may not have come to this.
            self.clear().await;
        }
        while !self.state().is_over() {
            let next = if self.left() < STEP_LEAST || !self.state().prepared { Next::End } else { self.step().await? };
            let after = match next {
                Next::Step => {
                    poll = POLL_LEAST;
                    continue;
                }
                Next::Wait(wait) => wait.max(poll),
                Next::End => Duration::ZERO,
            };
            let wait = after.min(POLL_MOST);
            if after.is_zero() || !self.means.may_wait || wait + STEP_LEAST > self.left() {
                return Ok((Ended::Continues { after }, self.journal.state));
            }
            #[expect(clippy::disallowed_methods, reason = "it is m3ter's turn")]
            tokio::time::sleep(wait).await;
            poll = (poll * 2).min(POLL_MOST);
        }
        let state = self.journal.state;
        let is_done = state.fault.is_none() && state.parts.iter().all(|part| part.state == PartState::Done);
        Ok((if is_done { Ended::Done } else { Ended::Failed }, state))
    }

    async fn step(&mut self) -> Result<Next, UploadError> {
        let followed = match self.rows_of(PartState::Sent) {
            0 => None,
            _ => Some(self.follow().await?),
        };
        if matches!(followed, Some(Next::Step)) {
            return Ok(Next::Step);
        }
        let now_ms = self.now_ms();
        let is_due = |place: &usize| self.part(*place).is_some_and(|part| part.ts_max <= now_ms);
        let next = self.places(PartState::Ready).find(is_due).or_else(|| self.places(PartState::Ready).next());
        match (next, followed) {
            // m3ter processes one file after the other: what is sent too early would be old when its turn comes.
            (Some(place), _) if self.rows_of(PartState::Sent) < ROWS_AHEAD_MAX => self.send(place).await,
            (_, Some(wait)) => Ok(wait),
            (_, None) => {
                self.state_mut().ended_at = Some(now_ms);
                self.write().await?;
                self.clear().await;
                Ok(Next::Step)
            }
        }
    }

    fn rows_of(&self, state: PartState) -> u64 {
        self.state().parts.iter().filter(|part| part.state == state).map(|part| part.rows).sum()
    }

    /// Deletes what nobody needs any more, and what runs left that were killed. Should it stay, it is in nobody's way.
    pub(crate) async fn clear(&self) {
        let wanted = self.state().parts.iter().filter(|part| part.state != PartState::Done);
        let wanted: Vec<&str> = wanted.map(|part| part.name.as_str()).collect();
        let _ = self.means.store.delete_parts_but(self.upload, &wanted, self.store_until()).await;
    }

    /// The parts that stand so.
    pub(crate) fn places(&self, state: PartState) -> impl Iterator<Item = usize> {
        self.state().parts.iter().enumerate().filter(move |(_, part)| part.state == state).map(|(place, _)| place)
    }

    pub(crate) fn part(&self, place: usize) -> Option<&Part> {
        self.state().parts.get(place)
    }

    pub(crate) fn part_mut(&mut self, place: usize, change: impl FnOnce(&mut Part)) {
        if let Some(part) = self.state_mut().parts.get_mut(place) {
            change(part);
        }
    }
}
