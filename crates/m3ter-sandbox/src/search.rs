//! `GET /accounts/search`: a small query language over accounts.
//!
//! As m3ter's SDKs document it: terms `field` `comparator` `value`, delimited by `$`; comparators `:` `~` (starts
//! with) `>` `>=` `<` `<=`; ten accounts a page unless said otherwise, the next from `fromDocument`. Values compare as
//! text. The sandbox's own choice: matching ignores case, and AND holds where no `operator` is given.

use axum::extract::{Path, State};
use http::request::Parts;
use serde_json::{Map, Value};

use crate::answer::{Refusal, ok};
use crate::config_routes::{Answer, Place};
use crate::paging::{Page, Params};
use crate::sandbox::Sandbox;

/// Accounts on a page without `pageSize` (m3ter's SDK reference).
const PAGE_SIZE: usize = 10;

/// The fields that may be searched, each with the property it looks at (m3ter's SDK reference).
const FIELDS: [(&str, &str); 11] = [
    ("name", "name"),
    ("code", "code"),
    ("codes", "code"),
    ("id", "id"),
    ("ids", "id"),
    ("currency", "currency"),
    ("purchaseOrderNumber", "purchaseOrderNumber"),
    ("parentAccountId", "parentAccountId"),
    ("createdBy", "createdBy"),
    ("dtCreated", "dtCreated"),
    ("lastModifiedBy", "lastModifiedBy"),
];

/// Longest first, so that `>=` is not read as `>`.
const COMPARATORS: [&str; 6] = [">=", "<=", ">", "<", ":", "~"];

/// `GET /accounts/search`.
pub(crate) async fn accounts(State(sandbox): State<Sandbox>, Path(place): Path<Place>, params: Params, parts: Parts) -> Answer {
    let mut inner = sandbox.lock();
    inner.admit_parts(&parts, &place)?;
    let terms = terms(params.text("searchQuery").unwrap_or(""))?;
    let any = one_of(&params, "operator", "AND", "OR")?;
    let descending = one_of(&params, "sortOrder", "ASC", "DESC")?;
    let from: usize = match params.text("fromDocument").map(str::parse) {
        None => 0,
        Some(Ok(from)) => from,
        Some(Err(_)) => return Err(Refusal::bad("fromDocument: expected a whole number")),
    };
    let size = if params.text("pageSize").is_some() { params.page_size()? } else { PAGE_SIZE };
    let fits = |view: &Map<String, Value>| {
        let mut fits = terms.iter().map(|term| term.fits(view));
        if any { terms.is_empty() || fits.any(|fits| fits) } else { fits.all(|fits| fits) }
    };
    let mut found: Vec<&Map<String, Value>> =
        inner.book.accounts.live().map(|(_, entry)| &entry.view).filter(|view| fits(view)).collect();
    if let Some(property) = params.text("sortBy") {
        found.sort_by_key(|view| text(view, property));
    }
    if descending {
        found.reverse();
    }
    // No token: a further page is asked for by `fromDocument`.
    Ok(ok(&Page::of((0..).zip(found.into_iter().skip(from).take(size)), size)))
}

/// Whether the parameter says `yes`; `no` by default.
fn one_of(params: &Params, name: &str, no: &str, yes: &str) -> Result<bool, Refusal> {
    match params.text(name) {
        None => Ok(false),
        Some(value) if value == no => Ok(false),
        Some(value) if value == yes => Ok(true),
        Some(_) => Err(Refusal::bad(format!("{name}: expected {no} or {yes}"))),
    }
}

/// One term of a search.
#[derive(Debug)]
struct Term {
    property: &'static str,
    comparator: &'static str,
    value: String,
}

/// Reads a search.
fn terms(query: &str) -> Result<Vec<Term>, Refusal> {
    query.split('$').filter(|term| !term.trim().is_empty()).map(term).collect()
}

fn term(text: &str) -> Result<Term, Refusal> {
    let expected = || Refusal::bad(format!("searchQuery: expected field, one of : ~ > >= < <= and value, found {text:?}"));
    let at = text.find([':', '~', '>', '<']).ok_or_else(expected)?;
    let (field, rest) = text.split_at(at);
    let comparator = COMPARATORS.into_iter().find(|comparator| rest.starts_with(comparator)).ok_or_else(expected)?;
    let (_, property) = FIELDS.into_iter().find(|(name, _)| *name == field.trim()).ok_or_else(expected)?;
    let value = rest.strip_prefix(comparator).unwrap_or_default().trim().to_lowercase();
    Ok(Term { property, comparator, value })
}

impl Term {
    fn fits(&self, view: &Map<String, Value>) -> bool {
        let found = text(view, self.property);
        match self.comparator {
            ":" => self.value.split(',').any(|value| value == found),
            "~" => found.starts_with(&self.value),
            ">" => found > self.value,
            ">=" => found >= self.value,
            "<" => found < self.value,
            _ => found <= self.value,
        }
    }
}

/// A property as text, without case.
fn text(view: &Map<String, Value>, property: &str) -> String {
    match view.get(property) {
        Some(Value::String(text)) => text.to_lowercase(),
        Some(Value::Null) | None => String::new(),
        Some(other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_delimited_by_dollars() {
        let view: Map<String, Value> = serde_json::from_str(r#"{"name":"Premium One","currency":"USD"}"#).unwrap();
        let fits = |query: &str| terms(query).unwrap().iter().all(|term| term.fits(&view));
        assert!(fits("name~Premium On$currency:USD"));
        assert!(fits("name>=premium$name<q"));
        assert!(!fits("name:Premium"));
        assert!(fits("currency:EUR,USD"));
        assert!(terms("colour:red").is_err() && terms("name").is_err());
    }
}
