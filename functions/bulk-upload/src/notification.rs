//! What S3 tells of new objects: `{"Records":[{"s3":{"bucket":…,"object":{"key":…,"eTag":…}}}]}`.
//!
//! Reports are announced like files, and so are the empty objects by which consoles show folders: both are passed over, and so is the
//! test that S3 sends when it is told of the queue. Anything else that is not about a file of this bucket is a fault: whoever sent it
//! expects something.
//!
//! Source: S3 User Guide, "Event message structure". Names are written as in a form: `+` is a space, and other signs are `%` and two
//! digits.

use serde::Deserialize;

/// What files lie below.
pub const FOLDER: &str = "uploads/";
/// What the name of a report ends in.
pub const REPORT: &str = ".report.json";

/// A file that came to lie in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFile {
    /// Its name in the bucket.
    pub key: String,
    /// What S3 calls its content.
    pub etag: String,
}

/// The message tells of no file that could be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTold {
    /// It is no notification.
    #[error("expected a notification of S3: {{\"Records\":[{{\"s3\":…}}]}}")]
    NotANotification,
    /// It is about something else.
    #[error("expected a notification of an object below uploads/ in the store's own bucket")]
    NotOurs,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
    #[serde(rename = "Event")]
    event: Option<String>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName")]
    name: String,
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
    size: Option<u64>,
    #[serde(rename = "eTag")]
    etag: Option<String>,
}

/// The files that the message with this `body` tells of, in order, if they lie in `bucket`.
///
/// # Errors
/// [`NotTold`] for a message that is something else, if only in part.
pub fn files(body: &str, bucket: &str) -> Result<Vec<NewFile>, NotTold> {
    let message: Message = serde_json::from_str(body).map_err(|_| NotTold::NotANotification)?;
    let records = match message {
        Message { records: Some(records), .. } => records,
        Message { event: Some(event), .. } if event == "s3:TestEvent" => Vec::new(),
        Message { .. } => return Err(NotTold::NotANotification),
    };
    let of = |record: Record| record.file(bucket).transpose();
    records.into_iter().filter_map(of).collect()
}

impl Record {
    /// The file that it tells of; `None` if there is nothing to do about it.
    fn file(self, bucket: &str) -> Result<Option<NewFile>, NotTold> {
        let Record { name, s3: S3 { bucket: Bucket { name: place }, object } } = self;
        let key = decoded(&object.key).ok_or(NotTold::NotANotification)?;
        if place != bucket || !key.starts_with(FOLDER) || !name.starts_with("ObjectCreated:") {
            return Err(NotTold::NotOurs);
        }
        let is_folder = key.ends_with('/') && object.size.unwrap_or_default() == 0;
        if is_folder || key.ends_with(REPORT) {
            return Ok(None);
        }
        let etag = object.etag.filter(|etag| !etag.is_empty()).ok_or(NotTold::NotANotification)?;
        Ok(Some(NewFile { key, etag: etag.trim_matches('"').to_owned() }))
    }
}

/// A name as S3 means it; `None` if it is no text.
fn decoded(key: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(key: &str) -> Value {
        json!({
            "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": "eu-west-1", "eventTime": "2026-11-23T06:00:00.000Z",
            "eventName": "ObjectCreated:Put", "userIdentity": {"principalId": "AWS:X"},
            "s3": {
                "s3SchemaVersion": "1.0", "configurationId": "c", "bucket": {"name": "b", "arn": "arn:aws:s3:::b"},
                "object": {"key": key, "size": 7, "eTag": "0123", "versionId": "v1", "sequencer": "0055AED6DCD90281E5"},
            },
        })
    }

    fn told(records: &[Value]) -> Result<Vec<String>, NotTold> {
        let found = files(&json!({ "Records": records }).to_string(), "b")?;
        Ok(found.into_iter().map(|file| file.key).collect())
    }

    #[test]
    fn a_file_is_told_with_its_content() {
        let [file] = &files(&json!({"Records": [record("uploads/a.csv")]}).to_string(), "b").unwrap()[..] else { panic!() };
        assert_eq!((file.key.as_str(), file.etag.as_str()), ("uploads/a.csv", "0123"));
    }

    #[test]
    fn a_name_is_what_it_was_before_s3_wrote_it_into_a_notification() {
        for (written, meant) in [
            ("uploads/May+%26+June+%2850%25%29.csv", "uploads/May & June (50%).csv"),
            ("uploads/%C3%BC%2B%2F.csv", "uploads/ü+/.csv"),
            ("uploads/2026-11/a_b.ndjson.gz", "uploads/2026-11/a_b.ndjson.gz"),
        ] {
            assert_eq!(told(&[record(written)]).unwrap(), [meant]);
        }
        for broken in ["uploads/%", "uploads/%4", "uploads/%zz", "uploads/%ff"] {
            assert_eq!(told(&[record(broken)]), Err(NotTold::NotANotification), "{broken}");
        }
    }

    #[test]
    fn reports_and_folders_are_passed_over_and_files_beside_them_are_not() {
        let mut folder = record("uploads/2026/");
        folder["s3"]["object"]["size"] = json!(0);
        let records = [record("uploads/a.csv.report.json"), folder, record("uploads/a.csv"), record("uploads/b.json")];
        assert_eq!(told(&records).unwrap(), ["uploads/a.csv", "uploads/b.json"]);
    }

    #[test]
    fn the_test_that_s3_sends_is_about_no_file() {
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-23T06:00:00.000Z", "Bucket": "b"});
        assert_eq!(files(&test.to_string(), "b"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_about_a_file_of_this_bucket_is_a_fault() {
        let with = |pointer: &str, value: &str| {
            let mut record = record("uploads/a.csv");
            *record.pointer_mut(pointer).unwrap() = value.into();
            told(&[record])
        };
        for (pointer, value) in [
            ("/s3/bucket/name", "other"),
            ("/s3/object/key", "relay/ledger/a"),
            ("/s3/object/key", "uploads"),
            ("/eventName", "ObjectRemoved:Delete"),
        ] {
            assert_eq!(with(pointer, value), Err(NotTold::NotOurs), "{pointer} = {value}");
        }
        assert_eq!(with("/s3/object/eTag", ""), Err(NotTold::NotANotification));
        for body in ["", "{}", "[]", "hello", "{\"Event\":\"other\"}", "{\"Records\":[{}]}", "{\"Records\":{}}"] {
            assert_eq!(files(body, "b"), Err(NotTold::NotANotification), "{body}");
        }
    }
}
