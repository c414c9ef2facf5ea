//! A Lambda function that does what its event says, to test the Runtime API with.
//!
//! | event | it |
//! |---|---|
//! | `{"echo": X}` | answers X, whatever that is |
//! | `{"fail": "why"}`, `{"panic": "why"}` | fails, or panics |
//! | `{"hang": true}` | prints `hanging` and never answers |
//! | `{"exit": 3}` | ends its process with that code |
//! | `{"burn": n}` | computes n rounds, then answers null |
//! | `{"print": "line"}` | prints to both streams, then answers null |
//! | `{"large": n}` | answers text of n bytes |
//! | `{"whoami": true}` | answers its variables and what Lambda told it about the invocation |
//! | `{"Records": […]}` | returns each message whose body is `return`, as a function behind SQS does |
//!
//! `ECHO_INIT` makes it `fail`, `exit` or `hang` before it asks for an event.

use std::collections::BTreeMap;
use std::env;
use std::hint::black_box;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::process::{ExitCode, exit};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _nobody_reads = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "its one setting is for tests of how it starts")]
fn start() -> Result<(), Error> {
    match env::var("ECHO_INIT").as_deref() {
        Ok("fail") => return report_init_error(),
        Ok("exit") => return Err("told to exit".into()),
        Ok("hang") => loop {
            std::thread::park();
        },
        Ok(_) | Err(_) => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lambda_runtime::run(service_fn(handle)))
}

/// The runtime crate reports no init errors of its own, so this one is spelt out.
#[expect(clippy::disallowed_methods, reason = "the address of the Runtime API comes by environment")]
fn report_init_error() -> Result<(), Error> {
    let body = r#"{"errorType":"Settings.Missing","errorMessage":"told to fail"}"#;
    let api = env::var("AWS_LAMBDA_RUNTIME_API")?;
    let mut api = TcpStream::connect(api)?;
    write!(
        api,
        "POST /2018-06-01/runtime/init/error HTTP/1.1\r\nHost: api\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    api.read_to_string(&mut answer)?;
    if answer.contains(" 202 ") {
        exit(1);
    }
    Err(answer.into())
}

#[expect(clippy::disallowed_methods, reason = "it tells a test which environment it got")]
async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (told, context) = event.into_parts();
    let Some((what, how)) = told.as_object().and_then(|fields| fields.iter().next()) else {
        return Err("an object was expected".into());
    };
    match what.as_str() {
        "echo" => Ok(how.clone()),
        "fail" => Err(text(how).into()),
        "panic" => panic_as_told(text(how)),
        "hang" => {
            say("hanging")?;
            std::future::pending().await
        }
        "exit" => exit(how.as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(1)),
        "burn" => Ok(burn(how.as_u64().unwrap_or(0))),
        "print" => {
            say(text(how))?;
            writeln!(io::stderr(), "{}", text(how))?;
            Ok(Value::Null)
        }
        "large" => Ok("x".repeat(how.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0)).into()),
        "whoami" => {
            let env: BTreeMap<String, String> = env::vars().collect();
            Ok(json!({
                "env": env,
                "request_id": context.request_id,
                "deadline_ms": context.deadline,
                "arn": context.invoked_function_arn,
                "trace_id": context.xray_trace_id,
            }))
        }
        "Records" => Ok(returned(how)),
        other => Err(format!("cannot do {other}").into()),
    }
}

#[expect(clippy::panic, reason = "what it was told to do")]
fn panic_as_told(why: &str) -> Result<Value, Error> {
    panic!("{why}")
}

fn returned(records: &Value) -> Value {
    let records = records.as_array().map(Vec::as_slice).unwrap_or_default();
    let returned = records.iter().filter(|record| record.get("body").and_then(Value::as_str) == Some("return"));
    let entries = returned.map(|record| json!({"itemIdentifier": record.get("messageId")}));
    json!({"batchItemFailures": entries.collect::<Vec<_>>()})
}

fn burn(rounds: u64) -> Value {
    let mut number = 1_u64;
    for round in 0..rounds {
        number = black_box(number.rotate_left(7) ^ round);
    }
    Value::Null
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn text(how: &Value) -> &str {
    how.as_str().unwrap_or_default()
}
