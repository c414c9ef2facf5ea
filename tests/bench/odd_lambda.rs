//! A Lambda function that does the contenders' job, or nearly: to see that the bench notices.
//!
//! | `ODD` | it |
//! |---|---|
//! | `none` | submits every measurement once, in one request a message, to `ODD_ADDRESS` |
//! | `drop` | leaves out the first measurement of an event |
//! | `double` | submits the first message twice |
//! | `instead` | submits the second message twice, and the first never |
//! | `return` | submits all, and returns the first message |

use std::env;
use std::io::{Read, Write};
use std::net::TcpStream;

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

#[expect(clippy::disallowed_methods, reason = "its two settings are for tests of the bench")]
async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (odd, address) = (env::var("ODD")?, env::var("ODD_ADDRESS")?);
    let records = event.payload.get("Records").and_then(Value::as_array).ok_or("Records were expected")?;
    let mut bodies = Vec::new();
    for record in records {
        let body = record.get("body").and_then(Value::as_str).ok_or("a body was expected")?;
        bodies.push(if body.starts_with('[') { body.to_owned() } else { format!("[{body}]") });
    }
    let first = bodies.first().cloned().ok_or("a record was expected")?;
    match odd.as_str() {
        "drop" => {
            let all: Vec<Value> = serde_json::from_str(&first)?;
            let but_one = Value::from(all.into_iter().skip(1).collect::<Vec<_>>());
            bodies.splice(..1, [but_one.to_string()]);
        }
        "double" => bodies.push(first),
        "instead" => {
            let second = bodies.get(1).cloned().ok_or("a second record was expected")?;
            bodies.splice(..1, [second]);
        }
        _ => {}
    }
    for body in bodies {
        submit(&address, &body)?;
    }
    let returned = if odd == "return" { records.first() } else { None };
    let entries: Vec<Value> = returned.into_iter().map(|record| json!({"itemIdentifier": record.get("messageId")})).collect();
    Ok(json!({"batchItemFailures": entries}))
}

fn submit(address: &str, measurements: &str) -> Result<(), Error> {
    let body = format!(r#"{{"measurements":{measurements}}}"#);
    let mut sink = TcpStream::connect(address)?;
    write!(
        sink,
        "POST /organizations/bench-org/measurements HTTP/1.1\r\nHost: sink\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    sink.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer.into()) }
}
