//! `usage-relay quarantine list`: what is there, how much of it, and what to do about it first.

use std::collections::BTreeMap;

use recovery::gather::{Chosen, Depth, Look, Looked};
use recovery::kept::Kept;
use recovery::life::time;
use recovery::standing::{Facts, Standing};
use recovery::window::{Window, leaves_soon};
use serde::Serialize;
use uuid::Uuid;

use crate::choosing::Choosing;
use crate::failure::Failure;
use crate::figures::{counted, grouped};
use crate::store::{LookedJson, StoreArguments, looked_text, say_unreadable, store_failed};
use crate::terminal::{self, Progress};

/// Examples of a group.
const EXAMPLES_MAX: usize = 3;
/// Groups in the table; JSON has all.
const GROUPS_SHOWN: usize = 30;
/// An hour in milliseconds.
const HOUR_MS: i64 = 3_600_000;

const HELP: &str = "\
Examples:
  usage-relay quarantine list
  usage-relay quarantine list --by account --reason RefusedByApi --since 7d
  usage-relay quarantine list --all --json

An entry is open until m3ter accepted what was sent again from it, a newer entry took its place, or it was dropped. If m3ter rejects \
later what was sent again, that is a newer entry.

Exit codes: 0 shown; 1 an object could not be read; 2 the store did not answer; 64 the command line is wrong.";

/// Count what is in the quarantine, with a few examples.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,

    #[command(flatten)]
    choosing: Choosing,

    /// What to count by
    #[arg(long, value_enum, default_value_t = By::Reason)]
    by: By,

    /// Also entries that are settled: accepted, dropped, or replaced by a newer one
    #[arg(long)]
    all: bool,

    /// Print one line of JSON, with the counts by everything
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum By {
    Reason,
    Meter,
    Account,
    Hour,
}

impl By {
    const ALL: [By; 4] = [By::Reason, By::Meter, By::Account, By::Hour];

    fn name(self) -> &'static str {
        match self {
            By::Reason => "reason",
            By::Meter => "meter",
            By::Account => "account",
            By::Hour => "hour",
        }
    }

    fn of(self, kept: &Kept) -> String {
        let or_none = |code: &Option<String>| code.clone().unwrap_or_else(|| "(none)".to_owned());
        match self {
            By::Reason => kept.reason.clone(),
            By::Meter => or_none(&kept.meter),
            By::Account => or_none(&kept.account),
            By::Hour => time(kept.quarantined_at_ms.div_euclid(HOUR_MS) * HOUR_MS).get(..13).unwrap_or_default().to_owned(),
        }
    }
}

/// Entries that have something in common.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
struct Group {
    name: String,
    entries: u64,
    examples: Vec<Example>,
}

#[derive(Debug, Serialize, PartialEq, Eq)]
struct Example {
    qid: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    still_refused: Option<String>,
}

/// The counts. `entries` are those shown.
#[derive(Debug, Serialize)]
struct Counts {
    entries: u64,
    open: u64,
    under_way: u64,
    silent: u64,
    accepted: u64,
    came_back: u64,
    dropped: u64,
    /// Open, and within five days of leaving m3ter's window.
    leaves_window_soon: u64,
    /// Open, and too old to be sent again.
    outside_window: u64,
    /// Open, and of no use under their uids: m3ter has them, and drops what comes under them.
    uid_taken: u64,
    by: BTreeMap<&'static str, Vec<Group>>,
}

#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    counts: &'a Counts,
    looked: LookedJson,
}

/// Looks, counts, tells.
///
/// # Errors
/// [`Failure::Data`] if an object cannot be read, [`Failure::CouldNot`] if the store does not answer.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let (store, (since_ms, now_ms)) = arguments.store.open().await?;
    let progress = Progress::start(Some(0), "objects read");
    let mut on_progress = |done, of| progress.of(done, of);
    let mut look = Look::new(&store, (since_ms, now_ms), &mut on_progress);
    let selection = arguments.choosing.selection((since_ms, now_ms));
    let chosen = look.entries(&selection).await.map_err(|error| store_failed(&error))?;
    let facts = look.facts(&chosen, Depth::Claimed).await.map_err(|error| store_failed(&error))?;
    let mut looked = look.looked;
    looked.settle();
    progress.finish();
    let counts = count(&chosen, &facts, arguments.all, now_ms);
    if arguments.json {
        terminal::print_json(&Told { counts: &counts, looked: LookedJson::of(&looked) })?;
    } else {
        terminal::print(&text(&counts, arguments.by, arguments.all, &looked))?;
    }
    say_unreadable(&looked)
}

fn count(chosen: &Chosen, facts: &BTreeMap<Uuid, Facts>, all: bool, now_ms: i64) -> Counts {
    let none = Facts::default();
    let mut counts = Counts {
        entries: 0,
        open: 0,
        under_way: 0,
        silent: 0,
        accepted: 0,
        came_back: 0,
        dropped: 0,
        leaves_window_soon: 0,
        outside_window: 0,
        uid_taken: 0,
        by: BTreeMap::new(),
    };
    let mut groups: BTreeMap<(&'static str, String), Group> = BTreeMap::new();
    for (kept, _) in chosen.kept.values() {
        let facts = facts.get(&kept.qid).unwrap_or(&none);
        let standing = Standing::of(kept, facts, now_ms);
        let counter = match standing {
            Standing::Open => &mut counts.open,
            Standing::UnderWay { .. } => &mut counts.under_way,
            Standing::Silent { .. } => &mut counts.silent,
            Standing::Accepted { .. } => &mut counts.accepted,
            Standing::CameBack { .. } => &mut counts.came_back,
            Standing::Dropped => &mut counts.dropped,
        };
        *counter += 1;
        counts.leaves_window_soon += u64::from(leaves_soon(kept, facts, &standing, now_ms));
        let is_outside = matches!(Window::of(kept, facts, now_ms), Window::Outside { .. });
        counts.outside_window += u64::from(standing.is_open() && is_outside && !kept.is_uid_taken());
        counts.uid_taken += u64::from(standing.is_open() && kept.is_uid_taken());
        if !(all || standing.is_open()) {
            continue;
        }
        counts.entries += 1;
        for by in By::ALL {
            let group = groups.entry((by.name(), by.of(kept))).or_default();
            group.entries += 1;
            if group.examples.len() < EXAMPLES_MAX {
                let (uid, still_refused) = (kept.uid.clone(), kept.still_refused.clone());
                group.examples.push(Example { qid: kept.qid, uid, still_refused });
            }
        }
    }
    for ((by, name), group) in groups {
        counts.by.entry(by).or_default().push(Group { name, ..group });
    }
    for (by, groups) in &mut counts.by {
        if *by != By::Hour.name() {
            groups.sort_by_key(|group| std::cmp::Reverse(group.entries));
        }
    }
    counts
}

fn text(counts: &Counts, by: By, all: bool, looked: &Looked) -> String {
    let mut lines = Vec::new();
    let open = counts.open + counts.under_way + counts.silent;
    let of_these = [(counts.under_way, "under way"), (counts.silent, "sent again without a sign of an outcome")];
    let told: Vec<String> =
        of_these.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{} {what}", grouped(*count))).collect();
    let told = if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) };
    lines.push(if open == 0 {
        "nothing is open".to_owned()
    } else {
        format!("{} open{told}", if open == 1 { "1 entry".to_owned() } else { format!("{} entries", grouped(open)) })
    });
    let settled = [
        (counts.accepted, "accepted after being sent again"),
        (counts.came_back, "sent again and replaced by a newer entry"),
        (counts.dropped, "dropped"),
    ];
    for (count, what) in settled.iter().filter(|(count, _)| *count > 0) {
        lines.push(format!("{} {what}{}", grouped(*count), if all { "" } else { " (--all shows them)" }));
    }
    if counts.leaves_window_soon > 0 {
        lines.push(format!(
            "WARNING: {} of them may have reached m3ter first 30 days ago or earlier; after 34 days they cannot be sent again safely. Replay, mend or drop them now",
            grouped(counts.leaves_window_soon)
        ));
    }
    if counts.outside_window > 0 {
        lines.push(format!(
            "WARNING: {} of them are too old to be sent again safely (34 days since they may first have reached m3ter); see replay --beyond-window",
            grouped(counts.outside_window)
        ));
    }
    if counts.uid_taken > 0 {
        lines.push(format!(
            "{} of them m3ter dropped as copies of their uids: replay --new-uid what was not counted, drop the rest",
            grouped(counts.uid_taken)
        ));
    }
    table(counts.by.get(by.name()).map_or(&[][..], Vec::as_slice), by, &mut lines);
    lines.push(String::new());
    if open > 0 {
        lines.push("next: usage-relay quarantine show QID; what is right as it is: usage-relay replay --dry-run; what is not: usage-relay quarantine export".to_owned());
    }
    lines.push(looked_text(looked));
    lines.join("\n")
}

fn table(groups: &[Group], by: By, lines: &mut Vec<String>) {
    if groups.is_empty() {
        return;
    }
    let width =
        groups.iter().take(GROUPS_SHOWN).map(|group| group.name.chars().count()).chain([by.name().len()]).max().unwrap_or(0);
    lines.push(String::new());
    lines.push(format!("{:<width$}  {:>9}  examples", by.name(), "entries"));
    for group in groups.iter().take(GROUPS_SHOWN) {
        for (index, example) in group.examples.iter().enumerate() {
            let uid = example.uid.as_deref().map(|uid| format!("  uid {uid}")).unwrap_or_default();
            let (name, entries) = if index == 0 { (group.name.as_str(), grouped(group.entries)) } else { ("", String::new()) };
            lines.push(format!("{name:<width$}  {entries:>9}  {}{uid}", example.qid));
        }
    }
    let more = groups.len().saturating_sub(GROUPS_SHOWN);
    if more > 0 {
        lines.push(format!("and {} more; --json has all", counted(more as u64, by.name())));
    }
}
