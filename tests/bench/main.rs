//! `make bench`: what the relay costs beside the least that is possible, and beside what a user would write instead.
//!
//! Every contender is a real Lambda process behind the project's own Runtime API. See [`measure`] for how, [`contender`] for who, [`work`] for
//! what they are handed, [`budgets`] for what the relay is held to.
//!
//! Figures decide nothing about success: another machine has others. The bench fails only if somebody did not do the work, or could
//! not be started.

mod books;
mod budgets;
mod contender;
mod figures;
mod machine;
mod measure;
mod plan;
mod plot;
mod report;
mod sink;
mod table;
mod work;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::measure::BenchError;
use crate::plan::Plan;
use crate::report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["sink"] => sink::run(&contender::Places::fixtures(root())).map_err(|error| error.to_string()),
        ["draw", from, to] => draw(Path::new(from), Path::new(to)),
        arguments => Plan::parse(arguments).and_then(|plan| bench(&plan).map_err(|error| error.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = writeln!(io::stderr(), "bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

fn bench(plan: &Plan) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(plan.carry_out(root(), &std::env::current_exe()?))?;
    let mut out = io::stdout().lock();
    write!(out, "{}", table::cold(&report))?;
    write!(out, "\n{}", budgets::told(&report))?;
    writeln!(out, "\n{}", report.machine.line())?;
    let folder = root().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    let json = folder.join("bench.json");
    std::fs::write(&json, serde_json::to_string_pretty(&report).map_err(io::Error::from)? + "\n")?;
    writeln!(out, "figures: {}", json.display())?;
    if let Some(svg) = &plan.svg {
        std::fs::write(svg, plot::svg(&report))?;
        writeln!(out, "drawing: {}", svg.display())?;
    }
    Ok(())
}

/// Draws figures that were kept.
fn draw(from: &Path, to: &Path) -> Result<(), String> {
    let not_read = |error: &dyn std::fmt::Display| format!("{}: {error}", from.display());
    let text = std::fs::read_to_string(from).map_err(|error| not_read(&error))?;
    let report: Report = serde_json::from_str(&text).map_err(|error| not_read(&error))?;
    let to: PathBuf = to.into();
    std::fs::write(&to, plot::svg(&report)).map_err(|error| format!("{}: {error}", to.display()))
}
