//! A local m3ter to develop and test against: both of its base URLs on one port.
//!
//! The rule: this crate is a second, independent reading of m3ter's published rules. It imports nothing of this
//! project, so that a misreading in the relay is not repeated here. What m3ter does not publish is the *sandbox's own
//! choice*; the README lists each with its switch, and nobody may take one for a promise of m3ter.
//!
//! Not a mock: nothing is expected or verified here. Measurements are accepted, checked and counted, and
//! [`Sandbox::ledger`] says exactly what was counted. Two things make it a test tool: its clock can be moved
//! ([`Sandbox::advance`]) and its faults are scripted ([`Sandbox::add_fault`]).
//!
//! The page to read first is [`sandbox`](Sandbox); then follow one request: `front` (faults) → `ingest` (checks before
//! acceptance) → `enrich` (checks after it) → `book` (what is counted) → `ledger` (what one may read). A file takes the
//! other way in: `upload_routes` (the job) → `files` (the upload) → `uploads` (when its rows are due) → `process`.
//!
//! Absent: uploads as CSV, data exports, more than one organisation, configuration events, TLS, HTTP/2.

mod answer;
mod auth;
mod book;
mod catalogue;
mod changes;
mod clock;
mod config_routes;
mod control;
mod decimal;
mod enrich;
mod entries;
mod event_routes;
mod events;
mod faults;
mod files;
mod front;
mod ingest;
mod journal;
mod ledger;
mod meters;
mod options;
mod paging;
mod process;
mod query;
mod query_rows;
mod rows;
mod rules;
mod sandbox;
mod schema;
mod script;
mod search;
mod serve;
mod spool;
mod throttle;
mod upload_routes;
mod uploads;

pub use catalogue::{Catalogue, CatalogueError};
pub use decimal::Number;
pub use faults::{Containing, Fault, FaultReport, FaultRule, Route, RuleReport, ScriptError};
pub use front::Abort;
pub use journal::{JournalError, JournalReport};
pub use ledger::{Ledger, LedgerQuery, MeasurementLine, MeterLine, Outcome, RequestLine, State, Totals};
pub use meters::{AccountRequest, Category, DataField, DerivedField, MeterRequest};
pub use options::{Choices, Credentials, EventsPer, FailedRows, FutureTs, Limits, Options, RejectedUid, UploadRows};
pub use sandbox::{OpenError, Sandbox};
pub use uploads::{JobStatus, UploadJob, UploadLine};
