//! What happens to a process: frozen, killed.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use m3ter_sandbox::{Fault, FaultRule};
use runtime_api::Outcome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::usage::{body, event, redelivery};
use crate::world::{World, until};

/// Longer than any test lets it be.
const LATE: Fault = Fault::Delay { delay_ms: 50_000 };

#[tokio::test]
async fn a_frozen_process_answers_after_the_thaw_though_its_connections_died() {
    let mut world = World::start().await;
    let pid = world.function.pid();
    world.all_is_well("before").await;
    world.function.freeze().unwrap();
    world.m3ter_hangs_up().await;
    world.function.thaw().unwrap();
    world.all_is_well("after").await;
    assert_eq!(world.function.pid(), pid);
    world.counted_once(2);
}

#[tokio::test]
async fn a_process_frozen_for_longer_than_its_token_lives_gets_another_one() {
    let mut world = World::start().await;
    let pid = world.function.pid();
    world.all_is_well("before").await;
    world.function.freeze().unwrap();
    world.sandbox.advance(Duration::from_secs(6 * 3_600)).unwrap(); // a token lives five hours
    world.function.thaw().unwrap();
    world.all_is_well("after").await;
    assert_eq!(world.function.pid(), pid);
    assert_eq!(world.sandbox.ledger().totals.tokens_issued, 2);
    world.counted_once(2);
}

/// The answer is written while nobody reads it: a second request, made after the freeze, meets the same delay, and is answered.
#[tokio::test]
async fn an_invocation_frozen_in_the_middle_goes_on_after_the_thaw() {
    let mut world = World::start().await;
    let event = event([world.usage.good("frozen").to_string()]);
    let (killer, sandbox, address) = (world.function.killer(), world.sandbox.clone(), world.m3ter_address());
    sandbox.add_fault(FaultRule::new(Fault::Delay { delay_ms: 300 }));
    let freezing = async {
        until(|| sandbox.ledger().totals.accepted == 1).await;
        killer.freeze().unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        let request =
            "POST /organizations/o/measurements HTTP/1.1\r\nhost: m3ter\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        second.write_all(request.as_bytes()).await.unwrap();
        second.read_to_end(&mut Vec::new()).await.unwrap();
        killer.thaw().unwrap();
    };
    let (delivery, ()) = tokio::join!(world.deliver(&event), freezing);
    delivery.counts(&[("Done", 1), ("Accepted", 1), ("Attempts", 1)]);
    world.counted_once(1);
}

#[tokio::test]
async fn a_kill_between_acceptance_and_answer_counts_nothing_twice() {
    let mut world = World::start().await;
    let pid = world.function.pid();
    let bodies = [body(&world.usage.many("first", 1_000)), body(&world.usage.many("second", 500))];
    world.sandbox.add_fault(FaultRule::new(LATE));
    let event = event(&bodies);
    let (killer, sandbox) = (world.function.killer(), world.sandbox.clone());
    let killing = async {
        until(|| sandbox.ledger().totals.accepted == 1_500).await;
        killer.kill().unwrap();
    };
    let (invocation, ()) = tokio::join!(world.function.invoke(&event), killing);
    assert!(
        matches!(invocation.outcome, Outcome::Exited(status) if status.signal() == Some(9)),
        "Lambda has no answer, so SQS has every message: {invocation:?}"
    );
    world.counted_once(1_500);
    world.sandbox.clear_faults();

    world.respawn().await;
    assert_ne!(world.function.pid(), pid);
    let again = redelivery(&bodies, 2);
    assert_eq!(again.message_ids(), event.message_ids());
    let delivery = world.deliver(&again).await;
    delivery.counts(&[("Done", 2), ("Accepted", 1_500)]);
    assert_eq!(world.ledger().totals.duplicates, 1_500);
    world.counted_once(1_500);
}
