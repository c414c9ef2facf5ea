//! Parquet files, written by the same crate and by pyarrow, read row by row.

use std::io::Write;

use ::parquet::basic::{GzipLevel, ZstdLevel};
use ::parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType, Int32Type, Int64Type,
    Int96, Int96Type,
};
use ::parquet::file::properties::{WriterProperties, WriterVersion};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;

use super::*;
use crate::read::{collect, collect_all};
use crate::source::{Format, Source};

/// The cells of a column, row by row.
enum Cells {
    Bytes(Vec<Option<Vec<u8>>>),
    Fixed(Vec<Option<Vec<u8>>>),
    I32(Vec<Option<i32>>),
    I64(Vec<Option<i64>>),
    I96(Vec<Option<Int96>>),
    F32(Vec<Option<f32>>),
    F64(Vec<Option<f64>>),
}

fn text(cells: &[&str]) -> Cells {
    Cells::Bytes(cells.iter().map(|cell| Some(cell.as_bytes().to_vec())).collect())
}

/// A file of row groups, each with its columns in the order of `schema`.
fn file(schema: &str, properties: WriterProperties, groups: &[Vec<Cells>]) -> Vec<u8> {
    let schema = parse_message_type(&format!("message measurements {{ {schema} }}")).unwrap();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties)).unwrap();
    for group in groups {
        let mut writer = writer.next_row_group().unwrap();
        for cells in group {
            let mut column = writer.next_column().unwrap().unwrap();
            macro_rules! put {
                ($type:ty, $cells:expr, $value:expr) => {{
                    let values: Vec<<$type as DataType>::T> = $cells.iter().flatten().map($value).collect();
                    let typed = column.typed::<$type>();
                    let level = typed.get_descriptor().max_def_level();
                    let levels: Vec<i16> = $cells.iter().map(|cell| if cell.is_some() { level } else { 0 }).collect();
                    typed.write_batch(&values, Some(&levels), None).unwrap();
                }};
            }
            match cells {
                Cells::Bytes(cells) => put!(ByteArrayType, cells, |cell| ByteArray::from(cell.clone())),
                Cells::Fixed(cells) => put!(FixedLenByteArrayType, cells, |cell| FixedLenByteArray::from(cell.clone())),
                Cells::I32(cells) => put!(Int32Type, cells, |cell| *cell),
                Cells::I64(cells) => put!(Int64Type, cells, |cell| *cell),
                Cells::I96(cells) => put!(Int96Type, cells, |cell| *cell),
                Cells::F32(cells) => put!(FloatType, cells, |cell| *cell),
                Cells::F64(cells) => put!(DoubleType, cells, |cell| *cell),
            }
            column.close().unwrap();
        }
        writer.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

fn plain() -> WriterProperties {
    WriterProperties::builder().build()
}

fn read_bytes(bytes: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    read(file, Arc::default(), sink)
}

const IDENTITY: &str = "required binary meter (STRING); required binary account (STRING); required binary ts (STRING);";

fn identity(rows: usize) -> Vec<Cells> {
    ["m", "a", "t"].map(|cell| text(&vec![cell; rows])).into()
}

/// What becomes of one more column, `name`, of this type, row by row: what stands behind `"ts":"t"`, or the reason.
#[track_caller]
fn check(column: &str, cells: Cells, expected: &[&str]) {
    let mut group = identity(expected.len());
    group.push(cells);
    let bytes = file(&format!("{IDENTITY} {column};"), plain(), &[group]);
    let found = collect_all(|sink| read_bytes(&bytes, sink));
    let row = |text: &str| match text.strip_prefix(r#"{"meter":"m","account":"a","ts":"t""#) {
        Some(rest) => rest.trim_start_matches(',').trim_end_matches('}').to_owned(),
        None => text.to_owned(),
    };
    let found: Vec<(u64, String)> = found.into_iter().map(|(line, text)| (line, row(&text))).collect();
    let expected: Vec<(u64, String)> = (1..).zip(expected.iter().map(|text| (*text).to_owned())).collect();
    assert_eq!(found, expected, "{column}");
}

/// What is said of a file with one more column of this type, before its first row.
#[track_caller]
fn check_refused(column: &str, cells: Cells, expected: &str) {
    let mut group = identity(1);
    group.push(cells);
    let bytes = file(&format!("{IDENTITY} {column};"), plain(), &[group]);
    assert_eq!(collect(|sink| read_bytes(&bytes, sink)), Err(format!("line 1: {expected}")), "{column}");
}

#[test]
fn numbers_come_out_as_they_are_and_nulls_are_fields_that_are_not_there() {
    let calls = |value: &str| format!(r#""measure":{{"calls":{value}"#);
    let all = |values: &[&str]| values.iter().map(|value| calls(value)).collect::<Vec<_>>();
    let check = |column: &str, cells: Cells, values: &[&str]| {
        let expected = all(values);
        let expected: Vec<&str> = [""].into_iter().chain(expected.iter().map(String::as_str)).collect();
        check(&format!("optional {column}"), cells, &expected);
    };
    check("int32 measure.calls", Cells::I32(vec![None, Some(i32::MIN), Some(7)]), &["-2147483648", "7"]);
    check("int32 measure.calls (INTEGER(32,false))", Cells::I32(vec![None, Some(-1)]), &["4294967295"]);
    check("int32 measure.calls (UINT_8)", Cells::I32(vec![None, Some(255)]), &["255"]);
    check(
        "int64 measure.calls",
        Cells::I64(vec![None, Some(i64::MIN), Some(i64::MAX)]),
        &["-9223372036854775808", "9223372036854775807"],
    );
    check("int64 measure.calls (INTEGER(64,false))", Cells::I64(vec![None, Some(-1)]), &["18446744073709551615"]);
    check("float measure.calls", Cells::F32(vec![None, Some(0.1), Some(16_777_216.0)]), &["0.1", "16777216.0"]);
    check("double measure.calls", Cells::F64(vec![None, Some(0.1), Some(1e300), Some(-0.0)]), &["0.1", "1e+300", "-0.0"]);
    check("int32 measure.calls (DECIMAL(9,2))", Cells::I32(vec![None, Some(150), Some(-5)]), &["1.50", "-0.05"]);
    check("int64 measure.calls (DECIMAL(18,0))", Cells::I64(vec![None, Some(150)]), &["150"]);
    let bytes = vec![None, Some(vec![0xff; 16]), Some([[0x7f].as_slice(), &[0xff; 15]].concat())];
    let most = "1701411834604692317316873037158841057.27";
    check("fixed_len_byte_array(16) measure.calls (DECIMAL(38,2))", Cells::Fixed(bytes), &["-0.01", most]);
    check("binary measure.calls (DECIMAL(38,1))", Cells::Bytes(vec![None, Some(vec![1, 0])]), &["25.6"]);
}

#[test]
fn text_is_text_and_so_are_whole_numbers_and_uuids_where_text_belongs() {
    let what = |value: &str| format!(r#""what":{{"of":{value}"#);
    let check = |column: &str, cells: Cells, value: &str| check(&format!("optional {column}"), cells, &["", &what(value)]);
    let bytes = |text: &str| Cells::Bytes(vec![None, Some(text.as_bytes().to_vec())]);
    check("binary what.of (STRING)", bytes("é \"x\"\n"), r#""é \"x\"\n""#);
    check("binary what.of", bytes("x"), r#""x""#);
    check("binary what.of (ENUM)", bytes("x"), r#""x""#);
    check("binary what.of (STRING)", bytes(""), r#""""#);
    check("int64 what.of", Cells::I64(vec![None, Some(-12)]), r#""-12""#);
    let uuid = Cells::Fixed(vec![None, Some((0..16).collect())]);
    check("fixed_len_byte_array(16) what.of (UUID)", uuid, r#""00010203-0405-0607-0809-0a0b0c0d0e0f""#);
}

#[test]
fn times_are_text_or_timestamps_in_utc() {
    let ets = |value: &str| format!(r#""ets":"{value}""#);
    let check = |column: &str, cells: Cells, value: &str| check(&format!("optional {column}"), cells, &["", &ets(value)]);
    let ms = 1_780_272_000_123;
    check("binary ets (STRING)", Cells::Bytes(vec![None, Some(b"as written".to_vec())]), "as written");
    check("int64 ets (TIMESTAMP(MILLIS,true))", Cells::I64(vec![None, Some(ms)]), "2026-06-01T00:00:00.123Z");
    check("int64 ets (TIMESTAMP(MICROS,true))", Cells::I64(vec![None, Some(ms * 1_000)]), "2026-06-01T00:00:00.123Z");
    check(
        "int64 ets (TIMESTAMP(NANOS,true))",
        Cells::I64(vec![None, Some(ms * 1_000_000 + 1)]),
        "2026-06-01T00:00:00.123000001Z",
    );
    check("int64 ets (TIMESTAMP_MILLIS)", Cells::I64(vec![None, Some(0)]), "1970-01-01T00:00:00Z");
    let mut julian = Int96::new();
    julian.set_data(1_000_000_000, 0, 2_440_588);
    check("int96 ets", Cells::I96(vec![None, Some(julian)]), "1970-01-01T00:00:01Z");
}

#[test]
fn a_column_of_another_type_stops_everything_before_the_first_row() {
    let numbers = "expected numbers (INT32, INT64, FLOAT, DOUBLE or DECIMAL) in column \"measure.calls\"; found ";
    let text_expected = "expected text (or whole numbers, or UUIDs) in column \"what.of\"; found ";
    let times = "expected times (text, or timestamps that are adjusted to UTC) in column \"ets\"; found ";
    let said = |expected: &str, found: &str| format!("{expected}{found}");
    let (one, i32s, i64s) = (|| text(&["x"]), || Cells::I32(vec![Some(1)]), || Cells::I64(vec![Some(1)]));
    check_refused("required binary measure.calls (STRING)", one(), &said(numbers, "text"));
    check_refused("required binary measure.calls", one(), &said(numbers, "BYTE_ARRAY"));
    check_refused("required int32 measure.calls (DATE)", i32s(), &said(numbers, "INT32 (DATE)"));
    check_refused("required double what.of", Cells::F64(vec![Some(0.5)]), &said(text_expected, "DOUBLE"));
    check_refused("required int32 what.of (TIME(MILLIS,true))", i32s(), &said(text_expected, "INT32 (TIME_MILLIS)"));
    check_refused("required binary what.of (BSON)", one(), &said(text_expected, "BYTE_ARRAY (BSON)"));
    check_refused("required int64 ets", i64s(), &said(times, "INT64"));
    check_refused("required int32 ets (DATE)", i32s(), &said(times, "INT32 (DATE)"));
    let zoneless = said(times, "timestamps without a zone, which could mean any");
    check_refused("required int64 ets (TIMESTAMP(MICROS,false))", i64s(), &zoneless);
    check_refused("required int64 measure.calls (TIMESTAMP(MICROS,true))", i64s(), &said(numbers, "timestamps"));
}

#[test]
fn a_column_that_is_missing_or_unknown_or_a_list_stops_everything_too() {
    let told = |schema: &str| {
        let columns = schema.matches(';').count();
        let group = (0..columns).map(|_| text(&["x"])).collect();
        collect(|sink| read_bytes(&file(schema, plain(), &[group]), sink)).unwrap_err()
    };
    let missing = told("required binary meter (STRING); required binary ts (STRING);");
    assert_eq!(missing, "line 1: expected a column account in the header");
    let unknown = told(&format!("{IDENTITY} required binary region (STRING);"));
    assert!(unknown.starts_with("line 1: column 4 is named \"region\"; expected one of uid, meter,"), "{unknown}");
    let schema = format!("{IDENTITY} repeated binary what.tags (STRING);");
    let schema = parse_message_type(&format!("message m {{ {schema} }}")).unwrap();
    let mut bytes = Vec::new();
    SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(plain())).unwrap().close().unwrap();
    let list = collect(|sink| read_bytes(&bytes, sink)).unwrap_err();
    assert_eq!(list, "line 1: expected one value a row in column \"what.tags\"; found a list or a map");
}

#[test]
fn a_row_that_cannot_be_is_refused_by_its_number_and_those_behind_it_are_read() {
    let double = [1.5, f64::NAN, f64::INFINITY, 2.5].map(Some).to_vec();
    let (good, other) = (r#""cost":{"eur":1.5"#, r#""cost":{"eur":2.5"#);
    check("required double cost.eur", Cells::F64(double), &[good, "FieldNotNumber", "FieldNotNumber", other]);
    let float = [1.5, f32::NEG_INFINITY, 2.5].map(Some).to_vec();
    check("required float cost.eur", Cells::F32(float), &[good, "FieldNotNumber", other]);
    let wide = [vec![15], [vec![1], vec![0; 16]].concat(), vec![], vec![25]].map(Some).to_vec();
    check("required binary cost.eur (DECIMAL(40,1))", Cells::Bytes(wide), &[good, "FieldNotNumber", "FieldNotNumber", other]);
    let not_text = [b"x".to_vec(), b"\xff".to_vec(), b"y".to_vec()].map(Some).to_vec();
    let expected = [r#""who":{"by":"x""#, "NotJson", r#""who":{"by":"y""#];
    check("required binary who.by (STRING)", Cells::Bytes(not_text), &expected);
    let late = [0, i64::MAX, 0].map(Some).to_vec();
    let time = r#""ets":"1970-01-01T00:00:00Z""#;
    check("required int64 ets (TIMESTAMP(MILLIS,true))", Cells::I64(late), &[time, "TimestampInvalid", time]);
    let long = [b"x".to_vec(), vec![b'x'; TEXT_BYTES_MAX], b"y".to_vec()].map(Some).to_vec();
    check("required binary who.by (STRING)", Cells::Bytes(long), &[expected[0], "Oversize", expected[2]]);
}

/// `rows` measurements, in groups of `group`, and the text of each.
fn many(rows: usize, group: usize, properties: WriterProperties) -> (Vec<u8>, Vec<(u64, String)>) {
    let schema = "required binary uid (STRING); required binary meter (STRING); required binary account (STRING); \
                  required int64 ts (TIMESTAMP(MILLIS,true)); optional int64 measure.calls; optional double cost.eur;";
    let numbers: Vec<usize> = (0..rows).collect();
    let (mut groups, mut texts) = (Vec::new(), Vec::new());
    for numbers in numbers.chunks(group) {
        let of = |text: &dyn Fn(usize) -> String| {
            Cells::Bytes(numbers.iter().map(|number| Some(text(*number).into_bytes())).collect())
        };
        let calls = |number: usize| (!number.is_multiple_of(3)).then_some(number as i64);
        let eur = |number: usize| (!number.is_multiple_of(5)).then_some(number as f64 / 8.0);
        groups.push(vec![
            of(&|number| format!("uid-{number}")),
            of(&|_| "api".to_owned()),
            of(&|number| format!("account-{}", number % 7)),
            Cells::I64(numbers.iter().map(|number| Some(*number as i64 * 1_000)).collect()),
            Cells::I64(numbers.iter().map(|number| calls(*number)).collect()),
            Cells::F64(numbers.iter().map(|number| eur(*number)).collect()),
        ]);
        for number in numbers {
            let time = jiff::Timestamp::from_second(*number as i64).unwrap();
            let calls = calls(*number).map_or(String::new(), |calls| format!(r#","measure":{{"calls":{calls}}}"#));
            let eur = eur(*number).map_or(String::new(), |eur| format!(r#","cost":{{"eur":{eur:?}}}"#));
            let account = number % 7;
            let text =
                format!(r#"{{"uid":"uid-{number}","meter":"api","account":"account-{account}","ts":"{time}"{calls}{eur}}}"#);
            texts.push((*number as u64 + 1, text));
        }
    }
    (file(schema, properties, &groups), texts)
}

#[test]
fn however_pages_are_packed_and_rows_are_grouped_the_same_rows_come_out() {
    let gzip = Compression::GZIP(GzipLevel::default());
    for packed in [Compression::UNCOMPRESSED, Compression::SNAPPY, gzip, Compression::ZSTD(ZstdLevel::default())] {
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            for (dictionary, group) in [(true, 5_000), (false, 1_500)] {
                let properties = WriterProperties::builder()
                    .set_compression(packed)
                    .set_writer_version(version)
                    .set_dictionary_enabled(dictionary)
                    .set_data_page_row_count_limit(700)
                    .build();
                let (bytes, texts) = many(5_000, group, properties);
                assert!(collect(|sink| read_bytes(&bytes, sink)) == Ok(texts), "{packed} {version:?} {dictionary}");
            }
        }
    }
}

#[test]
fn fields_of_a_struct_are_columns_of_their_own() {
    let schema = format!("{IDENTITY} optional group measure {{ optional int64 calls; required int64 bytes; }}");
    let mut group = identity(2);
    group.extend([Cells::I64(vec![Some(1), None]), Cells::I64(vec![Some(2), None])]);
    let found = collect(|sink| read_bytes(&file(&schema, plain(), &[group]), sink)).unwrap();
    let start = r#"{"meter":"m","account":"a","ts":"t""#;
    assert_eq!(found, [(1, format!(r#"{start},"measure":{{"calls":1,"bytes":2}}}}"#)), (2, format!("{start}}}"))]);
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_an_error() {
    let (bytes, _) = many(40, 20, plain());
    for length in 0..bytes.len() {
        let told = collect(|sink| read_bytes(&bytes[..length], sink)).unwrap_err();
        assert!(told.starts_with("line 1: expected a Parquet file that is whole: "), "{length}: {told}");
    }
}

#[test]
fn a_file_that_was_changed_anywhere_never_panics_and_loses_no_row_without_a_word() {
    let properties = || WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let (bytes, texts) = many(40, 20, properties());
    let mut stopped = 0;
    for at in 0..bytes.len() {
        for bit in [0x01, 0x80] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            let mut lines = Vec::new();
            let end = read_bytes(&changed, &mut |line: u64, _: &str| {
                lines.push(line);
                Ok(())
            });
            match end {
                Ok(()) => assert_eq!(lines.len(), texts.len(), "byte {at}"),
                Err(Stop::Line { line, .. }) => {
                    stopped += 1;
                    // A refusal, or the end behind rows that were read.
                    assert!(line as usize <= texts.len() + 1, "byte {at}");
                }
                Err(stop) => panic!("byte {at}: {stop:?}"),
            }
        }
    }
    assert!(stopped > bytes.len() / 2, "{stopped} of {}", 2 * bytes.len());
}

#[test]
fn what_is_no_file_cannot_be_parquet_and_what_is_none_is_not_taken_for_it() {
    let (bytes, texts) = many(10, 10, plain());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    std::fs::write(&path, &bytes).unwrap();
    for wanted in [Format::Auto, Format::Parquet, Format::Csv] {
        let source = Source::at(&path);
        assert_eq!(collect(|sink| crate::read::read(&source, wanted, sink)).as_ref(), Ok(&texts));
        assert!(source.bytes_read() <= source.bytes().unwrap() && source.bytes_read() > 0);
    }
    std::fs::write(&path, "{}\n").unwrap();
    let told = collect(|sink| crate::read::read(&Source::at(&path), Format::Parquet, sink)).unwrap_err();
    assert_eq!(told, "line 1: expected Parquet, which begins with the characters PAR1");
}

/// Three rows, written by pyarrow 26 with `pq.write_table(…, compression="zstd", write_page_checksum=True)`.
const BY_PYARROW: &[u8] = include_bytes!("by_pyarrow.parquet");

#[test]
fn a_file_of_pyarrow_is_read_as_it_was_meant() {
    let start =
        |uid: &str, account: &str| format!(r#"{{{uid}"meter":"api","account":"{account}","ts":"2026-05-31T12:00:00.123456Z""#);
    let expected = [
        (
            1,
            start(r#""uid":"u1","#, "acme")
                + r#","measure":{"calls":1},"cost":{"eur":1.50},"income":{"usd":0.1},"other":{"note":"x"}}"#,
        ),
        (2, start(r#""uid":"u2","#, r#"é\"1"#) + r#","cost":{"eur":-0.05},"income":{"usd":1e+21}}"#),
        (3, start("", "acme") + r#","measure":{"calls":18446744073709551615}}"#),
    ];
    assert_eq!(collect(|sink| read_bytes(BY_PYARROW, sink)), Ok(expected.to_vec()));
}

#[test]
fn a_page_with_a_checksum_is_never_read_changed() {
    let whole = collect(|sink| read_bytes(BY_PYARROW, sink)).unwrap();
    let footer_bytes = u32::from_le_bytes(*BY_PYARROW[..BY_PYARROW.len() - 4].last_chunk().unwrap()) as usize;
    let pages = 4..BY_PYARROW.len() - 8 - footer_bytes;
    for at in pages {
        let mut changed = BY_PYARROW.to_vec();
        changed[at] ^= 0x10;
        // Some of what a page says of itself, such as how many values are null, means nothing to us.
        assert!(collect(|sink| read_bytes(&changed, sink)).map_or(true, |found| found == whole), "byte {at}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_no_fault_of_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::create(folder.path().join("in")).unwrap();
    (&file).write_all(BY_PYARROW).unwrap();
    // It was opened for writing alone.
    let end = read(file, Arc::default(), &mut |_: u64, _: &str| Ok(()));
    assert!(matches!(end, Err(Stop::Unreadable(error)) if !is_of_the_data(&error)));
}
