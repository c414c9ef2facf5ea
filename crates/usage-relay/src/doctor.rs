//! `usage-relay doctor`: whether everything around the relay is as it must be, one line each: ok, or what to do.
//!
//! The function is where it begins. Its settings name queue, store, secret and m3ter, and its mappings name what feeds it: so one
//! name is enough, and what is looked at is what runs, not what a template once said. [`ask`] gathers facts, each with a deadline of
//! its own; [`judge`] says what they come to, and knows neither AWS nor the network. Whatever fails, the rest is looked at.
//!
//! Nothing is changed, unless `--write` is given. m3ter gets no measurement: see [`m3ter`]. No account id, no key and nothing of the
//! secret is printed: see [`line`].
//!
//! Absent: what the function's own role may do. Doctor asks with the credentials of whoever runs it.

mod ask;
mod judge;
mod line;
mod m3ter;
mod signed;

use serde::Serialize;

use self::line::{Line, State};
use crate::aws;
use crate::failure::Failure;
use crate::figures::counted;
use crate::terminal::{self, Progress};

const EXAMPLES: &str = "\
Examples:
  usage-relay doctor --stack-name usage-relay
  usage-relay doctor --function-name \"$FUNCTION\" --json
  usage-relay doctor --stack-name usage-relay --write    # also writes a probe to the store

AWS is asked with the credentials and the region that every AWS tool finds; they need: cloudformation:DescribeStackResource, \
lambda:GetFunctionConfiguration, lambda:ListEventSourceMappings, sqs:GetQueueAttributes, secretsmanager:GetSecretValue, \
s3:ListBucket, s3:GetObject, and with --write s3:PutObject; where the stack has a key of your own also kms:Decrypt, and with --write \
kms:GenerateDataKey. What the function's own role may do is not looked at.

m3ter is asked with the keys in the secret: for a token, for events, meters, accounts and file upload jobs, and with a batch that holds no measurement, \
which is refused and can bill nothing.

Exit codes: 0 all is ok; 1 something is not; 64 the command line is wrong.";

/// Look whether everything around the relay is as it must be.
///
/// Credentials, clock, function, mapping, queue, dead-letter queue, store, secret, m3ter: a line for each, ok or what to do. Also for a
/// queue that was there before the stack. With --stack-name also the queue of files, and that what drains the dead letters is the
/// stack's own.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The stack, by the name it was deployed under
    #[arg(long, value_name = "NAME", value_parser = name, required_unless_present = "function_name", conflicts_with = "function_name")]
    stack_name: Option<String>,

    /// Instead of the stack: the function that drains the queue, output FunctionName of the stack
    #[arg(long, value_name = "NAME", value_parser = name)]
    function_name: Option<String>,

    /// Also put a small object into the store: what the relay does before it goes on after a failure
    #[arg(long)]
    write: bool,

    /// Seconds to wait for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout_s: u64,

    /// Print one line of JSON
    #[arg(long)]
    json: bool,
}

/// As JSON.
#[derive(Debug, Serialize)]
struct Told<'a> {
    ok: bool,
    checks: &'a [Line],
}

/// What a stack or a function may be called.
fn name(text: &str) -> Result<String, String> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    match (1..=128).contains(&text.len()) && text.bytes().all(is_good) {
        true => Ok(text.to_owned()),
        false => Err("expected a name of letters, digits, - and _".to_owned()),
    }
}

/// Looks, and says what to do.
///
/// # Errors
/// [`Failure::Data`] if something is not as it must be; [`Failure::CouldNot`] if TLS cannot be set up.
pub(crate) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let progress = Progress::start(None, "checks done");
    let lines = ask::all(&arguments, &aws::settings().load().await, &progress).await?;
    progress.finish();
    let failed = lines.iter().filter(|line| line.state == State::Fail).count();
    if arguments.json {
        terminal::print_json(&Told { ok: failed == 0, checks: &lines })?;
    } else {
        let colour = terminal::is_colourful();
        terminal::print(&lines.iter().map(|line| line.text(colour)).collect::<Vec<_>>().join("\n"))?;
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::Data(format!("{} to mend", counted(failed as u64, "thing")))),
    }
}

/// The lines of one check: what is not as it must be, or the one that says what was found.
fn lines(check: &'static str, found: String, faults: Vec<line::Fault>) -> Vec<Line> {
    match faults.is_empty() {
        true => vec![Line::ok(check, found)],
        false => faults.into_iter().map(|fault| Line::fail(check, fault)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_can_stand_in_an_address() {
        assert!(name("usage-relay-Function_1").is_ok());
        for text in ["", "a b", "a/b", "arn:aws:lambda", &"a".repeat(129)] {
            assert!(name(text).unwrap_err().starts_with("expected a name"), "{text}");
        }
    }
}
