//! `usage-relay jobs`: what became of files that were uploaded to m3ter, as m3ter tells it.
//!
//! m3ter processes one file after another and says of each how many rows it has, how many are done, and how many failed; it
//! says neither which nor why. What failed comes later, as its events, and `usage-relay watch` acts on those.
//!
//! Absent: the store. These jobs are all that the organisation has, whoever uploaded the files.

mod list;
mod original;
mod pace;
mod show;
mod told;
mod wait;

use m3ter_client::{JobFilter, NotAnswered, Session, UploadJob};

use crate::failure::Failure;
use crate::m3ter::not_answered;

const EXAMPLES: &str = "\
Examples:
  usage-relay jobs list --since 7d --status failed
  usage-relay jobs wait 0b6d2ab4-6f0c-4a39-9d0b-3a4a1e3c1c11
  usage-relay jobs original 0b6d2ab4-6f0c-4a39-9d0b-3a4a1e3c1c11 --output sent.json

A job is what a file becomes that is uploaded to m3ter. Rows that fail come later as m3ter's events, and from there into the quarantine: \
see usage-relay watch.";

/// What became of files that were uploaded to m3ter.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(list::Arguments),
    Show(show::Arguments),
    Wait(wait::Arguments),
    Original(original::Arguments),
}

/// Runs the command that `arguments` name.
///
/// # Errors
/// Its own.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(arguments) => list::run(arguments).await,
        Command::Show(arguments) => show::run(arguments).await,
        Command::Wait(arguments) => wait::run(arguments).await,
        Command::Original(arguments) => original::run(arguments).await,
    }
}

/// Pages of jobs that are read at most, of 100 each: a list that never ends is not m3ter's.
const PAGES_MAX: usize = 10_000;

/// All jobs that `filter` lets through, in m3ter's order. `on_page` is told how many there are so far.
///
/// # Errors
/// As [`Session::jobs`].
async fn all<'c>(
    mut session: impl FnMut() -> Session<'c>,
    filter: &JobFilter,
    mut on_page: impl FnMut(usize),
) -> Result<Vec<UploadJob>, NotAnswered> {
    let (mut jobs, mut token) = (Vec::new(), None);
    for _ in 0..PAGES_MAX {
        let (page, next) = session().jobs(filter, token.as_deref()).await?;
        jobs.extend(page);
        on_page(jobs.len());
        if next.is_none() {
            return Ok(jobs);
        }
        token = next;
    }
    Err(NotAnswered::Unknown)
}

/// m3ter did not tell of the job `id`.
fn no_job(id: &str, error: &NotAnswered) -> Failure {
    match error {
        NotAnswered::Refused { status: 404 } => {
            Failure::Data(format!("m3ter has no job {id}: usage-relay jobs list shows those that it has"))
        }
        NotAnswered::Refused { .. } | NotAnswered::GiveUp | NotAnswered::Unknown | NotAnswered::Later => not_answered(error),
    }
}

/// An id stands in the path of a request.
fn job_id(text: &str) -> Result<String, String> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match !text.is_empty() && text.bytes().all(is_id) {
        true => Ok(text.to_owned()),
        false => Err("expected a job's id: letters, digits, - and _".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_word_that_can_stand_in_a_path() {
        assert_eq!(job_id("0b6d2ab4-6f0c_1"), Ok("0b6d2ab4-6f0c_1".to_owned()));
        for text in ["", "..", "a/b", "a b", "ä"] {
            assert!(job_id(text).unwrap_err().starts_with("expected a job's id"), "{text}");
        }
    }

    #[test]
    fn a_job_that_m3ter_has_not_is_the_datas_fault_and_silence_the_worlds() {
        let failure = no_job("j", &NotAnswered::Refused { status: 404 });
        assert!(matches!(&failure, Failure::Data(text) if text.starts_with("m3ter has no job j: ")), "{failure}");
        for error in [NotAnswered::Refused { status: 403 }, NotAnswered::GiveUp, NotAnswered::Unknown, NotAnswered::Later] {
            assert!(matches!(no_job("j", &error), Failure::CouldNot(_)), "{error}");
        }
    }
}
