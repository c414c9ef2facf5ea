//! What a bench found, as it is kept in a file.

use serde::{Deserialize, Serialize};

use crate::figures::{ColdFigures, WorkFigures};
use crate::machine::Machine;

/// Everything that one bench found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// Rounds of each piece of work.
    pub(crate) rounds: usize,
    pub(crate) works: Vec<WorkFigures>,
    pub(crate) cold_starts: Vec<ColdFigures>,
    /// Shapes that were not measured, and why.
    pub(crate) skipped: Vec<String>,
    /// Bytes of the shipped binary, and of the zip that holds it.
    pub(crate) binary_bytes: u64,
    pub(crate) zip_bytes: u64,
}
