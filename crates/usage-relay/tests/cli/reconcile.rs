//! `usage-relay reconcile` over a sandbox on a socket: what it says, and how it ends.

use std::process::Output;

use m3ter_sandbox::{Category, MeterRequest, Options, Sandbox};
use relay_store::{LedgerMode, NewEntry};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::store_given::{Given, entry, err, json as json_of, out};

const DAY: &str = "2026-05-31";

/// A sandbox on a socket, on a thread of its own; it ends with the test.
struct M3ter {
    url: String,
    runtime: tokio::runtime::Runtime,
    _stop: oneshot::Sender<()>,
}

impl M3ter {
    fn start() -> M3ter {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let url = runtime.block_on(async {
            let start = Some("2026-06-02T00:00:00Z".parse().unwrap());
            let sandbox = Sandbox::open(Options { start, ..Options::default() }).unwrap();
            let meter = MeterRequest::new("api").field(Category::Measure, "calls").field(Category::Cost, "spent");
            sandbox.create_meter(meter).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(sandbox.serve(listener, async { drop(stopped.await) }));
            url
        });
        M3ter { url, runtime, _stop: stop }
    }

    /// Submits, as the relay does.
    fn takes(&self, measurements: &[Value]) {
        let call = async |path: &str, token: Option<&str>, body: Value| {
            let request = reqwest::Client::new().post(format!("{}{path}", self.url)).header("content-type", "application/json");
            let request = match token {
                Some(token) => request.bearer_auth(token),
                None => request.basic_auth("sandbox", Some("sandbox-secret")),
            };
            let answer = request.body(body.to_string()).send().await.unwrap().error_for_status().unwrap();
            serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap()
        };
        self.runtime.block_on(async {
            let token = call("/oauth/token", None, json!({"grant_type": "client_credentials"})).await;
            let body = json!({ "measurements": measurements });
            call("/organizations/sandbox-org/measurements", token["access_token"].as_str(), body).await;
        });
    }

    fn run(&self, given: &Given, words: &[&str]) -> Output {
        let mut command = given.plain_command(&[&["reconcile", "--day", DAY, "--org-id", "sandbox-org"], words].concat());
        command.env("M3TER_API_URL", &self.url);
        command.env("M3TER_ACCESS_KEY_ID", "sandbox").env("M3TER_API_SECRET", "sandbox-secret");
        command.output().unwrap()
    }
}

fn one(uid: &str, account: &str, calls: f64) -> Value {
    json!({
        "uid": uid, "meter": "api", "account": account, "ts": "2026-05-31T10:00:00Z",
        "measure": {"calls": calls}, "cost": {"spent": 0.25},
    })
}

/// Both sides have three measurements of two accounts.
fn equal() -> (Given, M3ter) {
    let (given, m3ter) = (Given::new(), M3ter::start());
    let all = [one("canary-1", "acme", 0.1), one("canary-2", "acme", 0.2), one("canary-3", "beta", 7.0)];
    m3ter.takes(&all);
    given.ledger_of(LedgerMode::Full, &all);
    (given, m3ter)
}

#[test]
fn equal_sides_are_told_in_one_sentence_and_are_0() {
    let (given, m3ter) = equal();
    let output = m3ter.run(&given, &[]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    let text = out(&output);
    assert!(text.starts_with("they agree: 3 measurements of 2026-05-31 in 6 rows\n"), "{text}");
    assert!(text.contains("read what was sent from 2026-05-30T23:00:00Z to ") && text.contains("1 ledger object"), "{text}");
    let all = out(&m3ter.run(&given, &["--all"]));
    assert!(all.contains("\napi    acme     2026-05-31  calls              0.3    0.3           0            0\n"), "{all}");
}

#[test]
fn a_difference_that_was_planted_is_told_first_and_is_1() {
    let (given, m3ter) = equal();
    given.ledger_of(LedgerMode::Full, &[one("canary-4", "beta", 2.5)]);
    let output = m3ter.run(&given, &[]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(1), "usage-relay: 3 rows differ without an explanation\n"));
    let text = out(&output);
    assert!(text.starts_with("3 rows differ without an explanation, of 6 rows of 2026-05-31\n"), "{text}");
    assert!(text.contains("calls              9.5      7        -2.5         -2.5"), "{text}");
    assert!(text.contains("WARNING: m3ter's events were never read here"), "{text}");
    assert!(!text.contains("canary"), "a table holds no uid: {text}");
}

#[test]
fn a_later_rejection_explains_a_difference_and_is_0_also_as_json_and_csv() {
    let (given, m3ter) = equal();
    let rejected = one("canary-4", "beta", 2.5);
    given.ledger_of(LedgerMode::Full, std::slice::from_ref(&rejected));
    let text = rejected.to_string();
    given.quarantine(vec![NewEntry { stage: "ingest", reason: "InvalidAccountCode", ..entry("canary-4", &text) }]);
    let output = m3ter.run(&given, &[]);
    assert_eq!((output.status.code(), err(&output)), (Some(0), String::new()));
    let text = out(&output);
    assert!(text.starts_with("they differ in 3 of 6 rows of 2026-05-31; all is explained\n"), "{text}");
    assert!(text.contains("1 InvalidAccountCode"), "{text}");
    let told = json_of(&m3ter.run(&given, &["--json"]), 0);
    assert_eq!(
        (&told["totals"]["explained"], &told["totals"]["unexplained"], &told["is_whole"]),
        (&json!(3), &json!(0), &json!(true))
    );
    let row = &told["rows"][1];
    assert_eq!(
        (&row["measure"], &row["ledger"], &row["m3ter"], &row["difference"]),
        (&json!("calls"), &json!(9.5), &json!(7), &json!(-2.5))
    );
    let because = json!([{"reason": "InvalidAccountCode", "effect": "missing", "count": 1, "sum": 2.5, "uids": ["canary-4"]}]);
    assert_eq!(row["explained_by"], because);
    let csv = out(&m3ter.run(&given, &["--csv"]));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines[0], "meter,account,day,measure,ledger,m3ter,difference,unexplained,agrees,because");
    assert_eq!(lines[1], "api,beta,2026-05-31,,2,1,-1,0,false,1 InvalidAccountCode");
    assert_eq!(lines[2], "api,beta,2026-05-31,calls,9.5,7,-2.5,0,false,1 InvalidAccountCode");
    assert_eq!(lines.len(), 4);
}

#[test]
fn a_ledger_that_holds_no_measurements_is_1_and_says_why() {
    let (given, m3ter) = (Given::new(), M3ter::start());
    let output = m3ter.run(&given, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("the ledger holds nothing that was sent since 2026-05-30T23:00:00Z"), "{}", err(&output));
    given.ledger_of(LedgerMode::Uids, &[one("canary-1", "acme", 1.0)]);
    let output = m3ter.run(&given, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("LedgerMode uids cannot be reconciled, only full can"), "{}", err(&output));
}

#[test]
fn an_object_that_cannot_be_read_is_named_and_is_1() {
    let (given, m3ter) = equal();
    let folder = given.folder.path().join("ledger/v1/dt=2026-06-01/hr=05");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("1780290000000_1780185600000_1780185600000_1_torn.ndjson.zst"), "torn").unwrap();
    let output = m3ter.run(&given, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("torn.ndjson.zst: expected a whole zstd stream"), "{}", err(&output));
    assert!(err(&output).contains("what could be read is compared; 1 part could not be read"), "{}", err(&output));
}

#[test]
fn wrong_keys_and_no_keys_are_told_before_anything_is_read() {
    let (given, m3ter) = equal();
    let with = |secret: Option<&str>| {
        let mut command = given.plain_command(&["reconcile", "--org-id", "sandbox-org", "--api-url", &m3ter.url]);
        command.env("M3TER_ACCESS_KEY_ID", "canary-key");
        if let Some(secret) = secret {
            command.env("M3TER_API_SECRET", secret);
        }
        command.output().unwrap()
    };
    let output = with(Some("canary-secret"));
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("M3TER_ACCESS_KEY_ID") && !err(&output).contains("canary"), "{}", err(&output));
    let output = with(None);
    assert_eq!(output.status.code(), Some(64));
    assert!(err(&output).contains("expected m3ter's keys in the environment"), "{}", err(&output));
}
