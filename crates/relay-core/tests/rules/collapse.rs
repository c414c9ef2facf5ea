//! Collapse: each uid is sent once; copies are equal, rivals are not.

use std::collections::{BTreeMap, BTreeSet};

use bumpalo::Bump;
use proptest::prelude::*;
use relay_core::canonical::canonical;
use relay_core::collapse::{Standing, collapse};
use relay_core::guard::Guarded;

use crate::given::config;

/// Contents under few uids, each content written in three ways.
fn measurements() -> impl Strategy<Value = Vec<Option<(u8, String)>>> {
    let text = (0..5_u8, 0..3_u8).prop_map(|(content, spelling)| match spelling {
        0 => format!(r#"{{"a":{content},"b":"x"}}"#),
        1 => format!(r#"{{ "b":"\u0078", "a":{content} }}"#),
        _ => format!(r#"{{"a":{content},"b":"x","c":null}}"#),
    });
    prop::collection::vec(prop::option::weighted(0.9, (0..4_u8, text)), 0..60)
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn each_uid_is_sent_once_copies_have_equal_canonical_forms_and_rivals_differ(measurements in measurements()) {
        let arena = Bump::new();
        let uids = ["p", "q", "r", "s"];
        let guarded: Vec<Option<Guarded<'_>>> = measurements
            .iter()
            .map(|measurement| measurement.as_ref().map(|(uid, text)| Guarded { text, uid: uids[usize::from(*uid)], ..Guarded::default() }))
            .collect();
        let standings = collapse(&guarded, &arena);
        prop_assert_eq!(standings.len(), guarded.len());
        let form = |index: usize| canonical(guarded[index].unwrap().text, &arena).unwrap();
        let mut first_of: BTreeMap<&str, usize> = BTreeMap::new();
        let mut contents: BTreeSet<(&str, String)> = BTreeSet::new();
        for (index, standing) in standings.iter().enumerate() {
            let Some(guarded_one) = guarded[index] else {
                prop_assert_eq!(*standing, None);
                continue;
            };
            match standing.unwrap() {
                Standing::First => {
                    prop_assert_eq!(first_of.insert(guarded_one.uid, index), None);
                    prop_assert!(contents.insert((guarded_one.uid, form(index))));
                }
                Standing::CopyOf(other) => {
                    prop_assert!(other < index && !matches!(standings[other], Some(Standing::CopyOf(_)) | None));
                    prop_assert_eq!((guarded[other].unwrap().uid, form(other)), (guarded_one.uid, form(index)));
                }
                Standing::Rival(first) => {
                    prop_assert_eq!(Some(&first), first_of.get(guarded_one.uid));
                    prop_assert!(contents.insert((guarded_one.uid, form(index))), "this content was seen");
                }
            }
        }
    }
}
