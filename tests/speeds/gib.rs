//! Uploads a file of a gibibyte with the shipped command line, and judges how much memory that took.
//!
//! `make bench-upload`. m3ter is a stub in this process. What is judged does not depend on the machine: that each measurement arrived
//! once, and that the command line never had more memory than the bound. Times are printed and never judged.

use std::error::Error;
use std::path::Path;

use crate::m3ter::Arrived;
use crate::machine::Machine;
use crate::measured::{Took, write};
use crate::say;
use crate::upload::whole;

/// As many as make a gibibyte, of some 243 bytes each.
const MEASUREMENTS: u64 = 4_430_000;
const FILE_BYTES_MIN: u64 = 1 << 30;
/// The most memory that an upload may take, whatever the file's size. Source: issue 8.
const MEMORY_BYTES_MAX: u64 = 256 * 1_000_000;

/// Does it.
///
/// # Errors
/// What did not hold.
pub(crate) fn upload(command: &str, folder: &Path, now_ms: u64) -> Result<(), Box<dyn Error>> {
    let (file, mut expected) = (folder.join("gibibyte.ndjson"), Arrived::default());
    let bytes = write(&file, now_ms, MEASUREMENTS, |uid| expected.add(uid))?;
    if bytes < FILE_BYTES_MIN {
        return Err(format!("expected a file of a gibibyte, made one of {bytes} bytes").into());
    }
    let uploaded = whole(command, &file, folder, &[], expected);
    std::fs::remove_file(file)?;
    let Took { wall_s, cpu_s, peak_bytes } = uploaded?;
    let (megabytes, peak) = (bytes as f64 / 1e6, peak_bytes as f64 / 1e6);
    say(&format!(
        "usage-relay upload: {MEASUREMENTS} measurements, {megabytes:.0} MB, each arrived once; {peak:.0} MB of memory at most, of {:.0}; \
         {wall_s:.1} s, {cpu_s:.1} s of processor",
        MEMORY_BYTES_MAX as f64 / 1e6
    ))?;
    say(&Machine::here(now_ms, "python3").line())?;
    match peak_bytes {
        1..=MEMORY_BYTES_MAX => Ok(()),
        _ => Err(format!("expected at most {MEMORY_BYTES_MAX} bytes of memory, found {peak_bytes}").into()),
    }
}
