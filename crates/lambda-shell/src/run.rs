//! The life of a function: it starts, handles one invocation after another, and ends with its environment.
//!
//! A panic is the relay's defect, never the messages': it fails its invocation, which leaves them all in the queue, and the
//! process goes on. The log says where it happened; its message may quote data, and is not said. So it is with an error.
//!
//! What an event and an answer are is a function's own affair: one that SQS feeds answers with [`crate::answer::Answer`].

use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::call::Call;
use crate::line;

/// Why a function cannot start, or an invocation failed: its text goes to the log.
pub type Error = lambda_runtime::Error;

/// Starts a function and has it handle events for as long as Lambda hands it any. `handle` gets the event's text, and a log to write
/// whole lines to. Lambda gets its answer, or, for an invocation that failed, the text of its error.
///
/// A function that cannot start says why, with every setting that is not as it should be, and ends.
pub async fn run<F, A: Serialize, E: Into<Error>>(
    start: impl Future<Output = Result<F, Error>>,
    handle: impl AsyncFn(&F, &str, Call<'_>, &mut dyn Write) -> Result<A, E>,
) -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        say(&line::plain(now_ms(), "error", "panicked", &place));
    }));
    let function = match start.await {
        Ok(function) => function,
        Err(error) => {
            say(&line::plain(now_ms(), "error", "refused to start", &error.to_string()));
            return ExitCode::FAILURE;
        }
    };
    match lambda_runtime::run(service_fn(|event| invoke(&function, &handle, event))).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&line::plain(now_ms(), "error", "the runtime ended", &error.to_string()));
            ExitCode::FAILURE
        }
    }
}

async fn invoke<F, A, E: Into<Error>>(
    function: &F,
    handle: &impl AsyncFn(&F, &str, Call<'_>, &mut dyn Write) -> Result<A, E>,
    event: LambdaEvent<Box<RawValue>>,
) -> Result<A, Error> {
    let context = event.context;
    let call = Call {
        request_id: &context.request_id,
        deadline_ms: i64::try_from(context.deadline).unwrap_or(i64::MAX),
        trace: context.xray_trace_id.as_deref(),
        now_ms: now_ms(),
    };
    let mut log = std::io::stdout().lock();
    match AssertUnwindSafe(handle(function, event.payload.get(), call, &mut log)).catch_unwind().await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err("the invocation panicked; what it was given comes again".into()),
    }
}

/// Milliseconds since the epoch: the one reading of the wall clock.
#[expect(clippy::disallowed_methods, reason = "the one reading of the wall clock")]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn say(line: &str) {
    // Nothing can be done about a standard output that is closed.
    let _ = std::io::stdout().lock().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use lambda_runtime::Context;

    use super::*;
    use crate::answer::{Answer, HandlerError};
    use crate::event::NotAnSqsEvent;

    /// Handles one event by what it says; the function is a text that the answer must come from.
    async fn check(event: &str, expected: Result<usize, &str>) {
        let handle = async |function: &&str, event: &str, call: Call<'_>, _: &mut dyn Write| {
            assert_eq!((*function, call.request_id, call.deadline_ms), ("function", "request-1", 1_234));
            assert_ne!(event, "\"panic\"", "canary");
            match event {
                "\"odd\"" => Err(HandlerError::Event(NotAnSqsEvent)),
                _ => Ok(Answer { failures: Vec::new() }),
            }
        };
        let mut context = Context::default();
        context.request_id = "request-1".into();
        context.deadline = 1_234;
        let event = LambdaEvent::new(RawValue::from_string(event.into()).unwrap(), context);
        let answer = invoke(&"function", &handle, event).await;
        let answer = answer.map(|answer| answer.failures.len()).map_err(|error| error.to_string());
        assert_eq!(answer.as_ref().map_err(String::as_str).copied(), expected);
    }

    #[tokio::test]
    async fn an_invocation_that_panics_fails_without_the_words_of_the_panic_and_the_next_is_handled() {
        check("\"panic\"", Err("the invocation panicked; what it was given comes again")).await;
        check("{}", Ok(0)).await;
    }

    #[tokio::test]
    async fn an_event_that_cannot_be_answered_fails_its_invocation() {
        check("\"odd\"", Err("expected an SQS event: {\"Records\":[…]}")).await;
    }

    #[tokio::test]
    async fn an_answer_may_be_anything_and_so_may_an_error() {
        let handle = async |_: &(), event: &str, _: Call<'_>, _: &mut dyn Write| match event {
            "1" => Ok(7),
            _ => Err("expected 1"),
        };
        let event = |text: &str| LambdaEvent::new(RawValue::from_string(text.into()).unwrap(), Context::default());
        assert_eq!(invoke(&(), &handle, event("1")).await.unwrap(), 7);
        assert_eq!(invoke(&(), &handle, event("2")).await.unwrap_err().to_string(), "expected 1");
    }
}
