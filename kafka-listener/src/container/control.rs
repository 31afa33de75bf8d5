//! Steering a running container: pause and resume, whole or by partition, and reading from somewhere else.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::consumer::{Consumer, ConsumerPhase, ConsumerState, Pauses};
use super::{CONTROL_LIMIT, ListenerContainer, has_ended};
use crate::error::Error;
use crate::kafka::{RESOLVE_LIMIT, SeekCommand};
use crate::record::TopicPartition;
use crate::seek::{Goal, SeekOutcome, SeekTo};
use crate::worker::PartitionControl;

/// What became of a wish about the pause of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseOutcome {
    /// It is so.
    Applied,
    /// This process does not own the partition. The wish is remembered, and holds as soon as it does.
    Remembered,
}

impl ListenerContainer {
    /// Pauses the listener: no record is started any more, running ones finish. The group keeps its members and the
    /// pause outlives rebalances. Returns when every poll loop has closed its gates.
    ///
    /// # Errors
    ///
    /// [`Error::NotRunning`] when the container is not started; [`Error::Unanswered`] when a poll loop is held up, for
    /// example by a rebalance, for more than 5 s: the pause is then carried out as soon as it turns.
    ///
    /// # Cancel safety
    ///
    /// The pause is carried out when the future is dropped.
    pub async fn pause(&self) -> Result<(), Error> {
        self.set_paused(true).await
    }

    /// Ends a pause. Partitions that were paused one by one stay so.
    ///
    /// # Errors
    ///
    /// As [`ListenerContainer::pause`].
    ///
    /// # Cancel safety
    ///
    /// As [`ListenerContainer::pause`].
    pub async fn resume(&self) -> Result<(), Error> {
        self.set_paused(false).await
    }

    /// Pauses one partition: its record that runs finishes, no other one is started; the other partitions go on. The wish
    /// is remembered in this process until [`ListenerContainer::resume_partition`], across rebalances and stops, also for
    /// a partition that is not here now. What is fetched stays; the lag goes on to be told.
    ///
    /// # Errors
    ///
    /// [`Error::Unanswered`] as in [`ListenerContainer::pause`].
    ///
    /// # Cancel safety
    ///
    /// As [`ListenerContainer::pause`].
    pub async fn pause_partition(&self, topic_partition: &TopicPartition) -> Result<PauseOutcome, Error> {
        self.set_partition_paused(topic_partition, |paused| paused.insert(topic_partition.clone())).await
    }

    /// Ends the pause of one partition. One that is paused with the whole listener stays so.
    ///
    /// # Errors
    ///
    /// As [`ListenerContainer::pause_partition`].
    ///
    /// # Cancel safety
    ///
    /// As [`ListenerContainer::pause`].
    pub async fn resume_partition(&self, topic_partition: &TopicPartition) -> Result<PauseOutcome, Error> {
        self.set_partition_paused(topic_partition, |paused| paused.remove(topic_partition)).await
    }

    /// The partitions that are paused one by one, owned now or not.
    pub fn paused_partitions(&self) -> BTreeSet<TopicPartition> {
        self.inner.pauses().partitions.clone()
    }

    /// Reads a partition from somewhere else. The record that runs may finish within a part of `revoke_timeout` and is
    /// cancelled then; what is finished is committed; nothing of the time before the call is started any more. The target
    /// itself is not committed: after a crash before the first record there is finished, the group goes on where it was.
    ///
    /// A seek ahead skips what lies between for good as soon as something behind it is finished; it is counted as
    /// skipped. A seek back has records handled once more. The attempts of all records count afresh. A pause stays.
    ///
    /// Resolves when that is so, or cannot be: a few seconds and twice `revoke_timeout` at the latest. A rebalance that takes
    /// the partition away, a stop, or a later seek of the partition ends the call with that.
    ///
    /// # Cancel safety
    ///
    /// A seek that has not been begun is withdrawn when the future is dropped; one that has is carried out.
    pub async fn seek(&self, topic_partition: &TopicPartition, to: SeekTo) -> SeekOutcome {
        self.ask_seek(topic_partition, Goal { to, commits: false, until: None }).await
    }

    /// The same, and the target is committed before anything of it is handled, so that it holds after a crash and for the
    /// next owner, too.
    ///
    /// # Cancel safety
    ///
    /// As [`ListenerContainer::seek`].
    pub async fn seek_and_commit(&self, topic_partition: &TopicPartition, to: SeekTo) -> SeekOutcome {
        self.ask_seek(topic_partition, Goal { to, commits: true, until: None }).await
    }

    /// Has records that were handled already handled once more: from `from` up to but without `to`, as far as they have
    /// been. Then the partition goes on where it was. Resolves when the replay begins; its begin is committed.
    ///
    /// A replay is known to this process alone, but for its begin: when the partition goes to another owner on the way, by
    /// a rebalance, a stop or a crash, that one handles all from where the replay was, and nothing is lost. Another seek
    /// ends it.
    ///
    /// # Cancel safety
    ///
    /// As [`ListenerContainer::seek`].
    pub async fn replay(&self, topic_partition: &TopicPartition, from: SeekTo, to: SeekTo) -> SeekOutcome {
        self.ask_seek(topic_partition, Goal { to: from, commits: true, until: Some(to) }).await
    }

    async fn ask_seek(&self, topic_partition: &TopicPartition, goal: Goal) -> SeekOutcome {
        let (answer, answered) = oneshot::channel();
        {
            let Some((consumer, control)) = self.owner_of(topic_partition) else { return SeekOutcome::NotAssigned };
            consumer.seek(SeekCommand { assignment: Arc::clone(control.assignment()), goal, answer });
        }
        let limit = RESOLVE_LIMIT + self.inner.settings.revoke_timeout * 2;
        match tokio::time::timeout(limit, answered).await {
            Ok(Ok(outcome)) => outcome,
            // The partition has gone, and the seek with it.
            Ok(Err(_)) => SeekOutcome::NotAssigned,
            Err(_) => SeekOutcome::Unanswered,
        }
    }

    /// The consumer that owns a partition, and the partition's worker.
    pub(super) fn owner_of(&self, topic_partition: &TopicPartition) -> Option<(Arc<Consumer>, Arc<PartitionControl>)> {
        self.consumers().into_iter().find_map(|consumer| {
            let partitions = consumer.partitions();
            let control = partitions.into_iter().find(|control| control.topic_partition == *topic_partition)?;
            Some((consumer, control))
        })
    }

    async fn set_paused(&self, paused: bool) -> Result<(), Error> {
        let consumers = self.inner.consumers().clone();
        if consumers.iter().all(|consumer| has_ended(consumer)) {
            return Err(Error::NotRunning { listener: self.id().to_owned() });
        }
        self.change_pauses(&consumers, |pauses| pauses.all = paused).await
    }

    async fn set_partition_paused(
        &self,
        topic_partition: &TopicPartition,
        change: impl FnOnce(&mut BTreeSet<TopicPartition>) -> bool,
    ) -> Result<PauseOutcome, Error> {
        let consumers = self.inner.consumers().clone();
        let changed = self.change_pauses(&consumers, |pauses| {
            change(&mut pauses.partitions);
        });
        changed.await?;
        let is_owned = self.owner_of(topic_partition).is_some();
        Ok(if is_owned { PauseOutcome::Applied } else { PauseOutcome::Remembered })
    }

    async fn change_pauses(&self, consumers: &[Arc<Consumer>], change: impl FnOnce(&mut Pauses)) -> Result<(), Error> {
        let wished: Vec<(Arc<Consumer>, u64)> = {
            let mut pauses = self.inner.pauses();
            change(&mut pauses);
            // Told under the lock, so that every consumer hears of all wishes in one order.
            consumers.iter().map(|consumer| (Arc::clone(consumer), consumer.pause(pauses.clone()))).collect()
        };
        let all = async {
            for (consumer, version) in &wished {
                let done =
                    |state: &ConsumerState| state.pauses_version >= *version || state.phase == ConsumerPhase::Ended;
                consumer.wait_for(done).await;
            }
        };
        let unanswered = |_| Error::Unanswered { listener: self.id().to_owned() };
        tokio::time::timeout(CONTROL_LIMIT, all).await.map_err(unanswered)
    }
}
