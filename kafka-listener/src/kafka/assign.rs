//! New partitions: where they start, their queues, their workers, and only then the answer to the group.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::ffi::{RebalanceKind, RebalancePartitions};
use super::partition::{CHANNEL_CAPACITY, Partition};
use super::poll_loop::PollLoop;
use super::start::Start;
use crate::clock::Instant;
use crate::commit::CommitCoordinator;
use crate::container::ConsumerState;
use crate::epoch::Epoch;
use crate::offset_tracker::CommitOffset;
use crate::ownership::OwnerKey;
use crate::phase::Interrupt;
use crate::record::TopicPartition;
use crate::sabotage::{self, Sabotage};
use crate::worker::{HandOver, PartitionControl, gate, work};

/// librdkafka starts no new partition while a commit is outstanding, so that commits one after the other would starve
/// it: after an assign it gets this long without one. Short, as what is finished meanwhile is not committed.
const COMMIT_HOLD: Duration = Duration::from_millis(20);
/// The same when a commit is outstanding at the assign: its answer is waited for, and then the time above.
const COMMIT_HOLD_LIMIT: Duration = Duration::from_secs(1);

impl PollLoop {
    pub(super) fn on_assign(&mut self, mut partitions: RebalancePartitions) {
        let began = Instant::now();
        let cooperative = self.client.is_cooperative();
        let assigned = partitions.to_vec();
        self.confirm_membership(began);
        if self.stopping {
            self.answer_while_stopping(&partitions, &assigned, cooperative);
            self.unanswered = None;
            return;
        }
        // The group gave a partition that we hold already: what we hold is void.
        self.end_partitions(&assigned);
        self.discard_removed();
        let (starts, hooks_took) = self.starts_of(&assigned);
        partitions.start_at(|topic, partition| {
            let named = |start: &&Start| {
                start.topic_partition.topic() == topic && start.topic_partition.partition() == partition
            };
            starts.iter().find(named).and_then(|start| start.told)
        });
        let mut prepared = Vec::with_capacity(starts.len());
        for start in starts {
            match self.prepare(&start) {
                Ok(partition) => prepared.push((partition, start)),
                Err(error) => {
                    let reason = format!("take the queue of `{}`: {error}", start.topic_partition);
                    return self.decline(&partitions, cooperative, reason);
                }
            }
        }
        #[cfg(feature = "test-hooks")]
        if crate::private::test_hooks::fails_assignment(&self.parts.consumer.client_id, &assigned) {
            return self.decline(&partitions, cooperative, "asked for by a test".to_owned());
        }
        if let Err(error) = self.client.assign(&partitions, cooperative) {
            let reason = format!("take over the assigned partitions: {error}");
            return self.decline(&partitions, cooperative, reason);
        }
        self.unanswered = None;
        self.client.resume(&partitions);
        for (partition, start) in prepared {
            self.take_over(partition, &start);
        }
        self.commits.set_rebalancing(false);
        if !assigned.is_empty() {
            self.hold_commits();
        }
        self.note_membership();
        self.publish_assignment();
        self.parts.consumer.update(ConsumerState::join);
        let took = Instant::now().saturating_since(began);
        self.parts.listener.metrics.rebalance("assigned", took);
        let stood_still = self.stood_still(&assigned);
        let how = match stood_still {
            Some((partitions, time)) => {
                format!("hooks took {hooks_took:?}, {} that we had before stood still {time:?}", count(partitions))
            }
            None => format!("hooks took {hooks_took:?}"),
        };
        self.log_rebalance("assigned", &assigned, (took, stood_still.map(|(_, time)| time)), &how);
    }

    /// An eager rebalance takes everything from everybody: how many partitions came back, and how long they stood still.
    fn stood_still(&mut self, assigned: &[TopicPartition]) -> Option<(usize, Duration)> {
        let (since, stopped) = self.stopped.take()?;
        let back = assigned.iter().filter(|partition| stopped.contains(partition)).count();
        let time = Instant::now().saturating_since(since);
        (back > 0).then(|| {
            self.parts.listener.metrics.stood_still(time);
            (back, time)
        })
    }

    /// Gives the assignment back: a group that waits for an answer could not be left.
    fn decline(&mut self, partitions: &RebalancePartitions, cooperative: bool, reason: String) {
        if let Err(error) = self.client.decline(RebalanceKind::Assign, partitions, cooperative) {
            tracing::debug!(listener = %self.parts.listener.id, %error, "assignment not given back");
        }
        self.unanswered = None;
        self.cannot_go_on(reason);
    }

    /// Lets librdkafka start the new partitions before the next commit.
    fn hold_commits(&mut self) {
        self.is_hold_open = self.commits.outstanding_since().is_some();
        let hold = if self.is_hold_open { COMMIT_HOLD_LIMIT } else { COMMIT_HOLD };
        self.commits.hold_until(Instant::now() + hold);
    }

    /// The commit that was outstanding at the assign has been answered.
    pub(super) fn shorten_commit_hold(&mut self) {
        if std::mem::take(&mut self.is_hold_open) {
            self.commits.hold_until(Instant::now() + COMMIT_HOLD);
        }
    }

    /// A group in the middle of a rebalance may assign partitions to a member that is about to leave. They are taken,
    /// so that the group can go on, and never read.
    fn answer_while_stopping(
        &mut self,
        partitions: &RebalancePartitions,
        assigned: &[TopicPartition],
        cooperative: bool,
    ) {
        let answer = if cooperative {
            for topic_partition in assigned {
                if let Ok(queue) = self.client.split_queue(topic_partition) {
                    self.unread.push(queue);
                }
            }
            self.client.assign(partitions, true)
        } else {
            self.client.decline(RebalanceKind::Assign, partitions, false)
        };
        if let Err(error) = answer {
            tracing::debug!(listener = %self.parts.listener.id, %error, "assignment while stopping not answered");
        }
    }

    /// The partition's own queue, cut loose before the partition is assigned, and all that its worker needs.
    pub(super) fn prepare(
        &mut self,
        start: &Start,
    ) -> Result<(Partition, mpsc::Receiver<HandOver>), super::ffi::KafkaError> {
        let queue = self.client.split_queue(&start.topic_partition)?;
        let epoch = self.next_epoch(&start.topic_partition);
        let control = PartitionControl::new(
            start.topic_partition.clone(),
            Arc::clone(queue.ready()),
            Arc::clone(&self.parts.consumer.waker),
        );
        let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
        let bounds = (self.parts.settings.limits, self.scratch.capacity());
        let lag = self.parts.listener.metrics.lag_of(&start.topic_partition);
        let mut partition =
            Partition::new(start.topic_partition.clone(), epoch, Arc::new(control), sender, (queue, lag), bounds);
        partition.start = start.offset.map(CommitOffset::at);
        Ok((partition, receiver))
    }

    pub(super) fn take_over(&mut self, prepared: (Partition, mpsc::Receiver<HandOver>), start: &Start) {
        let (partition, receiver) = prepared;
        // Reading from below the committed offset on purpose must not be bound by it.
        let committed = start.committed.filter(|committed| start.offset.is_none_or(|offset| offset >= *committed));
        self.commits.assign(start.topic_partition.clone(), partition.epoch, committed.map(CommitOffset::at));
        if let Some(committed) = start.committed {
            partition.control.acknowledged(committed);
        }
        if let Some(offset) = start.offset {
            partition.control.set_began_at(offset);
            partition.control.set_position(offset);
            self.commits.started_at(&start.topic_partition, partition.epoch, offset);
        }
        self.spawn_worker(&partition, receiver);
        self.partitions.push(partition);
    }

    pub(super) fn spawn_worker(&mut self, partition: &Partition, receiver: mpsc::Receiver<HandOver>) {
        if self.is_paused(&partition.topic_partition) {
            partition.control.close_gate(gate::PAUSE);
        }
        if let Some(id) = self.client.cluster_id(Duration::ZERO) {
            self.cluster = id.into();
        }
        let group_id = &self.parts.listener.group_id;
        let owner = OwnerKey {
            cluster: Arc::clone(&self.cluster),
            group_id: if group_id.is_empty() {
                // Listeners without a group read the same partition at the same time, each by itself.
                format!("{} {:p}", self.parts.listener.id, Arc::as_ptr(&self.parts.listener)).into()
            } else if sabotage::is_on(Sabotage::NoOwnership) {
                format!("{group_id} {} {}", self.parts.consumer.index, partition.epoch).into()
            } else {
                Arc::clone(group_id)
            },
            topic_partition: partition.topic_partition.clone(),
        };
        self.parts.runtime.spawn(work(
            Arc::clone(&self.parts.listener),
            Arc::clone(&partition.control),
            Arc::clone(&self.parts.consumer.membership),
            owner,
            receiver,
        ));
    }

    pub(super) fn next_epoch(&mut self, topic_partition: &TopicPartition) -> Epoch {
        let epoch = self.epochs.get(topic_partition).map_or(Epoch::FIRST, |last| last.next());
        self.epochs.insert(topic_partition.clone(), epoch);
        epoch
    }

    /// Ends the partition's epoch in place: the worker finishes the record that runs, which no longer counts, and a new
    /// worker starts when it has ended. The caller has reading go on at `start`.
    pub(super) fn begin_epoch(&mut self, index: usize, start: Option<CommitOffset>) {
        let topic_partition = self.partitions[index].topic_partition.clone();
        self.begin_epoch_by(index, start, |commits, epoch| {
            commits.remove(&topic_partition);
            commits.assign(topic_partition.clone(), epoch, None);
        });
    }

    /// The same with what the commits are to make of it.
    pub(super) fn begin_epoch_by(
        &mut self,
        index: usize,
        start: Option<CommitOffset>,
        tell: impl FnOnce(&mut CommitCoordinator, Epoch),
    ) {
        let topic_partition = self.partitions[index].topic_partition.clone();
        let epoch = self.next_epoch(&topic_partition);
        let partition = &mut self.partitions[index];
        // What it holds is read again where it still exists; only the record that runs is finished.
        partition.control.interrupt(Interrupt::Seek);
        self.parts.listener.left_behind.note(self.parts.consumer.index, &partition.control);
        partition.control.end_epoch();
        let control = Arc::new(PartitionControl::new(
            topic_partition.clone(),
            Arc::clone(partition.queue.ready()),
            Arc::clone(&self.parts.consumer.waker),
        ));
        let (sender, receiver) = mpsc::channel(CHANNEL_CAPACITY);
        partition.begin_epoch(epoch, control, sender, start);
        tell(&mut self.commits, epoch);
        self.read_to_end_again(&topic_partition);
        let partition = self.partitions.swap_remove(index);
        self.spawn_worker(&partition, receiver);
        self.partitions.push(partition);
        let last = self.partitions.len() - 1;
        self.partitions.swap(index, last);
        self.publish_assignment();
    }

    /// Member id and generation for logs and status. Two questions to librdkafka's own thread, so not per turn.
    pub(super) fn note_membership(&self) {
        let (member_id, generation) = (self.client.member_id(), self.client.generation());
        self.parts.consumer.update(|state| {
            state.member_id = member_id.map(Into::into);
            state.generation = generation;
        });
    }

    /// One rebalance, one line that reads as a sentence. How long it took, and how long what stays here stood still.
    pub(super) fn log_rebalance(
        &self,
        kind: &'static str,
        partitions: &[TopicPartition],
        (took, stood_still): (Duration, Option<Duration>),
        how: &str,
    ) {
        let state = self.parts.consumer.state();
        let listener = &self.parts.listener;
        tracing::info!(
            listener = %listener.id,
            group = %listener.group_id,
            consumer = self.parts.consumer.index,
            member = state.member_id.as_deref().unwrap_or(""),
            generation = state.generation,
            kind,
            partitions = %names(partitions.iter()),
            assignment = %names(self.partitions.iter().map(|partition| &partition.topic_partition)),
            ?took,
            stood_still = stood_still.map(tracing::field::debug),
            "{}: {kind} {} in {took:?} ({how}); this consumer now owns {}",
            if self.own.is_some() { "without a group".to_owned() } else { format!("group `{}`", listener.group_id) },
            count(partitions.len()),
            count(self.partitions.len()),
        );
    }
}

pub(super) fn count(partitions: usize) -> String {
    match partitions {
        0 => "no partition".to_owned(),
        1 => "1 partition".to_owned(),
        many => format!("{many} partitions"),
    }
}

/// `orders-0, orders-1`; long lists are cut.
pub(super) fn names<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> String {
    const LONGEST: usize = 32;
    let mut names: Vec<String> = partitions.map(ToString::to_string).collect();
    names.sort();
    let more = names.len().saturating_sub(LONGEST);
    names.truncate(LONGEST);
    let mut text = names.join(", ");
    if more > 0 {
        let more = format!(" and {more} more");
        text.push_str(&more);
    }
    text
}
