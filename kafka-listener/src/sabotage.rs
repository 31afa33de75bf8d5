//! Ways to break the engine on purpose, so that a fault harness can show that it would notice. A harness that cannot
//! fail proves nothing. Without the feature `test-hooks` every question here is answered by a constant.

#[cfg(feature = "test-hooks")]
pub use self::hooked::{Sabotage, on_commit, sabotage};
#[cfg(not(feature = "test-hooks"))]
pub(crate) use self::unhooked::{Sabotage, committing, is_on, stray_offsets, turn_loose};

#[cfg(feature = "test-hooks")]
pub(crate) use self::hooked::{committing, is_on, stray_offsets, turn_loose};

#[cfg(feature = "test-hooks")]
mod hooked {
    use std::sync::atomic::{AtomicU8, Ordering};
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    use crate::offset_tracker::next_offset_after;
    use crate::record::TopicPartition;
    use crate::worker::PartitionControl;

    /// What is broken in every consumer of this process.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[repr(u8)]
    pub enum Sabotage {
        /// Records count as done when they are handed to the worker.
        CommitsAtHandOver = 1,
        /// The end of an assignment stops nobody: workers go on, what they finish is committed, and a process that
        /// was frozen trusts its membership.
        NoFence,
        /// The offset of the last finished record is committed, not the one behind it.
        NoPlusOne,
        /// Revoke and stop wait for no handler.
        NoDrain,
        /// Two workers of this process may work on one partition.
        NoOwnership,
        /// Nothing is ever committed.
        NeverCommits,
    }

    static CHOSEN: AtomicU8 = AtomicU8::new(0);
    /// Workers that were turned loose, and the offset last committed for each.
    static LOOSE: Mutex<Vec<(Arc<PartitionControl>, i64)>> = Mutex::new(Vec::new());
    static ON_COMMIT: OnceLock<OnCommit> = OnceLock::new();

    type OnCommit = Box<dyn Fn(&TopicPartition, i64) + Send + Sync>;

    /// Breaks the engine of this process for good.
    pub fn sabotage(how: Sabotage) {
        CHOSEN.store(how as u8, Ordering::Relaxed);
    }

    /// Calls `listener` on the poll loop's thread for every offset of every commit that is sent. The first caller wins.
    pub fn on_commit(listener: impl Fn(&TopicPartition, i64) + Send + Sync + 'static) {
        // Who comes second is told by what is missing in his log.
        ON_COMMIT.set(Box::new(listener)).ok();
    }

    pub(crate) fn is_on(how: Sabotage) -> bool {
        CHOSEN.load(Ordering::Relaxed) == how as u8
    }

    pub(crate) fn committing(topic_partition: &TopicPartition, offset: i64) {
        if let Some(listener) = ON_COMMIT.get() {
            listener(topic_partition, offset);
        }
    }

    /// Keeps a worker whose assignment is over, so that its progress is committed all the same.
    pub(crate) fn turn_loose(control: &Arc<PartitionControl>) {
        if is_on(Sabotage::NoFence) {
            LOOSE.lock().unwrap_or_else(PoisonError::into_inner).push((Arc::clone(control), -1));
        }
    }

    /// What workers that were turned loose have finished since this was asked last.
    pub(crate) fn stray_offsets() -> Vec<(TopicPartition, i64)> {
        if !is_on(Sabotage::NoFence) {
            return Vec::new();
        }
        let mut loose = LOOSE.lock().unwrap_or_else(PoisonError::into_inner);
        let news = loose.iter_mut().filter_map(|(control, committed)| {
            let offset = next_offset_after(control.last_done()?).get();
            (std::mem::replace(committed, offset) < offset).then(|| (control.topic_partition.clone(), offset))
        });
        news.collect()
    }
}

#[cfg(not(feature = "test-hooks"))]
mod unhooked {
    use std::sync::Arc;

    use crate::record::TopicPartition;
    use crate::worker::PartitionControl;

    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Sabotage {
        CommitsAtHandOver,
        NoFence,
        NoPlusOne,
        NoDrain,
        NoOwnership,
        NeverCommits,
    }

    pub(crate) const fn is_on(_: Sabotage) -> bool {
        false
    }

    pub(crate) const fn committing(_: &TopicPartition, _: i64) {}

    pub(crate) const fn turn_loose(_: &Arc<PartitionControl>) {}

    pub(crate) const fn stray_offsets() -> Vec<(TopicPartition, i64)> {
        Vec::new()
    }
}
