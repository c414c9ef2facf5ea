//! The one place where the command line reads a clock or waits.
//!
//! Everything else is handed times and durations, so that it can be tested without waiting.

use std::time::Duration;

/// The time of day, for names of runs and times of made-up measurements.
#[expect(clippy::disallowed_methods, reason = "the one clock of the command line")]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Measures how long something took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(tokio::time::Instant);

impl Stopwatch {
    /// Starts at zero.
    pub(crate) fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// The time since the start.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

/// Waits: between two attempts, or between two looks at a queue.
#[expect(clippy::disallowed_methods, reason = "the one place that waits; callers bound it by attempts or a deadline")]
pub(crate) async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}
