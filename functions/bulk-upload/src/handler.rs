//! One invocation: messages in, what can be done about their files, the answer out.
//!
//! The rule: a message leaves the queue when each of its files has ended and has its report, or is not there any more. Any other comes
//! again: at once if there is work, later if it is m3ter's turn.

use std::io::Write;
use std::time::Duration;

use bumpalo::Bump;
use lambda_shell::answer::{Answer, HandlerError, answer};
use lambda_shell::{Call, event, line};
use m3ter_client::Clock;
use relay_core::inbound::Inbound;
use relay_core::settle::Outcome;
use tokio::time::Instant;

use upload::report::Status;

use crate::file::{Came, Office, Times};
use crate::metrics::{self, Counts};
use crate::notification::files;
use crate::visibility::{Visibility, WAIT_MAX_S, seconds};

/// Of an invocation, how long before its end no step is begun: a step's last requests and the journal take no longer.
const STEPS_RESERVE: Duration = Duration::from_secs(40);
/// How long before its end an upload is cut off,
const CUT_OFF_RESERVE: Duration = Duration::from_secs(15);
/// and a report has to be written; then comes the queue.
const REPORTS_RESERVE: Duration = Duration::from_secs(7);
/// An invocation that goes on for less than this did little.
const SHORT: Duration = Duration::from_secs(60);

/// The function. One per process.
pub struct Function {
    /// What files need.
    pub office: Office,
    /// The queue.
    pub queue: Box<dyn Visibility>,
    /// The dimension of the metrics.
    pub name: String,
}

impl Times {
    /// Of an invocation that begins now and has `whole` until its end.
    pub fn of(whole: Duration) -> Times {
        let now = Instant::now();
        let before = |reserve: Duration| now + whole.saturating_sub(reserve);
        Times { steps: before(STEPS_RESERVE), cut_off: before(CUT_OFF_RESERVE), reports: before(REPORTS_RESERVE) }
    }
}

/// What an invocation came to.
struct Round<'l> {
    counts: Counts,
    log: &'l mut String,
    clock: Clock,
}

impl Function {
    /// Handles one event. Writes what came of it to `log`.
    ///
    /// # Errors
    /// [`HandlerError`] if it cannot be answered: then all its messages stay.
    pub async fn handle(
        &self,
        event: &str,
        call: Call<'_>,
        mut rng: fastrand::Rng,
        log: &mut dyn Write,
    ) -> Result<Answer, HandlerError> {
        let (arena, began) = (Bump::new(), Instant::now());
        let messages = event::messages(event, &arena)?;
        let whole = Duration::from_millis(u64::try_from(call.deadline_ms.saturating_sub(call.now_ms)).unwrap_or(0));
        let (times, clock, mut lines) = (Times::of(whole), Clock::starting_at(call.now_ms), String::new());
        let mut round = Round { counts: Counts::default(), log: &mut lines, clock };
        let mut outcomes = Vec::with_capacity(messages.len());
        for message in &messages {
            let wait = self.message(message, times, &mut rng, &mut round).await;
            if let Some(wait) = wait {
                let seconds = seconds(wait, message.receives, began.elapsed() < SHORT);
                self.queue.put_off(message.handle, seconds).await;
                let age = message.sent_at_ms.map(|sent_at_ms| clock.now_ms().saturating_sub(sent_at_ms).max(0));
                round.counts.oldest_returned_ms = round.counts.oldest_returned_ms.max(age);
                round.counts.returned += 1;
            }
            outcomes.push(if wait.is_some() { Outcome::Return { after: wait } } else { Outcome::Done });
        }
        let counts = Counts { received: messages.len() as u64, ..round.counts };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let about = line::Invocation { function: &self.name, request_id: call.request_id, now_ms: clock.now_ms(), took_ms };
        lines.push_str(&metrics::line(about, counts));
        // A log that cannot be written must not cost the messages.
        let _ = log.write_all(lines.as_bytes());
        answer(&messages, &outcomes)
    }

    /// Does what can be done about a message. How long it has to wait, if it stays.
    async fn message(
        &self,
        message: &Inbound<'_>,
        times: Times,
        rng: &mut fastrand::Rng,
        round: &mut Round<'_>,
    ) -> Option<Duration> {
        let told = match files(message.body, &self.office.bucket) {
            Ok(told) => told,
            Err(error) => {
                // It may mean a file that somebody waits for. It stays until it is a dead letter.
                round.counts.failed += 1;
                round.say("error", "a message tells of no file", &error.to_string());
                return Some(Duration::from_secs(WAIT_MAX_S));
            }
        };
        let mut wait: Option<Duration> = None;
        for file in told {
            let upload = self.office.upload_of(file);
            let came = upload.go_on(round.clock, times, rng.fork()).await;
            let left = round.account(&upload.id.to_string(), came);
            wait = left.map_or(wait, |left| Some(wait.map_or(left, |wait| wait.min(left))));
        }
        wait
    }
}

impl Round<'_> {
    /// Accounts for what came of the upload `id`. How long it has to wait, if it has not ended.
    fn account(&mut self, id: &str, came: Came) -> Option<Duration> {
        match came {
            Came::Told(ending) => {
                if ending.is_new {
                    let (level, how) = match ending.status {
                        Status::Done => ("info", "done"),
                        Status::Failed => ("error", "failed"),
                        Status::Refused => ("error", "refused"),
                        Status::Continues => ("info", "not over"),
                    };
                    let (rows, bad, parts) = (ending.rows, ending.quarantined, ending.parts);
                    self.say(
                        level,
                        "an upload ended",
                        &format!("{id}: {how}, {rows} rows, {bad} quarantined, {parts} parts sent"),
                    );
                    self.counts.add(&ending);
                }
                None
            }
            Came::Gone => {
                self.counts.failed += 1;
                self.say("error", "a file was replaced or deleted before it was read", id);
                None
            }
            Came::Continues(after) => {
                self.say("info", "an upload goes on", &format!("{id}: in {} s or later", after.as_secs()));
                Some(after)
            }
            Came::Stuck(because) => {
                self.counts.stuck += 1;
                self.say("error", "an upload cannot go on", &format!("{id}: {because}"));
                // So that it is no work that was left.
                Some(Duration::from_secs(1))
            }
        }
    }

    fn say(&mut self, level: &str, message: &str, detail: &str) {
        self.log.push_str(&line::plain(self.clock.now_ms(), level, message, detail));
    }
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
