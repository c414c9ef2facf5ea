//! The Lambda function that drains the queue into m3ter: the adapter between an SQS event and the walk.
//!
//! [`config`] reads the settings, [`event`] the event, [`handler`] walks and answers, [`metrics`] names every metric and
//! writes the line that closes the accounts, [`aws`] reaches Secrets Manager and SQS. The rest is in `relay`.

pub mod aws;
pub mod config;
pub mod event;
pub mod handler;
pub mod metrics;
