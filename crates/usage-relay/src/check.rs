//! `usage-relay check`: the relay's own rules on a file, before any of it is sent.
//!
//! Files are read and judged as crate `files` does it, which reads what `send` sends: what this passes, `send` puts on the queue, and the
//! relay submits. A row that `send` would stop at is a finding here, and the rows behind it are looked at too.
//!
//! Measurements are judged on every core the processor has; what is said of them, and which is a copy of which, goes by their order
//! in the file, as if one core had done it all.
//!
//! Absent: a guess about what m3ter will say. With the catalogue of a store there is the relay's pre-flight, as warnings.

mod told;
mod topic;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use bumpalo::Bump;
use files::judge::judge;
use files::read::Stop;
use files::seen::{Key, Seen, Standing};
use files::source::Source;
use files::spread::{self, Look};
use relay_core::catalogue::{Catalogue, Findings};
use relay_core::guard::{FirstSent, Guarded, Judged, MissingUid, Rules};
use relay_core::limits::WINDOW_SAFE_MS;
use relay_core::reason::{Reason, Refusal};
use relay_store::CatalogueRead;
use tokio::time::Instant;

use self::told::{Said, Style, Told};
pub(crate) use self::topic::mend;
use self::topic::{Level, Topic};
use crate::clock;
use crate::failure::Failure;
use crate::figures::counted;
use crate::send::measurement::{Malformed, is_carried};
use crate::send::read::{self, FormatName};
use crate::store::{When, open_store, store_failed};
use crate::terminal::Progress;

/// Most uids that are remembered: seven eighths of 2^23, which is when their tables would grow again. They take 145 MB; the half of that or
/// less up to 3.6 million uids. The fullest of the tables is full a little before that.
const UIDS_MAX: usize = 7_340_032;
/// Longest wait for the store: half a million accounts are 16 MiB.
const CATALOGUE_TIMEOUT: Duration = Duration::from_secs(60);
/// Measurements whose uids are looked up together: enough that the processor waits for memory once instead of for each, and few enough
/// that it has not forgotten the first when it comes to the last.
const TOGETHER: usize = 256;
/// Progress is told each so many measurements.
const PROGRESS_EACH: u64 = 256;

const EXAMPLES: &str = "\
Examples:
  usage-relay check usage.csv
  zcat usage.ndjson.gz | usage-relay check - --json | jq -r 'select(.level == \"finding\") | .line'
  usage-relay check backfill.csv --first-sent 2026-09-01
  usage-relay check usage.csv --store-url \"$STORE_URL\" --strict && usage-relay send usage.csv --queue-url \"$QUEUE_URL\"

Each finding is FILE:LINE (in Parquet, the number of the row), the reason under which the relay would quarantine the measurement, and \
what was expected: no uid, no account. At the end stands how to mend each. The JSON has one object a finding or warning, and a \
summary as the last line.

Equal measurements under one uid are copies: one of them is sent. Another content under a uid is a UidConflict, found among \
7.2 million uids, which take 145 MB at most; of what comes behind them in a larger file, NotCompared counts what was not held \
against all before it.

Nothing is sent, and m3ter is not asked. Exit codes: 0 clean; 1 there are findings, or the file is broken; 2 it could not be read; \
64 the command line is wrong.";

/// Find what the relay would quarantine in a file, before it is sent.
///
/// Reads what `send` reads: newline-delimited JSON, a JSON array, {"measurements":[…]} or CSV, plain or packed with gzip or zstd, or a
/// Parquet file. Each measurement is held against the relay's own rules, as it would be if it were sent now.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the file holds
    #[arg(long, value_enum, default_value_t = FormatName::Auto)]
    format: FormatName,

    /// What the relay does with a measurement without uid: the stack's parameter MissingUid
    #[arg(long, value_enum, default_value_t = MissingUidName::Refuse)]
    missing_uid: MissingUidName,

    /// They may have been sent before, but not before this: a time, a date, or an age such as 40d. Then what m3ter may have counted and
    /// forgotten is a finding. Without this, they are taken for new
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    first_sent: Option<When>,

    /// Also hold them against the meters and accounts in this store's catalogue, such as s3://bucket/prefix: the relay's pre-flight
    #[arg(long, value_name = "URL")]
    store_url: Option<String>,

    /// What the pre-flight says is a finding, not a warning
    #[arg(long, requires = "store_url")]
    strict: bool,

    /// Show each finding, not only 20 for each reason, and each note
    #[arg(long)]
    all: bool,

    /// Print one line of JSON for each finding, and one for the whole
    #[arg(long)]
    json: bool,
}

/// The values of the setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum MissingUidName {
    /// It is quarantined
    Refuse,
    /// Its uid is made from its content
    Content,
}

/// Checks the file and tells what is wrong with it.
///
/// # Errors
/// [`Failure::Data`] if there are findings or the file is broken, [`Failure::CouldNot`] if file or catalogue cannot be read.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let source = Source::at(&arguments.file);
    read::check(&source)?;
    let catalogue = match &arguments.store_url {
        Some(url) => Some(catalogue(url).await?),
        None => None,
    };
    let now_ms = clock::now().as_millisecond();
    let missing_uid = match arguments.missing_uid {
        MissingUidName::Refuse => MissingUid::Refuse,
        MissingUidName::Content => MissingUid::Content,
    };
    let progress = Progress::start(source.bytes(), "bytes checked");
    let style = Style { json: arguments.json, all: arguments.all };
    let mut check = Check {
        waiting: Vec::with_capacity(TOGETHER),
        seen: Seen::up_to(UIDS_MAX),
        told: Told::of(source.name(), style, progress.clone()),
        source: source.clone(),
        progress,
        failure: None,
    };
    let looker = Judging {
        rules: Rules { missing_uid, now_ms },
        first_sent_ms: arguments.first_sent.map(|when| when.at_ms(now_ms)),
        catalogue,
        doubt: if arguments.strict { Level::Finding } else { Level::Warning },
        arena: Bump::new(),
    };
    // Each has a catalogue of its own, which learns: two megabytes for 100,000 accounts.
    let lookers = vec![looker; spread::lookers()];
    let stop = spread::read(&source, arguments.format.format(), lookers, &mut |of| check.take(of)).err();
    let settled = check.settle().err();
    check.end(stop.or(settled))
}

async fn catalogue(url: &str) -> Result<Catalogue, Failure> {
    let store = open_store(url).await?;
    let read = store.catalogue_unless(None, Instant::now() + CATALOGUE_TIMEOUT).await;
    match read.map_err(|error| store_failed(&error))? {
        CatalogueRead::Changed { catalogue, .. } => Ok(catalogue),
        CatalogueRead::Absent | CatalogueRead::Unchanged => {
            let how = "ingest-watch writes it when it has listed m3ter's meters and accounts for the first time";
            Err(Failure::CouldNot(format!("expected a catalogue in this store, found none: {how}")))
        }
    }
}

/// What is to be said of a measurement, whatever else is in its file.
#[derive(Debug)]
struct Of {
    line: u64,
    /// Before it is said how it stands to those before it, and behind that.
    said: [Vec<Said>; 2],
    /// What it is compared by, if it would be sent.
    key: Option<Key>,
}

/// Judges measurements one by one.
#[derive(Debug)]
struct Judging {
    rules: Rules,
    /// `None` where nobody says that they were sent before.
    first_sent_ms: Option<i64>,
    catalogue: Option<Catalogue>,
    /// How much it matters what the pre-flight says.
    doubt: Level,
    /// Emptied for each measurement.
    arena: Bump,
}

impl Clone for Judging {
    fn clone(&self) -> Self {
        let Self { rules, first_sent_ms, catalogue, doubt, arena: _ } = self;
        let catalogue = catalogue.clone();
        Self { rules: *rules, first_sent_ms: *first_sent_ms, catalogue, doubt: *doubt, arena: Bump::new() }
    }
}

impl Look for Judging {
    type Found = Of;

    fn take(&mut self, line: u64, text: &str) -> Of {
        self.arena.reset();
        let Judging { arena, rules, first_sent_ms, catalogue, doubt } = self;
        if !is_carried(text) {
            let fault = Malformed::NotCarried;
            return Of::refused(line, files::read::refusal(fault.reason(), fault.to_string()));
        }
        let (mut before, mut behind) = (Vec::new(), Vec::new());
        let first_sent = FirstSent::NotBefore(first_sent_ms.unwrap_or(rules.now_ms));
        let mut judged = judge(text, first_sent, *rules, arena);
        if let Judged::NotDue(ahead_ms) = judged {
            before.push(note(Topic::Ahead, line, "its ts is up to 15 minutes ahead"));
            // As it will be judged when its time has come.
            judged = judge(text, first_sent, Rules { now_ms: rules.now_ms.saturating_add(ahead_ms), ..*rules }, arena);
        }
        match judged {
            Judged::Refused(refusal) => Of::refused(line, refusal),
            Judged::NotDue(_) => Of { line, said: [before, behind], key: None },
            Judged::Good(guarded) => {
                if first_sent_ms.is_none() && rules.now_ms.saturating_sub(guarded.ts_ms) >= WINDOW_SAFE_MS {
                    before.push(note(Topic::Old, line, "its ts is 34 days ago or more"));
                }
                if let Some(catalogue) = catalogue {
                    pre_flight(catalogue, &guarded, *doubt, line, &mut behind);
                }
                Of { line, said: [before, behind], key: Some(Key::of(&guarded, arena)) }
            }
        }
    }

    fn refuse(&mut self, line: u64, refusal: Refusal) -> Of {
        Of::refused(line, refusal)
    }
}

impl Of {
    fn refused(line: u64, refusal: Refusal) -> Self {
        Self { line, said: [vec![refused(line, refusal)], Vec::new()], key: None }
    }

    /// All that is to be said of it, now that those before it are known.
    fn behind(self, seen: &mut Seen) -> Vec<Said> {
        let Of { line, said: [mut said, behind], key } = self;
        said.extend(key.and_then(|key| standing(seen.standing(key, line), line)));
        said.extend(behind);
        said
    }
}

/// The check of one file.
struct Check {
    /// Judged, and not yet compared.
    waiting: Vec<Of>,
    seen: Seen,
    told: Told,
    source: Source,
    progress: Progress,
    /// Why nothing more was wanted.
    failure: Option<Failure>,
}

impl Check {
    /// Takes the next measurement.
    fn take(&mut self, of: Of) -> Result<(), Stop> {
        self.waiting.push(of);
        if self.waiting.len() < TOGETHER { Ok(()) } else { self.settle() }
    }

    /// Counts what waits, in its order.
    fn settle(&mut self) -> Result<(), Stop> {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.seen.fetch(waiting.iter().filter_map(|of| of.key.as_ref()));
        let counted = waiting.drain(..).try_for_each(|of| self.count(of));
        self.waiting = waiting;
        counted
    }

    /// Counts the next measurement, and what is said of it.
    fn count(&mut self, of: Of) -> Result<(), Stop> {
        let said = of.behind(&mut self.seen);
        self.told.measurements += 1;
        match said.as_slice() {
            said if said.iter().any(|one| one.level == Level::Finding) => {}
            said if said.iter().any(|one| one.topic == Topic::Copy) => self.told.copies += 1,
            _ => self.told.good += 1,
        }
        if self.told.measurements.is_multiple_of(PROGRESS_EACH) {
            self.progress.set(self.source.bytes_read());
        }
        said.iter().try_for_each(|one| self.told.say(one)).map_err(|failure| {
            self.failure = Some(failure);
            Stop::NotWanted
        })
    }

    /// Tells the whole; `stop` is why it is not.
    fn end(mut self, stop: Option<Stop>) -> Result<(), Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let complete = stop.is_none();
        let stopped = match stop {
            Some(Stop::Line { line, refusal }) => self.told.say(&refused(line, refusal)).map(|()| None)?,
            Some(stop) => read::stopped(&self.source, stop),
            None => None,
        };
        // Where nothing was read, the failure says all there is to say.
        if stopped.is_none() || self.told.measurements > 0 {
            self.told.end(complete)?;
        }
        self.progress.finish();
        match (stopped, self.told.count(Level::Finding)) {
            (Some(failure), _) => Err(failure),
            (None, 0) => Ok(()),
            (None, findings) => Err(Failure::Data(format!("{} in {}", counted(findings, "finding"), self.source.name()))),
        }
    }
}

fn refused(line: u64, Refusal { reason, detail, .. }: Refusal) -> Said {
    Said { level: Level::Finding, topic: Topic::Refused(reason), line, detail, earlier_line: None }
}

fn note(topic: Topic, line: u64, detail: impl Into<Cow<'static, str>>) -> Said {
    Said { level: Level::Note, topic, line, detail: detail.into(), earlier_line: None }
}

fn standing(standing: Standing, line: u64) -> Option<Said> {
    match standing {
        Standing::First => None,
        Standing::Unknown => Some(note(Topic::Uncompared, line, "there are more uids before it than are remembered")),
        Standing::CopyOf(earlier) => {
            let said = note(Topic::Copy, line, format!("equal to line {earlier}"));
            Some(Said { earlier_line: Some(earlier), ..said })
        }
        Standing::Rival(earlier) => {
            let detail = format!("expected one content under a uid; line {earlier} has another under this one");
            let refusal = files::read::refusal(Reason::UidConflict, detail);
            Some(Said { earlier_line: Some(earlier), ..refused(line, refusal) })
        }
    }
}

/// What the relay's pre-flight says, each part of it on its own. Its own words for an account name it, so these are others.
fn pre_flight(catalogue: &mut Catalogue, guarded: &Guarded<'_>, doubt: Level, line: u64, said: &mut Vec<Said>) {
    let Findings { meter_unknown, field_missing, field_unconfigured, account_near } = catalogue.check(guarded);
    let mut doubted =
        |topic, detail: Cow<'static, str>| said.push(Said { level: doubt, topic, line, detail, earlier_line: None });
    for part in [Findings { meter_unknown, ..Findings::default() }, Findings { field_missing, ..Findings::default() }] {
        if let Some(Refusal { reason, detail, .. }) = catalogue.refusal(guarded, part) {
            doubted(Topic::Refused(reason), detail);
        }
    }
    if field_unconfigured {
        doubted(Topic::Unconfigured, "expected only data fields that the meter had when m3ter was asked last".into());
    }
    if account_near {
        let rule = "it differs from one that is there only in case, spaces, `-` or `_`";
        let detail = format!("expected an account that m3ter had when it was asked last; {rule}");
        doubted(Topic::Refused(Reason::AccountNearMiss), detail.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Good ones, copies and rivals of some of them far behind, others that are ahead, old, or none.
    fn mixed() -> String {
        let one = |number: usize| {
            let (of, calls) = if number % 11 == 5 { (number / 2, number % 3) } else { (number, number) };
            let ts = match number % 13 {
                3 => "2026-06-01T00:05:00Z",
                6 => "2026-04-01T00:00:00Z",
                9 => "2027-01-01T00:00:00Z",
                _ => "2026-05-31T00:00:00Z",
            };
            let account = if number % 17 == 8 { "" } else { r#""account":"a","# };
            match number % 501 {
                200 => "{".to_owned(),
                400 => String::new(),
                _ => format!(r#"{{"uid":"u-{of}","meter":"m",{account}"ts":"{ts}","measure":{{"calls":{}}}}}"#, calls / 11),
            }
        };
        (0..9_000).map(|number| one(number) + "\n").collect()
    }

    #[test]
    fn however_many_judge_the_same_is_said_in_the_same_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, mixed()).unwrap();
        let said = |lookers: usize| {
            let judging = Judging {
                rules: Rules { missing_uid: MissingUid::Refuse, now_ms: 1_780_272_000_000 },
                first_sent_ms: None,
                catalogue: None,
                doubt: Level::Warning,
                arena: Bump::new(),
            };
            let (mut seen, mut said) = (Seen::up_to(3_000), Vec::new());
            let format = files::source::Format::Ndjson;
            let end = spread::read(&Source::at(&path), format, vec![judging; lookers], &mut |of| {
                said.push((of.line, of.behind(&mut seen)));
                Ok(())
            });
            end.unwrap();
            said
        };
        let alone = said(1);
        let topics: std::collections::BTreeSet<Topic> =
            alone.iter().flat_map(|(_, said)| said.iter().map(|one| one.topic)).collect();
        let reasons = [Reason::NotJson, Reason::AccountMissing, Reason::TimestampInFuture, Reason::UidConflict];
        let others = [Topic::Copy, Topic::Ahead, Topic::Old, Topic::Uncompared];
        assert_eq!(topics, reasons.map(Topic::Refused).into_iter().chain(others).collect());
        for lookers in [2, 3] {
            assert!(said(lookers) == alone, "{lookers} lookers");
        }
    }

    #[test]
    fn what_was_not_held_against_all_before_it_is_a_note_and_no_finding() {
        let said = standing(Standing::Unknown, 7).unwrap();
        assert_eq!((said.level, said.topic, said.line, said.earlier_line), (Level::Note, Topic::Uncompared, 7, None));
        assert_eq!(standing(Standing::First, 7), None);
    }
}
