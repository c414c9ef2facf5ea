//! Secrets Manager and SQS behind the relay's seams. Both are called with short time-outs and no hidden retries beyond one.

use std::time::Duration;

use async_trait::async_trait;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::config::ProvideCredentials;
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use m3ter_client::{Credentials, Secrets, SecretsError};
use relay::{Delay, Queue};
use relay_store::S3Access;

/// One call, its second try included, takes at most this long.
const CALL: Duration = Duration::from_secs(5);

/// AWS's own settings, found as every AWS tool finds them.
pub async fn load() -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(Duration::from_secs(2)).operation_timeout(CALL).build();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(2))
        .load()
        .await
}

/// The keys of this environment for the store. A Lambda environment keeps one set for its life. Empty where there are none.
pub async fn s3_access(config: &SdkConfig, endpoint: Option<String>) -> S3Access {
    let region = config.region().map(ToString::to_string);
    let none = S3Access { region: region.clone(), endpoint: endpoint.clone(), ..S3Access::default() };
    let Some(provider) = config.credentials_provider() else { return none };
    let Ok(keys) = provider.provide_credentials().await else { return none };
    S3Access {
        region,
        endpoint,
        access_key_id: keys.access_key_id().to_owned(),
        secret_access_key: keys.secret_access_key().to_owned(),
        session_token: keys.session_token().map(str::to_owned),
    }
}

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
