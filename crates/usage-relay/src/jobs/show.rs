//! `usage-relay jobs show`: all that m3ter tells of a job.

use super::{job_id, no_job, told};
use crate::failure::Failure;
use crate::m3ter::{M3terArguments, question};
use crate::terminal;

const HELP: &str = "\
Examples:
  usage-relay jobs show 0b6d2ab4-6f0c-4a39-9d0b-3a4a1e3c1c11
  usage-relay jobs show 0b6d2ab4-6f0c-4a39-9d0b-3a4a1e3c1c11 --json | jq .failed_rows

Exit codes: 0 shown, whatever became of the file; 1 m3ter has no such job; 2 m3ter did not answer; 64 the command line is wrong, or \
keys are missing.";

/// Show what became of a file that was uploaded to m3ter.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// m3ter's id of the job
    #[arg(value_name = "JOB", value_parser = job_id)]
    job: String,

    #[command(flatten)]
    m3ter: M3terArguments,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// Asks and shows.
///
/// # Errors
/// [`Failure::Data`] if there is no such job, [`Failure::CouldNot`] if m3ter does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let client = arguments.m3ter.client()?;
    let job = question(&client).job(&arguments.job).await.map_err(|error| no_job(&arguments.job, &error))?;
    match arguments.json {
        true => terminal::print_json(&told::json(&job)),
        false => terminal::print(&told::text(&job)),
    }
}
