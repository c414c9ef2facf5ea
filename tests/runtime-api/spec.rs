//! Which binary runs as which function, and the environment Lambda would give it.
//!
//! Nothing is inherited from the test: a setting that only the developer's shell had would otherwise make a test pass that fails
//! on Lambda. Variables: <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>, read November 2026.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The region that functions, queues and stubs share unless told otherwise.
pub(crate) const REGION: &str = "eu-central-1";
/// AWS's own placeholder for an account id.
pub(crate) const ACCOUNT: &str = "123456789012";

/// Most bytes Lambda takes as an event or as an answer: 6 MB, of 1,024 × 1,024 bytes.
/// Source: Lambda quotas, "Invocation payload (request and response)".
///
/// [`crate::Function::invoke`] does not enforce it on events, so that 10,000 records can be tried with bodies of any size; answers above it
/// fail as they would on Lambda.
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1_024 * 1_024;

/// Which binary to run, as what.
#[derive(Clone, Debug)]
pub struct FunctionSpec {
    /// The binary that Lambda would know as `bootstrap`.
    pub binary: PathBuf,
    /// The function's name.
    pub name: String,
    /// The function's own variables. A name that Lambda sets too is overridden, which Lambda itself would refuse.
    pub env: Vec<(String, String)>,
    /// How long one invocation may take: then the process is killed. Lambda: 1 s to 900 s; here any.
    pub timeout: Duration,
    /// What the function is told about its memory, in MB. Not enforced.
    pub memory_mb: u32,
    /// How long [`crate::Function::start`] waits for the first request for an event. Not Lambda's 10 s: a debug build on a busy machine
    /// is slow, and this bound only keeps a test from hanging.
    pub ready_within: Duration,
}

impl FunctionSpec {
    /// `binary` as a function of its own name with 60 s and 256 MB, the template's defaults, and no variables of its own.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let binary = binary.into();
        let name = binary.file_stem().map_or_else(|| String::from("function"), |name| name.to_string_lossy().into_owned());
        Self {
            binary,
            name,
            env: Vec::new(),
            timeout: Duration::from_secs(60),
            memory_mb: 256,
            ready_within: Duration::from_secs(60),
        }
    }

    /// Adds one variable; the last one of a name counts.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets how long one invocation may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(crate) fn arn(&self) -> String {
        format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{}", self.name)
    }

    /// The folder of the binary: the working folder and the task root.
    pub(crate) fn folder(&self) -> &Path {
        match self.binary.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            Some(_) | None => Path::new("."),
        }
    }

    /// Every variable the process gets.
    pub(crate) fn environment(&self, runtime_api: SocketAddr) -> BTreeMap<String, String> {
        let root = self.folder().to_string_lossy().into_owned();
        let lambda = [
            ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", self.name.clone()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", self.memory_mb.to_string()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", self.name)),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "2026/11/01/[$LATEST]0".to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("AWS_SESSION_TOKEN", "test".to_owned()),
            ("LAMBDA_TASK_ROOT", root.clone()),
            ("LAMBDA_RUNTIME_DIR", root),
            ("_HANDLER", "bootstrap".to_owned()),
            ("TZ", ":UTC".to_owned()),
            ("LANG", "en_US.UTF-8".to_owned()),
        ];
        let own = self.env.iter().cloned();
        let lambda = lambda.into_iter().map(|(name, value)| (name.to_owned(), value));
        lambda.chain(own).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_gets_lambdas_variables_and_its_own_and_nothing_of_ours() {
        let spec = FunctionSpec::new("/opt/echo").env("SETTING", "1").env("SETTING", "2").env("AWS_REGION", "us-east-1");
        let env = spec.environment(([127, 0, 0, 1], 9_001).into());
        assert_eq!(env["AWS_LAMBDA_RUNTIME_API"], "127.0.0.1:9001");
        assert_eq!(env["AWS_LAMBDA_FUNCTION_NAME"], "echo");
        assert_eq!(env["LAMBDA_TASK_ROOT"], "/opt");
        assert_eq!(env["SETTING"], "2");
        assert_eq!(env["AWS_REGION"], "us-east-1");
        assert!(!env.contains_key("PATH") && !env.contains_key("HOME"));
    }

    #[test]
    fn a_binary_named_without_a_folder_runs_here() {
        assert_eq!(FunctionSpec::new("echo").folder(), Path::new("."));
    }
}
