//! The laws. Each is computed from what producers made, what the sandbox counted and what the store holds.
//!
//! 1 nothing is lost · 2 nothing is counted twice · 3 payloads stay intact · 4 a bad measurement harms no other ·
//! 5 requests keep limits and rate · 6 the handler is back in time · 7 the queue empties · 8 a fault of ours quarantines
//! nothing · 9 accounts balance, and a store outage is no storm · 10 logs hold no data · 11 the ledger is true ·
//! 12 what m3ter rejects later is kept, once.
//!
//! Here is what each answered invocation is held to: laws 1, 9, 10 and 11. Requests are held to laws 5 and 9 as they are sent,
//! in `m3ter`; law 6 is in `lambda`; law 12 is in `rejected`; everything else is looked at when the world is over, in `end`. What a file
//! holds is held to the same laws, and to what `by_file` adds.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::books::Books;
use crate::lambda::Handled;
use crate::made::{Expect, Made};
use crate::plan::Ledger;
use crate::produce::Goods;
use crate::queue::Delivery;
use crate::told;
use crate::world::World;

/// Whether the message can only leave the queue when it is exhausted: without anything that m3ter accepts beside it, a
/// measurement that m3ter refuses is never proven to be the culprit.
pub(crate) fn is_stubborn(goods: &Goods, sending: usize) -> bool {
    let items = || goods.sendings[sending].items.iter().map(|item| &goods.made[*item]);
    let is_accepted = |made: &Made| {
        !matches!(made.expect, Expect::RefusedByApi | Expect::Refused(_) | Expect::Pointer) && goods.doubt(made).is_none()
    };
    items().any(|made| matches!(made.expect, Expect::RefusedByApi | Expect::Pointer)) && !items().any(is_accepted)
}

/// Whether the measurement at `position` of a message is at m3ter or in the store.
fn is_somewhere(books: &Books, made: &Made, id: &str, position: usize) -> bool {
    let kept =
        books.kept.get(&(id.to_owned(), position)).is_some_and(|entries| entries.iter().any(|entry| entry.text() == made.text));
    let taken = || made.uid.as_deref().is_some_and(|uid| books.taken(uid).iter().any(|text| made.is(text)));
    kept || taken()
}

/// Laws 1, 9 and 10 for one answered invocation. `done` are the messages that will be deleted.
pub(crate) fn answered(world: &World, deliveries: &[Delivery], handled: &Handled, done: &BTreeSet<usize>, failures: usize) {
    let Handled::Answered { log, request_id, .. } = handled else { return };
    if log.contains("canary") {
        world.nature.broke(10, "a log line holds data".into());
    }
    {
        let (queue, books) = (world.queue(), world.books());
        for message in done {
            let message = &queue.messages()[*message];
            for (position, item) in world.goods.sendings[message.sending].items.iter().enumerate() {
                let made = &world.goods.made[*item];
                let kept = books.kept.contains_key(&(message.id.clone(), position));
                if told::is_missing(world, &books.told, made, kept) {
                    return world.nature.broke(
                        11,
                        format!("{} is done without a line for its measurement {position}, {}", message.id, made.text),
                    );
                }
                if !is_somewhere(&books, made, &message.id, position) {
                    let what =
                        format!("{} is done without its measurement {position}, {:?} {}", message.id, made.expect, made.text);
                    return world.nature.broke(1, what);
                }
            }
        }
    }
    if let Err(what) = accounts(world, deliveries, log, request_id, failures) {
        world.nature.broke(9, format!("{what}: {log}"));
    }
}

/// Law 9: the line that closes the accounts says what is true.
fn accounts(world: &World, deliveries: &[Delivery], log: &str, request_id: &str, failures: usize) -> Result<(), &'static str> {
    let lines: Vec<Value> =
        log.lines().map(serde_json::from_str).collect::<Result<_, _>>().map_err(|_| "a line that is no JSON")?;
    let closing: Vec<&Value> = lines.iter().filter(|line| line["message"] == "invocation").collect();
    let [line] = closing.as_slice() else { return Err("not exactly one line closes the accounts") };
    let count = |name: &str| line[name].as_u64().unwrap_or(u64::MAX / 16);
    let queue = world.queue();
    let sendings = deliveries.iter().map(|delivery| &world.goods.sendings[queue.messages()[delivery.message].sending]);
    let found: u64 = sendings.map(|sending| sending.items.len() as u64).sum();
    drop(queue);
    let distinct: BTreeSet<usize> = deliveries.iter().map(|delivery| delivery.message).collect();
    let books = world.books();
    let kept = books.kept_by.get(request_id).copied().unwrap_or(0);
    let told = books.told.by_invocation.get(request_id).copied().unwrap_or(0);
    let checks = [
        (count("AccountsMismatch") == 0, "the relay says that its accounts do not balance"),
        (count("Received") == deliveries.len() as u64, "Received"),
        (count("Received") == count("Done") + count("Returned"), "Received is not Done and Returned"),
        (count("Returned") >= failures as u64, "more messages are returned than counted"),
        (distinct.len() < deliveries.len() || count("Returned") == failures as u64, "Returned"),
        // What is not inflated counts as one.
        (count("Found") == found || (count("OverBudget") > 0 && count("Found") < found), "Found"),
        (
            count("Found") == count("Accepted") + count("Collapsed") + count("Quarantined") + count("Unresolved"),
            "Found is not the sum of its ends",
        ),
        (count("Accepted") <= books.taken_under(request_id), "Accepted is more than m3ter took"),
        (count("Quarantined") == kept || count("Quarantined") == 0, "Quarantined"),
        (count("Recorded") == told || count("Recorded") == 0, "Recorded"),
        (
            world.nature.plan.ledger == Ledger::Off || count("Recorded") + count("Unrecorded") >= count("Accepted"),
            "Accepted is more than Recorded and Unrecorded",
        ),
    ];
    if let Some((_, what)) = checks.into_iter().find(|(holds, _)| !holds) {
        return Err(what);
    }
    drop(books);
    let sometimes = [
        (count("Done") > 0, "exit: done"),
        (count("Returned") > 0, "exit: returned"),
        (count("GiveUp") > 0, "exit: gave up for a fault of ours"),
        (count("Unproven") > 0, "exit: refused without evidence"),
        (count("Collapsed") > 0, "exit: copies collapsed"),
        (count("Throttled") > 0, "exit: throttled"),
        (count("PayloadPointers") > 0, "exit: a pointer returned"),
        (count("OverBudget") > 0, "exit: inflated enough, the rest returned"),
        (count("StoreFailed") > 0 && count("Attempts") > 0, "exit: the store failed"),
        (count("StoreFailed") > 0 && count("Attempts") == 0, "exit: held back while the store is down"),
        (count("Unrecorded") > 0 && count("StoreFailed") > 0, "exit: returned for want of a ledger"),
        (count("Unrecorded") > 0 && count("StoreFailed") == 0, "exit: done without a ledger, at best effort"),
        (count("BrakeFailed") > 0, "exit: the brake failed"),
        (found > 1_000 && count("Batches") > 1, "exit: several batches by count"),
        (found <= 1_000 && count("Batches") > 1, "exit: several batches by bytes or rivals"),
        (count("Batches") > 1, "world: several batches in an invocation"),
        (deliveries.len() > 1_000, "event: more than 1,000 messages"),
        (deliveries.len() == 1, "event: one message"),
    ];
    sometimes.into_iter().filter(|(happened, _)| *happened).for_each(|(_, what)| world.nature.sometimes(what));
    Ok(())
}
