//! The bearer token: fetched once, kept, refreshed before it expires, fetched anew when it is refused. One fetch at a time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request};
use relay_core::limits::SECRET_REREAD;
use secrecy::ExposeSecret;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::secrets::{Credentials, SecretsError};
use crate::session::{Session, Undecided};
use crate::transport::NoAnswer;

/// Most time before its end at which a token is renewed; a tenth of its life, if that is less.
const MARGIN_MS: i64 = 60_000;

/// Life of a token whose answer does not state one. m3ter's do.
const LIFE_UNSTATED_S: i64 = 300;

/// What is kept between invocations.
#[derive(Default)]
pub(crate) struct Tokens {
    credentials: Option<Credentials>,
    token: Option<Token>,
    generation: u64,
    reread_at: Option<Instant>,
}

/// A bearer token.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    /// Counts tokens; tells which one a refusal or an acceptance was under.
    pub(crate) generation: u64,
    renew_at_ms: i64,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<i64>,
}

/// Why there is no token now.
pub(crate) enum NoToken {
    /// It may be there in a moment.
    Retry,
    /// It will not be, in this invocation.
    Undecided(Undecided),
}

impl Session<'_> {
    /// A token, other than the one that was `refused`.
    pub(crate) async fn token(&self, refused: Option<u64>) -> Result<Token, NoToken> {
        let mut tokens = self.client.tokens.lock().await;
        if let Some(token) = &tokens.token
            && self.clock.now_ms() < token.renew_at_ms
            && refused.is_none_or(|generation| generation < token.generation)
        {
            return Ok(token.clone());
        }
        if self.credentials_refused.get() {
            return Err(NoToken::Undecided(Undecided::GiveUp));
        }
        let mut read_now = tokens.credentials.is_none();
        if read_now || (refused.is_some() && self.may_reread(&mut tokens)) {
            self.read_secret(&mut tokens).await?;
            read_now = true;
        }
        match self.fetch(&mut tokens, refused.is_some()).await {
            Err(NoToken::Undecided(Undecided::GiveUp)) if !read_now && self.may_reread(&mut tokens) => {
                self.read_secret(&mut tokens).await?;
                self.fetch(&mut tokens, refused.is_some()).await
            }
            other => other,
        }
        .inspect_err(|error| {
            if matches!(error, NoToken::Undecided(Undecided::GiveUp)) {
                self.credentials_refused.set(true);
            }
        })
    }

    /// At most once an invocation, and once a minute: a secret that is wrong must not cost a read for every batch.
    fn may_reread(&self, tokens: &mut Tokens) -> bool {
        let now = self.clock.instant();
        let allowed = !self.secret_reread.get() && tokens.reread_at.is_none_or(|last| now.duration_since(last) >= SECRET_REREAD);
        if allowed {
            self.secret_reread.set(true);
            tokens.reread_at = Some(now);
        }
        allowed
    }

    async fn read_secret(&self, tokens: &mut Tokens) -> Result<(), NoToken> {
        let failure = match timeout_at(self.budget.submit_until, self.client.secrets.read()).await {
            Ok(Ok(credentials)) => {
                tokens.credentials = Some(credentials);
                return Ok(());
            }
            Ok(Err(SecretsError::Denied | SecretsError::Malformed)) => NoToken::Undecided(Undecided::GiveUp),
            Ok(Err(SecretsError::Unreachable)) => NoToken::Retry,
            Err(_) => NoToken::Undecided(Undecided::Later),
        };
        self.counts.borrow_mut().secret_failures += 1;
        Err(failure)
    }

    async fn fetch(&self, tokens: &mut Tokens, after_refusal: bool) -> Result<Token, NoToken> {
        let Some(credentials) = &tokens.credentials else { return Err(NoToken::Retry) };
        let request = token_request(&self.client.token_url, credentials, self.traceparent.as_deref())
            .ok_or(NoToken::Undecided(Undecided::GiveUp))?;
        let until = self.budget.submit_until.min(self.clock.instant() + self.budget.attempt);
        let answer = match timeout_at(until, self.client.transport.send(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(NoAnswer::NoConnection | NoAnswer::Broken | NoAnswer::TooLong | NoAnswer::TimedOut)) | Err(_) => {
                self.counts.borrow_mut().unknown_answers += 1;
                return Err(NoToken::Retry);
            }
        };
        match answer.status().as_u16() {
            200 => {}
            408 | 429 | 500..=599 => {
                self.counts.borrow_mut().server_faults += 1;
                return Err(NoToken::Retry);
            }
            400..=499 => return Err(NoToken::Undecided(Undecided::GiveUp)),
            _ => return Err(self.no_token_in_it()),
        }
        let granted: Granted = serde_json::from_slice(answer.body()).map_err(|_| self.no_token_in_it())?;
        let bearer = format!("Bearer {}", granted.access_token);
        let mut header = HeaderValue::try_from(bearer).map_err(|_| self.no_token_in_it())?;
        header.set_sensitive(true);
        let life_ms = granted.expires_in.unwrap_or(LIFE_UNSTATED_S).saturating_mul(1_000).max(0);
        tokens.generation += 1;
        let token = Token {
            header,
            generation: tokens.generation,
            renew_at_ms: self.clock.now_ms().saturating_add(life_ms - MARGIN_MS.min(life_ms / 10)),
        };
        if after_refusal {
            self.fresh_generation.set(token.generation);
        }
        tokens.token = Some(token.clone());
        Ok(token)
    }

    /// The token endpoint answered, but not as m3ter does: a proxy, a challenge page.
    fn no_token_in_it(&self) -> NoToken {
        self.counts.borrow_mut().unknown_answers += 1;
        NoToken::Undecided(Undecided::Unknown)
    }
}

fn token_request(url: &str, credentials: &Credentials, traceparent: Option<&str>) -> Option<Request<Bytes>> {
    let pair = format!("{}:{}", credentials.access_key_id.expose_secret(), credentials.api_secret.expose_secret());
    let mut basic = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
    basic.set_sensitive(true);
    let mut request =
        Request::builder().method(Method::POST).uri(url).header(CONTENT_TYPE, "application/json").header(AUTHORIZATION, basic);
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    request.body(Bytes::from_static(br#"{"grant_type":"client_credentials"}"#)).ok()
}
