//! The Lambda function that fetches m3ter's later answer on a schedule: what it rejected after it had accepted it, what there
//! is to bill by, and what is open in the quarantine.
//!
//! [`config`] reads the settings, [`handler`] keeps to the deadline and answers, [`metrics`] names every metric. What every function
//! needs is in `lambda-shell`; the job itself is the crate `watch`.
//!
//! Absent: any rule about events, ledger and quarantine.

pub mod config;
pub mod handler;
pub mod metrics;
