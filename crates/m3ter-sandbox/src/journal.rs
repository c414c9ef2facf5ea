//! The journal: what happened, one line of JSON each, appended before it is answered and replayed at start.
//!
//! Kept: ingest requests (with the body of accepted ones), upload jobs and what was found of their files (which lie
//! beside the journal), changes of meters and accounts, moves of the clock. Not kept: tokens, faults, and what follows
//! from all this by itself (events, skeleton accounts, totals, how far a file is processed).
//!
//! A line that the process died in is the last one, has no line feed, and was never answered: it is cut off and
//! reported. Anything else that cannot be read is an error, because books with a hole would be believed. Lines are
//! written, not forced to disk: they survive the process and not the machine.

use std::borrow::Cow;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ledger::RequestLine;
use crate::meters::{AccountRequest, MeterRequest};
use crate::options::Choices;
use crate::uploads::{Found, UploadRequest};

/// The form of the lines; a reader refuses another.
const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub(crate) enum Entry<'a> {
    /// The first line.
    Opened { version: u32, organisation: String, choices: Choices },
    /// An ingest request; `body` if it was accepted.
    Request {
        line: RequestLine,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        body: Option<Cow<'a, str>>,
    },
    /// A meter was created (`id` is none), changed, or deleted (`request` is none).
    Meter { at: Timestamp, id: Option<String>, request: Option<MeterRequest> },
    /// The same of an account.
    Account { at: Timestamp, id: Option<String>, request: Option<AccountRequest> },
    /// An upload URL was asked for, which makes a job.
    Job { at: Timestamp, request: UploadRequest },
    /// The file of the job at this place arrived.
    File { job: usize, found: Found },
    /// The clock was advanced.
    Clock { at: Timestamp, advance_ms: u64 },
}

/// What was found in a journal when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JournalReport {
    /// Lines replayed.
    pub entries: u64,
    /// Bytes of a torn last line, which were cut off. Its request was never answered.
    pub torn_bytes: u64,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened, read or written.
    #[error("the journal cannot be opened or read")]
    Io(#[from] io::Error),
    /// Another sandbox has it open.
    #[error("the journal is in use by another process")]
    InUse,
    /// A line is not what this version writes.
    #[error("line {line} of the journal cannot be read: {fault}")]
    Unreadable {
        /// From 1.
        line: u64,
        /// What was expected.
        fault: String,
    },
    /// The books would come out differently.
    #[error("the journal was written with other settings ({what}): use them again, or another file")]
    OtherSettings {
        /// Which.
        what: &'static str,
    },
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    length: u64,
}

impl Journal {
    /// Opens or creates `path`, hands every line to `replay`, and cuts off a torn last one.
    pub(crate) fn open(
        path: &Path,
        organisation: &str,
        choices: &Choices,
        mut replay: impl FnMut(Entry<'_>) -> Result<(), String>,
    ) -> Result<(Self, JournalReport), JournalError> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|fault| match fault {
            TryLockError::WouldBlock => JournalError::InUse,
            TryLockError::Error(fault) => JournalError::Io(fault),
        })?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (kept, torn) = bytes.split_at(whole);
        let mut report = JournalReport { entries: 0, torn_bytes: torn.len() as u64 };
        for line in kept.strip_suffix(b"\n").unwrap_or(kept).split(|byte| *byte == b'\n').filter(|_| !kept.is_empty()) {
            report.entries += 1;
            let unreadable = |fault: String| JournalError::Unreadable { line: report.entries, fault };
            let entry: Entry<'_> = serde_json::from_slice(line).map_err(|fault| unreadable(fault.to_string()))?;
            match entry {
                Entry::Opened { version, .. } if version != VERSION => {
                    return Err(unreadable(format!("expected version {VERSION}, found {version}")));
                }
                Entry::Opened { organisation: written, .. } if written != organisation => {
                    return Err(JournalError::OtherSettings { what: "organisation" });
                }
                Entry::Opened { choices: written, .. } if written != *choices => {
                    return Err(JournalError::OtherSettings { what: "choices" });
                }
                Entry::Opened { .. } if report.entries == 1 => {}
                Entry::Opened { .. } => return Err(unreadable("expected this entry on the first line only".to_owned())),
                _ if report.entries == 1 => return Err(unreadable("expected the entry \"opened\" first".to_owned())),
                Entry::Request { .. }
                | Entry::Meter { .. }
                | Entry::Account { .. }
                | Entry::Job { .. }
                | Entry::File { .. }
                | Entry::Clock { .. } => {
                    replay(entry).map_err(unreadable)?;
                }
            }
        }
        let mut journal = Self { file, length: kept.len() as u64 };
        journal.file.set_len(journal.length)?;
        journal.file.seek(SeekFrom::End(0))?;
        if journal.length == 0 {
            let (organisation, choices) = (organisation.to_owned(), choices.clone());
            journal.append(&Entry::Opened { version: VERSION, organisation, choices })?;
        }
        Ok((journal, report))
    }

    /// Appends one line. After a failure the file is as it was before.
    pub(crate) fn append(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        if let Err(fault) = self.file.write_all(&line) {
            self.file.set_len(self.length)?;
            self.file.seek(SeekFrom::End(0))?;
            return Err(fault);
        }
        self.length += line.len() as u64;
        Ok(())
    }
}
