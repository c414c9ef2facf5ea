//! Questions to m3ter: its events, its meters and accounts, what it counted.
//!
//! Nothing that is asked changes anything, so each question may be asked again. m3ter publishes the envelope of a list and
//! hardly what is in it: entries are handed on as they came, for whoever reads them leniently.
//!
//! The token goes to m3ter's API alone. A link that an event holds names a file there; the link that m3ter then gives out is
//! signed, leads anywhere, and gets no token.

use bytes::Bytes;
use http::Method;
use relay_core::judge::{Answer, Sent, Turndown, Verdict};
use relay_core::limits::{LIST_BYTES_MAX, PAGE_MAX};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;
use url::form_urlencoded::byte_serialize;

use crate::attempt::{Call, Ended, Trail};
use crate::endpoint::is_safe;
use crate::rate::Rate;
use crate::session::{Session, Undecided};
use crate::transport::AnswerBytesMax;

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Events of failed ingests, newest first, those that somebody marked as actioned too. m3ter keeps them for 28 days.
    Events,
    /// Meters.
    Meters,
    /// Accounts.
    Accounts,
}

impl List {
    fn path(self) -> &'static str {
        match self {
            List::Events => "/events",
            List::Meters => "/meters",
            List::Accounts => "/accounts",
        }
    }

    /// What narrows it down, after the page's size.
    fn filter(self) -> &'static str {
        match self {
            List::Events => "&eventType=IngestValidationFailure&includeActioned=true",
            List::Meters | List::Accounts => "",
        }
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// At most 100 entries, as they came.
    #[serde(default)]
    pub data: Vec<Box<RawValue>>,
    /// What the next page is asked for with; `None` after the last.
    #[serde(default)]
    pub next_token: Option<String>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswered {
    /// m3ter understood, and said no.
    #[error("m3ter refused the question with status {status}")]
    Refused {
        /// HTTP status.
        status: u16,
    },
    /// The fault is ours: credentials, host, permission.
    #[error("m3ter does not let us ask: expected credentials and an organisation that it knows")]
    GiveUp,
    /// What answered was not m3ter, or nothing did.
    #[error("expected an answer of m3ter's; there was none, or it was not m3ter's")]
    Unknown,
    /// m3ter asked for patience, or time ran out.
    #[error("m3ter did not answer in the time there was")]
    Later,
}

#[derive(Deserialize)]
struct Link {
    url: String,
}

impl Session<'_> {
    /// A page of `list`: the first, or the one that `next_token` stands for.
    ///
    /// # Errors
    /// [`NotAnswered`].
    pub async fn page(&self, list: List, next_token: Option<&str>) -> Result<Page, NotAnswered> {
        let token = next_token.map(|token| format!("&nextToken={}", encoded(token))).unwrap_or_default();
        let question = format!("{}?pageSize={PAGE_MAX}{}{token}", list.path(), list.filter());
        let mut page: Page = read(&self.get(&question).await?)?;
        // An empty token would be asked for the first page again, for ever.
        page.next_token = page.next_token.filter(|token| !token.is_empty());
        Ok(page)
    }

    /// Those of `list` that have one of `codes`, at most 100.
    ///
    /// # Errors
    /// [`NotAnswered`].
    pub async fn ids(&self, list: List, codes: &[&str]) -> Result<Page, NotAnswered> {
        let codes: Vec<String> = codes.iter().map(|code| encoded(code)).collect();
        read(&self.get(&format!("{}?pageSize={PAGE_MAX}&codes={}", list.path(), codes.join(","))).await?)
    }

    /// The log of failed measurements that `link`, of an event, leads to. m3ter's link to it lives for five minutes; one that
    /// expired before it was followed is asked for once more.
    ///
    /// # Errors
    /// [`NotAnswered`]; [`NotAnswered::Unknown`] also if the link leads nowhere that is safe.
    pub async fn failed_ingest_log(&self, link: &str) -> Result<Bytes, NotAnswered> {
        let Some(file) = file_of(link) else { return self.download(link).await };
        let question = format!("/measurements/failedIngest/getDownloadUrl?file={}", encoded(&file));
        let signed: Link = read(&self.get(&question).await?)?;
        match self.download(&signed.url).await {
            Err(NotAnswered::Refused { status: 401 | 403 }) => {
                let signed: Link = read(&self.get(&question).await?)?;
                self.download(&signed.url).await
            }
            other => other,
        }
    }

    /// The rows that answer `query`, as m3ter's usage query takes it. At most one a second, after the first ten.
    ///
    /// # Errors
    /// [`NotAnswered`].
    pub async fn usage(&self, query: &serde_json::Value) -> Result<Bytes, NotAnswered> {
        let url = format!("{}/usage/query", self.client.organization_url);
        self.ask(Method::POST, &url, Bytes::from(query.to_string()), &self.client.usage_rate, true).await
    }

    pub(crate) async fn get(&self, question: &str) -> Result<Bytes, NotAnswered> {
        let url = format!("{}{question}", self.client.organization_url);
        self.ask(Method::GET, &url, Bytes::new(), &self.client.config_rate, true).await
    }

    /// Asks with a body. What a question changes, if it does, must bear being asked twice.
    pub(crate) async fn post(&self, path: &str, body: Bytes) -> Result<Bytes, NotAnswered> {
        let url = format!("{}{path}", self.client.organization_url);
        self.ask(Method::POST, &url, body, &self.client.config_rate, true).await
    }

    async fn download(&self, url: &str) -> Result<Bytes, NotAnswered> {
        if !Url::parse(url).is_ok_and(|url| is_safe(&url)) {
            return Err(NotAnswered::Unknown);
        }
        self.ask(Method::GET, url, Bytes::new(), &self.client.download_rate, false).await
    }

    async fn ask(&self, method: Method, url: &str, body: Bytes, rate: &Rate, with_token: bool) -> Result<Bytes, NotAnswered> {
        let answer_bytes_max = Some(AnswerBytesMax(LIST_BYTES_MAX));
        let call = Call { method, url, body, rate, with_token, answer_bytes_max, judge };
        match self.attempts(&call, &mut Trail::default()).await {
            Ended::Accepted { answer, .. } => Ok(answer),
            Ended::Refused { turndown, .. } => Err(NotAnswered::Refused { status: turndown.status }),
            Ended::Undecided(Undecided::GiveUp) => Err(NotAnswered::GiveUp),
            Ended::Undecided(Undecided::Unknown) => Err(NotAnswered::Unknown),
            Ended::Undecided(Undecided::Later) => Err(NotAnswered::Later),
        }
    }
}

/// What an answer to a question means. Asking again is always safe, so less has to be known than of a batch.
fn judge(answer: Answer<'_>, sent: Sent) -> Verdict {
    match answer.status {
        200 => Verdict::Accepted,
        0..=399 => Verdict::Unknown,
        401 | 403 if !sent.token_is_fresh => Verdict::Renew,
        408 | 409 | 429 | 500..=599 => Verdict::Retry { after: answer.retry_after },
        status => Verdict::Refused(Turndown { status, words: String::new(), credentials_likelier: false }),
    }
}

pub(crate) fn read<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, NotAnswered> {
    serde_json::from_slice(answer).map_err(|_| NotAnswered::Unknown)
}

/// The file that m3ter is to be asked a link for; `None` of a link that is one already.
fn file_of(link: &str) -> Option<String> {
    match Url::parse(link) {
        Ok(url) if !url.path().ends_with("getDownloadUrl") => None,
        Ok(url) => url.query_pairs().find(|(name, _)| name == "file").map(|(_, file)| file.into_owned()),
        // No URL: a path within the API, or the file's own.
        Err(_) => Some(link.split_once("file=").map_or(link, |(_, file)| file).to_owned()),
    }
}

pub(crate) fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_names_a_file_of_m3ters_or_is_signed_already() {
        let file = |link: &str| file_of(link);
        let named = Some("failedIngest/a b.json".to_owned());
        assert_eq!(file("https://api.m3ter.com/organizations/o/…/getDownloadUrl?file=failedIngest%2Fa+b.json"), named);
        assert_eq!(file("failedIngest/a b.json"), named);
        assert_eq!(file("/organizations/o/getDownloadUrl?file=failedIngest/a b.json"), named);
        assert_eq!(file("https://bucket.example/log.json?X-Amz-Signature=1&file=x"), None);
    }

    #[test]
    fn only_200_is_an_answer_and_a_no_is_told_from_a_wait() {
        let judged =
            |status, token_is_fresh| judge(Answer { status, body: b"", retry_after: None }, Sent { bytes: 0, token_is_fresh });
        assert_eq!(judged(200, false), Verdict::Accepted);
        for status in [100, 201, 204, 301, 302, 304] {
            assert_eq!(judged(status, false), Verdict::Unknown, "{status}");
        }
        for status in [401, 403] {
            assert_eq!(judged(status, false), Verdict::Renew, "{status}");
            assert!(matches!(judged(status, true), Verdict::Refused(_)), "{status}");
        }
        for status in [408, 409, 429, 500, 502, 503, 504] {
            assert_eq!(judged(status, true), Verdict::Retry { after: None }, "{status}");
        }
        for status in [400, 404, 410, 413, 422] {
            assert!(matches!(judged(status, false), Verdict::Refused(_)), "{status}");
        }
    }
}
