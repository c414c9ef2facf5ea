//! Submits batches and finds out which measurements m3ter will not take.
//!
//! m3ter turns down a request as a whole and does not say for which measurement. So a batch that was turned down becomes a
//! suspect, and suspects are halved until one measurement is left. Blame needs evidence: only if m3ter accepted something
//! under the same token is a lone suspect the culprit; else the fault may be ours, and everything goes back to the queue.
//! The acceptance must be older than the request that was turned down, else a fault of ours may just have ended in between:
//! such a lone suspect is tried again. And a 403 may mean that token or permission ended a moment ago: before it is blamed on
//! data, something that was accepted is sent once more, as a witness. That is harmless, since m3ter drops a uid it has seen.
//! A witness is called as well when only suspects are left under a token that is newer than the last acceptance.
//!
//! What is wide goes first, batches that were not tried yet above all, so that the many who are not to blame are soon accepted.
//! Then the earliest measurements: the time that is left settles a few messages whole, not all of them half, and a
//! redelivery has fewer to look through.
//!
//! Without evidence one search goes down to a single measurement, since an acceptance may turn up on the way; it costs at
//! most [`SEARCH_REQUESTS_MAX`] requests.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use m3ter_client::{Session, Submitted, Tried, Undecided};
use relay_core::collapse::Standing;
use relay_core::guard::Guarded;
use relay_core::judge::Turndown;
use relay_core::limits::BATCH_MEASUREMENTS_MAX;
use relay_core::pack::{Batch, pack};
use relay_core::reason::{Reason, Refusal};
use relay_core::settle::Fate;

use crate::trail::Trail;

/// Two requests for each halving of a full batch.
const SEARCH_REQUESTS_MAX: u32 = 2 * BATCH_MEASUREMENTS_MAX.ilog2() + 2;

/// Halves of more measurements than this are wide.
const WIDE: usize = BATCH_MEASUREMENTS_MAX / 8;

/// What is to be submitted.
#[derive(Clone, Copy)]
pub(crate) struct Submission<'s, 'a> {
    /// The measurements; `None` where guard let none through.
    pub(crate) measurements: &'s [Option<Guarded<'a>>],
    /// How each stands to the others.
    pub(crate) standings: &'s [Option<Standing>],
    /// Batches at the same time.
    pub(crate) in_flight: usize,
}

/// What was flown, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flown {
    /// Batches as packed, halves not counted.
    pub(crate) batches: u64,
    /// Measurements in them.
    pub(crate) measurements: u64,
    /// Batches whose fault may be ours for want of evidence.
    pub(crate) unproven: u64,
}

/// A batch that was turned down.
struct Suspect {
    batch: Batch,
    turndown: Turndown,
    generation: u64,
    /// Whether something was accepted under the same token before it was sent.
    had_evidence: bool,
}

/// Submits everything, writes the fate of each measurement, and notes in `trail` what it was sent with. Comes back before the
/// time kept to settle.
pub(crate) async fn submit(
    session: &Session<'_>,
    submission: Submission<'_, '_>,
    fates: &mut [Fate],
    trail: &mut Trail,
) -> Flown {
    let mut flown = Flown::default();
    let mut pending: Vec<usize> = Vec::new();
    let mut rivals: Vec<(usize, usize)> = Vec::new();
    for (index, standing) in submission.standings.iter().enumerate() {
        match standing {
            Some(Standing::First) => pending.push(index),
            Some(Standing::Rival(first)) => rivals.push((index, *first)),
            Some(Standing::CopyOf(first)) => set(fates, index, Fate::CopyOf(*first)),
            None => {}
        }
    }
    while !pending.is_empty() {
        Flight::new(session, submission, fates, trail, &pending, &mut flown).fly().await;
        (pending, rivals) = next_rivals(rivals, fates);
    }
    flown
}

/// Rivals of one that was accepted are conflicts; of several behind one that was refused, the first is tried next.
fn next_rivals(rivals: Vec<(usize, usize)>, fates: &mut [Fate]) -> (Vec<usize>, Vec<(usize, usize)>) {
    let mut promoted: BTreeMap<usize, usize> = BTreeMap::new();
    let mut waiting = Vec::new();
    for (rival, first) in rivals {
        if let Some(next) = promoted.get(&first) {
            waiting.push((rival, *next));
            continue;
        }
        match fates.get(first) {
            Some(Fate::Accepted) => set(fates, rival, Fate::Refused(conflict())),
            Some(Fate::Refused(_)) => {
                promoted.insert(first, rival);
            }
            Some(Fate::CopyOf(_) | Fate::NotDue(_) | Fate::Undecided) | None => {}
        }
    }
    (promoted.into_values().collect(), waiting)
}

/// In an earlier delivery the one that is first now may have been absent, and this content sent: hence the stage.
fn conflict() -> Refusal {
    Refusal::submit(Reason::UidConflict, "expected one content for a uid; m3ter accepted another one under this uid")
}

fn set(fates: &mut [Fate], index: usize, fate: Fate) {
    if let Some(slot) = fates.get_mut(index) {
        *slot = fate;
    }
}

struct Flight<'f, 's, 'a> {
    session: &'f Session<'s>,
    submission: Submission<'f, 'a>,
    fates: &'f mut [Fate],
    trail: &'f mut Trail,
    flown: &'f mut Flown,
    /// As packed, not tried yet.
    queue: VecDeque<Batch>,
    /// Halves of suspects, and lone suspects to try again: wide ones first, then by their first measurement.
    halves: BTreeMap<(bool, usize), Batch>,
    suspects: Vec<Suspect>,
    /// Lone suspects that only a witness can prove.
    accused: Vec<Suspect>,
    /// Whether the batch under way is the witness.
    witness_is_called: bool,
    /// Whether a witness was turned down: then the fault may be ours, and no other is called for suspects.
    witness_failed: bool,
    search_requests_left: u32,
}

impl<'f, 's, 'a> Flight<'f, 's, 'a> {
    fn new(
        session: &'f Session<'s>,
        submission: Submission<'f, 'a>,
        fates: &'f mut [Fate],
        trail: &'f mut Trail,
        pending: &[usize],
        flown: &'f mut Flown,
    ) -> Self {
        let packed = pack(pending.iter().map(|index| (*index, text(submission, *index).len())));
        // Guard lets nothing through that does not fit a batch alone; should it, that stays undecided.
        flown.batches += packed.batches.len() as u64;
        flown.measurements += packed.batches.iter().map(|batch| batch.members.len() as u64).sum::<u64>();
        Flight {
            session,
            submission,
            fates,
            trail,
            flown,
            queue: packed.batches.into(),
            halves: BTreeMap::new(),
            suspects: Vec::new(),
            accused: Vec::new(),
            witness_is_called: false,
            witness_failed: false,
            search_requests_left: SEARCH_REQUESTS_MAX,
        }
    }

    async fn fly(mut self) {
        let (session, submission) = (self.session, self.submission);
        let mut flying = FuturesUnordered::new();
        loop {
            while flying.len() < submission.in_flight.max(1)
                && let Some(batch) = self.next()
            {
                let body = Bytes::from(batch.encode(|index| text(submission, index)));
                let number = self.trail.number();
                flying.push(async move {
                    let evidence = session.evidence();
                    (session.submit(body).await, number, batch, evidence)
                });
            }
            match flying.next().await {
                Some((tried, number, batch, evidence)) => {
                    self.trail.note(number, &batch.members, &tried);
                    self.decide(tried, batch, evidence);
                }
                None if self.search() || self.call_witness() => {}
                None => break,
            }
        }
        self.flown.unproven += (self.suspects.len() + self.accused.len()) as u64;
    }

    fn next(&mut self) -> Option<Batch> {
        let half = |halves: &mut BTreeMap<(bool, usize), Batch>| halves.pop_first().map(|(_, batch)| batch);
        self.queue.pop_front().or_else(|| if self.session.has_time() { half(&mut self.halves) } else { None })
    }

    /// `evidence` is the token under which something had been accepted before the batch was sent.
    fn decide(&mut self, tried: Tried, batch: Batch, evidence: Option<u64>) {
        let submitted = tried.submitted;
        if std::mem::take(&mut self.witness_is_called) {
            return self.hear(&submitted);
        }
        match submitted {
            Submitted::Accepted => {
                for index in batch.members {
                    set(self.fates, index, Fate::Accepted);
                }
            }
            Submitted::Refused { turndown, generation } => {
                let had_evidence = evidence == Some(generation);
                self.suspects.push(Suspect { batch, turndown, generation, had_evidence });
            }
            Submitted::Undecided(Undecided::GiveUp | Undecided::Unknown | Undecided::Later) => {}
        }
        self.release_suspects();
    }

    /// Halves suspects that are proven, and settles lone ones or tries them once more.
    fn release_suspects(&mut self) {
        let suspects = std::mem::take(&mut self.suspects);
        for suspect in suspects {
            if !self.session.accepted_under(suspect.generation) {
                self.suspects.push(suspect);
                continue;
            }
            match suspect.batch.clone().halve() {
                Some((first, second)) => self.look_into([first, second]),
                None if !suspect.had_evidence => self.look_into([suspect.batch]),
                None if suspect.turndown.status == 403 => self.accused.push(suspect),
                None => self.blame(suspect),
            }
        }
    }

    fn blame(&mut self, suspect: Suspect) {
        let Turndown { status, words, .. } = suspect.turndown;
        let fate =
            Fate::Refused(Refusal::submit(Reason::RefusedByApi, format!("expected m3ter to accept it; HTTP {status}: {words}")));
        suspect.batch.members.into_iter().for_each(|index| set(self.fates, index, fate.clone()));
    }

    /// Sends something that was accepted again, if anybody is accused, or suspected under a token that came after the last
    /// acceptance, and there is time. False when there is nothing to send.
    fn call_witness(&mut self) -> bool {
        let is_wanted = !self.accused.is_empty() || (!self.suspects.is_empty() && !self.witness_failed);
        let witness = self.fates.iter().position(|fate| *fate == Fate::Accepted);
        let Some(witness) = witness.filter(|_| is_wanted && self.session.has_time()) else { return false };
        self.witness_is_called = true;
        self.queue.push_back(Batch { members: vec![witness] });
        true
    }

    /// Whoever was refused under a token that still works is to blame; of the others nobody can tell. Suspects that the
    /// witness speaks for are looked into.
    fn hear(&mut self, witness: &Submitted) {
        self.witness_failed |= *witness != Submitted::Accepted;
        for accused in std::mem::take(&mut self.accused) {
            match *witness == Submitted::Accepted && self.session.accepted_under(accused.generation) {
                true => self.blame(accused),
                false => self.flown.unproven += 1,
            }
        }
        self.release_suspects();
    }

    fn look_into<const N: usize>(&mut self, batches: [Batch; N]) {
        let in_order = |batch: Batch| {
            let first = batch.members.first().copied()?;
            Some(((batch.members.len() <= WIDE, first), batch))
        };
        self.halves.extend(batches.into_iter().filter_map(in_order));
    }

    /// Without evidence: halves the smallest suspect that can be halved and is not more likely turned down for credentials.
    /// False when nothing more can be done.
    fn search(&mut self) -> bool {
        if self.search_requests_left < 2 || !self.session.has_time() {
            return false;
        }
        let searchable = |suspect: &Suspect| suspect.batch.members.len() > 1 && !suspect.turndown.credentials_likelier;
        let smallest = (0..self.suspects.len())
            .filter(|place| self.suspects.get(*place).is_some_and(searchable))
            .min_by_key(|place| self.suspects.get(*place).map(|suspect| suspect.batch.members.len()));
        let Some(halves) = smallest.and_then(|place| self.suspects.remove(place).batch.halve()) else { return false };
        self.look_into(halves.into());
        self.search_requests_left -= 2;
        true
    }
}

fn text<'a>(submission: Submission<'_, 'a>, index: usize) -> &'a str {
    submission.measurements.get(index).copied().flatten().map_or("", |guarded| guarded.text)
}
