//! Reads measurements from any format, one after the other, and hands each to a sink with the line it stands on.
//!
//! Nothing is gathered here: however long the input, memory holds one measurement.

use super::measurement::Malformed;
use super::source::{Format, Source};
use super::{document, lines, table};
use crate::failure::Failure;

/// Takes the line, from 1, and the text of a measurement, as written and without white space around it.
pub(crate) type Sink<'s> = dyn FnMut(u64, &str) -> Result<(), Stop> + 's;

/// Why reading stopped before the end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The input is at fault on this line, from 1. The text quotes nothing.
    Line { line: u64, expected: String },
    /// The input could not be read on.
    Unreadable(std::io::Error),
    /// Nobody takes measurements any more; whoever stopped knows why.
    NotWanted,
}

impl Stop {
    /// `fault` on `line`.
    pub(crate) fn at(line: u64, fault: Malformed) -> Self {
        Self::expected(line, &fault.to_string())
    }

    /// A fault on `line`, in words.
    pub(crate) fn expected(line: u64, expected: &str) -> Self {
        Self::Line { line, expected: expected.to_owned() }
    }
}

/// Hands every measurement of `source` to `sink`.
///
/// # Errors
/// `Err(Some(failure))` if the source is at fault; `Err(None)` if the sink wants no more.
pub(crate) fn read(source: &Source, format: Format, sink: &mut Sink<'_>) -> Result<(), Option<Failure>> {
    let (stream, format) = source.open(format)?;
    let outcome = match format {
        Format::Auto | Format::Ndjson => lines::read(stream, sink),
        Format::Json => document::read(stream, sink),
        Format::Csv => table::read(stream, sink),
    };
    outcome.map_err(|stop| match stop {
        Stop::Line { line, expected } => Some(Failure::Data(format!("{} line {line}: {expected}", source.name()))),
        Stop::Unreadable(error) => Some(source.unreadable(&error)),
        Stop::NotWanted => None,
    })
}

/// What a reader handed over: every line and text, or the first error as `send` would word it.
#[cfg(test)]
pub(crate) fn collect(read: impl FnOnce(&mut Sink<'_>) -> Result<(), Stop>) -> Result<Vec<(u64, String)>, String> {
    let mut found = Vec::new();
    let outcome = read(&mut |line, text| {
        found.push((line, text.to_owned()));
        Ok(())
    });
    match outcome {
        Ok(()) => Ok(found),
        Err(Stop::Line { line, expected }) => Err(format!("line {line}: {expected}")),
        Err(stop) => Err(format!("{stop:?}")),
    }
}
