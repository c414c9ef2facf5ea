//! The laws that hold for a world as a whole, when it is over. Their numbers are those of `laws`. They hold across both ways in: a file
//! is to them one more message, each line of it a place in it.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use futures_util::TryStreamExt;
use m3ter_sandbox::{Ledger, LedgerQuery, MeasurementLine, Number, State};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use uuid::Uuid;

use crate::books::{Books, Entry};
use crate::by_file;
use crate::fault::Fault;
use crate::made::{ALONE_BYTES_MAX, Expect, METER, Made};
use crate::queue::Place;
use crate::rejected;
use crate::told;
use crate::wire::QUEUE_ARN;
use crate::world::World;

/// Every law at the end of a world.
pub(crate) async fn ended(world: &World) {
    if world.nature.is_broken() {
        return;
    }
    world.sandbox.advance(std::time::Duration::from_secs(60)).unwrap();
    let ledger = world.sandbox.ledger_of(&LedgerQuery { requests: true, measurements: true, uid: None });
    let (objects, mut books) = match stored(world).await {
        Ok(stored) => stored,
        Err(what) => return world.nature.broke(1, what),
    };
    if let Err(what) = by_file::in_their_places(world, &mut books) {
        return world.nature.broke(9, what);
    }
    if let Err((law, what)) = by_file::is_over(world, &books, &objects) {
        return world.nature.broke(law, what);
    }
    let end = End::new(world, &ledger, books);
    let laws = [
        (7, end.the_queue_is_empty()),
        (1, end.nothing_is_lost()),
        (2, end.nothing_is_counted_twice()),
        (2, end.the_bill_is_right()),
        (3, end.payloads_are_intact()),
        (8, end.our_faults_keep_nothing()),
        (4, end.reasons_are_right()),
        (4, end.the_good_are_ingested()),
        (5, end.the_rate_is_kept()),
        (11, end.the_ledger_is_true()),
    ];
    for (law, kept) in laws {
        if let Err(what) = kept {
            return world.nature.broke(law, what);
        }
    }
    if let Err(what) = rejected::is_kept(world, &ledger, &end.stored).await {
        return world.nature.broke(12, what);
    }
    for entry in end.stored.kept.values().flatten() {
        world.nature.sometimes(&format!("reason: {}", entry.reason));
        world.nature.sometimes(&format!("stage: {}", entry.stage));
    }
    for line in ledger.measurements.iter().flatten() {
        world.nature.sometimes(&format!("m3ter: {:?} {}", line.state, line.r#type.as_deref().unwrap_or_default()));
    }
}

/// What the store holds in the end, read anew: the names of all objects, and what is in them.
async fn stored(world: &World) -> Result<(Vec<Path>, Books), String> {
    let mut objects: Vec<_> = world.objects.list(None).try_collect().await.map_err(|fault| fault.to_string())?;
    objects.sort_by(|one, other| one.location.cmp(&other.location));
    let mut books = Books::default();
    for object in &objects {
        let bytes = world.objects.get(&object.location).await.map_err(|fault| fault.to_string())?;
        let bytes = bytes.bytes().await.map_err(|fault| fault.to_string())?;
        books.store(object.location.as_ref(), &bytes)?;
    }
    match world.books().kept.keys().find(|key| !books.kept.contains_key(*key)) {
        Some((id, position)) => Err(format!("what was stored of {id} at {position} is no longer there")),
        None => Ok((objects.into_iter().map(|object| object.location).collect(), books)),
    }
}

/// A measurement at its place in what was sent: a message, or a file.
struct Given<'w> {
    /// Of the message, or the upload.
    id: Rc<str>,
    position: usize,
    made: &'w Made,
    /// Where else in the same file it stands: what becomes of one of these becomes of all.
    copies: Vec<usize>,
    sent_ms: i64,
    /// Whether it was settled: its message deleted, its upload done.
    is_settled: bool,
}

/// Everything that is known at the end.
struct End<'w> {
    world: &'w World,
    ledger: &'w Ledger,
    stored: Books,
    /// By uid, what m3ter holds.
    lines: HashMap<&'w str, Vec<&'w MeasurementLine>>,
    /// By uid, what producers made.
    made: BTreeMap<&'w str, Vec<&'w Made>>,
    given: Vec<Given<'w>>,
}

/// Everything that was sent, by both ways in.
fn given(world: &World) -> Vec<Given<'_>> {
    let (queue, goods, mut all) = (world.queue(), &world.goods, Vec::new());
    for message in queue.messages() {
        let (id, is_settled) = (Rc::from(message.id.as_str()), message.place == Place::Deleted);
        for (position, item) in goods.sendings[message.sending].items.iter().enumerate() {
            let made = &goods.made[*item];
            let sent_ms = message.sent_ms;
            all.push(Given { id: Rc::clone(&id), position, made, copies: Vec::new(), sent_ms, is_settled });
        }
    }
    let Some(file) = &goods.file else { return all };
    let is_settled = world.uploading().ended.as_ref().is_some_and(|state| state.fault.is_none());
    let id = Rc::from(file.upload.to_string());
    for (position, item) in file.rows.iter().enumerate() {
        let copies = file.places_of(*item).into_iter().filter(|place| *place != position).collect();
        let made = &goods.made[*item];
        all.push(Given { id: Rc::clone(&id), position, made, copies, sent_ms: file.at_ms, is_settled });
    }
    all
}

impl<'w> End<'w> {
    fn new(world: &'w World, ledger: &'w Ledger, stored: Books) -> End<'w> {
        let mut lines: HashMap<&str, Vec<&MeasurementLine>> = HashMap::new();
        for line in ledger.measurements.iter().flatten() {
            lines.entry(line.uid.as_deref().unwrap_or_default()).or_default().push(line);
        }
        let mut made: BTreeMap<&str, Vec<&Made>> = BTreeMap::new();
        for one in &world.goods.made {
            made.entry(one.uid.as_deref().unwrap_or_default()).or_default().push(one);
        }
        End { world, ledger, stored, lines, made, given: given(world) }
    }

    fn lines(&self, made: &Made) -> impl Iterator<Item = &'w MeasurementLine> {
        let lines = made.uid.as_deref().and_then(|uid| self.lines.get(uid)).cloned().unwrap_or_default();
        lines.into_iter().filter(|line| made.is(line.measurement.get())).collect::<Vec<_>>().into_iter()
    }

    fn entries(&self, given: &Given<'_>) -> Vec<&Entry> {
        let at = |position: &usize| self.stored.kept.get(&(given.id.to_string(), *position)).map_or(&[] as &[_], Vec::as_slice);
        [&given.position].into_iter().chain(&given.copies).flat_map(at).collect()
    }

    /// What stands at each place of a message, or of the file.
    fn items(&self) -> HashMap<String, &'w [usize]> {
        let (queue, goods) = (self.world.queue(), &self.world.goods);
        let messages =
            queue.messages().iter().map(|message| (message.id.clone(), goods.sendings[message.sending].items.as_slice()));
        messages.chain(goods.file.iter().map(|file| (file.upload.to_string(), file.rows.as_slice()))).collect()
    }

    /// Law 7.
    fn the_queue_is_empty(&self) -> Result<(), String> {
        let queue = self.world.queue();
        match queue.messages().iter().find(|message| message.place == Place::Queue) {
            Some(message) => Err(format!(
                "{} of {} messages are left after {:?}, {} received {} times; its measurements: {:?}",
                queue.left(),
                queue.messages().len(),
                self.world.age(),
                message.id,
                message.receives,
                self.world.goods.sendings[message.sending]
                    .items
                    .iter()
                    .map(|item| self.world.goods.made[*item].expect)
                    .collect::<Vec<_>>()
            )),
            None => Ok(()),
        }
    }

    /// Law 1.
    fn nothing_is_lost(&self) -> Result<(), String> {
        let queue = self.world.queue();
        for message in queue.messages() {
            match message.place {
                Place::Queue | Place::Deleted => {}
                Place::DeadLetter => self.world.nature.sometimes("message: in the dead-letter queue"),
                Place::Expired => return Err(format!("{} expired in the queue", message.id)),
            }
        }
        for given in self.given.iter().filter(|given| given.is_settled) {
            let Given { id, position, made, .. } = given;
            let kept = self.entries(given).iter().any(|entry| entry.text() == made.text || made.is(entry.text()));
            if !kept && self.lines(made).next().is_none() {
                return Err(format!("{id} {position} is nowhere: {:?} {}", made.expect, made.text));
            }
        }
        Ok(())
    }

    /// Law 11.
    fn the_ledger_is_true(&self) -> Result<(), String> {
        let mut places: HashMap<*const Made, Vec<&Given<'_>>> = HashMap::new();
        for given in &self.given {
            places.entry(std::ptr::from_ref(given.made)).or_default().push(given);
        }
        let kept = |made: &Made| {
            let at = places.get(&std::ptr::from_ref(made)).map_or(&[] as &[_], Vec::as_slice);
            at.iter().flat_map(|given| self.entries(given)).collect()
        };
        told::is_true(self.world, &self.stored.told, &self.made, |made| self.lines(made).next().is_some(), kept)
    }

    /// Law 2.
    fn nothing_is_counted_twice(&self) -> Result<(), String> {
        for (uid, lines) in &self.lines {
            let ingested = lines.iter().filter(|line| line.state == State::Ingested).count();
            if ingested > 1 || uid.is_empty() {
                return Err(format!("{uid:?} is ingested {ingested} times"));
            }
        }
        Ok(())
    }

    /// Law 2: what is billed is what was produced, less what was not ingested.
    fn the_bill_is_right(&self) -> Result<(), String> {
        let (mut produced, mut not_ingested, mut billed) = (0, 0, 0);
        for made in self.made.iter().filter(|(uid, _)| !uid.is_empty()).flat_map(|(_, made)| made) {
            produced += made.n;
            match self.lines(made).any(|line| line.state == State::Ingested) {
                true => billed += made.n,
                false => not_ingested += made.n,
            }
        }
        let counted = self.ledger.meters.get(METER).and_then(|meter| meter.sums.get("n")).copied().unwrap_or(Number::ZERO);
        let expected = Number::from(i64::try_from(produced - not_ingested).unwrap());
        match counted == expected && billed == produced - not_ingested {
            true => Ok(()),
            false => Err(format!("m3ter bills {counted}, produced {produced}, of that not ingested {not_ingested}")),
        }
    }

    /// Law 3: what m3ter and the store hold is what a producer made.
    fn payloads_are_intact(&self) -> Result<(), String> {
        for (uid, lines) in &self.lines {
            let made = self.made.get(uid).map_or(&[] as &[_], Vec::as_slice);
            if let Some(line) = lines.iter().find(|line| !made.iter().any(|made| made.is(line.measurement.get()))) {
                return Err(format!("m3ter holds what nobody made: {}", line.measurement));
            }
        }
        let ids = self.items();
        let upload = self.world.goods.file.as_ref().map(|file| file.upload.to_string());
        let namespace = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"usage-relay/quarantine/v1");
        for ((id, position), entries) in &self.stored.kept {
            let Some(item) = ids.get(id).and_then(|items| items.get(*position)) else {
                return Err(format!("the store holds {position} of {id}, which has no such place"));
            };
            let made = &self.world.goods.made[*item];
            let qid = Uuid::new_v5(&namespace, format!("{QUEUE_ARN}\n{id}\n{position}").as_bytes()).to_string();
            for entry in entries {
                let maybe_sent = entry.stage == "submit";
                // Ids of what was in a file are looked at in `by_file`.
                let is_its_own = (entry.qid == qid && entry.source_arn == QUEUE_ARN) || upload.as_ref() == Some(id);
                let is_text = entry.text() == made.text || (upload.as_ref() == Some(id) && made.is(entry.text()));
                let is_whole = is_text && is_its_own && !entry.detail.is_empty();
                if !is_whole || (maybe_sent && entry.first_sent_at.is_none()) {
                    return Err(format!("the store holds {entry:?} of {}", made.text));
                }
                if entry.uid.is_some() && made.uid.is_some() && entry.uid != made.uid {
                    return Err(format!("the store calls it {:?}: {}", entry.uid, made.text));
                }
            }
        }
        Ok(())
    }

    /// Law 8: nothing is kept as refused by m3ter but what m3ter, or a proxy that goes by size, really refuses.
    fn our_faults_keep_nothing(&self) -> Result<(), String> {
        let ids = self.items();
        for ((id, position), entries) in &self.stored.kept {
            let Some(entry) = entries.iter().find(|entry| entry.reason == "RefusedByApi") else { continue };
            let expect = ids.get(id).and_then(|items| items.get(*position)).map(|item| self.world.goods.made[*item].expect);
            if !matches!(expect, Some(Expect::RefusedByApi | Expect::Large)) {
                return Err(format!("{id} {position}, {expect:?}, is kept: {}", entry.detail));
            }
        }
        Ok(())
    }

    /// Law 4: a measurement is kept only for what is wrong with it, never for a neighbour.
    fn reasons_are_right(&self) -> Result<(), String> {
        for given in &self.given {
            let Given { id, position, made, sent_ms, .. } = given;
            let wrong = |entry: &&Entry| !self.is_right(made, entry, *sent_ms);
            if let Some(entry) = self.entries(given).into_iter().find(wrong) {
                return Err(format!("{id} {position}, {:?}, is kept as {}: {}", made.expect, entry.reason, entry.detail));
            }
            let never = matches!(made.expect, Expect::RefusedByApi | Expect::Refused(_) | Expect::Pointer);
            if never && self.lines(made).next().is_some() {
                return Err(format!("m3ter took what it refuses: {}", made.text));
            }
        }
        Ok(())
    }

    fn is_right(&self, made: &Made, entry: &Entry, sent_ms: i64) -> bool {
        let plan = &self.world.nature.plan;
        // The clock of the environment may be four minutes wrong.
        let is_old = entry.quarantined_at - sent_ms >= plan.exhaust_ms() - 5 * 60_000;
        let exhausted = entry.reason == "Exhausted" && is_old && plan.has(Fault::Outage);
        if self.world.goods.doubt(made).is_some_and(|doubt| doubt == entry.reason) {
            return true;
        }
        match made.expect {
            Expect::Good | Expect::Rejected => exhausted,
            Expect::Ahead => exhausted || (entry.reason == "TimestampInFuture" && plan.has(Fault::ClockSkew)),
            Expect::Aging => entry.reason == "OutsideWindow",
            Expect::Rival => exhausted || entry.reason == "UidConflict",
            Expect::RefusedByApi => entry.reason == "RefusedByApi" || (entry.reason == "Exhausted" && is_old),
            Expect::Large => {
                let envelope = 511_999 - ALONE_BYTES_MAX;
                exhausted
                    || (entry.reason == "RefusedByApi" && plan.size_max.is_some_and(|most| made.text.len() + envelope > most))
            }
            Expect::Refused(reason) => entry.reason == reason,
            Expect::Pointer => entry.reason == "Exhausted" && is_old,
        }
    }

    /// Law 4: whatever stood beside it, a good measurement is ingested, unless it is kept or its message was given up.
    fn the_good_are_ingested(&self) -> Result<(), String> {
        let plan = &self.world.nature.plan;
        for given in self.given.iter().filter(|given| given.is_settled) {
            let Given { id, position, made, .. } = given;
            let has = |state: State, name: &str| {
                self.lines(made).any(|line| line.state == state && line.r#type.as_deref().unwrap_or_default() == name)
            };
            let early = || plan.has(Fault::ClockSkew) && has(State::Rejected, "TimestampInFuture");
            let uid_is_ingested = || {
                made.uid
                    .as_deref()
                    .and_then(|uid| self.lines.get(uid))
                    .is_some_and(|lines| lines.iter().any(|line| line.state == State::Ingested))
            };
            let kept = !self.entries(given).is_empty();
            let is_well = match made.expect {
                Expect::Good | Expect::Large | Expect::Aging => has(State::Ingested, "") || kept,
                Expect::Ahead => has(State::Ingested, "") || kept || early(),
                Expect::Rejected => has(State::Rejected, "UndefinedMeter") || kept,
                Expect::Rival => uid_is_ingested() || kept,
                Expect::RefusedByApi | Expect::Refused(_) | Expect::Pointer => kept,
            };
            if !is_well {
                return Err(format!("{id} {position} is not ingested: {:?} {}", made.expect, made.text));
            }
        }
        Ok(())
    }

    /// Law 5: an environment sends no more than its share, and one second's worth at once.
    fn the_rate_is_kept(&self) -> Result<(), String> {
        let books = self.world.books();
        let share = self.world.nature.plan.share();
        let burst = share.max(1.0);
        let mut levels: BTreeMap<u32, (f64, i64)> = BTreeMap::new();
        for asked in books.asked.iter().filter(|asked| !books.stalled.contains(&asked.environment)) {
            let (level, last_ms) = levels.entry(asked.environment).or_insert((burst, asked.at_ms));
            let gained = (asked.at_ms - *last_ms) as f64 * share / 1_000.0;
            (*level, *last_ms) = ((*level + gained).min(burst) - 1.0, asked.at_ms);
            // The timers of tokio are a millisecond coarse.
            if *level < -0.01 - share / 1_000.0 {
                return Err(format!("environment {} sends more than {share} a second", asked.environment));
            }
        }
        let most = self.ledger.requests.iter().map(|request| (request.measurements, request.bytes));
        match most.into_iter().find(|(measurements, bytes)| *measurements > 1_000 || *bytes > 511_999) {
            Some((measurements, bytes)) => Err(format!("a request of {measurements} measurements in {bytes} bytes")),
            None => Ok(()),
        }
    }
}
