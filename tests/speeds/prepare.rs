//! The first half of an upload: the file is read and judged, and parts are made of it.

use std::error::Error;
use std::path::Path;
use std::process::Stdio;

use crate::m3ter::M3ter;
use crate::measured::{Took, run};
use crate::upload::{empty, upload};

/// Reads `file`, and makes parts of it in a store in `folder`: as far as an upload gets without a URL.
pub(crate) fn prepare(command: &str, file: &Path, folder: &Path) -> Result<Took, Box<dyn Error>> {
    let (m3ter, store) = (M3ter::start(false)?, empty(folder)?);
    // Exit code 2: m3ter gave no URL. The ledger would be the next to be written.
    let mut preparing = upload(command, file, &store, &m3ter);
    let (took, _) = run(preparing.args(["--ledger-mode", "off"]).stderr(Stdio::null()), 2)?;
    let parts = store.join("upload-journals/v1");
    let prepared: u64 = std::fs::read_dir(parts)?.flatten().map(|upload| bytes_of_parts(&upload.path())).sum();
    if prepared < file.metadata()?.len() {
        return Err(format!("expected all of the file in parts, found {prepared} bytes").into());
    }
    std::fs::remove_dir_all(store)?;
    Ok(took)
}

fn bytes_of_parts(upload: &Path) -> u64 {
    let Ok(objects) = std::fs::read_dir(upload) else { return 0 };
    let parts = objects.flatten().filter(|object| object.file_name().to_string_lossy().starts_with("part-"));
    parts.filter_map(|part| part.metadata().ok()).map(|about| about.len()).sum()
}
