//! Pre-flight: what the catalogue finds, what comes of it in each mode, and that it never holds anything up.

use std::time::Duration;

use object_store::path::Path;
use relay::Preflight;
use relay_core::guard::MissingUid;
use relay_store::{AccountLine, MeterLine, Store, StoredCatalogue};
use serde_json::{Value, json};
use tokio::time::{Instant, advance};

use crate::seams::Gets;
use crate::world::{Message, START_MS, Setup, World, but, good};

const MINUTE: Duration = Duration::from_secs(60);
/// Nothing is found.
const NOTHING: [(&str, u64); 4] = [("UnknownMeters", 0), ("MissingFields", 0), ("UnconfiguredFields", 0), ("NearAccounts", 0)];

fn world(preflight: Preflight) -> World {
    World::with(Setup { preflight, ..Setup::default() })
}

/// The meters `api` and `other` with the data field `n`, and these accounts.
fn catalogue(accounts: &[&str]) -> StoredCatalogue {
    let meter = |code: &str| MeterLine {
        code: code.into(),
        id: code.into(),
        fields: vec![("MEASURE".into(), "n".into())],
        last_seen_ms: START_MS,
    };
    let account = |code: &&str| AccountLine {
        code: (*code).into(),
        id: (*code).into(),
        created_ms: None,
        last_seen_ms: START_MS,
        skeleton: false,
    };
    StoredCatalogue {
        read_at_ms: START_MS,
        meters: vec![meter("api"), meter("other")],
        accounts: accounts.iter().map(account).collect(),
    }
}

/// What ingest-watch does, past any misbehaviour of the store.
async fn put(world: &World, catalogue: &StoredCatalogue) {
    let store = Store::over(world.objects.inner.clone(), Path::from("relay"));
    store.put_catalogue(catalogue, false, Instant::now() + MINUTE).await.unwrap();
}

/// How often the catalogue was asked for.
fn reads(world: &World) -> usize {
    world.objects.asked().iter().filter(|(_, name)| name.contains("catalogue/v1/current")).count()
}

/// One measurement of each kind, and one that is as it should be.
fn one_of_each() -> Vec<Value> {
    vec![
        good("fine"),
        but(good("meter"), "meter", json!("canary-unheard-of")),
        but(good("field"), "measure", json!({})),
        but(good("more"), "measure", json!({"n": 1, "m": 2})),
        but(good("near"), "account", json!("Canary_Account")),
        but(good("new"), "account", json!("canary-new-customer")),
    ]
}

/// Each once; the last one, whose account is simply unknown, not at all.
const EACH_ONCE: [(&str, u64); 4] = [("UnknownMeters", 1), ("MissingFields", 1), ("UnconfiguredFields", 1), ("NearAccounts", 1)];

fn is_at_m3ter(world: &World, uid: &str) -> bool {
    world.ledger().measurements.unwrap().iter().any(|line| line.uid.as_deref() == Some(uid))
}

#[tokio::test(start_paused = true)]
async fn by_default_everything_is_sent_and_what_looks_wrong_is_counted() {
    let world = World::new();
    put(&world, &catalogue(&["canary-account"])).await;
    let handled = world.deliver(&[Message::of("m", &one_of_each())]).await;
    handled.counts(&[("Done", 1), ("Accepted", 6), ("Quarantined", 0)]);
    handled.counts(&EACH_ONCE);
    assert_eq!(handled.line["level"], "warn");
}

#[tokio::test(start_paused = true)]
async fn in_mode_quarantine_what_m3ter_would_turn_down_is_kept_and_never_sent() {
    let world = world(Preflight::Quarantine);
    put(&world, &catalogue(&["canary-account"])).await;
    let handled = world.deliver(&[Message::of("m", &one_of_each())]).await;
    handled.counts(&[("Done", 1), ("Accepted", 3), ("Quarantined", 3)]);
    handled.counts(&EACH_ONCE);
    let entries = world.quarantined().await;
    let mut told: Vec<_> = entries.iter().map(|entry| (entry.position, entry.reason.as_str(), entry.stage.as_str())).collect();
    told.sort_unstable();
    assert_eq!(told, [(1, "MeterUnknown", "guard"), (2, "FieldMissing", "guard"), (4, "AccountNearMiss", "guard")]);
    for (uid, sent) in [("canary-fine", true), ("canary-meter", false), ("canary-field", false), ("canary-near", false)] {
        assert_eq!(is_at_m3ter(&world, uid), sent, "{uid}");
    }
    assert!(is_at_m3ter(&world, "canary-more") && is_at_m3ter(&world, "canary-new"));
    for entry in &entries {
        assert!(entry.detail.starts_with("expected "), "{}", entry.detail);
        assert!(entry.uid.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_known_three_hours_ago_holds_nothing_back() {
    let world = world(Preflight::Quarantine);
    put(&world, &catalogue(&["canary-account"])).await;
    tokio::time::advance(3 * 60 * MINUTE).await;
    let handled = world.deliver(&[Message::of("young", &one_of_each())]).await;
    handled.counts(&[("Accepted", 3), ("Quarantined", 3)]);
    tokio::time::advance(Duration::from_millis(1)).await;
    let later = [but(good("later"), "meter", json!("canary-new-meter"))];
    let handled = world.deliver(&[Message::of("old", &later)]).await;
    handled.counts(&[("Accepted", 1), ("Quarantined", 0), ("UnknownMeters", 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_the_catalogue_turns_down_may_have_been_sent_before_and_keeps_the_time_of_that() {
    let world = world(Preflight::Quarantine);
    assert!(world.is_done(&Message::of("before", &[good("before")])).await);
    // Without a catalogue it is sent, and there is no answer.
    world.door.fail_next(&[m3ter_client::NoAnswer::Broken; 40]);
    let message = Message::of("m", &[but(good("near"), "account", json!("CANARY-ACCOUNT"))]);
    assert!(!world.is_done(&message).await && world.door.batches().len() > 1);
    put(&world, &catalogue(&["canary-account"])).await;
    advance(5 * MINUTE).await;
    let handled = world.deliver(&[message.clone().received(2)]).await;
    handled.counts(&[("Done", 1), ("Quarantined", 1)]);
    assert_eq!(world.quarantined().await[0].first_sent_at, Some(message.sent_at_ms));
}

#[tokio::test(start_paused = true)]
async fn a_uid_made_from_content_does_not_get_in_the_way_of_a_refusal() {
    let world = World::with(Setup { preflight: Preflight::Quarantine, missing_uid: MissingUid::Content, ..Setup::default() });
    put(&world, &catalogue(&["canary-account"])).await;
    let wrong = but(but(good("x"), "uid", Value::Null), "meter", json!("canary-unheard-of"));
    let handled = world.deliver(&[Message::raw("m", &json!([wrong, wrong]).to_string())]).await;
    handled.counts(&[("Done", 1), ("Quarantined", 2), ("UnknownMeters", 2), ("Attempts", 0)]);
}

#[tokio::test(start_paused = true)]
async fn off_means_that_nothing_is_read_and_nothing_is_found() {
    let world = world(Preflight::Off);
    put(&world, &catalogue(&["canary-account"])).await;
    let handled = world.deliver(&[Message::of("m", &one_of_each())]).await;
    handled.counts(&[("Done", 1), ("Accepted", 6)]);
    handled.counts(&NOTHING);
    assert_eq!(reads(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn without_a_catalogue_everything_is_sent_in_every_mode() {
    for mode in [Preflight::Warn, Preflight::Quarantine] {
        let world = world(mode);
        let handled = world.deliver(&[Message::of("m", &one_of_each())]).await;
        handled.counts(&[("Done", 1), ("Accepted", 6), ("Quarantined", 0)]);
        handled.counts(&NOTHING);
        assert_eq!(reads(&world), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_environment_reads_the_catalogue_once_in_five_minutes_and_then_has_the_new_one() {
    let world = world(Preflight::Quarantine);
    put(&world, &catalogue(&["canary-account"])).await;
    let wrong = |uid: &str| Message::of(uid, &[but(good(uid), "account", json!("canary-new"))]);
    for minute in 0..5 {
        world.deliver(&[wrong(&format!("a{minute}"))]).await.counts(&[("Accepted", 1), ("NearAccounts", 0)]);
        assert_eq!(reads(&world), 1, "{minute}");
        if minute == 0 {
            put(&world, &catalogue(&["Canary New"])).await;
        }
        advance(MINUTE).await;
    }
    world.deliver(&[wrong("b")]).await.counts(&[("Quarantined", 1), ("NearAccounts", 1)]);
    assert_eq!(reads(&world), 2);
    // Nothing changed: it is asked for all the same, and what is held serves.
    advance(5 * MINUTE).await;
    world.deliver(&[wrong("c")]).await.counts(&[("Quarantined", 1), ("NearAccounts", 1)]);
    assert_eq!(reads(&world), 3);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_give_the_catalogue_delays_little_and_the_last_one_serves() {
    for (trouble, longest_s) in [(Gets::Fail, 0), (Gets::Hang, 2)] {
        let world = world(Preflight::Quarantine);
        world.objects.gets(trouble);
        let wrong = |uid: &str| Message::of(uid, &[but(good(uid), "meter", json!("canary-unheard-of"))]);
        // None yet: nothing is held against it, nothing is returned.
        let handled = world.deliver(&[wrong("a")]).await;
        handled.counts(&[("Done", 1), ("Accepted", 1), ("UnknownMeters", 0)]);
        assert!(handled.took <= Duration::from_millis(longest_s * 1_000 + 10), "{:?}", handled.took);
        // Only once in five minutes, too.
        assert!(world.deliver(&[wrong("b")]).await.took <= Duration::from_millis(10));

        world.objects.gets(Gets::Work);
        put(&world, &catalogue(&["canary-account"])).await;
        advance(5 * MINUTE).await;
        world.deliver(&[wrong("c")]).await.counts(&[("Quarantined", 1)]);

        world.objects.gets(trouble);
        advance(5 * MINUTE).await;
        let handled = world.deliver(&[wrong("d")]).await;
        handled.counts(&[("Done", 1), ("Quarantined", 1), ("UnknownMeters", 1), ("StoreFailed", 0)]);
        assert!(handled.took <= Duration::from_millis(longest_s * 1_000 + 10), "{:?}", handled.took);
    }
}

#[tokio::test(start_paused = true)]
async fn in_a_short_invocation_the_catalogue_is_waited_for_no_longer_than_its_share() {
    let world = World::with(Setup { timeout_s: 4, ..Setup::default() });
    world.objects.gets(Gets::Hang);
    let handled = world.deliver(&[Message::of("m", &[good("a")])]).await;
    handled.counts(&[("Done", 1), ("Accepted", 1)]);
    assert!(handled.took <= Duration::from_millis(810), "{:?}", handled.took);
}

#[tokio::test(start_paused = true)]
async fn a_catalogue_that_is_torn_is_none() {
    let world = world(Preflight::Quarantine);
    put(&world, &catalogue(&["canary-account"])).await;
    let name = Path::from("relay/catalogue/v1/current.ndjson.zst");
    let whole = object_store::ObjectStoreExt::get(world.objects.inner.as_ref(), &name).await.unwrap().bytes().await.unwrap();
    let torn = whole.slice(..whole.len() / 2);
    object_store::ObjectStoreExt::put(world.objects.inner.as_ref(), &name, torn.into()).await.unwrap();
    let handled = world.deliver(&[Message::of("m", &one_of_each())]).await;
    handled.counts(&[("Done", 1), ("Accepted", 6)]);
    handled.counts(&NOTHING);
}
