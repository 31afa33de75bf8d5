//! What a subject's process knows of itself: the records it handled, their latencies, its CPU time, memory and
//! allocations.

mod allocations;
mod ledger;
mod usage;

pub(crate) use self::allocations::{CountingAllocator, allocations};
pub(crate) use self::ledger::{Ledger, handled};
pub(crate) use self::usage::{Usage, monotonic_nanos, peak_resident_bytes};
