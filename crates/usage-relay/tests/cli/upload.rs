//! `usage-relay upload`, run as a user runs it: files in every format, a sandbox on a socket, a store in a folder.
//!
//! The clock is this machine's, so measurements lie in a fixed past, and it is declared that none of them was sent before.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use m3ter_sandbox::{Choices, FailedRows, Limits, Options, State};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType};
use serde_json::{Value, json};

use crate::m3ter_given::M3ter;
use crate::store_given::{err, json as json_of, out};

/// Long ago: `--first-sent never` is needed to send it.
const TS: &str = "2020-01-01T00:00:00Z";
const NEVER: &[&str] = &["--first-sent", "never"];

/// m3ter, a store, and a folder of files.
pub(crate) struct World {
    pub(crate) m3ter: M3ter,
    pub(crate) folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(M3ter::processing(None))
    }

    pub(crate) fn with(m3ter: M3ter) -> World {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("store")).unwrap();
        World { m3ter, folder }
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn given(&self, words: &[&str]) -> Command {
        let mut command = self.m3ter.command(words);
        command.env("STORE_URL", format!("file://{}", self.path("store").display()));
        command
    }

    /// The command with these words, of measurements that were never sent.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        self.given(&[&["upload"], words, NEVER].concat())
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// The same, with something to read.
    fn piped(&self, words: &[&str], content: &[u8]) -> Output {
        let mut command = self.command(words);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Meter, account, time and calls of each measurement that m3ter counted, by its uid, and how often it did.
    pub(crate) fn counted(&self) -> BTreeMap<String, (String, u64)> {
        let query = m3ter_sandbox::LedgerQuery { measurements: true, ..Default::default() };
        let mut counted: BTreeMap<String, (String, u64)> = BTreeMap::new();
        for line in self.m3ter.sandbox.ledger_of(&query).measurements.unwrap() {
            if line.state == State::Ingested {
                let measurement: Value = serde_json::from_str(line.measurement.get()).unwrap();
                let text = format!("{} {} {} {:?}", line.meter, line.account, line.ts, measurement["measure"]["calls"].as_f64());
                counted.entry(line.uid.unwrap()).or_insert((text, 0)).1 += 1;
            }
        }
        counted
    }

    /// How many measurements m3ter counted, if it counted each once.
    pub(crate) fn once(&self) -> usize {
        let counted = self.counted();
        assert!(counted.values().all(|(_, times)| *times == 1), "{counted:?}");
        counted.len()
    }

    /// What the quarantine has of this upload, in the order of the file: line, reason, and what is kept of the row.
    fn quarantined(&self, upload: &str) -> Vec<(u64, String, String)> {
        let output = self.given(&["quarantine", "export", "--message", upload]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let mut entries: Vec<(u64, String, String)> = out(&output).lines().map(entry).collect();
        entries.sort();
        entries
    }

    /// The ids of all uploads in the store.
    pub(crate) fn uploads(&self) -> Vec<String> {
        names(&self.path("store/upload-journals/v1"))
    }
}

/// What is in a folder.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let Ok(read) = std::fs::read_dir(folder) else { return Vec::new() };
    read.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Line, reason, and what is kept of the row: the text that is no measurement, or the line that holds one as it was written.
fn entry(line: &str) -> (u64, String, String) {
    let entry: Value = serde_json::from_str(line).unwrap();
    let detail = entry["detail"].as_str().unwrap();
    let number =
        detail.strip_prefix("line ").and_then(|rest| rest.split_once(": expected")).unwrap_or_else(|| panic!("{detail}")).0;
    let kept = entry["body"].as_str().unwrap_or(line);
    (number.parse().unwrap(), entry["reason"].as_str().unwrap().to_owned(), kept.to_owned())
}

/// A measurement whose calls are its number.
fn row(number: usize) -> String {
    format!(r#"{{"uid":"u-{number}","meter":"api","account":"acme","ts":"{TS}","measure":{{"calls":{number}}}}}"#)
}

pub(crate) fn ndjson(rows: usize) -> String {
    (1..=rows).map(|number| row(number) + "\n").collect()
}

fn array(rows: usize) -> String {
    format!("[{}]", (1..=rows).map(row).collect::<Vec<_>>().join(",\n"))
}

fn csv(rows: usize) -> String {
    let row = |number: usize| format!("u-{number},api,acme,{TS},{number}\n");
    format!("uid,meter,account,ts,measure.calls\n{}", (1..=rows).map(row).collect::<String>())
}

/// A row of a table: uid, meter, account and time where there are any, and calls.
type Cells = ([Option<String>; 4], f64);

fn cells(number: usize) -> Cells {
    ([format!("u-{number}"), "api".to_owned(), "acme".to_owned(), TS.to_owned()].map(Some), number as f64)
}

fn parquet(rows: &[Cells]) -> Vec<u8> {
    let schema = ["uid", "meter", "account", "ts"].map(|name| format!("optional binary {name} (STRING);")).concat();
    let schema = parquet::schema::parser::parse_message_type(&format!("message m {{ {schema} optional double measure.calls; }}"));
    let mut file =
        parquet::file::writer::SerializedFileWriter::new(Vec::new(), schema.unwrap().into(), Default::default()).unwrap();
    let mut group = file.next_row_group().unwrap();
    for place in 0..4 {
        let values: Vec<ByteArray> = rows.iter().filter_map(|(row, _)| Some(row[place].as_deref()?.into())).collect();
        let levels: Vec<i16> = rows.iter().map(|(row, _)| row[place].is_some().into()).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).unwrap();
        column.close().unwrap();
    }
    let values: Vec<f64> = rows.iter().map(|(_, calls)| *calls).collect();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<DoubleType>().write_batch(&values, Some(&vec![1; rows.len()]), None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.into_inner().unwrap()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    flate2::read::GzEncoder::new(content, flate2::Compression::fast()).read_to_end(&mut packed).unwrap();
    packed
}

fn zstd(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

#[test]
fn every_format_packed_or_not_ends_as_the_same_counted_measurements() {
    let rows: Vec<Cells> = (1..=30).map(cells).collect();
    let plain = [ndjson(30).into_bytes(), array(30).into_bytes(), csv(30).into_bytes()];
    let mut files: Vec<Vec<u8>> = plain.iter().flat_map(|plain| [plain.clone(), gzip(plain), zstd(plain)]).collect();
    files.push(parquet(&rows));
    let expected: BTreeMap<String, (String, u64)> =
        (1..=30).map(|number| (format!("u-{number}"), (format!("api acme {TS} Some({number}.0)"), 1))).collect();
    for (number, content) in files.iter().enumerate() {
        let world = World::new();
        let output = world.run(&[&world.file("usage", content)]);
        assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()), "file {number}");
        let text = format!("{}: 30 rows: m3ter processed 30 in 1 part\n", world.path("usage").display());
        assert_eq!((out(&output), world.counted()), (text, expected.clone()), "file {number}");
    }
}

#[test]
fn standard_input_is_uploaded_too_and_its_id_is_said_since_it_cannot_be_read_again() {
    let world = World::new();
    let output = world.piped(&["-", "--json"], &gzip(ndjson(30).as_bytes()));
    let told = json_of(&output, 0);
    let upload = told["upload"].as_str().unwrap();
    assert_eq!((&told["file"], &told["rows"], &told["sent"]), (&json!("standard input"), &json!(30), &json!(30)));
    let said = format!("usage-relay: standard input is upload {upload}; once it is read, --resume goes on with it\n");
    assert_eq!((err(&output), world.once(), world.uploads()), (said, 30, vec![upload.to_owned()]));
}

#[test]
fn what_comes_through_a_pipe_that_has_a_name_is_uploaded_and_not_only_looked_at() {
    let world = World::new();
    let pipe = world.path("pipe").to_str().unwrap().to_owned();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let writer = std::thread::spawn({
        let pipe = pipe.clone();
        move || std::fs::write(pipe, ndjson(30)).unwrap()
    });
    assert_eq!(json_of(&world.run(&[&pipe, "--json"]), 0)["sent"], 30);
    writer.join().unwrap();
    assert_eq!(world.once(), 30);
}

/// Line and reason of a bad row, and something that is kept of it.
type BadRow<'t> = (u64, &'t str, &'t str);

#[test]
fn malformed_rows_of_every_format_are_in_the_quarantine_with_line_and_reason_and_the_good_ones_are_counted() {
    let no_meter = row(2).replace("\"meter\":\"api\",", "");
    let (first, last) = (row(1), row(9));
    let text = [first.as_bytes(), b"\n", no_meter.as_bytes(), b"\nhello\n\xff\n\n[1]\n", last.as_bytes()].concat();
    let list = format!("[{first},\n{no_meter},\n7, [],\n\n{last}]");
    let table = format!(
        "uid,meter,account,ts,measure.calls\nu-1,api,acme,{TS},1\nu-2,,acme,{TS},2\nu-3,api,acme,{TS},many\nu-4,api\nu-9,api,acme,{TS},9\n"
    );
    let mut rows = [1, 2, 3, 9].map(cells);
    (rows[1].0[1], rows[2].1) = (None, f64::NAN);
    let expected: [(&str, Vec<u8>, &[BadRow<'_>]); 4] = [
        (
            "usage.ndjson",
            text,
            &[(2, "MeterMissing", &no_meter), (3, "NotJson", "hello"), (4, "NotJson", ""), (6, "NotAMeasurement", "[1]")],
        ),
        ("usage.json", list.into(), &[(2, "MeterMissing", &no_meter), (3, "NotAMeasurement", "7"), (3, "NotAMeasurement", "[]")]),
        ("usage.csv", table.into(), &[(3, "MeterMissing", "\"u-2\""), (4, "FieldNotNumber", ""), (5, "NotAMeasurement", "")]),
        ("usage.parquet", parquet(&rows), &[(2, "MeterMissing", "\"u-2\""), (3, "FieldNotNumber", "")]),
    ];
    for (name, content, expected) in expected {
        let world = World::new();
        let told = json_of(&world.run(&[&world.file(name, content), "--json"]), 0);
        assert_eq!((&told["sent"], &told["quarantined"]), (&json!(2), &json!(expected.len())), "{name}: {told}");
        let found = world.quarantined(told["upload"].as_str().unwrap());
        let reasons: Vec<(u64, &str)> = found.iter().map(|(line, reason, _)| (*line, reason.as_str())).collect();
        let wanted: Vec<(u64, &str)> = expected.iter().map(|(line, reason, _)| (*line, *reason)).collect();
        assert_eq!(reasons, wanted, "{name}");
        for ((_, _, kept), (line, _, text)) in found.iter().zip(expected) {
            assert!(kept.contains(text), "{name} line {line}: expected {text}, found {kept}");
        }
        assert_eq!(world.counted().keys().collect::<Vec<_>>(), ["u-1", "u-9"], "{name}");
    }
}

#[test]
fn bad_rows_are_told_with_what_to_do_and_change_nothing_of_the_exit_code() {
    let world = World::new();
    let rows = format!("{}{}\n{}\n", ndjson(2), row(3).replace("acme", ""), row(2).replace(":2}", ":7}"));
    let output = world.run(&[&world.file("usage", rows)]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].ends_with("usage: 4 rows: m3ter processed 2 in 1 part, 2 in the quarantine"), "{text}");
    let upload = world.uploads().remove(0);
    for expected in
        ["    line 3: expected", "    line 4: expected one content under a uid", &format!("quarantine list --message {upload}")]
    {
        assert!(text.contains(expected), "{expected}: {text}");
    }
}

#[test]
fn strictly_one_bad_row_sends_nothing_of_its_file_and_is_1() {
    let world = World::new();
    let rows = format!("{}{}\n", ndjson(2), row(3).replace("acme", ""));
    let file = world.file("usage", rows);
    let output = world.run(&[&file, "--strict"]);
    let said = err(&output);
    assert_eq!((output.status.code(), out(&output), said.lines().count()), (Some(1), String::new(), 1));
    let expected = format!("usage-relay: {file}: nothing was sent: line 3: expected");
    assert!(said.starts_with(&expected) && said.ends_with(": mend that, and upload the file again\n"), "{said}");
    assert_eq!(world.once(), 0);
    assert!(world.m3ter.sandbox.ledger().uploads.is_empty());
    // Mended, it is another file; and without --strict the same one goes, since nothing of it went before.
    assert_eq!(world.run(&[&world.file("usage", ndjson(3)), "--strict"]).status.code(), Some(0));
    assert_eq!(world.once(), 3);
}

#[test]
fn uids_are_made_from_the_content_if_asked_for_and_are_the_same_from_every_format() {
    let world = World::new();
    let text: String = (1..=5).map(|number| row(number).replace(&format!("\"uid\":\"u-{number}\","), "") + "\n").collect();
    let table: String = csv(5).lines().map(|line| line.split_once(',').unwrap().1.to_owned() + "\n").collect();
    let (text, table) = (world.file("text", format!("{text}{text}")), world.file("table", table));
    let refused = json_of(&world.run(&[&text, "--json"]), 0);
    assert_eq!((&refused["sent"], &refused["quarantined_by_reason"]["UidMissing"]["rows"]), (&json!(0), &json!(10)));
    let told = json_of(&world.run(&[&text, "--mint", "content", "--json"]), 0);
    assert_eq!((&told["sent"], &told["copies"], &told["quarantined"]), (&json!(5), &json!(5), &json!(0)));
    let told = json_of(&world.run(&[&table, "--mint", "content", "--json"]), 0);
    assert_eq!((&told["sent"], world.once()), (&json!(5), 5), "m3ter drops what it has");
}

#[test]
fn a_file_that_is_done_is_sent_once_more_only_if_asked_for() {
    let world = World::new();
    let file = world.file("usage", ndjson(5));
    let first = json_of(&world.run(&[&file, "--json"]), 0);
    // Under whatever name: it is known by its content.
    let copy = world.file("copy", ndjson(5));
    let output = world.run(&[&copy]);
    let said = err(&output);
    assert_eq!((output.status.code(), out(&output), said.lines().count()), (Some(1), String::new(), 1));
    let upload = first["upload"].as_str().unwrap();
    assert!(said.starts_with(&format!("usage-relay: {copy} was uploaded on 20")) && said.contains(upload), "{said}");
    assert!(said.contains("--again sends it once more"), "{said}");
    assert_eq!(world.m3ter.sandbox.ledger().uploads.len(), 1);
    let again = json_of(&world.run(&[&copy, "--again", "--json"]), 0);
    assert_eq!((&again["sent"], again["upload"] == first["upload"]), (&json!(5), false));
    assert_eq!((world.m3ter.sandbox.ledger().totals.duplicates, world.once()), (5, 5), "m3ter drops what it has");
}

#[test]
fn what_m3ter_may_have_forgotten_goes_only_with_the_word_that_it_was_never_sent() {
    let world = World::new();
    let file = world.file("usage", ndjson(5));
    let output = world.given(&["upload", &file]).output().unwrap();
    let text = out(&output);
    assert!(output.status.success() && text.contains("5 rows: nothing to send, 5 in the quarantine"), "{output:?}");
    assert!(text.contains("  5 OutsideWindow\n") && text.contains("was sent before: --first-sent never\n"), "{text}");
    assert_eq!((world.quarantined(&world.uploads()[0]).len(), world.once()), (5, 0));
    assert_eq!(json_of(&world.run(&[&file, "--json"]), 0)["sent"], 5);
    assert_eq!(world.once(), 5);
    // Now it was sent, a moment ago: once more is safe.
    assert_eq!(json_of(&world.run(&[&file, "--json", "--again"]), 0)["quarantined"], 0);
    assert_eq!(world.once(), 5);
}

#[test]
fn of_two_files_one_of_which_is_bad_the_other_is_uploaded_and_it_is_1() {
    let good = |world: &World| world.file("good", ndjson(5));
    for (content, expected) in [
        (&b"hello"[..], "nothing was sent: line 1: expected a JSON object, a JSON array, or a CSV header"),
        (&gzip(&[b' '; 9_000])[..20], "nothing was sent: line 1: expected a file that can be unpacked to its end"),
        (&array(9).as_bytes()[..300], "nothing was sent: line 4: expected"),
    ] {
        let world = World::new();
        let output = world.run(&[&world.file("bad", content), &good(&world), "--json"]);
        let lines: Vec<Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((output.status.code(), lines.len()), (Some(1), 2), "one line for each: {output:?}");
        assert_eq!((&lines[0]["status"], &lines[1]["status"]), (&json!("failed"), &json!("done")));
        assert_eq!((&lines[0]["file"], &lines[1]["sent"]), (&json!(world.path("bad")), &json!(5)));
        assert!(lines[0]["because"].as_str().unwrap().starts_with(expected), "{expected}: {}", lines[0]);
        assert!(err(&output).starts_with(&format!("usage-relay: {}: {expected}", world.path("bad").display())), "{output:?}");
        assert_eq!(world.once(), 5);
    }
}

#[test]
fn a_file_that_is_not_there_is_told_before_any_is_sent() {
    let world = World::new();
    let output = world.run(&[&world.file("good", ndjson(5)), "/nowhere/usage"]);
    let expected = "usage-relay: cannot read /nowhere/usage: No such file or directory (os error 2)\n".to_owned();
    assert_eq!((output.status.code(), err(&output), world.once()), (Some(2), expected, 0));
}

#[test]
fn a_file_is_sent_in_parts_of_the_size_that_was_asked_for() {
    let world = World::new();
    let bytes = 2_500_000;
    let rows = bytes / row(10_000).len();
    let told = json_of(&world.run(&[&world.file("usage", ndjson(rows)), "--part-bytes", "1048576", "--json"]), 0);
    let parts = told["parts"].as_array().unwrap();
    assert!(parts.len() == 3 && parts.iter().all(|part| part["bytes"].as_u64().unwrap() <= 1_048_576), "{told}");
    assert_eq!((&told["sent"], world.once()), (&json!(rows), rows));
    // Nothing is kept of them but the journal.
    let kept = names(&world.path("store/upload-journals/v1").join(told["upload"].as_str().unwrap()));
    assert!(kept.iter().all(|name| name.starts_with("step-")), "{kept:?}");
}

#[test]
fn what_m3ter_rejects_row_by_row_is_fetched_into_the_quarantine_with_m3ters_reason() {
    let choices = Choices { failed_rows: FailedRows::NotIngested, ..Choices::default() };
    let m3ter = M3ter::with(Options { limits: Limits::none(), choices, ..Options::default() });
    let world = World::with(m3ter);
    let rows = format!("{}{}\n", ndjson(4), row(5).replace("\"api\"", "\"apo\""));
    let output = world.run(&[&world.file("usage", rows)]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    let text = out(&output);
    assert!(text.contains("5 rows: m3ter processed 5 in 1 part\n  1 row that m3ter rejected: its events say why"), "{text}");
    assert!(text.lines().last().unwrap().contains("1 event acted on; 1 rejected later: in the quarantine"), "{text}");
    let listed = json_of(&world.given(&["quarantine", "list", "--json"]).output().unwrap(), 0);
    assert_eq!((&listed["open"], &listed["by"]["reason"][0]["name"]), (&json!(1), &json!("UndefinedMeter")));
    assert_eq!(world.once(), 4);
}
