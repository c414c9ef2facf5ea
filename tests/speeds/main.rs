//! How fast the shipped command line checks a file, sends it and uploads it, printed with the machine it was measured on.
//!
//! `make bench-speeds`, and `make bench-upload` for the file of [`gib`]. The commands are run as a user runs them, from a release build;
//! queue and m3ter are stubs in this process, which answer at once and count. Each command is run a few times and the best is told, since
//! whatever else a machine does only makes it slower; beside it stands the processor time of the command alone, which depends less on
//! that. Times are printed and never judged. What is judged is that each measurement was checked, and that each arrived.

#[path = "../bench/machine.rs"]
mod machine;

mod gib;
mod m3ter;
mod measured;
mod prepare;
mod queue;
mod upload;

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use runtime_api::epoch_ms;

use crate::m3ter::Arrived;
use crate::machine::Machine;
use crate::measured::{Took, run, told, write};
use crate::queue::Queue;

/// Some 200 MB.
const MEASUREMENTS: u64 = 800_000;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, folder, is_gibibyte) = match arguments.as_slice() {
        [command, folder] => (command, folder, false),
        [word, command, folder] if word == "--gibibyte" => (command, folder, true),
        _ => return Err("expected: bench-speeds [--gibibyte] COMMAND FOLDER".into()),
    };
    let (folder, now_ms) = (Path::new(folder), epoch_ms());
    std::fs::create_dir_all(folder)?;
    if is_gibibyte { gib::upload(command, folder, now_ms) } else { speeds(command, folder, now_ms) }
}

fn speeds(command: &str, folder: &Path, now_ms: u64) -> Result<(), Box<dyn Error>> {
    let (file, mut all) = (folder.join("measurements.ndjson"), Arrived::default());
    let bytes = write(&file, now_ms, MEASUREMENTS, |uid| all.add(uid))?;
    let machine = Machine::here(now_ms, "python3").line();

    let tell = |what: &str, Took { wall_s, cpu_s, .. }: Took| {
        let (megabytes, count) = (bytes as f64 / 1e6, MEASUREMENTS as f64);
        let (speed, each_us) = (count / wall_s, cpu_s * 1e6 / count);
        let per_core = megabytes / cpu_s;
        say(&format!(
            "usage-relay {what}: {speed:.0} measurements/s, {:.0} MB/s; {each_us:.2} µs of processor each, {per_core:.0} MB a second of it",
            megabytes / wall_s
        ))
    };
    let checked = best(|| check(command, &file))?;
    tell("check", checked)?;
    let prepared = best(|| prepare::prepare(command, &file, folder))?;
    tell("upload, as far as its file is prepared", prepared)?;
    say(&format!("  {:.2} times the processor time of check", prepared.cpu_s / checked.cpu_s))?;
    tell("upload, to the end, with its ledger", best(|| upload::whole(command, &file, folder, &[], all))?)?;
    for per_message in [100, 1] {
        tell(&format!("send, {per_message} in a message"), best(|| send(command, &file, per_message))?)?;
    }
    say(&format!("{MEASUREMENTS} measurements of {} bytes, the best of {ROUNDS}; {machine}", bytes / MEASUREMENTS))?;
    std::fs::remove_file(file)?;
    Ok(())
}

/// The least of a few rounds, of each.
fn best(mut round: impl FnMut() -> Result<Took, Box<dyn Error>>) -> Result<Took, Box<dyn Error>> {
    let mut best = round()?;
    for _ in 1..ROUNDS {
        let Took { wall_s, cpu_s, peak_bytes } = round()?;
        best =
            Took { wall_s: best.wall_s.min(wall_s), cpu_s: best.cpu_s.min(cpu_s), peak_bytes: best.peak_bytes.max(peak_bytes) };
    }
    Ok(best)
}

fn check(command: &str, file: &Path) -> Result<Took, Box<dyn Error>> {
    let (took, summary) = run(Command::new(command).args(["check", "--json"]).arg(file), 0)?;
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
    let (took, summary) = run(&mut sending, 0)?;
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
