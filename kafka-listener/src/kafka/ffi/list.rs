//! Lists of partitions with offsets, owned.

use std::ffi::CString;

use super::{KafkaError, owned, sys};
use crate::record::TopicPartition;

/// "No offset": the committed one is used, or the reset policy.
pub(super) const INVALID: i64 = -1001;

/// One element of a list: a partition with an offset, or with the error that answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionOffset {
    pub(crate) topic_partition: TopicPartition,
    /// `None` where there is none, for example nothing committed yet.
    pub(crate) offset: Option<i64>,
    pub(crate) error: Option<i32>,
}

/// An owned `rd_kafka_topic_partition_list_t`.
#[derive(Debug)]
pub(super) struct PartitionList(*mut sys::List);

// SAFETY: the list is plain memory without ties to a thread.
unsafe impl Send for PartitionList {}

impl PartitionList {
    pub(super) fn new<'a>(elements: impl IntoIterator<Item = (&'a TopicPartition, Option<i64>)>) -> Self {
        // SAFETY: the list is created here and freed in `drop`; the topic is copied by the call.
        unsafe {
            let list = Self(sys::rd_kafka_topic_partition_list_new(8));
            for (topic_partition, offset) in elements {
                let topic = topic_name(topic_partition.topic());
                let element =
                    sys::rd_kafka_topic_partition_list_add(list.0, topic.as_ptr(), topic_partition.partition());
                (*element).offset = offset.unwrap_or(INVALID);
            }
            list
        }
    }

    pub(super) fn of_topics<'a>(topics: impl IntoIterator<Item = &'a str>) -> Self {
        // SAFETY: as in `new`.
        unsafe {
            let list = Self(sys::rd_kafka_topic_partition_list_new(8));
            for topic in topics {
                sys::rd_kafka_topic_partition_list_add(list.0, topic_name(topic).as_ptr(), -1);
            }
            list
        }
    }

    /// Copies a list that librdkafka owns; null becomes an empty list.
    ///
    /// # Safety
    /// `list` is null or a live list.
    pub(super) unsafe fn copy_of(list: *const sys::List) -> Self {
        // SAFETY: passed on from the caller.
        unsafe {
            if list.is_null() {
                return Self(sys::rd_kafka_topic_partition_list_new(0));
            }
            Self(sys::rd_kafka_topic_partition_list_copy(list))
        }
    }

    pub(super) fn as_ptr(&self) -> *mut sys::List {
        self.0
    }

    fn elements(&self) -> &[sys::Element] {
        // SAFETY: the list is live and `elems` holds `cnt` elements (it may be null when there are none).
        unsafe {
            let count = usize::try_from((*self.0).cnt).unwrap_or(0);
            if count == 0 { &[] } else { std::slice::from_raw_parts((*self.0).elems, count) }
        }
    }

    pub(super) fn to_vec(&self) -> Vec<PartitionOffset> {
        self.elements()
            .iter()
            .map(|element| {
                // SAFETY: the topic is a live C string owned by the list.
                let topic = unsafe { owned(element.topic) };
                PartitionOffset {
                    topic_partition: TopicPartition::new(topic, element.partition),
                    offset: (element.offset >= 0).then_some(element.offset),
                    error: (element.err != 0).then_some(element.err),
                }
            })
            .collect()
    }

    /// Overwrites the offset of every element for which `offset` has an answer.
    pub(super) fn set_offsets(&mut self, offset: impl Fn(&str, i32) -> Option<i64>) {
        // SAFETY: as in `elements`, and `&mut self` makes this the only access.
        unsafe {
            let count = usize::try_from((*self.0).cnt).unwrap_or(0);
            for index in 0..count {
                let element = &mut *(*self.0).elems.add(index);
                if let Some(offset) = offset(&owned(element.topic), element.partition) {
                    element.offset = offset;
                }
            }
        }
    }
}

impl Drop for PartitionList {
    fn drop(&mut self) {
        // SAFETY: the list is owned and freed once.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.0) }
    }
}

/// Topic names are validated by the configuration, and those of the broker hold no NUL; a stray one ends the name.
pub(super) fn topic_name(topic: &str) -> CString {
    let end = topic.find('\0').unwrap_or(topic.len());
    CString::new(&topic[..end]).unwrap_or_default()
}

/// The first error among the elements of a list, if any.
pub(super) fn first_error(elements: &[PartitionOffset]) -> Result<(), KafkaError> {
    elements.iter().find_map(|element| element.error).map_or(Ok(()), |code| Err(KafkaError::from_code(code)))
}
