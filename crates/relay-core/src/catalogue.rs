//! What m3ter knew when it was last asked, in a form that each measurement can be held against: meters with their data fields,
//! and the codes of accounts.
//!
//! m3ter accepts nearly everything and looks at it later. What it will then reject, or book on an account that nobody meant, can
//! be told before: a meter that it does not have, a data field of the meter that is missing, an account code that differs from
//! a known one only in how it is written. An account that is simply unknown is no finding: that is what a new customer looks
//! like. Nor is a data field that no meter has more than worth a warning: m3ter stores it.
//!
//! Codes are kept as hashes, so that 100,000 accounts take about two megabytes, and what is looked at for each measurement half a
//! megabyte of that. A code that is unknown passes for a known one once in a billion times: a finding that is not made. Before a
//! measurement is refused for its meter or its data fields, they are read in it again.
//!
//! Absent: where a catalogue comes from, how old it is allowed to be, and what a finding leads to.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use bumpalo::Bump;
use jiff::Timestamp;

use crate::guard::{Guarded, data_fields};
use crate::read::CATEGORIES;
use crate::reason::{Reason, Refusal};

/// Kinds of measurement that are remembered: 24 bytes each. Producers have a few for each meter; one that makes up field codes has
/// the memory emptied, and pays for reading its measurements again.
const KINDS_MAX: usize = 4_096;

/// What m3ter knew.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    read_at_ms: i64,
    meters: HashMap<u64, Meter, Plain>,
    accounts: Codes,
    /// Their codes as [`fold`] leaves them.
    folded: HashSet<u64, Plain>,
    /// What was found in the first measurement of each kind.
    kinds: HashMap<u64, Kind, Plain>,
    /// Room to fold a code in.
    room: String,
}

/// What is to be said of a measurement that guard let pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// m3ter has no such meter.
    pub meter_unknown: bool,
    /// A data field of the meter is not in the measurement.
    pub field_missing: bool,
    /// It has a data field that the meter has not. m3ter stores that.
    pub field_unconfigured: bool,
    /// m3ter has no such account, but one whose code differs in case, spaces, `-` or `_` alone.
    pub account_near: bool,
}

impl Findings {
    /// Whether there is anything to be said.
    pub fn any(self) -> bool {
        self != Findings::default()
    }
}

#[derive(Clone, Debug)]
struct Meter {
    /// Place among [`CATEGORIES`], and code.
    fields: Vec<(usize, Box<str>)>,
}

/// What all measurements of one meter with the same data fields have in common.
#[derive(Clone, Copy, Debug)]
struct Kind {
    unknown: bool,
    missing: bool,
    unconfigured: bool,
}

/// A catalogue that is being put together.
#[derive(Debug, Default)]
pub struct Builder {
    read_at_ms: i64,
    meters: HashMap<u64, Meter, Plain>,
    accounts: Vec<u64>,
    folded: HashSet<u64, Plain>,
    /// As they are and folded.
    skeletons: Vec<(u64, u64)>,
    room: String,
}

impl Builder {
    /// Adds a meter with its data fields, each a category in m3ter's words (`MEASURE`) and a code. A category that the relay does
    /// not know is passed over: no measurement could be held against it. Of two meters of one code the last counts.
    pub fn meter<'f>(&mut self, code: &str, fields: impl IntoIterator<Item = (&'f str, &'f str)>) {
        let place = |category: &str| CATEGORIES.iter().position(|(name, _)| name.eq_ignore_ascii_case(category));
        let fields = fields.into_iter().filter_map(|(category, code)| Some((place(category)?, code.into()))).collect();
        self.meters.insert(hash(code.as_bytes()), Meter { fields });
    }

    /// Adds an account; `skeleton` if m3ter made it by itself.
    pub fn account(&mut self, code: &str, skeleton: bool) {
        fold(code, &mut self.room);
        let (code, folded) = (hash(code.as_bytes()), hash(self.room.as_bytes()));
        if skeleton {
            return self.skeletons.push((code, folded));
        }
        self.accounts.push(code);
        // What only separators tell apart has nothing in common.
        if !self.room.is_empty() {
            self.folded.insert(folded);
        }
    }

    /// The catalogue. An account that m3ter made by itself beside a real one of the same letters is the mistake, and not added.
    pub fn build(mut self) -> Catalogue {
        self.skeletons.retain(|(_, folded)| !self.folded.contains(folded));
        self.accounts.extend(self.skeletons.iter().map(|(code, _)| *code));
        self.folded.extend(self.skeletons.iter().map(|(_, folded)| *folded));
        Catalogue {
            read_at_ms: self.read_at_ms,
            meters: self.meters,
            accounts: Codes::of(&self.accounts),
            folded: self.folded,
            kinds: HashMap::default(),
            room: self.room,
        }
    }
}

impl Catalogue {
    /// When m3ter was asked: milliseconds since the epoch.
    pub fn read_at_ms(&self) -> i64 {
        self.read_at_ms
    }

    /// Begins one for which m3ter was asked at `read_at_ms`, milliseconds since the epoch, with room for `accounts`.
    pub fn builder(read_at_ms: i64, accounts: usize) -> Builder {
        Builder {
            read_at_ms,
            accounts: Vec::with_capacity(accounts),
            folded: HashSet::with_capacity_and_hasher(accounts, Plain::default()),
            ..Builder::default()
        }
    }

    /// What is to be said of `guarded`. Reads it only if it is the first of its kind.
    pub fn check(&mut self, guarded: &Guarded<'_>) -> Findings {
        let kind = match self.kinds.get(&guarded.kind) {
            Some(kind) => *kind,
            None => self.learn(guarded),
        };
        let account_near = !self.accounts.contains(guarded.account_hash) && self.is_near(guarded.account);
        Findings { meter_unknown: kind.unknown, field_missing: kind.missing, field_unconfigured: kind.unconfigured, account_near }
    }

    /// Why `guarded` is not to be sent, given what [`check`](Self::check) found; `None` where that is only worth a warning. Reads
    /// the measurement again.
    pub fn refusal(&self, guarded: &Guarded<'_>, findings: Findings) -> Option<Refusal> {
        if !(findings.meter_unknown || findings.field_missing || findings.account_near) {
            return None;
        }
        let asked_at = Timestamp::from_millisecond(self.read_at_ms).unwrap_or_default();
        let meter = self.meters.get(&hash(guarded.meter.as_bytes()));
        if findings.meter_unknown && meter.is_none() {
            let detail = format!("expected a meter that m3ter had at {asked_at}, found the code `{}`", guarded.meter);
            return Some(Refusal::guard(Reason::MeterUnknown, detail));
        }
        if findings.field_missing
            && let Some(missing) = meter.and_then(|meter| meter.missing(guarded))
        {
            let meter = guarded.meter;
            let detail = format!("expected every data field that the meter `{meter}` had at {asked_at}; missing: {missing}");
            return Some(Refusal::guard(Reason::FieldMissing, detail));
        }
        let detail = || {
            let rule = "it differs from one that is there only in case, spaces, `-` or `_`";
            format!("expected an account that m3ter had at {asked_at}, found the code `{}`; {rule}", guarded.account)
        };
        findings.account_near.then(|| Refusal::guard(Reason::AccountNearMiss, detail()))
    }

    #[cold]
    fn learn(&mut self, guarded: &Guarded<'_>) -> Kind {
        // A catalogue without any meter is rather that of a key which may not list them than of an organisation without any.
        let kind = match self.meters.get(&hash(guarded.meter.as_bytes())) {
            Some(meter) => meter.compare(guarded),
            None => Kind { unknown: !self.meters.is_empty(), missing: false, unconfigured: false },
        };
        if self.kinds.len() >= KINDS_MAX {
            self.kinds.clear();
        }
        self.kinds.insert(guarded.kind, kind);
        kind
    }

    #[cold]
    fn is_near(&mut self, account: &str) -> bool {
        fold(account, &mut self.room);
        !self.room.is_empty() && self.folded.contains(&hash(self.room.as_bytes()))
    }
}

/// Codes as 32 bits of their hashes, each at the place that the other 32 bits give it, or behind. A lookup reads one line of
/// memory, nearly always.
#[derive(Clone, Debug, Default)]
struct Codes {
    /// 0 is empty. At least a third is.
    slots: Vec<u32>,
}

impl Codes {
    fn of(hashes: &[u64]) -> Codes {
        let mut codes = Codes { slots: vec![0; hashes.len() + hashes.len() / 2 + 1] };
        for hash in hashes {
            let mut place = codes.place(*hash);
            while let Some(slot) = codes.slots.get_mut(place) {
                if *slot == 0 || *slot == tag(*hash) {
                    *slot = tag(*hash);
                    break;
                }
                place = codes.behind(place);
            }
        }
        codes
    }

    fn contains(&self, hash: u64) -> bool {
        let mut place = self.place(hash);
        while let Some(slot) = self.slots.get(place) {
            if *slot == tag(hash) {
                return true;
            }
            if *slot == 0 {
                return false;
            }
            place = self.behind(place);
        }
        false
    }

    fn place(&self, hash: u64) -> usize {
        // The product of two numbers below 2^32: hashes are spread over all slots in their order.
        (((hash >> 32) * self.slots.len() as u64) >> 32) as usize
    }

    fn behind(&self, place: usize) -> usize {
        if place + 1 < self.slots.len() { place + 1 } else { 0 }
    }
}

fn tag(hash: u64) -> u32 {
    (hash as u32).max(1)
}

impl Meter {
    fn compare(&self, guarded: &Guarded<'_>) -> Kind {
        let arena = Bump::new();
        let found = data_fields(guarded.text, &arena);
        let is = |(category, code): &(usize, &str), field: &(usize, Box<str>)| *category == field.0 && **code == *field.1;
        Kind {
            unknown: false,
            missing: !self.fields.iter().all(|field| found.iter().any(|one| is(one, field))),
            unconfigured: !found.iter().all(|one| self.fields.iter().any(|field| is(one, field))),
        }
    }

    /// The data fields that are not in `guarded`, as `measure.calls, what.region`.
    fn missing(&self, guarded: &Guarded<'_>) -> Option<String> {
        let arena = Bump::new();
        let found = data_fields(guarded.text, &arena);
        let is_there =
            |field: &&(usize, Box<str>)| found.iter().any(|(category, code)| *category == field.0 && **code == *field.1);
        let name = |(category, code): &(usize, Box<str>)| {
            let category = CATEGORIES.get(*category).map_or("", |(name, _)| name);
            format!("{category}.{code}")
        };
        let missing: Vec<String> = self.fields.iter().filter(|field| !is_there(field)).map(name).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

/// Writes `code` into `folded` without what people mistype: case, spaces, `-`, `_`.
fn fold(code: &str, folded: &mut String) {
    folded.clear();
    for character in code.chars().filter(|character| !matches!(character, ' ' | '-' | '_')) {
        match character.is_ascii() {
            true => folded.push(character.to_ascii_lowercase()),
            false => folded.extend(character.to_lowercase()),
        }
    }
}

/// The share of one data field in the kind of a measurement. `category` is its place among [`CATEGORIES`].
pub(crate) fn field_hash(category: usize, code: &str) -> u64 {
    mix(hash(code.as_bytes()) ^ (category as u64 + 1))
}

/// A number that is much as good as random, and the same in each process. Codes are no secret, so nothing is defended.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut state = bytes.len() as u64;
    for word in words {
        state = mix(state ^ u64::from_le_bytes(*word));
    }
    let last = rest.iter().fold(0, |last: u64, byte| (last << 8) | u64::from(*byte));
    mix(state ^ last)
}

/// Multiplies by a large odd number and folds both halves of the product together, so that each bit moves many. Digits of pi.
fn mix(number: u64) -> u64 {
    let product = u128::from(number ^ 0x243f_6a88_85a3_08d3) * 0x1319_8a2e_0370_7345;
    // The halves are 64 bits each.
    (product as u64) ^ ((product >> 64) as u64)
}

/// Keys are hashes already.
type Plain = BuildHasherDefault<AsItIs>;

#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash(bytes);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests;
