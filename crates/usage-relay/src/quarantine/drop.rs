//! `usage-relay quarantine drop`: gives entries up, for a reason that is kept. Nothing is deleted.

use std::time::Duration;

use recovery::gather::{Depth, Look};
use recovery::kept::Selection;
use recovery::standing::{DROP, Facts, Standing};
use relay_store::{Action, Marked, Marker};
use tokio::time::Instant;
use uuid::Uuid;

use crate::choosing::qid;
use crate::config;
use crate::failure::Failure;
use crate::figures::grouped;
use crate::store::{StoreArguments, say_unreadable, store_failed};
use crate::terminal::{self, Progress};

/// Longest wait for a marker to be written.
const MARK_TIMEOUT: Duration = Duration::from_secs(30);

const HELP: &str = "\
Examples:
  usage-relay quarantine drop 5b0c2d2c-7a0e-5a51-9c55-0a4c3b1f1e11 --because \"test data of the load test\"

A dropped entry no longer counts as open and is not replayed. `quarantine list --all` still shows it.

Exit codes: 0 dropped; 1 one is not there or cannot be dropped, and none was; 2 the store did not answer; 64 the command line is \
wrong.";

/// Give entries up, and say why.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Ids of entries
    #[arg(value_name = "QID", required = true, value_parser = qid)]
    qids: Vec<Uuid>,

    /// Why: kept with the entry
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    because: String,

    #[command(flatten)]
    store: StoreArguments,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("expected a reason that will make sense in a year".to_owned()),
        text => Ok(text.to_owned()),
    }
}

/// Looks first, then writes markers: either all names are known, or none is dropped.
///
/// # Errors
/// [`Failure::Data`] if an entry is not there or cannot be dropped, [`Failure::CouldNot`] if the store does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (store, (since_ms, now_ms)) = arguments.store.open().await?;
    let progress = Progress::start(Some(0), "objects read");
    let mut on_progress = |done, of| progress.of(done, of);
    let mut look = Look::new(&store, (since_ms, now_ms), &mut on_progress);
    let mut selection = Selection::all(since_ms, i64::MAX);
    selection.qids.extend(&arguments.qids);
    let chosen = look.entries(&selection).await.map_err(|error| store_failed(&error))?;
    let facts = look.facts(&chosen, Depth::Claimed).await.map_err(|error| store_failed(&error))?;
    let mut looked = look.looked;
    looked.settle();
    progress.finish();
    let mut wrong = Vec::new();
    for qid in &selection.qids {
        let Some((kept, _)) = chosen.kept.get(qid) else {
            wrong.push(format!("{qid} is not in the quarantine since then; --since looks further back"));
            continue;
        };
        match Standing::of(kept, facts.get(qid).unwrap_or(&Facts::default()), now_ms) {
            Standing::Open | Standing::Silent { .. } | Standing::Dropped => {}
            Standing::UnderWay { .. } => wrong.push(format!("{qid} is being sent again: wait for the outcome")),
            Standing::Accepted { .. } => {
                wrong.push(format!("{qid} was sent again and m3ter accepted it: nothing is left to drop"))
            }
            Standing::CameBack { qid: newer } => wrong.push(format!("{qid} came back as {newer}: drop that one")),
        }
    }
    if !wrong.is_empty() {
        wrong.iter().for_each(|text| terminal::complain(text));
        say_unreadable(&looked).unwrap_or_default();
        return Err(Failure::Data("nothing was dropped".to_owned()));
    }
    let (mut dropped, mut before) = (0, 0);
    for qid in &selection.qids {
        let marker = Marker {
            action: Action::Drop,
            at: now_ms,
            run: Uuid::now_v7(),
            by: config::user(),
            because: Some(arguments.because.clone()),
            new_uid: None,
            supersedes: None,
            beyond_window: false,
        };
        match store.mark(*qid, DROP, &marker, Instant::now() + MARK_TIMEOUT).await.map_err(|error| store_failed(&error))? {
            Marked::Created => dropped += 1,
            Marked::TakenBefore => before += 1,
        }
    }
    if arguments.json {
        terminal::print_json(&serde_json::json!({"dropped": dropped, "dropped_before": before}))?;
    } else {
        let earlier = if before > 0 { format!("; {} had been dropped before", grouped(before)) } else { String::new() };
        terminal::print(&format!("dropped {}{earlier}", grouped(dropped)))?;
    }
    say_unreadable(&looked)
}
