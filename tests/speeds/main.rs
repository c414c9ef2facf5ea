//! How fast the shipped command line checks a file and sends it, printed with the machine it was measured on.
//!
//! `make bench-speeds`. The commands are run as a user runs them, from a release build; the queue is a stub in this process, which
//! answers at once and counts. Each command is run a few times and the best is told, since whatever else a machine does only makes it
//! slower; beside it stands the processor time of the command alone, which depends less on that. Times are printed and never judged.
//! What is judged is that each measurement was checked, and that each arrived.

#[path = "../bench/machine.rs"]
mod machine;
mod queue;

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use runtime_api::epoch_ms;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::Value;
use tokio::time::Instant;

use crate::machine::Machine;
use crate::queue::Queue;

/// Some 200 MB.
const MEASUREMENTS: u64 = 800_000;
const ROUNDS: usize = 5;
/// Newest first, over the last two days: nothing is ahead, and nothing old.
const NEWEST_MS: u64 = 3_600_000;
const SPREAD_MS: u64 = 172_800_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, folder] = arguments.as_slice() else {
        return Err("expected: bench-speeds COMMAND FOLDER".into());
    };
    std::fs::create_dir_all(folder)?;
    let file = Path::new(folder).join("measurements.ndjson");
    let now_ms = epoch_ms();
    let bytes = write(&file, now_ms)?;
    let machine = Machine::here(now_ms, "python3").line();

    let tell = |what: &str, Took { wall_s, cpu_s }: Took| {
        let (megabytes, count) = (bytes as f64 / 1e6, MEASUREMENTS as f64);
        let (speed, each_us) = (count / wall_s, cpu_s * 1e6 / count);
        let per_core = megabytes / cpu_s;
        say(&format!(
            "usage-relay {what}: {speed:.0} measurements/s, {:.0} MB/s; {each_us:.2} µs of processor each, {per_core:.0} MB a second of it",
            megabytes / wall_s
        ))
    };
    tell("check", best(|| check(command, &file))?)?;
    for per_message in [100, 1] {
        tell(&format!("send, {per_message} in a message"), best(|| send(command, &file, per_message))?)?;
    }
    say(&format!("{MEASUREMENTS} measurements of {} bytes, the best of {ROUNDS}; {machine}", bytes / MEASUREMENTS))?;
    std::fs::remove_file(file)?;
    Ok(())
}

/// Writes ordinary measurements, each with a uid of its own; says how many bytes.
fn write(path: &Path, now_ms: u64) -> Result<u64, Box<dyn Error>> {
    let mut out = BufWriter::new(File::create(path)?);
    for number in 0..MEASUREMENTS {
        let uid = u128::from(number).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let ts_ms = now_ms - NEWEST_MS - number * 7 % SPREAD_MS;
        let ts = jiff::Timestamp::from_millisecond(i64::try_from(ts_ms)?)?;
        let (account, calls, bytes) = (number % 5_000, number % 17 + 1, number * 37 % 100_000);
        writeln!(
            out,
            r#"{{"uid":"{uid:032x}","meter":"api_requests","account":"customer-{account:05}","ts":"{ts:.3}","measure":{{"requests":{calls},"bytes":{bytes}}},"what":{{"method":"GET","endpoint":"/v1/orders"}},"where":{{"region":"eu-west-1"}}}}"#,
        )?;
    }
    out.flush()?;
    Ok(path.metadata()?.len())
}

/// What a command took, in seconds: by the clock, and of the processor.
#[derive(Clone, Copy, Debug)]
struct Took {
    wall_s: f64,
    cpu_s: f64,
}

/// The least of a few rounds, of each.
fn best(mut round: impl FnMut() -> Result<Took, Box<dyn Error>>) -> Result<Took, Box<dyn Error>> {
    let mut best = round()?;
    for _ in 1..ROUNDS {
        let Took { wall_s, cpu_s } = round()?;
        best = Took { wall_s: best.wall_s.min(wall_s), cpu_s: best.cpu_s.min(cpu_s) };
    }
    Ok(best)
}

/// Runs the command and reads the line of JSON that it prints last.
fn run(command: &mut Command) -> Result<(Took, Value), Box<dyn Error>> {
    let began = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut text = String::new();
    child.stdout.take().ok_or("expected its output")?.read_to_string(&mut text)?;
    // It has ended, and is still there to be asked.
    let pid = Pid::from_child(&child);
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let (wall_s, stat) = (began.elapsed().as_secs_f64(), std::fs::read_to_string(format!("/proc/{pid}/stat"))?);
    let status = child.wait()?;
    if !status.success() {
        return Err(format!("expected exit code 0, found {status}").into());
    }
    let summary = serde_json::from_str(text.lines().next_back().ok_or("expected a summary")?)?;
    Ok((Took { wall_s, cpu_s: cpu_s(&stat).ok_or("expected proc_pid_stat(5)")? }, summary))
}

/// User and system time of a process with the threads that it had: fields 14 and 15 of proc_pid_stat(5), counted after its name.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: Vec<f64> = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks.as_slice() else { return None };
    Some((user + system) / rustix::param::clock_ticks_per_second() as f64)
}

/// A count of the summary; 0 where there is none, which none of those asked for may be.
fn told(summary: &Value, name: &str) -> u64 {
    summary.get(name).and_then(Value::as_u64).unwrap_or(0)
}

fn check(command: &str, file: &Path) -> Result<Took, Box<dyn Error>> {
    let (took, summary) = run(Command::new(command).args(["check", "--json"]).arg(file))?;
    if told(&summary, "good") != MEASUREMENTS {
        return Err(format!("expected {MEASUREMENTS} good measurements, found {summary}").into());
    }
    Ok(took)
}

fn send(command: &str, file: &Path, per_message: u64) -> Result<Took, Box<dyn Error>> {
    let queue = Queue::start()?;
    let mut sending = Command::new(command);
    sending.args(["send", "--json", "--per-message", &per_message.to_string(), "--queue-url", &queue.url()]).arg(file);
    sending.env_clear().envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_REGION", "us-east-1")]);
    let (took, summary) = run(&mut sending)?;
    let (messages, arrived) = (MEASUREMENTS.div_ceil(per_message), queue.measurements());
    let sent = (told(&summary, "measurements"), told(&summary, "messages"), arrived);
    if sent != (MEASUREMENTS, messages, MEASUREMENTS) {
        return Err(format!("expected {MEASUREMENTS} measurements to arrive, found {arrived}: {summary}").into());
    }
    Ok(took)
}

fn say(text: &str) -> std::io::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}")
}
