//! Hooks around rebalances, for users who keep state or offsets per partition.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::record::TopicPartition;

/// The partitions of one rebalance event, as hooks see them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Partitions {
    /// The listener's id.
    pub listener_id: Arc<str>,
    /// The consumer group.
    pub group_id: Arc<str>,
    /// Which of the listener's consumers, from 0.
    pub consumer: usize,
    /// The partitions that the event is about; may be empty.
    pub partitions: Vec<TopicPartition>,
}

/// Where a newly assigned partition is to be read from, instead of the group's committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOffset {
    /// A partition of the assignment.
    pub topic_partition: TopicPartition,
    /// The first offset to read.
    pub offset: i64,
}

/// Called when partitions come and go. Every method has a default that does nothing.
///
/// Hooks run as tasks of the runtime that the listeners were started on. They share `revoke_timeout` with the drain:
/// together they get 70 % of it, so that a commit is always tried. A hook that is not done by then, or panics, is left
/// behind and the rebalance goes on; the log says so.
#[async_trait]
pub trait RebalanceListener: Send + Sync + 'static {
    /// Partitions have been assigned and nothing has been read from them yet. May say where to start; partitions
    /// without an answer start at the group's committed offset. An offset returned late is not used.
    async fn on_partitions_assigned(&self, assigned: Partitions) -> Vec<StartOffset> {
        let _ = assigned;
        Vec::new()
    }

    /// The partitions' handlers have ended, what they finished is not committed yet.
    async fn on_partitions_revoked_before_commit(&self, revoked: Partitions) {
        let _ = revoked;
    }

    /// What the partitions' handlers finished has been committed, as far as the broker answered in time; the
    /// partitions are about to go to their next owner.
    async fn on_partitions_revoked_after_commit(&self, revoked: Partitions) {
        let _ = revoked;
    }

    /// The partitions were taken away without asking: the session ended or the member was fenced. Another member may
    /// own them by now; nothing is committed. None of the revoke hooks is called.
    async fn on_partitions_lost(&self, lost: Partitions) {
        let _ = lost;
    }
}

/// The hooks of one listener, in the order of their registration.
#[derive(Clone, Default)]
pub(crate) struct Hooks(Vec<Arc<dyn RebalanceListener>>);

impl Hooks {
    pub(crate) fn new(hooks: Vec<Arc<dyn RebalanceListener>>) -> Self {
        Self(hooks)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<dyn RebalanceListener>> {
        self.0.iter()
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooks").field(&self.0.len()).finish()
    }
}
