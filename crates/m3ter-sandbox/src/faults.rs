//! Scripted faults: which requests meet which trouble.
//!
//! A script is a list of rules. A rule looks at the requests of its route that match it, skips some, and then fires
//! for the next so many, or by a seeded chance; so a run with faults can be repeated exactly.
//!
//! These are the words of a script. [`script`](crate::script) decides what fires, [`front`](crate::front) makes it
//! happen.

use std::collections::BTreeMap;

use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::FILES;
use crate::schema::split;

/// A rule of the script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRule {
    /// Which requests it looks at. Default: ingest.
    #[serde(default)]
    pub route: Route,
    /// Only requests that hold a measurement of this uid or meter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub containing: Option<Containing>,
    /// How many matching requests pass first. Default 0.
    #[serde(default)]
    pub skip: u64,
    /// How many requests it fires for, at least 1; none given: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// The chance, from 0 to 1, that it fires for a matching request after the skipped ones. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Where the sequence of chances starts. Default 0.
    #[serde(default)]
    pub seed: u64,
    /// What happens.
    pub fault: Fault,
}

impl FaultRule {
    /// A rule that fires for every ingest request.
    pub fn new(fault: Fault) -> Self {
        Self { route: Route::Ingest, containing: None, skip: 0, times: None, probability: None, seed: 0, fault }
    }

    /// The same for another route.
    #[must_use]
    pub fn on(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// The same, letting the first `skip` matching requests pass.
    #[must_use]
    pub fn skip(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// The same, firing `times` times at most.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// The same, firing by chance.
    #[must_use]
    pub fn with_probability(mut self, probability: f64, seed: u64) -> Self {
        (self.probability, self.seed) = (Some(probability), seed);
        self
    }

    /// The same, only for requests that hold such a measurement.
    #[must_use]
    pub fn containing(mut self, containing: Containing) -> Self {
        self.containing = Some(containing);
        self
    }

    /// Reads a script, as a file holds it: a list of rules.
    ///
    /// # Errors
    /// All faults at once, each with its place and what was expected.
    pub fn list_from_json(text: &str) -> Result<Vec<Self>, ScriptError> {
        let rules: Vec<Self> = serde_json::from_str(text)
            .map_err(|fault| ScriptError { faults: vec![format!("expected rules such as {EXAMPLE}: {fault}")] })?;
        Self::check(&rules)?;
        Ok(rules)
    }

    /// Checks what the types of a script cannot say.
    ///
    /// # Errors
    /// All faults at once, each with its place and what was expected.
    pub(crate) fn check(rules: &[Self]) -> Result<(), ScriptError> {
        let placed = |(index, rule): (usize, &Self)| {
            rule.faults_in_words().into_iter().map(move |fault| format!("rules[{index}]: {fault}")).collect::<Vec<_>>()
        };
        let faults: Vec<String> = rules.iter().enumerate().flat_map(placed).collect();
        if faults.is_empty() { Ok(()) } else { Err(ScriptError { faults }) }
    }

    /// What is wrong with the rule.
    fn faults_in_words(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(probability) = self.probability.filter(|probability| !(0.0..=1.0).contains(probability)) {
            faults.push(format!("probability: expected 0 to 1, found {probability}"));
        }
        if self.times == Some(0) {
            faults.push("times: expected at least 1, or none for a rule without end; found 0".to_owned());
        }
        match &self.fault {
            Fault::Status { status, retry_after, body: _ } => {
                if !(200..=599).contains(status) {
                    faults.push(format!("fault.status: expected 200 to 599, found {status}"));
                }
                if retry_after.as_ref().is_some_and(|after| HeaderValue::from_str(after).is_err()) {
                    faults.push("fault.retry_after: expected what a header can hold, such as \"2\"".to_owned());
                }
            }
            Fault::CutUpload | Fault::FailJob if self.route != Route::Upload => {
                faults.push(format!("fault: {}: expected the route \"upload\"", self.fault.kind()));
            }
            Fault::CutUpload
            | Fault::FailJob
            | Fault::Delay { .. }
            | Fault::DropAnswer
            | Fault::Reset
            | Fault::Truncate
            | Fault::Html
            | Fault::Hang => {}
        }
        faults
    }
}

/// What a script looks like.
const EXAMPLE: &str = r#"[{"times":3,"fault":{"kind":"status","status":503}}]"#;

/// A script that cannot be played.
#[derive(Debug, thiserror::Error)]
#[error("{}", faults.join("; "))]
pub struct ScriptError {
    /// Every fault, each with its place and what was expected.
    pub faults: Vec<String>,
}

/// Which requests a rule looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Route {
    /// `POST /oauth/token`.
    Token,
    /// `POST /organizations/{org}/measurements`.
    #[default]
    Ingest,
    /// `PUT` of a file to the URL that `…/generateUploadUrl` gave. Its rules cannot look for a measurement.
    Upload,
    /// Everything else of m3ter's API: events, meters, accounts, queries.
    Api,
    /// All of these. Never the sandbox's own `/_sandbox`.
    Any,
}

impl Route {
    /// The route of a request; `None` for the sandbox's own.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        if path == "/_sandbox" || path.starts_with("/_sandbox/") {
            None
        } else if path == "/oauth/token" {
            Some(Self::Token)
        } else if method == Method::POST && path.starts_with("/organizations/") && path.ends_with("/measurements") {
            Some(Self::Ingest)
        } else if method == Method::PUT && path.starts_with(FILES) {
            Some(Self::Upload)
        } else {
            Some(Self::Api)
        }
    }
}

/// What a request must hold for a rule to match. Both given: one measurement must fit both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Containing {
    /// A measurement with this uid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// A measurement with this meter code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meter: Option<String>,
}

impl Containing {
    /// A measurement with this uid.
    pub fn uid(uid: impl Into<String>) -> Self {
        Self { uid: Some(uid.into()), meter: None }
    }

    /// A measurement with this meter code.
    pub fn meter(meter: impl Into<String>) -> Self {
        Self { uid: None, meter: Some(meter.into()) }
    }

    /// Whether `body` holds such a measurement, however faulty it is otherwise.
    pub(crate) fn fits(&self, body: &[u8]) -> bool {
        let is = |found: &Value, name: &str, wanted: &Option<String>| {
            wanted.is_none() || found.get(name).and_then(Value::as_str) == wanted.as_deref()
        };
        split(body).unwrap_or_default().into_iter().any(|raw| {
            let found: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            is(&found, "uid", &self.uid) && is(&found, "meter", &self.meter)
        })
    }
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// This answer instead of m3ter's; nothing is counted.
    Status {
        /// 200 to 599.
        status: u16,
        /// The `Retry-After` header, as it is to be sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<String>,
        /// The body; `{"message":"scripted fault"}` by default. One that starts with `<` is sent as HTML.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<String>,
    },
    /// m3ter's own answer, so many milliseconds late. The measurements are counted on arrival.
    Delay {
        /// By tokio's clock.
        delay_ms: u64,
    },
    /// The measurements are counted, and the connection is closed in place of the answer.
    DropAnswer,
    /// The connection is closed; nothing is counted. An upload is closed half-way, once half of the file was sent.
    Reset,
    /// The measurements are counted; the answer's body breaks off half-way. That of an upload has none to cut.
    Truncate,
    /// Half of an uploaded file is kept as if it were the whole, and answered 200: its job fails. For uploads only.
    CutUpload,
    /// An uploaded file is kept as it is, and its job fails once half of its rows, rounded down, were processed. For uploads only.
    FailJob,
    /// 200 with a page of HTML, as a proxy would; nothing is counted.
    Html,
    /// No answer, ever, on a connection that stays open; nothing is counted.
    Hang,
}

impl Fault {
    /// An answer with this status (200 to 599), without `Retry-After`.
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None, body: None }
    }

    /// Its `kind` in a script.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Delay { .. } => "delay",
            Self::DropAnswer => "drop-answer",
            Self::Reset => "reset",
            Self::Truncate => "truncate",
            Self::CutUpload => "cut-upload",
            Self::FailJob => "fail-job",
            Self::Html => "html",
            Self::Hang => "hang",
        }
    }

    /// The status that a client sees where the fault replaces m3ter's answer, and that of m3ter otherwise.
    pub(crate) fn answers(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => StatusCode::from_u16(*status).ok(),
            Self::Html => Some(StatusCode::OK),
            Self::Delay { .. }
            | Self::DropAnswer
            | Self::Reset
            | Self::Truncate
            | Self::CutUpload
            | Self::FailJob
            | Self::Hang => None,
        }
    }

    /// Whether m3ter sees the request.
    pub(crate) fn lets_through(&self) -> bool {
        match self {
            Self::Delay { .. } | Self::DropAnswer | Self::Truncate | Self::CutUpload | Self::FailJob => true,
            Self::Status { .. } | Self::Reset | Self::Html | Self::Hang => false,
        }
    }
}

/// What `GET /_sandbox/faults` shows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct FaultReport {
    /// The script as it stands.
    pub rules: Vec<RuleReport>,
    /// How often each kind of fault fired, cleared rules included.
    pub fired: BTreeMap<String, u64>,
}

/// One rule and its counters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RuleReport {
    /// The rule.
    pub rule: FaultRule,
    /// Requests that matched it.
    pub seen: u64,
    /// Requests that it fired for.
    pub fired: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_read_from_json() {
        let text = r#"{"route":"any","skip":2,"times":3,"fault":{"kind":"status","status":503,"retry_after":"2"}}"#;
        let rule: FaultRule = serde_json::from_str(text).unwrap();
        let fault = Fault::Status { status: 503, retry_after: Some("2".to_owned()), body: None };
        assert_eq!(rule, FaultRule::new(fault).on(Route::Any).skip(2).times(3));
        assert!(serde_json::from_str::<FaultRule>(r#"{"fault":{"kind":"explode"}}"#).is_err());
    }

    #[test]
    fn everything_out_of_range_is_named_with_its_place_and_what_was_expected() {
        let said = |text: &str| FaultRule::list_from_json(text).unwrap_err().to_string();
        let good = r#"{"probability":1,"times":1,"fault":{"kind":"status","status":599,"retry_after":"1"}}"#;
        assert_eq!(FaultRule::list_from_json(&format!("[{good},{good}]")).unwrap().len(), 2);
        let bad = r#"{"probability":1.5,"times":0,"fault":{"kind":"status","status":600,"retry_after":"1\n"}}"#;
        assert_eq!(
            said(&format!("[{good},{bad}]")),
            "rules[1]: probability: expected 0 to 1, found 1.5; \
             rules[1]: times: expected at least 1, or none for a rule without end; found 0; \
             rules[1]: fault.status: expected 200 to 599, found 600; \
             rules[1]: fault.retry_after: expected what a header can hold, such as \"2\""
        );
        assert_eq!(
            said(r#"[{"probability":-0.1,"fault":{"kind":"hang"}}]"#),
            "rules[0]: probability: expected 0 to 1, found -0.1"
        );
        assert!(said("{}").starts_with(r#"expected rules such as [{"times":3,"#));
    }
}
