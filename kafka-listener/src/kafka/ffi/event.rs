//! What librdkafka has to say, copied out of its queue.

use std::ffi::{c_char, c_int};

use super::list::PartitionList;
use super::{KafkaError, owned, sys};
use crate::record::TopicPartition;

/// One thing that librdkafka has to say, taken from its queue.
#[derive(Debug)]
pub(crate) enum Event {
    /// The group waits for an answer: one of the assign or unassign calls.
    Rebalance {
        kind: RebalanceKind,
        partitions: RebalancePartitions,
    },
    /// Informational; librdkafka goes on by itself.
    Error(KafkaError),
    /// The client is dead; the assignment is gone without a revoke.
    Fatal(KafkaError),
    Log {
        level: i32,
        facility: String,
        text: String,
    },
    /// A record outside its partition's queue: a bug in the splitting of queues.
    StrayRecord {
        partition: i32,
        offset: i64,
    },
    /// Nothing for us.
    Other,
}

impl Event {
    /// # Safety
    /// `event` is a live event.
    pub(super) unsafe fn copy_of(event: *mut sys::Event) -> Self {
        // SAFETY: every pointer read here belongs to the event, which lives through this function; all is copied.
        unsafe {
            match sys::rd_kafka_event_type(event) {
                sys::EVENT_REBALANCE => {
                    let kind = match sys::rd_kafka_event_error(event) {
                        sys::ASSIGN_PARTITIONS => RebalanceKind::Assign,
                        sys::REVOKE_PARTITIONS => RebalanceKind::Revoke,
                        code => return Self::Error(KafkaError::from_code(code)),
                    };
                    let list = PartitionList::copy_of(sys::rd_kafka_event_topic_partition_list(event));
                    Self::Rebalance { kind, partitions: RebalancePartitions(list) }
                }
                sys::EVENT_ERROR => {
                    let error = KafkaError {
                        code: sys::rd_kafka_event_error(event),
                        text: owned(sys::rd_kafka_event_error_string(event)),
                    };
                    if sys::rd_kafka_event_error_is_fatal(event) != 0 { Self::Fatal(error) } else { Self::Error(error) }
                }
                sys::EVENT_LOG => {
                    let (mut facility, mut text, mut level): (*const c_char, *const c_char, c_int) =
                        (std::ptr::null(), std::ptr::null(), 0);
                    if sys::rd_kafka_event_log(event, &raw mut facility, &raw mut text, &raw mut level) != 0 {
                        return Self::Other;
                    }
                    Self::Log { level, facility: owned(facility), text: owned(text) }
                }
                sys::EVENT_FETCH => {
                    let message = sys::rd_kafka_event_message_next(event);
                    if message.is_null() {
                        return Self::Other;
                    }
                    Self::StrayRecord { partition: (*message).partition, offset: (*message).offset }
                }
                _ => Self::Other,
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RebalanceKind {
    Assign,
    Revoke,
}

/// The partitions of a rebalance, as librdkafka gave them: with leader epochs that its own calls want back.
#[derive(Debug)]
pub(crate) struct RebalancePartitions(pub(super) PartitionList);

impl Clone for RebalancePartitions {
    fn clone(&self) -> Self {
        // SAFETY: the list is live.
        Self(unsafe { PartitionList::copy_of(self.0.as_ptr()) })
    }
}

impl RebalancePartitions {
    pub(crate) fn to_vec(&self) -> Vec<TopicPartition> {
        self.0.to_vec().into_iter().map(|element| element.topic_partition).collect()
    }

    /// Sets the offset to start from where `offset` has an answer.
    pub(crate) fn start_at(&mut self, offset: impl Fn(&str, i32) -> Option<i64>) {
        self.0.set_offsets(offset);
    }
}
