//! Numbers as they were written, and sums of them that stay exact.
//!
//! Money is added here, so 0.1 and 0.2 make 0.3. A number's length and exponent are bounded before it is read: `1e999999999` is
//! eleven bytes, and would be a gigabyte once something is added to it.

use std::fmt;

use bigdecimal::num_bigint::Sign;
use bigdecimal::{BigDecimal, Zero};
use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

/// Most characters of a number. The longest double, written out exactly, has 767 digits.
const CHARS_MAX: usize = 1_000;
/// Largest exponent, either way. A double ends at 308 and begins at -324.
const EXPONENT_MAX: u64 = 400;
/// A number with more zeros than this at either end is shown with an exponent.
const ZEROS_MAX: i64 = 21;
/// m3ter's numbers are doubles, and its sums may be: two sums are the same if they differ by less than a part in so many of
/// what was added. A double holds 15 digits; adding a million of them costs some.
const TOLERANCE: i64 = 1_000_000_000;

/// An exact decimal number.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decimal(BigDecimal);

impl Decimal {
    /// Reads a JSON number; `None` of anything else, and of what no double can hold.
    pub fn parse(text: &str) -> Option<Decimal> {
        let is_number = text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let exponent: i64 = exponent.parse().ok()?;
        let fits = is_number && mantissa.len() <= CHARS_MAX && exponent.unsigned_abs() <= EXPONENT_MAX;
        fits.then(|| text.parse().ok().map(Decimal))?
    }

    /// Neither more nor less than nothing.
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// Whether it is below zero.
    pub fn is_negative(&self) -> bool {
        self.0.sign() == Sign::Minus
    }

    /// The sum.
    #[must_use]
    pub fn plus(&self, other: &Decimal) -> Decimal {
        Decimal(&self.0 + &other.0)
    }

    /// The difference.
    #[must_use]
    pub fn minus(&self, other: &Decimal) -> Decimal {
        Decimal(&self.0 - &other.0)
    }

    /// Its distance from zero.
    #[must_use]
    pub fn abs(&self) -> Decimal {
        Decimal(self.0.abs())
    }

    /// Whether it is a rounding error beside `whole`, the sum of what was added, signs aside.
    pub fn is_rounding_of(&self, whole: &Decimal) -> bool {
        self.0.abs() * BigDecimal::from(TOLERANCE) <= whole.0
    }
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Decimal {
        Decimal(BigDecimal::from(number))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, scale) = self.0.normalized().into_bigint_and_exponent();
        let (sign, digits) = (if whole.sign() == Sign::Minus { "-" } else { "" }, whole.magnitude().to_string());
        let length = i64::try_from(digits.len()).unwrap_or(i64::MAX);
        let zeros = |count: i64| "0".repeat(usize::try_from(count).unwrap_or_default());
        let text = match scale {
            scale if scale <= 0 && -scale <= ZEROS_MAX => format!("{sign}{digits}{}", zeros(-scale)),
            scale if scale > 0 && scale < length => {
                let (before, after) = digits.split_at(usize::try_from(length - scale).unwrap_or_default());
                format!("{sign}{before}.{after}")
            }
            scale if scale >= length && scale - length < ZEROS_MAX => format!("{sign}0.{}{digits}", zeros(scale - length)),
            scale => {
                let (first, rest) = digits.split_at(1);
                let point = if rest.is_empty() { "" } else { "." };
                format!("{sign}{first}{point}{rest}e{}", length - 1 - scale)
            }
        };
        out.pad(&text)
    }
}

impl Serialize for Decimal {
    /// A JSON number with all its digits; whoever reads it as a double rounds it himself.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap()
    }

    fn sum(numbers: &[&str]) -> String {
        numbers.iter().fold(Decimal::default(), |sum, one| sum.plus(&number(one))).to_string()
    }

    #[test]
    fn sums_are_exact_whatever_is_added() {
        assert_eq!(sum(&["0.1", "0.2"]), "0.3");
        assert_eq!(sum(&["9007199254740993", "1"]), "9007199254740994");
        assert_eq!(sum(&["1e300", "0.1", "-1e300"]), "0.1");
        assert_eq!(sum(&["1.50", "-0.5"]), "1");
        assert_eq!(sum(&[]), "0");
    }

    #[test]
    fn what_is_shown_is_a_json_number_of_the_same_value() {
        for (text, shown) in [
            ("1e3", "1000"),
            ("-0.050", "-0.05"),
            ("120.5", "120.5"),
            ("-0", "0"),
            ("1E+300", "1e300"),
            ("-1.25e-30", "-1.25e-30"),
            ("123e-3", "0.123"),
            ("5e-324", "5e-324"),
            ("100000000000000000000000", "1e23"),
        ] {
            assert_eq!(number(text).to_string(), shown);
            assert_eq!(serde_json::to_string(&number(text)).unwrap(), shown);
            assert_eq!(number(shown), number(text));
        }
    }

    #[test]
    fn a_number_that_would_exhaust_memory_is_none() {
        for text in
            ["1e401", "1e-401", "1e999999999", "1e99999999999999999999", &"9".repeat(1_001), "", "\"1\"", "null", "+1", "1e"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_double_that_was_added_up_elsewhere_is_the_same_and_a_lost_unit_is_not() {
        let close = |one: &str, other: &str, whole: &str| number(one).minus(&number(other)).is_rounding_of(&number(whole));
        assert!(close("0.30000000000000004", "0.3", "0.3"));
        assert!(close("5.551115123125783e-17", "0", "0.6"), "what is left of 0.1 + 0.2 - 0.3");
        assert!(!close("1000000", "999999", "1000000"));
        assert!(close("0", "0", "0") && !close("1e-30", "0", "0"));
    }
}
