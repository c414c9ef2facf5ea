//! What the relay is held to, and whether it keeps to it here. The numbers are those of docs/DESIGN.md; nothing fails by them.

use crate::plan::{REFERENCE, TEN_THOUSAND, THOUSAND};
use crate::report::Report;
use crate::table::mib;
use crate::work::Shape;

/// The relay's CPU beside the floor's: at most, with the ledger off and with every default.
const TIMES_FLOOR_LEDGER_OFF: f64 = 1.4;
const TIMES_FLOOR: f64 = 2.0;
/// The peers' CPU beside the relay's, with every default: at least.
const PEERS: [(&str, f64); 3] = [("node", 5.0), ("powertools", 8.0), ("m3ter-sdk", 40.0)];
/// A measurement's CPU among 10,000 messages beside that among 1,000: at most.
const TEN_TIMES: f64 = 1.2;
/// A cold start beside hello's: at most.
const TIMES_HELLO: f64 = 3.0;
/// Most memory on an event of 6 MB, in MiB.
const PEAK_MIB: f64 = 48.0;
/// Largest zip, in MB.
const ZIP_MB: f64 = 6.0;
/// An event of at least so many bytes counts as one of 6 MB.
const LARGE_EVENT_BYTES: usize = 5_500_000;

/// One thing the relay is held to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Budget {
    what: String,
    found: f64,
    limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Budget {
    pub(crate) fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtMost(most) => self.found <= most,
            Limit::AtLeast(least) => self.found >= least,
        }
    }

    fn line(&self) -> String {
        let (sign, limit) = match self.limit {
            Limit::AtMost(most) => ("at most", most),
            Limit::AtLeast(least) => ("at least", least),
        };
        let met = if self.is_met() { "met   " } else { "MISSED" };
        format!("{met} {:<84}{:>8.2}   {sign} {limit}\n", self.what, self.found)
    }
}

/// Every budget that the report has figures for.
pub(crate) fn budgets(report: &Report) -> Vec<Budget> {
    let mut budgets = Vec::new();
    let mut hold = |what: String, found: Option<f64>, limit| {
        budgets.extend(found.filter(|found| found.is_finite()).map(|found| Budget { what, found, limit }));
    };
    for work in report.works.iter().filter(|work| work.shape == REFERENCE) {
        let at = if work.tls { "1,000 messages, TLS" } else { "1,000 messages, no TLS" };
        hold(
            format!("CPU, ledger off, times the floor's ({at})"),
            work.times("relay-ledger-off", "floor"),
            Limit::AtMost(TIMES_FLOOR_LEDGER_OFF),
        );
        hold(
            format!("CPU, every default on, times the floor's ({at})"),
            work.times("relay", "floor"),
            Limit::AtMost(TIMES_FLOOR),
        );
        for (peer, least) in PEERS {
            hold(format!("CPU of {peer}, times the relay's ({at})"), work.times(peer, "relay"), Limit::AtLeast(least));
        }
    }
    let cpu = |shape: Shape, name: &str| {
        let work = report.works.iter().find(|work| work.shape == shape && !work.tls)?;
        Some(work.of(name)?.cpu_us.median)
    };
    for name in ["relay", "relay-ledger-off"] {
        let times = cpu(TEN_THOUSAND, name).zip(cpu(THOUSAND, name)).map(|(ten, one)| ten / one);
        hold(
            format!("CPU of one measurement among 10,000 messages, times that among 1,000 ({name})"),
            times,
            Limit::AtMost(TEN_TIMES),
        );
    }
    for tls in [false, true] {
        let at = if tls { "TLS" } else { "no TLS" };
        let relay = report.cold_starts.iter().find(|one| one.name == "relay" && one.tls == tls);
        hold(
            format!("cold start to the first answer, times a hello world's ({at})"),
            relay.and_then(|relay| relay.times_hello),
            Limit::AtMost(TIMES_HELLO),
        );
    }
    let large = report.works.iter().filter(|work| work.event_bytes >= LARGE_EVENT_BYTES);
    let peak = large.filter_map(|work| work.of("relay")).map(|relay| mib(relay.peak_bytes)).fold(f64::NAN, f64::max);
    hold("peak memory on an event of 6 MB, in MiB".to_owned(), Some(peak), Limit::AtMost(PEAK_MIB));
    hold("zip, in MB".to_owned(), Some(report.zip_bytes as f64 / 1e6), Limit::AtMost(ZIP_MB));
    budgets
}

/// The budgets as text, a line each.
pub(crate) fn told(report: &Report) -> String {
    budgets(report).iter().map(Budget::line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_met_up_to_its_limit() {
        let met = |found, limit| Budget { what: String::new(), found, limit }.is_met();
        assert!(met(1.4, Limit::AtMost(1.4)) && !met(1.41, Limit::AtMost(1.4)));
        assert!(met(5.0, Limit::AtLeast(5.0)) && !met(4.99, Limit::AtLeast(5.0)));
    }
}
