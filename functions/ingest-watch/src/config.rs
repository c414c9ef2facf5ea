//! The settings of the function. The only file that reads the environment; every fault is listed at once.

use lambda_shell::settings::{ConfigErrors, RENAMED, Reader};
use m3ter_client::ClientSettings;
use relay_store::LedgerMode;

/// This function submits nothing; the client wants a rate all the same.
const SUBMITS_PER_SECOND: f64 = 1.0;

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `M3TER_ORG_ID`, `M3TER_API_URL`.
    pub client: ClientSettings,
    /// `M3TER_SECRET_ARN`: the secret with m3ter's credentials.
    pub secret_arn: String,
    /// `STORE_URL`: where ledger and quarantine are.
    pub store_url: String,
    /// `LEDGER_MODE`: what the relay's ledger keeps, and so what m3ter's answers can be held against.
    pub ledger: LedgerMode,
    /// `AWS_LAMBDA_FUNCTION_NAME`, set by Lambda: the dimension of the metrics.
    pub function_name: String,
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`: another S3 than AWS's own, for an emulator.
    pub s3_endpoint: Option<String>,
}

/// The settings that the template gives, with their defaults; a test holds the template to them.
pub const SETTINGS: [(&str, Option<&str>); 5] = [
    ("M3TER_ORG_ID", None),
    ("M3TER_SECRET_ARN", None),
    ("STORE_URL", None),
    ("M3TER_API_URL", Some("https://api.m3ter.com")),
    ("LEDGER_MODE", Some("full")),
];

impl Config {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Config, ConfigErrors> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        let (names, get) = (std::env::vars_os(), |name: &str| std::env::var(name).ok());
        Config::from_named(names.filter_map(|(name, _)| name.into_string().ok()), get)
    }

    /// Reads settings from wherever `get` finds them. An empty one is an absent one.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        Config::from_named([], get)
    }

    /// The same, where `names` are all that are set: one that is no setting and was meant to be one is a fault.
    pub fn from_named(
        names: impl IntoIterator<Item = String>,
        get: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigErrors> {
        let mut read = Reader::new(&get, &SETTINGS);
        read.names(names, RENAMED);
        let (org_id, secret_arn, store_url) = (read.org_id(), read.secret_arn(), read.store_url());
        let (api, ledger) = (read.endpoint("M3TER_API_URL"), read.ledger_mode());
        let (function_name, s3_endpoint) = (read.function_name("ingest-watch"), read.s3_endpoint());
        let (Some(org_id), Some(secret_arn), Some(store_url), Some(api), Some(ledger)) =
            (org_id, secret_arn, store_url, api, ledger)
        else {
            return Err(ConfigErrors { faults: read.faults });
        };
        if !read.faults.is_empty() {
            return Err(ConfigErrors { faults: read.faults });
        }
        let client = ClientSettings { org_id, ingest: api.clone(), api, requests_per_second: SUBMITS_PER_SECOND };
        Ok(Config { client, secret_arn, store_url, ledger, function_name, s3_endpoint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 3] = [
        ("M3TER_ORG_ID", "org-1"),
        ("M3TER_SECRET_ARN", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:m3ter"),
        ("STORE_URL", "s3://bucket/relay"),
    ];

    fn read(more: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let find = |name: &str, vars: &[(&str, &str)]| {
            vars.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        Config::from_vars(|name| find(name, more).or_else(|| find(name, &GOOD)))
    }

    #[test]
    fn the_three_settings_without_a_default_are_enough() {
        let config = read(&[]).unwrap();
        assert_eq!((config.store_url.as_str(), config.function_name.as_str()), ("s3://bucket/relay", "ingest-watch"));
        assert_eq!((config.ledger, config.s3_endpoint), (LedgerMode::Full, None));
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        let errors = Config::from_vars(|name| (name == "LEDGER_MODE").then(|| "maybe".into())).unwrap_err();
        let names: Vec<_> = errors.faults.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["M3TER_ORG_ID", "M3TER_SECRET_ARN", "STORE_URL", "LEDGER_MODE"]);
    }

    #[test]
    fn a_misspelt_setting_is_a_fault_although_another_has_a_default() {
        let get =
            |name: &str| GOOD.iter().chain(&[("LEDGER_MOD", "off")]).find(|(other, _)| *other == name).map(|(_, v)| (*v).into());
        let names = || GOOD.iter().map(|(name, _)| (*name).to_owned());
        assert!(Config::from_named(names(), get).is_ok());
        let errors = Config::from_named(names().chain(["LEDGER_MOD".to_owned()]), get).unwrap_err();
        assert_eq!(errors.to_string(), "LEDGER_MOD: expected no setting of this name; LEDGER_MODE is one");
    }

    #[test]
    fn each_setting_out_of_range_is_named() {
        for (name, value) in [
            ("M3TER_ORG_ID", "a/b"),
            ("M3TER_SECRET_ARN", "my-secret"),
            ("STORE_URL", "memory:"),
            ("STORE_URL", "bucket"),
            ("M3TER_API_URL", "http://api.m3ter.com"),
            ("LEDGER_MODE", "none"),
        ] {
            let faults = read(&[(name, value)]).unwrap_err().faults;
            assert_eq!(faults.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), [name], "{value}");
        }
    }
}
