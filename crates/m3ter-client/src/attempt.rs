//! The one loop that makes attempts.
//!
//! A first attempt is made while half of its time is left, since most answers come at once; another one only if a whole
//! attempt still fits, since it follows a sign that answers do not. No attempt outlasts the time kept to settle.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use relay_core::backoff;
use relay_core::judge::{Answer, Sent, Turndown, Verdict, judge};
use tokio::time::{sleep_until, timeout_at};

use crate::rate::Rate;
use crate::session::{Session, Submitted, Tried, Undecided};
use crate::token::NoToken;
use crate::transport::{AnswerBytesMax, NoAnswer};

/// What is asked of m3ter.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) body: Bytes,
    pub(crate) rate: &'a Rate,
    /// Whether it goes out with the token. A signed link does not: its host is not m3ter's.
    pub(crate) with_token: bool,
    /// The longest answer, if not of the usual length.
    pub(crate) answer_bytes_max: Option<AnswerBytesMax>,
    /// What an answer means.
    pub(crate) judge: fn(Answer<'_>, Sent) -> Verdict,
}

/// How the attempts at a call ended.
pub(crate) enum Ended {
    /// m3ter did it.
    Accepted {
        answer: Bytes,
        generation: u64,
    },
    Refused {
        turndown: Turndown,
        generation: u64,
    },
    Undecided(Undecided),
}

/// What comes after an attempt.
enum Next {
    End(Ended),
    /// Again, with a token other than this.
    Renewed(u64),
    /// Again, not before what m3ter asked for; should there be no time, this is how it stands.
    Again {
        told: Option<Duration>,
        standing: Undecided,
    },
}

/// What the attempts at one call came to.
#[derive(Default)]
pub(crate) struct Trail {
    attempts: u32,
    first_at_ms: Option<i64>,
    maybe_taken: bool,
}

impl Session<'_> {
    /// Submits one batch, its body as [`relay_core::pack::Batch::encode`] makes it. Comes back before the time kept to settle.
    pub async fn submit(&self, body: Bytes) -> Tried {
        let mut trail = Trail::default();
        let call = Call {
            method: Method::POST,
            url: &self.client.submit_url,
            body,
            rate: &self.client.rate,
            with_token: true,
            answer_bytes_max: None,
            judge,
        };
        let submitted = match self.attempts(&call, &mut trail).await {
            Ended::Accepted { generation, .. } => {
                self.client.note_acceptance(generation, self.clock.now_ms());
                Submitted::Accepted
            }
            Ended::Refused { turndown, generation } => Submitted::Refused { turndown, generation },
            Ended::Undecided(undecided) => Submitted::Undecided(undecided),
        };
        if submitted == Submitted::Undecided(Undecided::GiveUp) {
            self.counts.borrow_mut().give_ups += 1;
        }
        let Trail { attempts, first_at_ms, maybe_taken } = trail;
        Tried { submitted, attempts, first_at_ms, maybe_taken }
    }

    /// Makes attempts at `call` until it is decided, or time is up.
    pub(crate) async fn attempts(&self, call: &Call<'_>, trail: &mut Trail) -> Ended {
        let (mut attempt, mut refused) = (1_u32, None);
        loop {
            let (told, standing) = match self.attempt(call, refused, attempt, trail).await {
                Next::End(ended) => return ended,
                Next::Renewed(generation) => {
                    refused = Some(generation);
                    continue;
                }
                Next::Again { told, standing } => (told, standing),
            };
            let at = self.clock.instant() + backoff::before_attempt(attempt, told, self.uniform());
            if at + self.budget.attempt > self.budget.submit_until {
                return Ended::Undecided(standing);
            }
            #[expect(clippy::disallowed_methods, reason = "the attempt loop")]
            sleep_until(at).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, call: &Call<'_>, refused: Option<u64>, attempt: u32, trail: &mut Trail) -> Next {
        let later = |standing| Next::End(Ended::Undecided(standing));
        let token = match call.with_token {
            false => None,
            true => match timeout_at(self.budget.submit_until, self.token(refused)).await {
                Ok(Ok(token)) => Some(token),
                Ok(Err(NoToken::Retry)) => return Next::Again { told: None, standing: Undecided::Later },
                Ok(Err(NoToken::Undecided(undecided))) => return later(undecided),
                Err(_) => return later(Undecided::Later),
            },
        };
        let least = if attempt == 1 { self.least_attempt() } else { self.budget.attempt };
        let Some(latest) = self.budget.submit_until.checked_sub(least) else { return later(Undecided::Later) };
        let Some(slot) = call.rate.take(self.clock.instant(), latest) else { return later(Undecided::Later) };
        // The timer counts in milliseconds: a sleep until now lasts until the next one.
        if slot > self.clock.instant() {
            #[expect(clippy::disallowed_methods, reason = "the attempt loop")]
            sleep_until(slot).await;
        }
        let generation = token.as_ref().map_or(0, |token| token.generation);
        let token_is_fresh = token.is_none() || generation == self.fresh_generation.get();
        trail.attempts += 1;
        trail.first_at_ms.get_or_insert(self.clock.now_ms());
        match self.exchange(call, token.map(|token| token.header)).await {
            Ok(answer) => {
                let sent = Sent { bytes: call.body.len(), token_is_fresh };
                let retry_after = retry_after(answer.headers());
                let verdict = (call.judge)(Answer { status: answer.status().as_u16(), body: answer.body(), retry_after }, sent);
                trail.maybe_taken |= maybe_taken(&verdict, answer.status());
                self.next(verdict, answer, generation)
            }
            Err(no_answer) => {
                trail.maybe_taken |= no_answer != NoAnswer::NoConnection;
                self.counts.borrow_mut().unknown_answers += 1;
                Next::Again { told: None, standing: Undecided::Unknown }
            }
        }
    }

    async fn exchange(&self, call: &Call<'_>, token: Option<HeaderValue>) -> Result<Response<Bytes>, NoAnswer> {
        let mut request = Request::builder().method(&call.method).uri(call.url);
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(traceparent) = self.traceparent.as_ref().filter(|_| token.is_some()) {
            request = request.header("traceparent", traceparent);
        }
        let mut request = request.body(call.body.clone()).map_err(|_| NoAnswer::NoConnection)?;
        token.and_then(|token| request.headers_mut().insert(AUTHORIZATION, token));
        call.answer_bytes_max.and_then(|most| request.extensions_mut().insert(most));
        let sent_at = self.clock.instant();
        self.counts.borrow_mut().attempts += 1;
        let until = self.budget.submit_until.min(sent_at + self.budget.attempt);
        let answer = timeout_at(until, self.client.transport.send(request)).await.map_err(|_| NoAnswer::TimedOut)??;
        let latency = self.clock.instant().duration_since(sent_at);
        self.counts.borrow_mut().latencies_ms.push(u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
        Ok(answer)
    }

    fn next(&self, verdict: Verdict, answer: Response<Bytes>, generation: u64) -> Next {
        match verdict {
            Verdict::Accepted => Next::End(Ended::Accepted { answer: answer.into_body(), generation }),
            Verdict::Renew => Next::Renewed(generation),
            Verdict::Refused(turndown) => Next::End(Ended::Refused { turndown, generation }),
            Verdict::GiveUp => Next::End(Ended::Undecided(Undecided::GiveUp)),
            Verdict::Unknown => {
                self.counts.borrow_mut().unknown_answers += 1;
                Next::End(Ended::Undecided(Undecided::Unknown))
            }
            Verdict::Retry { after } if answer.status() == StatusCode::TOO_MANY_REQUESTS => {
                self.counts.borrow_mut().throttled += 1;
                Next::Again { told: after, standing: Undecided::Later }
            }
            Verdict::Retry { after } => {
                self.counts.borrow_mut().server_faults += 1;
                Next::Again { told: after, standing: Undecided::Unknown }
            }
        }
    }
}

/// Whether m3ter may have taken a batch that was answered so: a gateway may fail after m3ter did its part, and an answer that
/// is not m3ter's own says nothing.
fn maybe_taken(verdict: &Verdict, status: StatusCode) -> bool {
    match verdict {
        Verdict::Unknown => true,
        Verdict::Retry { .. } => status != StatusCode::TOO_MANY_REQUESTS,
        Verdict::Accepted | Verdict::Renew | Verdict::Refused(_) | Verdict::GiveUp => false,
    }
}

/// `Retry-After` in seconds. The form with a date is not taken: it would need m3ter's clock.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
