use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn tracker(offsets: impl IntoIterator<Item = i64>) -> OffsetTracker {
    let mut tracker = OffsetTracker::new();
    tracker.handed_over(offsets).unwrap();
    tracker
}

fn watermark(tracker: &OffsetTracker) -> Option<i64> {
    tracker.watermark().map(CommitOffset::get)
}

/// Finishes `done` one by one and gives the watermark after each.
#[track_caller]
fn check(handed_over: &[i64], done: &[i64], watermarks: &[i64]) {
    let mut tracker = tracker(handed_over.iter().copied());
    let reached: Vec<_> = done
        .iter()
        .map(|offset| {
            assert!(tracker.done(*offset));
            watermark(&tracker).unwrap()
        })
        .collect();
    assert_eq!(reached, watermarks);
}

#[test]
fn nothing_done_is_nothing_to_commit() {
    let tracker = tracker([3, 4, 5]);
    assert_eq!((watermark(&tracker), tracker.oldest_open(), tracker.open()), (None, Some(3), 3));
    assert_eq!(OffsetTracker::new().watermark(), None);
}

#[test]
fn the_watermark_is_the_position_after_the_last_record_when_all_are_done() {
    check(&[3, 4, 5], &[3, 4, 5], &[4, 5, 6]);
}

#[test]
fn an_open_record_holds_the_watermark() {
    check(&[3, 4, 5, 6], &[5, 4, 6, 3], &[3, 3, 3, 7]);
}

#[test]
fn gaps_between_records_are_no_work() {
    check(&[3, 7, 8, 20], &[3, 7, 8, 20], &[7, 8, 20, 21]);
    check(&[3, 7, 8, 20], &[8, 7, 3, 20], &[3, 3, 20, 21]);
}

#[test]
fn what_is_skipped_counts_as_done_behind_what_is_open() {
    let mut tracker = tracker([1, 2]);
    tracker.done_through(1);
    tracker.skip_to(CommitOffset::at(9));
    assert_eq!((watermark(&tracker), tracker.expected()), (Some(2), Some(CommitOffset::at(9))));
    tracker.done_through(2);
    assert_eq!(watermark(&tracker), Some(9));
    tracker.skip_to(CommitOffset::at(12));
    assert_eq!(watermark(&tracker), Some(12));
    tracker.skip_to(CommitOffset::at(7));
    assert_eq!((watermark(&tracker), tracker.expected()), (Some(12), Some(CommitOffset::at(12))));
}

#[test]
fn what_is_skipped_before_anything_was_read_counts_as_done() {
    let mut tracker = OffsetTracker::new();
    tracker.skip_to(CommitOffset::at(4));
    assert_eq!(watermark(&tracker), Some(4));
}

#[test]
fn handing_over_more_does_not_move_the_watermark() {
    let mut tracker = tracker([1]);
    tracker.done_through(1);
    tracker.handed_over([9, 10]).unwrap();
    assert_eq!((watermark(&tracker), tracker.oldest_open()), (Some(2), Some(9)));
    assert!(!tracker.done(5));
    assert_eq!(watermark(&tracker), Some(2));
    assert!(tracker.done(10));
    assert_eq!(watermark(&tracker), Some(9));
}

#[test]
fn done_through_ends_at_what_was_handed_over() {
    let mut tracker = tracker([1, 2, 3, 7]);
    assert_eq!(tracker.done_through(2), 2);
    assert_eq!(watermark(&tracker), Some(3));
    assert_eq!(tracker.done_through(2), 0);
    assert_eq!(tracker.done_through(5), 1);
    assert_eq!(watermark(&tracker), Some(7));
    assert_eq!(tracker.done_through(1_000), 1);
    assert_eq!((watermark(&tracker), tracker.open(), tracker.finished()), (Some(8), 0, 4));
}

#[test]
fn what_is_not_open_cannot_be_done() {
    let mut tracker = tracker([1, 2]);
    assert!(tracker.done(1));
    assert!(!tracker.done(1));
    assert!(!tracker.done(0));
    assert!(!tracker.done(3));
    assert_eq!((tracker.finished(), tracker.open()), (1, 1));
}

#[test]
fn an_offset_below_the_expected_one_is_refused_and_those_before_it_are_kept() {
    let mut tracker = OffsetTracker::new();
    let error = tracker.handed_over([1, 2, 2, 3]).unwrap_err();
    assert_eq!(error, OffsetBelowExpected { offset: 2, expected: CommitOffset::at(3) });
    assert_eq!(error.to_string(), "offset `2` was handed over where `3` or a later one is expected");
    assert_eq!((tracker.open(), tracker.expected()), (2, Some(CommitOffset::at(3))));
}

#[test]
fn a_known_start_is_what_is_expected_first() {
    let mut tracker = OffsetTracker::starting_at(CommitOffset::at(40));
    assert_eq!((tracker.expected(), tracker.watermark()), (Some(CommitOffset::at(40)), None));
    assert!(tracker.handed_over([39]).is_err());
    tracker.handed_over([44]).unwrap();
    assert_eq!(tracker.done_through(44), 1);
    assert_eq!(watermark(&tracker), Some(45));
}

#[test]
fn work_in_order_keeps_one_run() {
    let mut tracker = OffsetTracker::new();
    for batch in 0..100 {
        tracker.handed_over(batch * 500..(batch + 1) * 500).unwrap();
        tracker.done_through(batch * 500 + 249);
        assert_eq!(tracker.open.len(), 1);
    }
}

/// Every record by itself, and the watermark looked up from the front each time.
#[derive(Debug, Default)]
struct Naive {
    records: BTreeMap<i64, bool>,
    watermark: Option<i64>,
}

impl Naive {
    fn done(&mut self, offset: i64) -> bool {
        let was_open = self.records.get(&offset) == Some(&false);
        if was_open {
            self.records.insert(offset, true);
            let open = self.records.iter().find(|(_, done)| !**done).map(|(offset, _)| *offset);
            self.watermark = open.or_else(|| self.records.keys().next_back().map(|last| last + 1));
        }
        was_open
    }

    fn open(&self) -> u64 {
        self.records.values().filter(|done| !**done).count() as u64
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Gaps before each of the records.
    HandOver(Vec<i64>),
    /// Share of the offsets so far.
    Done(f64),
    DoneThrough(f64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        vec(prop_oneof![4 => Just(0), 1 => 1..5_i64], 0..12).prop_map(Step::HandOver),
        (0.0..1.1_f64).prop_map(Step::Done),
        (0.0..1.1_f64).prop_map(Step::Done),
        (0.0..1.1_f64).prop_map(Step::DoneThrough),
    ]
}

proptest! {
    #[test]
    fn agrees_with_a_naive_model(start in 0..1_000_i64, steps in vec(step(), 0..120)) {
        let (mut tracker, mut naive, mut next) = (OffsetTracker::new(), Naive::default(), start);
        for step in steps {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "offsets are small here")]
            let at = |share: f64| start + ((next - start) as f64 * share) as i64;
            let before = tracker.watermark();
            match step {
                Step::HandOver(gaps) => {
                    let mut offsets = Vec::new();
                    for gap in gaps {
                        offsets.push(next + gap);
                        next += gap + 1;
                    }
                    naive.records.extend(offsets.iter().map(|offset| (*offset, false)));
                    tracker.handed_over(offsets).unwrap();
                }
                Step::Done(share) => prop_assert_eq!(tracker.done(at(share)), naive.done(at(share))),
                Step::DoneThrough(share) => {
                    let all: Vec<_> = naive.records.range(..=at(share)).map(|(offset, _)| *offset).collect();
                    let finished = all.into_iter().filter(|offset| naive.done(*offset)).count() as u64;
                    prop_assert_eq!(tracker.done_through(at(share)), finished);
                }
            }
            prop_assert_eq!(watermark(&tracker), naive.watermark);
            prop_assert_eq!(tracker.open(), naive.open());
            prop_assert_eq!(tracker.open() + tracker.finished(), naive.records.len() as u64);
            prop_assert!(tracker.watermark() >= before);
        }
    }
}
