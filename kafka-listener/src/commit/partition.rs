//! What the coordinator remembers of one partition and of one request that waits for its answer.

use super::verdict::Verdict;
use super::{Serial, code};
use crate::clock::Instant;
use crate::epoch::Epoch;
use crate::offset_tracker::CommitOffset;
use crate::record::TopicPartition;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts: each has its own cause and end")]
pub(super) struct Partition {
    pub(super) epoch: Epoch,
    /// The first record handed over: where to stand when nothing was ever done or committed.
    pub(super) started_at: Option<CommitOffset>,
    pub(super) watermark: Option<CommitOffset>,
    /// What the broker holds for certain, and the request that told so.
    pub(super) acknowledged: Option<CommitOffset>,
    pub(super) acknowledged_by: Serial,
    pub(super) finished: u64,
    /// The highest offset of this epoch in a request that waits for its answer.
    pub(super) sent: Option<CommitOffset>,
    /// Since when a commit has been asked for and not been acknowledged: waiting to be sent, and sent.
    pub(super) asked_since: Option<Instant>,
    pub(super) sent_since: Option<Instant>,
    /// Something above `acknowledged` was sent, and no answer says for certain what became of it.
    pub(super) uncertain: bool,
    /// A copy of an older request may still be under way to the broker and take the offset back when it arrives: when to
    /// commit anew. Over with the generation, which the broker compares.
    pub(super) commit_anew_at: Option<Instant>,
    pub(super) refusals: Refusals,
    /// Progress is taken no more: the final commit is being made.
    pub(super) frozen: bool,
    /// Only a final commit may cover it.
    pub(super) is_kept_back: bool,
    /// Nothing is sent any more.
    pub(super) fenced: bool,
}

/// The answers since the last good one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refusals {
    pub(super) count: u32,
    pub(super) last: Option<Refusal>,
    pub(super) not_before: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) code: i32,
    pub(super) at: Instant,
    /// It was a final commit that was refused.
    pub(super) of_final: bool,
    /// It may be that of another partition of the same request.
    pub(super) is_shared: bool,
}

impl Partition {
    pub(super) fn new(epoch: Epoch, committed: Option<CommitOffset>) -> Self {
        Self {
            epoch,
            started_at: None,
            watermark: None,
            acknowledged: committed,
            acknowledged_by: Serial::from_raw(0),
            finished: 0,
            sent: None,
            asked_since: None,
            sent_since: None,
            uncertain: false,
            commit_anew_at: None,
            refusals: Refusals::default(),
            frozen: false,
            is_kept_back: false,
            fenced: false,
        }
    }

    /// Finished work is not acknowledged.
    pub(super) fn is_behind(&self) -> bool {
        !self.fenced && self.watermark > self.acknowledged
    }

    /// Finished work is in no request that waits for its answer.
    pub(super) fn has_news(&self) -> bool {
        self.is_behind() && self.watermark > self.sent
    }

    /// The broker does not commit this partition, or refused a request that it shared: it is sent alone.
    pub(super) fn is_refused(&self) -> bool {
        self.refusals.last.is_some_and(|refusal| Verdict::of(refusal.code) == Verdict::Failed)
    }

    /// What confirms the membership: what is done, else what is committed, else where reading started.
    pub(super) fn standing(&self) -> Option<CommitOffset> {
        if self.fenced { None } else { self.watermark.max(self.acknowledged).or(self.started_at) }
    }

    /// The moment that `max_commit_delay` counts from.
    pub(super) fn unacknowledged_since(&self) -> Option<Instant> {
        earlier(self.asked_since, self.sent_since)
    }

    pub(super) fn last_code(&self) -> i32 {
        self.refusals.last.map_or(code::NO_ERROR, |refusal| refusal.code)
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Outstanding {
    pub(super) serial: Serial,
    pub(super) is_final: bool,
    pub(super) sent_at: Instant,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) topic_partition: TopicPartition,
    pub(super) epoch: Epoch,
    pub(super) offset: CommitOffset,
    /// Since when this commit has been asked for.
    pub(super) asked_since: Option<Instant>,
}

pub(super) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}
