//! One look at m3ter's events: pages them from the newest back to where the last look ended, and acts once on each.
//!
//! m3ter lists events newest first, without a filter by date, for 28 days, some of them late and some more than once. So a look
//! goes back beyond where the last one ended, each hour by a day and each day to the end; what was acted on is known by its
//! id. Only an event that is listed later than 28 days after it was raised could be missed, and m3ter has deleted it by then.
//!
//! A look that is cut short loses nothing: what it acted on is noted, the cursor stays, and the next look goes on from there.

use std::collections::{BTreeMap, BTreeSet};

use m3ter_client::{List, NotAnswered, Session};
use relay_core::canonical::content_uid;
use relay_core::limits::{ATTEMPT_TIMEOUT, DAY_MS};
use relay_store::{Store, StoreError};
use tokio::time::{Instant, timeout_at};

use crate::act::{Circumstances, New, act};
use crate::counts::Counts;
use crate::cursor::{Cursor, Depth};
use crate::failure::Event;

/// Most events that are acted on together: each reads the ledger anew, and each event takes some kilobytes until it is done.
const TOGETHER: usize = 5_000;
/// Or as many bytes of them: an event may tell of a whole request.
const TOGETHER_BYTES: usize = 16 * 1024 * 1024;
/// Days of acts that are remembered at the same time: events come in the order of their days, but for late ones.
const DAYS: usize = 3;

/// What a look needs.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The store.
    pub store: &'a Store,
    /// Names what is written, once.
    pub name: &'a str,
    /// Milliseconds since the epoch.
    pub now_ms: i64,
    /// Whether there is a ledger to hold duplicates against.
    pub has_ledger: bool,
    /// No page is asked for after this.
    pub until: Instant,
    /// Nothing is written after this.
    pub settle_until: Instant,
}

/// What a look came to, besides its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Whether every event of its span was listed, and acted on or left for a deeper look.
    pub is_whole: bool,
}

/// Why a look ended early. What it did before is noted.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// m3ter did not list its events.
    #[error("expected m3ter to list its events")]
    Events(#[from] NotAnswered),
    /// The store did not answer, or with an error.
    #[error("expected the store to answer")]
    Store(#[from] StoreError),
}

impl Pass<'_> {
    /// Looks, and moves `cursor` if the look was whole.
    ///
    /// # Errors
    /// [`PassError`]. `counts` holds what was done.
    pub async fn run(&self, m3ter: &Session<'_>, cursor: &mut Cursor, counts: &mut Counts) -> Result<Passed, PassError> {
        let depth = cursor.depth(self.now_ms);
        let bound_ms = cursor.bound_ms(depth, self.now_ms);
        let mut acted = Acted { store: self.store, days: BTreeMap::new(), unreadable: 0 };
        let (mut news, mut number, mut token) = (Vec::new(), 0, None);
        let (mut seen, mut bytes) = (BTreeSet::new(), 0);
        // All that came since the last look, which a deeper look lists first.
        let (new_ms, mut has_all_new) = (cursor.bound_ms(Depth::New, self.now_ms), false);
        let is_listed = loop {
            let began = Instant::now();
            let page = timeout_at(self.until, m3ter.page(List::Events, token.as_deref())).await;
            let page = match page.unwrap_or(Err(NotAnswered::Later)) {
                Ok(page) => page,
                // Time is up, and not because of this page.
                Err(NotAnswered::Later) if Instant::now() >= self.until && began.elapsed() < ATTEMPT_TIMEOUT => break false,
                Err(error) => {
                    self.act(m3ter, &mut news, &mut number, depth, counts).await?;
                    return Err(error.into());
                }
            };
            let mut newest_ms = None;
            for raw in page.data {
                let event = Event::read(&raw);
                newest_ms = newest_ms.max((event.at_ms > 0).then_some(event.at_ms));
                let is_new = seen.insert(key(&event.id)) && !acted.holds(&event).await?;
                if is_new && (event.at_ms >= bound_ms || event.at_ms == 0) {
                    bytes += raw.get().len();
                    news.push(New { event, raw });
                }
                if news.len() >= TOGETHER || bytes >= TOGETHER_BYTES {
                    self.act(m3ter, &mut news, &mut number, depth, counts).await?;
                    bytes = 0;
                }
            }
            has_all_new |= newest_ms.is_some_and(|newest_ms| newest_ms < new_ms);
            token = page.next_token;
            if token.is_none() || newest_ms.is_some_and(|newest_ms| newest_ms < bound_ms) {
                break true;
            }
        };
        self.act(m3ter, &mut news, &mut number, depth, counts).await?;
        counts.unreadable += acted.unreadable;
        let is_settled = counts.unread_logs == 0 && counts.late == 0;
        let is_whole = is_listed && is_settled;
        if is_settled && (is_listed || has_all_new) {
            cursor.read_to = self.now_ms;
        }
        if is_whole {
            if depth >= Depth::Day {
                cursor.day_read_at = self.now_ms;
            }
            if depth == Depth::All {
                cursor.all_read_at = self.now_ms;
            }
        }
        Ok(Passed { is_whole })
    }

    async fn act(
        &self,
        m3ter: &Session<'_>,
        news: &mut Vec<New>,
        number: &mut u32,
        depth: Depth,
        counts: &mut Counts,
    ) -> Result<(), StoreError> {
        if news.is_empty() {
            return Ok(());
        }
        *number += 1;
        let name = format!("{}-{number}", self.name);
        let Pass { now_ms, has_ledger, settle_until: until, .. } = *self;
        let read_until = (self.until.max(Instant::now()) + until.duration_since(self.until) / 2).min(until);
        let logs_until = self.until;
        let here = Circumstances { name: &name, now_ms, depth, has_ledger, logs_until, read_until, until };
        let news = std::mem::take(news);
        counts.waiting += act(m3ter, self.store, &news, here, counts).await?;
        Ok(())
    }
}

/// Which events were acted on, as far as days were asked for.
struct Acted<'s> {
    store: &'s Store,
    days: BTreeMap<i64, BTreeSet<u128>>,
    unreadable: u64,
}

impl Acted<'_> {
    async fn holds(&mut self, event: &Event) -> Result<bool, StoreError> {
        let day = event.at_ms.div_euclid(DAY_MS);
        if !self.days.contains_key(&day) {
            let listed = self.store.acts_of_day(event.at_ms).await?;
            let mut ids = BTreeSet::new();
            let torn = self.store.acts(listed.objects, |act| Some(key(&act.event)), |id| ids.extend([id])).await;
            self.unreadable += (listed.unreadable.len() + torn.len()) as u64;
            if self.days.len() >= DAYS {
                // The latest day is the furthest from what comes next.
                self.days.pop_last();
            }
            self.days.insert(day, ids);
        }
        Ok(self.days.get(&day).is_some_and(|ids| ids.contains(&key(&event.id))))
    }
}

/// An id of whatever form, in few bytes.
fn key(id: &str) -> u128 {
    content_uid(id).as_u128()
}
