//! Bodies that lie in S3 are fetched and decoded like any other, and none is lost whatever S3 does.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use relay_core::limits::{DAY_MS, MESSAGE_INFLATED_BYTES_MAX};
use relay_store::Payloads;
use serde_json::{Value, json};

use crate::seams::{Gets, Objects};
use crate::world::{Message, START_MS, Setup, World, bad, good, many};

/// A world with a bucket that the relay may read, and one that it may not.
async fn world(payloads: &[(&str, &[u8])]) -> (World, Arc<Objects>) {
    let bucket = Objects::new();
    for (key, payload) in payloads {
        bucket.inner.put(&Path::from(*key), payload.to_vec().into()).await.unwrap();
    }
    let setup = Setup { payloads: Payloads::default().with("canary-bucket", bucket.clone()), ..Setup::default() };
    (World::with(setup), bucket)
}

fn pointer(bucket: &str, key: &str) -> String {
    json!(["software.amazon.payloadoffloading.PayloadS3Pointer", {"s3BucketName": bucket, "s3Key": key}]).to_string()
}

fn to(id: &str, key: &str) -> Message {
    Message::raw(id, &pointer("canary-bucket", key))
}

fn body(measurements: &[Value]) -> Vec<u8> {
    json!({"measurements": measurements}).to_string().into_bytes()
}

#[tokio::test(start_paused = true)]
async fn a_body_in_s3_is_decoded_like_any_other_in_the_form_of_both_clients_and_behind_sns() {
    let (world, _) = world(&[("a/1", &body(&many("a", 3))), ("2", &body(&[good("b")])), ("3", &body(&[good("c")]))]).await;
    let older = json!(["com.amazon.sqs.javamessaging.MessageS3Pointer", {"s3BucketName": "canary-bucket", "s3Key": "2"}]);
    let sns = json!({"Type": "Notification", "Message": pointer("canary-bucket", "3")});
    let messages = [
        to("m-1", "a/1"),
        Message::raw("m-2", &older.to_string()),
        Message::raw("m-3", &sns.to_string()),
        Message::of("m-4", &[good("d")]),
    ];
    world.deliver(&messages).await.counts(&[("Done", 4), ("Accepted", 6), ("PayloadPointers", 0)]);
    assert_eq!(world.ledger().totals.ingested, 6);
}

#[tokio::test(start_paused = true)]
async fn a_compressed_body_in_s3_is_inflated() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &body(&many("a", 50))).unwrap();
    let packed = STANDARD.encode(packed.finish().unwrap());
    let (world, _) = world(&[("k", packed.as_bytes())]).await;
    world.deliver(&[to("m-1", "k").attribute("Content-Encoding", "gzip")]).await.counts(&[("Done", 1), ("Accepted", 50)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_quarantined_keeps_the_payload_and_not_the_pointer() {
    let (world, _) = world(&[("k", &body(&[good("a"), bad("x")])), ("broken", b"not JSON")]).await;
    world.deliver(&[to("m-1", "k"), to("m-2", "broken")]).await.counts(&[("Done", 2), ("Accepted", 1), ("Quarantined", 2)]);
    let kept = world.quarantined().await;
    let text = |id: &str| {
        let entry = kept.iter().find(|entry| entry.message_id == id).unwrap();
        entry.body.clone().or_else(|| entry.measurement.as_ref().map(|text| text.get().to_owned())).unwrap()
    };
    assert_eq!(serde_json::from_str::<Value>(&text("m-1")).unwrap(), bad("x"));
    assert_eq!(text("m-2"), "not JSON");
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_is_not_there_or_cannot_be_a_body_is_refused_with_its_reason() {
    let large = vec![b' '; MESSAGE_INFLATED_BYTES_MAX + 1];
    let (world, _) = world(&[("large", &large), ("binary", &[0xff, 0xfe])]).await;
    let messages =
        [to("m-1", "gone"), to("m-2", "large"), to("m-3", "binary"), to("m-4", "//"), Message::of("m-5", &[good("a")])];
    world.deliver(&messages).await.counts(&[("Done", 5), ("Quarantined", 4), ("Accepted", 1)]);
    let reasons: Vec<String> = world.reasons().await.into_iter().map(|(_, _, reason)| reason).collect();
    assert_eq!(reasons, ["PayloadMissing", "Oversize", "NotJson", "PayloadMissing"]);
    // An earlier delivery may have found it, and sent it.
    assert!(world.quarantined().await.iter().all(|entry| entry.stage == "submit" && entry.first_sent_at.is_some()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_returns_the_message_and_holds_up_no_other() {
    for trouble in [Gets::Fail, Gets::Hang] {
        let (world, bucket) = world(&[("k", &body(&[good("a")]))]).await;
        bucket.gets(trouble);
        let handled = world.deliver(&[to("m-1", "k"), Message::of("m-2", &[good("b")])]).await;
        assert_eq!(handled.returned, ["m-1"], "{trouble:?}");
        handled.counts(&[("Accepted", 1), ("PayloadPointers", 1), ("Quarantined", 0)]);
        bucket.gets(Gets::Work);
        assert!(world.is_done(&to("m-1", "k").received(2)).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pointer_to_a_compressed_body_that_cannot_be_fetched_now_is_returned_and_not_taken_for_the_body() {
    let (world, bucket) = world(&[]).await;
    bucket.gets(Gets::Fail);
    let attributes = json!({"Content-Encoding": {"Type": "String", "Value": "gzip"}});
    let message = pointer("canary-bucket", "k");
    let sns = json!({"Type": "Notification", "Message": message, "MessageAttributes": attributes});
    let messages = [to("m-1", "k").attribute("Content-Encoding", "gzip"), Message::raw("m-2", &sns.to_string())];
    world.deliver(&messages).await.counts(&[("Returned", 2), ("PayloadPointers", 2), ("Quarantined", 0)]);
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_no_setting_names_is_not_read_and_its_messages_come_back_until_they_are_exhausted() {
    let (world, _) = world(&[]).await;
    let stranger = Message::raw("m-1", &pointer("somebody-else", "k"));
    world.deliver(std::slice::from_ref(&stranger)).await.counts(&[("Returned", 1), ("PayloadPointers", 1)]);
    assert!(world.is_done(&stranger.sent_at(START_MS - 11 * DAY_MS)).await);
    assert_eq!(world.reasons().await[0].2, "Exhausted");
}

#[tokio::test(start_paused = true)]
async fn payloads_beyond_what_an_invocation_may_hold_come_back() {
    let wide = [body(&many("a", 2)), vec![b' '; MESSAGE_INFLATED_BYTES_MAX - 1_000]].concat();
    let keys: Vec<String> = (0..10).map(|number| number.to_string()).collect();
    let payloads: Vec<(&str, &[u8])> = keys.iter().map(|key| (key.as_str(), wide.as_slice())).collect();
    let (world, _) = world(&payloads).await;
    let messages: Vec<Message> = keys.iter().map(|key| to(&format!("m-{key}"), key)).collect();
    let handled = world.deliver(&messages).await;
    handled.counts(&[("Done", 8), ("Returned", 2), ("PayloadPointers", 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_points_on_is_not_followed() {
    let (world, _) = world(&[("k", pointer("canary-bucket", "k").as_bytes())]).await;
    world.deliver(&[to("m-1", "k")]).await.counts(&[("Returned", 1), ("PayloadPointers", 1)]);
}
