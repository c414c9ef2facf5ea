//! The refresh against a m3ter that lists what a test puts into it, page by page.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use m3ter_client::{Client, ClientSettings, Clock, Credentials, Endpoint, NoAnswer, Secrets, SecretsError, Transport};
use relay_store::S3Access;
use serde_json::{Value, json};

use super::*;

/// 2026-06-01T12:00:00Z.
const NOON_MS: i64 = 1_780_315_200_000;

/// m3ter: two lists, three entries a page. A page can be told to fail.
#[derive(Default)]
struct Lists {
    meters: Vec<Value>,
    accounts: Vec<Value>,
    fails: Option<&'static str>,
    /// Every page leads to itself.
    circles: bool,
    asked: Vec<String>,
}

struct Door(Arc<Mutex<Lists>>);

fn say(status: u16, body: &Value) -> Response<Bytes> {
    Response::builder().status(status).body(Bytes::from(body.to_string())).unwrap()
}

#[async_trait]
impl Transport for Door {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, NoAnswer> {
        let question = request.uri().path_and_query().unwrap().as_str().to_owned();
        if question.ends_with("/oauth/token") {
            return Ok(say(200, &json!({"access_token": "t", "token_type": "Bearer", "expires_in": 18_000})));
        }
        let mut lists = self.0.lock().unwrap();
        lists.asked.push(question.clone());
        if lists.fails.is_some_and(|part| question.contains(part)) {
            return Ok(say(400, &json!({"message": "no"})));
        }
        let list = if question.contains("/meters") { &lists.meters } else { &lists.accounts };
        let from: usize = question.split_once("nextToken=").map_or(0, |(_, token)| token.parse().unwrap());
        let next = if lists.circles { Some("0".to_owned()) } else { (from + 3 < list.len()).then(|| (from + 3).to_string()) };
        let data: Vec<&Value> = list.iter().skip(from).take(3).collect();
        Ok(say(200, &json!({"data": data, "nextToken": next, "more": 1})))
    }
}

struct Vault;

#[async_trait]
impl Secrets for Vault {
    async fn read(&self) -> Result<Credentials, SecretsError> {
        Ok(Credentials { access_key_id: "k".into(), api_secret: "s".into() })
    }
}

struct World {
    lists: Arc<Mutex<Lists>>,
    client: Client,
    store: Store,
}

impl World {
    fn new(meters: Vec<Value>, accounts: Vec<Value>) -> World {
        let lists = Arc::new(Mutex::new(Lists { meters, accounts, ..Lists::default() }));
        let endpoint = || Endpoint::parse("https://api.test").unwrap();
        let settings = ClientSettings { org_id: "o".into(), api: endpoint(), ingest: endpoint(), requests_per_second: 10.0 };
        let client = Client::new(Arc::new(Door(lists.clone())), Arc::new(Vault), &settings);
        World { lists, client, store: Store::open("memory:", &S3Access::default()).unwrap() }
    }

    async fn refresh(&self, now_ms: i64) -> Result<Refreshed, RefreshError> {
        let clock = Clock::starting_at(now_ms);
        let session = self.client.session(clock, clock.budget(now_ms + 280_000), None, fastrand::Rng::with_seed(1));
        refresh(&session, &self.store, now_ms, Instant::now() + Duration::from_secs(200)).await
    }

    fn change(&self, change: impl FnOnce(&mut Lists)) {
        change(&mut self.lists.lock().unwrap());
    }

    async fn stored(&self) -> Option<StoredCatalogue> {
        self.store.catalogue(Instant::now() + Duration::from_secs(10)).await.unwrap()
    }

    /// Code, id, when it was last seen, and whether it is a skeleton, of each account.
    async fn accounts(&self) -> Vec<(String, String, i64, bool)> {
        let accounts = self.stored().await.unwrap().accounts.into_iter();
        accounts.map(|account| (account.code, account.id, account.last_seen_ms, account.skeleton)).collect()
    }
}

fn meter(code: &str) -> Value {
    json!({"id": format!("id-{code}"), "code": code, "name": code, "version": 3, "derivedFields": [], "dataFields": [
        {"category": "MEASURE", "code": "calls", "name": "Calls", "unit": "{call}"}, {"name": "neither"}]})
}

fn account(code: &str, id: &str) -> Value {
    json!({"id": id, "code": code, "name": "Somebody", "dtCreated": "1970-01-01T00:00:01Z", "emailAddress": "a@b.example"})
}

fn skeleton(code: &str, id: &str) -> Value {
    json!({"id": id, "code": code, "name": format!("{code}-autocreated")})
}

fn ten() -> Vec<Value> {
    (0..10).map(|number| account(&format!("a{number}"), &format!("id-{number}"))).collect()
}

#[tokio::test(start_paused = true)]
async fn every_page_is_read_and_kept_with_what_matters_and_no_personal_data() {
    let world = World::new(vec![meter("m")], [ten(), vec![json!({"id": "x", "name": "without a code"})]].concat());
    let refreshed = world.refresh(NOON_MS).await.unwrap();
    let expected = Refreshed { read_at_ms: NOON_MS, meters: 1, accounts: 10, skeletons: 0, new_skeletons: 0 };
    assert_eq!(refreshed, expected);
    assert_eq!(world.lists.lock().unwrap().asked.len(), 1 + 4);
    let stored = world.stored().await.unwrap();
    let fields = vec![("MEASURE".to_owned(), "calls".to_owned())];
    assert_eq!(stored.meters, [MeterLine { code: "m".into(), id: "id-m".into(), fields, last_seen_ms: NOON_MS }]);
    let first =
        AccountLine { code: "a0".into(), id: "id-0".into(), created_ms: Some(1_000), last_seen_ms: NOON_MS, skeleton: false };
    assert_eq!(stored.accounts.first(), Some(&first));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_listed_stays_and_a_code_that_names_another_account_keeps_both() {
    let world = World::new(vec![meter("m")], vec![account("a", "1"), account("b", "2")]);
    world.refresh(NOON_MS).await.unwrap();
    world.change(|lists| lists.accounts = vec![account("a", "3")]);
    let refreshed = world.refresh(NOON_MS + 5).await.unwrap();
    assert_eq!((refreshed.meters, refreshed.accounts), (1, 1));
    let line = |code: &str, id: &str, seen_ms| (code.to_owned(), id.to_owned(), seen_ms, false);
    assert_eq!(world.accounts().await, [line("a", "1", NOON_MS), line("a", "3", NOON_MS + 5), line("b", "2", NOON_MS)]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_goes_back_does_not_make_what_is_gone_look_listed() {
    let world = World::new(vec![meter("m")], vec![account("a", "1"), account("b", "2")]);
    world.refresh(NOON_MS).await.unwrap();
    world.change(|lists| drop(lists.accounts.pop()));
    let refreshed = world.refresh(NOON_MS - 60_000).await.unwrap();
    assert_eq!((refreshed.accounts, refreshed.read_at_ms), (1, NOON_MS + 1));
}

#[tokio::test(start_paused = true)]
async fn skeletons_are_told_by_their_name_and_new_ones_are_counted_once() {
    let world = World::new(vec![meter("m")], vec![account("a", "1"), skeleton("Acme", "2")]);
    let counts = |refreshed: Refreshed| (refreshed.skeletons, refreshed.new_skeletons);
    assert_eq!(counts(world.refresh(NOON_MS).await.unwrap()), (1, 0), "how old those of the first time are is not known");
    world.change(|lists| lists.accounts.push(skeleton("ghost", "3")));
    assert_eq!(counts(world.refresh(NOON_MS + 1).await.unwrap()), (2, 1));
    assert_eq!(counts(world.refresh(NOON_MS + 2).await.unwrap()), (2, 0));
    // Somebody gave it a name: it is an account like any other.
    world.change(|lists| lists.accounts[1] = account("Acme", "2"));
    assert_eq!(counts(world.refresh(NOON_MS + 3).await.unwrap()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_breaks_off_or_comes_back_empty_replaces_nothing() {
    let world = World::new(vec![meter("m")], ten());
    world.refresh(NOON_MS).await.unwrap();
    let before = world.stored().await;
    world.change(|lists| lists.fails = Some("nextToken=6"));
    assert!(matches!(world.refresh(NOON_MS + 1).await, Err(RefreshError::Asked(NotAnswered::Refused { status: 400 }))));
    world.change(|lists| (lists.fails, lists.meters) = (None, Vec::new()));
    assert!(matches!(world.refresh(NOON_MS + 1).await, Err(RefreshError::Emptied)));
    world.change(|lists| (lists.meters, lists.accounts) = (vec![meter("m")], Vec::new()));
    assert!(matches!(world.refresh(NOON_MS + 1).await, Err(RefreshError::Emptied)));
    world.change(|lists| (lists.accounts, lists.circles) = (ten(), true));
    assert!(matches!(world.refresh(NOON_MS + 1).await, Err(RefreshError::Late | RefreshError::Asked(NotAnswered::Later))));
    world.change(|lists| (lists.circles, lists.accounts) = (false, vec![json!([1])]));
    assert!(matches!(world.refresh(NOON_MS + 1).await, Err(RefreshError::Unreadable)));
    assert_eq!(world.stored().await, before);
}

#[tokio::test(start_paused = true)]
async fn an_organisation_without_anything_has_an_empty_catalogue() {
    let world = World::new(Vec::new(), Vec::new());
    let expected = Refreshed { read_at_ms: NOON_MS, ..Refreshed::default() };
    assert_eq!(world.refresh(NOON_MS).await.unwrap(), expected);
    assert_eq!(world.stored().await, Some(StoredCatalogue { read_at_ms: NOON_MS, ..StoredCatalogue::default() }));
}

#[tokio::test(start_paused = true)]
async fn one_catalogue_a_day_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(vec![meter("m")], ten());
    world.store = Store::open(&format!("file://{}", folder.path().display()), &S3Access::default()).unwrap();
    for now_ms in [NOON_MS, NOON_MS + 300_000, NOON_MS + DAY_MS, NOON_MS + DAY_MS + 1] {
        world.refresh(now_ms).await.unwrap();
    }
    let names = std::fs::read_dir(folder.path().join("catalogue/v1")).unwrap();
    let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["current.ndjson.zst", "dt=2026-06-01.ndjson.zst", "dt=2026-06-02.ndjson.zst"]);
}
