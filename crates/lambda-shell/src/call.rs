//! What Lambda says of an invocation.

/// One invocation, from outside.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Its id.
    pub request_id: &'a str,
    /// When it must be over: milliseconds since the epoch.
    pub deadline_ms: i64,
    /// X-Ray's trace header, where there is one.
    pub trace: Option<&'a str>,
    /// Now: milliseconds since the epoch.
    pub now_ms: i64,
}
