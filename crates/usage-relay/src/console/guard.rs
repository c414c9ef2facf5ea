//! Who may ask: the page that this process served, and nobody else's.
//!
//! Any page that is open in the same browser can send requests to loopback, and a name of its own can be made to point here (DNS
//! rebinding). So every request must name this very address as its host; what changes something must also come from this origin and
//! carry the word that only the page knows. Answers carry no permission for other origins to read them.
//!
//! Absent: protection from others who can log in to this machine. They reach loopback as the sandbox and the emulator do.

use std::net::SocketAddr;

use axum::http::{HeaderMap, header};

/// The header with the page's word.
pub(super) const WORD: &str = "x-console-word";

/// What requests are held against.
#[derive(Clone)]
pub(super) struct Guard {
    hosts: [String; 2],
    word: String,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    /// Another host: perhaps a foreign name that points here.
    #[error("expected the console's own address as Host")]
    Host,
    /// Another page.
    #[error("expected a request of the console's own page")]
    Origin,
    /// Not the page that this process served.
    #[error("expected the word of the page; load it again")]
    Word,
}

impl Guard {
    /// For a console at `address`, whose page knows `word`.
    pub(super) fn new(address: SocketAddr, word: String) -> Self {
        Self { hosts: [address.to_string(), format!("localhost:{}", address.port())], word }
    }

    /// The word.
    pub(super) fn word(&self) -> &str {
        &self.word
    }

    /// Whether a request may read.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn may_read(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let host = text(headers, header::HOST.as_str());
        if !self.hosts.iter().any(|known| host == Some(known)) {
            return Err(Refused::Host);
        }
        // Browsers send neither with the address bar's request.
        let origin = text(headers, header::ORIGIN.as_str());
        let is_own = origin.is_none_or(|origin| Some(origin.strip_prefix("http://").unwrap_or_default()) == host);
        // Whoever follows a link to the page opens it, and whoever linked to it learns nothing by that.
        let is_opened = text(headers, "sec-fetch-mode") == Some("navigate");
        let is_same = text(headers, "sec-fetch-site").is_none_or(|site| matches!(site, "same-origin" | "none"));
        if is_own && (is_same || is_opened) { Ok(()) } else { Err(Refused::Origin) }
    }

    /// Whether a request may change something.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) fn may_act(&self, headers: &HeaderMap) -> Result<(), Refused> {
        self.may_read(headers)?;
        if !headers.contains_key(header::ORIGIN) || text(headers, "sec-fetch-mode") == Some("navigate") {
            return Err(Refused::Origin);
        }
        if text(headers, WORD) == Some(&self.word) { Ok(()) } else { Err(Refused::Word) }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Guard").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// The value of a header that stands there once.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    // Twice is nobody's browser: something that matches nothing.
    if values.next().is_some() { Some("") } else { Some(value.to_str().unwrap_or_default()) }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const OWN: (&str, &str) = ("host", "127.0.0.1:7");
    const ORIGIN: (&str, &str) = ("origin", "http://127.0.0.1:7");
    const KNOWN: (&str, &str) = (WORD, "secret");

    fn guard() -> Guard {
        Guard::new("127.0.0.1:7".parse().unwrap(), "secret".to_owned())
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::try_from(*value).unwrap());
        }
        headers
    }

    #[test]
    fn only_the_consoles_own_address_is_answered() {
        let reads = |pairs: &[_]| guard().may_read(&headers(pairs));
        assert_eq!(reads(&[OWN]), Ok(()));
        assert_eq!(reads(&[("host", "localhost:7")]), Ok(()));
        for host in ["evil.example:7", "127.0.0.1", "127.0.0.1:8", "localhost", "localhost.evil.example:7", ""] {
            assert_eq!(reads(&[("host", host)]), Err(Refused::Host), "{host}");
        }
        assert_eq!(reads(&[]), Err(Refused::Host));
        assert_eq!(reads(&[OWN, OWN]), Err(Refused::Host), "twice");
    }

    #[test]
    fn another_pages_request_is_refused_even_if_it_only_reads() {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:8"),
            ("origin", "https://127.0.0.1:7"),
            ("origin", "http://localhost:7"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(guard().may_read(&headers(&[OWN, (name, value)])), Err(Refused::Origin), "{name}: {value}");
        }
    }

    #[test]
    fn a_link_from_elsewhere_opens_the_page_and_does_no_more() {
        let link = [OWN, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")];
        assert_eq!(guard().may_read(&headers(&link)), Ok(()));
        assert_eq!(guard().may_act(&headers(&[&link[..], &[ORIGIN, KNOWN]].concat())), Err(Refused::Origin));
    }

    #[test]
    fn to_change_something_takes_origin_and_word() {
        let acts = |pairs: &[_]| guard().may_act(&headers(pairs));
        assert_eq!(acts(&[OWN, ORIGIN, KNOWN]), Ok(()));
        assert_eq!(acts(&[OWN, ORIGIN, KNOWN, ("sec-fetch-site", "same-origin")]), Ok(()));
        assert_eq!(acts(&[("host", "localhost:7"), ("origin", "http://localhost:7"), KNOWN]), Ok(()));
        assert_eq!(acts(&[OWN, KNOWN]), Err(Refused::Origin));
        assert_eq!(acts(&[OWN, ORIGIN]), Err(Refused::Word));
        assert_eq!(acts(&[OWN, ORIGIN, (WORD, "guess")]), Err(Refused::Word));
        assert_eq!(acts(&[ORIGIN, KNOWN]), Err(Refused::Host));
    }

    #[test]
    fn the_word_is_not_shown() {
        assert!(!format!("{:?}", guard()).contains("secret"));
    }
}
