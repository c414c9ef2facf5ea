//! Speaks to m3ter: gets a token, submits batches, uploads files, asks for what m3ter knows.
//!
//! One seam leads outside, [`Transport`]; credentials come through another, [`Secrets`]. One loop makes attempts, at a batch
//! ([`Session::submit`]) as at a question ([`Session::page`]); what the answer to a batch means is judged by `relay-core`. A file goes out
//! in one attempt ([`Session::put_file`]): whoever sends it knows whether another one is due. A [`Client`] lives as long as its process and keeps
//! what is worth keeping: the token, the rate, and when m3ter last accepted something. A [`Session`] is one invocation with
//! its deadline and its counts.
//!
//! Absent: batching, retries across invocations, and any idea of what a batch holds.

mod ask;
mod attempt;
mod client;
mod clock;
mod endpoint;
mod http_files;
mod http_transport;
mod rate;
mod secrets;
mod session;
mod token;
mod transport;
mod uploads;

pub use ask::{List, NotAnswered, Page};
pub use client::{Client, ClientSettings};
pub use clock::{Budget, Clock};
pub use endpoint::{Endpoint, EndpointError};
pub use http_transport::HttpTransport;
pub use secrets::{Credentials, Secrets, SecretsError};
pub use session::{Counts, Session, Submitted, Tried, Undecided};
pub use transport::{AnswerBytesMax, Broke, FileBody, NoAnswer, Pieces, Transport};
pub use uploads::{Download, JobFilter, JobStatus, NotPut, UploadJob, UploadUrl};
