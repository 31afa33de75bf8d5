//! `RecordMetadata`: coordinates of the record and names of who handles it.
//!
//! Shares all its strings, so that taking it costs no allocation.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use super::FromRecord;
use crate::record::{RecordContext, Timestamp, TopicPartition};

/// Where a record comes from and who handles it. Prints as `topic-partition@offset`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    topic_partition: TopicPartition,
    offset: i64,
    timestamp: Timestamp,
    group_id: Arc<str>,
    listener_id: Arc<str>,
    attempt: u32,
}

impl RecordMetadata {
    /// The metadata of `record`, for extractors of your own.
    pub fn of(record: RecordContext<'_>) -> Self {
        Self {
            topic_partition: record.topic_partition().clone(),
            offset: record.offset(),
            timestamp: record.timestamp(),
            group_id: Arc::clone(record.shared_group_id()),
            listener_id: Arc::clone(record.shared_listener_id()),
            attempt: record.attempt(),
        }
    }

    /// The metadata of a record that nobody has at hand any more.
    pub(crate) fn new(
        topic_partition: TopicPartition,
        (offset, timestamp): (i64, Timestamp),
        group_id: Arc<str>,
        listener_id: Arc<str>,
        attempt: u32,
    ) -> Self {
        Self { topic_partition, offset, timestamp, group_id, listener_id, attempt }
    }

    /// The topic the record was read from.
    pub fn topic(&self) -> &str {
        self.topic_partition.topic()
    }

    /// The partition the record was read from.
    pub fn partition(&self) -> i32 {
        self.topic_partition.partition()
    }

    /// The topic and partition the record was read from.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The record's time.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The consumer group that the record is handled for.
    pub fn group_id(&self) -> &str {
        &self.group_id
    }

    /// The id of the listener that handles the record.
    pub fn listener_id(&self) -> &str {
        &self.listener_id
    }

    /// How often the record has been handed to the listener in this process, this time included: from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl fmt::Display for RecordMetadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.topic_partition, self.offset)
    }
}

#[diagnostic::do_not_recommend]
impl FromRecord for RecordMetadata {
    type Rejection = Infallible;

    const READS_HEADERS: bool = false;

    fn from_record(record: RecordContext<'_>) -> Result<Self, Infallible> {
        Ok(Self::of(record))
    }
}
