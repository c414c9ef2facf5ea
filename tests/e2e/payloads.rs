//! Bodies that lie in S3, fetched by the shipped function over a socket.

use runtime_api::{ObjectFault, Record};
use serde_json::json;

use crate::usage::{body, event_of};
use crate::world::{Outside, World};

async fn world() -> World {
    let outside = Outside::start().await;
    let spec = outside.spec().env("PAYLOAD_BUCKETS", "other-payloads, payloads");
    outside.run(spec).await
}

fn pointer(bucket: &str, key: &str) -> Record {
    let place = json!({"s3BucketName": bucket, "s3Key": key});
    Record::new(json!(["software.amazon.payloadoffloading.PayloadS3Pointer", place]).to_string())
}

#[tokio::test]
async fn a_body_in_a_named_bucket_is_submitted_one_that_is_gone_is_kept_and_one_elsewhere_comes_back() {
    let mut world = world().await;
    let many: Vec<_> = (0..300).map(|number| world.usage.good(&number.to_string())).collect();
    world.aws.objects().put("payloads", "some/prefix/0c5d", body(&many));
    let event = event_of([
        pointer("payloads", "some/prefix/0c5d"),
        pointer("payloads", "gone").message_id("gone"),
        pointer("canary-bucket", "0c5d").message_id("elsewhere"),
    ]);
    let delivery = world.deliver(&event).await;
    assert_eq!(delivery.returned, ["elsewhere"]);
    delivery.counts(&[("Done", 2), ("Accepted", 300), ("Quarantined", 1), ("PayloadPointers", 1), ("Recorded", 300)]);
    let [kept] = &world.quarantined().await[..] else { panic!("one entry was expected") };
    assert_eq!((kept.reason.as_str(), kept.message_id.as_str()), ("PayloadMissing", "gone"));
    world.counted_once(300);
}

#[tokio::test]
async fn a_bucket_that_does_not_answer_returns_the_message_in_time_and_later_it_is_done() {
    let mut world = world().await;
    world.aws.objects().put("payloads", "k", body(&[world.usage.good("a")]));
    let event = event_of([pointer("payloads", "k")]);
    world.aws.objects().fault(ObjectFault::HangAll);
    let delivery = world.deliver(&event).await;
    delivery.everything_was_returned(&event, "PayloadPointers");
    world.aws.objects().fault(None);
    world.deliver(&event).await.counts(&[("Done", 1), ("Accepted", 1), ("PayloadPointers", 0)]);
    world.counted_once(1);
}
