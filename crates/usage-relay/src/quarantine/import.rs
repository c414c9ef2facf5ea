//! `usage-relay quarantine import`: mended measurements take the place of their entries and go back to the queue.
//!
//! Everything is judged before anything is sent, by the rules that the relay will judge it by: a file is right as a whole, or
//! nothing of it happens. Rows whose entries are settled already are passed over, so that an interrupted import is simply run
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;

use recovery::correction::check;
use recovery::decision::{Choice, Not, decide};
use recovery::gather::{Chosen, Depth, Look};
use recovery::kept::Selection;
use recovery::message::mended;
use recovery::standing::Facts;
use relay_store::Action;
use tokio::sync::mpsc;
use url::Url;
use uuid::Uuid;

use super::rows::{self, Faults, Row, at_fault};
use crate::config;
use crate::failure::Failure;
use crate::figures::{counted, grouped};
use crate::queue::{self, Queue};
use crate::sending::{self, READY_MAX, Ready, Run};
use crate::store::{StoreArguments, say_unreadable, store_failed};
use crate::terminal::{self, Progress};

const HELP: &str = "\
Examples:
  usage-relay quarantine import broken.csv --dry-run
  usage-relay quarantine import broken.csv --queue-url \"$QUEUE_URL\"

FILE is what quarantine export wrote, with the measurements mended: newline-delimited JSON or CSV. qid and uid stay; an entry \
that has no uid, or is a whole body, gets one from you. A body may become several lines with the same qid.

Exit codes: 0 sent; 1 a row is at fault, and nothing was sent; 2 file, store or queue did not answer; 64 the command line is wrong.";

/// Send mended measurements in place of quarantined ones.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// The mended export; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The queue: output QueueUrl of the stack
    #[arg(long, value_name = "URL", value_parser = queue::parse_url, required_unless_present = "dry_run")]
    queue_url: Option<Url>,

    #[command(flatten)]
    store: StoreArguments,

    /// Judge everything and send nothing
    #[arg(long)]
    dry_run: bool,

    /// At most so many messages a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,

    /// Send this measurement however old it is: m3ter may have counted it, and may count it again. Give it once for each
    #[arg(long, value_name = "UID")]
    beyond_window: Vec<String>,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// What a file comes to.
#[derive(Debug, Default)]
struct Judged {
    ready: Vec<Ready>,
    faults: Faults,
    /// Rows whose entries are settled, by why.
    passed_over: BTreeMap<&'static str, u64>,
    silent: u64,
}

/// Reads, looks, judges, sends.
///
/// # Errors
/// [`Failure::Data`] if a row is at fault, [`Failure::CouldNot`] if file, store or queue does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (rows, faults) = rows::read(&arguments.file)?;
    let (store, (since_ms, now_ms)) = arguments.store.open().await?;
    let progress = Progress::start(Some(0), "objects read");
    let mut on_progress = |done, of| progress.of(done, of);
    let mut look = Look::new(&store, (since_ms, now_ms), &mut on_progress);
    let mut selection = Selection::all(since_ms, i64::MAX);
    selection.qids.extend(rows.iter().map(|row| row.qid));
    let chosen = look.entries(&selection).await.map_err(|error| store_failed(&error))?;
    let facts = look.facts(&chosen, Depth::Window).await.map_err(|error| store_failed(&error))?;
    let mut looked = look.looked;
    looked.settle();
    progress.finish();
    let choice = Choice { new_uid: false, beyond_window: arguments.beyond_window.iter().cloned().collect(), is_mended: true };
    let mut judged = judge(&rows, &chosen, &facts, &choice, now_ms);
    judged.faults.extend(faults);
    if !judged.faults.is_empty() {
        say_unreadable(&looked).unwrap_or_default();
    }
    at_fault(&arguments.file.display().to_string(), judged.faults)?;
    if judged.silent > 0 {
        let text = format!(
            "WARNING: {} claimed before, and nothing was heard since; sent once more, counted once",
            grouped(judged.silent)
        );
        terminal::complain(&text);
    }
    let (entries, measurements) = (judged.ready.len() as u64, judged.ready.iter().map(|one| one.measurements).sum::<u64>());
    let passed: Vec<String> =
        judged.passed_over.iter().map(|(why, count)| format!("{} passed over ({why})", grouped(*count))).collect();
    let next = judged.ready.first().and_then(|one| one.uid.clone());
    let mut outcome = sending::Outcome::default();
    if let Some(url) = arguments.queue_url.filter(|_| !arguments.dry_run && entries > 0) {
        let queue = Queue::at(url).await;
        let run = Run { action: Action::Import, id: Uuid::now_v7(), by: config::user() };
        let progress = Progress::start(Some(measurements), "measurements sent");
        let (sender, ready) = mpsc::channel(READY_MAX);
        let give = async {
            for one in judged.ready {
                if sender.send(one).await.is_err() {
                    break;
                }
            }
            drop(sender);
        };
        (outcome, ()) = tokio::join!(sending::send((&store, &queue), &run, ready, arguments.rate, &progress), give);
        progress.finish();
    }
    if arguments.json {
        let passed: u64 = judged.passed_over.values().sum();
        terminal::print_json(&serde_json::json!({
            "rows": rows.len(), "entries": entries, "measurements": measurements, "sent": outcome.sent, "passed_over": passed,
            "silent_before": judged.silent, "claimed_by_others": outcome.taken, "claimed_and_not_sent": outcome.unsent(),
        }))?;
    } else {
        let mut lines = vec![match arguments.dry_run {
            true => format!(
                "dry run: all {} are right, {} would be sent",
                counted(rows.len() as u64, "row"),
                counted(measurements, "measurement")
            ),
            false => format!("sent {} of {}", counted(outcome.sent, "message"), counted(rows.len() as u64, "row")),
        }];
        lines.extend(passed);
        if outcome.taken > 0 {
            lines.push(format!("{} claimed by somebody else in the meantime, and left to them", grouped(outcome.taken)));
        }
        if let Some(uid) = next.filter(|_| outcome.sent > 0) {
            lines.push(format!("next, in a minute or two: usage-relay explain {uid}"));
        }
        terminal::print(&lines.join("\n"))?;
    }
    match outcome.failure {
        Some(failure) => Err(Failure::CouldNot(format!(
            "{failure} (run it again: what was sent is passed over; what was only claimed goes in 15 minutes)"
        ))),
        None => say_unreadable(&looked),
    }
}

fn judge(rows: &[Row], chosen: &Chosen, facts: &BTreeMap<Uuid, Facts>, choice: &Choice, now_ms: i64) -> Judged {
    let mut judged = Judged::default();
    let mut by_qid: BTreeMap<Uuid, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        by_qid.entry(row.qid).or_default().push(row);
    }
    let mut uids = BTreeSet::new();
    for (qid, rows) in by_qid {
        let line = rows.first().map_or(0, |row| row.line);
        let Some((kept, _)) = chosen.kept.get(&qid) else {
            let fault = "expected the qid of an entry in the quarantine; --since looks further back".to_owned();
            judged.faults.push((line, fault));
            continue;
        };
        let go = match decide(kept, facts.get(&qid).unwrap_or(&Facts::default()), choice, now_ms) {
            Ok(go) => go,
            Err(not @ (Not::Accepted { .. } | Not::CameBack { .. } | Not::UnderWay { .. })) => {
                *judged.passed_over.entry(not.meaning()).or_default() += rows.len() as u64;
                continue;
            }
            Err(not) => {
                let particulars = not.particulars().map(|text| format!(": {text}")).unwrap_or_default();
                judged.faults.push((line, format!("{}{particulars}", not.meaning())));
                continue;
            }
        };
        let texts: Vec<&str> = rows.iter().map(|row| row.text.as_str()).collect();
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        let at = |place: usize| lines.get(place).copied().unwrap_or(line);
        match check(kept, &go, &texts, now_ms) {
            Err(faults) => judged.faults.extend(faults.into_iter().map(|(place, fault)| (at(place), fault))),
            Ok(own) => {
                for (place, uid) in own.iter().enumerate() {
                    if !uids.insert(uid.clone()) {
                        judged.faults.push((at(place), "expected each uid once in a file".to_owned()));
                    }
                }
                judged.silent += u64::from(go.silent_since_ms.is_some());
                match mended(qid, &go, &texts, kept.uid.as_deref()) {
                    Ok(message) => {
                        let uid = own.into_iter().next();
                        judged.ready.push(Ready { qid, uid, go, message, measurements: texts.len() as u64 });
                    }
                    Err(not) => judged.faults.push((line, not.particulars().unwrap_or_default())),
                }
            }
        }
    }
    judged
}
