//! `concurrency`: how many handlers of one listener run at once in this process.
//!
//! A slot is held only while user code runs for one record. Waiters are served first come, first served, over the
//! partitions; a slot that is given back goes to the first of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::ownership::PartitionLease;

/// The slots of one listener, shared by the workers of all its consumers.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    semaphore: Option<Arc<Semaphore>>,
}

impl Slots {
    /// `None`: every assigned partition runs at once.
    pub(crate) fn new(concurrency: Option<usize>) -> Self {
        Self { semaphore: concurrency.map(|slots| Arc::new(Semaphore::new(slots))) }
    }
}

/// What one worker needs to run user code: a slot while a record is handled, and the partition for as long as the
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

    /// Takes a slot if one is free and nobody waits for it.
    pub(crate) fn try_slot(&self) -> Option<SlotHeld<'_>> {
        match &self.slots.semaphore {
            None => Some(SlotHeld(self)),
            Some(semaphore) => semaphore.try_acquire().ok().map(|permit| {
                permit.forget();
                self.held.store(true, Ordering::Relaxed);
                SlotHeld(self)
            }),
        }
    }

    /// Waits for a slot, behind those who wait already.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in the line and nothing else.
    pub(crate) async fn slot(&self) -> SlotHeld<'_> {
        if let Some(semaphore) = &self.slots.semaphore
            && let Ok(permit) = semaphore.acquire().await
        {
            permit.forget();
            self.held.store(true, Ordering::Relaxed);
        }
        SlotHeld(self)
    }

    /// Passes slot and partition on to code that outlives the handler's future.
    pub(crate) fn tenure(&self) -> Tenure {
        let slot = self.held.swap(false, Ordering::Relaxed).then(|| self.slots.semaphore.clone()).flatten();
        Tenure { slot, _lease: Arc::clone(&self.lease) }
    }
}

/// A slot in use by the worker; given back when dropped, unless blocking code has taken it over.
#[derive(Debug)]
pub(crate) struct SlotHeld<'w>(&'w WorkPermit);

impl Drop for SlotHeld<'_> {
    fn drop(&mut self) {
        if let Some(semaphore) = &self.0.slots.semaphore
            && self.0.held.swap(false, Ordering::Relaxed)
        {
            semaphore.add_permits(1);
        }
    }
}

/// Held by blocking code until it has really ended, also when the future that waits for it is gone: its slot, and the
/// ownership of its partition.
#[derive(Debug)]
pub(crate) struct Tenure {
    slot: Option<Arc<Semaphore>>,
    _lease: Arc<PartitionLease>,
}

impl Drop for Tenure {
    fn drop(&mut self) {
        if let Some(semaphore) = &self.slot {
            semaphore.add_permits(1);
        }
    }
}
