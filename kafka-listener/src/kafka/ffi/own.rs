//! An assignment that no group gives: the client takes partitions by itself and gives them back.

use std::time::Duration;

use super::client::{Client, millis};
use super::list::{PartitionList, topic_name};
use super::{KafkaError, sys};
use crate::record::TopicPartition;

impl Client {
    /// Begins to read these partitions from these offsets, beside those that are read already. Their queues have been
    /// split. Not for a client that subscribes.
    pub(crate) fn assign_own<'a>(
        &self,
        partitions: impl IntoIterator<Item = (&'a TopicPartition, i64)>,
    ) -> Result<(), KafkaError> {
        self.native.answers()?;
        self.assigns_itself.set(true);
        let list = PartitionList::new(partitions.into_iter().map(|(partition, offset)| (partition, Some(offset))));
        // SAFETY: client and list are live; the list is copied by the call.
        KafkaError::check_object(unsafe { sys::rd_kafka_incremental_assign(self.native.handle, list.as_ptr()) })
    }

    /// Stops reading these partitions.
    pub(crate) fn unassign_own(&self, partitions: &[TopicPartition]) -> Result<(), KafkaError> {
        self.native.answers()?;
        let list = PartitionList::new(partitions.iter().map(|partition| (partition, None)));
        // SAFETY: as in `assign_own`.
        KafkaError::check_object(unsafe { sys::rd_kafka_incremental_unassign(self.native.handle, list.as_ptr()) })
    }

    /// Stops fetching a partition and drops what was fetched of it.
    pub(crate) fn pause(&self, topic_partition: &TopicPartition) {
        let list = PartitionList::new([(topic_partition, None)]);
        // SAFETY: client and list are live. An error means that the partition is not assigned: nothing is fetched.
        let _ = unsafe { sys::rd_kafka_pause_partitions(self.native.handle, list.as_ptr()) };
    }

    /// Ends a pause.
    pub(crate) fn resume_one(&self, topic_partition: &TopicPartition) {
        let list = PartitionList::new([(topic_partition, None)]);
        // SAFETY: as in `pause`.
        let _ = unsafe { sys::rd_kafka_resume_partitions(self.native.handle, list.as_ptr()) };
    }

    /// Asks any broker that is connected for nothing but an answer. Waits at most `wait`.
    pub(crate) fn ask_any_broker(&self, wait: Duration) -> Result<(), KafkaError> {
        let mut metadata = std::ptr::null();
        // SAFETY: the client is live; the metadata is ours where there is one, and freed once.
        unsafe {
            let code =
                sys::rd_kafka_metadata(self.native.handle, 0, std::ptr::null_mut(), &raw mut metadata, millis(wait));
            if !metadata.is_null() {
                sys::rd_kafka_metadata_destroy(metadata);
            }
            KafkaError::check(code)
        }
    }

    /// The first offset that is there and the first one that is not, asked of the broker; to a client that reads committed
    /// records only, the log ends where the first open transaction begins. Waits at most `wait`.
    pub(crate) fn query_ends(
        &self,
        topic_partition: &TopicPartition,
        wait: Duration,
    ) -> Result<(i64, i64), KafkaError> {
        let topic = topic_name(topic_partition.topic());
        let (mut low, mut high) = (-1, -1);
        // SAFETY: client and topic are live, the rest are out-parameters.
        KafkaError::check(unsafe {
            sys::rd_kafka_query_watermark_offsets(
                self.native.handle,
                topic.as_ptr(),
                topic_partition.partition(),
                &raw mut low,
                &raw mut high,
                millis(wait),
            )
        })?;
        Ok((low, high))
    }
}
