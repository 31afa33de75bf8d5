//! `concurrency`: how many handlers of one listener run at once in this process, over all its consumers.
//!
//! A slot is one of n permits, and no user code runs without one: so there are never more than n, whatever partitions
//! come and go and whatever cancelled code goes on. As long as nobody waits for a slot, a worker keeps the one it has
//! from record to record; once somebody does, it gives it up behind each record and stands in line for the next, first
//! come, first served over the partitions. It keeps none while it waits for anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::ownership::PartitionLease;

/// The slots of one listener, shared by the workers of all its consumers. `None`: every assigned partition runs at once.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    free: Semaphore,
    /// How many workers stand in line. Written by them, read by those who have a slot before each record. Late news of
    /// it costs whoever waits a record more, and nobody a slot too many.
    waiting: AtomicUsize,
}

impl Slots {
    pub(crate) fn new(concurrency: Option<usize>) -> Self {
        let shared = |slots| Arc::new(Shared { free: Semaphore::new(slots), waiting: AtomicUsize::new(0) });
        Self(concurrency.map(shared))
    }
}

/// What one worker needs to run user code: a slot while records are handled, and the partition for as long as the
/// worker or anything it left running lives.
#[derive(Debug)]
pub(crate) struct WorkPermit {
    slots: Slots,
    /// Whether the slot is this worker's to give back. Set when a slot is taken, cleared by whoever gives it back or
    /// passes it on to blocking code; only the worker's own task touches it.
    held: AtomicBool,
    lease: Arc<PartitionLease>,
}

impl WorkPermit {
    pub(crate) fn new(slots: Slots, lease: Arc<PartitionLease>) -> Self {
        Self { slots, held: AtomicBool::new(false), lease }
    }

    /// Whether the next record may start without waiting: in the slot that the worker has, or in a free one. `false`:
    /// it has none now, and has to stand in line.
    #[inline]
    pub(crate) fn renew_slot(&self) -> bool {
        match &self.slots.0 {
            None => true,
            Some(shared) => self.may_keep_slot(shared) || self.exchange_slot(shared),
        }
    }

    #[inline]
    fn may_keep_slot(&self, shared: &Shared) -> bool {
        self.held.load(Ordering::Relaxed) && shared.waiting.load(Ordering::Relaxed) == 0
    }

    #[cold]
    fn exchange_slot(&self, shared: &Shared) -> bool {
        self.give_back_slot();
        let permit = shared.free.try_acquire();
        permit.is_ok_and(|permit| {
            permit.forget();
            self.held.store(true, Ordering::Relaxed);
            true
        })
    }

    /// Waits for a slot, behind those who wait already.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the line and nothing else.
    pub(crate) async fn wait_for_slot(&self) {
        let Some(shared) = &self.slots.0 else { return };
        let _place = InLine::behind_the_others(shared);
        // The semaphore is never closed.
        if let Ok(permit) = shared.free.acquire().await {
            permit.forget();
            self.held.store(true, Ordering::Relaxed);
        }
    }

    /// Gives the slot back, if the worker has one: to be called before it waits for anything.
    pub(crate) fn give_back_slot(&self) {
        if let Some(shared) = &self.slots.0
            && self.held.swap(false, Ordering::Relaxed)
        {
            shared.free.add_permits(1);
        }
    }

    /// Has whatever slot the worker has by then given back at the end of a scope, also when that is cancelled.
    pub(crate) fn gives_back_at_the_end(&self) -> GivesBack<'_> {
        GivesBack(self)
    }

    /// Whether blocking code that took over slot and partition has not ended.
    pub(crate) fn is_passed_on(&self) -> bool {
        Arc::strong_count(&self.lease) > 1
    }

    /// Passes slot and partition on to code that outlives the handler's future.
    pub(crate) fn tenure(&self) -> Tenure {
        let slot = self.held.swap(false, Ordering::Relaxed).then(|| self.slots.0.clone()).flatten();
        Tenure { slot, _lease: Arc::clone(&self.lease) }
    }
}

/// A place in the line, given up when dropped.
struct InLine<'s>(&'s Shared);

impl<'s> InLine<'s> {
    fn behind_the_others(shared: &'s Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Gives a worker's slot back when dropped, unless blocking code has taken it over.
#[derive(Debug)]
pub(crate) struct GivesBack<'w>(&'w WorkPermit);

impl Drop for GivesBack<'_> {
    fn drop(&mut self) {
        self.0.give_back_slot();
    }
}

/// Held by blocking code until it has really ended, also when the future that waits for it is gone: its slot, and the
/// ownership of its partition.
#[derive(Debug)]
pub(crate) struct Tenure {
    slot: Option<Arc<Shared>>,
    _lease: Arc<PartitionLease>,
}

impl Drop for Tenure {
    fn drop(&mut self) {
        if let Some(shared) = &self.slot {
            shared.free.add_permits(1);
        }
    }
}

#[cfg(test)]
mod tests;
