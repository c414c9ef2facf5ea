//! What the targets share: a second reading of a text, and the bound on memory.
//!
//! The reading is serde_json's `Value`: a tree, made another way than the slices that the project reads. It is stricter in two
//! respects, in which it cannot say who is right: a number beyond a double's range, and half of a surrogate pair. JSON's
//! grammar allows both; see [`Reading::Untold`].

use peak_alloc::PeakAlloc;
use relay_core::limits::MESSAGE_INFLATED_BYTES_MAX;
use serde::Deserialize;
use serde_json::Value;

/// What `Value` says of a text.
#[derive(Debug)]
pub enum Reading {
    /// One JSON value.
    Is(Value),
    /// JSON by its grammar, but with a number or an escape that `Value` cannot hold.
    Untold,
    /// Not one JSON value.
    Not,
}

impl Reading {
    /// The reading of `bytes`.
    pub fn of(bytes: &[u8]) -> Reading {
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        reader.disable_recursion_limit();
        let value = Value::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        let by_grammar = || std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
        match value {
            Ok(value) => Reading::Is(value),
            Err(_) if by_grammar() => Reading::Untold,
            Err(_) => Reading::Not,
        }
    }
}

/// Most bytes that reading may take for each byte of a text, as it came and inflated.
const BYTES_PER_BYTE: usize = 32;

/// Most bytes that reading may take for each part of a list, which two bytes of text can make. Lists double as they grow, and
/// the old one goes only when the new one is there.
const BYTES_PER_PART: usize = 400;

/// Bytes that reading takes whatever the size: first chunks, tables of the inflater, texts of refusals.
const BYTES_BESIDE: usize = 128 * 1024;

/// Runs `read`, which says how many bytes its arena then holds, on `given` bytes that make at most `parts_max` parts, and
/// checks what it took at its peak.
pub fn bounded(alloc: &PeakAlloc, given: usize, parts_max: usize, read: impl FnOnce() -> usize) {
    let before = alloc.current_usage();
    alloc.reset_peak_usage();
    let kept = read();
    let taken = alloc.peak_usage() - before;
    assert!(kept <= 8 * (given + 2 * MESSAGE_INFLATED_BYTES_MAX) + BYTES_BESIDE, "{given} bytes in, {kept} kept");
    // Each byte inflates to at most 1,032, also one that was inflated before: an SNS envelope may be compressed, and what is
    // in it. What is turned down for its size leaves no trace in the arena.
    let inflated = MESSAGE_INFLATED_BYTES_MAX.min((given + kept) * 1_032);
    let parts = parts_max.min((given + kept).div_ceil(2));
    let most = BYTES_PER_BYTE * (given + kept) + BYTES_PER_PART * parts + 4 * inflated + BYTES_BESIDE;
    assert!(taken <= most, "{given} bytes in, {kept} kept, {taken} taken at the peak; expected at most {most}");
}
