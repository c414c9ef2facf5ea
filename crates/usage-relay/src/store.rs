//! What every command that reads the store shares: which store, how far back, and what could not be read.

use std::io::ErrorKind;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use recovery::gather::Looked;
use recovery::life::time;
use relay_store::{OpenError, S3Access, Store, StoreError};
use serde::Serialize;
use url::Url;

use crate::aws::{chain, explained, s3_access};
use crate::clock;
use crate::failure::Failure;
use crate::figures::counted;
use crate::terminal;

/// How long five megabytes may take: a megabit a second.
const FILES: Duration = Duration::from_secs(45);
/// How many objects that could not be read are named; the rest are counted.
const NAMED_MAX: usize = 10;

/// Which store, and how far back.
#[derive(Debug, clap::Args)]
pub(crate) struct StoreArguments {
    /// The store, such as s3://bucket/prefix or file:///folder: output StoreUrl of the stack
    #[arg(long, value_name = "URL", env = "STORE_URL", hide_env_values = true)]
    pub(crate) store_url: String,

    /// Look this far back: a time, a date, or an age such as 7d or 12h
    #[arg(long, value_name = "WHEN", default_value = "35d", value_parser = When::parse)]
    pub(crate) since: When,
}

impl StoreArguments {
    /// The store, and from when to when to look: milliseconds since the epoch.
    ///
    /// # Errors
    /// As [`open_store`].
    pub(crate) async fn open(&self) -> Result<(Store, (i64, i64)), Failure> {
        let now_ms = clock::now().as_millisecond();
        Ok((open_store(&self.store_url).await?, (self.since.at_ms(now_ms), now_ms)))
    }
}

/// A time, absolute or as an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// Milliseconds since the epoch.
    At(i64),
    /// Milliseconds before now.
    Ago(i64),
}

impl When {
    /// Reads `2026-11-01T10:00:00Z`, `2026-11-01` (its beginning, in UTC), `7d`, `12h` or `30m`.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let ago =
            |unit: char, unit_ms: i64| text.strip_suffix(unit)?.parse::<u32>().ok().map(|number| i64::from(number) * unit_ms);
        let age = ago('d', 86_400_000).or_else(|| ago('h', 3_600_000)).or_else(|| ago('m', 60_000));
        // A time without an offset would pass for a date.
        let date = || {
            let date = text.parse::<Date>().ok().filter(|_| text.len() == "2026-11-01".len())?;
            Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
        };
        let time = || text.parse::<Timestamp>().ok().or_else(date);
        match age {
            Some(ms) => Ok(Self::Ago(ms)),
            None => time().map(|at| Self::At(at.as_millisecond())).ok_or_else(|| {
                "expected a time such as 2026-11-01T10:00:00Z, a date such as 2026-11-01, or an age such as 7d, 12h or 30m"
                    .to_owned()
            }),
        }
    }

    /// Milliseconds since the epoch.
    pub(crate) fn at_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::At(at_ms) => at_ms,
            Self::Ago(ago_ms) => now_ms.saturating_sub(ago_ms),
        }
    }
}

/// Opens the store at `url` with the credentials that every AWS tool finds.
///
/// # Errors
/// [`Failure::Usage`] if the URL names no store, [`Failure::CouldNot`] if there are no credentials for it.
pub(crate) async fn open_store(url: &str) -> Result<Store, Failure> {
    open_with(url, None).await
}

/// The same, of a store that megabytes are sent to, perhaps over a slow line.
///
/// # Errors
/// As [`open_store`].
pub(crate) async fn open_store_for_files(url: &str) -> Result<Store, Failure> {
    open_with(url, Some(FILES)).await
}

async fn open_with(url: &str, patience: Option<Duration>) -> Result<Store, Failure> {
    let access = if url.starts_with("s3:") { S3Access { patience, ..s3_access().await? } } else { S3Access::default() };
    no_folder(url).map_or(Ok(()), |found| Err(Failure::CouldNot(found)))?;
    Store::open(url, &access).map_err(|error| match error {
        OpenError::NotAStoreUrl => Failure::Usage(error.to_string()),
        OpenError::Folder(_) | OpenError::Bucket(_) => Failure::CouldNot(chain(&error)),
    })
}

/// Why the folder that `url` names is none, in words of our own.
fn no_folder(url: &str) -> Option<String> {
    let folder = Url::parse(url).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok()?;
    let mend = "look at the URL of the store";
    match std::fs::metadata(&folder) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!("expected a folder, and {} is none: {mend}", folder.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Some(format!("there is no folder {}: {mend}", folder.display())),
        Err(error) => Some(format!("cannot look into the folder {}: {error}", folder.display())),
    }
}

/// The store did not do it.
pub(crate) fn store_failed(error: &StoreError) -> Failure {
    Failure::CouldNot(explained(chain(error)))
}

/// What was looked at, as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct LookedJson {
    hours: u64,
    since: String,
    quarantine_objects: u64,
    ledger_objects: Option<u64>,
    ledger_lines: u64,
    unreadable: Vec<UnreadableJson>,
}

#[derive(Debug, Serialize)]
struct UnreadableJson {
    name: String,
    expected: String,
}

impl LookedJson {
    /// Of `looked`.
    pub(crate) fn of(looked: &Looked) -> Self {
        let unreadable = looked.unreadable.iter();
        Self {
            hours: looked.hours,
            since: time(looked.since_ms),
            quarantine_objects: looked.quarantine_objects,
            ledger_objects: looked.ledger_objects,
            ledger_lines: looked.ledger_lines,
            unreadable: unreadable.map(|one| UnreadableJson { name: one.name.clone(), expected: one.expected.clone() }).collect(),
        }
    }
}

/// One line that says where was looked.
pub(crate) fn looked_text(looked: &Looked) -> String {
    let Looked { hours, quarantine_objects, ledger_objects, ledger_lines, .. } = looked;
    let ledger = match ledger_objects {
        None => String::new(),
        Some(0) => ", no ledger object".to_owned(),
        Some(objects) => format!(", {} ({})", counted(*objects, "ledger object"), counted(*ledger_lines, "line")),
    };
    let quarantine = counted(*quarantine_objects, "quarantine object");
    format!("looked at {} from {}: {quarantine}{ledger}", counted(*hours, "hour"), time(looked.since_ms))
}

/// Says which objects could not be read.
///
/// # Errors
/// [`Failure::Data`] if there are any: something may be missing from what was shown.
pub(crate) fn say_unreadable(looked: &Looked) -> Result<(), Failure> {
    if looked.unreadable.is_empty() {
        return Ok(());
    }
    for one in looked.unreadable.iter().take(NAMED_MAX) {
        terminal::complain(&format!("cannot read {}: {}", one.name, one.expected));
    }
    let more = looked.unreadable.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        terminal::complain(&format!("and {more} more"));
    }
    let count = counted(looked.unreadable.len() as u64, "object");
    Err(Failure::Data(format!("what could be read is shown; {count} could not be read, so something may be missing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_absolute_or_an_age() {
        for (text, expected) in [
            ("1970-01-02", When::At(86_400_000)),
            ("1970-01-01T01:00:00+01:00", When::At(0)),
            ("7d", When::Ago(7 * 86_400_000)),
            ("12h", When::Ago(12 * 3_600_000)),
            ("30m", When::Ago(30 * 60_000)),
            ("0d", When::Ago(0)),
        ] {
            assert_eq!(When::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "d", "-1d", "7", "7w", "yesterday", "2026-13-01", "2026-11-01T10:00:00", "99999999999d"] {
            assert!(When::parse(text).unwrap_err().starts_with("expected a time"), "{text}");
        }
        assert_eq!((When::Ago(5).at_ms(7), When::At(5).at_ms(7)), (2, 5));
    }
}
