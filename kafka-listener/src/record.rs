//! Records as the engine hands them to listeners: one arena per hand-over, no allocation per record.
//!
//! Knows nothing of librdkafka and nothing of offsets to commit.

mod arenas;
#[cfg(test)]
pub(crate) mod encoded;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

pub(crate) use arenas::{Arenas, Spare};

use crate::config::Codec;
use crate::producer::Producer;
use crate::reply::{Replies, Reply};
use crate::slots::{Tenure, WorkPermit};
use crate::state::States;
use crate::worker::AckSlot;

/// A topic name and a partition number.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    topic: Arc<str>,
    partition: i32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }

    /// The topic's name.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's number, from 0.
    pub fn partition(&self) -> i32 {
        self.partition
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A record's time, and who set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Timestamp {
    /// The message format carries none.
    NotAvailable,
    /// Set by the producer, in milliseconds since the Unix epoch.
    CreateTime(i64),
    /// Set by the broker when it appended the record, in milliseconds since the Unix epoch.
    LogAppendTime(i64),
}

impl Timestamp {
    /// Milliseconds since the Unix epoch.
    pub fn to_millis(self) -> Option<i64> {
        match self {
            Self::NotAvailable => None,
            Self::CreateTime(millis) | Self::LogAppendTime(millis) => Some(millis),
        }
    }

    /// The same as a system time; `None` also for times before 1970.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let millis = u64::try_from(self.to_millis()?).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }
}

/// A place in a batch's arena; `ABSENT` is Kafka's null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub(crate) const ABSENT: Self = Self { start: 0, len: u32::MAX };

    pub(crate) fn new(start: usize, len: usize) -> Self {
        match (u32::try_from(start), u32::try_from(len)) {
            (Ok(start), Ok(len)) if len != u32::MAX => Self { start, len },
            _ => unreachable!("an arena holds at most one drain, which is bounded below 4 GiB"),
        }
    }

    fn range(self) -> Option<std::ops::Range<usize>> {
        (self.len != u32::MAX).then(|| self.start as usize..self.start as usize + self.len as usize)
    }
}

/// One record's places in its batch's arena.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord {
    pub(crate) offset: i64,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Span,
    pub(crate) payload: Span,
    /// Encoded by [`encode_header`], one after the other; `ABSENT` when there are none.
    pub(crate) headers: Span,
}

impl RawRecord {
    /// Bytes of key, payload and headers.
    pub(crate) fn size(&self) -> u64 {
        [self.key, self.payload, self.headers]
            .iter()
            .filter_map(|span| span.range())
            .map(|range| range.len() as u64)
            .sum()
    }
}

/// Consecutive records of one partition, copied out of librdkafka in one go.
#[derive(Debug)]
pub(crate) struct RecordBatch {
    pub(crate) topic_partition: TopicPartition,
    pub(crate) arena: Bytes,
    pub(crate) records: Vec<RawRecord>,
    home: arenas::Home,
}

impl RecordBatch {
    /// A batch of memory of its own.
    #[cfg(test)]
    pub(crate) fn new(topic_partition: TopicPartition, arena: Vec<u8>, records: Vec<RawRecord>) -> Self {
        Self { topic_partition, arena: arena.into(), records, home: None }
    }

    /// A batch whose memory goes back to `arenas` when it is dropped.
    pub(crate) fn from_arenas(topic_partition: TopicPartition, spare: Spare, arenas: &Arc<Arenas>) -> Self {
        let Spare { arena, records } = spare;
        Self { topic_partition, arena: arena.into(), records, home: Some(Arc::clone(arenas)) }
    }
}

impl Drop for RecordBatch {
    fn drop(&mut self) {
        if let Some(home) = &self.home {
            home.give_back(std::mem::take(&mut self.arena), std::mem::take(&mut self.records));
        }
    }
}

impl RecordBatch {
    /// A record's encoded headers as a handle that keeps the hand-over in memory.
    pub(crate) fn headers_of(&self, record: &RawRecord) -> Bytes {
        record.headers.range().map(|range| self.arena.slice(range)).unwrap_or_default()
    }

    /// The bytes at a place; `None` is Kafka's null.
    pub(crate) fn bytes(&self, span: Span) -> Option<&[u8]> {
        span.range().map(|range| &self.arena[range])
    }

    /// The bytes of the arena that are given back when the record at `index` is done, so that all of them come to all of
    /// it.
    pub(crate) fn credit(&self, index: usize) -> u64 {
        let size = self.records[index].size();
        if index + 1 < self.records.len() {
            return size;
        }
        let others: u64 = self.records[..index].iter().map(RawRecord::size).sum();
        (self.arena.len() as u64).saturating_sub(others)
    }
}

/// Appends one header to an arena: name length, name, value length (`u32::MAX` is null), value.
pub(crate) fn encode_header(arena: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX - 1).to_ne_bytes();
    arena.extend_from_slice(&length(name));
    arena.extend_from_slice(name);
    match value {
        Some(value) => {
            arena.extend_from_slice(&length(value));
            arena.extend_from_slice(value);
        }
        None => arena.extend_from_slice(&u32::MAX.to_ne_bytes()),
    }
}

/// What the generated code and the extractors see of one record: borrowed, `Copy`, free to make.
#[derive(Clone, Copy)]
pub struct RecordContext<'r> {
    batch: &'r RecordBatch,
    record: &'r RawRecord,
    delivery: &'r Delivery<'r>,
}

/// What one delivery adds to the record: who handles it, and which attempt this is.
#[derive(Debug)]
pub(crate) struct Delivery<'r> {
    /// Shared, so that an extractor that outlives the record takes it without copying.
    pub(crate) listener: &'r Arc<str>,
    /// Shared for the same reason.
    pub(crate) group_id: &'r Arc<str>,
    pub(crate) states: &'r States,
    pub(crate) producer: &'r Producer,
    /// From 1.
    pub(crate) attempt: u32,
    /// `retry.attempts`.
    pub(crate) attempt_limit: Option<u32>,
    pub(crate) codec: Codec,
    /// Set by the listener's filter, taken by the worker.
    pub(crate) filtered: AtomicBool,
    pub(crate) permit: &'r WorkPermit,
    /// In the modes that have acknowledgements: what this one is good for.
    pub(crate) ack: Option<AckSlot<'r>>,
    /// Set when it is taken, taken by the worker: a filter or an interceptor may pass the record over.
    pub(crate) ack_taken: AtomicBool,
    /// Where the listener replies: where to.
    pub(crate) replies: Option<&'r Replies>,
    /// Set by the listener's return, taken by the worker.
    pub(crate) noted: Mutex<Vec<Reply>>,
}

impl Delivery<'_> {
    /// The replies of a record whose handler has returned.
    pub(crate) fn take_replies(&self) -> Vec<Reply> {
        std::mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<'r> RecordContext<'r> {
    pub(crate) fn new(batch: &'r RecordBatch, index: usize, delivery: &'r Delivery<'r>) -> Self {
        Self { batch, record: &batch.records[index], delivery }
    }

    /// The topic the record was read from.
    pub fn topic(&self) -> &'r str {
        self.batch.topic_partition.topic()
    }

    /// The topic and partition the record was read from.
    pub fn topic_partition(&self) -> &'r TopicPartition {
        &self.batch.topic_partition
    }

    /// The partition the record was read from.
    pub fn partition(&self) -> i32 {
        self.batch.topic_partition.partition()
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.record.offset
    }

    /// The record's time.
    pub fn timestamp(&self) -> Timestamp {
        self.record.timestamp
    }

    /// The key's bytes; `None` is Kafka's null key.
    pub fn key(&self) -> Option<&'r [u8]> {
        self.slice(self.record.key)
    }

    /// The payload's bytes; `None` is Kafka's null payload, a tombstone.
    pub fn payload(&self) -> Option<&'r [u8]> {
        self.slice(self.record.payload)
    }

    /// The payload as a reference-counted handle that keeps the whole hand-over in memory while it lives.
    pub(crate) fn payload_bytes(&self) -> Option<Bytes> {
        self.record.payload.range().map(|range| self.batch.arena.slice(range))
    }

    /// The headers in the order of the record, repeated names included; a value may be null.
    pub fn headers(&self) -> HeaderIter<'r> {
        HeaderIter::new(self.slice(self.record.headers).unwrap_or_default())
    }

    /// The key as a handle like that of [`Self::payload_bytes`].
    pub(crate) fn key_bytes(&self) -> Option<Bytes> {
        self.record.key.range().map(|range| self.batch.arena.slice(range))
    }

    /// The encoded headers as a handle like that of [`Self::payload_bytes`].
    pub(crate) fn header_bytes(&self) -> Bytes {
        self.record.headers.range().map(|range| self.batch.arena.slice(range)).unwrap_or_default()
    }

    /// The id of the listener that handles the record.
    pub fn listener_id(&self) -> &'r str {
        self.delivery.listener
    }

    /// The consumer group that the record is handled for.
    pub fn group_id(&self) -> &'r str {
        self.delivery.group_id
    }

    pub(crate) fn shared_listener_id(&self) -> &'r Arc<str> {
        self.delivery.listener
    }

    pub(crate) fn shared_group_id(&self) -> &'r Arc<str> {
        self.delivery.group_id
    }

    /// How often this record has been handed to the handler in this process, this time included.
    pub fn attempt(&self) -> u32 {
        self.delivery.attempt
    }

    pub(crate) fn producer(&self) -> &'r Producer {
        self.delivery.producer
    }

    /// How the payload is decoded where the listener names no codec of its own.
    #[cfg_attr(not(feature = "json"), expect(dead_code, reason = "without it payloads are the bytes as they are"))]
    pub(crate) fn codec(&self) -> Codec {
        self.delivery.codec
    }

    /// The listener's filter passes the record over.
    pub(crate) fn note_filtered(&self) {
        self.delivery.filtered.store(true, Ordering::Relaxed);
    }

    /// Where replies go, if the listener replies.
    pub(crate) fn replies(&self) -> Option<&'r Replies> {
        self.delivery.replies
    }

    /// What the listener has returned, to be sent when it is known that the delivery went well.
    pub(crate) fn note_replies(&self, replies: Vec<Reply>) {
        *self.delivery.noted.lock().unwrap_or_else(PoisonError::into_inner) = replies;
    }

    pub(crate) fn attempt_limit(&self) -> Option<u32> {
        self.delivery.attempt_limit
    }

    /// What an acknowledgement of this delivery is good for. An interceptor that goes on to the handler once more makes
    /// another delivery of it, so that the earlier one is superseded.
    pub(crate) fn take_ack(&self) -> Option<AckSlot<'r>> {
        let slot = self.delivery.ack?;
        let is_again = self.delivery.ack_taken.swap(true, Ordering::Relaxed);
        Some(if is_again { slot.again(self.offset()) } else { slot })
    }

    pub(crate) fn states(&self) -> &'r States {
        self.delivery.states
    }

    /// What blocking code keeps until it has really ended: the slot and the partition's ownership.
    pub(crate) fn tenure(&self) -> Tenure {
        self.delivery.permit.tenure()
    }

    fn slice(&self, span: Span) -> Option<&'r [u8]> {
        span.range().map(|range| &self.batch.arena[range])
    }
}

impl fmt::Debug for RecordContext<'_> {
    /// Names the record; payload, key and headers stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.batch.topic_partition, self.record.offset)
    }
}

/// The headers of one record; made by [`RecordContext::headers`] and `Headers::iter`.
#[derive(Clone, Debug)]
pub struct HeaderIter<'r> {
    rest: &'r [u8],
}

impl<'r> HeaderIter<'r> {
    /// Reads what [`encode_header`] wrote.
    pub(crate) fn new(encoded: &'r [u8]) -> Self {
        Self { rest: encoded }
    }

    fn take(&mut self, length: usize) -> &'r [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    fn take_length(&mut self) -> Option<u32> {
        self.take(4).try_into().ok().map(u32::from_ne_bytes)
    }
}

impl<'r> Iterator for HeaderIter<'r> {
    /// A name as bytes (Kafka does not promise UTF-8) and a value.
    type Item = (&'r [u8], Option<&'r [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let length = self.take_length()?;
        let name = self.take(length as usize);
        let value = match self.take_length()? {
            u32::MAX => None,
            length => Some(self.take(length as usize)),
        };
        Some((name, value))
    }
}
