//! Writes what cannot go on into the quarantine, before any of its messages is done.

use bumpalo::Bump;
use relay_core::guard::{FirstSent, uid_of};
use relay_core::inbound::{Attribute, CONTENT_ENCODING, FIRST_SENT_AT, Inbound};
use relay_core::reason::{Refusal, Stage};
use relay_core::settle::ToQuarantine;
use relay_store::{EntryText, NewEntry, Store, StoreError};
use tokio::time::Instant;

use crate::walk::Seen;

/// Writes `entries` as one object, before `until` or not at all. Nothing to write is success.
pub(crate) async fn keep(
    store: &Store,
    invocation: &str,
    now_ms: i64,
    seen: Seen<'_, '_>,
    entries: &[ToQuarantine],
    until: Instant,
) -> Result<(), StoreError> {
    if entries.is_empty() {
        return Ok(());
    }
    let arena = Bump::new();
    store.quarantine(invocation, now_ms, entries.iter().filter_map(|kept| entry(seen, kept, &arena)), until).await
}

/// `None` only for a message that is not there, of which nothing can leave the queue either.
fn entry<'a>(seen: Seen<'_, 'a>, kept: &'a ToQuarantine, arena: &'a Bump) -> Option<NewEntry<'a>> {
    let message = seen.messages.get(kept.message)?;
    let found = kept.found.and_then(|index| seen.found.get(index));
    let guarded = kept.found.and_then(|index| seen.measurements.get(index).copied().flatten());
    let text = match found {
        Some(found) if found.refusal.is_none() => EntryText::Measurement(found.text),
        Some(found) => EntryText::Body(found.text),
        None => EntryText::Body(message.body),
    };
    let uid = match (guarded, text) {
        (Some(guarded), _) => Some(guarded.uid),
        (None, EntryText::Measurement(text)) => uid_of(text, arena),
        (None, EntryText::Body(_)) => None,
    };
    Some(NewEntry {
        qid: None,
        uid,
        reason: kept.refusal.reason.name(),
        detail: &kept.refusal.detail,
        stage: kept.refusal.stage.name(),
        first_sent_at_ms: first_sent_at_ms(message, &kept.refusal),
        message_id: message.id,
        position: found.map_or(0, |found| found.position),
        source: message.source,
        attributes: attributes(message, text),
        queued_at_ms: message.sent_at_ms,
        first_received_at_ms: message.first_received_at_ms,
        receives: message.receives,
        origin: message.origin(),
        text,
    })
}

/// Set when m3ter may have it: it was submitted, or an earlier life of it may have been. What the catalogue turns down now may
/// have passed when less was known, in an earlier delivery or in another message.
fn first_sent_at_ms(message: &Inbound<'_>, refusal: &Refusal) -> Option<i64> {
    let maybe_sent =
        refusal.stage == Stage::Submit || refusal.reason.is_of_the_catalogue() || message.attribute(FIRST_SENT_AT).is_some();
    maybe_sent.then(|| FirstSent::of(message).at_ms())
}

/// The attributes of the message, but how its body is encoded only where that is what is kept: what was inflated is not
/// encoded any more, and would not be read if it said so.
fn attributes<'a>(message: &Inbound<'a>, text: EntryText<'_>) -> Vec<Attribute<'a>> {
    let encoded = text == EntryText::Body(message.body);
    let belongs = |attribute: &&Attribute<'_>| encoded || !attribute.name.eq_ignore_ascii_case(CONTENT_ENCODING);
    message.attributes.iter().filter(belongs).copied().collect()
}
