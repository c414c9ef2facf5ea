//! Reads a file once, on threads of its own, and tells what is to be written: the bytes of the parts, and the rows for the quarantine.
//!
//! Nothing waits here but for room: what is told goes through a short channel, whose other end writes it down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bumpalo::Bump;
use bytes::Bytes;
use files::read::Stop;
use files::seen::{Seen, Standing};
use files::source::{Format, Source};
use files::spread;
use relay_core::guard::uid_of;
use relay_core::reason::{Reason, Refusal};
use relay_store::PIECE_BYTES;
use tokio::sync::mpsc::Sender;

use crate::journal::Rows;
use crate::row::{Bad, Good, Judging, Measurement, Row};
use crate::rows::{BETWEEN, CLOSE, OPEN};

/// Rows for the quarantine that are told at once, at most,
const BAD_ROWS_MAX: usize = 1_000;
/// and bytes of them, but for the last: one row may have a mebibyte.
const BAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Rows whose uids are looked up together: enough that the processor waits for memory once instead of for each,
const TOGETHER: usize = 256;
/// and bytes of them, but for the last.
const TOGETHER_BYTES: usize = 1024 * 1024;

/// What is told of a file, in this order: of each part its pieces and then what it is; in between, bad rows; at last, the end.
#[derive(Debug)]
pub(crate) enum Told {
    /// The next bytes of the part.
    Piece(Bytes),
    /// The part is whole.
    Part(Facts),
    /// Rows for the quarantine, each with its place among all rows of the file, from 0.
    Bad(Vec<(u64, Bad)>),
    /// How it ended, what was seen, and what the rows were.
    End(End, Box<Seen>, Rows),
}

/// How reading a file ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All of it was read.
    Whole,
    /// It was enough for now.
    Enough,
    /// It is broken here, or has a bad row where none may be.
    Broken(u64, Refusal),
    /// It could not be read on, for no fault of its own.
    Unreadable(std::io::Error),
}

/// What a part is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) ts_min_ms: i64,
    pub(crate) ts_max_ms: i64,
}

/// A file to read.
pub(crate) struct Sifting {
    pub(crate) source: Source,
    pub(crate) format: Format,
    pub(crate) looker: Judging,
    pub(crate) lookers: usize,
    /// What was seen of it, and what its rows were, up to where this begins.
    pub(crate) seen: Seen,
    pub(crate) rows: Rows,
    pub(crate) strict: bool,
    pub(crate) part_bytes_max: u64,
    /// Set where it is enough for now.
    pub(crate) enough: Arc<AtomicBool>,
}

impl Sifting {
    /// Reads it, and tells. Ends early where nobody listens.
    pub(crate) fn run(self, told: Sender<Told>) {
        let Sifting { source, format, looker, lookers, seen, rows, strict, part_bytes_max, enough } = self;
        let source = source.behind(rows.read);
        let (waiting, part) = (Waiting::default(), PartText::default());
        let sorting = Sorting { told, waiting, part, bad: Vec::new(), bad_bytes: 0, seen, rows, strict, part_bytes_max };
        sorting.run(|sorting| {
            spread::read(&source, format, vec![looker; lookers.max(1)], &mut |row| {
                sorting.take(row)?;
                if enough.load(Ordering::Relaxed) { Err(Stop::NotWanted) } else { Ok(()) }
            })
        });
    }
}

/// Sorts rows into parts and quarantine.
struct Sorting {
    told: Sender<Told>,
    waiting: Waiting,
    part: PartText,
    bad: Vec<(u64, Bad)>,
    bad_bytes: usize,
    seen: Seen,
    rows: Rows,
    strict: bool,
    part_bytes_max: u64,
}

/// Rows that are not sorted yet.
#[derive(Default)]
struct Waiting {
    rows: Vec<Row>,
    bytes: usize,
}

impl Sorting {
    fn run(mut self, read: impl FnOnce(&mut Sorting) -> Result<(), Stop>) {
        let read = read(&mut self);
        // What stands before its end; a bad row among them may be where it ends.
        let end = match self.settle().and(read) {
            Ok(()) => End::Whole,
            Err(Stop::NotWanted) => End::Enough,
            Err(Stop::Line { line, refusal }) => End::Broken(line, refusal),
            Err(Stop::Unreadable(error)) if files::source::is_of_the_data(&error) => {
                let detail = format!("expected a file that can be unpacked to its end: {error}");
                End::Broken(self.rows.read + 1, files::read::refusal(Reason::EnvelopeInvalid, detail))
            }
            Err(Stop::Unreadable(error)) => End::Unreadable(error),
        };
        // Where nobody listens any more, nothing is left to tell.
        let _ = self.end_part().and_then(|()| self.tell_bad());
        let _ = self.told.blocking_send(Told::End(end, Box::new(self.seen), self.rows));
    }

    fn take(&mut self, row: Row) -> Result<(), Stop> {
        self.waiting.bytes += row.text().len();
        self.waiting.rows.push(row);
        let is_much = self.waiting.rows.len() >= TOGETHER || self.waiting.bytes >= TOGETHER_BYTES;
        if is_much { self.settle() } else { Ok(()) }
    }

    /// Sorts what waits, in its order.
    fn settle(&mut self) -> Result<(), Stop> {
        let mut rows = std::mem::take(&mut self.waiting.rows);
        self.seen.fetch(rows.iter().filter_map(Row::key));
        let sorted = rows.drain(..).try_for_each(|row| self.sort(row));
        self.waiting = Waiting { rows, bytes: 0 };
        sorted
    }

    fn sort(&mut self, row: Row) -> Result<(), Stop> {
        let place = self.rows.read;
        self.rows.read += 1;
        match row {
            Row::Good(Good { line, measurement, key }) => match self.seen.standing(key, line) {
                Standing::First => self.good(&measurement),
                Standing::Unknown => {
                    self.rows.not_compared += 1;
                    self.good(&measurement)
                }
                Standing::CopyOf(_) => {
                    self.rows.copies += 1;
                    Ok(())
                }
                Standing::Rival(earlier) => {
                    let Measurement { text, first_sent_ms, .. } = measurement;
                    let uid = uid_of(&text, &Bump::new()).map(Into::into);
                    let detail = format!("expected one content under a uid; line {earlier} has another under this one");
                    let refusal = Refusal::submit(Reason::UidConflict, detail);
                    self.bad(place, Bad { line, uid, text, refusal, first_sent_ms: Some(first_sent_ms) })
                }
            },
            Row::Bad(bad) => self.bad(place, bad),
        }
    }

    fn good(&mut self, measurement: &Measurement) -> Result<(), Stop> {
        if !self.part.has_room(measurement, self.part_bytes_max) {
            self.end_part()?;
        }
        self.rows.good += 1;
        match self.part.push(measurement) {
            Some(piece) => self.tell(Told::Piece(piece)),
            None => Ok(()),
        }
    }

    fn bad(&mut self, place: u64, bad: Bad) -> Result<(), Stop> {
        if self.strict {
            return Err(Stop::Line { line: bad.line, refusal: bad.refusal });
        }
        self.bad_bytes += bad.text.len();
        self.bad.push((place, bad));
        let is_much = self.bad.len() >= BAD_ROWS_MAX || self.bad_bytes >= BAD_BYTES_MAX;
        if is_much { self.tell_bad() } else { Ok(()) }
    }

    fn tell_bad(&mut self) -> Result<(), Stop> {
        self.bad_bytes = 0;
        if self.bad.is_empty() {
            return Ok(());
        }
        let bad = std::mem::take(&mut self.bad);
        self.tell(Told::Bad(bad))
    }

    fn end_part(&mut self) -> Result<(), Stop> {
        let Some((rest, facts)) = self.part.end() else { return Ok(()) };
        self.tell(Told::Piece(rest))?;
        self.tell(Told::Part(facts))
    }

    fn tell(&self, told: Told) -> Result<(), Stop> {
        self.told.blocking_send(told).map_err(|_| Stop::NotWanted)
    }
}

/// A part as it grows: what was not told of it yet.
#[derive(Debug, Default)]
pub(crate) struct PartText {
    text: Vec<u8>,
    facts: Option<Facts>,
}

impl PartText {
    /// Whether `measurement` fits into `bytes_max` with what is there; alone it always does.
    pub(crate) fn has_room(&self, measurement: &Measurement, bytes_max: u64) -> bool {
        let more = (BETWEEN.len() + measurement.text.len() + CLOSE.len()) as u64;
        self.facts.is_none_or(|facts| facts.bytes + more <= bytes_max)
    }

    /// Adds `measurement`, and gives a piece if there is one.
    pub(crate) fn push(&mut self, measurement: &Measurement) -> Option<Bytes> {
        let before = if self.facts.is_none() { OPEN } else { BETWEEN };
        self.text.extend_from_slice(before);
        self.text.extend_from_slice(measurement.text.as_bytes());
        let Measurement { text, ts_ms, .. } = measurement;
        let facts = self.facts.get_or_insert(Facts { rows: 0, bytes: 0, ts_min_ms: i64::MAX, ts_max_ms: i64::MIN });
        facts.rows += 1;
        facts.bytes += (before.len() + text.len()) as u64;
        facts.ts_min_ms = facts.ts_min_ms.min(*ts_ms);
        facts.ts_max_ms = facts.ts_max_ms.max(*ts_ms);
        let is_full = self.text.len() >= PIECE_BYTES;
        is_full.then(|| std::mem::replace(&mut self.text, Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 8)).into())
    }

    /// Ends the part, if there is one: its last piece, and what it is.
    pub(crate) fn end(&mut self) -> Option<(Bytes, Facts)> {
        let mut facts = self.facts.take()?;
        self.text.extend_from_slice(CLOSE);
        facts.bytes += CLOSE.len() as u64;
        Some((std::mem::take(&mut self.text).into(), facts))
    }
}
