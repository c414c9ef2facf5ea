//! The journal: the same books after a restart.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use http::Method;
use m3ter_sandbox::{Choices, Fault, FaultRule, JournalReport, LedgerQuery, Options, RejectedUid, Sandbox};
use serde_json::{Value, json};

use crate::client::{Client, DAY, but, good, options};

fn kept_in(path: &Path, choices: Choices) -> Options {
    Options { data: Some(path.to_owned()), ..options(choices) }
}

/// All that a restart must keep: the ledger (less what counts since the start), events, meters and accounts.
async fn books(client: &Client) -> Value {
    let ledger = client.sandbox.ledger_of(&LedgerQuery { measurements: true, ..LedgerQuery::default() });
    let mut ledger = serde_json::to_value(ledger).unwrap();
    ledger["totals"]["token_requests"] = json!(0);
    ledger["totals"]["tokens_issued"] = json!(0);
    json!([ledger, client.get("events").await, client.get("meters").await, client.get("accounts").await])
}

/// A bit of everything.
async fn live(client: &mut Client) {
    client
        .accepted(&[good("1"), good("1"), but(good("2"), json!({"meter": "late"})), but(good("3"), json!({"account": "ACME"}))])
        .await;
    client.submit(&[but(good("4"), json!({"ts": "x"}))]).await;
    client.sandbox.add_fault(FaultRule::new(Fault::DropAnswer).times(1));
    client.submit_raw(format!("{{\"measurements\":\n[{}\r\n]}}", good("5"))).await;
    client.sandbox.advance(DAY * 2).unwrap();
    client.token = client.fetch_token().await;
    let meter = json!({"name": "l", "code": "mid", "dataFields": [{"category": "MEASURE", "code": "n", "name": "n"}], "derivedFields": [], "customFields": {"a": 1.5}});
    let (_, created) = client.post("meters", meter.clone()).await;
    client.accepted(&[but(good("6"), json!({"meter": "mid"}))]).await;
    client
        .call(Method::PUT, &format!("meters/{}", created["id"].as_str().unwrap()), Some(but(meter, json!({"code": "later"}))))
        .await;
    let account = json!({"name": "x", "code": "x", "emailAddress": "a@b"});
    let (_, created) = client.post("accounts", account).await;
    client.call(Method::DELETE, &format!("accounts/{}", created["id"].as_str().unwrap()), None).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_sandbox_has_the_same_books_and_goes_on_from_its_time() {
    for choices in [
        Choices::default(),
        Choices { rejected_uid: RejectedUid::Free, enrichment_delay_ms: 60_000, ..Choices::default() },
        Choices { events_per: m3ter_sandbox::EventsPer::Request, any_meter: true, ..Choices::default() },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut client = Client::with(kept_in(&path, choices.clone())).await;
        live(&mut client).await;
        let (before, then) = (books(&client).await, client.sandbox.now());
        drop(client);
        let client = Client::with(kept_in(&path, choices)).await;
        assert_eq!(books(&client).await, before);
        assert_eq!(client.sandbox.now(), then);
        assert_eq!(client.sandbox.journal_report().torn_bytes, 0);
        client.accepted(&[good("1")]).await;
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(client.ledger().totals.duplicates, 2, "uids are remembered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_torn_last_line_is_cut_off_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let client = Client::with(kept_in(&path, Choices::default())).await;
    client.accepted(&[good("1")]).await;
    drop(client);
    OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"entry\":\"requ").unwrap();
    let client = Client::with(kept_in(&path, Choices::default())).await;
    assert_eq!(client.sandbox.journal_report(), JournalReport { entries: 3, torn_bytes: 14 });
    assert_eq!(client.ledger().totals.ingested, 1);
    client.accepted(&[good("2")]).await;
    drop(client);
    let client = Client::with(kept_in(&path, Choices::default())).await;
    assert_eq!((client.ledger().totals.ingested, client.sandbox.journal_report().torn_bytes), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn anything_else_unreadable_is_an_error_that_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    drop(Client::with(kept_in(&path, Choices::default())).await);
    let opened = std::fs::read_to_string(&path).unwrap();
    for (content, words) in [
        (format!("{opened}nonsense\n"), "line 3 of the journal cannot be read"),
        (
            "{\"entry\":\"clock\",\"at\":\"2026-06-01T00:00:00Z\",\"advance_ms\":1}\n".to_owned(),
            "expected the entry \"opened\" first",
        ),
        (format!("{opened}{opened}"), "on the first line only"),
        (opened.replacen("\"version\":1", "\"version\":2", 1), "expected version 1, found 2"),
        (format!("{opened}\n"), "line 3"),
    ] {
        std::fs::write(&path, &content).unwrap();
        let error = Sandbox::open(kept_in(&path, Choices::default())).unwrap_err();
        assert!(error.to_string().contains(words), "{error}: {content}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content, "nothing is cut off");
    }
}

#[tokio::test(start_paused = true)]
async fn other_choices_or_another_organisation_are_refused_because_the_books_would_differ() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    drop(Client::with(kept_in(&path, Choices::default())).await);
    let free = Choices { rejected_uid: RejectedUid::Free, ..Choices::default() };
    let error = Sandbox::open(kept_in(&path, free)).unwrap_err();
    assert!(error.to_string().contains("other settings (choices)"), "{error}");
    let other = Options { organisation: "other".to_owned(), ..kept_in(&path, Choices::default()) };
    assert!(Sandbox::open(other).unwrap_err().to_string().contains("organisation"));
}

#[tokio::test(start_paused = true)]
async fn a_journal_belongs_to_one_sandbox_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let first = Sandbox::open(kept_in(&path, Choices::default())).unwrap();
    assert!(Sandbox::open(kept_in(&path, Choices::default())).unwrap_err().to_string().contains("in use"));
    drop(first);
    assert!(Sandbox::open(kept_in(&path, Choices::default())).is_ok());
}

#[tokio::test(start_paused = true)]
async fn no_secret_and_no_token_is_in_the_journal() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let client = Client::with(kept_in(&path, Choices::default())).await;
    client.accepted(&[good("1")]).await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains("sandbox-secret") && !text.contains(&client.token));
    assert!(!format!("{:?}", client.sandbox).contains("sandbox-secret"));
}
