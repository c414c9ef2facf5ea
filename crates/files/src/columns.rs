//! Columns of a table: what their names make of a row.
//!
//! A column is a field of the measurement itself, such as `meter`, or a category and a code, such as `measure.calls`. A column this does
//! not know stops everything before anything is sent: a typo in a header would otherwise lose revenue in silence.

use relay_core::reason::{Reason, Refusal};

use crate::read::Stop;

/// Columns of the measurement itself, all text.
pub const TEXT_FIELDS: [&str; 5] = ["uid", "meter", "account", "ts", "ets"];
/// Categories whose values are text.
pub const TEXT_CATEGORIES: [&str; 5] = ["who", "what", "where", "other", "metadata"];
/// Categories whose values are numbers.
pub const NUMBER_CATEGORIES: [&str; 3] = ["measure", "cost", "income"];

/// What a column becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its place in a row, from 0.
    pub(crate) index: usize,
    /// Its name in the header.
    pub(crate) name: String,
    /// The key in its object.
    key: String,
    /// Whether its cells must be numbers.
    pub(crate) is_number: bool,
}

/// Columns by the object they go into: first the measurement itself (`""`), then each category.
#[derive(Debug)]
pub(crate) struct Columns(Vec<(&'static str, Vec<Column>)>);

impl Columns {
    /// Fails unless `names` has the three columns that no measurement can do without.
    pub(crate) fn are_named<'n>(names: impl Iterator<Item = &'n [u8]> + Clone) -> Result<(), Stop> {
        let has = |needed: &&str| names.clone().any(|name| name.trim_ascii() == needed.as_bytes());
        match ["meter", "account", "ts"].iter().find(|needed| !has(needed)) {
            None => Ok(()),
            Some(needed) => Err(Stop::at(1, Reason::EnvelopeInvalid, format!("expected a column {needed} in the header"))),
        }
    }

    /// The columns of these `names`, without those that are the table's `own`.
    pub(crate) fn of<'n>(names: impl Iterator<Item = &'n str>, own: &[&str]) -> Result<Self, Stop> {
        let mut columns: Vec<(&'static str, Vec<Column>)> = vec![("", Vec::new())];
        let mut seen: Vec<&str> = Vec::new();
        for (index, name) in names.map(str::trim).enumerate() {
            if own.contains(&name) {
                continue;
            }
            let (category, key, is_number) = place(name).ok_or_else(|| unknown(index, name))?;
            if seen.contains(&name) {
                return Err(Stop::at(1, Reason::EnvelopeInvalid, format!("expected every column once; found {name:?} twice")));
            }
            seen.push(name);
            let column = Column { index, name: name.to_owned(), key: key.to_owned(), is_number };
            match columns.iter_mut().find(|(known, _)| *known == category) {
                Some((_, group)) => group.push(column),
                None => columns.push((category, vec![column])),
            }
        }
        Ok(Self(columns))
    }

    /// All of them.
    #[cfg(feature = "parquet")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Column> {
        self.0.iter().flat_map(|(_, group)| group)
    }

    /// Writes a row as a JSON measurement to `out`: `cell` has the cell of a column, unless it is empty, and `write` writes it.
    pub(crate) fn write<C>(
        &self,
        cell: impl Fn(&Column) -> Option<C>,
        write: impl Fn(&Column, C, &mut String) -> Result<(), Refusal>,
        out: &mut String,
    ) -> Result<(), Refusal> {
        out.push('{');
        for (category, group) in &self.0 {
            let mut filled = group.iter().filter_map(|column| cell(column).map(|cell| (column, cell))).peekable();
            if filled.peek().is_none() {
                continue;
            }
            if !category.is_empty() {
                separate(out);
                out.push_str(&format!("\"{category}\":{{"));
            }
            for (column, cell) in filled {
                separate(out);
                write_text(&column.key, out);
                out.push(':');
                write(column, cell, out)?;
            }
            if !category.is_empty() {
                out.push('}');
            }
        }
        out.push('}');
        Ok(())
    }
}

fn unknown(index: usize, name: &str) -> Stop {
    let expected = format!(
        "column {} is named {name:?}; expected one of {}, or a category and a code as in measure.calls, with the category one of {}, {}",
        index + 1,
        TEXT_FIELDS.join(", "),
        NUMBER_CATEGORIES.join(", "),
        TEXT_CATEGORIES.join(", "),
    );
    Stop::at(1, Reason::EnvelopeInvalid, expected)
}

/// Category (`""` for the measurement itself), key, and whether it is a number.
fn place(name: &str) -> Option<(&'static str, &str, bool)> {
    let Some((category, code)) = name.split_once('.') else {
        return TEXT_FIELDS.contains(&name).then_some(("", name, false));
    };
    let find = |known: &[&'static str]| known.iter().find(|known| **known == category).copied();
    if code.is_empty() {
        return None;
    }
    match (find(&NUMBER_CATEGORIES), find(&TEXT_CATEGORIES)) {
        (Some(category), _) => Some((category, code, true)),
        (None, Some(category)) => Some((category, code, false)),
        (None, None) => None,
    }
}

fn separate(out: &mut String) {
    if !out.ends_with('{') {
        out.push(',');
    }
}

/// Writes `text` as JSON.
pub(crate) fn write_text(text: &str, out: &mut String) {
    relay_core::canonical::string(text, out);
}
