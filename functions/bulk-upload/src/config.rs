//! The settings of the function. The only file that reads the environment; every fault is listed at once.

use lambda_shell::settings::{ConfigErrors, RENAMED, Reader};
use m3ter_client::ClientSettings;
use relay_core::guard::MissingUid;
use relay_store::{LedgerMode, LedgerWrite};

/// Files are not submitted in batches; the client wants a rate all the same.
const SUBMITS_PER_SECOND: f64 = 1.0;

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `M3TER_ORG_ID`, `M3TER_API_URL`, `M3TER_INGEST_URL`.
    pub client: ClientSettings,
    /// `M3TER_SECRET_ARN`: the secret with m3ter's credentials.
    pub secret_arn: String,
    /// `STORE_URL`: where journals, quarantine and ledger are. Files lie in the same bucket.
    pub store_url: String,
    /// `QUEUE_URL`: the queue on which S3 tells of files.
    pub queue_url: String,
    /// `MISSING_UID`: what becomes of a row without uid, unless the file says otherwise.
    pub missing_uid: MissingUid,
    /// `LEDGER_MODE`, `LEDGER_WRITE`: what the ledger keeps, and whether a file waits for it.
    pub ledger: (LedgerMode, LedgerWrite),
    /// `AWS_LAMBDA_FUNCTION_NAME`, set by Lambda: the dimension of the metrics.
    pub function_name: String,
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`: another S3 than AWS's own, for an emulator.
    pub s3_endpoint: Option<String>,
}

/// The settings that the template gives, with their defaults; a test holds the template to them.
pub const SETTINGS: [(&str, Option<&str>); 9] = [
    ("M3TER_ORG_ID", None),
    ("M3TER_SECRET_ARN", None),
    ("STORE_URL", None),
    ("QUEUE_URL", None),
    ("M3TER_API_URL", Some("https://api.m3ter.com")),
    ("M3TER_INGEST_URL", Some("https://ingest.m3ter.com")),
    ("MISSING_UID", Some("refuse")),
    ("LEDGER_MODE", Some("full")),
    ("LEDGER_WRITE", Some("required")),
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
        let queue_url =
            read.text("QUEUE_URL", "the URL of a queue", |url| url.starts_with("https://") || url.starts_with("http://"));
        let (api, ingest) = (read.endpoint("M3TER_API_URL"), read.endpoint("M3TER_INGEST_URL"));
        let missing_uid = read.choice("MISSING_UID", [("refuse", MissingUid::Refuse), ("content", MissingUid::Content)]);
        let mode = read.ledger_mode();
        let write = read.choice("LEDGER_WRITE", [("required", LedgerWrite::Required), ("best-effort", LedgerWrite::BestEffort)]);
        let (function_name, s3_endpoint) = (read.function_name("bulk-upload"), read.s3_endpoint());
        let faults = read.faults;
        let (Some(org_id), Some(secret_arn), Some(store_url), Some(queue_url), Some(api), Some(ingest)) =
            (org_id, secret_arn, store_url, queue_url, api, ingest)
        else {
            return Err(ConfigErrors { faults });
        };
        let (Some(missing_uid), Some(mode), Some(write)) = (missing_uid, mode, write) else {
            return Err(ConfigErrors { faults });
        };
        if !faults.is_empty() {
            return Err(ConfigErrors { faults });
        }
        let client = ClientSettings { org_id, api, ingest, requests_per_second: SUBMITS_PER_SECOND };
        let ledger = (mode, write);
        Ok(Config { client, secret_arn, store_url, queue_url, missing_uid, ledger, function_name, s3_endpoint })
    }

    /// The bucket that `store_url` is in.
    pub fn bucket(&self) -> &str {
        let place = self.store_url.strip_prefix("s3://").unwrap_or_default();
        place.split_once('/').map_or(place, |(bucket, _)| bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("M3TER_ORG_ID", "org-1"),
        ("M3TER_SECRET_ARN", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:m3ter"),
        ("STORE_URL", "s3://bucket/relay"),
        ("QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/uploads"),
    ];

    fn read(more: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let find = |name: &str, vars: &[(&str, &str)]| {
            vars.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        Config::from_vars(|name| find(name, more).or_else(|| find(name, &GOOD)))
    }

    #[test]
    fn the_four_settings_without_a_default_are_enough() {
        let config = read(&[]).unwrap();
        assert_eq!((config.bucket(), config.function_name.as_str()), ("bucket", "bulk-upload"));
        assert_eq!((config.missing_uid, config.ledger), (MissingUid::Refuse, (LedgerMode::Full, LedgerWrite::Required)));
        assert_eq!(read(&[("STORE_URL", "s3://other")]).unwrap().bucket(), "other");
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        let errors = Config::from_vars(|name| (name == "LEDGER_MODE").then(|| "maybe".into())).unwrap_err();
        let names: Vec<_> = errors.faults.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["M3TER_ORG_ID", "M3TER_SECRET_ARN", "STORE_URL", "QUEUE_URL", "LEDGER_MODE"]);
    }

    #[test]
    fn a_misspelt_setting_is_a_fault_although_another_has_a_default() {
        let names = ["MISSING_UIDS".to_owned()];
        let get =
            |name: &str| GOOD.iter().chain(&[("MISSING_UIDS", "x")]).find(|(other, _)| *other == name).map(|(_, v)| (*v).into());
        let errors = Config::from_named(names, get).unwrap_err();
        assert_eq!(errors.to_string(), "MISSING_UIDS: expected no setting of this name; MISSING_UID is one");
    }

    #[test]
    fn each_setting_out_of_range_is_named() {
        for (name, value) in [
            ("M3TER_ORG_ID", "a/b"),
            ("M3TER_SECRET_ARN", "my-secret"),
            ("STORE_URL", "memory:"),
            ("QUEUE_URL", "uploads"),
            ("M3TER_API_URL", "http://api.m3ter.com"),
            ("M3TER_INGEST_URL", "ingest"),
            ("MISSING_UID", "mint"),
            ("LEDGER_MODE", "none"),
            ("LEDGER_WRITE", "maybe"),
        ] {
            let faults = read(&[(name, value)]).unwrap_err().faults;
            assert_eq!(faults.iter().map(|(name, _)| name.as_ref()).collect::<Vec<_>>(), [name], "{value}");
        }
    }
}
