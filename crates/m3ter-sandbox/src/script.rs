//! Decides which rules of the script fire for a request, and counts them.
//!
//! Rules are asked in order: every delay that fires adds up, and the first other fault that fires is the one that
//! happens (rules after it do not see the request). Nothing here waits or answers.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::faults::{Fault, FaultReport, FaultRule, Route, RuleReport};

/// What one request is to meet.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Plan {
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
}

impl Plan {
    /// What the ledger says the request met.
    pub(crate) fn kind(&self) -> Option<String> {
        let delay = (!self.delay.is_zero()).then_some("delay");
        self.fault.as_ref().map(Fault::kind).or(delay).map(str::to_owned)
    }
}

/// The script and its counters.
#[derive(Debug, Default)]
pub(crate) struct Script {
    rules: Vec<(RuleReport, u64)>,
    fired: BTreeMap<String, u64>,
}

impl Script {
    /// Adds a rule at the end.
    pub(crate) fn add(&mut self, rule: FaultRule) {
        let seed = rule.seed;
        self.rules.push((RuleReport { rule, seen: 0, fired: 0 }, seed));
    }

    /// Drops all rules; the counters by kind stay.
    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules and how often they fired.
    pub(crate) fn report(&self) -> FaultReport {
        FaultReport { rules: self.rules.iter().map(|(rule, _)| rule.clone()).collect(), fired: self.fired.clone() }
    }

    /// Decides what a request meets, and counts it.
    pub(crate) fn plan(&mut self, route: Route, body: &[u8]) -> Plan {
        let mut plan = Plan::default();
        for (report, chances) in &mut self.rules {
            if !fires(report, chances, route, body) {
                continue;
            }
            *self.fired.entry(report.rule.fault.kind().to_owned()).or_default() += 1;
            if let Fault::Delay { delay_ms } = report.rule.fault {
                plan.delay = plan.delay.saturating_add(Duration::from_millis(delay_ms));
            } else {
                plan.fault = Some(report.rule.fault.clone());
                break;
            }
        }
        plan
    }
}

/// Whether a rule fires for a request, counting both.
fn fires(report: &mut RuleReport, chances: &mut u64, route: Route, body: &[u8]) -> bool {
    let rule = &report.rule;
    if rule.times.is_some_and(|times| report.fired >= times)
        || (rule.route != Route::Any && rule.route != route)
        || rule.containing.as_ref().is_some_and(|containing| !containing.fits(body))
    {
        return false;
    }
    report.seen += 1;
    let fires = report.seen > rule.skip && rule.probability.is_none_or(|probability| chance(chances) < probability);
    report.fired += u64::from(fires);
    fires
}

/// The next number in [0, 1) of the sequence at `state` (SplitMix64, so that a seed means the same for ever).
fn chance(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Containing;

    fn run(rule: FaultRule, requests: usize) -> Vec<bool> {
        let mut script = Script::default();
        script.add(rule);
        (0..requests).map(|_| script.plan(Route::Ingest, b"").fault.is_some()).collect()
    }

    #[test]
    fn a_rule_skips_some_requests_and_fires_for_the_next_few() {
        assert_eq!(run(FaultRule::new(Fault::Reset).skip(1).times(2), 5), [false, true, true, false, false]);
        assert_eq!(run(FaultRule::new(Fault::Reset).on(Route::Token), 2), [false, false]);
        assert_eq!(run(FaultRule::new(Fault::Reset).on(Route::Any), 2), [true, true]);
    }

    #[test]
    fn the_same_seed_fires_for_the_same_requests() {
        let rule = FaultRule::new(Fault::Hang).with_probability(0.3, 42);
        let fired = run(rule.clone(), 1_000);
        assert_eq!(fired, run(rule, 1_000));
        let count = fired.iter().filter(|fired| **fired).count();
        assert!((250..350).contains(&count), "{count}");
        assert_ne!(fired, run(FaultRule::new(Fault::Hang).with_probability(0.3, 43), 1_000));
    }

    #[test]
    fn a_rule_can_look_for_one_measurement() {
        let body = br#"{"measurements":[{"uid":"a","meter":"m"},{"uid":"b","meter":"n","measure":5}]}"#;
        for (containing, fits) in [
            (Containing::uid("b"), true),
            (Containing::meter("m"), true),
            (Containing::uid("c"), false),
            (Containing { uid: Some("a".to_owned()), meter: Some("n".to_owned()) }, false),
        ] {
            let mut script = Script::default();
            script.add(FaultRule::new(Fault::Reset).containing(containing.clone()));
            assert_eq!(script.plan(Route::Ingest, body).fault.is_some(), fits, "{containing:?}");
        }
    }

    #[test]
    fn delays_add_up_and_the_first_other_fault_happens() {
        let mut script = Script::default();
        for fault in [Fault::Delay { delay_ms: 2 }, Fault::Delay { delay_ms: 3 }, Fault::Html, Fault::Reset] {
            script.add(FaultRule::new(fault));
        }
        let plan = script.plan(Route::Ingest, b"");
        assert_eq!(plan, Plan { delay: Duration::from_millis(5), fault: Some(Fault::Html) });
        let fired: Vec<_> = script.report().fired.into_iter().collect();
        assert_eq!(fired, [("delay".to_owned(), 2), ("html".to_owned(), 1)]);
        script.clear();
        assert_eq!(script.plan(Route::Ingest, b""), Plan::default());
    }
}
