//! Checks how full the batches were: each batch of an invocation but its last holds 1,000, or is closed by bytes.
//!
//! An invocation is known by the trace id of the `traceparent` header that it sends with each request. A batch is closed
//! by bytes if the next measurement might not have fitted: if even the largest one of the invocation and a comma would
//! have gone beyond 511,999 bytes.

use std::collections::BTreeMap;

use m3ter_sandbox::{Outcome, RequestLine};

/// Most measurements in one request. Source: m3ter's API reference, and not the relay's own limits: this checks the relay.
const BATCH_MEASUREMENTS_MAX: u64 = 1_000;
/// Most bytes in one request body: the API reference says "less than 512,000".
const BATCH_BYTES_MAX: u64 = 511_999;

/// How the batches of a run were closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Batches {
    /// Invocations that submitted anything.
    pub(crate) invocations: u64,
    /// Accepted batches.
    pub(crate) batches: u64,
    /// Those that hold 1,000 measurements.
    pub(crate) full: u64,
    /// Those that were closed by bytes.
    pub(crate) closed_by_bytes: u64,
    /// Those that were the last of their invocation.
    pub(crate) last: u64,
    /// What is wrong, one line each.
    #[serde(skip)]
    pub(crate) faults: Vec<String>,
}

/// Looks at the accepted `requests` of a run.
pub(crate) fn look_at(requests: &[RequestLine]) -> Batches {
    let mut by_trace: BTreeMap<&str, Vec<&RequestLine>> = BTreeMap::new();
    let mut found = Batches::default();
    for request in requests.iter().filter(|request| request.outcome == Outcome::Accepted) {
        found.batches += 1;
        match request.traceparent.as_deref().and_then(trace_id) {
            Some(trace) => by_trace.entry(trace).or_default().push(request),
            None => found.faults.push("a request came without the traceparent of its invocation".to_owned()),
        }
    }
    found.invocations = by_trace.len() as u64;
    for (trace, requests) in by_trace {
        let largest = requests.iter().map(|request| request.largest_bytes).max().unwrap_or_default();
        let mut open: Vec<(u64, u64, u64)> = Vec::new();
        for request in requests {
            if request.measurements == BATCH_MEASUREMENTS_MAX {
                found.full += 1;
            } else if request.bytes + ",".len() as u64 + largest > BATCH_BYTES_MAX {
                found.closed_by_bytes += 1;
            } else {
                found.last += 1;
                open.push((request.measurements, request.bytes, request.largest_bytes));
            }
        }
        // A batch that was sent again, because its answer was lost, is the same batch.
        open.sort_unstable();
        open.dedup();
        if open.len() > 1 {
            let holds: Vec<String> = open.iter().map(|(measurements, ..)| measurements.to_string()).collect();
            let holds = holds.join(", ");
            found.faults.push(format!("invocation {trace} sent {} batches that were not full: {holds} measurements", open.len()));
        }
    }
    found
}

/// The trace id of a W3C `traceparent`: `00-<32 hex digits>-<16 hex digits>-<flags>`.
fn trace_id(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (_version, trace) = (parts.next()?, parts.next()?);
    let is_hex = trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then_some(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(trace: u8, measurements: u64, bytes: u64, largest_bytes: u64) -> RequestLine {
        RequestLine {
            at: jiff::Timestamp::UNIX_EPOCH,
            status: Some(200),
            outcome: Outcome::Accepted,
            fault: None,
            measurements,
            bytes,
            largest_bytes,
            traceparent: Some(format!("00-{trace:032x}-00000000000000aa-01")),
        }
    }

    #[test]
    fn full_batches_and_one_last_batch_an_invocation_are_right() {
        let found = look_at(&[
            request(1, 1_000, 300_000, 300),
            request(2, 700, 511_900, 110_000),
            request(1, 12, 3_600, 300),
            request(2, 1, 300, 300),
        ]);
        let wanted = Batches { invocations: 2, batches: 4, full: 1, closed_by_bytes: 1, last: 2, faults: vec![] };
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_second_batch_that_was_not_full_is_a_fault() {
        let found = look_at(&[request(1, 999, 300_000, 300), request(1, 12, 3_600, 300)]);
        assert_eq!(found.faults.len(), 1, "{found:?}");
    }

    #[test]
    fn a_batch_with_room_for_the_largest_measurement_was_not_closed_by_bytes() {
        let just_room = 511_999 - 300 - 1;
        assert_eq!(look_at(&[request(1, 700, just_room, 300)]).last, 1);
        assert_eq!(look_at(&[request(1, 700, just_room + 1, 300)]).closed_by_bytes, 1);
    }

    #[test]
    fn the_same_last_batch_sent_again_is_one() {
        let found = look_at(&[request(1, 12, 3_600, 300), request(1, 12, 3_600, 300)]);
        assert_eq!((found.last, found.faults.len()), (2, 0));
    }

    #[test]
    fn a_request_without_traceparent_is_a_fault_and_a_refused_one_no_batch() {
        let stray = RequestLine { traceparent: Some("none".to_owned()), ..request(1, 1, 10, 10) };
        let refused = RequestLine { outcome: Outcome::Refused, ..request(1, 1, 10, 10) };
        let found = look_at(&[stray, refused]);
        assert_eq!((found.batches, found.faults.len()), (1, 1));
    }
}
