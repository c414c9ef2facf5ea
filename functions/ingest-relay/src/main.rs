//! Starts the function: settings, the ways out, a first token, then the runtime's loop.

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use ingest_relay::aws::{self, SecretsManager, SqsQueue};
use ingest_relay::config::Config;
use ingest_relay::handler::{Call, Function};
use ingest_relay::metrics;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use m3ter_client::{Client, Clock, HttpTransport};
use relay::Relay;
use relay_store::Store;
use serde_json::value::RawValue;

/// Time for the first token. Lambda allows 10 s for the whole start; without a token the first batch fetches it.
const WARM_UP_MS: i64 = 4_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        // The message of a panic may quote data; where it happened does not.
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        say(&metrics::plain(now_ms(), "error", "panicked", &place));
    }));
    let function = match start().await {
        Ok(function) => function,
        Err(error) => {
            say(&metrics::plain(now_ms(), "error", "refused to start", &error.to_string()));
            return ExitCode::FAILURE;
        }
    };
    match lambda_runtime::run(service_fn(|event| invoke(&function, event))).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&metrics::plain(now_ms(), "error", "the runtime ended", &error.to_string()));
            ExitCode::FAILURE
        }
    }
}

async fn start() -> Result<Function, Error> {
    let config = Config::from_env()?;
    let sdk = aws::load().await;
    let s3 = aws::s3_access(&sdk, config.s3_endpoint).await;
    let store = Store::open(&config.store_url, &s3).map_err(|error| format!("STORE_URL: {error}"))?;
    let secrets = Arc::new(SecretsManager::new(&sdk, config.secret_arn));
    let client = Client::new(Arc::new(HttpTransport::new()?), secrets, &config.client);
    let queue = Box::new(SqsQueue::new(&sdk, config.queue_url));
    let clock = Clock::starting_at(now_ms());
    let budget = clock.budget(clock.now_ms() + WARM_UP_MS);
    client.session(clock, budget, None, fastrand::Rng::new()).warm_up().await;
    Ok(Function { relay: Relay { client, store, settings: config.walk }, queue, name: config.function_name })
}

async fn invoke(function: &Function, event: LambdaEvent<Box<RawValue>>) -> Result<ingest_relay::handler::Answer, Error> {
    let context = event.context;
    let call = Call {
        request_id: &context.request_id,
        deadline_ms: i64::try_from(context.deadline).unwrap_or(i64::MAX),
        trace: context.xray_trace_id.as_deref(),
        now_ms: now_ms(),
    };
    let (mut rng, mut log) = (fastrand::Rng::new(), std::io::stdout().lock());
    let handled = AssertUnwindSafe(function.handle(event.payload.get(), call, &mut rng, &mut log)).catch_unwind().await;
    match handled {
        Ok(answer) => Ok(answer?),
        Err(_) => Err("the invocation panicked; all its messages stay in the queue".into()),
    }
}

/// Milliseconds since the epoch: the one reading of the wall clock.
#[expect(clippy::disallowed_methods, reason = "the one reading of the wall clock")]
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn say(line: &str) {
    // Nothing can be done about a standard output that is closed.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}
