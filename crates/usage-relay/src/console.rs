//! `usage-relay console`: one page on loopback that shows live what becomes of usage, and lets a person cause trouble.
//!
//! The page stands in this binary: no build step, and nothing is loaded from elsewhere. It shows what the other commands can read, and
//! nothing else: the queue's attributes, the store, and where there is a sandbox, what that says of itself. [`work`] looks and acts,
//! [`reading`] reads the store bit by bit, [`books`] and [`seen`] keep what was read, within bounds that they name, [`state`] is what the
//! page gets, [`faults`] are its switches, [`guard`] keeps other pages out, [`routes`] serves.
//!
//! Absent: secrets, on the page as in what is logged. Uids and accounts are shown on the page, and logged nowhere.

mod books;
mod faults;
mod guard;
mod reading;
mod routes;
mod seen;
mod state;
mod work;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

use self::guard::Guard;
use self::reading::Reading;
use self::work::{Sandbox, Work};
use crate::clock;
use crate::config;
use crate::demo::http_url;
use crate::demo::m3ter::M3ter;
use crate::failure::Failure;
use crate::queue::{self, Queue};
use crate::stop::stopped;
use crate::store::{When, open_store};
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  usage-relay console                                    # in a shell with what `make up` printed
  usage-relay console --port 8700 --since 12h --store-url \"$STORE_URL\" --queue-url \"$QUEUE_URL\"

With a sandbox the page has switches for trouble: throttling, lost answers, an outage, tokens that expire. Without one the relay \
submits to m3ter itself: the page shows the same, but for m3ter's own count, and has no switches. Its buttons that send made-up usage \
are there for a sandbox alone, too, and for a queue on this machine.

It listens on 127.0.0.1 alone, and looks at queue and store only while a page is open. Exit codes: 0 stopped; 2 queue, store or sandbox \
do not answer, or the port is taken; 64 the command line is wrong.";

/// Watch queue, relay and books live on one local page.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The relay's queue: output QueueUrl of the stack
    #[arg(long, value_name = "URL", env = "QUEUE_URL", hide_env_values = true, value_parser = queue::parse_url)]
    queue_url: Url,

    /// The store, such as s3://bucket/prefix or file:///folder: output StoreUrl of the stack
    #[arg(long, value_name = "URL", env = "STORE_URL", hide_env_values = true)]
    store_url: String,

    /// The sandbox that the relay submits to; without it there are no switches
    #[arg(long, value_name = "URL", env = "SANDBOX_URL", hide_env_values = true, value_parser = http_url)]
    sandbox_url: Option<Url>,

    /// The organisation in the sandbox
    #[arg(long, value_name = "ID", default_value = "sandbox-org")]
    organisation: String,

    /// Count what the store holds from here on: a time, a date, or an age such as 12h, of a day at most
    #[arg(long, value_name = "WHEN", default_value = "1h", value_parser = When::parse)]
    since: When,

    /// Where to listen on 127.0.0.1; 0 takes a free port
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// Print one line of JSON instead of text: {"url":…}
    #[arg(long)]
    json: bool,
}

/// How far back `--since` reaches: the page is for what happens now, and each look lists as many hours.
const SINCE_MOST_MS: i64 = 24 * 3_600_000;

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
/// [`Failure`] if an argument is out of range, a place does not answer, or the port is taken.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let now_ms = clock::now().as_millisecond();
    let since_ms = arguments.since.at_ms(now_ms);
    if !(0..=SINCE_MOST_MS).contains(&now_ms.saturating_sub(since_ms)) {
        return Err(Failure::Usage(
            "expected --since to be at most 24h ago: older usage is for `quarantine list` and `reconcile`".to_owned(),
        ));
    }
    let credentials = config::credentials().map_err(Failure::Usage)?;
    // Before anything is printed: whoever reads the URL may stop us at once.
    let stop = stopped()?;
    let store = open_store(&arguments.store_url).await?;
    let sandbox = match arguments.sandbox_url {
        None => None,
        Some(url) => {
            let m3ter = M3ter::at(url, arguments.organisation)?;
            m3ter.ensure_meter(&credentials).await?;
            Some(Sandbox { m3ter, credentials })
        }
    };
    let work = Arc::new(Work::new(Queue::at(arguments.queue_url).await, sandbox, since_ms));
    let mut reading = Reading::new(store, since_ms);
    let first = work.look(&mut reading).await?;
    work.publish(Ok(first), Duration::ZERO);

    let asked = SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port));
    let cannot_listen = |error| Failure::CouldNot(format!("cannot listen on {asked}: {error}"));
    let listener = TcpListener::bind(asked).await.map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    let url = format!("http://{address}");
    match arguments.json {
        true => terminal::print_json(&serde_json::json!({"url": url}))?,
        false => terminal::print(&format!("console at {url}\nCtrl-C stops it."))?,
    }
    // From the system's generator, as every random part of a UUID here.
    let word = format!("{}{}", Uuid::now_v7().simple(), Uuid::now_v7().simple());
    let routes = routes::routes(Arc::clone(&work), Guard::new(address, word));
    tokio::select! {
        ended = axum::serve(listener, routes) => ended.map_err(|error| Failure::CouldNot(format!("the console stopped: {error}"))),
        () = work.look_on(reading) => Ok(()),
        () = stop => Ok(()),
    }
}
