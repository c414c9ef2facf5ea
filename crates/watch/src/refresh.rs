//! Reads meters and accounts from m3ter and keeps them in the store, for the relay to hold measurements against.
//!
//! All pages or none: a listing that breaks off says of what is missing that m3ter has it no more, and that would be wrong of
//! most of it. So it is thrown away, and the last catalogue serves. For the same reason a listing is not believed that is empty
//! where the last one was not: it is what a key sees that lost a permission.
//!
//! Absent: how often, and what a catalogue is held against.

use std::collections::BTreeMap;
use std::mem;

use jiff::Timestamp;
use m3ter_client::{List, NotAnswered, Session};
use relay_store::{AccountLine, MeterLine, Store, StoreError, StoredCatalogue};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;

/// Most pages of one list: a million entries. One that goes on for longer goes round in circles.
const PAGES_MAX: usize = 10_000;
/// A day in milliseconds.
const DAY_MS: i64 = 86_400_000;
/// How m3ter names an account that it made by itself: the code, and this.
const SKELETON: &str = "-autocreated";

/// What m3ter has, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refreshed {
    /// When it was asked: milliseconds since the epoch.
    pub read_at_ms: i64,
    /// Meters.
    pub meters: u64,
    /// Accounts.
    pub accounts: u64,
    /// Accounts among them that m3ter made by itself, for a code that it did not know.
    pub skeletons: u64,
    /// Those of them that were not there the last time. None at the first time: how old they are is not known.
    pub new_skeletons: u64,
}

/// Why the last catalogue still serves.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// m3ter did not give a page.
    #[error("expected m3ter to list its meters and accounts")]
    Asked(#[from] NotAnswered),
    /// An entry of a page is not what m3ter documents.
    #[error("expected entries of m3ter's lists to be objects whose id and code are text")]
    Unreadable,
    /// Pages lead round in circles, or there are more than a million entries.
    #[error("expected at most {PAGES_MAX} pages of a list")]
    Endless,
    /// There was something, and now there is nothing.
    #[error(
        "expected m3ter to list something where it listed something the last time: may the key still list meters and accounts?"
    )]
    Emptied,
    /// Time ran out between pages.
    #[error("expected to be through with all pages in the time there was")]
    Late,
    /// The last catalogue could not be read, or the new one not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A meter or an account, as far as it matters. What else m3ter says is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    id: String,
    /// Without one, measurements cannot name it.
    code: Option<String>,
    name: Option<String>,
    dt_created: Option<String>,
    #[serde(default)]
    data_fields: Option<Vec<DataField>>,
}

#[derive(Deserialize)]
struct DataField {
    category: Option<String>,
    code: Option<String>,
}

/// Asks m3ter for all its meters and accounts, adds what it says to the last catalogue, and writes the result; on the first time of
/// a day also for good. Does not begin another page after `until`, and writes nothing after it.
///
/// # Errors
/// [`RefreshError`]: nothing was replaced, but for [`RefreshError::Store`], where it may have been.
pub async fn refresh(session: &Session<'_>, store: &Store, now_ms: i64, until: Instant) -> Result<Refreshed, RefreshError> {
    let last = match store.catalogue(until).await {
        // What cannot be read is replaced by what m3ter has; each day's own object keeps what was known before.
        Err(StoreError::Unreadable { .. }) => None,
        last => last?,
    };
    let meters = all(session, List::Meters, until).await?;
    let accounts = all(session, List::Accounts, until).await?;
    let emptied = last.as_ref().is_some_and(|last| {
        (meters.is_empty() && last.meters_listed().next().is_some())
            || (accounts.is_empty() && last.accounts_listed().next().is_some())
    });
    if emptied {
        return Err(RefreshError::Emptied);
    }
    let (next, new_skeletons) = merged(last.as_ref(), meters, accounts, now_ms);
    let is_new_day = last.is_none_or(|last| last.read_at_ms.div_euclid(DAY_MS) != next.read_at_ms.div_euclid(DAY_MS));
    store.put_catalogue(&next, is_new_day, until).await?;
    Ok(Refreshed {
        read_at_ms: next.read_at_ms,
        meters: next.meters_listed().count() as u64,
        accounts: next.accounts_listed().count() as u64,
        skeletons: next.accounts_listed().filter(|account| account.skeleton).count() as u64,
        new_skeletons,
    })
}

/// Every entry of `list` that has a code.
async fn all(session: &Session<'_>, list: List, until: Instant) -> Result<Vec<(String, Entry)>, RefreshError> {
    let (mut entries, mut next_token) = (Vec::new(), None::<String>);
    for _ in 0..PAGES_MAX {
        if Instant::now() >= until {
            return Err(RefreshError::Late);
        }
        let page = session.page(list, next_token.as_deref()).await?;
        for text in &page.data {
            entries.extend(entry(text)?);
        }
        match page.next_token {
            Some(token) => next_token = Some(token),
            None => return Ok(entries),
        }
    }
    Err(RefreshError::Endless)
}

fn entry(text: &RawValue) -> Result<Option<(String, Entry)>, RefreshError> {
    let mut entry: Entry = serde_json::from_str(text.get()).map_err(|_| RefreshError::Unreadable)?;
    Ok(mem::take(&mut entry.code).filter(|code| !code.is_empty()).map(|code| (code, entry)))
}

/// The last catalogue with what m3ter listed now, and how many skeletons are new in it.
fn merged(
    last: Option<&StoredCatalogue>,
    meters: Vec<(String, Entry)>,
    accounts: Vec<(String, Entry)>,
    now_ms: i64,
) -> (StoredCatalogue, u64) {
    // What was listed now must be told from what was listed before, also if a clock went back.
    let read_at_ms = last.map_or(now_ms, |last| now_ms.max(last.read_at_ms.saturating_add(1)));
    let known = |code: &str, id: &str| (code.to_owned(), id.to_owned());
    let mut meter_lines: BTreeMap<_, MeterLine> = BTreeMap::new();
    let mut account_lines: BTreeMap<_, AccountLine> = BTreeMap::new();
    if let Some(last) = last {
        meter_lines.extend(last.meters.iter().map(|meter| (known(&meter.code, &meter.id), meter.clone())));
        account_lines.extend(last.accounts.iter().map(|account| (known(&account.code, &account.id), account.clone())));
    }
    for (code, entry) in meters {
        let fields = entry.data_fields.into_iter().flatten().filter_map(|field| Some((field.category?, field.code?)));
        let meter = MeterLine { code, id: entry.id, fields: fields.collect(), last_seen_ms: read_at_ms };
        meter_lines.insert(known(&meter.code, &meter.id), meter);
    }
    let mut new_skeletons = 0;
    for (code, entry) in accounts {
        let key = known(&code, &entry.id);
        let skeleton = code.ends_with(SKELETON) || entry.name.is_some_and(|name| name.ends_with(SKELETON));
        let was = account_lines.get(&key).map(|account| (account.skeleton, account.created_ms));
        if skeleton && last.is_some() && !was.is_some_and(|(was_skeleton, _)| was_skeleton) {
            new_skeletons += 1;
        }
        let created = entry.dt_created.and_then(|time| time.parse::<Timestamp>().ok()).map(Timestamp::as_millisecond);
        let created_ms = created.or(was.and_then(|(_, created_ms)| created_ms));
        account_lines.insert(key, AccountLine { code, id: entry.id, created_ms, last_seen_ms: read_at_ms, skeleton });
    }
    let (meters, accounts) = (meter_lines.into_values().collect(), account_lines.into_values().collect());
    (StoredCatalogue { read_at_ms, meters, accounts }, new_skeletons)
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
mod tests;
