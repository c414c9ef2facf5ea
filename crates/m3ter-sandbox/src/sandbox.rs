//! The sandbox itself: its books, clock, tokens and faults behind one lock, and the methods of a Rust caller.
//!
//! The rule: one plain mutex, taken for each step and never held over an await. Whoever takes it sees books that are
//! settled up to now (later checks that are due are run first), so nothing runs in the background and a test under a
//! paused clock sees no races.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use jiff::Timestamp;

use crate::answer::Refusal;
use crate::auth::Tokens;
use crate::book::Book;
use crate::catalogue::CatalogueError;
use crate::clock::Clock;
use crate::control::Grants;
use crate::faults::{FaultReport, FaultRule};
use crate::files::Files;
use crate::journal::{Entry, Journal, JournalError, JournalReport};
use crate::ledger::{Ledger, LedgerQuery};
use crate::meters::{AccountRequest, MeterRequest};
use crate::options::{Credentials, Options};
use crate::script::Script;
use crate::spool::{self, Spool};
use crate::throttle::{Bucket, Throttle};

/// A local m3ter. Clones are handles to the same one. `Debug` shows nothing of what it holds.
#[derive(Clone)]
pub struct Sandbox(Arc<Mutex<Inner>>);

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sandbox")
    }
}

/// What the lock guards.
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) credentials: Credentials,
    pub(crate) clock: Clock,
    pub(crate) book: Book,
    pub(crate) tokens: Tokens,
    pub(crate) script: Script,
    pub(crate) grants: Grants,
    pub(crate) ingest: Throttle,
    pub(crate) config: Throttle,
    pub(crate) query: Bucket,
    pub(crate) files: Files,
    journal: Option<Journal>,
    report: JournalReport,
}

/// Why a sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The catalogue holds what the configuration API would refuse.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
}

impl Sandbox {
    /// Opens a sandbox: replays the journal if there is one, then creates what the catalogue has more.
    ///
    /// # Errors
    /// A journal that cannot be used, or a catalogue that the configuration API would refuse.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let mut clock = Clock::starting_at(options.start);
        let mut book = Book::new(&options.organisation, options.choices.clone());
        let mut opened = (None, JournalReport::default());
        let folder = options.data.as_deref().map(spool::folder_of);
        if let (Some(path), Some(folder)) = (&options.data, &folder) {
            let replay = |entry: Entry<'_>| replay(&mut book, &mut clock, folder, entry);
            let (journal, report) = Journal::open(path, &options.organisation, &options.choices, replay)?;
            opened = (Some(journal), report);
            // Once the journal is ours: what another sandbox is writing must stay.
            spool::sweep(folder).map_err(JournalError::Io)?;
        }
        let catalogue = options.catalogue.clone().unwrap_or_default();
        let mut inner = Inner {
            credentials: options.credentials.clone(),
            options,
            clock,
            book,
            tokens: Tokens::default(),
            script: Script::default(),
            grants: Grants::default(),
            ingest: Throttle::default(),
            config: Throttle::default(),
            query: Bucket::default(),
            files: Files { folder, begun: 0 },
            journal: opened.0,
            report: opened.1,
        };
        for meter in catalogue.meters {
            if inner.book.meters.place_of(&meter.code).is_none() {
                inner.put_meter(None, meter).map_err(refused)?;
            }
        }
        for account in catalogue.accounts {
            if inner.book.accounts.place_of(&account.code).is_none() {
                inner.put_account(None, account).map_err(refused)?;
            }
        }
        Ok(Self(Arc::new(Mutex::new(inner))))
    }

    /// What was counted, without the list of measurements.
    pub fn ledger(&self) -> Ledger {
        self.ledger_of(&LedgerQuery::default())
    }

    /// What was counted, as far as `query` asks.
    pub fn ledger_of(&self, query: &LedgerQuery) -> Ledger {
        self.lock().book.ledger(query)
    }

    /// The sandbox's time.
    pub fn now(&self) -> Timestamp {
        self.lock().clock.now()
    }

    /// Moves the sandbox's clock forward, to the millisecond.
    ///
    /// # Errors
    /// A journal that cannot be written; the clock stays.
    pub fn advance(&self, by: Duration) -> io::Result<()> {
        let mut inner = self.lock();
        let advance_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        let at = inner.clock.now();
        inner.write(&Entry::Clock { at, advance_ms })?;
        inner.clock.advance(Duration::from_millis(advance_ms));
        Ok(())
    }

    /// What `POST /oauth/token` accepts from now on. Tokens that were given stay valid.
    pub fn set_credentials(&self, credentials: Credentials) {
        self.lock().credentials = credentials;
    }

    /// Makes every token that was given unknown: 403 from now on.
    pub fn revoke_tokens(&self) {
        self.lock().tokens.revoke();
    }

    /// Adds a rule to the script of faults.
    pub fn add_fault(&self, rule: FaultRule) {
        self.lock().script.add(rule);
    }

    /// Drops all rules of the script of faults.
    pub fn clear_faults(&self) {
        self.lock().script.clear();
    }

    /// The script of faults, and how often each fired.
    pub fn faults(&self) -> FaultReport {
        self.lock().script.report()
    }

    /// Creates a meter, as the API would, and gives its id.
    ///
    /// # Errors
    /// What the configuration API would refuse.
    pub fn create_meter(&self, meter: MeterRequest) -> Result<String, CatalogueError> {
        let mut inner = self.lock();
        let place = inner.put_meter(None, meter).map_err(refused)?;
        Ok(inner.book.meters.at(place).map(|entry| entry.id.clone()).unwrap_or_default())
    }

    /// Creates an account, as the API would, and gives its id.
    ///
    /// # Errors
    /// What the configuration API would refuse.
    pub fn create_account(&self, account: AccountRequest) -> Result<String, CatalogueError> {
        let mut inner = self.lock();
        let place = inner.put_account(None, account).map_err(refused)?;
        Ok(inner.book.accounts.at(place).map(|entry| entry.id.clone()).unwrap_or_default())
    }

    /// What was found in the journal when the sandbox was opened.
    pub fn journal_report(&self) -> JournalReport {
        self.lock().report
    }

    /// The organisation's id.
    pub fn organisation(&self) -> String {
        self.lock().options.organisation.clone()
    }

    /// Takes the lock, with the books settled up to now.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock is a bug of one request; the books are entered in single steps and stay usable.
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.clock.now();
        inner.book.settle(now);
        inner
    }
}

impl Inner {
    /// Appends to the journal, if there is one.
    pub(crate) fn write(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.journal.as_mut().map_or(Ok(()), |journal| journal.append(entry))
    }

    /// Token, organisation and rate limits of every request but ingest and token.
    pub(crate) fn admit(&mut self, headers: &HeaderMap, organisation: &str, peer: IpAddr) -> Result<(), Refusal> {
        let now = self.clock.now();
        self.tokens.check(headers, now)?;
        self.check_organisation(organisation)?;
        let limits = &self.options.limits;
        self.config.admit(now, peer, limits.config_per_second, limits.config_per_ip_5_min)
    }

    /// 403 for any organisation but the one there is.
    pub(crate) fn check_organisation(&self, organisation: &str) -> Result<(), Refusal> {
        let known = self.options.organisation == organisation;
        if known { Ok(()) } else { Err(Refusal::forbidden("no access to this organisation")) }
    }

    /// Creates a meter, or changes the one with `id`; gives its place.
    pub(crate) fn put_meter(&mut self, id: Option<String>, request: MeterRequest) -> Result<u32, Refusal> {
        let at = self.clock.now();
        self.book.check_meter(id.as_deref(), &request)?;
        let entry = Entry::Meter { at, id, request: Some(request) };
        self.write(&entry).map_err(unwritable)?;
        self.book.apply_config(entry)
    }

    /// Creates an account, or changes the one with `id`; gives its place.
    pub(crate) fn put_account(&mut self, id: Option<String>, request: AccountRequest) -> Result<u32, Refusal> {
        let at = self.clock.now();
        self.book.check_account(id.as_deref(), &request)?;
        let entry = Entry::Account { at, id, request: Some(request) };
        self.write(&entry).map_err(unwritable)?;
        self.book.apply_config(entry)
    }

    /// Writes and applies a deletion.
    pub(crate) fn delete(&mut self, entry: Entry<'static>) -> Result<u32, Refusal> {
        self.write(&entry).map_err(unwritable)?;
        self.book.apply_config(entry)
    }
}

/// The answer when the journal cannot be written.
pub(crate) fn unwritable(fault: io::Error) -> Refusal {
    Refusal::failed(format!("the sandbox's journal cannot be written: {}", fault.kind()))
}

/// A refusal of the configuration API, for a Rust caller.
fn refused(refusal: Refusal) -> CatalogueError {
    CatalogueError { faults: vec![refusal.message] }
}

/// Does again what one line of the journal says.
fn replay(book: &mut Book, clock: &mut Clock, folder: &Path, entry: Entry<'_>) -> Result<(), String> {
    match entry {
        Entry::Opened { .. } => Ok(()),
        Entry::Clock { at, advance_ms } => {
            // The clock went from `at` to `at` + `advance_ms`, and the system's went on since.
            clock.reach(at);
            book.settle(at);
            clock.advance(Duration::from_millis(advance_ms));
            Ok(())
        }
        Entry::Request { line, body } => {
            clock.reach(line.at);
            book.settle(line.at);
            book.replay_request(line, body)
        }
        Entry::Job { at, request } => {
            clock.reach(at);
            book.settle(at);
            book.uploads.create(at, request);
            Ok(())
        }
        Entry::File { job, found } => {
            clock.reach(found.at);
            book.settle(found.at);
            let missing = |fault| format!("the uploaded file {job} cannot be used: {fault}");
            let spool = Spool::open(folder, job, found.bytes).map_err(missing)?;
            book.arrive(job, found, spool);
            Ok(())
        }
        Entry::Meter { at, .. } | Entry::Account { at, .. } => {
            clock.reach(at);
            book.settle(at);
            book.apply_config(entry).map(drop).map_err(|refusal| refusal.message)
        }
    }
}
