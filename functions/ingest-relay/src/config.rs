//! The settings of the function. The only file that reads the environment; every fault is listed at once.

use lambda_shell::settings::{ConfigErrors, RENAMED, Reader};
use m3ter_client::ClientSettings;
use relay::{Ledger, Preflight, Settings};
use relay_core::guard::MissingUid;
use relay_core::limits::{DAY_MS, EXHAUST_AFTER_DAYS_MAX};
use relay_store::LedgerWrite;

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `M3TER_ORG_ID`, `M3TER_API_URL`, `M3TER_INGEST_URL`, and this environment's share of `REQUESTS_PER_SECOND`.
    pub client: ClientSettings,
    /// `MISSING_UID`, `EXHAUST_AFTER_DAYS`, `BATCHES_IN_FLIGHT`, `LEDGER_MODE`, `LEDGER_WRITE`, `PREFLIGHT`.
    pub walk: Settings,
    /// `M3TER_SECRET_ARN`: the secret with m3ter's credentials.
    pub secret_arn: String,
    /// `STORE_URL`: where quarantine, ledger and catalogue are.
    pub store_url: String,
    /// `PAYLOAD_BUCKETS`: where bodies may lie that are too large for a message.
    pub payload_buckets: Vec<String>,
    /// `QUEUE_URL`: the queue that messages come from.
    pub queue_url: String,
    /// `AWS_LAMBDA_FUNCTION_NAME`, set by Lambda: the dimension of the metrics.
    pub function_name: String,
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`: another S3 than AWS's own, for an emulator.
    pub s3_endpoint: Option<String>,
}

/// The settings that the template gives, with their defaults; a test holds the template to them.
pub const SETTINGS: [(&str, Option<&str>); 15] = [
    ("M3TER_ORG_ID", None),
    ("M3TER_SECRET_ARN", None),
    ("STORE_URL", None),
    ("QUEUE_URL", None),
    ("M3TER_API_URL", Some("https://api.m3ter.com")),
    ("M3TER_INGEST_URL", Some("https://ingest.m3ter.com")),
    ("REQUESTS_PER_SECOND", Some("16")),
    ("MAXIMUM_CONCURRENCY", Some("4")),
    ("BATCHES_IN_FLIGHT", Some("4")),
    ("MISSING_UID", Some("refuse")),
    ("EXHAUST_AFTER_DAYS", Some("10")),
    ("LEDGER_MODE", Some("full")),
    ("LEDGER_WRITE", Some("required")),
    ("PAYLOAD_BUCKETS", Some("")),
    ("PREFLIGHT", Some("warn")),
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

        let org_id = read.org_id();
        let secret_arn = read.secret_arn();
        let store_url = read.store_url();
        let queue_url = read.text(
            "QUEUE_URL",
            "the URL of a standard queue; a FIFO queue allows ten messages a batch and no window",
            |url| (url.starts_with("https://") || url.starts_with("http://")) && !url.ends_with(".fifo"),
        );
        let api = read.endpoint("M3TER_API_URL");
        let ingest = read.endpoint("M3TER_INGEST_URL");
        let requests_per_second = read.number("REQUESTS_PER_SECOND", 1, 50);
        let maximum_concurrency = read.number("MAXIMUM_CONCURRENCY", 2, 1_000);
        let batches_in_flight = read.number("BATCHES_IN_FLIGHT", 1, 16);
        let exhaust_after_days = read.number("EXHAUST_AFTER_DAYS", 1, EXHAUST_AFTER_DAYS_MAX);
        let missing_uid = read.choice("MISSING_UID", [("refuse", MissingUid::Refuse), ("content", MissingUid::Content)]);
        let mode = read.ledger_mode();
        let write = read.choice("LEDGER_WRITE", [("required", LedgerWrite::Required), ("best-effort", LedgerWrite::BestEffort)]);
        let payload_buckets = buckets(&mut read);
        let preflight = [("off", Preflight::Off), ("warn", Preflight::Warn), ("quarantine", Preflight::Quarantine)];
        let preflight = read.choice("PREFLIGHT", preflight);

        let (function_name, s3_endpoint) = (read.function_name("ingest-relay"), read.s3_endpoint());
        let faults = read.faults;
        let (Some(org_id), Some(secret_arn), Some(store_url), Some(queue_url), Some(api), Some(ingest)) =
            (org_id, secret_arn, store_url, queue_url, api, ingest)
        else {
            return Err(ConfigErrors { faults });
        };
        let (Some(missing_uid), Some(mode), Some(write), Some(preflight)) = (missing_uid, mode, write, preflight) else {
            return Err(ConfigErrors { faults });
        };
        if !faults.is_empty() {
            return Err(ConfigErrors { faults });
        }
        let requests_per_second = f64::from(requests_per_second) / f64::from(maximum_concurrency);
        Ok(Config {
            client: ClientSettings { org_id, api, ingest, requests_per_second },
            walk: Settings {
                missing_uid,
                exhaust_after_ms: i64::from(exhaust_after_days) * DAY_MS,
                batches_in_flight: batches_in_flight as usize,
                ledger: Ledger { mode, write },
                preflight,
            },
            secret_arn,
            store_url,
            payload_buckets,
            queue_url,
            function_name,
            s3_endpoint,
        })
    }
}

fn buckets(read: &mut Reader<'_>) -> Vec<String> {
    let value = read.value("PAYLOAD_BUCKETS").unwrap_or_default();
    let names: Vec<String> = value.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    if !names.iter().all(|name| is_bucket(name)) {
        read.fault("PAYLOAD_BUCKETS", "expected names of buckets with commas between them".into());
    }
    names
}

/// Source: S3, general purpose buckets.
fn is_bucket(name: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'.' || byte == b'-';
    let bytes = name.as_bytes();
    (3..=63).contains(&bytes.len()) && bytes.iter().all(|byte| good(*byte)) && is_end(bytes.first()) && is_end(bytes.last())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 4] = [
        ("M3TER_ORG_ID", "org-1"),
        ("M3TER_SECRET_ARN", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:m3ter"),
        ("STORE_URL", "s3://bucket/relay"),
        ("QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/123456789012/usage"),
    ];

    fn read(more: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let find = |name: &str, vars: &[(&str, &str)]| {
            vars.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        };
        Config::from_vars(|name| find(name, more).or_else(|| find(name, &GOOD)))
    }

    fn faults(more: &[(&str, &str)]) -> Vec<String> {
        read(more).err().unwrap_or_default().faults.into_iter().map(|(name, _)| name.into_owned()).collect()
    }

    #[test]
    fn the_four_settings_without_a_default_are_enough() {
        let config = read(&[]).unwrap();
        assert_eq!((config.client.requests_per_second, config.walk.batches_in_flight), (4.0, 4));
        assert_eq!((config.walk.missing_uid, config.walk.exhaust_after_ms), (MissingUid::Refuse, 10 * DAY_MS));
        assert_eq!((config.walk.ledger, config.walk.preflight), (Ledger::default(), Preflight::Warn));
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        let errors = Config::from_vars(|name| (name == "MISSING_UID").then(|| "maybe".into())).unwrap_err();
        let names: Vec<_> = errors.faults.iter().map(|(name, _)| name.as_ref()).collect();
        assert_eq!(names, ["M3TER_ORG_ID", "M3TER_SECRET_ARN", "STORE_URL", "QUEUE_URL", "MISSING_UID"]);
    }

    #[test]
    fn a_misspelt_setting_is_a_fault_although_another_has_a_default() {
        let given = [("REQUEST_PER_SECOND", "50"), ("M3TER_ACCESS_KEY_ID", "canary")];
        let get = |name: &str| GOOD.iter().chain(&given).find(|(other, _)| *other == name).map(|(_, v)| (*v).to_owned());
        let names = GOOD.iter().chain(&given).map(|(name, _)| (*name).to_owned());
        let text = Config::from_named(names, get).unwrap_err().to_string();
        let expected = "REQUEST_PER_SECOND: expected no setting of this name; REQUESTS_PER_SECOND is one";
        assert!(text.starts_with("M3TER_ACCESS_KEY_ID: expected no setting") && text.ends_with(expected), "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn each_setting_out_of_range_is_named() {
        for (name, value) in [
            ("M3TER_ORG_ID", "a/b"),
            ("M3TER_SECRET_ARN", "my-secret"),
            ("STORE_URL", "bucket"),
            ("QUEUE_URL", "usage"),
            ("QUEUE_URL", "https://sqs.eu-west-1.amazonaws.com/1/usage.fifo"),
            ("M3TER_API_URL", "http://api.m3ter.com"),
            ("M3TER_INGEST_URL", "ingest"),
            ("REQUESTS_PER_SECOND", "0"),
            ("REQUESTS_PER_SECOND", "51"),
            ("STORE_URL", "s3:///prefix"),
            ("STORE_URL", "memory:"),
            ("STORE_URL", "file:///tmp"),
            ("MAXIMUM_CONCURRENCY", "1"),
            ("MAXIMUM_CONCURRENCY", "many"),
            ("BATCHES_IN_FLIGHT", "17"),
            ("MISSING_UID", "Refuse"),
            ("EXHAUST_AFTER_DAYS", "11"),
            ("LEDGER_MODE", "uid"),
            ("LEDGER_WRITE", "best effort"),
            ("PAYLOAD_BUCKETS", "s3://payloads"),
            ("PAYLOAD_BUCKETS", "payloads,Payloads"),
            ("PAYLOAD_BUCKETS", "payloads,-payloads"),
            ("PREFLIGHT", "on"),
        ] {
            assert_eq!(faults(&[(name, value)]), [name], "{value}");
        }
    }

    #[test]
    fn an_empty_setting_is_an_absent_one() {
        assert_eq!(faults(&[("REQUESTS_PER_SECOND", ""), ("STORE_URL", " ")]), ["STORE_URL"]);
    }
}
