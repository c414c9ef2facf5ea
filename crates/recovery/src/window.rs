//! How old an entry is to m3ter's memory of uids, and which leave it soon.
//!
//! m3ter forgets a uid after 35 days; the relay sends nothing again that may first have been sent 34 days ago. An entry that
//! may have reached m3ter can be replayed until then, and is lost to replay after it. One that never was sent has all the time.

use relay_core::limits::{DAY_MS, WINDOW_MS, WINDOW_SAFE_MS};

use crate::kept::Kept;
use crate::standing::{Facts, Standing};

/// What is called soon: within five days of leaving m3ter's window. The relay closes a day before, so four of them are left.
pub const SOON_MS: i64 = 5 * DAY_MS;

const _: () = assert!(WINDOW_MS - SOON_MS < WINDOW_SAFE_MS, "what leaves soon can still be replayed");

/// What is to be known of the window for one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// It was never sent: it has no age.
    NeverSent,
    /// It may be sent again.
    Inside {
        /// Since it may first have been sent, in milliseconds.
        age_ms: i64,
    },
    /// The same, but not for long.
    LeavesSoon {
        /// As above.
        age_ms: i64,
    },
    /// It may not be sent again: m3ter may have counted it, and may have forgotten that.
    Outside {
        /// As above.
        age_ms: i64,
    },
}

impl Window {
    /// Of an entry, with what was done about it. Sending it from the quarantine was a send too.
    pub fn of(kept: &Kept, facts: &Facts, now_ms: i64) -> Window {
        let first = match (kept.not_before_ms, facts.first_claim_at_ms()) {
            (Some(sent_ms), Some(claimed_ms)) => sent_ms.min(claimed_ms),
            (Some(first), None) | (None, Some(first)) => first,
            (None, None) => return Window::NeverSent,
        };
        let age_ms = now_ms.saturating_sub(first);
        match age_ms {
            ..0 => Window::Inside { age_ms: 0 },
            age_ms if age_ms >= WINDOW_SAFE_MS => Window::Outside { age_ms },
            age_ms if age_ms >= WINDOW_MS - SOON_MS => Window::LeavesSoon { age_ms },
            age_ms => Window::Inside { age_ms },
        }
    }
}

/// Whether an entry counts for `LeavesWindowSoon`: something is still to be done about it, and soon it will be too late. What can go
/// out only under a new uid has no such day.
pub fn leaves_soon(kept: &Kept, facts: &Facts, standing: &Standing, now_ms: i64) -> bool {
    standing.is_open() && !kept.is_uid_taken() && matches!(Window::of(kept, facts, now_ms), Window::LeavesSoon { .. })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kept::tests::{NOW_MS, kept};
    use crate::standing::tests::claims;

    const MEASURED_LONG_AGO: &str = "2020-01-01T00:00:00Z";

    fn of(sent_ago_ms: Option<i64>, claimed_ago_ms: &[i64]) -> Window {
        let measurement = json!({"uid": "u", "meter": "m", "account": "a", "ts": MEASURED_LONG_AGO});
        let one = kept(json!({"first_sent_at": sent_ago_ms.map(|ago_ms| NOW_MS - ago_ms), "measurement": measurement}));
        Window::of(&one, &Facts { claims: claims(claimed_ago_ms), ..Facts::default() }, NOW_MS)
    }

    #[test]
    fn an_entry_leaves_soon_from_30_days_and_is_outside_from_34() {
        assert_eq!(of(Some(0), &[]), Window::Inside { age_ms: 0 });
        assert_eq!(of(Some(-5), &[]), Window::Inside { age_ms: 0 }, "a clock that is ahead");
        assert_eq!(of(Some(30 * DAY_MS - 1), &[]), Window::Inside { age_ms: 30 * DAY_MS - 1 });
        assert_eq!(of(Some(30 * DAY_MS), &[]), Window::LeavesSoon { age_ms: 30 * DAY_MS });
        assert_eq!(of(Some(34 * DAY_MS - 1), &[]), Window::LeavesSoon { age_ms: 34 * DAY_MS - 1 });
        assert_eq!(of(Some(34 * DAY_MS), &[]), Window::Outside { age_ms: 34 * DAY_MS });
    }

    #[test]
    fn what_was_never_sent_is_never_too_old_until_it_is_sent_from_the_quarantine() {
        assert_eq!(of(None, &[]), Window::NeverSent);
        assert_eq!(of(None, &[5, 34 * DAY_MS]), Window::Outside { age_ms: 34 * DAY_MS });
        assert_eq!(of(Some(7), &[34 * DAY_MS]), Window::Outside { age_ms: 34 * DAY_MS }, "of two clocks, the earlier");
    }

    #[test]
    fn only_what_is_open_can_leave_too_soon() {
        let one = kept(
            json!({"first_sent_at": 0, "measurement": {"uid": "u", "meter": "m", "account": "a", "ts": "2026-05-01T00:00:00Z"}}),
        );
        let facts = Facts::default();
        assert!(leaves_soon(&one, &facts, &Standing::Open, NOW_MS));
        assert!(leaves_soon(&one, &facts, &Standing::Silent { since_ms: 0 }, NOW_MS));
        assert!(!leaves_soon(&one, &facts, &Standing::Dropped, NOW_MS));
        assert!(!leaves_soon(&one, &facts, &Standing::Open, NOW_MS - 5 * DAY_MS));
        let taken = Kept { stage: "ingest".into(), reason: "ReplayDropped".into(), ..one };
        assert!(!leaves_soon(&taken, &facts, &Standing::Open, NOW_MS), "it needs a new uid, which has no age");
    }
}
