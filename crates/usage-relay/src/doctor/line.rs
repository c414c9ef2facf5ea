//! What is said of one check, and what never is.
//!
//! AWS names accounts in its errors, in ARNs and in queue URLs. Whatever is said is masked first: a run of exactly twelve digits is an
//! account, and AWS's key ids have a shape of their own.

use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it must be.
    Ok,
    /// Something is to be done.
    Fail,
    /// Could not be looked at, because of what another check found.
    Skipped,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    pub(super) check: &'static str,
    pub(super) state: State,
    /// What was found.
    pub(super) found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
}

/// What is not as it must be, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) found: String,
    pub(super) mend: String,
}

impl Fault {
    pub(super) fn new(found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { found: found.into(), mend: mend.into() }
    }
}

impl Line {
    pub(super) fn ok(check: &'static str, found: impl AsRef<str>) -> Self {
        Self { check, state: State::Ok, found: masked(found.as_ref()), mend: None }
    }

    pub(super) fn fail(check: &'static str, Fault { found, mend }: Fault) -> Self {
        Self { check, state: State::Fail, found: masked(&found), mend: Some(masked(&mend)) }
    }

    pub(super) fn skipped(check: &'static str, because: &str) -> Self {
        Self { check, state: State::Skipped, found: format!("not looked at: {because}"), mend: None }
    }

    /// As it is printed.
    pub(super) fn text(&self, colour: bool) -> String {
        let (word, code) = match self.state {
            State::Ok => ("ok  ", "32"),
            State::Fail => ("FAIL", "31"),
            State::Skipped => ("skip", "33"),
        };
        let word = if colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() };
        let mend = self.mend.as_ref().map(|mend| format!(": {mend}")).unwrap_or_default();
        format!("{word}  {:<13}  {}{mend}", self.check, self.found)
    }
}

/// `text` on one line, without accounts and key ids.
pub(super) fn masked(text: &str) -> String {
    let is_word = |character: char| character.is_ascii_alphanumeric();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        match word {
            "" => {
                out.push(if first.is_control() { ' ' } else { first });
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
                continue;
            }
            account if account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()) => out.push_str("(account)"),
            key if key.len() >= 16 && ["AKIA", "ASIA", "AROA", "AIDA"].iter().any(|start| key.starts_with(start)) => {
                out.push_str("(key)");
            }
            word => out.push_str(word),
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_was_found_and_what_to_do() {
        assert_eq!(Line::ok("queue", "as it must be").text(false), "ok    queue          as it must be");
        let fail = Line::fail("queue", Fault::new("4 days", "make it 14"));
        assert_eq!(fail.text(false), "FAIL  queue          4 days: make it 14");
        assert_eq!(fail.text(true), "\u{1b}[31mFAIL\u{1b}[0m  queue          4 days: make it 14");
        assert_eq!(Line::skipped("store", "no settings").text(false), "skip  store          not looked at: no settings");
    }

    #[test]
    fn neither_accounts_nor_key_ids_are_said() {
        let said =
            "User: arn:aws:iam::123456789012:user/ada (AKIAIOSFODNN7EXAMPLE)\nhas no sqs:GetQueueAttributes on q-123456789012";
        let expected = "User: arn:aws:iam::(account):user/ada ((key)) has no sqs:GetQueueAttributes on q-(account)";
        assert_eq!(masked(said), expected);
        assert_eq!(masked("1209600 s, 1234567890123, Zürich"), "1209600 s, 1234567890123, Zürich");
    }
}
