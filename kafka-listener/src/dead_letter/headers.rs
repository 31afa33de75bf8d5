//! The headers of a dead letter: where the record came from, and why it is here. Pure.
//!
//! The names and encodings are those of Spring's `DeadLetterPublishingRecoverer`, so that its tools read them; `plain`
//! writes text under names of its own. Whatever else the record carried stays as it was, in its order.

use crate::forward::{Detail, FailedRecord, put_error, timestamp_type};
use crate::record::{HeaderIter, encode_header};

/// `dead_letter.headers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderStyle {
    Spring,
    Plain,
}

/// What the headers of a dead letter are called.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) topic: &'static str,
    pub(super) partition: &'static str,
    pub(super) offset: &'static str,
    pub(super) timestamp: &'static str,
    pub(super) timestamp_type: &'static str,
    pub(super) group_id: &'static str,
    pub(super) class: &'static str,
    pub(super) message: &'static str,
}

pub(super) const SPRING: Names = Names {
    topic: "kafka_dlt-original-topic",
    partition: "kafka_dlt-original-partition",
    offset: "kafka_dlt-original-offset",
    timestamp: "kafka_dlt-original-timestamp",
    timestamp_type: "kafka_dlt-original-timestamp-type",
    group_id: "kafka_dlt-original-consumer-group",
    class: "kafka_dlt-exception-fqcn",
    message: "kafka_dlt-exception-message",
};

pub(super) const PLAIN: Names = Names {
    topic: "dlt-original-topic",
    partition: "dlt-original-partition",
    offset: "dlt-original-offset",
    timestamp: "dlt-original-timestamp",
    timestamp_type: "dlt-original-timestamp-type",
    group_id: "dlt-original-consumer-group",
    class: "dlt-exception-class",
    message: "dlt-exception-message",
};

/// What headers about the origin and about the error begin with, whoever wrote them.
const ORIGIN: [&[u8]; 2] = [b"kafka_dlt-original-", b"dlt-original-"];
const EXCEPTION: [&[u8]; 3] = [b"kafka_dlt-exception-", b"kafka_dlt-key-exception-", b"dlt-exception-"];

/// The headers of the dead letter of a record that carried `existing`, as `encode_header` writes them.
///
/// They do not grow with each failure: what was said of an earlier error is replaced. The origin is that of the first
/// failure while the record goes from one dead letter topic to the next; a record that was written back to the topic it
/// came from begins anew.
pub(crate) fn dead_letter_headers(
    existing: &[u8],
    failed: &FailedRecord<'_>,
    style: HeaderStyle,
    detail: Detail,
) -> Vec<u8> {
    let begins_with = |name: &[u8], prefixes: &[&[u8]]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    let has_origin = origin_topic(existing).is_some_and(|topic| topic != failed.topic.as_bytes());
    let mut headers = Vec::with_capacity(existing.len() + 512);
    for (name, value) in HeaderIter::new(existing) {
        let is_replaced = begins_with(name, &EXCEPTION) || (!has_origin && begins_with(name, &ORIGIN));
        if !is_replaced {
            encode_header(&mut headers, name, value);
        }
    }
    let names = match style {
        HeaderStyle::Spring => &SPRING,
        HeaderStyle::Plain => &PLAIN,
    };
    let mut put = |name: &str, value: &[u8]| encode_header(&mut headers, name.as_bytes(), Some(value));
    if !has_origin {
        put(names.topic, failed.topic.as_bytes());
        match style {
            HeaderStyle::Spring => {
                put(names.partition, &failed.partition.to_be_bytes());
                put(names.offset, &failed.offset.to_be_bytes());
                put(names.timestamp, &failed.timestamp.to_millis().unwrap_or(-1).to_be_bytes());
            }
            HeaderStyle::Plain => {
                put(names.partition, failed.partition.to_string().as_bytes());
                put(names.offset, failed.offset.to_string().as_bytes());
                put(names.timestamp, failed.timestamp.to_millis().unwrap_or(-1).to_string().as_bytes());
            }
        }
        put(names.timestamp_type, timestamp_type(failed.timestamp).as_bytes());
        put(names.group_id, failed.group_id.as_bytes());
    }
    put_error(&mut put, (names.class, failed.class), (names.message, failed.message), detail);
    headers
}

/// Which topic the headers say that the record came from.
fn origin_topic(headers: &[u8]) -> Option<&[u8]> {
    let is_topic = |name: &[u8]| name == SPRING.topic.as_bytes() || name == PLAIN.topic.as_bytes();
    HeaderIter::new(headers).filter(|(name, _)| is_topic(name)).filter_map(|(_, value)| value).last()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forward::{LONGEST_TEXT, cut};
    use crate::record::Timestamp;
    use crate::record::encoded::{decoded, encoded};

    const FAILED: FailedRecord<'_> = FailedRecord {
        topic: "orders",
        partition: 3,
        offset: 0x0102_0304_0506,
        timestamp: Timestamp::CreateTime(1_700_000_000_123),
        group_id: "shop",
        class: "decode",
        message: "no such product",
    };

    #[track_caller]
    fn check(actual: &[u8], expected: &[(&[u8], Option<&[u8]>)]) {
        assert_eq!(decoded(actual), decoded(&encoded(expected)));
    }

    #[test]
    fn springs_headers_are_those_that_its_tools_read() {
        check(
            &dead_letter_headers(&[], &FAILED, HeaderStyle::Spring, Detail::Full),
            &[
                (b"kafka_dlt-original-topic", Some(b"orders")),
                (b"kafka_dlt-original-partition", Some(&[0, 0, 0, 3])),
                (b"kafka_dlt-original-offset", Some(&[0, 0, 1, 2, 3, 4, 5, 6])),
                (b"kafka_dlt-original-timestamp", Some(&[0, 0, 0x01, 0x8b, 0xcf, 0xe5, 0x68, 0x7b])),
                (b"kafka_dlt-original-timestamp-type", Some(b"CreateTime")),
                (b"kafka_dlt-original-consumer-group", Some(b"shop")),
                (b"kafka_dlt-exception-fqcn", Some(b"decode")),
                (b"kafka_dlt-exception-message", Some(b"no such product")),
            ],
        );
    }

    #[test]
    fn plain_headers_are_text() {
        let failed = FailedRecord { timestamp: Timestamp::NotAvailable, ..FAILED };
        check(
            &dead_letter_headers(&[], &failed, HeaderStyle::Plain, Detail::Full),
            &[
                (b"dlt-original-topic", Some(b"orders")),
                (b"dlt-original-partition", Some(b"3")),
                (b"dlt-original-offset", Some(b"1108152157446")),
                (b"dlt-original-timestamp", Some(b"-1")),
                (b"dlt-original-timestamp-type", Some(b"NoTimestampType")),
                (b"dlt-original-consumer-group", Some(b"shop")),
                (b"dlt-exception-class", Some(b"decode")),
                (b"dlt-exception-message", Some(b"no such product")),
            ],
        );
    }

    #[test]
    fn the_records_own_headers_stay_as_they_were_and_come_first() {
        let own: [(&[u8], Option<&[u8]>); 5] = [
            (b"trace", Some(b"1")),
            (b"\xff\xfe", Some(b"\0\x80")),
            (b"trace", None),
            (b"", Some(b"")),
            (b"kafka_correlationId", Some(b"7")),
        ];
        let headers = dead_letter_headers(&encoded(&own), &FAILED, HeaderStyle::Spring, Detail::Full);
        assert_eq!(decoded(&headers)[..5], decoded(&encoded(&own)));
        assert_eq!(decoded(&headers).len(), 5 + 8);
    }

    #[test]
    fn a_record_that_fails_again_keeps_its_origin_and_its_number_of_headers() {
        let first = dead_letter_headers(&[], &FAILED, HeaderStyle::Spring, Detail::Full);
        let again = FailedRecord { topic: "orders-dlt", offset: 9, class: "timeout", message: "too late", ..FAILED };
        let mut headers = first.clone();
        for _ in 0..5 {
            headers = dead_letter_headers(&headers, &again, HeaderStyle::Spring, Detail::Full);
        }
        let mut expected = decoded(&first);
        expected[6].1 = Some(b"timeout".to_vec());
        expected[7].1 = Some(b"too late".to_vec());
        assert_eq!(decoded(&headers), expected);
    }

    #[test]
    fn a_record_that_was_written_back_to_its_topic_begins_anew() {
        let first = dead_letter_headers(&[], &FAILED, HeaderStyle::Plain, Detail::Full);
        let replayed = FailedRecord { offset: 9, ..FAILED };
        let headers = dead_letter_headers(&first, &replayed, HeaderStyle::Spring, Detail::Full);
        assert_eq!(decoded(&headers), decoded(&dead_letter_headers(&[], &replayed, HeaderStyle::Spring, Detail::Full)));
    }

    #[test]
    fn what_spring_said_of_an_earlier_error_is_replaced_too() {
        let springs = encoded(&[
            (b"kafka_dlt-exception-stacktrace", Some(b"at java.lang.Thread")),
            (b"kafka_dlt-exception-cause-fqcn", Some(b"java.lang.X")),
            (b"kafka_dlt-key-exception-message", Some(b"key")),
        ]);
        let headers = dead_letter_headers(&springs, &FAILED, HeaderStyle::Spring, Detail::Full);
        assert_eq!(decoded(&headers), decoded(&dead_letter_headers(&[], &FAILED, HeaderStyle::Spring, Detail::Full)));
    }

    #[test]
    fn the_text_of_the_error_is_cut_first_and_between_characters() {
        let long = "ä".repeat(LONGEST_TEXT);
        let failed = FailedRecord { message: &long, ..FAILED };
        let sizes: Vec<usize> = [Detail::Full, Detail::Brief, Detail::Class, Detail::Origin]
            .iter()
            .map(|detail| dead_letter_headers(&[], &failed, HeaderStyle::Spring, *detail).len())
            .collect();
        assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]), "{sizes:?}");
        assert!(sizes[0] < LONGEST_TEXT + 500, "{sizes:?}");
        assert_eq!(cut("aäb", 2), "a");
        assert_eq!(Detail::Full.less().and_then(Detail::less).and_then(Detail::less), Some(Detail::Origin));
        assert_eq!(Detail::Origin.less(), None);
    }
}
