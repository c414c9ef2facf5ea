//! Writes what cannot go on into the quarantine, before any of its messages is done.

use bumpalo::Bump;
use m3ter_client::Budget;
use relay_core::decode::Found;
use relay_core::guard::{FirstSent, Guarded, uid_of};
use relay_core::inbound::{FIRST_SENT_AT, Inbound};
use relay_core::reason::{Reason, Refusal, Stage};
use relay_core::settle::Settled;
use relay_store::{EntryAttribute, EntryText, NewEntry, Store, StoreError};

/// Writes all entries of an invocation as one object. Nothing to write is success.
#[expect(clippy::too_many_arguments, reason = "the end of the walk needs what the walk has")]
pub(crate) async fn keep(
    store: &Store,
    invocation: &str,
    now_ms: i64,
    budget: Budget,
    messages: &[Inbound<'_>],
    found: &[Found<'_>],
    measurements: &[Option<Guarded<'_>>],
    settled: &Settled,
) -> Result<(), StoreError> {
    if settled.quarantine.is_empty() {
        return Ok(());
    }
    let arena = Bump::new();
    let mut entries = Vec::with_capacity(settled.quarantine.len());
    for kept in &settled.quarantine {
        let Some(message) = messages.get(kept.message) else { continue };
        let what = kept.found.and_then(|index| found.get(index));
        let guarded = kept.found.and_then(|index| measurements.get(index).copied().flatten());
        let text = match what {
            Some(found) if found.refusal.is_none() => EntryText::Measurement(found.text),
            Some(found) => EntryText::Body(found.text),
            None => EntryText::Body(message.body),
        };
        let uid = match (guarded, text) {
            (Some(guarded), _) => Some(guarded.uid),
            (None, EntryText::Measurement(text)) => uid_of(text, &arena),
            (None, EntryText::Body(_)) => None,
        };
        entries.push(NewEntry {
            uid,
            reason: kept.refusal.reason.name(),
            detail: &kept.refusal.detail,
            stage: kept.refusal.stage.name(),
            first_sent_at_ms: first_sent_at_ms(message, &kept.refusal),
            message_id: message.id,
            position: what.map_or(0, |found| found.position),
            source: message.source,
            attributes: attributes(message),
            sent_at_ms: message.sent_at_ms,
            first_received_at_ms: message.first_received_at_ms,
            receives: message.receives,
            text,
        });
    }
    store.quarantine(invocation, now_ms, &entries, budget.settle_until).await
}

/// Set when m3ter may have it: it was submitted, or an earlier delivery or an earlier life of it may have been.
fn first_sent_at_ms(message: &Inbound<'_>, refusal: &Refusal) -> Option<i64> {
    let maybe_sent = refusal.stage == Stage::Submit
        // In an earlier delivery the rival may have been absent, and this content sent.
        || refusal.reason == Reason::UidConflict
        || message.attribute(FIRST_SENT_AT).is_some();
    maybe_sent.then(|| FirstSent::of(message).at_ms())
}

fn attributes(message: &Inbound<'_>) -> Vec<EntryAttribute> {
    let owned = |attribute: &relay_core::inbound::Attribute<'_>| EntryAttribute {
        name: attribute.name.to_owned(),
        data_type: attribute.data_type.to_owned(),
        value: attribute.value.to_owned(),
    };
    message.attributes.iter().map(owned).collect()
}
