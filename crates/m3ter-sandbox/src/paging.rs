//! Query parameters and pages, the same for every list.
//!
//! An empty value counts as absent (the OpenAPI document allows empty ones), a list may be repeated or joined by
//! commas (m3ter's SDKs do the latter). A page token is opaque to callers; a page that ends the list has none.

use axum::extract::{FromRequestParts, Query};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::request::Parts;
use serde::Serialize;

use crate::answer::Refusal;

/// Most entries on a page, and as many as there are without `pageSize` (OpenAPI: 1 to 100; no default published).
const PAGE_SIZE_MAX: usize = 100;

/// The query parameters of a request.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        query.map(|Query(pairs)| Self(pairs)).map_err(|fault| Refusal::bad(format!("query: {fault}")))
    }
}

impl Params {
    /// One value.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A list, repeated or joined by commas.
    pub(crate) fn list(&self, name: &str) -> Vec<&str> {
        self.0
            .iter()
            .filter(|(key, _)| key == name)
            .flat_map(|(_, value)| value.split(','))
            .filter(|value| !value.is_empty())
            .collect()
    }

    /// A truth value.
    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Refusal::bad(format!("{name}: expected true or false"))),
        }
    }

    /// `pageSize`.
    pub(crate) fn page_size(&self) -> Result<usize, Refusal> {
        match self.text("pageSize").map(str::parse::<usize>) {
            None => Ok(PAGE_SIZE_MAX),
            Some(Ok(size @ 1..=PAGE_SIZE_MAX)) => Ok(size),
            Some(_) => Err(Refusal::bad(format!("pageSize: expected 1 to {PAGE_SIZE_MAX}"))),
        }
    }

    /// `nextToken`, as the number that [`Page::of`] put into it.
    pub(crate) fn after(&self) -> Result<Option<u64>, Refusal> {
        let Some(token) = self.text("nextToken") else { return Ok(None) };
        let number = BASE64_URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        number.map(Some).ok_or_else(|| Refusal::bad("nextToken: expected one that a former page gave"))
    }
}

/// One page of a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<T> {
    data: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

impl<T> Page<T> {
    /// The first `size` of `entries`, each with its number. The next page goes on after the last number of this one.
    pub(crate) fn of(mut entries: impl Iterator<Item = (u64, T)>, size: usize) -> Self {
        let mut data = Vec::new();
        let mut last = None;
        while data.len() < size
            && let Some((number, entry)) = entries.next()
        {
            last = Some(number);
            data.push(entry);
        }
        let more = entries.next().is_some();
        let token = last.filter(|_| more).map(|number| BASE64_URL_SAFE_NO_PAD.encode(number.to_be_bytes()));
        Self { data, next_token: token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn a_list_may_be_repeated_or_joined_by_commas() {
        assert_eq!(params(&[("ids", "a,b"), ("ids", "c"), ("ids", "")]).list("ids"), ["a", "b", "c"]);
        assert!(params(&[]).list("ids").is_empty());
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        let params = params(&[("pageSize", ""), ("nextToken", ""), ("includeActioned", "")]);
        assert_eq!(params.page_size().unwrap(), 100);
        assert_eq!(params.after().unwrap(), None);
        assert_eq!(params.flag("includeActioned").unwrap(), None);
    }

    #[test]
    fn a_bad_value_is_refused() {
        for (name, value) in
            [("pageSize", "0"), ("pageSize", "101"), ("pageSize", "x"), ("nextToken", "x"), ("includeActioned", "1")]
        {
            let params = params(&[(name, value)]);
            assert!(
                params.page_size().is_err() || params.after().is_err() || params.flag("includeActioned").is_err(),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let page = |after: u64| Page::of((after..5).map(|n| (n, n)), 2);
        let first = page(0);
        assert_eq!(first.data, [0, 1]);
        let token = first.next_token.unwrap();
        assert_eq!(params(&[("nextToken", &token)]).after().unwrap(), Some(1));
        assert_eq!(page(4).next_token, None);
        assert_eq!(Page::of((0..2).map(|n| (n, n)), 2).next_token, None, "nothing follows a page that ends the list");
    }
}
