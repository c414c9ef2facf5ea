//! Tokens: `POST /oauth/token`, and the check of every other request.
//!
//! Published: HTTP Basic, JSON or form, several tokens live at once, 18,000 s, 403 afterwards. Not published: the
//! answer to bad credentials (401 here, to be set), and whether a token outlives the credentials it was got with (it
//! does here, until it expires or [`Sandbox::revoke_tokens`](crate::Sandbox::revoke_tokens) is called).

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use axum::Form;
use axum::body::Body;
use axum::extract::{FromRequest, State};
use axum::response::Response;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::{Refusal, json, read};
use crate::clock::after;
use crate::options::Credentials;
use crate::sandbox::Sandbox;

/// The tokens that were given and have not expired. `Debug` shows how many, and none of them.
#[derive(Default)]
pub(crate) struct Tokens {
    live: HashMap<String, Timestamp>,
    given: u64,
    /// Makes the tokens of one sandbox unknown to every other.
    salt: RandomState,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} live)", self.live.len())
    }
}

impl Tokens {
    /// A new token, shaped like m3ter's (a JWT), valid for `lifetime_s` from `now`.
    pub(crate) fn give(&mut self, organisation: &str, now: Timestamp, lifetime_s: u64) -> String {
        self.live.retain(|_, expires| *expires > now);
        self.given += 1;
        let expires = after(now, Duration::from_secs(lifetime_s));
        let part = |text: String| BASE64_URL_SAFE_NO_PAD.encode(text);
        let claims = format!(
            r#"{{"iss":"m3ter-sandbox","orgId":"{organisation}","iat":{},"exp":{},"jti":{}}}"#,
            now.as_second(),
            expires.as_second(),
            self.given
        );
        let signature = format!("{:016x}{:016x}", self.salt.hash_one((self.given, 0)), self.salt.hash_one((self.given, 1)));
        let token = format!("{}.{}.{}", part(r#"{"typ":"JWT","alg":"none"}"#.to_owned()), part(claims), part(signature));
        self.live.insert(token.clone(), expires);
        token
    }

    /// Whether the bearer of `headers` has a token that is valid at `now`; 403 otherwise.
    pub(crate) fn check(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), Refusal> {
        let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = sent.and_then(|sent| strip_scheme(sent, "Bearer"));
        let token = token.ok_or_else(|| Refusal::forbidden("expected Authorization: Bearer with a token"))?;
        match self.live.get(token) {
            Some(expires) if *expires > now => Ok(()),
            Some(_) | None => Err(Refusal::forbidden("the token is expired or unknown")),
        }
    }

    /// Makes every token unknown.
    pub(crate) fn revoke(&mut self) {
        self.live.clear();
    }
}

/// What follows the authentication scheme, whose name has no case.
fn strip_scheme<'a>(sent: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, rest) = sent.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// Whether `headers` carry `credentials` as HTTP Basic.
fn is_basic(headers: &HeaderMap, credentials: &Credentials) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let encoded = sent.and_then(|sent| strip_scheme(sent, "Basic"));
    let decoded = encoded.and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
    decoded.and_then(|decoded| String::from_utf8(decoded).ok()).is_some_and(|pair| credentials.matches(&pair))
}

/// `POST /oauth/token`.
pub(crate) async fn token(State(sandbox): State<Sandbox>, request: Request<Body>) -> Result<Response, Refusal> {
    let headers = request.headers().clone();
    {
        let mut inner = sandbox.lock();
        inner.book.totals.token_requests += 1;
        if !is_basic(&headers, &inner.credentials) {
            let status = StatusCode::from_u16(inner.options.bad_credentials_status).unwrap_or(StatusCode::UNAUTHORIZED);
            return Err(Refusal { status, message: "bad credentials".to_owned() });
        }
    }
    let grant = grant(request).await?;
    if grant.grant_type != "client_credentials" {
        return Err(Refusal::bad("grant_type: expected client_credentials"));
    }
    let mut inner = sandbox.lock();
    let (now, lifetime_s) = (inner.clock.now(), inner.options.token_lifetime_s);
    let organisation = inner.options.organisation.clone();
    let access_token = inner.tokens.give(&organisation, now, lifetime_s);
    inner.book.totals.tokens_issued += 1;
    Ok(json(StatusCode::OK, &Given { access_token, token_type: "Bearer", expires_in: lifetime_s, scope: None }))
}

/// `BearerAccessTokenRequest`.
#[derive(Deserialize)]
struct Grant {
    grant_type: String,
}

/// `BearerAccessTokenResponse`.
#[derive(Serialize)]
struct Given {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: Option<String>,
}

/// Reads the grant as a form if the request says so, else as JSON.
async fn grant(request: Request<Body>) -> Result<Grant, Refusal> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if kind.starts_with("application/x-www-form-urlencoded") {
        let form = Form::<Grant>::from_request(request, &()).await;
        return form.map(|Form(grant)| grant).map_err(|fault| Refusal::bad(format!("body: {fault}")));
    }
    let body = Bytes::from_request(request, &()).await.map_err(|fault| Refusal::bad(fault.to_string()))?;
    read(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
    }

    #[test]
    fn several_tokens_live_at_once_and_each_until_its_own_end() {
        let mut tokens = Tokens::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = tokens.give("org", at(0), 10);
        let second = tokens.give("org", at(5), 10);
        assert_ne!(first, second);
        assert!(tokens.check(&bearer(&first), at(9)).is_ok() && tokens.check(&bearer(&second), at(9)).is_ok());
        assert!(tokens.check(&bearer(&first), at(10)).is_err() && tokens.check(&bearer(&second), at(10)).is_ok());
        tokens.revoke();
        assert!(tokens.check(&bearer(&second), at(10)).is_err());
    }

    #[test]
    fn tokens_never_show_in_debug_and_are_unknown_to_another_sandbox() {
        let mut tokens = Tokens::default();
        let token = tokens.give("org", Timestamp::UNIX_EPOCH, 10);
        assert_eq!(format!("{tokens:?}"), "Tokens(1 live)");
        let mut others = Tokens::default();
        others.give("org", Timestamp::UNIX_EPOCH, 10);
        assert!(others.check(&bearer(&token), Timestamp::UNIX_EPOCH).is_err());
    }
}
