use proptest::prelude::*;

use super::*;

const LIMITS: Limits =
    Limits { resolve: Duration::from_secs(5), drain: Duration::from_secs(3), commit: Duration::from_secs(1) };
const BOUNDS: Bounds = Bounds { first: 10, end: 100, to: Some(40), until: None };
/// A worker that runs code, with everything committed that was finished before 50.
const RUNNING: Facts = Facts { has_ended: false, commit: None, open_from: Some(50) };
const ENDED: Facts = Facts { has_ended: true, commit: None, open_from: Some(51) };
const COMMITTED: Facts = Facts { has_ended: true, commit: Some(CommitOutcome::Committed), open_from: Some(51) };

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn goal(to: SeekTo) -> Goal {
    Goal { to, commits: false, until: None }
}

/// A seek whose target is known, up to what it begins with where the worker has ended at 51.
fn begins(goal: Goal) -> Result<Beginning, SeekOutcome> {
    let mut seek = Seek::new(goal, LIMITS, at(0));
    seek.resolved(BOUNDS);
    match seek.next(COMMITTED, at(0)) {
        Action::Answer(outcome) => return Err(outcome),
        action => assert_eq!(action, Action::Interrupt),
    }
    assert_eq!(seek.next(COMMITTED, at(0)), Action::Commit);
    let Action::Begin(beginning) = seek.next(COMMITTED, at(0)) else { panic!("{seek:?}") };
    let Action::Answer(outcome) = seek.next(COMMITTED, at(0)) else { panic!("{seek:?}") };
    match outcome {
        SeekOutcome::Applied { offset, skipped, .. } => {
            assert_eq!((Some(offset), skipped), (beginning.offset, beginning.skipped));
            Ok(beginning)
        }
        refusal => {
            assert_eq!(beginning.offset, Some(51), "it goes on where it was");
            Err(refusal)
        }
    }
}

#[test]
fn a_seek_takes_its_steps_one_after_the_other() {
    let mut seek = Seek::new(Goal { commits: true, ..goal(SeekTo::Offset(20)) }, LIMITS, at(0));
    assert!(seek.needs_bounds());
    assert_eq!(seek.next(RUNNING, at(1)), Action::Wait);
    assert!(!seek.stops_feeding(), "nothing is stopped before it is known where to go");
    seek.resolved(BOUNDS);
    assert_eq!(seek.next(RUNNING, at(1)), Action::Interrupt);
    assert_eq!(seek.next(RUNNING, at(2)), Action::Wait, "a unit runs");
    assert!(seek.stops_feeding());
    assert_eq!(seek.next(ENDED, at(3)), Action::Commit);
    assert_eq!(seek.next(ENDED, at(3)), Action::Wait, "its commit is out there");
    let beginning = Beginning { offset: Some(20), commits: true, skipped: 0, replay: None };
    assert_eq!(seek.next(COMMITTED, at(3)), Action::Begin(beginning));
    assert_eq!(seek.next(ENDED, at(3)), Action::Wait, "the target is being committed");
    let commit = Some(CommitOutcome::Committed);
    let applied = SeekOutcome::Applied { offset: 20, skipped: 0, commit };
    assert_eq!(seek.next(COMMITTED, at(4)), Action::Answer(applied));
}

#[test]
fn every_step_has_a_deadline() {
    let mut seek = Seek::new(Goal { commits: true, ..goal(SeekTo::Offset(20)) }, LIMITS, at(0));
    seek.resolved(BOUNDS);
    assert_eq!(seek.next(RUNNING, at(0)), Action::Interrupt);
    assert_eq!(seek.next(RUNNING, at(2)), Action::Wait);
    assert_eq!(seek.next(RUNNING, at(3)), Action::Cancel);
    assert_eq!(seek.next(RUNNING, at(3)), Action::Wait);
    assert!(matches!(seek.next(RUNNING, at(4)), Action::Begin(Beginning { offset: Some(20), .. })));
    assert_eq!(seek.next(RUNNING, at(4)), Action::Wait);
    let commit = Some(CommitOutcome::Unknown);
    assert_eq!(seek.next(RUNNING, at(5)), Action::Answer(SeekOutcome::Applied { offset: 20, skipped: 0, commit }));
}

#[test]
fn a_broker_that_does_not_answer_stops_nothing() {
    let mut seek = Seek::new(goal(SeekTo::End), LIMITS, at(0));
    assert_eq!(seek.next(RUNNING, at(4)), Action::Wait);
    assert_eq!(seek.next(RUNNING, at(5)), Action::Answer(SeekOutcome::Unresolved));
    assert!(!seek.stops_feeding());
}

#[test]
fn a_target_is_where_the_log_and_the_partition_say() {
    let offset = |to| begins(goal(to)).map(|beginning| (beginning.offset.unwrap(), beginning.skipped));
    assert_eq!(offset(SeekTo::Beginning), Ok((10, 0)));
    assert_eq!(offset(SeekTo::End), Ok((100, 49)));
    assert_eq!(offset(SeekTo::Offset(10)), Ok((10, 0)));
    assert_eq!(offset(SeekTo::Offset(60)), Ok((60, 9)));
    assert_eq!(offset(SeekTo::Offset(100)), Ok((100, 49)));
    assert_eq!(offset(SeekTo::Relative(-11)), Ok((40, 0)));
    assert_eq!(offset(SeekTo::Relative(-1_000)), Ok((10, 0)));
    assert_eq!(offset(SeekTo::Relative(1_000)), Ok((100, 49)));
    assert_eq!(offset(SeekTo::Time(SystemTime::UNIX_EPOCH)), Ok((40, 0)));
    let outside = Err(SeekOutcome::OutOfRange { first: 10, end: 100 });
    assert_eq!(offset(SeekTo::Offset(9)), outside);
    assert_eq!(offset(SeekTo::Offset(101)), outside);
}

#[test]
fn a_replay_ends_where_it_was_told_and_never_beyond_what_is_done() {
    let replay = |from, to| {
        let goal = Goal { to: SeekTo::Offset(from), commits: true, until: Some(SeekTo::Offset(to)) };
        begins(goal).map(|beginning| (beginning.offset.unwrap(), beginning.replay))
    };
    assert_eq!(replay(20, 30), Ok((20, Some(Replay { until: 30, resume: 51 }))));
    assert_eq!(replay(20, 51), Ok((20, None)), "it goes on by itself");
    assert_eq!(replay(20, 99), Ok((20, None)));
    let nothing = Err(SeekOutcome::OutOfRange { first: 10, end: 51 });
    assert_eq!(replay(30, 30), nothing);
    assert_eq!(replay(51, 60), nothing, "it has not been handled at all");
}

#[test]
fn the_end_of_a_replay_skips_nothing_that_is_new() {
    let mut seek = Seek::end_of(Replay { until: 30, resume: 51 }, LIMITS, at(0));
    let at_30 = Facts { open_from: Some(30), ..COMMITTED };
    assert!(!seek.needs_bounds());
    assert_eq!(seek.next(at_30, at(0)), Action::Interrupt);
    assert_eq!(seek.next(at_30, at(0)), Action::Commit);
    let beginning = Beginning { offset: Some(51), commits: true, skipped: 0, replay: None };
    assert_eq!(seek.next(at_30, at(0)), Action::Begin(beginning));
}

#[test]
fn a_later_seek_goes_on_with_the_drain_of_the_one_before() {
    let mut seek = Seek::new(goal(SeekTo::Offset(20)), LIMITS, at(0));
    seek.resolved(BOUNDS);
    assert_eq!(seek.next(RUNNING, at(0)), Action::Interrupt);
    seek.supersede(goal(SeekTo::End), at(2));
    assert!(seek.needs_bounds() && seek.stops_feeding());
    seek.resolved(BOUNDS);
    assert_eq!(seek.next(RUNNING, at(2)), Action::Interrupt);
    assert_eq!(seek.next(RUNNING, at(3)), Action::Cancel, "the deadline is that of the first");
    assert!(matches!(seek.next(COMMITTED, at(3)), Action::Begin(Beginning { offset: Some(100), .. })));
}

#[test]
fn a_later_seek_that_cannot_be_done_lets_the_partition_go_on_where_it_was() {
    let mut seek = Seek::new(goal(SeekTo::Offset(20)), LIMITS, at(0));
    seek.resolved(BOUNDS);
    assert_eq!(seek.next(RUNNING, at(0)), Action::Interrupt);
    seek.supersede(goal(SeekTo::Offset(1_000)), at(1));
    seek.resolved(BOUNDS);
    assert_eq!(seek.next(COMMITTED, at(1)), Action::Interrupt);
    assert_eq!(seek.next(COMMITTED, at(1)), Action::Commit);
    let beginning = Beginning { offset: Some(51), commits: false, skipped: 0, replay: None };
    assert_eq!(seek.next(COMMITTED, at(1)), Action::Begin(beginning));
    assert_eq!(seek.next(COMMITTED, at(1)), Action::Answer(SeekOutcome::OutOfRange { first: 10, end: 100 }));
}

#[test]
fn no_epoch_begins_for_a_member_that_is_out_of_its_group() {
    let mut seek = Seek::new(goal(SeekTo::Beginning), LIMITS, at(0));
    seek.resolved(BOUNDS);
    assert_eq!(seek.next(ENDED, at(0)), Action::Interrupt);
    assert_eq!(seek.next(ENDED, at(0)), Action::Commit);
    let fenced = Facts { commit: Some(CommitOutcome::Fenced), ..ENDED };
    assert_eq!(seek.next(fenced, at(0)), Action::Answer(SeekOutcome::NotAssigned));
}

proptest! {
    /// Whatever is seen on the way: it ends in time, and an epoch that was interrupted is followed by another.
    #[test]
    fn a_seek_ends_in_time_and_leaves_a_partition_that_is_read(
        steps in proptest::collection::vec((0..1_500_u64, any::<bool>(), any::<bool>(), 0..20_u8), 40..80),
        offset in 0..120_i64,
        commits: bool,
    ) {
        let mut seek = Seek::new(Goal { commits, ..goal(SeekTo::Offset(offset)) }, LIMITS, at(0));
        let (mut millis, mut asked_at, mut is_interrupted, mut answers) = (0, 0, false, 0);
        for (passed, has_ended, is_committed, event) in steps {
            millis += passed;
            let now = Instant::from_nanos(millis * 1_000_000);
            match event {
                0 => {
                    (asked_at, answers) = (millis, 0);
                    seek.supersede(goal(SeekTo::End), now);
                }
                1..8 => seek.resolved(BOUNDS),
                _ => {}
            }
            let facts = Facts { has_ended, commit: is_committed.then_some(CommitOutcome::Committed), open_from: Some(50) };
            if answers > 0 {
                continue;
            }
            loop {
                match seek.next(facts, now) {
                    Action::Wait => break,
                    Action::Interrupt => is_interrupted = true,
                    Action::Begin(_) => {
                        prop_assert!(is_interrupted, "only an epoch that was interrupted is followed by another");
                        is_interrupted = false;
                    }
                    Action::Commit | Action::Cancel => prop_assert!(is_interrupted),
                    Action::Answer(_) => {
                        answers += 1;
                        break;
                    }
                }
            }
            // The resolution and each stage, and the last step before the deadline was seen to be over.
            let longest = 5_000 + 3_000 + 2 * 1_000 + 4 * 1_500;
            prop_assert!(answers == 1 || millis - asked_at <= longest, "{seek:?} after {} ms", millis - asked_at);
            prop_assert!(answers == 0 || !is_interrupted, "an answered seek leaves an epoch that is read");
        }
    }
}
