//! Writes what was sent and how it was answered into the ledger, before any of its messages is done.

use relay_store::{LedgerAnswer, NewLine, Store, StoreError};
use tokio::time::Instant;

use crate::trail::{Part, Trail};
use crate::walk::{Ledger, Seen};

/// Writes the ledger of one invocation, before `until` or not at all. Gives back the number of lines.
pub(crate) async fn record(
    store: &Store,
    ledger: Ledger,
    invocation: &str,
    now_ms: i64,
    seen: Seen<'_, '_>,
    trail: &Trail,
    until: Instant,
) -> Result<u64, StoreError> {
    let lines = trail.answered().filter_map(|(index, part, answer)| line(seen, index, part, answer));
    store.record((ledger.mode, ledger.write), invocation, now_ms, lines, until).await
}

fn line<'a>(seen: Seen<'_, 'a>, index: usize, part: Part, answer: LedgerAnswer) -> Option<NewLine<'a>> {
    let guarded = seen.measurements.get(index).copied().flatten()?;
    let message = seen.messages.get(seen.found.get(index)?.message)?;
    Some(NewLine {
        uid: guarded.uid,
        meter: guarded.meter,
        account: guarded.account,
        ts: guarded.ts,
        ts_ms: guarded.ts_ms,
        batch: part.batch,
        message_id: message.id,
        queued_at_ms: message.sent_at_ms,
        sent_at_ms: part.sent_at_ms,
        attempts: part.attempts,
        receives: message.receives,
        answer,
        origin: message.origin(),
        text: guarded.text,
    })
}
