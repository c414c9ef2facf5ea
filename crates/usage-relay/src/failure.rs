//! Why a command ended early, sorted by what the caller does next; each sort has its exit code.
//!
//! The text is one line, says what was expected, and holds no content of a measurement: no body, no account, no uid.

use std::process::ExitCode;

/// The reason a command did not succeed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The input is at fault, or a check did not hold: look at the data. Exit code 1.
    #[error("{0}")]
    Data(String),
    /// The world is at fault: network, permission, a file that is not there. Exit code 2.
    #[error("{0}")]
    CouldNot(String),
    /// The command line is at fault. Exit code 64, `EX_USAGE` of sysexits.h.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// The process's exit code: 1, 2 or 64.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Data(_) => 1,
            Self::CouldNot(_) => 2,
            Self::Usage(_) => EXIT_USAGE,
        })
    }
}

/// `EX_USAGE` of sysexits.h: the command was used incorrectly.
pub(crate) const EXIT_USAGE: u8 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sort_of_failure_has_its_own_exit_code() {
        let code = |failure: Failure| format!("{:?}", failure.exit_code());
        assert_eq!(code(Failure::Data(String::new())), format!("{:?}", ExitCode::from(1)));
        assert_eq!(code(Failure::CouldNot(String::new())), format!("{:?}", ExitCode::from(2)));
        assert_eq!(code(Failure::Usage(String::new())), format!("{:?}", ExitCode::from(64)));
    }
}
