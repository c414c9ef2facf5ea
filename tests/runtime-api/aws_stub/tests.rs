//! The stub against the clients that the function uses: both SDKs and `object_store`.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_secretsmanager::Client as Secrets;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry as Entry;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
};
use tokio::time::timeout;

use super::*;

/// No test waits this long unless it fails; clients give up sooner.
const BOUND: Duration = Duration::from_secs(20);
/// How soon a client gives up on a peer that hangs. Nothing here depends on how far it got by then.
const PATIENCE: Duration = Duration::from_millis(200);

fn s3(stub: &AwsStub) -> AmazonS3 {
    impatient_s3(stub, BOUND)
}

fn impatient_s3(stub: &AwsStub, patience: Duration) -> AmazonS3 {
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    AmazonS3Builder::new()
        .with_endpoint(stub.url())
        .with_allow_http(true)
        .with_region("eu-central-1")
        .with_bucket_name("store")
        .with_access_key_id("test")
        .with_secret_access_key("test")
        .with_retry(once)
        .with_client_options(ClientOptions::new().with_timeout(patience).with_allow_http(true))
        .build()
        .unwrap()
}

fn secrets(stub: &AwsStub) -> Secrets {
    let config = aws_sdk_secretsmanager::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(stub.url());
    Secrets::from_conf(config.build())
}

fn sqs(stub: &AwsStub) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(stub.url());
    aws_sdk_sqs::Client::from_conf(config.build())
}

fn entry(id: &str, handle: &str, timeout_s: i32) -> Entry {
    let entry = Entry::builder().id(id).receipt_handle(handle);
    entry.visibility_timeout(timeout_s).build().unwrap()
}

#[tokio::test]
async fn a_secret_changes_while_it_is_in_use_and_every_call_counts() {
    let stub = AwsStub::start().await.unwrap();
    let client = secrets(&stub);
    let get = || client.get_secret_value().secret_id("arn:secret").send();
    let missing = get().await.unwrap_err().into_service_error();
    assert!(missing.is_resource_not_found_exception(), "{missing:?}");
    for value in ["first", "second"] {
        stub.secrets().set("arn:secret", value);
        assert_eq!(get().await.unwrap().secret_string(), Some(value));
    }
    assert_eq!(stub.secrets().calls(), 3);
    assert!(!format!("{stub:?}").contains("second"), "Debug shows no secret");

    stub.secrets().hang(true);
    assert!(timeout(PATIENCE, get()).await.is_err());
    stub.secrets().hang(false);
    stub.secrets().remove("arn:secret");
    assert!(get().await.is_err());
    assert!(stub.unexpected().is_empty());
}

#[tokio::test]
async fn visibility_changes_are_kept_and_answered_entry_by_entry() {
    let stub = AwsStub::start().await.unwrap();
    stub.queue().refuse(["handle-b"]);
    let client = sqs(&stub);
    let change = |entries| {
        let request = client.change_message_visibility_batch().queue_url("http://q/usage");
        request.set_entries(Some(entries)).send()
    };
    let entries = vec![entry("0", "handle-a", 30), entry("1", "handle-b", 60), entry("2", "handle-c", 43_201)];
    let answer = change(entries).await.unwrap();
    let successful: Vec<_> = answer.successful().iter().map(|entry| entry.id()).collect();
    let failed: Vec<_> = answer.failed().iter().map(|entry| (entry.id(), entry.code())).collect();
    assert_eq!(successful, ["0"]);
    assert_eq!(failed, [("1", "ReceiptHandleIsInvalid"), ("2", "InvalidParameterValue")]);
    let seen = stub.queue().changes();
    assert_eq!(seen.len(), 3);
    let first = VisibilityChange {
        queue_url: "http://q/usage".to_owned(),
        receipt_handle: "handle-a".to_owned(),
        timeout_s: 30,
        successful: true,
    };
    assert_eq!(seen[0], first);

    let eleven = (0..11).map(|n| entry(&n.to_string(), "handle", 1)).collect();
    let refused = change(eleven).await.unwrap_err().into_service_error();
    assert!(refused.is_too_many_entries_in_batch_request(), "{refused:?}");
    let twice = change(vec![entry("0", "a", 1), entry("0", "b", 1)]).await.unwrap_err();
    assert!(twice.into_service_error().is_batch_entry_ids_not_distinct());

    assert_eq!(stub.queue().requests(), 3);

    stub.queue().hang(true);
    assert!(timeout(PATIENCE, change(vec![entry("0", "a", 1)])).await.is_err());
    assert_eq!(stub.queue().changes().len(), 3, "a request that hangs changes nothing");
}

#[tokio::test]
async fn the_visibility_of_one_message_is_changed_as_that_of_many() {
    let stub = AwsStub::start().await.unwrap();
    stub.queue().refuse(["handle-b"]);
    let client = sqs(&stub);
    let change = |handle: &str| {
        client.change_message_visibility().queue_url("http://q/files").receipt_handle(handle).visibility_timeout(900).send()
    };
    change("handle-a").await.unwrap();
    assert!(change("handle-b").await.is_err());
    let seen: Vec<_> =
        stub.queue().changes().into_iter().map(|one| (one.receipt_handle, one.timeout_s, one.successful)).collect();
    assert_eq!(seen, [("handle-a".to_owned(), 900, true), ("handle-b".to_owned(), 900, false)]);
}

#[tokio::test]
async fn what_else_is_asked_is_refused_and_kept() {
    let stub = AwsStub::start().await.unwrap();
    assert!(sqs(&stub).purge_queue().queue_url("http://q").send().await.is_err());
    assert!(s3(&stub).copy(&Path::from("a"), &Path::from("b")).await.is_err());
    let unexpected = stub.unexpected();
    assert_eq!(unexpected.first().map(String::as_str), Some("POST / AmazonSQS.PurgeQueue"));
    assert_eq!(unexpected.last().map(String::as_str), Some("PUT /store/b"));
}

#[tokio::test]
async fn objects_are_written_read_listed_and_deleted() {
    let stub = AwsStub::start().await.unwrap();
    let store = s3(&stub);
    let path = Path::from("prefix/dt=2026-11-01/a&b.zst");
    let body = Bytes::from_static(b"0123456789");
    let metadata = Attributes::from_iter([(Attribute::Metadata("lines".into()), "7")]);
    let put = store.put_opts(&path, body.clone().into(), metadata.into()).await.unwrap();
    assert!(put.e_tag.is_some());

    let object = stub.objects().get("store", "prefix/dt=2026-11-01/a&b.zst").unwrap();
    assert_eq!((&object.body, object.metadata["lines"].as_str()), (&body, "7"));
    assert_eq!(stub.objects().stored(), [object]);
    let got = store.get(&path).await.unwrap();
    assert_eq!(got.attributes.get(&Attribute::Metadata("lines".into())).unwrap().as_ref(), "7");
    assert_eq!(got.bytes().await.unwrap(), body);
    assert_eq!(store.get_range(&path, 2..5).await.unwrap(), "234");
    assert_eq!(store.head(&path).await.unwrap().size, 10);

    store.delete(&path).await.unwrap();
    assert!(matches!(store.get(&path).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));
    assert!(stub.objects().stored().is_empty() && stub.unexpected().is_empty());
}

#[tokio::test]
async fn an_object_that_comes_in_parts_is_there_when_it_is_ended() {
    let stub = AwsStub::start().await.unwrap();
    let (store, path) = (s3(&stub), Path::from("a"));
    let mut parts = store.put_multipart(&path).await.unwrap();
    parts.put_part("first, ".into()).await.unwrap();
    parts.put_part("second".into()).await.unwrap();
    assert!(stub.objects().stored().is_empty());
    parts.complete().await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), "first, second");
    let mut given_up = store.put_multipart(&path).await.unwrap();
    given_up.put_part("third".into()).await.unwrap();
    given_up.abort().await.unwrap();
    assert_eq!((stub.objects().stored().len(), stub.unexpected().len()), (1, 0));
}

#[tokio::test]
async fn an_object_is_read_only_as_the_one_that_is_wanted() {
    let stub = AwsStub::start().await.unwrap();
    let (store, path) = (s3(&stub), Path::from("a"));
    let etag = stub.objects().put_with("store", "a", "x", &[("first-sent", "never")]);
    let wanted = || GetOptions { if_match: Some(etag.clone()), ..GetOptions::default() };
    let metadata = store.get_opts(&path, wanted()).await.unwrap().attributes;
    assert_eq!(metadata.get(&Attribute::Metadata("first-sent".into())).unwrap().as_ref(), "never");
    stub.objects().put("store", "a", "y");
    assert!(matches!(store.get_opts(&path, wanted()).await, Err(Error::Precondition { .. })));
}

#[tokio::test]
async fn a_listing_has_every_key_once_over_its_pages_and_folders() {
    use futures_util::TryStreamExt;
    let stub = AwsStub::start().await.unwrap();
    let store = s3(&stub);
    for n in 0..2_100 {
        stub.objects().put("store", &format!("many/{n:04}/x"), "x");
    }
    stub.objects().put("store", "other/<y>", "yy");
    stub.objects().put("another-bucket", "many/z", "z");
    let all: Vec<_> = store.list(Some(&Path::from("many"))).try_collect().await.unwrap();
    let keys: HashSet<_> = all.iter().map(|meta| meta.location.to_string()).collect();
    assert_eq!((all.len(), keys.len()), (2_100, 2_100));

    let folders = store.list_with_delimiter(Some(&Path::from("many"))).await.unwrap();
    assert_eq!((folders.common_prefixes.len(), folders.objects.len()), (2_100, 0));
    let other = store.list_with_delimiter(Some(&Path::from("other"))).await.unwrap();
    assert_eq!(other.objects[0].location.to_string(), "other/<y>");
    let after: Vec<_> =
        store.list_with_offset(Some(&Path::from("many")), &Path::from("many/2097/x")).try_collect().await.unwrap();
    assert_eq!(after.len(), 2);
}

#[tokio::test]
async fn an_object_created_twice_is_refused_the_second_time() {
    let stub = AwsStub::start().await.unwrap();
    let (store, path) = (s3(&stub), Path::from("once"));
    let create = |body: &'static str| store.put_opts(&path, body.into(), PutMode::Create.into());
    create("first").await.unwrap();
    assert!(matches!(create("second").await, Err(Error::AlreadyExists { .. })));
    assert_eq!(stub.objects().get("store", "once").unwrap().body, "first");

    let version = store.head(&path).await.unwrap();
    let update = |e_tag| {
        let version = object_store::UpdateVersion { e_tag, version: None };
        store.put_opts(&path, "third".into(), PutOptions::from(PutMode::Update(version)))
    };
    update(version.e_tag.clone()).await.unwrap();
    assert!(matches!(update(version.e_tag).await, Err(Error::Precondition { .. })));
    let whole = store.get_opts(&path, GetOptions::default()).await.unwrap();
    assert_eq!(whole.bytes().await.unwrap(), "third");
}

#[tokio::test]
async fn each_object_fault_does_what_it_says() {
    let stub = AwsStub::start().await.unwrap();
    let path = Path::from("a");
    for (fault, patience, stored) in [
        (ObjectFault::FailPuts, BOUND, false),
        (ObjectFault::HangPuts, PATIENCE, false),
        (ObjectFault::HangAll, PATIENCE, false),
        (ObjectFault::LosePutAnswers, BOUND, true),
    ] {
        stub.objects().fault(fault);
        let put = impatient_s3(&stub, patience).put(&path, "body".into()).await;
        assert!(put.is_err(), "{fault:?}");
        assert_eq!(stub.objects().get("store", "a").is_some(), stored, "{fault:?}");
    }
    let store = s3(&stub);
    assert_eq!(store.head(&path).await.unwrap().size, 4, "only puts are lost");
    stub.objects().fault(ObjectFault::HangAll);
    assert!(impatient_s3(&stub, PATIENCE).head(&path).await.is_err());
    stub.objects().fault(None);
    store.put(&path, "again".into()).await.unwrap();
    assert_eq!(stub.objects().calls().last().map(String::as_str), Some("PUT /store/a"));
}
