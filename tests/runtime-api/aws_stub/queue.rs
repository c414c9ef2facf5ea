//! SQS: `ChangeMessageVisibilityBatch`, the brake. It answers per entry, with HTTP 200, as SQS does; and takes at most ten.
//! `ChangeMessageVisibility` is the same for one message.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex};

use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{JSON_1_0, hang_if, json_error, lock};
use crate::http_server::{Answer, Severed, answer};

/// Most entries in one request. Source: SQS API reference.
const ENTRIES_MAX: usize = 10;
/// The longest visibility timeout, in seconds: twelve hours. Source: SQS API reference.
const TIMEOUT_S_MAX: i64 = 43_200;

/// The queue calls of an [`crate::AwsStub`]. Cloning gives another handle on the same ones.
#[derive(Clone, Debug, Default)]
pub struct QueueStub(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    changes: Vec<VisibilityChange>,
    requests: usize,
    refused: BTreeSet<String>,
    hanging: bool,
}

/// One entry that the function sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisibilityChange {
    /// The queue, as sent.
    pub queue_url: String,
    /// The message's receipt handle, as sent.
    pub receipt_handle: String,
    /// The new visibility timeout, in seconds.
    pub timeout_s: i64,
    /// Whether it was answered as successful.
    pub successful: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ChangeBatch {
    queue_url: String,
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    id: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Change {
    queue_url: String,
    receipt_handle: String,
    visibility_timeout: i64,
}

impl QueueStub {
    /// Every entry so far, in order, those answered as failed among them. Not those of requests that hang or were refused whole.
    #[must_use]
    pub fn changes(&self) -> Vec<VisibilityChange> {
        lock(&self.0).changes.clone()
    }

    /// How many requests came, answered or not.
    #[must_use]
    pub fn requests(&self) -> usize {
        lock(&self.0).requests
    }

    /// Answers entries for these receipt handles as failed, from now on.
    pub fn refuse<H: Into<String>>(&self, receipt_handles: impl IntoIterator<Item = H>) {
        let handles = receipt_handles.into_iter().map(Into::into);
        lock(&self.0).refused.extend(handles);
    }

    /// Makes requests from now on hang, or be answered again.
    pub fn hang(&self, hanging: bool) {
        lock(&self.0).hanging = hanging;
    }

    pub(super) async fn change_one(&self, body: &[u8]) -> Answer {
        let Ok(Change { queue_url, receipt_handle, visibility_timeout }) = serde_json::from_slice(body) else {
            return refused("InvalidAddress", "QueueUrl, ReceiptHandle and VisibilityTimeout were expected");
        };
        let hanging = {
            let mut state = lock(&self.0);
            state.requests += 1;
            state.hanging
        };
        hang_if(hanging).await;
        let entries = vec![Entry { id: "0".to_owned(), receipt_handle, visibility_timeout }];
        let answered = self.record(ChangeBatch { queue_url, entries });
        match answered.pointer("/Failed/0/Code").and_then(serde_json::Value::as_str) {
            Some(code) => refused(code, "refused"),
            None => answer(StatusCode::OK, JSON_1_0, "{}"),
        }
    }

    pub(super) async fn change_visibility(&self, body: &[u8]) -> Answer {
        let hanging = {
            let mut state = lock(&self.0);
            state.requests += 1;
            state.hanging
        };
        hang_if(hanging).await;
        let Ok(batch) = serde_json::from_slice::<ChangeBatch>(body) else {
            return refused("InvalidAddress", "QueueUrl and Entries were expected");
        };
        match batch.entries.len() {
            0 => return refused("EmptyBatchRequest", "at least one entry was expected"),
            1..=ENTRIES_MAX => {}
            _ => return refused("TooManyEntriesInBatchRequest", "at most 10 entries"),
        }
        let ids: HashSet<&str> = batch.entries.iter().map(|entry| entry.id.as_str()).collect();
        if ids.len() < batch.entries.len() {
            return refused("BatchEntryIdsNotDistinct", "entry ids must differ");
        }
        let answered = self.record(batch);
        answer(StatusCode::OK, JSON_1_0, answered.to_string())
    }

    fn record(&self, batch: ChangeBatch) -> serde_json::Value {
        let mut state = lock(&self.0);
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in batch.entries {
            let fault = if state.refused.contains(&entry.receipt_handle) {
                Some("ReceiptHandleIsInvalid")
            } else if !(0..=TIMEOUT_S_MAX).contains(&entry.visibility_timeout) {
                Some("InvalidParameterValue")
            } else {
                None
            };
            match fault {
                None => successful.push(json!({"Id": entry.id})),
                Some(code) => failed.push(json!({"Id": entry.id, "SenderFault": true, "Code": code, "Message": "refused"})),
            }
            state.changes.push(VisibilityChange {
                queue_url: batch.queue_url.clone(),
                receipt_handle: entry.receipt_handle,
                timeout_s: entry.visibility_timeout,
                successful: fault.is_none(),
            });
        }
        json!({"Successful": successful, "Failed": failed})
    }
}

/// An error for a whole request, named twice as SQS does: in the body, and for the SDKs that knew its older protocol, in a header.
fn refused(kind: &str, message: &str) -> Answer {
    let mut response = json_error(StatusCode::BAD_REQUEST, &format!("com.amazonaws.sqs#{kind}"), message)?;
    let older = HeaderValue::from_str(&format!("AWS.SimpleQueueService.{kind};Sender")).map_err(|_| Severed)?;
    response.headers_mut().insert("x-amzn-query-error", older);
    Ok(response)
}
