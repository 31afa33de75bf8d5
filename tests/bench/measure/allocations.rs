//! Counts the allocations of Rust code. What librdkafka takes from `malloc` is not in it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: Shards = Shards([const { Shard(AtomicU64::new(0)) }; SHARDS]);
const SHARDS: usize = 16;

/// The system's allocator, with a count.
#[derive(Debug)]
pub(crate) struct CountingAllocator;

/// Allocations of this process until now, re-allocations included.
pub(crate) fn allocations() -> u64 {
    COUNT.0.iter().map(|shard| shard.0.load(Ordering::Relaxed)).sum()
}

/// One count per thread, or nearly: threads that allocate at the same time must not slow each other down here.
#[derive(Debug)]
struct Shards([Shard; SHARDS]);

#[derive(Debug)]
#[repr(align(128))]
struct Shard(AtomicU64);

fn count() {
    // The address of a thread-local tells threads apart without an allocation, which would come back here.
    thread_local!(static HERE: u8 = const { 0 });
    let shard = HERE.try_with(|here| (std::ptr::from_ref(here).addr() >> 12) % SHARDS).unwrap_or(0);
    COUNT.0[shard].0.fetch_add(1, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is an unsafe trait; every call goes to the system's as it came")]
// SAFETY: all methods hand their arguments to `System` unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_allocation_is_counted() {
        let before = allocations();
        let boxes: Vec<Box<usize>> = (0..1_000).map(Box::new).collect();
        assert!(allocations() - before > boxes.len() as u64);
    }
}
