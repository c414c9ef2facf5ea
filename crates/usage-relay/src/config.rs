//! The only file that reads the environment.
//!
//! The credentials of m3ter and of the sandbox come this way and never as flags: a command line is visible to every user of a machine.
//! What the AWS SDK reads by itself (`AWS_REGION`, `AWS_ENDPOINT_URL`, profiles, credentials) is not repeated here.

use std::collections::BTreeSet;

use relay_core::misspelt;

/// Access key id for m3ter or the sandbox.
const ACCESS_KEY_ID: &str = "M3TER_ACCESS_KEY_ID";
/// The secret that goes with it.
const API_SECRET: &str = "M3TER_API_SECRET";
/// The SDK's endpoint for SQS alone, which outranks `AWS_ENDPOINT_URL`.
const ENDPOINT_URL_SQS: &str = "AWS_ENDPOINT_URL_SQS";
/// The same for S3.
const ENDPOINT_URL_S3: &str = "AWS_ENDPOINT_URL_S3";

/// Who is at this machine, as it says itself.
const USER: &str = "USER";
/// Asks for no colour, whatever its value. Source: no-color.org.
const NO_COLOR: &str = "NO_COLOR";
/// What our names are called elsewhere: theirs, ours. Nothing of ours was renamed yet. Source: m3ter's SDKs.
const ELSEWHERE: [(&str, &str); 2] = [("M3TER_API_KEY", ACCESS_KEY_ID), ("M3TER_BASE_URL", "M3TER_API_URL")];

/// Access key id and secret for m3ter. `Debug` shows neither.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// Access key id.
    pub(crate) access_key_id: String,
    /// Secret.
    pub(crate) api_secret: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Credentials(hidden)")
    }
}

/// The credentials that the sandbox takes and the demo uses: from the environment, else the sandbox's own defaults.
///
/// # Errors
/// If only one of the two is set: the other would silently be a default.
pub(crate) fn credentials() -> Result<Credentials, String> {
    credentials_from(variable)
}

fn credentials_from(get: impl Fn(&str) -> Option<String>) -> Result<Credentials, String> {
    match (get(ACCESS_KEY_ID), get(API_SECRET)) {
        (Some(access_key_id), Some(api_secret)) => Ok(Credentials { access_key_id, api_secret }),
        (None, None) => Ok(Credentials { access_key_id: "sandbox".to_owned(), api_secret: "sandbox-secret".to_owned() }),
        _ => Err(format!("expected both {ACCESS_KEY_ID} and {API_SECRET} in the environment, or neither")),
    }
}

/// m3ter's keys. There are no defaults: they would be sent to the real m3ter.
///
/// # Errors
/// If one is missing.
pub(crate) fn m3ter_keys() -> Result<Credentials, String> {
    m3ter_keys_from(variable)
}

fn m3ter_keys_from(get: impl Fn(&str) -> Option<String>) -> Result<Credentials, String> {
    match (get(ACCESS_KEY_ID), get(API_SECRET)) {
        (Some(access_key_id), Some(api_secret)) => Ok(Credentials { access_key_id, api_secret }),
        _ => Err(format!("expected m3ter's keys in the environment: {ACCESS_KEY_ID} and {API_SECRET}")),
    }
}

/// A name in the environment that nothing here reads, and that looks like one of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Strange {
    name: String,
    /// What it was meant to be.
    pub(crate) meant: String,
}

impl std::fmt::Display for Strange {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, meant } = self;
        write!(out, "{name} is in the environment, where nothing reads it: did you mean {meant}?")
    }
}

/// The names that look like one of `flags`, which stand for flags, or like those of m3ter's keys.
pub(crate) fn strange(flags: &BTreeSet<String>) -> Vec<Strange> {
    strange_of(names(), flags, &ELSEWHERE)
}

fn strange_of(given: impl IntoIterator<Item = String>, flags: &BTreeSet<String>, elsewhere: &[(&str, &str)]) -> Vec<Strange> {
    let given: BTreeSet<String> = given.into_iter().collect();
    let known = || flags.iter().map(String::as_str).chain([ACCESS_KEY_ID, API_SECRET]);
    let ours = |name: &str| {
        let renamed = elsewhere.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
        renamed.map(str::to_owned).or_else(|| misspelt::meant(name, known()).map(str::to_owned))
    };
    // What is there under its own name already is not missed.
    let missed = given.iter().filter_map(|name| Some((name, ours(name).filter(|ours| !given.contains(ours))?)));
    missed.map(|(name, meant)| Strange { name: name.clone(), meant }).collect()
}

/// Whether no colour is wanted.
pub(crate) fn wants_no_colour() -> bool {
    variable(NO_COLOR).is_some()
}

/// The endpoint that the environment names for `service` alone, as the SDKs call it: such as `LAMBDA`.
pub(crate) fn service_endpoint(service: &str) -> Option<String> {
    variable(&format!("AWS_ENDPOINT_URL_{service}"))
}

/// The endpoint that the environment names for SQS alone.
pub(crate) fn sqs_endpoint() -> Option<String> {
    variable(ENDPOINT_URL_SQS)
}

/// The endpoint that the environment names for S3 alone.
pub(crate) fn s3_endpoint() -> Option<String> {
    variable(ENDPOINT_URL_S3)
}

/// Who is at this machine: kept with what operators do.
pub(crate) fn user() -> Option<String> {
    variable(USER)
}

/// The value of `name`; unset and empty are the same.
#[expect(clippy::disallowed_methods, reason = "the only file that reads the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The names of everything in the environment.
#[expect(clippy::disallowed_methods, reason = "the only file that reads the environment")]
fn names() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_nothing_reads_and_that_looks_like_one_of_ours_is_told() {
        let flags: BTreeSet<String> = ["STORE_URL", "M3TER_API_URL"].map(str::to_owned).into();
        let strange = |given: &[&str]| {
            let given = given.iter().map(|name| (*name).to_owned());
            strange_of(given, &flags, &[("OLD_NAME", "STORE_URL")]).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let told = |name: &str, meant: &str| {
            vec![format!("{name} is in the environment, where nothing reads it: did you mean {meant}?")]
        };
        assert_eq!(strange(&["STORE_ULR", "PATH"]), told("STORE_ULR", "STORE_URL"));
        assert_eq!(strange(&["M3TER_ACCES_KEY_ID"]), told("M3TER_ACCES_KEY_ID", ACCESS_KEY_ID));
        assert_eq!(strange(&["OLD_NAME"]), told("OLD_NAME", "STORE_URL"));
        for nothing in [&["STORE_URL"][..], &["STORE_URL", "STORE_ULR"], &["HOME", "AWS_REGION"]] {
            assert_eq!(strange(nothing), Vec::<String>::new(), "{nothing:?}");
        }
    }

    #[test]
    fn credentials_come_in_pairs_or_not_at_all() {
        let from = |set: &[(&str, &str)]| {
            credentials_from(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(from(&[]).unwrap().access_key_id, "sandbox");
        assert_eq!(from(&[(ACCESS_KEY_ID, "a"), (API_SECRET, "b")]).unwrap().api_secret, "b");
        assert!(from(&[(ACCESS_KEY_ID, "a")]).unwrap_err().starts_with("expected both"));
        assert!(from(&[(API_SECRET, "b")]).is_err());
    }

    #[test]
    fn keys_for_m3ter_itself_have_no_defaults() {
        let from = |set: &[(&str, &str)]| {
            m3ter_keys_from(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(from(&[(ACCESS_KEY_ID, "a"), (API_SECRET, "b")]).unwrap().access_key_id, "a");
        for set in [&[][..], &[(ACCESS_KEY_ID, "a")], &[(API_SECRET, "b")]] {
            assert!(from(set).unwrap_err().starts_with("expected m3ter's keys"));
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = format!("{:?}", Credentials { access_key_id: "canary".into(), api_secret: "canary".into() });
        assert!(!shown.contains("canary"), "{shown}");
    }
}
