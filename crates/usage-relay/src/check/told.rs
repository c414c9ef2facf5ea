//! What is printed of a check: each finding as it comes, then the whole in numbers.
//!
//! Lines and reasons, and what was expected: never a uid, an account or a text of the file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use super::topic::{Level, Topic};
use crate::failure::Failure;
use crate::figures::{counted, grouped};
use crate::terminal::{Out, Progress};

/// How many of a topic are shown one by one; the rest are counted.
const SHOWN_MAX: u64 = 20;
/// Printed at once: few system calls, and a terminal that does not wait.
const BUFFER_BYTES: usize = 32 * 1024;

/// What is said of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) level: Level,
    pub(super) topic: Topic,
    /// From 1.
    pub(super) line: u64,
    /// What was expected.
    pub(super) detail: Cow<'static, str>,
    /// The line of the measurement that it has the uid of.
    pub(super) earlier_line: Option<u64>,
}

/// How the findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    /// As JSON.
    pub(super) json: bool,
    /// Each, and notes too.
    pub(super) all: bool,
}

/// What has been said so far.
#[derive(Debug)]
pub(super) struct Told {
    name: String,
    style: Style,
    progress: Progress,
    out: String,
    counts: BTreeMap<(Level, Topic), u64>,
    /// Everything that stood where a measurement was expected.
    pub(super) measurements: u64,
    /// Those that would be sent.
    pub(super) good: u64,
    /// Those that would be sent but for another one.
    pub(super) copies: u64,
}

#[derive(Serialize)]
struct SaidJson<'a> {
    level: &'static str,
    line: u64,
    reason: &'static str,
    detail: &'a str,
    mend: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    earlier_line: Option<u64>,
}

/// The last line of JSON.
#[derive(Serialize)]
struct Summary<'a> {
    file: &'a str,
    /// Whether all of it was read.
    complete: bool,
    measurements: u64,
    good: u64,
    copies: u64,
    findings: u64,
    warnings: u64,
    notes: u64,
    reasons: Vec<Counted>,
}

#[derive(Serialize)]
struct Counted {
    level: &'static str,
    reason: &'static str,
    count: u64,
    mend: &'static str,
}

impl Told {
    /// Nothing yet, of the file `name`.
    pub(super) fn of(name: String, style: Style, progress: Progress) -> Self {
        let (out, counts, (measurements, good, copies)) = Default::default();
        Self { name, style, progress, out, counts, measurements, good, copies }
    }

    /// How much was said of this weight.
    pub(super) fn count(&self, level: Level) -> u64 {
        self.counts.iter().filter(|((of, _), _)| *of == level).map(|(_, count)| count).sum()
    }

    /// Says `said`, or counts it.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn say(&mut self, said: &Said) -> Result<(), Failure> {
        let count = self.counts.entry((said.level, said.topic)).or_default();
        *count += 1;
        let is_shown = match said.level {
            Level::Finding | Level::Warning => self.style.all || self.style.json || *count <= SHOWN_MAX,
            Level::Note => self.style.all,
        };
        if !is_shown {
            return Ok(());
        }
        let Said { level, topic, line, detail, earlier_line } = said;
        if self.style.json {
            let (level, reason, mend, earlier_line) = (level.name(), topic.name(), topic.advice(), *earlier_line);
            self.json(&SaidJson { level, line: *line, reason, detail, mend, earlier_line })?;
        } else {
            let line = format!("{}:{line}  {}{}  {detail}\n", self.name, prefix(*level), topic.name());
            self.out.push_str(&line);
        }
        if self.out.len() < BUFFER_BYTES { Ok(()) } else { self.flush() }
    }

    /// Ends with the whole in numbers; `complete` if all of the file was read.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn end(&mut self, complete: bool) -> Result<(), Failure> {
        match self.style.json {
            true => self.end_json(complete)?,
            false => self.end_text(complete),
        }
        self.flush()?;
        self.progress.finish();
        Ok(())
    }

    fn end_json(&mut self, complete: bool) -> Result<(), Failure> {
        let counted = |((level, topic), count): (&(Level, Topic), &u64)| Counted {
            level: level.name(),
            reason: topic.name(),
            count: *count,
            mend: topic.advice(),
        };
        let reasons = self.counts.iter().map(counted).collect();
        let (findings, warnings, notes) = (self.count(Level::Finding), self.count(Level::Warning), self.count(Level::Note));
        let name = std::mem::take(&mut self.name);
        let (measurements, good, copies) = (self.measurements, self.good, self.copies);
        self.json(&Summary { file: &name, complete, measurements, good, copies, findings, warnings, notes, reasons })
    }

    fn end_text(&mut self, complete: bool) {
        let mut lines = Vec::new();
        for ((level, topic), count) in &self.counts {
            if *level != Level::Note && !self.style.all && *count > SHOWN_MAX {
                let more = grouped(count - SHOWN_MAX);
                lines.push(format!("{}  {}{}  and {more} more; --all shows each", self.name, prefix(*level), topic.name()));
            }
        }
        // What was shown line by line stands apart.
        if self.counts.keys().any(|(level, _)| self.style.all || *level != Level::Note) {
            lines.push(String::new());
        }
        let refused = self.measurements - self.good - self.copies;
        let mut total = format!("{}: {}, {} good", self.name, counted(self.measurements, "measurement"), grouped(self.good));
        for (count, noun) in [(self.copies, "collapsed as copies"), (refused, "that would not be sent")] {
            if count > 0 {
                total.push_str(&format!(", {} {noun}", grouped(count)));
            }
        }
        if !complete {
            total.push_str("; the rest of it could not be read");
        }
        lines.push(total);
        let named: Vec<(String, String, &str)> = self
            .counts
            .iter()
            .map(|((level, topic), count)| (format!("{}{}", prefix(*level), topic.name()), grouped(*count), topic.advice()))
            .collect();
        let width = |of: fn(&(String, String, &str)) -> usize| named.iter().map(of).max().unwrap_or_default();
        let (names, counts) = (width(|one| one.0.len()), width(|one| one.1.len()));
        lines.extend(named.iter().map(|(name, count, advice)| format!("  {name:names$}  {count:>counts$}  {advice}")));
        self.out.push_str(&lines.join("\n"));
        self.out.push('\n');
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string(value).map_err(|error| Failure::CouldNot(format!("cannot write JSON: {error}")))?;
        self.out.push_str(&text);
        self.out.push('\n');
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Failure> {
        let written = self.progress.aside(|| Out.write_all(self.out.as_bytes()).and_then(|()| Out.flush()));
        self.out.clear();
        written.map_err(|error| Failure::CouldNot(format!("cannot write to standard output: {error}")))
    }
}

/// What stands before the name of a topic. Findings are what is looked for, and have nothing.
fn prefix(level: Level) -> &'static str {
    match level {
        Level::Finding => "",
        Level::Warning => "warning ",
        Level::Note => "note ",
    }
}
