//! A model of Lambda: environments that start cold, are frozen between invocations, and die.
//!
//! An environment is what the shipped `main.rs` makes of one process: settings from variables, a client, a store, a
//! first token, and the handler behind a net that catches panics.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use ingest_relay::config::Config;
use ingest_relay::handler::Function;
use lambda_shell::Call;
use m3ter_client::{Client, Clock};
use object_store::path::Path;
use relay::{LastCatalogue, Relay};
use relay_core::guard::MissingUid;
use relay_store::{Payloads, Store};
use tokio::time::timeout_at;

use crate::fault::Fault;
use crate::m3ter::{Door, Stranger};
use crate::mortal::{Doom, End, Mortal};
use crate::plan::Ledger;
use crate::queue::Delivery;
use crate::seams::{Brake, Objects, Vault};
use crate::wire::record;
use crate::world::World;

/// Time that `main.rs` has for the first token.
const WARM_UP_MS: i64 = 4_000;

/// A process.
struct Environment {
    number: u32,
    function: Function,
    /// How wrong its clock is.
    skew_ms: i64,
    dead: Arc<AtomicBool>,
    is_lost: bool,
    idle_since_ms: i64,
}

/// How an invocation ended, as the event source mapping sees it.
#[derive(Debug)]
pub(crate) enum Handled {
    /// With an answer, which is JSON.
    Answered { answer: String, log: String, request_id: String },
    /// Without one: every message stays in flight until its visibility timeout ends.
    Failed,
}

/// The environments that are not busy.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Environment>>,
    started: Mutex<u32>,
}

impl Pool {
    /// Has an event handled, by a warm environment or a new one.
    pub(crate) async fn invoke(&self, world: &Arc<World>, deliveries: &[Delivery]) -> Handled {
        let nature = &world.nature;
        let mut environment = self.environment(world).await;
        let request_id = {
            let mut outside = world.outside();
            outside.invocations += 1;
            format!("8476a536-e9f4-11e8-9739-{:012x}", outside.invocations)
        };
        let event = event(world, deliveries);
        let began_ms = nature.now_ms();
        nature.tell(&format!("  invocation {:x} in env {}", world.outside().invocations, environment.number));
        let call = Call {
            request_id: &request_id,
            deadline_ms: began_ms + environment.skew_ms + nature.plan.timeout_ms,
            trace: None,
            now_ms: began_ms + environment.skew_ms,
        };
        let (mut rng, mut log, doom) = (nature.fork(), Vec::new(), doom(world));
        let end = {
            let handling = environment.function.handle(&event, call, &mut rng, &mut log);
            let handling = Mortal::new(AssertUnwindSafe(handling).catch_unwind(), doom);
            timeout_at(nature.at(began_ms + nature.plan.timeout_ms), handling).await
        };
        if doom.stall_at.is_some() {
            world.books().stalled.insert(environment.number);
        }
        let log = String::from_utf8(log).unwrap();
        nature.tell(&format!("  {}", log.trim_end()));
        let took_ms = nature.now_ms() - began_ms;
        environment.idle_since_ms = nature.now_ms();
        let stalled = doom.stall_at.is_some();
        match end {
            Ok(End::Came(Ok(Ok(answer)))) => {
                if !stalled {
                    in_time(world, took_ms);
                }
                self.idle.lock().unwrap().push(environment);
                Handled::Answered { answer: serde_json::to_string(&answer).unwrap(), log, request_id }
            }
            Ok(End::Came(Ok(Err(error)))) => {
                nature.broke(9, format!("the handler fails: {error}"));
                Handled::Failed
            }
            Ok(End::Came(Err(panic))) => {
                if panic.downcast_ref::<&str>() != Some(&"planned") {
                    nature.broke(9, "the handler panics by itself".into());
                }
                nature.sometimes("exit: panicked");
                self.idle.lock().unwrap().push(environment);
                Handled::Failed
            }
            Ok(End::Killed) => {
                nature.struck(Fault::Kill);
                nature.sometimes("exit: killed");
                Handled::Failed
            }
            Err(_) => {
                if !stalled {
                    nature.broke(6, format!("no answer after {took_ms} ms"));
                }
                nature.struck(Fault::Stall);
                nature.sometimes("exit: timed out");
                Handled::Failed
            }
        }
    }

    async fn environment(&self, world: &Arc<World>) -> Environment {
        let nature = &world.nature;
        // Sorted by number, so that who became idle first at one moment does not matter.
        let warm = {
            let mut idle = self.idle.lock().unwrap();
            if !nature.is_faulty() {
                idle.retain(|environment| !environment.is_lost);
            }
            match idle.is_empty() || nature.chance(0.08) {
                true => None,
                false => {
                    let place = usize::try_from(nature.between(0, idle.len() as i64 - 1)).unwrap();
                    Some(idle.swap_remove(place))
                }
            }
        };
        let Some(warm) = warm else {
            nature.sometimes("environment: cold start");
            let number = {
                let mut started = self.started.lock().unwrap();
                *started += 1;
                *started
            };
            return start(world, number).await;
        };
        let frozen_ms = nature.now_ms() - warm.idle_since_ms;
        if frozen_ms > 60_000 {
            nature.sometimes("environment: frozen for more than a minute");
            if nature.strikes(Fault::DeadConnection) {
                warm.dead.store(true, Ordering::Relaxed);
            }
        }
        warm
    }
}

/// Law 6.
fn in_time(world: &World, took_ms: i64) {
    let timeout_ms = world.nature.plan.timeout_ms;
    let reserve_ms = 2_000 * timeout_ms.min(60_000) / 60_000;
    // The timers of tokio are a millisecond coarse.
    if took_ms > timeout_ms - reserve_ms + 2 {
        world.nature.broke(6, format!("back after {took_ms} of {timeout_ms} ms"));
    }
    if took_ms > timeout_ms * 9 / 10 {
        world.nature.sometimes("exit: just before the deadline");
    }
}

fn doom(world: &World) -> Doom {
    let nature = &world.nature;
    let poll = || u32::try_from(if nature.chance(0.8) { nature.between(1, 14) } else { nature.between(1, 120) }).unwrap();
    let rate = |fault| if nature.is_faulty() { nature.plan.rate(fault) } else { 0.0 };
    Doom {
        kill_at: nature.chance(rate(Fault::Kill)).then(poll),
        stall_at: nature
            .chance(rate(Fault::Stall))
            .then(|| (poll(), Duration::from_millis(nature.between(1_000, 2 * nature.plan.timeout_ms) as u64))),
    }
}

fn event(world: &World, deliveries: &[Delivery]) -> String {
    let queue = world.queue();
    let records = deliveries.iter().map(|delivery| {
        let message = &queue.messages()[delivery.message];
        let odd = world.nature.strikes(Fault::OddRecord);
        record(delivery, message, &world.goods.sendings[message.sending], odd)
    });
    serde_json::json!({"Records": records.collect::<Vec<_>>()}).to_string()
}

/// What `main.rs` does at its start.
async fn start(world: &Arc<World>, number: u32) -> Environment {
    let (nature, plan) = (&world.nature, &world.nature.plan);
    let stranger = (nature.is_faulty() && nature.chance(plan.rate(Fault::WrongHost))).then(|| nature.one_of(&Stranger::ALL));
    let skew_ms = if nature.chance(plan.rate(Fault::ClockSkew)) { nature.between(-240_000, 240_000) } else { 0 };
    if skew_ms != 0 {
        nature.struck(Fault::ClockSkew);
    }
    nature.tell(&format!("env {number} starts, its clock {skew_ms} ms ahead, {stranger:?}"));
    let config = Config::from_vars(|name| variable(world, name)).unwrap();
    let dead = Arc::new(AtomicBool::new(false));
    let door = Door { world: world.clone(), environment: number, dead: dead.clone(), stranger };
    let client = Client::new(Arc::new(door), Arc::new(Vault(world.clone())), &config.client);
    let clock = Clock::starting_at(nature.now_ms() + skew_ms);
    let budget = clock.budget(clock.now_ms() + WARM_UP_MS);
    // A panic here ends the process, and Lambda starts another: the same as one that could not get a token.
    let warming = AssertUnwindSafe(async { client.session(clock, budget, None, nature.fork()).warm_up().await }).catch_unwind();
    if warming.await.is_err() {
        nature.tell("  its start panicked");
    }
    let objects = Objects { world: world.clone(), environment: number };
    let store = Store::over(Arc::new(objects), Path::from("relay"));
    let (payloads, catalogue) = (Payloads::default(), LastCatalogue::default());
    let relay = Relay { client, store, payloads, catalogue, settings: config.walk };
    let function = Function { relay, queue: Box::new(Brake(world.clone())), name: "relay".into() };
    Environment { number, function, skew_ms, dead, is_lost: stranger.is_some(), idle_since_ms: nature.now_ms() }
}

/// The settings, as the template gives them.
pub(crate) fn variable(world: &World, name: &str) -> Option<String> {
    let plan = &world.nature.plan;
    let value = match name {
        "M3TER_ORG_ID" => "sandbox-org".to_owned(),
        "M3TER_API_URL" => "https://api.m3ter.test".to_owned(),
        "M3TER_INGEST_URL" => "https://ingest.m3ter.test".to_owned(),
        "M3TER_SECRET_ARN" => "arn:aws:secretsmanager:eu-west-1:123456789012:secret:m3ter".to_owned(),
        "STORE_URL" => "s3://bucket/relay".to_owned(),
        "QUEUE_URL" => "https://sqs.eu-west-1.amazonaws.com/123456789012/usage".to_owned(),
        "REQUESTS_PER_SECOND" => plan.requests_per_second.to_string(),
        "MAXIMUM_CONCURRENCY" => plan.pollers.to_string(),
        "BATCHES_IN_FLIGHT" => plan.in_flight.to_string(),
        "EXHAUST_AFTER_DAYS" => plan.exhaust_days.to_string(),
        "MISSING_UID" => if plan.missing_uid == MissingUid::Content { "content" } else { "refuse" }.to_owned(),
        "LEDGER_MODE" => match plan.ledger {
            Ledger::Full | Ledger::BestEffort => "full".to_owned(),
            Ledger::Uids => "uids".to_owned(),
            Ledger::Off => "off".to_owned(),
        },
        "PREFLIGHT" => world.goods.known.as_ref()?.preflight.to_owned(),
        "LEDGER_WRITE" => if plan.ledger == Ledger::BestEffort { "best-effort" } else { "required" }.to_owned(),
        _ => return None,
    };
    Some(value)
}
