//! Fetches the bodies that lie in S3, before anything is decoded.
//!
//! Only from buckets that a setting names, and only as much as an invocation may hold. What is not there is a refusal;
//! whatever else goes wrong returns the message: it still has its pointer.

use bumpalo::Bump;
use futures_util::{StreamExt, stream};
use relay_core::inbound::{Attribute, CONTENT_ENCODING, Inbound};
use relay_core::limits::{INVOCATION_INFLATED_BYTES_MAX, MESSAGE_INFLATED_BYTES_MAX};
use relay_core::pointer::{Pointer, pointer};
use relay_core::reason::{Reason, Refusal};
use relay_store::{NoPayload, Payloads};
use tokio::time::Instant;

/// Fetched at the same time: each may hold [`MESSAGE_INFLATED_BYTES_MAX`] bytes while it comes.
const FETCHES_AT_ONCE: usize = 2;

/// What was fetched.
#[derive(Default)]
pub(crate) struct Fetched<'a> {
    /// Each message, with the body that was fetched where one was. `None` if no message points anywhere: nearly always.
    pub(crate) messages: Option<Vec<Inbound<'a>>>,
    /// Messages, by index, that are refused before they are decoded.
    pub(crate) refused: Vec<(usize, Refusal)>,
    /// Bytes fetched.
    pub(crate) bytes: usize,
}

/// Fetches, before `until`.
pub(crate) async fn fetch<'a>(payloads: &Payloads, messages: &[Inbound<'a>], arena: &'a Bump, until: Instant) -> Fetched<'a> {
    if payloads.is_empty() {
        return Fetched::default();
    }
    let pointers: Vec<(usize, Pointer<'a>)> =
        messages.iter().enumerate().filter_map(|(index, message)| Some((index, pointer(message, arena)?))).collect();
    if pointers.is_empty() {
        return Fetched::default();
    }
    let mut fetched = Fetched { messages: Some(messages.to_vec()), ..Fetched::default() };
    let mut fetches = stream::iter(pointers)
        .map(async |(index, pointer)| {
            let Pointer { bucket, key, .. } = pointer;
            (index, pointer, payloads.fetch(bucket, key, MESSAGE_INFLATED_BYTES_MAX, until).await)
        })
        .buffered(FETCHES_AT_ONCE);
    while let Some((index, pointer, payload)) = fetches.next().await {
        match payload {
            Ok(bytes) => match std::str::from_utf8(&bytes) {
                Ok(text) if fetched.put(index, pointer, text, arena) => {}
                // This one and all that follow keep their pointers, and are returned.
                Ok(_) => break,
                Err(_) => fetched.refuse(index, Reason::NotJson, "expected UTF-8 in the object that the body points to".into()),
            },
            Err(NoPayload::Missing) => {
                fetched.refuse(index, Reason::PayloadMissing, "expected an object where the body points to, found none".into());
            }
            Err(NoPayload::TooLarge(bytes)) => {
                let most = MESSAGE_INFLATED_BYTES_MAX;
                fetched.refuse(index, Reason::Oversize, format!("expected a payload of at most {most} bytes, found {bytes}"));
            }
            // It keeps its pointer, and is returned.
            Err(NoPayload::OtherBucket | NoPayload::Failed) => {}
        }
    }
    drop(fetches);
    fetched
}

impl<'a> Fetched<'a> {
    /// In an earlier delivery the object may have been another, and what it held submitted: hence the stage.
    fn refuse(&mut self, index: usize, reason: Reason, detail: String) {
        self.refused.push((index, Refusal::submit(reason, detail)));
    }

    /// Puts the payload in the place of the pointer. False if that is more than the invocation may hold.
    fn put(&mut self, index: usize, pointer: Pointer<'a>, text: &str, arena: &'a Bump) -> bool {
        let Some(message) = self.messages.as_mut().and_then(|messages| messages.get_mut(index)) else { return false };
        if self.bytes + text.len() > INVOCATION_INFLATED_BYTES_MAX {
            return false;
        }
        self.bytes += text.len();
        message.body = arena.alloc_str(text);
        // The payload is encoded as the envelope said, which is no longer there.
        let said = pointer.encoding.filter(|_| message.attribute(CONTENT_ENCODING).is_none());
        message.attributes.extend(said.map(|value| Attribute { name: CONTENT_ENCODING, data_type: "String", value }));
        true
    }
}
