//! Decode: total, in order, and deaf to what stands beside a measurement.

use bumpalo::Bump;
use proptest::prelude::*;
use relay_core::decode::Decoded;
use serde_json::json;

use crate::given::{config, decode_one, good, json, object};

/// The ways to write several measurements in one body.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Array,
    SpacedArray,
    Api,
    Lines,
    CrLfLines,
    Sns(&'static Shape),
    EventBridge(&'static Shape),
}

const SHAPES: [Shape; 11] = [
    Shape::Array,
    Shape::SpacedArray,
    Shape::Api,
    Shape::Lines,
    Shape::CrLfLines,
    Shape::Sns(&Shape::Array),
    Shape::Sns(&Shape::Api),
    Shape::Sns(&Shape::Lines),
    Shape::Sns(&Shape::CrLfLines),
    Shape::EventBridge(&Shape::SpacedArray),
    Shape::EventBridge(&Shape::Api),
];

impl Shape {
    fn write(self, texts: &[String]) -> String {
        match self {
            Shape::Array => format!("[{}]", texts.join(",")),
            Shape::SpacedArray => format!("\r\n[ {} ]\t", texts.join(" ,\n")),
            Shape::Api => format!(r#"{{"measurements":[{}]}}"#, texts.join(",")),
            Shape::Lines => texts.join("\n"),
            Shape::CrLfLines => texts.iter().map(|text| format!("{text}\r\n")).collect(),
            Shape::Sns(inner) => json!({"Type": "Notification", "Message": inner.write(texts)}).to_string(),
            Shape::EventBridge(inner) => format!(r#"{{"detail":{},"detail-type":"t"}}"#, inner.write(texts)),
        }
    }
}

/// What stands at each position: a measurement's text, or `None` for a refusal.
fn texts_of(body: &str) -> Vec<Option<String>> {
    let arena = Bump::new();
    let (decoded, found) = decode_one(body, &arena);
    assert_eq!(decoded, Decoded::Found, "{body:?}");
    assert!(!found.is_empty(), "{body:?}");
    for (position, found) in found.iter().enumerate() {
        assert_eq!((found.message, found.position), (0, position));
    }
    found.iter().map(|found| found.refusal.is_none().then(|| found.text.to_owned())).collect()
}

fn measurements_in(body: &str) -> Vec<String> {
    texts_of(body).into_iter().flatten().collect()
}

/// Text that is nearly a message: a real body, damaged.
fn damaged() -> impl Strategy<Value = String> {
    let body = (prop::collection::vec(object(), 1..4), prop::sample::select(&SHAPES[..]))
        .prop_map(|(objects, shape)| shape.write(&objects.iter().map(ToString::to_string).collect::<Vec<_>>()));
    (body, prop::collection::vec((any::<prop::sample::Index>(), "[\"\\\\{}\\[\\],:\n ud\u{feff}]?"), 1..4)).prop_map(
        |(body, wounds)| {
            let mut characters: Vec<char> = body.chars().collect();
            for (at, put) in wounds.iter().filter(|_| !body.is_empty()) {
                let at = at.index(characters.len());
                characters.splice(at..=at, put.chars());
                characters.push(' ');
            }
            characters.into_iter().collect()
        },
    )
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn any_text_yields_something_at_positions_that_count_from_0(body in any::<String>()) {
        texts_of(&body);
    }

    #[test]
    fn a_damaged_body_yields_something_at_positions_that_count_from_0(body in damaged()) {
        texts_of(&body);
    }

    #[test]
    fn a_list_of_measurements_comes_back_text_by_text_in_order_from_every_shape(objects in prop::collection::vec(object(), 2..6)) {
        let texts: Vec<String> = objects.iter().map(ToString::to_string).collect();
        for shape in SHAPES {
            let expected: Vec<Option<String>> = texts.iter().cloned().map(Some).collect();
            prop_assert_eq!(texts_of(&shape.write(&texts)), expected, "{:?}", shape);
        }
    }

    #[test]
    fn what_is_no_object_in_an_array_is_refused_and_its_neighbours_stay(
        values in prop::collection::vec(prop_oneof![json(), Just(json!({"x": 1}))], 1..8),
    ) {
        for shape in [Shape::Array, Shape::SpacedArray, Shape::Api, Shape::Sns(&Shape::Array), Shape::EventBridge(&Shape::Api)] {
            let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            let expected: Vec<Option<String>> =
                values.iter().map(|value| value.is_object().then(|| value.to_string())).collect();
            prop_assert_eq!(texts_of(&shape.write(&texts)), expected);
        }
    }

    #[test]
    fn any_line_among_others_leaves_them_as_they_were(
        garbage in prop::collection::vec("[^\n]{0,20}|[{}\\[\\]\",:]{1,9}", 1..6),
        places in prop::collection::vec(any::<prop::sample::Index>(), 6),
    ) {
        let good: Vec<String> = (0..3).map(|uid| good(&uid.to_string(), "")).collect();
        let mut lines = good.clone();
        for (line, place) in garbage.iter().zip(&places) {
            lines.insert(place.index(lines.len() + 1), line.clone());
        }
        for shape in [Shape::Lines, Shape::CrLfLines, Shape::Sns(&Shape::Lines)] {
            let found = measurements_in(&shape.write(&lines));
            let kept: Vec<&String> = found.iter().filter(|text| good.contains(text)).collect();
            prop_assert_eq!(kept, good.iter().collect::<Vec<_>>());
        }
    }
}
