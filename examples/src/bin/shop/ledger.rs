//! What a service has handled of this run's orders, for the report. A real service has no such thing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::order::{Order, RunId};

/// Written by one service's handler as its very last step, so that it holds what was handled and nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    run: RunId,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub(crate) handled: u64,
    /// The numbers of the orders.
    pub(crate) distinct: HashSet<u32>,
}

impl Ledger {
    pub(crate) fn new(run: RunId) -> Self {
        Self { run, entries: Arc::default() }
    }

    pub(crate) fn enter(&self, order: &Order) {
        if let Some(number) = self.run.number_of(order) {
            let mut entries = lock(&self.entries);
            entries.handled += 1;
            entries.distinct.insert(number);
        }
    }

    pub(crate) fn has_all(&self, orders: u32) -> bool {
        lock(&self.entries).distinct.len() >= orders as usize
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Entries> {
        lock(&self.entries)
    }
}

/// Locks a mutex whose value is whole after every step, so that another thread's panic does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
