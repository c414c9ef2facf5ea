//! Reads files as crate `files` does, and says why it stopped as the command line does.

use std::io::Error;

use files::read::{Sink, Stop};
use files::source::{self, Format, Source, is_of_the_data};

use crate::failure::Failure;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FormatName {
    /// Read it off the first characters
    Auto,
    /// One JSON object a line
    Ndjson,
    /// A JSON array, or {"measurements":[…]}
    Json,
    /// A header line and one measurement a line
    Csv,
    /// Parquet, with columns named as those of CSV; from a file
    Parquet,
}

impl FormatName {
    /// The format of this name.
    pub(crate) fn format(self) -> Format {
        match self {
            Self::Auto => Format::Auto,
            Self::Ndjson => Format::Ndjson,
            Self::Json => Format::Json,
            Self::Csv => Format::Csv,
            Self::Parquet => Format::Parquet,
        }
    }
}

/// Hands every measurement of `source` to `sink`.
///
/// # Errors
/// `Err(Some(failure))` if the source is at fault; `Err(None)` if the sink wants no more.
pub(crate) fn read(source: &Source, format: Format, sink: &mut dyn Sink) -> Result<(), Option<Failure>> {
    files::read::read(source, format, sink).map_err(|stop| stopped(source, stop))
}

/// Opens `source`: its content and its format.
///
/// # Errors
/// [`Failure`] if it cannot be opened, or its format cannot be told.
pub(crate) fn open(source: &Source, format: Format) -> Result<(source::Stream, Format), Failure> {
    let stopped = |stop| stopped(source, stop).unwrap_or_else(|| Failure::CouldNot(format!("{} was not read", source.name())));
    source.open(format).map_err(stopped)
}

/// Fails unless `source` can be opened and is no folder.
///
/// # Errors
/// [`Failure::CouldNot`] with the system's reason.
pub(crate) fn check(source: &Source) -> Result<(), Failure> {
    source.check().map_err(|error| unreadable(source, &error))
}

/// The failure that `stop` is; `None` where nobody wanted more.
pub(crate) fn stopped(source: &Source, stop: Stop) -> Option<Failure> {
    match stop {
        Stop::Line { line, refusal } => Some(Failure::Data(format!("{} line {line}: {}", source.name(), refusal.detail))),
        Stop::Unreadable(error) => Some(unreadable(source, &error)),
        Stop::NotWanted => None,
    }
}

/// The failure of reading on: broken compression is the data's fault, everything else the world's.
pub(crate) fn unreadable(source: &Source, error: &Error) -> Failure {
    let text = format!("cannot read {}: {error}", source.name());
    if is_of_the_data(error) { Failure::Data(text) } else { Failure::CouldNot(text) }
}
