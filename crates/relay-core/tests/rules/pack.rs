//! Pack: every measurement once, in order, within both limits, and no batch closed early.

use proptest::prelude::*;
use relay_core::limits::{BATCH_BYTES_MAX, BATCH_MEASUREMENTS_MAX, BATCH_PREFIX, BATCH_SUFFIX, MEASUREMENT_BYTES_MAX};
use relay_core::pack::{Batch, pack};

use crate::given::config;

fn bytes_of(batch: &Batch, sizes: &[usize]) -> usize {
    let texts: usize = batch.members.iter().map(|index| sizes[*index]).sum();
    BATCH_PREFIX.len() + texts + batch.members.len() - 1 + BATCH_SUFFIX.len()
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        40 => 2_usize..900,
        4 => 900_usize..60_000,
        1 => MEASUREMENT_BYTES_MAX - 2..MEASUREMENT_BYTES_MAX + 3,
    ];
    let few = prop::collection::vec(size, 0..400);
    // Small ones by the thousand, so that batches are closed by count; large ones, so that they are closed by bytes.
    let by_count = (2_usize..500, 900_usize..3_100).prop_map(|(size, count)| vec![size; count]);
    let by_bytes = prop::collection::vec(100_000_usize..=MEASUREMENT_BYTES_MAX, 0..40);
    prop_oneof![few, by_count, by_bytes]
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn every_measurement_lands_once_in_order_within_the_limits_in_as_few_batches_as_order_allows(sizes in sizes()) {
        let packed = pack(sizes.iter().copied().enumerate());
        let batched: Vec<usize> = packed.batches.iter().flat_map(|batch| batch.members.clone()).collect();
        let (fit, oversize): (Vec<usize>, Vec<usize>) =
            (0..sizes.len()).partition(|index| sizes[*index] <= MEASUREMENT_BYTES_MAX);
        prop_assert_eq!((batched, packed.oversize), (fit, oversize));
        for batch in &packed.batches {
            prop_assert!((1..=BATCH_MEASUREMENTS_MAX).contains(&batch.members.len()));
            prop_assert!(bytes_of(batch, &sizes) <= BATCH_BYTES_MAX);
        }
        for pair in packed.batches.windows(2) {
            let next = sizes[pair[1].members[0]];
            let full = pair[0].members.len() == BATCH_MEASUREMENTS_MAX;
            prop_assert!(full || bytes_of(&pair[0], &sizes) + 1 + next > BATCH_BYTES_MAX, "closed early");
        }
    }

    #[test]
    fn the_body_of_a_batch_is_as_long_as_was_counted_and_holds_the_texts_in_order(texts in prop::collection::vec("[a-z]{0,9}", 1..40)) {
        let texts: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
        let packed = pack(texts.iter().map(String::len).enumerate());
        prop_assert_eq!(packed.batches.len(), 1);
        let body = packed.batches[0].encode(|index| &texts[index]);
        let sizes: Vec<usize> = texts.iter().map(String::len).collect();
        prop_assert_eq!(body.len(), bytes_of(&packed.batches[0], &sizes));
        prop_assert_eq!(String::from_utf8(body).unwrap(), format!("{{\"measurements\":[{}]}}", texts.join(",")));
    }

    #[test]
    fn halving_again_and_again_ends_with_each_measurement_alone(count in 1_usize..300) {
        let mut alone = Vec::new();
        let mut stack = vec![Batch { members: (0..count).collect() }];
        while let Some(batch) = stack.pop() {
            match batch.clone().halve() {
                Some((first, second)) => stack.extend([second, first]),
                None => alone.push(batch.members),
            }
        }
        prop_assert_eq!(alone, (0..count).map(|index| vec![index]).collect::<Vec<_>>());
    }
}
