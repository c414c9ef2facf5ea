//! Sends quarantined measurements again: claim, then send.
//!
//! A claim is a marker that the store lets only one create. It comes first: if the command ends between the two, the entry was
//! claimed and not sent, which the next replay sees and makes good; the other way round, two operators would both have sent it.
//!
//! Claims are made ten at a time, as many as one call to the queue carries, and at most a few calls ahead of it. So what an
//! interrupted run leaves claimed and unsent is bounded.

use std::num::NonZeroU32;
use std::time::Duration;

use futures_util::future::join_all;
use recovery::decision::Go;
use recovery::message::Message;
use recovery::standing::claim_name;
use relay_store::{Action, Marked, Marker, Store};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::{self, Stopwatch};
use crate::failure::Failure;
use crate::queue::Queue;
use crate::send::deliver::deliver;
use crate::send::pack::{self, BATCH_MESSAGES_MAX, Batcher};
use crate::store::store_failed;
use crate::terminal::Progress;

/// Batches that are claimed and wait for the queue.
const BATCHES_WAITING_MAX: usize = 2;
/// Entries that wait to be claimed: two calls' worth.
pub(crate) const READY_MAX: usize = 2 * BATCH_MESSAGES_MAX;
/// Longest wait for a claim to be written.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(30);

/// An entry that may be sent.
#[derive(Debug)]
pub(crate) struct Ready {
    /// Its id.
    pub(crate) qid: Uuid,
    /// Its uid, to be named as what a new one takes the place of.
    pub(crate) uid: Option<String>,
    /// How.
    pub(crate) go: Go,
    /// What.
    pub(crate) message: Message,
    /// How many measurements that holds, as far as is known.
    pub(crate) measurements: u64,
}

/// Who sends, and what their markers say.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Replay or import.
    pub(crate) action: Action,
    /// This run of the command.
    pub(crate) id: Uuid,
    /// Who.
    pub(crate) by: Option<String>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Entries claimed.
    pub(crate) claimed: u64,
    /// Entries that somebody else claimed first.
    pub(crate) taken: u64,
    /// Messages on the queue.
    pub(crate) sent: u64,
    /// Why it ended early, if it did.
    pub(crate) failure: Option<Failure>,
}

/// Claims and sends what `ready` yields, at most `rate` messages a second.
pub(crate) async fn send(
    (store, queue): (&Store, &Queue),
    run: &Run,
    ready: Receiver<Ready>,
    rate: Option<NonZeroU32>,
    progress: &Progress,
) -> Outcome {
    let (batches, waiting) = mpsc::channel(BATCHES_WAITING_MAX);
    let (mut outcome, delivery) = tokio::join!(claim_all(store, run, ready, batches, rate), deliver(queue, waiting, progress));
    outcome.sent = delivery.messages;
    outcome.failure = delivery.failure.or(outcome.failure);
    outcome
}

async fn claim_all(
    store: &Store,
    run: &Run,
    mut ready: Receiver<Ready>,
    batches: Sender<Vec<pack::Message>>,
    rate: Option<NonZeroU32>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let (mut group, mut batcher) = (Vec::with_capacity(BATCH_MESSAGES_MAX), Batcher::default());
    let watch = Stopwatch::start();
    while outcome.failure.is_none() && ready.recv_many(&mut group, BATCH_MESSAGES_MAX).await > 0 {
        let claims = join_all(group.drain(..).map(|one| claim(store, run, one))).await;
        let mut full = Vec::new();
        for claim in claims {
            match claim {
                Ok(Some(message)) => {
                    full.extend(batcher.push(pack::Message { number: outcome.claimed, ..message }));
                    outcome.claimed += 1;
                }
                Ok(None) => outcome.taken += 1,
                Err(failure) => outcome.failure = Some(failure),
            }
        }
        full.extend(batcher.close());
        for batch in full {
            if batches.send(batch).await.is_err() {
                return outcome;
            }
        }
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(outcome.claimed as f64 / f64::from(rate.get()));
            clock::pause(due.saturating_sub(watch.elapsed())).await;
        }
    }
    outcome
}

/// The message, if the entry is ours to send.
async fn claim(store: &Store, run: &Run, ready: Ready) -> Result<Option<pack::Message>, Failure> {
    let Ready { qid, uid, go, message, measurements } = ready;
    let marker = Marker {
        action: run.action,
        at: clock::now().as_millisecond(),
        run: run.id,
        by: run.by.clone(),
        because: None,
        supersedes: uid.filter(|_| go.new_uid.is_some()),
        new_uid: go.new_uid.map(|uid| uid.to_string()),
        beyond_window: go.beyond_window,
    };
    let marked = store.mark(qid, &claim_name(go.claim), &marker, Instant::now() + CLAIM_TIMEOUT).await;
    match marked.map_err(|error| store_failed(&error))? {
        Marked::TakenBefore => Ok(None),
        Marked::Created => {
            let Message { body, attributes } = message;
            Ok(Some(pack::Message { number: 0, body, attributes, measurements, origin: format!("entry {qid}") }))
        }
    }
}

impl Outcome {
    /// What to say of claims that were not followed by a message.
    pub(crate) fn unsent(&self) -> u64 {
        self.claimed.saturating_sub(self.sent)
    }
}
