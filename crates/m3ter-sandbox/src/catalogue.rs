//! The meters and accounts of the organisation, and how a file of them is read.
//!
//! Ids are derived from kind and order of creation, so that a replayed journal gives every meter and account the id it
//! had. What is deleted keeps its place (ingested data is tied to ids, not codes) but frees its code.
//!
//! "Closely matching" account codes are those that are equal after folding case and dropping spaces, `-` and `_`:
//! the sandbox's own choice, m3ter does not say what it compares.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::answer::Refusal;
use crate::meters::{AccountRequest, Category, MeterRequest};
use crate::rules::is_field_code_character;

/// Meters and accounts to create at start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalogue {
    /// The meters.
    pub meters: Vec<MeterRequest>,
    /// The accounts.
    pub accounts: Vec<AccountRequest>,
}

/// A catalogue that the configuration API would refuse.
#[derive(Debug, thiserror::Error)]
#[error("catalogue: {}", faults.join("; "))]
pub struct CatalogueError {
    /// Every fault, each with its place and what was expected.
    pub faults: Vec<String>,
}

impl Catalogue {
    /// Reads `{"meters":[…],"accounts":[…]}` (either may be left out), each as the API takes it.
    ///
    /// # Errors
    /// All faults at once, each with its place.
    pub fn from_json(text: &str) -> Result<Self, CatalogueError> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            meters: Vec<Value>,
            #[serde(default)]
            accounts: Vec<Value>,
        }
        let file: File = serde_json::from_str(text).map_err(|fault| CatalogueError {
            faults: vec![format!("expected {{\"meters\":[…],\"accounts\":[…]}}: {fault}")],
        })?;
        let mut faults = Vec::new();
        let meters = typed("meters", file.meters, MeterRequest::faults, &mut faults);
        let accounts = typed("accounts", file.accounts, AccountRequest::faults, &mut faults);
        if faults.is_empty() { Ok(Self { meters, accounts }) } else { Err(CatalogueError { faults }) }
    }
}

/// Reads each value as `T`, gathering what is wrong.
fn typed<T: DeserializeOwned>(kind: &str, values: Vec<Value>, check: fn(&T) -> Vec<String>, faults: &mut Vec<String>) -> Vec<T> {
    let mut read = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        match serde_json::from_value::<T>(value) {
            Ok(one) => {
                faults.extend(check(&one).into_iter().map(|fault| format!("{kind}[{index}].{fault}")));
                read.push(one);
            }
            Err(fault) => faults.push(format!("{kind}[{index}]: {fault}")),
        }
    }
    read
}

/// A meter or an account, as it is kept.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    pub(crate) id: String,
    pub(crate) code: String,
    pub(crate) deleted: bool,
    /// The answer of the API.
    pub(crate) view: Map<String, Value>,
    pub(crate) about: T,
    version: i64,
}

/// What the later checks need of a meter.
#[derive(Debug, Default)]
pub(crate) struct MeterFields {
    pub(crate) required: Vec<(Category, String)>,
    /// Field codes that a derived field names and nothing on the meter provides.
    pub(crate) unresolved: BTreeSet<String>,
}

/// Entries by place, id and code.
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    kind: &'static str,
    organisation: String,
    entries: Vec<Entry<T>>,
    by_id: HashMap<String, u32>,
    by_code: HashMap<String, u32>,
    /// How many live entries have a code that folds to this.
    by_folded: HashMap<String, u32>,
}

/// All meters.
pub(crate) type Meters = Shelf<MeterFields>;
/// All accounts.
pub(crate) type Accounts = Shelf<()>;

impl<T> Shelf<T> {
    /// An empty shelf of `kind` ("meter", "account").
    pub(crate) fn new(kind: &'static str, organisation: &str) -> Self {
        let organisation = organisation.to_owned();
        Self {
            kind,
            organisation,
            entries: Vec::new(),
            by_id: HashMap::new(),
            by_code: HashMap::new(),
            by_folded: HashMap::new(),
        }
    }

    /// The place of the live entry with this code.
    pub(crate) fn place_of(&self, code: &str) -> Option<u32> {
        self.by_code.get(code).copied()
    }

    /// The entry at `place`, also a deleted one.
    pub(crate) fn at(&self, place: u32) -> Option<&Entry<T>> {
        self.entries.get(place as usize)
    }

    /// The live entry with this id, with its place; 404 otherwise.
    pub(crate) fn find(&self, id: &str) -> Result<(u32, &Entry<T>), Refusal> {
        let place = self.by_id.get(id).copied();
        let found = place.and_then(|place| Some((place, self.at(place)?)));
        found.filter(|(_, entry)| !entry.deleted).ok_or_else(|| Refusal::missing(self.kind))
    }

    /// The live entries with their places, in order of creation.
    pub(crate) fn live(&self) -> impl Iterator<Item = (u32, &Entry<T>)> {
        (0..).zip(&self.entries).filter(|(_, entry)| !entry.deleted)
    }

    /// Refuses a code that another live entry has.
    pub(crate) fn check_free(&self, code: &str, own: Option<u32>) -> Result<(), Refusal> {
        match self.place_of(code) {
            Some(place) if own != Some(place) => {
                Err(Refusal::bad(format!("code: {code:?} is the code of another {}", self.kind)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Refuses a change that is based on another version.
    pub(crate) fn check_version(entry: &Entry<T>, based_on: Option<i64>) -> Result<(), Refusal> {
        match based_on {
            Some(version) if version != entry.version => {
                Err(Refusal::bad(format!("version: expected {}, found {version}", entry.version)))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Adds an entry and gives its place.
    pub(crate) fn add(&mut self, at: Timestamp, code: &str, mut view: Map<String, Value>, about: T) -> u32 {
        let place = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let name = format!("m3ter-sandbox/{}/{}/{place}", self.organisation, self.kind);
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
        view.insert("dtCreated".to_owned(), Value::from(at.to_string()));
        stamp(&mut view, &id, 1, at);
        self.by_id.insert(id.clone(), place);
        self.shelve(code, place);
        self.entries.push(Entry { id, code: code.to_owned(), deleted: false, view, about, version: 1 });
        place
    }

    /// Replaces an entry's content under its id.
    pub(crate) fn change(&mut self, at: Timestamp, place: u32, code: &str, mut view: Map<String, Value>, about: T) {
        let Some(entry) = self.entries.get_mut(place as usize) else { return };
        entry.version += 1;
        if let Some(created) = entry.view.remove("dtCreated") {
            view.insert("dtCreated".to_owned(), created);
        }
        stamp(&mut view, &entry.id, entry.version, at);
        let former = std::mem::replace(&mut entry.code, code.to_owned());
        entry.view = view;
        entry.about = about;
        self.unshelve(&former);
        self.shelve(code, place);
    }

    /// Deletes an entry; its place and id stay.
    pub(crate) fn delete(&mut self, place: u32) {
        if let Some(entry) = self.entries.get_mut(place as usize) {
            entry.deleted = true;
            let code = entry.code.clone();
            self.unshelve(&code);
        }
    }

    /// Whether a live entry has a code that closely matches `code`.
    pub(crate) fn has_close(&self, code: &str) -> bool {
        self.by_folded.contains_key(&folded(code))
    }

    /// Makes an entry findable by its code.
    fn shelve(&mut self, code: &str, place: u32) {
        self.by_code.insert(code.to_owned(), place);
        *self.by_folded.entry(folded(code)).or_default() += 1;
    }

    /// Frees a code.
    fn unshelve(&mut self, code: &str) {
        self.by_code.remove(code);
        let folded = folded(code);
        if let Some(count) = self.by_folded.get_mut(&folded) {
            *count -= 1;
            if *count == 0 {
                self.by_folded.remove(&folded);
            }
        }
    }
}

/// `code` as "closely matching" sees it.
pub(crate) fn folded(code: &str) -> String {
    code.chars().filter(|c| !matches!(c, ' ' | '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// What every answer of the configuration API carries.
fn stamp(view: &mut Map<String, Value>, id: &str, version: i64, at: Timestamp) {
    view.insert("id".to_owned(), Value::from(id));
    view.insert("version".to_owned(), Value::from(version));
    view.insert("dtLastModified".to_owned(), Value::from(at.to_string()));
}

/// A request as the answer shows it; whatever the caller said of id, version and dates is replaced by [`stamp`].
pub(crate) fn view_of(request: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(request) {
        Ok(Value::Object(view)) => view,
        _ => Map::new(),
    }
}

/// What the later checks need of `request`.
pub(crate) fn fields_of(request: &MeterRequest) -> MeterFields {
    let required: Vec<_> = request.data_fields.iter().map(|field| (field.category, field.code.clone())).collect();
    let provided = |code: &str| {
        required.iter().any(|(_, known)| known == code) || request.derived_fields.iter().any(|derived| derived.field.code == code)
    };
    let named = request.derived_fields.iter().flat_map(|derived| names_in(&derived.calculation));
    let unresolved = named.filter(|code| !provided(code)).map(str::to_owned).collect();
    MeterFields { required, unresolved }
}

/// The field codes that a calculation names: its words, less numbers, quoted text and what is called like a function.
fn names_in(calculation: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = calculation;
    while let Some(first) = rest.chars().next() {
        let width = if first == '"' || first == '\'' {
            rest.get(1..).and_then(|text| text.find(first)).map_or(rest.len(), |end| end + 2)
        } else if is_field_code_character(first) {
            let width = rest.find(|c| !is_field_code_character(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(width);
            if !first.is_ascii_digit() && !after.trim_start().starts_with('(') {
                names.push(word);
            }
            width
        } else {
            first.len_utf8()
        };
        rest = rest.get(width..).unwrap_or("");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catalogue_says_all_its_faults_at_once() {
        let text = r#"{"meters":[{"name":"m","code":"m","dataFields":[],"derivedFields":[]},{"code":"n"}],
            "accounts":[{"name":"a","code":"a","emailAddress":"x"}]}"#;
        let error = Catalogue::from_json(text).unwrap_err();
        assert_eq!(error.faults.len(), 3, "{error}");
        assert!(Catalogue::from_json(r#"{"metres":[]}"#).unwrap_err().to_string().contains("meters"));
    }

    #[test]
    fn a_catalogue_may_hold_meters_alone() {
        let text = r#"{"meters":[{"name":"m","code":"m","dataFields":[{"category":"MEASURE","code":"n","name":"n"}],"derivedFields":[]}]}"#;
        assert_eq!(Catalogue::from_json(text).unwrap().meters, [MeterRequest::new("m").field(Category::Measure, "n")]);
    }

    #[test]
    fn codes_match_closely_without_case_spaces_dashes_and_underscores() {
        assert_eq!(folded("Acme-Corp_1 X"), folded("acme corp 1x"));
        assert_ne!(folded("acme"), folded("acme1"));
    }

    #[test]
    fn a_calculation_names_fields_and_not_functions_numbers_or_text() {
        assert_eq!(names_in("round(bytes / 1024, 2) + größe * if (what == 'a b', 1, x_1)"), ["bytes", "größe", "what", "x_1"]);
    }

    #[test]
    fn a_deleted_entry_frees_its_code_and_keeps_its_place() {
        let mut shelf: Accounts = Shelf::new("account", "org");
        let first = shelf.add(Timestamp::UNIX_EPOCH, "a", Map::new(), ());
        shelf.delete(first);
        let second = shelf.add(Timestamp::UNIX_EPOCH, "a", Map::new(), ());
        assert_ne!(shelf.at(first).unwrap().id, shelf.at(second).unwrap().id);
        assert_eq!(shelf.live().count(), 1);
    }
}
