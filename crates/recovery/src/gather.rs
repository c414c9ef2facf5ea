//! Reads from the store what the rules of this crate need: entries, markers, and what came of them. The only place that waits.
//!
//! An object that cannot be read stops nothing. It is told by name, since something may be missing because of it.

mod heard;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use bumpalo::Bump;
use futures_util::{StreamExt, stream};
use memchr::memmem;
use relay_core::guard::uid_of;
use relay_core::inbound::CONTENT_ENCODING;
use relay_core::limits::WINDOW_MS;
use relay_store::{
    Entry, Folder, Hours, LedgerAnswer, Line, Marker, MarkerName, Store, StoreError, StoredObject, Unreadable, Wanted,
};
use uuid::Uuid;

use crate::kept::{Kept, Selection, measurements};
use crate::life::{Episode, Known, Story};
use crate::standing::{DROP, Facts, Newer, claim_number};

/// Markers read at the same time.
const MARKERS: usize = 32;
/// Store and operator need not agree about the time: how much earlier than a marker something that followed it may be.
const CLOCKS: Duration = Duration::from_secs(3_600);

/// What was looked at.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Hours.
    pub hours: u64,
    /// When the first began: milliseconds since the epoch.
    pub since_ms: i64,
    /// Objects of the quarantine.
    pub quarantine_objects: u64,
    /// Objects of the ledger; `None` if nothing had to be found there.
    pub ledger_objects: Option<u64>,
    /// Lines that these have, as far as their names say.
    pub ledger_lines: u64,
    /// Until when all of m3ter's events were read; `None` if never, or if nobody asked.
    pub events_read_to_ms: Option<i64>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

/// Told after each object: how many are done, and of how many.
pub type OnProgress<'p> = &'p mut dyn FnMut(u64, u64);

/// The entries that were selected.
#[derive(Debug, Default)]
pub struct Chosen {
    /// Each with the place of its object in `objects`.
    pub kept: BTreeMap<Uuid, (Kept, usize)>,
    /// Which entry came back as which.
    came_back: CameBack,
    /// The objects.
    pub objects: Vec<StoredObject>,
}

/// What came of entries that were sent again, by their ids.
type CameBack = HashMap<Uuid, Newer>;

/// Of which entries it is to be found out what came of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Of those that were sent again: the ledger is read from their first claim.
    Claimed,
    /// Of all: the ledger is read as far back as the entries.
    All,
    /// Of all, before something is sent: the ledger is read as far back as m3ter remembers at least, since m3ter may have the uid from
    /// another message, long before this entry.
    Window,
}

/// One look at a store.
pub struct Look<'a> {
    store: &'a Store,
    now_ms: i64,
    hours: Hours,
    on_progress: OnProgress<'a>,
    /// What was looked at.
    pub looked: Looked,
}

impl std::fmt::Debug for Look<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Look").field("hours", &self.hours).field("looked", &self.looked).finish_non_exhaustive()
    }
}

impl<'a> Look<'a> {
    /// At what was written from `since_ms` to `now_ms`.
    pub fn new(store: &'a Store, (since_ms, now_ms): (i64, i64), on_progress: OnProgress<'a>) -> Look<'a> {
        // Writers' clocks may be ahead.
        let hours = Hours::between(since_ms, now_ms.saturating_add(CLOCKS.as_millis().try_into().unwrap_or(0)));
        let looked = Looked { hours: hours.count(), since_ms: hours.span_ms().0, ..Looked::default() };
        Look { store, now_ms, hours, on_progress, looked }
    }

    /// The entries that `selection` means.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn entries(&mut self, selection: &Selection) -> Result<Chosen, StoreError> {
        let objects = self.quarantine().await?;
        let places: HashMap<String, usize> =
            objects.iter().enumerate().map(|(place, one)| (one.name().to_owned(), place)).collect();
        let mut chosen = Chosen { objects: objects.clone(), ..Chosen::default() };
        let (selection, now_ms) = (selection.clone(), self.now_ms);
        let keep = move |entry: Entry| {
            let kept = Kept::of(&entry, now_ms);
            let link = link(&kept);
            let kept = selection.holds(&kept).then_some(kept);
            (kept.is_some() || link.is_some()).then_some((kept, link))
        };
        let mut done = Done::of(objects.len(), &mut *self.on_progress);
        let unreadable = self.store.entries(objects, keep, |object, found| {
            let Some((kept, link)) = found else { return done.one() };
            came_back_as(link, &mut chosen.came_back);
            let place = places.get(object.name()).copied().unwrap_or_default();
            if let Some(kept) = kept {
                // Written twice is one entry; which of them does not matter, but not by chance.
                let first = chosen.kept.entry(kept.qid).or_insert_with(|| (kept.clone(), place));
                let last_ms = first.0.last_quarantined_at_ms.max(kept.last_quarantined_at_ms);
                if kept.quarantined_at_ms < first.0.quarantined_at_ms {
                    *first = (kept, place);
                }
                first.0.last_quarantined_at_ms = last_ms;
            }
        });
        let unreadable = unreadable.await;
        self.looked.unreadable.extend(unreadable);
        Ok(chosen)
    }

    /// What was done about each of `chosen`, and what came of it.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn facts(&mut self, chosen: &Chosen, depth: Depth) -> Result<BTreeMap<Uuid, Facts>, StoreError> {
        let kept: BTreeMap<Uuid, &Kept> = chosen.kept.iter().map(|(qid, (kept, _))| (*qid, kept)).collect();
        let (facts, _) = self.facts_of(&kept, &chosen.came_back, depth, &BTreeSet::new()).await?;
        Ok(facts)
    }

    /// The stories of `uids`, in their order.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn stories(&mut self, uids: &[String]) -> Result<Vec<Story>, StoreError> {
        let wanted: BTreeSet<String> = uids.iter().cloned().collect();
        let (mut episodes, came_back) = self.episodes(&wanted).await?;
        let kept: BTreeMap<Uuid, &Kept> = episodes.iter().map(|(qid, (_, episode))| (*qid, &episode.kept)).collect();
        let (mut facts, lines) = self.facts_of(&kept, &came_back, Depth::All, &wanted).await?;
        for (qid, (_, episode)) in &mut episodes {
            episode.facts = facts.remove(qid).unwrap_or_default();
        }
        // m3ter says nothing of what was not sent yet. Where the ledger knows nothing, it may be off.
        let first_sent_ms = |uid: &String| lines.get(uid).and_then(|lines| lines.iter().map(|line| line.sent_at).min());
        let from_ms = uids.iter().map(|uid| first_sent_ms(uid).unwrap_or(i64::MIN)).min().unwrap_or(i64::MIN);
        let acts = self.acts(&wanted, from_ms).await?;
        self.looked.events_read_to_ms = self.events_read_to().await?;
        let story = |uid: &String| {
            let of_uid = episodes.values().filter(|(uids, _)| uids.contains(uid)).map(|(_, episode)| episode.clone());
            let known = Known {
                lines: lines.get(uid).map_or(&[], Vec::as_slice),
                episodes: &of_uid.collect::<Vec<_>>(),
                acts: acts.get(uid).map_or(&[], Vec::as_slice),
                events_read_to_ms: self.looked.events_read_to_ms,
                since_ms: self.looked.since_ms,
                now_ms: self.now_ms,
            };
            Story::of(uid, &known)
        };
        Ok(uids.iter().map(story).collect())
    }

    /// At most `most` uids of `meter` and `account`, seen until `until_ms`, in order; and whether there are more.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be asked.
    pub async fn uids_of(
        &mut self,
        (meter, account): (Option<&str>, Option<&str>),
        until_ms: i64,
        most: usize,
    ) -> Result<(Vec<String>, bool), StoreError> {
        let mut selection = Selection::all(self.looked.since_ms, until_ms);
        selection.meters.extend(meter.map(str::to_owned));
        selection.accounts.extend(account.map(str::to_owned));
        let chosen = self.entries(&selection).await?;
        let mut uids: BTreeSet<String> = chosen.kept.into_values().filter_map(|(kept, _)| kept.uid).collect();
        let objects = self.ledger(self.hours).await?;
        let mut done = Done::of(objects.len(), &mut *self.on_progress);
        let mut more = false;
        let lines = self.store.ledger_lines(objects, Wanted::about(meter, account), |_, line| {
            let Some(line) = line else { return done.one() };
            if line.sent_at <= until_ms {
                uids.insert(line.uid);
            }
            // Bounded: only the first in order are kept.
            if uids.len() > most {
                uids.pop_last();
                more = true;
            }
        });
        let unreadable = lines.await;
        self.looked.unreadable.extend(unreadable);
        while uids.len() > most {
            uids.pop_last();
            more = true;
        }
        Ok((uids.into_iter().collect(), more))
    }

    /// Entries of these uids, and bodies that hold one of them: each with which.
    async fn episodes(
        &mut self,
        uids: &BTreeSet<String>,
    ) -> Result<(BTreeMap<Uuid, (BTreeSet<String>, Episode)>, CameBack), StoreError> {
        let objects = self.quarantine().await?;
        let (wanted, now_ms) = (uids.clone(), self.now_ms);
        let keep = move |entry: Entry| {
            let held = held(&entry, &wanted);
            let kept = (!held.is_empty() || entry.origin.is_some()).then(|| Kept::of(&entry, now_ms));
            let link = kept.as_ref().and_then(link);
            let episode = kept.filter(|_| !held.is_empty()).map(|kept| Episode {
                kept,
                detail: entry.detail,
                message_id: entry.message_id,
                queued_at_ms: entry.queued_at,
                receives: entry.receives,
                facts: Facts::default(),
            });
            (episode.is_some() || link.is_some()).then_some((held, episode, link))
        };
        let (mut episodes, mut came_back) = (BTreeMap::<Uuid, (BTreeSet<String>, Episode)>::new(), CameBack::new());
        let mut done = Done::of(objects.len(), &mut *self.on_progress);
        let unreadable = self.store.entries(objects, keep, |_, found| {
            let Some((held, episode, link)) = found else { return done.one() };
            came_back_as(link, &mut came_back);
            if let Some(episode) = episode {
                let (_, first) = episodes.entry(episode.kept.qid).or_insert_with(|| (held, episode.clone()));
                let last_ms = first.kept.last_quarantined_at_ms.max(episode.kept.last_quarantined_at_ms);
                if episode.kept.quarantined_at_ms < first.kept.quarantined_at_ms {
                    *first = episode;
                }
                first.kept.last_quarantined_at_ms = last_ms;
            }
        });
        let unreadable = unreadable.await;
        self.looked.unreadable.extend(unreadable);
        Ok((episodes, came_back))
    }

    /// Facts of `kept`, and the ledger lines of `uids`.
    async fn facts_of(
        &mut self,
        kept: &BTreeMap<Uuid, &Kept>,
        came_back: &CameBack,
        depth: Depth,
        uids: &BTreeSet<String>,
    ) -> Result<(BTreeMap<Uuid, Facts>, BTreeMap<String, Vec<Line>>), StoreError> {
        let markers = self.store.markers_of(&kept.keys().copied().collect()).await?;
        let claims = || markers.iter().filter(|(_, names)| names.iter().any(|one| claim_number(&one.name).is_some()));
        let asked: Vec<(&Uuid, &&Kept)> = match depth {
            Depth::All | Depth::Window => kept.iter().collect(),
            Depth::Claimed => claims().filter_map(|(qid, _)| kept.get_key_value(qid)).collect(),
        };
        let hours = match (depth, claims().flat_map(|(_, names)| names).map(|name| name.written_at_ms).min()) {
            (Depth::Claimed, Some(first_ms)) => self.hours_from(first_ms),
            (Depth::Claimed, None) | (Depth::All, _) => self.hours,
            (Depth::Window, _) => {
                let (since_ms, until_ms) = self.hours.span_ms();
                Hours::between(since_ms.min(self.now_ms.saturating_sub(WINDOW_MS)), until_ms.saturating_sub(1))
            }
        };
        let mut facts: BTreeMap<Uuid, Facts> =
            kept.keys().map(|qid| (*qid, Facts { came_back_as: came_back.get(qid).copied(), ..Facts::default() })).collect();
        let lines = if asked.is_empty() && uids.is_empty() {
            BTreeMap::new()
        } else {
            self.read_ledger(hours, &asked, uids, &mut facts).await?
        };
        self.read_markers(markers, depth, &mut facts).await?;
        Ok((facts, lines))
    }

    fn hours_from(&self, first_ms: i64) -> Hours {
        let (since_ms, until_ms) = self.hours.span_ms();
        let clocks_ms = i64::try_from(CLOCKS.as_millis()).unwrap_or(0);
        Hours::between(first_ms.saturating_sub(clocks_ms).max(since_ms), until_ms.saturating_sub(1))
    }

    async fn read_ledger(
        &mut self,
        hours: Hours,
        asked: &[(&Uuid, &&Kept)],
        uids: &BTreeSet<String>,
        facts: &mut BTreeMap<Uuid, Facts>,
    ) -> Result<BTreeMap<String, Vec<Line>>, StoreError> {
        let objects = self.ledger(hours).await?;
        let qids: Vec<String> = asked.iter().map(|(qid, _)| qid.to_string()).collect();
        let mut of_uid: HashMap<&str, Vec<Uuid>> = HashMap::new();
        for (qid, kept) in asked {
            if let Some(uid) = &kept.uid {
                of_uid.entry(uid).or_default().push(**qid);
            }
        }
        let wanted = Wanted::of(of_uid.keys().copied().chain(uids.iter().map(String::as_str)), qids.iter().map(String::as_str));
        let mut lines: BTreeMap<String, Vec<Line>> = BTreeMap::new();
        let mut done = Done::of(objects.len(), &mut *self.on_progress);
        let read = self.store.ledger_lines(objects, wanted, |_, line| {
            let Some(mut line) = line else { return done.one() };
            if let Some(facts) = line.origin.as_ref().and_then(|origin| facts.get_mut(&origin.of.parse().ok()?)) {
                came_of_it(&line, facts);
            }
            for qid in of_uid.get(line.uid.as_str()).into_iter().flatten() {
                if let Some(facts) = facts.get_mut(qid) {
                    uid_seen(&line, facts);
                }
            }
            if uids.contains(&line.uid) {
                line.measurement = None;
                lines.entry(line.uid.clone()).or_default().push(line);
            }
        });
        let unreadable = read.await;
        self.looked.unreadable.extend(unreadable);
        Ok(lines)
    }

    /// What came of an entry need not be asked of its claims too, unless all is to be told.
    async fn read_markers(
        &mut self,
        markers: BTreeMap<Uuid, Vec<MarkerName>>,
        depth: Depth,
        facts: &mut BTreeMap<Uuid, Facts>,
    ) -> Result<(), StoreError> {
        let is_settled =
            |qid: &Uuid| facts.get(qid).is_some_and(|facts| facts.again_accepted_at_ms.is_some() || facts.came_back_as.is_some());
        let wanted = |qid: &Uuid, name: &MarkerName| {
            name.name == DROP || (claim_number(&name.name).is_some() && (depth != Depth::Claimed || !is_settled(qid)))
        };
        let names: Vec<(Uuid, MarkerName)> = markers
            .into_iter()
            .flat_map(|(qid, names)| names.into_iter().map(move |name| (qid, name)))
            .filter(|(qid, name)| wanted(qid, name))
            .collect();
        let store = self.store;
        let mut read = stream::iter(names)
            .map(async |(qid, name)| {
                let marker = store.marker(qid, &name.name).await;
                (qid, name, marker)
            })
            .buffer_unordered(MARKERS);
        while let Some((qid, name, marker)) = read.next().await {
            let marker = match marker {
                Ok(marker) => marker,
                Err(StoreError::Unreadable { name: object, expected }) => {
                    self.looked.unreadable.push(Unreadable { name: object, expected: format!("expected {expected}") });
                    torn(&name)
                }
                Err(error @ (StoreError::Failed(_) | StoreError::TimedOut)) => return Err(error),
            };
            let Some(facts) = facts.get_mut(&qid) else { continue };
            match claim_number(&name.name) {
                Some(number) => facts.claims.push((number, marker)),
                None => facts.dropped = Some(marker),
            }
        }
        facts.values_mut().for_each(|facts| facts.claims.sort_by_key(|(number, _)| *number));
        Ok(())
    }

    async fn quarantine(&mut self) -> Result<Vec<StoredObject>, StoreError> {
        let listed = self.store.objects(Folder::Quarantine, self.hours).await?;
        self.looked.quarantine_objects = listed.objects.len() as u64;
        self.looked.add_unreadable(listed.unreadable);
        Ok(listed.objects)
    }

    async fn ledger(&mut self, hours: Hours) -> Result<Vec<StoredObject>, StoreError> {
        let listed = self.store.objects(Folder::Ledger, hours).await?;
        self.looked.ledger_objects = Some(listed.objects.len() as u64);
        self.looked.ledger_lines = listed.objects.iter().filter_map(StoredObject::lines).sum();
        self.looked.add_unreadable(listed.unreadable);
        Ok(listed.objects)
    }
}

impl Looked {
    fn add_unreadable(&mut self, more: Vec<Unreadable>) {
        self.unreadable.extend(more);
    }

    /// What could not be read, each once, in order.
    pub fn settle(&mut self) {
        self.unreadable.sort_by(|one, other| one.name.cmp(&other.name));
        self.unreadable.dedup_by(|one, other| one.name == other.name);
    }
}

/// The entry that `kept` was sent again from, and what `kept` is to it.
fn link(kept: &Kept) -> Option<(Uuid, Newer)> {
    let Kept { qid, quarantined_at_ms, .. } = *kept;
    Some((kept.again_of?, Newer { is_rejected: kept.is_rejected(), quarantined_at_ms, qid }))
}

fn came_back_as(link: Option<(Uuid, Newer)>, came_back: &mut CameBack) {
    if let Some((old, newer)) = link {
        came_back.entry(old).and_modify(|one| *one = newer.max(*one)).or_insert(newer);
    }
}

/// A line whose origin names the entry.
fn came_of_it(line: &Line, facts: &mut Facts) {
    let at = match line.answer {
        LedgerAnswer::Accepted => &mut facts.again_accepted_at_ms,
        LedgerAnswer::Unknown => &mut facts.again_unknown_at_ms,
    };
    *at = Some(at.map_or(line.sent_at, |at_ms: i64| at_ms.min(line.sent_at)));
}

/// A line of the entry's uid.
fn uid_seen(line: &Line, facts: &mut Facts) {
    if line.answer == LedgerAnswer::Accepted {
        let (first, last) = (&mut facts.uid_accepted_at_ms, &mut facts.uid_last_accepted_at_ms);
        *first = Some(first.map_or(line.sent_at, |at_ms| at_ms.min(line.sent_at)));
        *last = Some(last.map_or(line.sent_at, |at_ms| at_ms.max(line.sent_at)));
    }
}

/// A marker that cannot be read was created all the same, and holds as one of its kind does; the store knows when.
fn torn(name: &MarkerName) -> Marker {
    let action = if name.name == DROP { relay_store::Action::Drop } else { relay_store::Action::Replay };
    let (by, because, new_uid, supersedes) = Default::default();
    Marker { action, at: name.written_at_ms, run: Uuid::nil(), by, because, new_uid, supersedes, beyond_window: false }
}

/// Which of `uids` the entry is, or holds in its body.
fn held(entry: &Entry, uids: &BTreeSet<String>) -> BTreeSet<String> {
    if let Some(uid) = &entry.uid {
        return uids.get(uid).into_iter().cloned().collect();
    }
    let Some(body) = entry.body.as_deref() else { return BTreeSet::new() };
    let read = entry.attributes.as_deref().unwrap_or_default();
    let is_packed = read.iter().any(|one| one.name.eq_ignore_ascii_case(CONTENT_ENCODING));
    // A uid with an escape in it may be written in several ways; else its bytes must be there.
    let may_be = |uid: &String| body.contains('\\') || memmem::find(body.as_bytes(), uid.as_bytes()).is_some();
    if !is_packed && !uids.iter().any(may_be) {
        return BTreeSet::new();
    }
    let arena = Bump::new();
    let found = measurements(entry, &arena);
    found.iter().filter_map(|one| uids.get(uid_of(one.text, &arena)?)).cloned().collect()
}

/// Counts objects as they are done.
struct Done<'p> {
    done: u64,
    of: u64,
    tell: OnProgress<'p>,
}

impl<'p> Done<'p> {
    fn of(of: usize, tell: OnProgress<'p>) -> Done<'p> {
        let of = of as u64;
        tell(0, of);
        Done { done: 0, of, tell }
    }

    fn one(&mut self) {
        self.done += 1;
        (self.tell)(self.done, self.of);
    }
}
