//! The laws of files. What a file holds is held to the same laws as what goes over the queue, in `end`; here is what files have of
//! their own, each under the number of the law that it is part of.
//!
//! - 1: A file that was read to its end is sent, row by row, or kept. One that is turned down is not sent at all.
//! - 2: Nothing leaves that m3ter may have forgotten: no row whose first send may have been 34 days ago.
//! - 4: What is kept names its line in the file.
//! - 7: An upload ends once faults have, and leaves nothing behind but its journal.
//! - 9: The journal names the job before its file leaves; at the end rows read are rows sent, copies and rows kept; each row is kept
//!   once.
//! - 11: What leaves stands in the ledger as unknown before it does, and as accepted only when m3ter has processed it.

use std::collections::{BTreeMap, BTreeSet};

use m3ter_sandbox::{JobStatus, LedgerQuery};
use object_store::path::Path;
use relay_store::quarantine_id;
use serde_json::Value;
use serde_json::value::RawValue;
use upload::journal::{PartState, State};
use upload::report::Report;
use upload::run::Ended;

use crate::books::{Books, uid};
use crate::fault::Fault;
use crate::filed::{AGE_MAX_MS, Filed};
use crate::made::Expect;
use crate::plan::Ledger;
use crate::shelf::FOLDER;
use crate::world::World;

/// From here on are places of rows that were good when the file was read, and are not any more.
const PLACES: usize = 1 << 32;
/// From the look at the window until the file has left: two puts and a question, and clocks that are four minutes wrong.
const LEAVING_MS: i64 = 10 * 60_000;

/// Whether the journal's last step says that all of the file was read, or that nothing of it is sent.
pub(crate) fn is_prepared(journal: &str) -> bool {
    let state: Value = serde_json::from_str(journal).unwrap_or_default();
    state["prepared"] == true || !state["fault"].is_null()
}

/// An object is about to be stored. The step that ends the reading is written when nobody reads any more: time may pass again.
pub(crate) fn goes_on(world: &World, name: &str, object: &[u8]) {
    if name.contains("/step-") && is_prepared(&String::from_utf8_lossy(object)) {
        world.uploading().is_reading = false;
    }
}

/// An object was stored.
pub(crate) fn stored(world: &World, name: &str, object: &[u8]) {
    if name.starts_with(FOLDER) {
        world.uploading().journal = String::from_utf8_lossy(object).into_owned();
    }
    if name.contains("ledger/")
        && let Err(what) = is_processed(world, object)
    {
        world.nature.broke(11, what);
    }
}

/// Law 11: whatever is called accepted was in a file that m3ter has processed.
fn is_processed(world: &World, object: &[u8]) -> Result<(), String> {
    let lines = zstd::stream::decode_all(object).map_err(|fault| fault.to_string())?;
    let ledger = world.sandbox.ledger_of(&LedgerQuery { requests: true, measurements: false, uid: None });
    let succeeded: BTreeSet<&str> = ledger
        .uploads
        .iter()
        .filter(|upload| upload.job.status == JobStatus::Succeeded)
        .map(|upload| upload.job.id.as_str())
        .collect();
    let uploading = world.uploading();
    let processed: BTreeSet<&str> = uploading
        .taken
        .iter()
        .filter(|(job, _)| succeeded.contains(job.as_str()))
        .flat_map(|(_, uids)| uids.iter().map(String::as_str))
        .collect();
    for line in String::from_utf8_lossy(&lines).lines() {
        let line: Value = serde_json::from_str(line).map_err(|fault| fault.to_string())?;
        let uid = line["uid"].as_str().unwrap_or_default();
        if line["answer"] == "accepted" && !processed.contains(uid) {
            return Err(format!("the ledger says accepted of what m3ter has not processed: {line}"));
        }
    }
    Ok(())
}

/// The measurements of a part.
fn rows(body: &[u8]) -> Result<Vec<&RawValue>, String> {
    serde_json::from_slice(body).map_err(|fault| format!("a part that is no array: {fault}"))
}

/// A part leaves for the job `job`.
pub(crate) fn leaves(world: &World, job: &str, body: &[u8]) {
    let Some(file) = &world.goods.file else { return };
    let (is_named, is_down) = {
        let uploading = world.uploading();
        let state: Value = serde_json::from_str(&uploading.journal).unwrap_or_default();
        (uploading.journal.contains(job), !state["fault"].is_null())
    };
    if !is_named {
        world.nature.broke(9, format!("a part leaves for job {job}, which the journal does not name"));
    }
    if is_down {
        world.nature.broke(1, "a part leaves of a file that was turned down".into());
    }
    if let Err((law, what)) = may_leave(world, file, body) {
        world.nature.broke(law, what);
    }
}

fn may_leave(world: &World, file: &Filed, body: &[u8]) -> Result<(), (u8, String)> {
    let (nature, mut seen) = (&world.nature, BTreeSet::new());
    for row in rows(body).map_err(|what| (3, what))? {
        let uid = uid(row.get()).unwrap_or_default();
        if !file
            .rows
            .iter()
            .any(|item| world.goods.made[*item].is(row.get()) && world.goods.made[*item].uid.as_ref() == Some(&uid))
        {
            return Err((3, format!("what leaves stands nowhere in the file: {row}")));
        }
        let value: Value = serde_json::from_str(row.get()).unwrap();
        let ts: jiff::Timestamp = value["ts"].as_str().unwrap().parse().unwrap();
        let too_old = nature.now_ms() - ts.as_millisecond() > AGE_MAX_MS + LEAVING_MS;
        if too_old && file.options.first_sent == upload::options::Declared::Unknown {
            return Err((2, format!("what m3ter may have forgotten leaves: {row}")));
        }
        let is_required = matches!(nature.plan.ledger, Ledger::Full | Ledger::Uids);
        let batch = format!("upload-{}-", file.upload);
        let books = world.books();
        let mut lines = books.told.of_uid(&uid).iter();
        if is_required && !lines.any(|line| line.answer == "unknown" && line.batch.starts_with(&batch)) {
            return Err((11, format!("it leaves, and the ledger does not know: {row}")));
        }
        if !seen.insert(uid) {
            return Err((2, format!("it leaves twice in one part: {row}")));
        }
    }
    Ok(())
}

/// m3ter took the file of a job.
pub(crate) fn arrived(world: &World, job: &str, body: &[u8]) {
    let uids = rows(body).unwrap_or_default().into_iter().filter_map(|row| uid(row.get())).collect();
    world.uploading().taken.push((job.to_owned(), uids));
}

/// Law 10.
pub(crate) fn says(world: &World, words: &str) {
    if words.contains("canary") {
        world.nature.broke(10, format!("what the upload says holds data: {words}"));
    }
}

/// What a run said at its end.
pub(crate) fn reports(world: &World, file: &Filed, ended: Ended, state: &State) {
    let report = Report::of(file.upload, file.name, ended, state);
    says(world, &String::from_utf8_lossy(&report.text()));
    if ended == Ended::Done
        && let Err(what) = accounts(file, state)
    {
        world.nature.broke(9, format!("{what}: {state:?}"));
    }
}

/// Law 9.
fn accounts(file: &Filed, state: &State) -> Result<(), &'static str> {
    let sent: u64 = state.parts.iter().map(|part| part.rows).sum();
    let kept: u64 = state.quarantined.values().map(|reason| reason.rows).sum();
    let checks = [
        (state.rows.read == file.rows.len() as u64, "rows read"),
        (state.rows.read == sent + state.rows.copies + kept, "rows read are not rows sent, copies and rows kept"),
        (state.parts.iter().all(|part| part.state == PartState::Done), "a part that is not done"),
        (state.parts.iter().all(|part| part.bytes <= file.options.part_bytes_max || part.rows == 1), "a part that is too large"),
    ];
    checks.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, what)| Err(what))
}

/// Puts what is kept of rows that were good at first under their places in the file. Law 9: each row is kept once.
pub(crate) fn in_their_places(world: &World, stored: &mut Books) -> Result<(), String> {
    let Some(file) = &world.goods.file else { return Ok(()) };
    let id = file.upload.to_string();
    let later: Vec<_> = stored.kept.extract_if(.., |(message, position), _| *message == id && *position >= PLACES).collect();
    for entry in later.into_iter().flat_map(|(_, entries)| entries) {
        let place = file.rows.iter().position(|item| {
            let made = &world.goods.made[*item];
            made.uid == entry.uid && made.is(entry.text())
        });
        let place = place.ok_or_else(|| format!("{entry:?} stands nowhere in the file"))?;
        stored.kept.entry((id.clone(), place)).or_default().push(entry);
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for ((_, place), entries) in stored.kept.iter().filter(|((message, _), _)| *message == id) {
        let qids: BTreeSet<&str> = entries.iter().map(|entry| entry.qid.as_str()).collect();
        // A clock that is wrong may find it too old, and another one not yet.
        let may_be_twice = world.nature.plan.has(Fault::ClockSkew);
        if qids.len() > 1 && !may_be_twice {
            return Err(format!("row {place} is kept {} times: {entries:?}", qids.len()));
        }
        if let Some(other) = qids.into_iter().find_map(|qid| places.insert(qid, *place)) {
            return Err(format!("rows {other} and {place} are kept as one: {entries:?}"));
        }
    }
    Ok(())
}

/// What is left when the world is over.
pub(crate) fn is_over(world: &World, stored: &Books, objects: &[Path]) -> Result<(), (u8, String)> {
    let Some(file) = &world.goods.file else { return Ok(()) };
    let uploading = world.uploading();
    let Some(state) = &uploading.ended else {
        return Err((7, format!("the upload has not ended after {:?}: {}", world.age(), uploading.journal)));
    };
    if state.fault.is_some() && !uploading.taken.is_empty() {
        return Err((1, format!("something was sent of a file that was turned down: {:?}", state.fault)));
    }
    let is_step = |path: &&Path| path.filename().is_some_and(|name| name.starts_with("step-"));
    let left = objects.iter().filter(|path| path.as_ref().starts_with(FOLDER)).find(|path| !is_step(path));
    if let Some(left) = left.filter(|_| !uploading.is_left_over) {
        return Err((7, format!("{left} is left over")));
    }
    let id = file.upload.to_string();
    for ((_, place), entries) in stored.kept.iter().filter(|((message, _), _)| *message == id) {
        let line = format!("line {}: ", place + 1);
        let first = quarantine_id(file.name, &id, *place).to_string();
        for entry in entries {
            let is_named = entry.detail.starts_with(&line) && entry.qid == first;
            let is_later = entry.position >= PLACES && entry.reason == "OutsideWindow";
            if !is_named && !is_later || entry.source_arn != file.name || entry.detail.is_empty() {
                return Err((4, format!("line {} is kept as {entry:?}", place + 1)));
            }
            world.nature.sometimes(if is_later { "upload: sifted again" } else { "upload: a bad row" });
        }
    }
    let aging = file.rows.iter().filter(|item| world.goods.made[**item].expect == Expect::Aging).count();
    (0..aging).for_each(|_| world.nature.sometimes("upload: a row as old as may be"));
    Ok(())
}
