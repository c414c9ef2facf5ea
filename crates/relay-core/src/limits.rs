//! Every limit the relay keeps, in one place, with its source and the relations between them checked at compile time.

use std::time::Duration;

/// Most measurements in one request. Source: m3ter's API reference, `SubmitMeasurementsRequest.measurements.maxItems`.
pub const BATCH_MEASUREMENTS_MAX: usize = 1_000;

/// Most bytes in one request body. The reference says "less than 512,000", so the largest allowed is one fewer.
pub const BATCH_BYTES_MAX: usize = 511_999;

/// What opens a request body.
pub const BATCH_PREFIX: &str = r#"{"measurements":["#;

/// What closes a request body.
pub const BATCH_SUFFIX: &str = "]}";

/// Most bytes of one measurement: it must fit a batch alone.
pub const MEASUREMENT_BYTES_MAX: usize = BATCH_BYTES_MAX - BATCH_PREFIX.len() - BATCH_SUFFIX.len();

/// A 403 above this many bytes may be about size; below it is about credentials first. m3ter answers 403, not 413, to a
/// body that is too large; the margin of 6 % is ours, for a proxy that counts headers.
pub const SIZE_SUSPECT_BYTES: usize = 480_000;

/// Most characters of a `uid`. Source: m3ter's API reference, `MeasurementRequest.uid.maxLength`.
pub const UID_CHARS_MAX: usize = 50;

/// Most characters of a meter code, an account code or a data field code. Source: the same, `maxLength`.
pub const CODE_CHARS_MAX: usize = 80;

/// Most bytes one message may inflate to. An SQS message is at most 1 MiB; usage compresses about eightfold.
pub const MESSAGE_INFLATED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Most bytes that the messages of one invocation may inflate to together; the rest is returned. Keeps a 128 MB function alive.
pub const INVOCATION_INFLATED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Most measurements of one message. None that m3ter takes has fewer than [`MEASUREMENT_BYTES_MIN`] bytes, so a message
/// that has more, all as good, does not fit [`MESSAGE_INFLATED_BYTES_MAX`]. What has more is a list of something else.
pub const MESSAGE_MEASUREMENTS_MAX: usize = 80_000;

/// Fewest bytes of a measurement with the comma or line feed after it: `{"meter":"m","account":"a","ts":"2026-01-02T03:04Z"},`.
pub const MEASUREMENT_BYTES_MIN: usize = 53;

/// Most measurements that the messages of one invocation may hold together, those that hold only one aside; the rest is
/// returned. Keeps a 128 MB function alive even if all of them are refused, which takes some 850 bytes each until they are
/// in quarantine. To submit as many takes one environment 25 s at the default rate.
pub const INVOCATION_MEASUREMENTS_MAX: usize = 100_000;

/// Most bytes of what decode read of measurements and keeps for guard, in one invocation: 20,000 and more of an ordinary size.
/// What goes beyond is read again.
pub const INVOCATION_READ_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Deepest nesting of JSON in one measurement. The API's own schema needs two levels.
pub const JSON_DEPTH_MAX: usize = 32;

/// How far ahead a `ts` may be and still be waited for. m3ter rejects the future; clocks differ.
pub const TS_AHEAD_MAX_MS: i64 = 15 * 60 * 1_000;

/// How much earlier than its `ts` a measurement can have been sent, by a producer whose clock is slow.
pub const CLOCK_SKEW_MS: i64 = TS_AHEAD_MAX_MS;

/// How long m3ter remembers a `uid`. Source: m3ter's documentation.
pub const WINDOW_MS: i64 = 35 * DAY_MS;

/// The age at which the relay stops sending what may have been sent before: one day inside m3ter's window.
pub const WINDOW_SAFE_MS: i64 = 34 * DAY_MS;

/// How long an acceptance proves that endpoint and token are right.
pub const EVIDENCE_MS: i64 = 15 * 60 * 1_000;

/// The longest one attempt waits for its answer. m3ter's gateway gives up after 29 s.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// Time kept at the end of an invocation for quarantine, response and brake, of an invocation of [`FULL_TIMEOUT`].
pub const SETTLE_RESERVE: Duration = Duration::from_secs(12);

/// The function time-out that [`ATTEMPT_TIMEOUT`], [`SETTLE_RESERVE`] and [`BRAKE_CUT_OFF`] are made for. A shorter one shrinks them in proportion.
pub const FULL_TIMEOUT: Duration = Duration::from_secs(60);

/// The brake stops this long before the deadline.
pub const BRAKE_CUT_OFF: Duration = Duration::from_secs(2);

/// A secret is not read again within this time after a refusal made the relay read it.
pub const SECRET_REREAD: Duration = Duration::from_secs(60);

/// Most characters kept of what the API says about a refusal.
pub const WORDS_CHARS_MAX: usize = 500;

/// Most bytes read of an answer to a batch. The API's answers are under a kilobyte.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Most bytes read of a page, a log of failed measurements, or rows of usage. A log may hold a whole batch with an error beside
/// each measurement, a page 100 events with as many errors; 20,000 rows have some 4 MB.
pub const LIST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most entries of a page, and most codes asked for at once. Source: m3ter's API reference, `pageSize`.
pub const PAGE_MAX: usize = 100;

/// The queue gives a message up after this many receives: the most that SQS allows. Source: template.yaml holds the same.
pub const RECEIVES_MAX: u32 = 1_000;

/// Longest visibility timeout that the brake asks for, from receive [`BRAKE_LENGTHEN_FROM`].
pub const BRAKE_LONG_S: u32 = 900;

/// Longest visibility timeout that the brake asks for, from receive [`BRAKE_LONGER_FROM`].
pub const BRAKE_LONGER_S: u32 = 1_800;

/// Up to this receive the brake shortens the visibility timeout.
pub const BRAKE_SHORTEN_TO: u32 = 4;

/// From this receive on the brake lengthens the visibility timeout.
pub const BRAKE_LENGTHEN_FROM: u32 = 7;

/// From this receive on it lengthens further.
pub const BRAKE_LONGER_FROM: u32 = 50;

/// Most messages of one invocation whose visibility timeout the brake shortens.
pub const BRAKE_SHORTEN_MESSAGES_MAX: usize = 500;

/// A day in milliseconds.
pub const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Most days after which a message that is still undecided is quarantined; also the default. More would let the queue give
/// messages up first, by count.
pub const EXHAUST_AFTER_DAYS_MAX: u32 = 10;

const _: () = assert!(BATCH_BYTES_MAX / BATCH_MEASUREMENTS_MAX == 511, "a full batch needs measurements of at most 511 bytes");
const _: () = assert!(SIZE_SUSPECT_BYTES < BATCH_BYTES_MAX, "a full batch must be suspect by size");
const _: () = assert!(WINDOW_SAFE_MS < WINDOW_MS, "the guard closes before the window");
const _: () = assert!(MESSAGE_INFLATED_BYTES_MAX < INVOCATION_INFLATED_BYTES_MAX, "one message never fills an invocation");
const _: () =
    assert!(MESSAGE_INFLATED_BYTES_MAX / MEASUREMENT_BYTES_MIN < MESSAGE_MEASUREMENTS_MAX, "none is refused for its number");
const _: () = assert!(MESSAGE_MEASUREMENTS_MAX < INVOCATION_MEASUREMENTS_MAX, "one message never fills an invocation");
const _: () = assert!(EXHAUST_AFTER_DAYS_MAX < 14, "SQS forgets after 14 days");
const _: () = assert!(
    ATTEMPT_TIMEOUT.as_secs() + SETTLE_RESERVE.as_secs() < FULL_TIMEOUT.as_secs(),
    "one whole attempt fits an invocation"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_multiplied_out_is_the_number_that_its_source_gives() {
        assert_eq!(DAY_MS, 86_400_000);
        assert_eq!((TS_AHEAD_MAX_MS, CLOCK_SKEW_MS, EVIDENCE_MS), (900_000, 900_000, 900_000));
        assert_eq!((WINDOW_SAFE_MS, WINDOW_MS), (2_937_600_000, 3_024_000_000));
        assert_eq!((MESSAGE_INFLATED_BYTES_MAX, INVOCATION_INFLATED_BYTES_MAX), (4_194_304, 33_554_432));
        assert_eq!((MEASUREMENT_BYTES_MAX, ANSWER_BYTES_MAX), (511_980, 65_536));
    }

    #[test]
    fn the_shortest_measurement_that_m3ter_takes_has_as_many_bytes_as_is_said() {
        let shortest = r#"{"meter":"m","account":"a","ts":"2026-01-02T03:04Z"},"#;
        assert_eq!(shortest.len(), MEASUREMENT_BYTES_MIN);
    }
}
