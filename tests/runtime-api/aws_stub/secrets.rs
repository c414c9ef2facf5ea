//! Secrets Manager: `GetSecretValue`, with values that change while the function runs.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use http::StatusCode;
use serde::Deserialize;

use super::{JSON_1_0, hang_if, json_error, lock};
use crate::http_server::{Answer, answer};

/// The secrets of an [`crate::AwsStub`]. Cloning gives another handle on the same ones.
#[derive(Clone, Default)]
pub struct SecretsStub(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    values: BTreeMap<String, String>,
    calls: usize,
    hanging: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValue {
    secret_id: String,
}

impl SecretsStub {
    /// Sets the value of the secret that is asked for as `id` (its name or ARN; the function's is in `M3TER_SECRET_ARN`).
    pub fn set(&self, id: impl Into<String>, value: impl Into<String>) {
        lock(&self.0).values.insert(id.into(), value.into());
    }

    /// Takes the secret away: it is then not found.
    pub fn remove(&self, id: &str) {
        lock(&self.0).values.remove(id);
    }

    /// How often a secret was asked for, found or not, answered or not.
    #[must_use]
    pub fn calls(&self) -> usize {
        lock(&self.0).calls
    }

    /// Makes requests from now on hang, or be answered again.
    pub fn hang(&self, hanging: bool) {
        lock(&self.0).hanging = hanging;
    }

    pub(super) async fn get_secret_value(&self, body: &[u8]) -> Answer {
        let hanging = {
            let mut state = lock(&self.0);
            state.calls += 1;
            state.hanging
        };
        hang_if(hanging).await;
        let Ok(asked) = serde_json::from_slice::<GetSecretValue>(body) else {
            return json_error(StatusCode::BAD_REQUEST, "InvalidRequestException", "SecretId was expected");
        };
        let value = lock(&self.0).values.get(&asked.secret_id).cloned();
        let Some(value) = value else {
            let message = "Secrets Manager can't find the specified secret.";
            return json_error(StatusCode::BAD_REQUEST, "ResourceNotFoundException", message);
        };
        let found = serde_json::json!({
            "ARN": asked.secret_id,
            "Name": asked.secret_id,
            "SecretString": value,
            "VersionId": "00000000-0000-0000-0000-000000000000",
            "VersionStages": ["AWSCURRENT"],
        });
        answer(StatusCode::OK, JSON_1_0, found.to_string())
    }
}

impl fmt::Debug for SecretsStub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0);
        f.debug_struct("SecretsStub")
            .field("ids", &state.values.keys())
            .field("calls", &state.calls)
            .field("hanging", &state.hanging)
            .finish_non_exhaustive()
    }
}
