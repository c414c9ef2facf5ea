//! `usage-relay cost`: what the stack costs at a load, part by part, and what Lambda would charge for what else could do its work.
//!
//! * [`prices`]: what AWS charges, with date and source.
//! * [`measured`]: how much processor time what takes, as `make bench` found it.
//! * [`model`]: from a load to a bill.
//! * [`told`]: the answer as text, as a table, as JSON.
//!
//! Nothing is asked of AWS: the answer is arithmetic, says what it assumes, and is the same on every machine.

mod measured;
mod model;
mod prices;
mod told;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use self::measured::Bench;
use self::model::{Load, MESSAGE_BYTES_MAX, stack};
use self::told::Answer;
use crate::failure::Failure;
use crate::terminal;

/// Measurements a second: from one in 17 minutes to ten times what m3ter takes in 50 full requests.
const PER_SECOND: RangeInclusive<f64> = 0.001..=500_000.0;
/// Bytes of a measurement: the smallest that has all four fields, and what fits into one request.
const BYTES: RangeInclusive<u32> = 40..=500_000;
/// Memory that Lambda gives, in MB. Source: the Lambda developer guide, quotas.
const MEMORY_MB: RangeInclusive<u32> = 128..=10_240;
/// As `send` has it.
const PER_MESSAGE: RangeInclusive<u32> = 1..=10_000;

const EXAMPLES: &str = "\
Examples:
  usage-relay cost --per-second 1000
  usage-relay cost --per-second 1000 --per-message 100 --json | jq .total.dollars_a_month
  usage-relay cost --table

The stack is the template with its defaults. How long an invocation is billed follows from the processor time that make bench measured, \
from Lambda's share of a core (all of one at 1,769 MB), and from how fast m3ter and S3 answer. The answer ends with everything it assumes. \
Prices are list prices of us-east-1; nothing is asked of AWS.

Exit codes: 0 told; 64 the command line is wrong.";

/// Say what the stack costs a month at a load.
///
/// Dollars a month and for a million measurements, by part, and what Lambda would charge for other programs that do the same work.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Measurements a second, all month long
    #[arg(long, value_name = "N", required_unless_present = "table", value_parser = |text: &str| within(text, PER_SECOND))]
    per_second: Option<f64>,

    /// Measurements in a message. More is cheaper
    #[arg(long, value_name = "M", default_value = "1", value_parser = |text: &str| within(text, PER_MESSAGE))]
    per_message: u32,

    /// Bytes of a measurement
    #[arg(long, value_name = "B", default_value = "250", value_parser = |text: &str| within(text, BYTES))]
    bytes: u32,

    /// Memory of the function in MB: MemorySize in the template
    #[arg(long, value_name = "MB", default_value_t = stack::MEMORY_MB, value_parser = |text: &str| within(text, MEMORY_MB))]
    memory: u32,

    /// What the function runs on: parameter Architecture
    #[arg(long, value_enum, default_value_t = Architecture::Arm64)]
    architecture: Architecture,

    /// Instead of one load, a table of several: 1, 100, 1,000 and 10,000 measurements a second, in messages of 1 and of 100
    #[arg(long, conflicts_with_all = ["per_second", "per_message", "json"])]
    table: bool,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// The values of the parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Architecture {
    /// A fifth less a second
    #[value(name = "arm64")]
    Arm64,
    /// For a build machine that has no other
    #[value(name = "x86_64")]
    X86,
}

fn within<T: FromStr + PartialOrd + Display + Copy>(text: &str, range: RangeInclusive<T>) -> Result<T, String> {
    let number = text.parse::<T>().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
}

/// Tells the cost.
///
/// # Errors
/// [`Failure::Usage`] if no message can hold the measurements.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let bench = Bench::committed().map_err(Failure::CouldNot)?;
    let load = |per_second: f64, per_message: u32| Load {
        per_second,
        per_message: f64::from(per_message),
        bytes: f64::from(arguments.bytes),
        memory_mb: f64::from(arguments.memory),
        gb_second: match arguments.architecture {
            Architecture::Arm64 => prices::LAMBDA_GB_SECOND_ARM,
            Architecture::X86 => prices::LAMBDA_GB_SECOND_X86,
        },
    };
    match arguments.per_second {
        None => {
            let loads: Vec<Load> =
                [1.0, 100.0, 1_000.0, 10_000.0].iter().flat_map(|rate| [load(*rate, 1), load(*rate, 100)]).collect();
            loads.iter().try_for_each(fits)?;
            terminal::print(&told::table(&loads, &bench))
        }
        Some(per_second) => {
            let load = load(per_second, arguments.per_message);
            fits(&load)?;
            let answer = Answer::of(load, &bench);
            if arguments.json { terminal::print_json(&answer.json()) } else { terminal::print(&answer.text()) }
        }
    }
}

fn fits(load: &Load) -> Result<(), Failure> {
    let bytes = load.message_bytes();
    if bytes <= MESSAGE_BYTES_MAX {
        return Ok(());
    }
    let (count, each) = (load.per_message, load.bytes);
    Err(Failure::Usage(format!(
        "expected a message of at most {MESSAGE_BYTES_MAX} bytes, the most SQS carries; {count} measurements of {each} bytes are {bytes}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_of_its_range_is_told_the_range() {
        assert_eq!(within("1", PER_MESSAGE), Ok(1));
        for wrong in ["0", "10001", "-1", "1.5", "many", ""] {
            assert_eq!(within(wrong, PER_MESSAGE), Err("expected a number from 1 to 10000".to_owned()), "{wrong}");
        }
        assert_eq!(within("0.5", PER_SECOND), Ok(0.5));
        for wrong in ["0", "-1", "inf", "NaN", "500001"] {
            assert_eq!(within(wrong, PER_SECOND), Err("expected a number from 0.001 to 500000".to_owned()), "{wrong}");
        }
    }

    #[test]
    fn more_than_a_message_holds_is_no_message() {
        let load = |per_message, bytes| Load { per_second: 1.0, per_message, bytes, memory_mb: 256.0, gb_second: 0.0 };
        assert_eq!(fits(&load(4_177.0, 250.0)), Ok(()));
        let error = fits(&load(4_178.0, 250.0)).unwrap_err().to_string();
        assert!(
            error.contains("expected a message of at most 1048576 bytes") && error.contains("4178 measurements of 250 bytes")
        );
    }
}
