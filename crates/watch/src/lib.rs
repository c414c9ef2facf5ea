//! m3ter's later answer: it takes a measurement with 200 and may reject it minutes later. This job fetches that answer and acts
//! on it, so that every rejected measurement is in the quarantine with m3ter's own reason.
//!
//! [`round`] is the page to read first: what is done in one go, and when. Then follow an event: [`pass`] finds it, [`failure`]
//! reads it, `act` fetches its log and keeps what it means, which [`weigh`] decides.
//!
//! Absent: Lambda, the command line, and any memory but the store's.

mod act;
pub mod counts;
pub mod cursor;
mod echo;
pub mod failure;
pub mod ingested;
pub mod look;
pub mod pass;
pub mod reconcile;
pub mod refresh;
pub mod round;
mod sends;
pub mod weigh;
