//! What every function needs once: how it starts, how it reads an SQS event and answers it, how it reads settings, and how
//! it speaks through its log.
//!
//! [`run()`] is a function's whole life, and the only place besides a `main.rs` that knows the Lambda runtime. It reads the wall
//! clock, catches panics, and lets no message go that nobody answered for. [`event`] and [`answer`] are the two ends of an
//! invocation, [`settings`] reads variables and lists every fault at once, [`mod@line`] makes the lines of the log with the
//! metrics in them, [`https`] is how a function reaches anything, [`aws`] finds AWS's own settings, with the feature `m3ter`, `SecretsManager` reads its credentials.
//!
//! Absent: what a function does with its messages, the names of its settings and its metrics.

pub mod answer;
pub mod aws;
mod call;
pub mod event;
pub mod https;
pub mod line;
mod run;
#[cfg(feature = "m3ter")]
mod secrets;
pub mod settings;

pub use call::Call;
pub use run::{Error, now_ms, run};
#[cfg(feature = "m3ter")]
pub use secrets::SecretsManager;
