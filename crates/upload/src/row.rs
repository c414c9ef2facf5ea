//! One row of a file: whether it may be sent, and how.

use bumpalo::Bump;
use files::judge::judge;
use files::read::refusal;
use files::seen::Key;
use files::spread::Look;
use relay_core::guard::{FirstSent, Guarded, Judged, Rules, earliest_ms, first_sent_ms, uid_of};
use relay_core::reason::{Reason, Refusal, Stage};

/// What a row is.
#[derive(Debug)]
pub(crate) enum Row {
    /// It may be sent.
    Good(Good),
    /// It goes into the quarantine.
    Bad(Bad),
}

impl Row {
    /// What it is compared by, if it is.
    pub(crate) fn key(&self) -> Option<&Key> {
        match self {
            Row::Good(good) => Some(&good.key),
            Row::Bad(_) => None,
        }
    }

    /// What was read of it.
    pub(crate) fn text(&self) -> &str {
        match self {
            Row::Good(good) => &good.measurement.text,
            Row::Bad(bad) => &bad.text,
        }
    }
}

/// A measurement that may be sent.
#[derive(Debug)]
pub(crate) struct Good {
    pub(crate) line: u64,
    pub(crate) measurement: Measurement,
    /// What it is compared by with others of its file.
    pub(crate) key: Key,
}

/// A measurement as it will be sent.
#[derive(Debug)]
pub(crate) struct Measurement {
    /// On one line.
    pub(crate) text: Box<str>,
    pub(crate) ts_ms: i64,
    /// Not before this time was it first sent.
    pub(crate) first_sent_ms: i64,
}

/// A row that cannot be sent.
#[derive(Debug)]
pub(crate) struct Bad {
    /// From 1; 0 where it is not known any more.
    pub(crate) line: u64,
    pub(crate) uid: Option<Box<str>>,
    /// What was read of it, where it could be read at all.
    pub(crate) text: Box<str>,
    pub(crate) refusal: Refusal,
    /// `None` if it certainly was never sent.
    pub(crate) first_sent_ms: Option<i64>,
}

/// Judges rows, one by one.
#[derive(Debug)]
pub(crate) struct Judging {
    pub(crate) rules: Rules,
    pub(crate) first_sent: FirstSent,
    /// Emptied for each row.
    pub(crate) arena: Bump,
}

impl Clone for Judging {
    fn clone(&self) -> Self {
        Judging { rules: self.rules, first_sent: self.first_sent, arena: Bump::new() }
    }
}

impl Look for Judging {
    type Found = Row;

    fn take(&mut self, line: u64, text: &str) -> Row {
        self.arena.reset();
        let Judging { rules, first_sent, arena } = self;
        let mut judged = judge(text, *first_sent, *rules, arena);
        if let Judged::NotDue(ahead_ms) = judged {
            // As it will be judged when its time has come; its part waits for that.
            judged = judge(text, *first_sent, Rules { now_ms: rules.now_ms.saturating_add(ahead_ms), ..*rules }, arena);
        }
        match judged {
            Judged::Good(guarded) => {
                let measurement = Measurement::of(&guarded, *first_sent);
                Row::Good(Good { line, measurement, key: Key::of(&guarded, arena) })
            }
            Judged::Refused(refusal) => Row::Bad(Bad::of(line, text, refusal, *first_sent, arena)),
            Judged::NotDue(_) => {
                let detail = "expected a ts that is at most 15 minutes ahead";
                Row::Bad(Bad::of(line, text, refusal(Reason::TimestampInFuture, detail), *first_sent, arena))
            }
        }
    }

    fn refuse(&mut self, line: u64, refusal: Refusal) -> Row {
        Row::Bad(Bad { line, uid: None, text: "".into(), refusal, first_sent_ms: None })
    }
}

impl Measurement {
    /// What `guarded` is, as it will be sent.
    pub(crate) fn of(guarded: &Guarded<'_>, first_sent: FirstSent) -> Measurement {
        let Guarded { text, ts_ms, .. } = *guarded;
        let first_sent_ms = earliest_ms(ts_ms, first_sent);
        Measurement { text: on_one_line(text), ts_ms, first_sent_ms }
    }
}

impl Bad {
    /// The row `text` of `line`, which was refused.
    pub(crate) fn of(line: u64, text: &str, refusal: Refusal, first_sent: FirstSent, arena: &Bump) -> Bad {
        // What decode or guard refused was refused each time it came, whichever way it came.
        let first_sent_ms = (refusal.stage == Stage::Submit).then(|| first_sent_ms(text, first_sent));
        Bad { line, uid: uid_of(text, arena).map(Into::into), text: text.into(), refusal, first_sent_ms }
    }
}

/// Line breaks in JSON are white space only; inside strings they are always escaped. Each is looked for by itself: for one byte there is a
/// search that takes eight at a time.
fn on_one_line(text: &str) -> Box<str> {
    match text.contains('\n') || text.contains('\r') {
        true => text.replace(['\n', '\r'], " ").into(),
        false => text.into(),
    }
}
