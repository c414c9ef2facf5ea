//! The Runtime API server against a real process: `echo-lambda`, which does what its event says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests are tests")]

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use runtime_api::{
    Function, FunctionSpec, Invocation, Outcome, PAYLOAD_BYTES_MAX, Record, SignalError, SqsEvent, StartError, check_response,
};
use serde_json::{Value, json};

/// No test here waits this long unless it fails.
const BOUND: Duration = Duration::from_secs(60);

fn echo() -> FunctionSpec {
    FunctionSpec::new(env!("CARGO_BIN_EXE_echo-lambda"))
}

async fn started(spec: FunctionSpec) -> Function {
    Function::start(spec).await.unwrap()
}

async fn told(function: &mut Function, event: Value) -> Invocation {
    function.invoke(event.to_string()).await
}

#[track_caller]
fn answer(invocation: &Invocation) -> Value {
    let Outcome::Response(body) = &invocation.outcome else {
        panic!("no answer: {:?}", invocation.outcome);
    };
    serde_json::from_slice(body).unwrap()
}

async fn assert_it_answers(function: &mut Function) {
    let invocation = told(function, json!({"echo": {"still": "here"}})).await;
    assert_eq!(answer(&invocation), json!({"still": "here"}));
    assert!(invocation.idle);
}

#[tokio::test]
async fn a_function_becomes_ready_and_answers_one_event_after_another() {
    let mut function = started(echo()).await;
    let pid = function.pid();
    for _ in 0..3 {
        assert_it_answers(&mut function).await;
    }
    assert_eq!(function.pid(), pid);
    assert_eq!(function.exit_status(), None);
}

#[tokio::test]
async fn a_function_sees_lambdas_variables_its_own_and_nothing_else() {
    let spec = echo().env("SETTING", "value").timeout(BOUND);
    let mut function = started(spec).await;
    let before_ms = runtime_api::epoch_ms();
    let invocation = told(&mut function, json!({"whoami": true})).await;
    let seen = answer(&invocation);
    assert_eq!(seen["env"]["SETTING"], "value");
    assert_eq!(seen["env"]["AWS_LAMBDA_FUNCTION_NAME"], "echo-lambda");
    assert_eq!(seen["env"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"], "256");
    assert!(seen["env"].get("PATH").is_none(), "nothing is inherited");
    assert_eq!(seen["request_id"], invocation.request_id);
    assert_eq!(seen["trace_id"], invocation.trace_id);
    assert_eq!(seen["arn"], "arn:aws:lambda:eu-central-1:123456789012:function:echo-lambda");
    let deadline_ms = seen["deadline_ms"].as_u64().unwrap();
    assert!(deadline_ms >= before_ms + 60_000, "the deadline is wall time plus the timeout");
    assert!(invocation.elapsed + invocation.deadline_slack <= BOUND);
}

#[tokio::test]
async fn an_error_and_a_panic_are_errors_and_the_process_lives_on() {
    let mut function = started(echo()).await;
    for event in [json!({"fail": "no such luck"}), json!({"panic": "no such luck"})] {
        let invocation = told(&mut function, event).await;
        let Outcome::Error { kind, message } = &invocation.outcome else {
            panic!("{invocation:?}");
        };
        assert!(!kind.is_empty());
        assert!(message.contains("no such luck"), "{message}");
    }
    assert_it_answers(&mut function).await;
}

#[tokio::test]
async fn a_function_that_does_not_answer_is_killed_at_its_deadline() {
    let mut function = started(echo().timeout(Duration::from_millis(300))).await;
    let killer = function.killer();
    let invocation = told(&mut function, json!({"hang": true})).await;
    assert_eq!(invocation.outcome, Outcome::TimedOut);
    assert_eq!(invocation.deadline_slack, Duration::ZERO);
    assert_eq!(function.exit_status().unwrap().signal(), Some(9));
    assert!(matches!(killer.kill(), Err(SignalError::Gone)));
}

#[tokio::test]
async fn an_exit_is_seen_and_a_respawn_is_a_new_process() {
    let mut function = started(echo()).await;
    let (pid, output) = (function.pid(), function.output());
    told(&mut function, json!({"print": "the first"})).await;
    let invocation = told(&mut function, json!({"exit": 3})).await;
    let Outcome::Exited(status) = invocation.outcome else {
        panic!("{invocation:?}");
    };
    assert_eq!(status.code(), Some(3));
    let again = told(&mut function, json!({"echo": 1})).await;
    assert_eq!(again.outcome, Outcome::Exited(status), "it stays ended until it is respawned");

    function.respawn().await.unwrap();
    assert_ne!(function.pid(), pid);
    assert_it_answers(&mut function).await;
    assert_eq!(output.stdout.lines(), ["the first"], "what the first process printed stays readable");
    assert!(function.output().stdout.bytes().is_empty());
}

#[tokio::test]
async fn a_kill_hits_a_function_in_the_middle_of_an_invocation() {
    let mut function = started(echo()).await;
    let (killer, output) = (function.killer(), function.output());
    let killing = async {
        output.stdout.wait_for_line(BOUND, |line| line == "hanging").await.unwrap();
        killer.kill().unwrap();
    };
    let (invocation, ()) = tokio::join!(told(&mut function, json!({"hang": true})), killing);
    let Outcome::Exited(status) = invocation.outcome else {
        panic!("{invocation:?}");
    };
    assert_eq!(status.signal(), Some(9));

    function.respawn().await.unwrap();
    assert!(matches!(killer.kill(), Err(SignalError::Gone)), "an old handle never reaches the new process");
    assert_it_answers(&mut function).await;
}

#[tokio::test]
async fn a_frozen_function_stands_still_and_answers_after_the_thaw() {
    let mut function = started(echo()).await;
    let pid = function.pid();
    assert_it_answers(&mut function).await;
    function.freeze().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, state) = stat.rsplit_once(") ").unwrap();
    assert!(state.starts_with('T'), "{stat}");
    function.thaw().unwrap();
    assert_it_answers(&mut function).await;
    assert_eq!(function.pid(), pid);
}

#[tokio::test]
async fn a_function_that_stays_frozen_times_out_and_dies() {
    let mut function = started(echo().timeout(Duration::from_millis(200))).await;
    function.freeze().unwrap();
    let invocation = told(&mut function, json!({"echo": 1})).await;
    assert_eq!(invocation.outcome, Outcome::TimedOut);
    assert_eq!(function.exit_status().unwrap().signal(), Some(9));
}

#[tokio::test]
async fn a_function_that_cannot_start_says_why() {
    let start = |how: &'static str| Function::start(echo().env("ECHO_INIT", how));
    let failed = start("fail").await.unwrap_err();
    let StartError::InitFailed { kind, message, .. } = &failed else {
        panic!("{failed}");
    };
    assert_eq!((kind.as_str(), message.as_str()), ("Settings.Missing", "told to fail"));

    let exited = start("exit").await.unwrap_err();
    let StartError::Exited { status, output } = &exited else {
        panic!("{exited}");
    };
    assert_eq!(status.code(), Some(1));
    assert_eq!(output.stderr.lines(), ["told to exit"]);
}

#[tokio::test]
async fn a_function_that_never_asks_for_an_event_is_not_ready() {
    let mut spec = echo().env("ECHO_INIT", "hang");
    spec.ready_within = Duration::from_millis(200);
    let hanging = Function::start(spec).await.unwrap_err();
    assert!(matches!(hanging, StartError::NotReady { .. }), "{hanging}");

    let missing = Function::start(FunctionSpec::new("/nowhere/bootstrap")).await.unwrap_err();
    assert!(matches!(missing, StartError::NotStarted(_)), "{missing}");
}

#[tokio::test]
async fn ten_thousand_messages_go_in_and_those_named_come_back() {
    let mut function = started(echo()).await;
    let bodies = (0..10_000).map(|n| if n % 1_000 == 7 { "return" } else { "{\"n\":1}" });
    let event = SqsEvent::builder().bodies(bodies).build().unwrap();
    let invocation = function.invoke(&event).await;
    let Outcome::Response(body) = &invocation.outcome else {
        panic!("{invocation:?}");
    };
    let returned = check_response(&event, body).unwrap();
    let expected: Vec<_> = event.message_ids().iter().skip(7).step_by(1_000).cloned().collect();
    assert_eq!(returned, expected);
}

#[tokio::test]
async fn odd_records_reach_the_function_as_written() {
    let mut function = started(echo()).await;
    let event = SqsEvent::builder()
        .record(Record::new("return").message_id("odd").with("attributes", Value::Null).without("messageAttributes"))
        .body("done")
        .build()
        .unwrap();
    let invocation = function.invoke(&event).await;
    assert_eq!(answer(&invocation), json!({"batchItemFailures": [{"itemIdentifier": "odd"}]}));
}

#[tokio::test]
async fn an_answer_above_lambdas_limit_is_an_error() {
    let mut function = started(echo()).await;
    let fits = told(&mut function, json!({"large": PAYLOAD_BYTES_MAX - 2})).await;
    assert_eq!(answer(&fits).as_str().unwrap().len(), PAYLOAD_BYTES_MAX - 2);
    let invocation = told(&mut function, json!({"large": PAYLOAD_BYTES_MAX - 1})).await;
    let Outcome::Error { kind, .. } = &invocation.outcome else {
        panic!("an answer of {} bytes was taken", PAYLOAD_BYTES_MAX + 1);
    };
    assert_eq!(kind, "Function.ResponseSizeTooLarge");
}

#[tokio::test]
async fn output_is_there_when_the_answer_is_and_usage_grows() {
    let mut function = started(echo()).await;
    let output = function.output();
    told(&mut function, json!({"print": "one"})).await;
    assert_eq!((output.stdout.lines(), output.stderr.lines()), (vec!["one".into()], vec!["one".into()]));
    told(&mut function, json!({"print": "two"})).await;
    assert_eq!(output.stdout.bytes(), b"one\ntwo\n");

    let before = function.usage().unwrap();
    let mut after = before;
    for _ in 0..100 {
        told(&mut function, json!({"burn": 20_000_000})).await;
        after = function.usage().unwrap();
        if after.cpu > before.cpu + Duration::from_millis(50) {
            break;
        }
    }
    assert!(after.cpu > before.cpu + Duration::from_millis(50), "{before:?} {after:?}");
    assert!(after.peak_rss_bytes >= before.peak_rss_bytes && before.peak_rss_bytes > 500_000);

    let missing = output.stdout.wait_for_line(Duration::ZERO, |line| line == "three").await.unwrap_err();
    assert_eq!(missing.so_far, "one\ntwo\n");
}
