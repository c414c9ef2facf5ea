//! The patterns of m3ter's schema: codes, data field codes, date-times.

use jiff::Timestamp;
use unicode_general_category::{GeneralCategory, get_general_category};

/// Most characters of a meter, account or data field code (OpenAPI).
const CODE_CHARACTERS_MAX: usize = 80;

/// What a meter or account code is, in words.
pub(crate) const CODE_RULE: &str = "1 to 80 characters, no control characters, no space at either end";

/// Whether `text` may be a meter or account code (OpenAPI, `MeasurementRequest.meter.pattern`).
pub(crate) fn is_code(text: &str) -> bool {
    let edge = |c: char| c > ' ' && c != '\x7f';
    at_most(text, CODE_CHARACTERS_MAX)
        && text.chars().next().is_some_and(edge)
        && text.chars().next_back().is_some_and(edge)
        && !text.bytes().any(|b| b < b' ' || b == b'\x7f')
}

/// What a data field code is, in words.
pub(crate) const FIELD_CODE_RULE: &str = "1 to 80 letters, digits, _ or $, not starting with a digit";

/// Whether `text` may be a data field code (OpenAPI, `DataField.code.pattern`: `^[\p{L}_$][\p{L}_$0-9]*$`).
pub(crate) fn is_field_code(text: &str) -> bool {
    at_most(text, CODE_CHARACTERS_MAX)
        && !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(is_field_code_character)
}

/// Whether `c` may stand in a data field code.
pub(crate) fn is_field_code_character(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() || c == '_' || c == '$' } else { is_letter(c) }
}

/// `\p{L}` beyond ASCII.
fn is_letter(c: char) -> bool {
    use GeneralCategory::{LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter};
    let letters = [LowercaseLetter, ModifierLetter, OtherLetter, TitlecaseLetter, UppercaseLetter];
    letters.contains(&get_general_category(c))
}

/// What a date-time is, in words.
pub(crate) const DATE_TIME_RULE: &str = "an ISO 8601 date-time with offset, such as 2026-01-31T10:00:00Z";

/// Reads an ISO 8601 date-time with offset, as `2026-01-31T10:00:00[.123][Z|+01:00]`.
///
/// The shape is checked here, because the parser below takes more than that: dates in basic format, a blank for the
/// `T`, hours alone, a time zone in brackets. Leap seconds (`:60`) are refused (the sandbox's own choice).
pub(crate) fn date_time(text: &str) -> Option<Timestamp> {
    const SHAPE: &[u8; 19] = b"0000-00-00T00:00:00";
    let (head, rest) = text.as_bytes().split_at_checked(SHAPE.len())?;
    let fits = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        other => byte.eq_ignore_ascii_case(other),
    };
    let offset = match rest.strip_prefix(b".") {
        Some(fraction) => fraction.trim_ascii_start_digits()?,
        None => rest,
    };
    let offset_fits = match offset {
        [b'Z' | b'z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].into_iter().all(u8::is_ascii_digit),
        _ => false,
    };
    let leaps = head.ends_with(b":60");
    (head.iter().zip(SHAPE).all(fits) && offset_fits && !leaps).then(|| text.parse().ok()).flatten()
}

/// The rest of a fraction after its digits; `None` when there are none.
trait Fraction {
    fn trim_ascii_start_digits(&self) -> Option<&[u8]>;
}

impl Fraction for [u8] {
    fn trim_ascii_start_digits(&self) -> Option<&[u8]> {
        let digits = self.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 { None } else { self.get(digits..) }
    }
}

/// Whether `text` has at most `most` characters.
pub(crate) fn at_most(text: &str, most: usize) -> bool {
    text.len() <= most || text.chars().count() <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_offset_or_in_another_form_is_not_a_date_time() {
        for good in ["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.1+00:00", "2024-02-29T23:59:59-11:00"] {
            assert!(date_time(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00Z",
            "20260101T000000Z",
            "2026-13-01T00:00:00Z",
            "2025-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00Z[UTC]",
            "1767225600",
            " 2026-01-01T00:00:00Z",
            "2026-01-01T00:00:00+99:00",
        ] {
            assert!(date_time(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_code_may_hold_inner_spaces_and_any_letter_but_no_control_character() {
        for good in ["a", "Acme Corp", "\u{a0}nbsp\u{a0}", "日本", "a-b_c.d/e"] {
            assert!(is_code(good), "{good:?}");
        }
        for bad in ["", " a", "a ", "a\tb", "a\u{7f}", "\n"] {
            assert!(!is_code(bad), "{bad:?}");
        }
        assert!(is_code(&"ü".repeat(80)) && !is_code(&"ü".repeat(81)));
    }
}
