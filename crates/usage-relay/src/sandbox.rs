//! `usage-relay sandbox`: a local m3ter on loopback, until it is stopped.
//!
//! Loopback only: the sandbox speaks plain HTTP, and whoever reaches it may move its clock and script its faults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use m3ter_sandbox::{Catalogue, Choices, Credentials, FaultRule, Limits, OpenError, Options, RejectedUid, Sandbox};
use tokio::net::TcpListener;

use crate::aws::chain;
use crate::config;
use crate::failure::Failure;
use crate::stop::stopped;
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  usage-relay sandbox
  usage-relay sandbox --listen 127.0.0.1:8080 --data sandbox.journal --catalogue meters.json
  curl \"$URL/_sandbox/ledger\"    # what it counted

Credentials: M3TER_ACCESS_KEY_ID and M3TER_API_SECRET from the environment, else sandbox and sandbox-secret.
It speaks plain HTTP and is for this machine only; stop it with Ctrl-C.

Exit codes: 0 stopped; 1 the catalogue or the faults are wrong; 2 a file cannot be read or written, or the address is taken; 64 the \
command line is wrong.";

/// Run a local m3ter.
///
/// It takes measurements as m3ter does, checks and counts them, and says what it counted. Both of m3ter's base URLs are this one.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = loopback)]
    listen: SocketAddr,

    /// Keep everything in this file (uploaded ones beside it, in FILE.uploads), and go on from it next time. Without it,
    /// everything is gone at the end
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,

    /// Create these meters and accounts at the start: {"meters":[…],"accounts":[…]}, each as m3ter's API takes it
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,

    /// The organisation there is
    #[arg(long, value_name = "ID", default_value = "sandbox-org")]
    organisation: String,

    /// Seconds that a token lives; m3ter's live five hours
    #[arg(long, value_name = "SECONDS", default_value_t = 18_000, value_parser = clap::value_parser!(u64).range(1..))]
    token_lifetime_s: u64,

    /// Rows of uploaded files that are processed a second; 0 processes a file at once. m3ter does 2,000
    #[arg(long, value_name = "ROWS_PER_SECOND", default_value_t = 2_000)]
    upload_speed: u32,

    /// What becomes of the uid of a measurement that is rejected after it was accepted. m3ter does not say which it does
    #[arg(long, value_name = "WHICH", value_enum, default_value = "keep")]
    rejected_uids: RejectedUids,

    /// Script of faults: a JSON array of rules such as {"times":3,"fault":{"kind":"status","status":503}}
    #[arg(long, value_name = "FILE")]
    faults: Option<PathBuf>,

    /// Print one line of JSON instead of text: {"url":…,"organisation":…}
    #[arg(long)]
    json: bool,
}

/// What the sandbox cannot read off m3ter's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum RejectedUids {
    /// It stays used: what is sent again is dropped as a duplicate
    Keep,
    /// It is free: what is sent again is checked anew
    Free,
}

impl RejectedUids {
    fn choice(self) -> RejectedUid {
        match self {
            Self::Keep => RejectedUid::Keep,
            Self::Free => RejectedUid::Free,
        }
    }
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text.parse().map_err(|_| "expected an address and a port such as 127.0.0.1:8080".to_owned())?;
    if address.ip().is_loopback() {
        return Ok(address);
    }
    let reason = "the sandbox speaks plain HTTP, and whoever reaches it can move its clock";
    Err(format!("expected a loopback address such as 127.0.0.1:{}: {reason}", address.port()))
}

/// Runs a sandbox until Ctrl-C or SIGTERM.
///
/// # Errors
/// [`Failure`] if a file is at fault, or the address cannot be listened on.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let credentials = config::credentials().map_err(Failure::Usage)?;
    let catalogue = arguments.catalogue.as_deref().map(read_catalogue).transpose()?;
    let faults = arguments.faults.as_deref().map(read_faults).transpose()?;
    // Before anything is printed: whoever reads the URL may stop us at once.
    let stop = stopped()?;
    let sandbox = Sandbox::open(Options {
        organisation: arguments.organisation.clone(),
        credentials: Credentials::new(credentials.access_key_id, credentials.api_secret),
        token_lifetime_s: arguments.token_lifetime_s,
        catalogue,
        data: arguments.data.clone(),
        limits: Limits { upload_per_second: Some(arguments.upload_speed).filter(|speed| *speed > 0), ..Limits::default() },
        choices: Choices { rejected_uid: arguments.rejected_uids.choice(), ..Choices::default() },
        ..Options::default()
    })
    .map_err(|error| match error {
        OpenError::Catalogue(_) => Failure::Data(error.to_string()),
        OpenError::Journal(_) => Failure::CouldNot(chain(&error)),
    })?;
    for rule in faults.unwrap_or_default() {
        sandbox.add_fault(rule);
    }
    let torn_bytes = sandbox.journal_report().torn_bytes;
    if torn_bytes > 0 {
        terminal::complain(&format!("cut off {torn_bytes} bytes of a journal entry that was never finished"));
    }
    let cannot_listen = |error| Failure::CouldNot(format!("cannot listen on {}: {error}", arguments.listen));
    let listener = TcpListener::bind(arguments.listen).await.map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    announce(&format!("http://{address}"), &arguments)?;
    let ended = sandbox.serve(listener, stop).await;
    ended.map_err(|error| Failure::CouldNot(format!("the sandbox stopped: {error}")))
}

fn announce(url: &str, arguments: &Arguments) -> Result<(), Failure> {
    let organisation = &arguments.organisation;
    if arguments.json {
        return terminal::print_json(&serde_json::json!({"url": url, "organisation": organisation}));
    }
    terminal::print(&format!(
        "m3ter sandbox at {url}, organisation {organisation}

  the relay       M3TER_API_URL={url} M3TER_INGEST_URL={url} M3TER_ORG_ID={organisation}
  m3ter's SDKs    M3TER_BASE_URL={url} M3TER_ORG_ID={organisation}
  credentials     M3TER_ACCESS_KEY_ID and M3TER_API_SECRET of this environment, else sandbox and sandbox-secret
  what it counted curl {url}/_sandbox/ledger

Ctrl-C stops it."
    ))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| Failure::CouldNot(format!("cannot read {}: {error}", path.display())))
}

fn read_catalogue(path: &Path) -> Result<Catalogue, Failure> {
    Catalogue::from_json(&read(path)?).map_err(|error| Failure::Data(format!("{}: {error}", path.display())))
}

fn read_faults(path: &Path) -> Result<Vec<FaultRule>, Failure> {
    FaultRule::list_from_json(&read(path)?).map_err(|error| Failure::Data(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on() {
        assert!(loopback("127.0.0.1:0").is_ok() && loopback("[::1]:8080").is_ok());
        for address in ["0.0.0.0:8080", "10.0.0.1:1", "[::]:1"] {
            assert!(loopback(address).unwrap_err().starts_with("expected a loopback address"), "{address}");
        }
        assert!(loopback("localhost").unwrap_err().starts_with("expected an address and a port"));
    }
}
