//! How the poll loop sleeps and who wakes it: a flag and a parked thread.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// Wakes one thread. Cheap when the thread is awake: one atomic swap, no system call.
#[derive(Debug, Default)]
pub(crate) struct Waker {
    /// Set by whoever has news; cleared by the thread before it looks for them.
    pending: AtomicBool,
    /// Set by the thread around parking, so that nobody unparks a thread that is awake.
    parked: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Waker {
    /// Names the calling thread as the one to wake. Called once, by that thread, before anything can wake it.
    pub(crate) fn attach(&self) {
        // A second call by the same thread changes nothing.
        self.thread.get_or_init(thread::current);
    }

    pub(crate) fn wake(&self) {
        if !self.pending.swap(true, Ordering::SeqCst)
            && self.parked.load(Ordering::SeqCst)
            && let Some(thread) = self.thread.get()
        {
            thread.unpark();
        }
    }

    /// Says that the caller is about to look at everything that could have woken it.
    pub(crate) fn clear(&self) {
        self.pending.store(false, Ordering::SeqCst);
    }

    /// Sleeps until woken since the last [`Waker::clear`], at most `limit`.
    pub(crate) fn park(&self, limit: Duration) {
        self.parked.store(true, Ordering::SeqCst);
        if !self.pending.load(Ordering::SeqCst) {
            thread::park_timeout(limit);
        }
        self.parked.store(false, Ordering::SeqCst);
    }
}
