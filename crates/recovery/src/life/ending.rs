//! Where a measurement is in the end, and the one sentence that says so.
//!
//! What m3ter rejected later outweighs that it accepted before; an acceptance outweighs what waits in the quarantine under the same
//! uid, which is then told beside it.

use relay_store::{LedgerAnswer, Line};

use super::{Episode, Place, time};
use crate::kept::{Kept, STAGE_INGEST};
use crate::standing::Standing;

/// Where a measurement is in the end, and the same in plain words.
pub(super) fn ending(
    lines: &[Line],
    accepted: Option<&Line>,
    episodes: &[Episode],
    (since_ms, now_ms): (i64, i64),
) -> (Place, String) {
    let standing = |episode: &Episode| Standing::of(&episode.kept, &episode.facts, now_ms);
    let latest = |wanted: &dyn Fn(&Episode) -> bool| {
        episodes.iter().filter(|episode| wanted(episode)).max_by_key(|episode| episode.kept.quarantined_at_ms)
    };
    let rejected =
        latest(&|episode| episode.kept.stage == STAGE_INGEST && !matches!(standing(episode), Standing::CameBack { .. }));
    if let Some(episode) = rejected
        && !matches!(standing(episode), Standing::Accepted { .. })
    {
        return of_entry(episode, &standing(episode), "m3ter accepted it and rejected it later", Place::RejectedLater);
    }
    if let Some(first) = accepted {
        let waits = |episode: &Episode| {
            let standing = standing(episode);
            standing.is_open() || matches!(standing, Standing::Accepted { again: false, .. })
        };
        return (
            Place::Accepted,
            of_accepted(first, lines, episodes, latest(&|episode| episode.kept.stage != STAGE_INGEST && waits(episode))),
        );
    }
    if let Some(episode) =
        latest(&|episode| !matches!(standing(episode), Standing::CameBack { .. })).or_else(|| latest(&|_| true))
    {
        let start = match (episode.kept.is_body, episode.kept.first_sent_at_ms) {
            (true, _) => "the whole message that holds it could not go on",
            (false, None) => "it could not go on and was never sent to m3ter",
            (false, Some(_)) => "it could not go on, though m3ter may have it",
        };
        return of_entry(episode, &standing(episode), start, Place::Quarantined);
    }
    match lines.iter().max_by_key(|line| line.sent_at) {
        Some(line) => (
            Place::Unanswered,
            format!(
                "It was sent to m3ter {}, and no answer was heard: it is on the queue and will be sent again, until m3ter answers or it is quarantined as Exhausted.",
                time(line.sent_at)
            ),
        ),
        None => (
            Place::NotFound,
            format!(
                "Nothing is known of it since {}: it never reached the relay under this uid, or it is on the queue and was not sent yet, or it is older (--since looks further back), or the ledger is off.",
                time(since_ms)
            ),
        ),
    }
}

fn of_accepted(first: &Line, lines: &[Line], episodes: &[Episode], open: Option<&Episode>) -> String {
    let times = lines.iter().filter(|line| line.answer == LedgerAnswer::Accepted).count();
    let often = if times > 1 { format!(" It accepted it {times} times and keeps the first.") } else { String::new() };
    let mut claims = episodes.iter().flat_map(|episode| &episode.facts.claims);
    let counts = match claims.any(|(_, marker)| marker.beyond_window) {
        true => "it counts once, unless m3ter had counted it already before it was sent again beyond m3ter's window",
        false => "it counts once",
    };
    let other = open.map(|episode| {
        let Kept { qid, reason, .. } = &episode.kept;
        format!(
            " An entry under the same uid is in the quarantine ({reason}, {qid}): drop it, or replay it with --new-uid if it is another measurement and counts as well."
        )
    });
    format!(
        "m3ter accepted it {}, and this store holds no later rejection of it: {counts}.{often}{}",
        time(first.sent_at),
        other.unwrap_or_default()
    )
}

/// What an entry comes to. `start` is how it came to be here.
fn of_entry(episode: &Episode, standing: &Standing, start: &str, place: Place) -> (Place, String) {
    let Episode { kept: Kept { qid, reason, quarantined_at_ms, .. }, facts, .. } = episode;
    let why = format!("{start}: {reason}, {}", time(*quarantined_at_ms));
    let (place, then) = match standing {
        Standing::Open => (place, format!("it is in the quarantine as {qid}, and nothing was done about it yet")),
        Standing::Silent { since_ms } => (
            place,
            format!(
                "it was to be sent again {} and nothing was heard of it: the next replay sends it once more",
                time(*since_ms)
            ),
        ),
        Standing::UnderWay { since_ms, .. } => {
            (Place::UnderWay, format!("it was sent again {} and is under way", time(*since_ms)))
        }
        Standing::CameBack { qid } => (place, format!("it was sent again and came back as {qid}")),
        Standing::Dropped => {
            let because = facts.dropped.as_ref().and_then(|marker| marker.because.clone()).unwrap_or_default();
            (Place::Dropped, format!("an operator gave it up, because: {because}"))
        }
        Standing::Accepted { at_ms, .. } => {
            let new_uid = facts.claims.iter().rev().find_map(|(_, marker)| marker.new_uid.clone());
            match new_uid {
                Some(uid) => (Place::Superseded, format!("m3ter accepted it {} under the new uid {uid}", time(*at_ms))),
                None => (Place::Accepted, format!("it was sent again, and m3ter accepted it {}", time(*at_ms))),
            }
        }
    };
    let mut sentence = format!("{why}; {then}.");
    if let Some(first) = sentence.get_mut(..1).filter(|_| !sentence_starts_with_a_name(start)) {
        first.make_ascii_uppercase();
    }
    (place, sentence)
}

fn sentence_starts_with_a_name(start: &str) -> bool {
    start.starts_with("m3ter")
}
