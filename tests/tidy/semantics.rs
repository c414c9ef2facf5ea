//! docs/SEMANTICS.md says which test keeps which promise, and how many faults and planted defects there are. It says what is so.
//!
//! Each rule is a function of text that gives what is wrong, so that it can be shown to find something.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::sources::{files, root};

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|fault| panic!("{name}: {fault}"))
}

/// What stands in back-quotes and looks like the name of a test: words with two underscores or more between them.
fn named(document: &str) -> BTreeSet<&str> {
    let is_name = |quoted: &&str| {
        let is_word = quoted.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '_');
        is_word && quoted.starts_with(|one: char| one.is_ascii_lowercase()) && quoted.matches('_').count() >= 2
    };
    document.split('`').skip(1).step_by(2).filter(is_name).collect()
}

/// The functions of a Rust source with a `#[test]` or `#[tokio::test]` before them.
fn rust_tests(source: &str) -> Vec<&str> {
    let (mut found, mut is_marked) = (Vec::new(), false);
    for line in source.lines().map(str::trim_start) {
        if line.starts_with("#[") || line.starts_with("//") {
            is_marked = is_marked || line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            continue;
        }
        let declared = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ").filter(|_| is_marked);
        found.extend(declared.and_then(|declared| declared.split(['(', '<']).next()));
        is_marked = false;
    }
    found
}

/// The tests of a Python source, as pytest finds them.
fn python_tests(source: &str) -> Vec<&str> {
    let declared = source.lines().map(str::trim_start).filter_map(|line| {
        let line = line.strip_prefix("async ").unwrap_or(line);
        line.strip_prefix("def ")
    });
    declared.filter_map(|declared| declared.split('(').next()).filter(|name| name.starts_with("test_")).collect()
}

/// The names of all tests in the repository.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in files(root(), &[".rs"]) {
        found.extend(rust_tests(&fs::read_to_string(path).unwrap()).into_iter().map(str::to_owned));
    }
    for path in files(&root().join("tests"), &[".py"]) {
        found.extend(python_tests(&fs::read_to_string(path).unwrap()).into_iter().map(str::to_owned));
    }
    assert!(found.len() > 300, "found {} tests: are they elsewhere now?", found.len());
    found
}

/// Names in `document` that no test has.
fn unknown<'d>(document: &'d str, tests: &BTreeSet<String>) -> Vec<&'d str> {
    named(document).into_iter().filter(|name| !tests.contains(*name)).collect()
}

/// The numbers of the laws in the module doc of laws.rs, a paragraph `1 nothing is lost · 2 …`.
fn laws(source: &str) -> Vec<u32> {
    let doc: Vec<&str> = source.lines().map_while(|line| line.strip_prefix("//!")).collect();
    let doc = doc.join("\n");
    let list = doc.split("\n\n").find(|paragraph| paragraph.contains('·')).unwrap_or_default();
    list.split('·').filter_map(|law| law.split_whitespace().next()?.parse().ok()).collect()
}

/// What is wrong with the table of promises: one row for each law, which names it and at least one test.
fn rows_wrong(document: &str, laws: &[u32]) -> Vec<String> {
    let cells = |line: &str| -> Vec<String> { line.split('|').map(|cell| cell.trim().to_owned()).collect() };
    let rows: Vec<(u32, Vec<String>)> = document
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells)
        .filter_map(|cells| Some((cells.get(1)?.parse().ok()?, cells)))
        .collect();
    let numbers: Vec<u32> = rows.iter().map(|(number, _)| *number).collect();
    let mut wrong = Vec::new();
    if numbers != laws {
        wrong.push(format!("expected rows for the laws {laws:?}, found {numbers:?}"));
    }
    for (number, cells) in rows {
        let [_, _, promise, kept_by, _] = cells.as_slice() else {
            wrong.push(format!("expected three cells in the row of law {number}"));
            continue;
        };
        let after = kept_by.strip_prefix(&format!("law {number}"));
        let is_named = after.is_some_and(|after| after.starts_with([';', ',', ' ']));
        if !promise.ends_with('.') || !is_named || named(kept_by).is_empty() {
            wrong.push(format!("expected a sentence, law {number} and a test in the row of law {number}"));
        }
    }
    wrong
}

/// How many faults `enum Fault` has.
fn faults(source: &str) -> usize {
    let body = source.split("enum Fault {").nth(1).and_then(|rest| rest.split("\n}").next());
    body.expect("an enum Fault").lines().filter(|line| line.trim_start().starts_with(|one: char| one.is_uppercase())).count()
}

/// How many faults the document says that there are.
fn faults_said(document: &str) -> Option<usize> {
    let line = document.split("lists all ").nth(1)?;
    line.split_once(" faults")?.0.parse().ok()
}

/// What is wrong with a planted defect: a sentence, within how many worlds it is caught, and a file that it changes.
fn patch_wrong(patch: &str, exists: impl Fn(&Path) -> bool) -> Option<&'static str> {
    let mut lines = patch.lines();
    let sentence = lines.next().unwrap_or_default();
    if !sentence.starts_with(|one: char| one.is_uppercase()) || !sentence.ends_with('.') || !sentence.contains(' ') {
        return Some("expected a sentence that says what is wrong in its first line");
    }
    let stated = lines.next().and_then(|line| line.strip_prefix("Caught within ")?.strip_suffix(" worlds."));
    if stated.and_then(|worlds| worlds.parse::<u64>().ok()).is_none_or(|worlds| worlds == 0) {
        return Some("expected `Caught within N worlds.` in its second line");
    }
    let changed: Vec<&str> = lines.filter_map(|line| line.strip_prefix("--- a/")).collect();
    let are_there = !changed.is_empty() && changed.iter().all(|path| exists(Path::new(path)));
    (!are_there).then_some("expected it to change files that are there")
}

#[test]
fn every_test_that_semantics_names_exists() {
    let document = read("docs/SEMANTICS.md");
    assert!(named(&document).len() >= 10, "found {:?}: are they written otherwise now?", named(&document));
    assert_eq!(unknown(&document, &tests()), [""; 0]);
}

#[test]
fn every_law_of_the_simulation_has_its_row_in_semantics() {
    let laws = laws(&read("tests/sim/laws.rs"));
    assert!(laws.len() >= 10 && (1..).zip(&laws).all(|(number, law)| number == *law), "{laws:?}");
    assert_eq!(rows_wrong(&read("docs/SEMANTICS.md"), &laws), [""; 0]);
}

#[test]
fn semantics_says_how_many_faults_there_are() {
    let faults = faults(&read("tests/sim/fault.rs"));
    assert!(faults > 0);
    assert_eq!(faults_said(&read("docs/SEMANTICS.md")), Some(faults), "`lists all N faults`");
}

#[test]
fn every_planted_defect_says_what_is_wrong_and_how_soon_it_is_caught() {
    let patches = files(&root().join("tests/sim/planted"), &[".patch"]);
    assert!(patches.len() >= 12);
    for path in patches {
        let wrong = patch_wrong(&fs::read_to_string(&path).unwrap(), |changed| root().join(changed).is_file());
        assert_eq!(wrong, None, "{}", path.display());
    }
}

#[test]
fn a_name_that_no_test_has_is_found_out() {
    let tests = ["a_good_name", "one_more_that_is"].map(str::to_owned).into();
    let document =
        "Kept by `a_good_name`, `a_bad_name` and\n`one_more_that_is`; not `two_words`, `A_B_C`, `a_b-c.rs`, a_b_c or `fn`.";
    assert_eq!(unknown(document, &tests), ["a_bad_name"]);
}

#[test]
fn only_what_is_marked_as_a_test_counts_as_one() {
    let source = "
        #[test]
        fn a_plain_one() {}
        #[tokio::test(start_paused = true)]
        // Why.
        #[expect(clippy::panic)]
        async fn one_that_waits() { }
        fn no_test_at_all() {}
        proptest! {
            #[test]
            fn one_with_input(number in 0..10) {}
        }
        #[test]

        struct Between;
        fn not_marked_either() {}
        fn generic<T>() {}
    ";
    assert_eq!(rust_tests(source), ["a_plain_one", "one_that_waits", "one_with_input"]);
    assert_eq!(
        python_tests("def test_this_one(sandbox):\n  def test_inner():\ndef helper_of_it():\n"),
        ["test_this_one", "test_inner"]
    );
}

#[test]
fn a_law_without_a_row_or_a_row_without_a_test_is_found_out() {
    let row = |number: u32| format!("| {number} | A promise. | law {number}; `a_test_of_it` |\n");
    let source =
        "//! The laws. Each is computed.\n//!\n//! 1 nothing is lost ·\n//! 2 nothing is counted twice · 3 intact.\nuse a;";
    assert_eq!(laws(source), [1, 2, 3]);
    let good: String = [1, 2, 3].map(row).concat();
    assert_eq!(rows_wrong(&good, &[1, 2, 3]), [""; 0]);
    assert_eq!(rows_wrong(&[1, 3].map(row).concat(), &[1, 2, 3]).len(), 1);
    assert_eq!(rows_wrong(&good.replace("`a_test_of_it`", "a test"), &[1, 2, 3]).len(), 3);
    assert_eq!(rows_wrong(&good.replace("law 2", "law 1"), &[1, 2, 3]).len(), 1);
    assert_eq!(rows_wrong(&good.replacen("A promise.", "", 1), &[1, 2, 3]).len(), 1);
}

#[test]
fn a_wrong_number_of_faults_is_found_out() {
    let source = "enum Fault {\n    /// Late.\n    Delay,\n    /// Never.\n    Lost,\n}\nenum Other {\n    One,\n}";
    assert_eq!(faults(source), 2);
    assert_eq!(faults_said("`fault.rs` lists all 2 faults with"), Some(2));
    assert_eq!(faults_said("lists many faults"), None);
}

#[test]
fn a_planted_defect_without_a_sentence_a_number_or_a_file_is_found_out() {
    let good = "It is wrong.\nCaught within 50 worlds.\n\n--- a/there.rs\n+++ b/there.rs\n";
    let wrong = |patch: &str| patch_wrong(patch, |path| path == Path::new("there.rs")).is_some();
    assert!(!wrong(good));
    let changes =
        [("It is wrong.\n", ""), ("50", "some"), ("50", "0"), ("a/there", "a/gone"), ("---", "***"), ("Caught", "Seen")];
    for (this, that) in changes {
        assert!(wrong(&good.replacen(this, that, 1)), "{that:?} for {this:?}");
    }
}
