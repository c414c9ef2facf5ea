//! Spreads the work on a file over the processor's cores: one thread reads, others look at what it read, and what they found is
//! handed on in the order of the file.
//!
//! The rule: the same comes out as if one thread had done it all. Text is dealt out in blocks, to one looker after the other, and what
//! they found is gathered from them in that same turn, so nothing has to be sorted, and nothing runs ahead: each looker has at most
//! one block waiting before it and one behind it. What needs the order of the file, such as copies, is not a looker's
//! affair but that of whoever it is handed on to.
//!
//! Memory: at most four blocks a looker, each of at most 128 KiB of text and one measurement more, and what was found in them: some two
//! megabytes on two cores, and 40 at worst, where all measurements are as large as a message.
//!
//! Threads and not scoped ones: where whoever takes what was found wants no more, reading may be waiting for a pipe in which nothing
//! comes, and is left behind.

use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use relay_core::reason::Refusal;

use crate::read::{Sink, Stop, read as read_one};
use crate::source::{Format, Source};

/// Text in a block: a thousand ordinary measurements or fewer are a millisecond's work, which is worth waking a thread for, and
/// stay in the cache of the one that looks at them.
const BLOCK_BYTES: usize = 128 * 1024;
/// Most measurements in a block, however small they are.
const BLOCK_MEASUREMENTS_MAX: usize = 1_024;
/// Blocks that wait for a looker, and findings that wait behind it.
const BLOCKS_WAITING_MAX: usize = 1;
/// More lookers than this are fed by no reader: it hands on ten times what one of them looks at.
const LOOKERS_MAX: usize = 8;

/// Looks at measurements, one after another.
pub trait Look: Send + 'static {
    /// What it found in one.
    type Found: Send + 'static;

    /// Looks at `text`, which begins on `line`; both as [`Sink::take`] has them.
    fn take(&mut self, line: u64, text: &str) -> Self::Found;

    /// Looks at what is no measurement; as [`Sink::refuse`] has it.
    fn refuse(&mut self, line: u64, refusal: Refusal) -> Self::Found;
}

/// How many can look at once: as many as the processor has cores for us, and one where that is not known.
pub fn lookers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(LOOKERS_MAX)
}

/// Hands to `found` what `lookers` find in `source`, in the order of the file. With a single one all of it happens on this thread.
///
/// # Errors
/// The first [`Stop`]: of opening, of reading, of the text, or of `found`. What stands before it was handed on.
pub fn read<L: Look>(
    source: &Source,
    format: Format,
    mut lookers: Vec<L>,
    found: &mut dyn FnMut(L::Found) -> Result<(), Stop>,
) -> Result<(), Stop> {
    if let [looker] = lookers.as_mut_slice() {
        return read_one(source, format, &mut Alone { looker, found });
    }
    let (turns, crew): (Vec<_>, Vec<_>) = lookers.into_iter().map(employ).unzip();
    let source = source.clone();
    let reader = std::thread::spawn(move || {
        let mut dealer = Dealer { turns, turn: 0, block: Block::default() };
        let end = read_one(&source, format, &mut dealer);
        // What stands before a fault is looked at too.
        end.and(dealer.deal())
    });
    gather(crew, found)?;
    joined(reader)
}

/// Reads, looks and hands on in one.
struct Alone<'a, L: Look> {
    looker: &'a mut L,
    found: &'a mut dyn FnMut(L::Found) -> Result<(), Stop>,
}

impl<L: Look> Sink for Alone<'_, L> {
    fn take(&mut self, line: u64, text: &str) -> Result<(), Stop> {
        (self.found)(self.looker.take(line, text))
    }

    fn refuse(&mut self, line: u64, refusal: Refusal) -> Result<(), Stop> {
        (self.found)(self.looker.refuse(line, refusal))
    }
}

/// Measurements, with their texts one behind another.
#[derive(Debug, Default)]
struct Block {
    text: String,
    measurements: Vec<(u64, Held)>,
}

/// What stands on a line.
#[derive(Debug)]
enum Held {
    /// So many bytes of the block's text, behind those of the one before.
    Text(usize),
    Refused(Refusal),
}

/// Deals blocks out to each looker in turn.
struct Dealer {
    turns: Vec<SyncSender<Block>>,
    turn: usize,
    block: Block,
}

impl Sink for Dealer {
    fn take(&mut self, line: u64, text: &str) -> Result<(), Stop> {
        self.block.text.push_str(text);
        self.hold(line, Held::Text(text.len()))
    }

    fn refuse(&mut self, line: u64, refusal: Refusal) -> Result<(), Stop> {
        self.hold(line, Held::Refused(refusal))
    }
}

impl Dealer {
    fn hold(&mut self, line: u64, held: Held) -> Result<(), Stop> {
        self.block.measurements.push((line, held));
        let is_full = self.block.text.len() >= BLOCK_BYTES || self.block.measurements.len() >= BLOCK_MEASUREMENTS_MAX;
        if is_full { self.deal() } else { Ok(()) }
    }

    fn deal(&mut self) -> Result<(), Stop> {
        let empty = Block { text: String::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 8), measurements: Vec::new() };
        let block = std::mem::replace(&mut self.block, empty);
        let looker = self.turns.get(self.turn).ok_or(Stop::NotWanted)?;
        self.turn = (self.turn + 1) % self.turns.len();
        // It listens as long as somebody takes what it finds.
        looker.send(block).map_err(|_| Stop::NotWanted)
    }
}

/// A looker at work, and what it found.
type Employed<F> = (Receiver<Vec<F>>, JoinHandle<()>);

fn employ<L: Look>(mut looker: L) -> (SyncSender<Block>, Employed<L::Found>) {
    let (turn, blocks) = sync_channel::<Block>(BLOCKS_WAITING_MAX);
    let (hand_on, found) = sync_channel(BLOCKS_WAITING_MAX);
    let work = std::thread::spawn(move || {
        for block in blocks {
            if hand_on.send(look(&mut looker, block)).is_err() {
                break;
            }
        }
    });
    (turn, (found, work))
}

fn look<L: Look>(looker: &mut L, block: Block) -> Vec<L::Found> {
    let mut rest = block.text.as_str();
    let one = |(line, held)| match held {
        Held::Text(length) => {
            let (text, behind) = rest.split_at_checked(length).unwrap_or((rest, ""));
            rest = behind;
            looker.take(line, text)
        }
        Held::Refused(refusal) => looker.refuse(line, refusal),
    };
    block.measurements.into_iter().map(one).collect()
}

/// Takes from each in turn. Whoever has nothing more is the end of the file, since it would have been its turn.
fn gather<F>(crew: Vec<Employed<F>>, found: &mut dyn FnMut(F) -> Result<(), Stop>) -> Result<(), Stop> {
    let (findings, work): (Vec<_>, Vec<_>) = crew.into_iter().unzip();
    for turn in findings.iter().cycle() {
        let Ok(findings) = turn.recv() else { break };
        findings.into_iter().try_for_each(&mut *found)?;
    }
    // Unless it came to grief: then that is what happens here too, and nothing is passed over in silence.
    drop(findings);
    work.into_iter().for_each(joined);
    Ok(())
}

/// What a thread came to; its panic if it did.
fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use super::*;

    /// Tells line and text; panics where the text says so.
    struct Tell;

    impl Look for Tell {
        type Found = String;

        fn take(&mut self, line: u64, text: &str) -> String {
            assert_ne!(text, "\"panic\"");
            format!("{line} {text}")
        }

        fn refuse(&mut self, line: u64, refusal: Refusal) -> String {
            format!("{line} {}", refusal.reason.name())
        }
    }

    fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn told(content: &[u8], format: Format, lookers: usize) -> (Vec<String>, Result<(), String>) {
        let (_folder, path) = file(content);
        let mut all = Vec::new();
        let lookers = (0..lookers).map(|_| Tell).collect();
        let end = read(&Source::at(&path), format, lookers, &mut |found| {
            all.push(found);
            Ok(())
        });
        (all, end.map_err(|stop| format!("{stop:?}")))
    }

    /// Lines of every length, with some that are none, in many more blocks than there are lookers.
    fn ndjson() -> Vec<u8> {
        let mut content = Vec::new();
        for line in 1..9_000_usize {
            match line % 700 {
                0 => content.extend(b"\xff\n"),
                1 => content.extend(b" \n"),
                2 => content.extend([vec![b'x'; 200_000], b"\n".to_vec()].concat()),
                bytes => content.extend([vec![b'y'; bytes], b"\n".to_vec()].concat()),
            }
        }
        content
    }

    #[test]
    fn many_lookers_find_what_one_finds_in_the_same_order() {
        let json = format!("[{}]", vec!["{\"a\":1}"; 5_000].join(",\n"));
        for (content, format) in [(ndjson(), Format::Ndjson), (json.into_bytes(), Format::Json), (Vec::new(), Format::Ndjson)] {
            let alone = told(&content, format, 1);
            for lookers in [2, 3, 8] {
                assert!(told(&content, format, lookers) == alone, "{lookers} lookers, {format:?}");
            }
            assert!(alone.1.is_ok());
        }
    }

    #[test]
    fn what_stands_before_a_fault_is_handed_on_and_the_fault_comes_last() {
        let json = format!("[{},\n x]", vec!["{\"a\":1}"; 3_000].join(",\n"));
        for lookers in [1, 2, 5] {
            let (found, end) = told(json.as_bytes(), Format::Json, lookers);
            assert_eq!((found.len(), found.last().map(String::as_str)), (3_000, Some("3000 {\"a\":1}")));
            assert!(end.unwrap_err().starts_with("Line { line: 3001"), "{lookers}");
        }
    }

    #[test]
    fn what_is_no_file_is_spread_as_a_file_is() {
        let content = ndjson();
        for lookers in [1, 3] {
            let given = Source::of("an object", None, std::io::Cursor::new(content.clone()));
            let mut all = Vec::new();
            let end = read(&given, Format::Auto, (0..lookers).map(|_| Tell).collect(), &mut |found| {
                all.push(found);
                Ok(())
            });
            assert!(matches!(end, Err(Stop::Line { line: 1, .. })), "its format cannot be told: {end:?}");
            let given = Source::of("an object", None, std::io::Cursor::new(content.clone()));
            read(&given, Format::Ndjson, (0..lookers).map(|_| Tell).collect(), &mut |found| {
                all.push(found);
                Ok(())
            })
            .unwrap();
            assert!(all == told(&content, Format::Ndjson, lookers).0);
        }
    }

    #[test]
    fn a_source_that_cannot_be_opened_is_said() {
        for lookers in [1, 2] {
            let nowhere = Source::at(&PathBuf::from("/nowhere/at/all"));
            let end = read(&nowhere, Format::Auto, (0..lookers).map(|_| Tell).collect(), &mut |_| Ok(()));
            assert!(matches!(end, Err(Stop::Unreadable(_))), "{end:?}");
        }
    }

    #[test]
    fn whoever_wants_no_more_is_not_kept_waiting_by_a_pipe_in_which_nothing_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let writing = path.clone();
        let writer = std::thread::spawn(move || {
            let mut pipe = std::fs::OpenOptions::new().write(true).open(writing).unwrap();
            pipe.write_all(&b"1\n".repeat(2 * BLOCK_MEASUREMENTS_MAX)).unwrap();
            pipe
        });
        let mut taken = 0;
        let end = read(&Source::at(&path), Format::Ndjson, vec![Tell, Tell], &mut |_| {
            taken += 1;
            Err(Stop::NotWanted)
        });
        assert!(matches!(end, Err(Stop::NotWanted)) && taken == 1);
        drop(writer.join().unwrap());
    }

    #[test]
    #[should_panic(expected = "assertion")]
    fn a_looker_that_comes_to_grief_is_no_end_of_the_file() {
        let content = "\"a\"\n".repeat(3_000) + "\"panic\"\n" + &"\"b\"\n".repeat(3_000);
        drop(told(content.as_bytes(), Format::Ndjson, 2));
    }
}
