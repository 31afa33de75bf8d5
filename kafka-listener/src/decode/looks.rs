//! What bytes look like that do not decode: producers and consumers that do not fit are told apart by their first bytes.

use std::fmt;

/// What a payload seems to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Looks {
    Gzip,
    Zstd,
    JavaObject,
    AvroFile,
    Utf8Bom,
    Utf16,
    /// The magic byte of a schema registry, and the id of the schema behind it.
    RegisteredJson(u32),
    Registered(u32),
    /// A JSON string that holds JSON.
    EncodedTwice,
    Text,
}

impl Looks {
    /// Asked only about payloads that do not decode.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        Some(match bytes {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xac, 0xed, 0x00, 0x05, ..] => Self::JavaObject,
            [b'O', b'b', b'j', 0x01, ..] => Self::AvroFile,
            [0xef, 0xbb, 0xbf, ..] => Self::Utf8Bom,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Self::Utf16,
            [0, a, b, c, d, rest @ ..] if !rest.is_empty() && !is_utf16(bytes) => {
                let id = u32::from_be_bytes([*a, *b, *c, *d]);
                if is_json(rest) { Self::RegisteredJson(id) } else { Self::Registered(id) }
            }
            _ if is_utf16(bytes) => Self::Utf16,
            _ if holds_json(bytes) => Self::EncodedTwice,
            _ if is_text(bytes) => Self::Text,
            _ => return None,
        })
    }
}

impl fmt::Display for Looks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gzip => f.write_str("gzip: the producer compresses the payload itself"),
            Self::Zstd => f.write_str("zstd: the producer compresses the payload itself"),
            Self::JavaObject => f.write_str("a serialized Java object"),
            Self::AvroFile => f.write_str("an Avro container file"),
            Self::Utf8Bom => f.write_str("text with a byte order mark"),
            Self::Utf16 => f.write_str("UTF-16 text"),
            Self::RegisteredJson(id) => write!(f, "JSON behind the magic byte of a schema registry (schema id {id})"),
            Self::Registered(id) => {
                write!(f, "Avro or Protobuf behind the magic byte of a schema registry (schema id {id})")
            }
            Self::EncodedTwice => f.write_str("a JSON string that holds JSON: the producer encodes twice"),
            Self::Text => f.write_str("plain text: is the producer's serializer one for strings?"),
        }
    }
}

/// Whether it is JSON as far as the first character tells.
fn is_json(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start(), [b'{' | b'[' | b'"', ..])
}

/// Latin letters in UTF-16 are every other byte zero.
fn is_utf16(bytes: &[u8]) -> bool {
    let pairs = bytes.chunks_exact(2).take(8);
    let (count, low, high) = pairs.fold((0, 0, 0), |(count, low, high), pair| {
        let of_latin = |zero: u8, letter: u8| usize::from(zero == 0 && letter.is_ascii() && letter != 0);
        (count + 1, low + of_latin(pair[1], pair[0]), high + of_latin(pair[0], pair[1]))
    });
    count >= 2 && (low == count || high == count)
}

#[cfg(feature = "json")]
fn holds_json(bytes: &[u8]) -> bool {
    let inner = serde_json::from_slice::<String>(bytes);
    inner.is_ok_and(|inner| serde_json::from_str::<serde::de::IgnoredAny>(&inner).is_ok() && is_json(inner.as_bytes()))
}

#[cfg(not(feature = "json"))]
fn holds_json(_: &[u8]) -> bool {
    false
}

/// Words that begin as no JSON does.
fn is_text(bytes: &[u8]) -> bool {
    let begins_as_json = |byte: &u8| matches!(byte, b'{' | b'[' | b'"' | b'-' | b'0'..=b'9');
    let first = bytes.trim_ascii_start().first();
    let is_literal = [b"true".as_slice(), b"false", b"null"].iter().any(|word| bytes.trim_ascii() == *word);
    first.is_some_and(|first| !begins_as_json(first))
        && !is_literal
        && str::from_utf8(bytes)
            .is_ok_and(|text| text.chars().all(|character| !character.is_control() || character.is_whitespace()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(looks: Option<Looks>, all: &[&[u8]]) {
        for bytes in all {
            assert_eq!(Looks::of(bytes), looks, "{bytes:?}");
        }
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn what_producers_send_by_mistake_is_recognised() {
        check(Some(Looks::Gzip), &[b"\x1f\x8b\x08\x00\x00"]);
        check(Some(Looks::Zstd), &[b"\x28\xb5\x2f\xfd\x00"]);
        check(Some(Looks::JavaObject), &[b"\xac\xed\x00\x05t\x00\x01a"]);
        check(Some(Looks::AvroFile), &[b"Obj\x01\x04\x14avro.codec"]);
        check(Some(Looks::Utf8Bom), &[b"\xef\xbb\xbf{}"]);
        check(Some(Looks::RegisteredJson(7)), &[b"\0\0\0\0\x07{\"a\":1}", b"\0\0\0\0\x07 [1]"]);
        check(Some(Looks::Registered(258)), &[b"\0\0\0\x01\x02\x06abc", b"\0\0\0\x01\x02\0\x0a\x03"]);
        check(Some(Looks::EncodedTwice), &[br#""{\"a\":1}""#, br#" "[1]" "#]);
        check(Some(Looks::Text), &[b"order-1", b"Bestellung \xc3\xa4", b"<order/>", b"key=value\n"]);
        let (little, big) = (utf16("{\"a\":1}", u16::to_le_bytes), utf16("{\"a\":1}", u16::to_be_bytes));
        check(Some(Looks::Utf16), &[&little, &big, &[b"\xff\xfe", &*little].concat(), &[b"\xfe\xff", &*big].concat()]);
    }

    #[test]
    fn what_may_be_anything_is_not_guessed_at() {
        check(
            None,
            &[b"", b"\0", b"\0\0\0\0\x07", b"{", b"{\"a\":1}", b"\"text\"", b"-", b"12x", b"null", b"\x01\x02\x03"],
        );
    }
}
