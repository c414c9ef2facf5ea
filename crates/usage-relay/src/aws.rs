//! AWS as every AWS tool finds it: credentials, region and endpoint from environment, profile or role.

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::config::ProvideCredentials;
use relay_store::S3Access;

use crate::config;
use crate::failure::Failure;

/// Longest wait for one answer. SQS answers in milliseconds; a batch of 1 MiB on a slow line needs seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Settings for a client: time-outs on, the SDK's own retries off, so that attempts are counted in one place.
pub(crate) fn settings() -> ConfigLoader {
    let timeouts = TimeoutConfig::builder().operation_timeout(CALL_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build();
    // Pinned: a new version may change defaults only when somebody looks.
    aws_config::defaults(BehaviorVersion::v2026_01_12()).retry_config(RetryConfig::disabled()).timeout_config(timeouts)
}

/// How to reach S3.
///
/// # Errors
/// [`Failure::CouldNot`] if there are no credentials.
pub(crate) async fn s3_access() -> Result<S3Access, Failure> {
    let settings = settings().load().await;
    let missing = || Failure::CouldNot(format!("{NO_CREDENTIALS}: {MEND_CREDENTIALS}"));
    let provider = settings.credentials_provider().ok_or_else(missing)?;
    let found = provider.provide_credentials().await.map_err(|error| Failure::CouldNot(chain(&error)))?;
    Ok(S3Access {
        region: settings.region().map(ToString::to_string),
        endpoint: config::s3_endpoint().or_else(|| settings.endpoint_url().map(str::to_owned)),
        access_key_id: found.access_key_id().to_owned(),
        secret_access_key: found.secret_access_key().to_owned(),
        session_token: found.session_token().map(str::to_owned),
        patience: None,
        client: None,
    })
}

/// What is said where nothing gives out credentials.
pub(crate) const NO_CREDENTIALS: &str = "there are no AWS credentials";
/// What to do about it.
pub(crate) const MEND_CREDENTIALS: &str = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; after aws sso login: \
                                           eval \"$(aws configure export-credentials --format env)\"";
/// In the SDK's words for a way of signing in that is not built in.
const NOT_BUILT_IN: &str = "cargo feature";

/// Why there are no credentials: the cause at the bottom, and not the places where the SDK looked for others.
pub(crate) fn no_credentials(error: &CredentialsError) -> String {
    let said = match error {
        CredentialsError::CredentialsNotLoaded(_) => return NO_CREDENTIALS.to_owned(),
        CredentialsError::ProviderTimedOut(_) => return "what gives out AWS credentials did not answer in time".to_owned(),
        // The SDK may add kinds.
        CredentialsError::InvalidConfiguration(_) | CredentialsError::ProviderError(_) | CredentialsError::Unhandled(_) | _ => {
            one_line(error).pop().unwrap_or_default()
        }
    };
    let cause = said.split_once("could not be built: ").map_or(said.as_str(), |(_, cause)| cause);
    match cause.contains(NOT_BUILT_IN) {
        true => "the AWS profile signs in in a way that this program does not know".to_owned(),
        false => format!("the AWS credentials cannot be used: {cause}"),
    }
}

/// An error and its causes on one line, each said once. Where credentials are the cause, that is all that is said.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(credentials) = cause.downcast_ref::<CredentialsError>() {
            return format!("{}: {MEND_CREDENTIALS}", no_credentials(credentials));
        }
        next = cause.source();
    }
    one_line(error).join(": ")
}

/// An error and its causes, each on one line and said once.
fn one_line(error: &dyn Error) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(cause) = next {
        let text = cause.to_string().replace(['\n', '\r'], " ");
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    parts
}

/// What an error of AWS's, of whatever stands in its place, or of the way there most likely means, and what to look at: a sign in its
/// text, and the words for it. The first that fits counts.
const MEANINGS: [(&str, &str); 12] = [
    ("redirect without LOCATION", "the bucket is in another region: set AWS_REGION to that one"),
    ("PermanentRedirect", "the bucket is in another region: set AWS_REGION to that one"),
    ("AuthorizationHeaderMalformed", "the bucket is in another region: set AWS_REGION to that one"),
    ("Credential should be scoped", "the request was signed for another region: look at AWS_REGION"),
    ("NoSuchBucket", "there is no such bucket: look at the URL of the store"),
    ("NonExistentQueue", "there is no such queue in this region: look at the URL of the queue, and at AWS_REGION"),
    ("QueueDoesNotExist", "there is no such queue in this region: look at the URL of the queue, and at AWS_REGION"),
    ("AccessDenied", "these AWS credentials may not do it: look at their policy, and at the one of the bucket or queue"),
    ("Skewed", "the clock of this machine is off: set it"),
    ("InvalidAccessKeyId", "AWS does not know these credentials: look at AWS_PROFILE or AWS_ACCESS_KEY_ID"),
    ("SignatureDoesNotMatch", "AWS does not know these credentials: look at AWS_PROFILE or AWS_ACCESS_KEY_ID"),
    ("(Connect)", "there is no connection: look at the network, AWS_REGION and AWS_ENDPOINT_URL"),
];

/// `text`, of an error, behind what it most likely means.
pub(crate) fn explained(text: String) -> String {
    match MEANINGS.iter().find(|(sign, _)| text.contains(sign)) {
        Some((_, meaning)) => format!("{meaning} ({text})"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_error_means_stands_before_its_words() {
        for (sign, meaning) in MEANINGS {
            let told = explained(format!("the store failed: {sign}: more"));
            assert_eq!(told, format!("{meaning} (the store failed: {sign}: more)"));
        }
        assert_eq!(explained("the store failed: 500".to_owned()), "the store failed: 500");
    }

    #[test]
    fn causes_are_said_once_and_on_one_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("in\nner"))), "outer: in ner");
        assert_eq!(chain(&Outer(std::io::Error::other("outer"))), "outer");
    }

    #[test]
    fn missing_credentials_are_all_that_is_said_wherever_they_stand_in_the_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("dispatch failure")]
        struct Outer(#[source] CredentialsError);
        for (error, expected) in [
            (CredentialsError::not_loaded("Attempted: this, that"), "there are no AWS credentials"),
            (CredentialsError::provider_timed_out(CALL_TIMEOUT), "what gives out AWS credentials did not answer in time"),
            (
                CredentialsError::invalid_configuration("This behavior requires following cargo feature(s) enabled: sso"),
                "the AWS profile signs in in a way that this program does not know",
            ),
            (
                CredentialsError::invalid_configuration("profile `a` has no key"),
                "the AWS credentials cannot be used: profile `a` has no key",
            ),
        ] {
            assert_eq!(chain(&Outer(error)), format!("{expected}: {MEND_CREDENTIALS}"));
        }
    }
}
