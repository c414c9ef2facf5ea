//! What every model of a world shares: time, chance, the faults that strike, the trace, and the first broken law.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::fault::{FAULTS, Fault, OF_THE_RELAY};
use crate::plan::{Plan, Window};

/// When every world begins: 2026-06-01T00:00:00Z in milliseconds since the epoch.
pub(crate) const START_MS: i64 = 1_780_272_000_000;

/// A law that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    /// Its number in docs/SEMANTICS.md.
    pub(crate) law: u8,
    /// What was found.
    pub(crate) what: String,
}

/// Time, chance and record of one world.
pub(crate) struct Nature {
    pub(crate) plan: Plan,
    began: Instant,
    kept: Mutex<Kept>,
}

struct Kept {
    rng: fastrand::Rng,
    /// Which job beside the relay has its turn.
    turn: Option<&'static str>,
    struck: [u64; FAULTS.len()],
    /// How often each window of the plan struck.
    times: Vec<u64>,
    sometimes: BTreeMap<String, u64>,
    trace: Trace,
    broken: Option<Broken>,
}

/// The hash over everything that happened, in order; and the story itself, where somebody wants to read it.
struct Trace {
    hash: u64,
    events: u64,
    told: bool,
}

/// What is left of a world when it is over.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) struck: [u64; FAULTS.len()],
    pub(crate) sometimes: BTreeMap<String, u64>,
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) broken: Option<Broken>,
}

impl Nature {
    /// The nature of the world that `plan` describes. Its story is `told` on standard output, or only hashed.
    pub(crate) fn new(plan: Plan, rng: fastrand::Rng, told: bool) -> Nature {
        let trace = Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, told };
        let kept = Kept {
            rng,
            turn: None,
            struck: [0; FAULTS.len()],
            times: vec![0; plan.windows.len()],
            sometimes: BTreeMap::new(),
            trace,
            broken: None,
        };
        Nature { plan, began: Instant::now(), kept: Mutex::new(kept) }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    /// True time: milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        START_MS + i64::try_from(self.began.elapsed().as_millis()).unwrap()
    }

    /// The moment of a true time.
    pub(crate) fn at(&self, ms: i64) -> Instant {
        self.began + Duration::from_millis(u64::try_from(ms - START_MS).unwrap())
    }

    /// Lets true time pass up to `ms`.
    #[expect(clippy::disallowed_methods, reason = "the models are what lets time pass")]
    pub(crate) async fn until(&self, ms: i64) {
        tokio::time::sleep_until(self.at(ms)).await;
    }

    /// Lets so many milliseconds of true time pass.
    pub(crate) async fn pass(&self, ms: i64) {
        self.until(self.now_ms() + ms).await;
    }

    /// A number of `from..=to`.
    pub(crate) fn between(&self, from: i64, to: i64) -> i64 {
        self.kept().rng.i64(from..=to)
    }

    /// True with this chance.
    pub(crate) fn chance(&self, chance: f64) -> bool {
        self.kept().rng.f64() < chance
    }

    /// One of several.
    pub(crate) fn one_of<T: Copy>(&self, several: &[T]) -> T {
        let place = self.kept().rng.usize(..several.len());
        several[place]
    }

    /// A generator of its own.
    pub(crate) fn fork(&self) -> fastrand::Rng {
        self.kept().rng.fork()
    }

    /// Whether faults still happen.
    pub(crate) fn is_faulty(&self) -> bool {
        self.now_ms() < self.plan.faults_end_ms
    }

    /// Whether the fault strikes at this opportunity; if so it is counted and told.
    pub(crate) fn strikes(&self, fault: Fault) -> bool {
        let rate = self.plan.rate(fault);
        let strikes = rate > 0.0 && self.is_faulty() && self.chance(rate);
        if strikes {
            self.struck(fault);
        }
        strikes
    }

    /// Whether a fault that lasts is on; if so it is counted and told.
    pub(crate) fn lasts(&self, fault: Fault) -> bool {
        let now_ms = self.now_ms();
        let on = |window: &Window| window.fault == fault && (window.from_ms..window.to_ms).contains(&now_ms);
        let on = {
            let mut kept = self.kept();
            let counts = kept.turn.is_none();
            let mut left = self.plan.windows.iter().zip(kept.times.iter_mut());
            let on = left.find(|(window, times)| on(window) && **times < window.times);
            on.map(|(window, times)| *times += u64::from(counts && now_ms >= window.counted_from_ms)).is_some()
        };
        if on {
            self.struck(fault);
        }
        on
    }

    /// Begins or ends the turn of `job`, which runs beside the relay. It draws from `rng`, and what strikes it is counted apart: the relay
    /// has to meet everything by itself.
    pub(crate) fn take_turns(&self, job: &'static str, rng: &mut fastrand::Rng) {
        let mut kept = self.kept();
        std::mem::swap(&mut kept.rng, rng);
        kept.turn = if kept.turn.is_none() { Some(job) } else { None };
    }

    /// Counts a fault that took effect.
    pub(crate) fn struck(&self, fault: Fault) {
        let turn = self.kept().turn;
        match turn.filter(|_| fault.place() < OF_THE_RELAY) {
            Some(job) => self.sometimes(&format!("{job}: {fault:?}")),
            None => self.kept().struck[fault.place()] += 1,
        }
        self.tell(&format!("  ! {fault:?}"));
    }

    /// Counts something that must happen sometimes.
    pub(crate) fn sometimes(&self, what: &str) {
        let mut kept = self.kept();
        match kept.sometimes.get_mut(what) {
            Some(count) => *count += 1,
            None => drop(kept.sometimes.insert(what.to_owned(), 1)),
        }
    }

    /// Adds a line to the trace.
    pub(crate) fn tell(&self, line: &str) {
        let at_ms = self.now_ms() - START_MS;
        let trace = &mut self.kept().trace;
        trace.events += 1;
        for byte in at_ms.to_le_bytes().iter().chain(line.as_bytes()) {
            trace.hash = (trace.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if trace.told {
            let (s, ms) = (at_ms / 1_000, at_ms % 1_000);
            let clock = format!("{}d {:02}:{:02}:{:02}.{ms:03}", s / 86_400, s / 3_600 % 24, s / 60 % 60, s % 60);
            writeln!(std::io::stdout(), "{clock}  {line}").unwrap();
        }
    }

    /// Records that a law did not hold. The first one counts.
    pub(crate) fn broke(&self, law: u8, what: String) {
        self.tell(&format!("LAW {law} BROKEN: {what}"));
        self.kept().broken.get_or_insert(Broken { law, what });
    }

    /// Whether a law is broken.
    pub(crate) fn is_broken(&self) -> bool {
        self.kept().broken.is_some()
    }

    /// What is left when the world is over.
    pub(crate) fn record(&self) -> Record {
        let kept = self.kept();
        Record {
            struck: kept.struck,
            sometimes: kept.sometimes.clone(),
            hash: kept.trace.hash,
            events: kept.trace.events,
            broken: kept.broken.clone(),
        }
    }
}
