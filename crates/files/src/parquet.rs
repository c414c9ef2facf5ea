//! Parquet: columns named as those of CSV are, and one measurement a row.
//!
//! Values keep what they are: whole numbers and decimals come out to the last digit, floats with the fewest digits that mean the same, times
//! in UTC as ISO 8601, and a null is a field that is not there. The fields of a struct are columns too: `calls` in a struct `measure`
//! is the column `measure.calls`. A column of another type than its name promises stops everything before the first row.
//!
//! A row stands on the line of its number, from 1. Pages are read as rows need them, one or two of each column at a time; [`pages`] bounds
//! what they take. Behind a page that is broken nothing more is read: which of its rows are lost could not be told one by one.
//!
//! Absent: lists and maps, a zone for times that have none, pages packed with brotli or LZ4, encryption, and sources other than
//! files: what stands where is written at the end.

mod cells;
mod pages;

use std::fs::File;
use std::io::Error;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use relay_core::reason::{Reason, Refusal};

use self::cells::{Cells, Form};
use self::pages::{Pages, TooMuch, guarded};
use crate::columns::Columns;
use crate::read::{Sink, Stop, TEXT_BYTES_MAX, too_large};
use crate::source::is_of_the_data;

/// Rows whose values are taken from their pages at once.
const ROWS_AT_ONCE: usize = 1_024;

/// Hands each row of `file` to `sink` as a JSON measurement, and counts in `bytes_read` what was read of it.
///
/// # Errors
/// The first [`Stop`]: of reading, of a column, of a page, or of the sink.
pub(crate) fn read(file: File, bytes_read: Arc<AtomicU64>, sink: &mut dyn Sink) -> Result<(), Stop> {
    let pages = Pages::of(file, bytes_read);
    let held = pages.held();
    let reader = guarded(|| SerializedFileReader::new(pages)).map_err(|error| broken(1, error))?;
    let (columns, forms) = columns(reader.metadata())?;
    let mut row = 1;
    for (number, about) in reader.metadata().row_groups().iter().enumerate() {
        is_readable(row, about)?;
        let group = guarded(|| reader.get_row_group(number)).map_err(|error| broken(row, error))?;
        let mut cells = Vec::new();
        for (place, form) in forms.iter().enumerate() {
            let opened = guarded(|| cells::open(about.column(place), held.watch(group.get_column_page_reader(place)?), *form));
            cells.push(opened.map_err(|error| broken(row, error))?);
        }
        read_group(about.num_rows(), &columns, &mut cells, &mut row, sink)?;
    }
    Ok(())
}

/// Hands the rows of one row group to `sink`; `row` is the number of the next.
fn read_group(
    rows: i64,
    columns: &Columns,
    cells: &mut [Box<dyn Cells>],
    row: &mut u64,
    sink: &mut dyn Sink,
) -> Result<(), Stop> {
    let mut left = usize::try_from(rows).map_err(|_| broken(*row, ParquetError::General("fewer than no rows".to_owned())))?;
    let mut text = String::new();
    while left > 0 {
        let rows = left.min(ROWS_AT_ONCE);
        fill(cells, rows).map_err(|error| broken(*row, error))?;
        for at in 0..rows {
            text.clear();
            match write(columns, cells, at, &mut text) {
                Ok(()) if text.len() > TEXT_BYTES_MAX => sink.refuse(*row, too_large())?,
                Ok(()) => sink.take(*row, &text)?,
                Err(refusal) => sink.refuse(*row, refusal)?,
            }
            *row += 1;
        }
        left -= rows;
    }
    // Rows that the file does not own up to would be lost without a word.
    match cells.iter_mut().map(|cells| guarded(|| cells.fill(1))).find(|filled| !matches!(filled, Ok(0))) {
        None => Ok(()),
        Some(Err(error)) => Err(broken(*row, error)),
        Some(Ok(_)) => Err(broken(*row, ParquetError::General("a column has more rows than its row group".to_owned()))),
    }
}

/// Takes the next `rows` of every column.
fn fill(cells: &mut [Box<dyn Cells>], rows: usize) -> Result<(), ParquetError> {
    for cells in cells {
        if guarded(|| cells.fill(rows))? < rows {
            return Err(ParquetError::General("a column has fewer rows than its row group".to_owned()));
        }
    }
    Ok(())
}

fn write(columns: &Columns, cells: &[Box<dyn Cells>], at: usize, text: &mut String) -> Result<(), Refusal> {
    columns.write(
        |column| cells.get(column.index).filter(|cells| cells.has(at)),
        |column, cells, text| cells.write(at, column, text),
        text,
    )
}

/// The columns by their names, and the form of each by its place.
fn columns(about: &ParquetMetaData) -> Result<(Columns, Vec<Form>), Stop> {
    let schema = about.file_metadata().schema_descr();
    let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    Columns::are_named(names.iter().map(String::as_bytes))?;
    let columns = Columns::of(names.iter().map(String::as_str), &[])?;
    let mut forms = vec![Form::Nothing; names.len()];
    for column in columns.iter() {
        if let (Some(of), Some(form)) = (schema.columns().get(column.index), forms.get_mut(column.index)) {
            *form = Form::of(column, of).map_err(|expected| Stop::at(1, Reason::EnvelopeInvalid, expected))?;
        }
    }
    Ok((columns, forms))
}

/// Fails if a column is packed as none can be here.
fn is_readable(row: u64, about: &RowGroupMetaData) -> Result<(), Stop> {
    use Compression::{BROTLI, GZIP, LZ4, LZ4_RAW, LZO, SNAPPY, UNCOMPRESSED, ZSTD};
    let other = |column: &&ColumnChunkMetaData| match column.compression() {
        UNCOMPRESSED | SNAPPY | GZIP(_) | ZSTD(_) => false,
        BROTLI(_) | LZ4 | LZ4_RAW | LZO => true,
    };
    let Some(column) = about.columns().iter().find(other) else { return Ok(()) };
    let (name, packed) = (column.column_path().string(), column.compression());
    let expected =
        format!("expected pages packed with gzip, zstd, snappy or not at all; those of column {name:?} are packed with {packed}");
    Err(Stop::at(row, Reason::EnvelopeInvalid, expected))
}

/// The end of reading, on `row`.
fn broken(row: u64, error: ParquetError) -> Stop {
    let cause = if let ParquetError::External(cause) = error { cause } else { error.into() };
    let cause = match cause.downcast::<Error>() {
        Ok(error) if !is_of_the_data(&error) => return Stop::Unreadable(*error),
        Ok(error) => error,
        Err(cause) => cause,
    };
    let detail = match cause.downcast_ref::<TooMuch>() {
        Some(too_much) => too_much.to_string(),
        None => format!("expected a Parquet file that is whole: {cause}"),
    };
    Stop::at(row, Reason::EnvelopeInvalid, detail)
}

#[cfg(test)]
mod tests;
