//! `on_corrupt = "skip"`: finding the first readable offset behind one that cannot be read.
//!
//! The length of a corrupt batch is not known: it is inside what the checksum covers. The broker answers an offset with
//! the batch that holds it, so offsets are tried until one is readable whose predecessor is not.

use super::ffi::PartitionError;
use super::partition::Reading;
use super::poll_loop::PollLoop;
use crate::offset_tracker::CommitOffset;

/// A search between an offset that cannot be read and one that can, or is the end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Search {
    /// Where the unreadable batch begins.
    begin: i64,
    /// The largest offset known to lie in it.
    bad: i64,
    /// The smallest offset known not to lie in it.
    good: i64,
    /// The offset asked for.
    tried: i64,
}

impl Search {
    fn new(begin: i64, end_of_log: i64) -> Self {
        let good = end_of_log.max(begin + 1);
        Self { begin, bad: begin, good, tried: begin }.next_try()
    }

    fn next_try(mut self) -> Self {
        // Doubling from the beginning finds the end of a short batch at once, also in a long log.
        let doubled = self.begin + 2 * (self.bad - self.begin).max(1);
        self.tried = doubled.min(self.bad + (self.good - self.bad) / 2).max(self.bad + 1);
        self
    }

    pub(super) fn tried(self) -> i64 {
        self.tried
    }

    fn is_over(self) -> bool {
        self.good <= self.bad + 1
    }

    /// Takes the answer for the offset tried: the offset of a record, or of the batch that cannot be read there.
    fn answered(mut self, record: Option<i64>, unreadable: Option<i64>) -> Self {
        match (record, unreadable) {
            (Some(_), _) => self.good = self.tried,
            // Another batch that cannot be read: the first one ends before it.
            (None, Some(begin)) if begin > self.begin => self.good = self.good.min(begin).min(self.tried),
            (None, _) => self.bad = self.tried,
        }
        self.next_try()
    }
}

impl PollLoop {
    pub(super) fn search_readable(&mut self, index: usize, unreadable: i64) {
        let partition = &self.partitions[index];
        let expected = partition.expected().map_or(unreadable, CommitOffset::get);
        let begin = unreadable.max(expected);
        let end = self.client.cached_watermarks(&partition.topic_partition).map(|(_, high)| high);
        let end = end.or(partition.control.end_offset()).unwrap_or(begin + 1);
        self.go_on(index, Search::new(begin, end));
    }

    pub(super) fn searched(
        &mut self,
        index: usize,
        search: Search,
        record: Option<i64>,
        error: Option<&PartitionError>,
    ) {
        self.go_on(index, search.answered(record, error.map(|error| error.offset)));
    }

    fn go_on(&mut self, index: usize, search: Search) {
        if !search.is_over() {
            self.partitions[index].reading = Reading::Searching(search);
            self.seek(index, search.tried);
            return;
        }
        let partition = &mut self.partitions[index];
        // The worker asked for this in the partition's order: all before it is done.
        partition.take_progress();
        partition.tracker.skip_to(CommitOffset::at(search.good));
        partition.control.set_position(search.good);
        partition.reading = Reading::On;
        let skipped = search.good.saturating_sub(search.begin).unsigned_abs();
        tracing::error!(
            listener = %self.parts.listener.id, topic = partition.topic_partition.topic(),
            partition = partition.topic_partition.partition(), from = search.begin, to = search.good, skipped,
            "records that cannot be read were skipped: on_corrupt = \"skip\""
        );
        self.parts.listener.metrics.skipped_unreadable(skipped);
        self.seek(index, search.good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a log of 1,000,000 offsets in which `bad` cannot be read.
    fn check(begin: i64, end: i64) -> usize {
        let mut search = Search::new(begin, 1_000_000);
        let mut tries = 0;
        while !search.is_over() {
            tries += 1;
            assert!(tries < 100, "{search:?}");
            assert!(search.tried > search.bad && search.tried < search.good, "{search:?}");
            search = if search.tried < end {
                search.answered(None, Some(begin))
            } else {
                search.answered(Some(search.tried), None)
            };
        }
        assert_eq!(search.good, end);
        tries
    }

    #[test]
    fn the_end_of_a_batch_is_found_exactly_and_soon() {
        assert!(check(100, 101) <= 2);
        assert!(check(0, 500) <= 20);
        assert!(check(400_000, 400_017) <= 12);
        assert!(check(10, 1_000_000) <= 45);
    }

    #[test]
    fn a_second_unreadable_batch_ends_the_first() {
        let search = Search { begin: 10, bad: 12, good: 1000, tried: 14 }.answered(None, Some(14));
        assert_eq!((search.good, search.bad), (14, 12));
    }
}
