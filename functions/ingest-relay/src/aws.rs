//! SQS behind the relay's seam.

use std::sync::OnceLock;

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use relay::{Delay, Queue};

/// The queue in SQS.
pub struct SqsQueue {
    config: SdkConfig,
    /// Made when a message is first delayed: most environments never do.
    client: OnceLock<aws_sdk_sqs::Client>,
    url: String,
}

impl SqsQueue {
    /// The queue at `url`.
    pub fn new(config: SdkConfig, url: String) -> SqsQueue {
        SqsQueue { config, client: OnceLock::new(), url }
    }
}

#[async_trait]
impl Queue for SqsQueue {
    async fn delay(&self, delays: &[Delay]) -> Vec<bool> {
        let entry = |(place, delay): (usize, &Delay)| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(place.to_string())
                .receipt_handle(&delay.handle)
                .visibility_timeout(i32::try_from(delay.seconds).unwrap_or(i32::MAX))
                .build()
                .ok()
        };
        let entries: Vec<_> = delays.iter().enumerate().filter_map(entry).collect();
        let client = self.client.get_or_init(|| aws_sdk_sqs::Client::new(&self.config));
        let call = client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        let delayed: Vec<String> = match call.send().await {
            Ok(answer) => answer.successful().iter().map(|entry| entry.id().to_owned()).collect(),
            Err(_) => Vec::new(),
        };
        (0..delays.len()).map(|place| delayed.contains(&place.to_string())).collect()
    }
}
