//! The Lambda function that keeps what the queue gave up: from the dead-letter queue, which forgets after 14 days, into the
//! quarantine, which does not.
//!
//! [`config`] reads the settings, [`handler`] stores and answers, [`metrics`] names every metric and closes the accounts in
//! the log. What every function needs is in `lambda-shell`.
//!
//! Absent: any look into a message. What killed the invocations before may be in it, so it is kept as it is; replay reads it.

pub mod config;
pub mod handler;
pub mod metrics;
