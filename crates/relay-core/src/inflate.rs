//! Undoes the encoding that a message says it has: gzip in base64. Bounded per message and per invocation.

use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bumpalo::Bump;

use crate::decode::InflateBudget;
use crate::json;
use crate::limits::MESSAGE_INFLATED_BYTES_MAX;
use crate::reason::{Reason, Refusal};

/// A body as text, or why not.
pub(crate) enum Inflated<'a> {
    Text(&'a str),
    OverBudget,
    Refused(Refusal),
}

/// `body` as `encoding` says: as it is without one, or inflated into `arena`.
pub(crate) fn inflate<'a>(body: &'a str, encoding: Option<&str>, arena: &'a Bump, budget: &mut InflateBudget) -> Inflated<'a> {
    let refuse = |reason, detail| Inflated::Refused(Refusal::decode(reason, detail));
    let encoding = encoding.map(str::trim).unwrap_or_default();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        return Inflated::Text(body);
    }
    if !encoding.eq_ignore_ascii_case("gzip") {
        return refuse(Reason::EnvelopeInvalid, "expected Content-Encoding to be gzip, or absent");
    }
    let Ok(packed) = STANDARD.decode(json::trim(body)) else {
        return refuse(Reason::EnvelopeInvalid, "expected base64, as Content-Encoding gzip says");
    };
    let allowed = budget.left.min(MESSAGE_INFLATED_BYTES_MAX);
    let mut bytes = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(packed.as_slice()).take(allowed as u64 + 1).read_to_end(&mut bytes);
    // What was inflated is spent, also when it was for nothing: else a queue of bombs takes all the time there is.
    budget.left -= bytes.len().min(allowed);
    if bytes.len() > MESSAGE_INFLATED_BYTES_MAX {
        return refuse(Reason::Oversize, "expected a message to inflate to at most 4 MiB");
    }
    if bytes.len() > allowed {
        return Inflated::OverBudget;
    }
    match (read, std::str::from_utf8(&bytes)) {
        (Ok(_), Ok(text)) => Inflated::Text(arena.alloc_str(text)),
        (Err(_), _) => refuse(Reason::EnvelopeInvalid, "expected a whole gzip stream, as Content-Encoding gzip says"),
        (_, Err(_)) => refuse(Reason::NotJson, "expected UTF-8 inside the gzip stream"),
    }
}
