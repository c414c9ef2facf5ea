//! m3ter's documented rules and the sandbox's own choices, each as a sentence, through the router under a paused clock.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "clippy.toml allows both in test functions, but does not see that these helpers only serve tests"
)]

mod catalogue;
mod client;
mod enrichment;
mod events;
mod faults;
mod ingest;
mod journal;
mod query;
mod tokens;
mod upload_faults;
mod upload_rows;
mod upload_urls;
mod uploads;
