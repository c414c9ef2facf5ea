//! `usage-relay demo` against a queue that loses everything: the one thing a demo must never call balanced.
//!
//! That it balances where the relay works is shown over the emulator, with the relay.

use std::process::{Command, Output, Stdio};

use crate::queue_stub::{QueueStub, Script};
use m3ter_sandbox::{Options, Sandbox};
use serde_json::Value;

/// A sandbox on a thread of its own; it ends with its runtime.
fn sandbox() -> (Sandbox, String, tokio::runtime::Runtime) {
    let sandbox = Sandbox::open(Options::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    runtime.spawn(sandbox.clone().serve(listener, std::future::pending()));
    (sandbox, url, runtime)
}

fn demo(queue: &QueueStub, sandbox_url: &str, store_url: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
    command.env_clear().env("AWS_ENDPOINT_URL", queue.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "eu-west-1");
    command.args(["demo", "--queue-url", &queue.queue_url(), "--dead-letter-queue-url", &queue.queue_url()]);
    command.args(["--sandbox-url", sandbox_url, "--store-url", store_url, "--timeout-s", "1"]).args(more);
    command.stdin(Stdio::null()).output().unwrap()
}

#[test]
fn measurements_that_vanish_are_found_missing_and_the_exit_code_is_1() {
    let queue = QueueStub::start(Script::all_well());
    let (sandbox, url, _runtime) = sandbox();
    let folder = tempfile::tempdir().unwrap();
    let store_url = format!("file://{}", folder.path().display());
    let size = ["--measurements", "200", "--messages", "4"];
    let output = demo(&queue, &url, &store_url, &size);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("0 quarantined + 200 nowhere") && text.contains("the books do not balance"), "{text}");
    assert_eq!(text.matches("neither at m3ter nor in the quarantine").count(), 5, "at most five are shown: {text}");
    assert_eq!(queue.seen().taken.len(), 4);
    assert!(sandbox.create_meter(m3ter_sandbox::MeterRequest::new("usage_relay_demo")).is_err(), "the demo made its meter");

    let again = demo(&queue, &url, &store_url, &[&size[..], &["--json"]].concat());
    let said: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((again.status.code(), &said["balanced"], &said["nowhere"]), (Some(1), &false.into(), &200.into()));
}

#[test]
fn nothing_is_sent_to_a_queue_that_is_not_on_this_machine() {
    let queue = QueueStub::start(Script::all_well());
    let (_sandbox, url, _runtime) = sandbox();
    let folder = tempfile::tempdir().unwrap();
    let store_url = format!("file://{}", folder.path().display());
    let elsewhere = "https://sqs.eu-west-1.amazonaws.com/123456789012/usage";
    let more = ["--measurements", "200", "--messages", "4"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_usage-relay"));
    // The endpoint is the stub's: were it sent, it would be seen.
    command.env_clear().env("AWS_ENDPOINT_URL", queue.endpoint()).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test").env("AWS_REGION", "eu-west-1");
    command.args(["demo", "--queue-url", elsewhere, "--dead-letter-queue-url", elsewhere]);
    command.args(["--sandbox-url", &url, "--store-url", &store_url]).args(more);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(said.contains("to be on loopback; nothing was sent"), "{said}");
    assert!(queue.seen().taken.is_empty());
}

#[test]
fn what_does_not_answer_or_cannot_be_is_named_with_the_right_exit_code() {
    let queue = QueueStub::start(Script::all_well());
    let (_sandbox, url, _runtime) = sandbox();
    let folder = tempfile::tempdir().unwrap();
    let store_url = format!("file://{}", folder.path().display());
    for (sandbox_url, store_url, more, code, expected) in [
        ("http://127.0.0.1:9", store_url.as_str(), &[][..], 2, "cannot get a token at http://127.0.0.1:9/"),
        (&url, &store_url, &["--organisation", "other"], 2, "HTTP 403"),
        (&url, "https://bucket", &[], 64, "expected a store URL"),
        (&url, "file:///no/such/folder", &[], 2, "there is no folder /no/such/folder"),
        (&url, &store_url, &["--messages", "5000"], 64, "measurements a message"),
    ] {
        let output = demo(&queue, sandbox_url, store_url, more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(queue.seen().taken.is_empty(), "nothing is sent before everything is there");
    }
}
