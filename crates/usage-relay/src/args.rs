//! The words on the command line, and the way from them to an exit code.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::failure::{EXIT_USAGE, Failure};
use crate::{
    catalogue, check, completions, config, console, cost, demo, doctor, explain, jobs, man, quarantine, reconcile, replay,
    sandbox, send, terminal, upload, watch,
};

/// Usage measurements on their way to m3ter: send them, find out what became of them, mend and send again what could not go on.
#[derive(Debug, Parser)]
#[command(name = "usage-relay", version, after_help = EXIT_CODES, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Examples:
  usage-relay check usage.csv
  usage-relay send usage.csv --queue-url \"$QUEUE_URL\"
  usage-relay explain order-1 --store-url \"$STORE_URL\"
  usage-relay doctor --stack-name usage-relay

The examples take QUEUE_URL, STORE_URL and the like from the environment: `make outputs` prints them for a deployed stack, `make up` for a \
local one. Where a flag names a variable, as in [env: STORE_URL], that alone is enough.

Exit codes: 0 done; 1 a check did not hold, or the data is at fault; 2 it could not be done (network, permission, file); 64 the \
command line is wrong. Results go to standard output, and with --json they are JSON; what went wrong is one line on standard error.";

#[derive(Debug, clap::Subcommand)]
enum Command {
    Check(check::Arguments),
    Send(send::Arguments),
    Upload(upload::Arguments),
    Explain(explain::Arguments),
    Quarantine(quarantine::Arguments),
    Replay(replay::Arguments),
    Reconcile(reconcile::Arguments),
    Watch(watch::Arguments),
    Catalogue(catalogue::Arguments),
    Jobs(jobs::Arguments),
    Doctor(doctor::Arguments),
    Sandbox(sandbox::Arguments),
    Demo(demo::Arguments),
    Cost(cost::Arguments),
    Console(console::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
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
        Err(error) => not_run(&error),
    }
}

/// Says what clap has to say: help that was asked for, on standard output, or what is wrong with the command line.
fn not_run(error: &clap::Error) -> ExitCode {
    let printed = terminal::printed(error.print());
    if !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        if error.kind() == ErrorKind::MissingRequiredArgument {
            config::strange(&variables(&command())).iter().for_each(|one| terminal::complain(&one.to_string()));
        }
        return ExitCode::from(EXIT_USAGE);
    }
    printed.map_or_else(
        |failure| {
            terminal::complain(&failure.to_string());
            failure.exit_code()
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The tree of commands: what help, completions and the manual are made from, and what tests go over.
pub fn command() -> clap::Command {
    CommandLine::command()
}

/// The variables of the environment that stand for flags, anywhere in `tree`.
fn variables(tree: &clap::Command) -> BTreeSet<String> {
    let own = tree.get_arguments().filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned()));
    own.chain(tree.get_subcommands().flat_map(variables)).collect()
}

fn execute(command: Command) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::CouldNot(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(async {
        match command {
            Command::Check(arguments) => check::run(arguments).await,
            Command::Send(arguments) => send::run(arguments).await,
            Command::Upload(arguments) => upload::run(arguments).await,
            Command::Explain(arguments) => explain::run(arguments).await,
            Command::Quarantine(arguments) => quarantine::run(arguments).await,
            Command::Replay(arguments) => replay::run(arguments).await,
            Command::Reconcile(arguments) => reconcile::run(arguments).await,
            Command::Watch(arguments) => watch::run(arguments).await,
            Command::Catalogue(arguments) => catalogue::run(arguments).await,
            Command::Jobs(arguments) => jobs::run(arguments).await,
            Command::Doctor(arguments) => doctor::run(arguments).await,
            Command::Sandbox(arguments) => sandbox::run(arguments).await,
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Cost(arguments) => cost::run(&arguments),
            Command::Console(arguments) => console::run(arguments).await,
            Command::Completions(arguments) => completions::run(&arguments),
            Command::Man(arguments) => man::run(&arguments),
        }
    });
    // A thread that still reads a pipe in which nothing comes is left behind.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests;
