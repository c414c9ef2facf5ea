//! Bounds how much of a stream may go into one measurement, so that memory stays bounded whatever comes in.

use std::cell::Cell;
use std::io::{Error, ErrorKind, Read};
use std::rc::Rc;

/// Counts lines and bytes of what is read through [`Gauged`]. Clones share their counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gauge(Rc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    line_feeds: Cell<u64>,
    is_at_line_feed: Cell<bool>,
    bytes: Cell<usize>,
    is_over: Cell<bool>,
}

impl Gauge {
    /// The line, from 1, that the last byte read stands on.
    pub(crate) fn line(&self) -> u64 {
        self.0.line_feeds.get() + 1
    }

    /// The line, from 1, that a JSON value ended on which was just read byte by byte. A number is known to have ended only by the
    /// byte behind it, and no value ends in a line feed.
    pub(crate) fn line_of_value_end(&self) -> u64 {
        self.line() - u64::from(self.0.is_at_line_feed.get())
    }

    /// A measurement ended here: the next one may be as large again.
    pub(crate) fn next_measurement(&self) {
        self.0.bytes.set(0);
    }

    /// Whether reading stopped because one measurement went beyond the bound.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_over.get()
    }
}

/// A reader that fails once more than `bytes_max` went into one measurement.
#[derive(Debug)]
pub(crate) struct Gauged<R> {
    inner: R,
    gauge: Gauge,
    bytes_max: usize,
}

impl<R> Gauged<R> {
    /// Reads `inner` and tells `gauge`.
    pub(crate) fn new(inner: R, gauge: &Gauge, bytes_max: usize) -> Self {
        Self { inner, gauge: gauge.clone(), bytes_max }
    }
}

impl<R: Read> Read for Gauged<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(buffer)?;
        let read = buffer.get(..length).unwrap_or_default();
        let counts = &self.gauge.0;
        let line_feeds = read.iter().filter(|byte| **byte == b'\n').count() as u64;
        counts.line_feeds.set(counts.line_feeds.get() + line_feeds);
        counts.is_at_line_feed.set(read.last().map_or(counts.is_at_line_feed.get(), |last| *last == b'\n'));
        counts.bytes.set(counts.bytes.get() + length);
        if counts.bytes.get() > self.bytes_max {
            counts.is_over.set(true);
            return Err(Error::new(ErrorKind::InvalidData, "one measurement is larger than a message"));
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_beyond_the_bound_stops_the_reading() {
        let gauge = Gauge::default();
        let mut reader = Gauged::new(&b"12\n45\n7890"[..], &gauge, 6);
        let mut buffer = [0; 6];
        assert_eq!(reader.read(&mut buffer).unwrap(), 6);
        assert_eq!((gauge.line(), gauge.is_over()), (3, false));
        gauge.next_measurement();
        assert_eq!(reader.read(&mut buffer).unwrap(), 4);
        let mut again = Gauged::new(&b"789"[..], &gauge, 6);
        assert!(again.read(&mut buffer).is_err());
        assert!(gauge.is_over());
    }
}
