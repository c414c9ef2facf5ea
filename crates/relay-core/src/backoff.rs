//! How long to wait before the next attempt, and before the next delivery.

use std::time::Duration;

use crate::limits::{BRAKE_LENGTHEN_FROM, BRAKE_LONG_S, BRAKE_LONGER_FROM, BRAKE_LONGER_S, BRAKE_SHORTEN_TO};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// What m3ter asks for counts up to this. No invocation lasts so long: more would change nothing but overflow the sums of callers.
const TOLD_LONGEST: Duration = Duration::from_secs(3_600);

/// The wait before the attempt after `attempt` (from 1): full jitter under a ceiling that doubles from 200 ms to 10 s, and
/// never less than m3ter asked for, up to an hour. `uniform` is drawn from 0..1.
pub fn before_attempt(attempt: u32, told: Option<Duration>, uniform: f64) -> Duration {
    let ceiling = FIRST.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(LONGEST);
    told.unwrap_or_default().min(TOLD_LONGEST) + ceiling.mul_f64(uniform.clamp(0.0, 1.0))
}

/// The visibility timeout to ask for at this receive (from 1) of a message that is returned, in whole seconds; `None` leaves
/// the queue's own. Early receives come back sooner than by the queue's own, late ones later. `uniform` is drawn from 0..1.
pub fn before_delivery(receives: u32, uniform: f64) -> Option<u32> {
    let ceiling_s = match receives {
        0..=BRAKE_SHORTEN_TO => 10_u32 << receives.saturating_sub(1),
        BRAKE_LONGER_FROM.. => BRAKE_LONGER_S,
        BRAKE_LENGTHEN_FROM.. => BRAKE_LONG_S,
        _ => return None,
    };
    let jittered = f64::from(ceiling_s) * (0.5 + uniform.clamp(0.0, 1.0) / 2.0);
    Some(jittered.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{DAY_MS, EXHAUST_AFTER_DAYS_MAX, RECEIVES_MAX};

    #[test]
    fn attempts_wait_under_a_doubling_ceiling() {
        let ceilings: Vec<u64> = (1..9).map(|attempt| before_attempt(attempt, None, 1.0).as_millis() as u64).collect();
        assert_eq!(ceilings, [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]);
        assert_eq!(before_attempt(u32::MAX, None, 0.0), Duration::ZERO);
    }

    #[test]
    fn what_m3ter_asked_for_is_the_least() {
        assert_eq!(before_attempt(1, Some(Duration::from_secs(3)), 0.0), Duration::from_secs(3));
        assert_eq!(before_attempt(1, Some(Duration::from_secs(3)), 1.0), Duration::from_millis(3_200));
    }

    #[test]
    fn an_absurd_wait_overflows_nothing() {
        assert_eq!(before_attempt(u32::MAX, Some(Duration::MAX), 1.0), Duration::from_secs(3_610));
    }

    #[test]
    fn the_first_receives_come_back_soon_the_late_ones_late_and_the_middle_as_the_queue_says() {
        let longest: Vec<Option<u32>> = [1, 2, 3, 4, 5, 6, 7, 49, 50, 999].map(|receives| before_delivery(receives, 1.0)).into();
        let expected = [Some(10), Some(20), Some(40), Some(80), None, None, Some(900), Some(900), Some(1_800), Some(1_800)];
        assert_eq!(longest, expected);
        assert_eq!(before_delivery(7, 0.0), Some(450));
    }

    #[test]
    fn however_the_jitter_falls_a_braked_message_is_exhausted_by_age_before_the_queue_gives_it_up_by_count() {
        // What the queue waits by itself counts as nothing.
        let shortest_s: u32 = (1..RECEIVES_MAX).filter_map(|receives| before_delivery(receives, 0.0)).sum();
        assert!(i64::from(shortest_s) * 1_000 > i64::from(EXHAUST_AFTER_DAYS_MAX) * DAY_MS, "{shortest_s} s");
    }
}
