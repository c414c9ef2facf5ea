//! The files that were uploaded, on disk: beside the journal if there is one, else temporary.
//!
//! A file is written as it arrives and read in pieces, so it is never in memory as a whole. It is kept after it was
//! processed: the books say where in it a measurement stands, as they do with the body of a request. One that did not
//! arrive whole is removed.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::rows::Rows;

/// Bytes read at once from a file.
const PIECE_BYTES: usize = 1 << 16;
/// How the name of a file ends that has not arrived yet.
const PART: &str = "part";

/// One uploaded file.
#[derive(Debug)]
pub(crate) struct Spool {
    file: File,
    /// Where the file is until it is kept; removed if it never is.
    part: Option<PathBuf>,
}

/// The folder of the files that belong to the journal `data`.
pub(crate) fn folder_of(data: &Path) -> PathBuf {
    let mut name = OsString::from(data);
    name.push(".uploads");
    PathBuf::from(name)
}

/// Removes what arrived in part when the process died.
pub(crate) fn sweep(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == PART) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Where the file of `job` is kept.
fn place_of(folder: &Path, job: usize) -> PathBuf {
    folder.join(format!("{job}.json"))
}

impl Spool {
    /// An empty file in `folder`, or a temporary one. `number` is different for each that is written at one time.
    pub(crate) fn create(folder: Option<&Path>, number: u64) -> io::Result<Self> {
        let Some(folder) = folder else { return Ok(Self { file: tempfile::tempfile()?, part: None }) };
        fs::create_dir_all(folder)?;
        let part = folder.join(format!("{number}.{PART}"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&part)?;
        Ok(Self { file, part: Some(part) })
    }

    /// Opens the file of `job` again; it must have this length.
    pub(crate) fn open(folder: &Path, job: usize, bytes: u64) -> io::Result<Self> {
        let file = File::open(place_of(folder, job))?;
        let found = file.metadata()?.len();
        if found != bytes {
            return Err(io::Error::other(format!("expected {bytes} bytes, found {found}")));
        }
        Ok(Self { file, part: None })
    }

    /// Appends what arrived.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Keeps the file as that of `job`.
    pub(crate) fn keep(&mut self, job: usize) -> io::Result<()> {
        let Some(part) = &self.part else { return Ok(()) };
        fs::rename(part, place_of(part.parent().unwrap_or(part), job))?;
        self.part = None;
        Ok(())
    }

    /// Up to `length` bytes from `start` on; fewer only at the end of the file.
    pub(crate) fn read(&self, start: u64, length: usize) -> io::Result<Vec<u8>> {
        // The file's position is shared with all who read it, so each reader sets it; the lock of the books is held.
        let mut file = &self.file;
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The piece from `start` on, of a size that is good for reading through; empty at the end.
    pub(crate) fn piece(&self, start: u64) -> io::Result<Vec<u8>> {
        self.read(start, PIECE_BYTES)
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Some(part) = &self.part {
            // What stays behind is swept away when the journal is opened again.
            let _ = fs::remove_file(part);
        }
    }
}

/// Reads the rows of a file one after another.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    rows: Rows,
    at: u64,
    /// Rows that were read in the last piece, the next one last.
    ready: Vec<(u64, Box<str>)>,
}

impl Reader {
    /// The next row with its place in the file; `None` at the end.
    ///
    /// # Errors
    /// In words: the file cannot be read, or does not hold what it held when it arrived.
    pub(crate) fn next(&mut self, spool: &Spool) -> Result<Option<(u64, Box<str>)>, String> {
        while self.ready.is_empty() {
            let piece = spool.piece(self.at).map_err(|fault| format!("the file cannot be read: {}", fault.kind()))?;
            if piece.is_empty() {
                return Ok(None);
            }
            self.at += piece.len() as u64;
            let ready = &mut self.ready;
            self.rows.take(&piece, |start, text| {
                ready.push((start, text.into()));
                Ok(())
            })?;
            self.ready.reverse();
        }
        Ok(self.ready.pop())
    }
}
