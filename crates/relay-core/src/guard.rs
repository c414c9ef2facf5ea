//! Guards the API against measurements it would turn down, and the customer against being billed twice.
//!
//! Only what m3ter documents is a rule here, and what would make two readers disagree. Fields that no meter has yet, and
//! properties that nobody knows, pass untouched: m3ter stores them. A rule that guesses would hold back revenue.
//!
//! A measurement goes on as its producer wrote it. Two things change that: a uid made from content is put in, and
//! top-level members that are `null` are left out, since to the API's schema they are not absent but wrong.

use bumpalo::Bump;
use unicode_general_category::{GeneralCategory, get_general_category};

use crate::canonical;
use crate::catalogue::{field_hash, hash};
use crate::decode::Found;
use crate::inbound::{BEYOND_WINDOW, FIRST_SENT_AT, Inbound};
use crate::instant;
use crate::json::{self, Kind};
use crate::limits::{
    CLOCK_SKEW_MS, CODE_CHARS_MAX, DAY_MS, JSON_DEPTH_MAX, MEASUREMENT_BYTES_MAX, TS_AHEAD_MAX_MS, UID_CHARS_MAX, WINDOW_SAFE_MS,
};
use crate::read::{CATEGORIES, Read, Room, category, read};
use crate::reason::{Reason, Refusal};

/// What to do with a measurement that has no uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingUid {
    /// Refuse it: nothing is lost, nothing is counted twice.
    Refuse,
    /// Make one from its content: equal measurements become one.
    Content,
}

/// When a measurement may first have been sent, as far as its message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstSent {
    /// Not before this time: milliseconds since the epoch.
    NotBefore(i64),
    /// The message says that it was sent before, but not readably when.
    Unknown,
}

impl FirstSent {
    /// As the message tells: what replay wrote on it, else when it was sent. What is written there is believed only if it is
    /// no later than the message itself was sent, since that, too, was a send.
    pub fn of(message: &Inbound<'_>) -> FirstSent {
        match (message.attribute(FIRST_SENT_AT).map(|written| written.trim().parse::<i64>()), message.sent_at_ms) {
            (Some(Ok(written_ms)), Some(sent_at_ms)) => FirstSent::NotBefore(written_ms.min(sent_at_ms)),
            (Some(Ok(at_ms)), None) | (None, Some(at_ms)) => FirstSent::NotBefore(at_ms),
            (Some(Err(_)), _) | (None, None) => FirstSent::Unknown,
        }
    }

    /// Milliseconds since the epoch; 0 where it is not known.
    pub fn at_ms(self) -> i64 {
        match self {
            FirstSent::NotBefore(at_ms) => at_ms,
            FirstSent::Unknown => 0,
        }
    }
}

/// What the message of a measurement tells about earlier sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent<'a> {
    /// When it may first have been sent.
    pub first: FirstSent,
    /// The one uid for which an operator overruled the window of m3ter's memory, knowing that it may be counted twice.
    pub beyond_window: Option<&'a str>,
}

impl<'a> Sent<'a> {
    /// As the message tells.
    pub fn of(message: &Inbound<'a>) -> Sent<'a> {
        Sent { first: FirstSent::of(message), beyond_window: message.attribute(BEYOND_WINDOW) }
    }
}

impl From<FirstSent> for Sent<'_> {
    /// Nobody overruled anything.
    fn from(first: FirstSent) -> Self {
        Sent { first, beyond_window: None }
    }
}

/// What guard needs to know besides the measurement.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The setting.
    pub missing_uid: MissingUid,
    /// Now: milliseconds since the epoch.
    pub now_ms: i64,
}

/// A measurement that may be sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Guarded<'a> {
    /// Its text, as it will be sent.
    pub text: &'a str,
    /// Its identity.
    pub uid: &'a str,
    /// Its meter.
    pub meter: &'a str,
    /// Its account.
    pub account: &'a str,
    /// Its time, as written.
    pub ts: &'a str,
    /// The same, in milliseconds since the epoch.
    pub ts_ms: i64,
    /// Its meter and which data fields it has, as a number that is the same for the same ones in any order.
    pub kind: u64,
    /// Its account, as a number.
    pub account_hash: u64,
}

/// What guard says.
#[derive(Clone, Debug)]
pub enum Judged<'a> {
    /// It may be sent.
    Good(Guarded<'a>),
    /// Its time has not come: milliseconds to wait.
    NotDue(i64),
    /// It cannot be sent.
    Refused(Refusal),
}

/// Judges one measurement. Never fails; text made on the way lives in `arena`.
pub fn guard<'a, 'm>(found: &Found<'a>, sent: impl Into<Sent<'m>>, rules: Rules, arena: &'a Bump) -> Judged<'a> {
    let mut room = Room::default();
    let reading = match found.read {
        Some(read) => Reading::over(found.text, read, arena),
        None => Reading::of(found.text, arena, &mut room),
    };
    match reading.and_then(|reading| reading.judge(sent.into(), rules)) {
        Ok(judged) => judged,
        Err(refusal) => Judged::Refused(refusal),
    }
}

/// The uid of a measurement that was refused, where it has a readable one: to find it again by.
pub fn uid_of<'a>(text: &'a str, arena: &'a Bump) -> Option<&'a str> {
    Reading::of(text, arena, &mut Room::default()).ok()?.uid().ok()?
}

/// Not before this time was `text` first sent: milliseconds since the epoch. Its `ts` counts where it can be read.
pub fn first_sent_ms(text: &str, first_sent: FirstSent) -> i64 {
    let arena = Bump::new();
    let ts_ms = Reading::of(text, &arena, &mut Room::default()).and_then(|reading| reading.time("ts"));
    earliest_ms(ts_ms.ok().flatten().map_or(i64::MIN, |(_, ts_ms)| ts_ms), first_sent)
}

/// `text` under another uid, which is put first; the rest as written, without nulls. `None` if it is no JSON object.
pub fn with_uid<'a>(text: &'a str, uid: &str, arena: &'a Bump) -> Option<&'a str> {
    Some(Reading::of(text, arena, &mut Room::default()).ok()?.spell(Some(uid)))
}

/// The data fields of `text`, each with the place of its category among [`CATEGORIES`]. None where it is not readable, which
/// what guard let pass is.
pub(crate) fn data_fields<'a>(text: &'a str, arena: &'a Bump) -> Vec<(usize, &'a str)> {
    let mut room = Room::default();
    let Ok(reading) = Reading::of(text, arena, &mut room) else { return Vec::new() };
    reading.read.fields.iter().map(|(code, (place, _))| (*place, *code)).collect()
}

/// Up to so many names are compared each with each, which takes no memory and is faster than to sort them.
const COMPARED_MAX: usize = 16;

struct Reading<'r, 'a> {
    text: &'a str,
    arena: &'a Bump,
    read: Read<'r, 'a>,
}

impl<'r, 'a> Reading<'r, 'a> {
    fn of(text: &'a str, arena: &'a Bump, room: &'r mut Room<'a>) -> Result<Self, Refusal> {
        let read = read(text, arena, room).map_err(|_| not_unicode())?;
        Reading::over(text, read, arena)
    }

    fn over(text: &'a str, read: Read<'r, 'a>, arena: &'a Bump) -> Result<Self, Refusal> {
        if read.has_broken_key { Err(not_unicode()) } else { Ok(Reading { text, arena, read }) }
    }

    fn judge(self, sent: Sent<'_>, rules: Rules) -> Result<Judged<'a>, Refusal> {
        self.keys_once()?;
        let uid = self.uid()?;
        let meter = self.code("meter", Reason::MeterMissing, Reason::MeterInvalid)?;
        let account = self.code("account", Reason::AccountMissing, Reason::AccountInvalid)?;
        let (ts, ts_ms) = self.time("ts")?.ok_or_else(|| {
            Refusal::guard(Reason::TimestampMissing, "expected `ts`, a date-time with an offset such as 2026-01-02T03:04:05Z")
        })?;
        self.time("ets")?;
        let (kind, account_hash) = (hash(meter.as_bytes()).wrapping_add(self.fields()?), hash(account.as_bytes()));
        self.readable()?;
        let (text, uid) = match uid {
            Some(uid) => (self.without_nulls(), uid),
            None => self.with_content_uid(rules.missing_uid)?,
        };
        let guarded = Guarded { text, uid, meter, account, ts, ts_ms, kind, account_hash };
        if guarded.text.len() > MEASUREMENT_BYTES_MAX {
            let detail = format!("expected at most {MEASUREMENT_BYTES_MAX} bytes, found {}", guarded.text.len());
            return Err(Refusal::guard(Reason::Oversize, detail));
        }
        let ahead_ms = ts_ms.saturating_sub(rules.now_ms);
        if ahead_ms > TS_AHEAD_MAX_MS {
            let detail = format!("expected a `ts` at most 15 minutes ahead, found {} minutes", ahead_ms / 60_000);
            return Err(Refusal::guard(Reason::TimestampInFuture, detail));
        }
        if ahead_ms > 0 {
            return Ok(Judged::NotDue(ahead_ms));
        }
        if sent.beyond_window != Some(guarded.uid) {
            inside_window(ts_ms, sent.first, rules.now_ms)?;
        }
        Ok(Judged::Good(guarded))
    }

    fn get(&self, key: &str) -> Option<&'a str> {
        self.read.get(key)
    }

    /// What the JSON string `raw` stands for.
    fn string(&self, raw: &'a str) -> Result<&'a str, Refusal> {
        match self.read.look.escaped {
            true => json::string(raw, self.arena),
            false => json::plain(raw),
        }
        .map_err(|_| not_unicode())
    }

    fn keys_once(&self) -> Result<(), Refusal> {
        match namesakes(self.read.members) {
            None => Ok(()),
            Some(_) => Err(Refusal::guard(Reason::DuplicateKey, "expected each key once; readers disagree which copy counts")),
        }
    }

    fn uid(&self) -> Result<Option<&'a str>, Refusal> {
        let Some(raw) = self.get("uid") else { return Ok(None) };
        if json::kind(raw) != Kind::Text {
            return Err(Refusal::guard(Reason::FieldNotText, "expected `uid` to be text"));
        }
        let uid = self.string(raw)?;
        if !is_within(uid, UID_CHARS_MAX) {
            let detail = format!("expected a `uid` of at most {UID_CHARS_MAX} characters, found {}", uid.chars().count());
            return Err(Refusal::guard(Reason::UidTooLong, detail));
        }
        Ok(Some(uid).filter(|uid| !uid.is_empty()))
    }

    fn code(&self, key: &'static str, missing: Reason, invalid: Reason) -> Result<&'a str, Refusal> {
        let Some(raw) = self.get(key) else {
            return Err(Refusal::guard(missing, format!("expected `{key}`, a code of 1 to {CODE_CHARS_MAX} characters")));
        };
        if json::kind(raw) != Kind::Text {
            return Err(Refusal::guard(invalid, format!("expected `{key}` to be text")));
        }
        let code = self.string(raw)?;
        match is_code(code) {
            true => Ok(code),
            false => {
                let rule = "characters, no control character, no space at either end";
                Err(Refusal::guard(invalid, format!("expected `{key}` to be a code of 1 to {CODE_CHARS_MAX} {rule}")))
            }
        }
    }

    fn time(&self, key: &'static str) -> Result<Option<(&'a str, i64)>, Refusal> {
        let Some(raw) = self.get(key) else { return Ok(None) };
        let text = match json::kind(raw) {
            Kind::Text => self.string(raw)?,
            Kind::Object | Kind::Array | Kind::Number | Kind::Null | Kind::Other => "",
        };
        let detail = "to be a date-time with an offset such as 2026-01-02T03:04:05Z";
        let time_ms = instant::parse_ms(text)
            .ok_or_else(|| Refusal::guard(Reason::TimestampInvalid, format!("expected `{key}` {detail}")))?;
        Ok(Some((text, time_ms)))
    }

    /// Which there are, as a number: a sum, so that their order does not matter.
    fn fields(&self) -> Result<u64, Refusal> {
        if self.read.has_broken_code {
            return Err(not_unicode());
        }
        for (key, raw) in self.read.members {
            let Some((category, numeric)) = category(key).and_then(|place| CATEGORIES.get(place)) else { continue };
            if !matches!(json::kind(raw), Kind::Object | Kind::Null) {
                let reason = if *numeric { Reason::FieldNotNumber } else { Reason::FieldNotText };
                return Err(Refusal::guard(reason, format!("expected `{category}` to be an object of data fields")));
            }
        }
        let mut which = 0_u64;
        for (code, (place, value)) in self.read.fields {
            self.field(*place, code, value)?;
            which = which.wrapping_add(field_hash(*place, code));
        }
        match namesakes(self.read.fields) {
            None => Ok(which),
            Some(((place, _), (other, _))) if place == other => {
                Err(Refusal::guard(Reason::DuplicateKey, format!("expected each data field of `{}` once", name(*place))))
            }
            Some(((place, _), (other, _))) => Err(Refusal::guard(
                Reason::DuplicateField,
                format!("expected a data field under one category, found it under `{}` and `{}`", name(*place), name(*other)),
            )),
        }
    }

    fn field(&self, place: usize, code: &str, value: &'a str) -> Result<(), Refusal> {
        let (category, numeric) = CATEGORIES.get(place).copied().unwrap_or_default();
        if !is_field_code(code) {
            let rule = "a letter, `_` or `$` first, then also digits, at most 80 characters";
            return Err(Refusal::guard(Reason::FieldCodeInvalid, format!("expected the codes in `{category}` to be {rule}")));
        }
        match (numeric, json::kind(value)) {
            (true, Kind::Number) if is_finite(value) => Ok(()),
            (true, _) => Err(Refusal::guard(
                Reason::FieldNotNumber,
                format!("expected the values in `{category}` to be numbers of a double's range"),
            )),
            (false, Kind::Text) => self.string(value).map(|_| ()),
            (false, _) => Err(Refusal::guard(Reason::FieldNotText, format!("expected the values in `{category}` to be text"))),
        }
    }

    /// Properties that nobody knows pass as they are, but not so deep that a reader gives up, and not with half characters:
    /// every measurement that goes on has a canonical form.
    fn readable(&self) -> Result<(), Refusal> {
        if self.read.look.depth > JSON_DEPTH_MAX {
            return Err(Refusal::guard(Reason::NotJson, format!("expected JSON nested at most {JSON_DEPTH_MAX} deep")));
        }
        match self.read.look.escaped && canonical::canonical(self.text, self.arena).is_none() {
            true => Err(not_unicode()),
            false => Ok(()),
        }
    }

    fn without_nulls(&self) -> &'a str {
        match self.read.members.iter().any(|(_, text)| json::kind(text) == Kind::Null) {
            true => self.spell(None),
            false => self.text,
        }
    }

    fn with_content_uid(&self, missing_uid: MissingUid) -> Result<(&'a str, &'a str), Refusal> {
        if missing_uid == MissingUid::Refuse {
            return Err(Refusal::guard(
                Reason::UidMissing,
                "expected `uid`, which the producer makes once and keeps over its retries",
            ));
        }
        let canonical = canonical::canonical(self.text, self.arena).ok_or_else(not_unicode)?;
        let uid = self.arena.alloc_str(&canonical::content_uid(&canonical).to_string());
        Ok((self.spell(Some(uid)), uid))
    }

    /// The measurement again, `uid` first where one is given, every other member as written, without nulls.
    fn spell(&self, uid: Option<&str>) -> &'a str {
        let mut out = String::with_capacity(self.text.len() + 48);
        out.push('{');
        if let Some(uid) = uid {
            out.push_str("\"uid\":");
            canonical::string(uid, &mut out);
        }
        for (key, text) in self.read.members {
            if json::kind(text) == Kind::Null || (*key == "uid" && uid.is_some()) {
                continue;
            }
            if out.len() > 1 {
                out.push(',');
            }
            canonical::string(key, &mut out);
            out.push(':');
            out.push_str(text);
        }
        out.push('}');
        self.arena.alloc_str(&out)
    }
}

/// The name of the category at `place`.
fn name(place: usize) -> &'static str {
    CATEGORIES.get(place).map_or("", |(name, _)| name)
}

/// What stands beside two equal names, if there are any.
fn namesakes<'m, T>(named: &'m [(&str, T)]) -> Option<(&'m T, &'m T)> {
    if named.len() <= COMPARED_MAX {
        let before = |place: usize, name: &str| named.iter().take(place).find(|(other, _)| *other == name);
        return named.iter().enumerate().find_map(|(place, (name, with))| Some((&before(place, name)?.1, with)));
    }
    let mut sorted: Vec<&(&str, T)> = named.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    sorted.windows(2).find_map(|pair| match pair {
        [(one, with), (other, other_with)] if one == other => Some((with, other_with)),
        _ => None,
    })
}

fn not_unicode() -> Refusal {
    Refusal::guard(Reason::NotJson, "expected text that is Unicode, found half of a surrogate pair")
}

/// m3ter's pattern for meter and account codes: no control character anywhere, no space at either end. Every other
/// character is allowed, the no-break space and letters of any script among them.
fn is_code(code: &str) -> bool {
    let control = |byte: u8| byte < 0x20 || byte == 0x7f;
    !code.is_empty()
        && is_within(code, CODE_CHARS_MAX)
        && !code.bytes().any(control)
        && !code.starts_with(' ')
        && !code.ends_with(' ')
}

/// m3ter's pattern for data field codes: a letter of any script, `_` or `$`; after the first also ASCII digits.
fn is_field_code(code: &str) -> bool {
    let starts = |character: char| match character {
        'a'..='z' | 'A'..='Z' | '_' | '$' => true,
        other => matches!(
            get_general_category(other),
            GeneralCategory::UppercaseLetter
                | GeneralCategory::LowercaseLetter
                | GeneralCategory::TitlecaseLetter
                | GeneralCategory::ModifierLetter
                | GeneralCategory::OtherLetter
        ),
    };
    let mut characters = code.chars();
    characters.next().is_some_and(starts)
        && characters.all(|character| character.is_ascii_digit() || starts(character))
        && is_within(code, CODE_CHARS_MAX)
}

/// Whether `text` has at most so many characters. No character takes less than a byte.
fn is_within(text: &str, characters: usize) -> bool {
    text.len() <= characters || text.chars().count() <= characters
}

/// Whether a JSON number is within a double's range.
fn is_finite(number: &str) -> bool {
    let is_short = number.len() <= FINITE_DIGITS && !number.bytes().any(|byte| matches!(byte, b'e' | b'E'));
    is_short || number.parse::<f64>().is_ok_and(f64::is_finite)
}

/// A number of so many characters without an exponent is finite: the largest double has 309 digits.
const FINITE_DIGITS: usize = 308;

/// Not before this time was a measurement of `ts_ms` first sent, all in milliseconds since the epoch: it cannot have been before its `ts`
/// (less what clocks differ), nor before the earliest send known.
pub fn earliest_ms(ts_ms: i64, first_sent: FirstSent) -> i64 {
    let by_ts_ms = ts_ms.saturating_sub(CLOCK_SKEW_MS);
    match first_sent {
        FirstSent::NotBefore(sent_ms) => by_ts_ms.max(sent_ms),
        FirstSent::Unknown => by_ts_ms,
    }
}

/// If it may have been sent longer ago than m3ter remembers, sending it could count it twice. Such a refusal belongs to the stage of
/// submitting: an earlier delivery of this very message may have been inside the window, and sent.
fn inside_window(ts_ms: i64, first_sent: FirstSent, now_ms: i64) -> Result<(), Refusal> {
    let age_ms = now_ms.saturating_sub(earliest_ms(ts_ms, first_sent));
    if age_ms < WINDOW_SAFE_MS {
        return Ok(());
    }
    let detail = format!(
        "expected a first send less than 34 days ago, found up to {} days; m3ter forgets a uid after 35",
        age_ms / DAY_MS
    );
    Err(Refusal::submit(Reason::OutsideWindow, detail))
}

#[cfg(test)]
mod tests;
