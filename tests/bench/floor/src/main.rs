//! The floor: a Lambda function that reads an event and posts as many bytes as the relay would, in as many requests, and nothing else.
//!
//! What it does: it takes the event from the official runtime client as the text that arrived (the client itself sees to it that this is
//! JSON; there is no cheaper way to be given an event), and posts `FLOOR_BYTES` bytes in `FLOOR_REQUESTS` equal requests to `FLOOR_URL`,
//! one after the other over one kept connection, reading each answer. The bytes are slices of the event: nothing is copied, and what
//! is posted means nothing. The bench says how many bytes and requests; it counted them.
//!
//! What it does not do: decode a record or a body, check, pack, build a request body, look at an answer beyond its status, keep a token, log,
//! record, or tell messages apart. An error is an error of the invocation.
//!
//! So it is what the runtime, the HTTP client, TLS and the kernel cost: no function in Rust that does the job can be below it.

use bytes::Bytes;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use serde_json::value::RawValue;

/// What to post, and where.
struct Floor {
    client: Client,
    url: String,
    requests: usize,
    bytes: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let floor = Floor {
        client: Client::builder().no_proxy().tcp_nodelay(true).build()?,
        url: setting("FLOOR_URL")?,
        requests: setting("FLOOR_REQUESTS")?.parse()?,
        bytes: setting("FLOOR_BYTES")?.parse()?,
    };
    let floor = &floor;
    lambda_runtime::run(service_fn(async |event| floor.handle(event).await)).await
}

#[expect(clippy::disallowed_methods, reason = "its three settings are read here and nowhere else")]
fn setting(name: &str) -> Result<String, Error> {
    std::env::var(name).map_err(|_| format!("{name} was expected").into())
}

impl Floor {
    async fn handle(&self, event: LambdaEvent<Box<RawValue>>) -> Result<Value, Error> {
        let text: Box<str> = event.payload.into();
        let text = Bytes::from(text.into_boxed_bytes());
        let mut rest = text.get(..self.bytes).map(|part| text.slice_ref(part)).ok_or("the event is shorter than FLOOR_BYTES")?;
        for left in (1..=self.requests).rev() {
            let body = rest.split_to(rest.len().div_ceil(left));
            let request = self.client.post(&self.url).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let answer = request.body(body).send().await?.error_for_status()?;
            answer.bytes().await?;
        }
        Ok(serde_json::json!({"batchItemFailures": []}))
    }
}
