//! Tokens.

use std::time::Duration;

use http::{Method, StatusCode};
use m3ter_sandbox::{Choices, Options};
use serde_json::json;

use crate::client::{Client, credentials, good, options, read, token_request};

#[tokio::test(start_paused = true)]
async fn a_token_is_given_for_a_json_and_for_a_form_body() {
    let client = Client::new().await;
    for (kind, body) in [
        ("application/json", r#"{"grant_type":"client_credentials","scope":"x"}"#),
        ("application/x-www-form-urlencoded", "grant_type=client_credentials"),
        ("application/x-www-form-urlencoded; charset=utf-8", "scope=&grant_type=client_credentials"),
    ] {
        let request = token_request("sandbox", "sandbox-secret").header("content-type", kind).body(body.into()).unwrap();
        let (status, given) = read(client.send(request).await).await;
        assert_eq!(status, 200, "{kind}: {given}");
        assert_eq!(
            (&given["token_type"], &given["expires_in"], &given["scope"]),
            (&json!("Bearer"), &json!(18_000), &json!(null))
        );
        assert_eq!(given["access_token"].as_str().unwrap().split('.').count(), 3, "shaped like a JWT");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_a_grant_is_refused_with_400() {
    let client = Client::new().await;
    for (kind, body) in [
        ("application/json", "{}"),
        ("application/json", "grant_type=client_credentials"),
        ("application/json", r#"{"grant_type":"password"}"#),
        ("application/x-www-form-urlencoded", "scope=x"),
    ] {
        let request = token_request("sandbox", "sandbox-secret").header("content-type", kind).body(body.into()).unwrap();
        let (status, answer) = read(client.send(request).await).await;
        assert_eq!(status, 400, "{body}");
        assert!(answer["message"].is_string());
    }
}

#[tokio::test(start_paused = true)]
async fn bad_credentials_are_answered_401_or_as_chosen() {
    for status in [401, 403, 400] {
        let client = Client::with(Options { bad_credentials_status: status, ..options(Choices::default()) }).await;
        for (id, secret) in [("sandbox", "wrong"), ("wrong", "sandbox-secret"), ("", "")] {
            let (answer, body) = client.ask_for_token(id, secret).await;
            assert_eq!(answer, status);
            assert_eq!(body, json!({"message": "bad credentials"}));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_expires_and_is_then_answered_403_on_every_route() {
    let client = Client::with(Options { token_lifetime_s: 60, ..options(Choices::default()) }).await;
    tokio::time::advance(Duration::from_secs(59)).await;
    client.accepted(&[good("a")]).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(client.submit(&[good("b")]).await.0, StatusCode::FORBIDDEN);
    for path in [
        "events",
        "events/x",
        "events/types",
        "events/fields",
        "meters",
        "meters/x",
        "accounts",
        "accounts/x",
        "accounts/search",
        "measurements/failedIngest/getDownloadUrl",
    ] {
        assert_eq!(client.call(Method::GET, path, None).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(client.post("usage/query", json!({})).await.0, StatusCode::FORBIDDEN);
    assert_eq!(client.ledger().totals.accepted, 1);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_token_and_none_at_all_are_answered_403() {
    let mut client = Client::new().await;
    for token in ["unknown", ""] {
        token.clone_into(&mut client.token);
        let (status, body) = client.submit(&[good("a")]).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(body["message"].is_string());
    }
}

#[tokio::test(start_paused = true)]
async fn several_tokens_are_valid_at_once() {
    let mut client = Client::new().await;
    let first = client.token.clone();
    client.token = client.fetch_token().await;
    client.accepted(&[good("a")]).await;
    client.token = first;
    client.accepted(&[good("b")]).await;
}

#[tokio::test(start_paused = true)]
async fn credentials_can_be_rotated_and_old_tokens_live_on_until_they_are_revoked() {
    let client = Client::new().await;
    client.sandbox.set_credentials(credentials("new", "newer"));
    assert_eq!(client.ask_for_token("sandbox", "sandbox-secret").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(client.ask_for_token("new", "newer").await.0, StatusCode::OK);
    client.accepted(&[good("a")]).await;
    let rotation = json!({"access_key_id": "third", "api_secret": "one", "revoke_tokens": true});
    assert_eq!(client.post("/_sandbox/credentials", rotation).await.0, StatusCode::NO_CONTENT);
    assert_eq!(client.submit(&[good("b")]).await.0, StatusCode::FORBIDDEN);
    assert_eq!(client.ask_for_token("third", "one").await.0, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_faulty_rotation_is_refused_without_repeating_the_secret() {
    let client = Client::new().await;
    let (status, body) = client.post("/_sandbox/credentials", json!({"api_secret": "canary", "canary": 1})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(!body.to_string().contains("canary"), "{body}");
}
