//! `usage-relay console`, run as a user runs it: who is let in, what the page's requests do, and what a state holds.
//!
//! What a person sees and clicks is tested in a browser, over the emulator.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use m3ter_sandbox::{Fault, FaultRule, Options, Sandbox};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::queue_stub::{QueueStub, Script};

const BIN: &str = env!("CARGO_BIN_EXE_usage-relay");
/// A state comes each second.
const STATES_MAX: usize = 60;

fn command(queue: &QueueStub, arguments: &[&str]) -> Command {
    let mut command = Command::new(BIN);
    command.env_clear().env("AWS_ENDPOINT_URL", queue.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "canary").env("AWS_REGION", "eu-west-1");
    command.arg("console").args(arguments).stdin(Stdio::null());
    command
}

/// All that a console needs, in this process but for itself.
struct Places {
    queue: QueueStub,
    sandbox: Sandbox,
    sandbox_url: String,
    folder: tempfile::TempDir,
    runtime: Runtime,
}

impl Places {
    fn new() -> Self {
        let sandbox = Sandbox::open(Options::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let sandbox_url = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(sandbox.clone().serve(listener, std::future::pending()));
        let (queue, folder) = (QueueStub::start(Script::all_well()), tempfile::tempdir().unwrap());
        Self { queue, sandbox, sandbox_url, folder, runtime }
    }

    fn arguments(&self) -> Vec<String> {
        let store_url = format!("file://{}", self.folder.path().display());
        vec!["--queue-url".to_owned(), self.queue.queue_url(), "--store-url".to_owned(), store_url]
    }

    /// With a sandbox, and this queue.
    fn at_queue(&self, url: &str) -> Console<'_> {
        let mut arguments = self.arguments();
        url.clone_into(&mut arguments[1]);
        self.start_with(arguments, &["--sandbox-url", &self.sandbox_url])
    }

    fn start(&self, more: &[&str]) -> Console<'_> {
        self.start_with(self.arguments(), more)
    }

    fn start_with(&self, arguments: Vec<String>, more: &[&str]) -> Console<'_> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(["--json"]).chain(more.iter().copied()).collect();
        let mut child = command(&self.queue, &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            panic!("{:?}", child.wait_with_output());
        }
        let said: Value = serde_json::from_str(&line).unwrap();
        let url = said["url"].as_str().unwrap().to_owned();
        let mut console = Console { places: self, child: Some(child), url, word: String::new() };
        let (_, page) = console.call(Method::GET, "/", &[], None);
        console.word = page.split("name=\"console-word\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        console
    }

    fn with_sandbox(&self) -> Console<'_> {
        self.start(&["--sandbox-url", &self.sandbox_url])
    }
}

/// A running console; killed if a test ends early.
struct Console<'p> {
    places: &'p Places,
    child: Option<Child>,
    url: String,
    word: String,
}

impl Console<'_> {
    fn call(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> (u16, String) {
        self.places.runtime.block_on(async {
            let mut request = reqwest::Client::new().request(method, format!("{}{path}", self.url));
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                request = request.header("content-type", "application/json").body(body.to_string());
            }
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        })
    }

    /// What the page asks for.
    fn act(&self, path: &str, body: Value) -> (u16, Value) {
        let headers = [("origin", self.url.as_str()), ("x-console-word", &self.word)];
        let (status, text) = self.call(Method::POST, path, &headers, Some(body));
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// The first state that `is_wanted`, of those that come while a page is open.
    fn state(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        self.places.runtime.block_on(async {
            let mut answer = reqwest::Client::new().get(format!("{}/events", self.url)).send().await.unwrap();
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            let mut text = String::new();
            for _ in 0..STATES_MAX {
                let chunk = tokio::time::timeout(Duration::from_secs(30), answer.chunk()).await.unwrap().unwrap().unwrap();
                text.push_str(std::str::from_utf8(&chunk).unwrap());
                while let Some((event, rest)) = text.split_once("\n\n") {
                    let state: Option<Value> =
                        event.lines().find_map(|line| line.strip_prefix("data:")).map(|data| serde_json::from_str(data).unwrap());
                    if let Some(state) = state.filter(|state| is_wanted(state)) {
                        return state;
                    }
                    text = rest.to_owned();
                }
            }
            panic!("no such state came")
        })
    }

    /// What it said on standard error, having ended with 0 when asked to.
    fn stop(mut self) -> String {
        let child = self.child.take().unwrap();
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Console<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_nobody_may_frame_it() {
    let places = Places::new();
    let console = places.with_sandbox();
    let answer = places.runtime.block_on(reqwest::get(&console.url)).unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(
        (&answer.headers()["x-content-type-options"], &answer.headers()["cache-control"]),
        (&"nosniff".parse().unwrap(), &"no-store".parse().unwrap())
    );
    for path in ["/", "/page.css", "/page.js"] {
        let (status, text) = console.call(Method::GET, path, &[], None);
        assert_eq!(status, 200, "{path}");
        assert!(!text.contains("https://") && !text.contains("{{word}}") && !text.contains("innerHTML"), "{path}");
        assert!(path == "/" || !text.contains(&console.word), "{path}");
    }
    assert_eq!(console.call(Method::GET, "/nothing", &[], None).0, 404);
    assert_eq!(console.stop(), "");
}

#[test]
fn only_the_consoles_own_page_is_let_in() {
    let places = Places::new();
    let console = places.with_sandbox();
    let own = [("origin", console.url.as_str()), ("x-console-word", &console.word)];
    for (path, body) in [("/send", json!({"what": "demo", "count": 1})), ("/trouble", json!({"trouble": "outage", "on": true}))] {
        for headers in [
            &[("x-console-word", console.word.as_str())][..],
            &own[..1],
            &[own[0], ("x-console-word", "guess")],
            &[("origin", "http://evil.example"), own[1]],
            &[("origin", "null"), own[1]],
            &[own[0], own[1], ("host", "evil.example")],
            &[own[0], own[1], ("sec-fetch-site", "cross-site")],
        ] {
            let (status, text) = console.call(Method::POST, path, headers, Some(body.clone()));
            assert_eq!(status, 403, "{path} {headers:?}");
            assert!(text.contains("expected") && !text.contains(&console.word), "{text}");
        }
    }
    for path in ["/", "/page.js", "/events", "/nothing"] {
        assert_eq!(console.call(Method::GET, path, &[("host", "evil.example")], None).0, 403, "{path}");
        assert_eq!(console.call(Method::GET, path, &[("origin", "http://evil.example")], None).0, 403, "{path}");
    }
    assert!(places.queue.seen().taken.is_empty() && places.sandbox.faults().rules.is_empty());
    assert_eq!(console.stop(), "");
}

#[test]
fn what_a_button_sends_is_on_the_queue_and_waits_in_the_books() {
    let places = Places::new();
    let console = places.with_sandbox();
    let (status, said) = console.act("/send", json!({"what": "again"}));
    assert_eq!((status, said["error"].as_str().unwrap().contains("sent from this page before")), (422, true));
    assert_eq!(console.act("/send", json!({"what": "demo", "count": 250})), (200, json!({"measurements": 250, "messages": 3})));
    assert_eq!(console.act("/send", json!({"what": "again"})), (200, json!({"measurements": 250, "messages": 3})));
    assert_eq!(console.act("/send", json!({"what": "mistakes"})), (200, json!({"measurements": 1_000, "messages": 10})));
    let state = console.state(|state| state["books"]["sent"] == 1_500);
    assert_eq!((&state["books"]["waiting"], &state["books"]["nowhere"]), (&1_500.into(), &0.into()));
    assert!(state["lag_ms"].as_array().unwrap().len() > 1 && state["m3ter"]["requests"] == 0 && state["failure"].is_null());
    let seen = places.queue.seen();
    assert_eq!((seen.taken.len(), seen.broken.len()), (16, 0));
    assert_eq!(seen.taken[..3].iter().collect::<std::collections::BTreeSet<_>>(), seen.taken[3..6].iter().collect());
    drop(seen);
    for (body, status) in [
        (json!({"what": "demo", "count": 0}), 422),
        (json!({"what": "demo", "count": 10_001}), 422),
        (json!({"what": "demo"}), 422),
        (json!({"what": "everything"}), 422),
        (json!({"what": "demo", "count": 1, "padding": "x".repeat(5_000)}), 413),
    ] {
        assert_eq!(console.act("/send", body.clone()).0, status, "{body}");
    }
    assert_eq!(console.stop(), "", "nothing of it is logged");
}

#[test]
fn a_switch_puts_its_rule_into_the_sandboxs_script_and_takes_only_that_away() {
    let places = Places::new();
    let theirs = FaultRule::new(Fault::Delay { delay_ms: 1 });
    places.sandbox.add_fault(theirs.clone());
    let console = places.with_sandbox();
    let rules = || places.sandbox.faults().rules.into_iter().map(|one| one.rule).collect::<Vec<_>>();
    let is_on = |state: &Value| state["switches"].as_array().unwrap().iter().map(|one| one["is_on"] == true).collect::<Vec<_>>();
    for (place, trouble) in ["storm", "lost", "outage", "tokens"].into_iter().enumerate() {
        let mut expected = vec![false; 4];
        expected[place] = true;
        for _ in 0..2 {
            assert_eq!(console.act("/trouble", json!({"trouble": trouble, "on": true})), (200, json!({"on": true})));
        }
        assert_eq!(rules().len(), if trouble == "tokens" { 1 } else { 2 }, "{trouble}");
        console.state(|state| is_on(state) == expected);
        assert_eq!(console.act("/trouble", json!({"trouble": trouble, "on": false})), (200, json!({"on": false})));
        assert_eq!(rules(), std::slice::from_ref(&theirs), "{trouble}");
        console.state(|state| is_on(state) == [false; 4]);
    }
    assert_eq!(console.act("/trouble", json!({"trouble": "flood", "on": true})).0, 422);
}

#[test]
fn tokens_that_expire_are_forgotten_and_new_ones_are_given() {
    let places = Places::new();
    let console = places.with_sandbox();
    let ask = async || {
        let client = reqwest::Client::new();
        let token = client.post(format!("{}/oauth/token", places.sandbox_url)).basic_auth("sandbox", Some("sandbox-secret"));
        let said = token.header("content-type", "application/json").body(r#"{"grant_type":"client_credentials"}"#).send().await;
        let said: Value = serde_json::from_str(&said.unwrap().text().await.unwrap()).unwrap();
        said["access_token"].as_str().unwrap().to_owned()
    };
    let knows = async |token: &str| {
        let meters = format!("{}/organizations/sandbox-org/meters", places.sandbox_url);
        reqwest::Client::new().get(meters).bearer_auth(token).send().await.unwrap().status().is_success()
    };
    let token = places.runtime.block_on(ask());
    assert!(places.runtime.block_on(knows(&token)));
    assert_eq!(console.act("/trouble", json!({"trouble": "tokens", "on": true})).0, 200);
    assert!(!places.runtime.block_on(knows(&token)), "forgotten at once");
    assert_eq!(console.act("/trouble", json!({"trouble": "tokens", "on": false})).0, 200);
    let token = places.runtime.block_on(ask());
    console.state(|_| true);
    assert!(places.runtime.block_on(knows(&token)), "and no more afterwards");
}

#[test]
fn a_count_of_m3ters_that_differs_is_said_when_it_stays() {
    let places = Places::new();
    let console = places.with_sandbox();
    console.state(|state| state["m3ter"]["agrees"] == true);
    places.runtime.block_on(async {
        let client = reqwest::Client::new();
        let asked = client.post(format!("{}/oauth/token", places.sandbox_url)).basic_auth("sandbox", Some("sandbox-secret"));
        let said = asked.header("content-type", "application/json").body(r#"{"grant_type":"client_credentials"}"#).send().await;
        let said: Value = serde_json::from_str(&said.unwrap().text().await.unwrap()).unwrap();
        let measurement = json!({"uid": "past the relay", "meter": "usage_relay_demo", "account": "a", "ts": "2026-01-01T00:00:00Z",
            "measure": {"calls": 1, "bytes": 1}, "what": {"region": "r", "method": "m"}});
        let past = client.post(format!("{}/organizations/sandbox-org/measurements", places.sandbox_url));
        let past = past.bearer_auth(said["access_token"].as_str().unwrap()).header("content-type", "application/json");
        let answer = past.body(json!({"measurements": [measurement]}).to_string()).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    });
    let state = console.state(|state| state["m3ter"]["agrees"] == false);
    assert_eq!((&state["m3ter"]["requests"], &state["books"]["sent"]), (&1.into(), &0.into()));
}

#[test]
fn without_a_sandbox_the_page_shows_and_sends_nothing() {
    let places = Places::new();
    let console = places.start(&[]);
    let state = console.state(|_| true);
    assert!(state["m3ter"].is_null() && state["switches"] == json!([]) && state["queue"]["visible"] == 0);
    for (path, body) in [("/send", json!({"what": "demo", "count": 1})), ("/trouble", json!({"trouble": "storm", "on": true}))] {
        let (status, said) = console.act(path, body);
        assert_eq!(status, 422);
        assert!(said["error"].as_str().unwrap().contains("--sandbox-url"), "{said}");
    }
    assert!(places.queue.seen().taken.is_empty());
    console.stop();
}

#[test]
fn buttons_that_send_refuse_a_queue_that_is_not_on_this_machine() {
    let places = Places::new();
    // The endpoint is the stub's, so the console can look: were something sent, it would be seen.
    let console = places.at_queue("https://sqs.eu-west-1.amazonaws.com/123456789012/usage");
    for body in [json!({"what": "demo", "count": 1}), json!({"what": "mistakes"})] {
        let (status, said) = console.act("/send", body);
        assert_eq!(status, 422);
        assert!(said["error"].as_str().unwrap().contains("to be on loopback; nothing was sent"), "{said}");
    }
    assert!(places.queue.seen().taken.is_empty());
    console.stop();
}

#[test]
fn a_place_that_stops_answering_is_told_beside_the_last_numbers() {
    let places = Places::new();
    let console = places.with_sandbox();
    console.state(|state| state["failure"].is_null());
    let ledger = places.folder.path().join("ledger");
    std::fs::write(&ledger, "no folder").unwrap();
    let state = console.state(|state| !state["failure"].is_null());
    assert!(state["failure"].as_str().unwrap().contains("the store failed"), "{state}");
    assert!(state["pause_ms"].as_u64().unwrap() >= 2_000, "it looks less often: {state}");
    std::fs::remove_file(ledger).unwrap();
    console.state(|state| state["failure"].is_null());
}

#[test]
fn what_does_not_answer_or_cannot_be_is_named_with_the_right_exit_code() {
    let places = Places::new();
    let taken = places.with_sandbox();
    let port = taken.url.rsplit(':').next().unwrap();
    let own = places.arguments();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let [queue, store] = [&own[..2], &own[2..]];
    for (arguments, code, expected) in [
        (store.to_vec(), 64, "--queue-url <URL>"),
        (queue.to_vec(), 64, "--store-url <URL>"),
        ([queue, &["--store-url", "https://bucket"]].concat(), 64, "expected a store URL"),
        ([queue, &["--store-url", "file:///no/such/folder"]].concat(), 2, "there is no folder /no/such/folder"),
        ([store, &["--queue-url", "usage"]].concat(), 64, "expected a queue URL"),
        ([&own[..], &["--since", "25h"]].concat(), 64, "expected --since to be at most 24h ago"),
        ([&own[..], &["--since", "2999-01-01"]].concat(), 64, "expected --since to be at most 24h ago"),
        ([&own[..], &["--port", "70000"]].concat(), 64, "70000 is not in 0..=65535"),
        ([&own[..], &["--port", port]].concat(), 2, "cannot listen on 127.0.0.1:"),
        ([&own[..], &["--sandbox-url", "127.0.0.1"]].concat(), 64, "expected the URL of a sandbox"),
        ([&own[..], &["--sandbox-url", "http://127.0.0.1:9"]].concat(), 2, "cannot get a token at http://127.0.0.1:9/"),
    ] {
        let output = command(&places.queue, &arguments).output().unwrap();
        check(&output, code, expected, &arguments);
    }
    let mut without_queue = command(&places.queue, &own);
    let output = without_queue.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").output().unwrap();
    check(&output, 2, "cannot ask the queue", &own);
    let mut wrong_keys = command(&places.queue, &[&own[..], &["--sandbox-url", &places.sandbox_url]].concat());
    let output = wrong_keys.env("M3TER_ACCESS_KEY_ID", "other").env("M3TER_API_SECRET", "canary").output().unwrap();
    check(&output, 2, "HTTP 401: expected M3TER_ACCESS_KEY_ID", &own);
}

fn check(output: &Output, code: i32, expected: &str, arguments: &[&str]) {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(expected) && !said.contains("canary"), "{arguments:?}: {said}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}
