//! The one clock: wall time is read once per invocation, later time is that plus what has elapsed since.
//!
//! So a wall clock that jumps cannot make an invocation inconsistent, and tests run under a paused clock.

use std::time::Duration;

use relay_core::limits::{ATTEMPT_TIMEOUT, BRAKE_CUT_OFF, FULL_TIMEOUT, SETTLE_RESERVE};
use tokio::time::Instant;

/// Wall time during one invocation.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall_ms: i64,
    read_at: Instant,
}

impl Clock {
    /// A clock that reads `wall_ms`, milliseconds since the epoch, now.
    pub fn starting_at(wall_ms: i64) -> Clock {
        Clock { wall_ms, read_at: Instant::now() }
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        self.wall_ms.saturating_add(i64::try_from(self.elapsed().as_millis()).unwrap_or(i64::MAX))
    }

    /// Time since the wall clock was read.
    pub fn elapsed(&self) -> Duration {
        self.read_at.elapsed()
    }

    /// The monotonic time now.
    pub(crate) fn instant(&self) -> Instant {
        self.read_at + self.elapsed()
    }

    /// The time that an invocation which must end at `deadline_ms` has for each of its parts.
    pub fn budget(&self, deadline_ms: i64) -> Budget {
        let whole = Duration::from_millis(u64::try_from(deadline_ms.saturating_sub(self.wall_ms)).unwrap_or(0));
        let share = (whole.as_secs_f64() / FULL_TIMEOUT.as_secs_f64()).min(1.0);
        let deadline = self.read_at + whole;
        let before = |reserve: Duration| deadline.checked_sub(reserve.mul_f64(share)).unwrap_or(self.read_at);
        let submit_until = before(SETTLE_RESERVE);
        Budget {
            fetch_until: self.read_at + submit_until.duration_since(self.read_at) / 4,
            submit_until,
            brake_until: before(BRAKE_CUT_OFF),
            attempt: ATTEMPT_TIMEOUT.mul_f64(share),
            settle_until: before((SETTLE_RESERVE + BRAKE_CUT_OFF) / 2),
        }
    }
}

/// Until when each part of an invocation may run. All parts shrink in proportion where the function's time-out is short.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// No call for a payload outlasts this: a quarter of the time to submit.
    pub fetch_until: Instant,
    /// No call to m3ter outlasts this.
    pub submit_until: Instant,
    /// No call to the store outlasts this.
    pub settle_until: Instant,
    /// No call to the queue outlasts this.
    pub brake_until: Instant,
    /// The longest one attempt waits for its answer.
    pub attempt: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(timeout_s: i64, expected_s: [f64; 5]) {
        let clock = Clock::starting_at(1_000);
        let budget = clock.budget(1_000 + timeout_s * 1_000);
        let at = |instant: Instant| (instant - clock.read_at).as_secs_f64();
        assert_eq!(
            [
                at(budget.fetch_until),
                at(budget.submit_until),
                at(budget.settle_until),
                at(budget.brake_until),
                budget.attempt.as_secs_f64()
            ],
            expected_s
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_invocation_of_a_minute_keeps_twelve_seconds_to_settle() {
        check(60, [12.0, 48.0, 53.0, 58.0, 30.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_invocation_shrinks_every_part() {
        check(6, [1.2, 4.8, 5.3, 5.8, 3.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_invocation_keeps_the_same_reserve() {
        check(900, [222.0, 888.0, 893.0, 898.0, 30.0]);
    }

    #[tokio::test(start_paused = true)]
    async fn later_time_is_the_time_read_plus_what_has_elapsed() {
        let clock = Clock::starting_at(5_000);
        tokio::time::advance(Duration::from_millis(1_234)).await;
        assert_eq!(clock.now_ms(), 6_234);
    }
}
