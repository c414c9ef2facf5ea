//! The transport over the network: HTTP/1.1 with keep-alive, TLS by rustls with AWS-LC.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use relay_core::limits::ANSWER_BYTES_MAX;

use crate::http_files;
use crate::transport::{AnswerBytesMax, FileBody, NoAnswer, Pieces, Transport};

/// Connections idle for longer are not used again: a frozen environment finds its sockets dead, and m3ter's gateway
/// closes idle ones after a minute.
const IDLE: Duration = Duration::from_secs(20);

/// Time to connect. A host that does not answer by then will not.
const CONNECT: Duration = Duration::from_secs(5);

/// HTTP over the network.
#[derive(Clone, Debug)]
pub struct HttpTransport {
    client: reqwest::Client,
}

impl HttpTransport {
    /// A transport with no connection yet. Fails only where TLS cannot be set up.
    pub fn new() -> Result<HttpTransport, reqwest::Error> {
        HttpTransport::over(reqwest::Client::builder())
    }

    /// The same, made of `builder`, which has TLS set up already.
    pub fn over(builder: reqwest::ClientBuilder) -> Result<HttpTransport, reqwest::Error> {
        let client = builder
            .user_agent(concat!("usage-relay/", env!("CARGO_PKG_VERSION")))
            // The environment is read in one place, and credentials go nowhere but to m3ter.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .pool_idle_timeout(IDLE)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .build()?;
        Ok(HttpTransport { client })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let most = request.extensions().get().map_or(ANSWER_BYTES_MAX, |AnswerBytesMax(most)| *most);
        let request = reqwest::Request::try_from(request).map_err(|_| NoAnswer::NoConnection)?;
        exchange(&self.client, request, most).await
    }

    async fn upload(&self, request: Request<FileBody>) -> Result<Response<Bytes>, NoAnswer> {
        http_files::upload(&self.client, request).await
    }

    async fn download(&self, request: Request<Bytes>) -> Result<Response<Pieces>, NoAnswer> {
        http_files::download(&self.client, request).await
    }
}

/// Sends `request`, and reads the answer up to `most` bytes.
pub(crate) async fn exchange(
    client: &reqwest::Client,
    request: reqwest::Request,
    most: usize,
) -> Result<Response<Bytes>, NoAnswer> {
    let mut answer = client.execute(request).await.map_err(no_answer)?;
    let mut body = BytesMut::new();
    while let Some(part) = answer.chunk().await.map_err(|_| NoAnswer::Broken)? {
        if body.len() + part.len() > most {
            return Err(NoAnswer::TooLong);
        }
        body.extend_from_slice(&part);
    }
    Ok(with_head_of(&mut answer, body.freeze()))
}

/// Why there is no answer at all.
#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
pub(crate) fn no_answer(error: reqwest::Error) -> NoAnswer {
    if error.is_connect() { NoAnswer::NoConnection } else { NoAnswer::Broken }
}

/// `body` under the status and the headers of `answer`, which are taken from it.
pub(crate) fn with_head_of<T>(answer: &mut reqwest::Response, body: T) -> Response<T> {
    let mut response = Response::new(body);
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    response
}
