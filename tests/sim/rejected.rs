//! Law 12: whatever m3ter rejected after it had accepted it is in the quarantine with m3ter's reason, exactly once, and nothing else is.
//!
//! What m3ter rejected is read from the sandbox's books, what is kept from the stored objects, by readers of the simulation's own. A
//! copy that m3ter dropped is another matter, since m3ter does not say of what. Of these the law says:
//!
//! - It is no rejection if m3ter ingested that very content, or rejected that too.
//! - A second content under a uid is there as `UidConflict`, as soon as the ledger shows both when m3ter drops it; unless the
//!   ledger says that it was there first, by more than half an hour: requests that are late and clocks that are wrong change
//!   the order of two that are closer, and then each of them that is dropped is kept.
//! - `DuplicateOfUnknown` is what no second send of that content explains, in what the ledger then held.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;
use bytes::Bytes;
use http::Request;
use m3ter_sandbox::{Ledger, MeasurementLine, State};
use relay_core::canonical::{canonical, content_uid};
use serde::Deserialize;
use serde_json::Value;

use crate::books::{Books, Entry};
use crate::plan;
use crate::seams::pair;
use crate::told::Line;
use crate::world::World;

/// Two sends that are further apart reach m3ter in that order.
const ORDER_MS: i64 = 30 * 60_000;
/// Twice as wrong as a clock can be, and some.
const CLOCKS_MS: i64 = 10 * 60_000;
/// Reasons that are the job's own.
const CONFLICT: &str = "UidConflict";
const UNKNOWN: &str = "DuplicateOfUnknown";
const DROPPED: &str = "ReplayDropped";

/// What was done about one failure.
#[derive(Clone, Debug, Deserialize)]
struct Act {
    event: String,
    outcome: String,
    uid: Option<String>,
    qid: Option<String>,
}

/// What was done about m3ter's events, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    by_event: HashMap<String, Vec<Act>>,
}

impl Acts {
    /// Enters a stored object.
    pub(crate) fn enter(&mut self, object: &[u8]) -> Result<u64, String> {
        let lines = zstd::stream::decode_all(object).map_err(|fault| fault.to_string())?;
        let lines = String::from_utf8(lines).map_err(|fault| fault.to_string())?;
        let mut count = 0;
        for line in lines.lines() {
            let act: Act = serde_json::from_str(line).map_err(|fault| fault.to_string())?;
            self.by_event.entry(act.event.clone()).or_default().push(act);
            count += 1;
        }
        Ok(count)
    }
}

/// What became of one content of one uid at m3ter.
#[derive(Debug, Default)]
struct Fate {
    is_ingested: bool,
    rejected_as: BTreeSet<String>,
    /// When copies of it were dropped.
    dropped_at: Vec<i64>,
}

/// By uid and text.
type Fates<'l> = BTreeMap<(&'l str, &'l str), Fate>;

/// When m3ter got it: in a request, or in a file, which is processed a little later.
fn came_at_ms(ledger: &Ledger, line: &MeasurementLine) -> i64 {
    let at = match (line.request, &line.job) {
        (Some(request), _) => Some(ledger.requests[request].at),
        (None, job) => {
            ledger.uploads.iter().find(|upload| Some(&upload.job.id) == job.as_ref()).and_then(|upload| upload.job.upload_date)
        }
    };
    at.unwrap().as_millisecond()
}

fn fates(ledger: &Ledger) -> Fates<'_> {
    let mut fates = Fates::new();
    for line in ledger.measurements.iter().flatten() {
        let fate = fates.entry((line.uid.as_deref().unwrap_or_default(), line.measurement.get())).or_default();
        match line.state {
            State::Ingested => fate.is_ingested = true,
            State::Rejected => drop(fate.rejected_as.insert(line.r#type.clone().unwrap_or_default())),
            State::Duplicate => fate.dropped_at.push(came_at_ms(ledger, line)),
            State::Pending => {}
        }
    }
    fates
}

/// Law 12, when the world is over and the job has caught up.
pub(crate) async fn is_kept(world: &World, ledger: &Ledger, stored: &Books) -> Result<(), String> {
    if !world.nature.plan.is_watched {
        return Ok(());
    }
    let fates = fates(ledger);
    let mut entries: BTreeMap<(&str, &str), Vec<&Entry>> = BTreeMap::new();
    for entry in &stored.rejected {
        entries.entry((entry.uid.as_deref().unwrap_or_default(), entry.text())).or_default().push(entry);
    }
    for (&(uid, text), fate) in &fates {
        let kept = entries.get(&(uid, text)).map_or(&[] as &[_], Vec::as_slice);
        let is_there = |reason: &str| kept.iter().any(|entry| entry.reason == reason);
        let counts = fate.is_ingested || fate.rejected_as.iter().all(|reason| is_there(reason));
        if !counts {
            return Err(format!("m3ter rejected it as {:?}, and it is not kept so, but {kept:?}: {text}", fate.rejected_as));
        }
        let is_lost = !fate.is_ingested && fate.rejected_as.is_empty() && !fate.dropped_at.is_empty();
        if is_lost && fate.dropped_at.iter().any(|at_ms| is_second(stored, uid, text, at_ms - CLOCKS_MS)) && !is_there(CONFLICT) {
            return Err(format!("m3ter has another content of it, and that is not kept: {text}"));
        }
    }
    for ((uid, text), kept) in &entries {
        let qids: BTreeSet<&str> = kept.iter().map(|entry| entry.qid.as_str()).collect();
        if qids.len() > 1 {
            let sends = stored.told.of_uid(uid);
            return Err(format!("it is kept {} times, {kept:?}, after {sends:?}: {text}", qids.len()));
        }
        let Some(fate) = fates.get(&(*uid, *text)) else {
            return Err(format!("what m3ter never took is kept as rejected: {:?}", kept[0]));
        };
        for entry in kept {
            is_right(world, stored, &fates, fate, entry).map_err(|what| format!("{what}: {fate:?}, {entry:?}, {text}"))?;
            world.nature.sometimes(&format!("rejected: {}", entry.reason));
        }
    }
    every_event_was_acted_on(world, stored).await
}

/// Whether an entry says what is so.
fn is_right(world: &World, stored: &Books, fates: &Fates<'_>, fate: &Fate, entry: &Entry) -> Result<(), &'static str> {
    let uid = entry.uid.as_deref().unwrap_or_default();
    if entry.first_sent_at.is_none() || entry.detail.is_empty() || entry.source_arn != "m3ter" {
        return Err("an entry lacks what is known of it");
    }
    let is_own = [CONFLICT, UNKNOWN, DROPPED].contains(&entry.reason.as_str());
    if is_own && (fate.dropped_at.is_empty() || world.nature.plan.ledger == plan::Ledger::Off) {
        return Err("what m3ter did not drop is kept as dropped, or without a ledger to tell");
    }
    match entry.reason.as_str() {
        CONFLICT => {
            // It may have been sent and never answered: then only the ledger knows of it.
            let hash = hash(entry.text());
            let has_rival = fates.keys().any(|(other, text)| *other == uid && *text != entry.text())
                || stored.told.of_uid(uid).iter().any(|line| line.content_hash != hash);
            let is_first = is_first(stored, uid, entry.text(), (entry.quarantined_at - CLOCKS_MS, i64::MAX));
            world.nature.tell(&format!("  kept as {CONFLICT}: {:?}", stored.told.of_uid(uid)));
            if has_rival && !(fate.is_ingested && is_first) { Ok(()) } else { Err("nothing conflicts with what is kept so") }
        }
        UNKNOWN => {
            let hash = hash(entry.text());
            let seen = lines(stored, uid, entry.quarantined_at - CLOCKS_MS).filter(|line| line.content_hash == hash);
            world.nature.tell(&format!("  kept as {UNKNOWN}: {:?}", stored.told.of_uid(uid)));
            // A part of a file has two lines for one send.
            let mut sends: BTreeMap<&str, u32> = BTreeMap::new();
            for line in seen {
                let attempts = if line.receives > 1 { 2 } else { line.attempts };
                let before = sends.entry(&line.batch).or_default();
                *before = if line.batch.starts_with("upload-") { attempts.max(*before) } else { *before + attempts };
            }
            if sends.values().sum::<u32>() < 2 {
                Ok(())
            } else {
                Err("a second send explains what is kept as a duplicate of nothing")
            }
        }
        DROPPED => Err("nothing was sent again from the quarantine"),
        reason if fate.rejected_as.contains(reason) => Ok(()),
        _ => Err("m3ter did not reject it so"),
    }
}

/// Lines of a uid that were written until then.
fn lines<'b>(stored: &'b Books, uid: &str, until_ms: i64) -> impl Iterator<Item = &'b Line> {
    stored.told.of_uid(uid).iter().filter(move |line| line.written_ms <= until_ms)
}

fn hash(text: &str) -> String {
    content_uid(&canonical(text, &Bump::new()).unwrap()).to_string()
}

/// Whether the ledger, until then, shows another content of that uid, which may have been there first.
fn is_second(stored: &Books, uid: &str, text: &str, until_ms: i64) -> bool {
    let hash = hash(text);
    lines(stored, uid, until_ms).any(|line| line.content_hash != hash) && !is_first(stored, uid, text, (i64::MAX, until_ms))
}

/// Whether that content was accepted before any other could be sent: by what the ledger shows of it until the one time, and of others
/// until the other.
fn is_first(stored: &Books, uid: &str, text: &str, (until_ms, others_until_ms): (i64, i64)) -> bool {
    let hash = hash(text);
    let accepted = |line: &&Line| line.content_hash == hash && line.answer == "accepted";
    let own_ms = lines(stored, uid, until_ms).filter(accepted).map(|line| line.sent_at).min();
    // What was delivered before may have been sent before.
    let earliest_ms = |line: &Line| line.queued_at.filter(|_| line.receives > 1).unwrap_or(line.sent_at).min(line.sent_at);
    let rival_ms = lines(stored, uid, others_until_ms).filter(|line| line.content_hash != hash).map(earliest_ms).min();
    own_ms.is_some_and(|own_ms| rival_ms.is_none_or(|rival_ms| own_ms + ORDER_MS < rival_ms))
}

/// Each event that m3ter lists has its acts, one for each failure in it, and what they say is quarantined is there.
async fn every_event_was_acted_on(world: &World, stored: &Books) -> Result<(), String> {
    let kept: BTreeSet<&str> = stored.rejected.iter().map(|entry| entry.qid.as_str()).collect();
    for act in stored.acted.by_event.values().flatten() {
        world.nature.sometimes(&format!("act: {}", act.outcome));
        if act.outcome == "quarantined" && !act.qid.as_deref().is_some_and(|qid| kept.contains(qid)) {
            return Err(format!("what an act calls quarantined is not: {act:?}"));
        }
    }
    for event in events(world).await? {
        let acts = event["id"].as_str().and_then(|id| stored.acted.by_event.get(id)).map_or(&[] as &[_], Vec::as_slice);
        let data = &event["m3terEvent"]["eventData"];
        let failures = data["errors"].as_array().map_or(std::slice::from_ref(data), Vec::as_slice);
        let missing = failures.iter().find(|failure| !acts.iter().any(|act| act.uid.as_deref() == failure["uid"].as_str()));
        if let Some(missing) = missing {
            return Err(format!("nothing was done about {missing} of event {}, only {acts:?}", event["id"]));
        }
        if acts.iter().any(|act| !failures.iter().any(|failure| act.uid.as_deref() == failure["uid"].as_str())) {
            return Err(format!("something was done that event {} does not tell of: {acts:?}", event["id"]));
        }
    }
    Ok(())
}

/// All events that m3ter lists.
async fn events(world: &World) -> Result<Vec<Value>, String> {
    let (id, secret) = pair(world.outside().taken_by_m3ter);
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let grant = Bytes::from_static(br#"{"grant_type":"client_credentials"}"#);
    let token = ask(world, "POST", "oauth/token", &basic, grant).await?;
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap_or_default());
    let (mut events, mut next) = (Vec::new(), String::new());
    loop {
        // m3ter's limit is 50 a second.
        world.nature.pass(25).await;
        let question = format!("organizations/sandbox-org/events?pageSize=100&includeActioned=true{next}");
        let mut page = ask(world, "GET", &question, &bearer, Bytes::new()).await?;
        events.extend(page["data"].as_array_mut().map(std::mem::take).unwrap_or_default());
        match page["nextToken"].as_str() {
            Some(token) => next = format!("&nextToken={token}"),
            None => return Ok(events),
        }
    }
}

async fn ask(world: &World, method: &str, question: &str, authorization: &str, body: Bytes) -> Result<Value, String> {
    let request = Request::builder().method(method).uri(format!("https://api.m3ter.test/{question}"));
    let request = request.header("authorization", authorization).header("content-type", "application/json");
    let answer = (world.router)(request.body(body).unwrap()).await;
    match answer.status().as_u16() {
        200 => serde_json::from_slice(answer.body()).map_err(|fault| fault.to_string()),
        status => Err(format!("m3ter answers {status} to {question}: {}", String::from_utf8_lossy(answer.body()))),
    }
}
