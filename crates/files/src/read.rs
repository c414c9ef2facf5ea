//! Reads measurements from any format, one after the other, and hands each to a sink with the line it stands on.
//!
//! Nothing is gathered here: however long the input, memory holds one measurement.
//!
//! What cannot become a measurement has a reason of the relay's, as if a message had held it, so that whoever keeps it or tells of it needs
//! no second list of faults.

use std::borrow::Cow;

use relay_core::reason::{Reason, Refusal, Stage};

use crate::source::{Format, Source};
use crate::{document, lines, table};

/// Most bytes read of one measurement: as many as SQS carries in one message, and twice as many as m3ter takes in one request.
/// Source: the SQS developer guide, message quotas.
pub const TEXT_BYTES_MAX: usize = 1_048_576;

/// Takes what is read.
pub trait Sink {
    /// Takes the line, from 1, that a measurement begins on, and its text, as written and without white space around it. It need not be
    /// JSON.
    ///
    /// # Errors
    /// [`Stop`], if reading is to end here.
    fn take(&mut self, line: u64, text: &str) -> Result<(), Stop>;

    /// Takes what stands on `line` and is no measurement. Reading could go on behind it; unless this is overridden, it does not.
    ///
    /// # Errors
    /// [`Stop`], if reading is to end here.
    fn refuse(&mut self, line: u64, refusal: Refusal) -> Result<(), Stop> {
        Err(Stop::Line { line, refusal })
    }
}

impl<F: FnMut(u64, &str) -> Result<(), Stop>> Sink for F {
    fn take(&mut self, line: u64, text: &str) -> Result<(), Stop> {
        self(line, text)
    }
}

/// Why reading stopped before the end.
#[derive(Debug)]
pub enum Stop {
    /// The input is at fault on this line, from 1. The refusal quotes nothing.
    Line {
        /// The line.
        line: u64,
        /// What was expected.
        refusal: Refusal,
    },
    /// The input could not be read on.
    Unreadable(std::io::Error),
    /// Nobody takes measurements any more; whoever stopped knows why.
    NotWanted,
}

impl Stop {
    /// A fault on `line`.
    pub fn at(line: u64, reason: Reason, expected: impl Into<Cow<'static, str>>) -> Self {
        Self::Line { line, refusal: refusal(reason, expected) }
    }
}

/// A refusal of what is no measurement yet.
pub fn refusal(reason: Reason, expected: impl Into<Cow<'static, str>>) -> Refusal {
    Refusal { reason, stage: Stage::Decode, detail: expected.into() }
}

/// What is said of more than [`TEXT_BYTES_MAX`].
pub fn too_large() -> Refusal {
    let detail = format!("expected at most {TEXT_BYTES_MAX} bytes, the most SQS carries in one message; found more");
    refusal(Reason::Oversize, detail)
}

/// Hands every measurement of `source` to `sink`.
///
/// # Errors
/// The first [`Stop`]: of opening, of reading, of the text, or of the sink.
pub fn read(source: &Source, format: Format, sink: &mut dyn Sink) -> Result<(), Stop> {
    match source.passed_over() {
        0 => read_all(source, format, sink),
        left => read_all(source, format, &mut Behind { left, sink }),
    }
}

/// Passes over rows, until none are `left` to be.
struct Behind<'s> {
    left: u64,
    sink: &'s mut dyn Sink,
}

impl Behind<'_> {
    fn is_here(&mut self) -> bool {
        let is_here = self.left == 0;
        self.left = self.left.saturating_sub(1);
        is_here
    }
}

impl Sink for Behind<'_> {
    fn take(&mut self, line: u64, text: &str) -> Result<(), Stop> {
        if self.is_here() { self.sink.take(line, text) } else { Ok(()) }
    }

    fn refuse(&mut self, line: u64, refusal: Refusal) -> Result<(), Stop> {
        if self.is_here() { self.sink.refuse(line, refusal) } else { Ok(()) }
    }
}

fn read_all(source: &Source, format: Format, sink: &mut dyn Sink) -> Result<(), Stop> {
    let (stream, format) = source.open(format)?;
    match format {
        Format::Auto | Format::Ndjson => lines::read(stream, sink),
        Format::Json => document::read(stream, sink),
        Format::Csv => table::read(stream, sink),
        Format::Parquet => read_parquet(source, sink),
    }
}

#[cfg(feature = "parquet")]
fn read_parquet(source: &Source, sink: &mut dyn Sink) -> Result<(), Stop> {
    match source.file().map_err(Stop::Unreadable)? {
        Some((file, bytes_read)) => crate::parquet::read(file, bytes_read, sink),
        None => Err(parquet_elsewhere()),
    }
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(_: &Source, _: &mut dyn Sink) -> Result<(), Stop> {
    Err(parquet_elsewhere())
}

/// Parquet is read from its end, and by as much code as all the rest together.
fn parquet_elsewhere() -> Stop {
    let expected = "expected NDJSON, a JSON array or CSV; found Parquet, which only the command line reads, and only from a file: save it, \
                    and name that file";
    Stop::at(1, Reason::EnvelopeInvalid, expected)
}

/// What a reader handed over: every line and text, or the first error.
#[cfg(test)]
pub(crate) fn collect(read: impl FnOnce(&mut dyn Sink) -> Result<(), Stop>) -> Result<Vec<(u64, String)>, String> {
    let mut found = Vec::new();
    let outcome = read(&mut |line: u64, text: &str| {
        found.push((line, text.to_owned()));
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(found),
        Err(Stop::Line { line, refusal }) => Err(format!("line {line}: {}", refusal.detail)),
        Err(stop) => Err(format!("{stop:?}")),
    }
}

/// Reads `text` and holds what is handed over against what is expected.
#[cfg(test)]
#[track_caller]
pub(crate) fn check(
    read: impl FnOnce(&[u8], &mut dyn Sink) -> Result<(), Stop>,
    text: &str,
    expected: Result<&[(u64, &str)], &str>,
) {
    let found = collect(|sink| read(text.as_bytes(), sink));
    let owned = |found: &[(u64, &str)]| found.iter().map(|(line, text)| (*line, (*text).to_owned())).collect();
    assert_eq!(found, expected.map(owned).map_err(str::to_owned), "{text}");
}

/// What a reader hands to a sink that goes on: line, and text or the reason.
#[cfg(test)]
pub(crate) fn collect_all(read: impl FnOnce(&mut dyn Sink) -> Result<(), Stop>) -> Vec<(u64, String)> {
    struct All(Vec<(u64, String)>);
    impl Sink for All {
        fn take(&mut self, line: u64, text: &str) -> Result<(), Stop> {
            self.0.push((line, text.to_owned()));
            Ok(())
        }

        fn refuse(&mut self, line: u64, refusal: Refusal) -> Result<(), Stop> {
            self.0.push((line, refusal.reason.name().to_owned()));
            Ok(())
        }
    }
    let mut all = All(Vec::new());
    read(&mut all).unwrap();
    all.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_were_read_before_are_passed_over_be_they_good_or_bad() {
        let text = "{\"a\":1}\n\u{feff}\n\n{\"b\":2}\n";
        let text = [text.as_bytes(), b"\xff\n{\"c\":3}\n"].concat();
        let of = |rows: u64| {
            let source = Source::of("an object", None, std::io::Cursor::new(text.clone())).behind(rows);
            collect_all(|sink| read(&source, Format::Auto, sink))
        };
        let all = of(0);
        assert_eq!(all.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [1, 2, 4, 5, 6]);
        for rows in 0..8 {
            assert_eq!(of(rows as u64), all[rows.min(all.len())..], "behind {rows}");
        }
    }
}
