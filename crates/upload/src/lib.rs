//! The job that sends files of measurements to m3ter's file upload service, for the command line and the function alike.
//!
//! ```text
//! file -sift-> parts + quarantine | -send-> m3ter's jobs | -follow-> accepted, or sent again
//! ```
//!
//! * [`options`]: what is asked, beside the file. [`journal`]: what is known of an upload.
//! * `sift`: reads the file and judges its rows; `prepare` writes down what it tells; `rows` is a part's text.
//! * `send`: hands a part over to m3ter; `record`: what the ledger says of it; `follow`: how m3ter's job ended.
//! * [`report`]: what is said of it. [`run`]: one step after the other, from where the last run stopped.
//!
//! The rule: each step is in the journal before the next one goes by it, so a run may be killed anywhere, and what the next one does twice
//! is harmless: quarantine entries collapse by their place in the file, and m3ter drops what it has by its uid, as long as that is inside
//! its window, which is held right before each part is sent.
//!
//! Absent: what m3ter says of single rows. That comes as events, and crate `watch` acts on them.

mod error;
mod follow;
pub mod journal;
mod object;
pub mod options;
mod prepare;
mod record;
pub mod report;
mod row;
mod rows;
pub mod run;
mod send;
mod sift;

pub use error::UploadError;
pub use object::{gone, object, object_digest};
pub use prepare::{Input, upload_id};
