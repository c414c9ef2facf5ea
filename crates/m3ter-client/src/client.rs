//! What lives as long as the process: the way out, the token, the rate, the evidence.

use std::sync::{Arc, Mutex, PoisonError};

use relay_core::limits::EVIDENCE_MS;
use tokio::sync::Mutex as AsyncMutex;

use crate::clock::{Budget, Clock};
use crate::endpoint::Endpoint;
use crate::rate::Rate;
use crate::secrets::Secrets;
use crate::session::Session;
use crate::token::Tokens;
use crate::transport::Transport;

/// Requests a second for events, meters and accounts. m3ter takes 50 for the whole organisation, and 20,000 in five minutes from
/// one address, which is 66; the rest is for its people.
const CONFIG_PER_SECOND: f64 = 30.0;
/// Files a second fetched by signed links, which lead to where m3ter keeps files and count against no limit of its API.
const DOWNLOADS_PER_SECOND: f64 = 100.0;
/// Questions about usage that may come at once; then one a second. Source: m3ter's documentation.
const USAGE_BURST: u32 = 10;

/// Where and how fast.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// m3ter's id of the organisation. A letter, digit, `-` or `_` each.
    pub org_id: String,
    /// Base URL of everything but ingest.
    pub api: Endpoint,
    /// Base URL of ingest.
    pub ingest: Endpoint,
    /// Requests a second that this process may send.
    pub requests_per_second: f64,
}

/// A client of m3ter. One per process.
pub struct Client {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) secrets: Arc<dyn Secrets>,
    pub(crate) token_url: String,
    pub(crate) submit_url: String,
    /// Of everything about the organisation but ingest.
    pub(crate) organization_url: String,
    pub(crate) rate: Rate,
    pub(crate) config_rate: Rate,
    pub(crate) download_rate: Rate,
    pub(crate) usage_rate: Rate,
    pub(crate) tokens: AsyncMutex<Tokens>,
    evidence: Mutex<Option<Evidence>>,
}

/// m3ter accepted something.
#[derive(Clone, Copy)]
struct Evidence {
    /// Under which token.
    generation: u64,
    at_ms: i64,
}

impl Client {
    /// A client that has not spoken yet.
    pub fn new(transport: Arc<dyn Transport>, secrets: Arc<dyn Secrets>, settings: &ClientSettings) -> Client {
        Client {
            transport,
            secrets,
            token_url: settings.api.at("/oauth/token"),
            submit_url: settings.ingest.at(&format!("/organizations/{}/measurements", settings.org_id)),
            organization_url: settings.api.at(&format!("/organizations/{}", settings.org_id)),
            rate: Rate::new(settings.requests_per_second),
            config_rate: Rate::new(CONFIG_PER_SECOND),
            download_rate: Rate::new(DOWNLOADS_PER_SECOND),
            usage_rate: Rate::one_a_second(USAGE_BURST),
            tokens: AsyncMutex::new(Tokens::default()),
            evidence: Mutex::new(None),
        }
    }

    /// One invocation of the client. `traceparent` goes out with every request; `rng` makes the jitter.
    pub fn session(&self, clock: Clock, budget: Budget, traceparent: Option<String>, rng: fastrand::Rng) -> Session<'_> {
        Session::new(self, clock, budget, traceparent, rng)
    }

    /// The token under which m3ter accepted something within the last 15 minutes.
    pub(crate) fn evidence(&self, now_ms: i64) -> Option<u64> {
        let evidence = *self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        evidence.filter(|evidence| now_ms.saturating_sub(evidence.at_ms) <= EVIDENCE_MS).map(|evidence| evidence.generation)
    }

    /// An acceptance under an older token, answered late, does not take the place of one under a newer.
    pub(crate) fn note_acceptance(&self, generation: u64, at_ms: i64) {
        let mut evidence = self.evidence.lock().unwrap_or_else(PoisonError::into_inner);
        if evidence.is_none_or(|evidence| evidence.generation <= generation) {
            *evidence = Some(Evidence { generation, at_ms });
        }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client").finish_non_exhaustive()
    }
}
