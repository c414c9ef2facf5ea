//! Hands the contenders their work, one after the other in each round, and reads what it cost them.
//!
//! CPU time is what the operating system counted for the process, user and system, all threads, in nanoseconds. It is read while the
//! process waits for its next event. A round runs every contender once, so that whatever else the machine does meets all alike.
//!
//! After each run of a contender the sink's books are held against what it was given. A difference ends the bench: a figure of somebody
//! who did not do the work is worse than none.

use std::io;
use std::time::Duration;

use runtime_api::{ContractViolation, EventError, Function, FunctionSpec, Outcome, StartError, UsageError, check_response};
use tokio::time::Instant;

use crate::books::{Difference, Duty, Owed, Sum};
use crate::sink::SinkProcess;
use crate::work::{Event, Work};

/// Somebody to be measured.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: String,
    pub(crate) spec: FunctionSpec,
    pub(crate) duty: Duty,
    /// Events handed over before anything counts.
    pub(crate) warm_ups: usize,
    /// Events of one run.
    pub(crate) events: usize,
}

/// What one contender cost in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Run {
    /// CPU time for each measurement, in nanoseconds.
    pub(crate) cpu_ns: f64,
    /// From an event leaving the Runtime API to its answer, in milliseconds, the mean of the run.
    pub(crate) answer_ms: f64,
}

/// What one contender cost in all rounds.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) runs: Vec<Run>,
    /// Requests for each event, and bytes of their bodies.
    pub(crate) requests: f64,
    pub(crate) bytes: f64,
    /// The most resident memory it ever had.
    pub(crate) peak_bytes: u64,
}

/// One cold start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct ColdStart {
    /// From starting the process to the whole answer to its first event, in milliseconds.
    pub(crate) answer_ms: f64,
    /// CPU time until then, in milliseconds.
    pub(crate) cpu_ms: f64,
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{name} did not start: {cause}")]
    Start { name: String, cause: StartError },
    #[error("{name} did not answer: {outcome:?}\n{printed}")]
    NoAnswer { name: String, outcome: Outcome, printed: String },
    #[error("{name} answered against the contract: {cause}")]
    Contract { name: String, cause: ContractViolation },
    #[error("{name} returned {messages} messages to the queue\n{printed}")]
    Returned { name: String, messages: usize, printed: String },
    #[error("{name} did not do its work: {difference}")]
    Books { name: String, difference: Difference },
    #[error("{name}: CPU time cannot be read: {cause}")]
    Usage { name: String, cause: UsageError },
    #[error("the sink cannot be asked: {0}")]
    Sink(#[from] io::Error),
    #[error("an event cannot be built: {0}")]
    Event(#[from] EventError),
    #[error("{0}")]
    Setup(String),
}

/// A contender at work.
struct Running<'c> {
    contender: &'c Contender,
    function: Function,
}

/// Runs `rounds` rounds of `work`, and gives back what each contender cost, in their order.
pub(crate) async fn rounds(
    contenders: &[Contender],
    work: &Work,
    rounds: usize,
    sink: &mut SinkProcess,
) -> Result<Vec<Measured>, BenchError> {
    let mut running = Vec::new();
    let mut measured = Vec::new();
    for contender in contenders {
        let mut one = Running::start(contender).await?;
        let events: Vec<&Event> = work.events.iter().cycle().take(contender.warm_ups).collect();
        one.invoke(&events).await?;
        sink.books()?;
        running.push(one);
        let name = contender.name.clone();
        measured.push(Measured { name, runs: Vec::new(), requests: 0.0, bytes: 0.0, peak_bytes: 0 });
    }
    for _ in 0..rounds {
        for (one, measured) in running.iter_mut().zip(&mut measured) {
            one.run(work, sink, measured).await?;
        }
    }
    for (one, measured) in running.iter().zip(&mut measured) {
        measured.peak_bytes = one.usage()?.peak_rss_bytes;
    }
    Ok(measured)
}

/// Starts each contender anew in each round, and hands it one event. Nothing is warm but the machine.
pub(crate) async fn cold_starts(
    contenders: &[Contender],
    work: &Work,
    rounds: usize,
    sink: &mut SinkProcess,
) -> Result<Vec<(String, Vec<ColdStart>)>, BenchError> {
    let mut measured: Vec<(String, Vec<ColdStart>)> =
        contenders.iter().map(|contender| (contender.name.clone(), Vec::new())).collect();
    // The first round brings the binaries into memory, and does not count.
    for round in 0..=rounds {
        for (contender, (_, starts)) in contenders.iter().zip(&mut measured) {
            let started = Instant::now();
            let mut one = Running::start(contender).await?;
            let events: Vec<&Event> = work.events.iter().take(1).collect();
            one.invoke(&events).await?;
            let answer_ms = milliseconds(started.elapsed());
            let cpu_ms = milliseconds(one.usage()?.cpu);
            sink.books()?;
            if round > 0 {
                starts.push(ColdStart { answer_ms, cpu_ms });
            }
        }
    }
    Ok(measured)
}

impl<'c> Running<'c> {
    async fn start(contender: &'c Contender) -> Result<Running<'c>, BenchError> {
        let started = Function::start(contender.spec.clone()).await;
        let function = started.map_err(|cause| BenchError::Start { name: contender.name.clone(), cause })?;
        Ok(Running { contender, function })
    }

    /// One run: its events, what they cost, and whether all arrived.
    async fn run(&mut self, work: &Work, sink: &mut SinkProcess, measured: &mut Measured) -> Result<(), BenchError> {
        let events: Vec<&Event> = work.events.iter().take(self.contender.events).collect();
        let mut sum = Sum::default();
        events.iter().for_each(|event| sum.add_sum(event.sum));
        let before = self.usage()?.cpu;
        let answered = self.invoke(&events).await?;
        let cpu = self.usage()?.cpu.saturating_sub(before);

        let books = sink.books()?;
        let count = events.len();
        let owed =
            Owed { invocations: count, sum, fewest_requests: work.fewest_requests * count, bytes: work.posted_bytes * count };
        let name = || self.contender.name.clone();
        books.check(owed, self.contender.duty).map_err(|difference| BenchError::Books { name: name(), difference })?;
        measured.requests = books.requests as f64 / count as f64;
        measured.bytes = books.bytes as f64 / count as f64;
        measured.runs.push(Run {
            cpu_ns: cpu.as_nanos() as f64 / sum.measurements as f64,
            answer_ms: milliseconds(answered) / count as f64,
        });
        Ok(())
    }

    /// Hands over `events` one after the other. Gives back how long their answers took together.
    async fn invoke(&mut self, events: &[&Event]) -> Result<Duration, BenchError> {
        let mut answered = Duration::ZERO;
        let name = || self.contender.name.clone();
        for Event { event, .. } in events {
            let invocation = self.function.invoke(event).await;
            let printed = || self.function.output().stderr.text() + &self.function.output().stdout.text();
            let Outcome::Response(answer) = &invocation.outcome else {
                return Err(BenchError::NoAnswer { name: name(), outcome: invocation.outcome.clone(), printed: printed() });
            };
            let returned = check_response(event, answer).map_err(|cause| BenchError::Contract { name: name(), cause })?;
            if !returned.is_empty() {
                return Err(BenchError::Returned { name: name(), messages: returned.len(), printed: printed() });
            }
            answered += invocation.elapsed;
        }
        Ok(answered)
    }

    fn usage(&self) -> Result<runtime_api::Usage, BenchError> {
        self.function.usage().map_err(|cause| BenchError::Usage { name: self.contender.name.clone(), cause })
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
