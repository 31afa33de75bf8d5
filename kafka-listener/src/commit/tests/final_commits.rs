//! What is committed when partitions go.

use super::*;

#[test]
fn the_final_commit_takes_exactly_what_is_not_acknowledged() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_secs(5);
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
    let serial = bench.done(0, 20).final_send(deadline, &[(0, 20)]);
    assert_eq!(bench.final_step(deadline), FinalStep::WaitUntil(deadline));
    bench.ok(serial);
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
}

#[test]
fn the_final_commit_waits_for_one_under_way_that_covers_it() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_secs(5);
    let serial = bench.done(0, 20).sends(&[(0, 20)]);
    assert_eq!(bench.final_step(deadline), FinalStep::WaitUntil(deadline));
    bench.ok(serial);
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
}

#[test]
fn the_final_commit_overtakes_one_and_is_sent_again_when_that_one_is_answered_after_it() {
    for late in [Ok(vec![(key(0), 0)]), Err(code::LOCAL_TIMED_OUT)] {
        let mut bench = Bench::batch();
        let deadline = bench.now + Duration::from_secs(5);
        let older = bench.done(0, 20).sends(&[(0, 20)]);
        let newer = bench.done(0, 25).final_send(deadline, &[(0, 25)]);
        bench.ok(newer);
        // The older one may still be stored last.
        assert_eq!(bench.acknowledged(0), 20);
        assert_eq!(bench.final_step(deadline), FinalStep::WaitUntil(deadline));
        let overtaken = CommitEvent::Overtaken { topic_partition: key(0), offset: offset(20) };
        assert_eq!(bench.answer(older, &late), [overtaken]);
        let again = bench.final_send(deadline, &[(0, 25)]);
        bench.ok(again);
        assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
        assert_eq!(bench.acknowledged(0), 25);
    }
}

#[test]
fn an_overtaken_commit_that_was_refused_changes_nothing() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_secs(5);
    let older = bench.done(0, 20).sends(&[(0, 20)]);
    let newer = bench.done(0, 25).final_send(deadline, &[(0, 25)]);
    bench.ok(newer);
    bench.answer(older, &Err(code::REBALANCE_IN_PROGRESS));
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
}

#[test]
fn the_final_commit_is_sent_again_after_twenty_milliseconds_until_the_deadline() {
    for code in [22, 27, 16, -180] {
        let mut bench = Bench::batch();
        let deadline = bench.now + Duration::from_millis(50);
        bench.done(0, 20);
        for _ in 0..3 {
            let serial = bench.final_send(deadline, &[(0, 20)]);
            bench.answer(serial, &Err(code));
            let again = (bench.now + Duration::from_millis(20)).min(deadline);
            assert_eq!(bench.final_step(deadline), FinalStep::WaitUntil(again));
            bench.now = again;
        }
        assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Failed, CommitOutcome::Committed]);
    }
}

#[test]
fn a_final_commit_that_is_not_answered_in_time_is_unknown() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_secs(1);
    bench.done(0, 20).final_send(deadline, &[(0, 20)]);
    bench.wait(1_000);
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Unknown, CommitOutcome::Committed]);
}

#[test]
fn a_timed_out_final_commit_is_unknown_whatever_is_said_later() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_millis(30);
    let serial = bench.done(0, 20).final_send(deadline, &[(0, 20)]);
    bench.answer(serial, &Err(code::LOCAL_TIMED_OUT));
    let serial = bench.wait(20).final_send(deadline, &[(0, 20)]);
    bench.answer(serial, &Err(code::REBALANCE_IN_PROGRESS));
    bench.wait(20);
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Unknown, CommitOutcome::Committed]);
}

#[test]
fn the_final_commit_is_tried_once_when_there_is_no_time_left() {
    let mut bench = Bench::batch();
    let deadline = bench.now;
    bench.wait(10).done(0, 20).final_send(deadline, &[(0, 20)]);
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Unknown, CommitOutcome::Committed]);
}

#[test]
fn a_refused_partition_ends_its_final_commit_at_once_and_a_fenced_member_that_of_all() {
    use CommitOutcome::{Committed, Failed, Fenced};
    let answers = [(code::UNKNOWN_TOPIC_OR_PART, [Failed, Committed]), (code::UNKNOWN_MEMBER_ID, [Fenced, Fenced])];
    for (code, outcomes) in answers {
        let mut bench = Bench::batch();
        let deadline = bench.now + Duration::from_secs(5);
        let serial = bench.done(0, 20).done(1, 20).final_send(deadline, &[(0, 20), (1, 20)]);
        bench.codes(serial, &[(0, code), (1, code::NO_ERROR)]);
        assert_eq!(bench.final_outcomes(deadline), outcomes);
    }
}

#[test]
fn an_earlier_refusal_does_not_spare_the_final_try() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_secs(5);
    let serial = bench.done(0, 20).sends(&[(0, 20)]);
    bench.codes(serial, &[(0, code::TOPIC_AUTHORIZATION_FAILED)]);
    let serial = bench.final_send(deadline, &[(0, 20)]);
    bench.ok(serial);
    assert_eq!(bench.final_outcomes(deadline), [CommitOutcome::Committed; 2]);
}

#[test]
fn a_revoke_in_the_middle_of_a_close_waits_for_the_final_commit_that_is_out() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_secs(5);
    let close = bench.done(0, 20).final_send(deadline, &[(0, 20)]);
    bench.done(1, 30);
    let revoke = |bench: &mut Bench| bench.commits.final_step(&[key(1)], deadline, bench.now);
    assert_eq!(revoke(&mut bench), FinalStep::WaitUntil(deadline));
    bench.ok(close);
    let FinalStep::Send(request) = revoke(&mut bench) else { panic!("partition 1 is to be sent") };
    assert_eq!(offsets(&request), [(1, 30)]);
    bench.ok(request.serial);
    assert!(matches!(revoke(&mut bench), FinalStep::Done(_)));
}

#[test]
fn a_frozen_partition_takes_no_progress() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_secs(5);
    bench.done(0, 20).commits.freeze(&key(0));
    assert!(!bench.commits.progress(&key(0), Epoch::FIRST, Some(offset(30)), 30));
    bench.final_send(deadline, &[(0, 20)]);
}

#[test]
fn a_partition_that_is_kept_back_is_covered_by_its_final_commit_only() {
    let mut bench = Bench::batch();
    let deadline = bench.now + Duration::from_secs(15);
    bench.commits.keep_back(&key(0));
    bench.done(0, 20).sends_nothing().wait(10_000).sends_nothing();
    bench.final_send(deadline, &[(0, 20)]);
}
