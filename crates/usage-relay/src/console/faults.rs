//! The troubles that can be switched on and off: what each is in the sandbox's script.
//!
//! The sandbox's script is the truth: a switch is on while its rule stands there, whoever put it. Other rules are left as they are.
//! The one exception are tokens that expire, which is no rule: while it is on, the console makes the sandbox forget its tokens each second.
//!
//! Pure: nothing here speaks to the sandbox.

use m3ter_sandbox::{Fault, FaultReport, FaultRule};
use serde::{Deserialize, Serialize};

/// A trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Trouble {
    /// Three of four submissions are answered with 429.
    Storm,
    /// m3ter counts, and every other answer is lost.
    Lost,
    /// Every submission is answered with 503. Only those: the console itself asks for tokens and meters.
    Outage,
    /// Tokens live for a second.
    Tokens,
}

impl Trouble {
    /// In the order of the page.
    pub(super) const ALL: [Trouble; 4] = [Trouble::Storm, Trouble::Lost, Trouble::Outage, Trouble::Tokens];

    /// Its rule, if it is one. Chances are seeded so that the first request meets the trouble.
    pub(super) fn rule(self) -> Option<FaultRule> {
        let status = |status, retry_after| Fault::Status { status, retry_after, body: None };
        match self {
            Self::Storm => Some(FaultRule::new(status(429, Some("1".to_owned()))).with_probability(0.75, STORM_SEED)),
            Self::Lost => Some(FaultRule::new(Fault::DropAnswer).with_probability(0.5, LOST_SEED)),
            Self::Outage => Some(FaultRule::new(status(503, None))),
            Self::Tokens => None,
        }
    }
}

const STORM_SEED: u64 = 3;
const LOST_SEED: u64 = 3;

/// A switch of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Switch {
    trouble: Trouble,
    is_on: bool,
    /// Requests that met it since it was switched on.
    met: u64,
}

/// The switches as they stand.
pub(super) fn switches(report: &FaultReport, tokens_expire: bool) -> Vec<Switch> {
    let switch = |trouble: Trouble| match trouble.rule() {
        Some(rule) => {
            let mine = || report.rules.iter().filter(|one| one.rule == rule);
            Switch { trouble, is_on: mine().next().is_some(), met: mine().map(|one| one.fired).sum() }
        }
        None => Switch { trouble, is_on: tokens_expire, met: 0 },
    };
    Trouble::ALL.map(switch).to_vec()
}

/// The script once `trouble` is off: everything else as it stands, what a rule did already taken off it.
pub(super) fn without(report: &FaultReport, trouble: Trouble) -> Vec<FaultRule> {
    let gone = trouble.rule();
    let others = report.rules.iter().filter(|one| Some(&one.rule) != gone.as_ref());
    let rest = others.filter_map(|one| {
        let mut rule = one.rule.clone();
        rule.skip = rule.skip.saturating_sub(one.seen);
        rule.times = match rule.times {
            Some(times) => Some(times.checked_sub(one.fired).filter(|left| *left > 0)?),
            None => None,
        };
        Some(rule)
    });
    rest.collect()
}

#[cfg(test)]
mod tests {
    use m3ter_sandbox::RuleReport;

    use super::*;

    fn report(rules: Vec<FaultRule>) -> FaultReport {
        let rules = rules.into_iter().map(|rule| RuleReport { rule, seen: 5, fired: 2 }).collect();
        FaultReport { rules, fired: Default::default() }
    }

    #[test]
    fn a_switch_is_on_while_its_rule_stands_in_the_script() {
        let on = |report: &FaultReport, tokens| switches(report, tokens).iter().map(|one| one.is_on).collect::<Vec<_>>();
        assert_eq!(on(&report(vec![]), false), [false; 4]);
        let both = report(vec![Trouble::Outage.rule().unwrap(), Trouble::Storm.rule().unwrap()]);
        assert_eq!(on(&both, true), [true, false, true, true]);
        assert_eq!(switches(&both, false)[0].met, 2);
        assert_eq!(on(&report(vec![FaultRule::new(Fault::DropAnswer)]), false), [false; 4], "somebody else's rule");
    }

    #[test]
    fn switching_one_off_leaves_the_others_as_they_stand() {
        let theirs = FaultRule::new(Fault::Hang).skip(7).times(3);
        let done = FaultRule::new(Fault::Reset).times(2);
        let storm = Trouble::Storm.rule().unwrap();
        let report = report(vec![storm.clone(), theirs, done, Trouble::Lost.rule().unwrap()]);
        assert_eq!(without(&report, Trouble::Lost), [storm, FaultRule::new(Fault::Hang).skip(2).times(1)]);
    }

    #[test]
    fn the_sandbox_takes_every_rule_and_no_two_are_the_same() {
        let rules: Vec<FaultRule> = Trouble::ALL.into_iter().filter_map(Trouble::rule).collect();
        let text = serde_json::to_string(&rules).unwrap();
        assert_eq!(FaultRule::list_from_json(&text).unwrap(), rules);
        assert!(rules.iter().enumerate().all(|(at, rule)| !rules[..at].contains(rule)));
    }
}
