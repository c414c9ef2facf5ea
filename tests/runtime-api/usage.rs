//! What a running process has cost so far: CPU time and peak memory, as Linux counts them.
//!
//! CPU time is read twice. `/proc/<pid>/stat` counts ended threads too but in ticks of 10 ms; `/proc/<pid>/task/*/schedstat`
//! counts in nanoseconds but only threads still alive. Neither counts anything twice, so the larger one is nearer the truth.
//!
//! It is never above the truth and at most two ticks (20 ms) below it: when a thread ends between two readings, the second may be the smaller.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a process has used since it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of all threads together, at most 20 ms too small. Exact to the nanosecond while no thread has ended,
    /// where the kernel keeps `schedstat`.
    pub cpu: Duration,
    /// The most resident memory it ever had, in bytes (`VmHWM`).
    pub peak_rss_bytes: u64,
}

/// Why the usage of a process could not be read.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// The process has ended, and its numbers with it: read them while it is idle.
    #[error("the process has ended")]
    Gone,
    /// `/proc` could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// `/proc` said something else than expected.
    #[error("{} does not hold {expected}", path.display())]
    NotUnderstood {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
    },
}

/// Reads the usage of the process `pid`, which must not have been reaped yet.
pub(crate) fn of_process(pid: u32) -> Result<Usage, UsageError> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    Ok(Usage {
        cpu: ticks(&process.join("stat"))?.max(live_threads(&process)),
        peak_rss_bytes: peak_rss_bytes(&process.join("status"))?,
    })
}

fn read(path: &Path) -> Result<String, UsageError> {
    fs::read_to_string(path).map_err(|cause| UsageError::Unreadable { path: path.to_owned(), cause })
}

/// `utime` and `stime`: fields 14 and 15 of proc_pid_stat(5), counted after the `)` that ends the name.
fn ticks(path: &Path) -> Result<Duration, UsageError> {
    let not_understood = || UsageError::NotUnderstood { path: path.to_owned(), expected: "utime and stime" };
    let text = read(path)?;
    let (_, after_name) = text.rsplit_once(')').ok_or_else(not_understood)?;
    let ticks = |nth: usize| after_name.split_whitespace().nth(nth)?.parse::<u64>().ok();
    let (user, system) = ticks(11).zip(ticks(12)).ok_or_else(not_understood)?;
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Ok(Duration::from_millis((user + system) * 1_000 / per_second))
}

/// The first number of each thread's `schedstat`: nanoseconds on a CPU. Zero where the kernel does not count it.
fn live_threads(process: &Path) -> Duration {
    let Ok(threads) = fs::read_dir(process.join("task")) else {
        return Duration::ZERO;
    };
    let nanoseconds = |thread: io::Result<fs::DirEntry>| -> Option<u64> {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    Duration::from_nanos(threads.filter_map(nanoseconds).sum())
}

fn peak_rss_bytes(path: &Path) -> Result<u64, UsageError> {
    let text = read(path)?;
    let kibibytes = text.lines().find_map(|line| {
        let (number, unit) = line.strip_prefix("VmHWM:")?.trim().split_once(' ')?;
        (unit == "kB").then(|| number.parse::<u64>().ok())?
    });
    kibibytes
        .map(|kibibytes| kibibytes * 1_024)
        .ok_or_else(|| UsageError::NotUnderstood { path: path.to_owned(), expected: "VmHWM in kB" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Above what ended threads of other tests can hide (see the module's text).
    const VISIBLE: Duration = Duration::from_millis(50);

    #[test]
    fn our_own_usage_grows_with_work() {
        let before = of_process(std::process::id()).unwrap();
        assert!(before.peak_rss_bytes > 0);
        let mut number = 1_u64;
        let grown = (0..1_000).any(|_| {
            for step in 0..2_000_000_u64 {
                number = std::hint::black_box(number.rotate_left(7) ^ step);
            }
            of_process(std::process::id()).unwrap().cpu > before.cpu + VISIBLE
        });
        assert!(grown, "two thousand million rounds cost more than {VISIBLE:?}");
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error_that_names_the_file() {
        let error = of_process(u32::MAX).unwrap_err();
        assert!(error.to_string().contains("/proc/4294967295/stat"), "{error}");
    }
}
