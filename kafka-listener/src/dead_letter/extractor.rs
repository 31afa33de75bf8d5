//! `DeadLetter`: what a listener on a dead letter topic learns of the record that it was given.

use std::fmt;

use super::headers::{Names, PLAIN, SPRING};
use crate::extract::{FromRecord, Headers};
use crate::record::{RecordContext, Timestamp, TopicPartition};

/// Where a dead letter came from, and why it is here: read from its headers, whether this library wrote them (in either
/// style) or Spring's `DeadLetterPublishingRecoverer`.
///
/// A record without them is refused with a terminal error; where there may be some, write an extractor that calls
/// [`DeadLetter::of`].
///
/// ```
/// use kafka_listener::extract::{DeadLetter, RawPayload};
/// # #[cfg(feature = "macros")]
/// use kafka_listener::kafka_listener;
///
/// # #[cfg(feature = "macros")]
/// #[kafka_listener(topic = "orders-dlt", group_id = "repair-desk")]
/// async fn inspect(payload: RawPayload, letter: DeadLetter) {
///     tracing::warn!(from = %letter.origin(), offset = letter.offset(), class = letter.exception_class(),
///         error = letter.exception_message(), bytes = payload.as_bytes().map_or(0, <[u8]>::len), "cannot be handled");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    origin: TopicPartition,
    offset: i64,
    timestamp: Timestamp,
    group_id: Option<String>,
    class: Option<String>,
    message: Option<String>,
}

impl DeadLetter {
    /// What the headers of `record` say, for extractors of your own.
    ///
    /// # Errors
    ///
    /// They do not name where the record came from.
    pub fn of(record: RecordContext<'_>) -> Result<Self, NoDeadLetter> {
        let headers = Headers::of(record);
        let letter = read(&headers, &SPRING, binary).or_else(|| read(&headers, &PLAIN, textual));
        letter.ok_or_else(|| NoDeadLetter { place: format!("{}@{}", record.topic_partition(), record.offset()) })
    }

    /// Topic and partition that the record was first read from.
    pub fn origin(&self) -> &TopicPartition {
        &self.origin
    }

    /// Its offset there.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Its time there, which is also the time of the dead letter.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The group that could not handle it.
    pub fn group_id(&self) -> Option<&str> {
        self.group_id.as_deref()
    }

    /// The class of the error: one of [`ErrorClass`](crate::ErrorClass), a name given by
    /// [`Classify`](crate::Classify), or the exception's class where Spring wrote it.
    pub fn exception_class(&self) -> Option<&str> {
        self.class.as_deref()
    }

    /// The error's text with its causes; it may have been cut.
    pub fn exception_message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

/// `None`: some of the origin is missing or not what it should be.
fn read(headers: &Headers, names: &Names, number: fn(&[u8]) -> Option<i64>) -> Option<DeadLetter> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
    let number = |name| headers.get(name).and_then(number);
    let partition = i32::try_from(number(names.partition)?).ok()?;
    let millis = number(names.timestamp).filter(|millis| *millis >= 0);
    let timestamp = match (millis, text(names.timestamp_type).as_deref()) {
        (None, _) => Timestamp::NotAvailable,
        (Some(millis), Some("LogAppendTime")) => Timestamp::LogAppendTime(millis),
        (Some(millis), _) => Timestamp::CreateTime(millis),
    };
    Some(DeadLetter {
        origin: TopicPartition::new(text(names.topic)?, partition),
        offset: number(names.offset)?,
        timestamp,
        group_id: text(names.group_id),
        class: text(names.class),
        message: text(names.message),
    })
}

/// A number as Java's `ByteBuffer` writes it.
fn binary(value: &[u8]) -> Option<i64> {
    match value {
        &[a, b, c, d] => Some(i32::from_be_bytes([a, b, c, d]).into()),
        _ => value.try_into().ok().map(i64::from_be_bytes),
    }
}

fn textual(value: &[u8]) -> Option<i64> {
    str::from_utf8(value).ok()?.parse().ok()
}

#[diagnostic::do_not_recommend]
impl FromRecord for DeadLetter {
    type Rejection = NoDeadLetter;

    fn from_record(record: RecordContext<'_>) -> Result<Self, NoDeadLetter> {
        Self::of(record)
    }
}

/// The record's headers do not name where it came from: nobody published it as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoDeadLetter {
    place: String,
}

impl fmt::Display for NoDeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record `{}` is no dead letter: its headers do not say where it came from", self.place)
    }
}

impl std::error::Error for NoDeadLetter {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_letter::headers::{HeaderStyle, dead_letter_headers};
    use crate::extract::sample::Sample;
    use crate::forward::{Detail, FailedRecord};
    use crate::record::HeaderIter;

    fn letter(headers: &[u8]) -> Result<DeadLetter, NoDeadLetter> {
        let sample = HeaderIter::new(headers).fold(Sample::new(), |sample, (name, value)| sample.header(name, value));
        sample.read(DeadLetter::of)
    }

    #[test]
    fn what_was_written_is_read_in_both_styles() {
        for timestamp in [Timestamp::CreateTime(1), Timestamp::LogAppendTime(2), Timestamp::NotAvailable] {
            let failed = FailedRecord {
                topic: "orders",
                partition: 3,
                offset: 1 << 40,
                timestamp,
                group_id: "shop",
                class: "decode",
                message: "no such product",
            };
            for style in [HeaderStyle::Spring, HeaderStyle::Plain] {
                let letter = letter(&dead_letter_headers(&[], &failed, style, Detail::Full)).unwrap();
                assert_eq!((letter.origin(), letter.offset()), (&TopicPartition::new("orders", 3), 1 << 40));
                assert_eq!((letter.timestamp(), letter.group_id()), (timestamp, Some("shop")));
                assert_eq!(letter.exception_class(), Some("decode"));
                assert_eq!(letter.exception_message(), Some("no such product"));
            }
        }
    }

    #[test]
    fn a_record_that_nobody_published_as_a_dead_letter_is_refused() {
        let refused = letter(&[]).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "record `orders-2@41` is no dead letter: its headers do not say where it came from"
        );
    }
}
