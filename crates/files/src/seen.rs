//! Which uids a file has had so far: copies of equal content, and a second content under one uid.
//!
//! Equality is that of relay-core's canonical form, as when the relay collapses copies; only measurements that could be sent take part, so
//! a copy of what was refused stands alone. The relay looks within one invocation, this within one file.
//!
//! Texts are not kept but hashes: 96 bits of a uid, 64 of a content, and a line, some 25 bytes a uid and, while the memory grows, half
//! as much again. Two uids among ten million are taken for one with a chance of one in 10^15. What hashes are keyed with is drawn anew
//! for each file, so nobody can make uids that clash.
//!
//! Hashing is most of the work and needs no order: [`Keys`] does it, on as many threads as there are. Only what is done with a [`Key`]
//! goes by the order of the file.
//!
//! Beyond its bound no further uid is remembered: what comes then is still held against those that are, and counted.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use bumpalo::Bump;
use relay_core::canonical::canonical;
use relay_core::guard::Guarded;

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

/// What the hashes of one file are keyed with. Clones make the same ones.
#[derive(Clone, Debug, Default)]
pub struct Keys([RandomState; 2]);

/// What is remembered of a measurement: hashes of its uid and of its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    uid: [u32; 3],
    content: [u32; 2],
}

impl Keys {
    /// The key of `guarded`.
    pub fn of(&self, guarded: &Guarded<'_>, arena: &Bump) -> Key {
        let [one, other] = &self.0;
        let (uid, more) = (halves(one.hash_one(guarded.uid)), halves(other.hash_one(guarded.uid)));
        let content = canonical(guarded.text, arena);
        // Guarded measurements have a canonical form; should one have none, its own text tells it from the others.
        let content = halves(other.hash_one(content.as_deref().unwrap_or(guarded.text)));
        Key { uid: [uid[0], uid[1], more[0]], content }
    }
}

/// The uids of a file.
#[derive(Debug)]
pub struct Seen {
    /// By what is a hash already, with a key of its own for each file: a second, secret one would hash the hash.
    uids: HashMap<[u32; 3], First, Plain>,
    uids_max: usize,
}

/// The first measurement of a uid.
#[derive(Clone, Copy, Debug)]
struct First {
    content: [u32; 2],
    /// At most four thousand million, which none of the files that are checked has.
    line: u32,
}

impl Seen {
    /// None yet, and room for `uids_max`.
    pub fn up_to(uids_max: usize) -> Self {
        Self { uids: HashMap::default(), uids_max }
    }

    /// Looks `keys` up, all at once and for nothing but this: where they stand is fetched into the processor's cache, for one while for
    /// another. Asked for one after the other, each would be waited for: with a million uids, a sixth of the time of a check.
    pub fn fetch<'k>(&self, keys: impl Iterator<Item = &'k Key>) {
        std::hint::black_box(keys.filter(|key| self.uids.contains_key(&key.uid)).count());
    }

    /// How the measurement of `key`, from `line`, stands to those before it. Remembers it if it is the first.
    pub fn standing(&mut self, key: Key, line: u64) -> Standing {
        let Key { uid, content } = key;
        match self.uids.get(&uid) {
            Some(first) if first.content == content => Standing::CopyOf(u64::from(first.line)),
            Some(first) => Standing::Rival(u64::from(first.line)),
            None if self.uids.len() >= self.uids_max => Standing::Unknown,
            None => {
                self.uids.insert(uid, First { content, line: u32::try_from(line).unwrap_or(u32::MAX) });
                Standing::First
            }
        }
    }
}

/// Takes what is hashed for the hash: the first 64 bits of it.
#[derive(Clone, Copy, Debug, Default)]
struct Taken(u64);

type Plain = BuildHasherDefault<Taken>;

impl Hasher for Taken {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        let head = bytes.first_chunk().map_or(0, |head| u64::from_ne_bytes(*head));
        // The length of an array is hashed too, and comes as a number.
        self.0 ^= head;
    }

    fn write_usize(&mut self, _: usize) {}
}

fn halves(hash: u64) -> [u32; 2] {
    [(hash >> 32) as u32, hash as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uids_max: usize, measurements: &[(&str, &str)], expected: &[Standing]) {
        let (mut seen, keys) = (Seen::up_to(uids_max), Keys::default());
        let standing = |(index, (uid, text)): (usize, &(&str, &str))| {
            let guarded = Guarded { text, uid, ..Guarded::default() };
            seen.standing(keys.of(&guarded, &Bump::new()), index as u64 + 1)
        };
        let found: Vec<Standing> = measurements.iter().enumerate().map(standing).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn copies_and_rivals_name_the_line_of_the_first() {
        use Standing::{CopyOf, First, Rival};
        check(
            9,
            &[("u", r#"{"a":1,"b":2}"#), ("u", r#"{ "b":2, "a":1 }"#), ("v", "{}"), ("u", r#"{"a":2}"#), ("v", r#"{"c":null}"#)],
            &[First, CopyOf(1), First, Rival(1), CopyOf(3)],
        );
    }

    #[test]
    fn beyond_the_bound_what_was_seen_is_still_known_and_nothing_new() {
        use Standing::{CopyOf, First, Rival, Unknown};
        check(
            1,
            &[("u", "{}"), ("v", "{}"), ("v", "{}"), ("u", "{}"), ("u", r#"{"a":1}"#)],
            &[First, Unknown, Unknown, CopyOf(1), Rival(1)],
        );
    }

    #[test]
    fn a_uid_takes_as_many_bytes_as_is_said() {
        assert_eq!(std::mem::size_of::<([u32; 3], First)>(), 24);
    }
}
