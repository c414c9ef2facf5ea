//! What AWS charges, in US dollars: every price that `cost` uses, and none anywhere else.
//!
//! List prices of us-east-1 in November 2026, first tier, without AWS's free tiers. Source: the pricing pages of each service,
//! `https://aws.amazon.com/SERVICE/pricing/`. The dashboard in `template.yaml` has three of them too; a test holds those equal.
//!
//! Absent: taxes, savings plans, private prices, tiers beyond the first.

/// What the prices are, in words.
pub(super) const WHAT: &str = "list prices of us-east-1 in November 2026, in US dollars, free tiers not taken off";

/// One request to a standard queue, for each 64 KiB of what it carries (begun).
pub(super) const SQS_REQUEST: f64 = 0.000_000_4;
/// Bytes of one such request. Source: the SQS pricing page.
pub(super) const SQS_CHUNK_BYTES: f64 = 65_536.0;

/// One invocation.
pub(super) const LAMBDA_REQUEST: f64 = 0.000_000_2;
/// A second with 1 GB, arm64.
pub(super) const LAMBDA_GB_SECOND_ARM: f64 = 0.000_013_333_4;
/// A second with 1 GB, x86_64.
pub(super) const LAMBDA_GB_SECOND_X86: f64 = 0.000_016_666_7;

/// One PUT or LIST.
pub(super) const S3_PUT: f64 = 0.000_005;
/// One GET.
pub(super) const S3_GET: f64 = 0.000_000_4;
/// A GB for a month, Standard.
pub(super) const S3_GB_MONTH: f64 = 0.023;
/// A GB for a month, Standard-IA.
pub(super) const S3_IA_GB_MONTH: f64 = 0.012_5;
/// One object's move to Standard-IA.
pub(super) const S3_IA_MOVE: f64 = 0.000_01;

/// A GB of log taken in.
pub(super) const LOG_GB: f64 = 0.50;
/// A custom metric for a month.
pub(super) const METRIC: f64 = 0.30;
/// An alarm for a month.
pub(super) const ALARM: f64 = 0.10;
/// A dashboard for a month.
pub(super) const DASHBOARD: f64 = 3.00;

/// A secret for a month.
pub(super) const SECRET: f64 = 0.40;
/// One reading of it.
pub(super) const SECRET_READ: f64 = 0.000_005;

/// A GB from AWS out to the internet.
pub(super) const DATA_OUT_GB: f64 = 0.09;
