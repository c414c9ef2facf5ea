//! Events pumped from the queue of the local emulator, far larger than its own event source mapping makes them.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use futures_util::{StreamExt, TryStreamExt, stream};
use runtime_api::{Outcome, Pump, PumpSpec};

use crate::world::{World, until};

const MESSAGES: usize = 2_500;

/// The emulator, of which only the queue is used. It ends with the test.
struct Emulator {
    process: Child,
    url: String,
    _files: tempfile::TempDir,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.process.kill().expect("it was running");
        self.process.wait().expect("it ends");
    }
}

impl Emulator {
    async fn start() -> Emulator {
        let program = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.local/venv/bin/ministack");
        assert!(program.is_file(), "{} is missing: run `make tools`", program.display());
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{address}");
        let files = tempfile::tempdir().unwrap();
        let settings = [("BIND_HOST", "127.0.0.1"), ("MINISTACK_HOST", "127.0.0.1"), ("SERVICES", "sqs")];
        let process = Command::new(program)
            .envs(settings)
            .envs([("SFTP_ENABLED", "0"), ("IOT_MTLS_ENABLED", "0"), ("AWS_ENDPOINT_URL", &url)])
            .env("GATEWAY_PORT", address.port().to_string())
            .env("TMPDIR", files.path())
            .current_dir(files.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let emulator = Emulator { process, url, _files: files };
        until(|| TcpStream::connect(address).is_ok()).await;
        emulator
    }

    fn client(&self) -> Client {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static("eu-central-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(&self.url);
        Client::from_conf(config.build())
    }
}

async fn send(client: &Client, queue_url: &str, bodies: &[String]) {
    let calls = bodies.chunks(10).map(|ten| {
        let entry = |(nth, body): (usize, &String)| {
            SendMessageBatchRequestEntry::builder().id(nth.to_string()).message_body(body).build().unwrap()
        };
        let entries = ten.iter().enumerate().map(entry).collect();
        client.send_message_batch().queue_url(queue_url).set_entries(Some(entries)).send()
    });
    let answers: Vec<_> = stream::iter(calls).buffer_unordered(8).try_collect().await.unwrap();
    assert!(answers.iter().all(|answer| answer.failed().is_empty()));
}

#[tokio::test]
async fn a_queue_is_drained_in_events_of_a_thousand_and_every_measurement_is_counted_once() {
    let emulator = Emulator::start().await;
    let client = emulator.client();
    let queue = client.create_queue().queue_name("usage").send().await.unwrap();
    let queue_url = queue.queue_url().unwrap();
    let mut world = World::start().await;
    let mut bodies: Vec<String> = world.usage.many("pumped", MESSAGES - 1).iter().map(ToString::to_string).collect();
    bodies.push(world.usage.bad("pumped").to_string());
    send(&client, queue_url, &bodies).await;

    let mut pump = Pump::new(PumpSpec {
        endpoint_url: emulator.url.clone(),
        queue_url: queue_url.to_owned(),
        queue_arn: "arn:aws:sqs:eu-central-1:000000000000:usage".into(),
        messages_max: 1_000,
        wait_s: 0,
        visibility_timeout_s: None,
    });
    let mut deleted = Vec::new();
    loop {
        let pumped = pump.pump(&mut world.function).await.unwrap();
        let Some(invocation) = pumped.invocation else { break };
        assert!(matches!(invocation.outcome, Outcome::Response(_)), "{:?}", invocation.outcome);
        assert!(pumped.returned.is_empty());
        deleted.push(pumped.deleted.len());
    }

    assert_eq!(deleted, [1_000, 1_000, 500]);
    world.counted_once(MESSAGES as u64 - 1);
    assert_eq!(world.quarantined().await.len(), 1);
}
