//! The catalogue: which meters and accounts m3ter has, as it was last asked.
//!
//! One object is current and is replaced as a whole; one a day is kept for good. Nothing is ever taken out of it: an account that
//! m3ter no longer lists keeps its line with the time at which it was last seen, and a code that has come to name another
//! account keeps both lines. So the store can tell what a code meant when it was used. What m3ter listed last is what has been
//! seen at the time in the header.
//!
//! The relay reads the current one again and again: it asks for it only if it has changed, and keeps codes as hashes.

use std::borrow::Cow;

use bytes::Bytes;
use object_store::{GetOptions, ObjectStore};
use relay_core::catalogue::{Builder, Catalogue};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use crate::lines::Lines;
use crate::scan::each_line;
use crate::store::{Store, StoreError, day_folder};

const FOLDER: &str = "catalogue/v1";
const CURRENT: &str = "catalogue/v1/current.ndjson.zst";
const VERSION: &str = "v1";

/// Most bytes of a catalogue as it is stored. An account takes some 30 bytes of it, most of them its id: there is room for half a
/// million, which the relay takes a second to read at most.
const CATALOGUE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// All that is known of m3ter's meters and accounts. Times are milliseconds since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredCatalogue {
    /// When m3ter was asked last.
    pub read_at_ms: i64,
    /// Meters, with those that m3ter no longer lists.
    pub meters: Vec<MeterLine>,
    /// Accounts, with those that m3ter no longer lists.
    pub accounts: Vec<AccountLine>,
}

/// A meter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MeterLine {
    /// Its code.
    #[serde(rename = "meter")]
    pub code: String,
    /// m3ter's id.
    pub id: String,
    /// Category, in m3ter's words, and code of each data field.
    pub fields: Vec<(String, String)>,
    /// When m3ter was asked and listed it, the last time.
    #[serde(rename = "last_seen")]
    pub last_seen_ms: i64,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AccountLine {
    /// Its code.
    #[serde(rename = "account")]
    pub code: String,
    /// m3ter's id.
    pub id: String,
    /// When it was created, if m3ter says so.
    #[serde(rename = "created", skip_serializing_if = "Option::is_none")]
    pub created_ms: Option<i64>,
    /// When m3ter was asked and listed it, the last time.
    #[serde(rename = "last_seen")]
    pub last_seen_ms: i64,
    /// Whether m3ter made it by itself, for a code that it did not know.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skeleton: bool,
}

impl StoredCatalogue {
    /// The meters that m3ter listed last.
    pub fn meters_listed(&self) -> impl Iterator<Item = &MeterLine> {
        self.meters.iter().filter(|meter| meter.last_seen_ms >= self.read_at_ms)
    }

    /// The accounts that m3ter listed last.
    pub fn accounts_listed(&self) -> impl Iterator<Item = &AccountLine> {
        self.accounts.iter().filter(|account| account.last_seen_ms >= self.read_at_ms)
    }
}

/// What a reader who has a catalogue is told.
#[derive(Debug)]
pub enum CatalogueRead {
    /// There is none.
    Absent,
    /// It is the one that the reader has.
    Unchanged,
    /// Here it is.
    Changed {
        /// By which the reader names it the next time.
        e_tag: Option<String>,
        /// What m3ter listed last.
        catalogue: Catalogue,
    },
}

/// A meter or an account, whichever has a code. Nothing is copied of what is not escaped.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    meter: Cow<'a, str>,
    #[serde(borrow, default)]
    account: Cow<'a, str>,
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(default)]
    fields: Vec<(String, String)>,
    created: Option<i64>,
    last_seen: i64,
    #[serde(default)]
    skeleton: bool,
}

impl<'a> Line<'a> {
    fn read(text: &'a [u8]) -> Result<Line<'a>, &'static str> {
        let line: Line<'_> = serde_json::from_slice(text).map_err(|_| LINE)?;
        if line.meter.is_empty() == line.account.is_empty() { Err(LINE) } else { Ok(line) }
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    catalogue: String,
    read_at: i64,
    /// So that a reader can make room.
    #[serde(default)]
    accounts: usize,
}

impl Store {
    /// Writes `catalogue` as the current one, before `until` or not at all; before it the one of its day, if `of_the_day`. Nothing
    /// depends on either, so the store is not judged by it.
    ///
    /// # Errors
    /// [`StoreError`]: the last one may still be there.
    pub async fn put_catalogue(&self, catalogue: &StoredCatalogue, of_the_day: bool, until: Instant) -> Result<(), StoreError> {
        let unpackable = |_| StoreError::Unreadable { name: CURRENT.into(), expected: "lines that zstd can compress" };
        let packed = pack(catalogue).map_err(unpackable)?;
        if packed.len() as u64 > CATALOGUE_BYTES_MAX {
            return Err(StoreError::Unreadable { name: CURRENT.into(), expected: TOO_LARGE });
        }
        if of_the_day {
            let name = format!("{FOLDER}/{}.ndjson.zst", day_folder(catalogue.read_at_ms));
            self.try_put(&name, packed.clone(), until).await?;
        }
        self.try_put(CURRENT, packed, until).await
    }

    /// The current catalogue, with everything; `None` if there never was one.
    ///
    /// # Errors
    /// [`StoreError`] if the store does not give it before `until`, or if it is not what it should be.
    pub async fn catalogue(&self, until: Instant) -> Result<Option<StoredCatalogue>, StoreError> {
        match self.current(None, until).await? {
            Got::Object { bytes, .. } => read_all(&bytes).map(Some).map_err(|expected| self.unreadable(expected)),
            Got::Absent | Got::Unchanged => Ok(None),
        }
    }

    /// The current catalogue as the relay holds it, unless it is the one that `e_tag` names.
    ///
    /// # Errors
    /// As [`Store::catalogue`].
    pub async fn catalogue_unless(&self, e_tag: Option<&str>, until: Instant) -> Result<CatalogueRead, StoreError> {
        match self.current(e_tag, until).await? {
            Got::Absent => Ok(CatalogueRead::Absent),
            Got::Unchanged => Ok(CatalogueRead::Unchanged),
            Got::Object { e_tag, bytes } => {
                let catalogue = read_codes(&bytes).map_err(|expected| self.unreadable(expected))?;
                Ok(CatalogueRead::Changed { e_tag, catalogue })
            }
        }
    }

    async fn current(&self, e_tag: Option<&str>, until: Instant) -> Result<Got, StoreError> {
        let options = GetOptions { if_none_match: e_tag.map(str::to_owned), ..GetOptions::default() };
        let path = self.path(CURRENT);
        let get = async {
            let object = match self.objects.get_opts(&path, options).await {
                Ok(object) => object,
                Err(object_store::Error::NotFound { .. }) => return Ok(Got::Absent),
                Err(object_store::Error::NotModified { .. }) => return Ok(Got::Unchanged),
                Err(error) => return Err(StoreError::Failed(error)),
            };
            if object.meta.size > CATALOGUE_BYTES_MAX {
                return Err(self.unreadable(TOO_LARGE));
            }
            let e_tag = object.meta.e_tag.clone();
            Ok(Got::Object { e_tag, bytes: object.bytes().await.map_err(StoreError::Failed)? })
        };
        timeout_at(until, get).await.unwrap_or(Err(StoreError::TimedOut))
    }

    fn unreadable(&self, expected: &'static str) -> StoreError {
        StoreError::Unreadable { name: self.path(CURRENT).to_string(), expected }
    }
}

const TOO_LARGE: &str = "a catalogue of at most 16 MiB, which is some 500,000 accounts";

enum Got {
    Absent,
    Unchanged,
    Object { e_tag: Option<String>, bytes: Bytes },
}

fn pack(catalogue: &StoredCatalogue) -> std::io::Result<Bytes> {
    let mut lines = Lines::new()?;
    let header = Header { catalogue: VERSION.to_owned(), read_at: catalogue.read_at_ms, accounts: catalogue.accounts.len() };
    lines.push(|out| Ok(serde_json::to_writer(out, &header)?))?;
    for meter in &catalogue.meters {
        lines.push(|out| Ok(serde_json::to_writer(out, meter)?))?;
    }
    for account in &catalogue.accounts {
        lines.push(|out| Ok(serde_json::to_writer(out, account)?))?;
    }
    lines.finish()
}

const HEADER: &str = "a header that says v1 and when m3ter was asked";
const LINE: &str = "a meter or an account a line";

fn header(line: &[u8]) -> Result<Header, &'static str> {
    serde_json::from_slice(line).ok().filter(|header: &Header| header.catalogue == VERSION).ok_or(HEADER)
}

fn read_all(packed: &[u8]) -> Result<StoredCatalogue, &'static str> {
    let mut read: Option<StoredCatalogue> = None;
    each_line(packed, |line| {
        let Some(catalogue) = &mut read else {
            read = Some(StoredCatalogue { read_at_ms: header(line)?.read_at, ..StoredCatalogue::default() });
            return Ok(());
        };
        let Line { meter, account, id, fields, created, last_seen, skeleton } = Line::read(line)?;
        let id = id.into_owned();
        match meter.is_empty() {
            true => catalogue.accounts.push(AccountLine {
                code: account.into_owned(),
                id,
                created_ms: created,
                last_seen_ms: last_seen,
                skeleton,
            }),
            false => catalogue.meters.push(MeterLine { code: meter.into_owned(), id, fields, last_seen_ms: last_seen }),
        }
        Ok(())
    })?;
    read.ok_or(HEADER)
}

fn read_codes(packed: &[u8]) -> Result<Catalogue, &'static str> {
    let mut read: Option<(i64, Builder)> = None;
    each_line(packed, |line| {
        let Some((read_at_ms, catalogue)) = &mut read else {
            let header = header(line)?;
            read = Some((header.read_at, Catalogue::builder(header.read_at, header.accounts.min(ACCOUNTS_MAX))));
            return Ok(());
        };
        let line = Line::read(line)?;
        match (line.last_seen < *read_at_ms, line.meter.is_empty()) {
            (true, _) => {}
            (false, true) => catalogue.account(&line.account, line.skeleton),
            (false, false) => {
                catalogue.meter(&line.meter, line.fields.iter().map(|(category, code)| (category.as_str(), code.as_str())));
            }
        }
        Ok(())
    })?;
    read.map(|(_, catalogue)| catalogue.build()).ok_or(HEADER)
}

/// As many as room is made for at once, whatever the header says.
const ACCOUNTS_MAX: usize = 1_000_000;
