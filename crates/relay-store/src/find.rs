//! Finds lines in the ledger and entries in the quarantine.
//!
//! A ledger may hold ten million lines of which one is wanted. So a line is first looked at as bytes, and only one that may
//! be wanted is parsed, and then judged by what it says. The writer makes that possible: a line begins with its uid, and
//! text is escaped as little as JSON allows, so that one text is always the same bytes.
//!
//! The quarantine is small and its measurements are as their producers wrote them, in any spelling: there each line is parsed.

use std::collections::HashSet;

use memchr::memmem::Finder;
use relay_core::canonical;

use crate::ledger::Line;
use crate::quarantine::{Entries, Entry};
use crate::scan::{StoredObject, Unreadable};
use crate::store::Store;

/// What every ledger line begins with.
const UID: &[u8] = b"{\"uid\":";
/// What stands before what a line's origin names.
const OF: &[u8] = b"\"of\":";

/// Which ledger lines are wanted: those that meet any of the names, and of the codes each that is given.
#[derive(Debug, Default)]
pub struct Wanted {
    names: HashSet<Vec<u8>>,
    meter: Option<Code>,
    account: Option<Code>,
}

#[derive(Debug)]
struct Code {
    is: String,
    bytes: Finder<'static>,
}

impl Wanted {
    /// Lines of these uids, and lines whose origin names one of `origins`.
    pub fn of<'a>(uids: impl IntoIterator<Item = &'a str>, origins: impl IntoIterator<Item = &'a str>) -> Wanted {
        let quoted = |name: &str| {
            let mut text = String::with_capacity(name.len() + 2);
            canonical::string(name, &mut text);
            text.into_bytes()
        };
        Wanted { names: uids.into_iter().chain(origins).map(quoted).collect(), ..Wanted::default() }
    }

    /// Lines of this meter and of this account, where one is given. A ledger of mode `uids` holds neither.
    pub fn about(meter: Option<&str>, account: Option<&str>) -> Wanted {
        let code = |key: &str, code: &str| {
            let mut text = format!("\"{key}\":");
            canonical::string(code, &mut text);
            Code { is: code.to_owned(), bytes: Finder::new(text.as_bytes()).into_owned() }
        };
        Wanted {
            names: HashSet::new(),
            meter: meter.map(|meter| code("meter", meter)),
            account: account.map(|account| code("account", account)),
        }
    }

    /// Whether `line` may be wanted, by its bytes: never false for one that is.
    fn may_hold(&self, line: &[u8], of: &Finder<'_>) -> bool {
        if self.names.is_empty() {
            let has = |code: &Option<Code>| code.as_ref().is_none_or(|code| code.bytes.find(line).is_some());
            return has(&self.meter) && has(&self.account);
        }
        let named = |from: usize| line.get(from..).and_then(quoted).is_some_and(|name| self.names.contains(name));
        let starts_with_uid = line.starts_with(UID);
        !starts_with_uid || named(UID.len()) || of.find_iter(line).any(|at| named(at + OF.len()))
    }

    fn holds(&self, line: &Line) -> bool {
        if self.names.is_empty() {
            let is = |code: &Option<Code>, found: Option<&str>| code.as_ref().is_none_or(|code| found == Some(&code.is));
            return is(&self.meter, line.meter.as_deref()) && is(&self.account, line.account.as_deref());
        }
        let named = |name: &str| {
            let mut text = String::with_capacity(name.len() + 2);
            canonical::string(name, &mut text);
            self.names.contains(text.as_bytes())
        };
        named(&line.uid) || line.origin.as_ref().is_some_and(|origin| named(&origin.of))
    }
}

/// The JSON string that `bytes` begin with, quotes included.
fn quoted(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.first() != Some(&b'"') {
        return None;
    }
    let mut from = 1;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', bytes.get(from..)?)?;
        match bytes.get(at) {
            Some(b'"') => return bytes.get(..=at),
            // What is escaped is never the end.
            Some(_) => from = at + 2,
            None => return None,
        }
    }
}

impl Store {
    /// Gives the lines of `objects`, of the ledger, that are `wanted` to `each`: in no order between objects, in theirs within.
    /// Returns the objects that could not be read; none of their lines was given.
    pub async fn ledger_lines(
        &self,
        objects: impl IntoIterator<Item = StoredObject>,
        wanted: Wanted,
        mut each: impl FnMut(&StoredObject, Option<Line>),
    ) -> Vec<Unreadable> {
        let of = Finder::new(OF).into_owned();
        let read = move |kept: &mut Vec<Line>, text: &[u8]| {
            if !wanted.may_hold(text, &of) {
                return Ok(());
            }
            let line: Line = serde_json::from_slice(text).map_err(|_| "one ledger entry a line")?;
            if wanted.holds(&line) {
                kept.push(line);
            }
            Ok(())
        };
        self.sift(objects, read, |object, lines: Vec<Line>| {
            lines.into_iter().for_each(|line| each(object, Some(line)));
            each(object, None);
        })
        .await
    }

    /// Gives what `keep` makes of each entry of `objects`, of the quarantine, to `each`: in no order between objects, in theirs
    /// within. An entry that was written twice comes twice. `None` follows the last of an object. Returns the objects that
    /// could not be read; nothing of them was given.
    pub async fn entries<T: Send + 'static>(
        &self,
        objects: impl IntoIterator<Item = StoredObject>,
        keep: impl Fn(Entry) -> Option<T> + Send + Sync + 'static,
        mut each: impl FnMut(&StoredObject, Option<T>),
    ) -> Vec<Unreadable> {
        let read = move |(entries, kept): &mut (Entries, Vec<T>), text: &[u8]| {
            kept.extend(keep(entries.read(text).map_err(|_| "one quarantine entry a line")?));
            Ok(())
        };
        self.sift(objects, read, |object, (_, kept)| {
            kept.into_iter().for_each(|one| each(object, Some(one)));
            each(object, None);
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_hold(wanted: &Wanted, line: &str) -> bool {
        wanted.may_hold(line.as_bytes(), &Finder::new(OF))
    }

    #[test]
    fn a_uid_is_found_by_its_bytes_however_it_is_escaped() {
        for uid in ["u", "a\"b", "a\\", "\\\"", "é\n\u{1}", "", "a\u{7f}", "😀"] {
            let mut line = "{\"uid\":".to_owned();
            canonical::string(uid, &mut line);
            line.push_str(",\"batch\":\"b-1\"}");
            assert!(may_hold(&Wanted::of([uid], []), &line), "{line}");
            assert!(!may_hold(&Wanted::of([format!("{uid}x").as_str(), "other"], []), &line), "{line}");
        }
    }

    #[test]
    fn an_origin_is_found_wherever_it_stands_and_a_uid_of_the_same_name_is_not_one() {
        let line = r#"{"uid":"u","measurement":{"who":{"of":"x"}},"origin":{"kind":"replay","of":"q"}}"#;
        assert!(may_hold(&Wanted::of([], ["q"]), line) && may_hold(&Wanted::of([], ["x"]), line));
        assert!(!may_hold(&Wanted::of([], ["kind"]), line));
    }

    #[test]
    fn a_line_that_begins_otherwise_is_parsed_rather_than_passed_over() {
        assert!(may_hold(&Wanted::of(["u"], []), r#"{ "uid":"u"}"#));
    }

    #[test]
    fn codes_are_found_by_their_bytes_and_all_that_are_given_must_be_there() {
        let line = r#"{"uid":"u","meter":"m \"1\"","account":"a"}"#;
        assert!(may_hold(&Wanted::about(Some("m \"1\""), None), line));
        assert!(may_hold(&Wanted::about(Some("m \"1\""), Some("a")), line));
        assert!(!may_hold(&Wanted::about(Some("m \"1\""), Some("b")), line));
        assert!(may_hold(&Wanted::about(None, None), line), "nothing is asked for: all are wanted");
    }

    #[test]
    fn a_string_that_breaks_off_is_none() {
        for (text, expected) in [
            ("\"a\"b", Some("\"a\"")),
            ("\"a\\\"\"", Some("\"a\\\"\"")),
            ("\"a", None),
            ("\"a\\", None),
            ("a\"", None),
            ("", None),
        ] {
            assert_eq!(quoted(text.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
    }
}
