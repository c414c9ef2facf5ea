//! `usage-relay quarantine`: see what could not go on, mend it, send it, or give it up.

mod drop;
mod export;
mod import;
mod list;
mod rows;
mod show;

use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  usage-relay quarantine list
  usage-relay quarantine export --reason MeterInvalid --output broken.csv    # then mend broken.csv
  usage-relay quarantine import broken.csv --queue-url \"$QUEUE_URL\"
  usage-relay explain UID

That is the way from a broken meter code to counted usage. What is right as it is goes back with usage-relay replay. Nothing is ever deleted.";

/// See what could not go on, mend it, or give it up.
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
    Export(export::Arguments),
    Import(import::Arguments),
    Drop(drop::Arguments),
}

/// Runs the command that `arguments` name.
///
/// # Errors
/// Its own.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::List(arguments) => list::run(arguments).await,
        Command::Show(arguments) => show::run(arguments).await,
        Command::Export(arguments) => export::run(arguments).await,
        Command::Import(arguments) => import::run(arguments).await,
        Command::Drop(arguments) => drop::run(arguments).await,
    }
}
