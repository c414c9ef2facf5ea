//! What arrived at the sink, and whether that is what should have.
//!
//! Each measurement is weighed by all it says: a number that does not depend on the order of its fields or on white space. Sums of
//! weights, of measurements and of different uids must agree: so a measurement that is missing, came twice or was changed is noticed,
//! and so is one that came in place of another.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Measurements, however many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) measurements: usize,
    weight: u64,
}

/// What a sink took since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Books {
    /// Requests to the ingest API.
    pub(crate) requests: usize,
    /// Bytes of their bodies.
    pub(crate) bytes: usize,
    /// Requests that break one of m3ter's two limits.
    pub(crate) over_limits: usize,
    /// Requests whose body is no `{"measurements":[…]}`.
    pub(crate) unreadable: usize,
    /// The measurements in all others.
    pub(crate) sum: Sum,
    /// How many different uids they have.
    pub(crate) uids: usize,
    /// Objects of the ledger, and the lines that these say they have.
    pub(crate) ledger_objects: usize,
    pub(crate) ledger_lines: usize,
    /// What was asked that nobody should ask.
    pub(crate) unexpected: Vec<String>,
}

/// What must be in the books of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    pub(crate) invocations: usize,
    pub(crate) sum: Sum,
    pub(crate) fewest_requests: usize,
    pub(crate) bytes: usize,
}

/// What a contender undertakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Each measurement exactly once.
    Deliver,
    /// That, in the fewest requests, without a ledger.
    DeliverInTheFewest,
    /// That, and each in the ledger.
    DeliverAndRecord,
    /// As many bytes, in as many requests; what they mean is not looked at.
    Post,
}

/// How books differ from what was owed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Difference {
    #[error("{found} measurements arrived where {owed} were owed")]
    Measurements { found: usize, owed: usize },
    #[error("{found} different uids arrived where {owed} were owed")]
    Uids { found: usize, owed: usize },
    #[error("as many measurements arrived as were owed, but others, or changed")]
    Changed,
    #[error("{requests} requests are no list of measurements")]
    Unreadable { requests: usize },
    #[error("{requests} requests are larger than m3ter takes")]
    OverLimits { requests: usize },
    #[error("{found} requests and {found_bytes} bytes arrived where {owed} and {owed_bytes} are the fewest")]
    Posted { found: usize, found_bytes: usize, owed: usize, owed_bytes: usize },
    #[error("{objects} ledger objects with {lines} lines arrived where {owed_objects} with {owed_lines} were owed")]
    Ledger { objects: usize, lines: usize, owed_objects: usize, owed_lines: usize },
    #[error("asked for what nobody should ask: {0:?}")]
    Unexpected(Vec<String>),
}

impl Sum {
    /// Adds a measurement by its text. One that is no JSON weighs as its text.
    pub(crate) fn add_text(&mut self, text: &str) {
        match serde_json::from_str(text) {
            Ok(value) => self.add(&value),
            Err(_) => self.add(&Value::from(text)),
        }
    }

    pub(crate) fn add(&mut self, measurement: &Value) {
        self.measurements += 1;
        self.weight = self.weight.wrapping_add(weight(measurement));
    }

    pub(crate) fn add_sum(&mut self, other: Sum) {
        self.measurements += other.measurements;
        self.weight = self.weight.wrapping_add(other.weight);
    }
}

/// What a value says, as a number: that of an object does not depend on the order of its fields.
fn weight(value: &Value) -> u64 {
    let mut hash = DefaultHasher::new();
    match value {
        Value::Null => 0_u8.hash(&mut hash),
        Value::Bool(bool) => bool.hash(&mut hash),
        // 3 and 3.0 are one number, and some languages write one for the other.
        Value::Number(number) => number.as_f64().unwrap_or(f64::NAN).to_bits().hash(&mut hash),
        Value::String(text) => text.hash(&mut hash),
        Value::Array(items) => items.iter().for_each(|item| weight(item).hash(&mut hash)),
        Value::Object(fields) => {
            let sum = fields.iter().map(|(name, value)| {
                let mut field = DefaultHasher::new();
                (name, weight(value)).hash(&mut field);
                field.finish()
            });
            sum.fold(1_u64, u64::wrapping_add).hash(&mut hash);
        }
    }
    hash.finish()
}

#[derive(Deserialize)]
struct Body {
    measurements: Vec<Value>,
}

impl Books {
    /// Reads the bodies of requests into the books.
    pub(crate) fn read<'b>(&mut self, bodies: impl IntoIterator<Item = &'b [u8]>) {
        let mut uids = HashSet::new();
        for body in bodies {
            self.requests += 1;
            self.bytes += body.len();
            let Ok(Body { measurements }) = serde_json::from_slice(body) else {
                self.unreadable += 1;
                continue;
            };
            let over = measurements.len() > crate::work::REQUEST_MEASUREMENTS_MAX || body.len() > crate::work::REQUEST_BYTES_MAX;
            self.over_limits += usize::from(over);
            for measurement in measurements {
                self.sum.add(&measurement);
                if let Some(uid) = measurement.get("uid").and_then(Value::as_str) {
                    uids.insert(uid.to_owned());
                }
            }
        }
        self.uids = uids.len();
    }

    /// Holds the books against what `owed` says, as far as `duty` goes.
    pub(crate) fn check(&self, owed: Owed, duty: Duty) -> Result<(), Difference> {
        let fewest = owed.fewest_requests;
        let as_few = self.requests == fewest && self.bytes == owed.bytes;
        let posted = Difference::Posted { found: self.requests, found_bytes: self.bytes, owed: fewest, owed_bytes: owed.bytes };
        if !self.unexpected.is_empty() {
            return Err(Difference::Unexpected(self.unexpected.clone()));
        }
        match duty {
            Duty::Post => return if as_few { Ok(()) } else { Err(posted) },
            Duty::Deliver => self.each_once(owed)?,
            Duty::DeliverInTheFewest | Duty::DeliverAndRecord => {
                self.each_once(owed)?;
                if !as_few {
                    return Err(posted);
                }
            }
        }
        let (owed_objects, owed_lines) =
            if duty == Duty::DeliverAndRecord { (owed.invocations, owed.sum.measurements) } else { (0, 0) };
        let (objects, lines) = (self.ledger_objects, self.ledger_lines);
        if (objects, lines) != (owed_objects, owed_lines) {
            return Err(Difference::Ledger { objects, lines, owed_objects, owed_lines });
        }
        Ok(())
    }

    fn each_once(&self, owed: Owed) -> Result<(), Difference> {
        let owes = owed.sum.measurements;
        if self.unreadable > 0 {
            return Err(Difference::Unreadable { requests: self.unreadable });
        }
        if self.over_limits > 0 {
            return Err(Difference::OverLimits { requests: self.over_limits });
        }
        if self.sum.measurements != owes {
            return Err(Difference::Measurements { found: self.sum.measurements, owed: owes });
        }
        if self.uids != owes {
            return Err(Difference::Uids { found: self.uids, owed: owes });
        }
        if self.sum == owed.sum { Ok(()) } else { Err(Difference::Changed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"uid":"1","meter":"m","measure":{"n":1,"k":2}}"#;
    const TWO: &str = r#"{"uid":"2","meter":"m","measure":{"n":1}}"#;

    fn owed(texts: &[&str]) -> Owed {
        let mut sum = Sum::default();
        texts.iter().for_each(|text| sum.add_text(text));
        Owed { invocations: 1, sum, fewest_requests: 1, bytes: 19 + texts.concat().len() + texts.len() - 1 }
    }

    fn check(duty: Duty, arrived: &[&[&str]]) -> Result<(), String> {
        let bodies: Vec<String> = arrived.iter().map(|texts| format!(r#"{{"measurements":[{}]}}"#, texts.join(","))).collect();
        let mut books = Books::default();
        books.read(bodies.iter().map(String::as_bytes));
        books.check(owed(&[ONE, TWO]), duty).map_err(|difference| difference.to_string())
    }

    #[test]
    fn what_arrived_once_is_well_in_any_order_spelling_and_number_of_requests() {
        let same = r#"{ "measure": {"k":2.0,"n":1}, "uid": "1", "meter": "m" }"#;
        assert_eq!(check(Duty::Deliver, &[&[TWO], &[same]]), Ok(()));
        assert_eq!(check(Duty::DeliverInTheFewest, &[&[ONE, TWO]]), Ok(()));
    }

    #[test]
    fn what_is_missing_came_twice_was_changed_or_is_another_is_told() {
        let told = |arrived: &[&[&str]]| check(Duty::Deliver, arrived).unwrap_err();
        assert_eq!(told(&[&[ONE]]), "1 measurements arrived where 2 were owed");
        assert_eq!(told(&[&[ONE, TWO], &[TWO]]), "3 measurements arrived where 2 were owed");
        assert_eq!(told(&[&[ONE, ONE]]), "1 different uids arrived where 2 were owed");
        let changed = ONE.replace('k', "j");
        assert_eq!(told(&[&[&changed, TWO]]), "as many measurements arrived as were owed, but others, or changed");
        let other = ONE.replace(r#""1""#, r#""3""#);
        assert_eq!(told(&[&[&other, TWO]]), "as many measurements arrived as were owed, but others, or changed");
    }

    #[test]
    fn more_requests_than_needed_are_told_only_of_those_that_undertake_the_fewest() {
        assert_eq!(check(Duty::Deliver, &[&[ONE], &[TWO]]), Ok(()));
        let told = check(Duty::DeliverInTheFewest, &[&[ONE], &[TWO]]).unwrap_err();
        assert!(told.starts_with("2 requests"), "{told}");
        let told = check(Duty::Post, &[&[ONE]]).unwrap_err();
        assert!(told.starts_with("1 requests"), "{told}");
    }

    #[test]
    fn a_ledger_that_is_missing_or_should_not_be_there_is_told() {
        let told = check(Duty::DeliverAndRecord, &[&[ONE, TWO]]).unwrap_err();
        assert_eq!(told, "0 ledger objects with 0 lines arrived where 1 with 2 were owed");
    }

    #[test]
    fn requests_that_m3ter_would_refuse_are_told() {
        let many = vec![ONE; 1_001];
        let told = check(Duty::Deliver, &[&many]).unwrap_err();
        assert_eq!(told, "1 requests are larger than m3ter takes");
        let mut books = Books::default();
        books.read([&b"[1"[..]]);
        assert_eq!(books.check(owed(&[ONE]), Duty::Deliver), Err(Difference::Unreadable { requests: 1 }));
        books.unexpected.push("GET /".to_owned());
        assert!(matches!(books.check(owed(&[ONE]), Duty::Post), Err(Difference::Unexpected(_))));
    }
}
