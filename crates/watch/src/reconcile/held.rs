//! What a measurement adds to the totals: where it counts, and the numbers it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bumpalo::Bump;
use relay_core::canonical::{canonical, content_uid};
use relay_core::instant::parse_ms;
use relay_core::limits::DAY_MS;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::decimal::Decimal;

/// The namespace of what uids are known by here, itself the UUIDv5 of the URL namespace and the name `usage-relay/reconcile/v1`.
const NAMESPACE: Uuid = Uuid::from_u128(0x8d7f_6571_7ae7_52bc_a809_4bdf_acc4_b4a7);

/// A uid, as 128 bits of its SHA-1: millions of them are held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Uid(u64, u64);

impl Uid {
    /// Of a measurement's uid.
    pub(crate) fn of(uid: &str) -> Uid {
        let (high, low) = Uuid::new_v5(&NAMESPACE, uid.as_bytes()).as_u64_pair();
        Uid(high, low)
    }
}

/// A content, known by 63 bits of its hash: it is only held against others of the same uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Content(u64);

impl Content {
    /// Of a ledger line's `content_hash`.
    pub(crate) fn of(hash: Uuid) -> Content {
        let (high, low) = hash.as_u64_pair();
        Content((high ^ low.rotate_left(32)) & !1)
    }

    /// Of a measurement, by its canonical form as the ledger does it.
    pub(crate) fn of_text(text: &str) -> Content {
        let arena = Bump::new();
        Content::of(content_uid(canonical(text, &arena).as_deref().unwrap_or(text)))
    }

    /// Its bits; the lowest is always free.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

/// Where a measurement counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Code of the meter.
    pub(crate) meter: Arc<str>,
    /// Code of the account.
    pub(crate) account: Arc<str>,
    /// Days since the epoch, of its `ts` in UTC.
    pub(crate) day: i64,
}

/// What a measurement holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Where it counts.
    pub(crate) place: Place,
    /// Its numbers by the code of their field: `measure`, `cost` and `income`.
    pub(crate) numbers: BTreeMap<Arc<str>, Decimal>,
    /// Fields whose number cannot be added: no double can hold it.
    pub(crate) odd_numbers: u64,
}

/// Texts that are held once, however often they are read.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<Arc<str>>);

impl Names {
    /// The one copy of `name`.
    pub(crate) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let new: Arc<str> = name.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

#[derive(Deserialize)]
struct Codes {
    meter: String,
    account: String,
    ts: String,
}

#[derive(Deserialize)]
struct Numbers<'a> {
    #[serde(borrow, default)]
    measure: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    cost: Option<BTreeMap<String, &'a RawValue>>,
    #[serde(borrow, default)]
    income: Option<BTreeMap<String, &'a RawValue>>,
}

impl Held {
    /// What the measurement `text` holds; `None` if it cannot be read.
    pub(crate) fn of_text(text: &str, names: &mut Names) -> Option<Held> {
        let Codes { meter, account, ts } = serde_json::from_str(text).ok()?;
        Held::of((&meter, &account, &ts), text, names)
    }

    /// The same, its meter, account and `ts` being known.
    pub(crate) fn of((meter, account, ts): (&str, &str, &str), text: &str, names: &mut Names) -> Option<Held> {
        let day = parse_ms(ts)?.div_euclid(DAY_MS);
        let Numbers { measure, cost, income } = serde_json::from_str(text).ok()?;
        let (mut numbers, mut odd_numbers) = (BTreeMap::new(), 0);
        for (field, raw) in [measure, cost, income].into_iter().flatten().flatten() {
            match Decimal::parse(raw.get()) {
                Some(number) => drop(numbers.insert(names.name(&field), number)),
                None => odd_numbers += 1,
            }
        }
        let place = Place { meter: names.name(meter), account: names.name(account), day };
        Some(Held { place, numbers, odd_numbers })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// 2026-11-20 as days since the epoch.
    pub(crate) const DAY: i64 = 20_777;

    /// A measurement of meter `m` on [`DAY`].
    pub(crate) fn held(account: &str, calls: &str) -> Held {
        let text = format!(r#"{{"meter":"m","account":"{account}","ts":"2026-11-20T10:00:00Z","measure":{{"calls":{calls}}}}}"#);
        Held::of_text(&text, &mut Names::default()).unwrap()
    }

    fn read(text: &str) -> Option<Held> {
        Held::of_text(text, &mut Names::default())
    }

    #[test]
    fn a_measurement_counts_on_the_day_of_its_ts_in_utc() {
        let day = |ts: &str| read(&format!(r#"{{"meter":"m","account":"a","ts":"{ts}"}}"#)).unwrap().place.day;
        assert_eq!(day("2026-11-20T00:00:00Z"), DAY);
        assert_eq!(day("2026-11-20T23:59:59.999Z"), DAY);
        assert_eq!(day("2026-11-21T00:30:00+01:00"), DAY);
        assert_eq!(day("2026-11-20T23:30:00-01:00"), DAY + 1);
        assert_eq!(day("1969-12-31T23:59:59.5Z"), -1);
    }

    #[test]
    fn numbers_of_every_kind_are_held_and_texts_are_not() {
        let one = read(
            r#"{"meter":"m","account":"a","ts":"2026-11-20T10:00:00Z","measure":{"calls":2},"cost":{"c":0.1},"income":{"i":-1},"what":{"w":"x"}}"#,
        );
        let numbers = one.unwrap().numbers.into_iter().map(|(field, number)| format!("{field} {number}")).collect::<Vec<_>>();
        assert_eq!(numbers, ["c 0.1", "calls 2", "i -1"]);
        let odd = read(r#"{"meter":"m","account":"a","ts":"2026-11-20T10:00:00Z","measure":{"x":1e999}}"#).unwrap();
        assert_eq!((odd.odd_numbers, odd.numbers.len()), (1, 0));
    }

    #[test]
    fn what_cannot_be_read_holds_nothing() {
        for text in [
            "",
            "{}",
            r#"{"meter":"m","account":"a","ts":"yesterday"}"#,
            r#"{"meter":"m","account":7,"ts":"2026-11-20T10:00:00Z"}"#,
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_hash_of_a_uid_never_changes() {
        assert_eq!(Uuid::new_v5(&Uuid::NAMESPACE_URL, b"usage-relay/reconcile/v1"), NAMESPACE);
        assert_ne!(Uid::of("a"), Uid::of("b"));
    }

    #[test]
    fn a_content_is_the_same_from_the_ledger_and_from_the_quarantine() {
        let text = r#"{"uid":"u","ts":"2026-11-20T10:00:00Z","meter":"m","account":"a"}"#;
        let arena = Bump::new();
        let hash = content_uid(&canonical(text, &arena).unwrap());
        assert_eq!(Content::of(hash), Content::of_text(text));
        assert_eq!(Content::of(hash).bits() & 1, 0);
    }
}
