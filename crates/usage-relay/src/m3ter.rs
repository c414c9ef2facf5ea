//! What every command that asks m3ter shares: which organisation, where, with which keys, and for how long.
//!
//! The keys come from the environment and go nowhere but to m3ter's token endpoint, over TLS or to this machine. A first
//! question is asked with little time ([`ensure`]), so that wrong keys or a wrong address are told at once; what follows may
//! take long, and each attempt at it ends after 30 s.
//!
//! Absent: submitting. Measurements go through the queue.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use m3ter_client::{
    Client, ClientSettings, Clock, Credentials, Endpoint, HttpTransport, List, NotAnswered, Secrets, SecretsError, Session,
};

use crate::aws::chain;
use crate::clock;
use crate::config;
use crate::failure::Failure;

/// Time for the first question: a token and an answer, with one more attempt at each. The session keeps a fifth of it in reserve.
const FIRST: Duration = Duration::from_secs(30);
/// Batches a second: the command line submits none.
const SUBMITS_PER_SECOND: f64 = 1.0;

/// The variable that names the address.
const API_URL: &str = "M3TER_API_URL";
/// The address where none is named.
const API_URL_DEFAULT: &str = "https://api.m3ter.com";

/// Which organisation, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct M3terArguments {
    /// m3ter's id of the organisation. The keys come from M3TER_ACCESS_KEY_ID and M3TER_API_SECRET
    #[arg(long, value_name = "ID", env = "M3TER_ORG_ID", value_parser = org_id)]
    org_id: String,

    /// Base URL of m3ter's API, or of a sandbox
    #[arg(long, value_name = "URL", env = API_URL, default_value = API_URL_DEFAULT, value_parser = endpoint)]
    api_url: Endpoint,
}

impl M3terArguments {
    /// A client that has not spoken yet.
    ///
    /// # Errors
    /// [`Failure::Usage`] without keys in the environment, [`Failure::CouldNot`] if TLS cannot be set up.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        let strange = config::strange(&[API_URL.to_owned()].into());
        // A misspelt address must not send the keys to the default one.
        let is_default = Endpoint::parse(API_URL_DEFAULT).is_ok_and(|default| default == self.api_url);
        if let Some(misspelt) = strange.iter().find(|one| is_default && one.meant == API_URL) {
            return Err(Failure::Usage(misspelt.to_string()));
        }
        let keys = config::m3ter_keys().map_err(|expected| {
            let said: Vec<String> = std::iter::once(expected).chain(strange.iter().map(ToString::to_string)).collect();
            Failure::Usage(said.join("; "))
        })?;
        let transport =
            HttpTransport::new().map_err(|error| Failure::CouldNot(format!("cannot set up HTTP: {}", chain(&error))))?;
        let settings = ClientSettings {
            org_id: self.org_id.clone(),
            api: self.api_url.clone(),
            ingest: self.api_url.clone(),
            requests_per_second: SUBMITS_PER_SECOND,
        };
        Ok(Client::new(Arc::new(transport), Arc::new(Environment(keys)), &settings))
    }
}

/// The keys that the environment held when the command began.
struct Environment(config::Credentials);

#[async_trait]
impl Secrets for Environment {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        let config::Credentials { access_key_id, api_secret } = self.0.clone();
        Ok(Credentials { access_key_id: access_key_id.into(), api_secret: api_secret.into() })
    }
}

/// A session that ends after `limit`, whatever m3ter does.
pub(crate) fn session(client: &Client, limit: Duration) -> Session<'_> {
    let clock = Clock::starting_at(clock::now().as_millisecond());
    let limit_ms = i64::try_from(limit.as_millis()).unwrap_or(i64::MAX);
    let budget = clock.budget(clock.now_ms().saturating_add(limit_ms));
    client.session(clock, budget, None, fastrand::Rng::new())
}

/// A session for one question, which ends after 30 s.
pub(crate) fn question(client: &Client) -> Session<'_> {
    session(client, FIRST)
}

/// Asks one small question, so that keys, organisation and address are known to be right. Takes at most 30 s.
///
/// # Errors
/// As [`not_answered`].
pub(crate) async fn ensure(client: &Client) -> Result<(), Failure> {
    question(client).page(List::Meters, None).await.map(drop).map_err(|error| not_answered(&error))
}

/// m3ter did not answer, and what to look at.
pub(crate) fn not_answered(error: &NotAnswered) -> Failure {
    let hint = match error {
        NotAnswered::Refused { status: 401 | 403 | 404 } | NotAnswered::GiveUp => {
            ": look at --org-id, --api-url, M3TER_ACCESS_KEY_ID and M3TER_API_SECRET, and at what these keys may read"
        }
        NotAnswered::Unknown | NotAnswered::Later => ": look at --api-url and the network",
        NotAnswered::Refused { .. } => "",
    };
    Failure::CouldNot(format!("{error}{hint}"))
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text).map_err(|error| error.to_string())
}

/// It stands in the path of each request.
fn org_id(text: &str) -> Result<String, String> {
    let is_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match !text.is_empty() && text.bytes().all(is_id) {
        true => Ok(text.to_owned()),
        false => Err("expected the organisation's id: letters, digits, - and _".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_organisation_is_a_word_that_can_stand_in_a_path() {
        assert_eq!(org_id("sandbox-org_1"), Ok("sandbox-org_1".to_owned()));
        for text in ["", "a/b", "a b", "..", "ä"] {
            assert!(org_id(text).unwrap_err().starts_with("expected the organisation's id"), "{text}");
        }
    }

    #[test]
    fn keys_go_nowhere_in_the_open() {
        assert!(endpoint("https://api.m3ter.com").is_ok() && endpoint("http://127.0.0.1:1").is_ok());
        assert!(endpoint("http://api.m3ter.com").unwrap_err().starts_with("expected https"));
    }

    #[test]
    fn an_answer_that_did_not_come_says_what_to_look_at() {
        for error in [NotAnswered::GiveUp, NotAnswered::Refused { status: 403 }, NotAnswered::Unknown, NotAnswered::Later] {
            assert!(not_answered(&error).to_string().contains(": look at --"), "{error}");
        }
    }
}
