//! The command line of usage-relay: what runs on a laptop or in a script, never in the Lambda function.
//!
//! One file per command, and beside it a folder with its parts:
//!
//! * [`check`]: the relay's own rules on a file, before any of it is sent.
//! * [`send`]: measurements from a file, from standard input or made up, on to the queue.
//! * [`explain`]: the whole life of a measurement, as the store tells it.
//! * [`quarantine`]: see what could not go on, mend it, or give it up.
//! * [`replay`]: send what was quarantined again, as it was.
//! * [`reconcile`]: the ledger's totals against m3ter's.
//! * [`watch`]: m3ter's later answers, fetched and acted on, for those outside Lambda.
//! * [`catalogue`]: which meters and accounts m3ter had when it was last asked.
//! * [`jobs`]: what became of files that were uploaded to m3ter.
//! * [`doctor`]: whether everything around the relay is as it must be, and what to do where not.
//! * [`sandbox`]: a local m3ter to develop and test against.
//! * [`console`]: one local page that shows live what becomes of usage.
//! * [`cost`]: what the stack costs at a load, and where.
//! * [`demo`]: sends a known mix of good and bad measurements, waits, and checks that the books balance.
//! * [`completions`], [`man`]: for the shell and the manual.
//!
//! What they share: [`args`] (the words on the command line), [`config`] (the environment), [`failure`] (exit codes),
//! [`terminal`] (everything printed), [`clock`] (everything timed), [`aws`] and [`queue`] (SQS), [`sample`] (made-up measurements),
//! [`store`] (the store, and how far back), [`m3ter`] (m3ter's API), [`choosing`] (which entries are meant), [`sending`] (claim, then send).
//!
//! The rule for exit codes: 0 it is done, 1 a check did not hold or the data is at fault, 2 it could not be done
//! (network, permission, a missing file), 64 the command line is wrong. Errors are one line on standard error and
//! name lines of input, never their content.

mod args;
mod aws;
mod catalogue;
mod check;
mod choosing;
mod clock;
mod completions;
mod config;
mod console;
mod cost;
mod demo;
mod doctor;
mod explain;
mod failure;
mod figures;
mod jobs;
mod m3ter;
mod man;
mod quarantine;
mod queue;
mod reconcile;
mod replay;
mod sample;
mod sandbox;
mod send;
mod sending;
mod stop;
mod store;
mod terminal;
mod upload;
mod watch;

pub use args::{command, run};
