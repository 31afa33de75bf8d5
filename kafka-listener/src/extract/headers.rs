//! `Headers`: all headers of the record, read in place.
//!
//! Nothing is decoded before it is asked for, and nothing is assumed to be text.

use std::convert::Infallible;
use std::fmt;
use std::str::Utf8Error;

use bytes::Bytes;

use super::FromRecord;
use crate::record::{HeaderIter, RecordContext};

/// The record's headers in their order, repeated names included.
///
/// A value may be null, which the getters treat as absent, and a name may be anything: Kafka does not promise UTF-8. The
/// bytes are not copied; while this lives, the hand-over that the record came with stays in memory.
#[derive(Clone, Default)]
pub struct Headers {
    encoded: Bytes,
}

impl Headers {
    /// The headers of `record`, for extractors of your own.
    pub fn of(record: RecordContext<'_>) -> Self {
        Self { encoded: record.header_bytes() }
    }

    /// The value of the last header of that name, as Kafka's `lastHeader` gives it; `None` when there is no such header
    /// or its value is null.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).last().flatten()
    }

    /// The same as text.
    ///
    /// # Errors
    ///
    /// The value is not UTF-8.
    pub fn get_str(&self, name: &str) -> Result<Option<&str>, HeaderNotUtf8> {
        let text = |value| str::from_utf8(value).map_err(|source| HeaderNotUtf8 { name: name.to_owned(), source });
        self.get(name).map(text).transpose()
    }

    /// The values of all headers of that name, in their order; `None` is a null value.
    pub fn get_all<'h>(&'h self, name: &str) -> impl Iterator<Item = Option<&'h [u8]>> {
        self.iter().filter(move |(found, _)| *found == name.as_bytes()).map(|(_, value)| value)
    }

    /// Whether there is a header of that name, null or not.
    pub fn contains(&self, name: &str) -> bool {
        self.get_all(name).next().is_some()
    }

    /// All headers: name as bytes, value or null.
    pub fn iter(&self) -> HeaderIter<'_> {
        HeaderIter::new(&self.encoded)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.encoded.is_empty()
    }
}

impl<'h> IntoIterator for &'h Headers {
    type Item = (&'h [u8], Option<&'h [u8]>);
    type IntoIter = HeaderIter<'h>;

    fn into_iter(self) -> HeaderIter<'h> {
        self.iter()
    }
}

impl fmt::Debug for Headers {
    /// Prints the names; values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

#[diagnostic::do_not_recommend]
impl FromRecord for Headers {
    type Rejection = Infallible;

    fn from_record(record: RecordContext<'_>) -> Result<Self, Infallible> {
        Ok(Self::of(record))
    }
}

/// A header's value is not UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the value of header `{name}` is not UTF-8")]
pub struct HeaderNotUtf8 {
    name: String,
    source: Utf8Error,
}
