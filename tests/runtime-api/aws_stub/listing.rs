//! What S3 says in XML and reads from URLs: pages of keys, keys to delete, queries, ranges.
//!
//! XML is searched, not parsed: the only XML that comes in is an SDK's own list of keys.

use std::ops::Range;

use super::objects::StoredObject;

/// The modification time of every object, as XML writes it.
pub(super) const MODIFIED: &str = "2026-11-01T00:00:00.000Z";
/// Most entries in a page. Source: S3 API reference, `ListObjectsV2`.
const PAGE_MAX: usize = 1_000;

/// The parameters of a URL.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(query: &str) -> Self {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(&value.replace('+', " ")))
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(pair).collect())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|pair| pair.0 == name);
        pair.map(|pair| pair.1.as_str())
    }
}

/// Undoes percent encoding. What is no valid encoding stays as it is.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let encoded = match rest {
            [b'%', high, low, after @ ..] => hex(*high).zip(hex(*low)).map(|(h, l)| (h * 16 + l, after)),
            _ => None,
        };
        let (byte, after) = encoded.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// The bytes that a `Range` header asks for, of `size`. `None` when there are none.
pub(super) fn range(header: &str, size: usize) -> Option<Range<usize>> {
    let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first.parse::<usize>().ok(), last.parse::<usize>().ok()) {
        (Some(first), Some(last)) => first..last.saturating_add(1).min(size),
        (Some(first), None) => first..size,
        (None, Some(count)) => size.saturating_sub(count)..size,
        (None, None) => return None,
    };
    (range.start < range.end).then_some(range)
}

/// One page of `ListObjectsV2` over `objects`, which are in key order.
pub(super) fn page<'o>(objects: impl Iterator<Item = &'o StoredObject>, query: &Query) -> String {
    let prefix = query.get("prefix").unwrap_or_default();
    let delimiter = query.get("delimiter").unwrap_or_default();
    let after = query.get("continuation-token").or(query.get("start-after")).unwrap_or_default();
    let most = query.get("max-keys").and_then(|most| most.parse().ok()).unwrap_or(PAGE_MAX).min(PAGE_MAX);

    let mut entries: Vec<(String, String)> = Vec::new(); // what the entry is called, and its XML
    let mut truncated = false;
    for object in objects.filter(|object| object.key.starts_with(prefix) && object.key.as_str() > after) {
        let (name, xml) = entry(object, prefix, delimiter);
        // A page that ended with a folder goes on behind all its keys.
        if entries.last().is_some_and(|last| last.0 == name) || name == after {
            continue;
        }
        if entries.len() == most {
            truncated = true;
            break;
        }
        entries.push((name, xml));
    }
    let next = entries.last().filter(|_| truncated);
    let next = next.map_or(String::new(), |(name, _)| element("NextContinuationToken", name));
    let body: String = entries.iter().map(|(_, xml)| xml.as_str()).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult><KeyCount>{}</KeyCount>\
         <IsTruncated>{truncated}</IsTruncated>{next}{body}</ListBucketResult>",
        entries.len(),
    )
}

/// How an object shows in a listing: as itself, or as the folder that it is in.
fn entry(object: &StoredObject, prefix: &str, delimiter: &str) -> (String, String) {
    let below = object.key.strip_prefix(prefix).unwrap_or(&object.key);
    match below.split_once(delimiter) {
        Some((folder, _)) if !delimiter.is_empty() => {
            let folder = format!("{prefix}{folder}{delimiter}");
            let xml = format!("<CommonPrefixes>{}</CommonPrefixes>", element("Prefix", &folder));
            (folder, xml)
        }
        Some(_) | None => {
            let (key, etag) = (element("Key", &object.key), element("ETag", &object.etag));
            let size = object.body.len();
            let xml = format!("<Contents>{key}<LastModified>{MODIFIED}</LastModified>{etag}<Size>{size}</Size></Contents>");
            (object.key.clone(), xml)
        }
    }
}

/// The keys in a `DeleteObjects` request.
pub(super) fn keys_to_delete(xml: &str) -> Vec<String> {
    let keys = xml.split("<Key>").skip(1);
    keys.filter_map(|rest| rest.split_once("</Key>")).map(|(key, _)| unescaped(key)).collect()
}

/// The answer to a `DeleteObjects` request that deleted `keys`.
pub(super) fn deleted(keys: &[String]) -> String {
    let each = |key: &String| format!("<Deleted>{}</Deleted>", element("Key", key));
    let all: String = keys.iter().map(each).collect();
    format!("<DeleteResult>{all}</DeleteResult>")
}

fn element(name: &str, text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!("<{name}>{text}</{name}>")
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    let text = text.replace("&quot;", "\"").replace("&apos;", "'");
    text.replace("&amp;", "&") // last: else `&amp;lt;` would become `<`
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone_and_what_is_none_stays() {
        for (encoded, plain) in
            [("a%20b", "a b"), ("dt%3D1%2Fx", "dt=1/x"), ("%C3%BC", "\u{fc}"), ("100%", "100%"), ("%zz", "%zz")]
        {
            assert_eq!(decoded(encoded), plain);
        }
    }

    #[test]
    fn a_range_is_cut_to_the_object() {
        for (header, expected) in [
            ("bytes=0-3", Some(0..4)),
            ("bytes=8-99", Some(8..10)),
            ("bytes=8-", Some(8..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=10-", None),
            ("bytes=-", None),
            ("lines=1-2", None),
        ] {
            assert_eq!(range(header, 10), expected, "{header}");
        }
    }

    /// Asked of [`page`] itself: `object_store` would hide a folder that is listed twice.
    #[test]
    fn a_folder_on_the_edge_of_a_page_is_listed_once() {
        let object = |key: &str| StoredObject {
            bucket: "store".to_owned(),
            key: key.to_owned(),
            body: "x".into(),
            metadata: Default::default(),
            etag: String::new(),
        };
        let objects = ["a/1", "a/2", "b/1"].map(object);
        let first = page(objects.iter(), &Query::parse("delimiter=/&max-keys=1"));
        assert!(first.contains("<NextContinuationToken>a/</NextContinuationToken>"), "{first}");
        let second = page(objects.iter(), &Query::parse("delimiter=/&max-keys=1&continuation-token=a%2F"));
        assert!(second.contains("<Prefix>b/</Prefix>") && !second.contains("<Prefix>a/</Prefix>"), "{second}");
        assert!(second.contains("<IsTruncated>false</IsTruncated>"), "{second}");
    }

    #[test]
    fn keys_survive_xml() {
        let keys = vec!["a&b".to_owned(), "<c>".to_owned()];
        assert_eq!(keys_to_delete(&deleted(&keys)), keys);
    }
}
