//! Which quarantine entries are meant: the flags that the commands share.

use recovery::kept::Selection;
use uuid::Uuid;

use crate::store::When;

/// Filters. Each may be given several times, which widens; different ones narrow.
#[derive(Debug, clap::Args)]
pub(crate) struct Choosing {
    /// Only entries with this reason
    #[arg(long = "reason", value_name = "REASON")]
    reasons: Vec<String>,

    /// Only measurements of this meter
    #[arg(long = "meter", value_name = "CODE")]
    meters: Vec<String>,

    /// Only measurements of this account
    #[arg(long = "account", value_name = "CODE")]
    accounts: Vec<String>,

    /// Only what came with this message, or in the file of this upload
    #[arg(long = "message", value_name = "ID")]
    messages: Vec<String>,

    /// Only this measurement
    #[arg(long = "uid", value_name = "UID")]
    uids: Vec<String>,

    /// Only this entry
    #[arg(long = "qid", value_name = "QID", value_parser = qid)]
    qids: Vec<Uuid>,

    /// Only what was quarantined by then
    #[arg(long, value_name = "WHEN", value_parser = When::parse)]
    until: Option<When>,
}

/// Reads the id of an entry.
///
/// # Errors
/// What was expected.
pub(crate) fn qid(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| "expected the id of a quarantine entry, a UUID as `quarantine list` shows it".to_owned())
}

impl Choosing {
    /// What is meant, of what was quarantined since `since_ms`.
    pub(crate) fn selection(&self, (since_ms, now_ms): (i64, i64)) -> Selection {
        let all = Selection::all(since_ms, self.until.map_or(i64::MAX, |until| until.at_ms(now_ms)));
        Selection {
            reasons: self.reasons.iter().cloned().collect(),
            meters: self.meters.iter().cloned().collect(),
            accounts: self.accounts.iter().cloned().collect(),
            messages: self.messages.iter().cloned().collect(),
            uids: self.uids.iter().cloned().collect(),
            qids: self.qids.iter().copied().collect(),
            ..all
        }
    }

    /// Whether nothing narrows what is meant but time.
    pub(crate) fn is_empty(&self) -> bool {
        let names = [&self.reasons, &self.meters, &self.accounts, &self.messages, &self.uids].map(Vec::len);
        let names = names.iter().sum::<usize>() + self.qids.len();
        names == 0
    }
}
