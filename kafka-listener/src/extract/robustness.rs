//! Whatever bytes a record has, it is read or refused: never a panic, and nothing of it gets lost.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::sample::Sample;
use crate::extract::Headers;
use crate::record::HeaderIter;
use crate::record::encoded::{OwnedHeaders, owned};

/// Names that somebody reads, among all others.
const NAMES: [&str; 8] = [
    "kafka_dlt-original-topic",
    "kafka_dlt-original-partition",
    "kafka_dlt-original-offset",
    "kafka_dlt-original-timestamp",
    "dlt-original-topic",
    "dlt-original-offset",
    "dlt-exception-message",
    "__TypeId__",
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..24)
}

pub(crate) fn pairs() -> impl Strategy<Value = OwnedHeaders> {
    let name = prop_oneof![select(&NAMES[..]).prop_map(|name| name.as_bytes().to_vec()), bytes()];
    vec((name, option::of(bytes())), 0..12)
}

pub(crate) fn sample(headers: &OwnedHeaders) -> Sample {
    let add = |sample: Sample, (name, value): &(Vec<u8>, Option<Vec<u8>>)| sample.header(name, value.as_deref());
    headers.iter().fold(Sample::new(), add)
}

proptest! {
    #[test]
    fn headers_come_out_as_they_went_in(pairs in pairs()) {
        sample(&pairs).read(|record| {
            let headers = Headers::of(record);
            prop_assert_eq!(owned(headers.iter()), pairs.clone());
            for (name, value) in &pairs {
                let Ok(name) = str::from_utf8(name) else { continue };
                prop_assert!(headers.contains(name));
                prop_assert!(headers.get_all(name).any(|found| found == value.as_deref()));
                // A value that is no text is an error that names the header.
                if let Err(error) = headers.get_str(name) {
                    prop_assert!(error.to_string().contains(name));
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn bytes_that_are_no_headers_come_to_an_end(bytes in vec(any::<u8>(), 0..200)) {
        let taken: usize = HeaderIter::new(&bytes).map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len)).sum();
        prop_assert!(taken <= bytes.len());
    }
}

#[cfg(feature = "json")]
mod decoding {
    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::config::Codec;
    use crate::decode::Payload;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only decoded")]
    struct Order {
        #[serde(rename = "orderId")]
        id: String,
        quantity: u32,
        tags: Option<Vec<String>>,
    }

    /// Pieces of JSON and of what is taken for it.
    fn payload() -> impl Strategy<Value = Vec<u8>> {
        const PIECES: [&[u8]; 14] = [
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b"\"orderId\"",
            b"\"quantity\"",
            b"2",
            b"-1e999",
            b"null",
            b"\\u0000",
            b"\xff\xfe",
            b"\0\0\0\x01",
        ];
        prop_oneof![
            bytes(),
            vec(select(&PIECES[..]), 0..30).prop_map(|pieces| pieces.concat()),
            "\\PC{0,30}".prop_map(String::into_bytes),
        ]
    }

    fn answer<T: DeserializeOwned>(payload: &[u8], codec: Codec) -> Result<(), TestCaseError> {
        let mut sample = Sample::of_payload(payload);
        sample.codec = codec;
        if let Err(error) = sample.read(T::decode) {
            prop_assert!(!error.to_string().is_empty());
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_payload_is_decoded_or_refused(
            payload in payload(),
            codec in select(vec![Codec::Json, Codec::Text, Codec::Bytes]),
        ) {
            answer::<Order>(&payload, codec)?;
            answer::<Option<Order>>(&payload, codec)?;
            answer::<serde_json::Value>(&payload, codec)?;
            answer::<String>(&payload, codec)?;
            answer::<Vec<u8>>(&payload, codec)?;
            answer::<u64>(&payload, codec)?;
        }
    }
}
