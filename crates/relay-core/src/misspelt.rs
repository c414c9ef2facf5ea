//! Which name a misspelt one was meant to be.
//!
//! A setting whose name is mistyped is not read, and its default takes its place in silence. So whoever reads settings asks this of
//! the names that it does not know.
//!
//! Absent: which names there are, and where they are set.

/// Most typing errors between a name and what it was meant to be: a letter too many, too few, another, or two that changed places.
const ERRORS_MAX: usize = 2;
/// Shorter names are too near to others by chance, in bytes.
const LENGTH_LEAST: usize = 6;

/// That of `known` which `given` was meant to be, if it is no more than two typing errors from it; the nearest, and of several the
/// first. Upper and lower case are alike. `None` if `given` is one of them, or like none.
pub fn meant<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if given.len() < LENGTH_LEAST {
        return None;
    }
    let upper = given.to_ascii_uppercase();
    let mut best: Option<(usize, &str)> = None;
    for name in known {
        if name == given {
            return None;
        }
        if upper.len().abs_diff(name.len()) > ERRORS_MAX {
            continue;
        }
        let errors = errors(upper.as_bytes(), name.to_ascii_uppercase().as_bytes());
        if errors <= ERRORS_MAX && best.is_none_or(|(least, _)| errors < least) {
            best = Some((errors, name));
        }
    }
    best.map(|(_, name)| name)
}

/// How many typing errors make `one` out of `other`: the optimal string alignment distance. Source: Damerau 1964. More than
/// [`ERRORS_MAX`] count as one more than that: a function does this at its start, of each variable with each setting.
fn errors(one: &[u8], other: &[u8]) -> usize {
    let too_many = ERRORS_MAX + 1;
    if one.len().abs_diff(other.len()) > ERRORS_MAX {
        return too_many;
    }
    // Rows of the usual table: the one before the last, the last, and the one that is made.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (place, byte) in one.iter().enumerate() {
        let mut row = vec![place + 1];
        for (at, theirs) in other.iter().enumerate() {
            let of = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = of(&last, at) + usize::from(byte != theirs);
            let mut least = replaced.min(of(&last, at + 1) + 1).min(of(&row, at) + 1);
            let previous = |bytes: &[u8], at: usize| at.checked_sub(1).and_then(|at| bytes.get(at).copied());
            if previous(one, place) == Some(*theirs) && previous(other, at) == Some(*byte) {
                least = least.min(of(&before, at - 1) + 1);
            }
            row.push(least);
        }
        // What follows is made of these two rows, and each swap that skips one is an error more.
        let least = |row: &[usize]| row.iter().copied().min().unwrap_or(0);
        if least(&row) > ERRORS_MAX && least(&last) >= ERRORS_MAX {
            return too_many;
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(too_many)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = ["STORE_URL", "QUEUE_URL", "M3TER_API_URL", "M3TER_ORG_ID"];

    #[test]
    fn a_name_with_up_to_two_typing_errors_is_the_one_it_was_meant_to_be() {
        for (given, expected) in [
            ("STORE_ULR", "STORE_URL"),
            ("STOR_URL", "STORE_URL"),
            ("STORES_URLS", "STORE_URL"),
            ("SOTRE_ULR", "STORE_URL"),
            ("store_url", "STORE_URL"),
            ("QEUE_URL", "QUEUE_URL"),
            ("M3TER_ORGID", "M3TER_ORG_ID"),
            ("M3TER_APIURL", "M3TER_API_URL"),
        ] {
            assert_eq!(meant(given, KNOWN), Some(expected), "{given}");
        }
    }

    #[test]
    fn a_name_that_is_known_or_like_none_was_meant_to_be_no_other() {
        for given in ["STORE_URL", "QUEUE_URL", "", "URL", "STORE", "PATH", "AWS_REGION", "M3TER_API_KEY", "STORE_LOCATION"] {
            assert_eq!(meant(given, KNOWN), None, "{given}");
        }
    }

    #[test]
    fn of_several_the_nearest_is_meant() {
        assert_eq!(meant("QUEUE_URLS", ["QUEUE_URLLL", "QUEUE_URL"]), Some("QUEUE_URL"));
        assert_eq!(meant("QUEUE_URX", ["QUEUE_URY", "QUEUE_URL"]), Some("QUEUE_URY"));
    }

    #[test]
    fn typing_errors_are_counted() {
        for (one, other, expected) in [
            ("", "", 0),
            ("a", "a", 0),
            ("ab", "ba", 1),
            ("abc", "ac", 1),
            ("abcd", "badc", 2),
            ("ca", "abc", 3),
            ("abc", "xyz", 3),
        ] {
            assert_eq!(errors(one.as_bytes(), other.as_bytes()), expected, "{one} {other}");
        }
    }
}
