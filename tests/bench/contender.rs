//! Who is measured: the shipped relay, the floor below it, and what else a user would write.
//!
//! Each is a real Lambda function: a process that its own language's official runtime client connects to the Runtime API. Each has 256 MB
//! as far as it is told, the template's default, and speaks to the same sink.

use std::path::{Path, PathBuf};

use runtime_api::FunctionSpec;

use crate::books::Duty;
use crate::sink::{BUCKET, ORGANISATION, PREFIX, Ports, SECRET_ARN};
use crate::work::Work;

/// Who it is, by the name that JSON and the command line use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Relay,
    RelayWithoutLedger,
    Floor,
    Hello,
    Node,
    Powertools,
    Sdk,
}

impl Who {
    pub(crate) const ALL: [Who; 7] =
        [Who::Relay, Who::RelayWithoutLedger, Who::Floor, Who::Node, Who::Powertools, Who::Sdk, Who::Hello];

    /// Its name in JSON, on the command line and among folders.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Who::Relay => "relay",
            Who::RelayWithoutLedger => "relay-ledger-off",
            Who::Floor => "floor",
            Who::Hello => "hello",
            Who::Node => "node",
            Who::Powertools => "powertools",
            Who::Sdk => "m3ter-sdk",
        }
    }

    /// Its name for a reader.
    pub(crate) fn title(name: &str) -> &str {
        match name {
            "relay" => "usage-relay, every default on",
            "relay-ledger-off" => "usage-relay, ledger off",
            "floor" => "floor: Rust, reads and posts",
            "hello" => "hello world, Rust",
            "node" => "Node",
            "powertools" => "Python, Powertools",
            "m3ter-sdk" => "Python, m3ter's SDK",
            other => other,
        }
    }

    pub(crate) fn duty(self) -> Duty {
        match self {
            Who::Relay => Duty::DeliverAndRecord,
            Who::RelayWithoutLedger => Duty::DeliverInTheFewest,
            Who::Floor => Duty::Post,
            Who::Node | Who::Powertools | Who::Sdk | Who::Hello => Duty::Deliver,
        }
    }

    /// Whether it is handed work; hello is only started.
    pub(crate) fn works(self) -> bool {
        self != Who::Hello
    }

    /// Whether it is compiled: the others need more invocations until they are warm, and fewer to be measured.
    pub(crate) fn is_compiled(self) -> bool {
        match self {
            Who::Relay | Who::RelayWithoutLedger | Who::Floor | Who::Hello => true,
            Who::Node | Who::Powertools | Who::Sdk => false,
        }
    }
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The project.
    pub(crate) root: PathBuf,
    /// Where cargo built for release.
    pub(crate) release: PathBuf,
    /// The system's certificates and the sink's, in one file.
    pub(crate) certificates: PathBuf,
}

impl Places {
    /// How to start `who`, for `work`, with the sink at `ports`.
    pub(crate) fn spec(&self, who: Who, ports: Ports, tls: bool, work: &Work) -> FunctionSpec {
        let url = ports.url(tls);
        let submit_url = format!("{url}/organizations/{ORGANISATION}/measurements");
        let spec = match who {
            Who::Relay => self.relay(&url),
            Who::RelayWithoutLedger => self.relay(&url).env("LEDGER_MODE", "off"),
            Who::Floor => FunctionSpec::new(self.release.join("bench-floor"))
                .env("FLOOR_URL", submit_url)
                .env("FLOOR_REQUESTS", work.fewest_requests.to_string())
                .env("FLOOR_BYTES", work.posted_bytes.to_string()),
            Who::Hello => FunctionSpec::new(self.release.join("bench-hello")),
            Who::Node | Who::Powertools | Who::Sdk => self.peer(who, &url),
        };
        // Each language's clients look for certificates elsewhere. Those in Rust get them without TLS too: their clients read them at
        // their start whatever they will speak, and on Lambda find a file, where other systems have a folder of 280.
        let certificates = self.certificates.to_string_lossy();
        match who {
            Who::Relay | Who::RelayWithoutLedger | Who::Floor | Who::Hello => spec.env("SSL_CERT_FILE", certificates),
            Who::Node | Who::Powertools | Who::Sdk if !tls => spec,
            Who::Node => spec.env("NODE_EXTRA_CA_CERTS", certificates),
            Who::Powertools => spec.env("REQUESTS_CA_BUNDLE", certificates),
            Who::Sdk => spec.env("SSL_CERT_FILE", certificates),
        }
    }

    /// The shipped function, as the template sets it up. The two rates are the most it takes: a sink has no limits.
    fn relay(&self, url: &str) -> FunctionSpec {
        let spec = FunctionSpec { name: "ingest-relay".to_owned(), ..FunctionSpec::new(self.shipped()) };
        spec.env("M3TER_ORG_ID", ORGANISATION)
            .env("M3TER_API_URL", url)
            .env("M3TER_INGEST_URL", url)
            .env("M3TER_SECRET_ARN", SECRET_ARN)
            .env("STORE_URL", format!("s3://{BUCKET}/{PREFIX}"))
            .env("QUEUE_URL", "https://sqs.eu-central-1.amazonaws.com/123456789012/usage")
            .env("REQUESTS_PER_SECOND", "50")
            .env("MAXIMUM_CONCURRENCY", "2")
            .env("MALLOC_MMAP_THRESHOLD_", "33554432")
            .env("MALLOC_TRIM_THRESHOLD_", "67108864")
            .env("AWS_ENDPOINT_URL", url)
    }

    /// The binary that a zip holds.
    pub(crate) fn shipped(&self) -> PathBuf {
        self.root.join("target/lambda/ingest-relay/bootstrap")
    }

    /// A function of another language, started by the `bootstrap` beside it. It gets m3ter's credentials as text, which spares it the
    /// call for a secret that the relay makes.
    fn peer(&self, who: Who, url: &str) -> FunctionSpec {
        let local = self.root.join(".local");
        let folder = match who {
            // Where its packages are: Node looks for them beside the file that names them.
            Who::Node => local.join("bench-node"),
            Who::Powertools | Who::Sdk | Who::Relay | Who::RelayWithoutLedger | Who::Floor | Who::Hello => {
                self.root.join("tests/bench/peers").join(who.name())
            }
        };
        FunctionSpec::new(folder.join("bootstrap"))
            .env("BENCH_PYTHON", local.join("bench/bin/python").to_string_lossy())
            .env("M3TER_ORG_ID", ORGANISATION)
            .env("M3TER_API_URL", url)
            .env("M3TER_INGEST_URL", url)
            .env("_HANDLER", "app.handler")
            .env("M3TER_ACCESS_KEY_ID", "bench")
            .env("M3TER_API_SECRET", "bench-secret")
    }

    /// Where the sink's certificate and its authority are.
    pub(crate) fn fixtures(root: &Path) -> PathBuf {
        root.join("tests/fixtures/tls")
    }
}
