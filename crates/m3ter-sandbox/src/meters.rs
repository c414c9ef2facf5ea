//! What one may say about a meter or an account: the request types of the configuration API, and their checks.
//!
//! The same types serve the API, a catalogue file and tests, so that nothing gets into a catalogue that the API would
//! have refused. Properties beyond those the sandbox needs (address, currency, custom fields) are kept and given back
//! as they came.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::rules::{CODE_RULE, FIELD_CODE_RULE, is_code, is_field_code};

/// Where a data field stands in a measurement (OpenAPI, `DataFieldCategory`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)] // m3ter's own words
pub enum Category {
    Who,
    Where,
    What,
    Other,
    Metadata,
    Measure,
    Cost,
    Income,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Who, Self::Where, Self::What, Self::Other, Self::Metadata, Self::Measure, Self::Cost, Self::Income];

    /// The property of a measurement that holds this category.
    pub fn property(self) -> &'static str {
        match self {
            Self::Who => "who",
            Self::Where => "where",
            Self::What => "what",
            Self::Other => "other",
            Self::Metadata => "metadata",
            Self::Measure => "measure",
            Self::Cost => "cost",
            Self::Income => "income",
        }
    }
}

/// One field of a meter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataField {
    /// Where it stands in a measurement.
    pub category: Category,
    /// Its key there: `^[\p{L}_$][\p{L}_$0-9]*$`, 1 to 80 characters.
    pub code: String,
    /// 1 to 200 characters.
    pub name: String,
    /// UCUM, 1 to 50 characters; for numeric categories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// A field that m3ter computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DerivedField {
    /// What the field is.
    #[serde(flatten)]
    pub field: DataField,
    /// 1 to 5,000 characters. The sandbox evaluates none; it only looks at which fields are named in it.
    pub calculation: String,
}

/// `MeterRequest` of the OpenAPI document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MeterRequest {
    /// 1 to 200 characters.
    pub name: String,
    /// What measurements name as `meter`.
    pub code: String,
    /// 1 to 15. All of them must be in every measurement.
    pub data_fields: Vec<DataField>,
    /// 0 to 15.
    pub derived_fields: Vec<DerivedField>,
    /// The version that a change is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Everything else, given back as it came.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl MeterRequest {
    /// A meter named like its code, without fields yet.
    pub fn new(code: impl Into<String>) -> Self {
        let code = code.into();
        Self { name: code.clone(), code, data_fields: Vec::new(), derived_fields: Vec::new(), version: None, rest: Map::new() }
    }

    /// The same with one more data field.
    #[must_use]
    pub fn field(mut self, category: Category, code: impl Into<String>) -> Self {
        let code = code.into();
        self.data_fields.push(DataField { category, name: code.clone(), code, unit: None });
        self
    }

    /// The same with one more derived field, of category MEASURE.
    #[must_use]
    pub fn derived(mut self, code: impl Into<String>, calculation: impl Into<String>) -> Self {
        let code = code.into();
        let field = DataField { category: Category::Measure, name: code.clone(), code, unit: None };
        self.derived_fields.push(DerivedField { field, calculation: calculation.into() });
        self
    }

    /// What the API would refuse about it, each fault in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expect = |met: bool, words: String| {
            if !met {
                faults.push(words)
            }
        };
        expect(has(&self.name, 200), "name: expected 1 to 200 characters".to_owned());
        expect(is_code(&self.code), format!("code: expected {CODE_RULE}"));
        expect(
            (1..=15).contains(&self.data_fields.len()),
            format!("dataFields: expected 1 to 15, found {}", self.data_fields.len()),
        );
        expect(
            self.derived_fields.len() <= 15,
            format!("derivedFields: expected at most 15, found {}", self.derived_fields.len()),
        );
        let fields = || self.data_fields.iter().chain(self.derived_fields.iter().map(|derived| &derived.field));
        for (index, field) in fields().enumerate() {
            let code = &field.code;
            expect(is_field_code(code), format!("field code {code:?}: expected {FIELD_CODE_RULE}"));
            expect(has(&field.name, 200), format!("field {code:?}: expected a name of 1 to 200 characters"));
            expect(
                field.unit.as_ref().is_none_or(|unit| has(unit, 50)),
                format!("field {code:?}: expected a unit of 1 to 50 characters"),
            );
            expect(
                !fields().take(index).any(|other| other.code == *code),
                format!("field code {code:?}: expected once, found twice"),
            );
        }
        for derived in &self.derived_fields {
            expect(
                has(&derived.calculation, 5_000),
                format!("field {:?}: expected a calculation of 1 to 5000 characters", derived.field.code),
            );
        }
        for id in ["productId", "groupId"] {
            let fits = self.rest.get(id).is_none_or(|id| id.is_null() || id.as_str().is_some_and(|id| id.chars().count() == 36));
            expect(fits, format!("{id}: expected 36 characters"));
        }
        faults
    }
}

/// `AccountRequest` of the OpenAPI document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountRequest {
    /// 1 to 200 characters.
    pub name: String,
    /// What measurements name as `account`.
    pub code: String,
    /// An e-mail address.
    pub email_address: String,
    /// The version that a change is based on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Everything else, given back as it came.
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl AccountRequest {
    /// An account named like its code, at an address that leads nowhere.
    pub fn new(code: impl Into<String>) -> Self {
        let code = code.into();
        let email_address = "nobody@example.com".to_owned();
        Self { name: code.clone(), code, email_address, version: None, rest: Map::new() }
    }

    /// What the API would refuse about it, each fault in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expect = |met: bool, words: String| {
            if !met {
                faults.push(words)
            }
        };
        expect(has(&self.name, 200), "name: expected 1 to 200 characters".to_owned());
        expect(is_code(&self.code), format!("code: expected {CODE_RULE}"));
        let address = self.email_address.split_once('@');
        let fits = address.is_some_and(|(who, place)| !who.is_empty() && !place.is_empty());
        expect(fits, "emailAddress: expected an e-mail address".to_owned());
        faults
    }
}

/// Whether `text` has 1 to `most` characters.
fn has(text: &str, most: usize) -> bool {
    !text.is_empty() && text.chars().count() <= most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_needs_a_data_field_and_distinct_codes() {
        assert_eq!(MeterRequest::new("m").field(Category::Measure, "n").faults(), Vec::<String>::new());
        assert_eq!(MeterRequest::new("m").faults(), ["dataFields: expected 1 to 15, found 0"]);
        let twice = MeterRequest::new("m").field(Category::Measure, "n").field(Category::Cost, "n");
        assert_eq!(twice.faults(), ["field code \"n\": expected once, found twice"]);
    }

    #[test]
    fn all_faults_are_said_at_once() {
        let mut meter = MeterRequest::new(" ").field(Category::What, "1").derived("ok", "");
        meter.rest.insert("productId".to_owned(), Value::from("short"));
        assert_eq!(meter.faults().len(), 4, "{:?}", meter.faults());
    }

    #[test]
    fn an_account_needs_an_address() {
        let account = AccountRequest { email_address: "nowhere".to_owned(), ..AccountRequest::new("a") };
        assert_eq!(account.faults(), ["emailAddress: expected an e-mail address"]);
    }
}
