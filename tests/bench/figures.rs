//! Figures: medians, and ratios of pairs.
//!
//! A ratio is the median of the ratios of each round, not the ratio of two medians: the two of a round met the same machine.

use serde::{Deserialize, Serialize};

use crate::measure::{ColdStart, Measured};
use crate::work::Shape;

/// One piece of work, with or without TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkFigures {
    pub(crate) shape: Shape,
    pub(crate) tls: bool,
    pub(crate) event_bytes: usize,
    pub(crate) contenders: Vec<Figures>,
}

/// What one contender cost at one piece of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) name: String,
    /// CPU time for each measurement, in microseconds.
    pub(crate) cpu_us: Spread,
    /// From an event to its answer, in milliseconds.
    pub(crate) answer_ms: Spread,
    /// How many times the CPU of the contender that is named first. Empty for contenders that are not there.
    pub(crate) times: Vec<(String, f64)>,
    /// Requests for each event, and bytes of their bodies.
    pub(crate) requests: f64,
    pub(crate) posted_bytes: f64,
    /// The most resident memory, in bytes.
    pub(crate) peak_bytes: u64,
}

/// Cold starts, with or without TLS.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ColdFigures {
    pub(crate) tls: bool,
    pub(crate) name: String,
    /// From starting the process to its first answer, in milliseconds.
    pub(crate) answer_ms: Spread,
    /// CPU time until then, in milliseconds.
    pub(crate) cpu_ms: Spread,
    /// How many times hello's time and CPU.
    pub(crate) times_hello: Option<f64>,
    pub(crate) times_hello_cpu: Option<f64>,
}

/// Where the middle of some numbers is, and their middle half.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) quarter: f64,
    pub(crate) three_quarters: f64,
}

impl Spread {
    /// Of `numbers`; of none, nothing but NaN.
    pub(crate) fn of(numbers: impl IntoIterator<Item = f64>) -> Spread {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        Spread { median: at(&sorted, 0.5), quarter: at(&sorted, 0.25), three_quarters: at(&sorted, 0.75) }
    }
}

/// What stands at `part` (0 to 1) of the way through sorted numbers, between two of them in proportion.
fn at(sorted: &[f64], part: f64) -> f64 {
    let place = part * sorted.len().saturating_sub(1) as f64;
    let (below, above) = (place.floor(), place.ceil());
    let number = |place: f64| sorted.get(place as usize).copied().unwrap_or(f64::NAN);
    number(below) + (number(above) - number(below)) * (place - below)
}

/// The median of what each number of `of` is to its partner in `to`.
pub(crate) fn times(of: impl IntoIterator<Item = f64>, to: impl IntoIterator<Item = f64>) -> f64 {
    Spread::of(of.into_iter().zip(to).map(|(of, to)| of / to)).median
}

impl WorkFigures {
    pub(crate) fn new(shape: Shape, tls: bool, event_bytes: usize, measured: &[Measured]) -> WorkFigures {
        let cpu = |one: &Measured| one.runs.iter().map(|run| run.cpu_ns).collect::<Vec<f64>>();
        let figures = |one: &Measured| Figures {
            name: one.name.clone(),
            cpu_us: Spread::of(cpu(one).into_iter().map(|ns| ns / 1e3)),
            answer_ms: Spread::of(one.runs.iter().map(|run| run.answer_ms)),
            times: measured.iter().map(|other| (other.name.clone(), times(cpu(one), cpu(other)))).collect(),
            requests: one.requests,
            posted_bytes: one.bytes,
            peak_bytes: one.peak_bytes,
        };
        WorkFigures { shape, tls, event_bytes, contenders: measured.iter().map(figures).collect() }
    }

    /// How many times the CPU of `to` the contender `of` takes, if both were measured.
    pub(crate) fn times(&self, of: &str, to: &str) -> Option<f64> {
        let of = self.contenders.iter().find(|one| one.name == of)?;
        of.times.iter().find(|(name, _)| name == to).map(|(_, times)| *times)
    }

    pub(crate) fn of(&self, name: &str) -> Option<&Figures> {
        self.contenders.iter().find(|one| one.name == name)
    }
}

impl ColdFigures {
    pub(crate) fn all(tls: bool, measured: &[(String, Vec<ColdStart>)]) -> Vec<ColdFigures> {
        let hello = measured.iter().find(|(name, _)| name == "hello").map(|(_, starts)| starts);
        let wall = |starts: &[ColdStart]| starts.iter().map(|start| start.answer_ms).collect::<Vec<f64>>();
        let cpu = |starts: &[ColdStart]| starts.iter().map(|start| start.cpu_ms).collect::<Vec<f64>>();
        let figures = |(name, starts): &(String, Vec<ColdStart>)| ColdFigures {
            tls,
            name: name.clone(),
            answer_ms: Spread::of(wall(starts)),
            cpu_ms: Spread::of(cpu(starts)),
            times_hello: hello.map(|hello| times(wall(starts), wall(hello))),
            times_hello_cpu: hello.map(|hello| times(cpu(starts), cpu(hello))),
        };
        measured.iter().map(figures).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Run;

    #[test]
    fn a_median_is_the_middle_one_or_between_the_two_middle_ones() {
        let spread = |numbers: &[f64]| Spread::of(numbers.iter().copied());
        assert_eq!(spread(&[9.0, 1.0, 2.0]).median, 2.0);
        assert_eq!(spread(&[4.0, 1.0, 2.0, 100.0]).median, 3.0);
        let five = spread(&[5.0, 4.0, 3.0, 2.0, 1.0]);
        assert_eq!((five.quarter, five.median, five.three_quarters), (2.0, 3.0, 4.0));
        assert_eq!(spread(&[7.0]), Spread { median: 7.0, quarter: 7.0, three_quarters: 7.0 });
        assert!(spread(&[]).median.is_nan());
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios() {
        // The machine was twice as slow in the second round: the ratio does not notice.
        let (of, to) = ([10.0, 20.0, 10.0], [5.0, 10.0, 4.0]);
        assert_eq!(times(of, to), 2.0);
    }

    fn measured(name: &str, cpu_ns: &[f64]) -> Measured {
        let runs = cpu_ns.iter().map(|cpu_ns| Run { cpu_ns: *cpu_ns, answer_ms: 1.0 }).collect();
        Measured { name: name.to_owned(), runs, requests: 1.0, bytes: 2.0, peak_bytes: 3 }
    }

    #[test]
    fn figures_hold_each_pair_both_ways() {
        let measured = [measured("relay", &[2_000.0, 4_000.0]), measured("floor", &[1_000.0, 1_000.0])];
        let figures = WorkFigures::new(Shape::new(1, 1, 250), false, 1_000, &measured);
        assert_eq!(figures.times("relay", "floor"), Some(3.0));
        assert_eq!(figures.times("floor", "relay"), Some(0.375));
        assert_eq!(figures.times("relay", "node"), None);
        assert_eq!(figures.of("relay").map(|relay| relay.cpu_us.median), Some(3.0));
    }

    #[test]
    fn cold_starts_are_compared_with_hello() {
        let start = |answer_ms, cpu_ms| ColdStart { answer_ms, cpu_ms };
        let measured = [("relay".to_owned(), vec![start(9.0, 6.0)]), ("hello".to_owned(), vec![start(3.0, 3.0)])];
        let figures = ColdFigures::all(true, &measured);
        assert_eq!(figures[0].times_hello, Some(3.0));
        assert_eq!(figures[0].times_hello_cpu, Some(2.0));
        assert_eq!(ColdFigures::all(true, &measured[..1])[0].times_hello, None);
    }
}
