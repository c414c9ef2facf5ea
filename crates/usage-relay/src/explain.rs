//! `usage-relay explain`: the whole life of a measurement, in order, and what it comes to in one sentence.

use recovery::gather::{Look, Looked};
use recovery::life::{Event, Place, Sent, SentAgain, Story, What, time};
use serde::Serialize;

use crate::failure::Failure;
use crate::figures::counted;
use crate::store::{LookedJson, StoreArguments, When, looked_text, say_unreadable, store_failed};
use crate::terminal::{self, Progress};

/// Most measurements told at once when they are asked for by meter or account: more would not be read.
const STORIES_MAX: usize = 1_000;

const EXAMPLES: &str = "\
Examples:
  usage-relay explain 7f6d2c1e-0f57-4c52-9f0a-3f1f8f6c0a11
  usage-relay explain --account acme --meter api_requests --since 2h
  usage-relay explain order-1 order-2 --store-url s3://bucket/relay --json

It reads what the relay and ingest-watch wrote (ledger, quarantine, what m3ter said later) and asks m3ter nothing. What m3ter \
accepted is called ingested when all its events of the hour after were read and held no rejection. With LedgerMode uids there is no \
meter or account to look for; with off there is only the quarantine.

Exit codes: 0 all were found; 1 one was not, or an object could not be read; 2 the store did not answer; 64 the command line is wrong.";

/// Tell the whole life of measurements, in order.
///
/// Queued, sent in which batch, accepted, quarantined and why, rejected later, sent again, given up: each with its time, and at the
/// end the words that say where the measurement is now, and until when m3ter was heard.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Uids of measurements
    #[arg(value_name = "UID", required_unless_present_any = ["meter", "account"], conflicts_with_all = ["meter", "account", "until"])]
    uids: Vec<String>,

    /// Measurements of this meter instead: the first 1,000 by uid
    #[arg(long, value_name = "CODE")]
    meter: Option<String>,

    /// Measurements of this account instead; with --meter, of both
    #[arg(long, value_name = "CODE")]
    account: Option<String>,

    #[command(flatten)]
    store: StoreArguments,

    /// With --meter or --account: only measurements that the relay had seen by then; their lives are told to the end
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    measurements: &'a [Story],
    more: bool,
    /// `null`: never.
    events_read_until: Option<String>,
    looked: LookedJson,
}

/// Looks and tells.
///
/// # Errors
/// [`Failure::Data`] if a uid is not found or an object cannot be read, [`Failure::CouldNot`] if the store does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (store, (since_ms, now_ms)) = arguments.store.open().await?;
    let progress = Progress::start(Some(0), "objects read");
    let mut on_progress = |done, of| progress.of(done, of);
    let mut look = Look::new(&store, (since_ms, now_ms), &mut on_progress);
    let mut uids = arguments.uids.clone();
    uids.sort_unstable();
    uids.dedup();
    let mut more = false;
    if uids.is_empty() {
        let until_ms = arguments.until.map_or(now_ms, |until| until.at_ms(now_ms));
        let codes = (arguments.meter.as_deref(), arguments.account.as_deref());
        let found = look.uids_of(codes, until_ms, STORIES_MAX).await;
        (uids, more) = found.map_err(|error| store_failed(&error))?;
    }
    let stories = if uids.is_empty() { Vec::new() } else { look.stories(&uids).await.map_err(|error| store_failed(&error))? };
    let mut looked = look.looked;
    looked.settle();
    progress.finish();
    if arguments.json {
        let events_read_until = looked.events_read_to_ms.map(time);
        terminal::print_json(&Told { measurements: &stories, more, events_read_until, looked: LookedJson::of(&looked) })?;
    } else {
        terminal::print(&text(&stories, more, &looked))?;
    }
    say_unreadable(&looked)?;
    let missing = stories.iter().filter(|story| story.place == Place::NotFound).count();
    match (missing, stories.is_empty()) {
        (0, false) => Ok(()),
        (0, true) => {
            Err(Failure::Data("nothing of that meter or account was found; in LedgerMode uids and off it cannot be".to_owned()))
        }
        (missing, _) => Err(Failure::Data(format!("{} not found", counted(missing as u64, "uid")))),
    }
}

fn text(stories: &[Story], more: bool, looked: &Looked) -> String {
    let mut lines: Vec<String> = Vec::new();
    for story in stories {
        let known = [("meter", &story.meter), ("account", &story.account), ("ts", &story.ts)];
        let known = known.iter().filter_map(|(name, value)| Some(format!("{name} {}", value.as_deref()?)));
        lines.push(std::iter::once(story.uid.clone()).chain(known).collect::<Vec<_>>().join("  "));
        lines.extend(story.events.iter().map(line));
        lines.push(format!("  {}", story.sentence));
        lines.push(String::new());
    }
    if more {
        lines.push(format!("there are more than {STORIES_MAX}; a shorter time (--since, --until) or uids show the others"));
    }
    lines.push(looked_text(looked));
    lines.join("\n")
}

fn line(event: &Event) -> String {
    let (word, rest) = match &event.what {
        What::Queued { message_id, origin: None } => ("queued", format!("message {message_id}")),
        What::Queued { message_id, origin: Some(origin) } => ("queued", format!("message {message_id}, {origin}")),
        What::Accepted(one) => ("accepted", sent(one)),
        What::AcceptedAgain { other_content: false, sent: one } => ("accepted again", sent(one)),
        What::AcceptedAgain { other_content: true, sent: one } => {
            ("accepted again", format!("{}; another content under this uid, m3ter keeps the first", sent(one)))
        }
        What::Unanswered(one) if one.in_file => ("sent in a file", sent(one)),
        What::Unanswered(one) => ("no answer", sent(one)),
        What::Quarantined { qid, reason, detail, whole_message } => {
            let whole = if *whole_message { " (the whole message)" } else { "" };
            ("quarantined", format!("{reason}: {detail}; entry {qid}{whole}"))
        }
        What::RejectedLater { qid, reason, detail } => ("rejected later", format!("{reason}: {detail}; entry {qid}")),
        What::Receipt => ("receipt", "m3ter dropped a copy of what it has".to_owned()),
        What::NotCalculated => ("not calculated", "m3ter counted it without a field that it derives".to_owned()),
        What::Unjudged => ("copy dropped", "by m3ter; without a ledger nobody can say of what".to_owned()),
        What::Replayed(again) => ("replayed", sent_again(again)),
        What::Corrected(again) => ("corrected", sent_again(again)),
        What::Dropped { qid, because, by } => ("dropped", format!("entry {qid}, because: {because}{}", by_whom(by.as_deref()))),
    };
    format!("  {}  {word:<14}  {rest}", time(event.at_ms))
}

fn sent(sent: &Sent) -> String {
    let Sent { batch, attempts, receives, .. } = sent;
    let attempts = if *attempts > 1 { format!(", {}", counted(u64::from(*attempts), "attempt")) } else { String::new() };
    let receives = if *receives > 1 { format!(", delivery {receives} of its message") } else { String::new() };
    format!("batch {batch}{attempts}{receives}")
}

fn sent_again(again: &SentAgain) -> String {
    let SentAgain { qid, claim, new_uid, beyond_window, by } = again;
    let new_uid = new_uid.as_ref().map(|uid| format!(" under the new uid {uid}")).unwrap_or_default();
    let beyond = if *beyond_window { ", beyond m3ter's window" } else { "" };
    let times = if *claim > 1 { format!(", time {claim}") } else { String::new() };
    format!("entry {qid}{times}{new_uid}{beyond}{}", by_whom(by.as_deref()))
}

fn by_whom(by: Option<&str>) -> String {
    by.map(|by| format!(", by {by}")).unwrap_or_default()
}
