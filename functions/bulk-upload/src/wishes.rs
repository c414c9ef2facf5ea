//! What the owner of a file wrote beside it, as metadata of the object: how it is to be uploaded.
//!
//! | name | value |
//! |---|---|
//! | `x-amz-meta-first-sent` | `never`, or a time (RFC 3339): none of it was sent to m3ter before |
//! | `x-amz-meta-mint` | `content`: uids are made of what rows say, where they have none |
//!
//! The rule: what cannot be read is not taken for nothing. A wish that was misspelt would be passed over in silence, and rows be
//! quarantined or counted twice for it. Metadata of other names is somebody else's.

use jiff::Timestamp;
use relay_core::guard::MissingUid;
use relay_core::misspelt;
use relay_store::GivenObject;
use upload::options::{Declared, Options, PART_BYTES};

const FIRST_SENT: &str = "first-sent";
const MINT: &str = "mint";

/// How `object` is to be uploaded, where rows without uid otherwise are treated as `missing_uid` says.
///
/// # Errors
/// What was expected.
pub fn options(object: &GivenObject, missing_uid: MissingUid) -> Result<Options, String> {
    let metadata = || object.metadata.iter().map(|(name, value)| (name.as_str(), value.trim()));
    let mut options = Options { missing_uid, first_sent: Declared::Unknown, strict: false, part_bytes_max: PART_BYTES };
    for (name, value) in metadata() {
        match name {
            FIRST_SENT => options.first_sent = first_sent(value)?,
            MINT if value == "content" => options.missing_uid = MissingUid::Content,
            MINT => return Err(format!("expected the metadata x-amz-meta-{MINT} to be content")),
            _ if is_misspelt(name) => {
                return Err(format!("expected no metadata of the name x-amz-meta-{name}; x-amz-meta-{FIRST_SENT} is one"));
            }
            _ => {}
        }
    }
    Ok(options)
}

/// Names as short as the other one's are too near to others by chance.
fn is_misspelt(name: &str) -> bool {
    let name = name.replace('_', "-");
    name == FIRST_SENT || misspelt::meant(&name, [FIRST_SENT]).is_some()
}

fn first_sent(value: &str) -> Result<Declared, String> {
    if value == "never" {
        return Ok(Declared::Never);
    }
    let at: Timestamp = value.parse().map_err(|_| {
        format!("expected the metadata x-amz-meta-{FIRST_SENT} to be never, or a time such as 2026-11-01T00:00:00Z")
    })?;
    Ok(Declared::NotBefore(at.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{Attribute, Attributes, ObjectStore, PutOptions};
    use relay_store::Store;

    use super::*;

    async fn read(metadata: &[(&'static str, &'static str)]) -> Result<Options, String> {
        let objects = Arc::new(InMemory::new());
        let attributes =
            Attributes::from_iter(metadata.iter().map(|(name, value)| (Attribute::Metadata((*name).into()), *value)));
        let put = PutOptions { attributes, ..PutOptions::default() };
        objects.put_opts(&Path::from("a"), "x".into(), put).await.unwrap();
        let store = Store::over(objects, Path::default());
        options(&store.given("a").await.unwrap().unwrap(), MissingUid::Refuse)
    }

    #[tokio::test]
    async fn without_a_wish_it_is_as_the_stack_says_and_nothing_is_known_of_earlier_sends() {
        let plain = read(&[("mtime", "1780272000"), ("author", "x"), ("s3cmd-attrs", "y"), ("minted", "z")]).await.unwrap();
        assert_eq!((plain.missing_uid, plain.first_sent, plain.strict), (MissingUid::Refuse, Declared::Unknown, false));
    }

    #[tokio::test]
    async fn each_wish_is_read() {
        let options = read(&[("first-sent", "never"), ("mint", "content")]).await.unwrap();
        assert_eq!((options.missing_uid, options.first_sent), (MissingUid::Content, Declared::Never));
        for (value, at_ms) in [("2026-06-01T00:00:00Z", 1_780_272_000_000), ("2026-06-01T02:00:00+02:00", 1_780_272_000_000)] {
            assert_eq!(read(&[("First-Sent", value)]).await.unwrap().first_sent, Declared::NotBefore(at_ms));
        }
    }

    #[tokio::test]
    async fn a_wish_that_cannot_be_read_says_what_was_expected() {
        for (name, value, expected) in [
            ("first-sent", "yesterday", "expected the metadata x-amz-meta-first-sent to be never, or a time such as"),
            ("first-sent", "2026-06-01", "expected the metadata x-amz-meta-first-sent to be never, or a time such as"),
            ("first-sent", "", "expected the metadata x-amz-meta-first-sent to be never, or a time such as"),
            ("mint", "uuid", "expected the metadata x-amz-meta-mint to be content"),
            ("first_sent", "never", "expected no metadata of the name x-amz-meta-first_sent; x-amz-meta-first-sent is one"),
            ("frist-sent", "never", "expected no metadata of the name x-amz-meta-frist-sent; x-amz-meta-first-sent is one"),
        ] {
            let error = read(&[(name, value)]).await.unwrap_err();
            assert!(error.starts_with(expected), "{name}: {error}");
        }
    }
}
