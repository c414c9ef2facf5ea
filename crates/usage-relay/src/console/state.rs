//! What the page shows, as one JSON document; and what follows from counts that were kept apart.
//!
//! Pure: no clock, no network.

use std::collections::BTreeMap;

use m3ter_sandbox::Totals as Counted;
use serde::Serialize;

use super::books::Totals;
use super::faults::Switch;
use super::seen::{Batch, Group};
use crate::queue::Depth;

/// Everything the page shows.
#[derive(Debug, Clone, Serialize)]
pub(super) struct State {
    /// When this was so: milliseconds since the epoch.
    pub(super) at_ms: i64,
    /// From when on the store was read.
    pub(super) since_ms: i64,
    pub(super) queue: Depth,
    pub(super) books: Totals,
    /// Measurements that can still be sent from the page.
    pub(super) room: usize,
    /// m3ter's own count; only a sandbox tells it.
    pub(super) m3ter: Option<Told>,
    pub(super) switches: Vec<Switch>,
    pub(super) batches: Vec<Batch>,
    pub(super) batches_in_all: u64,
    pub(super) delivered_again: u64,
    pub(super) reasons: Vec<Group>,
    pub(super) lag_ms: Vec<u64>,
    /// Objects of the store that wait for the next look.
    pub(super) behind: u64,
    /// Objects of the store that could not be read.
    pub(super) unreadable: u64,
    /// Milliseconds until the next look.
    pub(super) pause_ms: u64,
    /// Why the last look failed, if it did; everything else is as it was before.
    pub(super) failure: Option<String>,
}

/// What m3ter counted, beside the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    pub(super) requests: u64,
    pub(super) ingested: u64,
    pub(super) duplicates: u64,
    pub(super) rejected: u64,
    /// Those in the books that nobody has fetched yet: they are not in the quarantine.
    pub(super) unfetched: u64,
    /// Measurements that m3ter has and the books do not: their answers were lost, or are just coming.
    pub(super) ahead: u64,
    pub(super) pending: u64,
    pub(super) tokens: u64,
    /// Requests that met a scripted fault, by kind.
    pub(super) met: BTreeMap<String, u64>,
    /// Whether it counted what the books say; nothing while something is on its way, or beyond what is followed.
    pub(super) agrees: Option<bool>,
}

/// What m3ter had counted before the books began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Before {
    distinct: u64,
    rejected: u64,
}

impl Before {
    /// As it follows from the first look at which nothing was on its way.
    pub(super) fn of(books: &Totals, counted: &Counted) -> Self {
        match distinct(counted).checked_sub(books.ingested + books.rejected) {
            // Then the books began with m3ter.
            Some(0) | None => Self::default(),
            Some(distinct) => Self { distinct, rejected: rejected(counted).saturating_sub(books.rejected) },
        }
    }
}

/// Holds the books against m3ter's own count. Where both know the same measurements, what m3ter rejected is moved there at once, and
/// not only when somebody has fetched its later answer. Unless it `is_quiet`, others may have something on its way.
pub(super) fn compare(books: &mut Totals, counted: &Counted, before: Before, is_quiet: bool, met: BTreeMap<String, u64>) -> Told {
    let ours = books.ingested + books.rejected;
    let theirs = distinct(counted).saturating_sub(before.distinct);
    let rejected = rejected(counted).saturating_sub(before.rejected);
    let is_same = ours == theirs && counted.pending == 0;
    let unfetched = if is_same { rejected.saturating_sub(books.rejected) } else { 0 };
    books.ingested -= unfetched;
    books.rejected += unfetched;
    let is_settled = is_quiet && books.waiting == 0 && books.untracked == 0 && counted.pending == 0;
    Told {
        requests: counted.requests,
        ingested: counted.ingested,
        duplicates: counted.duplicates,
        rejected: self::rejected(counted),
        unfetched,
        ahead: theirs.saturating_sub(ours),
        pending: counted.pending,
        tokens: counted.tokens_issued,
        met,
        agrees: is_settled.then_some(is_same && rejected == books.rejected),
    }
}

/// Measurements that m3ter accepted, each uid once.
fn distinct(counted: &Counted) -> u64 {
    counted.ingested + rejected(counted) + counted.pending
}

fn rejected(counted: &Counted) -> u64 {
    counted.rejected.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books(ingested: u64, rejected: u64, waiting: u64) -> Totals {
        Totals { sent: ingested + rejected + waiting, ingested, rejected, waiting, ..Totals::default() }
    }

    fn counted(ingested: u64, rejected: u64) -> Counted {
        Counted { ingested, rejected: [("UndefinedMeter".to_owned(), rejected)].into(), ..Counted::default() }
    }

    /// The books afterwards, `[ingested, rejected]`, and whether m3ter agrees.
    fn check(mut books: Totals, counted: &Counted, before: Before) -> ([u64; 2], Option<bool>) {
        let told = compare(&mut books, counted, before, true, BTreeMap::new());
        assert_eq!(books.sent, books.ingested + books.rejected + books.waiting);
        ([books.ingested, books.rejected], told.agrees)
    }

    #[test]
    fn m3ter_agrees_only_where_it_counted_the_same() {
        let none = Before::default();
        assert_eq!(check(books(10, 0, 0), &counted(10, 0), none), ([10, 0], Some(true)));
        assert_eq!(check(books(10, 0, 0), &counted(9, 0), none), ([10, 0], Some(false)));
        assert_eq!(check(books(10, 0, 0), &counted(11, 0), none), ([10, 0], Some(false)));
        assert_eq!(check(books(8, 2, 0), &counted(9, 1), none), ([8, 2], Some(false)), "the books know of more rejections");
        assert_eq!(check(books(10, 0, 5), &counted(15, 0), none), ([10, 0], None), "the rest is on its way");
        let full = Totals { untracked: 1, ..books(10, 0, 0) };
        assert_eq!(check(full, &counted(11, 0), none).1, None);
        assert_eq!(compare(&mut books(10, 0, 0), &counted(11, 0), none, false, BTreeMap::new()).agrees, None, "of somebody else");
        let pending = Counted { pending: 1, ..counted(9, 0) };
        assert_eq!(check(books(10, 0, 0), &pending, none).1, None);
    }

    #[test]
    fn what_m3ter_has_and_never_confirmed_is_told() {
        let ahead =
            |ingested| compare(&mut books(10, 0, 5), &counted(ingested, 0), Before::default(), false, BTreeMap::new()).ahead;
        assert_eq!([ahead(9), ahead(10), ahead(13)], [0, 0, 3]);
    }

    #[test]
    fn what_m3ter_rejected_counts_before_anybody_fetched_that() {
        assert_eq!(check(books(10, 0, 0), &counted(7, 3), Before::default()), ([7, 3], Some(true)));
        assert_eq!(check(books(9, 1, 0), &counted(7, 3), Before::default()), ([7, 3], Some(true)));
    }

    #[test]
    fn what_m3ter_had_before_the_books_began_is_left_out() {
        let before = Before::of(&books(4, 0, 0), &counted(100, 5));
        assert_eq!(check(books(4, 0, 0), &counted(100, 5), before), ([4, 0], Some(true)));
        assert_eq!(check(books(14, 0, 0), &counted(109, 6), before), ([13, 1], Some(true)));
        assert_eq!(Before::of(&books(4, 0, 0), &counted(3, 1)), Before::default());
    }
}
