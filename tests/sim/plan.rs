//! Draws a world from its seed: how large it is, how it is set, which faults it has and when they end.

use m3ter_sandbox::{EventsPer, RejectedUid};
use relay_core::guard::MissingUid;

use crate::fault::{FAULTS, Fault, OF_THE_RELAY};
use crate::nature::START_MS;

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const SALT: u64 = 0x6c61_7465_7221_0a0a;
/// Worlds of more measurements than that are large.
const LARGE: usize = 700;

/// A fault that lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) fault: Fault,
    pub(crate) from_ms: i64,
    pub(crate) to_ms: i64,
    /// It ends early when it struck so often since this time: so it ends in the middle of what it strikes.
    pub(crate) times: u64,
    pub(crate) counted_from_ms: i64,
}

/// What kind of world it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Few measurements.
    Small,
    /// A few hundred.
    Medium,
    /// Thousands, so that an invocation holds several batches by count.
    Many,
    /// Large measurements, so that batches are closed by bytes.
    Heavy,
    /// Thousands of messages of one measurement, so that events are as large as Lambda allows.
    Crowd,
    /// Messages that inflate to more than an invocation may hold.
    Inflated,
}

/// Something that happens once, at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// m3ter forgets every token.
    ForgetTokens,
    /// m3ter takes another secret from now on; whether it forgets every token as well.
    Rotate(bool),
    /// The secret holds what m3ter takes.
    SecretFollows,
}

/// How the relay's ledger is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ledger {
    /// As by default: in full, and required.
    Full,
    /// Uids only, and required.
    Uids,
    /// In full, at best effort.
    BestEffort,
    /// None.
    Off,
}

/// A world, as drawn.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) size: Size,
    rates: [f64; FAULTS.len()],
    pub(crate) windows: Vec<Window>,
    pub(crate) acts: Vec<(i64, Act)>,
    /// Producers send from the start to here.
    pub(crate) produced_ms: i64,
    /// No fault after this.
    pub(crate) faults_end_ms: i64,
    pub(crate) measurements: usize,
    pub(crate) per_message: usize,
    pub(crate) timeout_ms: i64,
    pub(crate) window_ms: i64,
    pub(crate) batch_size: usize,
    /// As many as invocations at the same time.
    pub(crate) pollers: usize,
    /// Requests a second of the whole stack.
    pub(crate) requests_per_second: usize,
    pub(crate) in_flight: usize,
    pub(crate) missing_uid: MissingUid,
    pub(crate) ledger: Ledger,
    pub(crate) exhaust_days: i64,
    pub(crate) receives_max: u32,
    pub(crate) token_lifetime_s: u64,
    /// The proxy's limit, with [`Fault::SizeProxy`].
    pub(crate) size_max: Option<usize>,
    pub(crate) enrichment_delay_ms: u64,
    pub(crate) rejected_uid: RejectedUid,
    pub(crate) events_per: EventsPer,
    /// Whether the job that fetches m3ter's events runs, and when while the world lives.
    pub(crate) is_watched: bool,
    pub(crate) rounds: Vec<i64>,
}

/// The generator of the world `seed`. Neighbouring seeds are spread, since the generator starts out with what it is given.
pub(crate) fn rng(seed: u64) -> fastrand::Rng {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    fastrand::Rng::with_seed(mixed ^ (mixed >> 31))
}

fn one_of<T: Copy>(rng: &mut fastrand::Rng, several: &[T]) -> T {
    several[rng.usize(..several.len())]
}

impl Plan {
    /// Draws the world `seed`.
    pub(crate) fn draw(seed: u64, rng: &mut fastrand::Rng) -> Plan {
        // What came later has draws of its own, so that earlier worlds stay what they were.
        let mut later = self::rng(seed ^ SALT);
        let rates = rates(rng, &mut later);
        let on = |fault: Fault| rates[fault.place()] > 0.0;
        let outage = on(Fault::Outage);
        let size = size(rng, outage);
        let (measurements, per_message) = measurements(rng, size, outage);
        let produced_ms = START_MS + rng.i64(MINUTE_MS..=20 * MINUTE_MS);
        let mut windows = Vec::new();
        for fault in [Fault::Storm, Fault::WrongSecret, Fault::StoreDown] {
            if on(fault) {
                let from_ms = rng.i64(START_MS..=produced_ms);
                windows.push(Window {
                    fault,
                    from_ms,
                    to_ms: from_ms + rng.i64(10 * SECOND_MS..=15 * MINUTE_MS),
                    times: u64::MAX,
                    counted_from_ms: from_ms,
                });
            }
        }
        if on(Fault::NoPermission) {
            permissions(rng, produced_ms, &mut windows);
        }
        if outage {
            let from_ms = rng.i64(START_MS..=produced_ms);
            let days_tenths = if rng.f64() < 0.15 { rng.i64(102..=115) } else { rng.i64(12..=30) };
            windows.push(Window {
                fault: Fault::Outage,
                from_ms,
                to_ms: from_ms + days_tenths * DAY_MS / 10,
                times: u64::MAX,
                counted_from_ms: from_ms,
            });
        }
        let last_ms = windows.iter().map(|window| window.to_ms).max().unwrap_or(0);
        let faults_end_ms = last_ms.max(produced_ms + rng.i64(5 * MINUTE_MS..=40 * MINUTE_MS));
        let acts = acts(rng, on(Fault::TokenExpiry), on(Fault::Rotation), faults_end_ms.min(produced_ms + HOUR_MS));
        let (rate, pollers) = one_of(rng, &[(16, 4), (16, 2), (50, 10), (50, 4), (8, 2), (12, 3)]);
        let by_bytes = size == Size::Heavy;
        let batch_size = if size == Size::Crowd { 10_000 } else { one_of(rng, &[1, 10, 100, 1_000, 10_000, 10_000]) };
        // Nobody gathers small batches for long.
        let window_s = one_of(rng, &[0, 1, 20, 20, 60]).min(if batch_size > 10 { 60 } else { 1 });
        Plan {
            seed,
            size,
            acts,
            produced_ms,
            faults_end_ms,
            measurements,
            per_message,
            timeout_ms: one_of(rng, &[60, 60, 60, 120, 30]) * SECOND_MS,
            window_ms: window_s * SECOND_MS,
            batch_size,
            pollers,
            requests_per_second: rate,
            in_flight: one_of(rng, &[1, 4, 4, 16]),
            missing_uid: if rng.f64() < 0.3 { MissingUid::Content } else { MissingUid::Refuse },
            ledger: match seed % 10 {
                7 => Ledger::Uids,
                8 => Ledger::BestEffort,
                9 => Ledger::Off,
                _ => Ledger::Full,
            },
            exhaust_days: one_of(rng, &[1, 3, 10, 10]),
            receives_max: if on(Fault::FewReceives) && !outage {
                rng.u32(2..=5)
            } else if on(Fault::FewReceives) {
                rng.u32(5..=60)
            } else {
                1_000
            },
            token_lifetime_s: if on(Fault::TokenExpiry) { one_of(rng, &[5, 30, 120, 18_000]) } else { 18_000 },
            size_max: (by_bytes && on(Fault::SizeProxy)).then(|| rng.usize(481_000..=505_000)),
            enrichment_delay_ms: one_of(rng, &[0, 0, 5_000]),
            rejected_uid: one_of(rng, &[RejectedUid::Keep, RejectedUid::Free]),
            events_per: events_per(&mut later, measurements, outage),
            // What it costs grows with what was sent: of the large worlds it sees a few.
            is_watched: measurements <= LARGE || later.f64() < 0.1,
            rounds: rounds(&mut later, &windows, faults_end_ms),
            windows,
            rates,
        }
    }

    /// The chance that a fault strikes at an opportunity; 0 where this world does not have it.
    pub(crate) fn rate(&self, fault: Fault) -> f64 {
        self.rates[fault.place()]
    }

    /// Whether this world has the fault.
    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.rate(fault) > 0.0
    }

    /// Requests a second of one environment.
    pub(crate) fn share(&self) -> f64 {
        self.requests_per_second as f64 / self.pollers as f64
    }

    /// The queue's visibility timeout, as the template makes it.
    pub(crate) fn visibility_ms(&self) -> i64 {
        6 * self.timeout_ms + self.window_ms
    }

    /// The age at which what is undecided is quarantined.
    pub(crate) fn exhaust_ms(&self) -> i64 {
        self.exhaust_days * DAY_MS
    }

    /// By when the queue must be empty once faults have ended: the longest that the brake keeps a message back, three
    /// times over, and the fifteen minutes that a measurement may be ahead.
    pub(crate) fn empty_by_ms(&self) -> i64 {
        self.faults_end_ms + 15 * MINUTE_MS + 3 * 30 * MINUTE_MS + self.visibility_ms() + 60 * MINUTE_MS
    }

    /// By when even a message must have left the queue that nobody could decide.
    pub(crate) fn exhausted_by_ms(&self) -> i64 {
        self.empty_by_ms().max(self.faults_end_ms + self.exhaust_ms() + 2 * HOUR_MS + self.visibility_ms())
    }
}

/// Each event is asked for its log: where thousands are to be expected, they come by the request.
fn events_per(rng: &mut fastrand::Rng, measurements: usize, outage: bool) -> EventsPer {
    let per_measurement = rng.f64() < 0.3 && measurements <= LARGE && !outage;
    if per_measurement { EventsPer::Measurement } else { EventsPer::Request }
}

/// A few: each reads anew what the ledger says. One is shortly before an outage, since little is asked in it, and nothing fails after it.
fn rounds(rng: &mut fastrand::Rng, windows: &[Window], faults_end_ms: i64) -> Vec<i64> {
    let mut rounds: Vec<i64> = (0..rng.usize(1..=3)).map(|_| rng.i64(START_MS + MINUTE_MS..faults_end_ms)).collect();
    let outages = windows.iter().filter(|window| window.fault == Fault::Outage);
    rounds.extend(outages.map(|window| (window.from_ms - rng.i64(20 * SECOND_MS..2 * MINUTE_MS)).max(START_MS)));
    rounds.sort_unstable();
    rounds
}

fn rates(rng: &mut fastrand::Rng, later: &mut fastrand::Rng) -> [f64; FAULTS.len()] {
    // One world in twenty has no fault at all.
    let quiet = rng.f64() < 0.05;
    let mut rates = [0.0; FAULTS.len()];
    for (place, (rate, likelihood)) in rates.iter_mut().zip(&FAULTS).enumerate() {
        let rng = if place < OF_THE_RELAY { &mut *rng } else { &mut *later };
        let (is_on, spread) = (rng.f64() < likelihood.worlds, rng.f64());
        if is_on && !quiet {
            *rate = likelihood.least * (likelihood.most / likelihood.least).powf(spread);
        }
    }
    rates
}

fn size(rng: &mut fastrand::Rng, outage: bool) -> Size {
    match rng.f64() {
        _ if outage && rng.f64() < 0.8 => Size::Medium,
        draw if draw < 0.2 => Size::Small,
        draw if draw < 0.72 => Size::Medium,
        draw if draw < 0.82 => Size::Many,
        draw if draw < 0.985 => Size::Heavy,
        draw if draw < 0.99 || outage => Size::Crowd,
        _ => Size::Inflated,
    }
}

/// How many, and how many in a message. During an outage of days a message is delivered hundreds of times: few, then.
fn measurements(rng: &mut fastrand::Rng, size: Size, outage: bool) -> (usize, usize) {
    match size {
        Size::Medium if outage => (rng.usize(200..=320), 100),
        Size::Small => (rng.usize(10..=150), one_of(rng, &[1, 5, 25])),
        Size::Medium => (rng.usize(200..=600), one_of(rng, &[1, 5, 25, 50, 250])),
        Size::Many => (rng.usize(1_100..=4_000), one_of(rng, &[50, 250, 1_000, 2_500])),
        Size::Heavy => (rng.usize(60..=200), one_of(rng, &[5, 20])),
        Size::Crowd => (rng.usize(5_000..=8_000), 1),
        Size::Inflated => (rng.usize(200..=300), 20),
    }
}

/// Permission comes back, and goes, in the middle of an invocation; but it does not lapse for a moment of one: what m3ter
/// refuses in such a moment, between two acceptances, cannot be told from data (docs/SEMANTICS.md).
fn permissions(rng: &mut fastrand::Rng, produced_ms: i64, windows: &mut Vec<Window>) {
    const LONGER_THAN_ANY_INVOCATION_MS: i64 = 4 * MINUTE_MS;
    for number in 0..rng.usize(1..=4) {
        let at_the_start = number == 0 && rng.bool();
        let from_ms = if at_the_start { START_MS } else { rng.i64(START_MS..=produced_ms) };
        let counted_from_ms = if at_the_start { START_MS } else { from_ms + LONGER_THAN_ANY_INVOCATION_MS };
        let to_ms = counted_from_ms + rng.i64(MINUTE_MS..=10 * MINUTE_MS);
        windows.push(Window { fault: Fault::NoPermission, from_ms, to_ms, times: rng.u64(1..=10), counted_from_ms });
    }
}

fn acts(rng: &mut fastrand::Rng, forget: bool, rotate: bool, until_ms: i64) -> Vec<(i64, Act)> {
    let mut acts = Vec::new();
    if forget {
        for _ in 0..rng.usize(1..=6) {
            acts.push((rng.i64(START_MS..=until_ms), Act::ForgetTokens));
        }
    }
    if rotate {
        let at_ms = rng.i64(START_MS..=until_ms - 1);
        acts.push((at_ms, Act::Rotate(rng.bool())));
        acts.push(((at_ms + rng.i64(0..=5 * MINUTE_MS)).min(until_ms), Act::SecretFollows));
    }
    acts.sort_by_key(|(at_ms, _)| *at_ms);
    acts
}
