//! Where the credentials come from, and what they are.

use async_trait::async_trait;
use secrecy::SecretString;
use serde::Deserialize;

/// Reads the credentials anew each time it is asked.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The credentials as they are now. The caller bounds the time by dropping the future.
    async fn read(&self) -> Result<Credentials, SecretsError>;
}

/// m3ter's service user. `Debug` shows neither part.
#[derive(Clone)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: SecretString,
    /// The secret that belongs to it.
    pub api_secret: SecretString,
}

/// Why there are no credentials. Says nothing of what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretsError {
    /// The secret could not be read now.
    #[error("the secret cannot be read")]
    Unreachable,
    /// It does not exist, or may not be read by this role.
    #[error("the secret does not exist, or reading it is not allowed")]
    Denied,
    /// It holds something else.
    #[error("expected the secret to be {{\"access_key_id\":\"…\",\"api_secret\":\"…\"}}")]
    Malformed,
}

impl Credentials {
    /// Reads `{"access_key_id":"…","api_secret":"…"}`, both not empty.
    pub fn from_json(text: &str) -> Result<Credentials, SecretsError> {
        #[derive(Deserialize)]
        struct Shape {
            access_key_id: String,
            api_secret: String,
        }
        let shape: Shape = serde_json::from_str(text).map_err(|_| SecretsError::Malformed)?;
        if shape.access_key_id.is_empty() || shape.api_secret.is_empty() {
            return Err(SecretsError::Malformed);
        }
        Ok(Credentials { access_key_id: shape.access_key_id.into(), api_secret: shape.api_secret.into() })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Credentials(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_and_never_shown() {
        let credentials = Credentials::from_json(r#"{"access_key_id":"canary-a","api_secret":"canary-b","more":1}"#).unwrap();
        assert_eq!(format!("{credentials:?}"), "Credentials(hidden)");
    }

    #[test]
    fn anything_else_is_malformed() {
        for text in ["", "{}", r#"{"access_key_id":"a"}"#, r#"{"access_key_id":"","api_secret":"b"}"#, "plain"] {
            assert_eq!(Credentials::from_json(text).map(|_| ()), Err(SecretsError::Malformed));
        }
    }
}
