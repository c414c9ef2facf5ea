//! The AWS services the functions call, on one loopback port: secrets, the queue's change of visibility, and objects.
//!
//! A function reaches all of them when `AWS_ENDPOINT_URL` is [`AwsStub::url`]. Each service answers only what the function asks of it, is
//! scripted from the test while the function runs, and can hang. Whatever else is asked is refused and kept in
//! [`AwsStub::unexpected`], so that a new call cannot be answered by accident.
//!
//! Signatures are not checked, and nothing here is a second AWS: an emulator is for that.

mod listing;
mod objects;
mod queue;
mod secrets;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, StatusCode};

pub use self::objects::{ObjectFault, ObjectsStub, StoredObject};
pub use self::queue::{QueueStub, VisibilityChange};
pub use self::secrets::SecretsStub;
use crate::http_server::{Answer, HttpServer, answer};

/// Secrets Manager, SQS and S3 as far as the function uses them. Stops when dropped.
#[derive(Debug)]
pub struct AwsStub {
    server: HttpServer,
    services: Services,
}

#[derive(Clone, Debug, Default)]
struct Services {
    secrets: SecretsStub,
    queue: QueueStub,
    objects: ObjectsStub,
    unexpected: Arc<Mutex<Vec<String>>>,
}

impl AwsStub {
    /// Starts on a free port of 127.0.0.1, without secrets and objects.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start() -> io::Result<Self> {
        let services = Services::default();
        let serving = services.clone();
        let server = HttpServer::start(move |request| serving.clone().serve(request)).await?;
        Ok(Self { server, services })
    }

    /// The base URL of every service, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Secrets Manager.
    #[must_use]
    pub fn secrets(&self) -> &SecretsStub {
        &self.services.secrets
    }

    /// SQS.
    #[must_use]
    pub fn queue(&self) -> &QueueStub {
        &self.services.queue
    }

    /// S3.
    #[must_use]
    pub fn objects(&self) -> &ObjectsStub {
        &self.services.objects
    }

    /// Requests that nothing here answers, as `METHOD path target`. A test of the function expects none.
    #[must_use]
    pub fn unexpected(&self) -> Vec<String> {
        lock(&self.services.unexpected).clone()
    }
}

impl Services {
    async fn serve(self, request: Request<Bytes>) -> Answer {
        let target = request.headers().get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok()).unwrap_or("");
        let asked = format!("{} {} {target}", request.method(), request.uri());
        let answered = match target {
            "secretsmanager.GetSecretValue" => Some(self.secrets.get_secret_value(request.body()).await),
            "AmazonSQS.ChangeMessageVisibilityBatch" => Some(self.queue.change_visibility(request.body()).await),
            "AmazonSQS.ChangeMessageVisibility" => Some(self.queue.change_one(request.body()).await),
            "" => self.objects.serve(&request).await,
            _ => None,
        };
        if let Some(answered) = answered {
            return answered;
        }
        lock(&self.unexpected).push(asked.trim_end().to_owned());
        json_error(StatusCode::BAD_REQUEST, "UnknownOperationException", "not answered by this stub")
    }
}

/// An error of AWS's JSON protocols.
fn json_error(status: StatusCode, kind: &str, message: &str) -> Answer {
    let body = serde_json::json!({"__type": kind, "message": message});
    answer(status, JSON_1_0, body.to_string())
}

/// The content type of AWS's JSON protocol 1.0; the SDKs read 1.1 answers under it just as well.
const JSON_1_0: &str = "application/x-amz-json-1.0";

/// Locks scripted state. A panic elsewhere leaves it usable: it is only data.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for ever if `hanging`. A request that hangs stays so, also after the switch is turned back.
async fn hang_if(hanging: bool) {
    if hanging {
        std::future::pending::<()>().await;
    }
}
