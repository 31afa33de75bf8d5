use proptest::prelude::*;

use super::*;
use crate::record::encoded::{OwnedHeaders, decoded, encoded};

const LATER: Later<'_> = Later { source: "orders", failed: FAILED, attempts: 2, due: 1_700_000_010_123 };

const FAILED: FailedRecord<'_> = FailedRecord {
    topic: "orders",
    partition: 3,
    offset: 0x0102_0304_0506,
    timestamp: Timestamp::CreateTime(1_700_000_000_123),
    group_id: "shop",
    class: "retryable",
    message: "bank is away",
};

fn value<'h>(headers: &'h OwnedHeaders, name: &str) -> Vec<&'h [u8]> {
    headers.iter().filter(|(found, _)| found == name.as_bytes()).filter_map(|(_, value)| value.as_deref()).collect()
}

#[test]
fn headers_are_those_that_spring_reads() {
    let headers = retry_headers(&[], &LATER, Detail::Full);
    assert_eq!(
        decoded(&headers),
        decoded(&encoded(&[
            (b"kafka_original-topic", Some(b"orders")),
            (b"kafka_original-partition", Some(&[0, 0, 0, 3])),
            (b"kafka_original-offset", Some(&[0, 0, 1, 2, 3, 4, 5, 6])),
            (b"kafka_original-timestamp", Some(&[0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b])),
            (b"kafka_original-timestamp-type", Some(b"CreateTime")),
            (b"kafka_dlt-original-consumer-group", Some(b"shop")),
            (b"retry_topic-original-timestamp", Some(&[0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b])),
            (b"kafka_exception-fqcn", Some(b"retryable")),
            (b"kafka_exception-message", Some(b"bank is away")),
            (b"retry_topic-attempts", Some(&[0, 0, 0, 2])),
            (b"retry_topic-backoff-timestamp", Some(&[0x01, 0x8b, 0xcf, 0xe5, 0x8f, 0x8b])),
            (b"retry_topic-consumer-group", Some(b"shop")),
        ]))
    );
}

#[test]
fn what_was_written_is_read() {
    for timestamp in [Timestamp::CreateTime(7), Timestamp::LogAppendTime(8), Timestamp::NotAvailable] {
        let headers =
            retry_headers(&[], &Later { failed: FailedRecord { timestamp, ..FAILED }, ..LATER }, Detail::Full);
        let waiting = Waiting::of(&headers);
        let expected = Waiting {
            attempts: Some(2),
            due: Some(LATER.due),
            group: Some(b"shop"),
            partition: Some(3),
            offset: Some(FAILED.offset),
            timestamp: Some(timestamp),
        };
        assert_eq!(waiting, expected);
        assert!(waiting.is_of_another_group("billing") && !waiting.is_of_another_group("shop"));
    }
    assert_eq!(Waiting::of(&[]), Waiting::default());
    assert!(!Waiting::default().is_of_another_group("shop"), "Spring names no group");
}

#[test]
fn from_try_to_try_the_origin_stays_and_the_rest_is_replaced() {
    let own: [(&[u8], Option<&[u8]>); 3] = [(b"trace", Some(b"1")), (b"\xff", None), (b"trace", None)];
    let first = retry_headers(&encoded(&own), &LATER, Detail::Full);
    let mut headers = first.clone();
    for attempts in 3..9 {
        let failed = FailedRecord { topic: "orders-retry", offset: 9, message: "still away", ..FAILED };
        let again = Later { failed, attempts, due: LATER.due + 1, ..LATER };
        headers = retry_headers(&headers, &again, Detail::Full);
    }
    let (first, headers) = (decoded(&first), decoded(&headers));
    assert_eq!(headers.len(), first.len());
    assert_eq!(headers[..3], decoded(&encoded(&own)));
    for name in [TOPIC, PARTITION, OFFSET, TIMESTAMP, ORIGINAL_TIMESTAMP, SPRINGS_GROUP] {
        assert_eq!(value(&headers, name), value(&first, name), "{name}");
    }
    assert_eq!(value(&headers, ATTEMPTS), [&[0, 0, 0, 8]]);
    assert_eq!(value(&headers, MESSAGE), [b"still away"]);
    assert_eq!(value(&headers, BACKOFF_TIMESTAMP), [&to_big_integer(LATER.due + 1)[..]]);
}

#[test]
fn a_record_that_was_written_back_to_the_listeners_topic_begins_anew() {
    let once = retry_headers(
        &[],
        &Later { failed: FailedRecord { offset: 1, group_id: "old", ..FAILED }, attempts: 9, ..LATER },
        Detail::Full,
    );
    let mut expected = decoded(&retry_headers(&[], &LATER, Detail::Full));
    let mut again = decoded(&retry_headers(&once, &LATER, Detail::Full));
    // It may be a dead letter's, which names the group that gave the record up.
    for headers in [&mut expected, &mut again] {
        headers.retain(|(name, _)| name != SPRINGS_GROUP.as_bytes());
    }
    assert_eq!(again, expected);
}

#[test]
fn what_spring_appended_is_read_as_spring_reads_it() {
    let springs = encoded(&[
        (b"retry_topic-attempts", Some(&[2])),
        (b"retry_topic-backoff-timestamp", Some(&[1])),
        (b"retry_topic-attempts", Some(&[0, 0, 0, 3])),
        (b"retry_topic-backoff-timestamp", Some(&[0, 0x80])),
    ]);
    let waiting = Waiting::of(&springs);
    assert_eq!((waiting.attempts, waiting.due), (Some(3), Some(128)));
    for nonsense in [&[][..], &[0], &[0, 0, 0, 0], &[0xff; 4], &[1, 2]] {
        assert_eq!(attempts(nonsense), None, "{nonsense:?}");
    }
    assert_eq!(attempts(&[200]), Some(200));
}

#[test]
fn the_text_of_the_error_is_cut_where_the_record_is_too_large() {
    let details = [Detail::Full, Detail::Brief, Detail::Class, Detail::Origin];
    let message = "x".repeat(1000);
    let later = Later { failed: FailedRecord { message: &message, ..FAILED }, ..LATER };
    let sizes = details.map(|detail| retry_headers(&[], &later, detail).len());
    assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]), "{sizes:?}");
}

#[test]
fn numbers_are_written_as_java_writes_them() {
    for (number, bytes) in [
        (0, &[0][..]),
        (127, &[0x7f]),
        (128, &[0, 0x80]),
        (-1, &[0xff]),
        (-128, &[0x80]),
        (-129, &[0xff, 0x7f]),
        (i64::MAX, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(to_big_integer(number), bytes, "{number}");
    }
    assert_eq!((big_integer(&[]), big_integer(&[0; 9])), (None, None));
}

proptest! {
    #[test]
    fn every_number_is_read_as_it_was_written(number: i64) {
        prop_assert_eq!(big_integer(&to_big_integer(number)), Some(number));
    }

    #[test]
    fn no_header_makes_it_panic(headers in proptest::collection::vec(any::<u8>(), 0..200)) {
        Waiting::of(&headers);
    }
}
