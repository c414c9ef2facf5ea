//! `usage-relay upload` against a m3ter that costs nothing: over a store in a folder.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use super::m3ter::{Arrived, M3ter};
use super::measured::{Took, run, told};

/// Uploads `file`, over a store in `folder`, with its ledger. Each of the measurements that `expected` stands for has to arrive once.
pub(crate) fn whole(command: &str, file: &Path, folder: &Path, more: &[&str], expected: Arrived) -> Result<Took, Box<dyn Error>> {
    let (m3ter, store) = (M3ter::start(true)?, empty(folder)?);
    let (took, summary) = run(upload(command, file, &store, &m3ter).args(more), 0)?;
    let found = (told(&summary, "rows"), told(&summary, "sent"), m3ter.arrived());
    if found != (expected.rows, expected.rows, expected) {
        return Err(format!("expected each of {} measurements to arrive once, found {found:?}: {summary}", expected.rows).into());
    }
    std::fs::remove_dir_all(store)?;
    Ok(took)
}

/// The command, over this store.
pub(crate) fn upload(command: &str, file: &Path, store: &Path, m3ter: &M3ter) -> Command {
    let mut uploading = Command::new(command);
    uploading.args(["upload", "--json", "--org-id", "org-1"]).arg(file).env_clear();
    uploading.env("M3TER_API_URL", m3ter.url()).env("STORE_URL", format!("file://{}", store.display()));
    uploading.envs([("M3TER_ACCESS_KEY_ID", "key"), ("M3TER_API_SECRET", "secret")]);
    uploading
}

/// A folder for a store, with nothing in it.
pub(crate) fn empty(folder: &Path) -> Result<std::path::PathBuf, Box<dyn Error>> {
    let store = std::path::absolute(folder)?.join("store");
    if store.exists() {
        std::fs::remove_dir_all(&store)?;
    }
    std::fs::create_dir_all(&store)?;
    Ok(store)
}
