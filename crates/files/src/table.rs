//! CSV: a header such as `uid,meter,account,ts,measure.calls,what.region`, and one measurement a line.
//!
//! A number is written into the measurement as it stands in its cell, so `1.50` stays `1.50`. An empty cell means that the
//! measurement does not have this field. A column this does not know stops everything before anything is sent: a typo in
//! a header would otherwise lose revenue in silence.

use std::io::{BufRead, BufReader, Read};

use relay_core::reason::{Reason, Refusal};

use crate::columns::{Column, Columns, write_text};
use crate::gauge::{Gauge, Gauged};
use crate::read::{Sink, Stop, TEXT_BYTES_MAX, refusal, too_large};

/// Most bytes read for one row: the largest measurement, and the buffers ahead of it.
const ROW_BYTES_MAX: usize = TEXT_BYTES_MAX + 256 * 1024;
/// A buffer that makes few system calls and stays in the processor's cache.
const BUFFER_BYTES: usize = 64 * 1024;
/// Hands each row of `stream` to `sink` as a JSON measurement.
///
/// # Errors
/// The first [`Stop`]: of reading, of the header, of a cell, or of the sink.
pub fn read(stream: impl Read, sink: &mut dyn Sink) -> Result<(), Stop> {
    read_rows(stream, &[], &mut |line, _, row| match row {
        Ok(text) => sink.take(line, text),
        Err(refusal) => sink.refuse(line, refusal),
    })
}

/// Takes the line, from 1, what stands in the columns that are not the measurement's, and the measurement, or why the row is none.
pub type RowSink<'s> = dyn FnMut(u64, &[&str], Result<&str, Refusal>) -> Result<(), Stop> + 's;

/// The same of a table that has columns of its own, `own`, besides those of the measurement. Where one is absent, or is no
/// UTF-8, it is empty.
///
/// # Errors
/// As [`read`].
pub fn read_rows(stream: impl Read, own: &[&str], sink: &mut RowSink<'_>) -> Result<(), Stop> {
    let gauge = Gauge::default();
    let mut gauged = BufReader::with_capacity(BUFFER_BYTES, Gauged::new(stream, &gauge, ROW_BYTES_MAX));
    let ending = ending(gauged.fill_buf().map_err(Stop::Unreadable)?);
    // So that the last row ends like all others, and its line can be told; and so that it is seen to have ended.
    let mut reader = csv::ReaderBuilder::new().from_reader(gauged.chain(ending).chain(END_ROW));
    let header = reader.byte_headers().map_err(|error| worded(error, &gauge))?.clone();
    if is_end(&header) {
        return Ok(());
    }
    is_closed(&header, 1)?;
    let columns = columns(&header, own)?;
    let places: Vec<Option<usize>> =
        own.iter().map(|wanted| header.iter().position(|name| name.trim_ascii() == wanted.as_bytes())).collect();
    let (mut row, mut text) = (csv::ByteRecord::new(), String::new());
    loop {
        let read = reader.read_byte_record(&mut row);
        if is_end(&row) {
            return Ok(());
        }
        is_closed(&row, line_of(&row, reader.position(), b"\n"))?;
        let written = match read {
            Ok(false) => return Ok(()),
            Ok(true) => {
                text.clear();
                columns.write(|column| cell(&row, column), write_cell, &mut text)
            }
            Err(error) => Err(unequal(error, &gauge)?),
        };
        gauge.next_measurement();
        let cell = |place: &Option<usize>| row.get((*place)?).and_then(|bytes| str::from_utf8(bytes).ok());
        let cells: Vec<&str> = places.iter().map(|place| cell(place).unwrap_or_default()).collect();
        sink(line_of(&row, reader.position(), ending), &cells, written.map(|()| text.as_str()))?;
    }
}

/// What is read after the table: a row of its own, unless a quote is still open there. No text of a table holds the character.
const END_ROW: &[u8] = b"\"\0end\"\n";
/// The same, as it is read.
const END: &[u8] = b"\0end";

fn is_end(row: &csv::ByteRecord) -> bool {
    row.len() == 1 && row.get(0) == Some(END)
}

/// A quote that is never closed makes one cell of all that follows, and every row in it would be lost without a word.
fn is_closed(row: &csv::ByteRecord, line: u64) -> Result<(), Stop> {
    match row.as_slice().windows(END.len()).rev().take(END.len() + 2).any(|bytes| bytes == END) {
        false => Ok(()),
        true => Err(Stop::at(line, Reason::EnvelopeInvalid, "expected the quote that opens in this row to be closed".to_owned())),
    }
}

/// What lines end with, by the first of them.
fn ending(head: &[u8]) -> &'static [u8] {
    let end = head.iter().position(|byte| *byte == b'\n');
    let is_crlf = end.is_some_and(|end| end > 0 && head.get(end - 1) == Some(&b'\r'));
    if is_crlf { b"\r\n" } else { b"\n" }
}

/// The line that `row` begins on, where `behind` is the reader's place behind it: before that stand its own line feeds, and the one that
/// ends it, which the reader has not yet passed where lines end with CR LF. The reader's own word for the beginning is
/// not taken: it does not count blank lines before the row.
fn line_of(row: &csv::ByteRecord, behind: &csv::Position, ending: &[u8]) -> u64 {
    let line_feeds = row.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
    (behind.line() + u64::from(ending.len() > 1)).saturating_sub(1 + line_feeds).max(1)
}

/// What is wrong with a row of another length; anything else ends the reading.
fn unequal(error: csv::Error, gauge: &Gauge) -> Result<Refusal, Stop> {
    if let csv::ErrorKind::UnequalLengths { expected_len, len, .. } = error.kind()
        && !gauge.is_over()
    {
        let expected = format!("expected {expected_len} cells, as many as the header has; found {len}");
        return Ok(refusal(Reason::NotAMeasurement, expected));
    }
    Err(worded(error, gauge))
}

fn worded(error: csv::Error, gauge: &Gauge) -> Stop {
    if gauge.is_over() {
        let line = error.position().map_or_else(|| gauge.line(), csv::Position::line);
        return Stop::Line { line, refusal: too_large() };
    }
    // As it came, so that it can be seen whether the data or the world is at fault.
    let kind = if let csv::ErrorKind::Io(cause) = error.kind() { cause.kind() } else { std::io::ErrorKind::InvalidData };
    Stop::Unreadable(std::io::Error::new(kind, error))
}

fn columns(header: &csv::ByteRecord, own: &[&str]) -> Result<Columns, Stop> {
    // First, is it a header at all? Where it is not, its cells are data, and data is not quoted in an error.
    Columns::are_named(header.iter())?;
    let mut names = Vec::new();
    for name in header {
        names.push(str::from_utf8(name).map_err(|_| Stop::at(1, Reason::EnvelopeInvalid, "expected a header in UTF-8"))?);
    }
    Columns::of(names.into_iter(), own)
}

/// The content of a cell, unless it is empty.
fn cell<'r>(row: &'r csv::ByteRecord, column: &Column) -> Option<&'r [u8]> {
    row.get(column.index).filter(|bytes| !bytes.is_empty())
}

fn write_cell(column: &Column, bytes: &[u8], out: &mut String) -> Result<(), Refusal> {
    let name = &column.name;
    let text = str::from_utf8(bytes).map_err(|_| refusal(Reason::NotJson, format!("expected UTF-8 text in column {name:?}")))?;
    if !column.is_number {
        write_text(text, out);
        return Ok(());
    }
    let number = text.trim();
    if !is_json_number(number) {
        let expected = format!("expected a number such as 12 or 0.5 in column {name:?}");
        return Err(refusal(Reason::FieldNotNumber, expected));
    }
    out.push_str(number);
    Ok(())
}

fn is_json_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::{collect, collect_all};

    fn check(text: &str, expected: Result<&[(u64, &str)], &str>) {
        crate::read::check(|bytes, sink| read(bytes, sink), text, expected);
    }

    #[test]
    fn a_row_becomes_a_measurement_and_numbers_stay_as_written() {
        check(
            "uid,meter,account,ts,measure.calls,what.region,measure.bytes\nu1,m,a,2026-11-01T00:00:00Z,1.50,eu-west,-2e3\n",
            Ok(&[(
                2,
                r#"{"uid":"u1","meter":"m","account":"a","ts":"2026-11-01T00:00:00Z","measure":{"calls":1.50,"bytes":-2e3},"what":{"region":"eu-west"}}"#,
            )]),
        );
    }

    #[test]
    fn an_empty_cell_is_a_field_that_is_not_there() {
        check(
            "uid,meter,account,ts,measure.calls,what.region\n,m,a,t,,eu\n,m,a,t,,\n",
            Ok(&[
                (2, r#"{"meter":"m","account":"a","ts":"t","what":{"region":"eu"}}"#),
                (3, r#"{"meter":"m","account":"a","ts":"t"}"#),
            ]),
        );
    }

    #[test]
    fn quotes_commas_and_line_feeds_inside_cells_are_text() {
        check(
            "meter,account,ts,other.note\r\nm,\"a, b\",t,\"say \"\"hi\"\"\nthen é\"\r\nm,a,t,\\\r\n",
            Ok(&[
                (2, r#"{"meter":"m","account":"a, b","ts":"t","other":{"note":"say \"hi\"\nthen é"}}"#),
                (4, r#"{"meter":"m","account":"a","ts":"t","other":{"note":"\\"}}"#),
            ]),
        );
    }

    #[test]
    fn a_header_that_would_lose_something_is_refused_before_the_first_row() {
        check("meter,account\nm,a\n", Err("line 1: expected a column ts in the header"));
        check("meter,account,ts,ts\nm,a,t,t\n", Err("line 1: expected every column once; found \"ts\" twice"));
        for name in ["measures.calls", "calls", "measure.", ".calls", ""] {
            let found = collect(|sink| read(format!("meter,account,ts,{name}\nm,a,t,1\n").as_bytes(), sink));
            let start = format!("line 1: column 4 is named {name:?}; expected one of uid, meter,");
            assert!(found.as_ref().is_err_and(|text| text.starts_with(&start)), "{found:?}");
        }
    }

    #[test]
    fn a_cell_that_is_no_number_is_named_by_line_and_column_and_not_quoted() {
        for cell in ["secret", "\"1,5\"", "1.", "+1", "01", "0x1", "1 2", "NaN", "true"] {
            check(
                &format!("meter,account,ts,cost.eur\nm,a,t,1\nm,a,t,{cell}\n"),
                Err("line 3: expected a number such as 12 or 0.5 in column \"cost.eur\""),
            )
        }
    }

    #[test]
    fn a_row_of_another_length_is_named() {
        check("meter,account,ts\nm,a\n", Err("line 2: expected 3 cells, as many as the header has; found 2"));
    }

    #[test]
    fn an_unclosed_quote_does_not_swallow_the_input() {
        let endless = (&b"meter,account,ts\nm,a,\""[..]).chain(std::io::repeat(b'x'));
        let found = collect(|sink| read(endless, sink));
        assert!(found.as_ref().is_err_and(|text| text.ends_with(&*too_large().detail)), "{found:?}");
    }

    #[test]
    fn rows_behind_a_quote_that_is_never_closed_are_not_lost_without_a_word() {
        for ending in ["\n", "\r\n"] {
            let rows = ["meter,account,ts,what.note", "m,a,t,fine", "m,a,t,\"5 inch", "m,a,t,x", "m,a,t,y"];
            for last in ["", ending] {
                let told = collect(|sink| read((rows.join(ending) + last).as_bytes(), sink)).unwrap_err();
                assert!(told.contains('3') && told.ends_with("expected the quote that opens in this row to be closed"), "{told}");
            }
        }
        assert!(collect(|sink| read(&b"meter,account,\"ts\nm,a,t\n"[..], sink)).is_err(), "nor in the header");
        assert_eq!(collect(|sink| read(&b""[..], sink)), Ok(Vec::new()));
    }

    #[test]
    fn a_row_stands_on_the_line_on_which_it_begins_whatever_stands_before_it() {
        let rows = ["uid,meter,account,ts", "a,m,a,t", "", "", "\"b", "b\",m,\"", "\",t", "c,m,a,t", "", "d,m,a,t"];
        for ending in ["\n", "\r\n"] {
            for last in ["", ending] {
                let found = collect(|sink| read((rows.join(ending) + last).as_bytes(), sink)).unwrap();
                assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 5, 8, 10], "{ending:?} {last:?}");
            }
        }
    }

    #[test]
    fn a_sink_that_goes_on_gets_the_rows_behind_a_bad_one() {
        let text = b"meter,account,ts,cost.eur\nm,a,t\n\nm,a,t,secret\nm,\xff,t,1\nm,a,t,1\nm,\"a\n\",t,1,2\nm,a,t,2";
        let found = collect_all(|sink| read(&text[..], sink));
        let good = |number: u8| format!("{{\"meter\":\"m\",\"account\":\"a\",\"ts\":\"t\",\"cost\":{{\"eur\":{number}}}}}");
        let bad = |reason: &str| reason.to_owned();
        let expected = [
            (2, bad("NotAMeasurement")),
            (4, bad("FieldNotNumber")),
            (5, bad("NotJson")),
            (6, good(1)),
            (7, bad("NotAMeasurement")),
            (9, good(2)),
        ];
        assert_eq!(found, expected);
    }
}
