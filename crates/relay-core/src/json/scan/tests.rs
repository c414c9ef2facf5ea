//! The scan against serde_json, which is the judge of what is JSON.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn value(text: &str) -> Result<usize, NotJson> {
    let mut scan = Scan::new(text);
    scan.value(0)?;
    if scan.is_over() { Ok(scan.deepest) } else { Err(NotJson) }
}

/// serde_json is the judge of what is JSON.
fn check(text: &str) {
    assert_eq!(value(text).is_ok(), serde_json::from_str::<&RawValue>(text).is_ok(), "{text:?}");
}

#[test]
fn what_serde_json_takes_is_taken_and_nothing_else() {
    let whole = [
        "",
        " ",
        "0",
        "-0",
        "01",
        "-",
        "+1",
        "1.",
        ".5",
        "1.5",
        "1e5",
        "1E+05",
        "1e",
        "1e+",
        "-1.5e-7",
        "1.e1",
        "0e0",
        "00",
        "1 2",
        "true",
        "false",
        "null",
        "tru",
        "nulll",
        "True",
        "NaN",
        "\"\"",
        "\"a",
        "\"\\\"",
        "\"\\\\\"",
        "\"\\u12G4\"",
        "\"\\u12\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"\u{7f}\"",
        "\"\t\"",
        "\"\u{0}\"",
        "\u{0}",
        "é",
        "\"é😀\"",
        "{}",
        "{ }",
        "[]",
        "[ ]",
        "[,]",
        "[1,]",
        "[1 2]",
        "[1,2]",
        "{\"a\":1}",
        "{\"a\":1,}",
        "{\"a\" 1}",
        "{a:1}",
        "{\"a\":}",
        "{1:2}",
        "{,}",
        "[}",
        "{]",
        "[[]",
        "[]]",
        "{\"a\":[}",
        "{\"a\":{\"b\":[1,{\"c\":[]}]}}",
        "\u{feff}1",
        "'a'",
        "/**/1",
        "{\"a\":1}{}",
        "\"12345678\"",
        "\"1234567\\n\"",
        "\"12345678\u{1f}\"",
        "\"\\u0000\\/\\b\\f\\n\\r\\t\"",
        "\r\n\t 1 \r\n\t",
        "1\u{a0}",
        "[\"a\",\"b\"]",
        "\"a\\",
        "\"a\\u",
        "[",
        "{",
        "{\"",
        "{\"a\"",
        "{\"a\":",
    ];
    whole.into_iter().for_each(check);
}

#[test]
fn each_text_cut_short_or_with_one_byte_changed_is_judged_alike() {
    let text = r#" {"uid":"01985c2e-\u00e9\"x","measure":{"calls":1.50e+3,"n":[-0,true,null,{"":[]}]},"what":{}} "#;
    for end in 0..text.len() {
        text.get(..end).into_iter().for_each(check);
        for byte in [b' ', b'"', b'\\', b'{', b'}', b'[', b']', b',', b':', b'0', b'-', b'e', b'.', b'u', 0x01, 0x7f] {
            let mut bytes = text.as_bytes().to_vec();
            bytes[end] = byte;
            std::str::from_utf8(&bytes).into_iter().for_each(check);
        }
    }
}

#[test]
fn nesting_is_measured_across_every_sixty_fourth_level() {
    for depth in [1, 2, 63, 64, 65, 127, 128, 129, 1_000] {
        let open: String = (0..depth).map(|level| if level % 3 == 0 { "[" } else { "{\"a\":" }).collect();
        let close: String = (0..depth).rev().map(|level| if level % 3 == 0 { "]" } else { "}" }).collect();
        assert_eq!(value(&format!("{open}1{close}")), Ok(depth));
        assert_eq!(value(&format!("{open}1{close}]")), Err(NotJson));
        let wrong: String = (0..depth)
            .rev()
            .map(|level| {
                if level == 0 {
                    "}"
                } else if level % 3 == 0 {
                    "]"
                } else {
                    "}"
                }
            })
            .collect();
        assert_eq!(value(&format!("{open}1{wrong}")), Err(NotJson), "{depth}");
    }
}

fn unescaped(text: &str) -> Option<String> {
    let (mut scan, mut out) = (Scan::new(text), String::new());
    if scan.unescape(&mut out).is_err() {
        assert_eq!(scan.at, 0, "nothing is taken");
        return None;
    }
    scan.is_over().then_some(out)
}

#[test]
fn a_string_is_unescaped_as_serde_json_does_it_and_half_of_a_pair_is_not() {
    for text in [
        r#""""#,
        r#""plain""#,
        r#""a\"b\\c\/d\b\f\n\r\te""#,
        r#""\u0041\u00e9\u2028""#,
        r#""\ud83d\ude00""#,
        r#""\uD83D\uDE00x""#,
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83dx""#,
        r#""\ud83d\n""#,
        r#""\ud83d\u0041""#,
        r#""\ud83d\ud83d""#,
        r#""\u0000""#,
        r#""é😀""#,
    ] {
        assert_eq!(unescaped(text), serde_json::from_str(text).ok(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 3_000,
        rng_seed: prop::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn any_text_of_json_s_own_characters_is_judged_alike(text in r#"[\[\]{}:,"\\ 01.eE+\-aunltrf\n\x01é]{0,24}"#) {
        check(&text);
    }

    #[test]
    fn any_string_is_judged_alike(inner in r#"([ -~é\x00-\x1f]|\\u[0-9a-fA-F]{4}|\\[nrtbf/"]){0,40}"#) {
        check(&format!("\"{inner}\""));
        check(&format!("[{{\"a\":\"{inner}\"}}]"));
        let text = format!("\"{inner}\"");
        prop_assert_eq!(unescaped(&text), serde_json::from_str(&text).ok());
    }
}
