//! Makes parts out of a file, and puts its bad rows into the quarantine. Nothing is sent before all of it is done.
//!
//! Where time runs out the part that is open is ended, what was seen is put down, and the next run goes on behind the last row. Where a
//! run is killed the next one begins where the last one that came to an end had stopped: parts and quarantine come out the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bumpalo::Bump;
use bytes::Bytes;
use files::seen::Seen;
use files::source::{Format, Source};
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join};
use relay_core::guard::Rules;
use relay_core::inbound::{Origin, OriginKind};
use relay_store::{EntryText, NewEntry, PIECE_BYTES, PartWriter};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::error::UploadError;
use crate::journal::{Fault, Part, PartState};
use crate::row::{Bad, Judging};
use crate::run::{Run, Stage};
use crate::sift::{End, Facts, Sifting, Told};

/// What is told and not written down yet, at most: a piece of 5 MiB.
const TOLD_WAITING_MAX: usize = 1;
/// Time kept to put down what was seen, and the journal.
const RESERVE: Duration = Duration::from_secs(30);
/// Most uids that are held against each other: seven eighths of 2^23, beyond which their memory would double.
const UIDS_MAX: usize = 7_340_032;

/// A file to upload.
pub struct Input {
    /// What errors and reports call it: a path or a URL. At most a few hundred bytes.
    pub name: String,
    /// What to read.
    pub source: Source,
    /// What it holds.
    pub format: Format,
    /// Fetches what `source` reads, where that is no file; ends when all is fetched or nobody reads.
    pub feed: BoxFuture<'static, ()>,
}

impl Input {
    /// What `source` has by itself, under its own name.
    pub fn of(source: Source, format: Format) -> Input {
        Input { name: source.name(), source, format, feed: Box::pin(std::future::ready(())) }
    }
}

impl Run<'_> {
    /// Reads `input` and makes parts of it, as far as there is time.
    pub(crate) async fn prepare(&mut self, input: Input) -> Result<(), UploadError> {
        let options = self.state().options;
        let now_ms = self.now_ms();
        let seen = match &self.state().seen {
            Some(name) => self.seen(name).await?,
            None => Seen::up_to(UIDS_MAX),
        };
        let enough = Arc::new(AtomicBool::new(false));
        let sifting = Sifting {
            source: input.source.clone(),
            format: input.format,
            looker: Judging {
                rules: Rules { missing_uid: options.missing_uid, now_ms },
                first_sent: options.first_sent.first_sent(None, now_ms),
                arena: Bump::new(),
            },
            lookers: self.means.lookers,
            seen,
            rows: self.state().rows,
            strict: options.strict,
            part_bytes_max: options.part_bytes_max,
            enough: Arc::clone(&enough),
        };
        let (tell, told) = mpsc::channel(TOLD_WAITING_MAX);
        let reading = tokio::task::spawn_blocking(move || sifting.run(tell));
        let (ended, ()) = join(self.keep(told, &input.source, &enough), input.feed).await;
        let ended = ended?;
        // It told its end: nothing is left for it to do.
        let _ = reading.await;
        self.prepared(ended).await
    }

    /// Writes down what is told.
    async fn keep(&mut self, mut told: mpsc::Receiver<Told>, source: &Source, enough: &AtomicBool) -> Result<Ended, UploadError> {
        let mut writer: Option<(String, PartWriter)> = None;
        loop {
            if self.means.until.checked_sub(RESERVE).is_none_or(|latest| tokio::time::Instant::now() >= latest) {
                enough.store(true, Ordering::Relaxed);
            }
            let Some(next) = told.recv().await else { return Err(UploadError::Unreadable(std::io::ErrorKind::Other.into())) };
            match next {
                Told::Piece(piece) => {
                    let (_, pieces) = match &mut writer {
                        Some(open) => open,
                        None => {
                            let name = self.next_part();
                            let pieces = self.means.store.write_part(self.upload, &name, self.store_until()).await?;
                            writer.insert((name, pieces))
                        }
                    };
                    pieces.write(piece, self.store_until()).await?;
                }
                Told::Part(facts) => {
                    let Some((name, pieces)) = writer.take() else { continue };
                    pieces.finish(self.store_until()).await?;
                    let part = Part::ready(name, facts);
                    self.state_mut().parts.push(part);
                }
                Told::Bad(rows) => self.quarantine(&rows, |_| None).await?,
                Told::End(end, seen, rows) => {
                    self.state_mut().rows = rows;
                    return Ok(Ended { end, seen });
                }
            }
            self.show(Stage::Preparing { bytes_read: source.bytes_read(), bytes: source.bytes() });
        }
    }

    async fn prepared(&mut self, Ended { end, seen }: Ended) -> Result<(), UploadError> {
        match end {
            End::Whole => self.state_mut().prepared = true,
            End::Broken(line, refusal) => {
                let state = self.state_mut();
                state.fault = Some(Fault::of(line, &refusal));
                state.parts.clear();
            }
            End::Unreadable(error) => return Err(UploadError::Unreadable(error)),
            End::Enough => {
                // Under a name of its own: until the journal names it, the one before is what counts.
                let name = format!("seen-{}-{:016x}.bin", self.state().rows.read, self.state().run);
                self.put_seen(&name, &seen).await?;
                let before = self.state_mut().seen.replace(name);
                self.write().await?;
                if let Some(before) = before {
                    // Should it stay, it is in nobody's way.
                    let _ = self.means.store.delete_part(self.upload, &before, self.store_until()).await;
                }
                return Ok(());
            }
        }
        self.write().await?;
        self.clear().await;
        Ok(())
    }

    fn next_part(&self) -> String {
        format!("part-{:05}-{:016x}.json", self.state().parts.len() + 1, self.state().run)
    }

    /// Puts rows of the file into the quarantine. Each is known by the file and its place, unless `known_by` says otherwise, so twice is
    /// once.
    pub(crate) async fn quarantine(
        &mut self,
        rows: &[(u64, Bad)],
        known_by: impl Fn(&Bad) -> Option<Uuid>,
    ) -> Result<(), UploadError> {
        let Some((first, _)) = rows.first() else { return Ok(()) };
        let (id, now_ms) = (self.upload.to_string(), self.now_ms());
        let origin = Origin { kind: OriginKind::Upload, of: &id };
        let state = self.state();
        let detail = |bad: &Bad| match bad.line {
            0 => bad.refusal.detail.to_string(),
            line => format!("line {line}: {}", bad.refusal.detail),
        };
        let details: Vec<String> = rows.iter().map(|(_, bad)| detail(bad)).collect();
        let entries = rows.iter().zip(&details).map(|((place, bad), detail)| NewEntry {
            qid: known_by(bad),
            uid: bad.uid.as_deref(),
            reason: bad.refusal.reason.name(),
            detail,
            stage: bad.refusal.stage.name(),
            first_sent_at_ms: bad.first_sent_ms,
            message_id: &id,
            position: usize::try_from(*place).unwrap_or(usize::MAX),
            source: &state.name,
            attributes: Vec::new(),
            queued_at_ms: None,
            first_received_at_ms: None,
            receives: 1,
            origin: Some(origin),
            text: text(&bad.text),
        });
        let name = format!("upload-{id}-{first}");
        self.means.store.quarantine(&name, now_ms, entries, self.store_until()).await?;
        for (_, bad) in rows {
            self.state_mut().quarantine(bad.line, &bad.refusal);
        }
        Ok(())
    }

    async fn put_seen(&self, name: &str, seen: &Seen) -> Result<(), UploadError> {
        let mut text = Vec::new();
        seen.write(&mut text).map_err(UploadError::Unreadable)?;
        let mut writer = self.means.store.write_part(self.upload, name, self.store_until()).await?;
        let mut text = Bytes::from(text);
        while !text.is_empty() {
            let piece = text.split_to(text.len().min(PIECE_BYTES));
            writer.write(piece, self.store_until()).await?;
        }
        Ok(writer.finish(self.store_until()).await?)
    }

    async fn seen(&self, name: &str) -> Result<Seen, UploadError> {
        let mut body = self.means.store.read_part(self.upload, name).await?;
        let mut text = Vec::with_capacity(usize::try_from(body.bytes).unwrap_or_default());
        while let Some(piece) = body.stream.next().await {
            text.extend_from_slice(&piece?);
        }
        Seen::read(text.as_slice(), UIDS_MAX).map_err(|_| UploadError::PartChanged)
    }
}

/// How reading ended.
struct Ended {
    end: End,
    seen: Box<Seen>,
}

impl Part {
    pub(crate) fn ready(name: String, facts: Facts) -> Part {
        Part {
            name,
            rows: facts.rows,
            bytes: facts.bytes,
            ts_min: facts.ts_min_ms,
            ts_max: facts.ts_max_ms,
            state: PartState::Ready,
            sent_since: None,
            jobs: Vec::new(),
            judged: 0,
            failures: 0,
            processed_rows: 0,
            failed_rows: 0,
        }
    }
}

/// What is kept of a row.
fn text(text: &str) -> EntryText<'_> {
    let is_object = text.starts_with('{') && serde_json::from_str::<&RawValue>(text).is_ok();
    if is_object { EntryText::Measurement(text) } else { EntryText::Body(text) }
}

/// The namespace of upload ids, itself the UUIDv5 of the URL namespace and the name `usage-relay/upload/v1`.
const NAMESPACE: Uuid = Uuid::from_u128(0x14a7_2de3_0559_52a7_b004_f822_c211_827b);

/// The id of an upload of what `digest` stands for: the same file is the same upload. `times` it was uploaded before, and is to be
/// once more.
pub fn upload_id(digest: &[u8], times: u32) -> Uuid {
    Uuid::new_v5(&NAMESPACE, &[digest, format!("\n{times}").as_bytes()].concat())
}
