//! `usage-relay completions`: a script that completes commands and flags at the prompt, off the same tree as the help.

use clap_complete::Shell;

use crate::args::command;
use crate::failure::Failure;
use crate::terminal;

const EXAMPLES: &str = "\
Examples:
  usage-relay completions bash > ~/.local/share/bash-completion/completions/usage-relay
  usage-relay completions zsh > ~/.zfunc/_usage-relay
  usage-relay completions fish > ~/.config/fish/completions/usage-relay.fish
  usage-relay completions powershell >> $PROFILE

zsh looks in ~/.zfunc if ~/.zshrc says: fpath+=~/.zfunc; autoload -Uz compinit; compinit. A new shell knows them.

Exit codes: 0 printed; 2 it cannot be written; 64 the command line is wrong.";

/// Our name without its hyphen.
const BARE: &str = "usage_relay";

/// Print a script that completes commands and flags in a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The shell to complete in
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// [`Failure::CouldNot`] if it cannot be written.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let tree = command();
    let name = tree.get_name().to_owned();
    if arguments.shell != Shell::Bash {
        return terminal::print_bytes(&generated(arguments.shell, tree, &name));
    }
    // Its generator (clap_complete 4.6.11) loses every command below one whose name has a hyphen. So it makes a script for a name
    // without, and the lines that say which command the script is for get ours back.
    let script = generated(Shell::Bash, tree.name(BARE), BARE);
    let ours = String::from_utf8_lossy(&script).replace(&format!(" {BARE}\n"), &format!(" {name}\n"));
    terminal::print_bytes(ours.as_bytes())
}

fn generated(shell: Shell, mut tree: clap::Command, name: &str) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut tree, name, &mut script);
    script
}
