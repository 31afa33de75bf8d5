//! A partition that is read from somewhere else within its assignment: what it has finished is committed, and a new epoch
//! begins whose commits may be lower.

use super::partition::{Partition, earlier};
use super::verdict::Verdict;
use super::{CommitCoordinator, CommitOutcome};
use crate::clock::Instant;
use crate::epoch::Epoch;
use crate::offset_tracker::CommitOffset;
use crate::record::TopicPartition;

impl CommitCoordinator {
    /// Asks for the commit of what a partition has finished, whatever the mode says.
    pub(crate) fn ask_now(&mut self, topic_partition: &TopicPartition, now: Instant) {
        if let Some(partition) = self.partitions.get_mut(topic_partition).filter(|partition| partition.has_news()) {
            partition.asked_since.get_or_insert(now);
            self.any_asked = true;
        }
    }

    /// What became of a partition's commits; `None` while one is out there or to be sent.
    pub(crate) fn settled(&self, topic_partition: &TopicPartition) -> Option<CommitOutcome> {
        let Some(partition) = self.partitions.get(topic_partition).filter(|partition| !partition.fenced) else {
            return Some(CommitOutcome::Fenced);
        };
        let mut entries = self.outstanding.iter().flat_map(|request| &request.entries);
        if entries.any(|entry| entry.topic_partition == *topic_partition) {
            return None;
        }
        let is_refused = partition
            .refusals
            .last
            .is_some_and(|refusal| Verdict::of(refusal.code) == Verdict::Failed && !refusal.is_shared);
        match (partition.is_behind(), is_refused) {
            (false, _) => Some(CommitOutcome::Committed),
            (true, true) => Some(CommitOutcome::Failed),
            (true, false) => None,
        }
    }

    /// Begins an epoch of a partition that is read from somewhere else. Where `commits` says so, `start` is committed, at
    /// once and whatever the mode says; else what the last epoch has left, up to there.
    pub(crate) fn reposition(
        &mut self,
        topic_partition: &TopicPartition,
        epoch: Epoch,
        (start, commits): (Option<CommitOffset>, bool),
        now: Instant,
    ) {
        let Some(partition) = self.partitions.get_mut(topic_partition).filter(|partition| partition.epoch < epoch)
        else {
            return;
        };
        // Where the last epoch was further, what it has left ends at the new start: the rest is read again.
        let left = partition.watermark.zip(start).map(|(watermark, start)| watermark.min(start));
        let left = left.filter(|left| partition.is_behind() && Some(*left) > partition.acknowledged);
        let mut next = Partition::new(epoch, None);
        next.fenced = partition.fenced;
        next.watermark = if commits { start } else { left };
        next.asked_since = next.watermark.map(|_| now);
        // What a copy of an older request may take back, and that the broker refuses the partition, outlive the epoch.
        next.commit_anew_at = partition.commit_anew_at;
        next.refusals = partition.refusals;
        if commits && let Some(not_before) = &mut next.refusals.not_before {
            *not_before = now;
        }
        self.any_asked |= next.asked_since.is_some();
        self.anew_at = earlier(self.anew_at, next.commit_anew_at);
        *partition = next;
    }
}
