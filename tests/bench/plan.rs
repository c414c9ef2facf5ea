//! What is measured, of whom, and how often: by default everything, within 25 minutes of a quiet machine with two cores.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use relay_store::{AccountLine, MeterLine, S3Access, Store, StoredCatalogue};
use runtime_api::{FunctionSpec, epoch_ms};
use tokio::time::Instant;

use crate::contender::{Places, Who};
use crate::figures::{ColdFigures, WorkFigures};
use crate::machine::Machine;
use crate::measure::{BenchError, Contender, cold_starts, rounds};
use crate::report::Report;
use crate::sink::{BUCKET, PREFIX, SinkProcess};
use crate::table;
use crate::work::{ACCOUNTS, METERS, Shape, Work, fits, thousands};

/// The event that every contender is compared on first: what a `BatchSize` of 1,000 and small measurements make.
pub(crate) const REFERENCE: Shape = Shape::new(1_000, 1, 250);
/// The pair for "ten times the messages cost no more each".
pub(crate) const THOUSAND: Shape = Shape::new(1_000, 1, 0).short();
pub(crate) const TEN_THOUSAND: Shape = Shape::new(10_000, 1, 0).short();
/// The event of the cold start.
const FIRST: Shape = Shape::new(10, 1, 250);

/// Numbers of messages, of measurements in one, and of bytes in one: everything that is asked about.
const MESSAGES: [usize; 5] = [10, 100, 1_000, 5_000, 10_000];
const MEASUREMENTS: [usize; 3] = [1, 10, 100];

/// Every shape that is measured without TLS.
const SHAPES: [Shape; 12] = [
    FIRST,
    Shape::new(100, 1, 250),
    REFERENCE,
    Shape::new(5_000, 1, 250),
    Shape::new(1_000, 1, 1_000),
    Shape::new(1_000, 1, 5_000),
    THOUSAND,
    TEN_THOUSAND,
    Shape::new(100, 10, 250),
    Shape::new(1_000, 10, 250),
    Shape::new(10, 100, 250),
    Shape::new(100, 100, 250),
];
/// Those that are measured with TLS too.
const SHAPES_TLS: [Shape; 4] = [REFERENCE, Shape::new(1_000, 1, 1_000), Shape::new(1_000, 10, 250), Shape::new(100, 100, 250)];
/// Those of a short bench.
const QUICK: [Shape; 3] = [FIRST, REFERENCE, Shape::new(100, 100, 250)];

/// Rounds unless told otherwise.
const ROUNDS: usize = 15;
const ROUNDS_QUICK: usize = 5;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    pub(crate) who: Vec<Who>,
    pub(crate) cold: bool,
    pub(crate) plain: bool,
    pub(crate) tls: bool,
    pub(crate) work: bool,
    /// Other builds of the function, measured with every default on, each by the name of its file.
    pub(crate) others: Vec<PathBuf>,
    pub(crate) svg: Option<PathBuf>,
}

const USAGE: &str = "expected: bench [--quick] [--runs N] [--only relay,floor,…] [--other FILE] [--no-work] [--no-cold] [--no-plain] [--no-tls] [--svg FILE]";

impl Plan {
    /// Reads the command line.
    pub(crate) fn parse(arguments: &[&str]) -> Result<Plan, String> {
        let mut plan = Plan {
            quick: false,
            rounds: ROUNDS,
            who: Who::ALL.to_vec(),
            cold: true,
            plain: true,
            tls: true,
            work: true,
            others: Vec::new(),
            svg: None,
        };
        let mut rounds = None;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match *argument {
                "--quick" => plan.quick = true,
                "--no-work" => plan.work = false,
                "--no-cold" => plan.cold = false,
                "--no-plain" => plan.plain = false,
                "--no-tls" => plan.tls = false,
                "--runs" => rounds = Some(positive(arguments.next()).ok_or("expected --runs with a number above 0")?),
                "--only" => plan.who = names(arguments.next().copied().unwrap_or_default())?,
                "--other" => plan.others.push(arguments.next().ok_or("expected --other with a build of the function")?.into()),
                "--svg" => plan.svg = Some(arguments.next().ok_or("expected --svg with a file")?.into()),
                other => return Err(format!("{other} is not understood; {USAGE}")),
            }
        }
        plan.rounds = rounds.unwrap_or(if plan.quick { ROUNDS_QUICK } else { ROUNDS });
        Ok(plan)
    }

    /// Measures, and prints each table as soon as it is there.
    pub(crate) async fn carry_out(&self, root: &Path, binary: &Path) -> Result<Report, BenchError> {
        let places = self.places(root)?;
        let mut sink = SinkProcess::start(binary)?;
        put_catalogue(&sink).await?;
        let machine = Machine::here(epoch_ms(), &root.join(".local/bench/bin/python").to_string_lossy());
        let mut report = Report {
            machine,
            rounds: self.rounds,
            works: Vec::new(),
            cold_starts: Vec::new(),
            skipped: skipped(),
            binary_bytes: 0,
            zip_bytes: 0,
        };
        (report.binary_bytes, report.zip_bytes) = sizes(&places.shipped())?;
        for (shape, tls) in self.shapes() {
            let work = shape.work(shape.events_a_run(), epoch_ms())?;
            if !fits(&work) {
                return Err(BenchError::Setup(format!("{} does not fit Lambda's payload", shape.name())));
            }
            let contenders = self.contenders(&places, &sink, tls, &work, Who::works);
            let measured = rounds(&contenders, &work, self.rounds, &mut sink).await?;
            let bytes = work.events.first().map_or(0, |event| event.event.bytes().len());
            let figures = WorkFigures::new(shape, tls, bytes, &measured);
            say(&table::work(&figures))?;
            report.works.push(figures);
        }
        if self.cold {
            let work = FIRST.work(1, epoch_ms())?;
            for tls in self.transports() {
                let contenders = self.contenders(&places, &sink, tls, &work, |_| true);
                let measured = cold_starts(&contenders, &work, self.rounds, &mut sink).await?;
                report.cold_starts.extend(ColdFigures::all(tls, &measured));
            }
        }
        Ok(report)
    }

    fn transports(&self) -> Vec<bool> {
        [(self.plain, false), (self.tls, true)].into_iter().filter(|(wanted, _)| *wanted).map(|(_, tls)| tls).collect()
    }

    fn shapes(&self) -> Vec<(Shape, bool)> {
        let plain: &[Shape] = if self.quick { &QUICK } else { &SHAPES };
        let tls: &[Shape] = if self.quick { &[REFERENCE] } else { &SHAPES_TLS };
        let wanted = |tls| self.work && if tls { self.tls } else { self.plain };
        let both = plain.iter().map(|shape| (*shape, false)).chain(tls.iter().map(|shape| (*shape, true)));
        both.filter(|(_, tls)| wanted(*tls)).collect()
    }

    fn contenders(&self, places: &Places, sink: &SinkProcess, tls: bool, work: &Work, wanted: fn(Who) -> bool) -> Vec<Contender> {
        let events = work.events.len();
        let contender = |who: Who| Contender {
            name: who.name().to_owned(),
            spec: places.spec(who, sink.ports(), tls, work),
            duty: who.duty(),
            warm_ups: if who.is_compiled() { 3.max(events / 2) } else { 5.max(events) },
            events: if who.is_compiled() { events } else { events.div_ceil(2) },
        };
        let ours = self.who.iter().copied().filter(|who| wanted(*who)).map(contender);
        let others = self.others.iter().map(|binary| {
            let relay = contender(Who::Relay);
            let name = binary.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Contender { name, spec: FunctionSpec { binary: binary.clone(), ..relay.spec }, ..relay }
        });
        ours.chain(others).collect()
    }

    fn places(&self, root: &Path) -> Result<Places, BenchError> {
        let target = root.join("target");
        let certificates = target.join("bench/certificates.pem");
        std::fs::create_dir_all(target.join("bench"))?;
        let ours = std::fs::read_to_string(Places::fixtures(root).join("ca.pem"))?;
        // What a function on Lambda reads at its start. A system that keeps them elsewhere has one certificate here, and shorter starts.
        let systems = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
        let systems = systems.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        std::fs::write(&certificates, systems + &ours)?;
        Ok(Places { root: root.into(), release: target.join("release"), certificates })
    }
}

fn positive(text: Option<&&str>) -> Option<usize> {
    text.and_then(|text| text.parse().ok()).filter(|number| *number > 0)
}

fn names(list: &str) -> Result<Vec<Who>, String> {
    let known = || Who::ALL.map(Who::name).join(", ");
    let one = |name: &str| {
        Who::ALL.into_iter().find(|who| who.name() == name).ok_or_else(|| format!("{name:?} is none of {}", known()))
    };
    list.split(',').map(one).collect()
}

fn say(text: &str) -> Result<(), BenchError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// What of everything asked about cannot be, since Lambda hands a function at most 6 MB.
fn skipped() -> Vec<String> {
    let mut skipped = Vec::new();
    for messages in MESSAGES {
        for measurements in MEASUREMENTS {
            // The smallest that m3ter takes is about 100 bytes, and a record beside its body takes 0.8 KB, with short handles 0.47 KB.
            let least = messages * (470 + measurements * 115);
            if least > runtime_api::PAYLOAD_BYTES_MAX {
                let (messages, least) = (thousands(messages), least as f64 / 1e6);
                skipped.push(format!("{messages} messages of {measurements}: {least:.0} MB at the least, and an event has 6"));
            }
        }
    }
    skipped.push("100 measurements in 250 bytes to 5 KB: the smallest that m3ter takes have about 100 bytes each".to_owned());
    skipped
}

/// Puts a catalogue into the store, as ingest-watch does: without one, pre-flight would have nothing to do.
async fn put_catalogue(sink: &SinkProcess) -> Result<(), BenchError> {
    let access = S3Access {
        region: Some("eu-central-1".into()),
        endpoint: Some(sink.ports().url(false)),
        access_key_id: "test".into(),
        secret_access_key: "test".into(),
        ..S3Access::default()
    };
    let last_seen_ms = i64::try_from(epoch_ms()).unwrap_or(i64::MAX);
    let field = |(category, code): &(&str, &str)| ((*category).into(), (*code).into());
    let meter = |(code, fields): (&str, &[(&str, &str)])| MeterLine {
        code: code.into(),
        id: code.into(),
        fields: fields.iter().map(field).collect(),
        last_seen_ms,
    };
    let account = |code: String| AccountLine { id: code.clone(), code, created_ms: None, last_seen_ms, skeleton: false };
    let codes = (0..ACCOUNTS).map(|number| format!("customer-{number:04}")).chain(["a".to_owned()]);
    let catalogue = StoredCatalogue {
        read_at_ms: last_seen_ms,
        meters: METERS.into_iter().map(meter).collect(),
        accounts: codes.map(account).collect(),
    };
    let not_put = |error: &dyn std::fmt::Display| BenchError::Setup(format!("the catalogue was not stored: {error}"));
    let store = Store::open(&format!("s3://{BUCKET}/{PREFIX}"), &access).map_err(|error| not_put(&error))?;
    let until = Instant::now() + Duration::from_secs(10);
    store.put_catalogue(&catalogue, false, until).await.map_err(|error| not_put(&error))
}

/// Bytes of a binary, and of the zip that would hold it and nothing else.
fn sizes(binary: &Path) -> Result<(u64, u64), BenchError> {
    /// What a zip of one file has around it: two headers with the name `bootstrap`, and an end.
    const AROUND: u64 = 30 + 46 + 22 + 2 * 9;
    let missing = |error| BenchError::Setup(format!("{}: {error}: run `make functions`", binary.display()));
    let bytes = std::fs::read(binary).map_err(missing)?;
    let mut zip = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
    zip.write_all(&bytes)?;
    Ok((bytes.len() as u64, zip.finish()?.len() as u64 + AROUND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_says_what_is_measured() {
        let plan = Plan::parse(&["--quick", "--only", "relay,floor", "--no-tls", "--svg", "a.svg"]).unwrap();
        assert_eq!((plan.rounds, plan.who.as_slice(), plan.tls), (5, &[Who::Relay, Who::Floor][..], false));
        assert_eq!(plan.svg, Some("a.svg".into()));
        assert_eq!(Plan::parse(&[]).unwrap().rounds, 15);
        assert_eq!(Plan::parse(&["--quick", "--runs", "7"]).unwrap().rounds, 7);
        assert_eq!(Plan::parse(&["--other", "a", "--other", "b"]).unwrap().others, [PathBuf::from("a"), "b".into()]);
        for wrong in [&["--runs", "0"][..], &["--runs"], &["--only", "relay,rust"], &["--fast"], &["--svg"], &["--other"]] {
            assert!(Plan::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_shape_that_is_measured_can_exist() {
        for shape in SHAPES.into_iter().chain(SHAPES_TLS).chain(QUICK) {
            assert!(fits(&shape.work(1, 1_790_000_000_000).unwrap()), "{}", shape.name());
        }
        assert!(skipped().iter().any(|why| why.starts_with("1,000 messages of 100")), "{:?}", skipped());
        assert!(!skipped().iter().any(|why| why.starts_with("10,000 messages of 1:")), "{:?}", skipped());
    }
}
