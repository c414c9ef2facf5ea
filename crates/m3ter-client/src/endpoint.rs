//! A base URL that credentials and usage may be sent to.

use url::{Host, Url};

/// An HTTPS base URL; plain HTTP for this machine alone. Holds no path beyond its own and no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    base: String,
}

/// Why a URL is no endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// It is no URL with a host.
    #[error("expected a URL such as https://api.m3ter.com")]
    NotAUrl,
    /// It would send credentials in the open.
    #[error("expected https; plain http is for addresses of this machine alone")]
    NotEncrypted,
    /// It carries what belongs elsewhere.
    #[error("expected a URL without user, password, query and fragment")]
    TooMuch,
}

impl Endpoint {
    /// Reads a base URL; a slash at the end does not matter.
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        let url = Url::parse(text).map_err(|_| EndpointError::NotAUrl)?;
        if !url.has_host() || !["http", "https"].contains(&url.scheme()) {
            return Err(EndpointError::NotAUrl);
        }
        if !is_safe(&url) {
            return Err(EndpointError::NotEncrypted);
        }
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(EndpointError::TooMuch);
        }
        Ok(Endpoint { base: url.as_str().trim_end_matches('/').to_owned() })
    }

    /// The URL of `path`, which begins with a slash.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

/// Whether what goes to `url` is encrypted, or stays on this machine.
pub(crate) fn is_safe(url: &Url) -> bool {
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn https_anywhere_and_plain_http_on_this_machine_alone() {
        for text in [
            "https://api.m3ter.com",
            "https://api.m3ter.com/",
            "http://127.0.0.1:8080",
            "http://localhost",
            "http://[::1]:1/base/",
        ] {
            assert!(Endpoint::parse(text).is_ok(), "{text}");
        }
        assert_eq!(Endpoint::parse("http://api.m3ter.com"), Err(EndpointError::NotEncrypted));
        assert_eq!(Endpoint::parse("http://localhost.evil.example"), Err(EndpointError::NotEncrypted));
    }

    #[test]
    fn what_is_no_plain_base_url_is_refused() {
        for text in ["", "api.m3ter.com", "ftp://localhost", "file:///x"] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::NotAUrl), "{text}");
        }
        for text in ["https://user@host", "https://user:pw@host", "https://host?x=1", "https://host#x"] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::TooMuch), "{text}");
        }
    }

    #[test]
    fn paths_are_put_behind_the_base() {
        assert_eq!(
            Endpoint::parse("http://localhost:1/a/").map(|endpoint| endpoint.at("/b")),
            Ok("http://localhost:1/a/b".into())
        );
    }
}
