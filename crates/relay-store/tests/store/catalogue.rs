//! The catalogue as it is written, read whole, and read by the relay.

use bumpalo::Bump;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, PutPayload};
use relay_core::catalogue::{Catalogue, Findings};
use relay_core::decode::Found;
use relay_core::guard::{FirstSent, Judged, MissingUid, Rules, guard};
use relay_store::{AccountLine, CatalogueRead, MeterLine, Store, StoreError, StoredCatalogue};

use crate::given::{START_MS, files, in_folder, in_memory, soon};

const DAY_MS: i64 = 24 * 3_600_000;

fn meter(code: &str, last_seen_ms: i64) -> MeterLine {
    let fields = vec![("MEASURE".to_owned(), "calls".to_owned())];
    MeterLine { code: code.into(), id: format!("id of {code}"), fields, last_seen_ms }
}

fn account(code: &str, last_seen_ms: i64) -> AccountLine {
    AccountLine { code: code.into(), id: format!("id of {code}"), created_ms: Some(5), last_seen_ms, skeleton: false }
}

/// With a meter and an account that m3ter no longer lists.
fn stored() -> StoredCatalogue {
    StoredCatalogue {
        read_at_ms: START_MS,
        meters: vec![meter("api", START_MS), meter("gone \"\\ é", START_MS - 1)],
        accounts: vec![
            account("acme", START_MS),
            AccountLine { skeleton: true, created_ms: None, ..account("ghost", START_MS) },
            account("left", START_MS - 1),
        ],
    }
}

fn found(catalogue: &mut Catalogue, meter: &str, account: &str) -> Findings {
    let arena = Bump::new();
    let text =
        format!(r#"{{"uid":"u","meter":"{meter}","account":"{account}","ts":"2026-05-31T23:00:00Z","measure":{{"calls":1}}}}"#);
    let found = Found { message: 0, position: 0, text: &text, refusal: None, read: None };
    let rules = Rules { missing_uid: MissingUid::Refuse, now_ms: START_MS };
    let Judged::Good(guarded) = guard(&found, FirstSent::NotBefore(START_MS), rules, &arena) else { panic!("{text}") };
    catalogue.check(&guarded)
}

async fn changed(store: &Store, e_tag: Option<&str>) -> (Option<String>, Catalogue) {
    match store.catalogue_unless(e_tag, soon()).await.unwrap() {
        CatalogueRead::Changed { e_tag, catalogue } => (e_tag, catalogue),
        other @ (CatalogueRead::Absent | CatalogueRead::Unchanged) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_catalogue_comes_back_as_it_was_written_with_what_is_no_longer_listed() {
    let store = in_memory();
    assert_eq!(store.catalogue(soon()).await.unwrap(), None);
    store.put_catalogue(&stored(), false, soon()).await.unwrap();
    let read = store.catalogue(soon()).await.unwrap().unwrap();
    assert_eq!(read, stored());
    let listed: Vec<_> = read.meters_listed().map(|meter| meter.code.as_str()).collect();
    assert_eq!((listed, read.accounts_listed().count()), (vec!["api"], 2));
}

#[tokio::test]
async fn the_relay_holds_what_was_listed_last_and_nothing_else() {
    let store = in_memory();
    store.put_catalogue(&stored(), false, soon()).await.unwrap();
    let (_, mut catalogue) = changed(&store, None).await;
    let nothing = Findings::default();
    assert_eq!(found(&mut catalogue, "api", "acme"), nothing);
    assert!(found(&mut catalogue, "gone", "acme").meter_unknown);
    assert!(found(&mut catalogue, "api", "ACME").account_near);
    assert!(found(&mut catalogue, "api", "Ghost").account_near);
    assert_eq!(found(&mut catalogue, "api", "Left"), nothing, "its like is gone");
}

#[tokio::test]
async fn an_unchanged_catalogue_is_not_given_again() {
    let folder = tempfile::tempdir().unwrap();
    for store in [in_memory(), in_folder(folder.path())] {
        assert!(matches!(store.catalogue_unless(None, soon()).await.unwrap(), CatalogueRead::Absent));
        store.put_catalogue(&stored(), false, soon()).await.unwrap();
        let (e_tag, _) = changed(&store, None).await;
        let again = store.catalogue_unless(e_tag.as_deref(), soon()).await.unwrap();
        assert!(matches!(again, CatalogueRead::Unchanged), "{again:?}");
        store.put_catalogue(&StoredCatalogue { read_at_ms: START_MS + 1, ..stored() }, false, soon()).await.unwrap();
        assert_ne!(changed(&store, e_tag.as_deref()).await.0, e_tag);
    }
}

#[tokio::test]
async fn the_catalogue_of_a_day_is_kept_beside_the_current_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = in_folder(folder.path());
    store.put_catalogue(&stored(), true, soon()).await.unwrap();
    store.put_catalogue(&StoredCatalogue { read_at_ms: START_MS + DAY_MS, ..stored() }, true, soon()).await.unwrap();
    let names: Vec<String> = files(folder.path()).iter().map(|path| path.display().to_string()).collect();
    let expected = ["current", "dt=2026-06-01", "dt=2026-06-02"].map(|name| format!("catalogue/v1/{name}.ndjson.zst"));
    assert_eq!(names, expected);
}

#[tokio::test]
async fn what_is_no_catalogue_is_told_and_read_as_none() {
    let objects = std::sync::Arc::new(InMemory::new());
    let store = Store::over(objects.clone(), Path::default());
    let header = r#"{"catalogue":"v1","read_at":5}"#;
    let bodies = [
        String::new(),
        "nonsense\n".into(),
        r#"{"catalogue":"v2","read_at":5}"#.to_owned() + "\n",
        r#"{"meter":"api","id":"1","last_seen":5}"#.to_owned() + "\n",
        format!("{header}\n{{\"id\":\"1\",\"last_seen\":5}}\n"),
        format!("{header}\n{{\"meter\":\"m\",\"account\":\"a\",\"id\":\"1\",\"last_seen\":5}}\n"),
        format!("{header}\n{{\"account\":\"torn"),
    ];
    for body in bodies {
        let packed = zstd::bulk::compress(body.as_bytes(), 3).unwrap();
        let name = Path::from("catalogue/v1/current.ndjson.zst");
        objects.put_opts(&name, PutPayload::from(packed), Default::default()).await.unwrap();
        let (whole, codes) = (store.catalogue(soon()).await, store.catalogue_unless(None, soon()).await);
        assert!(matches!(whole, Err(StoreError::Unreadable { .. })), "{body}: {whole:?}");
        assert!(matches!(codes, Err(StoreError::Unreadable { .. })), "{body}: {codes:?}");
    }
}

#[tokio::test]
async fn members_of_a_later_version_are_passed_over() {
    let objects = std::sync::Arc::new(InMemory::new());
    let store = Store::over(objects.clone(), Path::default());
    let body = r#"{"catalogue":"v1","read_at":5,"more":[1]}
{"meter":"api","id":"1","last_seen":5,"more":{}}
{"account":"acme","id":"2","last_seen":5,"more":null}
"#;
    let packed = zstd::bulk::compress(body.as_bytes(), 3).unwrap();
    let name = Path::from("catalogue/v1/current.ndjson.zst");
    objects.put_opts(&name, PutPayload::from(packed), Default::default()).await.unwrap();
    let read = store.catalogue(soon()).await.unwrap().unwrap();
    assert_eq!((read.meters.len(), read.accounts.len(), read.read_at_ms), (1, 1, 5));
    assert!(found(&mut changed(&store, None).await.1, "api", "Acme").account_near);
}

#[tokio::test]
async fn a_catalogue_that_is_too_large_is_not_written() {
    // Ids that do not compress, so that few are many.
    let mut hash = 7_u128;
    let accounts = (0..28_000).map(|number| {
        let id: String = (0..80)
            .map(|_| {
                hash = hash.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
                format!("{:016x}", (hash >> 64) as u64)
            })
            .collect();
        AccountLine { id, ..account(&format!("a{number}"), START_MS) }
    });
    let large = StoredCatalogue { accounts: accounts.collect(), ..stored() };
    let store = in_memory();
    store.put_catalogue(&stored(), false, soon()).await.unwrap();
    let refused = store.put_catalogue(&large, false, soon()).await;
    match refused {
        Err(StoreError::Unreadable { expected, .. }) => assert!(expected.contains("500,000 accounts")),
        other => panic!("{other:?}"),
    }
    assert_eq!(store.catalogue(soon()).await.unwrap(), Some(stored()), "the last one serves");
}
