//! The other way in: the shipped job uploads files to the sandbox, over the same store and the same m3ter as the relay.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::time::Duration;

use files::source::{Format, Source};
use futures_util::{FutureExt, TryStreamExt};
use m3ter_client::Clock;
use m3ter_sandbox::{Choices, FailedRows, Fault, FaultRule, JobStatus, Route, State};
use object_store::ObjectStore;
use object_store::path::Path;
use relay_core::guard::MissingUid;
use relay_core::limits::DAY_MS;
use relay_store::{LedgerAnswer, LedgerMode, LedgerWrite};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};
use upload::journal;
use upload::journal::PartState;
use upload::options::{Declared, Options, PART_BYTES};
use upload::run::{Ended, Means, begin, resume};
use upload::{Input, UploadError};
use uuid::Uuid;

use crate::seams::{Dying, Puts};
use crate::world::{Message, World, but, good, many};

const UPLOAD: Uuid = Uuid::from_u128(7);
/// Long enough for anything here.
const LONG: Duration = Duration::from_secs(3_000);

fn options() -> Options {
    Options { missing_uid: MissingUid::Refuse, first_sent: Declared::Unknown, strict: false, part_bytes_max: PART_BYTES }
}

fn lines(measurements: &[Value]) -> String {
    measurements.iter().map(|measurement| format!("{measurement}\n")).collect()
}

fn input(text: &str) -> Input {
    let bytes = text.len() as u64;
    Input::of(Source::of("usage.ndjson", Some(bytes), Cursor::new(text.to_owned())), Format::Auto)
}

/// What an upload in `world` needs.
fn means<'w>(world: &'w World, until: Duration, may_wait: bool) -> Means<'w> {
    Means {
        store: &world.function.relay.store,
        client: &world.function.relay.client,
        clock: Clock::starting_at(world.now_ms()),
        ledger: (LedgerMode::Full, LedgerWrite::Required),
        lookers: 1,
        may_wait,
        until: Instant::now() + until,
        rng: RefCell::new(world.rng.borrow_mut().fork()),
        show: &|_| {},
    }
}

async fn upload_with(world: &World, options: Options, text: &str) -> Result<(Ended, journal::State), UploadError> {
    begin(&means(world, LONG, true), UPLOAD, options, input(text)).await
}

async fn upload(world: &World, text: &str) -> (Ended, journal::State) {
    upload_with(world, options(), text).await.unwrap()
}

/// How often m3ter counted each uid.
fn counted(world: &World) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for line in world.ledger().measurements.unwrap().into_iter().filter(|line| line.state == State::Ingested) {
        *counted.entry(line.uid.unwrap_or_default()).or_default() += 1;
    }
    counted
}

/// What is below the journals, journals aside.
async fn parts(world: &World) -> Vec<String> {
    let below = Path::from("relay/upload-journals");
    let objects: Vec<_> = world.objects.inner.list(Some(&below)).try_collect().await.unwrap();
    let names = objects.into_iter().map(|object| object.location.filename().unwrap().to_owned());
    names.filter(|name| !name.starts_with("step-")).collect()
}

/// Uid and answer of each line of the ledger.
async fn answers(world: &World) -> BTreeSet<(String, bool)> {
    world.recorded().await.into_iter().map(|line| (line.uid, line.answer == LedgerAnswer::Accepted)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_file_is_counted_once_and_its_bad_rows_are_in_the_quarantine_with_line_and_reason() {
    let world = World::new();
    let mut rows = many("f", 3);
    rows.extend([rows[0].clone(), but(good("x"), "meter", Value::Null), but(good("f-1"), "measure", json!({"n": 2}))]);
    let (ended, state) = upload(&world, &lines(&rows)).await;
    assert_eq!(ended, Ended::Done);
    assert_eq!((state.rows.read, state.rows.good, state.rows.copies), (6, 3, 1));
    assert_eq!(counted(&world).values().collect::<Vec<_>>(), [&1, &1, &1]);
    let kept: Vec<_> = world.quarantined().await.into_iter().map(|entry| (entry.reason, entry.detail)).collect();
    let kept: BTreeMap<String, String> = kept.into_iter().collect();
    assert!(kept["MeterMissing"].starts_with("line 5: expected"), "{kept:?}");
    assert_eq!(kept["UidConflict"], "line 6: expected one content under a uid; line 2 has another under this one");
    assert_eq!(kept.len(), 2);
    let both: BTreeSet<_> =
        many("f", 3).iter().flat_map(|row| [true, false].map(|is| (row["uid"].as_str().unwrap().to_owned(), is))).collect();
    assert_eq!(answers(&world).await, both, "each was sent, and each was accepted");
    assert_eq!(parts(&world).await, Vec::<String>::new(), "m3ter has them");
}

#[tokio::test(start_paused = true)]
async fn a_file_half_of_which_was_sent_over_the_api_is_counted_once() {
    let world = World::new();
    let rows = many("f", 10);
    assert!(world.deliver(&[Message::of("m-1", &rows[..5])]).await.returned.is_empty());
    let (ended, _) = upload(&world, &lines(&rows)).await;
    assert_eq!(ended, Ended::Done);
    assert_eq!(counted(&world).values().sum::<u64>(), 10);
    assert_eq!(counted(&world).values().max(), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn a_file_is_split_into_parts_no_larger_than_was_asked_and_m3ter_takes_each() {
    let world = World::new();
    let rows = many("f", 50);
    let small = Options { part_bytes_max: 1_000, ..options() };
    let (ended, state) = upload_with(&world, small, &lines(&rows)).await.unwrap();
    assert_eq!(ended, Ended::Done);
    assert!(state.parts.len() > 5 && state.parts.iter().all(|part| part.bytes <= 1_000), "{:?}", state.parts);
    assert_eq!(state.parts.iter().map(|part| part.rows).sum::<u64>(), 50);
    assert_eq!(counted(&world).len(), 50);
    let jobs = world.ledger().uploads;
    assert!(jobs.iter().all(|job| job.job.status == JobStatus::Succeeded && job.job.content_length <= 1_000));
}

#[tokio::test(start_paused = true)]
async fn strictly_the_first_bad_row_ends_it_and_nothing_is_sent() {
    let world = World::new();
    let mut rows = many("f", 3);
    rows.insert(2, but(good("x"), "meter", Value::Null));
    let (ended, state) = upload_with(&world, Options { strict: true, ..options() }, &lines(&rows)).await.unwrap();
    let fault = state.fault.unwrap();
    assert_eq!((ended, fault.line, fault.reason.as_str()), (Ended::Failed, 3, "MeterMissing"));
    assert!(world.ledger().uploads.is_empty() && world.quarantined().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_file_that_breaks_off_is_not_sent_at_all() {
    let world = World::new();
    let text = format!("[{},\n{}", good("1"), &good("2").to_string()[..20]);
    let (ended, state) = upload(&world, &text).await;
    assert_eq!((ended, state.fault.unwrap().line), (Ended::Failed, 2));
    assert!(world.ledger().uploads.is_empty());
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_on_the_way_to_m3ters_file_store_each_row_is_counted_once() {
    let refused = [Fault::status(500), Fault::status(403), Fault::Reset, Fault::Html];
    // Of the last, half was counted before its job failed.
    let faults = refused.into_iter().chain([Fault::DropAnswer, Fault::CutUpload, Fault::FailJob]);
    for fault in faults {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(fault.clone()).on(Route::Upload).times(1));
        let (ended, state) = upload(&world, &lines(&many("f", 5))).await;
        assert_eq!(ended, Ended::Done, "{fault:?}");
        assert_eq!(counted(&world).values().collect::<Vec<_>>(), [&1; 5], "{fault:?}");
        let jobs = if fault == Fault::DropAnswer { 1 } else { 2 };
        assert_eq!(state.parts[0].jobs.len(), jobs, "{fault:?}: what was taken is not sent again, what was not is");
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_m3ter_never_processes_stays_and_is_sent_again_when_somebody_asks() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::CutUpload).on(Route::Upload).times(3));
    let (ended, state) = upload(&world, &lines(&many("f", 5))).await;
    assert_eq!((ended, state.parts[0].state), (Ended::Failed, PartState::Failed));
    assert_eq!(parts(&world).await.len(), 1, "it stays");
    assert!(counted(&world).is_empty());
    let (ended, _) = resume(&means(&world, LONG, true), UPLOAD).await.unwrap();
    assert_eq!(ended, Ended::Done);
    assert_eq!(counted(&world).values().collect::<Vec<_>>(), [&1; 5]);
}

#[tokio::test(start_paused = true)]
async fn where_m3ter_cannot_be_reached_the_run_ends_and_another_one_goes_on() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(500)).on(Route::Upload).times(3));
    let text = lines(&many("f", 5));
    assert!(matches!(upload_with(&world, options(), &text).await, Err(UploadError::Unsure)));
    assert_eq!(upload(&world, &text).await.0, Ended::Done);
    assert_eq!(counted(&world).values().collect::<Vec<_>>(), [&1; 5]);
}

/// Runs an upload as the function does: with time for little, again and again, until it is done.
async fn upload_bit_by_bit(world: &World, options: Options, text: &str) -> journal::State {
    for _ in 0..500 {
        let means = means(world, Duration::from_secs(30), false);
        match begin(&means, UPLOAD, options, input(text)).await.unwrap() {
            (Ended::Continues { after }, _) => advance(after).await,
            (ended, state) => {
                assert_eq!(ended, Ended::Done);
                return state;
            }
        }
    }
    panic!("it does not end");
}

#[tokio::test(start_paused = true)]
async fn killed_anywhere_between_invocations_that_only_read_a_little_no_row_is_taken_for_a_copy_of_itself() {
    let rows = many("f", 12);
    let text = lines(&rows);
    let mut kills = 0;
    for (call, dying) in (0..).flat_map(|call| [Dying::BeforeItsCall, Dying::AfterItsCall].map(|dying| (call, dying))) {
        let world = World::new();
        world.death.at(call, dying);
        let first = world.death.or(upload_bit_by_bit(&world, options(), &text)).await;
        let is_killed = first.is_none();
        let state = upload_bit_by_bit(&world, options(), &text).await;
        assert_eq!((state.rows.read, state.rows.good, state.rows.copies), (12, 12, 0), "{call} {dying:?}");
        let counted = counted(&world);
        assert_eq!((counted.len(), counted.values().max()), (12, Some(&1)), "{call} {dying:?}");
        assert_eq!(parts(&world).await, Vec::<String>::new(), "{call} {dying:?}");
        if !is_killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 20, "it was killed {kills} times");
}

#[tokio::test(start_paused = true)]
async fn killed_anywhere_it_goes_on_and_each_row_ends_in_one_place() {
    let mut rows = many("f", 30);
    rows.push(but(good("x"), "meter", Value::Null));
    let small = Options { part_bytes_max: 2_000, ..options() };
    let text = lines(&rows);
    let mut kills = 0;
    for (call, dying) in (0..).flat_map(|call| [Dying::BeforeItsCall, Dying::AfterItsCall].map(|dying| (call, dying))) {
        let world = World::new();
        world.death.at(call, dying);
        let first = world.death.or(upload_with(&world, small, &text)).await;
        let is_killed = first.is_none();
        let (ended, _) = upload_with(&world, small, &text).await.unwrap();
        assert_eq!(ended, Ended::Done, "{call} {dying:?}: {first:?}");
        let counted = counted(&world);
        assert_eq!((counted.len(), counted.values().max()), (30, Some(&1)), "{call} {dying:?}");
        let kept: BTreeSet<_> = world.quarantined().await.into_iter().map(|entry| entry.qid).collect();
        assert_eq!(kept.len(), 1, "{call} {dying:?}");
        assert_eq!(answers(&world).await.len(), 60, "{call} {dying:?}");
        if !is_killed {
            break;
        }
        kills += 1;
    }
    assert!(kills > 80, "it was killed {kills} times");
}

#[tokio::test(start_paused = true)]
async fn out_of_time_it_continues_where_it_was() {
    let world = World::new();
    let small = Options { part_bytes_max: 3_000, ..options() };
    // Time for the reserve alone: each run reads a row or a few.
    let state = upload_bit_by_bit(&world, small, &lines(&many("f", 200))).await;
    assert!(state.parts.len() > 2, "{} parts", state.parts.len());
    let counted = counted(&world);
    assert_eq!((counted.len(), counted.values().max()), (200, Some(&1)));
}

/// Each copy that m3ter drops of what it was sent twice is a receipt, and nothing to keep.
#[tokio::test(start_paused = true)]
async fn what_a_file_sent_twice_is_no_duplicate_of_something_unknown() {
    for fault in [Fault::FailJob, Fault::CutUpload, Fault::DropAnswer] {
        let world = World::new();
        world.sandbox.add_fault(FaultRule::new(fault.clone()).on(Route::Upload).times(1));
        upload(&world, &lines(&many("f", 6))).await;
        crate::later::round(&world).await;
        advance(Duration::from_secs(2 * 3_600)).await;
        crate::later::round(&world).await;
        assert!(world.quarantined().await.is_empty(), "{fault:?}: {:?}", world.reasons().await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_m3ter_may_have_forgotten_is_not_sent_but_quarantined() {
    let world = World::new();
    let old = |uid: &str| but(good(uid), "ts", json!("2026-04-01T00:00:00Z"));
    let (_, state) = upload(&world, &lines(&[good("1"), old("2")])).await;
    assert_eq!((state.rows.good, state.quarantined["OutsideWindow"].rows), (1, 1));
    assert_eq!(counted(&world).keys().collect::<Vec<_>>(), ["canary-1"]);
    // Whoever knows that it was never sent says so.
    let declared = Options { first_sent: Declared::Never, ..options() };
    begin(&means(&world, LONG, true), Uuid::from_u128(8), declared, input(&lines(&[old("2")]))).await.unwrap();
    assert_eq!(counted(&world).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_upload_taken_up_after_the_window_sends_nothing_that_it_may_have_sent_before() {
    let world = World::new();
    world.sandbox.add_fault(FaultRule::new(Fault::status(500)).on(Route::Upload).times(3));
    let old = but(good("1"), "ts", json!("2026-04-01T00:00:00Z"));
    let declared = Options { first_sent: Declared::Never, ..options() };
    let first = upload_with(&world, declared, &lines(&[old])).await;
    assert!(matches!(first, Err(UploadError::Unsure)), "{first:?}");
    advance(Duration::from_millis(u64::try_from(35 * DAY_MS).unwrap())).await;
    let (ended, state) = resume(&means(&world, LONG, true), UPLOAD).await.unwrap();
    assert_eq!((ended, state.quarantined["OutsideWindow"].rows), (Ended::Done, 1));
    let entry = world.quarantined().await.remove(0);
    assert_eq!((entry.stage.as_str(), entry.first_sent_at.is_some()), ("submit", true), "it may have been sent");
    assert!(counted(&world).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_part_waits_until_the_last_of_it_is_due() {
    let world = World::new();
    let ahead = but(good("1"), "ts", json!("2026-06-01T00:10:00Z"));
    let began = Instant::now();
    assert_eq!(upload(&world, &lines(&[ahead])).await.0, Ended::Done);
    assert!(began.elapsed() >= Duration::from_secs(600));
    assert_eq!(counted(&world).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_at_the_same_time_stops() {
    let world = World::new();
    let text = lines(&many("f", 5));
    let (one, other) = (means(&world, LONG, true), means(&world, LONG, true));
    let (one, other) =
        futures_util::join!(begin(&one, UPLOAD, options(), input(&text)), begin(&other, UPLOAD, options(), input(&text)),);
    let stopped = [&one, &other].into_iter().filter(|run| matches!(run, Err(UploadError::AnotherRun))).count();
    assert_eq!(stopped, 1, "{one:?} {other:?}");
    assert_eq!(counted(&world).values().collect::<Vec<_>>(), [&1; 5]);
}

#[tokio::test(start_paused = true)]
async fn without_its_ledger_nothing_is_sent() {
    let world = World::new();
    world.objects.now(Puts::Fail);
    assert!(matches!(upload_with(&world, options(), &lines(&many("f", 5))).await, Err(UploadError::Store(_))));
    assert!(world.ledger().uploads.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_never_begun_cannot_be_resumed() {
    let world = World::new();
    let unknown = resume(&means(&world, LONG, true), UPLOAD).await;
    assert!(matches!(unknown, Err(UploadError::Unknown)));
    // Killed before all was read: the file is needed once more.
    let means = means(&world, LONG, true);
    let begun = begin(&means, UPLOAD, options(), input(&lines(&many("f", 5)))).now_or_never();
    assert!(begun.is_none());
    assert!(matches!(resume(&means, UPLOAD).await, Err(UploadError::NotPrepared)));
}

/// The rows that m3ter rejects come as events, as those of the API do.
#[tokio::test(start_paused = true)]
async fn rows_that_m3ter_rejects_later_are_in_the_quarantine_and_come_from_the_upload() {
    let world = World::choosing(Choices { failed_rows: FailedRows::NotIngested, ..Choices::default() });
    let rows = [good("1"), but(good("2"), "meter", json!("nobody"))];
    let (_, state) = upload(&world, &lines(&rows)).await;
    assert_eq!(state.parts[0].failed_rows, 1);
    crate::later::round(&world).await;
    let entry = world.quarantined().await.remove(0);
    assert_eq!((entry.reason.as_str(), entry.stage.as_str()), ("UndefinedMeter", "ingest"));
    assert_eq!(entry.origin.unwrap().kind, "upload");
}
