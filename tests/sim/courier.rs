//! The way of a file to m3ter: its API for URLs and jobs, and the place where files are put, behind a network that fails.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use m3ter_client::{NoAnswer, Transport};
use m3ter_sandbox::{Fault as Scripted, FaultRule, Route};

use crate::by_file;
use crate::fault::Fault;
use crate::m3ter::{Answer, Door, PAGE, say};
use crate::mortal::Life;
use crate::world::World;

/// The longest that a file may be on its way before it is m3ter's: longer than its URL lives.
const ON_ITS_WAY_MAX_MS: i64 = 100_000;

/// One run's way out.
pub(crate) struct Courier {
    /// For tokens.
    pub(crate) door: Door,
    pub(crate) life: Arc<Life>,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Token,
    Url,
    Job,
    File,
}

/// Whether a request is a file that is put.
pub(crate) fn is_file(request: &Request<Bytes>) -> bool {
    request.method() == Method::PUT && request.uri().path().starts_with("/uploads/")
}

/// A file comes to where m3ter keeps files.
pub(crate) async fn arrive(world: &World, request: Request<Bytes>) -> Response<Bytes> {
    let (path, body) = (request.uri().path().to_owned(), request.body().clone());
    let answer = (world.router)(request).await;
    world.nature.tell(&format!("  {} bytes arrive at {path} -> {}", body.len(), answer.status()));
    match answer.status().as_u16() {
        200 => by_file::arrived(world, path.rsplit('/').next().unwrap_or_default(), &body),
        403 => world.nature.sometimes("upload: the URL was expired"),
        _ => {}
    }
    answer
}

#[async_trait]
impl Transport for Courier {
    async fn send(&self, request: Request<Bytes>) -> Answer {
        let question = match request.uri().path() {
            path if path.ends_with("/oauth/token") => Question::Token,
            path if path.ends_with("/generateUploadUrl") => Question::Url,
            _ if is_file(&request) => Question::File,
            _ => Question::Job,
        };
        let has_token = request.headers().contains_key("authorization");
        if has_token == (question == Question::File) {
            self.door.world.nature.broke(10, format!("{question:?}: the token goes to m3ter's API alone, and always"));
        }
        self.life.around(self.carry(question, request)).await
    }
}

impl Courier {
    async fn carry(&self, question: Question, request: Request<Bytes>) -> Answer {
        let nature = &self.door.world.nature;
        if nature.strikes(Fault::Panic) {
            resume_unwind(Box::new("planned"));
        }
        nature.pass(nature.between(2, 60)).await;
        let answer = match question {
            Question::Token => self.door.token(request).await,
            Question::Url | Question::Job => self.ask(request).await,
            Question::File => self.put(request).await,
        };
        let status = answer.as_ref().map_or(0, |answer| answer.status().as_u16());
        nature.tell(&format!("  upload {question:?} -> {status}"));
        answer
    }

    async fn ask(&self, request: Request<Bytes>) -> Answer {
        let nature = &self.door.world.nature;
        if nature.lasts(Fault::Outage) {
            return self.door.outage().await;
        }
        if nature.lasts(Fault::Storm) {
            return say(429, r#"{"message":"slow down"}"#);
        }
        if nature.lasts(Fault::NoPermission) {
            return say(403, r#"{"message":"canary may not upload"}"#);
        }
        if nature.strikes(Fault::Reset) {
            return Err(nature.one_of(&[NoAnswer::Broken, NoAnswer::NoConnection]));
        }
        if nature.strikes(Fault::ServerError) {
            return say(nature.one_of(&[500, 502, 503, 504, 408, 409]), "{}");
        }
        if nature.strikes(Fault::OddAnswer) {
            let several = [(200, PAGE), (200, "{}"), (200, "[]"), (201, "{}"), (204, ""), (302, ""), (405, "{}")];
            let (status, body) = nature.one_of(&several);
            return say(status, body);
        }
        let answer = (self.door.world.router)(request).await;
        match answer.status().as_u16() {
            200 => self.spoilt(answer).await,
            _ => Ok(answer),
        }
    }

    async fn put(&self, request: Request<Bytes>) -> Answer {
        let (nature, world) = (&self.door.world.nature, &self.door.world);
        by_file::leaves(world, request.uri().path().rsplit('/').next().unwrap_or_default(), request.body());
        if nature.lasts(Fault::Outage) {
            return self.door.outage().await;
        }
        if nature.strikes(Fault::Reset) {
            return Err(nature.one_of(&[NoAnswer::Broken, NoAnswer::NoConnection]));
        }
        if nature.strikes(Fault::ServerError) {
            return say(nature.one_of(&[500, 503]), "<Error><Code>SlowDown</Code></Error>");
        }
        if nature.strikes(Fault::OddAnswer) {
            let (status, body) = nature.one_of(&[(200, PAGE), (403, PAGE), (302, ""), (400, "<Error/>"), (404, PAGE)]);
            return say(status, body);
        }
        if nature.strikes(Fault::LateArrival) {
            let at_ms = nature.now_ms() + nature.between(1_000, ON_ITS_WAY_MAX_MS);
            world.outside().late.push((at_ms, request));
            world.moved.notify_waiters();
            return if nature.chance(0.5) { Err(NoAnswer::Broken) } else { pending().await };
        }
        if nature.strikes(Fault::Delay) {
            nature.pass(nature.between(1_000, ON_ITS_WAY_MAX_MS)).await;
        }
        self.spoil();
        let answer = arrive(world, request).await;
        match answer.status().as_u16() {
            200 => self.spoilt(answer).await,
            _ => Ok(answer),
        }
    }

    /// Has m3ter not process what comes next, sometimes.
    fn spoil(&self) {
        let (nature, world) = (&self.door.world.nature, &self.door.world);
        let spoils = world.goods.file.as_ref().map_or(0.0, |file| file.spoils);
        if nature.is_faulty() && nature.chance(spoils) {
            let (fault, what) = if nature.chance(0.5) {
                (Scripted::CutUpload, "upload: cut")
            } else {
                (Scripted::FailJob, "upload: failed half-way")
            };
            nature.sometimes(what);
            nature.tell(what);
            world.sandbox.add_fault(FaultRule::new(fault).on(Route::Upload).times(1));
        }
    }

    /// Faults on the way back.
    async fn spoilt(&self, answer: Response<Bytes>) -> Answer {
        let nature = &self.door.world.nature;
        if nature.strikes(Fault::AnswerLost) {
            return if nature.chance(0.7) { Err(NoAnswer::Broken) } else { pending().await };
        }
        if nature.strikes(Fault::TakenThenError) {
            return say(nature.one_of(&[500, 502, 504]), "{}");
        }
        if nature.strikes(Fault::Truncated) {
            return if nature.chance(0.5) { Err(NoAnswer::Broken) } else { Ok(answer.map(|body| body.slice(..body.len() / 2))) };
        }
        if nature.strikes(Fault::Delay) {
            nature.pass(nature.between(1_000, 40_000)).await;
        }
        Ok(answer)
    }
}
