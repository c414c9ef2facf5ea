//! How much processor time an invocation takes, of the relay and of what else could do its work: as `make bench` measured it.
//!
//! The figures are `docs/bench.json`, which is committed, and compiled in. Four of the bench's events are enough: a small one, an ordinary
//! one, one of large messages, one of large measurements. From them follows what an invocation takes by itself, and what each message,
//! each measurement and each byte of it adds.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The committed figures.
const BENCH: &str = include_str!("../../../../docs/bench.json");
/// Whose figures `docs/bench.json` has, and what a reader calls them. The relay comes first; all others keep no ledger.
pub(super) const WHO: [(&str, &str); 5] = [
    ("relay", "usage-relay"),
    ("relay-ledger-off", "usage-relay, ledger off"),
    ("node", "Node"),
    ("powertools", "Python, Powertools"),
    ("m3ter-sdk", "Python, m3ter's SDK"),
];
/// Bytes of an ordinary measurement of the bench, and of a large one.
const BYTES: [f64; 2] = [250.0, 1_000.0];

/// What was measured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bench {
    /// When.
    pub(super) date: String,
    /// On what.
    pub(super) machine: String,
    /// Of whom.
    contenders: BTreeMap<String, Contender>,
}

/// Microseconds of processor time for each measurement, by event: messages, measurements in each, bytes of each measurement.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contender {
    #[serde(rename = "10x1x250")]
    small: f64,
    #[serde(rename = "1000x1x250")]
    ordinary: f64,
    #[serde(rename = "100x100x250")]
    large_messages: f64,
    #[serde(rename = "1000x1x1000")]
    large_measurements: f64,
}

/// What takes how much processor time, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cpu {
    /// An invocation by itself.
    pub(super) invocation_us: f64,
    /// Each message in it.
    pub(super) message_us: f64,
    /// Each measurement of 250 bytes.
    pub(super) measurement_us: f64,
    /// Each byte that a measurement has more.
    pub(super) byte_us: f64,
}

impl Bench {
    /// The committed figures.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn committed() -> Result<Self, String> {
        Self::read(BENCH)
    }

    fn read(text: &str) -> Result<Self, String> {
        let bench: Self = serde_json::from_str(text).map_err(|error| format!("expected figures of `make bench`: {error}"))?;
        match bench.contenders.contains_key("relay") {
            true => Ok(bench),
            false => Err("expected figures of `make bench` with the contender `relay`".to_owned()),
        }
    }

    /// Each that was measured: title, and what it takes; the relay first.
    pub(super) fn contenders(&self) -> Vec<(&'static str, Cpu)> {
        WHO.iter().filter_map(|(name, title)| Some((*title, self.contenders.get(*name)?.cpu()))).collect()
    }
}

impl Contender {
    /// Solves what the events of 250 bytes took for the three things that they have in different numbers:
    ///
    /// * 10 × small = invocation + 10 messages + 10 measurements
    /// * 1,000 × ordinary = invocation + 1,000 messages + 1,000 measurements
    /// * 10,000 × large messages = invocation + 100 messages + 10,000 measurements
    ///
    /// A part that comes out below zero is noise, and none.
    fn cpu(self) -> Cpu {
        let (small, ordinary, large) = (10.0 * self.small, 1_000.0 * self.ordinary, 10_000.0 * self.large_messages);
        let pair_us = ((ordinary - small) / 990.0).max(0.0);
        let invocation_us = (small - 10.0 * pair_us).max(0.0);
        let measurement_us = ((large - invocation_us - 100.0 * pair_us) / 9_900.0).clamp(0.0, pair_us);
        let [ordinary_bytes, large_bytes] = BYTES;
        let byte_us = ((self.large_measurements - self.ordinary) / (large_bytes - ordinary_bytes)).max(0.0);
        Cpu { invocation_us, message_us: pair_us - measurement_us, measurement_us, byte_us }
    }
}

impl Cpu {
    /// Microseconds for one invocation of so many messages and measurements, each of `bytes`.
    pub(super) fn invocation(self, messages: f64, measurements: f64, bytes: f64) -> f64 {
        let each_us = (self.measurement_us + self.byte_us * (bytes - BYTES[0])).max(0.0);
        self.invocation_us + messages * self.message_us + measurements * each_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(small: f64, ordinary: f64, large_messages: f64, large_measurements: f64) -> Contender {
        Contender { small, ordinary, large_messages, large_measurements }
    }

    #[test]
    fn what_four_events_took_says_what_each_part_of_an_event_takes() {
        // 700 an invocation, 1 a message, 4 a measurement, 0.002 a byte more, by hand: (700 + 10 + 40) / 10, (700 + 1,000 + 4,000) / 1,000,
        // (700 + 100 + 40,000) / 10,000, and 5.7 + 1.5.
        let cpu = contender(75.0, 5.7, 4.08, 7.2).cpu();
        for (found, expected) in
            [(cpu.invocation_us, 700.0), (cpu.message_us, 1.0), (cpu.measurement_us, 4.0), (cpu.byte_us, 0.002)]
        {
            assert!((found - expected).abs() < 1e-9, "{cpu:?}");
        }
        assert!((cpu.invocation(10.0, 10.0, 250.0) - 750.0).abs() < 1e-6);
        assert!((cpu.invocation(100.0, 10_000.0, 1_250.0) - (700.0 + 100.0 + 60_000.0)).abs() < 1e-6);
    }

    #[test]
    fn noise_makes_no_part_cheaper_than_nothing() {
        let cpu = contender(1.0, 5.0, 9.0, 4.0).cpu();
        assert_eq!(cpu, Cpu { invocation_us: 0.0, message_us: 0.0, ..cpu });
        assert!(cpu.measurement_us > 0.0 && cpu.byte_us == 0.0);
        assert!(cpu.invocation(1.0, 1.0, 40.0) > 0.0);
    }

    #[test]
    fn the_committed_figures_are_those_of_everybody_that_is_compared() {
        let bench = Bench::committed().unwrap();
        assert_eq!(bench.contenders().len(), WHO.len());
        assert_eq!(bench.contenders.len(), WHO.len(), "nobody else is in the file");
        assert!(!bench.date.is_empty() && !bench.machine.is_empty());
    }

    #[test]
    fn figures_without_the_relay_are_none() {
        let error = Bench::read(r#"{"date":"d","machine":"m","contenders":{}}"#).unwrap_err();
        assert!(error.starts_with("expected figures"), "{error}");
    }
}
