//! The sandbox as demo and console need it: create a meter as m3ter documents it, read what was counted, and script faults.

use std::time::Duration;

use m3ter_sandbox::{FaultReport, FaultRule, Ledger, MeasurementLine, State, Totals};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

use super::books::{Fate, Landed};
use crate::config::Credentials;
use crate::failure::Failure;
use crate::sample::METER;

/// Longest wait for one answer: the sandbox answers in milliseconds, a ledger of a million measurements in seconds.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client of the sandbox.
#[derive(Debug)]
pub(crate) struct M3ter {
    http: reqwest::Client,
    base: Url,
    organisation: String,
}

impl M3ter {
    /// A client of `organisation` at `base`. Nothing is called yet.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if TLS cannot be set up.
    pub(crate) fn at(base: Url, organisation: String) -> Result<Self, Failure> {
        let http = reqwest::Client::builder().timeout(TIMEOUT).build();
        let http = http.map_err(|error| Failure::CouldNot(format!("cannot set up HTTP: {error}")))?;
        Ok(Self { http, base, organisation })
    }

    /// Creates the demo's meter unless there is one.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if the sandbox refuses the credentials or the meter, or does not answer.
    pub(crate) async fn ensure_meter(&self, credentials: &Credentials) -> Result<(), Failure> {
        let token = self.token(credentials).await?;
        let mut path = self.path(&["organizations", &self.organisation, "meters"])?;
        path.query_pairs_mut().append_pair("codes", METER);
        let list = self.call(self.http.request(Method::GET, path.clone()).bearer_auth(&token), "list meters").await?;
        if list.get("data").and_then(Value::as_array).is_some_and(|meters| !meters.is_empty()) {
            return Ok(());
        }
        path.set_query(None);
        let request = self.http.request(Method::POST, path).bearer_auth(&token);
        let request = request.header("content-type", "application/json").body(meter().to_string());
        self.call(request, "create the demo's meter").await.map(|_| ())
    }

    async fn token(&self, credentials: &Credentials) -> Result<String, Failure> {
        let request = self
            .http
            .request(Method::POST, self.path(&["oauth", "token"])?)
            .basic_auth(&credentials.access_key_id, Some(&credentials.api_secret))
            .header("content-type", "application/json")
            .body(json!({"grant_type": "client_credentials"}).to_string());
        let said = self.call(request, "get a token").await?;
        let token = said.get("access_token").and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| Failure::CouldNot(format!("expected {} to answer with an access_token", self.base)))
    }

    /// What the sandbox counted, with every accepted measurement if `measurements`.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if it does not answer, or is no sandbox.
    pub(crate) async fn ledger(&self, measurements: bool) -> Result<Ledger, Failure> {
        let mut path = self.path(&["_sandbox", "ledger"])?;
        path.query_pairs_mut().append_pair("measurements", if measurements { "true" } else { "false" });
        let bytes = self.send(self.http.request(Method::GET, path), "read the ledger").await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::CouldNot(format!("expected the ledger of a sandbox at {}; found something else: {error}", self.base))
        })
    }

    /// What the sandbox counted, in sums alone.
    ///
    /// # Errors
    /// As [`M3ter::ledger`].
    pub(crate) async fn totals(&self) -> Result<Totals, Failure> {
        let mut path = self.path(&["_sandbox", "ledger"])?;
        path.query_pairs_mut().append_pair("requests", "false");
        let bytes = self.send(self.http.request(Method::GET, path), "read the ledger").await?;
        let ledger: Result<Ledger, _> = serde_json::from_slice(&bytes);
        ledger.map(|ledger| ledger.totals).map_err(|error| {
            Failure::CouldNot(format!("expected the ledger of a sandbox at {}; found something else: {error}", self.base))
        })
    }

    /// The sandbox's script of faults.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if it does not answer.
    pub(crate) async fn faults(&self) -> Result<FaultReport, Failure> {
        let path = self.path(&["_sandbox", "faults"])?;
        let bytes = self.send(self.http.request(Method::GET, path), "read the script of faults").await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::CouldNot(format!("expected a script of faults at {}: {error}", self.base)))
    }

    /// Adds `rules` to the script.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if the sandbox does not take them.
    pub(crate) async fn add_faults(&self, rules: &[FaultRule]) -> Result<(), Failure> {
        let path = self.path(&["_sandbox", "faults"])?;
        let body = serde_json::to_string(rules).map_err(|error| Failure::CouldNot(format!("cannot write JSON: {error}")))?;
        let request = self.http.request(Method::POST, path).header("content-type", "application/json").body(body);
        self.send(request, "add faults").await.map(drop)
    }

    /// Empties the script.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if the sandbox does not answer.
    pub(crate) async fn clear_faults(&self) -> Result<(), Failure> {
        let path = self.path(&["_sandbox", "faults"])?;
        self.send(self.http.request(Method::DELETE, path), "clear the script of faults").await.map(drop)
    }

    /// Sees whether the sandbox takes `credentials`.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if it does not, or does not answer.
    pub(crate) async fn ensure_credentials(&self, credentials: &Credentials) -> Result<(), Failure> {
        self.token(credentials).await.map(drop)
    }

    /// Makes the sandbox forget every token. `credentials` must be those that it takes already: it would take these from now on.
    ///
    /// # Errors
    /// [`Failure::CouldNot`] if it does not answer.
    pub(crate) async fn forget_tokens(&self, credentials: &Credentials) -> Result<(), Failure> {
        let Credentials { access_key_id, api_secret } = credentials;
        let body = json!({"access_key_id": access_key_id, "api_secret": api_secret, "revoke_tokens": true});
        let request = self.http.request(Method::POST, self.path(&["_sandbox", "credentials"])?);
        let request = request.header("content-type", "application/json").body(body.to_string());
        self.send(request, "make it forget its tokens").await.map(drop)
    }

    async fn call(&self, request: reqwest::RequestBuilder, what: &str) -> Result<Value, Failure> {
        let bytes = self.send(request, what).await?;
        serde_json::from_slice(&bytes)
            .map_err(|_| Failure::CouldNot(format!("cannot {what} at {}: expected JSON, found something else", self.base)))
    }

    async fn send(&self, request: reqwest::RequestBuilder, what: &str) -> Result<Vec<u8>, Failure> {
        let unreachable = |error: reqwest::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            Failure::CouldNot(format!("cannot {what} at {}: {}{cause}", self.base, error.without_url()))
        };
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        if status.is_success() {
            return Ok(bytes.to_vec());
        }
        let hint = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ": expected M3TER_ACCESS_KEY_ID and M3TER_API_SECRET as the sandbox was started with, and its organisation"
            }
            _ => "",
        };
        Err(Failure::CouldNot(format!("cannot {what} at {}: HTTP {}{hint}", self.base, status.as_u16())))
    }

    fn path(&self, parts: &[&str]) -> Result<Url, Failure> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| Failure::Usage("expected --sandbox-url to be an http URL".to_owned()))?
            .pop_if_empty()
            .extend(parts);
        Ok(url)
    }
}

/// The meter as the configuration API takes it: `POST /organizations/{id}/meters`.
fn meter() -> Value {
    let field = |category: &str, code: &str, name: &str| json!({"category": category, "code": code, "name": name});
    let counted = |code: &str, name: &str, unit: &str| json!({"category": "MEASURE", "code": code, "name": name, "unit": unit});
    json!({
        "name": "Demo of usage-relay",
        "code": METER,
        "dataFields": [
            counted("calls", "Calls", "{call}"),
            counted("bytes", "Bytes", "By"),
            field("WHAT", "region", "Region"),
            field("WHAT", "method", "Method"),
        ],
        "derivedFields": [],
    })
}

/// The accepted measurements that have a uid, as evidence.
pub(crate) fn landed(lines: Vec<MeasurementLine>) -> Vec<Landed> {
    let as_evidence = |line: MeasurementLine| {
        let fate = match line.state {
            State::Pending => Fate::Pending,
            State::Ingested => Fate::Ingested,
            State::Duplicate => Fate::Duplicate,
            State::Rejected => Fate::Rejected(line.r#type.unwrap_or_default()),
        };
        Some(Landed { uid: line.uid?, fate, text: line.measurement.get().to_owned() })
    };
    lines.into_iter().filter_map(as_evidence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_added_to_the_base_with_or_without_a_slash() {
        for base in ["http://127.0.0.1:1/api", "http://127.0.0.1:1/api/"] {
            let m3ter = M3ter::at(Url::parse(base).unwrap(), "org 1".to_owned()).unwrap();
            let path = m3ter.path(&["organizations", &m3ter.organisation, "meters"]).unwrap();
            assert_eq!(path.as_str(), "http://127.0.0.1:1/api/organizations/org%201/meters");
        }
    }
}
