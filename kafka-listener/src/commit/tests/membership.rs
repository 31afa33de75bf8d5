//! What commits tell of being a member still.

use super::*;

#[test]
fn a_doubted_membership_is_confirmed_by_a_commit_of_what_stands() {
    let mut bench = Bench::batch();
    let (fresh, unread) = (key(2), key(3));
    bench.commits.assign(fresh.clone(), Epoch::FIRST, None);
    bench.commits.assign(unread, Epoch::FIRST, None);
    bench.commits.started_at(&fresh, Epoch::FIRST, 7);
    bench.commits.started_at(&fresh, Epoch::FIRST, 9);
    bench.done(0, 20);
    bench.commits.hold_until(bench.now + Duration::from_secs(1));
    bench.commits.doubt_membership();
    assert!(!bench.commits.is_membership_confirmed());
    // New work, the committed offset again, the first record where there is neither, and nothing where nothing is known.
    let serial = bench.sends(&[(0, 20), (1, 10), (2, 7)]);
    let events = bench.codes(serial, &[(0, code::COORDINATOR_LOAD_IN_PROGRESS), (1, 0), (2, 0)]);
    assert_eq!(events.last(), Some(&CommitEvent::MembershipConfirmed));
    assert!(bench.commits.is_membership_confirmed());
}

#[test]
fn a_commit_sent_before_the_doubt_confirms_nothing() {
    let mut bench = Bench::batch();
    let before = bench.done(0, 20).sends(&[(0, 20)]);
    bench.commits.doubt_membership();
    bench.sends_nothing().ok(before);
    assert!(!bench.commits.is_membership_confirmed());
    let after = bench.sends(&[(0, 20), (1, 10)]);
    bench.ok(after);
    assert!(bench.commits.is_membership_confirmed());
}

#[test]
fn a_refused_confirmation_is_repeated_ever_more_slowly_and_a_rebalance_confirms_as_well() {
    let mut bench = Bench::batch();
    bench.commits.doubt_membership();
    for delay in [100, 200, 400, 800, 1_000, 1_000] {
        let serial = bench.sends(&[(0, 10), (1, 10)]);
        bench.answer(serial, &Err(code::ILLEGAL_GENERATION));
        assert!(!bench.commits.is_membership_confirmed());
        bench.wait(delay - 1).sends_nothing();
        assert_eq!(bench.commits.next_wakeup(bench.now), Some(bench.now + Duration::from_millis(1)));
        bench.wait(1);
    }
    bench.commits.confirm_membership();
    assert!(bench.commits.is_membership_confirmed());
    bench.sends_nothing();
}

#[test]
fn a_refused_partition_does_not_keep_the_membership_in_doubt() {
    let mut bench = Bench::batch();
    let together = bench.done(0, 20).done(1, 20).sends(&[(0, 20), (1, 20)]);
    bench.codes(together, &[(0, 3), (1, 3)]);
    bench.commits.doubt_membership();
    for _ in 0..2 {
        let request = bench.wait(5_000).tick().expect("the membership is asked for");
        let [(key, _, _)] = &request.offsets[..] else { panic!("{request:?}") };
        bench.codes(request.serial, &[(key.partition(), if key.partition() == 0 { 3 } else { 0 })]);
        if bench.commits.is_membership_confirmed() {
            return;
        }
    }
    panic!("the good partition was not asked about");
}

#[test]
fn what_was_refused_before_the_process_slept_does_not_end_the_grace() {
    let mut bench = Bench::batch();
    let before = bench.done(0, 20).sends(&[(0, 20)]);
    bench.answer(before, &Err(code::ILLEGAL_GENERATION));
    // The client has slept as well, and hears only now of the rebalance that refused the commit.
    bench.wait(60_000).commits.doubt_membership();
    let after = bench.sends(&[(0, 20), (1, 10)]);
    let events = bench.answer(after, &Err(code::ILLEGAL_GENERATION));
    assert!(events.iter().all(|event| matches!(event, CommitEvent::Retrying { .. })), "{events:?}");
}
