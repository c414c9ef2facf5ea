//! Seeded scripts of calls to SQS, and that they mean the same to the model and to the emulator.

use crate::both::{Both, Compared, Happened, START_MS};
use crate::emulator::Emulator;
use crate::queue::Settings;

const SCRIPTS: u64 = 20;
const CALLS: usize = 60;

/// Every one of these has to happen in some script, each handle in a call of its own and in a batch.
const HAPPENS: [&str; 15] = [
    "send: one",
    "send: batch",
    "receive: nothing",
    "receive: again",
    "receive: a choice of several",
    "receive: given up",
    "receive: with a visibility timeout of its own",
    "delay: to nothing",
    "expired in the dead-letter queue",
    "end: Queue",
    "end: DeadLetter",
    "end: Deleted",
    "end: Expired",
    "delete by a handle: MadeUp",
    "delay by a handle: MadeUp",
];

/// The queue of a script.
fn settings(rng: &mut fastrand::Rng) -> Settings {
    Settings {
        visibility_ms: [5_000, 20_000, 60_000][rng.usize(0..3)],
        retention_ms: [60_000, 300_000, 1_209_600_000][rng.usize(0..3)],
        receives_max: rng.u32(1..=4),
    }
}

/// A handle, mostly of one of the last deliveries; sometimes made up.
fn pick(both: &Both<'_>, rng: &mut fastrand::Rng) -> usize {
    let handles = both.handles();
    match rng.u32(0..100) {
        0..8 => 0,
        8..75 => rng.usize(handles.saturating_sub(8)..handles),
        _ => rng.usize(0..handles),
    }
}

async fn call(both: &mut Both<'_>, settings: Settings, rng: &mut fastrand::Rng) -> Compared {
    match rng.u32(0..100) {
        0..12 => both.send(1).await,
        12..18 => both.send(rng.usize(2..=10)).await,
        18..48 => {
            let visibility_s = [None, None, None, Some(0), Some(1), Some(90)][rng.usize(0..6)];
            both.receive(rng.usize(1..=10), visibility_s).await
        }
        48..58 => {
            let handle = pick(both, rng);
            both.delete(&[handle]).await
        }
        58..64 => {
            let handles: Vec<usize> = (0..rng.usize(2..=10)).map(|_| pick(both, rng)).collect();
            both.delete(&handles).await
        }
        64..84 => {
            let delays = if rng.bool() { 1 } else { rng.usize(2..=10) };
            let delays: Vec<(usize, u32)> = (0..delays).map(|_| (pick(both, rng), [0, 1, 30, 900][rng.usize(0..4)])).collect();
            both.delay(&delays).await
        }
        _ => {
            let Settings { visibility_ms, retention_ms, .. } = settings;
            let ms = [125, 1_000, visibility_ms / 2, visibility_ms, 30_000, retention_ms / 4];
            both.pass(ms[rng.usize(0..ms.len())]).await
        }
    }
}

/// Makes the model's queue another one than the emulator's.
type Wrong = fn(&mut Settings);

/// Runs one script.
async fn script(emulator: &Emulator, name: &str, seed: u64, wrong: Wrong) -> Result<Happened, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let settings = settings(&mut rng);
    let mut of_the_model = settings;
    wrong(&mut of_the_model);
    let mut both = Both::new(emulator, &format!("{name}-{seed}"), settings, of_the_model).await;
    for number in 0..CALLS {
        let compared = call(&mut both, settings, &mut rng).await;
        compared.map_err(|how| format!("script {seed}, {settings:?}, call {number}: {how}"))?;
    }
    both.end().await.map_err(|how| format!("script {seed}, {settings:?}, in the end: {how}"))?;
    Ok(both.happened)
}

#[tokio::test]
async fn the_model_of_sqs_and_the_emulator_answer_the_same_scripts_alike() {
    let emulator = Emulator::start(START_MS).await;
    let mut happened = Happened::new();
    for seed in 0..SCRIPTS {
        let of_one = script(&emulator, "script", seed, |_| ()).await.unwrap_or_else(|how| panic!("{how}"));
        for (what, times) in of_one {
            *happened.entry(what).or_default() += times;
        }
    }
    let calls = ["delete", "delete in a batch", "delay", "delay in a batch"];
    let standings = ["InFlight", "Lapsed", "Old", "Gone"];
    let by_handle = calls.iter().flat_map(|call| standings.map(|standing| format!("{call} by a handle: {standing}")));
    for what in HAPPENS.map(str::to_owned).into_iter().chain(by_handle) {
        assert!(happened.get(&what).is_some_and(|times| *times > 0), "{what} never happened: {happened:#?}");
    }
}

#[tokio::test]
async fn a_model_that_goes_by_another_rule_is_found_out() {
    let emulator = Emulator::start(START_MS).await;
    let wrong: [(&str, Wrong); 3] = [
        ("visibility", |settings| settings.visibility_ms += 125),
        ("receives", |settings| settings.receives_max += 1),
        ("retention", |settings| settings.retention_ms += 125),
    ];
    for (name, wrong) in wrong {
        let mut differs = false;
        for seed in 0..SCRIPTS {
            differs = differs || script(&emulator, name, seed, wrong).await.is_err();
        }
        assert!(differs, "another {name} makes no difference");
    }
}
