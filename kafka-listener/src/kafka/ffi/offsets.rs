//! Where logs begin and end, and which offset a time has: asked without waiting.

use std::ffi::c_char;
use std::time::Duration;

use super::client::millis;
use super::list::PartitionList;
use super::{Client, PartitionOffset, owned, sys};
use crate::record::TopicPartition;

/// What to ask of a log. `rd_kafka_OffsetSpec_t`: the two ends, or a time in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetOf {
    Beginning,
    End,
    Time(i64),
}

impl OffsetOf {
    fn spec(self) -> i64 {
        match self {
            Self::Beginning => -2,
            Self::End => -1,
            Self::Time(millis) => millis.max(0),
        }
    }
}

/// The answer to one question: the partitions asked for, or none where the question failed as a whole.
#[derive(Clone, Debug)]
pub(crate) struct OffsetsAnswer {
    pub(crate) serial: u64,
    /// A partition without an offset has none: no record is as young as the time.
    pub(crate) partitions: Vec<PartitionOffset>,
}

impl Client {
    /// Asks the leaders of these partitions, which must differ; the answer comes out of [`Client::offsets_answer`] with the
    /// same serial, after `wait` at the latest.
    pub(crate) fn ask_offsets<'a>(
        &self,
        serial: u64,
        partitions: impl IntoIterator<Item = (&'a TopicPartition, OffsetOf)>,
        read_committed: bool,
        wait: Duration,
    ) {
        let list = PartitionList::new(partitions.into_iter().map(|(partition, of)| (partition, Some(of.spec()))));
        let opaque = usize::try_from(serial).map_or(std::ptr::null_mut(), std::ptr::without_provenance_mut);
        let mut text = [0 as c_char; 128];
        // SAFETY: client, list and queue are live; options are ours and freed once; the call copies list and options; the
        // opaque is a number that nobody follows. A setting that is refused leaves its default.
        unsafe {
            let options = sys::rd_kafka_AdminOptions_new(self.native.handle, sys::ADMIN_LIST_OFFSETS);
            sys::rd_kafka_AdminOptions_set_request_timeout(options, millis(wait), text.as_mut_ptr(), text.len());
            let isolation = if read_committed { sys::READ_COMMITTED } else { sys::READ_UNCOMMITTED };
            let refused = sys::rd_kafka_AdminOptions_set_isolation_level(options, isolation);
            if !refused.is_null() {
                sys::rd_kafka_error_destroy(refused);
            }
            sys::rd_kafka_AdminOptions_set_opaque(options, opaque);
            sys::rd_kafka_ListOffsets(self.native.handle, list.as_ptr(), options, self.offsets.as_ptr());
            sys::rd_kafka_AdminOptions_destroy(options);
        }
    }

    /// Takes one answer, if any has come.
    pub(crate) fn offsets_answer(&self) -> Option<OffsetsAnswer> {
        if !self.offsets.ready().take() {
            return None;
        }
        // SAFETY: the queue is live; the event is ours, and what it holds is copied before it is destroyed, once.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.offsets.as_ptr(), 0);
            if event.is_null() {
                return None;
            }
            // There may be more behind it.
            self.offsets.ready().mark_quietly();
            let serial = sys::rd_kafka_event_opaque(event).addr() as u64;
            let result = sys::rd_kafka_event_ListOffsets_result(event);
            let mut partitions = Vec::new();
            if !result.is_null() && sys::rd_kafka_event_error(event) == 0 {
                let mut count = 0;
                let infos = sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
                for index in 0..count {
                    let element = &*sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*infos.add(index));
                    partitions.push(PartitionOffset {
                        topic_partition: TopicPartition::new(owned(element.topic), element.partition),
                        offset: (element.offset >= 0).then_some(element.offset),
                        error: (element.err != 0).then_some(element.err),
                    });
                }
            }
            sys::rd_kafka_event_destroy(event);
            Some(OffsetsAnswer { serial, partitions })
        }
    }
}
