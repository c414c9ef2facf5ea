//! m3ter, asked as the relay and ingest-watch ask it, but for usage: that it never gets.
//!
//! Where measurements go, a batch of none is sent: `{"measurements":[]}`. m3ter takes 1 to 1,000, so it refuses this, and the refusal
//! proves address, token and organisation; were it accepted, there would be nothing in it to bill.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response};
use m3ter_client::{Credentials, Endpoint, HttpTransport, NoAnswer, Transport};
use secrecy::ExposeSecret;
use serde_json::Value;

use super::line::Fault;

/// What ingest-watch reads, and what bulk-upload follows: the name of each list, and where it is.
const LISTS: [(&str, &str); 4] =
    [("events", "events"), ("meters", "meters"), ("accounts", "accounts"), ("file upload jobs", "fileuploads/measurements/jobs")];

/// Where m3ter is, and which organisation.
#[derive(Debug, Clone)]
pub(super) struct M3ter<'a> {
    pub(super) http: &'a HttpTransport,
    pub(super) org_id: String,
    pub(super) api_url: String,
    pub(super) ingest_url: String,
}

/// An answer: its status, and its body if that is JSON.
struct Said {
    status: u16,
    body: Option<Value>,
}

impl M3ter<'_> {
    /// A token.
    ///
    /// # Errors
    /// What is to be mended.
    pub(super) async fn token(&self, keys: &Credentials) -> Result<(String, String), Fault> {
        let pair = format!("{}:{}", keys.access_key_id.expose_secret(), keys.api_secret.expose_secret());
        let header = format!("Basic {}", BASE64_STANDARD.encode(pair));
        let body = Bytes::from_static(br#"{"grant_type":"client_credentials"}"#);
        let said = self.ask(Method::POST, "M3terApiUrl", &self.api_url, "/oauth/token", &header, body).await?;
        token(&said)
    }

    /// Sends a batch of no measurement.
    ///
    /// # Errors
    /// What is to be mended.
    pub(super) async fn ingest(&self, token: &str) -> Result<String, Fault> {
        let (path, body) = (self.path("measurements"), Bytes::from_static(br#"{"measurements":[]}"#));
        let said = self.ask(Method::POST, "M3terIngestUrl", &self.ingest_url, &path, &format!("Bearer {token}"), body).await?;
        ingest(&said)
    }

    /// Reads a little of all that ingest-watch and bulk-upload read.
    ///
    /// # Errors
    /// What is to be mended.
    pub(super) async fn reads(&self, token: &str) -> Result<String, Fault> {
        for (list, place) in LISTS {
            let path = format!("{}?pageSize=1", self.path(place));
            let said =
                self.ask(Method::GET, "M3terApiUrl", &self.api_url, &path, &format!("Bearer {token}"), Bytes::new()).await?;
            read(&said, list)?;
        }
        Ok(format!("{} can be read", LISTS.map(|(list, _)| list).join(", ")))
    }

    fn path(&self, of: &str) -> String {
        format!("/organizations/{}/{of}", self.org_id)
    }

    async fn ask(
        &self,
        method: Method,
        parameter: &str,
        base: &str,
        path: &str,
        authorization: &str,
        body: Bytes,
    ) -> Result<Said, Fault> {
        // It decides where credentials may go.
        let bad = |expected: &dyn std::fmt::Display| {
            Fault::new(format!("the function's address of m3ter is wrong: {expected}"), format!("set the stack's {parameter}"))
        };
        Endpoint::parse(base).map_err(|error| bad(&error))?;
        let mut header =
            HeaderValue::try_from(authorization).map_err(|_| Fault::new("it holds what no header can", MEND_SECRET))?;
        header.set_sensitive(true);
        let url = format!("{}{path}", base.trim_end_matches('/'));
        let request = Request::builder().method(method).uri(url).header(AUTHORIZATION, header);
        let request = request.header(CONTENT_TYPE, "application/json").body(body).map_err(|error| bad(&error))?;
        let answer = self.http.send(request).await.map_err(|error| no_answer(error, parameter))?;
        Ok(Said::of(&answer))
    }
}

impl Said {
    fn of(answer: &Response<Bytes>) -> Self {
        Self { status: answer.status().as_u16(), body: serde_json::from_slice(answer.body()).ok() }
    }

    /// Whether the body is an object with a text `name`.
    fn has_text(&self, name: &str) -> bool {
        self.body.as_ref().and_then(|body| body.get(name)).is_some_and(Value::is_string)
    }
}

const MEND_SECRET: &str = "put the keys of a service user of m3ter's into the secret: aws secretsmanager put-secret-value";

fn no_answer(error: NoAnswer, parameter: &str) -> Fault {
    Fault::new(error.to_string(), format!("look at the network, and at the stack's {parameter}"))
}

fn not_m3ter(status: u16, parameter: &str) -> Fault {
    let found = format!("what answered, with status {status}, is not m3ter");
    Fault::new(found, format!("look at the stack's {parameter}, and at what stands between"))
}

fn busy(status: u16) -> Fault {
    Fault::new(format!("m3ter answered with status {status}"), "look at status.m3ter.com, and run doctor again")
}

fn token(said: &Said) -> Result<(String, String), Fault> {
    match said.status {
        200 => {
            let text = said.body.as_ref().and_then(|body| body.get("access_token")).and_then(Value::as_str);
            let text = text.ok_or_else(|| not_m3ter(200, "M3terApiUrl"))?;
            let life_s = said.body.as_ref().and_then(|body| body.get("expires_in")).and_then(Value::as_u64);
            let life = life_s.map(|seconds| format!(" for {} minutes", seconds / 60)).unwrap_or_default();
            Ok((text.to_owned(), format!("granted{life}")))
        }
        408 | 429 | 500..=599 => Err(busy(said.status)),
        404 | 405 => Err(not_m3ter(said.status, "M3terApiUrl")),
        400..=499 => Err(Fault::new(format!("m3ter refuses the keys in the secret, with status {}", said.status), MEND_SECRET)),
        _ => Err(not_m3ter(said.status, "M3terApiUrl")),
    }
}

fn ingest(said: &Said) -> Result<String, Fault> {
    match said.status {
        400 | 413 | 422 if said.has_text("message") => {
            Ok("reached; a batch without a measurement was refused, as it must be".to_owned())
        }
        200 if said.has_text("result") => Ok("reached; a batch without a measurement was accepted, and holds nothing".to_owned()),
        401 | 403 => Err(Fault::new(
            format!("m3ter does not let these keys submit for this organisation, with status {}", said.status),
            "look at the stack's M3terOrgId, and give the service user permission to create measurements",
        )),
        404 => Err(Fault::new(
            "m3ter does not know this organisation, or this is not its ingest API",
            "look at the stack's M3terOrgId and M3terIngestUrl",
        )),
        408 | 429 | 500..=599 => Err(busy(said.status)),
        status => Err(not_m3ter(status, "M3terIngestUrl")),
    }
}

fn read(said: &Said, list: &str) -> Result<(), Fault> {
    let is_list = said.body.as_ref().and_then(|body| body.get("data")).is_some_and(Value::is_array);
    match said.status {
        200 if is_list => Ok(()),
        401 | 403 | 404 => Err(Fault::new(
            format!("m3ter does not let these keys read {list}, with status {}", said.status),
            "give the service user permission to read events, meters and accounts (ingest-watch needs them) and for file uploads \
             (bulk-upload does); or look at M3terOrgId",
        )),
        408 | 429 | 500..=599 => Err(busy(said.status)),
        status => Err(not_m3ter(status, "M3terApiUrl")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// What an answer is said to be: `ok`, or a word of what was found.
    fn check<T>(judge: impl Fn(&Said) -> Result<T, Fault>, table: &[(u16, Option<Value>, Option<&str>)]) {
        for (status, body, expected) in table {
            match (judge(&Said { status: *status, body: body.clone() }), expected) {
                (Ok(_), None) => {}
                (Err(fault), Some(found)) => assert!(fault.found.contains(found), "{status}: {fault:?}"),
                (Ok(_), Some(_)) | (Err(_), None) => panic!("{status} {body:?}: expected {expected:?}"),
            }
        }
    }

    #[test]
    fn a_token_is_one_that_m3ter_gave() {
        check(
            token,
            &[
                (200, Some(json!({"access_token": "t", "expires_in": 18_000})), None),
                (200, None, Some("is not m3ter")),
                (200, Some(json!({"token": "t"})), Some("is not m3ter")),
                (302, None, Some("is not m3ter")),
                (404, None, Some("is not m3ter")),
                (400, None, Some("refuses the keys")),
                (401, None, Some("refuses the keys")),
                (403, None, Some("refuses the keys")),
                (429, None, Some("status 429")),
                (503, None, Some("status 503")),
            ],
        );
        let said = token(&Said { status: 200, body: Some(json!({"access_token": "t", "expires_in": 18_000})) });
        assert_eq!(said, Ok(("t".to_owned(), "granted for 300 minutes".to_owned())));
    }

    #[test]
    fn a_batch_of_nothing_is_well_when_m3ter_itself_refuses_it() {
        let message = Some(json!({"message": "m"}));
        check(
            ingest,
            &[
                (400, message.clone(), None),
                (422, message.clone(), None),
                (200, Some(json!({"result": "accepted"})), None),
                (400, None, Some("is not m3ter")),
                (200, None, Some("is not m3ter")),
                (301, None, Some("is not m3ter")),
                (401, message.clone(), Some("does not let these keys submit")),
                (403, message.clone(), Some("does not let these keys submit")),
                (404, message, Some("does not know this organisation")),
                (502, None, Some("status 502")),
            ],
        );
    }

    #[test]
    fn what_ingest_watch_reads_must_be_lists() {
        let judge = |said: &Said| read(said, "events");
        check(
            judge,
            &[
                (200, Some(json!({"data": []})), None),
                (200, Some(json!([])), Some("is not m3ter")),
                (403, None, Some("does not let these keys read events")),
                (404, None, Some("does not let these keys read events")),
                (500, None, Some("status 500")),
            ],
        );
    }
}
