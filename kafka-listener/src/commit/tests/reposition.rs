//! What becomes of finished work that could not be committed before its partition is read from somewhere else.

use super::*;

/// 50 is done and 10 is committed when the partition is read from `start` on.
#[track_caller]
fn check(start: i64, commits: bool, committed_next: Option<i64>) {
    let mut bench = Bench::batch();
    let refused = bench.done(0, 50).sends(&[(0, 50)]);
    bench.codes(refused, &[(0, code::TOPIC_AUTHORIZATION_FAILED)]);
    let next_epoch = Epoch::FIRST.next();
    bench.commits.reposition(&key(0), next_epoch, (Some(offset(start)), commits), bench.now);
    bench.wait(30_000);
    let sent = bench.tick().map(|request| request.offsets);
    assert_eq!(sent, committed_next.map(|next| vec![(key(0), next_epoch, offset(next))]), "{start}");
}

#[test]
fn what_is_done_up_to_the_new_start_is_committed_and_nothing_that_is_read_again() {
    check(80, false, Some(50));
    check(50, false, Some(50));
    check(30, false, Some(30));
    check(10, false, None);
    check(5, false, None);
}

#[test]
fn a_start_that_is_to_be_committed_takes_the_place_of_what_is_done() {
    check(80, true, Some(80));
    check(30, true, Some(30));
    check(5, true, Some(5));
}
