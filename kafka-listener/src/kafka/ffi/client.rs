//! The consumer client: events out, calls in, and an end that can be bounded.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::sync::Arc;
use std::time::Duration;

use super::configuration::Configuration;
use super::event::{Event, RebalanceKind, RebalancePartitions};
use super::leaving::Native;
use super::list::{PartitionList, first_error, topic_name};
use super::queue::Queue;
use super::{KafkaError, PartitionOffset, owned, sys};
use crate::kafka::waker::Waker;
use crate::record::TopicPartition;

/// A consumer of one group. Used by one thread, the poll loop's, and handed whole to another one at most.
///
/// Field order is drop order: the queues go before the client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(super) events: Queue,
    commit_answers: Queue,
    /// Answers to questions about offsets.
    pub(super) offsets: Queue,
    pub(super) native: Native,
    waker: Arc<Waker>,
    /// Whether it takes partitions by itself, which works like a cooperative assignment.
    pub(super) assigns_itself: Cell<bool>,
}

/// What the cluster says of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicState {
    Exists { partitions: i32 },
    Missing,
}

impl Client {
    /// Creates the client. Connects in the background; never waits for a broker.
    pub(crate) fn new<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
        waker: &Arc<Waker>,
    ) -> Result<Self, KafkaError> {
        let mut conf = Configuration::new();
        let mut ends_by_close = false;
        for (name, value) in properties {
            conf.set(name, value)?;
            ends_by_close |= name == "group.instance.id" || (name == "group.protocol" && value == "consumer");
        }
        conf.set("log.queue", "true")?;
        let mut text = [0 as c_char; 512];
        // SAFETY: the configuration is live, and `rd_kafka_new` takes it only on success; `text` has the length given.
        unsafe {
            let events = sys::EVENT_REBALANCE | sys::EVENT_OFFSET_COMMIT | sys::EVENT_ERROR;
            sys::rd_kafka_conf_set_events(conf.as_ptr(), events);
            let native = sys::rd_kafka_new(sys::CONSUMER, conf.as_ptr(), text.as_mut_ptr(), text.len());
            if native.is_null() {
                return Err(KafkaError { code: 0, text: owned(text.as_ptr()) });
            }
            conf.taken();
            let owner = Native::new(native, ends_by_close);
            KafkaError::check(sys::rd_kafka_poll_set_consumer(native))?;
            let main = sys::rd_kafka_queue_get_main(native);
            let logs = KafkaError::check(sys::rd_kafka_set_log_queue(native, main));
            sys::rd_kafka_queue_destroy(main);
            logs?;
            let events = Queue::adopt(sys::rd_kafka_queue_get_consumer(native), waker);
            let commit_answers = Queue::adopt(sys::rd_kafka_queue_new(native), waker);
            let offsets = Queue::adopt(sys::rd_kafka_queue_new(native), waker);
            Ok(Self {
                events,
                commit_answers,
                offsets,
                native: owner,
                waker: Arc::clone(waker),
                assigns_itself: Cell::new(false),
            })
        }
    }

    /// Takes one event, waiting at most `wait`. `None`: nothing to be had.
    pub(crate) fn poll(&self, wait: Duration) -> Option<Event> {
        // SAFETY: the queue is live; the event is ours and destroyed once, after its contents were copied.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.events.as_ptr(), millis(wait));
            if event.is_null() {
                return None;
            }
            let taken = Event::copy_of(event);
            sys::rd_kafka_event_destroy(event);
            if matches!(taken, Event::Rebalance { .. }) {
                self.native.owes_answer.set(true);
            }
            Some(taken)
        }
    }

    pub(crate) fn subscribe<'a>(&self, topics: impl IntoIterator<Item = &'a str>) -> Result<(), KafkaError> {
        let list = PartitionList::of_topics(topics);
        // SAFETY: client and list are live; the list is copied by the call.
        KafkaError::check(unsafe { sys::rd_kafka_subscribe(self.native.handle, list.as_ptr()) })
    }

    /// Begins to leave the group also as a static member, which closing does not. A revoke event follows where something
    /// is assigned; [`Client::member_id`] is gone once the group has been told.
    pub(crate) fn unsubscribe(&self) -> Result<(), KafkaError> {
        // SAFETY: the client is live.
        KafkaError::check(unsafe { sys::rd_kafka_unsubscribe(self.native.handle) })
    }

    /// Takes the partition's own queue and cuts it loose from the main queue. To be called before the partition is
    /// assigned, and never while another handle of it lives.
    pub(crate) fn split_queue(&self, topic_partition: &TopicPartition) -> Result<Queue, KafkaError> {
        let topic = topic_name(topic_partition.topic());
        // SAFETY: the client is live; the handle is checked and then owned by the `Queue`.
        unsafe {
            let queue =
                sys::rd_kafka_queue_get_partition(self.native.handle, topic.as_ptr(), topic_partition.partition());
            if queue.is_null() {
                return Err(KafkaError { code: 0, text: format!("no queue for partition `{topic_partition}`") });
            }
            sys::rd_kafka_queue_forward(queue, std::ptr::null_mut());
            Ok(Queue::adopt(queue, &self.waker))
        }
    }

    /// Whether the partitions about to be revoked are lost already. To be read before unassigning, which resets it.
    pub(crate) fn assignment_lost(&self) -> bool {
        // SAFETY: the client is live.
        unsafe { sys::rd_kafka_assignment_lost(self.native.handle) != 0 }
    }

    pub(crate) fn is_cooperative(&self) -> bool {
        // SAFETY: the client is live and the answer is a static string.
        self.assigns_itself.get()
            || self.native.answers().is_ok()
                && unsafe { owned(sys::rd_kafka_rebalance_protocol(self.native.handle)) == "COOPERATIVE" }
    }

    /// Answers an assign event. This call and those below wait for librdkafka's own thread, without a deadline and, as
    /// [`Native::answers`] says, without need of one.
    pub(crate) fn assign(&self, partitions: &RebalancePartitions, cooperative: bool) -> Result<(), KafkaError> {
        self.native.answers()?;
        // SAFETY: client and list are live; the list is copied by the calls.
        let outcome = unsafe {
            if cooperative {
                KafkaError::check_object(sys::rd_kafka_incremental_assign(self.native.handle, partitions.0.as_ptr()))
            } else {
                KafkaError::check(sys::rd_kafka_assign(self.native.handle, partitions.0.as_ptr()))
            }
        };
        outcome.inspect(|()| self.native.owes_answer.set(false))
    }

    /// Answers a revoke event.
    pub(crate) fn unassign(&self, partitions: &RebalancePartitions, cooperative: bool) -> Result<(), KafkaError> {
        self.native.answers()?;
        let outcome = if cooperative {
            // One partition of them that was never taken over, as after `decline`, and librdkafka refuses them all.
            self.unassign_incrementally(&partitions.0)
                .or_else(|_| self.unassign_incrementally(&self.assigned_among(partitions)?))
        } else {
            // SAFETY: as in `assign`; null means the whole assignment.
            KafkaError::check(unsafe { sys::rd_kafka_assign(self.native.handle, std::ptr::null()) })
        };
        outcome.inspect(|()| self.native.owes_answer.set(false))
    }

    fn unassign_incrementally(&self, partitions: &PartitionList) -> Result<(), KafkaError> {
        // SAFETY: as in `assign`.
        KafkaError::check_object(unsafe { sys::rd_kafka_incremental_unassign(self.native.handle, partitions.as_ptr()) })
    }

    /// Those of the partitions that librdkafka counts as assigned to us.
    fn assigned_among(&self, partitions: &RebalancePartitions) -> Result<PartitionList, KafkaError> {
        let mut list = std::ptr::null_mut();
        // SAFETY: the client is live; the list is ours when there is no error, and destroyed once.
        let assigned = unsafe {
            KafkaError::check(sys::rd_kafka_assignment(self.native.handle, &raw mut list))?;
            let assigned = PartitionList::copy_of(list);
            sys::rd_kafka_topic_partition_list_destroy(list);
            assigned.to_vec()
        };
        let among = partitions.to_vec();
        let both = assigned.iter().map(|one| &one.topic_partition).filter(|assigned| among.contains(assigned));
        Ok(PartitionList::new(both.map(|partition| (partition, None))))
    }

    /// Answers a rebalance that will not be carried out, so that the group does not wait for us: nothing is taken over,
    /// and what is to be revoked goes.
    pub(crate) fn decline(
        &self,
        kind: RebalanceKind,
        partitions: &RebalancePartitions,
        cooperative: bool,
    ) -> Result<(), KafkaError> {
        match kind {
            // Nothing at all would be no answer to it in the eager protocols, an empty assignment is.
            RebalanceKind::Assign => self.assign(&RebalancePartitions(PartitionList::new([])), cooperative),
            RebalanceKind::Revoke => self.unassign(partitions, cooperative),
        }
    }

    /// Clears a pause that outlived an earlier assignment of the same partitions.
    pub(crate) fn resume(&self, partitions: &RebalancePartitions) {
        // SAFETY: client and list are live. An error means that a partition is not assigned any more: nothing to clear.
        let _ = unsafe { sys::rd_kafka_resume_partitions(self.native.handle, partitions.0.as_ptr()) };
    }

    /// Moves the reading position of one assigned partition, and drops what was fetched from the old one.
    pub(crate) fn seek(&self, topic_partition: &TopicPartition, offset: i64, wait: Duration) -> Result<(), KafkaError> {
        let list = PartitionList::new([(topic_partition, Some(offset))]);
        // SAFETY: client and list are live; per-partition errors are written into the list.
        KafkaError::check_object(unsafe {
            sys::rd_kafka_seek_partitions(self.native.handle, list.as_ptr(), millis(wait))
        })?;
        first_error(&list.to_vec())
    }

    /// The group's committed offsets. Waits for the coordinator, at most `wait`.
    pub(crate) fn committed(
        &self,
        partitions: &[TopicPartition],
        wait: Duration,
    ) -> Result<Vec<PartitionOffset>, KafkaError> {
        let list = PartitionList::new(partitions.iter().map(|partition| (partition, None)));
        // SAFETY: client and list are live; the answers are written into the list.
        KafkaError::check(unsafe { sys::rd_kafka_committed(self.native.handle, list.as_ptr(), millis(wait)) })?;
        Ok(list.to_vec())
    }

    /// The first offset at or after a time in milliseconds since the Unix epoch; `None` where there is no such record.
    pub(crate) fn offsets_for_times(
        &self,
        partitions: &[TopicPartition],
        since_epoch_ms: i64,
        wait: Duration,
    ) -> Result<Vec<PartitionOffset>, KafkaError> {
        let list = PartitionList::new(partitions.iter().map(|partition| (partition, Some(since_epoch_ms))));
        // SAFETY: as in `committed`.
        KafkaError::check(unsafe { sys::rd_kafka_offsets_for_times(self.native.handle, list.as_ptr(), millis(wait)) })?;
        Ok(list.to_vec())
    }

    /// The low and high watermark as the last fetch answer told them. Never waits.
    pub(crate) fn cached_watermarks(&self, topic_partition: &TopicPartition) -> Option<(i64, i64)> {
        let topic = topic_name(topic_partition.topic());
        let (mut low, mut high) = (-1, -1);
        // SAFETY: client and topic are live, the rest are out-parameters.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.native.handle,
                topic.as_ptr(),
                topic_partition.partition(),
                &raw mut low,
                &raw mut high,
            )
        };
        (code == 0 && low >= 0 && high >= 0).then_some((low, high))
    }

    /// The end of the partition's log, asked of the broker. Waits at most `wait`.
    pub(crate) fn query_end(&self, topic_partition: &TopicPartition, wait: Duration) -> Result<i64, KafkaError> {
        Ok(self.query_ends(topic_partition, wait)?.1)
    }

    /// Starts reading one partition of the assignment anew. The whole assignment with its positions is needed, since the
    /// eager protocols know no other way. The caller has served the main queue: a rebalance waiting there would take
    /// these calls for its answer.
    pub(crate) fn restart<'a>(
        &self,
        topic_partition: &TopicPartition,
        offset: i64,
        assignment: impl IntoIterator<Item = (&'a TopicPartition, Option<i64>)>,
    ) -> Result<(), KafkaError> {
        self.native.answers()?;
        let one = PartitionList::new([(topic_partition, Some(offset))]);
        // SAFETY: client and lists are live; the lists are copied by the calls.
        unsafe {
            if self.is_cooperative() {
                KafkaError::check_object(sys::rd_kafka_incremental_unassign(self.native.handle, one.as_ptr()))?;
                KafkaError::check_object(sys::rd_kafka_incremental_assign(self.native.handle, one.as_ptr()))
            } else {
                let all = PartitionList::new(assignment);
                KafkaError::check(sys::rd_kafka_assign(self.native.handle, all.as_ptr()))
            }
        }
    }

    /// Sends a commit; its answer comes out of [`Client::commit_answer`] with the same serial.
    pub(crate) fn send_commit<'a>(
        &self,
        serial: u64,
        offsets: impl IntoIterator<Item = (&'a TopicPartition, i64)>,
    ) -> Result<(), KafkaError> {
        let list = PartitionList::new(offsets.into_iter().map(|(partition, offset)| (partition, Some(offset))));
        let opaque = usize::try_from(serial).map_or(std::ptr::null_mut(), std::ptr::without_provenance_mut);
        // SAFETY: client, list and queue are live; the list is copied; the opaque is a number that nobody follows.
        KafkaError::check(unsafe {
            sys::rd_kafka_commit_queue(self.native.handle, list.as_ptr(), self.commit_answers.as_ptr(), None, opaque)
        })
    }

    /// Whether an answer may have come since this was asked the last time.
    pub(crate) fn has_commit_answer(&self) -> bool {
        self.commit_answers.ready().take()
    }

    /// Takes one commit answer, waiting at most `wait`: its serial, the error of the whole request, and the partitions.
    pub(crate) fn commit_answer(&self, wait: Duration) -> Option<CommitAnswer> {
        // SAFETY: the queue is live; the event is ours and destroyed once, after its contents were copied.
        unsafe {
            let event = sys::rd_kafka_queue_poll(self.commit_answers.as_ptr(), millis(wait));
            if event.is_null() {
                return None;
            }
            let answer = (sys::rd_kafka_event_type(event) == sys::EVENT_OFFSET_COMMIT).then(|| CommitAnswer {
                serial: sys::rd_kafka_event_opaque(event).addr() as u64,
                code: sys::rd_kafka_event_error(event),
                partitions: PartitionList::copy_of(sys::rd_kafka_event_topic_partition_list(event)).to_vec(),
            });
            sys::rd_kafka_event_destroy(event);
            answer
        }
    }

    /// The id that the coordinator gave this member; `None` before the first join.
    pub(crate) fn member_id(&self) -> Option<String> {
        self.native.answers().ok()?;
        // SAFETY: the client is live; the string is ours and freed once.
        unsafe { self.take_string(sys::rd_kafka_memberid(self.native.handle)) }
    }

    /// The group's generation as this member knows it.
    pub(crate) fn generation(&self) -> Option<i32> {
        /// `CGMDv2:` and then the generation, as librdkafka serialises its group metadata.
        const MAGIC: &[u8] = b"CGMDv2:";
        self.native.answers().ok()?;
        // SAFETY: metadata and buffer are ours, read while they live, and freed once.
        unsafe {
            let metadata = sys::rd_kafka_consumer_group_metadata(self.native.handle);
            if metadata.is_null() {
                return None;
            }
            let (mut buffer, mut size): (*mut c_void, usize) = (std::ptr::null_mut(), 0);
            let written = KafkaError::check_object(sys::rd_kafka_consumer_group_metadata_write(
                metadata,
                &raw mut buffer,
                &raw mut size,
            ));
            sys::rd_kafka_consumer_group_metadata_destroy(metadata);
            if written.is_err() || buffer.is_null() {
                return None;
            }
            let bytes = std::slice::from_raw_parts(buffer.cast::<u8>(), size);
            let generation = bytes
                .strip_prefix(MAGIC)
                .and_then(|rest| rest.first_chunk::<4>())
                .map(|generation| i32::from_ne_bytes(*generation));
            sys::rd_kafka_mem_free(self.native.handle, buffer);
            generation.filter(|generation| *generation >= 0)
        }
    }

    /// The cluster's id, waiting at most `wait` for a broker to tell it.
    pub(crate) fn cluster_id(&self, wait: Duration) -> Option<String> {
        // SAFETY: as in `member_id`.
        unsafe { self.take_string(sys::rd_kafka_clusterid(self.native.handle, millis(wait))) }
    }

    /// Asks the cluster about one topic. Waits for a broker, at most `wait`.
    pub(crate) fn topic_state(&self, topic: &str, wait: Duration) -> Result<TopicState, KafkaError> {
        // SAFETY: the client is live.
        unsafe { topic_state(self.native.handle, topic, wait) }
    }

    /// The fatal error that ended this client, if one did.
    pub(crate) fn fatal_error(&self) -> Option<KafkaError> {
        // SAFETY: the client is live.
        unsafe { fatal_error(self.native.handle) }
    }

    unsafe fn take_string(&self, text: *mut c_char) -> Option<String> {
        if text.is_null() {
            return None;
        }
        // SAFETY: `text` is a string that librdkafka allocated for the caller; freed once.
        unsafe {
            let copy = owned(text);
            sys::rd_kafka_mem_free(self.native.handle, text.cast());
            (!copy.is_empty()).then_some(copy)
        }
    }
}

/// # Safety
/// `client` is live.
pub(super) unsafe fn topic_state(
    client: *mut sys::Client,
    topic: &str,
    wait: Duration,
) -> Result<TopicState, KafkaError> {
    const UNKNOWN_TOPIC: i32 = 3;
    let name = topic_name(topic);
    // SAFETY: every handle is checked or live, read while it lives, and freed once.
    unsafe {
        let handle = sys::rd_kafka_topic_new(client, name.as_ptr(), std::ptr::null_mut());
        if handle.is_null() {
            return Err(KafkaError { code: 0, text: format!("no handle for topic `{topic}`") });
        }
        let mut metadata = std::ptr::null();
        let code = sys::rd_kafka_metadata(client, 0, handle, &raw mut metadata, millis(wait));
        sys::rd_kafka_topic_destroy(handle);
        KafkaError::check(code)?;
        let state =
            ((*metadata).topic_cnt > 0).then(|| ((*(*metadata).topics).err, (*(*metadata).topics).partition_cnt));
        sys::rd_kafka_metadata_destroy(metadata);
        match state {
            None | Some((UNKNOWN_TOPIC, _)) => Ok(TopicState::Missing),
            Some((0, partitions)) => Ok(TopicState::Exists { partitions }),
            Some((code, _)) => Err(KafkaError::from_code(code)),
        }
    }
}

/// # Safety
/// `client` is live.
pub(super) unsafe fn fatal_error(client: *mut sys::Client) -> Option<KafkaError> {
    let mut text = [0 as c_char; 512];
    // SAFETY: passed on from the caller; `text` has the length given.
    let code = unsafe { sys::rd_kafka_fatal_error(client, text.as_mut_ptr(), text.len()) };
    // SAFETY: the call above left a string in `text`, empty where there is no error.
    (code != 0).then(|| KafkaError { code, text: unsafe { owned(text.as_ptr()) } })
}

/// The answer to one commit request.
#[derive(Clone, Debug)]
pub(crate) struct CommitAnswer {
    pub(crate) serial: u64,
    /// 0, or the error of the request as a whole.
    pub(crate) code: i32,
    pub(crate) partitions: Vec<PartitionOffset>,
}

/// Whole milliseconds, rounded up so that a short wait is not a busy one.
pub(super) fn millis(wait: Duration) -> c_int {
    c_int::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX)
}
