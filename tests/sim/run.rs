//! Runs many worlds, on as many threads as there are processors, and demands that everything really happened in them.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZero;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{available_parallelism, scope};

use crate::fault::{FAULTS, Fault};
use crate::nature::Record;
use crate::world::{Ended, run};

/// Worlds of a plain `cargo test`, which is not optimised. `make sim` runs 2,000.
const WORLDS: u64 = 60;
/// From so many worlds on, everything must have happened. The rarest two faults meet once in 2,000 worlds; they do among the
/// first 2,000, which everybody runs.
const WORLDS_FOR_EVERYTHING: u64 = 2_000;
/// The same from any other seed than 0, where chance decides.
const WORLDS_FOR_EVERYTHING_ELSEWHERE: u64 = 20_000;

/// What must have happened at least once: each answer's meaning, each exit of the walk, each reason, each end at m3ter.
const SOMETIMES: [&str; 124] = [
    "answer: accepted",
    "answer: cannot be m3ter's",
    "answer: refused",
    "answer: for credentials or size",
    "answer: try again",
    "answer: our own fault",
    "answer: none",
    "answer: of the token endpoint",
    "request: closed by bytes",
    "request: closed by count",
    "late request: taken",
    "catalogue: given",
    "catalogue: not given",
    "brake: sooner",
    "brake: later",
    "environment: cold start",
    "environment: frozen for more than a minute",
    "exit: done",
    "exit: returned",
    "exit: gave up for a fault of ours",
    "exit: refused without evidence",
    "exit: copies collapsed",
    "exit: throttled",
    "exit: a pointer returned",
    "exit: inflated enough, the rest returned",
    "exit: the store failed",
    "exit: held back while the store is down",
    "exit: the brake failed",
    "exit: returned for want of a ledger",
    "exit: done without a ledger, at best effort",
    "ledger: accepted",
    "ledger: unknown",
    "exit: several batches by count",
    "exit: several batches by bytes or rivals",
    "exit: just before the deadline",
    "exit: panicked",
    "exit: killed",
    "exit: timed out",
    "event: more than 1,000 messages",
    "event: one message",
    "message: in the dead-letter queue",
    "stage: decode",
    "stage: guard",
    "stage: submit",
    "reason: NotJson",
    "reason: NotAMeasurement",
    "reason: Empty",
    "reason: EnvelopeInvalid",
    "reason: UidMissing",
    "reason: UidTooLong",
    "reason: UidConflict",
    "reason: MeterMissing",
    "reason: MeterInvalid",
    "reason: AccountMissing",
    "reason: AccountInvalid",
    "reason: TimestampMissing",
    "reason: TimestampInvalid",
    "reason: TimestampInFuture",
    "reason: OutsideWindow",
    "reason: FieldNotText",
    "reason: FieldNotNumber",
    "reason: FieldCodeInvalid",
    "reason: DuplicateField",
    "reason: DuplicateKey",
    "reason: MeterUnknown",
    "reason: FieldMissing",
    "reason: AccountNearMiss",
    "reason: Oversize",
    "reason: RefusedByApi",
    "reason: Exhausted",
    "m3ter: Duplicate DuplicateUid",
    "act: quarantined",
    "act: receipt",
    "act: unjudged",
    "rejected: UndefinedMeter",
    "rejected: TimestampInFuture",
    "rejected: UidConflict",
    "rejected: DuplicateOfUnknown",
    "watch: whole",
    "watch: whole, some wait for a deeper look",
    "watch: whole, the cursor not kept",
    "watch: a log could not be read",
    "watch: cut short",
    "watch: events not listed",
    "watch: the store failed",
    "watch: killed",
    "watch: panicked",
    "watch: timed out",
    "watch: Delay",
    "watch: Storm",
    "watch: ServerError",
    "watch: Reset",
    "watch: Truncated",
    "watch: AnswerLost",
    "watch: OddAnswer",
    "watch: TokenEndpoint",
    "watch: SecretUnreadable",
    "watch: WrongSecret",
    "watch: PutFails",
    "watch: PutAnswerLost",
    "watch: PutHangs",
    "watch: StoreDown",
    "watch: Outage",
    "upload: done",
    "upload: turned down",
    "upload: continues",
    "upload: a part failed",
    "upload: killed",
    "upload: panicked",
    "upload: the store failed",
    "upload: m3ter did not answer",
    "upload: the URL was expired",
    "upload: cut",
    "upload: failed half-way",
    "upload: a bad row",
    "upload: sifted again",
    "upload: a row as old as may be",
    "upload: PutFails",
    "upload: PutAnswerLost",
    "upload: PutHangs",
    "upload: StoreDown",
    "upload: Outage",
    "upload: AnswerLost",
    "upload: LateArrival",
];

/// What a run of many worlds comes to.
struct Tally {
    worlds: u64,
    measurements: Vec<usize>,
    invocations: u64,
    events: u64,
    /// In how many worlds each fault struck, and how often.
    faults: Vec<(u64, u64)>,
    /// In how many worlds each two faults struck.
    pairs: Vec<Vec<u64>>,
    sometimes: BTreeMap<String, (u64, u64)>,
    failed: BTreeMap<u64, String>,
}

impl Tally {
    fn new() -> Tally {
        let count = FAULTS.len();
        Tally {
            worlds: 0,
            measurements: Vec::new(),
            invocations: 0,
            events: 0,
            faults: vec![(0, 0); count],
            pairs: vec![vec![0; count]; count],
            sometimes: BTreeMap::new(),
            failed: BTreeMap::new(),
        }
    }

    fn add(&mut self, seed: u64, ended: Result<Ended, String>) {
        self.worlds += 1;
        let ended = match ended {
            Ok(ended) => ended,
            Err(panic) => {
                self.failed.insert(seed, panic);
                return;
            }
        };
        let Record { struck, sometimes, events, broken, .. } = ended.record;
        if let Some(broken) = broken {
            self.failed.insert(seed, format!("law {}: {}", broken.law, broken.what));
        }
        self.measurements.push(ended.measurements);
        self.invocations += ended.invocations;
        self.events += events;
        for (one, times) in struck.iter().enumerate().filter(|(_, times)| **times > 0) {
            self.faults[one].0 += 1;
            self.faults[one].1 += times;
            for (other, _) in struck.iter().enumerate().filter(|(_, times)| **times > 0) {
                self.pairs[one][other] += 1;
            }
        }
        for (what, times) in sometimes {
            let (worlds, all) = self.sometimes.entry(what).or_default();
            *worlds += 1;
            *all += times;
        }
    }

    fn median(&mut self) -> usize {
        self.measurements.sort_unstable();
        self.measurements.get(self.measurements.len() / 2).copied().unwrap_or(0)
    }

    /// What did not happen as often as it must.
    fn missing(&mut self) -> Vec<String> {
        let mut missing = Vec::new();
        for likelihood in &FAULTS {
            let (worlds, _) = self.faults[likelihood.fault.place()];
            if worlds * 100 < self.worlds {
                missing.push(format!("{:?} in {worlds} worlds only", likelihood.fault));
            }
        }
        for (one, counts) in self.pairs.iter().enumerate() {
            for (other, _) in counts.iter().enumerate().skip(one + 1).filter(|(_, worlds)| **worlds == 0) {
                missing.push(format!("{:?} together with {:?}", FAULTS[one].fault, FAULTS[other].fault));
            }
        }
        missing.extend(SOMETIMES.iter().filter(|what| !self.sometimes.contains_key(**what)).map(|what| (*what).to_owned()));
        let several = self.sometimes.get("world: several batches in an invocation").map_or(0, |(worlds, _)| *worlds);
        if several * 20 < self.worlds {
            missing.push(format!("an invocation of several batches in {several} worlds only"));
        }
        let median = self.median();
        if median < 200 {
            missing.push(format!("200 measurements: the median world has {median}"));
        }
        missing
    }

    fn report(&mut self, from: u64) -> String {
        let all: usize = self.measurements.iter().sum();
        let median = self.median();
        let mut report = format!(
            "{} worlds from seed {from}: {all} measurements (median {median}), {} invocations, {} events, {} broken\n",
            self.worlds,
            self.invocations,
            self.events,
            self.failed.len()
        );
        let share = |worlds: u64| worlds as f64 * 100.0 / self.worlds as f64;
        report.push_str("fault: worlds, times\n");
        for likelihood in &FAULTS {
            let (worlds, times) = self.faults[likelihood.fault.place()];
            report.push_str(&format!("  {:24} {:5.1} % {times:9}\n", format!("{:?}", likelihood.fault), share(worlds)));
        }
        report.push_str("sometimes: worlds, times\n");
        for (what, (worlds, times)) in &self.sometimes {
            report.push_str(&format!("  {what:44} {:5.1} % {times:9}\n", share(*worlds)));
        }
        report
    }
}

/// A number that the command line gives.
#[expect(clippy::disallowed_methods, reason = "how a test run is told its size")]
fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty())?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}: expected a whole number, found {value:?}")))
}

fn caught(seed: u64) -> Result<Ended, String> {
    catch_unwind(|| run(seed, false)).map_err(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("panicked: {}", words.unwrap_or("without words"))
    })
}

fn tally(from: u64, worlds: u64, stop_at_first: bool) -> Tally {
    let (next, tally, stop) = (AtomicU64::new(from), Mutex::new(Tally::new()), AtomicBool::new(false));
    let threads = number("THREADS").map_or_else(|| available_parallelism().map_or(1, NonZero::get), |threads| threads as usize);
    scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + worlds {
                        return;
                    }
                    let ended = caught(seed);
                    let mut tally = tally.lock().unwrap();
                    tally.add(seed, ended);
                    stop.fetch_or(stop_at_first && !tally.failed.is_empty(), Ordering::Relaxed);
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").unwrap();
}

/// `SEED=n` replays one world and tells its story. Otherwise `WORLDS` worlds from seed `FROM`; `STOP=1` stops at the first
/// law that is broken.
#[test]
fn every_law_holds_in_every_world() {
    if let Some(seed) = number("SEED") {
        let ended = run(seed, true);
        say(&format!("world {seed}: {} measurements, {} invocations", ended.measurements, ended.invocations));
        assert_eq!(ended.record.broken, None, "world {seed}");
        return;
    }
    let (from, worlds) = (number("FROM").unwrap_or(0), number("WORLDS").unwrap_or(WORLDS));
    let mut tally = tally(from, worlds, number("STOP") == Some(1));
    say(&tally.report(from));
    for (seed, what) in tally.failed.iter().take(10) {
        say(&format!("make sim SEED={seed} replays: {}", what.chars().take(600).collect::<String>()));
    }
    assert!(
        tally.failed.is_empty(),
        "{} of {} worlds broke a law, the first is {:?}",
        tally.failed.len(),
        tally.worlds,
        tally.failed.keys().next()
    );
    if worlds >= if from == 0 { WORLDS_FOR_EVERYTHING } else { WORLDS_FOR_EVERYTHING_ELSEWHERE } {
        let missing = tally.missing();
        assert!(missing.is_empty(), "did not happen, or too rarely: {missing:#?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_seed_another() {
    let hash = |seed| {
        let record = run(seed, false).record;
        (record.hash, record.events, record.struck, record.sometimes)
    };
    for seed in 0..12 {
        assert_eq!(hash(seed), hash(seed), "world {seed}");
        assert_ne!(hash(seed).0, hash(seed + 1).0);
    }
}

#[test]
fn faults_are_counted_by_their_place() {
    let mut struck = [0; FAULTS.len()];
    (struck[Fault::Kill.place()], struck[Fault::Outage.place()]) = (3, 1);
    let record = Record { struck, sometimes: BTreeMap::new(), hash: 0, events: 1, broken: None };
    let mut tally = Tally::new();
    tally.add(0, Ok(Ended { record, measurements: 7, invocations: 2 }));
    assert_eq!((tally.faults[Fault::Kill.place()], tally.pairs[Fault::Kill.place()][Fault::Outage.place()]), ((1, 3), 1));
    let missing = tally.missing();
    assert!(
        missing.iter().any(|what| what == "Delay in 0 worlds only") && missing.iter().all(|what| !what.starts_with("Kill in"))
    );
}
