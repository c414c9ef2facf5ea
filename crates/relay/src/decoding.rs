//! Decodes all messages of an invocation, so that none can harm another.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bumpalo::Bump;
use relay_core::decode::{Decoded, Found, InflateBudget, decode};
use relay_core::inbound::Inbound;
use relay_core::reason::{Reason, Refusal, Stage};

/// What each message is, and all that was found, in the order of messages. Those that are `refused` already, by index, are
/// not looked into. `spent` bytes of what an invocation may hold are there already.
pub(crate) fn decode_all<'a>(
    messages: &[Inbound<'a>],
    refused: &[(usize, Refusal)],
    spent: usize,
    arena: &'a Bump,
) -> (Vec<Decoded>, Vec<Found<'a>>) {
    each(messages, InflateBudget::default().less(spent), |message, index, budget, found| {
        match refused.iter().find(|(other, _)| *other == index) {
            Some((_, refusal)) => {
                found.push(Found { message: index, position: 0, text: message.body, refusal: Some(refusal.clone()), read: None });
                Decoded::Found
            }
            None => decode(message, index, arena, budget, found),
        }
    })
}

/// A panic on one message becomes that message's refusal. The arena and the budget it may have used hold nothing that
/// others read.
fn each<'a>(
    messages: &[Inbound<'a>],
    mut budget: InflateBudget,
    mut decode: impl FnMut(&Inbound<'a>, usize, &mut InflateBudget, &mut Vec<Found<'a>>) -> Decoded,
) -> (Vec<Decoded>, Vec<Found<'a>>) {
    let mut found = Vec::with_capacity(messages.len());
    let mut decoded = Vec::with_capacity(messages.len());
    for (index, message) in messages.iter().enumerate() {
        let before = found.len();
        let one = catch_unwind(AssertUnwindSafe(|| decode(message, index, &mut budget, &mut found)));
        decoded.push(one.unwrap_or_else(|_| {
            found.truncate(before);
            let detail = "expected to be decoded; this is a defect of the relay, please report it".into();
            let refusal = Refusal { reason: Reason::DecodeFailed, stage: Stage::Decode, detail };
            found.push(Found { message: index, position: 0, text: message.body, refusal: Some(refusal), read: None });
            Decoded::Found
        }));
    }
    (decoded, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> Inbound<'_> {
        Inbound { id: "m", handle: "h", body, source: "q", ..Inbound::default() }
    }

    #[test]
    fn a_panic_on_one_message_becomes_its_refusal_and_harms_no_other() {
        let arena = Bump::new();
        let messages = [message("{}"), message("boom"), message("{}")];
        let (decoded, found) = each(&messages, InflateBudget::default(), |message, index, budget, found| {
            let decoded = decode(message, index, &arena, budget, found);
            assert_ne!(message.body, "boom");
            decoded
        });
        assert_eq!(decoded, [Decoded::Found; 3]);
        let reasons: Vec<_> = found.iter().map(|found| found.refusal.as_ref().map(|refusal| refusal.reason)).collect();
        assert_eq!(reasons, [None, Some(Reason::DecodeFailed), None]);
    }
}
