//! Reads the times of a measurement: ISO 8601 date-times with an offset, as the API takes them.

use jiff::Timestamp;

/// Milliseconds since the epoch, or `None` unless `text` is a date-time such as `2026-01-02T03:04:05.678Z` or
/// `2026-01-02T03:04:05+02:00`. Seconds may be missing, and the colon of the offset: Java and Python write that. A space
/// instead of the `T`, a missing offset, a bracketed zone, hours alone and a decimal comma are not taken: readers disagree
/// about them.
pub fn parse_ms(text: &str) -> Option<i64> {
    let separator = text.as_bytes().get(10)?;
    let minutes_follow = text.as_bytes().get(13) == Some(&b':');
    if *separator != b'T' || !minutes_follow || text.bytes().any(|byte| matches!(byte, b'[' | b' ' | b',')) {
        return None;
    }
    let offset_given = text.ends_with('Z') || text.get(10..)?.contains(['+', '-']);
    if !offset_given {
        return None;
    }
    text.parse::<Timestamp>().ok().map(|timestamp| timestamp.as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy;

    use super::*;

    #[test]
    fn zulu_offsets_and_fractions_are_read() {
        assert_eq!(parse_ms("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!(parse_ms("1970-01-01T02:00:00.5+02:00"), Some(500));
        assert_eq!(parse_ms("1970-01-01T00:00:00.123456789+00:00"), Some(123));
        assert_eq!(parse_ms("2026-11-17T10:00:00.001-11:30"), parse_ms("2026-11-17T21:30:00.001Z"));
    }

    #[test]
    fn what_java_and_python_write_is_read() {
        let ten = parse_ms("2026-11-17T10:00:00Z");
        assert!(ten.is_some());
        for text in ["2026-11-17T10:00Z", "2026-11-17T12:00+02:00", "2026-11-17T12:00:00+0200", "2026-11-17T10:00:00-00:00"] {
            assert_eq!(parse_ms(text), ten, "{text}");
        }
    }

    #[test]
    fn what_readers_disagree_about_is_not_taken() {
        for text in [
            "",
            "yesterday",
            "2026-11-17",
            "2026-11-17T10:00:00",
            "2026-11-17 10:00:00Z",
            "2026-11-17T10:00:00Z[UTC]",
            "2026-13-01T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "1763373600",
            "20261117T100000Z",
            "2026-11-17T25:00:00Z",
            "2026-11-17T24:00:00Z",
            "2026-11-17T10Z",
            "2026-11-17T100000Z",
            "2026-11-17T10:00:00,5Z",
            "2026-11-17T10:00:00.Z",
            "2026-11-17T10:00:00z",
            "2026-11-17t10:00:00Z",
            " 2026-11-17T10:00:00Z",
            "2026-11-17T10:00:00Z\n",
            "2026-11-17T10:00:00\u{2212}02:00",
            "\u{e9}26-11-17T10:00:00Z",
            "2026-11-17\u{e9}10:00:00Z",
        ] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config {
            cases: 500,
            rng_seed: proptest::test_runner::RngSeed::Fixed(1),
            failure_persistence: None,
            ..Default::default()
        })]

        #[test]
        fn a_time_is_read_as_it_was_meant_whatever_its_offset_and_digits(
            ms in 0..253_402_207_200_000_i64,
            offset_s in (-18 * 60..=18 * 60_i32).prop_map(|minutes| minutes * 60),
            digits in 0..=9_u8,
        ) {
            let timestamp = Timestamp::from_millisecond(ms).unwrap();
            proptest::prop_assert_eq!(parse_ms(&timestamp.to_string()), Some(ms));
            let zoned = timestamp.display_with_offset(jiff::tz::Offset::from_seconds(offset_s).unwrap());
            let cut_ms = if digits >= 3 { ms } else { ms - ms % 10_i64.pow(3 - u32::from(digits)) };
            proptest::prop_assert_eq!(parse_ms(&format!("{zoned:.*}", usize::from(digits))), Some(cut_ms));
        }
    }
}
