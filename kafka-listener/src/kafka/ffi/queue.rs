//! Queues of librdkafka with a wake-up: the main queue, one per assigned partition, and one for commit answers.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::sys;
use crate::kafka::waker::Waker;

/// Set by librdkafka when a queue turns from empty to non-empty, and by whoever wants the queue looked at again.
#[derive(Debug)]
pub(crate) struct Ready {
    set: AtomicBool,
    waker: Arc<Waker>,
}

impl Ready {
    pub(crate) fn new(is_set: bool, waker: &Arc<Waker>) -> Self {
        Self { set: AtomicBool::new(is_set), waker: Arc::clone(waker) }
    }

    /// Marks the queue and wakes the poll loop.
    pub(crate) fn mark(&self) {
        self.set.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Marks the queue for the next turn of the poll loop, which is the caller.
    pub(crate) fn mark_quietly(&self) {
        self.set.store(true, Ordering::Release);
    }

    pub(crate) fn take(&self) -> bool {
        self.set.load(Ordering::Relaxed) && self.set.swap(false, Ordering::Acquire)
    }
}

/// An owned queue handle. One handle per native queue: handles of one queue share a single callback slot, so a second
/// one would silence the first when it is dropped.
#[derive(Debug)]
pub(crate) struct Queue {
    native: *mut sys::NativeQueue,
    ready: Arc<Ready>,
}

// SAFETY: librdkafka's queues are thread-safe; the handle is used by one thread at a time.
unsafe impl Send for Queue {}

/// Called by librdkafka's threads with the queue's lock held: sets a flag and unparks, nothing else. Neither can panic.
unsafe extern "C" fn on_non_empty(_client: *mut sys::Client, opaque: *mut c_void) {
    // SAFETY: `opaque` is the `Ready` that the queue's owner keeps alive until the callback is switched off.
    let ready = unsafe { &*opaque.cast_const().cast::<Ready>() };
    ready.mark();
}

impl Queue {
    /// Takes ownership of a handle.
    ///
    /// # Safety
    /// `native` is a live queue handle that nobody else destroys.
    pub(super) unsafe fn adopt(native: *mut sys::NativeQueue, waker: &Arc<Waker>) -> Self {
        let ready = Arc::new(Ready::new(true, waker));
        // SAFETY: `ready` lives as long as the handle, and `drop` switches the callback off before it goes.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(native, Some(on_non_empty), Arc::as_ptr(&ready).cast_mut().cast());
        }
        Self { native, ready }
    }

    pub(crate) fn ready(&self) -> &Arc<Ready> {
        &self.ready
    }

    pub(super) fn as_ptr(&self) -> *mut sys::NativeQueue {
        self.native
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: switching the callback off takes the queue's lock, under which it is called, so it cannot run
        // afterwards; the handle is destroyed once.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.native, None, std::ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.native);
        }
    }
}
