//! Which uids a file has had so far: copies of equal content, and a second content under one uid.
//!
//! Equality is that of relay-core's canonical form, as when the relay collapses copies; only measurements that could be sent take part, so
//! a copy of what was refused stands alone. The relay looks within one invocation, this within one file.
//!
//! Texts are not kept but hashes: 70 bits of a uid, 32 of a content, and a line, 17 bytes a uid in tables that are from 7 sixteenths to
//! 7 eighths full. The tables are 64 small ones, each of which grows alone, so that memory never has to hold the whole twice. Nor does
//! any of them grow beyond its share: what does not fit is still held against what is remembered, and counted.
//!
//! What hashes can get wrong:
//!
//! * A false [`Standing::CopyOf`] would lose a measurement. Of two uids it takes 102 equal bits: a chance of one in 10^17 among ten million
//!   measurements. Of two contents under one uid it takes 32: one conflict in 4,000 million is taken for a copy, and m3ter, which goes by the
//!   uid alone, would not have counted its second content either.
//! * A false [`Standing::Rival`] takes 70 equal bits of two uids: one in 20 million files of ten million measurements has one, and there it
//!   is quarantined with its reason, not lost.
//!
//! The hash is XXH3, without a key, so that what was seen can be written down and taken up again by another process. Whoever chooses uids and
//! contents can therefore make some that clash, which gets him what one uid on all of them would have got him: the rows are his own.
//! Or he can crowd one table, and then what is crowded out of it goes uncompared: memory and time keep their bounds.
//!
//! Hashing is most of the work and needs no order: [`Key::of`] does it, on as many threads as there are. Only what is done with a [`Key`]
//! goes by the order of the file.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{Error, ErrorKind, Read, Write};

use bumpalo::Bump;
use relay_core::canonical::canonical;
use relay_core::guard::Guarded;
use twox_hash::XxHash3_128;

/// Tables. A power of two: some bits of a uid's hash choose one.
const SHARDS: usize = 64;
/// The layout of what [`Seen::write`] writes.
const VERSION: u8 = 1;
/// Bytes of one uid there: as in a table, without the byte that a table adds.
const ENTRY_BYTES: usize = 16;
const _: () = assert!(size_of::<(u64, First)>() == ENTRY_BYTES && SHARDS.is_power_of_two());

/// How a measurement stands to those before it in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Its uid is new.
    First,
    /// It has the content of the one on this line.
    CopyOf(u64),
    /// It has another content under the uid of the one on this line.
    Rival(u64),
    /// Its uid is none of those remembered, and there is no room for more: whether it is new is not known.
    Unknown,
}

/// What is remembered of a measurement: hashes of its uid and of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    shard: u8,
    content: u32,
    uid: u64,
}

impl Key {
    /// The key of `guarded`.
    pub fn of(guarded: &Guarded<'_>, arena: &Bump) -> Self {
        let content = canonical(guarded.text, arena);
        // Guarded measurements have a canonical form; should one have none, its own text tells it from the others.
        Self::new(guarded.uid, content.as_deref().unwrap_or(guarded.text))
    }

    /// The key of a measurement whose canonical form is `content`.
    pub fn new(uid: &str, content: &str) -> Self {
        let uid = XxHash3_128::oneshot(uid.as_bytes());
        let content = XxHash3_128::oneshot(content.as_bytes());
        Self { shard: (uid >> 64) as u8 % SHARDS as u8, content: content as u32, uid: uid as u64 }
    }
}

/// The uids of a file.
#[derive(Debug)]
pub struct Seen {
    shards: Vec<Shard>,
    /// Most uids in one of them.
    shard_max: usize,
}

/// The first measurements of some uids, by what is a hash already.
type Shard = HashMap<u64, First, BuildHasherDefault<Taken>>;

/// The first measurement of a uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct First {
    content: u32,
    /// At most four thousand million, which none of the files that are read has; what is beyond is said to stand there.
    line: u32,
}

impl Seen {
    /// None yet, and room for some `uids_max`: each of 64 tables takes its share and no more, and the fullest of them is full when the
    /// whole is to 99 percent or so. A share of seven eighths of a power of two leaves no room unused.
    pub fn up_to(uids_max: usize) -> Self {
        Self { shards: vec![Shard::default(); SHARDS], shard_max: uids_max.div_ceil(SHARDS) }
    }

    /// Looks `keys` up, all at once and for nothing but this: where they stand is fetched into the processor's cache, for one while for
    /// another. Asked for one after the other, each would be waited for: with a million uids, a sixth of the time of a check.
    pub fn fetch<'k>(&self, keys: impl Iterator<Item = &'k Key>) {
        let known = |key: &&Key| self.shards.get(usize::from(key.shard)).is_some_and(|shard| shard.contains_key(&key.uid));
        std::hint::black_box(keys.filter(known).count());
    }

    /// How the measurement of `key`, from `line`, stands to those before it. Remembers it if it is the first.
    pub fn standing(&mut self, key: Key, line: u64) -> Standing {
        let Key { shard, content, uid } = key;
        let Some(shard) = self.shards.get_mut(usize::from(shard)) else { return Standing::Unknown };
        match shard.get(&uid) {
            Some(first) if first.content == content => Standing::CopyOf(u64::from(first.line)),
            Some(first) => Standing::Rival(u64::from(first.line)),
            None if shard.len() >= self.shard_max => Standing::Unknown,
            None => {
                shard.insert(uid, First { content, line: u32::try_from(line).unwrap_or(u32::MAX) });
                Standing::First
            }
        }
    }

    /// Writes it down: a byte of version, then each table, its uids counted (4 bytes), each with its content and its line (8, 4 and 4), and a
    /// hash of all that (8). Numbers are little-endian. That is 16 bytes a uid, which no packing makes fewer.
    ///
    /// # Errors
    /// Those of `to`.
    pub fn write(&self, mut to: impl Write) -> std::io::Result<()> {
        to.write_all(&[VERSION])?;
        let mut bytes = Vec::new();
        for shard in &self.shards {
            bytes.clear();
            bytes.extend((shard.len() as u32).to_le_bytes());
            for (uid, First { content, line }) in shard {
                bytes.extend(uid.to_le_bytes());
                bytes.extend(content.to_le_bytes());
                bytes.extend(line.to_le_bytes());
            }
            bytes.extend(check_of(&bytes));
            to.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Takes up what [`Self::write`] wrote, with room for as many as [`Self::up_to`] makes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidData`] or [`ErrorKind::UnexpectedEof`] if it is something else, is not whole, was changed, or has more than there is
    /// room for; others are those of `from`.
    pub fn read(mut from: impl Read, uids_max: usize) -> std::io::Result<Self> {
        let mut seen = Self::up_to(uids_max);
        let [version] = array(&mut from)?;
        if version != VERSION {
            return Err(invalid(format!("expected version {VERSION} of the uids seen, found {version}")));
        }
        let mut bytes = Vec::new();
        for shard in &mut seen.shards {
            let count = array(&mut from)?;
            let uids = u32::from_le_bytes(count) as usize;
            if uids > seen.shard_max {
                return Err(invalid(format!("expected at most {} uids in a table, found {uids}", seen.shard_max)));
            }
            bytes.clear();
            bytes.extend(count);
            bytes.resize(count.len() + uids * ENTRY_BYTES, 0);
            let (_, entries) = bytes.split_at_mut(count.len());
            from.read_exact(entries)?;
            if array(&mut from)? != check_of(&bytes) {
                return Err(changed());
            }
            *shard = table(bytes.get(count.len()..).unwrap_or_default(), uids);
            if shard.len() != uids {
                return Err(changed());
            }
        }
        match from.read(&mut [0])? {
            0 => Ok(seen),
            _ => Err(invalid("expected nothing behind the uids seen".to_owned())),
        }
    }
}

/// The table of these `uids`. Room is made for all of them first: taken one by one out of another table's order, they would crowd.
fn table(entries: &[u8], uids: usize) -> Shard {
    let mut shard = Shard::with_capacity_and_hasher(uids, BuildHasherDefault::default());
    let (entries, _) = entries.as_chunks::<ENTRY_BYTES>();
    shard.extend(entries.iter().map(|entry| {
        let entry = u128::from_le_bytes(*entry);
        (entry as u64, First { content: (entry >> 64) as u32, line: (entry >> 96) as u32 })
    }));
    shard
}

fn array<const N: usize>(from: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn check_of(bytes: &[u8]) -> [u8; 8] {
    (XxHash3_128::oneshot(bytes) as u64).to_le_bytes()
}

fn changed() -> Error {
    invalid("expected the uids seen as they were written, found them changed".to_owned())
}

fn invalid(expected: String) -> Error {
    Error::new(ErrorKind::InvalidData, expected)
}

/// Takes what is a hash for the hash.
#[derive(Clone, Copy, Debug, Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= bytes.first_chunk().map_or(0, |head| u64::from_le_bytes(*head));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(measurements: &[(&str, &str)], expected: &[Standing]) {
        let mut seen = Seen::up_to(6_400);
        let standing = |(index, (uid, text)): (usize, &(&str, &str))| {
            let guarded = Guarded { text, uid, ..Guarded::default() };
            seen.standing(Key::of(&guarded, &Bump::new()), index as u64 + 1)
        };
        let found: Vec<Standing> = measurements.iter().enumerate().map(standing).collect();
        assert_eq!(found, expected);
    }

    fn key(number: u64) -> Key {
        Key::new(&format!("uid-{number}"), "{}")
    }

    /// With the uids of these numbers, each on the line of its number.
    fn seen(uids_max: usize, numbers: impl Iterator<Item = u64>) -> Seen {
        let mut seen = Seen::up_to(uids_max);
        for number in numbers {
            assert_eq!(seen.standing(key(number), number), Standing::First);
        }
        seen
    }

    fn written(seen: &Seen) -> Vec<u8> {
        let mut bytes = Vec::new();
        seen.write(&mut bytes).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> std::io::Result<Seen> {
        Seen::read(bytes, 64_000)
    }

    #[test]
    fn copies_and_rivals_name_the_line_of_the_first() {
        use Standing::{CopyOf, First, Rival};
        check(
            &[("u", r#"{"a":1,"b":2}"#), ("u", r#"{ "b":2, "a":1 }"#), ("v", "{}"), ("u", r#"{"a":2}"#), ("v", r#"{"c":null}"#)],
            &[First, CopyOf(1), First, Rival(1), CopyOf(3)],
        );
    }

    #[test]
    fn beyond_the_bound_what_was_seen_is_still_known_and_nothing_new() {
        let mut seen = Seen::up_to(640);
        let standings: Vec<Standing> = (1..=2_000).map(|number| seen.standing(key(number), number)).collect();
        let taken = standings.iter().filter(|standing| **standing == Standing::First).count();
        assert!(standings.iter().all(|standing| matches!(standing, Standing::First | Standing::Unknown)));
        assert!(taken == 640 && standings[..100].iter().all(|standing| *standing == Standing::First), "{taken}");
        for (number, before) in (1..).zip(standings) {
            let (copy, rival) = match before {
                Standing::First => (Standing::CopyOf(number), Standing::Rival(number)),
                Standing::CopyOf(_) | Standing::Rival(_) | Standing::Unknown => (Standing::Unknown, Standing::Unknown),
            };
            assert_eq!(seen.standing(key(number), 9_999), copy);
            assert_eq!(seen.standing(Key::new(&format!("uid-{number}"), "{\"a\":1}"), 9_999), rival);
        }
    }

    #[test]
    fn a_line_beyond_four_thousand_million_stands_at_the_last_that_can_be_told() {
        let mut seen = Seen::up_to(64);
        assert_eq!(seen.standing(key(1), u64::MAX), Standing::First);
        assert_eq!(seen.standing(key(1), 1), Standing::CopyOf(u64::from(u32::MAX)));
    }

    #[test]
    fn a_crowd_in_one_table_leaves_the_others_their_room() {
        let mut seen = Seen::up_to(64);
        let in_first = |number: &u64| key(*number).shard == 0;
        let standings: Vec<Standing> =
            (0..10_000).filter(in_first).map(|number| seen.standing(key(number), number + 1)).collect();
        assert_eq!(standings.iter().filter(|standing| **standing == Standing::First).count(), 1);
        let other = (0..).find(|number| !in_first(number)).unwrap();
        assert_eq!(seen.standing(key(other), 1), Standing::First);
    }

    #[test]
    fn at_seven_million_uids_all_of_it_stays_below_145_megabytes() {
        // As its documentation has it, a table of std has a power of two of places, and at most seven eighths of them are taken.
        let share = 7_340_032 / SHARDS;
        assert_eq!(Shard::with_capacity_and_hasher(share, BuildHasherDefault::default()).capacity(), share);
        let table_bytes = share / 7 * 8 * (ENTRY_BYTES + 1) + 16;
        // While the last of them grows, half of its new size is there as well.
        assert!(SHARDS * table_bytes + table_bytes / 2 < 145_000_000);
    }

    #[test]
    fn what_is_written_is_taken_up_again() {
        for numbers in [0, 1, 5_000] {
            let before = seen(64_000, 1..=numbers);
            let bytes = written(&before);
            assert_eq!(bytes.len(), 1 + SHARDS * 12 + numbers as usize * ENTRY_BYTES);
            let mut after = read(&bytes).unwrap();
            assert_eq!((after.shard_max, &after.shards), (before.shard_max, &before.shards));
            assert_eq!(after.standing(key(0), 9_999), Standing::First);
            assert!((1..=numbers).all(|number| after.standing(key(number), 9_999) == Standing::CopyOf(number)));
        }
    }

    #[test]
    fn what_was_written_by_another_process_means_the_same_here() {
        // By the reference implementation of XXH3: other hashes would make strangers of all uids written before.
        assert_eq!(Key::new("", "").uid, 0x6001_c324_468d_497f);
        let golden = Key::new("order-1001", r#"{"account":"acme"}"#);
        assert_eq!((golden.shard, golden.uid, golden.content), (23, 0x00b9_3841_3d0f_66f3, 0xd972_06f3));
        let mut one = Seen::up_to(64);
        one.standing(golden, 7);
        let bytes = written(&one);
        let at = 1 + usize::from(golden.shard) * 12;
        let entry =
            [&1_u32.to_le_bytes()[..], &golden.uid.to_le_bytes(), &golden.content.to_le_bytes(), &7_u32.to_le_bytes()].concat();
        assert_eq!((bytes[0], &bytes[at..at + 20]), (1, &entry[..]));
    }

    #[test]
    fn what_was_changed_or_cut_off_is_an_error_and_never_other_uids() {
        let bytes = written(&seen(64_000, 1..=200));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            let error = read(&changed).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof), "byte {at}: {error:?}");
            assert_eq!(read(&bytes[..at]).unwrap_err().kind(), ErrorKind::UnexpectedEof, "cut at {at}");
        }
        assert_eq!(read(&[&bytes[..], &[0]].concat()).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn more_than_there_is_room_for_is_refused_before_room_is_made() {
        let many = [&[VERSION][..], &u32::MAX.to_le_bytes()].concat();
        let told = read(&many).unwrap_err().to_string();
        assert_eq!(told, "expected at most 1000 uids in a table, found 4294967295");
    }

    #[test]
    fn one_uid_twice_in_a_table_is_refused_although_its_hash_is_right() {
        let mut table = [&2_u32.to_le_bytes()[..], &[7; 2 * ENTRY_BYTES]].concat();
        table.extend(check_of(&table));
        assert_eq!(read(&[&[VERSION][..], &table].concat()).unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
