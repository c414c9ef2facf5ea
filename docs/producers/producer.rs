//! Sends usage from standard input to the queue: `QUEUE_URL=… producer < usage.ndjson`.
//! Needs aws-config, aws-sdk-sqs, serde with `derive`, serde_json and tokio with `macros` and `rt-multi-thread`.

use aws_config::BehaviorVersion;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Used {
    order: String,
    line: u32,
    customer: String,
    at: String,
    calls: serde_json::Number,
}

/// The same usage gives the same uid, however often it is sent: after a timeout, a crash, a second run.
fn measurement(used: &Used) -> Value {
    let uid = format!("{}/line-{}", used.order, used.line);
    json!({"uid": uid, "meter": "api_calls", "account": used.customer, "ts": used.at, "measure": {"calls": used.calls}})
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let queue_url = std::env::var("QUEUE_URL")?;
    let settings = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let sqs = aws_sdk_sqs::Client::new(&settings); // tries a failed call again by itself, with the same body
    let mut found = Vec::new();
    for line in std::io::stdin().lines() {
        found.push(measurement(&serde_json::from_str(&line?)?));
    }
    for some in found.chunks(100) {
        let body = json!({ "measurements": some }).to_string();
        sqs.send_message().queue_url(&queue_url).message_body(body).send().await?;
    }
    Ok(())
}
