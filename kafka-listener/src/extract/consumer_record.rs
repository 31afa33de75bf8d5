//! `ConsumerRecord<T>`: Spring's word for a payload with everything around it.
//!
//! A payload and not an extractor, because it decodes; any payload fits in it.

use std::fmt;

use bytes::Bytes;

use super::{Headers, RecordMetadata};
use crate::decode::{DecodeError, Payload};
use crate::record::{RecordContext, Timestamp};

/// A payload with the key, the headers and the metadata of its record.
///
/// `T` is any payload: `ConsumerRecord<Option<Order>>` takes tombstones, `ConsumerRecord<RawPayload>` bytes. Key and
/// headers are not copied; while this lives, the hand-over that the record came with stays in memory.
#[derive(Clone)]
pub struct ConsumerRecord<T> {
    payload: T,
    key: Option<Bytes>,
    headers: Headers,
    metadata: RecordMetadata,
}

impl<T> ConsumerRecord<T> {
    pub(crate) fn around(payload: T, record: RecordContext<'_>) -> Self {
        Self { payload, key: record.key_bytes(), headers: Headers::of(record), metadata: RecordMetadata::of(record) }
    }

    /// The payload.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// Gives the payload away.
    pub fn into_payload(self) -> T {
        self.payload
    }

    /// The key's bytes; `None` is Kafka's null key.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Where the record comes from and who handles it.
    pub fn metadata(&self) -> &RecordMetadata {
        &self.metadata
    }

    /// The topic the record was read from.
    pub fn topic(&self) -> &str {
        self.metadata.topic()
    }

    /// The partition the record was read from.
    pub fn partition(&self) -> i32 {
        self.metadata.partition()
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.metadata.offset()
    }

    /// The record's time.
    pub fn timestamp(&self) -> Timestamp {
        self.metadata.timestamp()
    }
}

impl<T> fmt::Debug for ConsumerRecord<T> {
    /// Names the record; payload, key and headers stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConsumerRecord({})", self.metadata)
    }
}

impl<T: Payload> Payload for ConsumerRecord<T> {
    fn decode(record: RecordContext<'_>) -> Result<Self, DecodeError> {
        Ok(Self::around(T::decode(record)?, record))
    }
}
