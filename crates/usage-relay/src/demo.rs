//! `usage-relay demo`: sends a known mix of good and bad measurements, waits until all is settled, and balances the books.
//!
//! Four steps, each with its own page: [`plan`] makes the mix, [`evidence`] gathers what became of it, [`books`] finds the
//! place of each measurement, [`report`] says so. [`batches`] looks at how full the requests were.

mod batches;
mod books;
mod evidence;
pub(crate) mod m3ter;
pub(crate) mod plan;
mod report;

use std::time::Duration;

use tokio::sync::mpsc;
use url::Url;

use self::evidence::Places;
use self::m3ter::M3ter;
use self::report::Report;
use crate::clock::{self, Stopwatch};
use crate::config;
use crate::failure::Failure;
use crate::queue::{self, Queue};
use crate::sample::Run;
use crate::send::deliver::deliver;
use crate::send::pack::{Batcher, Message};
use crate::store::open_store;
use crate::terminal::{self, Progress};

const EXAMPLES: &str = "\
Examples:
  usage-relay demo --queue-url \"$QUEUE_URL\" --dead-letter-queue-url \"$DEAD_LETTER_QUEUE_URL\" \\
      --store-url \"$STORE_URL\" --sandbox-url http://127.0.0.1:8080

For a relay that submits to a sandbox, never to m3ter itself: the queue must be on this machine.

Credentials: M3TER_ACCESS_KEY_ID and M3TER_API_SECRET from the environment, else sandbox and sandbox-secret.

Exit codes: 0 each measurement has exactly one place; 1 one has none, or two; 2 something did not answer, or not in time; 64 the \
command line is wrong.";

/// Send a known mix and prove that the books balance.
///
/// Sends good measurements and, among them, copies, conflicts, malformed ones, an unknown meter and one that is too large. Waits
/// until the queues are empty, then looks up where every single one ended. Exits with 0 only if each has exactly one place.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The relay's queue: output QueueUrl of the stack
    #[arg(long, value_name = "URL", value_parser = queue::parse_url)]
    queue_url: Url,

    /// Its dead-letter queue, which must stay empty: output DeadLetterQueueUrl of the stack
    #[arg(long, value_name = "URL", value_parser = queue::parse_url)]
    dead_letter_queue_url: Url,

    /// The store that holds the quarantine, such as s3://bucket/prefix: output StoreUrl of the stack
    #[arg(long, value_name = "URL")]
    store_url: String,

    /// The sandbox that the relay submits to
    #[arg(long, value_name = "URL", value_parser = http_url)]
    sandbox_url: Url,

    /// The organisation in the sandbox
    #[arg(long, value_name = "ID", default_value = "sandbox-org")]
    organisation: String,

    /// Measurements to send
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(10..=1_000_000))]
    measurements: u64,

    /// Messages to send them in
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    messages: u64,

    /// Seconds to wait until all is settled
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout_s: u64,

    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    url.ok_or_else(|| "expected the URL of a sandbox such as http://127.0.0.1:8080".to_owned())
}

/// Sends the mix, waits, balances.
///
/// # Errors
/// [`Failure::Data`] if the books do not balance, [`Failure::CouldNot`] if something does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let run = Run::starting(clock::now());
    let produced = plan::plan(run, arguments.measurements, arguments.messages)?;
    let messages = plan::messages(&produced)?;
    let credentials = config::credentials().map_err(Failure::Usage)?;
    let queue = Queue::at(arguments.queue_url).await;
    queue.must_be_local().map_err(Failure::Usage)?;
    let places = Places {
        queue,
        dead_letters: Queue::at(arguments.dead_letter_queue_url).await,
        m3ter: M3ter::at(arguments.sandbox_url, arguments.organisation)?,
        store: open_store(&arguments.store_url).await?,
    };
    places.m3ter.ensure_meter(&credentials).await?;
    let before = places.m3ter.ledger(false).await?;

    let watch = Stopwatch::start();
    let progress = Progress::start(Some(arguments.measurements), "measurements sent");
    let message_ids = send(&places.queue, messages, &progress).await?;
    progress.finish();
    let progress = Progress::start(None, "");
    let timeout = Duration::from_secs(arguments.timeout_s);
    let found = places.settle(&produced, &message_ids, timeout, &progress).await?;
    progress.finish();

    let report = Report::of(run, &produced, message_ids.len(), &before, &found, watch.elapsed());
    if arguments.json {
        terminal::print_json(&report)?;
    } else {
        terminal::print(&report.text(terminal::is_colourful()))?;
    }
    report.verdict()
}

/// Sends `messages`; returns the queue's id of each, by its number.
///
/// # Errors
/// [`Failure`] if the queue did not take each of them.
pub(crate) async fn send(queue: &Queue, messages: Vec<Message>, progress: &Progress) -> Result<Vec<String>, Failure> {
    let count = messages.len();
    let mut batcher = Batcher::default();
    let mut batches: Vec<Vec<Message>> = messages.into_iter().filter_map(|message| batcher.push(message)).collect();
    batches.extend(batcher.close());
    let (sender, receiver) = mpsc::channel(batches.len().max(1));
    for batch in batches {
        drop(sender.try_send(batch));
    }
    drop(sender);
    let delivery = deliver(queue, receiver, progress).await;
    if let Some(failure) = delivery.failure {
        return Err(failure);
    }
    let mut taken = delivery.taken;
    taken.sort_unstable();
    let ids: Vec<String> = taken.into_iter().map(|(_, id)| id).collect();
    if ids.len() == count { Ok(ids) } else { Err(Failure::CouldNot(format!("the queue took {} of {count} messages", ids.len()))) }
}
