//! The settings of the function. The only file that reads the environment; every fault is listed at once.

use lambda_shell::settings::{ConfigErrors, RENAMED, Reader};

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `STORE_URL`: where the quarantine is.
    pub store_url: String,
    /// `AWS_LAMBDA_FUNCTION_NAME`, set by Lambda: the dimension of the metrics.
    pub function_name: String,
    /// `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL`: another S3 than AWS's own, for an emulator.
    pub s3_endpoint: Option<String>,
}

/// The settings that the template gives, with their defaults; a test holds the template to them.
pub const SETTINGS: [(&str, Option<&str>); 1] = [("STORE_URL", None)];

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
        let store_url = read.store_url();
        let (function_name, s3_endpoint) = (read.function_name("dead-letter"), read.s3_endpoint());
        match store_url {
            Some(store_url) if read.faults.is_empty() => Ok(Config { store_url, function_name, s3_endpoint }),
            Some(_) | None => Err(ConfigErrors { faults: read.faults }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_all_that_it_needs() {
        let config = Config::from_vars(|name| (name == "STORE_URL").then(|| "s3://bucket/relay".into())).unwrap();
        assert_eq!((config.store_url.as_str(), config.function_name.as_str()), ("s3://bucket/relay", "dead-letter"));
        assert_eq!(config.s3_endpoint, None);
    }

    #[test]
    fn without_a_store_it_says_what_it_expected() {
        for url in ["", "memory:", "bucket"] {
            let errors = Config::from_vars(|name| (name == "STORE_URL").then(|| url.into())).unwrap_err();
            assert_eq!(errors.to_string(), "STORE_URL: expected s3://bucket/prefix", "{url}");
        }
    }

    #[test]
    fn a_misspelt_setting_is_told_beside_the_one_that_is_missing() {
        let errors = Config::from_named(["STORE_ULR".to_owned()], |name| (name == "STORE_ULR").then(|| "s3://b/r".into()));
        let expected = "STORE_ULR: expected no setting of this name; STORE_URL is one; STORE_URL: expected s3://bucket/prefix";
        assert_eq!(errors.unwrap_err().to_string(), expected);
        assert!(
            Config::from_named(["STORE_UR".to_owned()], |_| Some("s3://b/r".into())).is_err(),
            "also where nothing is missing"
        );
    }
}
