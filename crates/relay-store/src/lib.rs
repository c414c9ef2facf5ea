//! The durable store, as objects: what cannot go on is kept here, with its reason, longer than any queue keeps anything.
//!
//! The store is a URL: `s3://bucket/prefix`, `file:///path`, or `memory:`. Objects are newline-delimited JSON, compressed
//! with zstd, under a path that holds the version of their layout.
//!
//! Absent: a database, deletion, and any knowledge of queues or of m3ter.

mod lines;
mod open;
mod quarantine;
mod store;

pub use open::{OpenError, S3Access};
pub use quarantine::{Entry, EntryAttribute, EntryText, NewEntry, quarantine_id};
pub use store::{Store, StoreError};
