//! What a worker and the poll loop tell each other about one partition in one epoch: atomics, no locks on the way of a
//! record.
//!
//! Each field has one writer. The poll loop closes gates and cancels; the worker publishes progress. `holds` is what a
//! worker asks of an operator and of the loop, `view` what everybody may look at.

mod holds;
mod view;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::acks::AckDesk;
use super::requests::{HeldDecision, WorkerRequest};
use crate::clock::Instant;
use crate::kafka::ffi::Ready;
use crate::kafka::waker::Waker;
use crate::ownership::PartitionLease;
use crate::phase::{Interrupt, Phase, Reaction};
use crate::record::TopicPartition;

/// Reasons for a worker not to start the next record. Set and cleared by the poll loop (`PAUSE` by the container).
pub(crate) mod gate {
    /// Leave: the partition is revoked, lost or the container stops.
    pub(crate) const STOP: u8 = 1;
    /// The container is paused.
    pub(crate) const PAUSE: u8 = 2;
    /// Commits of this partition have not got through for `max_commit_delay`.
    pub(crate) const STALLED: u8 = 4;
}

/// `AtomicI64` fields hold this where there is no offset yet.
pub(crate) const NO_OFFSET: i64 = -1;

/// One partition in one epoch.
#[derive(Debug)]
pub(crate) struct PartitionControl {
    pub(crate) topic_partition: TopicPartition,

    gate: AtomicU8,
    cancel: CancellationToken,
    /// Set by the poll loop: when running code was cancelled (nanoseconds), 0 until then.
    cancelled_at: AtomicU64,
    /// Set by the worker once it owns the partition. Lives as long as the worker or code that it left running.
    lease: OnceLock<Weak<PartitionLease>>,
    /// Wakes the worker when a gate opens or closes, a commit is acknowledged or a held record is decided upon. One
    /// waiter: the worker.
    changed: Notify,

    /// Written by the worker: offset of the last record that is done.
    done: AtomicI64,
    /// Written by the worker: records and bytes of finished hand-overs, the credits given back.
    returned_records: AtomicU64,
    returned_bytes: AtomicU64,
    /// Written by the worker: records done in this epoch.
    finished: AtomicU64,
    /// Written by the worker: the record it is at, its phase, its attempt, since when (nanoseconds) it is in it.
    current: AtomicI64,
    phase: AtomicU8,
    attempt: AtomicU32,
    since: AtomicU64,
    last_error: Mutex<Option<Arc<str>>>,
    /// Written by the worker: the broker has not taken the record that it publishes.
    pub(crate) is_unpublished: AtomicBool,
    /// Written by the worker: the last record that it has published something for.
    published_for: AtomicI64,
    /// Set by the poll loop when it waits for credits; cleared by the worker that wakes it.
    starved: AtomicBool,
    /// Set when the worker's task is over, whatever ended it.
    ended: AtomicBool,

    /// Written by the poll loop: the offset that the broker has acknowledged.
    committed: AtomicI64,
    /// Written by the poll loop: offset after the last record handed over.
    position: AtomicI64,
    /// Written by the poll loop: the first offset of this epoch.
    began_at: AtomicI64,
    /// Written by the poll loop: the high watermark of the last fetch answer.
    end_offset: AtomicI64,

    /// Written by the poll loop a few times a second: the record the worker was seen at, and since when.
    seen_at: AtomicI64,
    seen_since: AtomicU64,
    /// Written by the poll loop: the record whose handler was last reported as past its time.
    over_time_at: AtomicI64,
    /// Written by the poll loop: records handed over in this epoch.
    sent_records: AtomicU64,

    /// What an operator wants done with the record on hold; taken by the worker.
    decision: Mutex<Option<HeldDecision>>,
    /// What the worker wants of the poll loop; taken by it.
    request: Mutex<Option<WorkerRequest>>,
    /// Whether `request` holds one: the poll loop looks at this on every turn.
    requested: AtomicBool,

    /// Written by the worker: the record whose offset is to be committed before its handler starts.
    commit_first: AtomicI64,
    /// Acknowledgements that are out, in the modes that have them.
    pub(super) acks: AckDesk,

    ready: Arc<Ready>,
    waker: Arc<Waker>,
}

impl PartitionControl {
    pub(crate) fn new(topic_partition: TopicPartition, ready: Arc<Ready>, waker: Arc<Waker>) -> Self {
        Self {
            topic_partition,
            gate: AtomicU8::new(0),
            cancel: CancellationToken::new(),
            cancelled_at: AtomicU64::new(0),
            lease: OnceLock::new(),
            changed: Notify::new(),
            done: AtomicI64::new(NO_OFFSET),
            returned_records: AtomicU64::new(0),
            returned_bytes: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            current: AtomicI64::new(NO_OFFSET),
            phase: AtomicU8::new(Phase::Idle as u8),
            attempt: AtomicU32::new(0),
            since: AtomicU64::new(Instant::now().as_nanos()),
            last_error: Mutex::new(None),
            is_unpublished: AtomicBool::new(false),
            published_for: AtomicI64::new(NO_OFFSET),
            starved: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            committed: AtomicI64::new(NO_OFFSET),
            position: AtomicI64::new(NO_OFFSET),
            began_at: AtomicI64::new(NO_OFFSET),
            end_offset: AtomicI64::new(NO_OFFSET),
            seen_at: AtomicI64::new(NO_OFFSET),
            seen_since: AtomicU64::new(0),
            over_time_at: AtomicI64::new(NO_OFFSET),
            sent_records: AtomicU64::new(0),
            decision: Mutex::new(None),
            requested: AtomicBool::new(false),
            request: Mutex::new(None),
            commit_first: AtomicI64::new(NO_OFFSET),
            acks: AckDesk::default(),
            ready,
            waker,
        }
    }

    // The poll loop's side.

    pub(crate) fn close_gate(&self, reason: u8) {
        if self.gate.fetch_or(reason, Ordering::AcqRel) & reason == 0 {
            self.changed.notify_one();
        }
    }

    pub(crate) fn open_gate(&self, reason: u8) {
        if self.gate.fetch_and(!reason, Ordering::AcqRel) & reason != 0 {
            self.changed.notify_one();
        }
    }

    pub(crate) fn is_gate_closed(&self, reason: u8) -> bool {
        self.gate.load(Ordering::Acquire) & reason != 0
    }

    /// Applies what [`Phase::on`] says of an interrupt that ends the epoch: nothing new starts, what waits leaves, and
    /// running code is let finish or dropped at its next await.
    pub(crate) fn interrupt(&self, interrupt: Interrupt) {
        debug_assert!(interrupt.ends_epoch(), "{interrupt:?} does not end an epoch");
        self.close_gate(gate::STOP);
        // The worker may start running between a look at its phase and the gate: what counts is what running code gets.
        if Phase::Running.on(interrupt) == Reaction::Cancel && !self.cancel.is_cancelled() {
            let now = Instant::now();
            // Nobody looks at its record's age any more.
            self.observe(now);
            self.cancelled_at.store(now.as_nanos(), Ordering::Release);
            self.cancel.cancel();
        }
        // Where a commit follows, acknowledgements count until then.
        if !matches!(interrupt, Interrupt::Revoke | Interrupt::Stop) {
            self.close_acks();
        }
    }

    /// Ends the worker now: the time for what runs is up.
    pub(crate) fn cancel(&self) {
        self.interrupt(Interrupt::SecondSignal);
    }

    pub(crate) fn nudge(&self) {
        self.changed.notify_one();
    }

    /// The offset of the last record that is done.
    pub(crate) fn last_done(&self) -> Option<i64> {
        offset(self.done.load(Ordering::Acquire))
    }

    /// The offset of the record that is to be committed before it is handled, while its handler has not ended.
    pub(crate) fn committed_first(&self) -> Option<i64> {
        let done = self.last_done();
        offset(self.commit_first.load(Ordering::Acquire)).filter(|first| done.is_none_or(|done| done < *first))
    }

    /// The record that is not done although something may be stored elsewhere because of it: whoever reads that sees it
    /// twice.
    pub(crate) fn published_and_open(&self) -> Option<i64> {
        let done = self.last_done();
        offset(self.published_for.load(Ordering::Acquire)).filter(|open| done.is_none_or(|done| done < *open))
    }

    pub(crate) fn finished(&self) -> u64 {
        self.finished.load(Ordering::Acquire)
    }

    pub(crate) fn returned(&self) -> (u64, u64) {
        // Sequentially consistent with `starve`: either the loop sees the credits or the worker sees the flag.
        (self.returned_records.load(Ordering::SeqCst), self.returned_bytes.load(Ordering::SeqCst))
    }

    /// Asks to be woken when credits come back. The caller looks at the credits once more afterwards.
    pub(crate) fn starve(&self) {
        self.starved.store(true, Ordering::SeqCst);
        if self.phase() == Phase::AckOutstanding {
            // The window is full, which is a phase of its own.
            self.changed.notify_one();
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn acknowledged(&self, committed: i64) {
        self.committed.store(committed, Ordering::Release);
        self.changed.notify_one();
        self.acks.answered();
    }

    pub(crate) fn set_position(&self, position: i64) {
        self.position.store(position, Ordering::Relaxed);
    }

    pub(crate) fn set_began_at(&self, offset: i64) {
        self.began_at.store(offset, Ordering::Relaxed);
    }

    pub(crate) fn set_sent(&self, records: u64) {
        self.sent_records.store(records, Ordering::Relaxed);
    }

    /// Notes which record the worker is at, so that its age is known without a clock reading per record.
    pub(crate) fn observe(&self, now: Instant) {
        let current = self.current.load(Ordering::Relaxed);
        if self.seen_at.swap(current, Ordering::Relaxed) != current {
            self.seen_since.store(now.as_nanos(), Ordering::Relaxed);
        }
    }

    /// Notes that the handler of the current record is past its time; `false` if that was noted before.
    pub(crate) fn note_over_time(&self) -> bool {
        let current = self.current.load(Ordering::Relaxed);
        self.over_time_at.swap(current, Ordering::Relaxed) != current
    }

    pub(crate) fn set_end_offset(&self, end_offset: i64) {
        self.end_offset.store(end_offset, Ordering::Relaxed);
    }

    // The worker's side.

    /// The closed gates, 0 when the next record may start as far as they are concerned.
    pub(crate) fn gates(&self) -> u8 {
        self.gate.load(Ordering::Acquire)
    }

    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(crate) fn cancelled(&self) -> tokio_util::sync::WaitForCancellationFuture<'_> {
        self.cancel.cancelled()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        if self.phase.swap(phase as u8, Ordering::AcqRel) != phase as u8 {
            self.since.store(Instant::now().as_nanos(), Ordering::Release);
        }
    }

    /// Names the record that the worker is at.
    pub(crate) fn at(&self, offset: i64) {
        self.current.store(offset, Ordering::Relaxed);
    }

    pub(crate) fn set_attempt(&self, attempt: u32, error: Option<Arc<str>>) {
        self.attempt.store(attempt, Ordering::Relaxed);
        *lock(&self.last_error) = error;
    }

    /// Publishes that the record at `offset`, and with it everything before it, is done.
    pub(crate) fn finish(&self, offset: i64) {
        // One writer: no read-modify-write is needed.
        self.finished.store(self.finished.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        self.done.store(offset, Ordering::Release);
    }

    /// Publishes that `records` more are done, the last of them at `offset`, and with them everything before it.
    pub(super) fn finish_through(&self, offset: i64, records: u64) {
        self.finished.store(self.finished.load(Ordering::Relaxed) + records, Ordering::Relaxed);
        self.done.store(offset, Ordering::Release);
    }

    /// Asks for a commit of the record at `offset` before its handler starts.
    pub(super) fn commit_first(&self, offset: i64) {
        self.commit_first.store(offset, Ordering::Release);
        self.waker.wake();
    }

    /// From now on something may be stored elsewhere because of the record at `offset`.
    pub(super) fn publishes(&self, offset: i64) {
        self.published_for.store(offset, Ordering::Release);
    }

    pub(super) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::SeqCst)
    }

    /// Gives the credits of one hand-over back.
    pub(crate) fn give_back(&self, records: u64, bytes: u64) {
        self.returned_records.store(self.returned_records.load(Ordering::Relaxed) + records, Ordering::Release);
        self.returned_bytes.store(self.returned_bytes.load(Ordering::Relaxed) + bytes, Ordering::SeqCst);
        if self.starved.load(Ordering::SeqCst) && self.starved.swap(false, Ordering::SeqCst) {
            self.ready.mark();
        }
    }

    pub(crate) fn works_under(&self, lease: &Arc<PartitionLease>) {
        self.lease.get_or_init(|| Arc::downgrade(lease));
    }

    pub(crate) fn wake_loop(&self) {
        self.waker.wake();
    }

    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake();
    }
}

fn offset(raw: i64) -> Option<i64> {
    (raw != NO_OFFSET).then_some(raw)
}

/// A panic while one of these tiny sections ran cannot leave them half written.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
