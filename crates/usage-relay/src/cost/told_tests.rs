//! The answer by example: what it says, and that it adds up.

use super::super::measured::WHO;
use super::*;

fn answer(per_second: f64, per_message: f64) -> Answer {
    let load = Load { per_second, per_message, bytes: 250.0, memory_mb: 256.0, gb_second: prices::LAMBDA_GB_SECOND_ARM };
    Answer::of(load, &Bench::committed().unwrap())
}

#[test]
fn the_parts_add_up_to_the_total_in_text_and_in_json() {
    let answer = answer(1_000.0, 1.0);
    let json = answer.json();
    let sum: f64 = json["parts"].as_object().unwrap().values().map(|part| part["dollars_a_month"].as_f64().unwrap()).sum();
    assert!((sum - json["total"]["dollars_a_month"].as_f64().unwrap()).abs() < 1e-9);
    let million = json["total"]["dollars_a_million"].as_f64().unwrap();
    assert!((million - sum / 2_628.0).abs() < 1e-9, "2,628 million measurements a month");
    let text = answer.text();
    assert!(text.starts_with("1,000 measurements a second, 1 in a message, 250 bytes each, 256 MB: "), "{text}");
    assert!(text.contains(&row("all of it", &cents(sum), &fine(million))), "{text}");
}

#[test]
fn everybody_who_was_measured_is_compared_and_the_relay_comes_first() {
    let answer = answer(100.0, 10.0);
    let text = answer.text();
    for (_, title) in WHO {
        assert!(text.contains(&format!("\n  {title}  ")), "{title}: {text}");
    }
    assert_eq!(answer.json()["lambda"][0]["what"], "usage-relay");
    assert!(text.contains("  1.0 times"), "{text}");
}

#[test]
fn what_is_assumed_is_said_in_text_and_in_json() {
    let answer = answer(1.0, 1.0);
    let text = answer.text();
    assert!(answer.assumes().iter().all(|one| text.contains(one)));
    assert_eq!(answer.json()["assumes"].as_array().unwrap().len(), answer.assumes().len());
    assert!(text.contains("list prices of us-east-1") && text.contains("256 MB have 14.5 %"), "{text}");
}

#[test]
fn a_load_that_the_defaults_do_not_carry_is_said_to_be_one() {
    assert!(answer(1_000.0, 1.0).notes().is_empty());
    assert!(answer(1.0, 1.0).text().starts_with("1 measurement a second, "));
    let text = answer(100_000.0, 1.0).text();
    assert!(text.contains("\nNote: this load makes ") && text.contains("RequestsPerSecond is 16"), "{text}");
}

#[test]
fn the_table_has_a_row_for_each_load_and_a_column_for_each_contender() {
    let loads = [answer(1.0, 1.0).load, answer(1_000.0, 100.0).load];
    let text = table(&loads, &Bench::committed().unwrap());
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(rows.len(), 4, "{text}");
    assert!(rows.iter().all(|row| row.matches('|').count() == 5 + WHO.len()), "{text}");
    assert!(text.contains("make bench") || text.contains("measured"), "{text}");
}

#[test]
fn numbers_are_as_short_as_they_are_still_said() {
    for (value, text) in [
        (0.0, "0"),
        (0.001, "0.001"),
        (0.5, "0.5"),
        (1.0, "1"),
        (5.001, "5"),
        (25.705, "25.7"),
        (408.0, "408"),
        (525_494.9, "525,495"),
    ] {
        assert_eq!(number(value), text);
    }
    assert_eq!(
        (cents(0.0), cents(1_234.565), fine(0.211_4), fine(22.0)),
        ("0.00".into(), "1,234.57".into(), "0.2114".into(), "22.00".into())
    );
}
