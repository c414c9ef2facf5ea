//! Random messages through random trouble, delivered again until nothing is left: then the books must balance, exactly.
//!
//! Each world follows from its seed, so a failure, which names the seed, comes back. Two kinds of trouble are told apart. In
//! most worlds nothing random looks like a refusal of data, so what must be quarantined is known beforehand, and
//! everything else must be ingested once. In the others m3ter also refuses at random; then the relay may blame the
//! innocent, but it must keep what it blames.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use m3ter_sandbox::{Containing, Credentials, Fault, FaultRule, Route, State};
use relay_store::quarantine_id;
use serde_json::{Value, json};
use tokio::time::advance;

use crate::seams::{Puts, Reading};
use crate::world::{KEY, Message, QUEUE_ARN, Setup, World, bad, but, good};

/// Deliveries with trouble; after them there is none, and a few more must be enough.
const STORM: u64 = 8;
const ENOUGH: u64 = STORM + 12;

/// Says which world failed.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            #[expect(clippy::print_stderr, reason = "a failed property must say how it can be repeated")]
            {
                eprintln!("the seed was {}", self.0);
            }
        }
    }
}

/// What was put on the queue.
#[derive(Default)]
struct Plan {
    messages: Vec<Message>,
    /// The contents under each uid that guard lets through, by their `n`.
    contents: BTreeMap<String, BTreeSet<u64>>,
    /// Uids that m3ter refuses whenever it sees them.
    culprits: BTreeSet<String>,
    /// What guard refuses: message and position.
    broken: BTreeSet<(String, usize)>,
}

impl Plan {
    fn of(rng: &mut fastrand::Rng) -> Plan {
        let mut plan = Plan::default();
        let mut sent: Vec<Value> = Vec::new();
        for number in 0..rng.usize(2..9) {
            let id = format!("m-{number}");
            let mut measurements = Vec::new();
            for position in 0..rng.usize(1..14) {
                let fresh = but(good(&format!("{number}-{position}")), "measure", json!({"n": rng.u64(1..1_000)}));
                let earlier = (!sent.is_empty()).then(|| sent[rng.usize(..sent.len())].clone());
                let measurement = match (rng.u8(0..20), earlier) {
                    (0 | 1, _) => bad(&format!("{number}-{position}")),
                    (2 | 3, Some(copy)) => copy,
                    (4, Some(rival)) => but(rival, "measure", json!({"n": rng.u64(1_000..2_000)})),
                    (5, _) => but(fresh, "ts", json!("2026-06-01T00:04:00Z")),
                    _ => fresh,
                };
                let uid = measurement["uid"].as_str().unwrap().to_owned();
                if measurement["meter"].is_null() {
                    plan.broken.insert((id.clone(), position));
                } else {
                    let n = measurement["measure"]["n"].as_u64().unwrap();
                    if rng.u8(0..25) == 0 {
                        plan.culprits.insert(uid.clone());
                    }
                    plan.contents.entry(uid).or_default().insert(n);
                    sent.push(measurement.clone());
                }
                measurements.push(measurement);
            }
            plan.messages.push(Message::of(&id, &measurements));
        }
        plan
    }
}

/// Trouble that says nothing about data.
fn trouble(rng: &mut fastrand::Rng) -> FaultRule {
    let statuses = [302, 401, 404, 408, 409, 429, 500, 503];
    let fault = match rng.u8(0..8) {
        0 => Fault::Html,
        1 => Fault::Reset,
        2 => Fault::Truncate,
        3 => Fault::Hang,
        4 => Fault::Delay { delay_ms: rng.u64(1..40_000) },
        5 | 6 => Fault::DropAnswer,
        _ => Fault::status(statuses[rng.usize(..statuses.len())]),
    };
    let route = [Route::Ingest, Route::Ingest, Route::Token, Route::Any][rng.usize(..4)];
    FaultRule::new(fault).on(route).with_probability(rng.f64(), rng.u64(..))
}

/// Sets the world up for one delivery.
fn stir(world: &World, plan: &Plan, rng: &mut fastrand::Rng, storming: bool, blaming: bool) {
    world.sandbox.clear_faults();
    for culprit in &plan.culprits {
        world.sandbox.add_fault(FaultRule::new(Fault::status(400)).containing(Containing::uid(culprit)));
    }
    let (mut puts, mut reading) = (Puts::Work, Reading::Gives(KEY.0, KEY.1));
    if storming {
        (0..rng.usize(0..3)).for_each(|_| world.sandbox.add_fault(trouble(rng)));
        if blaming {
            let status = [400, 403, 413, 422][rng.usize(..4)];
            world.sandbox.add_fault(FaultRule::new(Fault::status(status)).with_probability(0.3, rng.u64(..)));
        }
        puts = [Puts::Work, Puts::Work, Puts::Fail, Puts::Hang, Puts::LoseTheAnswer][rng.usize(..5)];
        match rng.u8(0..10) {
            0 => reading = Reading::Hangs,
            1 => world.sandbox.revoke_tokens(),
            2 => reading = Reading::Gives(KEY.0, "canary-wrong"),
            _ => {}
        }
    }
    world.objects.now(puts);
    world.vault.now(reading);
    world.sandbox.set_credentials(Credentials::new(KEY.0, KEY.1));
}

/// Delivers everything until nothing is left; the queue's part of the work.
async fn drain(world: &World, plan: &Plan, rng: &mut fastrand::Rng, blaming: bool) {
    let mut queue = plan.messages.clone();
    for round in 0.. {
        assert!(round < ENOUGH, "still there: {:?}", queue.iter().map(|message| &message.id).collect::<Vec<_>>());
        let storming = round < STORM;
        stir(world, plan, rng, storming, blaming);
        rng.shuffle(&mut queue);
        let mut event: Vec<Message> = queue.clone();
        if storming {
            event.truncate(rng.usize(1..=queue.len()));
            if rng.bool() {
                event.push(event[0].clone());
            }
        } else {
            // Other traffic, so that there is evidence.
            event.push(Message::of(&format!("traffic-{round}"), &[good(&format!("traffic-{round}"))]));
        }
        let handled = world.deliver(&event).await;
        queue
            .retain(|message| handled.returned.contains(&message.id) || event.iter().all(|delivered| delivered.id != message.id));
        queue.iter_mut().for_each(|message| message.receives += 1);
        if queue.is_empty() {
            return;
        }
        advance(Duration::from_secs(rng.u64(1..120))).await;
    }
}

/// What was ingested: uid to `n`. Checks that no uid is there twice, and that m3ter bills the sum of it.
fn ingested(world: &World) -> BTreeMap<String, u64> {
    let ledger = world.ledger();
    let mut ingested = BTreeMap::new();
    for line in ledger.measurements.unwrap().into_iter().filter(|line| line.state == State::Ingested) {
        let measurement: Value = serde_json::from_str(line.measurement.get()).unwrap();
        let twice = ingested.insert(line.uid.unwrap(), measurement["measure"]["n"].as_u64().unwrap());
        assert_eq!(twice, None, "{measurement}");
    }
    let billed = ledger.meters.get("api").map_or("0".into(), |meter| meter.sums["n"].to_string());
    assert_eq!(billed, ingested.values().sum::<u64>().to_string());
    ingested
}

async fn world_of(seed: u64, blaming: bool) {
    let _named = Seed(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = World::with(Setup { requests_per_second: 20.0, in_flight: rng.usize(1..5), ..Setup::default() });
    let plan = Plan::of(&mut rng);
    drain(&world, &plan, &mut rng, blaming).await;

    let ingested = ingested(&world);
    let kept: BTreeMap<_, _> = world.quarantined().await.into_iter().map(|entry| (entry.qid, entry.reason)).collect();
    for message in &plan.messages {
        for (position, uid) in message.uids.iter().enumerate() {
            let reason = kept.get(&quarantine_id(QUEUE_ARN, &message.id, position)).map(String::as_str);
            let place = (message.id.clone(), position);
            assert!(reason.is_some() || ingested.contains_key(uid), "{place:?} is nowhere");
            if blaming {
                continue;
            }
            let contents = plan.contents.get(uid);
            match reason {
                Some("MeterMissing") => assert!(plan.broken.contains(&place), "{place:?}"),
                Some("RefusedByApi") => assert!(plan.culprits.contains(uid), "{place:?}"),
                Some("UidConflict") => assert!(contents.is_some_and(|contents| contents.len() > 1), "{place:?}"),
                Some(other) => panic!("{place:?} is {other}"),
                None => assert!(!plan.culprits.contains(uid) && contents.unwrap().contains(&ingested[uid]), "{place:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_each_measurement_is_ingested_once_or_kept_and_only_the_culprits_are_kept() {
    for seed in 0..80 {
        world_of(seed, false).await;
    }
}

#[tokio::test(start_paused = true)]
async fn even_if_m3ter_refuses_at_random_nothing_is_lost_and_nothing_is_counted_twice() {
    for seed in 1_000..1_040 {
        world_of(seed, true).await;
    }
}
