//! The catalogue by example: what is a finding, what is none, and what a refusal says.

use super::*;
use crate::decode::Found;
use crate::guard::{FirstSent, Judged, MissingUid, Rules, guard};

/// 2026-11-17T10:00:00Z.
const NOW_MS: i64 = 1_794_909_600_000;
const NOTHING: Findings = Findings { meter_unknown: false, field_missing: false, field_unconfigured: false, account_near: false };

fn catalogue() -> Catalogue {
    let mut catalogue = Catalogue::builder(NOW_MS, 3);
    catalogue.meter("api", [("MEASURE", "calls"), ("WHAT", "region")]);
    catalogue.meter("disk", [("MEASURE", "bytes")]);
    for (code, skeleton) in [("Acme-Corp", false), ("Ümläut", false), ("acme corp", true), ("ghost", true), ("-", false)] {
        catalogue.account(code, skeleton);
    }
    catalogue.build()
}

fn text(meter: &str, account: &str, fields: &str) -> String {
    format!(r#"{{"uid":"u","meter":"{meter}","account":"{account}","ts":"2026-11-17T10:00:00Z"{fields}}}"#)
}

fn guarded<'a>(text: &'a str, arena: &'a Bump) -> Guarded<'a> {
    let found = Found { message: 0, position: 0, text, refusal: None, read: None };
    let rules = Rules { missing_uid: MissingUid::Refuse, now_ms: NOW_MS };
    match guard(&found, FirstSent::NotBefore(NOW_MS), rules, arena) {
        Judged::Good(guarded) => guarded,
        other @ (Judged::NotDue(_) | Judged::Refused(_)) => panic!("{text}: {other:?}"),
    }
}

fn judged(catalogue: &mut Catalogue, text: &str) -> (Findings, Option<String>) {
    let arena = Bump::new();
    let guarded = guarded(text, &arena);
    let findings = catalogue.check(&guarded);
    let refusal = catalogue.refusal(&guarded, findings);
    (findings, refusal.map(|refusal| format!("{}: {}", refusal.reason.name(), refusal.detail)))
}

/// A measurement of the meter `api` with these data fields is found to lack one, and to have one that is not configured.
fn check_fields(fields: &str, missing: bool, unconfigured: bool) {
    let expected = Findings { field_missing: missing, field_unconfigured: unconfigured, ..NOTHING };
    let mut catalogue = catalogue();
    // Twice, since the second time it is remembered.
    for _ in 0..2 {
        let (found, refusal) = judged(&mut catalogue, &text("api", "Acme-Corp", fields));
        assert_eq!((found, refusal.is_some()), (expected, missing), "{fields}");
    }
}

fn check_account(account: &str, near: bool) {
    let fields = r#","measure":{"bytes":1}"#;
    let (found, refusal) = judged(&mut catalogue(), &text("disk", account, fields));
    assert_eq!((found, refusal.is_some()), (Findings { account_near: near, ..NOTHING }, near), "{account}");
}

#[test]
fn what_has_exactly_the_data_fields_of_its_meter_is_no_finding_in_whatever_order() {
    check_fields(r#","measure":{"calls":1},"what":{"region":"eu"}"#, false, false);
    check_fields(r#","what":{"region":"eu"},"measure":{"calls":1}"#, false, false);
    check_fields(r#","what":{"re\u0067ion":"eu"},"measure":{"calls":1},"cost":null,"who":{}"#, false, false);
}

#[test]
fn a_data_field_of_the_meter_that_is_not_there_is_missing_and_another_is_unconfigured() {
    check_fields(r#","measure":{"calls":1}"#, true, false);
    check_fields("", true, false);
    check_fields(r#","measure":{"calls":1,"more":2},"what":{"region":"eu"}"#, false, true);
    check_fields(r#","measure":{"calls":1},"where":{"region":"eu"}"#, true, true);
    check_fields(r#","measure":{"calls":1},"what":{"Region":"eu"}"#, true, true);
}

#[test]
fn a_meter_that_m3ter_has_not_is_unknown_and_nothing_is_said_of_its_fields() {
    let (found, refusal) = judged(&mut catalogue(), &text("API", "Acme-Corp", ""));
    assert_eq!(found, Findings { meter_unknown: true, ..NOTHING });
    assert_eq!(refusal.unwrap(), "MeterUnknown: expected a meter that m3ter had at 2026-11-17T10:00:00Z, found the code `API`");
}

#[test]
fn an_account_that_differs_only_in_how_it_is_written_is_near_and_one_that_is_unknown_is_nothing() {
    for near in ["acme-corp", "ACME CORP", "Acme_Corp", "acmecorp", "A c-m_e corp", "ümLÄut", "Ghost", "g-host"] {
        check_account(near, true);
    }
    for other in ["Acme-Corp", "Ümläut", "acme-corp-2", "acme.corp", "new customer", "ghost", "umlaut"] {
        check_account(other, false);
    }
}

#[test]
fn a_skeleton_beside_a_real_account_of_the_same_letters_is_still_the_mistake() {
    check_account("acme corp", true);
}

#[test]
fn codes_of_separators_alone_are_not_near_to_each_other() {
    check_account("_", false);
}

#[test]
fn a_refusal_names_all_that_is_missing_and_the_gravest_finding_alone() {
    let (found, refusal) = judged(&mut catalogue(), &text("api", "ACME", r#","measure":{"more":1}"#));
    assert_eq!(found, Findings { field_missing: true, field_unconfigured: true, ..NOTHING });
    let expected = "FieldMissing: expected every data field that the meter `api` had at 2026-11-17T10:00:00Z; missing: measure.calls, \
        what.region";
    assert_eq!(refusal.unwrap(), expected);
    let (found, refusal) = judged(&mut catalogue(), &text("nope", "acme-corp", ""));
    assert!(found.meter_unknown && found.account_near && refusal.unwrap().starts_with("MeterUnknown"));
    let (_, refusal) = judged(&mut catalogue(), &text("disk", "acme-corp", r#","measure":{"bytes":1}"#));
    let refusal = refusal.unwrap();
    assert!(refusal.starts_with("AccountNearMiss: expected an account") && refusal.contains("`acme-corp`"), "{refusal}");
}

#[test]
fn a_measurement_is_not_refused_for_what_only_its_number_says() {
    let arena = Bump::new();
    let text = text("disk", "Acme-Corp", r#","measure":{"bytes":1}"#);
    let guarded = guarded(&text, &arena);
    let wrong = Findings { field_missing: true, meter_unknown: true, ..NOTHING };
    assert_eq!(catalogue().refusal(&guarded, wrong), None);
}

#[test]
fn a_catalogue_without_meters_says_nothing_of_meters() {
    let mut catalogue = Catalogue::builder(NOW_MS, 0);
    catalogue.account("acme", false);
    let (found, _) = judged(&mut catalogue.build(), &text("api", "ACME", ""));
    assert_eq!(found, Findings { account_near: true, ..NOTHING });
}

#[test]
fn a_category_of_tomorrow_is_passed_over() {
    let mut catalogue = Catalogue::builder(NOW_MS, 0);
    catalogue.meter("api", [("MEASURE", "calls"), ("WHEN", "hour")]);
    assert_eq!(judged(&mut catalogue.build(), &text("api", "a", r#","measure":{"calls":1}"#)).0, NOTHING);
}

#[test]
fn what_is_remembered_of_odd_measurements_is_bounded_and_stays_right() {
    let mut catalogue = catalogue();
    for number in 0..2 * KINDS_MAX + 10 {
        let (found, _) =
            judged(&mut catalogue, &text("disk", "Acme-Corp", &format!(r#","measure":{{"bytes":1,"f{number}":1}}"#)));
        assert_eq!(found, Findings { field_unconfigured: true, ..NOTHING });
        assert!(catalogue.kinds.len() <= KINDS_MAX);
    }
}

#[test]
fn every_code_that_was_put_in_is_found_and_no_other() {
    for count in [0, 1, 2, 3, 100, 10_000] {
        let of =
            |from: usize| (from..from + count).map(|number| hash(format!("customer-{number}").as_bytes())).collect::<Vec<_>>();
        let codes = Codes::of(&of(0));
        assert!(of(0).iter().all(|hash| codes.contains(*hash)));
        assert!(!of(count).iter().any(|hash| codes.contains(*hash)), "{count}");
        assert!(codes.slots.iter().filter(|slot| **slot == 0).count() * 3 >= codes.slots.len());
    }
    // All of one place, the last: they wrap round.
    let crowd: Vec<u64> = (0..20).map(|number| u64::MAX - number).collect();
    let codes = Codes::of(&crowd);
    assert!(crowd.iter().all(|hash| codes.contains(*hash)) && !codes.contains(u64::MAX - 20));
}

#[test]
fn an_account_is_known_by_any_number_of_skeletons_of_its_own_letters() {
    let mut catalogue = Catalogue::builder(NOW_MS, 0);
    for code in ["new one", "new-one"] {
        catalogue.account(code, true);
    }
    let mut catalogue = catalogue.build();
    let near = |catalogue: &mut Catalogue, account: &str| judged(catalogue, &text("m", account, "")).0.account_near;
    assert!(!near(&mut catalogue, "new one") && !near(&mut catalogue, "new-one") && near(&mut catalogue, "newone"));
}

#[test]
fn hashes_of_similar_codes_differ_and_spread() {
    let codes = (0..200_000).map(|number| format!("customer-{number}"));
    let hashes: HashSet<u64> = codes.map(|code| hash(code.as_bytes())).collect();
    assert_eq!(hashes.len(), 200_000);
    // A table takes its place from the low bits, and its tag from the seven highest.
    for places in [|hash: &u64| hash & 0xffff, |hash: &u64| hash >> 57] {
        let mut counts: HashMap<u64, usize> = HashMap::new();
        hashes.iter().for_each(|hash| *counts.entry(places(hash)).or_default() += 1);
        let (most, even) = (counts.values().max().unwrap(), hashes.len() / counts.len());
        assert!(*most < 2 * even + 20, "{most} in one place, {even} would be even");
    }
    assert_ne!(hash(b""), hash(b"\0"));
    assert_ne!(hash(b"\0"), hash(b"\0\0"));
}
