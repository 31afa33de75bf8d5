//! A record that failed and goes to another topic, and how much of its error goes with it. Pure.

use crate::record::Timestamp;

/// Longest text of an error in a header, in bytes.
pub(crate) const LONGEST_TEXT: usize = 8 * 1024;
const BRIEF_TEXT: usize = 256;

/// Where a record was read that failed, and why it goes elsewhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FailedRecord<'f> {
    pub(crate) topic: &'f str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) timestamp: Timestamp,
    pub(crate) group_id: &'f str,
    pub(crate) class: &'f str,
    pub(crate) message: &'f str,
}

/// How much is said of the error. What is cut first when a record becomes too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Full,
    /// The beginning of the text.
    Brief,
    /// Its class alone.
    Class,
    /// Nothing: only where the record came from.
    Origin,
}

impl Detail {
    /// The next smaller one.
    pub(crate) fn less(self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::Brief),
            Self::Brief => Some(Self::Class),
            Self::Class => Some(Self::Origin),
            Self::Origin => None,
        }
    }
}

/// Writes class and text of an error, as much as `detail` leaves of them.
pub(crate) fn put_error(
    put: &mut impl FnMut(&str, &[u8]),
    (class_name, class): (&str, &str),
    (message_name, message): (&str, &str),
    detail: Detail,
) {
    if detail != Detail::Origin {
        put(class_name, class.as_bytes());
    }
    match detail {
        Detail::Full => put(message_name, cut(message, LONGEST_TEXT).as_bytes()),
        Detail::Brief => put(message_name, cut(message, BRIEF_TEXT).as_bytes()),
        Detail::Class | Detail::Origin => {}
    }
}

/// Java's names of the types.
pub(crate) fn timestamp_type(timestamp: Timestamp) -> &'static str {
    match timestamp {
        Timestamp::NotAvailable => "NoTimestampType",
        Timestamp::CreateTime(_) => "CreateTime",
        Timestamp::LogAppendTime(_) => "LogAppendTime",
    }
}

/// The beginning of a text, `limit` bytes at most, cut between characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}
