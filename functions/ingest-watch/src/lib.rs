//! The Lambda function that looks at the quarantine on a schedule: what is open there, and what of it will soon be too old for
//! m3ter to recognise.
//!
//! [`config`] reads the settings, [`look`] counts, [`handler`] keeps to the deadline and answers, [`metrics`] names every metric.
//! What every function needs is in `lambda-shell`; the rules of what is open and how old it is are `recovery`'s.
//!
//! Absent: anything that writes to the store, and m3ter.

pub mod config;
pub mod handler;
pub mod look;
pub mod metrics;
