use std::error::Error;

use super::sample::Sample;
use super::*;
use crate::record::Timestamp;

/// What `T` is made into, or the texts of its rejection and the causes of it.
#[track_caller]
fn check<T: FromRecord + PartialEq + std::fmt::Debug>(sample: &Sample, expected: Result<T, &[&str]>) {
    let made = sample.read(T::from_record).map_err(|rejection| {
        let rejection: Box<dyn Error + Send + Sync> = rejection.into();
        let rejection: &(dyn Error + 'static) = &*rejection;
        std::iter::successors(Some(rejection), |error| (*error).source()).map(ToString::to_string).collect::<Vec<_>>()
    });
    match (made, expected) {
        (Ok(made), Ok(expected)) => assert_eq!(made, expected),
        (Err(made), Err(expected)) => assert_eq!(made, expected),
        (made, expected) => panic!("{made:?} where {expected:?} is expected"),
    }
}

#[test]
fn a_key_is_text_or_bytes_and_null_only_to_an_option() {
    let text = Sample::new().key(b"user456");
    check(&text, Ok(Key("user456".to_owned())));
    check(&text, Ok(Key(b"user456".to_vec())));
    check(&text, Ok(Key(Some("user456".to_owned()))));

    let empty = Sample::new().key(b"");
    check(&empty, Ok(Key(String::new())));
    check(&empty, Ok(Key(Some(Vec::<u8>::new()))));

    let null = Sample::new();
    check(&null, Ok(Key(None::<String>)));
    check::<Key<String>>(
        &null,
        Err(&["null key where `String` is expected; take `Key<Option<String>>`", "the bytes are null"]),
    );
    check::<Key<Vec<u8>>>(
        &null,
        Err(&["null key where `Vec<u8>` is expected; take `Key<Option<Vec<u8>>>`", "the bytes are null"]),
    );
}

#[test]
fn a_key_that_is_not_utf8_is_rejected() {
    let broken = Sample::new().key(b"user\xff");
    let texts = ["key does not decode as `String`", "invalid utf-8 sequence of 1 bytes from index 4"];
    check::<Key<String>>(&broken, Err(&texts));
    check::<Key<Option<String>>>(&broken, Err(&texts));
    check(&broken, Ok(Key(b"user\xff".to_vec())));
}

#[test]
fn headers_keep_order_repetition_nulls_and_names_that_are_no_text() {
    let sample = Sample::new()
        .header(b"trace", Some(b"a"))
        .header(b"\xff\xfe", Some(b"b"))
        .header(b"trace", Some(b"c"))
        .header(b"gone", Some(b"d"))
        .header(b"gone", None)
        .header(b"", Some(b""))
        .header(b"binary", Some(b"\xff"));
    let headers = sample.read(Headers::of);
    let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
    assert_eq!(names, [b"trace".as_slice(), b"\xff\xfe", b"trace", b"gone", b"gone", b"", b"binary"]);

    assert_eq!(headers.get("trace"), Some(b"c".as_slice()));
    assert_eq!(headers.get_all("trace").collect::<Vec<_>>(), [Some(b"a".as_slice()), Some(b"c")]);
    assert_eq!((headers.get("gone"), headers.contains("gone")), (None, true));
    assert_eq!((headers.get("never"), headers.contains("never")), (None, false));
    assert_eq!(headers.get(""), Some(b"".as_slice()));

    assert_eq!(headers.get_str("trace"), Ok(Some("c")));
    assert_eq!(headers.get_str("gone"), Ok(None));
    let error = headers.get_str("binary").unwrap_err();
    assert_eq!(error.to_string(), "the value of header `binary` is not UTF-8");
    assert!(error.source().is_some());

    assert_eq!(
        format!("{headers:?}"),
        "[\"trace\", \"\u{fffd}\u{fffd}\", \"trace\", \"gone\", \"gone\", \"\", \"binary\"]"
    );
}

#[test]
fn headers_outlive_the_record() {
    let headers = Sample::new().header(b"trace", Some(b"a")).read(Headers::of);
    assert_eq!(headers.get("trace"), Some(b"a".as_slice()));
    assert!(Sample::new().read(Headers::of).is_empty());
}

#[test]
fn metadata_says_where_a_record_comes_from_and_who_handles_it() {
    let metadata = Sample::new().read(RecordMetadata::of);
    assert_eq!(metadata.to_string(), "orders-2@41");
    assert_eq!((metadata.topic(), metadata.partition(), metadata.offset()), ("orders", 2, 41));
    assert_eq!(metadata.timestamp(), Timestamp::CreateTime(1_700_000_000_000));
    assert_eq!((metadata.group_id(), metadata.listener_id(), metadata.attempt()), ("order-service", "pay", 3));
}

#[test]
fn a_state_is_cloned_from_the_builder() {
    #[derive(Clone, Debug, PartialEq)]
    struct Stock(u32);
    impl PartialEq for State<Stock> {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }

    check(&Sample::new().state(Stock(7)), Ok(State(Stock(7))));
    let missing = format!("no state of type `{}` was given to the builder", std::any::type_name::<Stock>());
    check::<State<Stock>>(&Sample::new(), Err(&[&missing]));
}

#[cfg(feature = "json")]
#[test]
fn a_consumer_record_outlives_the_record_it_was_made_of() {
    let sample = Sample::of_payload(b"7").key(b"user456").header(b"trace", Some(b"a"));
    let record = sample.read(ConsumerRecord::<u32>::decode).unwrap();
    drop(sample);
    assert_eq!((record.payload(), record.key()), (&7, Some(b"user456".as_slice())));
    assert_eq!(record.headers().get("trace"), Some(b"a".as_slice()));
    assert_eq!((record.topic(), record.partition(), record.offset()), ("orders", 2, 41));
    assert_eq!(format!("{record:?}"), "ConsumerRecord(orders-2@41)");
    assert_eq!(record.into_payload(), 7);
}

#[cfg(feature = "json")]
#[test]
fn a_consumer_record_takes_any_payload() {
    assert_eq!(Sample::new().read(ConsumerRecord::<Option<u32>>::decode).unwrap().payload(), &None);
    assert!(Sample::new().read(ConsumerRecord::<RawPayload>::decode).unwrap().payload().is_tombstone());
    assert!(Sample::new().read(ConsumerRecord::<u32>::decode).is_err());
}

#[test]
fn a_raw_payload_tells_null_from_empty() {
    let null = Sample::new().read(RawPayload::decode).unwrap();
    let empty = Sample::of_payload(b"").read(RawPayload::decode).unwrap();
    let full = Sample::of_payload(b"{}").read(RawPayload::decode).unwrap();
    assert_eq!((null.as_bytes(), null.is_tombstone()), (None, true));
    assert_eq!((empty.as_bytes(), empty.is_tombstone()), (Some(b"".as_slice()), false));
    assert_eq!((full.as_bytes(), full.is_tombstone()), (Some(b"{}".as_slice()), false));
    assert_eq!(format!("{null:?} {full:?}"), "RawPayload(null) RawPayload(2 bytes)");
}

#[cfg(feature = "json")]
#[test]
fn a_raw_payload_lends_its_bytes_to_what_is_decoded_from_it() {
    #[derive(serde::Deserialize)]
    struct Order<'p> {
        id: &'p str,
    }

    let payload = Sample::of_payload(br#"{"id":"ORDER-123"}"#).read(RawPayload::decode).unwrap();
    let order: Order<'_> = payload.json().unwrap();
    assert!(payload.as_bytes().unwrap().as_ptr_range().contains(&order.id.as_ptr()));
    let null = Sample::new().read(RawPayload::decode).unwrap();
    assert_eq!(null.json::<Option<u32>>().unwrap(), None);
    assert!(null.json::<Order<'_>>().is_err());
}
