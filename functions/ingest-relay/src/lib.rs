//! The Lambda function that drains the queue into m3ter: the adapter between an SQS event and the walk.
//!
//! [`config`] reads the settings, [`handler`] walks and answers, [`metrics`] names every metric and closes the accounts in
//! the log, [`aws`] reaches Secrets Manager and SQS. What every function needs is in `lambda-shell`, the rest in `relay`.

pub mod aws;
pub mod config;
pub mod handler;
pub mod metrics;
