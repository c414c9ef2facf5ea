//! `usage-relay quarantine show`: all that is kept of entries.

use recovery::decision::Not;
use recovery::gather::{Depth, Look};
use recovery::kept::Kept;
use recovery::life::time;
use recovery::standing::{Facts, Standing};
use recovery::window::Window;
use relay_core::limits::DAY_MS;
use relay_store::{Entry, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::failure::Failure;
use crate::figures::counted;
use crate::store::{StoreArguments, say_unreadable, store_failed};
use crate::terminal::{self, Progress};

const HELP: &str = "\
Examples:
  usage-relay quarantine show 5b0c2d2c-7a0e-5a51-9c55-0a4c3b1f1e11
  usage-relay quarantine show order-1 --json

Exit codes: 0 all were found; 1 one was not, or an object could not be read; 2 the store did not answer; 64 the command line is \
wrong.";

/// Show all that is kept of an entry: the measurement too.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    /// Ids of entries, or uids of measurements
    #[arg(value_name = "QID|UID", required = true)]
    names: Vec<String>,

    #[command(flatten)]
    store: StoreArguments,

    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
}

/// Looks and shows.
///
/// # Errors
/// [`Failure::Data`] if a name is not found or an object cannot be read, [`Failure::CouldNot`] if the store does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (store, (since_ms, now_ms)) = arguments.store.open().await?;
    let progress = Progress::start(Some(0), "objects read");
    let mut on_progress = |done, of| progress.of(done, of);
    let mut look = Look::new(&store, (since_ms, now_ms), &mut on_progress);
    let mut selection = recovery::kept::Selection::all(since_ms, i64::MAX);
    selection.qids.extend(arguments.names.iter().filter_map(|name| name.parse::<Uuid>().ok()));
    selection.uids.extend(arguments.names.iter().cloned());
    let chosen = look.entries(&selection).await.map_err(|error| store_failed(&error))?;
    let facts = look.facts(&chosen, Depth::Window).await.map_err(|error| store_failed(&error))?;
    let mut looked = look.looked;
    progress.finish();
    let mut missing: Vec<&String> = arguments.names.iter().collect();
    let none = Facts::default();
    for (place, object) in chosen.objects.iter().enumerate() {
        let here = chosen.kept.values().filter(|(_, at)| *at == place).map(|(kept, _)| kept.qid);
        for entry in full(&store, object.clone(), here.collect(), &mut looked.unreadable).await {
            missing.retain(|name| **name != entry.qid.to_string() && Some(*name) != entry.uid.as_ref());
            if let Some((kept, _)) = chosen.kept.get(&entry.qid) {
                let facts = facts.get(&entry.qid).unwrap_or(&none);
                let standing = Standing::of(kept, facts, now_ms);
                let window = Window::of(kept, facts, now_ms);
                match arguments.json {
                    true => terminal::print_json(&as_json(&entry, standing.name(), kept.is_uid_taken()))?,
                    false => terminal::print(&text(&entry, kept, &standing, window))?,
                }
            }
        }
    }
    looked.settle();
    say_unreadable(&looked)?;
    match missing.first() {
        None => Ok(()),
        Some(_) => Err(Failure::Data(format!(
            "{} of {} not in the quarantine since {}; --since looks further back, usage-relay explain at the ledger too",
            missing.len(),
            arguments.names.len(),
            time(since_ms)
        ))),
    }
}

/// Entries with these ids, whole.
async fn full(
    store: &Store,
    object: relay_store::StoredObject,
    mut qids: Vec<Uuid>,
    unreadable: &mut Vec<relay_store::Unreadable>,
) -> Vec<Entry> {
    let mut found = Vec::new();
    if qids.is_empty() {
        return found;
    }
    let wanted = qids.clone();
    let keep = move |entry: Entry| wanted.contains(&entry.qid).then_some(entry);
    let read = store.entries([object], keep, |_, entry| {
        if let Some(entry) = entry.filter(|entry| qids.contains(&entry.qid)) {
            qids.retain(|qid| *qid != entry.qid);
            found.push(entry);
        }
    });
    let torn = read.await;
    unreadable.extend(torn);
    found
}

fn as_json(entry: &Entry, standing: &str, uid_taken: bool) -> Value {
    let attributes = entry.attributes.as_deref().unwrap_or_default().iter();
    let attributes: Vec<Value> =
        attributes.map(|one| json!({"name": one.name, "data_type": one.data_type, "value": one.value})).collect();
    let measurement = entry.measurement.as_deref().and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    json!({
        "qid": entry.qid, "uid": entry.uid, "reason": entry.reason, "detail": entry.detail, "stage": entry.stage,
        "standing": standing, "uid_taken": uid_taken, "first_sent_at": entry.first_sent_at, "message_id": entry.message_id, "position": entry.position,
        "source_arn": entry.source_arn, "attributes": attributes, "queued_at": entry.queued_at,
        "first_received_at": entry.first_received_at, "receives": entry.receives, "quarantined_at": entry.quarantined_at,
        "origin": entry.origin.as_ref().map(|origin| format!("{}:{}", origin.kind, origin.of)),
        "measurement": measurement, "body": entry.body,
    })
}

fn text(entry: &Entry, kept: &Kept, standing: &Standing, window: Window) -> String {
    let mut lines = vec![format!("entry {}", entry.qid)];
    let mut line = |name: &str, value: String| lines.push(format!("  {name:<14}  {value}"));
    line("reason", format!("{} (stage {})", entry.reason, entry.stage));
    line("detail", entry.detail.clone());
    if let Some(uid) = &entry.uid {
        line("uid", uid.clone());
    }
    line("standing", told(standing));
    line("to m3ter", to_m3ter(entry, kept, window));
    if kept.is_uid_taken() {
        line("its uid", Not::UidTaken.meaning().to_owned());
    }
    if let Some(refusal) = &kept.still_refused {
        line("as it is", format!("the relay would refuse it again: {refusal}"));
    }
    line("quarantined", time(entry.quarantined_at));
    let place = match u32::try_from(entry.position) {
        Ok(position) if position < u32::MAX => format!("place {position} of it"),
        _ => "the whole of it".to_owned(),
    };
    line(
        "message",
        format!(
            "{}, {place}, received {}, of {}",
            entry.message_id,
            counted(u64::from(entry.receives), "time"),
            entry.source_arn
        ),
    );
    if let Some(queued_at) = entry.queued_at {
        line("queued", time(queued_at));
    }
    if let Some(origin) = &entry.origin {
        line("origin", format!("{}:{}", origin.kind, origin.of));
    }
    for attribute in entry.attributes.as_deref().unwrap_or_default() {
        line("attribute", format!("{} = {}", attribute.name, attribute.value));
    }
    match (&entry.measurement, &entry.body) {
        (Some(measurement), _) => line("measurement", measurement.get().to_owned()),
        (None, Some(body)) => line("body", body.clone()),
        (None, None) => {}
    }
    lines.join("\n")
}

fn to_m3ter(entry: &Entry, kept: &Kept, window: Window) -> String {
    let age_ms = match window {
        Window::NeverSent => return "never sent".to_owned(),
        Window::Inside { age_ms } | Window::LeavesSoon { age_ms } | Window::Outside { age_ms } => age_ms,
    };
    let days = age_ms / DAY_MS;
    if entry.first_sent_at.is_none() {
        return format!("sent only from the quarantine, up to {days} days ago");
    }
    let was = match (kept.is_uid_taken(), kept.is_rejected()) {
        (true, _) => return format!("accepted, up to {days} days ago, and dropped later as a copy"),
        (false, true) => "accepted and rejected later",
        (false, false) => "maybe",
    };
    match window {
        Window::Outside { .. } => format!("{was}, up to {days} days ago; it can no longer be sent again safely"),
        Window::NeverSent | Window::Inside { .. } | Window::LeavesSoon { .. } => {
            let left = (34 * DAY_MS - age_ms) / DAY_MS;
            format!("{was}, up to {days} days ago; it can be sent again safely for {left} more days")
        }
    }
}

fn told(standing: &Standing) -> String {
    match standing {
        Standing::Open => "open: nothing was done about it yet".to_owned(),
        Standing::UnderWay { since_ms, .. } => format!("sent again {}, under way", time(*since_ms)),
        Standing::Silent { since_ms } => format!("sent again {}, and nothing was heard of it", time(*since_ms)),
        Standing::Accepted { at_ms, again: true } => format!("sent again, and m3ter accepted it {}", time(*at_ms)),
        Standing::Accepted { at_ms, again: false } => format!("m3ter accepted this uid from another message {}", time(*at_ms)),
        Standing::CameBack { qid } => format!("sent again, and it came back as entry {qid}"),
        Standing::Dropped => "dropped".to_owned(),
    }
}
