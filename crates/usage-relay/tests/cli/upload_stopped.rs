//! `usage-relay upload` that is killed, or does not get on: the same command goes on later, and each row counts once.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use m3ter_sandbox::{Fault, FaultRule, Route};
use serde_json::Value;

use crate::m3ter_given::M3ter;
use crate::store_given::{err, json as json_of};
use crate::upload::{World, names, ndjson};

/// More than a mebibyte, so that it goes in parts.
const ROWS: usize = 11_000;
const SMALL: &[&str] = &["--part-bytes", "1048576", "--json"];

fn started(world: &World, words: &[&str]) -> Child {
    world.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Kills the command, by SIGKILL to its pid, as soon as `rule` fires. What it said, if it ended without that.
fn killed(world: &World, rule: FaultRule, words: &[&str]) -> Option<Output> {
    killed_when(world, rule, &|| !world.m3ter.sandbox.faults().fired.is_empty(), words)
}

/// The same as soon as it is `time`.
fn killed_when(world: &World, rule: FaultRule, time: &dyn Fn() -> bool, words: &[&str]) -> Option<Output> {
    world.m3ter.sandbox.add_fault(rule);
    let mut child = started(world, words);
    while !time() && child.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let is_stopped = time();
    if is_stopped {
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    world.m3ter.sandbox.clear_faults();
    (!is_stopped).then_some(output)
}

/// That it goes on, and each row is counted once; gives back how many jobs that took.
fn goes_on(world: &World, words: &[&str]) -> usize {
    goes_on_with(world, words, ROWS)
}

/// The same with so many rows.
fn goes_on_with(world: &World, words: &[&str], rows: usize) -> usize {
    let told = json_of(&world.run(words), 0);
    assert_eq!((&told["status"], &told["sent"]), (&"done".into(), &rows.into()), "{told}");
    assert_eq!(world.once(), rows);
    let kept = names(&world.path("store/upload-journals/v1").join(told["upload"].as_str().unwrap()));
    assert!(kept.iter().all(|name| name.starts_with("step-")), "{kept:?}");
    told["parts"].as_array().unwrap().iter().map(|part| part["jobs"].as_array().unwrap().len()).sum()
}

#[test]
fn killed_while_a_part_goes_out_the_same_command_sends_it_again() {
    for skip in [0, 1] {
        let world = World::new();
        let file = world.file("usage", ndjson(ROWS));
        let words = [&[file.as_str()], SMALL].concat();
        assert!(killed(&world, FaultRule::new(Fault::Hang).on(Route::Upload).skip(skip), &words).is_none());
        assert!(world.once() < ROWS);
        assert_eq!(goes_on(&world, &words), 3, "two parts, one of them twice");
    }
}

#[test]
fn killed_when_m3ter_had_the_part_and_had_not_said_so_it_is_not_sent_again() {
    let world = World::new();
    let file = world.file("usage", ndjson(ROWS));
    let words = [&[file.as_str()], SMALL].concat();
    let late = Fault::Delay { delay_ms: 3_600_000 };
    let has_it = || world.m3ter.sandbox.ledger().totals.received > 0;
    assert!(killed_when(&world, FaultRule::new(late).on(Route::Upload), &has_it, &words).is_none());
    assert_eq!(goes_on(&world, &words), 2, "two parts, each once");
    assert_eq!(world.m3ter.sandbox.ledger().totals.duplicates, 0);
}

#[test]
fn killed_at_any_question_to_m3ter_it_goes_on_by_the_same_command_or_by_its_id() {
    let mut kills = 0;
    loop {
        let world = World::new();
        let file = world.file("usage", ndjson(30));
        if let Some(output) = killed(&world, FaultRule::new(Fault::Hang).on(Route::Api).skip(kills), &[&file]) {
            assert!(output.status.success(), "{output:?}");
            break;
        }
        kills += 1;
        match world.uploads().first().filter(|_| kills % 2 == 0) {
            Some(upload) => goes_on_with(&world, &["--resume", upload, "--json"], 30),
            None => goes_on_with(&world, &[&file, "--json"], 30),
        };
    }
    assert!(kills >= 3, "it was killed {kills} times");
}

#[test]
fn killed_while_the_file_is_read_it_begins_anew_and_nothing_is_left_of_the_first_time() {
    let world = World::new();
    // It waits for the end of what comes through the pipe.
    let output = {
        let mut child =
            world.command(&["-", "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        std::io::Write::write_all(child.stdin.as_mut().unwrap(), ndjson(ROWS).as_bytes()).unwrap();
        while world.uploads().is_empty() {
            std::thread::yield_now();
        }
        let pipe = child.stdin.take();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        drop(pipe);
        output
    };
    assert_eq!((output.status.code(), world.once()), (None, 0));
    let resumed = world.run(&["--resume", &world.uploads()[0]]);
    let expected =
        "usage-relay: the upload ended before all of its file was read, and nothing was sent: expected the file once more\n";
    assert_eq!((resumed.status.code(), err(&resumed).as_str()), (Some(1), expected));
    let file = world.file("usage", ndjson(ROWS));
    goes_on(&world, &[&[file.as_str()], SMALL].concat());
}

#[test]
fn an_upload_that_was_begun_otherwise_is_not_gone_on_with() {
    let world = World::new();
    let file = world.file("usage", ndjson(ROWS));
    let words = [&[file.as_str()], SMALL].concat();
    assert!(killed(&world, FaultRule::new(Fault::Hang).on(Route::Upload), &words).is_none());
    let output = world.run(&[&file, "--part-bytes", "1048577"]);
    let upload = world.uploads().remove(0);
    let expected = format!(
        "usage-relay: {file} was begun as {upload} with --first-sent never --part-bytes 1048576: expected the same to go on with it\n"
    );
    assert_eq!((output.status.code(), err(&output), world.once()), (Some(1), expected, 0));
    goes_on(&world, &words);
}

#[test]
fn an_upload_that_nobody_began_is_1() {
    let world = World::new();
    let output = world.run(&["--resume", "00000000-0000-0000-0000-000000000000"]);
    let expected = "usage-relay: there is no upload of this id in the store, expected one that was begun\n".to_owned();
    assert_eq!((output.status.code(), err(&output)), (Some(1), expected));
}

#[test]
fn what_m3ter_does_not_process_is_1_and_is_resumed_by_what_the_command_says() {
    let world = World::new();
    let file = world.file("usage", ndjson(ROWS));
    world.m3ter.sandbox.add_fault(FaultRule::new(Fault::CutUpload).on(Route::Upload));
    let output = world.run(&[&file]);
    let said = err(&output);
    assert_eq!((output.status.code(), said.lines().count(), world.once()), (Some(1), 1, 0), "{said}");
    assert!(said.contains("m3ter did not process 1 of 1 parts, though it had them several times"), "{said}");
    let (_, resume) = said.trim_end().split_once("usage-relay upload ").unwrap();
    assert!(resume.starts_with("--resume "), "{said}");
    // The same file again says the same.
    let again = world.run(&[&file]);
    assert!(again.status.code() == Some(1) && err(&again).contains(resume), "{again:?}");
    world.m3ter.sandbox.clear_faults();
    let words: Vec<&str> = resume.split(' ').chain(["--json"]).collect();
    goes_on(&world, &words);
}

/// That it ended in one clear line with this exit code, and nothing was sent.
fn told(world: &World, output: &Output, code: i32, expected: &str) {
    let said = err(output);
    assert_eq!((output.status.code(), said.lines().count(), world.once()), (Some(code), 1, 0), "{said}");
    assert!(said.starts_with("usage-relay: ") && said.contains(expected), "expected {expected}, found {said}");
    assert!(!said.contains("sandbox-secret") && !said.contains("canary"), "{said}");
}

#[test]
fn whoever_does_not_answer_or_let_it_in_is_told_in_one_line() {
    let world = World::new();
    let file = world.file("usage", ndjson(3));
    let with = |name: &str, value: &str| world.command(&[&file]).env(name, value).output().unwrap();
    told(&world, &with("M3TER_API_URL", "http://127.0.0.1:1"), 2, ": look at --api-url and the network");
    told(
        &world,
        &with("M3TER_API_SECRET", "canary"),
        2,
        ": look at --org-id, --api-url, M3TER_ACCESS_KEY_ID and M3TER_API_SECRET",
    );
    told(&world, &with("M3TER_ORG_ID", "another"), 2, ": look at --org-id");
    told(&world, &with("STORE_URL", "file:///nowhere"), 2, "there is no folder /nowhere: look at the URL of the store");
    told(&world, &with("STORE_URL", "https://nowhere"), 64, "expected a store URL");
    let without = world.command(&[&file]).env_remove("M3TER_API_SECRET").output().unwrap();
    told(&world, &without, 64, "M3TER_API_SECRET");
    told(&world, &world.run(&["ftp://nowhere/usage"]), 64, "expected a path, -, file:///path or s3://bucket/key, found ftp://");
    assert_eq!(world.uploads(), Vec::<String>::new(), "none of it was begun");
}

#[test]
fn a_file_store_of_m3ters_that_takes_nothing_is_2_and_the_same_command_goes_on() {
    for (fault, expected) in [
        (Fault::status(403), "m3ter's file store refused a file with status 403"),
        (Fault::status(503), "there was no answer from m3ter's file store"),
    ] {
        let world = World::new();
        let words = [&[world.file("usage", ndjson(ROWS)).as_str()], SMALL].concat().join("\n");
        let words: Vec<&str> = words.lines().collect();
        world.m3ter.sandbox.add_fault(FaultRule::new(fault).on(Route::Upload));
        let output = world.run(&words);
        told(&world, &output, 2, expected);
        assert!(err(&output).contains(&format!("the same command goes on with upload {}", world.uploads()[0])), "{output:?}");
        world.m3ter.sandbox.clear_faults();
        goes_on(&world, &words);
    }
}

/// The command on a disk where no file can have more than so many KiB: what a full disk does, without filling one.
fn limited(world: &World, kib: u32, words: &[&str]) -> Output {
    let meant = world.command(words);
    let mut command = Command::new("bash");
    command.env_clear().envs(meant.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {kib}; exec \"$@\""), "bash"]);
    command.arg(meant.get_program()).args(meant.get_args()).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_full_disk_is_told_in_one_line_wherever_it_is_met_and_the_same_command_goes_on() {
    // Not the journal; the journal and no part; the first part and nothing of the second's ledger.
    for kib in [0, 64] {
        let world = World::new();
        let file = world.file("usage", ndjson(ROWS));
        let words = [&[file.as_str()], SMALL].concat();
        told(&world, &limited(&world, kib, &words), 2, "File too large");
        goes_on(&world, &words);
    }
}

#[test]
fn two_at_once_on_one_file_count_it_once() {
    let world = World::new();
    let file = world.file("usage", ndjson(ROWS));
    let words = [&[file.as_str()], SMALL].concat();
    // The first holds the sandbox at its first part, until the second has gone as far as it gets.
    world.m3ter.sandbox.add_fault(FaultRule::new(Fault::Hang).on(Route::Upload).times(1));
    let mut first = started(&world, &words);
    while world.m3ter.sandbox.faults().fired.is_empty() {
        std::thread::yield_now();
    }
    assert_eq!(goes_on(&world, &words), 3);
    first.kill().unwrap();
    first.wait().unwrap();
    assert_eq!(world.once(), ROWS);
}

#[test]
fn progress_of_an_upload_is_not_printed_where_nobody_watches() {
    let world = World::with(M3ter::processing(Some(20_000)));
    let output = world.run(&[&world.file("usage", ndjson(ROWS)), "--json"]);
    let told: Value = json_of(&output, 0);
    assert_eq!((&told["sent"], err(&output)), (&ROWS.into(), String::new()));
    assert!(Path::new(told["file"].as_str().unwrap()).is_absolute());
}
