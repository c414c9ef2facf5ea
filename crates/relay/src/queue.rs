//! The seam to the queue that messages came from.

use async_trait::async_trait;

/// A delivery to delay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// What the queue knows the delivery by.
    pub handle: String,
    /// Not delivered again before so many seconds from now.
    pub seconds: u32,
}

/// The queue.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Delays up to [`DELAYS_MAX`] deliveries. True for each that the queue says it delayed; all false where it did not
    /// answer. The caller bounds the time by dropping the future.
    async fn delay(&self, delays: &[Delay]) -> Vec<bool>;
}

/// Most delays in one call. Source: SQS, `ChangeMessageVisibilityBatch`.
pub const DELAYS_MAX: usize = 10;
