//! `usage-relay jobs` over a sandbox on a socket: what it says, what it writes, and how it ends.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use m3ter_sandbox::{Fault, FaultRule, Route};
use serde_json::{Value, json};

use crate::every_command::said;
use crate::m3ter_given::{M3ter, file};
use crate::store_given::{err, json as json_of, out};

/// What is in `folder`.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn jobs_are_listed_newest_first_and_by_status_and_time() {
    let m3ter = M3ter::processing(None);
    let [first, failed] = [m3ter.uploaded("first.json", &file(2)), m3ter.uploaded("failed.json", "no array")];
    m3ter.sandbox.advance(std::time::Duration::from_secs(3_600)).unwrap();
    let absent = m3ter.announced("absent.json", 9);
    let last = m3ter.uploaded("last\u{1b}[2J.json", &file(1_234));
    let output = m3ter.run(&["jobs", "list"]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    let text = out(&output);
    let lines: Vec<&str> = text.lines().collect();
    let order: Vec<usize> = [&last, &failed, &first, &absent].map(|id| text.find(id.as_str()).unwrap()).into();
    assert!(order.is_sorted() && lines.len() == 5 && lines[0].starts_with("uploaded "), "{text}");
    assert!(lines[1].contains("succeeded") && lines[1].contains("  1,234      1,234       0  "), "{text}");
    assert!(lines[1].ends_with("last\u{fffd}[2J.json"), "what would steer a terminal is not printed: {text:?}");
    assert!(lines[4].starts_with("not yet ") && lines[4].contains("notUploaded"), "{text}");
    let ids = |words: &[&str]| {
        let told = json_of(&m3ter.run(&[&["jobs", "list", "--json"], words].concat()), 0);
        let ids: Vec<Value> = told["jobs"].as_array().unwrap().iter().map(|job| job["job"].clone()).collect();
        (ids, told["found"].as_u64().unwrap())
    };
    assert_eq!(ids(&["--status", "failed", "--status", "not-uploaded"]), (vec![json!(failed), json!(absent)], 2));
    assert_eq!(ids(&["--limit", "1"]), (vec![json!(last)], 4));
    assert_eq!(ids(&["--until", "2020-01-01"]), (vec![], 0));
    assert_eq!(ids(&["--since", "2020-01-01"]).1, 4);
    assert!(out(&m3ter.run(&["jobs", "list", "--limit", "3"])).ends_with("\nand 1 job more\n"));
    assert_eq!(out(&m3ter.run(&["jobs", "list", "--status", "running"])), "m3ter has no such jobs\n");
    let told = json_of(&m3ter.run(&["jobs", "list", "--json", "--limit", "1"]), 0);
    let uploaded_at = told["jobs"][0]["uploaded_at"].clone();
    assert!(uploaded_at.is_string(), "{told}");
    let expected = json!({"job": last, "file": "last\u{1b}[2J.json", "uploaded_at": uploaded_at, "bytes": file(1_234).len(), "version": 3,
        "status": "succeeded", "total_rows": 1_234, "processed_rows": 1_234, "failed_rows": 0});
    assert_eq!(told["jobs"][0], expected);
}

#[test]
fn a_list_has_every_page_of_m3ters() {
    let m3ter = M3ter::processing(None);
    for number in 0..201 {
        m3ter.announced(&format!("{number}.json"), 1);
    }
    assert_eq!(json_of(&m3ter.run(&["jobs", "list", "--json"]), 0)["jobs"].as_array().unwrap().len(), 201);
}

#[test]
fn a_job_is_shown_with_what_to_do_next() {
    let m3ter = M3ter::processing(None);
    let bad_row = file(2).replacen("\"api\"", "7", 1);
    for (id, expected) in [
        (m3ter.uploaded("good.json", &file(2)), "succeeded: 2 of 2 rows processed\n"),
        (m3ter.uploaded("half.json", &bad_row), "succeeded: 2 of 2 rows processed, of which 1 failed\n"),
        (m3ter.uploaded("bad.json", "{}"), "failed: 0 of 0 rows processed\n"),
        (m3ter.announced("absent.json", 5), "waits for its file\n"),
    ] {
        let output = m3ter.run(&["jobs", "show", &id]);
        assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
        assert!(out(&output).starts_with(&format!("job {id} (")) && out(&output).contains(expected), "{}", out(&output));
        assert_eq!(json_of(&m3ter.run(&["jobs", "show", &id, "--json"]), 0)["job"], json!(id));
    }
}

#[test]
fn a_job_that_is_not_there_is_1_and_one_line_for_every_command() {
    let m3ter = M3ter::processing(None);
    let absent = m3ter.announced("absent.json", 5);
    for (words, expected) in [
        (["jobs", "show", "no-such"], "m3ter has no job no-such: usage-relay jobs list shows those that it has"),
        (["jobs", "wait", "no-such"], "m3ter has no job no-such: usage-relay jobs list shows those that it has"),
        (["jobs", "original", "no-such"], "m3ter has no file of a job no-such: it knows no such job, or its file never came"),
        (["jobs", "original", &absent], "its file never came"),
    ] {
        let output = m3ter.run(&words);
        assert_eq!((output.status.code(), out(&output)), (Some(1), String::new()), "{words:?}");
        assert!(err(&output).contains(expected) && err(&output).lines().count() == 1, "{words:?}: {}", err(&output));
    }
}

#[test]
fn jobs_are_followed_to_their_end_and_one_that_failed_is_1() {
    let m3ter = M3ter::processing(Some(50));
    let [good, bad] = [m3ter.uploaded("good.json", &file(30)), m3ter.uploaded("bad.json", "{}")];
    let output = m3ter.run(&["jobs", "wait", &good]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    assert_eq!(out(&output), format!("job {good} (good.json) succeeded: 30 of 30 rows processed\n"));
    let output = m3ter.run(&["jobs", "wait", &bad, &good, &good, "--json"]);
    let expected = "usage-relay: 1 job failed; usage-relay jobs show JOB says what to do\n";
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(1), expected));
    let told: Vec<Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut statuses: Vec<_> = told.iter().map(|job| job["status"].as_str().unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, ["failed", "succeeded"], "each of them once");
}

#[test]
fn waiting_ends_with_2_when_time_is_up_and_says_how_the_job_stands() {
    let m3ter = M3ter::processing(None);
    let absent = m3ter.announced("absent.json", 5);
    let output = m3ter.run(&["jobs", "wait", &absent, "--timeout", "1s"]);
    let expected = format!("usage-relay: time is up: job {absent} (absent.json) waits for its file\n");
    assert_eq!((output.status.code(), err(&output), out(&output)), (Some(2), expected, String::new()));
}

#[test]
fn an_original_is_what_was_uploaded_in_a_new_file_or_on_standard_output() {
    let (m3ter, folder) = (M3ter::processing(None), tempfile::tempdir().unwrap());
    let content = file(20_000);
    let id = m3ter.uploaded("usage.json", &content);
    let path = folder.path().join("sent.json");
    let name = path.to_str().unwrap();
    let output = m3ter.run(&["jobs", "original", &id, "--output", name]);
    let expected = format!("usage-relay: wrote 2,068,891 bytes to {name}\n");
    assert_eq!((output.status.code(), out(&output), err(&output)), (Some(0), String::new(), expected));
    assert!(std::fs::read_to_string(&path).unwrap() == content);
    for words in [&["jobs", "original", &id][..], &["jobs", "original", &id, "-o", "-"]] {
        let output = m3ter.run(words);
        assert!(output.status.code() == Some(0) && output.stdout == content.as_bytes() && output.stderr.is_empty(), "{words:?}");
    }
    std::fs::write(&path, "mine").unwrap();
    let output = m3ter.run(&["jobs", "original", &id, "-o", name]);
    let expected = format!("usage-relay: expected {name} not to exist: --force overwrites it\n");
    assert_eq!((output.status.code(), err(&output)), (Some(1), expected));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let told = json_of(&m3ter.run(&["jobs", "original", &id, "-o", name, "--force", "--json"]), 0);
    assert_eq!(told, json!({"job": id, "file": name, "bytes": content.len()}));
    assert!(std::fs::read_to_string(&path).unwrap() == content);
    assert_eq!(names(folder.path()), ["sent.json"]);
    for other in [folder.path().to_str().unwrap(), "/dev/null"] {
        let output = m3ter.run(&["jobs", "original", &id, "-o", other, "--force"]);
        let expected = format!("usage-relay: expected a file's name, and {other} is something else\n");
        assert_eq!((output.status.code(), err(&output)), (Some(1), expected));
    }
}

#[test]
fn a_download_that_breaks_off_leaves_no_file_and_is_2() {
    let (m3ter, folder) = (M3ter::processing(None), tempfile::tempdir().unwrap());
    let id = m3ter.uploaded("usage.json", &file(20_000));
    let path = folder.path().join("sent.json");
    // The question for the link passes, the file is cut.
    for words in [&["--output", path.to_str().unwrap()][..], &[]] {
        m3ter.sandbox.clear_faults();
        m3ter.sandbox.add_fault(FaultRule::new(Fault::Truncate).on(Route::Api).skip(1));
        let output = m3ter.run(&[&["jobs", "original", &id], words].concat());
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        let expected =
            "usage-relay: the download broke off after 1,034,445 of 2,068,891 bytes: the connection to m3ter broke; try again\n";
        assert_eq!(err(&output), expected);
    }
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_full_disk_is_told_and_leaves_no_file_and_a_reader_that_goes_is_no_error() {
    let (m3ter, folder) = (M3ter::processing(None), tempfile::tempdir().unwrap());
    let id = m3ter.uploaded("usage.json", &file(20_000));
    let full = Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let output = m3ter.command(&["jobs", "original", &id]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).1.starts_with("usage-relay: cannot write to standard output: No space left"), "{output:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = m3ter.command(&["jobs", "original", &id]).stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    // No file can grow beyond 64 KiB here.
    let path = folder.path().join("sent.json");
    let mut limited = Command::new("bash");
    let words = m3ter.command(&["jobs", "original", &id, "-o", path.to_str().unwrap()]);
    limited.env_clear().envs(words.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "bash"]).arg(words.get_program()).args(words.get_args());
    let output = limited.output().unwrap();
    let expected = format!("usage-relay: cannot write {}: File too large (os error 27)\n", path.display());
    assert_eq!((output.status.code(), err(&output)), (Some(2), expected));
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[test]
fn a_download_that_is_stopped_leaves_no_file() {
    let (m3ter, folder) = (M3ter::processing(None), tempfile::tempdir().unwrap());
    let id = m3ter.uploaded("usage.json", &file(1));
    m3ter.sandbox.add_fault(FaultRule::new(Fault::Hang).on(Route::Api).skip(1));
    let path = folder.path().join("sent.json");
    let mut command = m3ter.command(&["jobs", "original", &id, "-o", path.to_str().unwrap()]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while m3ter.sandbox.faults().fired.is_empty() {
        std::thread::yield_now();
    }
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let expected = "usage-relay: stopped before the file was whole: nothing of it is kept\n";
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(2), expected));
    assert_eq!(names(folder.path()), Vec::<String>::new());
}
