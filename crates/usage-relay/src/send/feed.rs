//! Feeds the delivery: reads, checks, packs, and hands batches over, on a thread of its own.

use files::read::Stop;
use files::source::{Format, Source};
use relay_core::reason::Reason;
use tokio::sync::mpsc::Sender;

use super::measurement::{Uid, inspect};
use super::pack::{Batcher, Message, Packer};
use super::read;
use crate::failure::Failure;
use crate::sample::Run;

const NO_UID: &str =
    "expected a uid from the producer, found none; --save NEW_FILE mints uids and keeps them, else a second run bills twice";

/// Where measurements come from.
#[derive(Debug)]
pub(crate) enum Input {
    /// Files, all in this format.
    Files(Vec<Source>, Format),
    /// The first `count` made-up measurements of `run`.
    Made { run: Run, count: u64 },
}

/// Hands over everything in `input` as batches, until it ends or nobody takes them any more; the latter is no failure here.
///
/// # Errors
/// [`Failure`] if the input is at fault. What was packed but not yet handed over is then left out: it keeps its uids.
pub(crate) fn feed(input: &Input, per_message: u64, batches: Sender<Vec<Message>>) -> Result<(), Failure> {
    let mut feed = Feed { packer: Packer::new(per_message), batcher: Batcher::default(), batches };
    let outcome = match input {
        Input::Made { run, count } => feed.make(*run, *count).map_err(|_| None),
        Input::Files(sources, format) => sources.iter().try_for_each(|source| {
            read::read(source, *format, &mut |line: u64, text: &str| {
                feed.take(line, text, || format!("{} line {line}", source.name()))
            })
        }),
    };
    match outcome.and_then(|()| feed.finish().map_err(|_| None)) {
        Err(Some(failure)) => Err(failure),
        Ok(()) | Err(None) => Ok(()),
    }
}

struct Feed {
    packer: Packer,
    batcher: Batcher,
    batches: Sender<Vec<Message>>,
}

impl Feed {
    fn make(&mut self, run: Run, count: u64) -> Result<(), Stop> {
        for index in 0..count {
            let closed = self.packer.push(&run.measurement(index), || format!("made-up measurement {}", index + 1));
            self.pass_on(closed)?;
        }
        Ok(())
    }

    fn take(&mut self, line: u64, text: &str, origin: impl FnOnce() -> String) -> Result<(), Stop> {
        match inspect(text) {
            Ok(Uid::Given) => {}
            Ok(Uid::Absent | Uid::Blank(_)) => return Err(Stop::at(line, Reason::UidMissing, NO_UID)),
            Err(fault) => return Err(fault.stop(line)),
        }
        let closed = self.packer.push(text, origin);
        self.pass_on(closed)
    }

    fn pass_on(&mut self, message: Option<Message>) -> Result<(), Stop> {
        let batch = message.and_then(|message| self.batcher.push(message));
        self.hand_over(batch)
    }

    fn hand_over(&mut self, batch: Option<Vec<Message>>) -> Result<(), Stop> {
        batch.map_or(Ok(()), |batch| self.batches.blocking_send(batch).map_err(|_| Stop::NotWanted))
    }

    fn finish(&mut self) -> Result<(), Stop> {
        let last = self.packer.close();
        self.pass_on(last)?;
        let batch = self.batcher.close();
        self.hand_over(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(text: &str) -> (Result<(), Failure>, Vec<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, text).unwrap();
        let (batches, mut waiting) = tokio::sync::mpsc::channel(100);
        let outcome = feed(&Input::Files(vec![Source::at(&path)], Format::Auto), 2, batches);
        let mut counts = Vec::new();
        while let Ok(batch) = waiting.try_recv() {
            counts.extend(batch.iter().map(|message| message.measurements));
        }
        (outcome, counts)
    }

    #[test]
    fn everything_up_to_the_end_is_handed_over() {
        assert_eq!(fed("{\"uid\":\"a\"}\n{\"uid\":\"b\"}\n{\"uid\":\"c\"}\n"), (Ok(()), vec![2, 1]));
        assert_eq!(fed(""), (Ok(()), vec![]));
    }

    #[test]
    fn a_measurement_without_uid_stops_everything_at_its_line() {
        let (outcome, counts) = fed("{\"uid\":\"a\"}\n{\"uid\":null}\n");
        let text = outcome.unwrap_err().to_string();
        assert!(text.ends_with(&format!("line 2: {NO_UID}")), "{text}");
        assert!(counts.is_empty(), "{counts:?}");
    }

    #[test]
    fn made_up_measurements_can_be_told_by_their_place() {
        let (batches, mut waiting) = tokio::sync::mpsc::channel(100);
        let run: Run = "2026-11-22T09:30:00Z".parse().unwrap();
        feed(&Input::Made { run, count: 25 }, 10, batches).unwrap();
        let batch = waiting.try_recv().unwrap();
        assert_eq!(
            batch.iter().map(|message| message.origin.as_str()).collect::<Vec<_>>(),
            ["made-up measurement 1", "made-up measurement 11", "made-up measurement 21"]
        );
    }
}
