//! The memory of hand-overs that are done with, kept for the next ones of the same poll loop.
//!
//! Fresh memory of this size comes from the kernel page by page, each page a fault; what a worker has just read is still
//! in the processor's cache.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::RawRecord;

/// More than this many bytes are not kept.
const MOST_KEPT: usize = 4 << 20;

/// Arenas and record lists of one poll loop. Shared with every batch that was made from it.
#[derive(Debug, Default)]
pub(crate) struct Arenas(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// The last one is taken first: its memory is the warmest.
    spare: Vec<Spare>,
    bytes: usize,
    /// How many have lain unused since the last look.
    unused: usize,
}

/// Empty, with the capacity they once grew to.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    pub(crate) arena: Vec<u8>,
    pub(crate) records: Vec<RawRecord>,
}

impl Arenas {
    /// Room for `bytes` and `records`, from what is kept if there is any.
    pub(crate) fn take(&self, bytes: usize, records: usize) -> Spare {
        let mut spare = self.kept(Kept::pop).unwrap_or_default();
        spare.arena.reserve(bytes);
        spare.records.reserve(records);
        spare
    }

    /// Takes memory back, unless somebody still holds a part of it.
    pub(crate) fn give_back(&self, arena: Bytes, mut records: Vec<RawRecord>) {
        let Ok(mut arena) = arena.try_into_mut() else { return };
        // Emptied before it becomes a `Vec`, which copies what is in it, and that onto itself.
        arena.clear();
        records.clear();
        self.kept(|kept| kept.push(Spare { arena: arena.into(), records }));
    }

    /// Frees what has lain unused since the last call.
    pub(crate) fn trim(&self) {
        drop(self.kept(Kept::trim));
    }

    fn kept<R>(&self, change: impl FnOnce(&mut Kept) -> R) -> R {
        // A panic cannot leave the few lines under this lock half done.
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Kept {
    fn pop(&mut self) -> Option<Spare> {
        let spare = self.spare.pop()?;
        self.bytes -= spare.arena.capacity();
        self.unused = self.unused.min(self.spare.len());
        Some(spare)
    }

    fn push(&mut self, spare: Spare) {
        let bytes = self.bytes + spare.arena.capacity();
        if bytes <= MOST_KEPT {
            self.bytes = bytes;
            self.spare.push(spare);
        }
    }

    /// What is to be freed, to be dropped outside the lock.
    fn trim(&mut self) -> Vec<Spare> {
        let unused: Vec<_> = self.spare.drain(..self.unused).collect();
        self.bytes -= unused.iter().map(|spare| spare.arena.capacity()).sum::<usize>();
        self.unused = self.spare.len();
        unused
    }
}

/// Where a batch's memory goes when the batch is dropped.
pub(super) type Home = Option<Arc<Arenas>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{RecordBatch, TopicPartition};

    fn batch(arenas: &Arc<Arenas>, bytes: usize) -> RecordBatch {
        let mut spare = arenas.take(bytes, 1);
        spare.arena.resize(bytes, 7);
        RecordBatch::from_arenas(TopicPartition::new("orders", 0), spare, arenas)
    }

    fn kept(arenas: &Arenas) -> usize {
        arenas.kept(|kept| {
            assert_eq!(kept.bytes, kept.spare.iter().map(|spare| spare.arena.capacity()).sum::<usize>());
            kept.spare.len()
        })
    }

    #[test]
    fn the_memory_of_a_dropped_batch_is_used_again_and_empty() {
        let arenas = Arc::new(Arenas::default());
        let first = batch(&arenas, 1000);
        let memory = first.arena.as_ptr();
        drop(first);
        assert_eq!(kept(&arenas), 1);

        let spare = arenas.take(10, 10);
        assert_eq!((spare.arena.as_ptr(), spare.arena.len(), spare.records.len()), (memory, 0, 0));
        assert_eq!(kept(&arenas), 0);
    }

    #[test]
    fn a_payload_that_outlives_its_batch_keeps_its_memory_to_itself() {
        let arenas = Arc::new(Arenas::default());
        let batch = batch(&arenas, 1000);
        let payload = batch.arena.slice(10..20);
        drop(batch);
        assert_eq!(kept(&arenas), 0);
        assert_eq!(&payload[..], [7; 10]);
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let arenas = Arc::new(Arenas::default());
        let batches: Vec<_> = (0..6).map(|_| batch(&arenas, MOST_KEPT / 4)).collect();
        drop(batches);
        assert_eq!(kept(&arenas), 4);
    }

    #[test]
    fn what_nobody_takes_between_two_looks_is_freed() {
        let arenas = Arc::new(Arenas::default());
        let batches: Vec<_> = (0..4).map(|_| batch(&arenas, 100)).collect();
        drop(batches);
        arenas.trim();
        assert_eq!(kept(&arenas), 4, "they came since the last look");
        drop((batch(&arenas, 100), batch(&arenas, 100)));
        arenas.trim();
        assert_eq!(kept(&arenas), 2, "two at a time are enough");
        arenas.trim();
        assert_eq!(kept(&arenas), 0);
    }
}
