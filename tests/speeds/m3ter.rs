//! m3ter as whoever uploads a file meets it, as cheaply as that can be done: what is measured is who uploads.
//!
//! A thread for each connection reads a request and answers it. A file is read row by row and not kept: it has to be as long as was
//! announced, and a JSON array with one measurement a line, which is how the relay writes it. Its rows are counted, and a sum is made of
//! their uids, so that one that is lost and another that is there twice do not pass for all of them. Each job has ended when it is asked
//! for. Absent: everything else of m3ter, its limits, and whether a token or a URL is its own: the sandbox has those.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Error, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

/// Where files go, with the number of their job behind it.
const FILES: &str = "/files/";
/// Where jobs are asked for.
const JOBS: &str = "/fileuploads/measurements/jobs/";

/// What a file was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrived {
    /// Measurements in it.
    pub(crate) rows: u64,
    /// The sum of [`hash`] of their uids.
    pub(crate) uids: u64,
}

impl Arrived {
    /// One more.
    pub(crate) fn add(&mut self, uid: &str) {
        self.rows += 1;
        self.uids = self.uids.wrapping_add(hash(uid));
    }
}

/// FNV-1a, 64 bits.
fn hash(uid: &str) -> u64 {
    uid.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[derive(Debug, Default)]
struct Books {
    /// Announced bytes of each job, in order.
    announced: Vec<u64>,
    arrived: BTreeMap<usize, Arrived>,
}

/// A running m3ter. Its threads end with the process.
pub(crate) struct M3ter {
    address: SocketAddr,
    books: Arc<Mutex<Books>>,
}

impl M3ter {
    /// On a free port of loopback. One that gives no URLs refuses each question for one: whoever uploads gets as far as that.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn start(gives_urls: bool) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (address, books) = (listener.local_addr()?, Arc::<Mutex<Books>>::default());
        let kept = Arc::clone(&books);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = Server { address, gives_urls, books: Arc::clone(&kept) };
                // A connection ends in an error when the other side is done.
                std::thread::spawn(move || drop(server.serve(&stream)));
            }
        });
        Ok(Self { address, books })
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that arrived.
    pub(crate) fn arrived(&self) -> Arrived {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books
            .arrived
            .values()
            .fold(Arrived::default(), |all, one| Arrived { rows: all.rows + one.rows, uids: all.uids.wrapping_add(one.uids) })
    }
}

/// One connection's.
struct Server {
    address: SocketAddr,
    gives_urls: bool,
    books: Arc<Mutex<Books>>,
}

impl Server {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::with_capacity(256 * 1024, stream);
        loop {
            let mut first = String::new();
            if reader.read_line(&mut first)? == 0 {
                return Ok(());
            }
            let length = head(&mut reader)?;
            let mut body = reader.by_ref().take(length);
            let path = first.split(' ').nth(1).unwrap_or_default();
            let (status, answer) = self.answer(path, &mut body)?;
            std::io::copy(&mut body, &mut std::io::sink())?;
            let answer = answer.to_string();
            let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
            (&*stream).write_all([head, answer].concat().as_bytes())?;
        }
    }

    fn answer(&self, path: &str, body: &mut impl BufRead) -> std::io::Result<(&'static str, Value)> {
        let books = || self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let number = |from: &str| path.split_once(from).and_then(|(_, number)| number.parse::<usize>().ok());
        let ok = "200 OK";
        if path.starts_with("/oauth/token") {
            return Ok((ok, json!({"access_token": "token", "token_type": "Bearer", "expires_in": 18_000})));
        }
        if path.ends_with("/generateUploadUrl") {
            let asked: Announced = serde_json::from_reader(body)?;
            if !self.gives_urls {
                return Ok(("403 Forbidden", json!({"message": "no URLs today"})));
            }
            let mut books = books();
            books.announced.push(asked.content_length);
            let number = books.announced.len() - 1;
            return Ok((ok, json!({"jobId": number.to_string(), "url": format!("http://{}{FILES}{number}", self.address)})));
        }
        if let Some(number) = number(FILES) {
            let announced = books().announced.get(number).copied();
            let (arrived, bytes) = rows(body)?;
            if announced != Some(bytes) {
                return Ok(("400 Bad Request", json!({"message": "other bytes than announced"})));
            }
            books().arrived.insert(number, arrived);
            return Ok((ok, json!({})));
        }
        if let Some(number) = number(JOBS) {
            let books = books();
            let (status, rows) = books.arrived.get(&number).map_or(("notUploaded", 0), |arrived| ("succeeded", arrived.rows));
            return Ok((ok, json!({"id": number.to_string(), "status": status, "totalRows": rows, "processedRows": rows})));
        }
        Ok((ok, json!({"data": []})))
    }
}

/// Reads the headers; how long the body is.
fn head(reader: &mut impl BufRead) -> std::io::Result<u64> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(Error::other)?;
            }
            Some(_) => {}
            None => return Ok(length),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announced {
    content_length: u64,
}

#[derive(Deserialize)]
struct Row<'r> {
    uid: &'r str,
}

/// The rows of a file, and its bytes.
fn rows(body: &mut impl BufRead) -> std::io::Result<(Arrived, u64)> {
    let wrong = || Error::other("expected a JSON array with a measurement a line");
    let (mut arrived, mut bytes, mut line) = (Arrived::default(), 0, Vec::new());
    // What has to stand before the next row, and what stood behind the last one.
    let (mut is_open, mut is_more) = (false, true);
    loop {
        line.clear();
        bytes += body.read_until(b'\n', &mut line)? as u64;
        match (line.trim_ascii_end(), is_open) {
            (b"[", false) => is_open = true,
            (b"]", true) if !is_more && body.fill_buf()?.is_empty() => return Ok((arrived, bytes)),
            (row, true) if is_more => {
                let text = row.strip_suffix(b",");
                is_more = text.is_some();
                let Row { uid } = serde_json::from_slice(text.unwrap_or(row))?;
                arrived.add(uid);
            }
            _ => return Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_whole_array_and_each_of_its_rows_is_counted_with_its_uid() {
        let (mut expected, file) = (Arrived::default(), b"[\n{\"uid\":\"a\",\"n\":[1]},\n{\"uid\":\"b\"}\n]");
        ["b", "a"].into_iter().for_each(|uid| expected.add(uid));
        assert_eq!(rows(&mut &file[..]).unwrap(), (expected, file.len() as u64));
        let mut twice = Arrived::default();
        ["a", "a"].into_iter().for_each(|uid| twice.add(uid));
        assert_ne!(twice, expected);
        for broken in [
            "",
            "[\n",
            "[\n]",
            "[\n{\"uid\":\"a\"}",
            "[\n{\"uid\":\"a\"},\n]",
            "[\n{\"uid\":\"a\"\n]",
            "[\n{\"uid\":\"a\"}\n]\n[",
            "{\"uid\":\"a\"}",
        ] {
            assert!(rows(&mut broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
