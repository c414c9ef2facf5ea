//! Files of ordinary measurements, and commands whose time and memory are read off the system's books.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;
use tokio::time::Instant;

/// Newest first, over the last two days: nothing is ahead, and nothing old.
const NEWEST_MS: u64 = 3_600_000;
const SPREAD_MS: u64 = 172_800_000;
/// How often the peak of the memory is looked at, which only grows.
const LOOK: Duration = Duration::from_millis(10);

/// Writes so many ordinary measurements, each with a uid of its own, which `each` is told; says how many bytes.
pub(crate) fn write(path: &Path, now_ms: u64, measurements: u64, mut each: impl FnMut(&str)) -> Result<u64, Box<dyn Error>> {
    let mut out = BufWriter::new(File::create(path)?);
    for number in 0..measurements {
        let uid = u128::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let uid = format!("{uid:032x}");
        each(&uid);
        let ts_ms = now_ms - NEWEST_MS - number * 7 % SPREAD_MS;
        let ts = jiff::Timestamp::from_millisecond(i64::try_from(ts_ms)?)?;
        let (account, calls, bytes) = (number % 5_000, number % 17 + 1, number * 37 % 100_000);
        writeln!(
            out,
            r#"{{"uid":"{uid}","meter":"api_requests","account":"customer-{account:05}","ts":"{ts:.3}","measure":{{"requests":{calls},"bytes":{bytes}}},"what":{{"method":"GET","endpoint":"/v1/orders"}},"where":{{"region":"eu-west-1"}}}}"#,
        )?;
    }
    out.flush()?;
    Ok(path.metadata()?.len())
}

/// What a command took: seconds by the clock and of the processor, and the most memory it had, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    pub(crate) wall_s: f64,
    pub(crate) cpu_s: f64,
    pub(crate) peak_bytes: u64,
}

/// Runs the command, which has to end with `code`, and reads the line of JSON that it prints last, if it prints any.
pub(crate) fn run(command: &mut Command, code: i32) -> Result<(Took, Value), Box<dyn Error>> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pid = Pid::from_child(&child);
    let mut out = child.stdout.take().ok_or("expected its output")?;
    let (told, telling) = channel();
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        let read = out.read_to_string(&mut text).map(|_| text);
        drop(told);
        read
    });
    let mut peak_bytes = 0;
    while telling.recv_timeout(LOOK) == Err::<(), _>(RecvTimeoutError::Timeout) {
        // Gone at the very end: its peak was read a moment before.
        peak_bytes = peak_bytes.max(peak(pid).unwrap_or(0));
    }
    let text = reader.join().map_err(|_| "expected its output to be read")??;
    // It has ended, and is still there to be asked.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let (wall_s, stat) = (began.elapsed().as_secs_f64(), std::fs::read_to_string(format!("/proc/{pid}/stat"))?);
    let status = child.wait()?;
    if status.code() != Some(code) {
        return Err(format!("expected exit code {code}, found {status}: {text}").into());
    }
    let summary = text.lines().next_back().map_or(Ok(Value::Null), serde_json::from_str)?;
    Ok((Took { wall_s, cpu_s: cpu_s(&stat).ok_or("expected proc_pid_stat(5)")?, peak_bytes }, summary))
}

/// The most memory that a process ever had: `VmHWM` of proc_pid_status(5).
fn peak(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1_024)
}

/// User and system time of a process with the threads that it had: fields 14 and 15 of proc_pid_stat(5), counted after its name.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks.as_slice() else { return None };
    Some((user + system) / rustix::param::clock_ticks_per_second() as f64)
}

/// A count of the summary; 0 where there is none, which none of those asked for may be.
pub(crate) fn told(summary: &Value, name: &str) -> u64 {
    summary.get(name).and_then(Value::as_u64).unwrap_or(0)
}
