//! What a process printed, readable while it runs and after it ended.
//!
//! The rule: what the process wrote before it answered is in [`Stream::bytes`] as soon as the answer is here. So a read first
//! empties the pipe itself; waiting for a background reader to get its turn would make every assertion on a log line a race.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::timeout;

/// Both output streams of one process. Cloning gives another handle on the same bytes, which outlives the process.
#[derive(Clone, Debug)]
pub struct Output {
    /// What it wrote to standard output, where a function's JSON log lines go.
    pub stdout: Stream,
    /// What it wrote to standard error.
    pub stderr: Stream,
}

impl Output {
    /// Waits until the process closed both streams, at most `within`: then nothing more can come.
    pub(crate) async fn closed(&self, within: Duration) {
        // Running out of time is not a fault: a grandchild may hold the pipe, and what was written so far is still readable.
        let _elapsed = timeout(within, async {
            self.stdout.closed().await;
            self.stderr.closed().await;
        })
        .await;
    }
}

/// One output stream.
#[derive(Clone)]
pub struct Stream(Arc<Inner>);

struct Inner {
    pipe: pipe::Receiver,
    written: Mutex<Vec<u8>>,
    progress: watch::Sender<Progress>,
}

/// How far a stream has come; each change wakes those who wait for a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    bytes: usize,
    closed: bool,
}

/// The line did not come in time, or can no longer come.
#[derive(Debug, thiserror::Error)]
#[error("no such line within {within:?}; so far:\n{so_far}")]
pub struct NoSuchLine {
    /// How long was waited at most.
    pub within: Duration,
    /// Everything the stream held by then.
    pub so_far: String,
}

impl Stream {
    /// Takes over the reading end of a pipe. Needs a tokio runtime, which keeps the pipe from filling up.
    pub(crate) fn capture(pipe: OwnedFd) -> io::Result<Self> {
        let inner = Arc::new(Inner {
            pipe: pipe::Receiver::from_owned_fd(pipe)?,
            written: Mutex::new(Vec::new()),
            progress: watch::Sender::new(Progress::default()),
        });
        let background = Arc::clone(&inner);
        tokio::spawn(async move {
            while background.pipe.readable().await.is_ok() {
                // tokio's own read, not the direct one: it must see "would block" to wait for the next readiness.
                drop(background.empty_pipe(|pipe, buffer| pipe.try_read(buffer)));
                if background.progress.borrow().closed {
                    return;
                }
            }
        });
        Ok(Self(inner))
    }

    /// Every byte written so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.0.empty_pipe(|pipe, buffer| rustix::io::read(pipe, buffer).map_err(io::Error::from)).clone()
    }

    /// Everything written so far as text; what is not UTF-8 shows as U+FFFD.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// The lines written so far, without line ends. The last one may still be unfinished.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.text().lines().map(str::to_owned).collect()
    }

    /// Waits at most `within` for a finished line that `wanted` accepts, and returns the first one.
    ///
    /// # Errors
    /// [`NoSuchLine`] when the time is up or the stream closed without such a line.
    pub async fn wait_for_line(&self, within: Duration, wanted: impl Fn(&str) -> bool) -> Result<String, NoSuchLine> {
        let mut progress = self.0.progress.subscribe();
        let search = async {
            loop {
                let closed = progress.borrow_and_update().closed;
                let text = self.text();
                let finished = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
                if let Some(line) = finished.lines().find(|line| wanted(line)) {
                    return Some(line.to_owned());
                }
                if closed || progress.changed().await.is_err() {
                    return None;
                }
            }
        };
        timeout(within, search).await.ok().flatten().ok_or_else(|| NoSuchLine { within, so_far: self.text() })
    }

    async fn closed(&self) {
        let mut progress = self.0.progress.subscribe();
        // An error would mean that the sender is gone, and we hold it.
        let _progress = progress.wait_for(|progress| progress.closed).await;
    }
}

impl Inner {
    /// Reads until the pipe is empty or closed, and gives back all that was ever read.
    fn empty_pipe(&self, mut read: impl FnMut(&pipe::Receiver, &mut [u8]) -> io::Result<usize>) -> MutexGuard<'_, Vec<u8>> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut closed = self.progress.borrow().closed;
        let mut buffer = [0; 8192];
        while !closed {
            match read(&self.pipe, &mut buffer) {
                Ok(0) => closed = true,
                Ok(count) => written.extend(buffer.iter().take(count)),
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => break,
                Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => closed = true,
            }
        }
        let now = Progress { bytes: written.len(), closed };
        self.progress.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        written
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BOUND: Duration = Duration::from_secs(20);

    /// Nothing is awaited between write and read, and this runtime has one thread: the background reader cannot have run.
    #[tokio::test]
    async fn what_was_written_is_readable_at_once() {
        let (reader, mut writer) = io::pipe().unwrap();
        let stream = Stream::capture(reader.into()).unwrap();
        writer.write_all(b"first\nsec").unwrap();
        assert_eq!(stream.bytes(), b"first\nsec");
        writer.write_all(b"ond\n").unwrap();
        assert_eq!(stream.lines(), ["first", "second"]);
    }

    #[tokio::test]
    async fn a_line_is_waited_for_until_it_is_finished_and_no_longer_than_it_can_come() {
        let (reader, mut writer) = io::pipe().unwrap();
        let stream = Stream::capture(reader.into()).unwrap();
        writer.write_all(b"re").unwrap();
        let line = stream.wait_for_line(BOUND, |line| line.starts_with("re"));
        let rest = async { writer.write_all(b"ady\n") };
        let (line, written) = tokio::join!(line, rest);
        written.unwrap();
        assert_eq!(line.unwrap(), "ready");

        drop(writer);
        let forever = Duration::from_secs(1_000_000);
        let missing = timeout(BOUND, stream.wait_for_line(forever, |line| line == "more")).await.unwrap().unwrap_err();
        assert_eq!(missing.so_far, "ready\n");
    }

    /// A process that nobody reads would otherwise stand still once its pipe is full.
    #[tokio::test]
    async fn a_pipe_is_emptied_without_being_asked() {
        let (reader, writer) = io::pipe().unwrap();
        let stream = Stream::capture(reader.into()).unwrap();
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer;
            writer.write_all(&[b'x'; 1_000_000])
        });
        timeout(BOUND, written).await.unwrap().unwrap().unwrap();
        stream.closed().await;
        assert_eq!(stream.bytes().len(), 1_000_000);
    }
}
