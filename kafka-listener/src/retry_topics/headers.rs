//! The headers of a record in a retry topic: when it is due, how often it was delivered, where it came from. Pure.
//!
//! Names and encodings are those of Spring's `@RetryableTopic`, which reads what is written here and the other way round.
//! Whatever else the record carried stays as it was, in its order.

use crate::forward::{Detail, FailedRecord, put_error, timestamp_type};
use crate::record::{HeaderIter, Timestamp, encode_header};

const ORIGINAL: &str = "kafka_original-";
const TOPIC: &str = "kafka_original-topic";
const PARTITION: &str = "kafka_original-partition";
const OFFSET: &str = "kafka_original-offset";
const TIMESTAMP: &str = "kafka_original-timestamp";
const TIMESTAMP_TYPE: &str = "kafka_original-timestamp-type";
/// Spring has no name of its own for it in retry topics.
const SPRINGS_GROUP: &str = "kafka_dlt-original-consumer-group";

const EXCEPTION: [&str; 2] = ["kafka_exception-", "kafka_key-exception-"];
const CLASS: &str = "kafka_exception-fqcn";
const MESSAGE: &str = "kafka_exception-message";

const RETRY: &str = "retry_topic-";
const ATTEMPTS: &str = "retry_topic-attempts";
const BACKOFF_TIMESTAMP: &str = "retry_topic-backoff-timestamp";
const ORIGINAL_TIMESTAMP: &str = "retry_topic-original-timestamp";
/// Not Spring's: several groups may read one topic, and their records meet in its retry topics.
const GROUP: &str = "retry_topic-consumer-group";

/// A record on its way to a retry topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Later<'f> {
    /// The listener's own topic that it came from, however long ago.
    pub(crate) source: &'f str,
    /// Where it is read from now.
    pub(crate) failed: FailedRecord<'f>,
    /// The number of the delivery that it waits for; the one in the listener's own topic is 1.
    pub(crate) attempts: u32,
    /// Milliseconds since 1970.
    pub(crate) due: i64,
}

/// What the headers of a record in a retry topic say; nothing of it needs to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting<'h> {
    /// The number of the delivery that it waits for.
    pub(crate) attempts: Option<u32>,
    /// When it is due, in milliseconds since 1970.
    pub(crate) due: Option<i64>,
    /// The group that put it there.
    pub(crate) group: Option<&'h [u8]>,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    pub(crate) timestamp: Option<Timestamp>,
}

impl<'h> Waiting<'h> {
    /// Reads headers as `encode_header` writes them; of several of one name the last one counts.
    pub(crate) fn of(headers: &'h [u8]) -> Self {
        let mut waiting = Self::default();
        let (mut millis, mut is_append_time) = (None, false);
        for (name, value) in HeaderIter::new(headers) {
            let (Ok(name), Some(value)) = (str::from_utf8(name), value) else { continue };
            match name {
                ATTEMPTS => waiting.attempts = attempts(value),
                BACKOFF_TIMESTAMP => waiting.due = big_integer(value),
                GROUP => waiting.group = Some(value),
                PARTITION => waiting.partition = value.try_into().ok().map(i32::from_be_bytes),
                OFFSET => waiting.offset = value.try_into().ok().map(i64::from_be_bytes),
                TIMESTAMP => millis = value.try_into().ok().map(i64::from_be_bytes),
                TIMESTAMP_TYPE => is_append_time = value == timestamp_type(Timestamp::LogAppendTime(0)).as_bytes(),
                _ => {}
            }
        }
        waiting.timestamp = millis.map(|millis| match (millis, is_append_time) {
            (..0, _) => Timestamp::NotAvailable,
            (_, true) => Timestamp::LogAppendTime(millis),
            (_, false) => Timestamp::CreateTime(millis),
        });
        waiting
    }

    /// Whether it was put there for another group, which reads the topic too.
    pub(crate) fn is_of_another_group(&self, group_id: &str) -> bool {
        self.group.is_some_and(|group| group != group_id.as_bytes())
    }
}

/// The headers for the next retry topic of a record that carried `existing`, as `encode_header` writes them.
///
/// They do not grow with each try. The origin is written when the record leaves the listener's own topic, where all that
/// an earlier journey left is dropped, and stays from then on.
pub(super) fn retry_headers(existing: &[u8], later: &Later<'_>, detail: Detail) -> Vec<u8> {
    let &Later { source, failed, attempts, due } = later;
    let is_new = failed.topic == source || !HeaderIter::new(existing).any(|(name, _)| name == TOPIC.as_bytes());
    let is_replaced = |name: &str| {
        EXCEPTION.iter().any(|prefix| name.starts_with(prefix))
            || (name.starts_with(RETRY) && (is_new || name != ORIGINAL_TIMESTAMP))
            || (name.starts_with(ORIGINAL) && is_new)
    };
    let mut headers = Vec::with_capacity(existing.len() + 512);
    let mut names_group = false;
    for (name, value) in HeaderIter::new(existing) {
        names_group |= name == SPRINGS_GROUP.as_bytes();
        if !str::from_utf8(name).is_ok_and(is_replaced) {
            encode_header(&mut headers, name, value);
        }
    }
    let mut put = |name: &str, value: &[u8]| encode_header(&mut headers, name.as_bytes(), Some(value));
    if is_new {
        let millis = failed.timestamp.to_millis().unwrap_or(-1);
        put(TOPIC, failed.topic.as_bytes());
        put(PARTITION, &failed.partition.to_be_bytes());
        put(OFFSET, &failed.offset.to_be_bytes());
        put(TIMESTAMP, &millis.to_be_bytes());
        put(TIMESTAMP_TYPE, timestamp_type(failed.timestamp).as_bytes());
        if !names_group {
            put(SPRINGS_GROUP, failed.group_id.as_bytes());
        }
        put(ORIGINAL_TIMESTAMP, &to_big_integer(millis));
    }
    put_error(&mut put, (CLASS, failed.class), (MESSAGE, failed.message), detail);
    put(ATTEMPTS, &i32::try_from(attempts).unwrap_or(i32::MAX).to_be_bytes());
    put(BACKOFF_TIMESTAMP, &to_big_integer(due));
    put(GROUP, failed.group_id.as_bytes());
    headers
}

/// Four bytes; old versions of Spring write one. Numbers that Spring does not believe are not believed.
fn attempts(value: &[u8]) -> Option<u32> {
    let attempts = match *value {
        [one] => u32::from(one),
        [a, b, c, d] => u32::from_be_bytes([a, b, c, d]),
        _ => return None,
    };
    (1..=0x7fff).contains(&attempts).then_some(attempts)
}

/// A number as Java's `BigInteger.toByteArray` writes it: the fewest bytes that keep the sign.
fn to_big_integer(number: i64) -> Vec<u8> {
    let bytes = number.to_be_bytes();
    let is_redundant = |pair: &[u8]| matches!(pair, [0, 0..=0x7f] | [0xff, 0x80..=0xff]);
    let redundant = bytes.windows(2).take_while(|pair| is_redundant(pair)).count();
    bytes[redundant..].to_vec()
}

fn big_integer(value: &[u8]) -> Option<i64> {
    let (first, missing) = (*value.first()?, 8_usize.checked_sub(value.len())?);
    let mut bytes = [if first & 0x80 == 0 { 0 } else { 0xff }; 8];
    bytes[missing..].copy_from_slice(value);
    Some(i64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
