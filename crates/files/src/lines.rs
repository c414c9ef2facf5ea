//! Newline-delimited JSON: one measurement a line, blank lines between them allowed.

use std::io::{BufRead, BufReader, Read};

use relay_core::reason::Reason;

use crate::read::{Sink, Stop, TEXT_BYTES_MAX, refusal, too_large};

/// Longest line read: the largest measurement, and some white space around it.
const LINE_BYTES_MAX: usize = TEXT_BYTES_MAX + 4_096;
/// A buffer that makes few system calls and stays in the processor's cache.
const BUFFER_BYTES: usize = 64 * 1024;

/// Hands each line of `stream` to `sink`.
///
/// # Errors
/// The first [`Stop`]: of reading, of the text, or of the sink.
pub fn read(stream: impl Read, sink: &mut dyn Sink) -> Result<(), Stop> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, stream);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let mut bounded = reader.by_ref().take(LINE_BYTES_MAX as u64);
        if bounded.read_until(b'\n', &mut line).map_err(Stop::Unreadable)? == 0 {
            break;
        }
        if line.len() == LINE_BYTES_MAX && !line.ends_with(b"\n") {
            sink.refuse(number, too_large())?;
            reader.skip_until(b'\n').map_err(Stop::Unreadable)?;
            continue;
        }
        match str::from_utf8(&line).map(str::trim_ascii) {
            Ok("") => {}
            Ok(text) => sink.take(number, text)?,
            Err(_) => sink.refuse(number, refusal(Reason::NotJson, "expected UTF-8 text"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::{collect, collect_all};

    #[test]
    fn every_line_is_a_measurement_as_written_and_blank_lines_are_none() {
        let found = collect(|sink| read(&b"{\"a\": 1.0}\r\n\n  {\"b\":2} \n{\"c\":3}"[..], sink));
        assert_eq!(found, Ok(vec![(1, "{\"a\": 1.0}".to_owned()), (3, "{\"b\":2}".to_owned()), (4, "{\"c\":3}".to_owned())]));
    }

    #[test]
    fn a_line_that_is_not_utf_8_is_named() {
        let found = collect(|sink| read(&b"{}\n\xff\n"[..], sink));
        assert_eq!(found, Err("line 2: expected UTF-8 text".to_owned()));
    }

    #[test]
    fn an_endless_line_is_not_read_to_its_end() {
        let endless = std::io::repeat(b'x');
        let found = collect(|sink| read((&b"{}\n"[..]).chain(endless), sink));
        assert_eq!(found, Err(format!("line 2: {}", too_large().detail)));
    }

    #[test]
    fn a_sink_that_goes_on_gets_what_stands_behind_a_bad_line() {
        let long = "x".repeat(LINE_BYTES_MAX + 100_000);
        let text = [b"{\"a\":1}\n\xff\n", long.as_bytes(), b"\n{\"b\":2}\n", long.as_bytes()].concat();
        let expected = [(1, "{\"a\":1}"), (2, "NotJson"), (3, "Oversize"), (4, "{\"b\":2}"), (5, "Oversize")];
        assert_eq!(collect_all(|sink| read(&text[..], sink)), expected.map(|(line, text)| (line, text.to_owned())));
    }
}
