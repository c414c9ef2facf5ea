//! Opens input, unpacks it and finds out what it is.
//!
//! gzip and zstd are known by their first bytes, not by the file's name: a name promises nothing, and standard input has
//! none. The format is read off the first characters too, and only as many are waited for as that takes, so that a pipe
//! which trickles is not held up.

use std::fs::File;
use std::io::{BufReader, Cursor, Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use relay_core::reason::Reason;

use crate::read::Stop;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// To be read off the first characters.
    Auto,
    /// One JSON object a line.
    Ndjson,
    /// A JSON array, or `{"measurements":[…]}`.
    Json,
    /// A header line, and one measurement a line.
    Csv,
}

/// One input: a file, or standard input.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    /// Bytes read so far, packed as they are.
    bytes_read: Arc<AtomicU64>,
}

/// Most bytes waited for to tell formats apart: a CSV header of some hundred columns.
const LOOK_BYTES_MAX: usize = 16 * 1024;
/// A buffer that makes few system calls and stays in the processor's cache.
const BUFFER_BYTES: usize = 64 * 1024;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is read from.
pub type Stream = Box<dyn Read>;

/// Whether `error` says that the data is at fault, such as broken compression; everything else is the world's.
pub fn is_of_the_data(error: &Error) -> bool {
    use ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    error.raw_os_error().is_none() && matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof | Other)
}

/// Counts what is read of a stream.
struct Counted {
    inner: Stream,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

impl Source {
    /// The file at `path`; `-` is standard input.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), bytes_read: Arc::default() }
    }

    /// What error messages call it.
    pub fn name(&self) -> String {
        if self.is_standard_input() { "standard input".to_owned() } else { self.path.display().to_string() }
    }

    fn is_standard_input(&self) -> bool {
        self.path.as_os_str() == "-"
    }

    /// How many bytes it has, packed as they are; `None` of what is no file.
    pub fn bytes(&self) -> Option<u64> {
        let about = std::fs::metadata(&self.path).ok().filter(std::fs::Metadata::is_file)?;
        (!self.is_standard_input()).then_some(about.len())
    }

    /// How many of them were read. Clones share this.
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// Fails unless the file can be opened and is no folder. Called for all of them before the first is sent.
    ///
    /// # Errors
    /// The system's reason.
    pub fn check(&self) -> std::io::Result<()> {
        if self.is_standard_input() {
            return Ok(());
        }
        let about = std::fs::metadata(&self.path)?;
        if about.is_dir() {
            return Err(Error::new(ErrorKind::IsADirectory, "expected a file, found a folder"));
        }
        // A pipe is opened once: closing it again would end whoever writes to it.
        if about.is_file() {
            File::open(&self.path)?;
        }
        Ok(())
    }

    /// Opens it: the unpacked content without byte order mark, and its format, never [`Format::Auto`].
    ///
    /// # Errors
    /// [`Stop::Unreadable`] if it cannot be opened, [`Stop::Line`] if its format cannot be told.
    pub fn open(&self, wanted: Format) -> Result<(Stream, Format), Stop> {
        let raw: Stream = if self.is_standard_input() {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(&self.path).map_err(Stop::Unreadable)?)
        };
        let raw: Stream = Box::new(Counted { inner: raw, bytes_read: Arc::clone(&self.bytes_read) });
        let (head, raw) = look(raw, |head, _| head.len() >= ZSTD_MAGIC.len()).map_err(Stop::Unreadable)?;
        let plain: Stream = if head.starts_with(GZIP_MAGIC) {
            Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, raw)))
        } else if head.starts_with(ZSTD_MAGIC) {
            Box::new(zstd::stream::read::Decoder::new(raw).map_err(Stop::Unreadable)?)
        } else {
            raw
        };
        Self::tell(plain, wanted)
    }

    fn tell(plain: Stream, wanted: Format) -> Result<(Stream, Format), Stop> {
        let enough = |head: &[u8], ended: bool| tell_format(head, ended) != Told::NotYet;
        let (head, mut plain) = look(plain, enough).map_err(Stop::Unreadable)?;
        if head.starts_with(BYTE_ORDER_MARK) {
            let mut mark = [0; BYTE_ORDER_MARK.len()];
            plain.read_exact(&mut mark).map_err(Stop::Unreadable)?;
        }
        if wanted != Format::Auto {
            return Ok((plain, wanted));
        }
        match tell_format(&head, true) {
            Told::Is(format) => Ok((plain, format)),
            Told::NotYet | Told::Unknown => Err(Stop::at(
                1,
                Reason::EnvelopeInvalid,
                "expected a JSON object, a JSON array, or a CSV header with the columns meter, account and ts",
            )),
        }
    }
}

/// What the first characters say.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Is(Format),
    NotYet,
    Unknown,
}

/// Tells the format by `head`; `ended` if no more will come.
fn tell_format(head: &[u8], ended: bool) -> Told {
    let text = head.strip_prefix(BYTE_ORDER_MARK).unwrap_or(head).trim_ascii_start();
    let more = if ended { Told::Unknown } else { Told::NotYet };
    match text.split_first() {
        // Nothing at all is no measurements, in any format.
        None => {
            if ended {
                Told::Is(Format::Ndjson)
            } else {
                Told::NotYet
            }
        }
        Some((b'[', _)) => Told::Is(Format::Json),
        Some((b'{', rest)) => tell_object(rest.trim_ascii_start(), ended),
        Some(_) if BYTE_ORDER_MARK.starts_with(text) => more,
        Some(_) => match text.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(end) => tell_header(text.get(..end).unwrap_or_default()),
            None if ended => tell_header(text),
            None => more,
        },
    }
}

/// `{"measurements"` opens a document; any other object is a measurement on its line.
fn tell_object(rest: &[u8], ended: bool) -> Told {
    const KEY: &[u8] = b"\"measurements\"";
    if rest.starts_with(KEY) {
        Told::Is(Format::Json)
    } else if !ended && KEY.starts_with(rest) {
        Told::NotYet
    } else {
        Told::Is(Format::Ndjson)
    }
}

/// A header names the three columns that no measurement can do without.
fn tell_header(line: &[u8]) -> Told {
    let has = |wanted: &[u8]| line.split(|byte| *byte == b',').any(|cell| unquoted(cell) == wanted);
    if has(b"meter") && has(b"account") && has(b"ts") { Told::Is(Format::Csv) } else { Told::Unknown }
}

fn unquoted(cell: &[u8]) -> &[u8] {
    let cell = cell.trim_ascii();
    cell.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(cell).trim_ascii()
}

/// Reads until `enough`, the end, or [`LOOK_BYTES_MAX`]; returns what was read, and the stream as if it had not been.
fn look(mut stream: Stream, enough: impl Fn(&[u8], bool) -> bool) -> std::io::Result<(Vec<u8>, Stream)> {
    let mut head = vec![0; LOOK_BYTES_MAX];
    let mut length = 0;
    while let Some(room) = head.get_mut(length..).filter(|room| !room.is_empty()) {
        match stream.read(room) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if enough(head.get(..length).unwrap_or_default(), false) {
            break;
        }
    }
    head.truncate(length);
    Ok((head.clone(), Box::new(Cursor::new(head).chain(stream))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_characters_tell_the_format() {
        for (head, told) in [
            ("[{\"uid\"", Told::Is(Format::Json)),
            (" \n [", Told::Is(Format::Json)),
            ("{\"measurements\" :[", Told::Is(Format::Json)),
            ("{ \"uid\":1}", Told::Is(Format::Ndjson)),
            ("{", Told::Is(Format::Ndjson)),
            ("", Told::Is(Format::Ndjson)),
            ("\u{feff}[", Told::Is(Format::Json)),
            ("uid,meter,account,ts\n", Told::Is(Format::Csv)),
            ("\"uid\", \"ts\",\"account\",\"meter\"", Told::Is(Format::Csv)),
            ("uid,meter,account\n1,2,3", Told::Unknown),
            ("hello", Told::Unknown),
            ("\"text\"", Told::Unknown),
        ] {
            assert_eq!(tell_format(head.as_bytes(), true), told, "{head}");
        }
    }

    #[test]
    fn a_pipe_that_trickles_is_waited_for_only_while_it_matters() {
        for (head, told) in [
            ("", Told::NotYet),
            (" \n", Told::NotYet),
            ("{", Told::NotYet),
            ("{\"meas", Told::NotYet),
            ("{\"met", Told::Is(Format::Ndjson)),
            ("{\"u", Told::Is(Format::Ndjson)),
            ("uid,meter", Told::NotYet),
            ("[", Told::Is(Format::Json)),
        ] {
            assert_eq!(tell_format(head.as_bytes(), false), told, "{head}");
        }
        assert_eq!(tell_format(b"\xef\xbb", false), Told::NotYet);
    }

    #[test]
    fn looking_ahead_takes_nothing_away() {
        let text = "x".repeat(3 * LOOK_BYTES_MAX);
        let (head, mut stream) = look(Box::new(Cursor::new(text.clone())), |_, _| false).unwrap();
        assert_eq!(head.len(), LOOK_BYTES_MAX);
        let mut all = String::new();
        stream.read_to_string(&mut all).unwrap();
        assert_eq!(all, text);
    }
}
