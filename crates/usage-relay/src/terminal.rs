//! Everything the command line prints goes through here.
//!
//! Results go to standard output, errors and progress to standard error. Progress and colour appear only on a
//! terminal, so that a file or a pipe never holds either; colour not where `NO_COLOR` is set. A reader that closes the pipe
//! early (`… | head`) is no error: the rest goes unprinted and the exit code still says what became of the command.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

use crate::config;
use crate::failure::Failure;

/// How often a progress bar is drawn, in milliseconds: smooth to the eye, and cheap.
const PROGRESS_TICK_MS: u64 = 100;

/// Prints `text` and a line feed on standard output, at once.
///
/// # Errors
/// If standard output cannot be written, except because its reader has gone.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    print_bytes(format!("{text}\n").as_bytes())
}

/// Prints `bytes` as they are on standard output, at once.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    printed(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Prints `bytes` as they are on standard output, at once; whether somebody still reads.
///
/// # Errors
/// As [`print`].
pub(crate) fn pass_on(bytes: &[u8]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    let is_heard = !written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe);
    printed(written).map(|()| is_heard)
}

/// What comes of having printed.
///
/// # Errors
/// As [`print`].
pub(crate) fn printed(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::CouldNot(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Prints `value` as one line of JSON on standard output.
///
/// # Errors
/// As [`print`].
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::CouldNot(format!("cannot write JSON: {error}")))?;
    print(&text)
}

/// Standard output, for more than fits in memory. A reader that has gone takes everything.
#[derive(Debug)]
pub(crate) struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match std::io::stdout().write(bytes) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            result => result,
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match std::io::stdout().flush() {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

/// Prints one line on standard error. There is nowhere left to report that this failed.
pub(crate) fn complain(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "usage-relay: {text}"));
}

/// Whether standard output takes colour: it is a terminal, and nobody asked for none.
pub(crate) fn is_colourful() -> bool {
    std::io::stdout().is_terminal() && !config::wants_no_colour()
}

/// Progress on standard error; nothing at all unless that is a terminal.
#[derive(Debug, Clone)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar towards `total` if that is known, else a count that runs. `what` follows the numbers.
    pub(crate) fn start(total: Option<u64>, what: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::none();
        }
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), "{bar:30} {human_pos} of {human_len} {prefix} {msg}"),
            None => (ProgressBar::new_spinner(), "{spinner} {human_pos} {prefix} {msg}"),
        };
        // Also when a command ends early: an error is not printed behind a bar.
        let bar = bar.with_finish(ProgressFinish::AndClear);
        bar.set_draw_target(ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        bar.enable_steady_tick(Duration::from_millis(PROGRESS_TICK_MS));
        Self(bar)
    }

    /// None: somebody else shows how it goes, or the screen is for the result.
    pub(crate) fn none() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Moves to `position`.
    pub(crate) fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// Moves to `position` of `total`, which may only now be known.
    pub(crate) fn of(&self, position: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(position);
    }

    /// Does `what` while the bar is off the screen, which printing would break.
    pub(crate) fn aside<R>(&self, what: impl FnOnce() -> R) -> R {
        self.0.suspend(what)
    }

    /// Says what is being waited for.
    pub(crate) fn say(&self, text: String) {
        self.0.set_message(text);
    }

    /// Takes the bar off the screen.
    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
