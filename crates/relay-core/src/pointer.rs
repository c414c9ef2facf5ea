//! Finds out that a body lies in S3: what Amazon's extended client for SQS, and its sibling for SNS, send instead of a body
//! that is too large for the queue.
//!
//! Such a body is `["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":…,"s3Key":…}]`, or the same with the
//! class that the older client wrote. It may stand in an SNS envelope, whose own encoding is then that of the payload.

use std::sync::LazyLock;

use bumpalo::Bump;
use memchr::memmem::Finder;

use crate::decode::{Shape, shape};
use crate::inbound::Inbound;
use crate::json::{self, Kind};

const CLASSES: [&str; 2] =
    [r#""software.amazon.payloadoffloading.PayloadS3Pointer""#, r#""com.amazon.sqs.javamessaging.MessageS3Pointer""#];

/// Both classes end so: what lacks it needs no closer look.
static MARK: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("S3Pointer"));

/// Where a body lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer<'a> {
    /// The bucket.
    pub bucket: &'a str,
    /// The key in it.
    pub key: &'a str,
    /// How the payload is encoded, where the envelope says so.
    pub encoding: Option<&'a str>,
}

/// Where the body of `message` lies, if not in the message. Text that had to be unescaped lives in `arena`.
pub fn pointer<'a>(message: &Inbound<'a>, arena: &'a Bump) -> Option<Pointer<'a>> {
    MARK.find(message.body.as_bytes())?;
    let text = json::trim(message.body);
    if !json::is_value(text) {
        return None;
    }
    match json::kind(text) {
        Kind::Array => read(text, None, arena),
        Kind::Object => match shape(text, arena) {
            Shape::Notification { message, encoding } => read(json::trim(message), encoding, arena),
            Shape::Measurement | Shape::Batch(_) | Shape::EventBridge(_) | Shape::Broken(_) => None,
        },
        Kind::Text | Kind::Number | Kind::Null | Kind::Other => None,
    }
}

/// Whether `text`, one JSON value, is a pointer, whatever it points to.
pub(crate) fn is_pointer(text: &str) -> bool {
    place(text).is_some()
}

/// The object that says where it lies.
fn place(text: &str) -> Option<&str> {
    if !text.strip_prefix('[').is_some_and(|rest| json::trim(rest).starts_with('"')) {
        return None;
    }
    match json::elements(text).ok()?.as_slice() {
        [class, place] if CLASSES.contains(class) && json::kind(place) == Kind::Object => Some(place),
        _ => None,
    }
}

fn read<'a>(text: &'a str, encoding: Option<&'a str>, arena: &'a Bump) -> Option<Pointer<'a>> {
    if !json::is_value(text) {
        return None;
    }
    let mut members = Vec::new();
    json::members(place(text)?, arena, &mut members).ok()?;
    let get = |wanted: &str| {
        let (_, value) = members.iter().find(|(key, _)| *key == wanted)?;
        Some(*value).filter(|value| json::kind(value) == Kind::Text).and_then(|value| json::string(value, arena).ok())
    };
    Some(Pointer { bucket: get("s3BucketName")?, key: get("s3Key")?, encoding })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<(&str, &str, Option<&str>)>) {
        let arena = Bump::new();
        let message = Inbound { id: "m", handle: "h", body, source: "q", ..Inbound::default() };
        let expected = expected.map(|(bucket, key, encoding)| Pointer { bucket, key, encoding });
        assert_eq!(pointer(&message, &arena), expected, "{body}");
    }

    const NEWER: &str = r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"p/k"}]"#;

    #[test]
    fn the_form_of_both_clients_is_read() {
        check(NEWER, Some(("b", "p/k", None)));
        check(
            r#" ["com.amazon.sqs.javamessaging.MessageS3Pointer" , {"s3Key":"\u006b","s3BucketName":"b"}] "#,
            Some(("b", "k", None)),
        );
    }

    #[test]
    fn one_in_an_sns_envelope_has_the_encoding_of_the_envelope() {
        let envelope = |attributes: &str| {
            let message = serde_json::to_string(NEWER).unwrap();
            format!(r#"{{"Type":"Notification","Message":{message},"MessageAttributes":{attributes}}}"#)
        };
        check(&envelope("{}"), Some(("b", "p/k", None)));
        let gzip = r#"{"Content-Encoding":{"Type":"String","Value":"gzip"}}"#;
        check(&envelope(gzip), Some(("b", "p/k", Some("gzip"))));
    }

    #[test]
    fn anything_else_is_none() {
        for body in [
            "",
            "{}",
            "[]",
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer"]"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b"}]"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":1}]"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"},1]"#,
            r#"["S3Pointer",{"s3BucketName":"b","s3Key":"k"}]"#,
            r#"{"uid":"software.amazon.payloadoffloading.PayloadS3Pointer"}"#,
            r#"["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}"#,
        ] {
            check(body, None);
        }
    }
}
