//! Where partitions start: the committed offset, what a hook says, the reset policy; and asking again for what could not
//! be found out.
//!
//! librdkafka gives up on a partition without a word when its own question for the committed offset fails at the wrong
//! moment (a coordinator that moves). So the question is asked here, the answer is passed on as a number, and a
//! partition without an answer is asked for until there is one.

use std::time::{Duration, SystemTime};

use super::ffi::{PartitionError, PartitionOffset};
use super::partition::{Partition, Reading};
use super::poll_loop::PollLoop;
use super::revoke::{HookKind, Serve};
use crate::clock::Instant;
use crate::config::AutoOffsetReset;
use crate::offset_tracker::CommitOffset;
use crate::record::TopicPartition;

/// librdkafka's names for the two ends of a log.
pub(super) const BEGINNING: i64 = -2;
pub(super) const END: i64 = -1;

/// How long one question is waited for when it is asked again, between two turns of the loop.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How often it is asked again.
const ASK_AGAIN_EVERY: Duration = Duration::from_secs(1);

/// Where one new partition starts.
#[derive(Clone, Debug)]
pub(super) struct Start {
    pub(super) topic_partition: TopicPartition,
    pub(super) committed: Option<i64>,
    /// The first offset to read, where it is a number.
    pub(super) offset: Option<i64>,
    /// What librdkafka is told: the number, or an end of the log; `None` leaves it to librdkafka.
    pub(super) told: Option<i64>,
}

/// A partition that is not known to be read, and what to ask for it.
#[derive(Clone, Debug)]
pub(super) struct Unstarted {
    topic_partition: TopicPartition,
    question: Question,
    ask_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// The committed offset, and the reset policy where there is none.
    Committed,
    /// `auto_offset_reset = "by_duration:…"` of a partition whose position is gone.
    ByDuration,
}

/// A partition to be assigned anew within our own assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Restart {
    topic_partition: TopicPartition,
    /// Where it is to be read from.
    offset: i64,
    /// Only if nothing of it has been read: the question was ours, and librdkafka may have found the answer by itself and
    /// have begun meanwhile.
    if_unread: bool,
}

/// What the group has committed for one partition.
enum Committed {
    At(i64),
    Nothing,
    Unknown,
}

impl PollLoop {
    /// Where the assigned partitions start. Waits for the coordinator and for hooks, within their limits.
    pub(super) fn starts_of(&mut self, assigned: &[TopicPartition]) -> (Vec<Start>, Duration) {
        let committed = self.ask_committed(assigned, self.lookup_limit());
        let mut unknown = Vec::new();
        let mut starts = Vec::with_capacity(assigned.len());
        for (topic_partition, committed) in assigned.iter().zip(committed) {
            let offset = match committed {
                Committed::At(offset) => Some(offset),
                Committed::Nothing => None,
                Committed::Unknown => {
                    unknown.push(topic_partition.clone());
                    None
                }
            };
            starts.push(Start { topic_partition: topic_partition.clone(), committed: offset, offset, told: offset });
        }
        let began = Instant::now();
        self.hook_starts(assigned, &mut starts);
        let hooks_took = Instant::now().saturating_since(began);
        let until = Instant::now() + self.lookup_limit();
        for start in starts.iter_mut().filter(|start| start.offset.is_none()) {
            if unknown.contains(&start.topic_partition) {
                continue;
            }
            match self.parts.settings.auto_offset_reset {
                AutoOffsetReset::Earliest => start.told = Some(BEGINNING),
                AutoOffsetReset::Latest => start.told = Some(END),
                // librdkafka answers with an error, which ends the listener.
                AutoOffsetReset::Error => {}
                AutoOffsetReset::ByDuration(duration) => {
                    let wait = until.saturating_since(Instant::now());
                    let stopping = self.stop_request().is_some();
                    let found = if wait.is_zero() || stopping {
                        None
                    } else {
                        self.offset_by_duration(&start.topic_partition, duration, wait)
                    };
                    start.offset = found;
                    start.told = found;
                    if found.is_none() {
                        unknown.push(start.topic_partition.clone());
                    }
                }
            }
        }
        let unanswered = starts.iter().filter(|start| start.told.is_none() && unknown.contains(&start.topic_partition));
        for topic_partition in unanswered.map(|start| start.topic_partition.clone()).collect::<Vec<_>>() {
            self.ask_later(topic_partition, Question::Committed);
        }
        (starts, hooks_took)
    }

    fn ask_committed(&mut self, partitions: &[TopicPartition], wait: Duration) -> Vec<Committed> {
        if partitions.is_empty() {
            return Vec::new();
        }
        let answer = self.client.committed(partitions, wait);
        self.tick();
        let answers = answer.unwrap_or_else(|error| {
            tracing::debug!(listener = %self.parts.listener.id, %error, "committed offsets are not known yet");
            Vec::new()
        });
        let answer_for = |topic_partition: &TopicPartition| {
            let answer = answers.iter().find(|one: &&PartitionOffset| one.topic_partition == *topic_partition);
            match answer {
                Some(PartitionOffset { error: None, offset: Some(offset), .. }) => Committed::At(*offset),
                Some(PartitionOffset { error: None, offset: None, .. }) => Committed::Nothing,
                _ => Committed::Unknown,
            }
        };
        partitions.iter().map(answer_for).collect()
    }

    pub(super) fn hook_starts(&mut self, assigned: &[TopicPartition], starts: &mut [Start]) {
        let budget = self.parts.settings.revoke_timeout.mul_f64(0.7);
        let answers = self.run_hooks(HookKind::Assigned, assigned, Instant::now() + budget, Serve::Nothing);
        for answer in answers {
            match starts.iter_mut().find(|start| start.topic_partition == answer.topic_partition) {
                Some(start) if answer.offset >= 0 => {
                    start.offset = Some(answer.offset);
                    start.told = Some(answer.offset);
                }
                _ => tracing::warn!(
                    listener = %self.parts.listener.id, topic_partition = %answer.topic_partition,
                    offset = answer.offset, "start offset ignored: not a partition of this assignment, or negative"
                ),
            }
        }
    }

    /// The first offset whose time is at most `duration` ago; the end of the log where there is none.
    fn offset_by_duration(
        &mut self,
        topic_partition: &TopicPartition,
        duration: Duration,
        wait: Duration,
    ) -> Option<i64> {
        let since = SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH);
        let since_epoch = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let millis = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        // The end is asked for first: a record written between the two questions is then read, not missed.
        let end = self.client.query_end(topic_partition, wait);
        let found = self.client.offsets_for_times(std::slice::from_ref(topic_partition), millis, wait);
        self.tick();
        match (end, found) {
            (Ok(end), Ok(found)) => Some(found.first().and_then(|one| one.offset).unwrap_or(end)),
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(listener = %self.parts.listener.id, %topic_partition, %error,
                    "the offset for `auto_offset_reset` is not known yet");
                None
            }
        }
    }

    /// How long the questions of one assignment may hold up the loop: well under the session.
    fn lookup_limit(&self) -> Duration {
        (self.parts.settings.session_timeout / 6).min(Duration::from_secs(1))
    }

    fn ask_later(&mut self, topic_partition: TopicPartition, question: Question) {
        let ask_at = Instant::now() + ASK_AGAIN_EVERY;
        self.unstarted.retain(|one| one.topic_partition != topic_partition);
        self.unstarted.push(Unstarted { topic_partition, question, ask_at });
    }

    /// Nothing is to be found out about where a partition starts any more.
    pub(super) fn forget_start(&mut self, topic_partition: &TopicPartition) {
        self.unstarted.retain(|one| one.topic_partition != *topic_partition);
        self.restarts.retain(|one| one.topic_partition != *topic_partition);
    }

    /// The position of a partition is not known any more and librdkafka may have stopped reading it.
    pub(super) fn lose_position(&mut self, index: usize) {
        let topic_partition = self.partitions[index].topic_partition.clone();
        self.ask_later(topic_partition, Question::Committed);
    }

    /// Asks again for partitions that are not known to be read. Part of the sweep.
    pub(super) fn ask_again(&mut self, now: Instant) {
        let Some(at) = self.unstarted.iter().position(|one| one.ask_at <= now) else { return };
        // One question a sweep: what waits for the broker here holds up the loop.
        let Unstarted { topic_partition, question, .. } = self.unstarted.swap_remove(at);
        let Some(partition) = self.partitions.iter().find(|one| one.topic_partition == topic_partition) else { return };
        if question == Question::Committed && partition.tracker.expected().is_some() {
            return;
        }
        if question == Question::Committed && self.own.is_some() {
            match self.own_start_again(&topic_partition, ASK_AGAIN) {
                Some(offset) => self.restart_by(Restart { topic_partition, offset, if_unread: true }),
                None => self.ask_later(topic_partition, question),
            }
            return;
        }
        let committed = match question {
            Question::Committed => self.ask_committed(std::slice::from_ref(&topic_partition), ASK_AGAIN).pop(),
            Question::ByDuration => Some(Committed::Nothing),
        };
        let start = match (committed, self.parts.settings.auto_offset_reset) {
            (Some(Committed::At(offset)), _) => Some(offset),
            (Some(Committed::Nothing), AutoOffsetReset::Earliest) => Some(BEGINNING),
            (Some(Committed::Nothing), AutoOffsetReset::Latest) => Some(END),
            (Some(Committed::Nothing), AutoOffsetReset::ByDuration(duration)) => {
                self.offset_by_duration(&topic_partition, duration, ASK_AGAIN)
            }
            (Some(Committed::Nothing), AutoOffsetReset::Error) => {
                self.fail(format!(
                    "auto_offset_reset = \"error\": the group has committed no offset for `{topic_partition}`"
                ));
                return;
            }
            (Some(Committed::Unknown) | None, _) => None,
        };
        match start {
            Some(offset) => {
                if let Some(partition) = self.partition_mut(&topic_partition)
                    && offset >= 0
                    && partition.tracker.expected().is_none()
                {
                    partition.start = Some(CommitOffset::at(offset));
                }
                let if_unread = question == Question::Committed;
                self.restart_by(Restart { topic_partition, offset, if_unread });
            }
            None => self.ask_later(topic_partition, question),
        }
    }

    /// librdkafka has stopped reading: there is no offset to read from, or nothing at the one that it asked for.
    pub(super) fn reset_offset(&mut self, index: usize, error: &PartitionError) {
        let partition = &self.partitions[index];
        let topic_partition = partition.topic_partition.clone();
        let meant = match partition.reading {
            Reading::Searching(search) => Some(search.tried()),
            _ => partition.expected().map(CommitOffset::get),
        };
        if let Some(meant) = meant.filter(|meant| *meant != error.offset) {
            // Behind a damaged batch, and behind the gap at the end of a log that has shrunk. If nothing is there either,
            // that is told next.
            tracing::debug!(listener = %self.parts.listener.id, %topic_partition, asked_for = error.offset, meant,
                "librdkafka asked for an offset that was not meant");
            self.restart(topic_partition, meant);
            return;
        }
        let to = match self.parts.settings.auto_offset_reset {
            AutoOffsetReset::Earliest => BEGINNING,
            AutoOffsetReset::Latest => END,
            AutoOffsetReset::ByDuration(_) => {
                self.ask_later(topic_partition, Question::ByDuration);
                self.ask_again(Instant::now() + ASK_AGAIN_EVERY);
                return;
            }
            AutoOffsetReset::Error => {
                self.fail(format!(
                    "auto_offset_reset = \"error\": `{topic_partition}` cannot be read at offset {}: {}",
                    error.offset, error.error
                ));
                return;
            }
        };
        if meant.is_none() {
            // What the group has committed may not be known yet.
            self.ask_later(topic_partition, Question::Committed);
            self.ask_again(Instant::now() + ASK_AGAIN_EVERY);
            return;
        }
        tracing::warn!(listener = %self.parts.listener.id, %topic_partition, offset = error.offset, error = %error.error,
            auto_offset_reset = ?self.parts.settings.auto_offset_reset, "there is nothing at the offset to read from");
        self.restart(topic_partition, to);
    }

    /// Has the partition read from `offset` by unassigning and assigning it within our own assignment, at the next turn.
    pub(super) fn restart(&mut self, topic_partition: TopicPartition, offset: i64) {
        self.restart_by(Restart { topic_partition, offset, if_unread: false });
    }

    /// A seek that was refused may be carried out all the same: what it brings is read once more after the restart.
    pub(super) fn is_to_restart(&self, partition: &Partition) -> bool {
        self.restarts.iter().any(|one| !one.if_unread && one.topic_partition == partition.topic_partition)
    }

    /// The partition is read from where it is to be read.
    pub(super) fn forget_restart(&mut self, index: usize) {
        let topic_partition = &self.partitions[index].topic_partition;
        self.restarts.retain(|one| one.topic_partition != *topic_partition);
    }

    fn restart_by(&mut self, restart: Restart) {
        self.restarts.retain(|one| one.topic_partition != restart.topic_partition);
        self.restarts.push(restart);
    }

    /// Carries the restarts out. Only when librdkafka's events have just been served to the last one: a rebalance that
    /// waits to be answered would take these calls for its answer.
    pub(super) fn carry_out_restarts(&mut self) {
        for Restart { topic_partition, offset, if_unread } in std::mem::take(&mut self.restarts) {
            if self.client.assignment_lost() {
                return;
            }
            let held = self.partitions.iter().find(|one| one.topic_partition == topic_partition);
            if held.is_none_or(|held| if_unread && held.tracker.expected().is_some()) {
                continue;
            }
            let all = self.partitions.iter().map(|partition| {
                let is_it = partition.topic_partition == topic_partition;
                let position = partition.expected().map(CommitOffset::get);
                (&partition.topic_partition, if is_it { Some(offset) } else { position })
            });
            if let Err(error) = self.client.restart(&topic_partition, offset, all) {
                self.fail(format!("read `{topic_partition}` from offset {offset}: {error}"));
            }
        }
    }
}
