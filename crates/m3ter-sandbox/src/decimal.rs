//! Sums that stay exact: numbers as scaled integers, added as they were written.
//!
//! m3ter calls its numbers doubles, but a test that compares totals "to the byte" must not meet 0.1 + 0.2 =
//! 0.30000000000000004. A number that does not fit (beyond about 38 digits, or 10^±38) falls back to a double, and so
//! does every sum it enters.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};
use serde_json::value::RawValue;

/// Most decimal places kept exactly: the places of the largest power of ten in an `i128`.
const SCALE_MAX: u32 = 38;

/// A number of a measurement, or a sum of such numbers.
#[derive(Debug, Clone, Copy)]
pub struct Number(Repr);

#[derive(Debug, Clone, Copy)]
enum Repr {
    /// `units` / 10^`scale`.
    Exact { units: i128, scale: u32 },
    /// What did not fit.
    Double(f64),
}

impl Number {
    /// Nothing added yet.
    pub const ZERO: Self = Self(Repr::Exact { units: 0, scale: 0 });

    /// Reads a JSON number; `None` when `text` is not one, or is beyond the range of a double.
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()),
            None => (text, Some(0)),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let fallback = || text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| Self(Repr::Double(n)));
        let digits = whole.trim_start_matches('-').bytes().chain(fraction.bytes());
        let mut units: i128 = 0;
        for digit in digits {
            if !digit.is_ascii_digit() {
                return None;
            }
            match units.checked_mul(10).and_then(|units| units.checked_add(i128::from(digit - b'0'))) {
                Some(more) => units = more,
                None => return fallback(),
            }
        }
        if whole.starts_with('-') {
            units = -units;
        }
        let places = i32::try_from(fraction.len()).ok().zip(exponent).and_then(|(places, exp)| places.checked_sub(exp));
        let exact = match places {
            Some(places) if places >= 0 => u32::try_from(places).ok().filter(|p| *p <= SCALE_MAX).map(|p| (units, p)),
            Some(places) => scaled(units, places.unsigned_abs()).map(|units| (units, 0)),
            None => None,
        };
        exact.map_or_else(fallback, |(units, scale)| Some(Self(Repr::Exact { units, scale })))
    }

    /// The sum of both; beyond the range of a double its largest or smallest, since JSON has no word for infinity.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let double = || (self.as_f64() + other.as_f64()).clamp(f64::MIN, f64::MAX);
        aligned(self, other)
            .and_then(|(left, right, scale)| Some(Self(Repr::Exact { units: left.checked_add(right)?, scale })))
            .unwrap_or_else(|| Self(Repr::Double(double())))
    }

    /// The nearest double.
    pub fn as_f64(self) -> f64 {
        match self.0 {
            Repr::Exact { .. } => self.to_string().parse().unwrap_or(f64::NAN),
            Repr::Double(number) => number,
        }
    }

    /// Numeric order.
    pub(crate) fn order(self, other: Self) -> Ordering {
        aligned(self, other).map_or_else(|| self.as_f64().total_cmp(&other.as_f64()), |(left, right, _)| left.cmp(&right))
    }
}

/// `units` × 10^`places`, unless that does not fit.
fn scaled(units: i128, places: u32) -> Option<i128> {
    if units == 0 { Some(0) } else { units.checked_mul(10_i128.checked_pow(places)?) }
}

/// Both as whole numbers of the same, finer scale.
fn aligned(left: Number, right: Number) -> Option<(i128, i128, u32)> {
    let (Repr::Exact { units: a, scale: p }, Repr::Exact { units: b, scale: q }) = (left.0, right.0) else {
        return None;
    };
    let scale = p.max(q);
    Some((scaled(a, scale - p)?, scaled(b, scale - q)?, scale))
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        self.order(*other) == Ordering::Equal
    }
}

impl From<i64> for Number {
    fn from(whole: i64) -> Self {
        Self(Repr::Exact { units: i128::from(whole), scale: 0 })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Repr::Exact { units, scale: 0 } => write!(f, "{units}"),
            Repr::Exact { units, scale } => {
                let width = scale as usize + 1;
                let digits = format!("{:0>width$}", units.unsigned_abs());
                let (whole, fraction) = digits.split_at(digits.len() - scale as usize);
                let fraction = fraction.trim_end_matches('0');
                let sign = if units < 0 { "-" } else { "" };
                let point = if fraction.is_empty() { "" } else { "." };
                write!(f, "{sign}{whole}{point}{fraction}")
            }
            Repr::Double(number) => write!(f, "{number:?}"),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.to_string()).map_err(ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(deserializer)?;
        Self::parse(raw.get()).ok_or_else(|| de::Error::custom("expected a number in the range of a double"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(numbers: &[&str]) -> String {
        numbers.iter().fold(Number::ZERO, |sum, n| sum.plus(Number::parse(n).unwrap())).to_string()
    }

    #[test]
    fn whole_and_decimal_numbers_add_up_exactly() {
        assert_eq!(sum(&["2147483647", "600000000", "-1141"]), "2747482506");
        assert_eq!(sum(&["0.1", "0.2"]), "0.3");
        assert_eq!(sum(&["1.50", "-0.5"]), "1");
        assert_eq!(sum(&["-0.05"]), "-0.05");
        assert_eq!(sum(&["1e3", "2.5E-1"]), "1000.25");
        assert_eq!(sum(&["9007199254740993", "1"]), "9007199254740994");
    }

    #[test]
    fn a_number_that_does_not_fit_becomes_a_double() {
        assert_eq!(sum(&["1e300", "1"]), "1e300");
        assert_eq!(sum(&["0e99"]), "0");
        assert!(Number::parse("1e400").is_none(), "beyond a double");
        assert!(Number::parse("\"1\"").is_none());
    }

    #[test]
    fn a_sum_beyond_a_double_stays_a_number_that_json_can_hold() {
        for (number, most) in [("1e308", f64::MAX), ("-1e308", f64::MIN)] {
            let number = Number::parse(number).unwrap();
            let sum = number.plus(number);
            assert_eq!(serde_json::to_string(&sum).unwrap().parse(), Ok(most));
            assert_eq!(sum.plus(number).as_f64(), most);
        }
    }

    #[test]
    fn a_number_survives_json() {
        for text in ["0.3", "-7", "170141183460469231731687303715884105727", "1e300"] {
            let number: Number = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&number).unwrap(), text);
        }
    }

    #[test]
    fn numbers_compare_by_value() {
        assert_eq!(Number::parse("1.0"), Number::parse("1"));
        assert_eq!(Number::parse("2").unwrap().order(Number::parse("10").unwrap()), Ordering::Less);
    }
}
