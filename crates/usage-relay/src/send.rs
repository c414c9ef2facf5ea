//! `usage-relay send`: measurements from files, from standard input or made up, on to the queue.
//!
//! A reader thread unpacks, checks and packs; tasks deliver batches. Between them lies a short channel, so memory stays
//! bounded however long the input is, and a slow queue slows the reader.
//!
//! Measurements travel as they were written. Only one that has no uid is touched, and only with `--save`: see [`save`].
//! Sending anything twice is harmless for 35 days, because every measurement keeps its uid; so on bad input `send` stops
//! at the line, says how much was sent, and is simply run again.

pub(crate) mod deliver;
pub(crate) mod feed;
pub(crate) mod measurement;
pub(crate) mod pack;
pub(crate) mod read;
pub(crate) mod save;

use std::path::PathBuf;

use files::source::{Format, Source};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use self::deliver::{Delivery, deliver};
use self::feed::{Input, feed};
use self::read::FormatName;
use crate::clock::{self, Stopwatch};
use crate::failure::Failure;
use crate::figures::counted;
use crate::queue::{self, Queue};
use crate::sample::Run;
use crate::terminal::{self, Progress};

/// Batches that wait between reader and queue: at most 16 MiB, and enough that neither waits for the other.
const BATCHES_WAITING_MAX: usize = 16;

const EXAMPLES: &str = "\
Examples:
  usage-relay send usage.ndjson.gz --queue-url \"$QUEUE_URL\"
  zcat usage.csv.gz | usage-relay send - --queue-url \"$QUEUE_URL\" --json
  usage-relay send no-uids.csv --save with-uids.ndjson --queue-url \"$QUEUE_URL\"
  usage-relay send --demo 1000 --queue-url \"$QUEUE_URL\"

A CSV header looks like this; empty cells are fields that are not there:
  uid,meter,account,ts,measure.calls,what.region
Columns of Parquet are named like that too: text, numbers, and for ts text or timestamps in UTC; nulls are fields that are not there.

Running it again is safe for 35 days: every measurement keeps its uid, and m3ter counts a uid once.

Exit codes: 0 all of it is on the queue; 1 the input is at fault, or the queue refuses one of its messages; 2 file or queue \
did not answer; 64 the command line is wrong. The message says how much had been sent.";

/// Put measurements on the queue.
///
/// Reads newline-delimited JSON, a JSON array, {"measurements":[…]} or CSV, plain or packed with gzip or zstd, or a Parquet file, and
/// sends each measurement as it was written.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files to send; - is standard input
    #[arg(value_name = "FILE", required_unless_present = "demo", conflicts_with = "demo")]
    files: Vec<PathBuf>,

    /// The queue: output QueueUrl of the stack
    #[arg(long, value_name = "URL", value_parser = queue::parse_url)]
    queue_url: Url,

    /// What the files hold
    #[arg(long, value_enum, default_value_t = FormatName::Auto)]
    format: FormatName,

    /// Measurements in one message, as far as 1 MiB allows. More is cheaper and faster; with 1, each travels alone
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    per_message: u64,

    /// First write everything to this new file, with a uid minted where one is missing; then send that file. Without a uid
    /// kept somewhere, a second run would bill twice
    #[arg(long, value_name = "NEW_FILE", conflicts_with = "demo")]
    save: Option<PathBuf>,

    /// Send N made-up measurements of the meter `usage_relay_demo` instead of files
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    demo: Option<u64>,

    /// Make up the measurements of this run again: the same uids, counted once. A new run is named after the time now
    #[arg(long, value_name = "TIME", requires = "demo")]
    demo_run: Option<Run>,

    /// Print the summary as one line of JSON
    #[arg(long)]
    json: bool,
}

/// What is printed at the end.
#[derive(Debug, Serialize)]
struct Summary {
    /// Whether the whole input is on the queue.
    complete: bool,
    /// Measurements on the queue.
    measurements: u64,
    /// Messages on the queue.
    messages: u64,
    /// Entries that were sent again.
    retried: u64,
    /// Seconds from the first read to the last answer.
    seconds: f64,
    /// The run of made-up measurements, if they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    demo_run: Option<String>,
}

/// Sends what `arguments` name.
///
/// # Errors
/// [`Failure`] with what was expected, and how much was sent before.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut sources: Vec<Source> = arguments.files.iter().map(|path| Source::at(path)).collect();
    for source in &sources {
        read::check(source)?;
    }
    let mut format = arguments.format.format();
    if let Some(path) = &arguments.save {
        let progress = Progress::start(None, "measurements saved");
        let saved = save::save(&sources, format, path, &progress)?;
        progress.finish();
        terminal::complain(&saved.told(path));
        (sources, format) = (vec![Source::at(path)], Format::Ndjson);
    }
    let demo_run = arguments.demo.map(|_| arguments.demo_run.unwrap_or_else(|| Run::starting(clock::now())));
    let input = match (arguments.demo, demo_run) {
        (Some(count), Some(run)) => Input::Made { run, count },
        _ => Input::Files(sources, format),
    };
    let queue = Queue::at(arguments.queue_url).await;
    let watch = Stopwatch::start();
    let progress = Progress::start(arguments.demo, "measurements sent");
    let (delivery, failure) = send(&queue, input, arguments.per_message, &progress).await;
    progress.finish();
    let summary = Summary {
        complete: failure.is_none(),
        measurements: delivery.measurements,
        messages: delivery.messages,
        retried: delivery.retried,
        seconds: (watch.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0,
        demo_run: demo_run.map(|run| run.to_string()),
    };
    // Where nothing was sent, the failure says all there is to say.
    if arguments.json || summary.complete || summary.messages > 0 {
        report(&summary, arguments.json)?;
    }
    failure.map_or(Ok(()), |failure| Err(with_sent(failure, &summary)))
}

/// Sends `input`, at most `per_message` measurements a message. What was sent before a failure stands beside it.
pub(crate) async fn send(queue: &Queue, input: Input, per_message: u64, progress: &Progress) -> (Delivery, Option<Failure>) {
    let (batches, waiting) = mpsc::channel(BATCHES_WAITING_MAX);
    let (ended, end) = oneshot::channel();
    // A thread and not a task: if delivery fails while this waits for standard input, the command ends all the same.
    std::thread::spawn(move || drop(ended.send(feed(&input, per_message, batches))));
    let mut delivery = deliver(queue, waiting, progress).await;
    let failure = match delivery.failure.take() {
        Some(failure) => Some(failure),
        None => end.await.unwrap_or_else(|_| Err(Failure::CouldNot("reading stopped unexpectedly".to_owned()))).err(),
    };
    (delivery, failure)
}

/// `failure`, with what had been sent by then.
fn with_sent(failure: Failure, summary: &Summary) -> Failure {
    let sent = match summary.measurements {
        0 => "nothing was sent".to_owned(),
        count => {
            let sent = counted(count, "measurement");
            format!("{sent} sent before; running it again is safe, every measurement keeps its uid")
        }
    };
    match failure {
        Failure::Data(text) => Failure::Data(format!("{text} ({sent})")),
        Failure::CouldNot(text) => Failure::CouldNot(format!("{text} ({sent})")),
        Failure::Usage(text) => Failure::Usage(text),
    }
}

fn report(summary: &Summary, json: bool) -> Result<(), Failure> {
    if json {
        return terminal::print_json(summary);
    }
    let Summary { measurements, messages, retried, seconds, .. } = summary;
    let mut text =
        format!("sent {} in {}, {seconds:.1} s", counted(*measurements, "measurement"), counted(*messages, "message"),);
    if *retried > 0 {
        text.push_str(&format!("; {} sent again", counted(*retried, "message")));
    }
    if let Some(run) = &summary.demo_run {
        text.push_str(&format!("\nthe same measurements again: --demo-run {run}"));
    }
    terminal::print(&text)
}
