//! On what machine figures were taken, and when: they mean little without that.

use std::fs;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// A machine, at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
    /// Its name and release, such as `Linux 6.18`: what comes behind says who built it, and nothing about speed.
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    pub(crate) node: String,
    pub(crate) python: String,
    /// The version that was measured: the commit, and whether it was changed.
    pub(crate) commit: String,
    /// Day, UTC.
    pub(crate) date: String,
    /// How many processes wanted a core, on average of a minute: 0 at the start of a quiet machine.
    pub(crate) load_before: String,
}

impl Machine {
    /// This one, at `now_ms`. What cannot be found out stays empty.
    pub(crate) fn here(now_ms: u64, python: &str) -> Machine {
        let line = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line =
                text.lines().find_map(|line| line.strip_prefix(name)?.split_once(':').map(|(_, value)| value.trim().to_owned()));
            line.unwrap_or_default()
        };
        let memory = line("/proc/meminfo", "MemTotal");
        let now = jiff::Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or(0)).unwrap_or_default().to_string();
        Machine {
            cpu: line("/proc/cpuinfo", "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1_024,
            kernel: release(&told("uname", &["-sr"])),
            rustc: told("rustc", &["--version"]),
            node: told("node", &["--version"]),
            python: told(python, &["--version"]),
            commit: told("git", &["describe", "--always", "--dirty"]),
            date: now.split('T').next().unwrap_or_default().to_owned(),
            load_before: fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// In one line, for beside figures.
    pub(crate) fn line(&self) -> String {
        let Machine { cpu, cores, memory_mib, kernel, rustc, date, commit, .. } = self;
        format!("{cpu}, {cores} cores, {} GiB, {kernel}, {rustc}; {commit}, {date}", (memory_mib + 512) / 1_024)
    }
}

/// `Linux 6.18` of `Linux 6.18.44-distribution`.
fn release(kernel: &str) -> String {
    let mut parts = kernel.split(['.', '-', '+']);
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) => format!("{major}.{minor}"),
        _ => kernel.to_owned(),
    }
}

/// What a program prints, or nothing where there is no such program.
fn told(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_cores_memory_a_kernel_and_a_date() {
        let machine = Machine::here(1_790_000_000_000, "no-such-python");
        assert!(machine.cores > 0 && machine.memory_mib > 0 && machine.kernel.starts_with("Linux"));
        assert_eq!((machine.date.as_str(), machine.python.as_str()), ("2026-09-21", ""));
        assert!(machine.line().contains("cores"));
    }

    #[test]
    fn of_the_kernel_only_name_and_release_are_told() {
        for (told, expected) in [
            ("Linux 6.18.44-azure", "Linux 6.18"),
            ("Linux 6.1-generic", "Linux 6.1"),
            ("Darwin 24.6.0", "Darwin 24.6"),
            ("Linux 7", "Linux 7"),
            ("", ""),
        ] {
            assert_eq!(release(told), expected);
        }
    }
}
