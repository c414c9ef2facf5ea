//! Following jobs of an m3ter that comes and goes, under a clock that nobody waits for.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use m3ter_client::{ClientSettings, Credentials, Endpoint, NoAnswer, Secrets, SecretsError, Transport};
use serde_json::json;
use tokio::time::Instant;

use super::*;

/// An m3ter with one job of 2,000,000 rows that is done at 2,000 a second, and that is away for a while.
struct M3ter {
    began: Instant,
    /// From when to when, in seconds.
    away: (u64, u64),
    /// When the job was asked for.
    asked: Mutex<Vec<u64>>,
}

#[async_trait]
impl Transport for M3ter {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let (path, at) = (request.uri().path(), self.began.elapsed().as_secs());
        let rows = (at * 2_000).min(2_000_000);
        let status = if rows == 2_000_000 { "succeeded" } else { "running" };
        let date = "2026-01-01T00:00:00Z";
        let job = json!({"id": "j", "status": status, "totalRows": 2_000_000, "processedRows": rows, "uploadDate": date});
        if path.ends_with("/jobs/j") {
            self.asked.lock().unwrap().push(at);
        }
        let answer = match path {
            "/oauth/token" => json!({"access_token": "t", "expires_in": 18_000}),
            _ if (self.away.0..self.away.1).contains(&at) => return Err(NoAnswer::NoConnection),
            path if path.ends_with("/jobs") => json!({"data": [job]}),
            _ => job,
        };
        Ok(Response::new(answer.to_string().into()))
    }
}

struct Vault;

#[async_trait]
impl Secrets for Vault {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        Ok(Credentials { access_key_id: "k".into(), api_secret: "s".into() })
    }
}

/// How it ended, when, and when the job was asked for.
async fn followed(away: (u64, u64)) -> (Result<(), Failure>, u64, Vec<u64>) {
    let m3ter = Arc::new(M3ter { began: Instant::now(), away, asked: Mutex::default() });
    let api = Endpoint::parse("https://api.test").unwrap();
    let settings = ClientSettings { org_id: "o".into(), api: api.clone(), ingest: api, requests_per_second: 1.0 };
    let client = Client::new(m3ter.clone(), Arc::new(Vault), &settings);
    let mut followed = Followed { client: &client, json: true, jobs: Vec::new(), pace: Pace::default() };
    let ended = followed.follow(&["j".to_owned()]).await;
    let asked = m3ter.asked.lock().unwrap().clone();
    (ended, m3ter.began.elapsed().as_secs(), asked)
}

#[tokio::test(start_paused = true)]
async fn a_job_is_asked_for_rarely_while_much_is_left_and_often_at_the_end() {
    let (ended, at, asked) = followed((0, 0)).await;
    assert_eq!(ended, Ok(()));
    assert!((1_000..=1_001).contains(&at), "{at}");
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[0], 30, "{pauses:?}");
    assert!(asked.len() < 150 && pauses.is_sorted_by(|one, next| next <= &(one + 1)), "{pauses:?}");
    assert!(pauses.ends_with(&[1, 1, 1]), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn an_m3ter_that_is_away_for_minutes_ends_nothing_and_one_that_stays_away_does() {
    let (ended, at, _) = followed((100, 280)).await;
    assert_eq!(ended, Ok(()));
    assert!((1_000..=1_030).contains(&at), "{at}");
    let (ended, at, _) = followed((100, u64::MAX)).await;
    assert!(matches!(&ended, Err(Failure::CouldNot(text)) if text.contains("look at --api-url and the network")), "{ended:?}");
    assert!((400..=1_200).contains(&at), "{at}");
}

#[tokio::test(start_paused = true)]
async fn an_m3ter_that_was_never_there_is_told_at_once() {
    let (ended, at, _) = followed((0, u64::MAX)).await;
    assert!(matches!(ended, Err(Failure::CouldNot(_))), "{ended:?}");
    assert!(at <= 30, "{at}");
}

#[test]
fn a_time_to_wait_has_a_unit_and_is_not_nothing() {
    for (text, seconds) in [("1s", 1), ("30m", 1_800), ("2h", 7_200)] {
        assert_eq!(time_to_wait(text), Ok(Duration::from_secs(seconds)));
    }
    for text in ["", "5", "0s", "-1s", "1d", "s", "1 h"] {
        assert!(time_to_wait(text).unwrap_err().starts_with("expected a time such as"), "{text}");
    }
}
