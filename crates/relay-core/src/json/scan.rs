//! Walks over JSON text once, byte by byte: where each value ends, whether all of it is JSON, how deep it nests.
//!
//! The grammar is RFC 8259's, and nothing beside it is let through; what serde_json says of a text is what this says, which tests hold
//! side by side. It is ours because one pass has to do what would take serde_json three: find the ends, judge the whole,
//! and measure the nesting.
//!
//! Absent: recursion (nesting of any depth is read), numbers and strings as values, and half surrogates, which are a matter of whoever
//! unescapes.

use super::NotJson;

/// A key as it is written between its quotes, and whether there is an escape in it.
type Key<'a> = (&'a str, bool);

/// A place in a text, and what was met on the way there.
#[derive(Debug)]
pub struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// How many objects and arrays were open at once, at most.
    pub(crate) deepest: usize,
    /// Whether a backslash was met: only an escape can write half a character.
    pub(crate) escaped: bool,
}

impl<'a> Scan<'a> {
    /// The beginning of `text`.
    pub fn new(text: &'a str) -> Scan<'a> {
        Scan { text, at: 0, deepest: 0, escaped: false }
    }

    /// The byte here; 0, which begins nothing in JSON, at the end.
    #[inline(always)]
    fn here(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no white space.
    #[inline(always)]
    pub fn peek(&mut self) -> u8 {
        loop {
            match self.here() {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                other => return other,
            }
        }
    }

    /// Takes `byte`, white space before it aside.
    #[inline(always)]
    pub fn take(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.peek() != byte {
            return Err(NotJson);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether `byte` comes next; then it is taken.
    #[inline(always)]
    pub fn takes(&mut self, byte: u8) -> bool {
        self.take(byte).is_ok()
    }

    /// Where this is, white space before it aside.
    pub fn place(&mut self) -> usize {
        self.peek();
        self.at
    }

    /// What was taken since `place`.
    pub fn since(&self, place: usize) -> &'a str {
        self.text.get(place..self.at).unwrap_or_default()
    }

    /// Whether only white space is left.
    pub fn is_over(&mut self) -> bool {
        self.peek() == 0 && self.at >= self.text.len()
    }

    /// Takes a string; what is between its quotes, and whether there is an escape in it.
    #[inline]
    pub fn string(&mut self) -> Result<(&'a str, bool), NotJson> {
        self.peek();
        let (begin, before) = (self.at + 1, std::mem::take(&mut self.escaped));
        self.quoted()?;
        let escaped = self.escaped;
        self.escaped |= before;
        Ok((self.text.get(begin..self.at - 1).ok_or(NotJson)?, escaped))
    }

    /// Takes a value; its text. `open` objects and arrays are open around it.
    #[inline]
    pub fn value(&mut self, open: usize) -> Result<&'a str, NotJson> {
        let begins = self.peek();
        let begin = self.at;
        match begins {
            // Most values are no objects or arrays, and need no account of what is open.
            b'"' => self.quoted()?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => self.skip(open)?,
        }
        self.text.get(begin..self.at).ok_or(NotJson)
    }

    /// Takes an object: `member` is given each key, and takes its value.
    #[inline]
    pub fn object(&mut self, mut member: impl FnMut(&mut Self, Key<'a>) -> Result<(), NotJson>) -> Result<(), NotJson> {
        self.take(b'{')?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let key = self.string()?;
            self.take(b':')?;
            member(self, key)?;
            if !self.takes(b',') {
                return self.take(b'}');
            }
        }
    }

    /// Takes an array: `element` takes each of its values.
    #[inline]
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), NotJson>) -> Result<(), NotJson> {
        self.take(b'[')?;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            element(self)?;
            if !self.takes(b',') {
                return self.take(b']');
            }
        }
    }

    /// Takes a string and appends what it stands for to `out`. If that is not to be had, since it holds half of a surrogate pair,
    /// nothing is taken, and `out` has a part of it.
    pub fn unescape(&mut self, out: &mut String) -> Result<(), NotJson> {
        self.peek();
        let begin = self.at;
        let result = self.unescape_quoted(out);
        if result.is_err() {
            self.at = begin;
        }
        result
    }

    fn unescape_quoted(&mut self, out: &mut String) -> Result<(), NotJson> {
        if self.here() != b'"' {
            return Err(NotJson);
        }
        self.at += 1;
        let mut begin = self.at;
        loop {
            self.plain();
            let here = self.here();
            out.push_str(self.text.get(begin..self.at).ok_or(NotJson)?);
            begin = match (here, self.text.as_bytes().get(self.at + 1)) {
                (b'"', _) => {
                    self.at += 1;
                    return Ok(());
                }
                // What stands for itself begins what is copied next.
                (b'\\', Some(b'"' | b'\\' | b'/')) => {
                    self.at += 2;
                    self.at - 1
                }
                (b'\\', _) => {
                    let escape = self.at;
                    self.escape()?;
                    let character = self.character(escape)?;
                    out.push(character);
                    self.at
                }
                _ => return Err(NotJson),
            };
        }
    }

    /// What the escape that began at `begin` and was just taken stands for. It may take a second one with it.
    fn character(&mut self, begin: usize) -> Result<char, NotJson> {
        let unit = |begin: usize| self.text.get(begin + 2..begin + 6).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        Ok(match self.text.as_bytes().get(begin + 1) {
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => match unit(begin).ok_or(NotJson)? {
                high @ 0xD800..0xDC00 if self.rest().starts_with(b"\\u") => {
                    let second = self.at;
                    self.escape()?;
                    match unit(second) {
                        Some(low @ 0xDC00..0xE000) => char::from_u32(0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)),
                        Some(_) | None => None,
                    }
                    .ok_or(NotJson)?
                }
                other => char::from_u32(other).ok_or(NotJson)?,
            },
            Some(_) | None => return Err(NotJson),
        })
    }

    fn skip(&mut self, open: usize) -> Result<(), NotJson> {
        let mut inside = Inside::default();
        loop {
            match self.peek() {
                begin @ (b'{' | b'[') => {
                    self.at += 1;
                    inside.enter(begin == b'{');
                    self.deepest = self.deepest.max(open + inside.depth);
                    if self.peek() != begin + 2 {
                        if begin == b'{' {
                            self.key()?;
                        }
                        continue;
                    }
                    self.at += 1;
                    inside.leave();
                }
                b'"' => self.quoted()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => return Err(NotJson),
            }
            // A value is over; what is around it may be, too.
            loop {
                let Some(is_object) = inside.is_object() else { return Ok(()) };
                match (self.peek(), is_object) {
                    (b',', _) => {
                        self.at += 1;
                        if is_object {
                            self.key()?;
                        }
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        inside.leave();
                    }
                    _ => return Err(NotJson),
                }
            }
        }
    }

    #[inline(always)]
    fn key(&mut self) -> Result<(), NotJson> {
        self.peek();
        self.quoted()?;
        self.take(b':')
    }

    #[inline]
    fn quoted(&mut self) -> Result<(), NotJson> {
        if self.here() != b'"' {
            return Err(NotJson);
        }
        self.at += 1;
        loop {
            self.plain();
            match self.here() {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.escaped = true;
                    self.escape()?;
                }
                // A control character, or the end of the text.
                _ => return Err(NotJson),
            }
        }
    }

    /// Takes what a string holds as it is: up to a quote, a backslash or a control character.
    #[inline]
    fn plain(&mut self) {
        self.at += plain_length(self.rest());
    }

    #[cold]
    fn escape(&mut self) -> Result<(), NotJson> {
        let (length, is_known) = match self.rest() {
            [_, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => (2, true),
            [_, b'u', digits @ ..] => (6, digits.get(..4).is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit))),
            _ => (0, false),
        };
        self.at += length;
        if is_known { Ok(()) } else { Err(NotJson) }
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let count = self.rest().iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.at += count;
        if count > 0 { Ok(()) } else { Err(NotJson) }
    }

    fn number(&mut self) -> Result<(), NotJson> {
        if self.here() == b'-' {
            self.at += 1;
        }
        match self.here() {
            // Nothing follows a leading zero.
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.here() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.here(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.here(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), NotJson> {
        if !self.rest().starts_with(word) {
            return Err(NotJson);
        }
        self.at += word.len();
        Ok(())
    }
}

/// How many bytes of `text`, from the first, a JSON string holds as they are: up to a quote, a backslash or a control character.
#[inline]
pub(super) fn plain_length(text: &[u8]) -> usize {
    let mut rest = text;
    while let Some((eight, more)) = rest.split_first_chunk::<8>() {
        match plain_bytes(u64::from_le_bytes(*eight)) {
            8 => rest = more,
            some => return text.len() - rest.len() + some,
        }
    }
    let is_special = |byte: &u8| matches!(byte, 0..b' ' | b'"' | b'\\');
    text.len() - rest.len() + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// How many of eight bytes, from the lowest, come before a quote, a backslash or a control character.
#[inline(always)]
fn plain_bytes(eight: u64) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const TOPS: u64 = u64::from_le_bytes([0x80; 8]);
    // Sets the top bit of each byte below `n`, and perhaps of others above the first such byte: the first is exact.
    let below = |bytes: u64, n: u64| bytes.wrapping_sub(ONES.wrapping_mul(n)) & !bytes & TOPS;
    let quote = eight ^ ONES.wrapping_mul(u64::from(b'"'));
    let backslash = eight ^ ONES.wrapping_mul(u64::from(b'\\'));
    let special = below(eight, 0x20) | below(quote, 1) | below(backslash, 1);
    special.trailing_zeros() as usize / 8
}

/// The objects and arrays that are open, a bit for each.
#[derive(Default)]
struct Inside {
    depth: usize,
    /// The innermost 64 or fewer, the last in the lowest bit.
    bits: u64,
    /// What is further out, 64 at a time.
    outer: Vec<u64>,
}

impl Inside {
    fn enter(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.bits >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    /// Whether the innermost is an object; `None` if nothing is open.
    fn is_object(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
