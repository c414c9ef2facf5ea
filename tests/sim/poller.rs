//! A poller of the event source mapping: gathers messages, has them handled, deletes what is done.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::select;

use crate::fault::Fault;
use crate::lambda::{Handled, Pool};
use crate::laws;
use crate::queue::{Delivery, Wanted};
use crate::wire;
use crate::world::World;

/// Most bytes of one event. Source: Lambda, 6 MB.
const EVENT_BYTES_MAX: usize = 6_000_000;

/// Polls for ever.
pub(crate) async fn poll(world: &Arc<World>, pool: &Pool, number: usize) {
    let nature = &world.nature;
    let mut rng = nature.fork();
    loop {
        let moved = world.moved.notified();
        let next = world.queue().next_visible_ms();
        match next {
            None => {
                moved.await;
                continue;
            }
            Some(at_ms) if at_ms > nature.now_ms() => {
                select(Box::pin(moved), Box::pin(nature.until(at_ms))).await;
                continue;
            }
            Some(_) => {}
        }
        nature.pass(rng.i64(0..=nature.plan.window_ms.max(200))).await;
        let twice = if nature.is_faulty() { nature.plan.rate(Fault::DuplicateDelivery) } else { 0.0 };
        let messages = if nature.plan.batch_size > 1 && rng.f64() < 0.1 {
            rng.usize(1..=nature.plan.batch_size)
        } else {
            nature.plan.batch_size
        };
        let wanted = Wanted { messages, bytes: EVENT_BYTES_MAX, twice };
        let left = world.queue().left();
        let deliveries = world.queue().receive(wanted, nature.now_ms(), &mut rng);
        if world.queue().left() < left {
            nature.struck(Fault::FewReceives);
        }
        world.moved.notify_waiters();
        if deliveries.is_empty() {
            continue;
        }
        note_doubles(world, &deliveries);
        let names: Vec<String> = deliveries.iter().take(20).map(|delivery| format!("{:x}", delivery.message)).collect();
        nature.tell(&format!("poller {number} receives {} messages: {}", deliveries.len(), names.join(" ")));
        world.outside().running += 1;
        let handled = pool.invoke(world, &deliveries).await;
        settle(world, &deliveries, &handled, &mut rng);
        world.outside().running -= 1;
        world.moved.notify_waiters();
    }
}

fn note_doubles(world: &World, deliveries: &[Delivery]) {
    let now_ms = world.nature.now_ms();
    let distinct: BTreeSet<usize> = deliveries.iter().map(|delivery| delivery.message).collect();
    let at_once = {
        let queue = world.queue();
        queue.next_visible_ms().is_some_and(|at_ms| at_ms == now_ms + 1)
    };
    if distinct.len() < deliveries.len() || at_once {
        world.nature.struck(Fault::DuplicateDelivery);
    }
}

/// Does with the messages what the answer says.
fn settle(world: &World, deliveries: &[Delivery], handled: &Handled, rng: &mut fastrand::Rng) {
    let nature = &world.nature;
    let Handled::Answered { answer, .. } = handled else { return };
    let ids: Vec<String> = {
        let queue = world.queue();
        deliveries.iter().map(|delivery| queue.messages()[delivery.message].id.clone()).collect()
    };
    let delivered: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
    let failures = match wire::failures(answer, &delivered) {
        Ok(failures) => failures,
        Err(fault) => return nature.broke(9, format!("an answer that Lambda does not understand: {fault}")),
    };
    let done: BTreeSet<usize> =
        deliveries.iter().zip(&ids).filter(|(_, id)| !failures.contains(*id)).map(|(delivery, _)| delivery.message).collect();
    laws::answered(world, deliveries, handled, &done, failures.len());
    nature.tell(&format!("  {} messages leave the queue", done.len()));
    if nature.strikes(Fault::ResponseLost) {
        return;
    }
    for delivery in deliveries.iter().filter(|delivery| done.contains(&delivery.message)) {
        world.queue().delete(&delivery.handle, || rng.bool());
    }
    for message in done {
        if nature.strikes(Fault::Undeleted) {
            world.queue().undelete(message, nature.now_ms() + rng.i64(1_000..=20 * 60_000));
        }
    }
}
