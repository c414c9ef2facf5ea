//! Secrets Manager behind m3ter-client's seam.

use async_trait::async_trait;
use aws_config::SdkConfig;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use m3ter_client::{Credentials, Secrets, SecretsError};

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
