//! What every command keeps to, run as a user runs it: JSON where it is asked for, and a clear end where it cannot print.
//!
//! The commands are taken from the tree that the binary is made of: one that is new fails here until it stands in [`line`].

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use m3ter_sandbox::AccountRequest;
use relay_store::{AccountLine, LedgerAnswer, MeterLine, StoredCatalogue};
use serde_json::Value;

use crate::m3ter_given::M3ter;
use crate::queue_stub::{QueueStub, Script};
use crate::store_given::{Given, START_MS, entry, measurement, qid};

/// How a command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// By itself.
    Alone,
    /// When it is told to.
    Told,
    /// At once, since what it needs is not here: it prints no result.
    Early,
}

/// There is no sandbox at this address.
const DEMO: [&str; 8] = [
    "--queue-url",
    "{queue}",
    "--dead-letter-queue-url",
    "{queue}",
    "--store-url",
    "{store}",
    "--sandbox-url",
    "http://127.0.0.1:1",
];

/// How each command is called in these tests, without `--json`, and how it ends. `{…}` is filled in by [`World::command`].
pub(crate) fn line(typed: &str) -> (&'static [&'static str], Ends) {
    match typed {
        "check" => (&["{file}"], Ends::Alone),
        "send" => (&["{file}", "--queue-url", "{queue}"], Ends::Alone),
        // Some tests run it twice over the same store.
        "upload" => (&["{file}", "--first-sent", "never", "--again"], Ends::Alone),
        "explain" => (&["u-1", "--since", "2026-05-30"], Ends::Alone),
        "quarantine list" => (&["--since", "2026-05-30"], Ends::Alone),
        "quarantine show" => (&["u-1", "--since", "2026-05-30"], Ends::Alone),
        "quarantine export" => (&["--output", "{new}", "--since", "2026-05-30"], Ends::Alone),
        "quarantine import" => (&["{exported}", "--dry-run", "--since", "2026-05-30"], Ends::Alone),
        "quarantine drop" => (&["{qid}", "--because", "a test", "--since", "2026-05-30"], Ends::Alone),
        "replay" => (&["--uid", "u-1", "--dry-run", "--since", "2026-05-30"], Ends::Alone),
        "reconcile" => (&["--day", "2026-05-31", "--org-id", "sandbox-org"], Ends::Alone),
        "watch" => (&["--once", "--org-id", "sandbox-org"], Ends::Alone),
        "catalogue" => (&[], Ends::Alone),
        "jobs list" => (&[], Ends::Alone),
        "jobs show" => (&["{job}"], Ends::Alone),
        "jobs wait" => (&["{job}"], Ends::Alone),
        "jobs original" => (&["{job}", "--output", "{new}"], Ends::Alone),
        "doctor" => (&["--function-name", "relay", "--timeout-s", "5"], Ends::Alone),
        "cost" => (&["--per-second", "100"], Ends::Alone),
        "sandbox" => (&[], Ends::Told),
        "console" => (&["--queue-url", "{queue}"], Ends::Told),
        "demo" => (&DEMO, Ends::Early),
        "completions" => (&["bash"], Ends::Alone),
        "man" => (&[], Ends::Alone),
        other => panic!("expected a new command to stand in this table, with how it is called in tests: `{other}`"),
    }
}

/// Every command that does something: the words that call it, and whether it has `--json`.
pub(crate) fn leaves() -> Vec<(String, bool)> {
    fn below(tree: &clap::Command, above: &str) -> Vec<(String, bool)> {
        let typed = |one: &clap::Command| format!("{above} {}", one.get_name()).trim().to_owned();
        let leaf = |one: &clap::Command| (typed(one), one.get_arguments().any(|argument| argument.get_long() == Some("json")));
        tree.get_subcommands()
            .flat_map(|one| if one.has_subcommands() { below(one, &typed(one)) } else { vec![leaf(one)] })
            .collect()
    }
    below(&usage_relay::command(), "")
}

/// All that a command needs: a store with something in it, a queue, m3ter.
pub(crate) struct World {
    pub(crate) given: Given,
    pub(crate) queue: QueueStub,
    m3ter: M3ter,
    /// A file that was uploaded to m3ter.
    job: String,
    exported: std::path::PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let (given, queue) = (Given::new(), QueueStub::start(Script::all_well()));
        let text = measurement("u-1");
        given.quarantine(vec![entry("u-1", &text)]);
        given.ledger(&[("u-2", LedgerAnswer::Accepted, None)]);
        let meter = MeterLine { code: "api".into(), id: "id".into(), fields: vec![], last_seen_ms: START_MS };
        let account =
            AccountLine { code: "acme".into(), id: "id".into(), created_ms: None, last_seen_ms: START_MS, skeleton: false };
        given.catalogue(&StoredCatalogue { read_at_ms: START_MS, meters: vec![meter], accounts: vec![account] });
        let exported = given.folder.path().join("exported.ndjson");
        let output = given.run(&["quarantine", "export", "--output", exported.to_str().unwrap()]);
        assert!(output.status.success(), "{output:?}");
        let m3ter = M3ter::processing(None);
        // What the catalogue has, or m3ter would have lost it.
        m3ter.sandbox.create_account(AccountRequest::new("acme")).unwrap();
        let job = m3ter.uploaded("usage.json", "[]");
        Self { given, queue, m3ter, job, exported }
    }

    /// The command `typed`, as [`line`] has it, with all that it needs.
    pub(crate) fn command(&self, typed: &str) -> Command {
        let (words, _) = line(typed);
        let folder = self.given.folder.path();
        let file = self.given.file("good.ndjson", &format!("{}\n", measurement("u-3")));
        let new = folder.join(format!("new-{}", uuid()));
        let store = format!("file://{}", folder.display());
        let fill = |word: &str| match word {
            "{file}" => file.display().to_string(),
            "{new}" => new.display().to_string(),
            "{exported}" => self.exported.display().to_string(),
            "{queue}" => self.queue.queue_url(),
            "{store}" => store.clone(),
            "{qid}" => qid("u-1").to_string(),
            "{job}" => self.job.clone(),
            word => word.to_owned(),
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
        command.env_clear().args(typed.split(' ')).args(words.iter().map(|word| fill(word))).stdin(Stdio::null());
        command.env("STORE_URL", &store).env("M3TER_API_URL", &self.m3ter.url).env("M3TER_ORG_ID", "sandbox-org");
        command.env("M3TER_ACCESS_KEY_ID", "sandbox").env("M3TER_API_SECRET", "sandbox-secret");
        command.env("AWS_ENDPOINT_URL", self.queue.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "eu-west-1");
        command
    }

    /// The same, with `--json` where there is that.
    fn reporting(&self, typed: &str, has_json: bool) -> Command {
        let mut command = self.command(typed);
        if has_json {
            command.arg("--json");
        }
        command
    }
}

fn uuid() -> String {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string()
}

pub(crate) fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// A pipe that nobody reads any more.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    Stdio::from(writer)
}

/// A disk without room.
fn full() -> Stdio {
    Stdio::from(File::options().write(true).open("/dev/full").unwrap())
}

#[test]
fn with_json_a_command_prints_lines_of_json_and_nothing_else() {
    let world = World::new();
    for (typed, _) in leaves().into_iter().filter(|(_, has_json)| *has_json) {
        let mut command = world.reporting(&typed, true);
        let is_object = |line: &str| serde_json::from_str::<Value>(line).is_ok_and(|value| value.is_object());
        let printed = match line(&typed).1 {
            Ends::Told => {
                let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
                let mut first = String::new();
                BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
                child.kill().unwrap();
                child.wait().unwrap();
                first
            }
            Ends::Alone | Ends::Early => said(&command.output().unwrap()).0,
        };
        let expected = if line(&typed).1 == Ends::Early { 0 } else { 1 };
        assert!(printed.lines().count() >= expected, "expected `{typed} --json` to print an object, found {printed:?}");
        assert!(printed.lines().all(is_object), "expected `{typed} --json` to print objects, one a line, found {printed:?}");
    }
}

#[test]
fn on_a_full_disk_a_command_says_so_in_one_line_and_fails() {
    let world = World::new();
    for (typed, has_json) in leaves().into_iter().filter(|(typed, _)| line(typed).1 != Ends::Early) {
        let output = world.reporting(&typed, has_json).stdout(full()).output().unwrap();
        let (_, errors) = said(&output);
        assert_eq!(output.status.code(), Some(2), "`{typed}`: {errors}");
        let last = errors.lines().last().unwrap_or_default();
        assert!(last.starts_with("usage-relay: cannot write"), "expected `{typed}` to say that it cannot write: {errors}");
        assert!(last.contains("No space left on device"), "`{typed}`: {errors}");
    }
}

#[test]
fn an_export_to_a_full_standard_output_fails_too() {
    let given = World::new().given;
    let output = given.command(&["quarantine", "export"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).1.contains("No space left on device"), "{output:?}");
}

#[test]
fn a_reader_that_goes_away_changes_nothing_of_how_a_command_ends() {
    let world = World::new();
    // Servers go on without a reader, as they should.
    for (typed, has_json) in leaves().into_iter().filter(|(typed, _)| line(typed).1 != Ends::Told) {
        for has_json in [false, has_json] {
            let heard = world.reporting(&typed, has_json).output().unwrap();
            let unheard = world.reporting(&typed, has_json).stdout(closed()).output().unwrap();
            assert_eq!(unheard.status.code(), heard.status.code(), "`{typed}`: {unheard:?} and {heard:?}");
            assert!(
                !said(&unheard).1.contains("Broken pipe") && !said(&unheard).1.contains("panicked"),
                "`{typed}`: {unheard:?}"
            );
        }
    }
}

#[test]
fn help_is_printed_or_the_reason_is_told() {
    let help = |words: &[&str], stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
        command.env_clear().args(words).arg("--help").stdout(stdout).output().unwrap()
    };
    let groups = [String::new(), "quarantine".to_owned(), "jobs".to_owned()];
    for typed in leaves().into_iter().map(|(typed, _)| typed).chain(groups) {
        let words: Vec<&str> = typed.split_terminator(' ').collect();
        let (unheard, unwritten) = (help(&words, closed()), help(&words, full()));
        assert_eq!((unheard.status.code(), said(&unheard).1), (Some(0), String::new()), "`{typed}`");
        assert_eq!(unwritten.status.code(), Some(2), "`{typed}`");
        assert!(said(&unwritten).1.starts_with("usage-relay: cannot write to standard output"), "{unwritten:?}");
    }
}
