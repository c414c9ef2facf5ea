//! The doubles do what they are told: a fake that nobody tests proves nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use m3ter_client::{NoAnswer, Secrets, SecretsError, Transport};
use m3ter_sandbox::{Fault, FaultRule, Route, Sandbox};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use relay::{Delay, Queue};
use tokio::time::timeout;

use crate::seams::{Calls, Door, Line, LineHandle, Objects, Puts, Reading, Vault};

const LONG: Duration = Duration::from_secs(3_600);

fn request() -> Request<Bytes> {
    Request::post("https://m3ter.test/organizations/sandbox-org/measurements")
        .header("traceparent", "t")
        .body(Bytes::from_static(b"{}"))
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_door_carries_answers_and_breaks_where_the_sandbox_does() {
    let sandbox = Sandbox::open(Default::default()).unwrap();
    let door = Door::to(sandbox.clone());
    assert_eq!(door.send(request()).await.unwrap().status(), 403, "no token was sent");
    for fault in [Fault::Reset, Fault::DropAnswer, Fault::Truncate] {
        sandbox.add_fault(FaultRule::new(fault).on(Route::Any).times(1));
        assert_eq!(door.send(request()).await.err(), Some(NoAnswer::Broken));
    }
    sandbox.add_fault(FaultRule::new(Fault::Hang).times(1));
    assert!(timeout(LONG, door.send(request())).await.is_err());
    let arrived = sandbox.ledger().totals.requests;
    door.fail_next(&[NoAnswer::TooLong]);
    assert_eq!(door.send(request()).await.err(), Some(NoAnswer::TooLong));
    assert_eq!((sandbox.ledger().totals.requests, door.seen().len(), door.batches().len()), (arrived, 6, 6));
    assert_eq!(door.seen()[0].traceparent.as_deref(), Some("t"));
}

#[tokio::test(start_paused = true)]
async fn the_vault_gives_fails_hangs_and_counts() {
    let vault = Vault::holding("a", "b");
    assert!(vault.read().await.is_ok());
    vault.now(Reading::Fails(SecretsError::Denied));
    assert_eq!(vault.read().await.err(), Some(SecretsError::Denied));
    vault.now(Reading::Hangs);
    assert!(timeout(LONG, vault.read()).await.is_err());
    assert_eq!(vault.reads(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_store_writes_only_where_it_says_so_or_loses_the_answer() {
    let name = Path::from("a");
    for (puts, answered, written) in
        [(Puts::Work, true, true), (Puts::Fail, false, false), (Puts::Hang, false, false), (Puts::LoseTheAnswer, false, true)]
    {
        let objects = Objects::new();
        objects.now(puts);
        let shared: Arc<dyn ObjectStore> = objects.clone();
        let put = timeout(LONG, shared.put(&name, PutPayload::from_static(b"x"))).await;
        assert_eq!(matches!(put, Ok(Ok(_))), answered, "{puts:?}");
        assert_eq!(objects.inner.head(&name).await.is_ok(), written, "{puts:?}");
        assert_eq!(objects.tried().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_line_delays_refuses_hangs_and_records() {
    let line = Line::new();
    let queue = LineHandle(line.clone());
    let delay = [Delay { handle: "h".into(), seconds: 5 }];
    assert_eq!(queue.delay(&delay).await, [true]);
    line.now(Calls::RefuseEach);
    assert_eq!(queue.delay(&delay).await, [false]);
    line.now(Calls::Hang);
    assert!(timeout(LONG, queue.delay(&delay)).await.is_err());
    assert_eq!((line.asked().len(), line.seconds()[0].clone()), (3, ("h".to_owned(), 5)));
}
