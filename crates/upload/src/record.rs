//! What the ledger says of a part, and the part sifted once more where m3ter may have forgotten some of it.

use std::collections::VecDeque;

use bumpalo::Bump;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use relay_core::decode::Found;
use relay_core::guard::{FirstSent, Guarded, Judged, MissingUid, Rules, guard};
use relay_core::inbound::{Origin, OriginKind};
use relay_store::{LedgerAnswer, LedgerMode, LedgerWrite, NewLine, StoreError};
use uuid::Uuid;

use crate::error::UploadError;
use crate::journal::Part;
use crate::row::{Bad, Measurement};
use crate::rows::Rows;
use crate::run::{Next, Run};
use crate::sift::PartText;

/// Measurements in an object of the ledger, at most,
const LINES_MAX: usize = 20_000;
/// and bytes of them, but for the last.
const LINES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Beyond the places of a file's rows: what a part has is counted anew, below the part's number.
const PLACES: u64 = 1 << 32;

impl Run<'_> {
    /// Writes a line for each measurement of `part`.
    pub(crate) async fn record(&self, part: &Part, answer: LedgerAnswer, sent_at_ms: i64) -> Result<(), UploadError> {
        let (mode, _) = self.means.ledger;
        if mode == LedgerMode::Off {
            return Ok(());
        }
        let mut chunk = 0;
        let mut parts = self.texts(part).await?;
        while let Some(texts) = parts.next().await? {
            chunk += 1;
            self.record_chunk(part, chunk, &texts, answer, sent_at_ms).await?;
        }
        Ok(())
    }

    async fn record_chunk(
        &self,
        part: &Part,
        chunk: u32,
        texts: &[String],
        answer: LedgerAnswer,
        sent_at_ms: i64,
    ) -> Result<(), UploadError> {
        let (arena, id, now_ms) = (Bump::new(), self.upload.to_string(), self.now_ms());
        // Before it is sent, with the send that follows.
        let sends = part.jobs.len() + usize::from(answer == LedgerAnswer::Unknown);
        let attempts = u32::try_from(sends).unwrap_or(u32::MAX);
        // They were good when the part was made, and are due.
        let rules = Rules { missing_uid: MissingUid::Refuse, now_ms: now_ms.max(part.ts_max) };
        let mut guarded: Vec<Guarded<'_>> = Vec::with_capacity(texts.len());
        for text in texts {
            match read(text, FirstSent::NotBefore(rules.now_ms), rules, &arena) {
                Judged::Good(measurement) => guarded.push(measurement),
                Judged::NotDue(_) | Judged::Refused(_) => return Err(UploadError::PartChanged),
            }
        }
        let lines = guarded.iter().map(|measurement| NewLine {
            uid: measurement.uid,
            meter: measurement.meter,
            account: measurement.account,
            ts: measurement.ts,
            ts_ms: measurement.ts_ms,
            batch: 1,
            message_id: &id,
            queued_at_ms: None,
            sent_at_ms,
            attempts,
            receives: 1,
            answer,
            origin: Some(Origin { kind: OriginKind::Upload, of: &id }),
            text: measurement.text,
        });
        // Both lines of a measurement have the same request: it is one send.
        let invocation = format!("upload-{id}-{}-{chunk}", part.name.trim_end_matches(".json"));
        let until = self.store_until();
        match self.means.store.record(self.means.ledger, &invocation, now_ms, lines, until).await {
            Err(_) if self.means.ledger.1 == LedgerWrite::BestEffort => Ok(()),
            recorded => Ok(recorded.map(|_| ())?),
        }
    }

    /// Makes a part anew of those measurements of the part at `place` that may be sent at `now_ms`; the rest goes into the quarantine.
    pub(crate) async fn sift_again(&mut self, place: usize, now_ms: i64) -> Result<Next, UploadError> {
        let Some(part) = self.part(place).cloned() else { return Ok(Next::Step) };
        let first_sent = self.state().options.first_sent.first_sent(part.sent_since, now_ms);
        let rules = Rules { missing_uid: MissingUid::Refuse, now_ms: now_ms.max(part.ts_max) };
        let name = format!("part-{:05}-{:016x}-{now_ms}.json", place + 1, self.state().run);
        let mut writer = self.means.store.write_part(self.upload, &name, self.store_until()).await?;
        let (mut kept, mut arena, mut row) = (PartText::default(), Bump::new(), 0);
        let mut texts = self.texts(&part).await?;
        while let Some(chunk) = texts.next().await? {
            let mut bad = Vec::new();
            for text in &chunk {
                row += 1;
                let judged = read(text, first_sent, rules, &arena);
                let piece = match judged {
                    Judged::Good(guarded) => kept.push(&Measurement::of(&guarded, first_sent)),
                    Judged::NotDue(_) => return Err(UploadError::PartChanged),
                    Judged::Refused(refusal) => {
                        bad.push(((place as u64 + 1) * PLACES + row, Bad::of(0, text, refusal, first_sent, &arena)));
                        None
                    }
                };
                arena.reset();
                if let Some(piece) = piece {
                    writer.write(piece, self.store_until()).await?;
                }
            }
            // Their lines are not known any more, and places move with each sifting.
            let upload = self.upload;
            self.quarantine(&bad, |bad| Some(Uuid::new_v5(&upload, bad.text.as_bytes()))).await?;
        }
        let sifted = match kept.end() {
            Some((rest, facts)) => {
                writer.write(rest, self.store_until()).await?;
                writer.finish(self.store_until()).await?;
                Some(Part { sent_since: part.sent_since, failures: part.failures, ..Part::ready(name, facts) })
            }
            None => None,
        };
        let parts = &mut self.state_mut().parts;
        let _ = parts.splice(place..=place, sifted).collect::<Vec<_>>();
        self.write().await?;
        let _ = self.means.store.delete_part(self.upload, &part.name, self.store_until()).await;
        Ok(Next::Step)
    }

    async fn texts(&self, part: &Part) -> Result<Chunks, UploadError> {
        let body = self.means.store.read_part(self.upload, &part.name).await?;
        Ok(Chunks { stream: body.stream, rows: Rows::default(), texts: VecDeque::new() })
    }
}

/// The measurements of a part, so many at a time: the same ones each time, however the store cuts what it gives.
struct Chunks {
    stream: BoxStream<'static, Result<Bytes, StoreError>>,
    rows: Rows,
    texts: VecDeque<String>,
}

impl Chunks {
    async fn next(&mut self) -> Result<Option<Vec<String>>, UploadError> {
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while chunk.len() < LINES_MAX && bytes < LINES_BYTES_MAX {
            if let Some(text) = self.texts.pop_front() {
                bytes += text.len();
                chunk.push(text);
                continue;
            }
            let Some(piece) = self.stream.next().await else { break };
            let Chunks { rows, texts, .. } = self;
            rows.read(&piece?, |row| {
                let text = std::str::from_utf8(row).map_err(|_| UploadError::PartChanged)?;
                texts.push_back(text.to_owned());
                Ok::<(), UploadError>(())
            })?;
        }
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }
}

fn read<'a>(text: &'a str, first_sent: FirstSent, rules: Rules, arena: &'a Bump) -> Judged<'a> {
    guard(&Found { message: 0, position: 0, text, refusal: None, read: None }, first_sent, rules, arena)
}
