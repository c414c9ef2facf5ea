//! The report says what the evidence says, and calls nothing balanced that is not.

use super::super::books::Books;
use super::super::plan::Due;
use super::*;

fn ledger(calls: i64, bytes: i64) -> Ledger {
    let meters = format!(r#"{{"{METER}":{{"count":1,"accounts":1,"sums":{{"calls":{calls},"bytes":{bytes}}}}}}}"#);
    let totals = r#"{"requests":0,"received":0,"accepted":0,"ingested":0,"duplicates":0,"rejected":{},
        "ingested_with_error":{},"pending":0,"token_requests":0,"tokens_issued":0}"#;
    serde_json::from_str(&format!(r#"{{"totals":{totals},"meters":{meters},"requests":[]}}"#)).unwrap()
}

/// A request of one invocation that was not full.
fn request(measurements: u64) -> m3ter_sandbox::RequestLine {
    m3ter_sandbox::RequestLine {
        at: jiff::Timestamp::UNIX_EPOCH,
        status: Some(200),
        outcome: m3ter_sandbox::Outcome::Accepted,
        fault: None,
        measurements,
        bytes: 300 * measurements,
        largest_bytes: 300,
        traceparent: Some(format!("00-{:032x}-00000000000000aa-01", 7)),
    }
}

fn produced(calls: u64) -> Produced {
    let due = Due::Ingested;
    Produced { message: 0, position: 0, uid: Some("a".to_owned()), calls, bytes: 10 * calls, text: String::new(), due }
}

fn report(places: Vec<Place>, faults: Vec<String>, left: [u64; 2], after: Ledger) -> Report {
    let produced = [produced(1), produced(1), produced(1), produced(5), produced(7)];
    let books = Books { places, accepted: 4, sent_again: 0, faults };
    let found = Found { books, ledger: after, queued: left[0], dead: left[1] };
    Report::of("2026-11-22T09:30:00Z".parse().unwrap(), &produced, 2, &ledger(100, 1_000), &found, Duration::from_millis(1_234))
}

fn everywhere() -> Vec<Place> {
    let reason = |text: &str| text.to_owned();
    vec![
        Place::Ingested,
        Place::Dropped,
        Place::Collapsed,
        Place::Rejected(reason("UndefinedMeter")),
        Place::Quarantined(reason("Oversize")),
    ]
}

#[test]
fn a_balanced_run_reads_like_this() {
    let text = report(everywhere(), vec![], [0, 0], ledger(101, 1_010)).text(false);
    let wanted = "\
sent 5 measurements in 2 messages
m3ter accepted 4 measurements; accepted is not yet ingested

  ingested                   1  counted by m3ter, once each
  dropped by m3ter           1  DuplicateUid: it had counted a copy
  collapsed                  1  copies within one invocation, submitted once
  rejected later             1  accepted by m3ter, then turned down:
                             1    UndefinedMeter
  quarantined                1  kept in the store, with the reason:
                             1    Oversize

batches: 0 requests in 0 invocations; 0 hold 1,000, 0 closed by bytes, 0 the last of their invocation
money: 1 of calls produced = billed; 10 of bytes produced = billed

5 sent = 1 ingested + 1 dropped + 1 collapsed + 1 rejected later + 1 quarantined
the books balance (1.2 s)";
    assert_eq!(text, wanted);
}

#[test]
fn each_check_alone_is_enough_not_to_balance() {
    let well = || ledger(101, 1_010);
    assert!(report(everywhere(), vec![], [0, 0], well()).verdict().is_ok());
    for (what, broken) in [
        ("a fault in the books", report(everywhere(), vec!["a: lost".to_owned()], [0, 0], well())),
        ("a message left on the queue", report(everywhere(), vec![], [1, 0], well())),
        ("a message left on the dead-letter queue", report(everywhere(), vec![], [0, 1], well())),
        ("too little billed", report(everywhere(), vec![], [0, 0], ledger(100, 1_010))),
        ("too much billed", report(everywhere(), vec![], [0, 0], ledger(101, 1_020))),
    ] {
        assert!(matches!(broken.verdict(), Err(Failure::Data(_))), "{what}");
        assert!(broken.text(false).contains("the books do not balance"), "{what}");
        assert!(!broken.balanced && broken.faults == 1, "{what}");
    }
}

#[test]
fn batches_count_from_where_the_run_began() {
    let with = |sizes: &[u64]| Ledger { requests: sizes.iter().copied().map(request).collect(), ..ledger(101, 1_010) };
    let of = |before: &[u64], after: &[u64]| {
        let before = Ledger { requests: with(before).requests, ..ledger(100, 1_000) };
        let books = Books { places: vec![Place::Ingested], ..Books::default() };
        let found = Found { books, ledger: with(after), queued: 0, dead: 0 };
        Report::of("2026-11-22T09:30:00Z".parse().unwrap(), &[produced(1)], 1, &before, &found, Duration::ZERO)
    };
    assert!(of(&[3], &[3, 5]).verdict().is_ok(), "what came before the run is not held against it");
    assert!(of(&[], &[3, 5]).verdict().is_err(), "two batches of one invocation that were not full");
}

#[test]
fn at_most_five_faults_are_shown() {
    let faults = (0..9).map(|number| format!("fault {number}")).collect();
    let text = report(everywhere(), faults, [0, 0], ledger(101, 1_010)).text(true);
    assert!(text.contains("fault 4\n  and 4 more") && !text.contains("fault 5"), "{text}");
}
