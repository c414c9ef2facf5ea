//! Where the emulator is known to differ from AWS, so that nobody is surprised. The model keeps to AWS.
//!
//! A test that fails here says that the emulator has learnt something: then [`crate::both`] may expect AWS's answer.

use crate::both::{INVALID, START_MS};
use crate::emulator::{Counts, Emulator};
use crate::queue::{Queue, Settings, Wanted};

const SETTINGS: Settings = Settings { visibility_ms: 30_000, retention_ms: 1_209_600_000, receives_max: 3 };
const ONE: Wanted = Wanted { messages: 1, bytes: usize::MAX, twice: 0.0 };

/// AWS: `DeleteMessage` by a handle that is not the latest succeeds, and may or may not delete. So does one by a used handle.
#[tokio::test]
async fn the_emulator_refuses_an_old_or_used_handle_where_aws_says_that_the_deletion_succeeded() {
    let emulator = Emulator::start(START_MS).await;
    let queue = emulator.queue("deviates", SETTINGS).await;
    let mut model = Queue::new(SETTINGS);
    queue.send(&[0]).await;
    model.send(0, 10, START_MS);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for delivery in 0..2 {
        let now_ms = START_MS + delivery * SETTINGS.visibility_ms;
        emulator.set_clock(now_ms);
        theirs.push(queue.receive(1, None).await.remove(0).handle);
        ours.push(model.receive(ONE, now_ms, &mut fastrand::Rng::with_seed(0)).remove(0).handle);
    }
    assert_eq!(queue.delete(&[&theirs[0]]).await, [Some(INVALID.to_owned())]);
    assert_eq!(queue.counts().await, Counts { visible: 0, in_flight: 1, dead: 0 });
    assert!(!model.delete(&ours[0], || false) && model.left() == 1, "AWS may keep it");
    assert!(model.clone().delete(&ours[0], || true), "AWS may delete it");

    assert_eq!(queue.delete(&[&theirs[1]]).await, [None]);
    assert_eq!(queue.delete(&[&theirs[1]]).await, [Some(INVALID.to_owned())]);
    assert!(model.delete(&ours[1], || false) && !model.delete(&ours[1], || true), "there is nothing left to delete");
}

/// AWS: `ChangeMessageVisibility` of a message that is not in flight is refused as `MessageNotInflight`.
#[tokio::test]
async fn the_emulator_hides_a_message_by_a_lapsed_handle_where_aws_refuses() {
    let emulator = Emulator::start(START_MS).await;
    let queue = emulator.queue("deviates", SETTINGS).await;
    let mut model = Queue::new(SETTINGS);
    queue.send(&[0]).await;
    model.send(0, 10, START_MS);
    let ours = model.receive(ONE, START_MS, &mut fastrand::Rng::with_seed(0)).remove(0).handle;
    let theirs = queue.receive(1, None).await.remove(0).handle;

    let now_ms = START_MS + SETTINGS.visibility_ms;
    emulator.set_clock(now_ms);
    assert_eq!(queue.counts().await, Counts { visible: 1, in_flight: 0, dead: 0 });
    assert_eq!(queue.delay(&[(&theirs, 900)]).await, [None]);
    assert_eq!(queue.counts().await, Counts { visible: 0, in_flight: 1, dead: 0 });
    assert!(!model.delay(&ours, 900, now_ms));
    assert_eq!(model.visible(now_ms), [0]);
}

/// AWS: the order is best effort, and a receive may return fewer than there are. A reader of the scripts should know that this
/// emulator shows neither.
#[tokio::test]
async fn the_emulator_delivers_in_order_and_all_it_has_where_aws_promises_neither() {
    let emulator = Emulator::start(START_MS).await;
    let queue = emulator.queue("in-order", SETTINGS).await;
    let all: Vec<usize> = (0..25).collect();
    for ten in all.chunks(10) {
        queue.send(ten).await;
    }
    let mut received = Vec::new();
    for some in [10, 10, 5] {
        let messages = queue.receive(10, None).await;
        assert_eq!(messages.len(), some);
        received.extend(messages.iter().map(|message| message.sending));
    }
    assert_eq!(received, all);
}
