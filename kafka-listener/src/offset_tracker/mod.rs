//! From finished records to the offset that may be committed, for one partition and one epoch.
//!
//! Knows nothing of time, of commits under way, or of who finished a record. Keeps only what is open, as runs of
//! neighbouring offsets: a partition that finishes in order has one run, whatever is in flight.

mod ack_window;

use std::collections::VecDeque;
use std::fmt;

pub(crate) use ack_window::{AckWindow, DeliveryId, Progress, Returned, Settlement};

/// An offset in Kafka's sense of a position: the first one that is *not* covered. What a commit carries.
///
/// Made from a record's offset by [`next_offset_after`] only, from a position that the broker or a caller gave by
/// [`CommitOffset::at`]; an offset of a finished record cannot be committed by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CommitOffset(i64);

impl CommitOffset {
    /// A position that is known as such: a committed offset, the place where reading starts, an open record.
    pub(crate) const fn at(position: i64) -> Self {
        Self(position)
    }

    pub(crate) const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for CommitOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The position after a record. The only place in this crate that adds one to an offset.
pub(crate) const fn next_offset_after(record_offset: i64) -> CommitOffset {
    CommitOffset(record_offset.saturating_add(1))
}

/// A record was handed over out of offset order, which [`crate::offset_jump`] should have caught before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset `{offset}` was handed over where `{expected}` or a later one is expected")]
pub(crate) struct OffsetBelowExpected {
    pub(crate) offset: i64,
    pub(crate) expected: CommitOffset,
}

/// Neighbouring open offsets, both ends included.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: i64,
    last: i64,
}

impl Run {
    fn len(self) -> u64 {
        self.last.abs_diff(self.first) + 1
    }
}

/// The records of one partition that have been handed over, and which of them are done.
#[derive(Debug, Default)]
pub(crate) struct OffsetTracker {
    /// Ascending, never touching each other unless a gap in the offsets lies between.
    open: VecDeque<Run>,
    open_records: u64,
    finished: u64,
    expected: Option<CommitOffset>,
    watermark: Option<CommitOffset>,
}

impl OffsetTracker {
    /// A tracker of an epoch that begins nobody knows where yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A tracker of an epoch that begins at a known position: the committed offset, or the target of a seek. A first
    /// record elsewhere is then judged as any other jump.
    #[cfg_attr(not(test), expect(dead_code, reason = "the poll loop keeps the start beside the tracker"))]
    pub(crate) fn starting_at(position: CommitOffset) -> Self {
        Self { expected: Some(position), ..Self::default() }
    }

    /// Notes records as handed over, in offset order. Gaps are normal: transaction markers, compaction.
    ///
    /// # Errors
    ///
    /// An offset below the expected one. The records before it are tracked, it and those after it are not.
    pub(crate) fn handed_over(&mut self, offsets: impl IntoIterator<Item = i64>) -> Result<(), OffsetBelowExpected> {
        for offset in offsets {
            match self.expected {
                Some(expected) if offset < expected.get() => return Err(OffsetBelowExpected { offset, expected }),
                Some(expected) if offset == expected.get() => match self.open.back_mut() {
                    Some(run) if next_offset_after(run.last) == expected => run.last = offset,
                    _ => self.open.push_back(Run { first: offset, last: offset }),
                },
                _ => self.open.push_back(Run { first: offset, last: offset }),
            }
            self.open_records += 1;
            self.expected = Some(next_offset_after(offset));
        }
        Ok(())
    }

    /// Notes every record handed over up to and including `offset` as done. Returns how many of them were open.
    pub(crate) fn done_through(&mut self, offset: i64) -> u64 {
        let mut finished = 0;
        while let Some(run) = self.open.front_mut() {
            if run.first > offset {
                break;
            }
            if run.last > offset {
                finished += Run { first: run.first, last: offset }.len();
                run.first = next_offset_after(offset).get();
                break;
            }
            finished += run.len();
            self.open.pop_front();
        }
        self.finish(finished);
        finished
    }

    /// Notes that there is nothing to be had below `position`: what lies there cannot be read, and a policy or an
    /// operator gave it up. It counts as done.
    pub(crate) fn skip_to(&mut self, position: CommitOffset) {
        if self.expected.is_some_and(|expected| expected >= position) {
            return;
        }
        self.expected = Some(position);
        if self.open.is_empty() {
            self.watermark = Some(position);
        }
    }

    /// Notes one record as done, in any order. `false`: it was not open, so nothing changed.
    #[cfg_attr(not(test), expect(dead_code, reason = "records are done in order until ordering by key comes"))]
    pub(crate) fn done(&mut self, offset: i64) -> bool {
        let index = self.open.partition_point(|run| run.last < offset);
        let Some(run) = self.open.get_mut(index).filter(|run| run.first <= offset) else { return false };
        let Run { first, last } = *run;
        let behind = next_offset_after(offset).get();
        match (first == offset, last == offset) {
            (true, true) => {
                self.open.remove(index);
            }
            (true, false) => run.first = behind,
            (false, true) => run.last = offset - 1,
            (false, false) => {
                run.first = behind;
                self.open.insert(index, Run { first, last: offset - 1 });
            }
        }
        self.finish(1);
        true
    }

    /// The offset to commit: the oldest open record, or the position after the last one handed over when all are
    /// done. `None` until something is done. Never past an open record, never back.
    pub(crate) fn watermark(&self) -> Option<CommitOffset> {
        self.watermark
    }

    /// The record that holds the watermark.
    pub(crate) fn oldest_open(&self) -> Option<i64> {
        self.open.front().map(|run| run.first)
    }

    /// How many records are handed over and not done.
    #[cfg_attr(not(test), expect(dead_code, reason = "records are done in order until ordering by key comes"))]
    pub(crate) fn open(&self) -> u64 {
        self.open_records
    }

    /// How many records are done in this epoch.
    #[cfg_attr(not(test), expect(dead_code, reason = "workers count for themselves until ordering by key comes"))]
    pub(crate) fn finished(&self) -> u64 {
        self.finished
    }

    /// Where the next record is expected; `None` where nobody knows yet.
    pub(crate) fn expected(&self) -> Option<CommitOffset> {
        self.expected
    }

    fn finish(&mut self, records: u64) {
        if records == 0 {
            return;
        }
        self.open_records -= records;
        self.finished += records;
        self.watermark = self.oldest_open().map(CommitOffset::at).or(self.expected);
    }
}

#[cfg(test)]
mod tests;
