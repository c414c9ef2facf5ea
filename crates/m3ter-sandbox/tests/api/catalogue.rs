//! Meters and accounts.

use http::{Method, StatusCode};
use m3ter_sandbox::{Catalogue, Choices, Limits, Options, Sandbox};
use serde_json::{Value, json};

use crate::client::{Client, START, but, good, options};

fn meter(code: &str) -> Value {
    json!({"name": code, "code": code, "dataFields": [{"category": "MEASURE", "code": "n", "name": "n", "unit": "By"}], "derivedFields": []})
}

fn account(code: &str) -> Value {
    json!({"name": code, "code": code, "emailAddress": "a@example.com", "currency": "USD", "address": {"country": "NL"}})
}

fn codes(page: &Value) -> Vec<&str> {
    page["data"].as_array().unwrap().iter().map(|entry| entry["code"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_meter_and_an_account_are_created_read_changed_and_deleted() {
    let client = Client::new().await;
    for (kind, wanted) in [("meters", meter("m")), ("accounts", account("m"))] {
        let (status, created) = client.post(kind, wanted.clone()).await;
        assert_eq!(status, StatusCode::OK, "{created}");
        for (name, value) in wanted.as_object().unwrap() {
            assert_eq!(&created[name], value, "{name} comes back as it was sent");
        }
        assert_eq!((&created["version"], &created["dtCreated"]), (&json!(1), &json!(START)));
        let path = format!("{kind}/{}", created["id"].as_str().unwrap());
        assert_eq!(client.get(&path).await, created);

        let stale = but(wanted.clone(), json!({"version": 7}));
        assert_eq!(client.call(Method::PUT, &path, Some(stale)).await.0, StatusCode::BAD_REQUEST);
        let (status, changed) =
            client.call(Method::PUT, &path, Some(but(wanted, json!({"code": "renamed", "version": 1})))).await;
        assert_eq!((status, &changed["version"], &changed["id"]), (StatusCode::OK, &json!(2), &created["id"]));
        assert_eq!(codes(&client.get(&format!("{kind}?codes=m,renamed")).await), ["renamed"]);

        assert_eq!(client.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
        assert_eq!(client.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND);
        assert_eq!(client.call(Method::DELETE, &path, None).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(start_paused = true)]
async fn a_faulty_meter_or_account_is_refused_with_all_its_faults() {
    let client = Client::new().await;
    client.post("accounts", account("a")).await;
    for (kind, body, words) in [
        ("meters", json!({"name": "m", "code": "m", "dataFields": []}), "derivedFields"),
        (
            "meters",
            but(meter("m"), json!({"dataFields": [], "name": ""})),
            "name: expected 1 to 200 characters; dataFields: expected 1 to 15",
        ),
        ("meters", meter("api"), "code: \"api\" is the code of another meter"),
        ("meters", but(meter("m"), json!({"dataFields": [{"category": "WHEN", "code": "n", "name": "n"}]})), "WHEN"),
        ("accounts", account("a"), "code: \"a\" is the code of another account"),
        ("accounts", but(account("b"), json!({"emailAddress": "b"})), "emailAddress"),
        ("accounts", json!({"name": "b", "code": "b"}), "emailAddress"),
    ] {
        let (status, answer) = client.post(kind, body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{words}");
        assert!(answer["message"].as_str().unwrap().contains(words), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn lists_are_filtered_and_paged() {
    let client = Client::new().await;
    let product = "00000000-0000-0000-0000-000000000001";
    for code in ["m1", "m2", "m3"] {
        client.post("meters", but(meter(code), json!({"productId": product}))).await;
    }
    assert_eq!(codes(&client.get("meters").await), ["api", "m1", "m2", "m3"]);
    assert_eq!(codes(&client.get(&format!("meters?productId={product}")).await), ["m1", "m2", "m3"]);
    assert_eq!(codes(&client.get("meters?codes=m1,m3").await), ["m1", "m3"]);
    let id = client.get("meters?codes=m2").await["data"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(codes(&client.get(&format!("meters?ids={id}")).await), ["m2"]);
    let first = client.get("meters?pageSize=3").await;
    let rest = client.get(&format!("meters?pageSize=3&nextToken={}", first["nextToken"].as_str().unwrap())).await;
    assert_eq!((codes(&first), codes(&rest)), (vec!["api", "m1", "m2"], vec!["m3"]));
    assert!(rest.get("nextToken").is_none());
}

#[tokio::test(start_paused = true)]
async fn accounts_are_searched() {
    let client = Client::new().await;
    for (code, name) in [("a", "Premium One"), ("b", "Premium Two"), ("c", "Basic")] {
        client.post("accounts", but(account(code), json!({"name": name}))).await;
    }
    for (query, found) in [
        ("", vec!["a", "b", "c"]),
        ("searchQuery=name~premium$currency:USD", vec!["a", "b"]),
        ("searchQuery=name~premium$code:c&operator=OR", vec!["a", "b", "c"]),
        ("searchQuery=name~premium%20t", vec!["b"]),
        ("sortBy=name", vec!["c", "a", "b"]),
        ("sortBy=name&sortOrder=DESC&pageSize=1", vec!["b"]),
        ("fromDocument=2", vec!["c"]),
    ] {
        assert_eq!(codes(&client.get(&format!("accounts/search?{query}")).await), found, "{query}");
    }
    for query in ["searchQuery=colour:red", "operator=XOR", "sortOrder=UP", "fromDocument=x", "pageSize=0"] {
        assert_eq!(
            client.call(Method::GET, &format!("accounts/search?{query}"), None).await.0,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_catalogue_is_loaded_at_start() {
    let text = json!({"meters": [meter("m")], "accounts": [account("a")]}).to_string();
    let catalogue = Some(Catalogue::from_json(&text).unwrap());
    let client = Client::with(Options { catalogue, ..options(Choices::default()) }).await;
    client
        .accepted(&[but(good("1"), json!({"meter": "m", "account": "a"})), but(good("2"), json!({"meter": "m", "account": "A"}))])
        .await;
    assert_eq!(client.event_types().await, ["InvalidAccountCode"]);
    let twice = json!({"meters": [meter("m"), meter("n")], "accounts": [account("a"), but(account("b"), json!({"code": "a"}))]})
        .to_string();
    let options = Options { catalogue: Some(Catalogue::from_json(&twice).unwrap()), ..Options::default() };
    assert!(Sandbox::open(options).is_ok(), "a code that exists already is left alone");
}

#[tokio::test(start_paused = true)]
async fn ingested_data_stays_with_the_meters_id_when_its_code_changes() {
    let client = Client::new().await;
    client.accepted(&[good("a")]).await;
    let found = client.get("meters").await["data"][0].clone();
    let path = format!("meters/{}", found["id"].as_str().unwrap());
    client.call(Method::PUT, &path, Some(but(found, json!({"code": "renamed"})))).await;
    client.accepted(&[good("b"), but(good("c"), json!({"meter": "renamed"}))]).await;
    assert_eq!(client.event_types().await, ["UndefinedMeter"]);
    assert_eq!(client.ledger().meters["renamed"].count, 2);
}

#[tokio::test(start_paused = true)]
async fn the_configuration_api_has_a_rate_limit_of_its_own() {
    let limits = Limits { config_per_second: Some(2), ..Limits::none() };
    let client = Client::with(Options { limits, ..options(Choices::default()) }).await;
    client.get("meters").await;
    client.get("events").await;
    assert_eq!(client.call(Method::GET, "accounts", None).await.0, StatusCode::TOO_MANY_REQUESTS);
    client.accepted(&[good("a")]).await;
}
