//! Answers in many spellings, and answers that must not be taken for something else.

use super::*;
use crate::reconcile::held::tests::DAY;

fn aggregations(fields: &[&str]) -> Vec<(Arc<str>, Function)> {
    let both = |field: &&str| [(Arc::from(*field), Function::Sum), (Arc::from(*field), Function::Count)];
    fields.iter().flat_map(both).collect()
}

fn read_rows(fields: &[&str], days: i64, rows: &str) -> Result<Vec<UsageRow>, Odd> {
    let aggregations = aggregations(fields);
    let asked = Asked { aggregations: &aggregations, from_day: DAY, until_day: DAY + days };
    read(format!(r#"{{"data":[{rows}],"hasMoreData":false}}"#).as_bytes(), &asked, 10).map(|answer| answer.rows)
}

/// A row for `bytes` and `total_bytes`, as account, day and numbers.
fn check(row: &str, expected: &str) {
    let rows = read_rows(&["bytes", "total_bytes"], 2, row).unwrap();
    let [UsageRow { whose, day, counted }] = rows.as_slice() else { panic!("{rows:?}") };
    let sums: Vec<String> = counted.sums.iter().map(|(field, sum)| format!("{field} {sum}")).collect();
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
    let told = format!("{} {} {} {} {}", name(&whose.id), name(&whose.code), day - DAY, counted.count, sums.join(" "));
    assert_eq!(told, expected, "{row}");
}

#[test]
fn columns_are_known_in_many_spellings() {
    let expected = "i c 1 3 bytes 1.5 total_bytes 7";
    for row in [
        r#"{"accountId":"i","accountCode":"c","startTime":"2026-11-21T00:00:00Z","m.bytes.sum":1.5,"m.bytes.count":3,"m.total_bytes.sum":7,"m.total_bytes.count":3}"#,
        r#"{"account_id":"i","account_code":"c","start_time":"2026-11-21","bytes_SUM":"1.5","bytes_COUNT":3,"total_bytes_SUM":7,"total_bytes_COUNT":3}"#,
        r#"{"ACCOUNTID":"i","ACCOUNTCODE":"c","day":"2026-11-21 00:00:00","SUM(bytes)":1.5,"COUNT(bytes)":3,"SUM(total_bytes)":7,"COUNT(total_bytes)":3}"#,
        r#"{"account":{"id":"i","code":"c"},"timestamp":1795219200000,"bytesSum":1.5,"bytesCount":3,"totalBytesSum":7,"totalBytesCount":3}"#,
        r#"{"groups":{"accountId":"i","accountCode":"c","time":"2026-11-21T00:00:00.000+00:00"},"values":{"bytes":{"sum":1.5,"count":3},"total_bytes":{"sum":7,"count":3}}}"#,
        r#"{"accountId":"i","accountCode":"c","ts":1795219200,"sum_bytes":1.5,"count_bytes":3,"sum_total_bytes":7,"count_total_bytes":3,"endTime":"x"}"#,
    ] {
        check(row, expected);
    }
}

#[test]
fn an_account_may_be_known_by_id_or_code_alone() {
    let rest = r#""day":"2026-11-20","bytes.sum":1,"bytes.count":1,"total_bytes.count":0"#;
    check(&format!(r#"{{"accountId":"i",{rest}}}"#), "i - 0 1 bytes 1");
    check(&format!(r#"{{"accountCode":"c",{rest}}}"#), "- c 0 1 bytes 1");
    check(&format!(r#"{{"account":"x",{rest}}}"#), "x x 0 1 bytes 1");
}

#[test]
fn a_sum_that_is_missing_is_nothing_only_where_nothing_was_counted() {
    let row = |rest: &str| format!(r#"{{"accountId":"i","day":"2026-11-20","bytes.count":2,"bytes.sum":5{rest}}}"#);
    check(&row(r#","total_bytes.count":0,"total_bytes.sum":null"#), "i - 0 2 bytes 5");
    check(&row(""), "i - 0 2 bytes 5");
    let lacking = read_rows(&["bytes", "total_bytes"], 2, &row(r#","total_bytes.count":1"#)).unwrap_err();
    assert!(lacking.to_string().starts_with("expected a column with the SUM of total_bytes; found the columns accountId, "));
}

#[test]
fn a_field_does_not_take_the_column_of_one_whose_code_ends_alike() {
    // The column of `bytes` is absent: its sum is not that of `total_bytes`.
    let row = r#"{"accountId":"i","day":"2026-11-20","total_bytes.count":2,"total_bytes.sum":5}"#;
    check(row, "i - 0 2 total_bytes 5");
    let fields = ["a_b", "ab", "sum", "count"];
    let row = r#"{"accountId":"i","day":"2026-11-20","a_b.sum":1,"a_b.count":1,"ab.sum":2,"ab.count":1,"sum.sum":3,"sum.count":1,"count.sum":4,"count.count":1}"#;
    let rows = read_rows(&fields, 1, row).unwrap();
    let sums: Vec<String> = rows[0].counted.sums.iter().map(|(field, sum)| format!("{field} {sum}")).collect();
    assert_eq!(sums, ["a_b 1", "ab 2", "count 4", "sum 3"]);
}

#[test]
fn a_row_that_cannot_be_read_is_an_error_and_never_zero() {
    let odd = |days: i64, row: &str| read_rows(&["bytes"], days, row).unwrap_err().to_string();
    let counts = r#""bytes.sum":1,"bytes.count":1"#;
    assert!(
        odd(1, &format!(r#"{{"day":"2026-11-20",{counts}}}"#)).starts_with("expected a column with the account's id or code")
    );
    assert!(odd(1, r#"{"accountId":"i","day":"2026-11-20"}"#).starts_with("expected a column with the COUNT of a field"));
    assert!(
        odd(1, r#"{"accountId":"i","bytes.sum":"many","bytes.count":1}"#).starts_with("expected the SUM of bytes to be a number")
    );
    let twice = r#"{"accountId":"i","bytes.sum":1,"bytes_sum":2,"bytes.count":1}"#;
    assert!(odd(1, twice).starts_with("expected the SUM of bytes in one column"));
    assert!(odd(1, "{}").ends_with("found no column"));
    for other in ["[]", "{}", "<html>", r#"{"data":[7]}"#] {
        let asked = Asked { aggregations: &[], from_day: 0, until_day: 1 };
        assert_eq!(read(other.as_bytes(), &asked, 1), Err(Odd::Shape), "{other}");
    }
}

#[test]
fn a_day_that_is_not_known_is_only_that_of_a_question_for_one_day() {
    let row = |day: &str| format!(r#"{{"accountId":"i",{day}"bytes.sum":1,"bytes.count":1}}"#);
    assert_eq!(read_rows(&["bytes"], 1, &row("")).unwrap()[0].day, DAY);
    for day in [
        "",
        r#""day":"2026-11-22","#,
        r#""day":"2026-11-20T01:00:00Z","#,
        r#""day":"yesterday","#,
        r#""day":"2026-11-20","startTime":"2026-11-21","#,
    ] {
        assert!(matches!(read_rows(&["bytes"], 2, &row(day)), Err(Odd::NoDay { .. })), "{day}");
    }
}

#[test]
fn m3ter_says_whether_there_is_more_and_if_it_does_not_a_full_answer_may_have_more() {
    let aggregations = aggregations(&["bytes"]);
    let asked = Asked { aggregations: &aggregations, from_day: DAY, until_day: DAY + 1 };
    let more = |rest: &str, limit| {
        let answer = format!(r#"{{"data":[{{"accountId":"i","bytes.sum":1,"bytes.count":1}}]{rest}}}"#);
        read(answer.as_bytes(), &asked, limit).unwrap().more
    };
    assert!(more(r#","hasMoreData":true"#, 9) && !more(r#","hasMoreData":false"#, 1));
    assert!(more("", 1) && !more("", 2));
}
