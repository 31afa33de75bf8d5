//! Requests that the client has given up, or sent twice, and that the broker may still get: what is committed is put right
//! behind them.

use super::*;

/// Answers that leave a copy of the request under way.
const LEAVE_A_COPY: [(u64, i32); 4] = [
    (0, code::LOCAL_TIMED_OUT),
    (0, code::LOCAL_TRANSPORT),
    (1_000, code::NO_ERROR),
    (1_000, code::REBALANCE_IN_PROGRESS),
];

/// Everything is acknowledged, and a copy of an earlier request may still be under way.
fn with_a_copy_under_way((millis, code): (u64, i32)) -> Bench {
    let mut bench = Bench::batch();
    let given_up = bench.done(0, 20).sends(&[(0, 20)]);
    bench.wait(millis).answer(given_up, &Ok(vec![(key(0), code)]));
    let next = bench.wait(100).done(0, 25).sends(&[(0, 25)]);
    bench.ok(next);
    assert_eq!(bench.acknowledged(0), 25);
    bench
}

#[test]
fn the_newest_offset_is_committed_anew_until_the_generation_ends() {
    for answer in LEAVE_A_COPY {
        let mut bench = with_a_copy_under_way(answer);
        for _ in 0..3 {
            bench.wait(4_900).sends_nothing();
            let anew = bench.wait(100).sends(&[(0, 25)]);
            bench.ok(anew);
        }
        bench.commits.set_rebalancing(true);
        bench.commits.set_rebalancing(false);
        bench.wait(60_000).sends_nothing();
    }
}

#[test]
fn new_work_is_committed_as_always_and_puts_it_right_too() {
    let mut bench = with_a_copy_under_way((0, code::LOCAL_TIMED_OUT));
    for watermark in 26..60 {
        let serial = bench.wait(1_000).done(0, watermark).sends(&[(0, watermark)]);
        bench.ok(serial).len();
        bench.sends_nothing();
    }
}

#[test]
fn the_final_commit_is_made_although_all_is_acknowledged_and_settles_it() {
    for answer in LEAVE_A_COPY {
        let mut bench = with_a_copy_under_way(answer);
        let deadline = bench.now + Duration::from_secs(5);
        let last = bench.final_send(deadline, &[(0, 25)]);
        assert_eq!(bench.final_step(deadline), FinalStep::WaitUntil(deadline));
        bench.ok(last);
        assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
    }
}

#[test]
fn a_final_commit_that_only_puts_right_is_tried_once() {
    let mut bench = with_a_copy_under_way((0, code::LOCAL_TIMED_OUT));
    let deadline = bench.now + Duration::from_secs(5);
    let last = bench.final_send(deadline, &[(0, 25)]);
    bench.answer(last, &Err(code::NOT_COORDINATOR));
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
}

#[test]
fn answers_of_the_broker_that_come_soon_leave_nothing_under_way() {
    for code in [code::NO_ERROR, code::REBALANCE_IN_PROGRESS, code::REQUEST_TIMED_OUT, code::NOT_COORDINATOR] {
        let mut bench = with_a_copy_under_way((999, code));
        bench.wait(60_000).sends_nothing();
        let deadline = bench.now + Duration::from_secs(5);
        assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
    }
}
