//! Keeps the rate of requests: so many a second, with a burst of one second's worth unless told otherwise.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Hands out times at which a request may be sent.
#[derive(Debug)]
pub(crate) struct Rate {
    interval: Duration,
    burst: Duration,
    /// The time at which the next request would be due if all went evenly.
    next: Mutex<Option<Instant>>,
}

impl Rate {
    /// `per_second` must be above zero.
    pub(crate) fn new(per_second: f64) -> Rate {
        let interval = Duration::from_secs_f64(1.0 / per_second.max(0.001));
        Rate { interval, burst: Duration::from_secs(1).saturating_sub(interval), next: Mutex::new(None) }
    }

    /// One a second, of which `burst`, at least 1, may come at once.
    pub(crate) fn one_a_second(burst: u32) -> Rate {
        let interval = Duration::from_secs(1);
        Rate { interval, burst: interval * burst.saturating_sub(1), next: Mutex::new(None) }
    }

    /// The time at which the next request may be sent, or `None`, and nothing taken, if that is after `latest`.
    pub(crate) fn take(&self, now: Instant, latest: Instant) -> Option<Instant> {
        // The lock is held for these few lines only, and they do not panic: a poisoned lock holds a valid value.
        let mut next = self.next.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let due = next.map_or(now, |next| next.max(now));
        let slot = due.checked_sub(self.burst).map_or(now, |slot| slot.max(now));
        if slot > latest {
            return None;
        }
        *next = Some(due + self.interval);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_one_second_then_evenly() {
        let rate = Rate::new(4.0);
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        let slots: Vec<u128> = (0..8).filter_map(|_| rate.take(start, later)).map(|slot| (slot - start).as_millis()).collect();
        assert_eq!(slots, [0, 0, 0, 0, 250, 500, 750, 1_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_its_own_then_one_a_second() {
        let rate = Rate::one_a_second(3);
        let start = Instant::now();
        let later = start + Duration::from_secs(60);
        let slots: Vec<u64> = (0..5).filter_map(|_| rate.take(start, later)).map(|slot| (slot - start).as_secs()).collect();
        assert_eq!(slots, [0, 0, 0, 1, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn any_window_holds_at_most_its_seconds_worth_and_one_burst() {
        let rate = Rate::new(4.0);
        let start = Instant::now();
        let end = start + Duration::from_secs(300);
        let mut taken = 0;
        while rate.take(start, end).is_some() {
            taken += 1;
        }
        assert_eq!(taken, 4 * 300 + 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_comes_too_late_is_not_taken() {
        let rate = Rate::new(1.0);
        let start = Instant::now();
        assert_eq!(rate.take(start, start), Some(start));
        assert_eq!(rate.take(start, start + Duration::from_millis(999)), None);
        assert_eq!(rate.take(start, start + Duration::from_secs(1)), Some(start + Duration::from_secs(1)));
    }
}
