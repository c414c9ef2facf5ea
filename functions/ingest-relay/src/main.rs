//! Starts the function: settings, the ways out, a first token, the catalogue.

use std::process::ExitCode;
use std::sync::Arc;

use ingest_relay::aws::SqsQueue;
use ingest_relay::config::Config;
use ingest_relay::handler::Function;
use lambda_shell::{Error, SecretsManager, aws, https, now_ms, run};
use m3ter_client::{Client, Clock, HttpTransport};
use relay::{LastCatalogue, Relay};
use relay_store::{Payloads, Store};

/// Time for the first token and the catalogue. Lambda allows 10 s for the whole start; without a token the first batch fetches it.
const WARM_UP_MS: i64 = 4_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(start(), async |function: &Function, event, call, log| function.handle(event, call, &mut fastrand::Rng::new(), log).await)
        .await
}

async fn start() -> Result<Function, Error> {
    let config = Config::from_env()?;
    let sdk = aws::load().await;
    let secrets = Arc::new(SecretsManager::new(&sdk, config.secret_arn));
    let s3 = aws::s3_access(&sdk, config.s3_endpoint).await;
    let store = Store::open(&config.store_url, &s3).map_err(|error| format!("STORE_URL: {error}"))?;
    let buckets = config.payload_buckets.iter().map(String::as_str);
    let payloads = Payloads::open(buckets, &s3).map_err(|error| format!("PAYLOAD_BUCKETS: {error}"))?;
    let client = Client::new(Arc::new(HttpTransport::over(https::builder()?)?), secrets, &config.client);
    let queue = Box::new(SqsQueue::new(sdk, config.queue_url));
    let relay = Relay { client, store, payloads, catalogue: LastCatalogue::default(), settings: config.walk };
    let clock = Clock::starting_at(now_ms());
    relay.warm_up(clock, clock.budget(clock.now_ms() + WARM_UP_MS), fastrand::Rng::new()).await;
    Ok(Function { relay, queue, name: config.function_name })
}
