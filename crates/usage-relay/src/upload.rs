//! `usage-relay upload`: the other way in. Files go to m3ter's file upload service, by the relay's own rules.
//!
//! A file is known by its content: the same one again goes on where it stopped, and one that is done is not sent once more unless that is
//! asked for. The journal is in the store, so it does not matter which machine goes on.
//!
//! Absent: the job itself, which is crate `upload`, and which the function bulk-upload does as well.

mod file;
mod told;

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;

use ::upload::UploadError;
use ::upload::journal::State;
use ::upload::options::{Declared, Options, PART_BYTES, PART_BYTES_MAX, PART_BYTES_MIN};
use ::upload::report::Report;
use ::upload::run::{Ended, Means, begin, resume, state};
use clap::ValueEnum;
use files::spread;
use m3ter_client::{Client, Clock};
use relay_core::guard::MissingUid;
use relay_store::{LedgerWrite, Store};
use tokio::time::Instant;
use uuid::Uuid;

use self::file::Named;
use self::told::Shown;
use crate::aws::chain;
use crate::clock;
use crate::failure::Failure;
use crate::m3ter::{M3terArguments, ensure, not_answered};
use crate::send::read::FormatName;
use crate::store::{When, open_store_for_files, store_failed};
use crate::terminal;
use crate::watch;

/// The longest a run may take: m3ter processes the largest file in ten minutes, and may have others before it.
const RUN: Duration = Duration::from_secs(7 * 86_400);

const EXAMPLES: &str = "\
Examples:
  usage-relay upload usage.ndjson.gz --store-url \"$STORE_URL\" --org-id \"$ORG_ID\"
  usage-relay upload backfill-*.csv --first-sent never     # old usage, of which nothing was sent before
  usage-relay upload s3://exports/usage.ndjson.zst --mint content
  usage-relay upload --resume 3f0c6a0e-6a3b-5d0e-9d0c-0d8f5a1b2c3d

Each row is held against the relay's own rules before anything is sent. Bad ones go into the quarantine, each with its line and the \
reason; copies within the file are dropped; the rest goes to m3ter in parts of --part-bytes, and each job is followed to its end.

A uid is safe to send again for 35 days. A row whose ts is older than 34 may have been counted and forgotten, so it goes into the \
quarantine, unless --first-sent says that nothing of the file was sent before.

Interrupted at any point, the same command goes on. A file that is done is not sent again: --again does, within the same 34 days.

Exit codes: 0 m3ter has processed it, though it may have bad rows; 1 the file is broken, was uploaded before, or m3ter did not process \
it; 2 store or m3ter did not answer, the same command goes on; 64 the command line is wrong, or keys are missing.";

/// Upload files to m3ter: backfills, corrections, and what batch systems write.
///
/// Reads what `send` reads: newline-delimited JSON, a JSON array, {"measurements":[…]} or CSV, plain or packed with gzip or zstd, and
/// Parquet.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files; - is standard input, s3://bucket/key an object
    #[arg(value_name = "FILE", required_unless_present = "resume", conflicts_with = "resume")]
    files: Vec<PathBuf>,

    /// Go on with the upload of this id, whose file was read; what m3ter did not process is sent again
    #[arg(long, value_name = "ID")]
    resume: Option<Uuid>,

    /// The store, such as s3://bucket/prefix or file:///folder: output StoreUrl of the stack
    #[arg(long, value_name = "URL", env = "STORE_URL", hide_env_values = true)]
    store_url: String,

    #[command(flatten)]
    m3ter: M3terArguments,

    /// What the files hold
    #[arg(long, value_enum, default_value_t = FormatName::Auto)]
    format: FormatName,

    /// Make the uid of a row that has none from its content: equal rows are one. Without this, such a row is a bad one
    #[arg(long, value_enum, value_name = "FROM")]
    mint: Option<Mint>,

    /// Nothing of the files was sent to m3ter before this: a time, a date, an age such as 40d, or never
    #[arg(long, value_name = "WHEN", value_parser = first_sent)]
    first_sent: Option<FirstSent>,

    /// The first bad row ends it, and nothing of its file is sent
    #[arg(long)]
    strict: bool,

    /// Most bytes of what is sent at once
    #[arg(long, value_name = "BYTES", default_value_t = PART_BYTES, value_parser = clap::value_parser!(u64).range(PART_BYTES_MIN..=PART_BYTES_MAX))]
    part_bytes: u64,

    /// Send once more what was uploaded before
    #[arg(long)]
    again: bool,

    /// What the ledger keeps: the relay's setting LedgerMode
    #[arg(long, value_enum, default_value = "full", env = "LEDGER_MODE")]
    ledger_mode: watch::Mode,

    /// Do not fetch what m3ter rejected: ingest-watch does, or `usage-relay watch`
    #[arg(long)]
    no_watch: bool,

    /// One line of JSON for each file
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mint {
    /// A UUID of the canonical form
    Content,
}

/// What `--first-sent` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstSent {
    Never,
    NotBefore(When),
}

fn first_sent(text: &str) -> Result<FirstSent, String> {
    match text {
        "never" => Ok(FirstSent::Never),
        text => When::parse(text).map(FirstSent::NotBefore).map_err(|expected| format!("{expected}, or never")),
    }
}

/// Uploads one file after another.
///
/// # Errors
/// [`Failure::Data`] if a file is at fault or was uploaded before, or m3ter did not process it; [`Failure::CouldNot`] if store or m3ter
/// cannot be asked; [`Failure::Usage`] if the store or the keys are not named.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let named: Vec<Named> = arguments.files.iter().map(|name| Named::of(name)).collect::<Result<_, _>>()?;
    let store = open_store_for_files(&arguments.store_url).await?;
    let client = arguments.m3ter.client()?;
    ensure(&client).await?;
    let uploads = Uploads { store: &store, client: &client, arguments: &arguments };
    let mut rejected = 0;
    let mut failed = Vec::new();
    for upload in arguments.resume.map(Asked::Resumed).into_iter().chain(named.iter().map(Asked::Given)) {
        match uploads.upload(upload).await {
            Ok(rows) => rejected += rows,
            // What is wrong with one file is not wrong with the next.
            Err(Failure::Data(text)) => failed.push(text),
            Err(failure) => return Err(failure),
        }
    }
    if rejected > 0 && !arguments.no_watch {
        watch::one_round(&store, &client, arguments.ledger_mode, arguments.json).await?;
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::Data(failed.join("; "))) }
}

/// What is to be uploaded.
#[derive(Clone, Copy)]
enum Asked<'n> {
    Resumed(Uuid),
    Given(&'n Named),
}

struct Uploads<'a> {
    store: &'a Store,
    client: &'a Client,
    arguments: &'a Arguments,
}

impl Uploads<'_> {
    /// Uploads one file. Gives back how many of its rows m3ter rejected.
    async fn upload(&self, asked: Asked<'_>) -> Result<u64, Failure> {
        let shown = Shown::default();
        let show = |stage| shown.stage(stage);
        let means = Means {
            store: self.store,
            client: self.client,
            clock: Clock::starting_at(clock::now().as_millisecond()),
            ledger: (self.arguments.ledger_mode.ledger(), LedgerWrite::Required),
            lookers: spread::lookers(),
            may_wait: true,
            until: Instant::now() + RUN,
            rng: RefCell::new(fastrand::Rng::new()),
            show: &show,
        };
        let (upload, ended) = match asked {
            Asked::Resumed(upload) => (upload, resume(&means, upload).await),
            Asked::Given(named) => {
                let (upload, options) = self.known(named).await?;
                named.begins(upload);
                let input = named.input(self.arguments.format.format()).await?;
                (upload, begin(&means, upload, options, input).await)
            }
        };
        shown.end();
        let (ended, state) = ended.map_err(|error| failed(&error, upload))?;
        self.tell(upload, ended, &state)
    }

    /// The id of the upload of `named`, and what is asked of it.
    async fn known(&self, named: &Named) -> Result<(Uuid, Options), Failure> {
        let mut options = self.options();
        let digest = named.digest().await?;
        for times in 0.. {
            let upload = ::upload::upload_id(&digest, times);
            let Some(known) = state(self.store, upload).await.map_err(|error| failed(&error, upload))? else {
                return Ok((upload, options));
            };
            if !known.is_over() {
                return match known.options == options {
                    true => Ok((upload, options)),
                    // What is relative to now was relative to then.
                    false if known.options.is_like(&options) => Ok((upload, known.options)),
                    false => Err(Failure::Data(told::other_options(&named.name(), upload, &known.options))),
                };
            }
            // Of what was sent nothing of, nothing can be sent twice.
            if known.is_sent() {
                if !self.arguments.again {
                    return Err(Failure::Data(told::uploaded_before(&named.name(), upload, &known)));
                }
                // What was sent then was not sent never.
                options.first_sent = options.first_sent.or_since(known.begun_at);
            }
        }
        Err(Failure::Data("expected a file that was not uploaded thousands of millions of times".to_owned()))
    }

    fn options(&self) -> Options {
        let now_ms = clock::now().as_millisecond();
        Options {
            missing_uid: match self.arguments.mint {
                Some(Mint::Content) => MissingUid::Content,
                None => MissingUid::Refuse,
            },
            first_sent: match self.arguments.first_sent {
                None => Declared::Unknown,
                Some(FirstSent::Never) => Declared::Never,
                Some(FirstSent::NotBefore(when)) => Declared::NotBefore(when.at_ms(now_ms)),
            },
            strict: self.arguments.strict,
            part_bytes_max: self.arguments.part_bytes,
        }
    }

    fn tell(&self, upload: Uuid, ended: Ended, state: &State) -> Result<u64, Failure> {
        let report = Report::of(upload, &state.name, ended, state);
        match self.arguments.json {
            true => terminal::print_json(&report)?,
            // Why nothing was sent is the failure's to say.
            false if state.fault.is_some() => {}
            false => terminal::print(&told::text(&report))?,
        }
        match (ended, &report.because) {
            (Ended::Done, _) => Ok(state.parts.iter().map(|part| part.failed_rows).sum()),
            (Ended::Failed, because) => {
                let what_to_do = report.what_to_do.as_deref().unwrap_or_default();
                let because = because.as_deref().unwrap_or_default();
                Err(Failure::Data(format!("{}: {because}: {what_to_do}", state.name)))
            }
            (Ended::Continues { .. }, _) => {
                Err(Failure::CouldNot(format!("time was up: usage-relay upload --resume {upload} goes on")))
            }
        }
    }
}

/// What went wrong, and how it goes on.
fn failed(error: &UploadError, upload: Uuid) -> Failure {
    let goes_on = format!("the same command goes on with upload {upload}");
    match error {
        UploadError::Store(error) => store_failed(error),
        UploadError::NotAnswered(error) => Failure::CouldNot(format!("{}; {goes_on}", not_answered(error))),
        UploadError::NotTaken { .. } | UploadError::Unsure | UploadError::Unreadable(_) => {
            Failure::CouldNot(format!("{}; {goes_on}", chain(error)))
        }
        UploadError::AnotherRun | UploadError::Version { .. } | UploadError::PartChanged => Failure::CouldNot(error.to_string()),
        UploadError::Unknown | UploadError::NotPrepared => Failure::Data(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_send_is_a_time_or_never() {
        assert_eq!(first_sent("never"), Ok(FirstSent::Never));
        assert_eq!(first_sent("1970-01-02"), Ok(FirstSent::NotBefore(When::At(86_400_000))));
        assert!(first_sent("sometime").unwrap_err().ends_with("or never"));
    }
}
