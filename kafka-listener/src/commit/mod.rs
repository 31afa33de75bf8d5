//! What to commit and when, and what the answers mean, for one consumer.
//!
//! Pure: the poll loop tells it of assignments, progress and answers, and sends what it is given. It never sends more
//! than one request at a time, but for the final commit of a revoke or a close, which may overtake one.

mod answer;
mod final_commit;
mod partition;
mod reposition;
mod verdict;

use std::collections::BTreeMap;
use std::time::Duration;

pub use final_commit::CommitOutcome;
pub(crate) use final_commit::{FinalOutcome, FinalStep};
use partition::{Entry, Outstanding, Partition, earlier};
pub(crate) use verdict::code;

use crate::clock::Instant;
use crate::config::{AckMode, ListenerSettings};
use crate::epoch::Epoch;
use crate::offset_tracker::CommitOffset;
use crate::record::TopicPartition;

/// The settings that decide when a commit is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CommitPolicy {
    pub(crate) ack_mode: AckMode,
    pub(crate) commit_interval: Duration,
    pub(crate) ack_time: Duration,
    pub(crate) ack_count: u32,
    pub(crate) max_commit_delay: Duration,
    /// How long `ILLEGAL_GENERATION` may be the echo of a rebalance that has not reached us yet. Librdkafka's commits
    /// queue behind a pending `JoinGroup` and are then answered with it, before any callback tells of the rebalance;
    /// a membership that is really over is told by a lost callback at once. `session_timeout`.
    pub(crate) generation_grace: Duration,
}

impl From<&ListenerSettings> for CommitPolicy {
    fn from(settings: &ListenerSettings) -> Self {
        Self {
            ack_mode: settings.ack_mode,
            commit_interval: settings.commit_interval,
            ack_time: settings.ack_time,
            ack_count: settings.ack_count,
            max_commit_delay: settings.max_commit_delay,
            generation_grace: settings.session_timeout,
        }
    }
}

/// The number of a request; later ones are greater. The request's opaque.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Serial(u64);

impl Serial {
    pub(crate) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    pub(crate) const fn as_raw(self) -> u64 {
        self.0
    }
}

/// Offsets to send now, each with the epoch that it was made in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CommitRequest {
    pub(crate) serial: Serial,
    pub(crate) offsets: Vec<(TopicPartition, Epoch, CommitOffset)>,
}

/// How a request was answered: a code per partition in any order (0 is no error), or one code for all of it.
pub(crate) type CommitAnswer = Result<Vec<(TopicPartition, i32)>, i32>;

/// What an answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitEvent {
    Committed {
        topic_partition: TopicPartition,
        offset: CommitOffset,
        round_trip: Duration,
    },
    /// It will be sent again, with the watermark of then.
    Retrying {
        topic_partition: TopicPartition,
        offset: CommitOffset,
        code: i32,
    },
    /// The member is fenced. Nothing more is committed for the partition in this epoch: run the lost path.
    Lost {
        topic_partition: TopicPartition,
        epoch: Epoch,
        code: i32,
    },
    /// The broker refuses this partition; it is tried again ever more slowly, the others go on.
    Failed {
        topic_partition: TopicPartition,
        offset: CommitOffset,
        code: i32,
        failures: u32,
    },
    /// An older request was answered after a newer one, so the broker may hold the older offset: sent again.
    Overtaken {
        topic_partition: TopicPartition,
        offset: CommitOffset,
    },
    /// The answer is of an ended epoch, or the partition is gone.
    Ignored {
        topic_partition: TopicPartition,
        epoch: Epoch,
    },
    /// A commit sent after [`CommitCoordinator::doubt_membership`] was acknowledged.
    MembershipConfirmed,
}

/// The commits of one consumer.
#[derive(Debug)]
pub(crate) struct CommitCoordinator {
    policy: CommitPolicy,
    partitions: BTreeMap<TopicPartition, Partition>,
    /// At most one normal and one final request.
    outstanding: Vec<Outstanding>,
    last_serial: Serial,
    last_asked: Option<Instant>,
    /// Some partition may have finished work that was not asked for yet. Spares quiet turns the search.
    any_news: bool,
    /// Some partition may wait for being sent.
    any_asked: bool,
    /// When the first partition may have to be committed anew although all of it is acknowledged.
    anew_at: Option<Instant>,
    /// Records finished since a commit was asked for, over all partitions.
    finished_since_asked: u64,
    held_until: Option<Instant>,
    rebalancing: bool,
    /// Since when every answer has been `ILLEGAL_GENERATION`, moved on by the time that answers took.
    generation_over_since: Option<Instant>,
    membership: Membership,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Confirmed,
    /// Answers to requests up to `since` say nothing about now.
    Doubted {
        since: Serial,
        refused: u32,
        not_before: Option<Instant>,
    },
}

impl CommitCoordinator {
    pub(crate) fn new(policy: CommitPolicy) -> Self {
        Self {
            policy,
            partitions: BTreeMap::new(),
            outstanding: Vec::new(),
            last_serial: Serial(0),
            last_asked: None,
            any_news: false,
            any_asked: false,
            anew_at: None,
            finished_since_asked: 0,
            held_until: None,
            rebalancing: false,
            generation_over_since: None,
            membership: Membership::Confirmed,
        }
    }

    /// Begins an epoch of a partition: an assignment, a seek or a log reset. `committed` is what the broker holds;
    /// `None` where that must not bound us: nothing is committed, or reading starts below it on purpose.
    pub(crate) fn assign(&mut self, topic_partition: TopicPartition, epoch: Epoch, committed: Option<CommitOffset>) {
        match self.partitions.get_mut(&topic_partition) {
            Some(partition) if partition.epoch >= epoch => {}
            Some(partition) => *partition = Partition::new(epoch, committed),
            None => {
                self.partitions.insert(topic_partition, Partition::new(epoch, committed));
            }
        }
    }

    /// Ends a partition: revoked (after its final commit) or lost. Answers still to come for it are ignored.
    pub(crate) fn remove(&mut self, topic_partition: &TopicPartition) {
        self.partitions.remove(topic_partition);
    }

    /// Notes the offset of the first record that an epoch handed over.
    pub(crate) fn started_at(&mut self, topic_partition: &TopicPartition, epoch: Epoch, offset: i64) {
        if let Some(partition) = self.current(topic_partition, epoch) {
            partition.started_at.get_or_insert(CommitOffset::at(offset));
        }
    }

    /// Notes a tracker's watermark and count of finished records. `false`: the epoch is over or frozen, and nothing
    /// was taken. The watermark never goes back.
    pub(crate) fn progress(
        &mut self,
        topic_partition: &TopicPartition,
        epoch: Epoch,
        watermark: Option<CommitOffset>,
        finished: u64,
    ) -> bool {
        let Some(partition) = self.current(topic_partition, epoch).filter(|partition| !partition.frozen) else {
            return false;
        };
        let newly_finished = finished.saturating_sub(partition.finished);
        let is_news = watermark > partition.watermark;
        partition.finished += newly_finished;
        partition.watermark = partition.watermark.max(watermark);
        self.finished_since_asked += newly_finished;
        self.any_news |= is_news;
        true
    }

    /// Takes back the commit of a record that was to be committed before it is handled, and will not be: as far as it was
    /// not sent, it is not. `to` is what is done. `true`: it may be committed all the same.
    pub(crate) fn withdraw(
        &mut self,
        topic_partition: &TopicPartition,
        to: Option<CommitOffset>,
        committed_first: CommitOffset,
    ) -> bool {
        let Some(partition) = self.partitions.get_mut(topic_partition) else { return false };
        partition.watermark = to;
        let at = Some(committed_first);
        partition.sent >= at || partition.acknowledged >= at || partition.uncertain
    }

    /// Takes no more progress of a partition: its final commit is about to be made.
    pub(crate) fn freeze(&mut self, topic_partition: &TopicPartition) {
        if let Some(partition) = self.partitions.get_mut(topic_partition) {
            partition.frozen = true;
        }
    }

    /// Leaves a partition to its final commit: a hook is to run before that, and must not see it on the broker.
    pub(crate) fn keep_back(&mut self, topic_partition: &TopicPartition) {
        if let Some(partition) = self.partitions.get_mut(topic_partition) {
            partition.is_kept_back = true;
        }
    }

    /// Sends nothing but final commits and confirmations before `until`. After an assign: librdkafka starts no new
    /// partition while a commit is outstanding.
    pub(crate) fn hold_until(&mut self, until: Instant) {
        self.held_until = Some(until);
    }

    /// Whether a rebalance or a close of ours is under way: from a revoke to the assign that follows it, and from the
    /// begin of a close. `ILLEGAL_GENERATION` is then retried however long it takes.
    pub(crate) fn set_rebalancing(&mut self, rebalancing: bool) {
        self.rebalancing = rebalancing;
        self.generation_over_since = None;
        if !rebalancing {
            // What is still under way from earlier is of a generation that is over.
            self.partitions.values_mut().for_each(|partition| partition.commit_anew_at = None);
            self.anew_at = None;
        }
    }

    /// The process may have been away for longer than its membership lasts: the next request goes out at once and
    /// covers every partition, new work or not.
    pub(crate) fn doubt_membership(&mut self) {
        // The client has slept as well, and may not have heard of a rebalance.
        self.generation_over_since = None;
        self.membership = Membership::Doubted { since: self.last_serial, refused: 0, not_before: None };
    }

    /// A rebalance event confirms the membership as well as an acknowledged commit.
    pub(crate) fn confirm_membership(&mut self) {
        self.membership = Membership::Confirmed;
    }

    /// Whether workers may start records.
    pub(crate) fn is_membership_confirmed(&self) -> bool {
        self.membership == Membership::Confirmed
    }

    /// What is to be sent now, if anything. Cheap when there is nothing: call it on every turn.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<CommitRequest> {
        self.ask(now);
        if !self.outstanding.is_empty() {
            return None;
        }
        if let Membership::Doubted { not_before, .. } = self.membership {
            if not_before.is_some_and(|not_before| now < not_before) {
                return None;
            }
            // One good answer is enough, so those that are refused come in only where there is nobody else.
            let standing = |(key, partition): (&TopicPartition, &Partition)| {
                Some((key.clone(), partition.epoch, partition.standing()?))
            };
            let (refused, others) = by_refusal(self.partitions.iter().filter(|(_, one)| one.standing().is_some()));
            let asked = if others.is_empty() { next_refused(refused) } else { others };
            let offsets = asked.into_iter().filter_map(standing).collect();
            return self.send(offsets, false, now);
        }
        if self.held_until.is_some_and(|until| now < until) {
            return None;
        }
        let request = if self.any_asked { self.send_asked(now) } else { None };
        request.or_else(|| self.commit_anew(now))
    }

    fn send_asked(&mut self, now: Instant) -> Option<CommitRequest> {
        let asked = self.partitions.iter().filter(|(_, partition)| {
            partition.asked_since.is_some()
                && !partition.is_kept_back
                && partition.is_behind()
                && partition.refusals.not_before.is_none_or(|not_before| not_before <= now)
        });
        let (refused, others) = by_refusal(asked);
        let asked = if refused.is_empty() { others } else { next_refused(refused) };
        let offsets = asked.into_iter().filter_map(watermark).collect();
        self.send(offsets, false, now)
    }

    /// Puts right what an older copy of a request, which may still arrive, would take back.
    fn commit_anew(&mut self, now: Instant) -> Option<CommitRequest> {
        if self.anew_at.is_none_or(|at| now < at) {
            return None;
        }
        let due = |partition: &Partition| partition.commit_anew_at.is_some_and(|at| at <= now);
        self.anew_at = self.partitions.values().filter(|one| !due(one)).filter_map(|one| one.commit_anew_at).min();
        let settled = |partition: &Partition| !partition.is_kept_back && !partition.is_refused();
        let due = self.partitions.iter().filter(|(_, partition)| due(partition) && settled(partition));
        let newest = due.filter_map(|(key, partition)| Some((key.clone(), partition.epoch, partition.standing()?)));
        let offsets = newest.collect();
        self.send(offsets, false, now)
    }

    /// When [`Self::tick`] has something to send or a partition stalls, if nothing else happens before.
    pub(crate) fn next_wakeup(&self, now: Instant) -> Option<Instant> {
        let stalls = self.partitions.values().filter_map(Partition::unacknowledged_since);
        let stall = stalls.map(|since| since + self.policy.max_commit_delay).filter(|at| *at > now).min();
        let send = match self.membership {
            _ if !self.outstanding.is_empty() => None,
            Membership::Doubted { not_before, .. } => {
                let any = self.partitions.values().any(|partition| partition.standing().is_some());
                any.then(|| not_before.unwrap_or(now))
            }
            Membership::Confirmed => {
                let behind = self.partitions.values().filter(|partition| partition.is_behind());
                let ready = behind.filter_map(|partition| {
                    let asked = partition.asked_since.or_else(|| self.due(now))?;
                    Some(asked.max(partition.refusals.not_before.unwrap_or(now)))
                });
                ready.min().map(|at| at.max(self.held_until.unwrap_or(now)))
            }
        };
        stall.into_iter().chain(send.map(|at| at.max(now))).min()
    }

    /// Whether a partition's commits have not got through for `max_commit_delay`: it is fed nothing until they do.
    /// The next record's offset must be looked at all the same: a recreated log shows in nothing else, and its commits
    /// may be refused until a new epoch has begun.
    pub(crate) fn stalled(&self, topic_partition: &TopicPartition, now: Instant) -> bool {
        let since = self.partitions.get(topic_partition).and_then(Partition::unacknowledged_since);
        since.is_some_and(|since| now.saturating_since(since) >= self.policy.max_commit_delay)
    }

    /// What the broker holds for certain in the current epoch: what it acknowledged last, or less where an older
    /// request is still out there and may be stored after it.
    pub(crate) fn acknowledged(&self, topic_partition: &TopicPartition) -> Option<CommitOffset> {
        let partition = self.partitions.get(topic_partition)?;
        let entries = self.outstanding.iter().flat_map(|request| &request.entries);
        // One of an earlier epoch too.
        let sent = entries.filter(|entry| entry.topic_partition == *topic_partition);
        sent.map(|entry| entry.offset).chain(Some(partition.acknowledged?)).min()
    }

    /// Since when a request has been waiting for its answer.
    pub(crate) fn outstanding_since(&self) -> Option<Instant> {
        self.outstanding.iter().map(|request| request.sent_at).min()
    }

    /// Asks for a commit of all finished work when the mode says that it is time.
    fn ask(&mut self, now: Instant) {
        if !self.any_news {
            return;
        }
        if self.last_asked.is_none() && matches!(self.policy.ack_mode, AckMode::Time | AckMode::CountTime) {
            self.last_asked = Some(now);
        }
        if self.due(now).is_none_or(|due| now < due) {
            return;
        }
        for partition in self.partitions.values_mut().filter(|partition| partition.has_news()) {
            partition.asked_since.get_or_insert(now);
            self.any_asked = true;
            self.last_asked = Some(now);
        }
        self.any_news = false;
        self.finished_since_asked = 0;
    }

    /// When the mode lets the next commit be asked for; `None`: not before more is finished.
    fn due(&self, now: Instant) -> Option<Instant> {
        let after = |interval: Duration| Some(self.last_asked.map_or(now, |last| last + interval));
        let counted = self.finished_since_asked >= u64::from(self.policy.ack_count);
        match self.policy.ack_mode {
            AckMode::Record | AckMode::ManualImmediate | AckMode::AtMostOnce => Some(now),
            AckMode::Batch | AckMode::Manual => after(self.policy.commit_interval),
            AckMode::Count | AckMode::CountTime if counted => Some(now),
            AckMode::Count => None,
            AckMode::Time | AckMode::CountTime => after(self.policy.ack_time),
        }
    }

    fn send(
        &mut self,
        offsets: Vec<(TopicPartition, Epoch, CommitOffset)>,
        is_final: bool,
        now: Instant,
    ) -> Option<CommitRequest> {
        if offsets.is_empty() {
            return None;
        }
        self.last_serial = Serial(self.last_serial.0 + 1);
        let serial = self.last_serial;
        let mut entries = Vec::with_capacity(offsets.len());
        for (topic_partition, epoch, offset) in &offsets {
            let Some(partition) = self.current(topic_partition, *epoch) else { continue };
            let asked_since = partition.asked_since.take().or_else(|| partition.is_behind().then_some(now));
            partition.sent = partition.sent.max(Some(*offset));
            partition.sent_since = earlier(partition.sent_since, asked_since);
            entries.push(Entry {
                topic_partition: topic_partition.clone(),
                epoch: *epoch,
                offset: *offset,
                asked_since,
            });
        }
        self.any_asked = self.partitions.values().any(|partition| partition.asked_since.is_some());
        self.outstanding.push(Outstanding { serial, is_final, sent_at: now, entries });
        Some(CommitRequest { serial, offsets })
    }

    fn current(&mut self, topic_partition: &TopicPartition, epoch: Epoch) -> Option<&mut Partition> {
        self.partitions.get_mut(topic_partition).filter(|partition| partition.epoch == epoch)
    }
}

type Asked<'p> = Vec<(&'p TopicPartition, &'p Partition)>;

/// Those that the broker refused when they were sent last, and the others.
///
/// Where the broker refuses one partition of a request, librdkafka 2.12 puts its error on all of them
/// (`rd_kafka_cgrp_update_committed_offsets`). So who was refused is sent alone: then the answer is its own, and it holds
/// up nobody else.
fn by_refusal<'p>(asked: impl Iterator<Item = (&'p TopicPartition, &'p Partition)>) -> (Asked<'p>, Asked<'p>) {
    asked.partition(|(_, partition)| partition.is_refused())
}

/// The refused partition whose turn it is, alone.
fn next_refused(refused: Asked<'_>) -> Asked<'_> {
    refused.into_iter().min_by_key(|(_, partition)| partition.refusals.not_before).into_iter().collect()
}

/// What is to be committed of a partition.
fn watermark((key, partition): (&TopicPartition, &Partition)) -> Option<(TopicPartition, Epoch, CommitOffset)> {
    Some((key.clone(), partition.epoch, partition.watermark?))
}

#[cfg(test)]
mod shared_refusal_tests;
#[cfg(test)]
mod tests;
