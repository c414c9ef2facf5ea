//! Builds an object of newline-delimited JSON line by line, compressed as it grows.
//!
//! Only one line is ever held as it is: what an invocation writes may be many times what it was given, and compresses to
//! less than that.

use std::io::Write;

use bytes::Bytes;
use zstd::stream::Encoder;

/// Fast, and usage compresses about tenfold at it.
const ZSTD_LEVEL: i32 = 3;

/// An object under construction.
pub(crate) struct Lines {
    packed: Encoder<'static, Vec<u8>>,
    line: Vec<u8>,
    count: u64,
}

impl Lines {
    /// An object without lines. Errors are zstd's: no memory.
    pub(crate) fn new() -> std::io::Result<Lines> {
        Ok(Lines { packed: Encoder::new(Vec::new(), ZSTD_LEVEL)?, line: Vec::new(), count: 0 })
    }

    /// Adds the line that `write` writes, without its line break. What `write` refuses is not added.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> std::io::Result<()> {
        self.line.clear();
        write(&mut self.line)?;
        self.line.push(b'\n');
        self.packed.write_all(&self.line)?;
        self.count += 1;
        Ok(())
    }

    /// How many lines it holds.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The object.
    pub(crate) fn finish(self) -> std::io::Result<Bytes> {
        Ok(self.packed.finish()?.into())
    }
}
