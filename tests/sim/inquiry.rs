//! The way to m3ter's events and their logs: the sandbox's lists behind a network that fails, late, repeated and shifted.
//!
//! m3ter lists events newest first, some late and some more than once, and pages may move while they are read. What is listed late here
//! follows from the event and the world alone, so that it stays hidden until its time, whoever asks.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use m3ter_client::{NoAnswer, Transport};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::fault::Fault;
use crate::m3ter::{Answer, Door, PAGE, say};
use crate::plan::rng;

/// The longest that an event is not listed.
pub(crate) const HIDDEN_MAX_MS: i64 = 6 * 3_600_000;
/// Where the sandbox's links lead, and where m3ter's would: to a host that is not its API.
const HOSTS: (&str, &str) = ("https://api.m3ter.test", "https://files.m3ter.test");
const SALT: u64 = 0x6c61_7465_6c61_7465;

/// The watching process's way out.
pub(crate) struct Inquiry {
    /// For tokens.
    pub(crate) door: Door,
    /// What the last page ended with.
    pub(crate) last: Mutex<Vec<Box<RawValue>>>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Token,
    Events,
    Link,
    Log,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    data: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// An event in a list.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    pub(crate) id: String,
    pub(crate) event_time: Timestamp,
}

#[async_trait]
impl Transport for Inquiry {
    async fn send(&self, request: Request<Bytes>) -> Answer {
        let nature = &self.door.world.nature;
        let question = match request.uri().path() {
            path if path.ends_with("/oauth/token") => Question::Token,
            path if path.ends_with("/events") => Question::Events,
            path if path.ends_with("/getDownloadUrl") => Question::Link,
            _ => Question::Log,
        };
        let has_token = request.headers().contains_key("authorization");
        if has_token == (question == Question::Log) {
            nature.broke(10, format!("{question:?}: the token goes to m3ter's API alone, and always"));
        }
        if nature.strikes(Fault::Panic) {
            resume_unwind(Box::new("planned"));
        }
        nature.pass(nature.between(2, 60)).await;
        let answer = match question {
            Question::Token => self.door.token(request).await,
            Question::Events | Question::Link | Question::Log => self.ask(question, request).await,
        };
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        nature.tell(&format!("  watch asks {question:?} -> {status}"));
        answer
    }
}

impl Inquiry {
    async fn ask(&self, question: Question, request: Request<Bytes>) -> Answer {
        let (nature, world) = (&self.door.world.nature, &self.door.world);
        if nature.lasts(Fault::Outage) {
            return self.door.outage().await;
        }
        if let Some(answer) = self.in_place_of_m3ter(question).await {
            return answer;
        }
        let answer = (world.router)(request).await;
        if answer.status().as_u16() != 200 {
            return Ok(answer);
        }
        let answer = match question {
            Question::Events => answer.map(|body| self.listed(&body)),
            Question::Link => answer.map(|body| String::from_utf8_lossy(&body).replace(HOSTS.0, HOSTS.1).into()),
            Question::Token | Question::Log => answer,
        };
        self.spoilt(question, answer).await
    }

    /// Faults before m3ter has the request. `None` where there is none.
    async fn in_place_of_m3ter(&self, question: Question) -> Option<Answer> {
        let nature = &self.door.world.nature;
        if question == Question::Log {
            if nature.strikes(Fault::LinkExpired) {
                return Some(say(403, "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"));
            }
            if nature.strikes(Fault::LogFails) {
                return Some(match nature.between(0, 5) {
                    0 => say(500, "<Error><Code>InternalError</Code></Error>"),
                    1 => say(503, "<Error><Code>SlowDown</Code></Error>"),
                    2 => say(403, "<Error><Code>AccessDenied</Code></Error>"),
                    3 => say(200, PAGE),
                    4 => Err(NoAnswer::Broken),
                    _ => pending().await,
                });
            }
            return None;
        }
        if nature.lasts(Fault::Storm) {
            return Some(say(429, r#"{"message":"slow down"}"#));
        }
        if nature.strikes(Fault::Reset) {
            return Some(Err(nature.one_of(&[NoAnswer::Broken, NoAnswer::NoConnection])));
        }
        if nature.strikes(Fault::ServerError) {
            return Some(say(nature.one_of(&[500, 502, 503, 504, 408, 409]), "{}"));
        }
        if nature.strikes(Fault::OddAnswer) {
            let several = [(200, PAGE), (200, "{}"), (200, "[]"), (201, "{}"), (204, ""), (302, ""), (405, "{}")];
            let (status, body) = nature.one_of(&several);
            return Some(say(status, body));
        }
        None
    }

    /// Faults on the way back.
    async fn spoilt(&self, question: Question, answer: Response<Bytes>) -> Answer {
        let nature = &self.door.world.nature;
        if nature.strikes(Fault::AnswerLost) {
            return match nature.chance(0.7) {
                true => Err(NoAnswer::Broken),
                false => pending().await,
            };
        }
        if nature.strikes(Fault::Truncated) {
            return match question == Question::Log && nature.chance(0.5) {
                true => Err(NoAnswer::Broken),
                false => Ok(answer.map(|body| body.slice(..body.len() / 2))),
            };
        }
        if nature.strikes(Fault::Delay) {
            nature.pass(nature.between(1_000, 40_000)).await;
        }
        Ok(answer)
    }

    /// A page of events as it is listed now.
    fn listed(&self, body: &Bytes) -> Bytes {
        let nature = &self.door.world.nature;
        let mut page: Page = serde_json::from_slice(body).unwrap();
        let all = page.data.len();
        page.data.retain(|event| !self.is_hidden(event));
        if page.data.len() < all {
            nature.struck(Fault::ListedLate);
        }
        let mut last = self.last.lock().unwrap();
        let before = std::mem::take(&mut *last);
        *last = page.data.iter().rev().take(5).rev().cloned().collect();
        if !page.data.is_empty() && nature.strikes(Fault::ListedTwice) {
            for _ in 0..nature.between(1, 3) {
                let place = |length: usize| usize::try_from(nature.between(0, length as i64 - 1)).unwrap();
                let again = page.data[place(page.data.len())].clone();
                page.data.insert(place(page.data.len() + 1), again);
            }
        }
        if !page.data.is_empty() && nature.strikes(Fault::PagesShift) {
            // What was added moves events to the next page; what was taken out, to the one that was read already.
            match nature.chance(0.5) {
                true => drop(page.data.splice(..0, before)),
                false => drop(page.data.drain(..page.data.len().min(5))),
            }
        }
        serde_json::to_vec(&page).unwrap().into()
    }

    fn is_hidden(&self, event: &RawValue) -> bool {
        let nature = &self.door.world.nature;
        let rate = nature.plan.rate(Fault::ListedLate);
        if rate == 0.0 {
            return false;
        }
        let event: Listed = serde_json::from_str(event.get()).unwrap();
        let at_ms = event.event_time.as_millisecond();
        let number =
            event.id.bytes().fold(nature.plan.seed ^ SALT, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let mut rng = rng(number);
        let is_late = rng.f64() < rate && at_ms < nature.plan.faults_end_ms;
        is_late && nature.now_ms() < at_ms + rng.i64(60_000..=HIDDEN_MAX_MS)
    }
}
