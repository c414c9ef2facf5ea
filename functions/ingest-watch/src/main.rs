//! Starts the function: settings, and the way to the store.

use std::process::ExitCode;

use ingest_watch::config::Config;
use ingest_watch::handler::Function;
use lambda_shell::{Error, aws, run};
use relay_store::Store;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(start(), async |function: &Function, _schedule, call, log| function.handle(call, log).await).await
}

async fn start() -> Result<Function, Error> {
    let config = Config::from_env()?;
    let s3 = aws::s3_access(&aws::load().await, config.s3_endpoint).await;
    let store = Store::open(&config.store_url, &s3).map_err(|error| format!("STORE_URL: {error}"))?;
    Ok(Function { store, name: config.function_name })
}
