//! Four questions to AWS for which there is no SDK here: what a stack calls its parts, what a function is, what feeds it, and its secret.
//!
//! The SDKs of Lambda and CloudFormation take minutes to compile, for three small GET requests; what signs their requests is in the
//! tree anyway. Endpoints are found as the SDKs find them: `AWS_ENDPOINT_URL_LAMBDA` before `AWS_ENDPOINT_URL` before AWS's own.

use std::time::SystemTime;

use aws_config::SdkConfig;
use aws_sdk_sqs::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::{Method, Request, Response};
use m3ter_client::{HttpTransport, Transport};
use serde_json::Value;

use super::line::Fault;
use crate::{clock, config};

/// A part of AWS that is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Service {
    CloudFormation,
    Lambda,
    SecretsManager,
}

impl Service {
    /// As it stands in AWS's own addresses and in signatures.
    fn name(self) -> &'static str {
        match self {
            Self::CloudFormation => "cloudformation",
            Self::Lambda => "lambda",
            Self::SecretsManager => "secretsmanager",
        }
    }

    /// As it stands in the name of the variable for its endpoint alone. Source: the service ids of the SDKs.
    fn variable(self) -> &'static str {
        match self {
            Self::CloudFormation => "CLOUDFORMATION",
            Self::Lambda => "LAMBDA",
            Self::SecretsManager => "SECRETS_MANAGER",
        }
    }
}

/// Who asks, and where.
pub(super) struct Aws<'a> {
    pub(super) http: &'a HttpTransport,
    pub(super) sdk: &'a SdkConfig,
    pub(super) credentials: Credentials,
    pub(super) region: String,
}

/// Why AWS did not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotSaid {
    /// No answer.
    NoAnswer(String),
    /// AWS understood, and said no.
    No { code: String, message: String },
}

impl NotSaid {
    /// As a fault of a check that wanted to know `what`; `missing` is what to do if it is not there.
    pub(super) fn fault(self, what: &str, missing: &str) -> Fault {
        match self {
            Self::NoAnswer(how) => Fault::new(format!("{what}: {how}"), "look at the network, the region and AWS_ENDPOINT_URL"),
            Self::No { code, message } => {
                let mend = match code.as_str() {
                    code if code.contains("NotFound") || code.contains("ValidationError") => missing.to_owned(),
                    code if code.contains("AccessDenied") => "allow these credentials to read it".to_owned(),
                    code if code.contains("Signature") || code.contains("Skewed") || code.contains("Expired") => {
                        "look at the clock of this machine, the credentials and the region".to_owned()
                    }
                    _ => "look at the credentials and the region".to_owned(),
                };
                Fault::new(format!("{what}: AWS says {code}: {message}"), mend)
            }
        }
    }
}

impl Aws<'_> {
    /// Where `service` is.
    pub(super) fn endpoint(&self, service: Service) -> String {
        let given = config::service_endpoint(service.variable()).or_else(|| self.sdk.endpoint_url().map(str::to_owned));
        let Self { region, .. } = self;
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let own = || format!("https://{}.{region}.{suffix}", service.name());
        given.map_or_else(own, |url| url.trim_end_matches('/').to_owned())
    }

    /// What the stack `stack` made for what its template calls `part`: a function's name, a queue's URL.
    pub(super) async fn part_of(&self, stack: &str, part: &str) -> Result<String, NotSaid> {
        let query = format!("Action=DescribeStackResource&LogicalResourceId={part}&StackName={stack}&Version=2010-05-15");
        let url = format!("{}/?{query}", self.endpoint(Service::CloudFormation));
        let answer = self.ask(Service::CloudFormation, Method::GET, &url, &[], Bytes::new()).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        if !answer.status().is_success() {
            return Err(no(&answer, between(&text, "Code").unwrap_or_default(), between(&text, "Message").unwrap_or_default()));
        }
        between(&text, "PhysicalResourceId").ok_or_else(|| not_aws(&answer))
    }

    /// The configuration of the function `name`.
    pub(super) async fn function(&self, name: &str) -> Result<Value, NotSaid> {
        let url = format!("{}/2015-03-31/functions/{name}/configuration", self.endpoint(Service::Lambda));
        json(self.ask(Service::Lambda, Method::GET, &url, &[], Bytes::new()).await?)
    }

    /// The mappings that `filter` leaves: what feeds a function, or what is fed by a queue.
    pub(super) async fn mappings(&self, filter: &str) -> Result<Vec<Value>, NotSaid> {
        let url = format!("{}/2015-03-31/event-source-mappings/?{filter}", self.endpoint(Service::Lambda));
        let answer = json(self.ask(Service::Lambda, Method::GET, &url, &[], Bytes::new()).await?)?;
        Ok(answer.get("EventSourceMappings").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// The secret at `arn`, whole.
    pub(super) async fn secret(&self, arn: &str) -> Result<Value, NotSaid> {
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "secretsmanager.GetSecretValue")];
        let body = Bytes::from(serde_json::json!({"SecretId": arn}).to_string());
        let url = format!("{}/", self.endpoint(Service::SecretsManager));
        json(self.ask(Service::SecretsManager, Method::POST, &url, &headers, body).await?)
    }

    async fn ask(
        &self,
        service: Service,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Bytes>, NotSaid> {
        let unsigned = |error: &dyn std::error::Error| NotSaid::NoAnswer(format!("the request cannot be made: {error}"));
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(service.name())
            .time(SystemTime::from(clock::now()))
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| unsigned(&error))?;
        let signable = SignableRequest::new(method.as_str(), url, headers.iter().copied(), SignableBody::Bytes(&body));
        let signed = signable.and_then(|request| sign(request, &SigningParams::V4(params))).map_err(|error| unsigned(&error))?;
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(body.clone()).map_err(|error| unsigned(&error))?;
        signed.into_parts().0.apply_to_request_http1x(&mut request);
        self.http.send(request).await.map_err(|error| NotSaid::NoAnswer(error.to_string().replace("m3ter", "AWS")))
    }
}

/// The answer as JSON, or AWS's error in it.
fn json(answer: Response<Bytes>) -> Result<Value, NotSaid> {
    let value: Value = serde_json::from_slice(answer.body()).map_err(|_| not_aws(&answer))?;
    if answer.status().is_success() {
        return Ok(value);
    }
    let text = |names: &[&str]| names.iter().find_map(|name| value.get(name)?.as_str()).map(str::to_owned).unwrap_or_default();
    let header = answer.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok()).map(str::to_owned);
    Err(no(&answer, header.unwrap_or_else(|| text(&["__type", "Code", "Type"])), text(&["message", "Message"])))
}

/// AWS's error; `code` may bring a name space before `#`, or more after `:`.
fn no(answer: &Response<Bytes>, code: String, message: String) -> NotSaid {
    let short = code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
    let code = if short.is_empty() { format!("status {}", answer.status().as_u16()) } else { short };
    NotSaid::No { code, message }
}

fn not_aws(answer: &Response<Bytes>) -> NotSaid {
    NotSaid::NoAnswer(format!("what answered, with status {}, is not AWS", answer.status().as_u16()))
}

/// The text of the first element `name` in `xml`. Enough for names and codes, which need no escaping.
fn between(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Response<Bytes> {
        Response::builder().status(status).body(Bytes::from(body.to_owned())).unwrap()
    }

    #[test]
    fn a_service_is_where_its_region_is_unless_an_endpoint_is_given() {
        let http = HttpTransport::new().unwrap();
        let at = |region: &str, endpoint: Option<&str>| {
            let mut sdk = SdkConfig::builder();
            sdk.set_endpoint_url(endpoint.map(str::to_owned));
            let sdk = sdk.build();
            let credentials = Credentials::new("id", "secret", None, None, "test");
            let aws = Aws { http: &http, sdk: &sdk, credentials, region: region.to_owned() };
            aws.endpoint(Service::Lambda)
        };
        assert_eq!(at("eu-west-1", None), "https://lambda.eu-west-1.amazonaws.com");
        assert_eq!(at("cn-north-1", None), "https://lambda.cn-north-1.amazonaws.com.cn");
        assert_eq!(at("eu-west-1", Some("http://127.0.0.1:4566/")), "http://127.0.0.1:4566");
    }

    #[test]
    fn an_element_is_found_in_the_answer() {
        assert_eq!(between("<a><Code>X</Code><Code>Y</Code></a>", "Code").as_deref(), Some("X"));
        assert_eq!(between("<a><Code>X", "Code"), None);
    }

    #[test]
    fn an_error_of_aws_is_its_code_and_its_words_and_anything_else_is_not_aws() {
        for (status, body, expected) in [
            (400, r#"{"__type":"com.amazonaws#ResourceNotFoundException","message":"m"}"#, ("ResourceNotFoundException", "m")),
            (403, r#"{"Message":"m"}"#, ("status 403", "m")),
            (404, r#"{"Type":"User","message":"m","__type":"A:http://x"}"#, ("A", "m")),
        ] {
            let (code, message) = (expected.0.to_owned(), expected.1.to_owned());
            assert_eq!(json(answer(status, body)), Err(NotSaid::No { code, message }), "{body}");
        }
        assert!(matches!(json(answer(200, "<html>")), Err(NotSaid::NoAnswer(how)) if how.contains("is not AWS")));
    }

    #[test]
    fn what_to_do_follows_from_the_code() {
        let mend = |code: &str| NotSaid::No { code: code.into(), message: "m".into() }.fault("the function", "deploy it").mend;
        assert_eq!(mend("ResourceNotFoundException"), "deploy it");
        assert_eq!(mend("ValidationError"), "deploy it");
        assert!(mend("AccessDeniedException").starts_with("allow"));
        assert!(mend("RequestTimeTooSkewed").contains("clock"));
        assert!(mend("UnrecognizedClientException").contains("credentials"));
        assert!(NotSaid::NoAnswer("h".into()).fault("f", "d").mend.contains("network"));
    }
}
