//! The command line as a user runs it: the real binary, exit codes, what it prints, and what it does to a queue and a sandbox.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test that cannot go on stops where it is")]

mod catalogue;
mod check;
mod command_line;
mod console;
#[cfg(test)]
#[path = "../../../../tests/fixtures/corpus/corpus.rs"]
mod corpus;
mod cost;
mod demo;
mod every_command;
mod explain;
mod import;
mod jobs;
mod m3ter_given;
mod quarantine;
mod queue_stub;
mod reconcile;
mod rejected_later;
mod replay;
mod sandbox;
mod send;
mod shell;
mod store_given;
mod trouble;
mod upload;
mod upload_memory;
mod upload_stopped;
