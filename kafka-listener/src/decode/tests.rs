use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;
use crate::extract::sample::Sample;

#[derive(Debug, PartialEq, Deserialize)]
struct Order {
    quantity: u32,
}

/// The payload, or the error's text and that of its cause.
#[track_caller]
fn check<T: DeserializeOwned + PartialEq + fmt::Debug>(payload: Option<&[u8]>, expected: Result<T, [&str; 2]>) {
    let sample = payload.map_or_else(Sample::new, Sample::of_payload);
    let decoded = sample.read(T::decode);
    match (decoded, expected) {
        (Ok(decoded), Ok(expected)) => assert_eq!(decoded, expected),
        (Err(error), Err(texts)) => {
            assert_eq!([error.to_string(), error.source().unwrap().to_string()], texts);
        }
        (decoded, expected) => panic!("{decoded:?} where {expected:?} is expected"),
    }
}

#[test]
fn json_is_decoded() {
    check(Some(br#"{"quantity":2,"more":[]}"#), Ok(Order { quantity: 2 }));
    check(Some(br#" {"quantity":2} "#), Ok(Some(Order { quantity: 2 })));
    check(Some(b"null"), Ok(None::<Order>));
}

#[test]
fn a_tombstone_is_none_to_what_has_room_for_nothing() {
    check(None, Ok(None::<Order>));
    check(None, Ok(()));
    check(None, Ok(serde_json::Value::Null));
}

#[test]
fn a_tombstone_is_an_error_to_a_plain_type() {
    let texts = |expected| {
        [format!("tombstone where `{expected}` is expected; take `Option<{expected}>`"), "the bytes are null".into()]
    };
    let [order, null] = texts("Order");
    check::<Order>(None, Err([&order, &null]));
    let [map, null] = texts("HashMap<String, Order>");
    check::<HashMap<String, Order>>(None, Err([&map, &null]));
}

#[test]
fn an_empty_payload_is_no_tombstone() {
    check::<Order>(Some(b""), Err(["empty payload where `Order` is expected", "there are no bytes"]));
    check::<Option<Order>>(Some(b""), Err(["empty payload where `Option<Order>` is expected", "there are no bytes"]));
}

#[test]
fn what_is_wrong_with_the_bytes_is_the_cause() {
    let cases: [(&[u8], &str); 4] = [
        (b"{", "EOF while parsing an object at line 1 column 1"),
        (b"{\"quantity\":\n-2}", "invalid value: integer `-2`, expected u32 at line 2 column 2"),
        (b"{}", "missing field `quantity` at line 1 column 2"),
        (b"{\"quantity\":2} 3", "trailing characters at line 1 column 16"),
    ];
    for (payload, cause) in cases {
        let error = Sample::of_payload(payload).read(Order::decode).unwrap_err();
        assert_eq!(error.to_string(), "payload does not decode as `Order`");
        assert_eq!(error.source().unwrap().to_string(), cause);
    }
}

#[test]
fn text_that_is_not_utf8_is_an_error() {
    let cause = "invalid unicode code point at line 1 column 6";
    check::<String>(Some(b"\"user\xff\""), Err(["payload does not decode as `String`", cause]));
}

#[test]
fn json_nested_100_000_deep_is_an_error() {
    let deep = vec![b'['; 100_000];
    check::<serde_json::Value>(
        Some(&deep),
        Err(["payload does not decode as `Value`", "recursion limit exceeded at line 1 column 128"]),
    );
}

#[test]
fn names_of_types_are_printed_without_paths() {
    for (name, short) in [
        ("shop::Order", "Order"),
        ("core::option::Option<shop::Order>", "Option<Order>"),
        (
            "alloc::vec::Vec<(u8, std::collections::HashMap<alloc::string::String, a::b::C>)>",
            "Vec<(u8, HashMap<String, C>)>",
        ),
        ("&[u8]", "&[u8]"),
        ("dyn core::error::Error + core::marker::Send", "dyn Error + Send"),
        ("<a::B as c::D>::E", "<B as D>::E"),
        ("", ""),
    ] {
        assert_eq!(ShortTypeName(name).to_string(), short);
    }
}
