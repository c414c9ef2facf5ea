//! The rows of an uploaded file: a bare JSON array, cut into its elements as the bytes come.
//!
//! The rule: nothing is held but the row that is being read, so a file of 1 GiB costs no more memory than one of a
//! kilobyte. Rows are found by their brackets and quotes alone; whether one is JSON is for whoever takes it.
//!
//! m3ter publishes no bound for a row. The one here is the sandbox's own choice, and keeps the promise above.

/// Most bytes of one row (the sandbox's own choice; an ingest request could not hold a measurement of half of it).
pub(crate) const ROW_BYTES_MAX: usize = 1 << 20;

/// Cuts an array into its elements.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    place: Place,
    /// Bytes taken.
    taken: u64,
    /// What is there of a row that began in bytes taken before.
    begun: Vec<u8>,
    /// Rows given.
    given: u64,
}

/// Where in the file the next byte stands.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    #[default]
    BeforeArray,
    BeforeFirstRow,
    BeforeRow,
    InObjectOrArray {
        depth: u32,
        string: InString,
    },
    InText {
        escaped: bool,
    },
    InScalar,
    AfterRow,
    AfterArray,
}

/// Whether a byte stands in a string of a row, where brackets mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InString {
    No,
    Yes,
    Escaped,
}

/// What a byte does.
enum Step {
    Between,
    In,
    /// The last byte of its row.
    Last,
    /// The first byte after a row.
    Past,
}

impl Rows {
    /// Takes the next bytes, and gives `row` each row that ends in them, with its place in the file.
    ///
    /// # Errors
    /// The file is no JSON array, or what `row` says; the rest of it must not be given then.
    pub(crate) fn take(&mut self, bytes: &[u8], mut row: impl FnMut(u64, &str) -> Result<(), String>) -> Result<(), String> {
        // Where in `bytes` the row stands that is being read.
        let mut first = 0;
        for (index, byte) in bytes.iter().enumerate() {
            let inside = self.place.in_row();
            let step = self.place.step(*byte).map_err(|expected| self.fault(index, expected))?;
            if !inside && self.place.in_row() {
                first = index;
            }
            let end = match step {
                Step::Between | Step::In => continue,
                Step::Last => index + 1,
                Step::Past => index,
            };
            let tail = bytes.get(first..end).unwrap_or_default();
            self.give(tail, end, &mut row)?;
            first = end;
        }
        if self.place.in_row() {
            let rest = bytes.get(first..).unwrap_or_default();
            self.bounded(rest.len())?;
            self.begun.extend_from_slice(rest);
        }
        self.taken += bytes.len() as u64;
        Ok(())
    }

    /// Gives one row, whose last bytes are `tail` and end at `end` of the bytes in hand.
    fn give(&mut self, tail: &[u8], end: usize, row: &mut impl FnMut(u64, &str) -> Result<(), String>) -> Result<(), String> {
        self.bounded(tail.len())?;
        let length = self.begun.len() + tail.len();
        let start = self.taken + end as u64 - length as u64;
        let not_text = |_| format!("expected JSON in UTF-8 in row {}", self.given);
        if self.begun.is_empty() {
            row(start, std::str::from_utf8(tail).map_err(not_text)?)?;
        } else {
            self.begun.extend_from_slice(tail);
            row(start, std::str::from_utf8(&self.begun).map_err(not_text)?)?;
            self.begun.clear();
        }
        self.given += 1;
        Ok(())
    }

    /// Refuses a row that is too long.
    fn bounded(&self, more: usize) -> Result<(), String> {
        let fits = self.begun.len() + more <= ROW_BYTES_MAX;
        if fits { Ok(()) } else { Err(format!("expected at most {ROW_BYTES_MAX} bytes in row {}", self.given)) }
    }

    /// How many rows there were, once all bytes are taken.
    ///
    /// # Errors
    /// The array does not end.
    pub(crate) fn end(&self) -> Result<u64, String> {
        match self.place {
            Place::AfterArray => Ok(self.given),
            Place::BeforeArray
            | Place::BeforeFirstRow
            | Place::BeforeRow
            | Place::InObjectOrArray { .. }
            | Place::InText { .. }
            | Place::InScalar
            | Place::AfterRow => Err(format!("expected a JSON array, found an end after {} bytes", self.taken)),
        }
    }

    fn fault(&self, index: usize, expected: &str) -> String {
        format!("expected {expected} at byte {}", self.taken + index as u64)
    }
}

impl Place {
    /// Whether a row has begun and not ended.
    fn in_row(self) -> bool {
        matches!(self, Self::InObjectOrArray { .. } | Self::InText { .. } | Self::InScalar)
    }

    /// Goes past one byte; otherwise what was expected in its place.
    fn step(&mut self, byte: u8) -> Result<Step, &'static str> {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        let (next, step) = match (*self, byte) {
            (Self::InObjectOrArray { depth, string }, byte) => return Ok(self.nested(depth, string, byte)),
            (Self::InText { escaped: true }, _) => (Self::InText { escaped: false }, Step::In),
            (Self::InText { .. }, b'"') => (Self::AfterRow, Step::Last),
            (Self::InText { .. }, _) => (Self::InText { escaped: byte == b'\\' }, Step::In),
            (Self::InScalar, b',') => (Self::BeforeRow, Step::Past),
            (Self::InScalar, b']') => (Self::AfterArray, Step::Past),
            (Self::InScalar, _) if blank => (Self::AfterRow, Step::Past),
            (Self::InScalar, _) => (Self::InScalar, Step::In),
            (place, _) if blank => (place, Step::Between),
            (Self::BeforeArray, b'[') => (Self::BeforeFirstRow, Step::Between),
            (Self::BeforeArray, _) => return Err("a JSON array"),
            (Self::BeforeFirstRow, b']') | (Self::AfterRow, b']') => (Self::AfterArray, Step::Between),
            (Self::AfterRow, b',') => (Self::BeforeRow, Step::Between),
            (Self::AfterRow, _) => return Err("a comma, or the end of the array,"),
            (Self::AfterArray, _) => return Err("nothing after the array"),
            (Self::BeforeFirstRow | Self::BeforeRow, b'{' | b'[') => {
                (Self::InObjectOrArray { depth: 1, string: InString::No }, Step::In)
            }
            (Self::BeforeFirstRow | Self::BeforeRow, b'"') => (Self::InText { escaped: false }, Step::In),
            (Self::BeforeFirstRow | Self::BeforeRow, b',' | b']' | b'}') => return Err("a measurement"),
            (Self::BeforeFirstRow | Self::BeforeRow, _) => (Self::InScalar, Step::In),
        };
        *self = next;
        Ok(step)
    }

    /// Goes past one byte of an object or array.
    fn nested(&mut self, depth: u32, string: InString, byte: u8) -> Step {
        let (depth, string) = match (string, byte) {
            (InString::Escaped, _) => (depth, InString::Yes),
            (InString::Yes, b'"') => (depth, InString::No),
            (InString::Yes, b'\\') => (depth, InString::Escaped),
            (InString::Yes, _) => (depth, InString::Yes),
            (InString::No, b'"') => (depth, InString::Yes),
            (InString::No, b'{' | b'[') => (depth.saturating_add(1), InString::No),
            (InString::No, b'}' | b']') => (depth - 1, InString::No),
            (InString::No, _) => (depth, InString::No),
        };
        *self = if depth == 0 { Self::AfterRow } else { Self::InObjectOrArray { depth, string } };
        if depth == 0 { Step::Last } else { Step::In }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of `file` with their places, given in pieces of `piece` bytes.
    fn rows(file: &[u8], piece: usize) -> Result<Vec<(u64, String)>, String> {
        let (mut rows, mut found) = (Rows::default(), Vec::new());
        for bytes in file.chunks(piece) {
            rows.take(bytes, |start, text| {
                found.push((start, text.to_owned()));
                Ok(())
            })?;
        }
        assert_eq!(rows.end()?, found.len() as u64);
        Ok(found)
    }

    #[test]
    fn rows_are_the_elements_as_they_are_written_wherever_the_bytes_are_cut() {
        let file = " [ {\"a\":\"]}\\\"\\\\\"} ,[1,[2]],\"x\\\",\",-1.5e3,true ,null\n,\"ü\",{}] \r\n";
        let expected = ["{\"a\":\"]}\\\"\\\\\"}", "[1,[2]]", "\"x\\\",\"", "-1.5e3", "true", "null", "\"ü\"", "{}"];
        for piece in 1..=file.len() {
            let found = rows(file.as_bytes(), piece).unwrap();
            assert_eq!(found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), expected, "pieces of {piece}");
            for (start, text) in found {
                assert!(file[usize::try_from(start).unwrap()..].starts_with(&text), "{start}: {text}");
            }
        }
    }

    #[test]
    fn an_array_may_be_empty() {
        assert_eq!(rows(b"[]", 1).unwrap(), []);
        assert_eq!(rows(b" [ \n ] ", 3).unwrap(), []);
    }

    #[test]
    fn what_is_no_array_is_refused_with_what_was_expected_and_where() {
        for (file, words) in [
            ("", "found an end after 0 bytes"),
            ("{\"measurements\":[]}", "expected a JSON array at byte 0"),
            ("{}\n{}", "expected a JSON array at byte 0"),
            ("[{}", "found an end after 3 bytes"),
            ("[{},", "found an end after 4 bytes"),
            ("[{\"a\":1", "found an end after 7 bytes"),
            ("[{},]", "expected a measurement at byte 4"),
            ("[,{}]", "expected a measurement at byte 1"),
            ("[{} {}]", "expected a comma, or the end of the array, at byte 4"),
            ("[{}]]", "expected nothing after the array at byte 4"),
            ("\u{feff}[]", "expected a JSON array at byte 0"),
        ] {
            for piece in 1..=file.len().max(1) {
                let fault = rows(file.as_bytes(), piece).unwrap_err();
                assert!(fault.contains(words), "{file:?}: {fault}");
            }
        }
        assert!(rows(b"[\"\xff\"]", 2).unwrap_err().contains("UTF-8 in row 0"));
    }

    #[test]
    fn a_row_of_any_length_is_never_gathered() {
        let file = format!("[{{}},\"{}\"]", "x".repeat(ROW_BYTES_MAX));
        for piece in [1 << 10, file.len()] {
            assert!(rows(file.as_bytes(), piece).unwrap_err().contains("in row 1"));
        }
        let file = format!("[{{}},\"{}\"]", "x".repeat(ROW_BYTES_MAX - 2));
        assert_eq!(rows(file.as_bytes(), 1 << 16).unwrap().len(), 2);
    }
}
