//! The job that fetches m3ter's later answer, as a process of its own beside the relay: now and then while a world lives, and at its end
//! until it has caught up.
//!
//! It runs as `functions/ingest-watch` runs it, and can be killed where it waits for m3ter or the store. Whatever it draws comes from a
//! generator of its own: all else in a world is the same with it and without.
//!
//! Absent: its chores (counts, the catalogue, the reconciliation), which judge nothing. So it is the look that runs here, between
//! reading and keeping the cursor, as `watch::round` has it.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use ingest_relay::config::Config;
use m3ter_client::{Client, Clock};
use object_store::path::Path;
use relay_store::{Store, StoreError};
use tokio::time::{Instant, timeout_at};
use watch::counts::Counts;
use watch::cursor::Cursor;
use watch::pass::{Pass, PassError, Passed};

use crate::alone::{Alone, Gate, Work};
use crate::fault::Fault;
use crate::inquiry::Inquiry;
use crate::lambda::variable;
use crate::m3ter::Door;
use crate::mortal::{Doom, End, Mortal};
use crate::plan::{Ledger, rng};
use crate::seams::{Objects, Vault};
use crate::world::World;

/// Its number among the environments.
pub(crate) const NUMBER: u32 = u32::MAX;
/// Its function's time-out. Source: the template.
const TIMEOUT_MS: i64 = 290_000;
/// How much of the time to ask m3ter goes to events. Source: `functions/ingest-watch`.
const PASS_SHARE: f64 = 0.6;
/// More rounds than that are not needed to catch up, once nothing fails.
const ROUNDS_TO_CATCH_UP: usize = 6;
const HOUR_MS: i64 = 3_600_000;
/// After so long a look is a deep one, and every event old enough to be judged, whichever clocks were how wrong.
const WAIT_MS: i64 = HOUR_MS + 10 * 60_000;
/// Draws of its own.
const SALT: u64 = 0x7761_7463_6865_7221;

/// The process.
struct Watcher<'w> {
    world: &'w Arc<World>,
    rng: RefCell<fastrand::Rng>,
    warm: Option<Environment>,
    rounds: u64,
}

struct Environment {
    client: Client,
    store: Store,
    skew_ms: i64,
}

/// What a round came to.
struct Round {
    counts: Counts,
    passed: Result<Passed, PassError>,
    kept: Result<(), StoreError>,
}

/// While the world lives.
pub(crate) async fn keep_watching(world: &Arc<World>) {
    if !world.nature.plan.is_watched {
        return;
    }
    let mut watcher = Watcher { world, rng: RefCell::new(rng(world.nature.plan.seed ^ SALT)), warm: None, rounds: 0 };
    for at_ms in &world.nature.plan.rounds {
        world.nature.until(*at_ms).await;
        watcher.round().await;
    }
}

/// When the world is over: everything is listed now, and nothing fails any more. Law 12 holds from here on.
pub(crate) async fn catch_up(world: &Arc<World>) {
    let nature = &world.nature;
    if nature.is_broken() || !nature.plan.is_watched {
        return;
    }
    // What was still to follow a rotation follows now.
    {
        let mut outside = world.outside();
        outside.in_the_secret = outside.taken_by_m3ter;
    }
    let lived_long = world.age() > Duration::from_secs(12 * 3_600);
    let mut watcher = Watcher { world, rng: RefCell::new(rng(nature.plan.seed ^ !SALT)), warm: None, rounds: 1_000 };
    if nature.plan.has(Fault::ListedLate) {
        nature.until(nature.now_ms().max(nature.plan.faults_end_ms + crate::inquiry::HIDDEN_MAX_MS)).await;
    }
    // What waits for a deeper look waits an hour at most, and what was missed a day.
    nature.pass(if lived_long { 25 * HOUR_MS } else { WAIT_MS }).await;
    for _ in 0..ROUNDS_TO_CATCH_UP {
        let round = watcher.round().await;
        if round.is_some_and(|round| round.counts.waiting == 0 && round.passed.is_ok_and(|passed| passed.is_whole)) {
            return;
        }
        nature.pass(WAIT_MS).await;
    }
    nature.broke(12, format!("it has not caught up after {ROUNDS_TO_CATCH_UP} rounds without a fault"));
}

impl Watcher<'_> {
    /// A round, and what it came to if it came to an end.
    async fn round(&mut self) -> Option<Round> {
        let nature = &self.world.nature;
        self.rounds += 1;
        let environment = self.warm.take().unwrap_or_else(|| self.start());
        let name = format!("8476a536-e9f4-11e8-aaaa-{:012x}", self.rounds);
        nature.tell(&format!("watch: round {}", self.rounds));
        let began_ms = nature.now_ms();
        let (doom, draws) = self.doom();
        let turn = || {
            nature.take_turns("watch", &mut self.rng.borrow_mut());
            if self.world.was_read.swap(false, Ordering::Relaxed) { Work::ThatEnds } else { Work::None }
        };
        let end = {
            let job =
                round(&environment, self.world.nature.plan.ledger != Ledger::Off, &name, began_ms + environment.skew_ms, draws);
            let caught = Alone::new(AssertUnwindSafe(job).catch_unwind(), turn);
            timeout_at(nature.at(began_ms + TIMEOUT_MS), Gate::new(Mortal::new(caught, doom))).await
        };
        let (what, round) = match end {
            Ok(End::Came(Ok(Some(round)))) => (outcome(&round), Some(round)),
            Ok(End::Came(Ok(None))) => ("watch: the store hid where it was, or time was up", None),
            Ok(End::Came(Err(panic))) => {
                if panic.downcast_ref::<&str>() != Some(&"planned") {
                    nature.broke(12, "the job panics by itself".into());
                }
                ("watch: panicked", None)
            }
            Ok(End::Killed) => ("watch: killed", None),
            Err(_) => ("watch: timed out", None),
        };
        nature.sometimes(what);
        let counts = round.as_ref().map(|round| &round.counts);
        nature.tell(&format!("{what}: {counts:?}"));
        if what != "watch: killed" && what != "watch: timed out" {
            self.warm = Some(environment);
        }
        round
    }

    fn start(&self) -> Environment {
        let (world, plan) = (self.world, &self.world.nature.plan);
        let config = Config::from_vars(|name| variable(world, name)).unwrap();
        let door = Door { world: world.clone(), environment: NUMBER, dead: Arc::default(), stranger: None };
        let inquiry = Inquiry { door, last: Mutex::default() };
        let client = Client::new(Arc::new(inquiry), Arc::new(Vault(world.clone())), &config.client);
        let objects = Objects { world: world.clone(), environment: NUMBER };
        let mut rng = self.rng.borrow_mut();
        let is_wrong = rng.f64() < plan.rate(Fault::ClockSkew);
        let skew_ms = if is_wrong { rng.i64(-240_000..=240_000) } else { 0 };
        Environment { client, store: Store::over(Arc::new(objects), Path::from("relay")), skew_ms }
    }

    /// What happens to the process, and a generator for its jitter.
    fn doom(&self) -> (Doom, fastrand::Rng) {
        let nature = &self.world.nature;
        let mut rng = self.rng.borrow_mut();
        let mut happens = |fault| rng.f64() < if nature.is_faulty() { nature.plan.rate(fault) } else { 0.0 };
        let (is_killed, is_stalled) = (happens(Fault::Kill), happens(Fault::Stall));
        let mut turn = || rng.u32(1..=16);
        let doom = Doom {
            kill_at: is_killed.then(&mut turn),
            stall_at: is_stalled.then(|| (turn(), Duration::from_millis(1_000 * u64::from(turn()) * 30))),
        };
        (doom, rng.fork())
    }
}

/// What the function does with an event.
async fn round(environment: &Environment, has_ledger: bool, name: &str, now_ms: i64, rng: fastrand::Rng) -> Option<Round> {
    let began = Instant::now();
    let clock = Clock::starting_at(now_ms);
    let budget = clock.budget(now_ms + TIMEOUT_MS);
    let until = began + budget.submit_until.duration_since(began).mul_f64(PASS_SHARE);
    let session = environment.client.session(clock, budget, None, rng);
    let store = &environment.store;
    let pass = Pass { store, name, now_ms, has_ledger, until, settle_until: budget.settle_until };
    let round = async {
        let mut cursor = Cursor::read(store).await.ok()?;
        let mut counts = Counts::default();
        let passed = pass.run(&session, &mut cursor, &mut counts).await;
        Some(Round { counts, passed, kept: cursor.keep(store, budget.settle_until).await })
    };
    timeout_at(budget.brake_until, round).await.ok()?
}

fn outcome(round: &Round) -> &'static str {
    match (&round.passed, &round.kept) {
        (Ok(passed), Ok(())) if passed.is_whole && round.counts.waiting > 0 => "watch: whole, some wait for a deeper look",
        (Ok(passed), Ok(())) if passed.is_whole => "watch: whole",
        (Ok(passed), _) if passed.is_whole => "watch: whole, the cursor not kept",
        (Ok(_), _) if round.counts.unread_logs > 0 => "watch: a log could not be read",
        (Ok(_), _) => "watch: cut short",
        (Err(PassError::Events(_)), _) => "watch: events not listed",
        (Err(PassError::Store(_)), _) => "watch: the store failed",
    }
}
