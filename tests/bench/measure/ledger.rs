//! The records that this process has handled: a count that threads do not share, and latencies where they are asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::{monotonic_nanos, trace};
use crate::order::Order;

static LEDGER: OnceLock<Ledger> = OnceLock::new();
const SHARDS: usize = 16;

/// Counts `order` as handled. It is the whole work of every subject's handler.
pub(crate) fn handled(order: &Order) {
    thread_local!(static SHARD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS
    });
    let ledger = Ledger::get();
    match order.quantity {
        Order::MEASURED => ledger.measure(monotonic_nanos().saturating_sub(order.price)),
        Order::TRACED => trace::write(order),
        _ => {}
    }
    std::hint::black_box(order);
    // One shard has nearly always one writer, so this is as cheap as an addition.
    ledger.counts[SHARD.with(|shard| *shard)].0.fetch_add(1, Ordering::Relaxed);
}

/// What a handler waits for where it has something to wait for. tokio's clock has steps of a millisecond.
pub(crate) async fn work(micros: u64) {
    tokio::time::sleep(Duration::from_micros(micros)).await;
}

/// Written by handlers, read by the process's main thread.
#[derive(Debug)]
pub(crate) struct Ledger {
    counts: [Count; SHARDS],
    /// Nanoseconds from the instant a record was due to its handling, in order of arrival.
    latencies: Box<[AtomicU64]>,
    claimed: AtomicUsize,
    measured: AtomicUsize,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Count(AtomicU64);

impl Ledger {
    /// The ledger of this process, with room for `latencies` of them. Only the first call decides.
    pub(crate) fn open(latencies: usize) -> &'static Self {
        LEDGER.get_or_init(|| Self {
            counts: Default::default(),
            latencies: (0..latencies).map(|_| AtomicU64::new(0)).collect(),
            claimed: AtomicUsize::new(0),
            measured: AtomicUsize::new(0),
        })
    }

    fn get() -> &'static Self {
        Self::open(0)
    }

    /// Records handled until now.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }

    /// Latencies measured until now.
    pub(crate) fn measured(&self) -> usize {
        self.measured.load(Ordering::Acquire)
    }

    /// All latencies, sorted.
    pub(crate) fn latencies(&self) -> Vec<u64> {
        let measured = self.measured().min(self.latencies.len());
        let mut nanos: Vec<u64> =
            self.latencies[..measured].iter().map(|latency| latency.load(Ordering::Relaxed)).collect();
        nanos.sort_unstable();
        nanos
    }

    fn measure(&self, nanos: u64) {
        if let Some(slot) = self.latencies.get(self.claimed.fetch_add(1, Ordering::Relaxed)) {
            slot.store(nanos, Ordering::Relaxed);
        }
        // Released after the slot: who reads the full count reads every latency.
        self.measured.fetch_add(1, Ordering::Release);
    }
}
