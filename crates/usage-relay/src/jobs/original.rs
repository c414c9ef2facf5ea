//! `usage-relay jobs original`: a file that was uploaded, as m3ter has it.
//!
//! A file appears under its name only when it is whole and on disk: half of it would pass for all of it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use futures_util::StreamExt;
use m3ter_client::{Client, Download, NotAnswered};
use serde::Serialize;

use super::{job_id, no_job};
use crate::failure::Failure;
use crate::figures::{counted, grouped};
use crate::m3ter::{M3terArguments, question};
use crate::send::save::sync_folder;
use crate::stop::stopped;
use crate::terminal::{self, Progress};

const HELP: &str = "\
Examples:
  usage-relay jobs original 0b6d2ab4-6f0c-4a39-9d0b-3a4a1e3c1c11 --output sent.json
  usage-relay jobs original 0b6d2ab4-6f0c-4a39-9d0b-3a4a1e3c1c11 | jq length

What is downloaded is usage of customers: keep it as you keep that.

Exit codes: 0 all of it is there; 1 the file exists, or m3ter has no such job or no file of it; 2 m3ter did not answer, or the file \
cannot be written: then there is none; 64 the command line is wrong, or keys are missing.";

/// Download a file that was uploaded to m3ter.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// m3ter's id of the job
    #[arg(value_name = "JOB", value_parser = job_id)]
    job: String,

    #[command(flatten)]
    m3ter: M3terArguments,

    /// A new file; without it, or with -, standard output
    #[arg(short, long, value_name = "NEW_FILE|-")]
    output: Option<PathBuf>,

    /// Overwrite the file if there is one
    #[arg(long, requires = "output")]
    force: bool,

    /// Print one line of JSON that says what was written to the file
    #[arg(long, requires = "output")]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Told<'a> {
    job: &'a str,
    file: String,
    bytes: u64,
}

/// Downloads.
///
/// # Errors
/// [`Failure::Data`] if the file exists, or m3ter has none; [`Failure::CouldNot`] if m3ter does not answer, or the file cannot be written.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let path = arguments.output.as_deref().filter(|path| *path != Path::new("-"));
    let Some(path) = path else {
        if arguments.json {
            return Err(Failure::Usage(
                "expected --output to name a file beside --json: standard output holds one of both".to_owned(),
            ));
        }
        let client = arguments.m3ter.client()?;
        return print(open(&client, &arguments.job).await?).await;
    };
    refuse(path, arguments.force)?;
    let client = arguments.m3ter.client()?;
    let mut stop = std::pin::pin!(stopped()?);
    let partial = partial_name(path);
    let downloaded = async { write(open(&client, &arguments.job).await?, &partial, path).await };
    let written = tokio::select! {
        written = downloaded => written,
        () = &mut stop => Err(Failure::CouldNot("stopped before the file was whole: nothing of it is kept".to_owned())),
    };
    let kept = written.and_then(|bytes| {
        // It may have come while this was written.
        refuse(path, arguments.force)?;
        std::fs::rename(&partial, path).and_then(|()| sync_folder(path)).map_err(|error| unwritable(path, &error))?;
        Ok(bytes)
    });
    if kept.is_err() {
        drop(std::fs::remove_file(&partial));
    }
    let bytes = kept?;
    match arguments.json {
        true => terminal::print_json(&Told { job: &arguments.job, file: path.display().to_string(), bytes }),
        false => {
            terminal::complain(&format!("wrote {} to {}", counted(bytes, "byte"), path.display()));
            Ok(())
        }
    }
}

/// Asks for the file.
async fn open(client: &Client, job: &str) -> Result<Download, Failure> {
    question(client).original(job).await.map_err(|error| match error {
        NotAnswered::Refused { status: 404 } => Failure::Data(format!(
            "m3ter has no file of a job {job}: it knows no such job, or its file never came; usage-relay jobs show {job} says which"
        )),
        NotAnswered::Refused { .. } | NotAnswered::GiveUp | NotAnswered::Unknown | NotAnswered::Later => no_job(job, &error),
    })
}

/// Prints the file, until it ends or its reader has gone.
async fn print(mut download: Download) -> Result<(), Failure> {
    let mut received = 0;
    while let Some(piece) = download.stream.next().await {
        let piece = piece.map_err(|error| broke_off(received, download.bytes, &error))?;
        received += piece.len() as u64;
        if !terminal::pass_on(&piece)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Writes the file to `partial`, which is to become `path`; how many bytes.
async fn write(mut download: Download, partial: &Path, path: &Path) -> Result<u64, Failure> {
    let mut file = File::create_new(partial).map_err(|error| unwritable(path, &error))?;
    let progress = Progress::start(download.bytes, "bytes");
    let mut received = 0;
    while let Some(piece) = download.stream.next().await {
        let piece = piece.map_err(|error| broke_off(received, download.bytes, &error))?;
        file.write_all(&piece).map_err(|error| unwritable(path, &error))?;
        received += piece.len() as u64;
        progress.set(received);
    }
    file.sync_all().map_err(|error| unwritable(path, &error))?;
    progress.finish();
    Ok(received)
}

/// Whether something is in the way at `path`.
fn refuse(path: &Path, force: bool) -> Result<(), Failure> {
    let told = path.display();
    match path.symlink_metadata() {
        Err(_) => Ok(()),
        // A device, a folder or a link would be replaced by a file.
        Ok(found) if !found.is_file() => Err(Failure::Data(format!("expected a file's name, and {told} is something else"))),
        Ok(_) if force => Ok(()),
        Ok(_) => Err(Failure::Data(format!("expected {told} not to exist: --force overwrites it"))),
    }
}

fn broke_off(received: u64, of: Option<u64>, error: &m3ter_client::NoAnswer) -> Failure {
    let of = of.map(|of| format!(" of {}", counted(of, "byte"))).unwrap_or_default();
    Failure::CouldNot(format!("the download broke off after {}{of}: {error}; try again", grouped(received)))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::CouldNot(format!("cannot write {}: {error}", path.display()))
}

/// Beside `path`, so that a rename does it, and of this process alone.
fn partial_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{}.partial", std::process::id()));
    PathBuf::from(name)
}
