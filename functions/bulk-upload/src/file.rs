//! What an invocation does about one file: it begins its upload or goes on with it, and when that has ended, writes the report.
//!
//! An upload whose file was read needs the file no more. One whose file was replaced or deleted before that is over: of what is there now
//! S3 tells in another message.

use std::cell::RefCell;
use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use m3ter_client::{Client, Clock, NotAnswered};
use relay_core::guard::MissingUid;
use relay_store::{GivenObject, LedgerMode, LedgerWrite, NoPiece, Store};
use tokio::time::{Instant, timeout_at};
use upload::journal::{PartState, State};
use upload::options::Options;
use upload::report::{Report, Status, Told};
use upload::run::{Ended, Means, begin, state};
use upload::{Input, UploadError, gone, object, object_digest, upload_id};
use uuid::Uuid;

use crate::notification::{NewFile, REPORT};
use crate::wishes;

/// What a Parquet file begins with.
const PARQUET: &[u8] = b"PAR1";
/// What is said of one. Reading it takes a library as large as all the rest of the function, and the whole file at once.
const PARQUET_REFUSED: &str = "expected NDJSON, JSON or CSV, plain or compressed: a Parquet file is taken by the command line alone, \
    usage-relay upload FILE";
/// Longest name of an object, in bytes. Source: S3.
const KEY_BYTES_MAX: usize = 1024;
/// Half a processor has one thread's work.
const LOOKERS: usize = 1;

/// What every file needs.
#[derive(Debug)]
pub struct Office {
    /// The way to m3ter.
    pub client: Client,
    /// Journals, quarantine and ledger.
    pub store: Store,
    /// The bucket that files lie in, and the store too.
    pub files: Store,
    /// Its name.
    pub bucket: String,
    /// What becomes of rows without uid, unless a file says otherwise.
    pub missing_uid: MissingUid,
    /// What the ledger keeps, and whether a file waits for it.
    pub ledger: (LedgerMode, LedgerWrite),
}

/// Until when an invocation does what.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Steps of an upload are begun.
    pub steps: Instant,
    /// One that has not ended by then is cut off; another invocation goes on behind the last that did.
    pub cut_off: Instant,
    /// Reports are written.
    pub reports: Instant,
}

/// How far a file is.
#[derive(Debug)]
pub enum Came {
    /// It has ended, and its report lies beside it.
    Told(Ending),
    /// It is not there any more, and nothing of it was begun.
    Gone,
    /// It goes on, but not before so long.
    Continues(Duration),
    /// It cannot be gone on with now: why, without names of objects.
    Stuck(String),
}

/// What a report says, for the accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// How it ended.
    pub status: Status,
    /// Whether it is to be counted: not if it was before.
    pub is_new: bool,
    /// Rows read.
    pub rows: u64,
    /// Rows that are in the quarantine.
    pub quarantined: u64,
    /// Parts that were sent.
    pub parts: u64,
}

impl Office {
    /// The upload of `file`.
    pub fn upload_of(&self, file: NewFile) -> Upload<'_> {
        let url = format!("s3://{}/{}", self.bucket, file.key);
        let id = upload_id(&object_digest(&url, &file.etag), 0);
        Upload { office: self, id, file, url }
    }
}

/// The upload of a file.
#[derive(Debug)]
pub struct Upload<'o> {
    office: &'o Office,
    /// Its id.
    pub id: Uuid,
    file: NewFile,
    /// Where the file is, as people write it.
    url: String,
}

impl Upload<'_> {
    /// Does what can be done about it before `times` are over.
    pub async fn go_on(&self, clock: Clock, times: Times, rng: fastrand::Rng) -> Came {
        let known = match state(&self.office.store, self.id).await {
            Ok(known) => known,
            Err(error) => return self.failed(&error, times).await,
        };
        let was_over = known.as_ref().is_some_and(State::is_over);
        let (options, input) = match known {
            Some(state) if state.prepared || was_over => (state.options, gone(self.url.clone())),
            known => match self.look(times).await {
                Ok((options, input)) => (known.map_or(options, |state| state.options), input),
                Err(came) => return came,
            },
        };
        let means = Means {
            store: &self.office.store,
            client: &self.office.client,
            clock,
            ledger: self.office.ledger,
            lookers: LOOKERS,
            may_wait: false,
            until: times.steps,
            rng: RefCell::new(rng),
            show: &|_| (),
        };
        match timeout_at(times.cut_off, begin(&means, self.id, options, input)).await {
            Ok(Ok((Ended::Continues { after }, _))) => Came::Continues(after),
            Ok(Ok((ended, state))) => self.tell(&Report::of(self.id, &self.url, ended, &state), !was_over, times).await,
            Ok(Err(error)) => self.failed(&error, times).await,
            Err(_) => Came::Continues(Duration::ZERO),
        }
    }

    /// The file, if it can be taken and is the one that was told of; else what came of it.
    async fn look(&self, times: Times) -> Result<(Options, Input), Came> {
        let files = &self.office.files;
        let refused = async |expected: String| Err(self.tell(&Report::refused(self.id, &self.url, expected), true, times).await);
        if !files.reaches(&self.file.key) {
            return refused("expected a name without empty parts, and without . and .. among them".to_owned()).await;
        }
        let found = files.given(&self.file.key).await.map_err(|_| unseen())?;
        let Some(found) = found.filter(|found| self.is_told_of(found)) else { return Err(Came::Gone) };
        match files.first_of_given(&found, PARQUET.len()).await {
            Ok(bytes) if bytes == PARQUET => return refused(PARQUET_REFUSED.to_owned()).await,
            Ok(_) => {}
            Err(NoPiece::Changed) => return Err(Came::Gone),
            Err(NoPiece::Store(_)) => return Err(unseen()),
        }
        match wishes::options(&found, self.office.missing_uid) {
            Ok(options) => Ok((options, object(files, self.url.clone(), &found))),
            Err(expected) => refused(expected).await,
        }
    }

    /// Whether `found` has the content that S3 told of.
    fn is_told_of(&self, found: &GivenObject) -> bool {
        found.etag.as_ref().is_none_or(|etag| *etag == self.file.etag)
    }

    /// What `error` means: most pass by themselves, or with what an operator mends.
    async fn failed(&self, error: &UploadError, times: Times) -> Came {
        match error {
            UploadError::Unreadable(cause) if cause.kind() == ErrorKind::NotFound => Came::Gone,
            // Its words name the file.
            UploadError::Unreadable(_) => Came::Stuck(error.to_string()),
            UploadError::Unknown | UploadError::NotPrepared | UploadError::PartChanged => {
                self.tell(&Report::broken(self.id, &self.url, error.to_string()), true, times).await
            }
            UploadError::AnotherRun | UploadError::Unsure | UploadError::NotAnswered(NotAnswered::Later) => {
                Came::Continues(Duration::from_secs(1))
            }
            UploadError::Store(_)
            | UploadError::Version { .. }
            | UploadError::NotAnswered(NotAnswered::Refused { .. } | NotAnswered::GiveUp | NotAnswered::Unknown)
            | UploadError::NotTaken { .. } => Came::Stuck(chain(error)),
        }
    }

    /// Writes the report beside the file. It is accounted for unless it is there already; where none can be, if it `may_be_new`.
    async fn tell(&self, report: &Report<'_>, may_be_new: bool, times: Times) -> Came {
        let files = &self.office.files;
        let ending = |is_new| Came::Told(Ending::of(report, is_new));
        let key = format!("{}{REPORT}", self.file.key);
        // A name that has no room for more has no report; the log says how it ended.
        if key.len() > KEY_BYTES_MAX || !files.reaches(&key) {
            return ending(may_be_new);
        }
        match files.given(&self.file.key).await {
            // What lies there now has a report of its own.
            Ok(Some(found)) if !self.is_told_of(&found) => return ending(may_be_new),
            Ok(_) => {}
            Err(_) => return Came::Stuck("it could not be looked whether the file is there".to_owned()),
        }
        match files.put_beside(&key, Bytes::from(report.text()), times.reports).await {
            Ok(is_new) => ending(is_new),
            Err(_) => Came::Stuck("the report could not be written".to_owned()),
        }
    }
}

/// What the store says of the files is not said: it names them.
fn unseen() -> Came {
    Came::Stuck("the file could not be looked at".to_owned())
}

impl Ending {
    fn of(report: &Report<'_>, is_new: bool) -> Ending {
        let told = report.told.as_ref();
        let sent = |told: &Told<'_>| told.parts.iter().filter(|part| part.state == PartState::Done).count() as u64;
        Ending {
            status: report.status,
            is_new,
            rows: told.map_or(0, |told| told.rows),
            quarantined: told.map_or(0, |told| told.quarantined),
            parts: told.map_or(0, sent),
        }
    }
}

/// An error with what caused it: the store's own words tell a missing permission from an outage. What they name of objects is ours.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
