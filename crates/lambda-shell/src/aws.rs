//! AWS's own settings, found as every AWS tool finds them. Clients made of them are called with short time-outs and no
//! hidden retries beyond one.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::provider::ProvideCredentials;
use relay_store::S3Access;

/// One call, its second try included, takes at most this long.
const CALL: Duration = Duration::from_secs(5);

/// Region, credentials and time-outs.
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
