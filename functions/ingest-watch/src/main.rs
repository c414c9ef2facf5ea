//! Starts the function: settings, and the ways to the store and to m3ter.

use std::process::ExitCode;
use std::sync::Arc;

use ingest_watch::config::Config;
use ingest_watch::handler::Function;
use lambda_shell::{Error, SecretsManager, aws, https, run};
use m3ter_client::{Client, HttpTransport};
use relay_store::Store;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(start(), async |function: &Function, _schedule, call, log| function.handle(call, fastrand::Rng::new(), log).await).await
}

async fn start() -> Result<Function, Error> {
    let config = Config::from_env()?;
    let sdk = aws::load().await;
    let s3 = aws::s3_access(&sdk, config.s3_endpoint).await;
    let store = Store::open(&config.store_url, &s3).map_err(|error| format!("STORE_URL: {error}"))?;
    let secrets = Arc::new(SecretsManager::new(&sdk, config.secret_arn));
    let client = Client::new(Arc::new(HttpTransport::over(https::builder()?)?), secrets, &config.client);
    Ok(Function { client, store, ledger: config.ledger, name: config.function_name })
}
