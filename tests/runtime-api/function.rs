//! A function as Lambda runs it: one process, one event at a time, a deadline that kills.
//!
//! An answer counts when it is here whole. `invoke` then still waits until the process asks for its next event, so that what follows (a
//! freeze, a reading of its CPU time) finds it idle.
//!
//! A process that has ended stays ended until [`Function::respawn`]: Lambda would start another one by itself, and a test that
//! means to see a crash would not notice it.

use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::clock;
use crate::exchange::{Answered, Exchange, Handover, Phase};
use crate::http_server::HttpServer;
use crate::output::Output;
use crate::process::{Killer, Process, SignalError};
use crate::spec::FunctionSpec;
use crate::usage::{Usage, UsageError};

/// How long the last output of an ended process is waited for.
const LAST_OUTPUT_WITHIN: Duration = Duration::from_secs(2);

/// A function with its running process. Dropping it kills the process.
#[derive(Debug)]
pub struct Function {
    spec: FunctionSpec,
    environment: Environment,
}

/// What Lambda calls an execution environment: a process and the Runtime API it alone talks to.
#[derive(Debug)]
struct Environment {
    process: Process,
    exchange: Arc<Exchange>,
    _server: HttpServer,
}

/// Why a function is not ready for events. What it printed is part of it, since that is where the reason stands.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Runtime API found no port, or the binary could not be started at all.
    #[error("cannot start the process")]
    NotStarted(#[source] io::Error),
    /// The function reported that it cannot start.
    #[error("init failed with {kind}: {message}\n{output:?}")]
    InitFailed {
        /// The error's type, as reported.
        kind: String,
        /// The error's message, as reported.
        message: String,
        /// What it printed.
        output: Output,
    },
    /// The process ended before it asked for an event.
    #[error("ended with {status} before it asked for an event\n{output:?}")]
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// What it printed.
        output: Output,
    },
    /// Neither happened in time; the process was killed.
    #[error("not ready within {within:?}\n{output:?}")]
    NotReady {
        /// The bound, from [`FunctionSpec::ready_within`].
        within: Duration,
        /// What it printed.
        output: Output,
    },
}

/// What became of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function answered.
    Response(Bytes),
    /// The function answered with an error, or its runtime did so after a panic.
    Error {
        /// The error's type, as reported.
        kind: String,
        /// The error's message, as reported.
        message: String,
    },
    /// No answer by the deadline. The process was killed, as Lambda does.
    TimedOut,
    /// The process ended without an answer, by itself or killed; also when it had ended before.
    Exited(ExitStatus),
}

/// One event and what became of it.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The invocation's id (a UUID), as the function saw it.
    pub request_id: String,
    /// The X-Ray trace header, as the function saw it.
    pub trace_id: String,
    /// What became of the event.
    pub outcome: Outcome,
    /// From the event leaving here to the whole answer being here; without an answer, to the end.
    pub elapsed: Duration,
    /// How long before the deadline that was. Zero when it was not before.
    pub deadline_slack: Duration,
    /// Whether the process is waiting for its next event. After an answer it always should be: else it ended, or did not come back
    /// by the deadline and was killed.
    pub idle: bool,
}

impl Function {
    /// Starts the process and waits until it asks for its first event.
    ///
    /// # Errors
    /// [`StartError`]: one variant for each other way this can go. No process is left behind.
    pub async fn start(spec: FunctionSpec) -> Result<Self, StartError> {
        let environment = Environment::start(&spec).await?;
        Ok(Self { spec, environment })
    }

    /// Kills the process if it still runs, and starts another one, which remembers nothing: a new pid, a new [`Output`], a new [`Killer`].
    ///
    /// # Errors
    /// [`StartError`], as [`Function::start`]; then no process runs.
    pub async fn respawn(&mut self) -> Result<(), StartError> {
        let _ended_already = self.kill();
        self.environment.process.ended().await;
        self.environment = Environment::start(&self.spec).await?;
        Ok(())
    }

    /// Hands the process one event and waits for what becomes of it, at most until the function's timeout.
    ///
    /// To kill or freeze the process meanwhile, take a [`Function::killer`] before. Dropping the future leaves the process working on the event.
    pub async fn invoke(&mut self, event: impl Into<Bytes>) -> Invocation {
        let started = Instant::now();
        let deadline = started + self.spec.timeout;
        let (handover, answer) = self.handover(event.into());
        let (request_id, trace_id) = (handover.request_id.clone(), handover.trace_id.clone());
        let (outcome, ended, elapsed) = match self.answered(handover, answer, deadline).await {
            Ok(answered) => {
                let outcome = match answered.result {
                    Ok(body) => Outcome::Response(body),
                    Err(error) => Outcome::Error { kind: error.kind, message: error.message },
                };
                (outcome, answered.at, answered.elapsed)
            }
            Err(outcome) => (outcome, Instant::now(), started.elapsed()),
        };
        let idle = match outcome {
            Outcome::Response(_) | Outcome::Error { .. } => self.environment.idle_by(deadline).await,
            Outcome::TimedOut | Outcome::Exited(_) => false,
        };
        if !idle {
            let _ended_already = self.kill();
            self.environment.process.ended().await;
            self.output().closed(LAST_OUTPUT_WITHIN).await;
        }
        Invocation { request_id, trace_id, outcome, elapsed, deadline_slack: deadline.saturating_duration_since(ended), idle }
    }

    /// The id of the process, running or ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.environment.process.killer().pid()
    }

    /// A handle to kill or freeze this very process from elsewhere, also while it is being invoked.
    #[must_use]
    pub fn killer(&self) -> Killer {
        self.environment.process.killer().clone()
    }

    /// [`Killer::kill`].
    ///
    /// # Errors
    /// [`SignalError`] when it has ended already.
    pub fn kill(&self) -> Result<(), SignalError> {
        self.environment.process.killer().kill()
    }

    /// [`Killer::freeze`].
    ///
    /// # Errors
    /// [`SignalError`] when it has ended already.
    pub fn freeze(&self) -> Result<(), SignalError> {
        self.environment.process.killer().freeze()
    }

    /// [`Killer::thaw`].
    ///
    /// # Errors
    /// [`SignalError`] when it has ended already.
    pub fn thaw(&self) -> Result<(), SignalError> {
        self.environment.process.killer().thaw()
    }

    /// CPU time and peak memory of the process so far.
    ///
    /// # Errors
    /// [`UsageError`] when it has ended, or where there is no Linux `/proc`.
    pub fn usage(&self) -> Result<Usage, UsageError> {
        self.environment.process.killer().usage()
    }

    /// What the process printed so far. The handle stays with this process when another one takes its place.
    #[must_use]
    pub fn output(&self) -> Output {
        self.environment.process.output().clone()
    }

    /// How the process ended, if it has.
    #[must_use]
    pub fn exit_status(&self) -> Option<ExitStatus> {
        self.environment.process.exit()
    }

    fn handover(&self, event: Bytes) -> (Handover, oneshot::Receiver<Answered>) {
        let (answer, answered) = oneshot::channel();
        let id = new_id();
        let (random, now) = (id.simple().to_string(), clock::since_epoch());
        let handover = Handover {
            request_id: id.to_string(),
            trace_id: format!(
                "Root=1-{:08x}-{};Parent={};Sampled=0",
                now.as_secs(),
                random.get(..24).unwrap_or_default(),
                random.get(16..).unwrap_or_default(),
            ),
            function_arn: self.spec.arn(),
            deadline_ms: clock::epoch_ms().saturating_add(u64::try_from(self.spec.timeout.as_millis()).unwrap_or(u64::MAX)),
            event,
            answer,
        };
        (handover, answered)
    }

    /// The answer, or the outcome that there is without one.
    async fn answered(
        &self,
        handover: Handover,
        answer: oneshot::Receiver<Answered>,
        deadline: Instant,
    ) -> Result<Answered, Outcome> {
        if let Some(status) = self.exit_status() {
            return Err(Outcome::Exited(status));
        }
        let answered = timeout_at(deadline, async {
            self.environment.exchange.hand_over(handover).await;
            tokio::select! {
                biased; // an answer that is here counts, even if the process ended right after it
                Ok(answered) = answer => Ok(answered),
                status = self.environment.process.ended() => Err(Outcome::Exited(status)),
            }
        });
        answered.await.unwrap_or(Err(Outcome::TimedOut))
    }
}

impl Environment {
    async fn start(spec: &FunctionSpec) -> Result<Self, StartError> {
        let exchange = Arc::new(Exchange::new());
        let serving = Arc::clone(&exchange);
        let server =
            HttpServer::start(move |request| Arc::clone(&serving).serve(request)).await.map_err(StartError::NotStarted)?;
        let env = spec.environment(server.address());
        let process = Process::spawn(&spec.binary, spec.folder(), &env).map_err(StartError::NotStarted)?;
        let environment = Self { process, exchange, _server: server };
        match environment.first_sign(spec.ready_within).await {
            None => Ok(environment),
            Some(error) => {
                let _ended_already = environment.process.killer().kill();
                environment.process.ended().await;
                environment.process.output().closed(LAST_OUTPUT_WITHIN).await;
                Err(error)
            }
        }
    }

    /// What keeps it from being ready, if anything does.
    async fn first_sign(&self, within: Duration) -> Option<StartError> {
        let output = self.process.output().clone();
        let sign = timeout(within, async {
            tokio::select! {
                biased; // a process that reports an init error ends right after it
                phase = self.exchange.reached(|phase| *phase != Phase::Starting) => Ok(phase),
                status = self.process.ended() => Err(status),
            }
        });
        match sign.await {
            Ok(Ok(Phase::InitFailed(error))) => Some(StartError::InitFailed { kind: error.kind, message: error.message, output }),
            Ok(Ok(Phase::Starting | Phase::Idle | Phase::Busy)) => None,
            Ok(Err(status)) => Some(StartError::Exited { status, output }),
            Err(_) => Some(StartError::NotReady { within, output }),
        }
    }

    /// Whether the process asked for its next event before `deadline`.
    async fn idle_by(&self, deadline: Instant) -> bool {
        let idle = timeout_at(deadline, async {
            tokio::select! {
                biased; // one that ended is not idle, whatever it asked for last
                _ = self.process.ended() => false,
                _ = self.exchange.reached(|phase| *phase == Phase::Idle) => true,
            }
        });
        idle.await.unwrap_or(false)
    }
}

/// A UUID that no other invocation has, in this test process or another one that shares a store with it.
fn new_id() -> Uuid {
    static INVOCATIONS: AtomicU64 = AtomicU64::new(0);
    let nth = INVOCATIONS.fetch_add(1, Ordering::Relaxed);
    let unique = format!("{}/{}/{nth}", clock::since_epoch().as_nanos(), std::process::id());
    Uuid::new_v5(&Uuid::NAMESPACE_OID, unique.as_bytes())
}
