//! `until = "end"`: whether what was in a partition at the start has been read, and what of a batch still belongs to it.
//!
//! Pure. The tail of a log need not hold a record: it may be transaction markers, an aborted transaction, or compacted. So
//! the end is reached by a record at or past its last offset, or by the broker's word that there is no more.

/// How far one partition has been read towards the end that it had at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReadToEnd {
    /// The first offset that does not belong to it.
    end: i64,
    reached: bool,
    /// Where the broker said that there was no more, below the end.
    stopped_short: Option<i64>,
}

impl ReadToEnd {
    /// `start` is where reading begins, as far as it is known. Beyond the end there may be another log than the one that
    /// `start` was meant for, so that only a start at the very end has nothing to read.
    pub(crate) fn new(start: Option<i64>, end: i64) -> Self {
        Self { end, reached: end <= 0 || start == Some(end), stopped_short: None }
    }

    pub(crate) fn end(&self) -> i64 {
        self.end
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.reached
    }

    /// Takes the offsets of a batch, ascending. Says how many of them, from the first on, belong to what was there.
    pub(crate) fn admit(&mut self, offsets: impl IntoIterator<Item = i64>) -> usize {
        let mut admitted = 0;
        if self.reached {
            return admitted;
        }
        for offset in offsets {
            self.reached = offset >= self.end - 1;
            if offset >= self.end {
                break;
            }
            admitted += 1;
            if self.reached {
                break;
            }
        }
        self.stopped_short = None;
        admitted
    }

    /// What was admitted is read again from an earlier place.
    pub(crate) fn begin_again(&mut self) {
        self.reached = self.end <= 0;
    }

    /// The broker has no record from `offset` on.
    pub(crate) fn no_more_at(&mut self, offset: i64) {
        if offset >= self.end {
            self.reached = true;
        } else if !self.reached {
            self.stopped_short = Some(offset);
        }
    }

    /// Whether the log may have become shorter than it was: there is no more, and the end is not reached. A leader that
    /// has just been elected may say so for a moment, too.
    pub(crate) fn is_short(&self) -> bool {
        !self.reached && self.stopped_short.is_some()
    }

    /// The log ends here now. `true`: it was cut, and nothing that is missing will ever come.
    pub(crate) fn ends_now_at(&mut self, end: i64) -> bool {
        let is_cut = end < self.end;
        if is_cut {
            self.end = end;
        }
        if let Some(offset) = self.stopped_short.take() {
            self.no_more_at(offset);
        }
        is_cut
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_partition_with_nothing_to_read_has_reached_its_end_at_once() {
        for (start, end) in [(None, 0), (Some(0), 0), (Some(7), 7)] {
            assert!(ReadToEnd::new(start, end).is_reached(), "{start:?} {end}");
        }
        assert!(!ReadToEnd::new(None, 7).is_reached());
        assert!(!ReadToEnd::new(Some(9), 7).is_reached(), "the log is another one than the start was meant for");
    }

    #[test]
    fn the_last_record_that_was_there_reaches_the_end_and_later_ones_are_left_out() {
        let mut read = ReadToEnd::new(Some(0), 5);
        assert_eq!((read.admit([0, 1, 2]), read.is_reached()), (3, false));
        assert_eq!((read.admit([3, 4, 5, 6]), read.is_reached()), (2, true));
        assert_eq!(read.admit([5, 6]), 0);
    }

    #[test]
    fn a_record_behind_the_end_says_that_the_tail_held_none() {
        let mut read = ReadToEnd::new(Some(0), 5);
        assert_eq!((read.admit([0, 1, 6]), read.is_reached()), (2, true));
    }

    #[test]
    fn a_tail_without_records_is_reached_by_the_brokers_word() {
        let mut read = ReadToEnd::new(Some(0), 5);
        assert_eq!(read.admit([0, 1]), 2);
        read.no_more_at(5);
        assert!(read.is_reached());
    }

    #[test]
    fn a_word_from_below_the_end_counts_only_when_the_log_was_cut() {
        let mut read = ReadToEnd::new(Some(0), 5);
        read.no_more_at(3);
        assert!(read.is_short() && !read.is_reached());
        assert!(!read.ends_now_at(5), "a new leader had not caught up");
        assert!(!read.is_reached());
        read.no_more_at(3);
        assert!(read.ends_now_at(3));
        assert!(read.is_reached() && !read.is_short());
    }

    #[test]
    fn a_log_that_is_read_again_reaches_its_end_again() {
        let mut read = ReadToEnd::new(Some(0), 2);
        assert_eq!(read.admit([0, 1]), 2);
        read.begin_again();
        assert_eq!((read.admit([0, 1]), read.is_reached()), (2, true));
    }

    #[test]
    fn a_record_takes_a_premature_word_back() {
        let mut read = ReadToEnd::new(Some(0), 5);
        read.no_more_at(3);
        assert_eq!(read.admit([3]), 1);
        assert!(!read.is_short());
    }

    proptest! {
        #[test]
        fn exactly_the_records_below_the_end_are_admitted_however_they_are_cut_into_batches(
            offsets in prop::collection::btree_set(0i64..60, 0..40),
            end in 0i64..60,
            cuts in prop::collection::vec(1usize..7, 0..40),
        ) {
            let log: Vec<i64> = offsets.into_iter().collect();
            let mut read = ReadToEnd::new(None, end);
            let (mut rest, mut admitted) = (&log[..], Vec::new());
            for cut in cuts.into_iter().chain(std::iter::repeat(5)) {
                if rest.is_empty() || read.is_reached() {
                    break;
                }
                let (batch, after) = rest.split_at(cut.min(rest.len()));
                let count = read.admit(batch.iter().copied());
                admitted.extend_from_slice(&batch[..count]);
                rest = after;
            }
            read.no_more_at(60);
            prop_assert!(read.is_reached());
            let expected: Vec<i64> = log.into_iter().filter(|offset| *offset < end).collect();
            prop_assert_eq!(admitted, expected);
        }
    }
}
