//! How much memory an upload takes: so much, and for a larger file what it remembers of each uid.
//!
//! The file of a gibibyte is uploaded by the release build (`make bench-upload`), with the same code as here. What grows with a file is
//! seen with smaller ones as well.

#[path = "../../../../tests/speeds/m3ter.rs"]
mod m3ter;
#[path = "../../../../tests/speeds/measured.rs"]
mod measured;
#[path = "../../../../tests/speeds/upload.rs"]
mod upload;

use self::m3ter::Arrived;
use self::measured::{Took, write};
use self::upload::whole;
use crate::store_given::START_MS;

/// Some 12 MB each.
const ROWS: u64 = 50_000;
/// Bytes of a uid in the tables, which are at least seven sixteenths full, and half as much again while one of them grows.
const UID_BYTES: u64 = 17 * 16 / 7 * 3 / 2;
/// Pieces of a part on their way, of 8 MiB each: the small file has one and a half, and no more than three are held at once. What one run
/// differs from the next by is a hundredth of that.
const PIECES_BYTES: u64 = 24 << 20;
/// Source: issue 8.
const MEMORY_BYTES_MAX: u64 = 256_000_000;

#[test]
fn a_file_four_times_as_large_takes_no_more_memory_than_its_uids_do() {
    let folder = tempfile::tempdir().unwrap();
    let peak = |rows: u64| {
        let (path, mut expected) = (folder.path().join("usage.ndjson"), Arrived::default());
        write(&path, START_MS.unsigned_abs(), rows, |uid| expected.add(uid)).unwrap();
        let never = ["--first-sent", "never"];
        let Took { wall_s, cpu_s, peak_bytes } =
            whole(env!("CARGO_BIN_EXE_usage-relay"), &path, folder.path(), &never, expected).unwrap();
        assert!(peak_bytes > 0, "{wall_s} s, {cpu_s} s of processor");
        peak_bytes
    };
    let (small, large) = (peak(ROWS), peak(4 * ROWS));

    let allowed = small + 3 * ROWS * UID_BYTES + PIECES_BYTES;
    assert!(large <= allowed && large <= MEMORY_BYTES_MAX, "{small} bytes, and {large} of at most {allowed}");
}
