use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::offset_tracker::OffsetTracker;

const LATER: Duration = Duration::from_millis(5);

fn window(offsets: &[i64]) -> (AckWindow, Vec<DeliveryId>) {
    let mut window = AckWindow::default();
    let deliveries = offsets.iter().map(|offset| window.deliver(*offset, 10)).collect();
    (window, deliveries)
}

/// Acknowledges the records at `order` one by one and gives what is done after each.
#[track_caller]
fn check(offsets: &[i64], order: &[usize], done: &[Option<i64>]) {
    let (mut window, deliveries) = window(offsets);
    let reached: Vec<_> = order
        .iter()
        .map(|index| window.settle(offsets[*index], deliveries[*index], Settlement::Acknowledged).unwrap().done)
        .collect();
    assert_eq!(reached, done);
}

#[test]
fn what_is_acknowledged_out_of_order_is_done_when_what_lies_before_it_is() {
    check(&[3, 4, 5], &[0, 1, 2], &[Some(3), Some(4), Some(5)]);
    check(&[3, 4, 5, 9], &[1, 3, 0, 2], &[None, None, Some(4), Some(9)]);
}

#[test]
fn a_delivery_is_settled_once() {
    let (mut window, deliveries) = window(&[3, 4]);
    window.settle(4, deliveries[1], Settlement::Acknowledged).unwrap();
    assert_eq!(window.settle(4, deliveries[1], Settlement::Dropped), Err(Superseded));
    window.settle(3, deliveries[0], Settlement::NotYet(LATER)).unwrap();
    assert_eq!(window.settle(3, deliveries[0], Settlement::Acknowledged), Err(Superseded));
}

#[test]
fn an_acknowledgement_of_an_earlier_delivery_is_superseded() {
    let (mut window, deliveries) = window(&[3]);
    window.settle(3, deliveries[0], Settlement::Dropped).unwrap();
    assert_eq!(window.take_returned(), Some(Returned { offset: 3, again_after: None }));
    assert_eq!(window.take_returned(), None);
    let again = window.deliver(3, 10);
    assert_eq!(window.settle(3, deliveries[0], Settlement::Acknowledged), Err(Superseded));
    assert_eq!(window.settle(3, again, Settlement::Acknowledged).unwrap().done, Some(3));
}

#[test]
fn an_error_wins_over_an_acknowledgement_that_is_out_or_came_back_and_not_over_one_that_was_given() {
    let (mut window, deliveries) = window(&[3, 4, 5]);
    assert_eq!(window.fail(3), Ok(()));
    assert_eq!(window.settle(3, deliveries[0], Settlement::Acknowledged), Err(Superseded));
    window.settle(4, deliveries[1], Settlement::NotYet(LATER)).unwrap();
    assert_eq!(window.fail(4), Ok(()));
    assert_eq!(window.take_returned(), None);
    window.settle(5, deliveries[2], Settlement::Acknowledged).unwrap();
    assert_eq!(window.fail(5), Err(Superseded));
    assert_eq!((window.open(), window.handed_out(), window.oldest_open()), (2, 1, Some(3)));
}

#[test]
fn what_a_policy_gives_up_is_done_like_the_rest() {
    let (mut window, deliveries) = window(&[3, 4]);
    window.settle(4, deliveries[1], Settlement::Acknowledged).unwrap();
    window.fail(3).unwrap();
    assert_eq!(window.finish(3), Progress { done: Some(4), records: 2, bytes: 20 });
    assert_eq!((window.open(), window.handed_out()), (0, 0));
}

#[test]
fn after_the_end_of_the_epoch_nothing_counts() {
    let (mut window, deliveries) = window(&[3]);
    window.close();
    for settlement in [Settlement::Acknowledged, Settlement::NotYet(LATER), Settlement::Dropped] {
        assert_eq!(window.settle(3, deliveries[0], settlement), Err(Superseded));
    }
    assert_eq!(window.oldest_open(), Some(3));
}

#[test]
fn what_came_of_one_delivery_is_told_once_it_is_known() {
    let (mut window, deliveries) = window(&[3]);
    assert_eq!(window.settlement(3), None);
    window.settle(3, deliveries[0], Settlement::NotYet(LATER)).unwrap();
    assert_eq!(window.settlement(3), Some(Settlement::NotYet(LATER)));
    let again = window.deliver(3, 10);
    window.settle(3, again, Settlement::Acknowledged).unwrap();
    assert_eq!(window.settlement(3), Some(Settlement::Acknowledged));
}

#[test]
fn a_record_that_an_interceptor_hands_out_twice_is_settled_by_the_latest() {
    let (mut window, deliveries) = window(&[3]);
    window.settle(3, deliveries[0], Settlement::Dropped).unwrap();
    let again = window.deliver_again(3).unwrap();
    assert_eq!((window.settlement(3), window.take_returned()), (None, None));
    assert_eq!(window.settle(3, deliveries[0], Settlement::Acknowledged), Err(Superseded));
    assert_eq!(window.settle(3, again, Settlement::Acknowledged).unwrap().bytes, 10);
    assert_eq!(window.deliver_again(3), None);
}

#[test]
fn a_record_behind_one_that_came_back_waits_for_its_next_delivery_and_not_behind_one_that_is_out() {
    let (mut window, deliveries) = window(&[3, 4, 5]);
    window.settle(4, deliveries[1], Settlement::Acknowledged).unwrap();
    assert!(!window.waits_for_returned(4) && window.is_any_out());
    window.settle(3, deliveries[0], Settlement::NotYet(LATER)).unwrap();
    assert!(window.waits_for_returned(4) && !window.waits_for_returned(3));
    window.take_returned().unwrap();
    assert!(window.waits_for_returned(4));
    window.settle(5, deliveries[2], Settlement::Dropped).unwrap();
    assert!(!window.is_any_out());
    window.deliver(3, 10);
    assert!(!window.waits_for_returned(4) && window.is_any_out());
}

#[derive(Clone, Debug)]
enum Step {
    /// Gap before the record.
    Deliver(i64),
    /// Share of the deliveries so far, earlier epochs of the same record included.
    Settle(f64, Settlement),
    Fail(f64),
    /// Takes what came back and delivers it again.
    Redeliver,
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let settlement = prop_oneof![6 => Just(Settlement::Acknowledged), 1 => Just(Settlement::NotYet(LATER)), 1 => Just(Settlement::Dropped)];
    prop_oneof![
        20 => prop_oneof![4 => Just(0), 1 => 1..5_i64].prop_map(Step::Deliver),
        30 => (0.0..1.0_f64, settlement).prop_map(|(share, settlement)| Step::Settle(share, settlement)),
        4 => (0.0..1.0_f64).prop_map(Step::Fail),
        6 => Just(Step::Redeliver),
        1 => Just(Step::Close),
    ]
}

proptest! {
    /// Whatever is settled in whatever order: what is done never lies behind an open record, and all is done when
    /// nothing is open.
    #[test]
    fn never_past_an_open_record(steps in vec(step(), 0..150)) {
        // One tracker knows every record by itself, the other is the poll loop's and hears of `done` alone.
        let (mut window, mut tracker, mut in_loop) = (AckWindow::default(), OffsetTracker::new(), OffsetTracker::new());
        let (mut next, mut done, mut is_closed) = (0, None, false);
        let mut deliveries: Vec<(i64, DeliveryId)> = Vec::new();
        let mut acknowledged: BTreeMap<i64, bool> = BTreeMap::new();
        for step in steps {
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "small")]
            let at = |share: f64, of: usize| (share * of as f64) as usize;
            match step {
                Step::Deliver(gap) => {
                    let offset = next + gap;
                    next = offset + 1;
                    tracker.handed_over([offset]).unwrap();
                    in_loop.handed_over([offset]).unwrap();
                    acknowledged.insert(offset, false);
                    deliveries.push((offset, window.deliver(offset, 1)));
                }
                Step::Settle(share, settlement) if !deliveries.is_empty() => {
                    let (offset, delivery) = deliveries[at(share, deliveries.len())];
                    let settled = window.settle(offset, delivery, settlement);
                    prop_assert!(!(is_closed && settled.is_ok()));
                    if let (Ok(progress), Settlement::Acknowledged) = (settled, settlement) {
                        prop_assert_eq!(acknowledged.insert(offset, true), Some(false));
                        prop_assert!(tracker.done(offset));
                        done = progress.done.or(done);
                        prop_assert_eq!(progress.done.map_or(0, |done| in_loop.done_through(done)), progress.records);
                    }
                }
                Step::Fail(share) if !deliveries.is_empty() => {
                    let (offset, _) = deliveries[at(share, deliveries.len())];
                    if window.fail(offset).is_ok() {
                        prop_assert!(!acknowledged[&offset]);
                        deliveries.push((offset, window.deliver(offset, 1)));
                    }
                }
                Step::Redeliver => {
                    while let Some(returned) = window.take_returned() {
                        prop_assert!(!acknowledged[&returned.offset]);
                        deliveries.push((returned.offset, window.deliver(returned.offset, 1)));
                    }
                }
                Step::Close => {
                    window.close();
                    is_closed = true;
                }
                Step::Settle(..) | Step::Fail(_) => {}
            }
            let open = acknowledged.iter().find(|(_, done)| !**done).map(|(offset, _)| *offset);
            prop_assert!(done.is_none_or(|done| open.is_none_or(|open| done < open)));
            prop_assert_eq!(window.oldest_open(), open);
            prop_assert_eq!(window.open(), tracker.open());
            prop_assert_eq!(in_loop.oldest_open(), open);
            prop_assert!(in_loop.watermark() <= tracker.watermark());
        }
    }
}
