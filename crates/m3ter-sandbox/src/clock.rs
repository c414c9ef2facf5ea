//! The sandbox's clock: a start, plus tokio's elapsed time, plus what it was advanced by.
//!
//! tokio's clock and not the system's, so that a test under a paused clock moves m3ter's time along with its own. It
//! never goes back: every window (35 days of uids, 28 days of events, tokens, rates) is a difference of two readings.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A clock that can only be moved forward.
#[derive(Debug)]
pub(crate) struct Clock {
    base: Timestamp,
    started: Instant,
    offset: Duration,
}

impl Clock {
    /// A clock that reads `start` (or the system's time) now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub(crate) fn starting_at(start: Option<Timestamp>) -> Self {
        Self { base: start.unwrap_or_else(Timestamp::now), started: Instant::now(), offset: Duration::ZERO }
    }

    /// The sandbox's time.
    pub(crate) fn now(&self) -> Timestamp {
        after(self.base, self.started.elapsed().saturating_add(self.offset))
    }

    /// Moves the clock forward.
    pub(crate) fn advance(&mut self, by: Duration) {
        self.offset = self.offset.saturating_add(by);
    }

    /// Moves the clock forward to `moment`, if it is not there yet.
    pub(crate) fn reach(&mut self, moment: Timestamp) {
        let behind = moment.duration_since(self.now());
        if behind.is_positive() {
            self.advance(behind.unsigned_abs());
        }
    }
}

/// `moment` plus `by`, held at the end of time.
pub(crate) fn after(moment: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| moment.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// Whether at least `window` has passed from `then` to `now`.
pub(crate) fn has_passed(then: Timestamp, window: Duration, now: Timestamp) -> bool {
    now >= after(then, window)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_tokio_and_what_it_is_advanced_by() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut clock = Clock::starting_at(Some(start));
        tokio::time::advance(Duration::from_secs(5)).await;
        clock.advance(Duration::from_secs(60));
        assert_eq!(clock.now().to_string(), "2026-01-01T00:01:05Z");
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_never_goes_back() {
        let start: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut clock = Clock::starting_at(Some(start));
        clock.reach("2025-01-01T00:00:00Z".parse().unwrap());
        assert_eq!(clock.now(), start);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Timestamp::MAX);
    }
}
