//! AWS's own settings. Clients made of them are called with short time-outs and no hidden retries beyond one.
//!
//! Absent: the places beside its environment in which an AWS tool looks for keys and region. Lambda gives a function both there, and going
//! through them takes a part of each start.

use std::time::Duration;

use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use relay_store::S3Access;

use crate::https::{self, SdkClient};

/// One call, its second try included, takes at most this long.
const CALL: Duration = Duration::from_secs(5);

/// Time to connect.
const CONNECT: Duration = Duration::from_secs(2);

/// Region, credentials and time-outs.
pub async fn load() -> SdkConfig {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(CALL).build();
    aws_config::defaults(BehaviorVersion::v2026_01_12())
        .credentials_provider(EnvironmentVariableCredentialsProvider::new())
        .region(EnvironmentVariableRegionProvider::new())
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(2))
        .http_client(SdkClient::new(CONNECT))
        .load()
        .await
}

/// The keys of this environment for the store. A Lambda environment keeps one set for its life. Empty where there are none.
pub async fn s3_access(config: &SdkConfig, endpoint: Option<String>) -> S3Access {
    let region = config.region().map(ToString::to_string);
    let none = S3Access { region, endpoint, ..S3Access::default() };
    // Where TLS cannot be set up, the store cannot either, and says why.
    let none = https::builder().ok().and_then(|builder| none.over(builder).ok()).unwrap_or(none);
    let Some(provider) = config.credentials_provider() else { return none };
    let Ok(keys) = provider.provide_credentials().await else { return none };
    S3Access {
        access_key_id: keys.access_key_id().to_owned(),
        secret_access_key: keys.secret_access_key().to_owned(),
        session_token: keys.session_token().map(str::to_owned),
        ..none
    }
}
