//! Sends each uid of one invocation once.
//!
//! Copies of equal content share the fate of the one that is sent. Another content under the same uid waits behind it: if
//! the one sent is accepted, the other is a conflict that only its producer can solve; if it is refused, the other is tried.
//! Nothing is remembered beyond the invocation: that memory is m3ter's window.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bumpalo::Bump;

use crate::canonical::canonical;
use crate::guard::Guarded;

/// How one measurement stands to the others of the invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is sent.
    First,
    /// It has the content of the one at this index, whose fate it shares.
    CopyOf(usize),
    /// It has another content under the uid of the one at this index, which is a [`Standing::First`].
    Rival(usize),
}

/// The standing of each measurement; `None` where there is none to send.
pub fn collapse(measurements: &[Option<Guarded<'_>>], arena: &Bump) -> Vec<Option<Standing>> {
    let mut by_uid: HashMap<&str, Same> = HashMap::with_capacity(measurements.len());
    let mut standings = Vec::with_capacity(measurements.len());
    for (index, measurement) in measurements.iter().enumerate() {
        standings.push(measurement.map(|guarded| match by_uid.entry(guarded.uid) {
            Entry::Vacant(vacant) => {
                vacant.insert(Same { first: index, text: guarded.text, contents: HashMap::new() });
                Standing::First
            }
            Entry::Occupied(mut occupied) => occupied.get_mut().standing(index, guarded.text, arena),
        }));
    }
    standings
}

/// The contents seen under one uid.
struct Same<'a> {
    first: usize,
    text: &'a str,
    /// Canonical form to the index of its first measurement. Filled when a second measurement comes, which is rare.
    contents: HashMap<String, usize>,
}

impl Same<'_> {
    fn standing(&mut self, index: usize, text: &str, arena: &Bump) -> Standing {
        if text == self.text {
            return Standing::CopyOf(self.first);
        }
        if self.contents.is_empty() {
            self.contents.insert(form(self.text, arena), self.first);
        }
        match self.contents.entry(form(text, arena)) {
            Entry::Occupied(seen) => Standing::CopyOf(*seen.get()),
            Entry::Vacant(unseen) => {
                unseen.insert(index);
                Standing::Rival(self.first)
            }
        }
    }
}

/// Guarded measurements have a canonical form; should one have none, its own text tells it from the others.
fn form(text: &str, arena: &Bump) -> String {
    canonical(text, arena).unwrap_or_else(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(measurements: &[(&str, &str)], expected: &[Standing]) {
        let guarded: Vec<_> = measurements.iter().map(|(uid, text)| Some(Guarded { text, uid, ..Guarded::default() })).collect();
        let standings: Vec<_> = collapse(&guarded, &Bump::new()).into_iter().flatten().collect();
        assert_eq!(standings, expected);
    }

    #[test]
    fn copies_share_the_first_and_rivals_wait_behind_it() {
        use Standing::{CopyOf, First, Rival};
        check(
            &[("u", r#"{"a":1,"b":2}"#), ("u", r#"{ "b":2, "a":1 }"#), ("v", "{}"), ("u", r#"{"a":2}"#), ("u", r#"{"a": 2}"#)],
            &[First, CopyOf(0), First, Rival(0), CopyOf(3)],
        );
    }

    #[test]
    fn numbers_that_are_written_differently_are_different_contents() {
        check(&[("u", r#"{"a":1}"#), ("u", r#"{"a":1.0}"#)], &[Standing::First, Standing::Rival(0)]);
    }
}
