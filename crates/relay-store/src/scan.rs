//! Reads many objects: lists the hours asked for, and sifts the lines of each object as a stream, several objects at once.
//!
//! Memory stays bounded whatever the store holds: of an object there is a buffer of lines, not its content. What the caller
//! keeps of a line is the caller's to bound. An object that cannot be read to its end counts for nothing and is told by name:
//! one torn object must hide neither its neighbours nor that something is missing.
//!
//! Absent: an index, and any order between objects. Where order matters, lines carry times.

use std::io::Read;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::stream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectMeta, ObjectStore, ObjectStoreExt};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::ledger::LedgerObject;
use crate::store::{Store, StoreError, hour_folder};

/// An hour in milliseconds.
const HOUR_MS: i64 = 3_600_000;
/// Hours in a day.
const DAY_HOURS: i64 = 24;

/// Folders listed at the same time.
const LISTINGS: usize = 8;
/// Objects fetched at the same time: a bucket answers after some 30 ms, and most objects are small.
const FETCHES: usize = 32;
/// An object up to this size is fetched whole; a larger one in pieces of it, as they are read. So no request lasts long, and none
/// waits for a processor.
const PIECE_BYTES: u64 = 1024 * 1024;
/// Longest wait for the list of one folder: a busy day has some 20,000 objects, which are 20 answers.
const LIST_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest wait for an object, or for the next piece of a large one.
pub(crate) const FETCH_TIMEOUT: Duration = Duration::from_secs(30);

/// What a buffer of lines begins with.
const BUFFER_BYTES: usize = 256 * 1024;
/// A longer line is no line of ours. A body of 4 MiB of which each byte is escaped has 24 MiB.
const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What can be listed by the hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// What was sent.
    Ledger,
    /// What could not go on.
    Quarantine,
}

impl Folder {
    fn name(self) -> &'static str {
        match self {
            Folder::Ledger => "ledger",
            Folder::Quarantine => "quarantine",
        }
    }
}

/// The layout that this reader knows.
const VERSION: &str = "v1";

/// Whole hours, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    /// The first, counted since the epoch.
    first: i64,
    /// The last.
    last: i64,
}

impl Hours {
    /// The hours that hold `from_ms` to `until_ms`, both included: milliseconds since the epoch. At least one hour.
    pub fn between(from_ms: i64, until_ms: i64) -> Hours {
        let (first, last) = (from_ms.div_euclid(HOUR_MS), until_ms.div_euclid(HOUR_MS));
        Hours { first, last: last.max(first) }
    }

    /// How many there are, at least 1.
    pub fn count(self) -> u64 {
        self.last.abs_diff(self.first) + 1
    }

    /// When the first begins and the last ends: milliseconds since the epoch.
    pub fn span_ms(self) -> (i64, i64) {
        (self.first * HOUR_MS, (self.last + 1) * HOUR_MS)
    }

    /// The fewest folders that hold these hours and no other: `dt=…` for whole days, `dt=…/hr=…` for the rest.
    fn folders(self) -> Vec<String> {
        let mut folders = Vec::new();
        let mut hour = self.first;
        while hour <= self.last {
            let folder = hour_folder(hour * HOUR_MS);
            if hour.rem_euclid(DAY_HOURS) == 0 && hour + DAY_HOURS - 1 <= self.last {
                folders.push(folder.split('/').next().unwrap_or_default().to_owned());
                hour += DAY_HOURS;
            } else {
                folders.push(folder);
                hour += 1;
            }
        }
        folders
    }
}

/// An object that was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    name: Path,
    bytes: u64,
}

impl StoredObject {
    /// Its name in the store.
    pub fn name(&self) -> &str {
        self.name.as_ref()
    }

    /// How many bytes it has.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many lines its name says it has; only a ledger object says so.
    pub fn lines(&self) -> Option<u64> {
        self.ledger().map(|object| object.lines)
    }

    /// What its name tells, if it is one of the ledger.
    pub fn ledger(&self) -> Option<LedgerObject> {
        LedgerObject::parse(self.name.filename()?)
    }
}

/// An object that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its name in the store.
    pub name: String,
    /// What was expected.
    pub expected: String,
}

/// What a listing found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// What can be read, by name.
    pub objects: Vec<StoredObject>,
    /// What cannot even be tried.
    pub unreadable: Vec<Unreadable>,
}

impl Listed {
    fn of(found: impl IntoIterator<Item = ObjectMeta>) -> Listed {
        let mut listed = Listed::default();
        for object in found {
            match object.location.as_ref().ends_with(".ndjson.zst") {
                true => listed.objects.push(StoredObject { name: object.location, bytes: object.size }),
                false => listed.unreadable.push(Unreadable {
                    name: object.location.to_string(),
                    expected: "expected only objects named ….ndjson.zst here".to_owned(),
                }),
            }
        }
        listed.objects.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        listed
    }
}

/// Where the bytes of an object come from.
enum Source {
    File(std::fs::File),
    Whole(Bytes),
    Pieces(Pieces),
}

impl Store {
    /// The objects of `folder` that were written in `hours`.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn objects(&self, folder: Folder, hours: Hours) -> Result<Listed, StoreError> {
        let name = |rest: String| self.path(&format!("{}/{VERSION}/{rest}", folder.name()));
        let listings = stream::iter(hours.folders().into_iter().map(name)).map(async |below| {
            let listing = self.objects.list(Some(&below)).try_collect::<Vec<_>>();
            timeout(LIST_TIMEOUT, listing).await.map_err(|_| StoreError::TimedOut)?.map_err(StoreError::Failed)
        });
        let found: Vec<Vec<_>> = listings.buffer_unordered(LISTINGS).try_collect().await?;
        let mut listed = Listed::of(found.into_iter().flatten());
        listed.unreadable.extend(self.other_versions(folder).await?);
        listed.unreadable.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(listed)
    }

    /// The objects of lines below `folder`, whatever it is.
    pub(crate) async fn packed_below(&self, folder: &str) -> Result<Listed, StoreError> {
        let below = self.path(folder);
        let listing = self.objects.list(Some(&below)).try_collect::<Vec<_>>();
        let found = timeout(LIST_TIMEOUT, listing).await.map_err(|_| StoreError::TimedOut)?.map_err(StoreError::Failed)?;
        Ok(Listed::of(found))
    }

    /// Folders of layouts that this reader does not know: what they hold is not seen, and that must be said.
    async fn other_versions(&self, folder: Folder) -> Result<Vec<Unreadable>, StoreError> {
        let path = self.path(folder.name());
        let listing = timeout(LIST_TIMEOUT, self.objects.list_with_delimiter(Some(&path))).await;
        let found = listing.map_err(|_| StoreError::TimedOut)?.map_err(StoreError::Failed)?;
        let other = |path: &Path| path.filename().is_some_and(|version| version != VERSION);
        let unreadable = found.common_prefixes.into_iter().filter(other).map(|path| Unreadable {
            name: format!("{path}/"),
            expected: format!("expected the layout {VERSION}; a newer usage-relay may read this one"),
        });
        Ok(unreadable.collect())
    }

    /// Gives each line of `objects` to `read`, together with what it kept of earlier lines of the same object; when an object
    /// has ended, what was kept of it goes to `each`. Objects come in no order, lines in theirs.
    ///
    /// `read` runs on threads for blocking work, as many as there are cores. If it refuses a line, saying what it expected, or if
    /// the object breaks off, nothing of the object is handed on. Returns the objects of which that is true.
    pub async fn sift<K, R>(
        &self,
        objects: impl IntoIterator<Item = StoredObject>,
        read: R,
        mut each: impl FnMut(&StoredObject, K),
    ) -> Vec<Unreadable>
    where
        K: Default + Send + 'static,
        R: Fn(&mut K, &[u8]) -> Result<(), &'static str> + Send + Sync + 'static,
    {
        let read = Arc::new(read);
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let fetched = stream::iter(objects).map(|object| self.fetch(object)).buffer_unordered(FETCHES);
        let sifted = fetched.map(|(object, source)| {
            let read = Arc::clone(&read);
            async move {
                let kept = match source {
                    Ok(source) => {
                        let sift = tokio::task::spawn_blocking(move || sift_one(source, read.as_ref()));
                        sift.await.unwrap_or_else(|_| Err("expected lines that this reader can read".to_owned()))
                    }
                    Err(expected) => Err(expected),
                };
                (object, kept)
            }
        });
        let mut sifted = std::pin::pin!(sifted.buffer_unordered(threads));
        let mut unreadable = Vec::new();
        while let Some((object, kept)) = sifted.next().await {
            match kept {
                Ok(kept) => each(&object, kept),
                Err(expected) => unreadable.push(Unreadable { name: object.name.to_string(), expected }),
            }
        }
        unreadable.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        unreadable
    }

    async fn fetch(&self, object: StoredObject) -> (StoredObject, Result<Source, String>) {
        if object.bytes > PIECE_BYTES {
            let (objects, name, bytes) = (self.objects.clone(), object.name.clone(), object.bytes);
            let pieces = Pieces { objects, name, bytes, next: 0, piece: Bytes::new(), runtime: Handle::current() };
            return (object, Ok(Source::Pieces(pieces)));
        }
        let fetch = async {
            let got = self.objects.get(&object.name).await?;
            match got.payload {
                GetResultPayload::File(file, _) => Ok(Source::File(file)),
                GetResultPayload::Stream(_) => got.bytes().await.map(Source::Whole),
            }
        };
        let source = match timeout(FETCH_TIMEOUT, fetch).await {
            Ok(source) => source.map_err(|error: object_store::Error| format!("expected the store to hand it over: {error}")),
            Err(_) => Err(format!("expected the store to hand it over within {} s", FETCH_TIMEOUT.as_secs())),
        };
        (object, source)
    }
}

fn sift_one<K: Default>(source: Source, read: impl Fn(&mut K, &[u8]) -> Result<(), &'static str>) -> Result<K, String> {
    let mut kept = K::default();
    let line = |line: &[u8]| read(&mut kept, line);
    match source {
        Source::File(file) => each_line(file, line),
        Source::Whole(bytes) => each_line(bytes.reader(), line),
        Source::Pieces(pieces) => each_line(pieces, line),
    }
    .map_err(|expected| format!("expected {expected}"))?;
    Ok(kept)
}

/// Gives each line of a zstd stream to `line`, without its line feed.
pub(crate) fn each_line(packed: impl Read, mut line: impl FnMut(&[u8]) -> Result<(), &'static str>) -> Result<(), &'static str> {
    const WHOLE: &str = "a whole zstd stream";
    let mut unpacked = zstd::stream::read::Decoder::new(packed).map_err(|_| WHOLE)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut filled, mut any) = (0, false);
    loop {
        if filled == buffer.len() {
            if filled >= LINE_BYTES_MAX {
                return Err("lines of at most 32 MiB");
            }
            buffer.resize(filled * 2, 0);
        }
        let read = unpacked.read(buffer.get_mut(filled..).unwrap_or_default()).map_err(|_| WHOLE)?;
        if read == 0 {
            break;
        }
        any = true;
        let end = filled + read;
        let mut start = 0;
        for line_feed in memchr::memchr_iter(b'\n', buffer.get(..end).unwrap_or_default()) {
            let text = buffer.get(start..line_feed).unwrap_or_default();
            if !text.is_empty() {
                line(text)?;
            }
            start = line_feed + 1;
        }
        buffer.copy_within(start..end, 0);
        filled = end - start;
    }
    match (any, filled) {
        (false, _) => Err(WHOLE),
        (true, 0) => Ok(()),
        (true, _) => Err("a line feed after the last line"),
    }
}

/// A large object, piece by piece, as blocking code reads it.
struct Pieces {
    objects: Arc<dyn ObjectStore>,
    name: Path,
    bytes: u64,
    next: u64,
    piece: Bytes,
    runtime: Handle,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.piece.is_empty() && self.next < self.bytes {
            let end = self.bytes.min(self.next + PIECE_BYTES);
            let get = async { timeout(FETCH_TIMEOUT, self.objects.get_range(&self.name, self.next..end)).await };
            let piece = self.runtime.block_on(get).map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?;
            self.piece = piece.map_err(std::io::Error::other)?;
            self.next = end;
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = DAY_HOURS * HOUR_MS;
    /// 2026-06-01T00:00:00Z in milliseconds since the epoch.
    const START_MS: i64 = 1_780_272_000_000;

    #[test]
    fn hours_are_whole_and_both_ends_belong() {
        assert_eq!(Hours::between(START_MS, START_MS).count(), 1);
        assert_eq!(Hours::between(START_MS, START_MS + HOUR_MS - 1).count(), 1);
        assert_eq!(Hours::between(START_MS, START_MS + HOUR_MS).count(), 2);
        assert_eq!(Hours::between(START_MS - 1, START_MS).span_ms(), (START_MS - HOUR_MS, START_MS + HOUR_MS));
        assert_eq!(Hours::between(START_MS, START_MS - DAY_MS).count(), 1, "an end before the beginning is one hour");
    }

    #[test]
    fn whole_days_are_listed_as_one_folder_and_the_rest_by_the_hour() {
        let folders = |from_ms, until_ms| Hours::between(from_ms, until_ms).folders();
        assert_eq!(folders(START_MS, START_MS + DAY_MS - 1), ["dt=2026-06-01"]);
        let ends = folders(START_MS - 2 * HOUR_MS, START_MS + DAY_MS + HOUR_MS);
        let expected =
            ["dt=2026-05-31/hr=22", "dt=2026-05-31/hr=23", "dt=2026-06-01", "dt=2026-06-02/hr=00", "dt=2026-06-02/hr=01"];
        assert_eq!(ends, expected);
        assert!(folders(START_MS + 3 * HOUR_MS + 1, START_MS + 35 * DAY_MS + 7).len() <= 34 + 24);
    }

    #[test]
    fn lines_come_whole_whatever_their_length() {
        let lines: Vec<String> = [1, 10, BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1, 3 * BUFFER_BYTES, 7]
            .into_iter()
            .map(|length| "x".repeat(length))
            .collect();
        let packed = zstd::bulk::compress(format!("{}\n", lines.join("\n")).as_bytes(), 3).unwrap();
        let mut found = Vec::new();
        let mut keep = |line: &[u8]| {
            found.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        };
        each_line(packed.as_slice(), &mut keep).unwrap();
        assert_eq!(found, lines);
    }

    #[test]
    fn a_stream_that_breaks_off_anywhere_is_told_from_one_that_ends() {
        let text: String = (0..500).map(|index| format!("line {index}\n")).collect();
        let packed = zstd::bulk::compress(text.as_bytes(), 3).unwrap();
        assert_eq!(each_line(packed.as_slice(), |_| Ok(())), Ok(()));
        for length in 0..packed.len() {
            assert!(each_line(&packed[..length], |_| Ok(())).is_err(), "{length}");
        }
        let torn_line = zstd::bulk::compress(b"one\ntw", 3).unwrap();
        assert_eq!(each_line(torn_line.as_slice(), |_| Ok(())), Err("a line feed after the last line"));
        assert_eq!(each_line(&b"garbage"[..], |_| Ok(())), Err("a whole zstd stream"));
        let bomb = zstd::stream::encode_all(std::io::repeat(b'x').take(LINE_BYTES_MAX as u64 + 1), 3).unwrap();
        assert_eq!(each_line(bomb.as_slice(), |_| Ok(())), Err("lines of at most 32 MiB"));
    }
}
