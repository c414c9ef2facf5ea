//! Why a measurement cannot go on. One enum of stable names: they are stored, counted and searched for.

use std::borrow::Cow;

/// A stable reason. Its name is its identity in the store, in metrics and on the command line; it is never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The body or the line is not JSON.
    NotJson,
    /// JSON, but not an object.
    NotAMeasurement,
    /// The message holds no measurement.
    Empty,
    /// The envelope around the measurements is broken or of an unknown kind.
    EnvelopeInvalid,
    /// No `uid`, and the setting says to refuse that.
    UidMissing,
    /// The `uid` has more characters than the API takes.
    UidTooLong,
    /// Another content already went under this `uid`.
    UidConflict,
    /// No `meter`.
    MeterMissing,
    /// The `meter` is no code the API takes.
    MeterInvalid,
    /// No `account`.
    AccountMissing,
    /// The `account` is no code the API takes.
    AccountInvalid,
    /// No `ts`.
    TimestampMissing,
    /// `ts` or `ets` is no date-time with offset.
    TimestampInvalid,
    /// `ts` is further ahead than clocks differ.
    TimestampInFuture,
    /// It may have been sent before, longer ago than m3ter remembers.
    OutsideWindow,
    /// A value that must be text is not.
    FieldNotText,
    /// A value that must be a number is not.
    FieldNotNumber,
    /// A data field code the API does not take.
    FieldCodeInvalid,
    /// One data field code under two categories.
    DuplicateField,
    /// One key twice in one object.
    DuplicateKey,
    /// m3ter had no such meter when it was last asked, and the setting says to refuse that.
    MeterUnknown,
    /// A data field of the meter is missing, and the setting says to refuse that.
    FieldMissing,
    /// The account differs from a known one only in how it is written, and the setting says to refuse that.
    AccountNearMiss,
    /// Too large for any batch, or for memory.
    Oversize,
    /// Decoding failed by a defect of the relay.
    DecodeFailed,
    /// The body lies in S3, and is not there.
    PayloadMissing,
    /// The API refused this measurement and accepted its neighbours.
    RefusedByApi,
    /// Undecided for longer than the setting allows.
    Exhausted,
    /// The queue gave its message up: no invocation came to an end with it, often enough.
    DeliveryExhausted,
}

impl Reason {
    /// All reasons, in the order of declaration.
    pub const ALL: [Reason; 29] = [
        Reason::NotJson,
        Reason::NotAMeasurement,
        Reason::Empty,
        Reason::EnvelopeInvalid,
        Reason::UidMissing,
        Reason::UidTooLong,
        Reason::UidConflict,
        Reason::MeterMissing,
        Reason::MeterInvalid,
        Reason::AccountMissing,
        Reason::AccountInvalid,
        Reason::TimestampMissing,
        Reason::TimestampInvalid,
        Reason::TimestampInFuture,
        Reason::OutsideWindow,
        Reason::FieldNotText,
        Reason::FieldNotNumber,
        Reason::FieldCodeInvalid,
        Reason::DuplicateField,
        Reason::DuplicateKey,
        Reason::MeterUnknown,
        Reason::FieldMissing,
        Reason::AccountNearMiss,
        Reason::Oversize,
        Reason::DecodeFailed,
        Reason::PayloadMissing,
        Reason::RefusedByApi,
        Reason::Exhausted,
        Reason::DeliveryExhausted,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        match self {
            Reason::NotJson => "NotJson",
            Reason::NotAMeasurement => "NotAMeasurement",
            Reason::Empty => "Empty",
            Reason::EnvelopeInvalid => "EnvelopeInvalid",
            Reason::UidMissing => "UidMissing",
            Reason::UidTooLong => "UidTooLong",
            Reason::UidConflict => "UidConflict",
            Reason::MeterMissing => "MeterMissing",
            Reason::MeterInvalid => "MeterInvalid",
            Reason::AccountMissing => "AccountMissing",
            Reason::AccountInvalid => "AccountInvalid",
            Reason::TimestampMissing => "TimestampMissing",
            Reason::TimestampInvalid => "TimestampInvalid",
            Reason::TimestampInFuture => "TimestampInFuture",
            Reason::OutsideWindow => "OutsideWindow",
            Reason::FieldNotText => "FieldNotText",
            Reason::FieldNotNumber => "FieldNotNumber",
            Reason::FieldCodeInvalid => "FieldCodeInvalid",
            Reason::DuplicateField => "DuplicateField",
            Reason::DuplicateKey => "DuplicateKey",
            Reason::MeterUnknown => "MeterUnknown",
            Reason::FieldMissing => "FieldMissing",
            Reason::AccountNearMiss => "AccountNearMiss",
            Reason::Oversize => "Oversize",
            Reason::DecodeFailed => "DecodeFailed",
            Reason::PayloadMissing => "PayloadMissing",
            Reason::RefusedByApi => "RefusedByApi",
            Reason::Exhausted => "Exhausted",
            Reason::DeliveryExhausted => "DeliveryExhausted",
        }
    }

    /// Whether it comes from what m3ter knew when it was last asked. Such a refusal is new to what was sent before: the same
    /// measurement may have been sent by an earlier delivery, or in another message, when less was known.
    pub fn is_of_the_catalogue(self) -> bool {
        matches!(self, Reason::MeterUnknown | Reason::FieldMissing | Reason::AccountNearMiss)
    }
}

/// The stage of the walk at which a measurement left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Before there was a measurement. It never reached m3ter.
    Decode,
    /// The relay's own rules. It never reached m3ter, but for what the catalogue turned down: see
    /// [`Reason::is_of_the_catalogue`].
    Guard,
    /// It was, or may have been, sent to m3ter.
    Submit,
    /// The queue, which does not know how far an invocation came: it may have been sent to m3ter.
    Delivery,
}

impl Stage {
    /// The stable name in the store.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Decode => "decode",
            Stage::Guard => "guard",
            Stage::Submit => "submit",
            Stage::Delivery => "delivery",
        }
    }
}

/// A reason, where it arose, and one sentence that says what was expected. The sentence may quote the API's own words; it
/// goes to the quarantine, never to a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// Where.
    pub stage: Stage,
    /// What was expected.
    pub detail: Cow<'static, str>,
}

impl Refusal {
    /// A refusal by decode.
    pub(crate) fn decode(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { reason, stage: Stage::Decode, detail: detail.into() }
    }

    /// A refusal by guard.
    pub(crate) fn guard(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { reason, stage: Stage::Guard, detail: detail.into() }
    }

    /// A refusal by submit or after it.
    pub fn submit(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { reason, stage: Stage::Submit, detail: detail.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let mut names: Vec<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::ALL.len());
    }

    #[test]
    fn a_stage_keeps_the_name_under_which_it_is_stored() {
        assert_eq!([Stage::Decode, Stage::Guard, Stage::Submit].map(Stage::name), ["decode", "guard", "submit"]);
    }
}
