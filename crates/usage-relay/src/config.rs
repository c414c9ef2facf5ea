//! The only file that reads the environment.
//!
//! The credentials of m3ter and of the sandbox come this way and never as flags: a command line is visible to every user of a machine.
//! What the AWS SDK reads by itself (`AWS_REGION`, `AWS_ENDPOINT_URL`, profiles, credentials) is not repeated here.

/// Access key id for m3ter or the sandbox.
const ACCESS_KEY_ID: &str = "M3TER_ACCESS_KEY_ID";
/// The secret that goes with it.
const API_SECRET: &str = "M3TER_API_SECRET";
/// The SDK's endpoint for SQS alone, which outranks `AWS_ENDPOINT_URL`.
const ENDPOINT_URL_SQS: &str = "AWS_ENDPOINT_URL_SQS";
/// The same for S3.
const ENDPOINT_URL_S3: &str = "AWS_ENDPOINT_URL_S3";

/// Who is at this machine, as it says itself.
const USER: &str = "USER";

/// Access key id and secret for m3ter. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Access key id.
    pub(crate) access_key_id: String,
    /// Secret.
    pub(crate) api_secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Credentials(hidden)")
    }
}

/// The credentials that the sandbox takes and the demo uses: from the environment, else the sandbox's own defaults.
///
/// # Errors
/// If only one of the two is set: the other would silently be a default.
pub(crate) fn credentials() -> Result<Credentials, String> {
    credentials_from(variable)
}

fn credentials_from(get: impl Fn(&str) -> Option<String>) -> Result<Credentials, String> {
    match (get(ACCESS_KEY_ID), get(API_SECRET)) {
        (Some(access_key_id), Some(api_secret)) => Ok(Credentials { access_key_id, api_secret }),
        (None, None) => Ok(Credentials { access_key_id: "sandbox".to_owned(), api_secret: "sandbox-secret".to_owned() }),
        _ => Err(format!("expected both {ACCESS_KEY_ID} and {API_SECRET} in the environment, or neither")),
    }
}

/// m3ter's keys. There are no defaults: they would be sent to the real m3ter.
///
/// # Errors
/// If one is missing.
pub(crate) fn m3ter_keys() -> Result<Credentials, String> {
    m3ter_keys_from(variable)
}

fn m3ter_keys_from(get: impl Fn(&str) -> Option<String>) -> Result<Credentials, String> {
    match (get(ACCESS_KEY_ID), get(API_SECRET)) {
        (Some(access_key_id), Some(api_secret)) => Ok(Credentials { access_key_id, api_secret }),
        _ => Err(format!("expected m3ter's keys in the environment: {ACCESS_KEY_ID} and {API_SECRET}")),
    }
}

/// Whether the environment names an endpoint for SQS alone.
pub(crate) fn has_sqs_endpoint() -> bool {
    variable(ENDPOINT_URL_SQS).is_some()
}

/// The endpoint that the environment names for S3 alone.
pub(crate) fn s3_endpoint() -> Option<String> {
    variable(ENDPOINT_URL_S3)
}

/// Who is at this machine: kept with what operators do.
pub(crate) fn user() -> Option<String> {
    variable(USER)
}

/// The value of `name`; unset and empty are the same.
#[expect(clippy::disallowed_methods, reason = "the only file that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_come_in_pairs_or_not_at_all() {
        let from = |set: &[(&str, &str)]| {
            credentials_from(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(from(&[]).unwrap().access_key_id, "sandbox");
        assert_eq!(from(&[(ACCESS_KEY_ID, "a"), (API_SECRET, "b")]).unwrap().api_secret, "b");
        assert!(from(&[(ACCESS_KEY_ID, "a")]).unwrap_err().starts_with("expected both"));
        assert!(from(&[(API_SECRET, "b")]).is_err());
    }

    #[test]
    fn keys_for_m3ter_itself_have_no_defaults() {
        let from = |set: &[(&str, &str)]| {
            m3ter_keys_from(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(from(&[(ACCESS_KEY_ID, "a"), (API_SECRET, "b")]).unwrap().access_key_id, "a");
        for set in [&[][..], &[(ACCESS_KEY_ID, "a")], &[(API_SECRET, "b")]] {
            assert!(from(set).unwrap_err().starts_with("expected m3ter's keys"));
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = format!("{:?}", Credentials { access_key_id: "canary".into(), api_secret: "canary".into() });
        assert!(!shown.contains("canary"), "{shown}");
    }
}
