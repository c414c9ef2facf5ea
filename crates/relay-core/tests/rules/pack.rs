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

/// The fewest batches that any cut of these sizes into runs gives, whatever it fills first: found by trying every last batch, not by
/// filling one after the other as the packer does.
fn fewest(sizes: &[usize]) -> usize {
    let fit: Vec<usize> = sizes.iter().copied().filter(|size| *size <= MEASUREMENT_BYTES_MAX).collect();
    let mut fewest = vec![0];
    for end in 1..=fit.len() {
        let mut bytes = BATCH_PREFIX.len() + BATCH_SUFFIX.len() - 1;
        let mut best = usize::MAX;
        for start in (end.saturating_sub(BATCH_MEASUREMENTS_MAX)..end).rev() {
            bytes += fit[start] + 1;
            if bytes > BATCH_BYTES_MAX {
                break;
            }
            best = best.min(fewest[start] + 1);
        }
        fewest.push(best);
    }
    fewest[fit.len()]
}

#[track_caller]
fn check_fewest(sizes: &[usize], expected: usize) {
    assert_eq!(fewest(sizes), expected, "what any cut can do");
    assert_eq!(pack(sizes.iter().copied().enumerate()).batches.len(), expected, "what the packer did");
}

#[test]
fn size_mixes_made_to_waste_requests_take_the_fewest_that_both_limits_allow() {
    let room = MEASUREMENT_BYTES_MAX; // of one alone; each further one takes a comma
    let half = (room - 1) / 2;
    let repeated = |pattern: &[usize], times: usize| pattern.repeat(times);
    check_fewest(&[], 0);
    // Two halves fit together, two halves and a byte do not.
    check_fewest(&repeated(&[half], 100), 50);
    check_fewest(&repeated(&[half + 2], 100), 100);
    // A crumb before each large one: it goes along with the one before it or after it.
    check_fewest(&repeated(&[2, room - 3], 100), 100);
    check_fewest(&repeated(&[2, room - 2], 100), 200);
    check_fewest(&repeated(&[half + 2, 2, half - 4], 60), 60);
    // Thousands that are full by count, between large ones that are full by bytes.
    check_fewest(&[vec![room], vec![400; 1_000], vec![room], vec![2; 1_001]].concat(), 5);
    check_fewest(&[vec![511; 1_000], vec![512; 1_000]].concat(), 3);
    // Rising, falling, and a saw: what order has against the packer.
    let rising: Vec<usize> = (1..500).map(|nth| nth * 1_000).collect();
    let falling: Vec<usize> = rising.iter().rev().copied().collect();
    check_fewest(&rising, fewest(&falling));
    let saw: Vec<usize> = (0..2_000).map(|nth| [400_000, 60_000, 51_990, 3, 100_000][nth % 5] - nth % 7 % 3).collect();
    check_fewest(&saw, fewest(&saw));
    // What is oversize takes no request, and does not end one.
    check_fewest(&repeated(&[room + 1, 10], 1_000), 1);
}

proptest! {
    #![proptest_config(config(60))]

    #[test]
    fn no_other_cut_of_the_same_order_takes_fewer_requests(sizes in sizes()) {
        prop_assert_eq!(pack(sizes.iter().copied().enumerate()).batches.len(), fewest(&sizes));
    }
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
