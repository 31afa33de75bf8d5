use std::collections::HashMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use std::error::Error;
use std::fmt;

use super::error::ShortTypeName;
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

/// Decodes with another codec than JSON.
fn decode_by<T: DeserializeOwned>(codec: Codec, payload: Option<&[u8]>) -> Result<T, String> {
    let mut sample = payload.map_or_else(Sample::new, Sample::of_payload);
    sample.codec = codec;
    let described = |error: DecodeError| format!("{error}: {}", error.source().unwrap());
    sample.read(T::decode).map_err(described)
}

#[derive(Debug, PartialEq, Deserialize)]
struct Blob(Vec<u8>);

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Size {
    ExtraLarge,
}

#[test]
fn a_text_is_any_type_that_takes_one() {
    let text = Codec::Text;
    assert_eq!(decode_by(text, Some(b"order \xc3\xa4")), Ok("order ä".to_owned()));
    assert_eq!(decode_by(text, Some(b"")), Ok(String::new()), "an empty text is one");
    assert_eq!(decode_by(text, Some(b"a")), Ok(Some("a".to_owned())));
    assert_eq!(decode_by(text, None), Ok(None::<String>));
    assert_eq!(decode_by(text, Some(b"extra-large")), Ok(Size::ExtraLarge));
    let tombstone = "tombstone where `String` is expected; take `Option<String>`: the bytes are null";
    assert_eq!(decode_by::<String>(text, None), Err(tombstone.to_owned()));
    let gzip = "payload does not decode as `String`, it looks like gzip: the producer compresses the payload itself: \
                invalid utf-8 sequence of 1 bytes from index 1";
    assert_eq!(decode_by::<String>(text, Some(b"\x1f\x8b\x08\x00")), Err(gzip.to_owned()));
    assert!(decode_by::<Order>(text, Some(b"a")).is_err());
}

#[test]
fn bytes_are_any_type_that_takes_them() {
    let bytes = Codec::Bytes;
    assert_eq!(decode_by(bytes, Some(b"\x00\xff")), Ok(Blob(vec![0, 255])));
    assert_eq!(decode_by(bytes, Some(b"")), Ok(Some(Blob(Vec::new()))));
    assert_eq!(decode_by(bytes, None), Ok(None::<Blob>));
    assert!(decode_by::<Order>(bytes, Some(b"a")).is_err());
}

#[test]
fn bytes_that_do_not_fit_are_told_by_what_they_look_like() {
    for (payload, looks) in [
        (b"order-1".as_slice(), "plain text: is the producer's serializer one for strings?"),
        (b"\0\0\0\0\x07{\"quantity\":1}", "JSON behind the magic byte of a schema registry (schema id 7)"),
        (b"\xef\xbb\xbf{\"quantity\":1}", "text with a byte order mark"),
        (br#""{\"quantity\":1}""#, "a JSON string that holds JSON: the producer encodes twice"),
    ] {
        let error = Sample::of_payload(payload).read(Order::decode).unwrap_err();
        assert_eq!(error.to_string(), format!("payload does not decode as `Order`, it looks like {looks}"));
    }
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
