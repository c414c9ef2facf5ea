//! `usage-relay quarantine export`: open entries as lines of JSON or rows of CSV, to be mended by hand or in a spreadsheet.
//!
//! A row keeps its `qid`, by which `import` knows what it takes the place of. CSV has a column for each field that m3ter knows.
//! An entry that CSV cannot hold without changing it is left out of CSV, and said so: JSON holds everything.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use recovery::gather::{Chosen, Depth, Look};
use recovery::standing::{Facts, Standing};
use relay_store::{Entry, Store};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::rows::{BOOKKEEPING, cells};
use crate::choosing::Choosing;
use crate::failure::Failure;
use crate::figures::{counted, grouped};
use crate::store::{StoreArguments, say_unreadable, store_failed};
use crate::terminal::{self, Progress};

const HELP: &str = "\
Examples:
  usage-relay quarantine export --reason MeterInvalid --output broken.csv
  usage-relay quarantine export --since 2d > broken.ndjson
  usage-relay quarantine export --output all.ndjson --json | jq .written

Mend the measurements and leave qid and uid as they are; then usage-relay quarantine import FILE. Rows that you delete stay in \
the quarantine.

Exit codes: 0 all that is open was written; 1 the file exists, an object could not be read, or an entry does not fit CSV; 2 the \
store did not answer, or the file cannot be written: then there is none; 64 the command line is wrong.";

/// Write open entries to a file, to be mended.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArguments,

    #[command(flatten)]
    choosing: Choosing,

    /// A new file; without it, standard output
    #[arg(long, value_name = "NEW_FILE")]
    output: Option<PathBuf>,

    /// What to write; a file named ….csv is CSV, else it is ndjson
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// Print one line of JSON that says what was written to the file
    #[arg(long, requires = "output")]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Ndjson,
    Csv,
}

#[derive(Serialize)]
struct Line<'a> {
    qid: Uuid,
    reason: &'a str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    measurement: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a str>,
}

/// Looks and writes.
///
/// # Errors
/// [`Failure::Data`] if the file exists, an object cannot be read or an entry does not fit CSV; [`Failure::CouldNot`] if the store
/// does not answer or the file cannot be written.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let is_csv = arguments.output.as_ref().is_some_and(|path| path.extension().is_some_and(|ending| ending == "csv"));
    let format = arguments.format.unwrap_or(if is_csv { Format::Csv } else { Format::Ndjson });
    let (store, (since_ms, now_ms)) = arguments.store.open().await?;
    let progress = Progress::start(Some(0), "objects read");
    let mut on_progress = |done, of| progress.of(done, of);
    let mut look = Look::new(&store, (since_ms, now_ms), &mut on_progress);
    let selection = arguments.choosing.selection((since_ms, now_ms));
    let mut chosen = look.entries(&selection).await.map_err(|error| store_failed(&error))?;
    let facts = look.facts(&chosen, Depth::Claimed).await.map_err(|error| store_failed(&error))?;
    let mut looked = look.looked;
    looked.settle();
    progress.finish();
    let none = Facts::default();
    chosen.kept.retain(|qid, (kept, _)| Standing::of(kept, facts.get(qid).unwrap_or(&none), now_ms).is_open());
    let mut out = open(&arguments)?;
    let progress = match arguments.output {
        Some(_) => Progress::start(Some(chosen.kept.len() as u64), "entries written"),
        None => Progress::none(), // what is written may be on the same screen
    };
    let done = write(&store, &chosen, format, out.as_mut(), &progress).await;
    progress.finish();
    if let (Err(_), Some(path)) = (&done, &arguments.output) {
        // Half of it would pass for all of it, and stand in the way of the next try. It was made just now.
        drop(std::fs::remove_file(path));
    }
    let (written, left_out) = done?;
    let entries = if written == 1 { "1 open entry".to_owned() } else { format!("{} open entries", grouped(written)) };
    if arguments.json {
        let file = arguments.output.as_ref().map(|path| path.display().to_string());
        terminal::print_json(&serde_json::json!({"file": file, "written": written, "left_out": left_out}))?;
    } else {
        terminal::complain(&format!("wrote {entries}"));
    }
    say_unreadable(&looked)?;
    match left_out {
        0 => Ok(()),
        _ => Err(Failure::Data(format!(
            "{} cannot be a row of CSV without being changed (whole bodies, members that m3ter does not know, empty texts): --format ndjson holds them too",
            counted(left_out, "other")
        ))),
    }
}

/// Writes all of it; how many were written, and how many CSV cannot hold.
async fn write(
    store: &Store,
    chosen: &Chosen,
    format: Format,
    out: &mut (dyn Write + Send),
    progress: &Progress,
) -> Result<(u64, u64), Failure> {
    let counts = match format {
        Format::Ndjson => (ndjson(store, chosen, out, progress).await?, 0),
        Format::Csv => csv(store, chosen, out, progress).await?,
    };
    out.flush().map_err(|error| unwritable(&error))?;
    Ok(counts)
}

fn open(arguments: &Arguments) -> Result<Box<dyn Write + Send>, Failure> {
    let Some(path) = &arguments.output else { return Ok(Box::new(BufWriter::new(terminal::Out))) };
    let file = File::create_new(path).map_err(|error| {
        let path = path.display();
        match error.kind() == std::io::ErrorKind::AlreadyExists {
            true => Failure::Data(format!("expected {path} not to exist: it may hold mended measurements")),
            false => Failure::CouldNot(format!("cannot write {path}: {error}")),
        }
    })?;
    Ok(Box::new(BufWriter::new(file)))
}

fn unwritable(error: &dyn std::error::Error) -> Failure {
    Failure::CouldNot(format!("cannot write: {error}"))
}

/// Gives each chosen entry to `each`, once, whole, object by object.
async fn whole(store: &Store, chosen: &Chosen, mut each: impl FnMut(Entry) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut left: BTreeSet<Uuid> = chosen.kept.keys().copied().collect();
    for (place, object) in chosen.objects.iter().enumerate() {
        let here: BTreeSet<Uuid> = chosen.kept.iter().filter(|(_, (_, at))| *at == place).map(|(qid, _)| *qid).collect();
        if here.is_empty() {
            continue;
        }
        let mut entries = Vec::new();
        let keep = move |entry: Entry| here.contains(&entry.qid).then_some(entry);
        let torn = store.entries([object.clone()], keep, |_, entry| entries.extend(entry)).await;
        if let Some(torn) = torn.first() {
            return Err(Failure::CouldNot(format!("cannot read {} a second time: {}", torn.name, torn.expected)));
        }
        for entry in entries {
            if left.remove(&entry.qid) {
                each(entry)?;
            }
        }
    }
    Ok(())
}

async fn ndjson(store: &Store, chosen: &Chosen, out: &mut (dyn Write + Send), progress: &Progress) -> Result<u64, Failure> {
    let mut written = 0;
    whole(store, chosen, |entry| {
        let Entry { qid, reason, detail, measurement, body, .. } = &entry;
        let line = Line { qid: *qid, reason, detail, measurement: measurement.as_deref(), body: body.as_deref() };
        let text = serde_json::to_string(&line).map_err(|error| unwritable(&error))?;
        written += 1;
        progress.set(written);
        writeln!(out, "{text}").map_err(|error| unwritable(&error))
    })
    .await?;
    Ok(written)
}

/// Twice over the entries: first for the columns, then for the rows. So memory stays bounded.
async fn csv(store: &Store, chosen: &Chosen, out: &mut (dyn Write + Send), progress: &Progress) -> Result<(u64, u64), Failure> {
    let mut columns: BTreeSet<String> = BTreeSet::new();
    let mut left_out = 0;
    whole(store, chosen, |entry| {
        match cells(&entry) {
            Some(cells) => columns.extend(cells.into_keys()),
            None => left_out += 1,
        }
        Ok(())
    })
    .await?;
    const FIRST: [&str; 5] = ["uid", "meter", "account", "ts", "ets"];
    let fields: Vec<&str> =
        FIRST.into_iter().chain(columns.iter().map(String::as_str).filter(|name| !FIRST.contains(name))).collect();
    let mut table = ::csv::Writer::from_writer(out);
    table.write_record(BOOKKEEPING.iter().chain(&fields)).map_err(|error| unwritable(&error))?;
    let mut written = 0;
    whole(store, chosen, |entry| {
        let Some(cells) = cells(&entry) else { return Ok(()) };
        written += 1;
        progress.set(written);
        let qid = entry.qid.to_string();
        let own = [qid.as_str(), &entry.reason, &entry.detail];
        let values = fields.iter().map(|name| cells.get(*name).map_or("", String::as_str));
        table.write_record(own.into_iter().chain(values)).map_err(|error| unwritable(&error))
    })
    .await?;
    table.flush().map_err(|error| unwritable(&error))?;
    Ok((written, left_out))
}
