//! What the listeners are doing, for people on call and for tools: a snapshot, read without stopping anything.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::clock::Instant;
use crate::container::{Consumer, ConsumerPhase, ContainerState, ListenerContainer};
use crate::phase::Phase;
use crate::record::TopicPartition;
use crate::worker::{LeftBehindUnit, PartitionControl};

/// All listeners of a registry. `Display` is a table for people, `Serialize` the same for tools.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Sorted by id.
    pub listeners: Vec<ListenerStatus>,
}

/// One listener. Counts are of this process since the registry started.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ListenerStatus {
    /// The listener's id.
    pub id: String,
    /// Its consumer group; empty for a listener with `partitions` that commits nothing.
    pub group_id: String,
    /// Where its container stands.
    pub state: ContainerState,
    /// Why it cannot go on, if it cannot.
    pub failure: Option<String>,
    /// The listeners that have to complete before this one starts.
    pub waits_for: Vec<String>,
    /// Records that the handler returned `Ok` for.
    pub handled: u64,
    /// Deliveries that failed.
    pub failed: u64,
    /// Deliveries that were or will be tried again.
    pub retried: u64,
    /// Records skipped by a policy or an operator.
    pub skipped: u64,
    /// Records published as dead letters, which the broker has acknowledged.
    pub dead_lettered: u64,
    /// Records put off to a retry topic, which the broker has acknowledged; each time counts.
    pub put_off: u64,
    /// Replies published for `send_to`, which the broker has acknowledged.
    pub replies: u64,
    /// Reply topics that are not there: a record that is replied to there holds its partition.
    pub missing_reply_topics: Vec<String>,
    /// Dead letter topics that are not there: a record that needs one holds its partition.
    pub missing_dead_letter_topics: Vec<String>,
    /// Records that the listener's `filter` passed over.
    pub filtered: u64,
    /// Records that may be handled twice: finished or running when their partition went, and not committed.
    pub possibly_repeated: u64,
    /// `ack_mode = "at_most_once"`: records that were committed, or may have been, and not handled to their end.
    pub possibly_lost: u64,
    /// Records that retention deleted before they were read.
    pub lost_to_retention: u64,
    /// Rebalances seen.
    pub rebalances: u64,
    /// The members that this container adds to its group.
    pub consumers: Vec<ConsumerStatus>,
    /// The partitions that this process owns, sorted.
    pub partitions: Vec<PartitionStatus>,
    /// Handlers that run on although their partitions have gone, sorted: blocking code cannot be interrupted. Each keeps
    /// its slot, and whoever has the partition next in this process waits for it.
    pub left_behind: Vec<LeftBehindStatus>,
}

/// One consumer of a listener.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct ConsumerStatus {
    /// From 0.
    pub index: usize,
    /// `client.id`.
    pub client_id: String,
    /// Its group: the listener's own, or for the consumer of the retry topics that with `-retry` behind it.
    pub group_id: String,
    /// `group.instance.id` of a static member.
    pub group_instance_id: Option<String>,
    /// Whether another member of the group holds the seat of that id.
    pub waits_for_seat: bool,
    /// Why it has left its group by itself, with `on_stuck = "leave"`: the handler that is stuck.
    pub stuck: Option<String>,
    /// How often it was given a new client after a fatal error.
    pub restarts: u32,
    /// The last fatal error that it was restarted after.
    pub last_fatal: Option<String>,
    /// The id that the group's coordinator gave it.
    pub member_id: Option<String>,
    /// The group's generation at the last assignment.
    pub generation: Option<i32>,
    /// Whether it is in the group.
    pub joined: bool,
    /// How many partitions it owns; 0 for a spare.
    pub assigned: usize,
    /// Since the last turn of its poll loop.
    #[serde(serialize_with = "seconds")]
    pub since_poll: Duration,
}

/// One partition.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PartitionStatus {
    /// Topic and number.
    #[serde(serialize_with = "as_text")]
    pub topic_partition: TopicPartition,
    /// Which consumer owns it.
    pub consumer: usize,
    /// What its worker is doing.
    pub phase: Phase,
    /// Whether nothing is started, by a pause of the listener or of this partition alone; a record that runs finishes.
    pub paused: bool,
    /// Whether what runs is the last: the partition goes, or is about to be read from elsewhere.
    pub draining: bool,
    /// The offset after the last record taken from the broker.
    pub position: Option<i64>,
    /// What the broker has acknowledged.
    pub committed: Option<i64>,
    /// The end of the log as the last answer of the broker told it.
    pub end_offset: Option<i64>,
    /// Records from the committed offset to the end, or from where reading began while nothing is committed; markers of
    /// transactions count.
    pub lag: Option<i64>,
    /// Records handed to the worker and not finished.
    pub in_flight: u64,
    /// Records that were delivered and are not acknowledged, in the modes that have acknowledgements.
    pub open_acks: u64,
    /// The record that holds the watermark.
    pub blocking: Option<BlockingRecord>,
    /// Whether the partition waits for its commits to get through.
    pub commit_stalled: bool,
}

/// A handler that has outlived the assignment of its partition.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LeftBehindStatus {
    /// Topic and number.
    #[serde(serialize_with = "as_text")]
    pub topic_partition: TopicPartition,
    /// Which consumer owned it.
    pub consumer: usize,
    /// [`Phase::Cancelled`], or [`Phase::Running`] where the log was reset under it and it may still finish.
    pub phase: Phase,
    /// The record that it was started for.
    pub offset: Option<i64>,
    /// How long it has been running; to a quarter of a second.
    #[serde(serialize_with = "seconds")]
    pub running_for: Duration,
    /// How long ago it was cancelled.
    #[serde(serialize_with = "seconds_if_any")]
    pub cancelled_for: Option<Duration>,
}

/// The record that a partition is at.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct BlockingRecord {
    /// Its offset.
    pub offset: i64,
    /// How long the worker has been at it, all attempts together; to a quarter of a second.
    #[serde(serialize_with = "seconds")]
    pub age: Duration,
    /// How often it has been delivered and failed; 0 for a first delivery that runs.
    pub attempt: u32,
    /// What the last delivery failed with.
    pub error: Option<String>,
}

impl Status {
    pub(crate) fn of(containers: &[ListenerContainer]) -> Self {
        Self { listeners: containers.iter().map(ListenerContainer::status).collect() }
    }
}

impl ListenerStatus {
    pub(crate) fn of(container: &ListenerContainer) -> Self {
        let now = Instant::now();
        let consumers = container.consumers();
        let totals = container.listener().metrics.totals();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let mut partitions: Vec<PartitionStatus> = consumers
            .iter()
            .flat_map(|consumer| {
                let index = consumer.index;
                consumer.partitions().into_iter().map(move |control| PartitionStatus::of(index, &control, now))
            })
            .collect();
        partitions.sort_by(|one, other| one.topic_partition.cmp(&other.topic_partition));
        let replies = container.listener().replies.as_deref();
        let left_behind = container.listener().left_behind.running();
        let mut left_behind: Vec<_> = left_behind.iter().map(|unit| LeftBehindStatus::of(unit, now)).collect();
        left_behind.sort_by(|one, other| one.topic_partition.cmp(&other.topic_partition));
        Self {
            id: container.id().to_owned(),
            group_id: container.listener().group_id.as_ref().to_owned(),
            state: container.state(),
            failure: container.failure(),
            waits_for: container.waits_for(),
            handled: count(&totals.handled),
            failed: count(&totals.failed),
            retried: count(&totals.retried),
            skipped: count(&totals.skipped),
            dead_lettered: count(&totals.dead_lettered),
            put_off: count(&totals.put_off),
            replies: count(&totals.replies),
            missing_reply_topics: replies.map(|replies| replies.forwarder().missing()).unwrap_or_default(),
            missing_dead_letter_topics: container.listener().dead_letters.forwarder().missing(),
            filtered: count(&totals.filtered),
            possibly_repeated: count(&totals.possibly_repeated),
            possibly_lost: count(&totals.possibly_lost),
            lost_to_retention: count(&totals.lost_to_retention),
            rebalances: count(&totals.rebalances),
            consumers: consumers.iter().map(|consumer| ConsumerStatus::of(consumer, now)).collect(),
            partitions,
            left_behind,
        }
    }
}

impl ConsumerStatus {
    fn of(consumer: &Consumer, now: Instant) -> Self {
        let state = consumer.state();
        Self {
            index: consumer.index,
            client_id: consumer.client_id.clone(),
            group_id: consumer.group_id.as_ref().to_owned(),
            group_instance_id: consumer.group_instance_id.clone(),
            waits_for_seat: state.waits_for_seat.is_some(),
            stuck: state.stuck.map(|reason| reason.to_string()),
            restarts: state.restarts,
            last_fatal: state.last_fatal.map(|reason| reason.to_string()),
            member_id: state.member_id.map(|id| id.to_string()),
            generation: state.generation,
            joined: state.phase == ConsumerPhase::Joined,
            assigned: state.assigned,
            since_poll: consumer.membership.since_tick(now),
        }
    }
}

impl PartitionStatus {
    fn of(consumer: usize, control: &PartitionControl, now: Instant) -> Self {
        let phase = control.phase();
        let (committed, end_offset) = (control.committed(), control.end_offset());
        let at_rest = matches!(phase, Phase::Idle | Phase::WaitingForPrevious);
        let blocking = control.current().filter(|_| !at_rest).map(|offset| BlockingRecord {
            offset,
            age: control.record_age(now),
            attempt: control.attempt(),
            error: control.last_error().map(|error| error.to_string()),
        });
        Self {
            topic_partition: control.topic_partition.clone(),
            consumer,
            phase,
            paused: control.is_gate_closed(crate::worker::gate::PAUSE),
            draining: control.is_gate_closed(crate::worker::gate::STOP),
            position: control.position(),
            committed,
            end_offset,
            lag: control.lag(),
            in_flight: control.in_flight(),
            open_acks: control.open_acks(),
            blocking,
            commit_stalled: control.is_gate_closed(crate::worker::gate::STALLED),
        }
    }
}

impl LeftBehindStatus {
    fn of(unit: &LeftBehindUnit, now: Instant) -> Self {
        let LeftBehindUnit { consumer, control } = unit;
        Self {
            topic_partition: control.topic_partition.clone(),
            consumer: *consumer,
            phase: control.phase(),
            offset: control.current(),
            running_for: control.record_age(now).min(control.phase_age(now)),
            cancelled_for: control.cancelled_for(now),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.listeners.iter().try_for_each(|listener| writeln!(f, "{listener}"))
    }
}

impl fmt::Display for ListenerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} [{}] {}: handled {}, failed {}, retried {}, skipped {}, dead letters {}, possibly repeated {}",
            self.id,
            if self.group_id.is_empty() { "no group" } else { &self.group_id },
            self.state,
            self.handled,
            self.failed,
            self.retried,
            self.skipped,
            self.dead_lettered,
            self.possibly_repeated
        )?;
        if self.put_off > 0 {
            write!(f, ", put off {}", self.put_off)?;
        }
        if self.replies > 0 {
            write!(f, ", replies {}", self.replies)?;
        }
        if let Some(failure) = &self.failure {
            write!(f, "\n  failed: {failure}")?;
        }
        if !self.waits_for.is_empty() {
            write!(f, "\n  starts after: {}", self.waits_for.join(", "))?;
        }
        if !self.missing_dead_letter_topics.is_empty() {
            write!(f, "\n  missing dead letter topics: {}", self.missing_dead_letter_topics.join(", "))?;
        }
        if !self.missing_reply_topics.is_empty() {
            write!(f, "\n  missing reply topics: {}", self.missing_reply_topics.join(", "))?;
        }
        for consumer in &self.consumers {
            if consumer.waits_for_seat {
                let id = consumer.group_instance_id.as_deref().unwrap_or_default();
                write!(f, "\n  consumer {} waits for its seat `{id}`: another member holds it", consumer.index)?;
            }
            if let Some(reason) = &consumer.stuck {
                write!(f, "\n  consumer {} has left the group: {reason}", consumer.index)?;
            }
            if let Some(reason) = &consumer.last_fatal {
                write!(
                    f,
                    "\n  consumer {} was restarted {} times, the last after: {reason}",
                    consumer.index, consumer.restarts
                )?;
            }
        }
        for spare in self.consumers.iter().filter(|consumer| consumer.joined && consumer.assigned == 0) {
            write!(f, "\n  consumer {} is a spare: the group has no partition for it", spare.index)?;
        }
        self.partitions.iter().try_for_each(|partition| write!(f, "\n  {partition}"))?;
        self.left_behind.iter().try_for_each(|handler| write!(f, "\n  {handler}"))
    }
}

impl fmt::Display for PartitionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = |offset: Option<i64>| offset.map_or_else(|| "?".to_owned(), |offset| offset.to_string());
        write!(
            f,
            "{} {}: committed {} of {}, lag {}, in flight {}",
            self.topic_partition,
            self.phase,
            offset(self.committed),
            offset(self.end_offset),
            offset(self.lag),
            self.in_flight
        )?;
        if self.paused && self.phase != Phase::Paused {
            f.write_str(", paused")?;
        }
        if self.draining {
            f.write_str(", draining")?;
        }
        if let Some(blocking) = &self.blocking {
            write!(f, ", at {} for {:.1?}", blocking.offset, blocking.age)?;
            if blocking.attempt > 0 {
                write!(f, ", attempt {}", blocking.attempt)?;
            }
            if let Some(error) = &blocking.error {
                write!(f, ": {error}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for LeftBehindStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.topic_partition)?;
        if let Some(offset) = self.offset {
            write!(f, "@{offset}")?;
        }
        write!(f, " left behind by consumer {}: {} for {:.1?}", self.consumer, self.phase, self.running_for)?;
        match self.cancelled_for {
            Some(ago) => write!(f, ", cancelled {ago:.1?} ago"),
            None => Ok(()),
        }
    }
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn seconds_if_any<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    duration.map(|duration| duration.as_secs_f64()).serialize(serializer)
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn as_text<S: Serializer>(topic_partition: &TopicPartition, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(topic_partition)
}
