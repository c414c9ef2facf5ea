//! Wall time, read in this one place.
//!
//! A Lambda deadline and an SQS timestamp are wall times by contract, and the process under test compares them with its own
//! clock, so a made-up time would not do. Nothing here is compared with an expected value by a test.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01T00:00:00Z, now. Zero on a machine whose clock stands before that.
#[must_use]
pub fn epoch_ms() -> u64 {
    u64::try_from(since_epoch().as_millis()).unwrap_or(u64::MAX)
}

/// Time since 1970-01-01T00:00:00Z.
#[expect(clippy::disallowed_methods, reason = "the one clock of this crate")]
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
