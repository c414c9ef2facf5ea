//! A queue that takes every message, as cheaply as it can be done: what is measured is who sends.
//!
//! A thread for each connection reads a request and answers it. JSON is searched, not parsed; of a measurement only its uid is looked
//! for. Absent: SQS's limits, which the tests of the command line hold it to, and everything but `SendMessageBatch`.

use std::io::{BufRead, BufReader, Error, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a uid begins, within a message that stands in a JSON string.
const UID: &[u8] = br#"{\"uid\":\""#;
/// How the id of an entry begins.
const ID: &[u8] = br#""Id":""#;

/// A running queue. Its threads end with the process.
pub(crate) struct Queue {
    address: SocketAddr,
    measurements: Arc<AtomicU64>,
}

impl Queue {
    /// On a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, measurements) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&measurements);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                // A connection ends in an error when the sender is done.
                std::thread::spawn(move || drop(serve(&stream, &counted)));
            }
        });
        Ok(Self { address, measurements })
    }

    /// What the sender is told.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/000000000000/usage", self.address)
    }

    /// How many have arrived.
    pub(crate) fn measurements(&self) -> u64 {
        self.measurements.load(Ordering::Relaxed)
    }
}

fn serve(stream: &TcpStream, measurements: &AtomicU64) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut reader, mut body, mut head) = (BufReader::with_capacity(256 * 1024, stream), Vec::new(), String::new());
    loop {
        let mut length = 0;
        loop {
            head.clear();
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = head.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(Error::other)?;
            }
            if head == "\r\n" {
                break;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body)?;
        measurements.fetch_add(places(&body, UID).count() as u64, Ordering::Relaxed);
        let answer = answer(&body);
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {}\r\n\r\n", answer.len());
        (&*stream).write_all([head, answer].concat().as_bytes())?;
    }
}

/// Every entry is on the queue.
fn answer(body: &[u8]) -> String {
    let entries: Vec<String> = places(body, ID)
        .map(|place| {
            let id: String =
                body.iter().skip(place + ID.len()).take_while(|byte| **byte != b'"').map(|byte| char::from(*byte)).collect();
            format!(r#"{{"Id":"{id}","MessageId":"message-{id}","MD5OfMessageBody":"0"}}"#)
        })
        .collect();
    format!(r#"{{"Successful":[{}],"Failed":[]}}"#, entries.join(","))
}

/// Where `what` stands in `text`. Both begin with a byte that is looked for first.
fn places<'t>(text: &'t [u8], what: &'t [u8]) -> impl Iterator<Item = usize> + 't {
    text.windows(what.len()).enumerate().filter(move |(_, window)| *window == what).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_answered_and_each_uid_in_a_message_is_counted() {
        let body = br#"{"Entries":[{"Id":"0","MessageBody":"{\"measurements\":[{\"uid\":\"a\"},{\"uid\":\"b\"}]}"},{"Id":"1","MessageBody":"{\"uid\":\"c\"}"}]}"#;
        assert_eq!(places(body, UID).count(), 3);
        let answer: serde_json::Value = serde_json::from_str(&answer(body)).unwrap();
        let ids: Vec<&str> = answer["Successful"].as_array().unwrap().iter().map(|one| one["Id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["0", "1"]);
    }
}
