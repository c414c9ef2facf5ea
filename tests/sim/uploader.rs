//! The job that uploads files, as a process of its own beside the relay, in the worlds that have a file: killed at any of its calls and
//! taken up again until it is done.
//!
//! It runs as `functions/bulk-upload` runs it, which waits for nobody and comes again, or as a person does at a keyboard, who waits,
//! and has what failed sent again. Each run is a process of its own. Whatever it draws comes from a generator of its own.

use std::cell::RefCell;
use std::io::Cursor;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use files::source::Source;
use futures_util::FutureExt;
use ingest_relay::config::Config;
use m3ter_client::{Client, Clock};
use object_store::path::Path;
use relay_store::Store;
use tokio::time::timeout_at;
use upload::journal::State;
use upload::run::{Ended, Means, Stage, begin, resume};
use upload::{Input, UploadError};

use crate::alone::{Alone, Gate, Work};
use crate::by_file;
use crate::courier::Courier;
use crate::fault::Fault;
use crate::filed::Filed;
use crate::lambda::variable;
use crate::m3ter::Door;
use crate::mortal::{End, Life};
use crate::plan::rng;
use crate::seams::Vault;
use crate::shelf::Shelf;
use crate::world::World;

/// Its number among the environments.
pub(crate) const NUMBER: u32 = u32::MAX - 1;
/// How long a run may take: a function's time-out, and the patience of a person.
const TIMES_MS: (i64, i64) = (900_000, 3_600_000);
/// Time that the function keeps for itself.
const RESERVE_MS: i64 = 15_000;
/// The wait before a run that follows one which came to nothing: at first, and at last.
const PAUSES_MS: (i64, i64) = (60_000, 6 * 3_600_000);
/// The longest that a message of the function's queue stays away.
const AWAY_MAX_MS: i64 = 900_000;
/// The pause while nothing fails any more.
const CALM_PAUSE_MS: i64 = 300_000;
/// Draws of its own.
const SALT: u64 = 0x7570_6c6f_6164_2121;

/// What is known of the upload outside of it.
#[derive(Debug, Default)]
pub(crate) struct Uploading {
    /// Whether a thread reads the file: no time may pass then.
    pub(crate) is_reading: bool,
    /// The last step of its journal.
    pub(crate) journal: String,
    /// What m3ter took: the job, and the uids of its rows.
    pub(crate) taken: Vec<(String, Vec<String>)>,
    /// Something could not be deleted.
    pub(crate) is_left_over: bool,
    /// How it ended.
    pub(crate) ended: Option<State>,
}

/// While the world lives.
pub(crate) async fn keep_uploading(world: &Arc<World>) {
    let Some(file) = &world.goods.file else { return };
    let nature = &world.nature;
    let mut uploader = Uploader { world, file, rng: RefCell::new(rng(nature.plan.seed ^ SALT)), again: false };
    nature.until(file.at_ms).await;
    let mut pause_ms = PAUSES_MS.0;
    while !nature.is_broken() {
        let wait_ms = match uploader.run().await {
            Some(0) => break,
            Some(wait_ms) => wait_ms,
            None if nature.is_faulty() => {
                pause_ms = (pause_ms * 2).min(PAUSES_MS.1);
                uploader.rng.borrow_mut().i64(1_000..pause_ms)
            }
            None => CALM_PAUSE_MS,
        };
        // Nobody sleeps long when all is well again.
        let latest_ms = nature.now_ms().max(nature.plan.faults_end_ms) + CALM_PAUSE_MS;
        nature.until((nature.now_ms() + wait_ms).min(latest_ms)).await;
    }
    world.moved.notify_waiters();
}

struct Uploader<'w> {
    world: &'w Arc<World>,
    file: &'w Filed,
    rng: RefCell<fastrand::Rng>,
    /// Whether a person has what failed sent again.
    again: bool,
}

impl Uploader<'_> {
    /// A run: after how many milliseconds the next one comes; 0 if it is over, `None` if it came to nothing.
    async fn run(&mut self) -> Option<i64> {
        let nature = &self.world.nature;
        let is_person = self.again || self.rng.borrow_mut().f64() < self.file.by_hand;
        let began_ms = nature.now_ms();
        let time_ms = if is_person { TIMES_MS.1 } else { TIMES_MS.0 };
        let (life, skew_ms) = self.life();
        nature.tell(&format!("upload: a run, by hand {is_person}, again {}, clock {skew_ms} ms ahead", self.again));
        {
            let mut uploading = self.world.uploading();
            uploading.is_reading = !by_file::is_prepared(&uploading.journal);
        }
        let turn = || {
            nature.take_turns("upload", &mut self.rng.borrow_mut());
            if self.world.uploading().is_reading { Work::ThatWakes } else { Work::None }
        };
        let end = {
            let job = life.of(self.job(&life, began_ms + skew_ms, is_person, began_ms + time_ms - RESERVE_MS));
            let caught = Alone::new(AssertUnwindSafe(job).catch_unwind(), turn);
            timeout_at(nature.at(began_ms + time_ms), Gate::new(caught)).await
        };
        self.world.uploading().is_reading = false;
        let (what, next) = match end {
            Ok(Ok(End::Came(Ok((ended, state))))) => self.ended(ended, state),
            Ok(Ok(End::Came(Err(error)))) => {
                by_file::says(self.world, &error.to_string());
                (failed(&error), None)
            }
            Ok(Ok(End::Killed)) => ("upload: killed", None),
            Ok(Err(panic)) => {
                if panic.downcast_ref::<&str>() != Some(&"planned") {
                    nature.broke(9, "the upload panics by itself".into());
                }
                ("upload: panicked", None)
            }
            Err(_) => ("upload: timed out", None),
        };
        nature.sometimes(what);
        nature.tell(what);
        next
    }

    fn ended(&mut self, ended: Ended, state: State) -> (&'static str, Option<i64>) {
        by_file::reports(self.world, self.file, ended, &state);
        match ended {
            Ended::Continues { after } => {
                ("upload: continues", Some(i64::try_from(after.as_millis()).unwrap().clamp(1_000, AWAY_MAX_MS)))
            }
            Ended::Failed if state.fault.is_none() => {
                self.again = true;
                ("upload: a part failed", None)
            }
            Ended::Done | Ended::Failed => {
                let what = if ended == Ended::Done { "upload: done" } else { "upload: turned down" };
                self.world.uploading().ended = Some(state);
                (what, Some(0))
            }
        }
    }

    async fn job(&self, life: &Arc<Life>, now_ms: i64, may_wait: bool, until_ms: i64) -> Result<(Ended, State), UploadError> {
        let (world, plan) = (self.world, &self.world.nature.plan);
        let config = Config::from_vars(|name| variable(world, name)).unwrap();
        let door = Door { world: world.clone(), environment: NUMBER, dead: Arc::default(), stranger: None };
        let courier = Courier { door, life: life.clone() };
        let client = Client::new(Arc::new(courier), Arc::new(Vault(world.clone())), &config.client);
        let store = Store::over(Arc::new(Shelf { world: world.clone(), life: life.clone() }), Path::from("relay"));
        let show = |stage| match stage {
            Stage::Processing { .. } => world.nature.sometimes("upload: m3ter processes it"),
            Stage::Preparing { .. } | Stage::Sending { .. } => {}
        };
        let means = Means {
            store: &store,
            client: &client,
            clock: Clock::starting_at(now_ms),
            ledger: (config.walk.ledger.mode, config.walk.ledger.write),
            lookers: 1,
            may_wait,
            until: world.nature.at(until_ms),
            rng: RefCell::new(rng(plan.seed ^ u64::try_from(now_ms).unwrap())),
            show: &show,
        };
        if self.again {
            return resume(&means, self.file.upload).await;
        }
        let text = self.file.text.clone();
        let source = Source::of(self.file.name, Some(text.len() as u64), Cursor::new(text));
        begin(&means, self.file.upload, self.file.options, Input::of(source, self.file.format)).await
    }

    /// When the process ends, and how wrong its clock is.
    fn life(&self) -> (Arc<Life>, i64) {
        let nature = &self.world.nature;
        let mut rng = self.rng.borrow_mut();
        let rate = |fault| if nature.is_faulty() { nature.plan.rate(fault) } else { 0.0 };
        let is_killed = rng.f64() < (rate(Fault::Kill) * 3.0).min(0.7);
        let end = (if rng.bool() { rng.u32(..8) } else { rng.u32(..60) }, rng.bool());
        let is_wrong = rng.f64() < rate(Fault::ClockSkew);
        let skew_ms = if is_wrong { rng.i64(-240_000..=240_000) } else { 0 };
        (Arc::new(Life::until(is_killed.then_some(end))), skew_ms)
    }
}

fn failed(error: &UploadError) -> &'static str {
    match error {
        UploadError::Store(_) => "upload: the store failed",
        UploadError::NotAnswered(_) => "upload: m3ter did not answer",
        UploadError::NotTaken { .. } => "upload: not taken",
        UploadError::Unsure => "upload: no answer to the file",
        UploadError::AnotherRun => "upload: another run",
        UploadError::Unreadable(_)
        | UploadError::Version { .. }
        | UploadError::Unknown
        | UploadError::NotPrepared
        | UploadError::PartChanged => "upload: broken",
    }
}
