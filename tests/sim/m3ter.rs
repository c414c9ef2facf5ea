//! The way to m3ter and back: the sandbox's router behind a network, proxies and hosts that fail.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use m3ter_client::{NoAnswer, Transport};
use m3ter_sandbox::{Abort, Sandbox};
use tower::ServiceExt;

use crate::books::Asked;
use crate::fault::Fault;
use crate::world::World;

/// m3ter itself, in process.
pub(crate) type Router = Box<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// The sandbox's routes.
pub(crate) fn router(sandbox: &Sandbox) -> Router {
    let router = sandbox.router();
    Box::new(move |request| {
        let router = router.clone();
        Box::pin(async move {
            let answer = router.oneshot(request.map(Full::new)).await.unwrap_or_else(|never| match never {});
            assert!(answer.extensions().get::<Abort>().is_none(), "the sandbox's own faults are not used");
            let (parts, body) = answer.into_parts();
            Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
        })
    })
}

/// What another host than m3ter does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Nothing listens.
    Nobody,
    /// It answers with this status.
    Status(u16),
    /// It shows a page.
    Page,
}

impl Stranger {
    pub(crate) const ALL: [Stranger; 8] = [
        Stranger::Nobody,
        Stranger::Status(400),
        Stranger::Status(403),
        Stranger::Status(404),
        Stranger::Status(405),
        Stranger::Status(422),
        Stranger::Status(301),
        Stranger::Page,
    ];
}

/// One environment's way out.
pub(crate) struct Door {
    pub(crate) world: Arc<World>,
    pub(crate) environment: u32,
    /// Set when a connection died during a freeze.
    pub(crate) dead: Arc<AtomicBool>,
    /// Who answers in place of m3ter's ingest.
    pub(crate) stranger: Option<Stranger>,
}

pub(crate) type Answer = Result<Response<Bytes>, NoAnswer>;

pub(crate) fn say(status: u16, body: &'static str) -> Answer {
    Ok(Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Bytes::from_static(body.as_bytes()))
        .unwrap())
}

pub(crate) const PAGE: &str = "<!doctype html><html><body>Please wait</body></html>";

#[async_trait]
impl Transport for Door {
    async fn send(&self, request: Request<Bytes>) -> Answer {
        let nature = &self.world.nature;
        let is_batch = request.uri().path().ends_with("/measurements");
        if is_batch {
            self.look(request.body());
        }
        if nature.strikes(Fault::Panic) {
            resume_unwind(Box::new("planned"));
        }
        nature.pass(nature.between(2, 60)).await;
        if self.dead.swap(false, Ordering::Relaxed) {
            return Err(NoAnswer::Broken);
        }
        let answer = match is_batch {
            true => self.batch(request).await,
            false => self.token(request).await,
        };
        nature.pass(nature.between(0, 60)).await;
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        nature.tell(&format!("  env {} {} -> {}", self.environment, if is_batch { "batch" } else { "token" }, status));
        nature.sometimes(if is_batch { verdict(&answer) } else { "answer: of the token endpoint" });
        answer
    }
}

/// What an answer is to its reader, as docs/SEMANTICS.md has it.
fn verdict(answer: &Answer) -> &'static str {
    let Ok(answer) = answer else { return "answer: none" };
    let accepted = serde_json::from_slice::<serde_json::Value>(answer.body()).is_ok_and(|body| body["result"] == "accepted");
    match answer.status().as_u16() {
        200 if accepted => "answer: accepted",
        200..=399 => "answer: cannot be m3ter's",
        400 | 413 | 422 => "answer: refused",
        401 | 403 => "answer: for credentials or size",
        408 | 409 | 429 | 500..=599 => "answer: try again",
        _ => "answer: our own fault",
    }
}

impl Door {
    /// Law 5 and the storm part of law 9, at the moment of sending.
    fn look(&self, body: &Bytes) {
        let nature = &self.world.nature;
        let now_ms = nature.now_ms();
        match crate::books::measurements(body) {
            Ok(measurements) if (1..=1_000).contains(&measurements.len()) && body.len() < 512_000 => {
                let count = measurements.len();
                nature.tell(&format!("  env {} sends {count} in {} bytes", self.environment, body.len()));
                if body.len() > 500_000 {
                    nature.sometimes("request: closed by bytes");
                }
                if count == 1_000 {
                    nature.sometimes("request: closed by count");
                }
            }
            Ok(measurements) => {
                nature.broke(5, format!("a request of {} measurements in {} bytes", measurements.len(), body.len()))
            }
            Err(fault) => nature.broke(5, format!("a request body that is not readable: {fault}")),
        }
        let mut books = self.world.books();
        books.asked.push(Asked { at_ms: now_ms, environment: self.environment });
        let warned = books.warned.get(&self.environment).is_some_and(|since_ms| {
            let down = |window: &crate::plan::Window| {
                window.fault == Fault::StoreDown
                    && (window.from_ms..window.to_ms).contains(&now_ms)
                    && *since_ms >= window.from_ms
            };
            nature.plan.windows.iter().any(down)
        });
        drop(books);
        if warned {
            nature.broke(9, format!("environment {} submits although it found the store down", self.environment));
        }
    }

    pub(crate) async fn token(&self, request: Request<Bytes>) -> Answer {
        let nature = &self.world.nature;
        if nature.lasts(Fault::Outage) {
            return self.outage().await;
        }
        if nature.strikes(Fault::TokenEndpoint) {
            return match nature.between(0, 7) {
                0 | 1 => say(503, "{}"),
                2 => say(429, "{}"),
                3 => Err(NoAnswer::Broken),
                4 => say(200, PAGE),
                5 => say(200, r#"{"access_token":"canary-\n","expires_in":1}"#),
                6 => say(302, ""),
                _ => pending().await,
            };
        }
        Ok((self.world.router)(request).await)
    }

    async fn batch(&self, request: Request<Bytes>) -> Answer {
        let nature = &self.world.nature;
        if let Some(stranger) = self.stranger {
            nature.struck(Fault::WrongHost);
            return match stranger {
                Stranger::Nobody => Err(NoAnswer::NoConnection),
                Stranger::Status(status) => say(status, r#"{"message":"canary: who are you?"}"#),
                Stranger::Page => say(200, PAGE),
            };
        }
        if nature.lasts(Fault::Outage) {
            return self.outage().await;
        }
        if let Some(answer) = self.in_place_of_m3ter(&request) {
            return answer;
        }
        if nature.strikes(Fault::LateArrival) {
            let at_ms = nature.now_ms() + nature.between(31_000, 15 * 60_000);
            self.world.outside().late.push((at_ms, request));
            self.world.moved.notify_waiters();
            return pending().await;
        }
        let answer = self.world.submit(request).await;
        match answer.status().as_u16() {
            200 => self.spoilt(answer).await,
            400 => {
                nature.struck(Fault::RefusedMeasurement);
                Ok(answer)
            }
            403 => {
                nature.struck(Fault::TokenExpiry);
                Ok(answer)
            }
            _ => Ok(answer),
        }
    }

    pub(crate) async fn outage(&self) -> Answer {
        let nature = &self.world.nature;
        match nature.plan.seed % 3 {
            0 => Err(NoAnswer::NoConnection),
            1 => say(503, "{}"),
            _ => pending().await,
        }
    }

    /// Faults before m3ter has the request. `None` where there is none.
    fn in_place_of_m3ter(&self, request: &Request<Bytes>) -> Option<Answer> {
        let nature = &self.world.nature;
        if nature.lasts(Fault::Storm) {
            let mut answer = say(429, r#"{"message":"slow down"}"#);
            if let (Ok(answer), true) = (&mut answer, nature.chance(0.5)) {
                let after = nature.one_of(&["0", "1", "5", "60", "never"]);
                answer.headers_mut().insert("retry-after", after.parse().unwrap());
            }
            return Some(answer);
        }
        if nature.lasts(Fault::NoPermission) {
            return Some(say(403, r#"{"message":"canary may not submit"}"#));
        }
        if nature.is_faulty() && nature.plan.size_max.is_some_and(|most| request.body().len() > most) {
            nature.struck(Fault::SizeProxy);
            return Some(say(403, r#"{"message":"too large for canary"}"#));
        }
        if nature.strikes(Fault::Reset) {
            return Some(Err(nature.one_of(&[NoAnswer::Broken, NoAnswer::NoConnection])));
        }
        if nature.strikes(Fault::ServerError) {
            return Some(say(nature.one_of(&[500, 502, 503, 504, 408, 409]), r#"{"result":"accepted"}"#));
        }
        if nature.strikes(Fault::OddAnswer) {
            let several = [
                (200, PAGE),
                (200, "{}"),
                (200, r#"{"result":"rejected"}"#),
                (200, r#"["accepted"]"#),
                (201, r#"{"result":"accepted"}"#),
                (202, r#"{"result":"accepted"}"#),
                (204, ""),
                (302, ""),
                (404, "{}"),
                (405, "{}"),
            ];
            let (status, body) = nature.one_of(&several);
            return Some(say(status, body));
        }
        None
    }

    /// Faults on the way back.
    async fn spoilt(&self, answer: Response<Bytes>) -> Answer {
        let nature = &self.world.nature;
        if nature.strikes(Fault::AnswerLost) {
            return match nature.chance(0.7) {
                true => Err(NoAnswer::Broken),
                false => pending().await,
            };
        }
        if nature.strikes(Fault::TakenThenError) {
            return say(nature.one_of(&[500, 502, 504]), "{}");
        }
        if nature.strikes(Fault::Truncated) {
            return match nature.chance(0.5) {
                true => Err(NoAnswer::Broken),
                false => Ok(answer.map(|body| body.slice(..body.len() / 2))),
            };
        }
        if nature.strikes(Fault::Delay) {
            nature.pass(nature.between(1_000, 40_000)).await;
        }
        Ok(answer)
    }
}
