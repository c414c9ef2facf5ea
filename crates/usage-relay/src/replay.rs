//! `usage-relay replay`: quarantined measurements go back to the queue, as they were and under the same uid.
//!
//! Three steps: look (entries, markers, and what the ledger knows of them), decide (the rules are `recovery`'s), send. What it
//! will do is said before it is done. Sending again is safe because the uid stays; the one danger is m3ter's 35-day memory,
//! and that has its guard.

mod plan;

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use recovery::decision::Choice;
use recovery::gather::{Depth, Look};
use recovery::message::again;
use relay_store::{Action, Entry, Store};
use tokio::sync::mpsc::{self, Sender};
use url::Url;
use uuid::Uuid;

use self::plan::Plan;
use crate::choosing::Choosing;
use crate::clock::Stopwatch;
use crate::config;
use crate::failure::Failure;
use crate::figures::grouped;
use crate::queue::{self, Queue};
use crate::sending::{self, Outcome, READY_MAX, Ready, Run};
use crate::store::{StoreArguments, say_unreadable, store_failed};
use crate::terminal::{self, Progress};

const EXAMPLES: &str = "\
Examples:
  usage-relay replay --reason RefusedByApi --since 2d --dry-run
  usage-relay replay --reason RefusedByApi --since 2d --queue-url \"$QUEUE_URL\"
  usage-relay replay --uid order-1 --queue-url \"$QUEUE_URL\"
  usage-relay replay --beyond-window order-2 --queue-url \"$QUEUE_URL\"
  usage-relay replay --reason UndefinedMeter --queue-url \"$QUEUE_URL\"    # m3ter has the meter now
  usage-relay replay --qid $QID --new-uid --queue-url \"$QUEUE_URL\"           # dropped as a copy, and not counted

Sent at least once, counted once: the uid stays, and m3ter counts a uid once in 35 days. What may first have been sent 34 \
days ago or earlier is refused, unless its uid is named with --beyond-window. What m3ter dropped as a copy would be dropped again, and goes \
only with --new-uid.

An entry is claimed in the store before it is sent, so two operators cannot send it at once. If a claim is 15 minutes old \
and nothing came of it, the next replay sends the entry again, and says so.

Exit codes: 0 done; 1 an entry that was named is refused, or an object could not be read; 2 store or queue did not answer; \
64 the command line is wrong.";

/// Send quarantined measurements again, as they are.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,

    /// The queue: output QueueUrl of the stack
    #[arg(long, value_name = "URL", value_parser = queue::parse_url, required_unless_present = "dry_run")]
    queue_url: Option<Url>,

    #[command(flatten)]
    choosing: Choosing,

    /// Say what would be sent and what not, and send nothing
    #[arg(long)]
    dry_run: bool,

    /// At most so many messages a second
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,

    /// Send this measurement however old it is: m3ter may have counted it, and may count it again. Give it once for each
    #[arg(long, value_name = "UID")]
    beyond_window: Vec<String>,

    /// Send under new uids: each follows from its entry, so a second run counts once. For what m3ter rejected later and
    /// keeps the uid of, or another content under a uid that m3ter has; if m3ter did count the old one, both count
    #[arg(long, conflicts_with = "beyond_window")]
    new_uid: bool,

    /// Needed to replay everything, and for --new-uid without --uid or --qid
    #[arg(long)]
    yes: bool,

    /// Print one line of JSON, with every entry that is refused
    #[arg(long)]
    json: bool,
}

/// Looks, decides, says, sends.
///
/// # Errors
/// [`Failure::Data`] if an entry that was named is refused or an object cannot be read, [`Failure::CouldNot`] if store or queue
/// does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (store, (since_ms, now_ms)) = arguments.store.open().await?;
    let mut selection = arguments.choosing.selection((since_ms, now_ms));
    selection.uids.extend(arguments.beyond_window.iter().cloned());
    let is_everything = arguments.choosing.is_empty() && arguments.beyond_window.is_empty();
    consent(&arguments, is_everything, selection.is_by_name())?;
    let progress = Progress::start(Some(0), "objects read");
    let mut on_progress = |done, of| progress.of(done, of);
    let mut look = Look::new(&store, (since_ms, now_ms), &mut on_progress);
    let chosen = look.entries(&selection).await.map_err(|error| store_failed(&error))?;
    let facts = look.facts(&chosen, Depth::Window).await.map_err(|error| store_failed(&error))?;
    let mut looked = look.looked;
    looked.settle();
    progress.finish();
    let choice =
        Choice { new_uid: arguments.new_uid, beyond_window: arguments.beyond_window.iter().cloned().collect(), is_mended: false };
    let mut plan = Plan::of(&chosen, &facts, &choice, now_ms);
    plan.warn_of_silent();
    if !arguments.json {
        terminal::print(&plan.text(arguments.dry_run))?;
    }
    let watch = Stopwatch::start();
    let outcome = match arguments.queue_url.filter(|_| !arguments.dry_run && !plan.go.is_empty()) {
        Some(url) => {
            let queue = Queue::at(url).await;
            let run = Run { action: Action::Replay, id: Uuid::now_v7(), by: config::user() };
            let progress = Progress::start(Some(plan.go.len() as u64), "measurements sent");
            let outcome = send((&store, &queue), &run, &mut plan, &chosen, arguments.rate, &progress).await;
            progress.finish();
            Some(outcome)
        }
        None => None,
    };
    if arguments.json {
        terminal::print_json(&plan.json(&outcome, &looked))?;
    } else {
        terminal::print(&plan.outcome_text(&outcome, &looked, watch.elapsed()))?;
    }
    if let Some(failure) = outcome.and_then(told) {
        return Err(failure);
    }
    say_unreadable(&looked)?;
    plan.verdict(&selection)
}

/// What is wide must be meant.
fn consent(arguments: &Arguments, is_everything: bool, is_by_name: bool) -> Result<(), Failure> {
    if arguments.yes || arguments.dry_run {
        return Ok(());
    }
    if is_everything {
        let expected = "expected a filter such as --reason or --uid; --yes replays everything that is open";
        return Err(Failure::Usage(expected.to_owned()));
    }
    if arguments.new_uid && !is_by_name {
        let expected = "expected --uid or --qid with --new-uid, since what m3ter did count would count twice; --yes overrules";
        return Err(Failure::Usage(expected.to_owned()));
    }
    Ok(())
}

/// Why sending ended early, with what to do about entries that were claimed by then.
fn told(outcome: Outcome) -> Option<Failure> {
    let unsent = outcome.unsent();
    let failure = outcome.failure?;
    let sent = grouped(outcome.sent);
    let then = match unsent {
        0 => format!("{sent} sent; run it again for the rest"),
        _ => format!(
            "{sent} sent, {} claimed and perhaps not sent; run it again for the rest, and in 15 minutes for these",
            grouped(unsent)
        ),
    };
    Some(match failure {
        Failure::Data(text) => Failure::Data(format!("{text} ({then})")),
        Failure::CouldNot(text) => Failure::CouldNot(format!("{text} ({then})")),
        Failure::Usage(text) => Failure::Usage(text),
    })
}

async fn send(
    (store, queue): (&Store, &Queue),
    run: &Run,
    plan: &mut Plan,
    chosen: &recovery::gather::Chosen,
    rate: Option<NonZeroU32>,
    progress: &Progress,
) -> Outcome {
    let (sender, ready) = mpsc::channel(READY_MAX);
    let (mut outcome, read) =
        tokio::join!(sending::send((store, queue), run, ready, rate, progress), read(store, plan, chosen, sender));
    if let Err(failure) = read {
        outcome.failure.get_or_insert(failure);
    }
    outcome
}

/// Reads the entries that go, object by object, and makes their messages.
async fn read(store: &Store, plan: &mut Plan, chosen: &recovery::gather::Chosen, ready: Sender<Ready>) -> Result<(), Failure> {
    for (place, object) in chosen.objects.iter().enumerate() {
        let mut here: BTreeSet<Uuid> = plan.go.iter().filter(|(_, (_, at))| *at == place).map(|(qid, _)| *qid).collect();
        if here.is_empty() {
            continue;
        }
        let wanted = here.clone();
        let keep = move |entry: Entry| wanted.contains(&entry.qid).then_some(entry);
        let mut entries = Vec::new();
        let torn = store.entries([object.clone()], keep, |_, entry| {
            entries.extend(entry.filter(|entry| here.remove(&entry.qid)));
        });
        let torn = torn.await;
        if let Some(torn) = torn.first() {
            return Err(Failure::CouldNot(format!("cannot read {} a second time: {}", torn.name, torn.expected)));
        }
        for entry in entries {
            let Some((go, _)) = plan.go.get(&entry.qid).cloned() else { continue };
            match again(&entry, &go) {
                Ok(message) => {
                    let one = Ready { qid: entry.qid, uid: entry.uid, go, message, measurements: 1 };
                    if ready.send(one).await.is_err() {
                        return Ok(());
                    }
                }
                Err(not) => plan.refuse(entry.qid, entry.uid, not),
            }
        }
    }
    Ok(())
}
