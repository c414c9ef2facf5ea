//! `usage-relay sandbox`, run as a user runs it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

const BIN: &str = env!("CARGO_BIN_EXE_usage-relay");

/// A running sandbox; stopped by SIGTERM, and killed if a test ends early.
struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(BIN);
        command.env_clear().env("M3TER_ACCESS_KEY_ID", "key").env("M3TER_API_SECRET", "canary-secret");
        let mut child = command.args(["sandbox", "--json"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.contains("canary"), "{line}");
        let said: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(said["organisation"], "org-1");
        Self { child, url: said["url"].as_str().unwrap().to_owned() }
    }

    fn stop(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    fn call(&self, method: reqwest::Method, path: &str, body: Option<Value>, key: Option<&str>) -> (u16, Value) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.url));
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            request = match key {
                Some("basic") => request.basic_auth("key", Some("canary-secret")),
                Some(token) => request.bearer_auth(token),
                None => request,
            };
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
        })
    }

    fn token(&self) -> String {
        let grant = json!({"grant_type": "client_credentials"});
        let (status, said) = self.call(reqwest::Method::POST, "/oauth/token", Some(grant), Some("basic"));
        assert_eq!(status, 200, "{said}");
        said["access_token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn write(folder: &Path, name: &str, content: &Value) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content.to_string()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(BIN).env_clear().arg("sandbox").args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn a_sandbox_counts_keeps_its_journal_and_ends_quietly_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let meter = json!({"name": "m", "code": "m", "derivedFields": [],
        "dataFields": [{"category": "MEASURE", "code": "n", "name": "n", "unit": "1"}]});
    let catalogue = write(folder.path(), "catalogue.json", &json!({"meters": [meter]}));
    let data = folder.path().join("journal").to_str().unwrap().to_owned();
    let arguments = ["--organisation", "org-1", "--catalogue", &catalogue, "--data", &data];
    let sandbox = Running::start(&arguments);
    assert!(sandbox.url.starts_with("http://127.0.0.1:"));
    let measurement = json!({"uid": "u", "meter": "m", "account": "a", "ts": "2026-01-01T00:00:00Z", "measure": {"n": 2}});
    let body = json!({"measurements": [measurement]});
    let (status, said) =
        sandbox.call(reqwest::Method::POST, "/organizations/org-1/measurements", Some(body), Some(&sandbox.token()));
    assert_eq!((status, &said["result"]), (200, &json!("accepted")));
    assert_eq!(sandbox.stop(), Some(0));

    let again = Running::start(&arguments);
    let (_, ledger) = again.call(reqwest::Method::GET, "/_sandbox/ledger", None, None);
    assert_eq!(ledger["totals"]["ingested"], 1, "the journal brings back what was counted");
    assert_eq!(again.stop(), Some(0));
}

#[test]
fn a_script_of_faults_is_played_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let faults =
        write(folder.path(), "faults.json", &json!([{"route": "token", "times": 1, "fault": {"kind": "status", "status": 503}}]));
    let sandbox = Running::start(&["--organisation", "org-1", "--faults", &faults]);
    let grant = json!({"grant_type": "client_credentials"});
    assert_eq!(sandbox.call(reqwest::Method::POST, "/oauth/token", Some(grant), Some("basic")).0, 503);
    sandbox.token();
    assert_eq!(sandbox.stop(), Some(0));
}

#[test]
fn a_token_lives_as_long_as_asked_for() {
    let grant = json!({"grant_type": "client_credentials"});
    let life = |arguments: &[&str]| {
        let sandbox = Running::start(&[&["--organisation", "org-1"], arguments].concat());
        let (_, said) = sandbox.call(reqwest::Method::POST, "/oauth/token", Some(grant.clone()), Some("basic"));
        assert_eq!(sandbox.stop(), Some(0));
        said["expires_in"].clone()
    };
    assert_eq!([life(&[]), life(&["--token-lifetime-s", "1"])], [json!(18_000), json!(1)]);
}

#[test]
fn uploaded_files_are_processed_at_the_speed_that_is_asked_for() {
    // At m3ter's 2,000 rows a second it takes twenty seconds.
    let file = json!(vec![0; 40_000]).to_string();
    let status_at_once = |arguments: &[&str]| {
        let sandbox = Running::start(&[&["--organisation", "org-1"], arguments].concat());
        let (token, folder) = (sandbox.token(), "/organizations/org-1/fileuploads/measurements");
        let asked = json!({"fileName": "f", "contentType": "application/json", "contentLength": file.len()});
        let path = format!("{folder}/generateUploadUrl");
        let (_, given) = sandbox.call(reqwest::Method::POST, &path, Some(asked), Some(&token));
        put(&given, file.clone());
        let path = format!("{folder}/jobs/{}", given["jobId"].as_str().unwrap());
        sandbox.call(reqwest::Method::GET, &path, None, Some(&token)).1["status"].clone()
    };
    assert_eq!([status_at_once(&[]), status_at_once(&["--upload-speed", "0"])], [json!("running"), json!("succeeded")]);
}

/// Uploads a file to the URL of its job, with the headers that came with it.
fn put(given: &Value, file: String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut request = reqwest::Client::new().put(given["url"].as_str().unwrap()).body(file);
        for (name, value) in given["headers"].as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
    });
}

#[test]
fn what_cannot_be_used_is_named_with_the_right_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let broken = write(folder.path(), "broken.json", &json!({"meters": [{}]}));
    let never = write(folder.path(), "never.json", &json!([{"probability": 2, "fault": {"kind": "reset"}}]));
    for (arguments, code, expected) in [
        (vec!["--listen", "0.0.0.0:0"], 64, "expected a loopback address"),
        (vec!["--catalogue", "/nowhere.json"], 2, "cannot read /nowhere.json"),
        (vec!["--catalogue", &broken], 1, "broken.json: catalogue: meters[0]"),
        (vec!["--faults", &broken], 1, "expected rules such as"),
        (vec!["--faults", &never], 1, "never.json: rules[0]: probability: expected 0 to 1, found 2"),
        (vec!["--token-lifetime-s", "0"], 64, "0 is not in 1.."),
        (vec!["--data", "/nowhere/journal"], 2, "journal"),
    ] {
        let output = run(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
