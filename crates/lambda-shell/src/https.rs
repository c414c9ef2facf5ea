//! How everything that a function calls is reached: HTTP/1.1 over one TLS configuration, whose roots are read once.
//!
//! m3ter, the store and AWS's own services each have a client of their own, with its time-outs and its connections. Reading and parsing
//! the system's certificates is a good part of a cold start, and each client would do it by itself.
//!
//! Absent: proxies, and another HTTP client than the one that m3ter's client and the store bring anyway.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use reqwest::redirect::Policy;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls_platform_verifier::BuilderVerifierExt;

/// Connections idle for longer are not used again: a frozen environment finds its sockets dead.
const IDLE: Duration = Duration::from_secs(20);

static TLS: LazyLock<Result<ClientConfig, rustls::Error>> = LazyLock::new(tls);

/// What a client is made of: this TLS, no proxy, no redirects. Time-outs are the client's own affair.
///
/// # Errors
/// Where the system has no certificates.
pub fn builder() -> Result<reqwest::ClientBuilder, rustls::Error> {
    let builder = reqwest::Client::builder().tls_backend_preconfigured(TLS.clone()?);
    Ok(builder.no_proxy().redirect(Policy::none()).pool_idle_timeout(IDLE).tcp_nodelay(true))
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut tls = versions.with_platform_verifier()?.with_no_client_auth();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}

/// The HTTP client of AWS's SDKs, made for the first call. Calls and answers are small: they are kept whole. The SDK bounds a call.
#[derive(Clone, Debug)]
pub(crate) struct SdkClient {
    connect_timeout: Duration,
    client: Arc<OnceLock<reqwest::Client>>,
}

impl SdkClient {
    /// One that takes at most `connect_timeout` to connect.
    pub(crate) fn new(connect_timeout: Duration) -> SdkClient {
        SdkClient { connect_timeout, client: Arc::default() }
    }

    fn client(&self) -> Result<&reqwest::Client, ConnectorError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let builder = builder().map_err(|error| ConnectorError::user(error.into()))?;
        let client = builder.connect_timeout(self.connect_timeout).build().map_err(|error| ConnectorError::user(error.into()))?;
        Ok(self.client.get_or_init(|| client))
    }
}

impl HttpClient for SdkClient {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for SdkClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let sdk = self.clone();
        HttpConnectorFuture::new(async move { exchange(sdk.client()?, request).await })
    }
}

async fn exchange(client: &reqwest::Client, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let (parts, body) = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?.into_parts();
    let body =
        body.bytes().map(<[u8]>::to_vec).ok_or_else(|| ConnectorError::user("expected a body that is kept whole".into()))?;
    let request = http::Request::from_parts(parts, body);
    let request = reqwest::Request::try_from(request).map_err(|error| ConnectorError::user(error.into()))?;
    let mut answer = client.execute(request).await.map_err(no_answer)?;
    let mut response = http::Response::new(SdkBody::empty());
    *response.status_mut() = answer.status();
    *response.headers_mut() = std::mem::take(answer.headers_mut());
    *response.body_mut() = answer.bytes().await.map_err(no_answer)?.into();
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}

/// In the SDK's words, by which it decides about its second try.
fn no_answer(error: reqwest::Error) -> ConnectorError {
    match error.is_timeout() {
        true => ConnectorError::timeout(error.into()),
        false => ConnectorError::io(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers one request, and gives back its first line and its body.
    fn server(answer: &'static str) -> (String, JoinHandle<(String, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/path?query=1", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let mut socket = listener.accept().unwrap().0;
            let mut lines = BufReader::new(socket.try_clone().unwrap());
            let mut head = Vec::new();
            while head.last().is_none_or(|line: &String| line != "\r\n") {
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                head.push(line);
            }
            let mut body = [0; 4];
            lines.read_exact(&mut body).unwrap();
            socket.write_all(answer.as_bytes()).unwrap();
            (head[0].trim().to_owned(), String::from_utf8_lossy(&body).into_owned())
        });
        (url, served)
    }

    async fn call(url: &str) -> Result<HttpResponse, ConnectorError> {
        let request = http::Request::post(url).header("x-of-the-call", "1").body(SdkBody::from("body")).unwrap();
        SdkClient::new(Duration::from_secs(5)).call(request.try_into().unwrap()).await
    }

    #[tokio::test]
    async fn a_call_of_the_sdk_goes_out_as_it_is_and_its_answer_comes_back_whole() {
        let (url, served) = server("HTTP/1.1 403 Forbidden\r\nx-of-the-answer: 2\r\ncontent-length: 6\r\n\r\nanswer");
        let answer = call(&url).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().get("x-of-the-answer")), (403, Some("2")));
        assert_eq!(answer.body().bytes(), Some(&b"answer"[..]));
        assert_eq!(served.join().unwrap(), ("POST /path?query=1 HTTP/1.1".into(), "body".into()));
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let (url, served) =
            server("HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(call(&url).await.unwrap().status().as_u16(), 307);
        served.join().unwrap();
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_a_fault_on_the_way_for_the_sdk_to_try_again() {
        let (url, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\nanswer");
        assert!(call(&url).await.unwrap_err().is_io());
        served.join().unwrap();
        assert!(call("http://127.0.0.1:1/").await.unwrap_err().is_io(), "nobody listens");
    }
}
