//! Packs measurements into batches the ingest API will take.
//!
//! The API refuses a request that breaks either of two limits, measurements or bytes; both live in [`crate::limits`].
//!
//! Packing keeps arrival order and never looks back at a closed batch. Sorting by size would sometimes save a request, but
//! then one redelivered message would change every batch after it, and two runs could not be compared.
//!
//! Nothing here knows about queues, HTTP or the clock.

use crate::limits::{BATCH_BYTES_MAX, BATCH_MEASUREMENTS_MAX, BATCH_PREFIX, BATCH_SUFFIX, MEASUREMENT_BYTES_MAX};

/// Measurements that go in one request, as indices into what was packed, in arrival order. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The measurements.
    pub members: Vec<usize>,
}

/// Every measurement exactly once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Each of 1 to [`BATCH_MEASUREMENTS_MAX`] measurements that encode to at most [`BATCH_BYTES_MAX`] bytes, envelope and
    /// commas included.
    pub batches: Vec<Batch>,
    /// What cannot fit a batch alone.
    pub oversize: Vec<usize>,
}

/// Packs measurements of these `(index, bytes)` in arrival order. Never fails: one that is oversize does not hold back the others.
pub fn pack(measurements: impl IntoIterator<Item = (usize, usize)>) -> Packed {
    const ENVELOPE_BYTES: usize = BATCH_PREFIX.len() + BATCH_SUFFIX.len();
    let mut packed = Packed::default();
    let mut members = Vec::new();
    let mut bytes = ENVELOPE_BYTES;
    for (index, measurement_bytes) in measurements {
        if measurement_bytes > MEASUREMENT_BYTES_MAX {
            packed.oversize.push(index);
            continue;
        }
        let comma = usize::from(!members.is_empty());
        if members.len() == BATCH_MEASUREMENTS_MAX || bytes + comma + measurement_bytes > BATCH_BYTES_MAX {
            packed.batches.push(Batch { members: std::mem::take(&mut members) });
            bytes = ENVELOPE_BYTES;
        }
        bytes += usize::from(!members.is_empty()) + measurement_bytes;
        members.push(index);
    }
    if !members.is_empty() {
        packed.batches.push(Batch { members });
    }
    packed
}

impl Batch {
    /// The request body: the texts that `text_of` gives, spliced together as they are.
    pub fn encode<'a>(&self, text_of: impl Fn(usize) -> &'a str) -> Vec<u8> {
        let texts: usize = self.members.iter().map(|index| text_of(*index).len() + 1).sum();
        let mut body = Vec::with_capacity(BATCH_PREFIX.len() + texts + BATCH_SUFFIX.len());
        body.extend_from_slice(BATCH_PREFIX.as_bytes());
        for (place, index) in self.members.iter().enumerate() {
            if place > 0 {
                body.push(b',');
            }
            body.extend_from_slice(text_of(*index).as_bytes());
        }
        body.extend_from_slice(BATCH_SUFFIX.as_bytes());
        body
    }

    /// The two halves of a batch of two or more; the first is the larger by one where the number is odd.
    pub fn halve(mut self) -> Option<(Batch, Batch)> {
        if self.members.len() < 2 {
            return None;
        }
        let second = self.members.split_off(self.members.len().div_ceil(2));
        Some((self, Batch { members: second }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(sizes: &[usize], batches: &[usize], oversize: usize) {
        let packed = pack(sizes.iter().copied().enumerate());
        let counts: Vec<usize> = packed.batches.iter().map(|batch| batch.members.len()).collect();
        assert_eq!((counts.as_slice(), packed.oversize.len()), (batches, oversize));
    }

    #[test]
    fn nothing_packs_to_nothing() {
        check(&[], &[], 0);
    }

    #[test]
    fn the_1001st_measurement_opens_a_second_batch() {
        check(&[10; 1_000], &[1_000], 0);
        check(&[10; 1_001], &[1_000, 1], 0);
    }

    #[test]
    fn an_oversize_measurement_does_not_hold_back_its_neighbours() {
        check(&[10, 600_000, 10], &[2], 1);
    }

    #[test]
    fn a_batch_is_closed_one_byte_before_the_limit_breaks() {
        let room = BATCH_BYTES_MAX - BATCH_PREFIX.len() - BATCH_SUFFIX.len() - 1;
        check(&[room / 2, room - room / 2], &[2], 0);
        check(&[room / 2, room - room / 2 + 1], &[1, 1], 0);
    }

    #[test]
    fn the_largest_measurement_fits_a_batch_alone_and_one_byte_more_is_oversize() {
        check(&[MEASUREMENT_BYTES_MAX], &[1], 0);
        check(&[MEASUREMENT_BYTES_MAX + 1], &[], 1);
    }

    #[test]
    fn the_encoded_body_is_what_was_counted() {
        let text = "x".repeat(MEASUREMENT_BYTES_MAX);
        assert_eq!(Batch { members: vec![0] }.encode(|_| &text).len(), BATCH_BYTES_MAX);
        assert_eq!(Batch { members: vec![7, 9] }.encode(|_| "{}"), br#"{"measurements":[{},{}]}"#);
    }

    #[test]
    fn halving_keeps_every_measurement_and_the_order() {
        let (one, two) = Batch { members: vec![1, 2, 3] }.halve().unwrap();
        assert_eq!((one.members, two.members), (vec![1, 2], vec![3]));
        assert_eq!(Batch { members: vec![1] }.halve(), None);
    }
}
