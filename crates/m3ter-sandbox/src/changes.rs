//! Changes of the catalogue: what the configuration API refuses, and what an entry of the journal does.
//!
//! Checked first and applied afterwards, so that what is journalled can always be applied again.

use crate::answer::Refusal;
use crate::book::Book;
use crate::catalogue::{Shelf, fields_of, view_of};
use crate::journal::Entry;
use crate::meters::{AccountRequest, MeterRequest};

impl Book {
    /// Refuses a meter that cannot be created, or that the one with `id` cannot become.
    pub(crate) fn check_meter(&self, id: Option<&str>, request: &MeterRequest) -> Result<(), Refusal> {
        check(&self.meters, id, request.faults(), &request.code, request.version)
    }

    /// Refuses an account that cannot be created, or that the one with `id` cannot become.
    pub(crate) fn check_account(&self, id: Option<&str>, request: &AccountRequest) -> Result<(), Refusal> {
        check(&self.accounts, id, request.faults(), &request.code, request.version)
    }

    /// Creates, changes or deletes what `entry` says, and gives its place.
    pub(crate) fn apply_config(&mut self, entry: Entry<'_>) -> Result<u32, Refusal> {
        match entry {
            Entry::Meter { at, id, request: Some(request) } => {
                let (view, about) = (view_of(&request), fields_of(&request));
                put(&mut self.meters, at, id.as_deref(), &request.code, view, about)
            }
            Entry::Account { at, id, request: Some(request) } => {
                put(&mut self.accounts, at, id.as_deref(), &request.code, view_of(&request), ())
            }
            Entry::Meter { id: Some(id), .. } => delete(&mut self.meters, &id),
            Entry::Account { id: Some(id), .. } => delete(&mut self.accounts, &id),
            Entry::Meter { .. }
            | Entry::Account { .. }
            | Entry::Opened { .. }
            | Entry::Request { .. }
            | Entry::Job { .. }
            | Entry::File { .. }
            | Entry::Clock { .. } => Err(Refusal::bad("expected a change of a meter or an account")),
        }
    }
}

/// The checks that meters and accounts share.
fn check<T>(shelf: &Shelf<T>, id: Option<&str>, faults: Vec<String>, code: &str, version: Option<i64>) -> Result<(), Refusal> {
    let changed = id.map(|id| shelf.find(id)).transpose()?;
    if !faults.is_empty() {
        return Err(Refusal::bad(faults.join("; ")));
    }
    if let Some((_, entry)) = changed {
        Shelf::check_version(entry, version)?;
    }
    shelf.check_free(code, changed.map(|(place, _)| place))
}

/// Creates an entry, or changes the one with `id`.
fn put<T>(
    shelf: &mut Shelf<T>,
    at: jiff::Timestamp,
    id: Option<&str>,
    code: &str,
    view: serde_json::Map<String, serde_json::Value>,
    about: T,
) -> Result<u32, Refusal> {
    match id {
        None => Ok(shelf.add(at, code, view, about)),
        Some(id) => {
            let (place, _) = shelf.find(id)?;
            shelf.change(at, place, code, view, about);
            Ok(place)
        }
    }
}

/// Deletes the entry with `id`.
fn delete<T>(shelf: &mut Shelf<T>, id: &str) -> Result<u32, Refusal> {
    let (place, _) = shelf.find(id)?;
    shelf.delete(place);
    Ok(place)
}
