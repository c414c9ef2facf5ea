//! Opens input, unpacks it and finds out what it is.
//!
//! Input is a file, standard input, or whatever else can be read, such as an object that comes out of a store while it is read.
//!
//! gzip and zstd are known by their first bytes, not by the file's name: a name promises nothing, and standard input has
//! none. The format is read off the first characters too, and only as many are waited for as that takes, so that a pipe
//! which trickles is not held up.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Cursor, Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

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
    /// Columns by the same names. Only with the feature `parquet`, and only from a file.
    Parquet,
}

/// One input.
#[derive(Debug, Clone)]
pub struct Source {
    input: Input,
    /// Bytes read so far, packed as they are.
    bytes_read: Arc<AtomicU64>,
    /// So many rows at its beginning are passed over.
    behind: u64,
}

/// Where the bytes come from.
#[derive(Clone)]
enum Input {
    Path(PathBuf),
    /// Whatever can be read, once: empty when it was opened.
    Given {
        name: String,
        bytes: Option<u64>,
        reader: Arc<Mutex<Option<Stream>>>,
    },
}

impl fmt::Debug for Input {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(out),
            Self::Given { name, .. } => name.fmt(out),
        }
    }
}

/// Most bytes waited for to tell formats apart: a CSV header of some hundred columns.
const LOOK_BYTES_MAX: usize = 16 * 1024;
/// A buffer that makes few system calls and stays in the processor's cache.
const BUFFER_BYTES: usize = 64 * 1024;
const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const PARQUET_MAGIC: &[u8] = b"PAR1";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What is read from.
pub type Stream = Box<dyn Read + Send>;

/// Whether `error` says that the data is at fault, such as broken compression; everything else is the world's.
pub fn is_of_the_data(error: &Error) -> bool {
    use ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    error.raw_os_error().is_none() && matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof | Other)
}

/// Counts what is read of a stream. Where that fails, the data is not at fault, whatever the stream calls it.
struct Counted {
    inner: Stream,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let of_the_world = |error: Error| match is_of_the_data(&error) {
            true => Error::new(ErrorKind::ConnectionAborted, error),
            false => error,
        };
        let length = self.inner.read(buffer).map_err(of_the_world)?;
        self.bytes_read.fetch_add(length as u64, Ordering::Relaxed);
        Ok(length)
    }
}

impl Source {
    /// The file at `path`; `-` is standard input.
    pub fn at(path: &Path) -> Self {
        Self { input: Input::Path(path.to_owned()), bytes_read: Arc::default(), behind: 0 }
    }

    /// What `reader` reads, packed or not: of so many `bytes` if they are known, and called `name`. It can be opened once.
    pub fn of(name: impl Into<String>, bytes: Option<u64>, reader: impl Read + Send + 'static) -> Self {
        let reader = Arc::new(Mutex::new(Some(Box::new(reader) as Stream)));
        Self { input: Input::Given { name: name.into(), bytes, reader }, bytes_read: Arc::default(), behind: 0 }
    }

    /// The same without its first `rows` rows, good or bad: they are read, and handed to nobody. Lines keep their numbers.
    pub fn behind(self, rows: u64) -> Self {
        Self { behind: rows, ..self }
    }

    /// How many rows at its beginning are passed over.
    pub(crate) fn passed_over(&self) -> u64 {
        self.behind
    }

    /// What error messages call it.
    pub fn name(&self) -> String {
        match &self.input {
            Input::Path(path) if is_standard_input(path) => "standard input".to_owned(),
            Input::Path(path) => path.display().to_string(),
            Input::Given { name, .. } => name.clone(),
        }
    }

    /// How many bytes it has, packed as they are; `None` where that is not known, as of a pipe.
    pub fn bytes(&self) -> Option<u64> {
        match &self.input {
            Input::Path(path) if is_standard_input(path) => None,
            Input::Path(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|about| about.len()),
            Input::Given { bytes, .. } => *bytes,
        }
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
        let path = match &self.input {
            Input::Path(path) if !is_standard_input(path) => path,
            Input::Path(_) | Input::Given { .. } => return Ok(()),
        };
        let about = std::fs::metadata(path)?;
        if about.is_dir() {
            return Err(Error::new(ErrorKind::IsADirectory, "expected a file, found a folder"));
        }
        // A pipe is opened once: closing it again would end whoever writes to it.
        if about.is_file() {
            File::open(path)?;
        }
        Ok(())
    }

    fn raw(&self) -> std::io::Result<Stream> {
        match &self.input {
            Input::Path(path) if is_standard_input(path) => Ok(Box::new(std::io::stdin())),
            Input::Path(path) => Ok(Box::new(File::open(path)?)),
            Input::Given { reader, .. } => {
                let taken = reader.lock().ok().and_then(|mut reader| reader.take());
                taken.ok_or_else(|| Error::new(ErrorKind::NotSeekable, "it can be read once, and was"))
            }
        }
    }

    /// Opens it as a file, whose bytes can be read in any order; `None` of what is none.
    #[cfg(feature = "parquet")]
    pub(crate) fn file(&self) -> std::io::Result<Option<(File, Arc<AtomicU64>)>> {
        let path = match &self.input {
            Input::Path(path) if !is_standard_input(path) => path,
            Input::Path(_) | Input::Given { .. } => return Ok(None),
        };
        let is_file = std::fs::metadata(path)?.is_file();
        is_file.then(|| Ok((File::open(path)?, Arc::clone(&self.bytes_read)))).transpose()
    }

    /// Opens it: the unpacked content without byte order mark, and its format, never [`Format::Auto`]. Parquet is left as it is.
    ///
    /// # Errors
    /// [`Stop::Unreadable`] if it cannot be opened, [`Stop::Line`] if its format cannot be told.
    pub fn open(&self, wanted: Format) -> Result<(Stream, Format), Stop> {
        let raw = self.raw().map_err(Stop::Unreadable)?;
        let raw: Stream = Box::new(Counted { inner: raw, bytes_read: Arc::clone(&self.bytes_read) });
        let (head, raw) = look(raw, |head, _| head.len() >= ZSTD_MAGIC.len()).map_err(Stop::Unreadable)?;
        match (head.starts_with(PARQUET_MAGIC), wanted) {
            (true, _) => return Ok((raw, Format::Parquet)),
            (false, Format::Parquet) => {
                return Err(Stop::at(1, Reason::EnvelopeInvalid, "expected Parquet, which begins with the characters PAR1"));
            }
            (false, Format::Auto | Format::Ndjson | Format::Json | Format::Csv) => {}
        }
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

fn is_standard_input(path: &Path) -> bool {
    path.as_os_str() == "-"
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

    fn packed(text: &[u8]) -> [Vec<u8>; 3] {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text).unwrap();
        [text.to_vec(), gzip.finish().unwrap(), zstd::encode_all(text, 1).unwrap()]
    }

    #[test]
    fn what_is_handed_in_is_unpacked_told_and_counted_like_a_file() {
        let text = "\u{feff}{\"measurements\" : []}";
        for bytes in packed(text.as_bytes()) {
            let (folder, length) = (tempfile::tempdir().unwrap(), bytes.len() as u64);
            let path = folder.path().join("in");
            std::fs::write(&path, &bytes).unwrap();
            for source in [Source::at(&path), Source::of("an object", Some(length), Cursor::new(bytes))] {
                let (mut stream, format) = source.open(Format::Auto).unwrap();
                let mut found = String::new();
                stream.read_to_string(&mut found).unwrap();
                assert_eq!((found.as_str(), format), (text.trim_start_matches('\u{feff}'), Format::Json), "{source:?}");
                assert_eq!((source.bytes(), source.bytes_read()), (Some(length), length), "{source:?}");
            }
        }
    }

    #[test]
    fn what_is_handed_in_is_read_once_and_says_so() {
        let source = Source::of("an object", None, &b"{}"[..]);
        assert!(source.check().is_ok() && source.open(Format::Auto).is_ok());
        let Err(Stop::Unreadable(error)) = source.clone().open(Format::Auto) else { panic!("it was read twice") };
        assert_eq!((source.name().as_str(), error.to_string().as_str()), ("an object", "it can be read once, and was"));
        assert!(!is_of_the_data(&error));
    }

    #[test]
    fn a_stream_that_breaks_off_is_no_fault_of_the_data() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(Error::new(ErrorKind::UnexpectedEof, "the store hung up"))
            }
        }
        for (head, format) in [(&b"{}\n"[..], Format::Ndjson), (b"[{},", Format::Json), (b"meter,account,ts\n", Format::Csv)] {
            for packed in packed(head) {
                let source = Source::of("an object", None, Cursor::new(packed).chain(Broken));
                let Err(Stop::Unreadable(error)) = crate::read::read(&source, format, &mut |_: u64, _: &str| Ok(())) else {
                    panic!("it was read")
                };
                assert!(!is_of_the_data(&error), "{error:?}");
            }
        }
    }
}
