//! `usage-relay man`: the manual, off the same tree as the help.
//!
//! A page for each command, as `git` has them: `man usage-relay-send`. Their names say where they go: section 1.

use std::path::{Path, PathBuf};

use clap_mangen::Man;

use crate::args::command;
use crate::failure::Failure;
use crate::figures::counted;
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  usage-relay man | man -l -
  usage-relay man ~/.local/share/man/man1

After the second, man usage-relay and man usage-relay-quarantine-list show the pages, one for each command.

Exit codes: 0 printed or written; 2 a page cannot be written; 64 the command line is wrong.";

/// Print the manual page, or write one for each command.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Write a page for each command into this folder, over older ones; without it, the first page goes to standard output
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Prints or writes.
///
/// # Errors
/// [`Failure::CouldNot`] if a page cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Built: each command below knows by then how it is called.
    let mut tree = command().disable_help_subcommand(true);
    tree.build();
    let Some(folder) = &arguments.folder else {
        let (_, text) = page(tree)?;
        return terminal::print_bytes(&text);
    };
    std::fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
    let all = with_below(tree);
    for one in &all {
        let (name, text) = page(one.clone())?;
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| unwritable(&path, &error))?;
    }
    terminal::complain(&format!("wrote {} to {}", counted(all.len() as u64, "page"), folder.display()));
    Ok(())
}

/// `tree` and every command below it.
fn with_below(tree: clap::Command) -> Vec<clap::Command> {
    let below: Vec<clap::Command> = tree.get_subcommands().filter(|one| !one.is_hide_set()).cloned().collect();
    std::iter::once(tree).chain(below.into_iter().flat_map(with_below)).collect()
}

/// The name of its file, and its text.
fn page(tree: clap::Command) -> Result<(String, Vec<u8>), Failure> {
    let (man, mut text) = (Man::new(tree).manual("usage-relay"), Vec::new());
    man.render(&mut text).map_err(|error| Failure::CouldNot(format!("cannot make the manual page: {error}")))?;
    Ok((man.get_filename(), text))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::CouldNot(format!("cannot write {}: {error}", path.display()))
}
