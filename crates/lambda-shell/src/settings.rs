//! Reads settings from variables, and goes on after each fault: whoever sets a function up hears of all at once.
//!
//! A name that is nearly that of a setting, or begins as m3ter's do, is a fault too: its value was meant for something, and a default
//! would take its place in silence. A setting that was renamed says its new name.
//!
//! Which settings there are is a function's own affair, as is the one call that reads the environment.

use std::borrow::Cow;
use std::fmt;

#[cfg(feature = "m3ter")]
use m3ter_client::Endpoint;
use relay_core::misspelt;
use relay_store::LedgerMode;

/// Settings that a template gives, each with its default; `None`: it must be given.
pub type Defaults = [(&'static str, Option<&'static str>)];

/// Settings that have another name than they had: the old one, the new one.
pub type Renamed = [(&'static str, &'static str)];

/// The settings that have another name than in an earlier release. None has: 0.1.0 is the first.
pub const RENAMED: &Renamed = &[];

/// What a setting of ours begins with if it is about m3ter.
const PREFIX: &str = "M3TER_";
/// All such settings. One of them may be set where another function alone reads it.
const PREFIXED: [&str; 4] = ["M3TER_ORG_ID", "M3TER_SECRET_ARN", "M3TER_API_URL", "M3TER_INGEST_URL"];

/// Every setting that is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Name of the setting, and what was expected.
    pub faults: Vec<Fault>,
}

/// A name, and what was expected.
pub type Fault = (Cow<'static, str>, String);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, expected)) in self.faults.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(out, "{separator}{name}: {expected}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Reads one setting after another. An empty one is an absent one.
pub struct Reader<'g> {
    get: &'g dyn Fn(&str) -> Option<String>,
    defaults: &'static Defaults,
    /// What was wrong so far.
    pub faults: Vec<Fault>,
}

impl<'g> Reader<'g> {
    /// A reader of what `get` finds.
    pub fn new(get: &'g dyn Fn(&str) -> Option<String>, defaults: &'static Defaults) -> Reader<'g> {
        Reader { get, defaults, faults: Vec::new() }
    }

    /// What is set, or the default.
    pub fn value(&self, name: &str) -> Option<String> {
        let default = || self.defaults.iter().find(|(other, _)| *other == name).and_then(|(_, default)| *default);
        self.given(name).or_else(|| default().map(str::to_owned))
    }

    /// Notes that `name` is not as it should be; `expected` is a sentence without its value.
    pub fn fault(&mut self, name: &'static str, expected: String) {
        self.faults.push((name.into(), expected));
    }

    /// Notes each of `names`, those that are set, that is no setting and was meant to be one: nearly one of these settings, one that was
    /// `renamed`, or any that begins as m3ter's do.
    pub fn names(&mut self, names: impl IntoIterator<Item = String>, renamed: &Renamed) {
        let known = || self.defaults.iter().map(|(name, _)| *name);
        let mut faults: Vec<Fault> = Vec::new();
        for name in names {
            if known().chain(PREFIXED).any(|other| other == name) || self.given(&name).is_none() {
                continue;
            }
            let now = renamed.iter().find(|(old, _)| *old == name).map(|(_, new)| *new);
            let expected = match (now, misspelt::meant(&name, known())) {
                (Some(now), _) => format!("expected its new name, {now}"),
                (None, Some(meant)) => format!("expected no setting of this name; {meant} is one"),
                (None, None) if name.starts_with(PREFIX) => {
                    let ours: Vec<&str> = known().filter(|name| name.starts_with(PREFIX)).collect();
                    format!("expected no setting of this name; those of m3ter are {}", ours.join(", "))
                }
                (None, None) => continue,
            };
            faults.push((name.into(), expected));
        }
        faults.sort_unstable();
        self.faults.extend(faults);
    }

    /// A text that is `good`.
    pub fn text(&mut self, name: &'static str, expected: &str, good: impl Fn(&str) -> bool) -> Option<String> {
        let value = self.value(name).filter(|value| good(value));
        if value.is_none() {
            self.fault(name, format!("expected {expected}"));
        }
        value
    }

    /// A whole number in a range, which is closed. A fault counts as `least`.
    pub fn number(&mut self, name: &'static str, least: u32, most: u32) -> u32 {
        match self.value(name).and_then(|value| value.trim().parse().ok()) {
            Some(number) if (least..=most).contains(&number) => number,
            _ => {
                self.fault(name, format!("expected a whole number from {least} to {most}"));
                least
            }
        }
    }

    /// One of a few words, each with what it stands for.
    pub fn choice<T: Copy, const N: usize>(&mut self, name: &'static str, choices: [(&str, T); N]) -> Option<T> {
        let value = self.value(name);
        let chosen = choices.iter().find(|(word, _)| value.as_deref() == Some(*word)).map(|(_, choice)| *choice);
        if chosen.is_none() {
            self.fault(name, format!("expected one of: {}", choices.map(|(word, _)| word).join(", ")));
        }
        chosen
    }

    /// `M3TER_ORG_ID`: it stands in the path of each request.
    pub fn org_id(&mut self) -> Option<String> {
        let is_id = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        self.text("M3TER_ORG_ID", "the organisation's id: letters, digits, - and _", is_id)
    }

    /// `M3TER_SECRET_ARN`: the secret with m3ter's credentials.
    pub fn secret_arn(&mut self) -> Option<String> {
        self.text("M3TER_SECRET_ARN", "the ARN of a Secrets Manager secret", |arn| arn.starts_with("arn:"))
    }

    /// A base URL of m3ter's.
    #[cfg(feature = "m3ter")]
    pub fn endpoint(&mut self, name: &'static str) -> Option<Endpoint> {
        match Endpoint::parse(&self.value(name).unwrap_or_default()) {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                self.fault(name, error.to_string());
                None
            }
        }
    }

    /// `LEDGER_MODE`: what the relay's ledger keeps.
    pub fn ledger_mode(&mut self) -> Option<LedgerMode> {
        self.choice("LEDGER_MODE", [("full", LedgerMode::Full), ("uids", LedgerMode::Uids), ("off", LedgerMode::Off)])
    }

    /// `STORE_URL`: a bucket. The store must outlive the function: memory and Lambda's own disk do not.
    pub fn store_url(&mut self) -> Option<String> {
        self.text("STORE_URL", "s3://bucket/prefix", |url| {
            url.strip_prefix("s3://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        })
    }

    /// `AWS_LAMBDA_FUNCTION_NAME`, which Lambda sets: the dimension of the metrics. `otherwise` outside Lambda.
    pub fn function_name(&self, otherwise: &str) -> String {
        self.given("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| otherwise.into())
    }

    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`: another S3 than AWS's own, for an emulator.
    pub fn s3_endpoint(&self) -> Option<String> {
        self.given("AWS_ENDPOINT_URL_S3").or_else(|| self.given("AWS_ENDPOINT_URL"))
    }

    fn given(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.trim().is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULTS: [(&str, Option<&str>); 3] = [("STORE_URL", None), ("NUMBER", Some("4")), ("WORD", Some("yes"))];

    fn check<T: PartialEq + fmt::Debug>(
        given: &[(&str, &str)],
        read: impl Fn(&mut Reader<'_>) -> T,
        expected: T,
        faults: &[&'static str],
    ) {
        let get = |name: &str| given.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        let mut reader = Reader::new(&get, &DEFAULTS);
        assert_eq!(read(&mut reader), expected, "{given:?}");
        assert_eq!(reader.faults.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), faults, "{given:?}");
    }

    #[test]
    fn what_is_not_given_or_empty_has_its_default() {
        for given in [&[][..], &[("NUMBER", "")], &[("NUMBER", " ")]] {
            check(given, |reader| reader.number("NUMBER", 1, 5), 4, &[]);
        }
        check(&[("NUMBER", " 5 ")], |reader| reader.number("NUMBER", 1, 5), 5, &[]);
    }

    #[test]
    fn every_fault_is_kept() {
        let read = |reader: &mut Reader<'_>| {
            (reader.number("NUMBER", 1, 5), reader.text("WORD", "no", |word| word == "no"), reader.store_url())
        };
        check(&[("NUMBER", "6")], read, (1, None, None), &["NUMBER", "WORD", "STORE_URL"]);
    }

    #[test]
    fn a_choice_is_one_of_its_words() {
        let read = |reader: &mut Reader<'_>| reader.choice("WORD", [("yes", true), ("no", false)]);
        check(&[], read, Some(true), &[]);
        check(&[("WORD", "no")], read, Some(false), &[]);
        check(&[("WORD", "No")], read, None, &["WORD"]);
    }

    #[test]
    fn a_store_is_a_bucket_that_has_a_name() {
        let read = |reader: &mut Reader<'_>| reader.store_url().is_some();
        for url in ["s3://bucket", "s3://bucket/a/b"] {
            check(&[("STORE_URL", url)], read, true, &[]);
        }
        for url in ["", "bucket", "s3://", "s3:///prefix", "memory:", "file:///tmp"] {
            check(&[("STORE_URL", url)], read, false, &["STORE_URL"]);
        }
    }

    #[test]
    fn the_endpoint_of_s3_alone_goes_before_that_of_everything() {
        let read = |reader: &mut Reader<'_>| reader.s3_endpoint();
        check(&[("AWS_ENDPOINT_URL", "a")], read, Some("a".into()), &[]);
        check(&[("AWS_ENDPOINT_URL", "a"), ("AWS_ENDPOINT_URL_S3", "b")], read, Some("b".into()), &[]);
        check(&[], read, None, &[]);
    }

    /// What is said of `names`, where STORES has become STORE_URL.
    fn said(names: &[&str]) -> String {
        let get = |_: &str| Some("value".to_owned());
        let mut reader = Reader::new(&get, &DEFAULTS);
        reader.names(names.iter().map(|name| (*name).to_owned()), &[("STORES", "STORE_URL")]);
        ConfigErrors { faults: reader.faults }.to_string()
    }

    #[test]
    fn a_setting_that_was_renamed_says_its_new_name() {
        assert_eq!(said(&["STORES"]), "STORES: expected its new name, STORE_URL");
    }

    #[test]
    fn a_misspelt_setting_says_which_it_was_meant_to_be() {
        assert_eq!(said(&["STORE_ULR"]), "STORE_ULR: expected no setting of this name; STORE_URL is one");
        assert_eq!(said(&["store_url"]), "store_url: expected no setting of this name; STORE_URL is one");
    }

    #[test]
    fn what_begins_as_m3ters_settings_do_is_one_of_them() {
        assert!(
            said(&["M3TER_API_SECRET"]).starts_with("M3TER_API_SECRET: expected no setting of this name; those of m3ter are")
        );
        for name in PREFIXED {
            assert_eq!(said(&[name]), "", "another function may read it");
        }
    }

    #[test]
    fn what_is_a_setting_or_nobodys_concern_is_not_mentioned() {
        let of_lambda = ["AWS_REGION", "_HANDLER", "LAMBDA_TASK_ROOT", "PATH", "LD_LIBRARY_PATH", "TZ", "AWS_ENDPOINT_URL"];
        assert_eq!(said(&of_lambda), "");
        assert_eq!(said(&["STORE_URL", "NUMBER", "WORD", "DD_SITE"]), "");
        let get = |_: &str| Some(" ".to_owned());
        let mut reader = Reader::new(&get, &DEFAULTS);
        reader.names(["STORE_ULR".to_owned()], RENAMED);
        assert_eq!(reader.faults, [], "an empty one is an absent one");
    }

    #[test]
    fn each_name_that_is_none_is_said_in_order() {
        let faults = said(&["STORE_ULR", "NUMBERS"]);
        assert_eq!(
            faults,
            "NUMBERS: expected no setting of this name; NUMBER is one; STORE_ULR: expected no setting of this name; STORE_URL is one"
        );
    }

    #[test]
    fn all_faults_are_said_in_one_line() {
        let faults = vec![("A".into(), "expected a".to_owned()), ("B".into(), "expected b".to_owned())];
        assert_eq!(ConfigErrors { faults }.to_string(), "A: expected a; B: expected b");
    }
}
