//! The file of a world that has one: measurements that go over the queue as well, some of its own, and some that are bad.
//!
//! It is drawn by a generator of its own, after everything that producers send: a world without a file is what it was before there
//! were any, and one with a file has the same messages.

use std::collections::BTreeSet;

use files::source::Format;
use relay_core::guard::MissingUid;
use upload::options::{Declared, Options, PART_BYTES};
use upload::upload_id;
use uuid::Uuid;

use crate::made::{Expect, Maker};
use crate::nature::START_MS;
use crate::plan::{Plan, rng};
use crate::produce::Goods;

/// Draws of its own.
const SALT: u64 = 0x6669_6c65_6669_6c65;
/// The share of worlds that have a file.
const WORLDS: f64 = 0.3;
const MINUTE_MS: i64 = 60_000;
/// The age at which a measurement may have been sent so long ago that it is not sent any more: 34 days, and clocks may differ by a quarter
/// of an hour.
pub(crate) const AGE_MAX_MS: i64 = 34 * 24 * 60 * MINUTE_MS - 15 * MINUTE_MS;
/// Larger measurements stay out of files: what is large is the queue's affair.
const BYTES_MAX: usize = 2_000;

/// A file, and how it is uploaded.
#[derive(Clone, Debug)]
pub(crate) struct Filed {
    pub(crate) name: &'static str,
    pub(crate) upload: Uuid,
    /// When somebody begins with it.
    pub(crate) at_ms: i64,
    pub(crate) text: String,
    pub(crate) format: Format,
    /// What stands on each line, as places among the goods.
    pub(crate) rows: Vec<usize>,
    pub(crate) options: Options,
    /// The share of runs by a person at a keyboard; the others are the function's.
    pub(crate) by_hand: f64,
    /// Rows that m3ter processes in a second.
    pub(crate) rows_per_second: u32,
    /// How often m3ter does not process a file that it took, or keeps half of one.
    pub(crate) spoils: f64,
}

impl Filed {
    /// The file of the world of `plan`, if it has one. What is in it that producers do not send is added to `goods`.
    pub(crate) fn draw(plan: &Plan, maker: &mut Maker, goods: &mut Goods) -> Option<Filed> {
        let mut rng = rng(plan.seed ^ SALT);
        if rng.f64() >= WORLDS {
            return None;
        }
        let at_ms = rng.i64(START_MS..plan.faults_end_ms.min(plan.produced_ms + 20 * MINUTE_MS));
        let mut drawing = Drawing { plan, maker, goods, at_ms, rows: Vec::new() };
        drawing.of_its_own(&mut rng);
        drawing.of_the_queue(&mut rng);
        drawing.conflicts(&mut rng);
        drawing.copies(&mut rng);
        let Drawing { mut rows, .. } = drawing;
        rng.shuffle(&mut rows);
        let texts: Vec<&str> = rows.iter().map(|row| goods.made[*row].text.as_str()).collect();
        let is_broken = texts.iter().any(|text| text.starts_with("{canary-broken"));
        let (text, format) = match is_broken || rng.bool() {
            true => (texts.join("\n"), Format::Ndjson),
            false => (format!("[{}]", texts.join(",\n")), Format::Json),
        };
        let options = Options {
            missing_uid: plan.missing_uid,
            first_sent: if rng.f64() < 0.2 { Declared::Never } else { Declared::Unknown },
            strict: rng.f64() < 0.08,
            part_bytes_max: if rng.f64() < 0.3 { PART_BYTES } else { rng.u64(1_000..6_000) },
        };
        Some(Filed {
            name: "usage.json",
            upload: upload_id(&plan.seed.to_le_bytes(), 0),
            at_ms,
            text,
            format,
            rows,
            options,
            by_hand: [0.0, 0.3, 1.0][rng.usize(..3)],
            rows_per_second: [2_000, 5, 1][rng.usize(..3)],
            spoils: [0.0, 0.2, 0.8][rng.usize(..3)],
        })
    }

    /// Where `item` among the goods stands.
    pub(crate) fn places_of(&self, item: usize) -> Vec<usize> {
        self.rows.iter().enumerate().filter(|(_, row)| **row == item).map(|(place, _)| place).collect()
    }
}

struct Drawing<'d> {
    plan: &'d Plan,
    maker: &'d mut Maker,
    goods: &'d mut Goods,
    at_ms: i64,
    rows: Vec<usize>,
}

impl Drawing<'_> {
    fn of_its_own(&mut self, rng: &mut fastrand::Rng) {
        let bad = if rng.bool() { rng.f64() * 0.3 } else { 0.0 };
        for _ in 0..rng.usize(2..=30) {
            let made = match rng.f64() {
                draw if draw < bad => self.maker.bad(rng, self.at_ms, self.plan.missing_uid == MissingUid::Content),
                draw if draw < bad + 0.1 => {
                    // Some are too old already, others become so while the upload takes its time.
                    let left_ms = if rng.bool() { rng.i64(-10 * MINUTE_MS..10 * MINUTE_MS) } else { rng.i64(0..90 * MINUTE_MS) };
                    self.maker.aging(rng, self.at_ms - AGE_MAX_MS + left_ms)
                }
                draw if draw < bad + 0.13 => self.maker.rejected(rng, self.at_ms),
                draw if draw < bad + 0.15 => self.maker.ahead(rng, self.at_ms),
                _ => self.maker.good(rng, self.at_ms, 0),
            };
            self.rows.push(self.goods.made.len());
            self.goods.made.push(made);
        }
    }

    /// Some of what goes over the queue.
    fn of_the_queue(&mut self, rng: &mut fastrand::Rng) {
        let items: BTreeSet<usize> = self.goods.sendings.iter().flat_map(|sending| sending.items.iter().copied()).collect();
        let mut items: Vec<usize> = items.into_iter().filter(|item| self.may_be_filed(*item)).collect();
        rng.shuffle(&mut items);
        items.truncate(rng.usize(..=30));
        self.rows.extend(items);
    }

    fn may_be_filed(&self, item: usize) -> bool {
        let made = &self.goods.made[item];
        matches!(made.expect, Expect::Good | Expect::Rejected | Expect::Rival) && made.text.len() <= BYTES_MAX
    }

    /// Other contents under uids of what is in the file, or of what goes over the queue alone.
    fn conflicts(&mut self, rng: &mut fastrand::Rng) {
        for _ in 0..rng.usize(..=3) {
            let sendings = &self.goods.sendings;
            let of_the_queue = sendings.get(rng.usize(..sendings.len().max(1))).and_then(|sending| sending.items.first());
            let other = if rng.bool() { of_the_queue.copied() } else { rng.choice(&self.rows).copied() };
            let Some(other) = other else { continue };
            let made = &self.goods.made[other];
            if !matches!(made.expect, Expect::Good | Expect::Rival) || made.text.contains("unique") {
                continue;
            }
            let rival = self.maker.rival(rng, &made.clone(), self.at_ms);
            self.goods.made[other].expect = Expect::Rival;
            self.rows.push(self.goods.made.len());
            self.goods.made.push(rival);
        }
    }

    fn copies(&mut self, rng: &mut fastrand::Rng) {
        for _ in 0..rng.usize(..=4) {
            let Some(row) = rng.choice(&self.rows).copied() else { return };
            if !matches!(self.goods.made[row].expect, Expect::Refused(_)) {
                self.rows.push(row);
            }
        }
    }
}
