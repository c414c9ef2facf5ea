//! What is told of an upload: how far it is, what became of the file, and why it was not begun.

use std::cell::RefCell;
use std::time::Duration;

use ::upload::journal::{Quarantined, State};
use ::upload::options::{Declared, Options};
use ::upload::report::{Report, Status};
use ::upload::run::{ROWS_PER_SECOND, Stage};
use recovery::life::time;
use relay_core::guard::MissingUid;
use relay_core::reason::Reason;
use uuid::Uuid;

use crate::clock::Stopwatch;
use crate::figures::{counted, grouped};
use crate::terminal::Progress;

/// How long m3ter is watched before its own pace is believed.
const WATCHED_LEAST: Duration = Duration::from_secs(5);

/// A bar for each stage, on a terminal.
#[derive(Default)]
pub(super) struct Shown(RefCell<Option<Bar>>);

struct Bar {
    what: &'static str,
    progress: Progress,
    began: Stopwatch,
    /// Where it stood when it was first shown.
    first: u64,
}

impl Shown {
    /// Shows `stage`.
    pub(super) fn stage(&self, stage: Stage) {
        match stage {
            Stage::Preparing { bytes_read, bytes } => self.show("bytes read", bytes_read, bytes),
            Stage::Sending { bytes_sent, bytes } => self.show("bytes sent to m3ter", bytes_sent, Some(bytes)),
            Stage::Processing { rows_processed, rows } => {
                self.show("rows processed by m3ter", rows_processed, Some(rows));
                self.left(rows_processed, rows);
            }
        }
    }

    fn show(&self, what: &'static str, position: u64, total: Option<u64>) {
        let mut bar = self.0.borrow_mut();
        if bar.as_ref().is_none_or(|bar| bar.what != what) {
            let progress = Progress::start(total, what);
            *bar = Some(Bar { what, progress, began: Stopwatch::start(), first: position });
        }
        if let Some(bar) = bar.as_ref() {
            bar.progress.set(position);
        }
    }

    /// Says how long m3ter will still take: at the pace seen, and before there is one, at the pace it names.
    fn left(&self, processed: u64, rows: u64) {
        let bar = self.0.borrow();
        let Some(bar) = bar.as_ref() else { return };
        let (watched, done) = (bar.began.elapsed(), processed.saturating_sub(bar.first));
        let own = done as f64 / watched.as_secs_f64();
        let pace = if watched >= WATCHED_LEAST && done > 0 { own } else { ROWS_PER_SECOND as f64 };
        let left_s = (rows.saturating_sub(processed) as f64 / pace).ceil() as u64;
        bar.progress.say(format!("about {} left", about(left_s)));
    }

    /// Takes the bar off the screen.
    pub(super) fn end(&self) {
        if let Some(bar) = self.0.borrow_mut().take() {
            bar.progress.finish();
        }
    }
}

fn about(seconds: u64) -> String {
    match seconds {
        0..120 => counted(seconds, "second"),
        120..7_200 => counted(seconds.div_ceil(60), "minute"),
        _ => counted(seconds.div_ceil(3_600), "hour"),
    }
}

/// What became of a file.
pub(super) fn text(report: &Report<'_>) -> String {
    let Some(told) = &report.told else { return report.because.clone().unwrap_or_default() };
    let parts = counted(told.parts.len() as u64, "part");
    let counts =
        [(told.copies, "copies within the file"), (told.quarantined, "in the quarantine"), (told.not_compared, "not compared")];
    let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!(", {} {what}", grouped(count)));
    let sent = match (told.parts.len(), report.status) {
        (0, _) => "nothing to send".to_owned(),
        (_, Status::Done) => format!("m3ter processed {} in {parts}", grouped(told.sent)),
        (_, _) => format!("m3ter processed {} so far, of {parts}", grouped(told.sent)),
    };
    let rows = counted(told.rows, "row");
    let mut lines = vec![format!("{}: {rows}: {sent}{}", report.file, counts.collect::<String>())];
    for (reason, Quarantined { rows, examples }) in told.quarantined_by_reason {
        lines.push(format!("  {} {reason}", grouped(*rows)));
        lines.extend(examples.iter().map(|example| match example.line {
            0 => format!("    {}", example.detail),
            line => format!("    line {}: {}", grouped(line), example.detail),
        }));
    }
    if told.quarantined_by_reason.contains_key(Reason::OutsideWindow.name()) {
        lines.push("  where nothing of a file was sent before: --first-sent never".to_owned());
    }
    let failed: u64 = told.parts.iter().map(|part| part.failed_rows).sum();
    if failed > 0 {
        lines.push(format!(
            "  {} that m3ter rejected: its events say why, and they go into the quarantine",
            counted(failed, "row")
        ));
    }
    if report.status == Status::Done
        && let Some(what_to_do) = &report.what_to_do
    {
        lines.push(format!("  {what_to_do}"));
    }
    lines.join("\n")
}

/// Why a file is not uploaded once more.
pub(super) fn uploaded_before(name: &str, upload: Uuid, known: &State) -> String {
    let failed = known.parts.iter().any(|part| part.state == ::upload::journal::PartState::Failed);
    let how = match failed {
        true => format!("m3ter did not process all of it: usage-relay upload --resume {upload} sends that again"),
        false => "--again sends it once more, as far as m3ter still knows its uids".to_owned(),
    };
    format!("{name} was uploaded on {} as {upload}: {how}", time(known.begun_at))
}

/// Why an upload is not gone on with.
pub(super) fn other_options(name: &str, upload: Uuid, begun: &Options) -> String {
    let mint = if begun.missing_uid == MissingUid::Content { " --mint content" } else { "" };
    let first_sent = match begun.first_sent {
        Declared::Unknown => String::new(),
        Declared::Never => " --first-sent never".to_owned(),
        Declared::NotBefore(at_ms) => format!(" --first-sent {}", time(at_ms)),
    };
    let strict = if begun.strict { " --strict" } else { "" };
    let asked = format!("{mint}{first_sent}{strict} --part-bytes {}", begun.part_bytes_max);
    format!("{name} was begun as {upload} with{asked}: expected the same to go on with it")
}
