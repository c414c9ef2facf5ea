//! Secrets Manager and SQS behind the relay's seams.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use m3ter_client::{Credentials, Secrets, SecretsError};
use relay::{Delay, Queue};

/// m3ter's credentials in Secrets Manager.
pub struct SecretsManager {
    client: aws_sdk_secretsmanager::Client,
    arn: String,
}

impl SecretsManager {
    /// The secret at `arn`.
    pub fn new(config: &SdkConfig, arn: String) -> SecretsManager {
        SecretsManager { client: aws_sdk_secretsmanager::Client::new(config), arn }
    }
}

#[async_trait]
impl Secrets for SecretsManager {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        let answer = self.client.get_secret_value().secret_id(&self.arn).send().await.map_err(|error| kind(&error))?;
        Credentials::from_json(answer.secret_string().ok_or(SecretsError::Malformed)?)
    }
}

fn kind<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> SecretsError {
    match error.code() {
        Some("ResourceNotFoundException" | "AccessDeniedException" | "DecryptionFailure" | "InvalidRequestException") => {
            SecretsError::Denied
        }
        _ => SecretsError::Unreachable,
    }
}

/// The queue in SQS.
pub struct SqsQueue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl SqsQueue {
    /// The queue at `url`.
    pub fn new(config: &SdkConfig, url: String) -> SqsQueue {
        SqsQueue { client: aws_sdk_sqs::Client::new(config), url }
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
        let call = self.client.change_message_visibility_batch().queue_url(&self.url).set_entries(Some(entries));
        let delayed: Vec<String> = match call.send().await {
            Ok(answer) => answer.successful().iter().map(|entry| entry.id().to_owned()).collect(),
            Err(_) => Vec::new(),
        };
        (0..delays.len()).map(|place| delayed.contains(&place.to_string())).collect()
    }
}
