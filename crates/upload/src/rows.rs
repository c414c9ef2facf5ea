//! A part's text: an array with one measurement a line, so that it can be taken apart again without parsing it.

use bytes::Bytes;

/// What stands before the first measurement.
pub(crate) const OPEN: &[u8] = b"[\n";
/// What stands between two.
pub(crate) const BETWEEN: &[u8] = b",\n";
/// What stands behind the last.
pub(crate) const CLOSE: &[u8] = b"\n]";

/// Takes the measurements out of a part that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Of the line that has not ended yet.
    open: Vec<u8>,
}

impl Rows {
    /// Hands the lines that end in `piece` to `take`, without what stands around a measurement.
    pub(crate) fn read<E>(&mut self, piece: &Bytes, mut take: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut lines = piece.split_inclusive(|byte| *byte == b'\n');
        lines.try_for_each(|line| {
            if !line.ends_with(b"\n") {
                self.open.extend_from_slice(line);
                return Ok(());
            }
            if self.open.is_empty() {
                return taken(line, &mut take);
            }
            self.open.extend_from_slice(line);
            let taken = taken(&self.open, &mut take);
            self.open.clear();
            taken
        })
    }
}

fn taken<E>(line: &[u8], take: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let line = line.trim_ascii_end();
    match line.strip_suffix(b",").unwrap_or(line) {
        b"[" | b"" => Ok(()),
        row => take(row),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn a_part_comes_apart_however_it_is_cut() {
        let part = [OPEN, b"{\"a\":1}", BETWEEN, b"{\"b\":\"[\"}", BETWEEN, b"{\"c\":[1,2]}", CLOSE].concat();
        for size in 1..=part.len() {
            let (mut rows, mut found) = (Rows::default(), Vec::new());
            for piece in part.chunks(size) {
                let taken: Result<(), Infallible> = rows.read(&Bytes::copy_from_slice(piece), |row| {
                    found.push(String::from_utf8(row.to_vec()).unwrap());
                    Ok(())
                });
                taken.unwrap();
            }
            assert_eq!(found, ["{\"a\":1}", "{\"b\":\"[\"}", "{\"c\":[1,2]}"], "in pieces of {size}");
        }
    }
}
