//! Counts what is open in the quarantine, and what of it leaves m3ter's window soon.
//!
//! Entries flow by and leave a few bytes each: of one that nobody touched, its standing follows from itself. Only of those that
//! were sent again, which are few, is more kept, since what came of them must be read from the ledger.
//!
//! It looks at what was quarantined in the last 70 days, twice m3ter's window: what may have been sent cannot be younger to
//! m3ter than it is in the quarantine, so all that leaves soon is seen, and what has left is told for five more weeks.
//!
//! Absent: memory of the last look. Nothing here depends on how often it runs.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use recovery::gather::{Chosen, Depth, Look};
use recovery::kept::Kept;
use recovery::standing::{DROP, Facts, Standing, claim_number};
use recovery::window::{Window, leaves_soon};
use relay_core::limits::WINDOW_MS;
use relay_store::{Entry, Folder, Hours, MarkerName, Store, StoreError};
use serde::Serialize;
use uuid::Uuid;

/// How far back it looks.
pub const LOOK_BACK_MS: i64 = 2 * WINDOW_MS;
/// How much a writer's clock may be ahead.
const CLOCKS_MS: i64 = 3_600_000;

/// Most entries that a look holds.
#[derive(Clone, Copy, Debug)]
struct Most {
    /// That nobody touched: some 60 bytes are kept of each.
    open: usize,
    /// That were sent again: some 1,000 bytes are kept of each while the ledger is read.
    sent_again: usize,
}

/// What fits the function's memory.
const MOST: Most = Most { open: 2_000_000, sent_again: 100_000 };
/// Most reasons that are told apart: each is a metric that costs money. The relay has 26.
const REASONS_MAX: usize = 60;
/// All others together.
const OTHER_REASONS: &str = "Other";

/// What a look found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Entries that are still to be settled, by their reason.
    pub open: BTreeMap<String, u64>,
    /// Those of them that leave m3ter's window within five days.
    pub leaves_window_soon: u64,
    /// Those of them that have left it, as far as it is safe to tell: replay refuses them.
    pub outside_window: u64,
    /// Objects that could not be read, of quarantine, markers and ledger.
    pub unreadable: u64,
    /// Whether all of the quarantine was read; else each count may be too low.
    pub is_whole: bool,
}

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The store did not answer, or with an error.
    #[error("expected the store to show what is in it")]
    Store(#[from] StoreError),
    /// Nothing is known before all is read.
    #[error("expected to have read the quarantine in the time there was")]
    TimeUp,
    /// It would not fit the function's memory.
    #[error("expected at most {most} entries that {which}")]
    TooMany {
        /// Entries that are counted.
        most: usize,
        /// Which these are.
        which: &'static str,
    },
}

/// How old an open entry is to m3ter's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Inside,
    LeavesSoon,
    Outside,
}

/// What operators did about an entry, as far as the names of its markers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    Dropped,
    Claimed,
}

/// An entry as it flows by.
struct Seen {
    qid: Uuid,
    again_of: Option<Uuid>,
    what: What,
}

enum What {
    /// Dropped: only what it came back from matters.
    Settled,
    Untouched {
        quarantined_at_ms: i64,
        reason: Box<str>,
        age: Option<Age>,
    },
    Claimed(Box<Kept>),
}

/// What stays of an entry that nobody touched.
struct Open {
    quarantined_at_ms: i64,
    reason: u8,
    age: Age,
}

/// Looks at `store`, as seen at `now_ms`: milliseconds since the epoch. Takes as long as it takes.
///
/// # Errors
/// [`LookError`], but never [`LookError::TimeUp`].
pub async fn look(store: &Store, now_ms: i64) -> Result<Counts, LookError> {
    look_for(store, now_ms, MOST).await
}

async fn look_for(store: &Store, now_ms: i64, most: Most) -> Result<Counts, LookError> {
    let touched = Arc::new(touched(store.markers().await?));
    let span = (now_ms.saturating_sub(LOOK_BACK_MS), now_ms);
    let listed = store.objects(Folder::Quarantine, Hours::between(span.0, span.1.saturating_add(CLOCKS_MS))).await?;
    let mut gathered = Gathered::of(most);
    let keep = move |entry: Entry| Some(seen(&entry, &touched, now_ms));
    let torn = store.entries(listed.objects, keep, |_, seen| seen.into_iter().for_each(|seen| gathered.take(seen))).await;
    let unread = listed.unreadable.len() + torn.len();
    let mut counts = Counts { unreadable: unread as u64, is_whole: unread == 0, ..Counts::default() };
    let (chosen, reasons) = gathered.count(&mut counts)?;
    if !chosen.kept.is_empty() {
        let mut nothing = |_: u64, _: u64| {};
        let mut look = Look::new(store, span, &mut nothing);
        let mut facts = look.facts(&chosen, Depth::Claimed).await?;
        for (qid, (kept, _)) in &chosen.kept {
            if let Some(age) = judged(kept, &facts.remove(qid).unwrap_or_default(), now_ms) {
                counts.add(reasons.named(&kept.reason), age);
            }
        }
        look.looked.settle();
        counts.unreadable += look.looked.unreadable.len() as u64;
    }
    Ok(counts)
}

fn touched(markers: BTreeMap<Uuid, Vec<MarkerName>>) -> BTreeMap<Uuid, Touched> {
    let touched = |names: Vec<MarkerName>| {
        let is_claimed = names.iter().any(|one| claim_number(&one.name).is_some());
        let is_dropped = names.iter().any(|one| one.name == DROP);
        if is_dropped { Some(Touched::Dropped) } else { is_claimed.then_some(Touched::Claimed) }
    };
    markers.into_iter().filter_map(|(qid, names)| Some((qid, touched(names)?))).collect()
}

fn seen(entry: &Entry, touched: &BTreeMap<Uuid, Touched>, now_ms: i64) -> Seen {
    let kept = Kept::of(entry, now_ms);
    let (qid, again_of) = (kept.qid, kept.again_of);
    let what = match touched.get(&qid) {
        Some(Touched::Dropped) => What::Settled,
        Some(Touched::Claimed) => What::Claimed(Box::new(Kept { meter: None, account: None, still_refused: None, ..kept })),
        None => What::Untouched {
            quarantined_at_ms: kept.quarantined_at_ms,
            age: judged(&kept, &Facts::default(), now_ms),
            reason: kept.reason.into_boxed_str(),
        },
    };
    Seen { qid, again_of, what }
}

/// How old an entry is, if it is open.
fn judged(kept: &Kept, facts: &Facts, now_ms: i64) -> Option<Age> {
    let standing = Standing::of(kept, facts, now_ms);
    if !standing.is_open() {
        return None;
    }
    if leaves_soon(kept, facts, &standing, now_ms) {
        return Some(Age::LeavesSoon);
    }
    Some(match Window::of(kept, facts, now_ms) {
        // Under its uid it goes nowhere, however young: a new uid has no age.
        Window::Outside { .. } if kept.is_uid_taken() => Age::Inside,
        Window::Outside { .. } => Age::Outside,
        Window::NeverSent | Window::Inside { .. } | Window::LeavesSoon { .. } => Age::Inside,
    })
}

/// What is gathered while entries flow by.
struct Gathered {
    most: Most,
    reasons: Reasons,
    open: BTreeMap<Uuid, Open>,
    claimed: Chosen,
    came_back: HashSet<Uuid>,
    has_too_many_open: bool,
    has_too_many_claimed: bool,
}

impl Gathered {
    fn of(most: Most) -> Gathered {
        let (reasons, open, claimed, came_back, has_too_many_open, has_too_many_claimed) = Default::default();
        Gathered { most, reasons, open, claimed, came_back, has_too_many_open, has_too_many_claimed }
    }

    /// Written twice is one entry: the one that was written first.
    fn take(&mut self, Seen { qid, again_of, what }: Seen) {
        self.came_back.extend(again_of);
        match what {
            What::Settled | What::Untouched { age: None, .. } => {}
            What::Untouched { quarantined_at_ms, reason, age: Some(age) } => {
                let before = self.open.get(&qid).map(|before| before.quarantined_at_ms);
                self.has_too_many_open |= before.is_none() && self.open.len() == self.most.open;
                if !self.has_too_many_open && before.is_none_or(|before_ms| quarantined_at_ms < before_ms) {
                    self.open.insert(qid, Open { quarantined_at_ms, reason: self.reasons.place(&reason), age });
                }
            }
            What::Claimed(kept) => {
                let before = self.claimed.kept.get(&qid).map(|(before, _)| before.quarantined_at_ms);
                self.has_too_many_claimed |= before.is_none() && self.claimed.kept.len() == self.most.sent_again;
                if !self.has_too_many_claimed && before.is_none_or(|before_ms| kept.quarantined_at_ms < before_ms) {
                    self.reasons.place(&kept.reason);
                    self.claimed.kept.insert(qid, (*kept, 0));
                }
            }
        }
    }

    /// Counts what is known already. Gives back of what it is to be found out what came of it.
    fn count(self, counts: &mut Counts) -> Result<(Chosen, Reasons), LookError> {
        let Gathered { most, reasons, open, mut claimed, came_back, has_too_many_open, has_too_many_claimed } = self;
        if has_too_many_open {
            return Err(LookError::TooMany { most: most.open, which: "are open" });
        }
        if has_too_many_claimed {
            return Err(LookError::TooMany { most: most.sent_again, which: "were sent again in 70 days" });
        }
        for (qid, Open { reason, age, .. }) in &open {
            if !came_back.contains(qid) {
                counts.add(reasons.at(*reason), *age);
            }
        }
        claimed.kept.retain(|qid, _| !came_back.contains(qid));
        Ok((claimed, reasons))
    }
}

impl Counts {
    fn add(&mut self, reason: &str, age: Age) {
        match self.open.get_mut(reason) {
            Some(open) => *open += 1,
            None => drop(self.open.insert(reason.to_owned(), 1)),
        }
        match age {
            Age::Inside => {}
            Age::LeavesSoon => self.leaves_window_soon += 1,
            Age::Outside => self.outside_window += 1,
        }
    }
}

/// Names of reasons, each once and each by its place.
#[derive(Default)]
struct Reasons(Vec<String>);

impl Reasons {
    fn place(&mut self, reason: &str) -> u8 {
        let found = self.0.iter().position(|name| name == reason);
        let place = found.unwrap_or_else(|| {
            if self.0.len() < REASONS_MAX && is_a_name(reason) {
                self.0.push(reason.to_owned());
                return self.0.len() - 1;
            }
            REASONS_MAX
        });
        u8::try_from(place).unwrap_or(u8::MAX)
    }

    fn at(&self, place: u8) -> &str {
        self.0.get(usize::from(place)).map_or(OTHER_REASONS, String::as_str)
    }

    fn named(&self, reason: &str) -> &str {
        self.0.iter().find(|name| *name == reason).map_or(OTHER_REASONS, String::as_str)
    }
}

/// What a metric can be told apart by.
fn is_a_name(reason: &str) -> bool {
    (1..=64).contains(&reason.len()) && reason.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
#[path = "look_tests.rs"]
pub(crate) mod tests;
