//! Mints uids for measurements that have none, and keeps them: the whole input goes to a file before any of it is sent.
//!
//! A measurement without a uid has no identity: sent twice, it is billed twice. A uid minted on the fly would not help,
//! since a second run would mint another. So `--save FILE` first writes every measurement of the input, complete with
//! uid, then sends FILE; whatever happens after that, `send FILE` sends the same uids again.
//!
//! All of it before any of it, not line by line: a run that stops in the middle would otherwise leave a file with half of
//! the input, and a run with the whole input would mint new uids for the half that was already sent.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use files::read::Stop;
use files::source::{Format, Source};

use super::measurement::{Uid, inspect, write_line};
use super::read;
use crate::failure::Failure;
use crate::figures::counted;
use crate::terminal::Progress;

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    /// All measurements.
    pub(crate) measurements: u64,
    /// Those that had no uid until now.
    pub(crate) minted: u64,
}

/// Writes every measurement of `sources`, with a UUIDv7 where the uid is missing, to a new file at `path`.
///
/// The file appears under its name only when it is whole and on disk.
///
/// # Errors
/// [`Failure`] if the input is at fault, if `path` exists already, or if it cannot be written. Nothing is left behind.
pub(crate) fn save(sources: &[Source], format: Format, path: &Path, progress: &Progress) -> Result<Saved, Failure> {
    if path.exists() {
        let path = path.display();
        return Err(Failure::Data(format!(
            "expected {path} not to exist: it may hold the only copy of uids already sent; `usage-relay send {path}` sends it"
        )));
    }
    let partial = partial_name(path);
    let saved = write_all(sources, format, &partial, progress).and_then(|saved| {
        std::fs::rename(&partial, path).and_then(|()| sync_folder(path)).map_err(|error| unwritable(path, &error))?;
        Ok(saved)
    });
    if saved.is_err() {
        drop(std::fs::remove_file(&partial));
    }
    saved
}

fn write_all(sources: &[Source], format: Format, path: &Path, progress: &Progress) -> Result<Saved, Failure> {
    let file = File::create(path).map_err(|error| unwritable(path, &error))?;
    let mut out = BufWriter::new(file);
    let (mut saved, mut line_out, mut fault) = (Saved::default(), String::new(), None);
    for source in sources {
        let outcome = read::read(source, format, &mut |line: u64, text: &str| {
            let uid = inspect(text).map_err(|fault| fault.stop(line))?;
            line_out.clear();
            write_line(text, &uid, uuid::Uuid::now_v7, &mut line_out);
            // Minting makes a measurement longer: what is saved must be sendable too.
            inspect(line_out.trim_ascii_end()).map_err(|fault| fault.stop(line))?;
            out.write_all(line_out.as_bytes()).map_err(|error| {
                fault = Some(unwritable(path, &error));
                Stop::NotWanted
            })?;
            saved.measurements += 1;
            saved.minted += u64::from(uid != Uid::Given);
            progress.set(saved.measurements);
            Ok(())
        });
        if let Err(failure) = outcome {
            let failure = failure.or(fault).unwrap_or_else(|| Failure::CouldNot("saving was stopped".to_owned()));
            return Err(say_nothing_was_sent(failure));
        }
    }
    let file = out.into_inner().map_err(|error| unwritable(path, error.error()))?;
    file.sync_all().map_err(|error| unwritable(path, &error))?;
    Ok(saved)
}

fn say_nothing_was_sent(failure: Failure) -> Failure {
    match failure {
        Failure::Data(text) => Failure::Data(format!("{text} (nothing was sent, nothing was saved)")),
        Failure::CouldNot(text) => Failure::CouldNot(format!("{text} (nothing was sent, nothing was saved)")),
        Failure::Usage(text) => Failure::Usage(text),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::CouldNot(format!("cannot write {}: {error}", path.display()))
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".partial");
    PathBuf::from(name)
}

/// A rename lasts only once the folder is on disk too.
///
/// # Errors
/// The system's.
pub(crate) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

impl Saved {
    /// One line for people: what was kept, and why it matters.
    pub(crate) fn told(&self, path: &Path) -> String {
        format!(
            "saved {} to {path}, {} minted; to send them again run `usage-relay send {path}`, which counts nothing twice",
            counted(self.measurements, "measurement"),
            counted(self.minted, "uid"),
            path = path.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn save_text(text: &str) -> (tempfile::TempDir, PathBuf, Result<Saved, Failure>) {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in"), folder.path().join("out"));
        std::fs::write(&input, text).unwrap();
        let saved = save(&[Source::at(&input)], Format::Auto, &output, &Progress::start(None, ""));
        (folder, output, saved)
    }

    #[test]
    fn what_has_a_uid_is_saved_as_written_and_what_has_none_gets_one() {
        let (_folder, output, saved) = save_text("{\"uid\":\"a\",\"n\": 1.0}\n{\"n\":2}\n");
        assert_eq!(saved, Ok(Saved { measurements: 2, minted: 1 }));
        let text = std::fs::read_to_string(output).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "{\"uid\":\"a\",\"n\": 1.0}");
        let minted: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(uuid::Uuid::parse_str(minted["uid"].as_str().unwrap()).unwrap().get_version_num(), 7);
        assert_eq!(minted["n"], 2);
    }

    #[test]
    fn a_bad_line_leaves_no_file_behind() {
        let (folder, _, saved) = save_text("{\"n\":1}\nhello\n");
        let text = saved.unwrap_err().to_string();
        assert!(text.ends_with("line 2: expected one JSON object (nothing was sent, nothing was saved)"), "{text}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the input is left");
    }

    #[test]
    fn a_file_that_exists_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        std::fs::write(&kept, "uids").unwrap();
        let saved = save(&[], Format::Auto, &kept, &Progress::start(None, ""));
        assert!(matches!(saved, Err(Failure::Data(_))), "{saved:?}");
        assert_eq!(std::fs::read_to_string(&kept).unwrap(), "uids");
    }
}
