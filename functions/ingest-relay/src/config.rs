//! The settings of the function. The only file that reads the environment; every fault is listed at once.

use std::fmt;

use m3ter_client::{ClientSettings, Endpoint};
use relay::Settings;
use relay_core::guard::MissingUid;
use relay_core::limits::{DAY_MS, EXHAUST_AFTER_DAYS_MAX};

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `M3TER_ORG_ID`, `M3TER_API_URL`, `M3TER_INGEST_URL`, and this environment's share of `REQUESTS_PER_SECOND`.
    pub client: ClientSettings,
    /// `MISSING_UID`, `EXHAUST_AFTER_DAYS`, `BATCHES_IN_FLIGHT`.
    pub walk: Settings,
    /// `M3TER_SECRET_ARN`: the secret with m3ter's credentials.
    pub secret_arn: String,
    /// `STORE_URL`: where the quarantine is.
    pub store_url: String,
    /// `QUEUE_URL`: the queue that messages come from.
    pub queue_url: String,
    /// `AWS_LAMBDA_FUNCTION_NAME`, set by Lambda: the dimension of the metrics.
    pub function_name: String,
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`: another S3 than AWS's own, for an emulator.
    pub s3_endpoint: Option<String>,
}

/// Every setting that is not as it should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Name of the setting, and what was expected.
    pub faults: Vec<(&'static str, String)>,
}

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

/// The settings that the template gives, with their defaults; a test holds the template to them.
pub const SETTINGS: [(&str, Option<&str>); 11] = [
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
];

impl Config {
    /// Reads the process's environment.
    pub fn from_env() -> Result<Config, ConfigErrors> {
        #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
        Config::from_vars(|name| std::env::var(name).ok())
    }

    /// Reads settings from wherever `get` finds them. An empty one is an absent one.
    pub fn from_vars(get: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigErrors> {
        let get = |name: &str| get(name).filter(|value| !value.trim().is_empty());
        let mut read = Reader { get: &get, faults: Vec::new() };

        let org_id = read.text("M3TER_ORG_ID", "the organisation's id: letters, digits, - and _", is_org_id);
        let secret_arn = read.text("M3TER_SECRET_ARN", "the ARN of a Secrets Manager secret", |arn| arn.starts_with("arn:"));
        // The store must outlive the function: memory and Lambda's own disk do not.
        let store_url = read.text("STORE_URL", "s3://bucket/prefix", |url| {
            url.strip_prefix("s3://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
        });
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
        let missing_uid = read.missing_uid();

        let faults = read.faults;
        let (Some(org_id), Some(secret_arn), Some(store_url), Some(queue_url), Some(api), Some(ingest), Some(missing_uid)) =
            (org_id, secret_arn, store_url, queue_url, api, ingest, missing_uid)
        else {
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
            },
            secret_arn,
            store_url,
            queue_url,
            function_name: get("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "ingest-relay".into()),
            s3_endpoint: get("AWS_ENDPOINT_URL_S3").or_else(|| get("AWS_ENDPOINT_URL")),
        })
    }
}

fn is_org_id(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

struct Reader<'g> {
    get: &'g dyn Fn(&str) -> Option<String>,
    faults: Vec<(&'static str, String)>,
}

impl Reader<'_> {
    /// What is set, or the default of [`SETTINGS`].
    fn value(&self, name: &str) -> Option<String> {
        let default = || SETTINGS.iter().find(|(other, _)| *other == name).and_then(|(_, default)| *default);
        (self.get)(name).or_else(|| default().map(str::to_owned))
    }

    fn fault(&mut self, name: &'static str, expected: String) {
        self.faults.push((name, expected));
    }

    fn text(&mut self, name: &'static str, expected: &str, good: impl Fn(&str) -> bool) -> Option<String> {
        let value = self.value(name).filter(|value| good(value));
        if value.is_none() {
            self.fault(name, format!("expected {expected}"));
        }
        value
    }

    fn endpoint(&mut self, name: &'static str) -> Option<Endpoint> {
        match Endpoint::parse(&self.value(name).unwrap_or_default()) {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                self.fault(name, error.to_string());
                None
            }
        }
    }

    fn number(&mut self, name: &'static str, least: u32, most: u32) -> u32 {
        match self.value(name).and_then(|value| value.trim().parse().ok()) {
            Some(number) if (least..=most).contains(&number) => number,
            _ => {
                self.fault(name, format!("expected a whole number from {least} to {most}"));
                least
            }
        }
    }

    fn missing_uid(&mut self) -> Option<MissingUid> {
        match self.value("MISSING_UID").as_deref() {
            Some("refuse") => Some(MissingUid::Refuse),
            Some("content") => Some(MissingUid::Content),
            _ => {
                self.fault("MISSING_UID", "expected refuse or content".into());
                None
            }
        }
    }
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

    fn faults(more: &[(&str, &str)]) -> Vec<&'static str> {
        read(more).err().unwrap_or_default().faults.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_four_settings_without_a_default_are_enough() {
        let config = read(&[]).unwrap();
        assert_eq!((config.client.requests_per_second, config.walk.batches_in_flight), (4.0, 4));
        assert_eq!((config.walk.missing_uid, config.walk.exhaust_after_ms), (MissingUid::Refuse, 10 * DAY_MS));
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        let errors = Config::from_vars(|name| (name == "MISSING_UID").then(|| "maybe".into())).unwrap_err();
        let names: Vec<_> = errors.faults.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["M3TER_ORG_ID", "M3TER_SECRET_ARN", "STORE_URL", "QUEUE_URL", "MISSING_UID"]);
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
        ] {
            assert_eq!(faults(&[(name, value)]), [name], "{value}");
        }
    }

    #[test]
    fn an_empty_setting_is_an_absent_one() {
        assert_eq!(faults(&[("REQUESTS_PER_SECOND", ""), ("STORE_URL", " ")]), ["STORE_URL"]);
    }
}
