//! Every kind of malformed row, in every format: each is told with its line and its reason, and the good rows around it are read, unless the
//! format itself cannot be read on behind it.

#![allow(missing_docs)]

use std::io::{Cursor, Read};

use bumpalo::Bump;
use files::judge::judge;
use files::read::{Stop, TEXT_BYTES_MAX};
use files::source::{Format, Source};
use files::spread::{self, Look};
use relay_core::guard::{FirstSent, Judged, MissingUid, Rules};
use relay_core::reason::{Reason, Refusal};

/// 1 June 2026.
const NOW_MS: i64 = 1_780_272_000_000;
const GOOD: &str = r#"{"uid":"u","meter":"m","account":"a","ts":"2026-05-31T00:00:00Z","measure":{"calls":1}}"#;

/// Judges as an upload does: by the relay's own rules.
struct Judging(Bump);

impl Look for Judging {
    type Found = (u64, Result<(), Reason>);

    fn take(&mut self, line: u64, text: &str) -> Self::Found {
        let rules = Rules { missing_uid: MissingUid::Refuse, now_ms: NOW_MS };
        let judged = match judge(text, FirstSent::NotBefore(NOW_MS - 40 * 86_400_000), rules, &self.0) {
            Judged::Good(_) => Ok(()),
            Judged::NotDue(_) => Err(Reason::TimestampInFuture),
            Judged::Refused(refusal) => Err(refusal.reason),
        };
        (line, judged)
    }

    fn refuse(&mut self, line: u64, refusal: Refusal) -> Self::Found {
        assert!(!refusal.detail.is_empty());
        (line, Err(refusal.reason))
    }
}

/// What is found, and what ends the reading, if anything does: its line and reason, or a line 0 that none of these tests expects.
type Found = (Vec<(u64, Result<(), Reason>)>, Option<(u64, Reason)>);

fn found(source: &Source, format: Format) -> Found {
    let mut all = Vec::new();
    let lookers = vec![Judging(Bump::new()), Judging(Bump::new())];
    let end = spread::read(source, format, lookers, &mut |found| {
        all.push(found);
        Ok(())
    });
    match end {
        Ok(()) => (all, None),
        Err(Stop::Line { line, refusal }) => (all, Some((line, refusal.reason))),
        Err(Stop::Unreadable(_) | Stop::NotWanted) => (all, Some((0, Reason::DecodeFailed))),
    }
}

fn of(bytes: Vec<u8>, format: Format) -> Found {
    found(&Source::of("a file", None, Cursor::new(bytes)), format)
}

/// Rows that are JSON, and not as they should be.
fn wrong_measurements() -> Vec<(String, Reason)> {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        GOOD.replace(from, to)
    };
    let calls = r#""measure":{"calls":1}"#;
    vec![
        ("[]".to_owned(), Reason::NotAMeasurement),
        ("7".to_owned(), Reason::NotAMeasurement),
        ("null".to_owned(), Reason::NotAMeasurement),
        ("\"text\"".to_owned(), Reason::NotAMeasurement),
        (format!("[{GOOD}]"), Reason::NotAMeasurement),
        (with(r#""uid":"u","#, ""), Reason::UidMissing),
        (with(r#""uid":"u""#, r#""uid":null"#), Reason::UidMissing),
        (with(r#""uid":"u""#, r#""uid":7"#), Reason::FieldNotText),
        (with(r#""uid":"u""#, &format!(r#""uid":"{}""#, "u".repeat(3_000))), Reason::UidTooLong),
        (with(r#""meter":"m","#, ""), Reason::MeterMissing),
        (with(r#""meter":"m""#, r#""meter":"""#), Reason::MeterInvalid),
        (with(r#""account":"a","#, ""), Reason::AccountMissing),
        (with(r#""account":"a""#, r#""account":"""#), Reason::AccountInvalid),
        (with(r#","ts":"2026-05-31T00:00:00Z""#, ""), Reason::TimestampMissing),
        (with("2026-05-31T00:00:00Z", "yesterday"), Reason::TimestampInvalid),
        (with("2026-05-31T00:00:00Z", "2026-05-31T00:00:00"), Reason::TimestampInvalid),
        (with("2026-05-31", "2027-05-31"), Reason::TimestampInFuture),
        (with("2026-05-31", "2026-01-31"), Reason::OutsideWindow),
        (with(calls, r#""measure":{"calls":"1"}"#), Reason::FieldNotNumber),
        (with(calls, r#""measure":[]"#), Reason::FieldNotNumber),
        (with(calls, r#""what":{"calls":1}"#), Reason::FieldNotText),
        (with(calls, r#""measure":{"c-alls":1}"#), Reason::FieldCodeInvalid),
        (with(calls, r#""measure":{"calls":1},"cost":{"calls":1}"#), Reason::DuplicateField),
        (with(calls, r#""measure":{"calls":1},"uid":"v""#), Reason::DuplicateKey),
    ]
}

#[test]
fn ndjson_is_read_on_behind_every_malformed_line() {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut rows: Vec<(Vec<u8>, Reason)> =
        wrong_measurements().into_iter().map(|(row, reason)| (row.into_bytes(), reason)).collect();
    rows.extend([
        (text("hello"), Reason::NotJson),
        (text(&GOOD[..40]), Reason::NotJson),
        (text(&format!("{GOOD}{GOOD}")), Reason::NotJson),
        (text(&format!("{GOOD},")), Reason::NotJson),
        (text("\0\0\0"), Reason::NotJson),
        (text("\u{feff}"), Reason::NotJson),
        (text(&format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000))), Reason::NotAMeasurement),
        ([b"{\"uid\":\"", &[0xff; 3][..], b"\"}"].concat(), Reason::NotJson),
        (vec![b'x'; TEXT_BYTES_MAX + 5_000], Reason::Oversize),
    ]);
    let (mut bytes, mut expected) = (text(GOOD), vec![(1, Ok(()))]);
    for ((row, reason), line) in rows.iter().zip((2..).step_by(2)) {
        bytes.extend([b"\n", &row[..], b"\r\n", GOOD.as_bytes()].concat());
        expected.extend([(line, Err(*reason)), (line + 1, Ok(()))]);
    }
    assert_eq!(of(bytes, Format::Ndjson), (expected, None));
}

#[test]
fn an_array_is_read_on_behind_every_malformed_element() {
    let (mut elements, mut expected) = (vec![GOOD.to_owned()], vec![(1, Ok(()))]);
    for ((row, reason), line) in wrong_measurements().into_iter().zip((2..).step_by(2)) {
        elements.extend([row, GOOD.to_owned()]);
        expected.extend([(line, Err(reason)), (line + 1, Ok(()))]);
    }
    let array = format!("[{}]", elements.join(",\n"));
    assert_eq!(of(array.clone().into_bytes(), Format::Auto), (expected.clone(), None));
    let document = format!("{{\"measurements\":{array}}}");
    assert_eq!(of(document.into_bytes(), Format::Auto), (expected, None));
}

#[test]
fn an_array_that_is_broken_ends_on_its_line_and_what_stands_before_is_told() {
    let before = format!("[{GOOD},\n{GOOD},\n");
    let told = vec![(1, Ok(())), (2, Ok(()))];
    for (rest, end) in [
        (&b""[..], (3, Reason::NotJson)),
        (b"]]", (3, Reason::NotJson)),
        (b"hello]", (3, Reason::NotJson)),
        (b"{\"uid\":}]", (3, Reason::NotJson)),
        (b"\"\xff\"]", (3, Reason::NotJson)),
        (b"{\"uid\":\"cut", (3, Reason::NotJson)),
    ] {
        assert_eq!(of([before.as_bytes(), rest].concat(), Format::Json), (told.clone(), Some(end)), "{rest:?}");
    }
    let long = [before.as_bytes(), b"\"", &vec![b'x'; TEXT_BYTES_MAX + 100_000], b"\"]"].concat();
    assert_eq!(of(long, Format::Json), (told, Some((3, Reason::Oversize))));
}

#[test]
fn csv_is_read_on_behind_every_malformed_row() {
    let good: &[u8] = b"u,m,a,2026-05-31T00:00:00Z,1,x";
    let mut bytes = [b"uid,meter,account,ts,measure.calls,what.of\n", good].concat();
    let mut expected = vec![(2, Ok(()))];
    let rows: [(&[u8], Reason); 16] = [
        (b"u,m,a", Reason::NotAMeasurement),
        (b"u,m,a,2026-05-31T00:00:00Z,1,x,y", Reason::NotAMeasurement),
        (b"nothing", Reason::NotAMeasurement),
        (b",m,a,2026-05-31T00:00:00Z,1,x", Reason::UidMissing),
        (b"u,,a,2026-05-31T00:00:00Z,1,x", Reason::MeterMissing),
        (b"u,m,,2026-05-31T00:00:00Z,1,x", Reason::AccountMissing),
        (b"u,m,a,,1,x", Reason::TimestampMissing),
        (b"u,m,a,yesterday,1,x", Reason::TimestampInvalid),
        (b"u,m,a,2027-05-31T00:00:00Z,1,x", Reason::TimestampInFuture),
        (b"u,m,a,2026-01-31T00:00:00Z,1,x", Reason::OutsideWindow),
        (b"u,m,a,2026-05-31T00:00:00Z,one,x", Reason::FieldNotNumber),
        (b"u,m,a,2026-05-31T00:00:00Z,\"1,5\",x", Reason::FieldNotNumber),
        (b"u,m,a,2026-05-31T00:00:00Z,NaN,x", Reason::FieldNotNumber),
        (b"u,m,a,2026-05-31T00:00:00Z,1,\xff", Reason::NotJson),
        (b"u,m,a,2026-05-31T00:00:00Z,\xff,x", Reason::NotJson),
        (b"\xff,m,a,2026-05-31T00:00:00Z,1,x", Reason::NotJson),
    ];
    for ((row, reason), line) in rows.iter().zip((3..).step_by(2)) {
        bytes.extend([b"\n", *row, b"\n", good].concat());
        expected.extend([(line, Err(*reason)), (line + 1, Ok(()))]);
    }
    assert_eq!(of(bytes, Format::Auto), (expected, None));
}

#[test]
fn csv_that_is_broken_ends_on_its_line_and_what_stands_before_is_told() {
    let before = "uid,meter,account,ts\nu,m,a,2026-05-31T00:00:00Z\n";
    for (rest, reason) in [
        (b"u,m,a,\"2026\nu,m,a,2026-05-31T00:00:00Z\n".to_vec(), Reason::EnvelopeInvalid),
        ([b"u,m,a,\"", &vec![b'x'; 2 * TEXT_BYTES_MAX][..], b"\"\n"].concat(), Reason::Oversize),
    ] {
        let (told, end) = of([before.as_bytes(), &rest].concat(), Format::Auto);
        assert_eq!((told, end), (vec![(2, Ok(()))], Some((3, reason))));
    }
}

#[test]
fn what_is_no_format_at_all_is_said_on_its_first_line() {
    for text in ["hello\n", "uid,meter,account\n1,2,3\n", "\"text\"", "<xml/>"] {
        assert_eq!(of(text.into(), Format::Auto), (vec![], Some((1, Reason::EnvelopeInvalid))), "{text}");
    }
}

#[test]
fn parquet_out_of_a_stream_is_refused_with_the_way_that_there_is() {
    let source = Source::of("s3://bucket/uploads/usage.parquet", None, Cursor::new(b"PAR1....".to_vec()));
    let mut line = |_: u64, _: &str| Ok(());
    let Err(Stop::Line { line: 1, refusal }) = files::read::read(&source, Format::Auto, &mut line) else { panic!("it was read") };
    let expected = "expected NDJSON, a JSON array or CSV; found Parquet, which only the command line reads, and only from a file: save it, \
                    and name that file";
    assert_eq!((refusal.reason, &*refusal.detail), (Reason::EnvelopeInvalid, expected));
}

#[test]
fn what_cannot_be_unpacked_to_its_end_is_no_end_of_the_file() {
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(format!("{GOOD}\n{GOOD}\n").as_bytes(), flate2::Compression::fast())
        .read_to_end(&mut packed)
        .unwrap();
    packed.truncate(packed.len() - 4);
    let source = Source::of("a file", None, Cursor::new(packed));
    let end = files::read::read(&source, Format::Auto, &mut |_: u64, _: &str| Ok(()));
    assert!(matches!(end, Err(Stop::Unreadable(error)) if files::source::is_of_the_data(&error)));
}

/// A row of a table whose cells may be null.
#[cfg(feature = "parquet")]
type Row = ([Option<&'static [u8]>; 4], Option<f64>, Result<(), Reason>);

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_on_behind_every_malformed_row() {
    use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
    let (u, m, a, ts) = (Some(&b"u"[..]), Some(&b"m"[..]), Some(&b"a"[..]), Some(&b"2026-05-31T00:00:00Z"[..]));
    let good: Row = ([u, m, a, ts], Some(1.0), Ok(()));
    let wrong: [Row; 13] = [
        ([None, m, a, ts], Some(1.0), Err(Reason::UidMissing)),
        ([Some(b""), m, a, ts], Some(1.0), Err(Reason::UidMissing)),
        ([u, None, a, ts], Some(1.0), Err(Reason::MeterMissing)),
        ([u, Some(b""), a, ts], Some(1.0), Err(Reason::MeterInvalid)),
        ([u, m, None, ts], Some(1.0), Err(Reason::AccountMissing)),
        ([u, m, a, None], Some(1.0), Err(Reason::TimestampMissing)),
        ([u, m, a, Some(b"yesterday")], Some(1.0), Err(Reason::TimestampInvalid)),
        ([u, m, a, Some(b"2027-05-31T00:00:00Z")], Some(1.0), Err(Reason::TimestampInFuture)),
        ([u, m, a, Some(b"2026-01-31T00:00:00Z")], Some(1.0), Err(Reason::OutsideWindow)),
        ([u, m, a, ts], Some(f64::NAN), Err(Reason::FieldNotNumber)),
        ([u, m, a, ts], Some(f64::INFINITY), Err(Reason::FieldNotNumber)),
        ([Some(b"\xff"), m, a, ts], Some(1.0), Err(Reason::NotJson)),
        ([u, m, a, Some(&[0xff])], Some(1.0), Err(Reason::NotJson)),
    ];
    let rows: Vec<Row> = wrong.iter().flat_map(|row| [*row, good]).collect();
    let schema = ["uid", "meter", "account", "ts"].map(|name| format!("optional binary {name} (STRING);")).concat();
    let schema = parquet::schema::parser::parse_message_type(&format!("message m {{ {schema} optional double measure.calls; }}"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usage.parquet");
    let file = std::fs::File::create(&path).unwrap();
    let mut file = parquet::file::writer::SerializedFileWriter::new(file, schema.unwrap().into(), Default::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    for column in 0..4 {
        let values: Vec<ByteArray> = rows.iter().filter_map(|row| row.0[column]).map(|cell| cell.to_vec().into()).collect();
        let levels: Vec<i16> = rows.iter().map(|row| row.0[column].is_some().into()).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
    }
    let values: Vec<f64> = rows.iter().filter_map(|row| row.1).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<DoubleType>().write_batch(&values, Some(&vec![1; rows.len()]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.close().unwrap();
    let expected: Vec<(u64, Result<(), Reason>)> = (1..).zip(rows.iter().map(|row| row.2)).collect();
    assert_eq!(found(&Source::at(&path), Format::Auto), (expected, None));
}
