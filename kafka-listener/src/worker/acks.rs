//! The acknowledgements of one partition in one epoch that are out: shared by the worker, which delivers, whoever
//! acknowledges, and the poll loop, which ends the epoch.
//!
//! One short lock per delivery and per settlement, in the modes that have acknowledgements and in no other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::control::{PartitionControl, gate};
use super::{Settling, WorkerContext};
use crate::extract::AckOutcome;
use crate::failure::{ErrorClass, ListenerError};
use crate::offset_tracker::{AckWindow, DeliveryId, Progress, Returned, Settlement};
use crate::phase::Phase;

/// What an acknowledgement means to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ManualAcks {
    /// `manual_immediate`: it is committed at once.
    pub(crate) is_immediate: bool,
    /// `async_acks`: the next record does not wait for it.
    pub(crate) is_unordered: bool,
}

/// One delivery whose acknowledgement may be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckSlot<'r> {
    pub(crate) control: &'r std::sync::Arc<PartitionControl>,
    pub(crate) delivery: DeliveryId,
    pub(crate) acks: ManualAcks,
}

impl AckSlot<'_> {
    /// The same record handed to the handler once more.
    pub(crate) fn again(self, offset: i64) -> Self {
        let delivery = self.control.acks.window().deliver_again(offset).unwrap_or(self.delivery);
        Self { delivery, ..self }
    }
}

/// What the control of a partition keeps for its acknowledgements.
#[derive(Debug, Default)]
pub(super) struct AckDesk {
    window: Mutex<AckWindow>,
    /// A record came back: the worker looks at this between two records.
    has_returned: AtomicBool,
    /// The epoch is over, and so is its last commit.
    is_over: AtomicBool,
    /// Wakes whoever waits for the broker's answer.
    answered: Notify,
}

impl AckDesk {
    fn window(&self) -> MutexGuard<'_, AckWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The broker has acknowledged a commit of the partition.
    pub(super) fn answered(&self) {
        self.answered.notify_waiters();
    }
}

impl PartitionControl {
    // The worker's side.

    /// Notes that a record is being delivered. `bytes` come back as credits when it is done, where the order is given up.
    pub(crate) fn deliver(&self, offset: i64, bytes: u64) -> DeliveryId {
        self.acks.window().deliver(offset, bytes)
    }

    /// What came of the latest delivery of a record; `None` while its acknowledgement is out.
    pub(super) fn settlement(&self, offset: i64) -> Option<Settlement> {
        self.acks.window().settlement(offset)
    }

    /// The handler failed. `false`: it had acknowledged the record before, and that stands.
    pub(super) fn fail_delivery(&self, offset: i64) -> bool {
        let has_failed = self.acks.window().fail(offset).is_ok();
        // Whoever waits for a commit behind it waits for its next delivery.
        self.acks.answered();
        has_failed
    }

    /// Notes a record as done that nobody has to acknowledge: a filter or an interceptor passed it over, or a policy or
    /// an operator gives it up.
    pub(super) fn pass_over(&self, offset: i64, acks: ManualAcks) {
        let mut window = self.acks.window();
        let progress = window.finish(offset);
        self.publish(progress, acks);
    }

    pub(super) fn has_returned(&self) -> bool {
        self.acks.has_returned.load(Ordering::Acquire)
    }

    /// A record that came back without being acknowledged.
    pub(super) fn take_returned(&self) -> Option<Returned> {
        if !self.has_returned() {
            return None;
        }
        let mut window = self.acks.window();
        let returned = window.take_returned();
        if returned.is_none() {
            // Inside of the lock: whoever returns a record next sets it again.
            self.acks.has_returned.store(false, Ordering::Release);
        }
        returned
    }

    /// Whether an acknowledgement is out, which may still come.
    pub(super) fn is_any_out(&self) -> bool {
        self.acks.window().is_any_out()
    }

    pub(super) fn oldest_open(&self) -> Option<i64> {
        self.acks.window().oldest_open()
    }

    // The side of whoever acknowledges.

    /// Settles a delivery. `false`: too late, nothing changed.
    pub(crate) fn settle(&self, offset: i64, delivery: DeliveryId, settlement: Settlement, acks: ManualAcks) -> bool {
        {
            let mut window = self.acks.window();
            let Ok(progress) = window.settle(offset, delivery, settlement) else { return false };
            self.publish(progress, acks);
            if settlement != Settlement::Acknowledged {
                self.acks.has_returned.store(true, Ordering::Release);
            }
        }
        if settlement != Settlement::Acknowledged {
            self.acks.answered();
        }
        self.nudge();
        if acks.is_immediate {
            self.wake_loop();
        }
        true
    }

    /// Waits until the broker has answered a commit behind `offset`, or the epoch is over, or it is known that the commit
    /// cannot come before a record is delivered again: a handler that waited for that would wait for itself.
    pub(crate) async fn answer_behind(&self, offset: i64) -> AckOutcome {
        loop {
            let mut answered = std::pin::pin!(self.acks.answered.notified());
            // Before looking, so that an answer between the look and the wait is not missed.
            answered.as_mut().enable();
            let is_over = self.acks.is_over.load(Ordering::Acquire);
            if self.committed().is_some_and(|committed| committed > offset) {
                return AckOutcome::Committed;
            }
            if is_over {
                return AckOutcome::Unknown;
            }
            if self.acks.window().waits_for_returned(offset) {
                return AckOutcome::Acknowledged;
            }
            answered.await;
        }
    }

    // The poll loop's side.

    /// From now on acknowledgements come too late. Called before the last look at what is done.
    pub(crate) fn close_acks(&self) {
        self.acks.window().close();
    }

    /// The epoch is over and its last commit is answered or given up.
    pub(crate) fn end_epoch(&self) {
        self.close_acks();
        self.acks.is_over.store(true, Ordering::Release);
        self.acks.answered();
    }

    // Everybody's side.

    /// Records whose acknowledgement is out, or done behind one of these: whoever owns the partition next handles them
    /// again.
    pub(crate) fn handed_out(&self) -> u64 {
        self.acks.window().handed_out()
    }

    /// Records that were delivered and are not acknowledged.
    pub(crate) fn open_acks(&self) -> u64 {
        self.acks.window().open()
    }

    /// Inside of the window's lock, which makes the settling threads one writer.
    fn publish(&self, progress: Progress, acks: ManualAcks) {
        let Some(done) = progress.done else { return };
        self.finish_through(done, progress.records);
        if acks.is_unordered {
            self.give_back(progress.records, progress.bytes);
        }
    }
}

/// How waiting for an acknowledgement ended.
pub(super) enum Settled {
    Done,
    NotYet(Duration),
    Failed(ListenerError),
    Leave,
}

impl WorkerContext {
    /// Waits for the acknowledgement of a delivery; the order of the partition stands still for it.
    pub(super) async fn wait_for_acknowledgement(&self, offset: i64) -> Settled {
        let mut linger = Linger::default();
        loop {
            match self.control.settlement(offset) {
                Some(Settlement::Acknowledged) => return Settled::Done,
                Some(Settlement::NotYet(delay)) => return Settled::NotYet(delay),
                Some(Settlement::Dropped) => return Settled::Failed(dropped()),
                None => {}
            }
            self.permit.give_back_slot();
            self.control.enter(Phase::AckOutstanding);
            if !linger.news(self).await {
                return Settled::Leave;
            }
        }
    }
}

/// How long a worker that has to leave goes on waiting for acknowledgements: not at all, unless `ack_drain` says so.
#[derive(Debug, Default)]
pub(super) struct Linger {
    until: Option<tokio::time::Instant>,
}

impl Linger {
    /// Waits for news of the partition. `false`: the time is up.
    pub(super) async fn news(&mut self, context: &WorkerContext) -> bool {
        if context.control.gates() & gate::STOP == 0 {
            context.control.changed().await;
            return true;
        }
        let Settling::Acknowledgment { drain: Some(drain), .. } = context.listener.settling else { return false };
        let until = *self.until.get_or_insert_with(|| tokio::time::Instant::now() + drain);
        tokio::time::timeout_at(until, context.control.changed()).await.is_ok()
    }
}

/// The failure of a record whose acknowledgement went without a word.
pub(super) fn dropped() -> ListenerError {
    ListenerError::of_class(
        "the `Acknowledgment` was dropped and neither `acknowledge` nor `nack` was called",
        ErrorClass::Retryable,
        true,
    )
}
