//! The way to the queue: when a message that stays is handed out again.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;

/// The longest that a message is put off, in seconds: a file that m3ter processes is looked after four times an hour. SQS would take 12
/// hours, but whoever waits for a report should not.
pub const WAIT_MAX_S: u64 = 900;

/// The queue, as far as it is needed.
#[async_trait]
pub trait Visibility: Send + Sync {
    /// Has the message of this `handle` handed out again after so many seconds. Where that fails, it comes after the queue's own
    /// time-out.
    async fn put_off(&self, handle: &str, seconds: u64);
}

/// The queue in SQS.
pub struct SqsVisibility {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl SqsVisibility {
    /// The queue at `url`.
    pub fn new(config: &SdkConfig, url: String) -> SqsVisibility {
        SqsVisibility { client: aws_sdk_sqs::Client::new(config), url }
    }
}

#[async_trait]
impl Visibility for SqsVisibility {
    async fn put_off(&self, handle: &str, seconds: u64) {
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        let call =
            self.client.change_message_visibility().queue_url(&self.url).receipt_handle(handle).visibility_timeout(seconds);
        // Refused or unanswered: it comes later, and nothing else.
        let _ = call.send().await;
    }
}

/// How many seconds a message is put off of which nothing will come for `wait`, as was found at its delivery number `receives`.
///
/// Zero `wait` means that there is work, and goes at once after a delivery that was used: one that was `short` was not. From delivery to
/// delivery the least doubles, so that 1,000 of them, after which SQS gives a message up, last for ten days.
pub fn seconds(wait: Duration, receives: u32, short: bool) -> u64 {
    if wait.is_zero() && !short {
        return 0;
    }
    let least = 1_u64.checked_shl(receives.saturating_sub(1)).unwrap_or(WAIT_MAX_S);
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(least).min(WAIT_MAX_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_at_once_after_a_delivery_that_was_used() {
        assert_eq!(seconds(Duration::ZERO, 7, false), 0);
        assert_eq!(seconds(Duration::ZERO, 7, true), 64);
    }

    #[test]
    fn a_wait_is_as_long_as_it_takes_and_doubles_from_delivery_to_delivery_up_to_a_quarter_of_an_hour() {
        for (wait_ms, receives, expected) in [
            (1_000, 1, 1),
            (1_001, 1, 2),
            (1_000, 2, 2),
            (1_000, 5, 16),
            (300_000, 5, 300),
            (300_000, 10, 512),
            (1, 11, 900),
            (7_200_000, 1, 900),
            (1, 64, 900),
            (1, 65, 900),
            (1, u32::MAX, 900),
        ] {
            assert_eq!(seconds(Duration::from_millis(wait_ms), receives, false), expected, "{wait_ms} ms at delivery {receives}");
        }
    }

    #[test]
    fn a_thousand_deliveries_last_for_ten_days() {
        let all: u64 = (1..=1_000).map(|receives| seconds(Duration::from_secs(1), receives, false)).sum();
        assert!(all > 10 * 24 * 3_600, "{all}");
    }
}
