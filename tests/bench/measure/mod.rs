//! What a subject's process knows of itself: the records it handled, their latencies, its CPU time, by thread
//! too, memory and allocations.

mod allocations;
mod course;
mod ledger;
mod threads;
mod trace;
mod usage;

pub(crate) use self::allocations::{CountingAllocator, allocations};
pub(crate) use self::course::run;
pub(crate) use self::ledger::{Ledger, handled, work};
pub(crate) use self::threads::{ThreadFigures, Threads};
pub(crate) use self::usage::{Usage, monotonic_nanos, peak_resident_bytes};
