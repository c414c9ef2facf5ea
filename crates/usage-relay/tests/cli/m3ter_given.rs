//! A sandbox on a socket that ends with the test, with files that were uploaded to it.

use std::process::{Command, Output, Stdio};

use m3ter_sandbox::{Category, Limits, MeterRequest, Options, Sandbox};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const UPLOADS: &str = "/organizations/sandbox-org/fileuploads/measurements";

/// m3ter, on a thread of its own.
pub(crate) struct M3ter {
    pub(crate) sandbox: Sandbox,
    pub(crate) url: String,
    token: String,
    runtime: tokio::runtime::Runtime,
    _stop: oneshot::Sender<()>,
}

impl M3ter {
    /// One that processes so many rows of files a second; `None` is all at once.
    pub(crate) fn processing(upload_per_second: Option<u32>) -> M3ter {
        M3ter::with(Options { limits: Limits { upload_per_second, ..Limits::none() }, ..Options::default() })
    }

    /// One with these options.
    pub(crate) fn with(options: Options) -> M3ter {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let sandbox = Sandbox::open(options).unwrap();
        sandbox.create_meter(MeterRequest::new("api").field(Category::Measure, "calls")).unwrap();
        let served = sandbox.clone();
        let url = runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(served.serve(listener, async { drop(stopped.await) }));
            url
        });
        let mut m3ter = M3ter { sandbox, url, token: String::new(), runtime, _stop: stop };
        let granted = m3ter.post("/oauth/token", &json!({"grant_type": "client_credentials"}));
        m3ter.token = granted["access_token"].as_str().unwrap().to_owned();
        m3ter
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.runtime.block_on(async {
            let request = reqwest::Client::new().post(format!("{}{path}", self.url)).header("content-type", "application/json");
            let request = match self.token.as_str() {
                "" => request.basic_auth("sandbox", Some("sandbox-secret")),
                token => request.bearer_auth(token),
            };
            let answer = request.body(body.to_string()).send().await.unwrap().error_for_status().unwrap();
            serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
        })
    }

    /// The id of a new job, whose file never came.
    pub(crate) fn announced(&self, name: &str, bytes: usize) -> String {
        self.given(name, bytes)["jobId"].as_str().unwrap().to_owned()
    }

    /// The id of a new job, and its file is here.
    pub(crate) fn uploaded(&self, name: &str, file: &str) -> String {
        let given = self.given(name, file.len());
        self.runtime.block_on(async {
            let mut request = reqwest::Client::new().put(given["url"].as_str().unwrap()).body(file.to_owned());
            for (name, value) in given["headers"].as_object().unwrap() {
                request = request.header(name, value.as_str().unwrap());
            }
            request.send().await.unwrap().error_for_status().unwrap();
        });
        given["jobId"].as_str().unwrap().to_owned()
    }

    fn given(&self, name: &str, bytes: usize) -> Value {
        let asked = json!({"fileName": name, "contentType": "application/json", "contentLength": bytes});
        self.post(&format!("{UPLOADS}/generateUploadUrl"), &asked)
    }

    /// The command line, asking this m3ter.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
        command.env_clear().args(words).stdin(Stdio::null());
        command.env("M3TER_API_URL", &self.url).env("M3TER_ORG_ID", "sandbox-org");
        command.env("M3TER_ACCESS_KEY_ID", "sandbox").env("M3TER_API_SECRET", "sandbox-secret");
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }
}

/// A file of so many measurements.
pub(crate) fn file(rows: usize) -> String {
    let row = |number: usize| {
        json!({"uid": format!("canary-{number}"), "meter": "api", "account": "acme", "ts": "2026-01-01T00:00:00Z",
        "measure": {"calls": 1}})
    };
    json!((0..rows).map(row).collect::<Vec<_>>()).to_string()
}
