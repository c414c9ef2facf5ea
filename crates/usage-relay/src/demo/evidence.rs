//! Gathers evidence until everything is settled: the queues are empty, and every measurement has a place.

use std::time::Duration;

use m3ter_sandbox::Ledger;
use relay_store::Store;

use super::books::{Books, Kept, balance};
use super::m3ter::{M3ter, landed};
use super::plan::Produced;
use crate::aws::chain;
use crate::clock::{self, Stopwatch};
use crate::failure::Failure;
use crate::figures::grouped;
use crate::queue::Queue;
use crate::terminal::Progress;

/// Between two looks: often enough to feel immediate, seldom enough to cost nothing.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Longest wait for the store to list and hand over the quarantine.
const STORE_TIMEOUT: Duration = Duration::from_secs(30);

/// Where to look.
#[derive(Debug)]
pub(crate) struct Places {
    /// The queue that was sent to.
    pub(crate) queue: Queue,
    /// Its dead-letter queue.
    pub(crate) dead_letters: Queue,
    /// The sandbox.
    pub(crate) m3ter: M3ter,
    /// The store that holds the quarantine.
    pub(crate) store: Store,
}

/// What was found when looking ended.
#[derive(Debug)]
pub(crate) struct Found {
    /// The books.
    pub(crate) books: Books,
    /// What the sandbox had counted by then.
    pub(crate) ledger: Ledger,
    /// Messages left on the queue.
    pub(crate) queued: u64,
    /// Messages left on the dead-letter queue.
    pub(crate) dead: u64,
}

impl Places {
    /// Looks until all is settled or `timeout` is over; returns what was there then.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if one of the places cannot be looked at.
    pub(crate) async fn settle(
        &self,
        produced: &[Produced],
        message_ids: &[String],
        timeout: Duration,
        progress: &Progress,
    ) -> Result<Found, Failure> {
        let watch = Stopwatch::start();
        loop {
            let (queued, dead) = (self.queue.left().await?, self.dead_letters.left().await?);
            let is_over = watch.elapsed() >= timeout;
            if (queued == 0 && dead == 0) || is_over {
                let mut ledger = self.m3ter.ledger(true).await?;
                let landed = landed(ledger.measurements.take().unwrap_or_default());
                let books = balance(produced, message_ids, &landed, &self.kept().await?);
                if (queued == 0 && dead == 0 && books.is_settled()) || is_over {
                    return Ok(Found { books, ledger, queued, dead });
                }
            }
            let counted = self.m3ter.ledger(false).await?.totals;
            progress.say(format!(
                "{} on the queue, {} accepted by m3ter, {} s",
                grouped(queued),
                grouped(counted.accepted),
                watch.elapsed().as_secs()
            ));
            clock::pause(LOOK_AGAIN).await;
        }
    }

    /// What the quarantine holds.
    async fn kept(&self) -> Result<Vec<Kept>, Failure> {
        let read = tokio::time::timeout(STORE_TIMEOUT, self.store.quarantined()).await;
        let entries = match read {
            Ok(entries) => {
                entries.map_err(|error| Failure::CouldNot(format!("cannot read the quarantine: {}", chain(&error))))?
            }
            Err(_) => return Err(Failure::CouldNot("cannot read the quarantine: no answer in 30 s".to_owned())),
        };
        let kept = entries.into_iter().map(|entry| Kept {
            message_id: entry.message_id,
            position: entry.position,
            uid: entry.uid,
            reason: entry.reason,
        });
        Ok(kept.collect())
    }
}
