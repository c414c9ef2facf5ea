//! The walk: messages from a queue in, what becomes of each out.
//!
//! [`Relay::walk`] is the page to read first. It knows neither Lambda nor SQS: whoever has messages can be its adapter. It
//! reaches outside over m3ter's client and the store; [`brake`] reaches the queue.
//!
//! Absent: settings from the environment, logging, and any state between invocations but what the client and the store keep, and the catalogue.

pub mod brake;
mod decoding;
mod fetch;
mod keep;
mod preflight;
mod queue;
mod record;
mod report;
mod submit;
mod trail;
mod walk;

pub use preflight::{FindingCounts, LastCatalogue, Preflight};
pub use queue::{DELAYS_MAX, Delay, Queue};
pub use report::Report;
pub use walk::{Invocation, Ledger, Relay, Settings, Walked};
