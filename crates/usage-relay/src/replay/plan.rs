//! What replay will do, said before it is done, and what it did.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use recovery::decision::{Choice, Go, Not, decide};
use recovery::gather::{Chosen, Looked};
use recovery::kept::Selection;
use recovery::standing::Facts;
use serde::Serialize;
use uuid::Uuid;

use crate::failure::Failure;
use crate::figures::{counted, grouped};
use crate::sending::Outcome;
use crate::store::{LookedJson, looked_text};
use crate::terminal;

/// Entries named of those that are refused for the same reason; JSON has all.
const NAMED_MAX: usize = 20;
/// Uids named in what to run next.
const NEXT_MAX: usize = 3;

/// What will be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Entries that go, each with the place of its object.
    pub(super) go: BTreeMap<Uuid, (Go, usize)>,
    uids: BTreeSet<String>,
    refused: Vec<Refused>,
    /// Entries claimed before of which nothing was heard.
    silent: u64,
    /// Entries that never were sent to m3ter.
    never_sent: u64,
    /// Entries whose age is overruled.
    overruled: u64,
    next: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Refused {
    qid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    particulars: Option<String>,
    #[serde(skip)]
    meaning: &'static str,
}

/// All of it, for programs.
#[derive(Serialize)]
pub(super) struct Told<'a> {
    selected: u64,
    to_send: u64,
    sent: u64,
    silent_before: u64,
    claimed_by_others: u64,
    claimed_and_not_sent: u64,
    refused: &'a [Refused],
    looked: LookedJson,
}

impl Plan {
    pub(super) fn of(chosen: &Chosen, facts: &BTreeMap<Uuid, Facts>, choice: &Choice, now_ms: i64) -> Self {
        let mut plan = Self::default();
        let none = Facts::default();
        for (kept, place) in chosen.kept.values() {
            plan.uids.extend(kept.uid.clone());
            match decide(kept, facts.get(&kept.qid).unwrap_or(&none), choice, now_ms) {
                Ok(go) => {
                    plan.silent += u64::from(go.silent_since_ms.is_some());
                    plan.never_sent += u64::from(go.first_sent_at_ms.is_none());
                    plan.overruled += u64::from(go.beyond_window);
                    if plan.next.len() < NEXT_MAX {
                        plan.next.extend(go.new_uid.map(|uid| uid.to_string()).or_else(|| kept.uid.clone()));
                    }
                    plan.go.insert(kept.qid, (go, *place));
                }
                Err(not) => plan.refuse(kept.qid, kept.uid.clone(), not),
            }
        }
        plan
    }

    pub(super) fn refuse(&mut self, qid: Uuid, uid: Option<String>, not: Not) {
        self.refused.push(Refused { qid, uid, reason: not.name(), particulars: not.particulars(), meaning: not.meaning() });
    }

    /// Loudly: nothing is wrong with sending these again, but something was wrong before.
    pub(super) fn warn_of_silent(&self) {
        if self.silent > 0 {
            let entries =
                if self.silent == 1 { "1 entry was".to_owned() } else { format!("{} entries were", grouped(self.silent)) };
            terminal::complain(&format!(
                "WARNING: {entries} claimed before and nothing was heard since, neither accepted nor quarantined again: an interrupted replay, a relay that stands still, or a ledger that is off; sent once more, counted once"
            ));
        }
    }

    pub(super) fn text(&self, is_dry: bool) -> String {
        let selected = self.go.len() + self.refused.len();
        let would = if is_dry { "would be sent" } else { "will be sent" };
        let entries = |count: usize| if count == 1 { "1 entry".to_owned() } else { format!("{} entries", grouped(count as u64)) };
        let mut lines = vec![format!(
            "{} selected: {} {would}, {} not",
            entries(selected),
            grouped(self.go.len() as u64),
            grouped(self.refused.len() as u64)
        )];
        if !self.go.is_empty() {
            let inside = self.go.len() as u64 - self.never_sent - self.overruled;
            let kinds = [
                (self.never_sent, "never reached m3ter"),
                (inside, "may have reached m3ter, first less than 34 days ago: counted once all the same"),
                (self.overruled, "may have reached m3ter 34 days ago or earlier, and may be counted twice: --beyond-window"),
            ];
            let told = kinds.iter().filter(|(count, _)| *count > 0);
            lines.extend(told.map(|(count, kind)| format!("  {} {kind}", grouped(*count))));
        }
        let mut by: BTreeMap<(&str, &str), Vec<&Refused>> = BTreeMap::new();
        for refused in &self.refused {
            by.entry((refused.reason, refused.meaning)).or_default().push(refused);
        }
        for ((reason, meaning), refused) in by {
            lines.push(format!("  not sent: {} {reason} ({meaning})", grouped(refused.len() as u64)));
            for one in refused.iter().take(NAMED_MAX) {
                let parts =
                    [Some(one.qid.to_string()), one.uid.as_ref().map(|uid| format!("uid {uid}")), one.particulars.clone()];
                lines.push(format!("    {}", parts.into_iter().flatten().collect::<Vec<_>>().join("  ")));
            }
            let more = refused.len().saturating_sub(NAMED_MAX);
            if more > 0 {
                lines.push(format!("    and {} more; --json has all", grouped(more as u64)));
            }
        }
        lines.join("\n")
    }

    pub(super) fn outcome_text(&self, outcome: &Option<Outcome>, looked: &Looked, elapsed: Duration) -> String {
        let mut lines = Vec::new();
        match outcome {
            Some(outcome) => {
                lines.push(format!("sent {}, {:.1} s", counted(outcome.sent, "message"), elapsed.as_secs_f64()));
                if outcome.taken > 0 {
                    lines.push(format!("{} claimed by somebody else in the meantime, and left to them", grouped(outcome.taken)));
                }
            }
            None if self.go.is_empty() => lines.push("nothing was sent".to_owned()),
            None => lines.push("dry run: nothing was sent".to_owned()),
        }
        lines.push(looked_text(looked));
        if outcome.as_ref().is_some_and(|outcome| outcome.sent > 0) {
            lines.push(match self.next.is_empty() {
                false => format!("next, in a minute or two: usage-relay explain {}", self.next.join(" ")),
                true => "next, in a minute or two: usage-relay quarantine list --all".to_owned(),
            });
        }
        lines.join("\n")
    }

    pub(super) fn json(&self, outcome: &Option<Outcome>, looked: &Looked) -> Told<'_> {
        let of = |count: fn(&Outcome) -> u64| outcome.as_ref().map_or(0, count);
        Told {
            selected: (self.go.len() + self.refused.len()) as u64,
            to_send: self.go.len() as u64,
            sent: of(|outcome| outcome.sent),
            silent_before: self.silent,
            claimed_by_others: of(|outcome| outcome.taken),
            claimed_and_not_sent: of(Outcome::unsent),
            refused: &self.refused,
            looked: LookedJson::of(looked),
        }
    }

    /// Whoever names an entry wants to know if it did not go.
    pub(super) fn verdict(&self, selection: &Selection) -> Result<(), Failure> {
        if !selection.is_by_name() {
            return Ok(());
        }
        let known = |qid: &Uuid| self.go.contains_key(qid) || self.refused.iter().any(|refused| refused.qid == *qid);
        let missing = selection.qids.iter().filter(|qid| !known(qid)).count() + selection.uids.difference(&self.uids).count();
        match (missing, self.refused.len()) {
            (0, 0) => Ok(()),
            (0, refused) => Err(Failure::Data(format!("{} refused", grouped(refused as u64)))),
            (missing, _) => Err(Failure::Data(format!(
                "{} not in the quarantine so far back; --since looks further",
                counted(missing as u64, "name")
            ))),
        }
    }
}
