//! Objects that somebody else put there: found with what its owner wrote beside it, read as it was found or not at all.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore, ObjectStoreExt, PutOptions};
use relay_store::{GivenObject, NoPiece, Store};

use crate::given::soon;

const KEY: &str = "uploads/May & June (50%)/ü+.csv";

struct Bucket {
    objects: Arc<InMemory>,
    store: Store,
}

impl Bucket {
    fn new(prefix: &str) -> Bucket {
        let objects = Arc::new(InMemory::new());
        Bucket { store: Store::over(Arc::clone(&objects) as Arc<dyn ObjectStore>, Path::from(prefix)), objects }
    }

    async fn put(&self, key: &str, content: Vec<u8>) {
        let attributes = Attributes::from_iter([(Attribute::Metadata("First-Sent".into()), "never")]);
        let options = PutOptions { attributes, ..PutOptions::default() };
        self.objects.put_opts(&Path::parse(key).unwrap(), content.into(), options).await.unwrap();
    }

    async fn found(&self, key: &str) -> GivenObject {
        self.store.given(key).await.unwrap().expect("expected it to be there")
    }

    async fn read(&self, object: &GivenObject) -> Result<Vec<u8>, NoPiece> {
        Ok(self.store.read_given(object).try_collect::<Vec<Bytes>>().await?.concat())
    }
}

#[tokio::test]
async fn an_object_is_found_by_its_name_as_it_is_written_with_what_stands_beside_it() {
    let bucket = Bucket::new("");
    bucket.put(KEY, b"uid\n".to_vec()).await;
    let found = bucket.found(KEY).await;
    assert_eq!((found.bytes, found.metadata.get("first-sent").map(String::as_str)), (4, Some("never")));
    assert!(found.etag.as_deref().is_some_and(|etag| !etag.contains('"')));
    assert_eq!(bucket.read(&found).await.unwrap(), b"uid\n");
}

#[tokio::test]
async fn one_that_is_not_there_or_has_a_name_that_none_can_have_is_none() {
    let bucket = Bucket::new("");
    for key in ["uploads/none.csv", "uploads//a.csv", "uploads/../a.csv"] {
        assert!(bucket.store.given(key).await.unwrap().is_none(), "{key}");
    }
}

#[tokio::test]
async fn a_store_below_a_prefix_finds_objects_below_it() {
    let bucket = Bucket::new("inbox");
    bucket.put("inbox/a.csv", b"x".to_vec()).await;
    assert_eq!(bucket.found("a.csv").await.bytes, 1);
}

#[tokio::test]
async fn a_large_object_comes_in_pieces_and_in_order() {
    let bucket = Bucket::new("");
    let content: Vec<u8> = (0..9_000_000_u32).map(|place| place.to_le_bytes()[(place % 3) as usize]).collect();
    bucket.put("a", content.clone()).await;
    let found = bucket.found("a").await;
    let pieces: Vec<Bytes> = bucket.store.read_given(&found).try_collect().await.unwrap();
    assert_eq!((pieces.len(), pieces.concat() == content), (3, true));
}

#[tokio::test]
async fn an_object_that_is_replaced_or_deleted_while_it_is_read_is_not_read_on() {
    for replaced in [true, false] {
        let bucket = Bucket::new("");
        bucket.put("a", vec![b'1'; 20_000_000]).await;
        let found = bucket.found("a").await;
        let mut pieces = bucket.store.read_given(&found);
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), 4 * 1024 * 1024);
        if replaced {
            bucket.put("a", vec![b'2'; 20_000_000]).await;
        } else {
            bucket.objects.delete(&Path::from("a")).await.unwrap();
        }
        let rest: Vec<_> = pieces.collect().await;
        assert!(rest.iter().any(|piece| matches!(piece, Err(NoPiece::Changed))), "replaced: {replaced}");
        assert!(rest.iter().flatten().all(|piece| piece.iter().all(|byte| *byte == b'1')), "replaced: {replaced}");
    }
}

#[tokio::test]
async fn an_empty_object_has_no_pieces() {
    let bucket = Bucket::new("");
    bucket.put("a", Vec::new()).await;
    let found = bucket.found("a").await;
    assert_eq!(bucket.read(&found).await.unwrap(), b"");
}

#[tokio::test]
async fn what_is_there_already_is_not_written_again() {
    let bucket = Bucket::new("");
    let key = format!("{KEY}.report.json");
    for (text, is_new) in [("{}", true), ("{}", false), ("[]", true)] {
        assert_eq!(bucket.store.put_beside(&key, Bytes::from(text), soon()).await.unwrap(), is_new, "{text}");
    }
    let found = bucket.found(&key).await;
    assert_eq!(bucket.read(&found).await.unwrap(), b"[]");
    assert!(bucket.store.put_beside("uploads//a", Bytes::new(), soon()).await.is_err());
}
