//! The durable store, as objects: what cannot go on is kept here, with its reason, longer than any queue keeps anything.
//!
//! The store is a URL: `s3://bucket/prefix`, `file:///path`, or `memory:`. Objects are newline-delimited JSON, compressed
//! with zstd, under a path that holds the version of their layout.
//!
//! Absent: a database, deletion of anything but the parts of uploads that were sent, and any knowledge of queues or of m3ter.

mod actions;
mod acts;
mod catalogue;
mod documents;
mod find;
mod given;
mod ledger;
mod lines;
mod open;
mod payloads;
mod quarantine;
mod scan;
mod store;
mod uploads;

pub use actions::{Action, Marked, Marker, MarkerName};
pub use acts::{Act, Outcome};
pub use catalogue::{AccountLine, CatalogueRead, MeterLine, StoredCatalogue};
pub use find::Wanted;
pub use given::{GivenObject, NoPiece};
pub use ledger::{LedgerAnswer, LedgerMode, LedgerObject, LedgerWrite, Line, LineOrigin, NewLine};
pub use open::{OpenError, S3Access};
pub use payloads::{NoPayload, Payloads};
pub use quarantine::{Entry, EntryAttribute, EntryText, NewEntry, quarantine_id, rejection_id};
pub use scan::{Folder, Hours, Listed, StoredObject, Unreadable};
pub use store::{Store, StoreError};
pub use uploads::{PIECE_BYTES, PartBody, PartWriter, Step, Written};
