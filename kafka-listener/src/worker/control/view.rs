//! How a partition stands, for the poll loop, status, health and the worker itself. Each value is read by itself: two of
//! them are no snapshot.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{PartitionControl, lock, offset};
use crate::clock::Instant;
use crate::kafka::ffi::Ready;
use crate::offset_tracker::next_offset_after;
use crate::phase::Phase;

impl PartitionControl {
    /// What no other assignment of the partition shares, and all epochs of this one do.
    pub(crate) fn assignment(&self) -> &Arc<Ready> {
        &self.ready
    }

    pub(crate) fn committed(&self) -> Option<i64> {
        offset(self.committed.load(Ordering::Acquire))
    }

    pub(crate) fn position(&self) -> Option<i64> {
        offset(self.position.load(Ordering::Relaxed))
    }

    /// The first offset that is not known to be committed: what the broker acknowledged, else what is done here, else
    /// where reading stands.
    pub(crate) fn open_from(&self) -> Option<i64> {
        let done = self.last_done().map(|done| next_offset_after(done).get());
        let began_at = || offset(self.began_at.load(Ordering::Relaxed));
        self.committed().or(done).or_else(|| self.current()).or_else(began_at).or_else(|| self.position())
    }

    pub(crate) fn end_offset(&self) -> Option<i64> {
        offset(self.end_offset.load(Ordering::Relaxed))
    }

    pub(crate) fn current(&self) -> Option<i64> {
        offset(self.current.load(Ordering::Relaxed))
    }

    /// What the worker does, or what it has left running.
    pub(crate) fn phase(&self) -> Phase {
        let entered = Phase::from_u8(self.phase.load(Ordering::Acquire));
        match entered {
            _ if self.is_over() => {
                if entered.is_running() {
                    Phase::Idle
                } else {
                    entered
                }
            }
            _ if self.has_ended() => Phase::Cancelled,
            Phase::Running if self.cancelled_at.load(Ordering::Acquire) != 0 => Phase::Cancelled,
            entered => entered,
        }
    }

    /// Whether the worker has ended, and every code that it left running.
    pub(crate) fn is_over(&self) -> bool {
        self.has_ended() && self.lease.get().is_none_or(|lease| lease.strong_count() == 0)
    }

    /// How long ago its code was cancelled, if it was.
    pub(crate) fn cancelled_for(&self, now: Instant) -> Option<Duration> {
        let at = self.cancelled_at.load(Ordering::Acquire);
        (at != 0).then(|| now.saturating_since(Instant::from_nanos(at)))
    }

    /// Records handed over and not done.
    pub(crate) fn in_flight(&self) -> u64 {
        self.sent_records.load(Ordering::Relaxed).saturating_sub(self.finished())
    }

    /// Records from the first offset that is not known to be committed to the end of the log.
    pub(crate) fn lag(&self) -> Option<i64> {
        self.open_from().zip(self.end_offset()).map(|(open, end)| end.saturating_sub(open).max(0))
    }

    /// How long the worker has been at its record, all attempts together: to a quarter of a second.
    pub(crate) fn record_age(&self, now: Instant) -> Duration {
        let is_seen = self.seen_at.load(Ordering::Relaxed) == self.current.load(Ordering::Relaxed);
        let seen_since = Instant::from_nanos(self.seen_since.load(Ordering::Relaxed));
        let seen_for = if is_seen { now.saturating_since(seen_since) } else { Duration::ZERO };
        // A worker that waits has been at its record for as long as it waits, seen or not.
        if self.phase().is_running() { seen_for } else { seen_for.max(self.phase_age(now)) }
    }

    /// How long user code has been running for one record; `None` while none runs.
    pub(crate) fn running_for(&self, now: Instant) -> Option<Duration> {
        self.phase().counts_as_stuck().then(|| self.record_age(now).min(self.phase_age(now)))
    }

    /// How long the worker has been in its phase.
    pub(crate) fn phase_age(&self, now: Instant) -> Duration {
        now.saturating_since(Instant::from_nanos(self.since.load(Ordering::Acquire)))
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.attempt.load(Ordering::Relaxed)
    }

    pub(crate) fn last_error(&self) -> Option<Arc<str>> {
        lock(&self.last_error).clone()
    }
}
