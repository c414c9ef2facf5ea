//! Counts the processor's instructions for each measurement, and fails above the committed budget.
//!
//! `make instructions`. Time depends on the machine and on what else it does; the number of instructions does neither, so that
//! three in a hundred more are a change of the code and no noise. `budget.txt` beside this file holds the counts; change it in
//! the commit that changes the code, with its reason.
//!
//! Absent: what the kernel, TLS and m3ter's answers cost. `make bench` measures the whole process.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    missing_docs,
    reason = "what cannot be set up cannot be counted, and macros make modules"
)]

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};

mod work;

use work::{Decoding, Guarding, Handling, Packing};

/// What each kind of work may cost, in instructions for each measurement: `name number` a line.
const BUDGET: &str = include_str!("budget.txt");

/// In a hundred: what two compilers of the same version, or another processor's `memcpy`, may make of it.
const ABOVE: u64 = 3;

fn config(name: &str) -> LibraryBenchmarkConfig {
    let allowed = BUDGET.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
    let most = allowed.unwrap_or_else(|| panic!("expected a line `{name} NUMBER` in budget.txt")) * work::MEASUREMENTS as u64;
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, most + most * ABOVE / 100)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

#[library_benchmark]
#[bench::one_each(args = (1), setup = Decoding::new, config = config("decode-1"))]
#[bench::hundred_each(args = (100), setup = Decoding::new, config = config("decode-100"))]
fn decode(work: Decoding) -> Decoding {
    work.run()
}

#[library_benchmark]
#[bench::all(args = (100), setup = Guarding::new, config = config("guard"))]
fn guard(work: Guarding) -> Guarding {
    work.run()
}

#[library_benchmark]
#[bench::all(args = (100), setup = Packing::new, config = config("pack"))]
fn pack(work: Packing) -> Packing {
    work.run()
}

#[library_benchmark]
#[bench::one_each_without_ledger(args = (1, false), setup = Handling::new, config = config("handler-1-off"))]
#[bench::hundred_each_without_ledger(args = (100, false), setup = Handling::new, config = config("handler-100-off"))]
#[bench::one_each(args = (1, true), setup = Handling::new, config = config("handler-1"))]
#[bench::hundred_each(args = (100, true), setup = Handling::new, config = config("handler-100"))]
fn handler(work: Handling) -> Handling {
    work.run()
}

library_benchmark_group!(name = all, benchmarks = [decode, guard, pack, handler]);
main!(library_benchmark_groups = all);
