//! Starts the function: settings, and the ways to the store, the queue and m3ter.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bulk_upload::config::Config;
use bulk_upload::file::Office;
use bulk_upload::handler::Function;
use bulk_upload::visibility::SqsVisibility;
use lambda_shell::{Error, SecretsManager, aws, https, run};
use m3ter_client::{Client, HttpTransport};
use relay_store::{S3Access, Store};

/// One try of a request to the store: S3 takes its time to put a part together that came in pieces.
const TRY: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    run(start(), async |function: &Function, event, call, log| function.handle(event, call, fastrand::Rng::new(), log).await)
        .await
}

async fn start() -> Result<Function, Error> {
    let config = Config::from_env()?;
    let sdk = aws::load().await;
    let s3 = aws::s3_access(&sdk, config.s3_endpoint.clone()).await;
    let s3 = S3Access { patience: Some(TRY), ..s3 }.over(https::builder()?)?;
    let open = |url: &str| Store::open(url, &s3).map_err(|error| format!("STORE_URL: {error}"));
    let (bucket, name) = (config.bucket().to_owned(), config.function_name.clone());
    let (store, files) = (open(&config.store_url)?, open(&format!("s3://{bucket}"))?);
    let secrets = Arc::new(SecretsManager::new(&sdk, config.secret_arn));
    let client = Client::new(Arc::new(HttpTransport::over(https::builder()?)?), secrets, &config.client);
    let office = Office { client, store, files, bucket, missing_uid: config.missing_uid, ledger: config.ledger };
    Ok(Function { office, queue: Box::new(SqsVisibility::new(&sdk, config.queue_url)), name })
}
