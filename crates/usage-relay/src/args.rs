//! The words on the command line, and the way from them to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use crate::failure::{EXIT_USAGE, Failure};
use crate::{catalogue, check, demo, explain, quarantine, reconcile, replay, sandbox, send, terminal, watch};

/// Usage measurements on their way to m3ter: send them, find out what became of them, mend and send again what could not go on.
#[derive(Debug, Parser)]
#[command(name = "usage-relay", version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 a check did not hold, or the data is at fault; 2 it could not be done (network, permission, file); 64 the command line is wrong.

Example: usage-relay send usage.ndjson --queue-url \"$QUEUE_URL\"";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Arguments),
    Send(send::Arguments),
    Explain(explain::Arguments),
    Quarantine(quarantine::Arguments),
    Replay(replay::Arguments),
    Reconcile(reconcile::Arguments),
    Watch(watch::Arguments),
    Catalogue(catalogue::Arguments),
    Sandbox(sandbox::Arguments),
    Demo(demo::Arguments),
}

/// Runs the command that `arguments` name, the program's own name first. Everything that went wrong has been said on
/// standard error when this returns.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match CommandLine::try_parse_from(arguments) {
        Ok(line) => execute(line.command).map_or_else(
            |failure| {
                terminal::complain(&failure.to_string());
                failure.exit_code()
            },
            |()| ExitCode::SUCCESS,
        ),
        Err(error) => {
            // Help on request goes to standard output. If its reader has gone, there is nobody to tell.
            drop(error.print());
            let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            if is_answer { ExitCode::SUCCESS } else { ExitCode::from(EXIT_USAGE) }
        }
    }
}

fn execute(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::CouldNot(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        match command {
            Command::Check(arguments) => check::run(arguments).await,
            Command::Send(arguments) => send::run(arguments).await,
            Command::Explain(arguments) => explain::run(arguments).await,
            Command::Quarantine(arguments) => quarantine::run(arguments).await,
            Command::Replay(arguments) => replay::run(arguments).await,
            Command::Reconcile(arguments) => reconcile::run(arguments).await,
            Command::Watch(arguments) => watch::run(arguments).await,
            Command::Catalogue(arguments) => catalogue::run(arguments).await,
            Command::Sandbox(arguments) => sandbox::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
