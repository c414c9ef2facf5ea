//! A Lambda Runtime API of our own, which drives the real binary of a function.
//!
//! The promise this project makes is about a process: one that is frozen, killed, handed 10,000 messages, or left waiting by
//! everything it calls. Calling a handler in the test's own process shows none of that, so here the shipped `bootstrap` runs as
//! Lambda runs it, with a clean environment, and everything outside it is on loopback.
//!
//! | to | use |
//! |---|---|
//! | run a function, invoke it, kill, freeze and thaw it | [`Function`], [`FunctionSpec`], [`Killer`] |
//! | read what it printed and what it cost | [`Output`], [`Usage`] |
//! | build what an event source mapping sends | [`SqsEvent`], [`Record`] |
//! | hold its answer against what AWS would do with it | [`check_response`], [`ContractViolation`] |
//! | feed it from a real or emulated queue | [`Pump`] |
//! | be the AWS services it calls, with faults | [`AwsStub`] |
//! | be a peer that accepts and never answers | [`Blackhole`] |
//!
//! Absent on purpose: no queue that redelivers (an emulator has one), no extensions, no response streaming, no concurrent invocations in
//! one environment, no memory limit. Needs Linux for [`Usage`]; the rest needs a Unix. Everything here waits on
//! real sockets and a real process: do not use it under tokio's paused clock.

mod aws_stub;
mod blackhole;
mod clock;
mod exchange;
mod function;
mod http_server;
mod output;
mod process;
mod pump;
mod record;
mod response;
mod spec;
mod sqs_event;
mod usage;

pub use aws_stub::{AwsStub, ObjectFault, ObjectsStub, QueueStub, SecretsStub, StoredObject, VisibilityChange};
pub use blackhole::Blackhole;
pub use clock::epoch_ms;
pub use function::{Function, Invocation, Outcome, StartError};
pub use output::{NoSuchLine, Output, Stream};
pub use process::{Killer, SignalError};
pub use pump::{Pump, PumpError, PumpSpec, Pumped};
pub use record::{AttributeShape, Record};
pub use response::{ContractViolation, check_response};
pub use spec::{FunctionSpec, PAYLOAD_BYTES_MAX};
pub use sqs_event::{EventError, RECORDS_MAX, SqsEvent, SqsEventBuilder};
pub use usage::{Usage, UsageError};
