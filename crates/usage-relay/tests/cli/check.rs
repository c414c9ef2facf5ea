//! `usage-relay check`, run as a user runs it: the relay's own rules, on files of every format.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use relay_core::reason::Reason;
use relay_store::{AccountLine, MeterLine, StoredCatalogue};
use serde_json::{Value, json};

use crate::corpus::{self, Case, Expect};
use crate::store_given::{Given, START_MS, err, out};

/// A folder with a file, and the command on it.
struct Checked {
    folder: tempfile::TempDir,
}

impl Checked {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("in")
    }

    fn file(&self, content: impl AsRef<[u8]>, words: &[&str]) -> Output {
        std::fs::write(self.path(), content).unwrap();
        command(words).arg(self.path()).stdin(Stdio::null()).output().unwrap()
    }
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
    command.env_clear().arg("check").args(words);
    command
}

fn file(content: impl AsRef<[u8]>, words: &[&str]) -> Output {
    Checked::new().file(content, words)
}

fn piped(content: &[u8], words: &[&str]) -> Output {
    let mut child = command(words).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(content).unwrap();
    child.wait_with_output().unwrap()
}

/// What `--json` said: each finding, warning or note, and the summary.
fn told(output: &Output) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> = out(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    (lines, summary)
}

/// Line and reason of each.
fn reasons(output: &Output) -> Vec<(u64, String)> {
    let named = |one: &Value| (one["line"].as_u64().unwrap(), one["reason"].as_str().unwrap().to_owned());
    told(output).0.iter().map(named).collect()
}

fn good(uid: &str) -> String {
    format!(r#"{{"uid":"{uid}","meter":"m","account":"a","ts":"2026-05-31T00:00:00Z","measure":{{"calls":1}}}}"#)
}

fn owned<const N: usize>(expected: [(u64, &str); N]) -> Vec<(u64, String)> {
    expected.map(|(line, reason)| (line, reason.to_owned())).into()
}

/// Times of the corpus are minutes and more from now, and the command reads this clock.
#[expect(clippy::disallowed_methods, reason = "the command under test is another process")]
fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What a file of this body holds, where that is not what a message of it holds.
fn as_a_file(case: &Case) -> Option<Vec<&'static str>> {
    let lines = case.body.lines().count();
    Some(match case.name.as_str() {
        // A measurement that is written over several lines is none in a file of lines.
        "pretty-printed over several lines" => vec!["NotJson"; lines],
        "a line break inside a string" => vec!["NotJson"; 2],
        // What no format begins with.
        "text that is no JSON" | "a measurement encoded twice" | "lines that are JSON, but no objects" => vec!["EnvelopeInvalid"],
        // Files may begin with a byte order mark, and hold nothing.
        "a byte order mark before a measurement" | "a byte order mark before lines costs the first of them" => vec![],
        "nothing but white space" | "an empty array" | "no measurements, as the API takes them" => vec![],
        // On a line of its own it is a measurement with a property that nobody knows.
        "measurements and a measurement in one object" => vec![],
        "an account beside measurements that have none" => vec!["MeterMissing"],
        _ => return None,
    })
}

/// Whether a file can say the same: it has no attributes but one, is not packed as messages are, and is no envelope.
fn is_of_a_file(case: &Case) -> bool {
    let is_known = |(name, _): &(String, String)| name == "usage-relay-first-sent-at";
    let is_envelope = ["detail-type", "\"Notification\""].into_iter().any(|key| case.body.contains(key));
    let is_envelope = is_envelope || case.body.contains("payloadoffloading") || case.body.contains("PayloadS3Pointer");
    case.attributes.iter().all(is_known) && case.written.1.is_empty() && !is_envelope && case.expect != Expect::Returned
}

#[test]
fn every_case_of_the_corpus_that_a_file_can_hold_ends_with_the_reasons_it_names() {
    let (checked, mut seen) = (Checked::new(), BTreeSet::new());
    for case in corpus::cases(now_ms()).into_iter().filter(is_of_a_file) {
        let Expect::Each(words) = &case.expect else { continue };
        let expected: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "good").collect();
        let expected = as_a_file(&case).unwrap_or(expected);
        let mut options = vec!["--json".to_owned()];
        for (_, value) in &case.attributes {
            // One that is not readable tells nothing.
            let sent = value
                .parse::<i64>()
                .map_or("1970-01-01".to_owned(), |ms| jiff::Timestamp::from_millisecond(ms).unwrap().to_string());
            options.extend(["--first-sent".to_owned(), sent]);
        }
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let output = checked.file(&case.body, &options);
        let found: Vec<String> = reasons(&output).into_iter().map(|(_, reason)| reason).collect();
        assert_eq!(found, expected, "{}", case.name);
        assert_eq!(output.status.code(), Some(i32::from(!expected.is_empty())), "{}", case.name);
        seen.extend(found);
    }
    let is_elsewhere = |reason: &Reason| {
        let ends =
            [Reason::DecodeFailed, Reason::RefusedByApi, Reason::Exhausted, Reason::DeliveryExhausted, Reason::PayloadMissing];
        ends.contains(reason) || reason.is_of_the_catalogue() || *reason == Reason::Empty
    };
    let possible: BTreeSet<String> =
        Reason::ALL.into_iter().filter(|reason| !is_elsewhere(reason)).map(|reason| reason.name().to_owned()).collect();
    assert_eq!(seen, possible);
}

#[test]
fn a_time_slightly_ahead_is_a_note_and_further_ahead_a_finding() {
    let at = |minutes: i64| {
        let ts = jiff::Timestamp::from_millisecond(now_ms() + minutes * 60_000).unwrap();
        good("u").replace("2026-05-31T00:00:00Z", &ts.to_string())
    };
    let output = file(at(10), &["--json", "--all"]);
    assert_eq!((output.status.code(), reasons(&output)), (Some(0), owned([(1, "SlightlyAhead")])));
    assert_eq!(reasons(&file(at(20), &["--json"])), owned([(1, "TimestampInFuture")]));
}

#[test]
fn every_format_plain_or_packed_from_a_file_or_a_pipe_gives_the_same() {
    let without = good("b").replace(r#""account":"a","#, "");
    let ndjson = format!("{}\n{without}\n{}\n", good("a"), good("c").replace("calls\":1", "calls\":true"));
    let lines: Vec<&str> = ndjson.lines().collect();
    let array = format!("[{}]", lines.join(",\n"));
    let csv = "uid,meter,account,ts,measure.calls\na,m,a,2026-05-31T00:00:00Z,1\nb,m,,2026-05-31T00:00:00Z,1\nc,m,a,2026-05-31T00:00:00Z,true\n";
    let as_the_api_takes_it = format!("{{\"measurements\":{array}}}");
    for (text, first) in [(ndjson.as_str(), 1), (array.as_str(), 1), (as_the_api_takes_it.as_str(), 1), (csv, 2)] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let packed = [text.as_bytes().to_vec(), gzip.finish().unwrap(), zstd::stream::encode_all(text.as_bytes(), 0).unwrap()];
        for bytes in packed {
            for output in [file(&bytes, &["--json"]), piped(&bytes, &["--json"])] {
                let expected = owned([(first + 1, "AccountMissing"), (first + 2, "FieldNotNumber")]);
                assert_eq!((output.status.code(), reasons(&output)), (Some(1), expected), "{text}");
                let summary = told(&output).1;
                let counts = ["measurements", "good", "copies", "findings"].map(|name| summary[name].as_u64().unwrap());
                assert_eq!((counts, summary["complete"].as_bool()), ([3, 1, 0, 2], Some(true)));
            }
        }
    }
}

#[test]
fn a_finding_names_the_line_on_which_its_row_begins() {
    let csv = "uid,meter,account,ts,other.note\r\na,m,a,2026-05-31T00:00:00Z,\"two\r\nlines\"\r\n\r\nb,m,,2026-05-31T00:00:00Z,\"x\r\ny\r\nz\"\r\nc,m,a\r\nd,m,a,,";
    assert_eq!(reasons(&file(csv, &["--json"])), owned([(5, "AccountMissing"), (8, "NotAMeasurement"), (9, "TimestampMissing")]));
    let pretty = |text: &str| serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
    let bad = r#"{"uid":"b"}"#;
    let array = pretty(&format!("[{},{bad},17,{},{bad}]", good("a"), good("c")));
    let starts = array.lines().enumerate().filter(|(_, line)| line.starts_with("  {") || line.trim() == "17,");
    let starts: Vec<u64> = starts.map(|(index, _)| index as u64 + 1).collect();
    let expected = owned([(starts[1], "MeterMissing"), (starts[2], "NotAMeasurement"), (starts[4], "MeterMissing")]);
    assert_eq!(reasons(&file(array, &["--json"])), expected);
}

#[test]
fn copies_collapse_and_another_content_under_a_uid_names_the_earlier_line() {
    let other = good("u").replace("calls\":1", "calls\":2");
    let spaced = good("u").replace(':', ": ");
    let refused = good("v").replace("\"m\"", "\" m\"");
    let text = [&good("u"), &spaced.replace("00: 00: 00", "00:00:00"), &other, &refused, &good("v"), &other]
        .map(|line| format!("{line}\n"));
    let output = file(text.concat(), &["--json", "--all", "--first-sent", "1h"]);
    let expected = [(2, "Copy"), (3, "UidConflict"), (4, "MeterInvalid"), (6, "UidConflict")];
    assert_eq!(reasons(&output), owned(expected));
    let (said, summary) = told(&output);
    assert_eq!(said.iter().map(|one| one["earlier_line"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(1), None, Some(1)]);
    let counts = ["measurements", "good", "copies", "findings", "notes"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(counts, [6, 2, 1, 3, 1]);
    assert!(said[1]["detail"].as_str().unwrap().contains("line 1 has another"), "{said:?}");
}

#[test]
fn missing_uids_are_refused_or_made_from_content_as_the_relay_is_set() {
    let text = format!("{0}\n{0}\n", good("u").replace(r#""uid":"u","#, ""));
    assert_eq!(reasons(&file(&text, &["--json"])), owned([(1, "UidMissing"), (2, "UidMissing")]));
    let output = file(&text, &["--json", "--all", "--missing-uid", "content", "--first-sent", "1h"]);
    assert_eq!((output.status.code(), reasons(&output)), (Some(0), owned([(2, "Copy")])));
}

#[test]
fn what_may_have_been_sent_too_long_ago_is_a_finding_once_that_is_said() {
    let text = good("u").replace("2026-05", "2020-05");
    let output = file(&text, &[]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    assert!(out(&output).contains("note OldTimestamp  1  Say with --first-sent"), "{output:?}");
    assert_eq!(reasons(&file(&text, &["--json", "--first-sent", "40d"])), owned([(1, "OutsideWindow")]));
    assert_eq!(reasons(&file(&text, &["--json", "--first-sent", "3d"])), owned([]));
}

#[test]
fn after_twenty_of_a_reason_the_rest_is_counted_unless_all_are_asked_for() {
    let text = format!("{}{}\n", "{}\n".repeat(332), good("u"));
    let output = file(&text, &["--first-sent", "1h"]);
    let said = out(&output);
    assert_eq!(said.lines().filter(|line| line.contains("  MeterMissing  expected `meter`")).count(), 20, "{said}");
    assert!(said.contains("  MeterMissing  and 312 more; --all shows each\n"), "{said}");
    assert!(said.contains(": 333 measurements, 1 good, 332 that would not be sent\n"), "{said}");
    assert!(said.ends_with("  MeterMissing  332  Add meter, the code of the meter in m3ter.\n"), "{said}");
    assert!(err(&output).starts_with("usage-relay: 332 findings in "), "{output:?}");
    assert_eq!(out(&file(&text, &["--all"])).matches("  MeterMissing  expected").count(), 332);
    assert_eq!(reasons(&file(&text, &["--json"])).len(), 332);
}

#[test]
fn no_uid_and_no_account_is_ever_printed() {
    let ts = |text: &str| good("canary").replace("\"a\"", "\"canary\"").replace("2026-05-31T00:00:00Z", text);
    let fine = ts("2026-05-31T00:00:00Z");
    let text = [
        fine.clone(),
        fine.clone(),
        fine.replace("calls\":1", "calls\":2"),
        fine.replace("\"meter\":\"m\"", "\"meter\":\" m\""),
        fine.replace("calls\":1", "calls\":\"canary\""),
        fine.replace("{\"calls\":1}", "\"canary\""),
        fine.replace("\"uid\":\"canary\"", &format!("\"uid\":\"{}\"", "canary".repeat(10))),
        fine.replace("\"account\":\"canary\"", "\"account\":\"canary \""),
        fine.replace("\"calls\"", "\"canary-\""),
        ts("canary"),
        ts("2100-01-01T00:00:00Z"),
        "canary".to_owned(),
        "\"canary\"".to_owned(),
        format!("{fine} canary"),
        fine.replace("\"m\"", "\"m\",\"x\":\"\u{ffff}\""),
    ];
    for words in [&["--all"][..], &["--json", "--all"], &["--first-sent", "2020-01-01", "--all"]] {
        let output = file(text.join("\n"), words);
        assert_eq!(output.status.code(), Some(1));
        assert!(!format!("{}{}", out(&output), err(&output)).contains("canary"), "{}", out(&output));
    }
    let csv = "uid,meter,account,ts,measure.calls\ncanary,m,canary,canary,canary\ncanary,m\n";
    assert!(!format!("{:?}", file(csv, &["--all"])).contains("canary"));
}

#[test]
fn an_empty_file_is_clean() {
    for content in ["", "\n\n", "[]", "uid,meter,account,ts\n"] {
        let output = file(content, &[]);
        assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
        assert!(out(&output).ends_with(": 0 measurements, 0 good\n"), "{output:?}");
    }
    let output = file("", &["--json"]);
    assert_eq!((told(&output).0.len(), told(&output).1["complete"].as_bool()), (0, Some(true)));
}

#[test]
fn what_cannot_be_read_is_2_and_says_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("nothing"), folder.path().to_owned()] {
        let output = command(&[]).arg(path).output().unwrap();
        assert_eq!((output.status.code(), out(&output)), (Some(2), String::new()));
        assert!(err(&output).starts_with("usage-relay: cannot read "), "{output:?}");
    }
    let output = file(good("u"), &["--store-url", &format!("file://{}", folder.path().display())]);
    assert_eq!((output.status.code(), out(&output)), (Some(2), String::new()));
    assert!(err(&output).contains("expected a catalogue in this store, found none"), "{output:?}");
}

#[test]
fn a_packed_file_that_breaks_off_is_1_and_what_came_before_is_told() {
    let text: String =
        std::iter::once("{}\n".to_owned()).chain((0..20_000).map(|index| good(&format!("u{index}")) + "\n")).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(text.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let output = file(&gzip[..gzip.len() / 2], &["--json"]);
    assert_eq!((output.status.code(), reasons(&output)), (Some(1), owned([(1, "MeterMissing")])));
    let summary = told(&output).1;
    assert_eq!(summary["complete"].as_bool(), Some(false));
    assert!(summary["measurements"].as_u64().unwrap() > 1_000, "{summary}");
    assert!(err(&output).starts_with("usage-relay: cannot read "), "{output:?}");
    let nothing = file(&gzip[..4], &[]);
    assert_eq!((nothing.status.code(), out(&nothing)), (Some(1), String::new()));
}

#[test]
fn where_nothing_can_be_read_behind_a_fault_it_is_a_finding_and_the_check_is_not_complete() {
    for (text, expected) in [
        (format!("[{},\n{{}},\n oops]", good("u")), owned([(2, "MeterMissing"), (3, "NotJson")])),
        (format!("[{},", good("u")), owned([(1, "NotJson")])),
        ("hello".to_owned(), owned([(1, "EnvelopeInvalid")])),
        ("uid,meter,account,ts,calls\n1,2,3,4,5\n".to_owned(), owned([(1, "EnvelopeInvalid")])),
    ] {
        let output = file(&text, &["--json"]);
        assert_eq!((output.status.code(), reasons(&output)), (Some(1), expected), "{text}");
        assert_eq!(told(&output).1["complete"].as_bool(), Some(false), "{text}");
    }
    assert!(out(&file("hello", &[])).contains(": 0 measurements, 0 good; the rest of it could not be read\n"));
}

#[test]
fn the_line_of_a_finding_in_parquet_is_the_number_of_its_row() {
    let parquet = &include_bytes!("../../../files/src/parquet/by_pyarrow.parquet")[..];
    let output = file(parquet, &["--json"]);
    assert_eq!(reasons(&output), owned([(3, "UidMissing")]));
    assert_eq!(told(&output).1["measurements"], 3);
    let broken = file(&parquet[..parquet.len() / 2], &["--json"]);
    assert_eq!((broken.status.code(), reasons(&broken)), (Some(1), owned([(1, "EnvelopeInvalid")])));
    assert_eq!(reasons(&piped(parquet, &["--json"])), owned([(1, "EnvelopeInvalid")]), "a pipe has no end to begin with");
}

#[test]
fn what_stands_behind_bytes_that_are_no_text_and_a_line_too_long_is_checked_too() {
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(1_100_000));
    let text = [&b"\xff\n"[..], long.as_bytes(), b"\n", good("u").as_bytes(), b"\n{}\n"].concat();
    let output = file(text, &["--json", "--format", "ndjson"]);
    assert_eq!(reasons(&output), owned([(1, "NotJson"), (2, "Oversize"), (4, "MeterMissing")]));
}

/// One meter with two data fields, and one account.
fn with_catalogue() -> Given {
    let given = Given::new();
    let fields = vec![("MEASURE".into(), "calls".into()), ("WHAT".into(), "region".into())];
    let account = |code: &str| AccountLine {
        code: code.into(),
        id: "id".into(),
        created_ms: None,
        last_seen_ms: START_MS,
        skeleton: false,
    };
    given.catalogue(&StoredCatalogue {
        read_at_ms: START_MS,
        meters: vec![MeterLine { code: "api".into(), id: "id".into(), fields, last_seen_ms: START_MS }],
        accounts: vec![account("acme-one")],
    });
    given
}

#[test]
fn with_a_catalogue_the_pre_flight_warns_and_strict_makes_findings_of_it() {
    let given = with_catalogue();
    let url = format!("file://{}", given.folder.path().display());
    let one = |uid: &str, meter: &str, account: &str, more: Value| {
        let fields = json!({"uid": uid, "meter": meter, "account": account, "ts": "2026-05-31T00:00:00Z"});
        let mut fields = fields.as_object().unwrap().clone();
        fields.extend(more.as_object().unwrap().clone());
        Value::from(fields).to_string() + "\n"
    };
    let all = json!({"measure": {"calls": 1}, "what": {"region": "eu"}});
    let text = [
        one("1", "api", "acme-one", all.clone()),
        one("2", "apo", "acme-one", all.clone()),
        one("3", "api", "Acme_One", json!({"measure": {"calls": 1}})),
        one("4", "api", "someone-new", json!({"measure": {"calls": 1}, "what": {"region": "eu"}, "other": {"note": "x"}})),
    ]
    .concat();
    let expected = owned([(2, "MeterUnknown"), (3, "FieldMissing"), (3, "AccountNearMiss"), (4, "FieldUnconfigured")]);
    let output = file(&text, &["--json", "--store-url", &url]);
    assert_eq!((output.status.code(), reasons(&output)), (Some(0), expected.clone()));
    let (said, summary) = told(&output);
    assert!(said.iter().all(|one| one["level"] == "warning"), "{said:?}");
    assert_eq!((summary["good"].as_u64(), summary["warnings"].as_u64()), (Some(4), Some(4)));
    let output = file(&text, &["--json", "--store-url", &url, "--strict"]);
    assert_eq!((output.status.code(), reasons(&output)), (Some(1), expected));
    assert_eq!((told(&output).1["good"].as_u64(), told(&output).1["findings"].as_u64()), (Some(1), Some(4)));
    let people = file(&text, &["--store-url", &url]);
    assert!(out(&people).contains("in:2  warning MeterUnknown  expected a meter that m3ter had at 2026-06-01"), "{people:?}");
    assert!(out(&people).contains("missing: what.region") && !out(&people).contains("Acme"), "{people:?}");
}
