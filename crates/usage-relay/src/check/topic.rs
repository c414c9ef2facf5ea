//! What can be said of a measurement in a file, and how to mend it: one table for all of the relay's reasons.
//!
//! Every reason is here, also those that no file can give: whoever keeps a refusal may ask how it is mended.

use relay_core::reason::Reason;

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The relay, or its pre-flight, would refuse it.
    Refused(Reason),
    /// It has a data field that its meter has not.
    Unconfigured,
    /// It has the content and the uid of an earlier one.
    Copy,
    /// Its time has not come yet.
    Ahead,
    /// It is as old as what m3ter has forgotten.
    Old,
    /// Its uid was not held against all that came before it.
    Uncompared,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// It would not be sent.
    Finding,
    /// It would be sent, and is probably a mistake.
    Warning,
    /// It would be sent, and is worth knowing.
    Note,
}

impl Level {
    /// As it is written.
    pub(super) fn name(self) -> &'static str {
        match self {
            Level::Finding => "finding",
            Level::Warning => "warning",
            Level::Note => "note",
        }
    }
}

impl Topic {
    /// As it is written; of a reason, the name under which the relay would keep it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Topic::Refused(reason) => reason.name(),
            Topic::Unconfigured => "FieldUnconfigured",
            Topic::Copy => "Copy",
            Topic::Ahead => "SlightlyAhead",
            Topic::Old => "OldTimestamp",
            Topic::Uncompared => "NotCompared",
        }
    }

    /// How to mend it, or what it means, in one sentence.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Topic::Refused(reason) => mend(reason),
            Topic::Unconfigured => {
                "Add the data field to the meter in m3ter, or mend its code: m3ter stores it, and the meter does not know it."
            }
            Topic::Copy => "Nothing to do: equal measurements under one uid count once.",
            Topic::Ahead => "Nothing to do: the relay waits until its ts has come.",
            Topic::Old => {
                "Say with --first-sent since when they may have been sent: m3ter has forgotten uids of 35 days ago, and would count them again."
            }
            Topic::Uncompared => "Split the file by uid to compare all: no more uids are remembered than these.",
        }
    }
}

/// How to mend what is refused for `reason`. No `_` arm: a new reason must say it.
pub(crate) fn mend(reason: Reason) -> &'static str {
    match reason {
        Reason::NotJson => "Have a JSON library write it, as UTF-8 and one object a line; in CSV, save the file as UTF-8.",
        Reason::NotAMeasurement => {
            "Write an object with uid, meter, account and ts in this place; in CSV, as many cells in each row as the header has."
        }
        Reason::Empty => "Leave empty messages and arrays out.",
        Reason::EnvelopeInvalid => {
            "Write one measurement a line, an array or {\"measurements\":[…]}, or a CSV header with meter, account, ts and columns such as measure.calls."
        }
        Reason::UidMissing => {
            "Add a uid where the usage happens; for a file without any, `usage-relay send --save` mints and keeps them."
        }
        Reason::UidTooLong => {
            "Make uids of at most 50 characters, such as a UUID, and do not cut longer ones: two may become one."
        }
        Reason::UidConflict => "Give each measurement a uid of its own, or delete all but the right one of those that share it.",
        Reason::MeterMissing => "Add meter, the code of the meter in m3ter.",
        Reason::MeterInvalid => "Take the meter's code from m3ter as it is, as text without spaces at its ends.",
        Reason::AccountMissing => "Add account, the code of the account in m3ter.",
        Reason::AccountInvalid => "Take the account's code from m3ter as it is, as text without spaces at its ends.",
        Reason::TimestampMissing => "Add ts, when the usage happened.",
        Reason::TimestampInvalid => {
            "Write ts and ets as text like 2026-01-02T03:04:05Z: with date, T, time and an offset from UTC."
        }
        Reason::TimestampInFuture => {
            "Set the producer's clock and its offset from UTC right, then write the time at which the usage happened."
        }
        Reason::OutsideWindow => {
            "Make sure with `usage-relay explain` that m3ter never counted it, then send it under a new uid; else drop it."
        }
        Reason::FieldNotText => {
            "Write uid and the values in who, what, where, other and metadata in quotes, and leave absent ones out."
        }
        Reason::FieldNotNumber => {
            "Write the values in measure, cost and income as plain numbers: no quotes, no units, a point and no commas."
        }
        Reason::FieldCodeInvalid => {
            "Use the data field's code from m3ter: a letter, _ or $ first, then also digits; no hyphen, no dot, no space."
        }
        Reason::DuplicateField => "Keep the data field under the one category that it has in m3ter.",
        Reason::DuplicateKey => "Write each key once.",
        Reason::MeterUnknown => "Create the meter in m3ter, or mend its code.",
        Reason::FieldMissing => "Add the data field that is named: m3ter rejects a measurement without one that its meter has.",
        Reason::AccountNearMiss => {
            "Write the account's code as m3ter has it, else m3ter rejects it, or makes an account of this name that nobody pays."
        }
        Reason::Oversize => {
            "Split it into several measurements, each with a uid of its own, or leave out what m3ter does not need."
        }
        Reason::DecodeFailed => "This is a defect of the relay: report it with the measurement.",
        Reason::PayloadMissing => "Put the body back into its bucket, or send the measurement again from where it was made.",
        Reason::RefusedByApi => "Mend what m3ter says in the detail, then import it.",
        Reason::Exhausted => "Mend what kept m3ter from answering, then replay it.",
        Reason::DeliveryExhausted => "Look why invocations died with its message, then replay it.",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_and_whatever_else_is_said_has_a_name_and_one_sentence_of_its_own() {
        let others = [Topic::Unconfigured, Topic::Copy, Topic::Ahead, Topic::Old, Topic::Uncompared];
        let topics: Vec<Topic> = Reason::ALL.into_iter().map(Topic::Refused).chain(others).collect();
        let names: BTreeSet<&str> = topics.iter().map(|topic| topic.name()).collect();
        let sentences: BTreeSet<&str> = topics.iter().map(|topic| topic.advice()).collect();
        assert_eq!((names.len(), sentences.len()), (topics.len(), topics.len()));
        for sentence in sentences {
            let is_one = sentence.ends_with('.') && !sentence.trim_end_matches('.').contains(". ") && !sentence.contains('\n');
            assert!(is_one && sentence.starts_with(char::is_uppercase), "{sentence}");
        }
    }
}
