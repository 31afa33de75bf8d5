//! The rules of commits, told by a coordinator and its clock alone.

mod final_commits;
mod late_copies;
mod membership;
mod reposition;

use super::*;

const POLICY: CommitPolicy = CommitPolicy {
    ack_mode: AckMode::Batch,
    commit_interval: Duration::from_millis(100),
    ack_time: Duration::from_secs(5),
    ack_count: 10,
    max_commit_delay: Duration::from_secs(10),
    generation_grace: Duration::from_secs(45),
};

/// A coordinator, its clock, and partitions that are called by their numbers.
struct Bench {
    commits: CommitCoordinator,
    now: Instant,
}

fn key(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn offset(offset: i64) -> CommitOffset {
    CommitOffset::at(offset)
}

impl Bench {
    /// Partitions 0 and 1 are assigned, with 10 committed.
    fn new(policy: CommitPolicy) -> Self {
        let mut commits = CommitCoordinator::new(policy);
        for partition in 0..2 {
            commits.assign(key(partition), Epoch::FIRST, Some(offset(10)));
        }
        Self { commits, now: Instant::from_nanos(1_000_000_000) }
    }

    fn batch() -> Self {
        Self::new(POLICY)
    }

    fn with(ack_mode: AckMode) -> Self {
        Self::new(CommitPolicy { ack_mode, ..POLICY })
    }

    fn wait(&mut self, millis: u64) -> &mut Self {
        self.now = self.now + Duration::from_millis(millis);
        self
    }

    /// The watermark is also how many records are finished.
    fn done(&mut self, partition: i32, watermark: i64) -> &mut Self {
        let finished = u64::try_from(watermark).unwrap();
        assert!(self.commits.progress(&key(partition), Epoch::FIRST, Some(offset(watermark)), finished));
        self
    }

    fn tick(&mut self) -> Option<CommitRequest> {
        self.commits.tick(self.now)
    }

    /// Sends what is due and checks partitions and offsets.
    #[track_caller]
    fn sends(&mut self, expected: &[(i32, i64)]) -> Serial {
        let request = self.tick().expect("something is due");
        assert_eq!(offsets(&request), expected);
        request.serial
    }

    #[track_caller]
    fn sends_nothing(&mut self) -> &mut Self {
        assert_eq!(self.tick(), None);
        self
    }

    fn answer(&mut self, serial: Serial, answer: &CommitAnswer) -> Vec<CommitEvent> {
        self.commits.answered(serial, self.now, answer)
    }

    fn ok(&mut self, serial: Serial) -> Vec<CommitEvent> {
        self.codes(serial, &[(0, 0), (1, 0)])
    }

    fn codes(&mut self, serial: Serial, codes: &[(i32, i32)]) -> Vec<CommitEvent> {
        self.answer(serial, &Ok(codes.iter().map(|(partition, code)| (key(*partition), *code)).collect()))
    }

    fn final_step(&mut self, deadline: Instant) -> FinalStep {
        self.commits.final_step(&[key(0), key(1)], deadline, self.now)
    }

    #[track_caller]
    fn final_send(&mut self, deadline: Instant, expected: &[(i32, i64)]) -> Serial {
        match self.final_step(deadline) {
            FinalStep::Send(request) => {
                assert_eq!(offsets(&request), expected);
                request.serial
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn final_outcomes(&mut self, deadline: Instant) -> Vec<CommitOutcome> {
        match self.final_step(deadline) {
            FinalStep::Done(outcomes) => outcomes.iter().map(|outcome| outcome.outcome).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn acknowledged(&self, partition: i32) -> i64 {
        self.commits.acknowledged(&key(partition)).unwrap().get()
    }
}

fn offsets(request: &CommitRequest) -> Vec<(i32, i64)> {
    request.offsets.iter().map(|(key, _, offset)| (key.partition(), offset.get())).collect()
}

// ---- when

#[test]
fn nothing_finished_is_nothing_to_send() {
    let mut bench = Bench::batch();
    bench.sends_nothing().done(0, 10).sends_nothing();
    assert_eq!(bench.commits.next_wakeup(bench.now), None);
}

#[test]
fn batch_commits_at_once_and_then_at_most_every_interval() {
    let mut bench = Bench::batch();
    let serial = bench.done(0, 11).sends(&[(0, 11)]);
    bench.ok(serial);
    bench.wait(30).done(0, 12).done(1, 15).sends_nothing();
    let due = bench.now + Duration::from_millis(70);
    assert_eq!(bench.commits.next_wakeup(bench.now), Some(due));
    bench.wait(70).sends(&[(0, 12), (1, 15)]);
}

#[test]
fn one_commit_is_in_flight_and_the_next_covers_all_that_was_finished_meanwhile() {
    let mut bench = Bench::batch();
    let serial = bench.done(0, 11).sends(&[(0, 11)]);
    bench.wait(500).done(0, 20).sends_nothing().wait(500).done(0, 30).sends_nothing();
    assert_eq!(bench.commits.outstanding_since(), Some(Instant::from_nanos(1_000_000_000)));
    bench.ok(serial);
    bench.sends(&[(0, 30)]);
}

#[test]
fn record_commits_after_every_record() {
    let mut bench = Bench::with(AckMode::Record);
    for watermark in 11..15 {
        let serial = bench.done(0, watermark).sends(&[(0, watermark)]);
        bench.ok(serial);
        assert_eq!(bench.acknowledged(0), watermark);
    }
}

#[test]
fn time_commits_when_the_time_has_passed() {
    let mut bench = Bench::with(AckMode::Time);
    bench.done(0, 11).sends_nothing().wait(4_999).done(1, 12).sends_nothing();
    let serial = bench.wait(1).sends(&[(0, 11), (1, 12)]);
    bench.ok(serial);
    bench.wait(100).done(0, 13).sends_nothing().wait(4_900).sends(&[(0, 13)]);
}

#[test]
fn count_commits_when_enough_is_finished_over_all_partitions() {
    let mut bench = Bench::with(AckMode::Count);
    bench.commits.progress(&key(0), Epoch::FIRST, Some(offset(14)), 4);
    bench.wait(60_000).sends_nothing();
    bench.commits.progress(&key(1), Epoch::FIRST, Some(offset(16)), 6);
    let serial = bench.sends(&[(0, 14), (1, 16)]);
    bench.ok(serial);
    bench.commits.progress(&key(0), Epoch::FIRST, Some(offset(23)), 13);
    bench.sends_nothing();
    bench.commits.progress(&key(0), Epoch::FIRST, Some(offset(24)), 14);
    bench.sends(&[(0, 24)]);
}

#[test]
fn count_time_commits_on_whichever_comes_first() {
    let mut bench = Bench::with(AckMode::CountTime);
    bench.commits.progress(&key(0), Epoch::FIRST, Some(offset(11)), 1);
    let serial = bench.sends_nothing().wait(5_000).sends(&[(0, 11)]);
    bench.ok(serial);
    bench.commits.progress(&key(0), Epoch::FIRST, Some(offset(21)), 11);
    bench.wait(1).sends(&[(0, 21)]);
}

#[test]
fn a_hold_keeps_commits_back_until_it_ends_or_is_shortened() {
    let mut bench = Bench::batch();
    bench.commits.hold_until(bench.now + Duration::from_secs(1));
    bench.done(0, 11).sends_nothing().wait(999).sends_nothing();
    assert_eq!(bench.commits.next_wakeup(bench.now), Some(bench.now + Duration::from_millis(1)));
    bench.wait(1).sends(&[(0, 11)]);

    let mut bench = Bench::batch();
    bench.commits.hold_until(bench.now + Duration::from_secs(1));
    bench.done(0, 11).sends_nothing();
    bench.commits.hold_until(bench.now);
    bench.sends(&[(0, 11)]);
}

// ---- epochs

#[test]
fn a_watermark_never_goes_back_within_an_epoch() {
    let mut bench = Bench::batch();
    let serial = bench.done(0, 20).done(0, 15).sends(&[(0, 20)]);
    bench.ok(serial);
    bench.wait(100).done(0, 19).sends_nothing();
}

#[test]
fn an_ended_epoch_reports_and_commits_nothing() {
    let mut bench = Bench::batch();
    let serial = bench.done(0, 20).sends(&[(0, 20)]);
    let next = Epoch::FIRST.next();
    bench.commits.assign(key(0), next, None);
    assert!(!bench.commits.progress(&key(0), Epoch::FIRST, Some(offset(30)), 30));
    assert_eq!(bench.ok(serial), [CommitEvent::Overtaken { topic_partition: key(0), offset: offset(20) }]);
    assert_eq!(bench.commits.acknowledged(&key(0)), None);
    assert!(bench.commits.progress(&key(0), next, Some(offset(3)), 3));
    let request = bench.wait(100).tick().unwrap();
    assert_eq!(request.offsets, [(key(0), next, offset(3))]);
    // An older epoch cannot come back.
    bench.commits.assign(key(0), Epoch::FIRST, Some(offset(50)));
    assert!(!bench.commits.progress(&key(0), Epoch::FIRST, Some(offset(60)), 60));
}

#[test]
fn a_commit_of_an_older_epoch_that_was_stored_last_is_written_over() {
    let mut bench = Bench::batch();
    let next = Epoch::FIRST.next();
    let serial = bench.done(0, 20).sends(&[(0, 20)]);
    bench.commits.assign(key(0), next, Some(offset(12)));
    bench.ok(serial);
    // The broker may hold 20 now, which in another log is not done.
    assert!(bench.commits.progress(&key(0), next, Some(offset(12)), 1));
    let request = bench.wait(100).tick().unwrap();
    assert_eq!(request.offsets, [(key(0), next, offset(12))]);
}

#[test]
fn an_answer_for_a_partition_that_is_gone_is_ignored() {
    let mut bench = Bench::batch();
    let serial = bench.done(0, 20).sends(&[(0, 20)]);
    bench.commits.remove(&key(0));
    assert_eq!(bench.ok(serial), [CommitEvent::Ignored { topic_partition: key(0), epoch: Epoch::FIRST }]);
    assert_eq!(bench.ok(serial), []);
    assert_eq!(bench.ok(Serial::from_raw(99)), []);
}

// ---- answers

#[test]
fn an_acknowledgement_tells_offset_and_round_trip() {
    let mut bench = Bench::batch();
    let serial = bench.done(0, 20).sends(&[(0, 20)]);
    let events = bench.wait(7).ok(serial);
    let round_trip = Duration::from_millis(7);
    assert_eq!(events, [CommitEvent::Committed { topic_partition: key(0), offset: offset(20), round_trip }]);
    assert_eq!((bench.acknowledged(0), bench.acknowledged(1)), (20, 10));
}

#[test]
fn retriable_errors_are_sent_again_with_the_watermark_of_then() {
    for code in [7, 13, 14, 15, 16, 27, 113, -195, -185, -180, -178, -168, -167] {
        let mut bench = Bench::batch();
        let serial = bench.done(0, 20).sends(&[(0, 20)]);
        let events = bench.answer(serial, &Err(code));
        assert_eq!(events, [CommitEvent::Retrying { topic_partition: key(0), offset: offset(20), code }]);
        assert_eq!(bench.acknowledged(0), 10);
        bench.wait(99).done(0, 25).sends_nothing().wait(1).sends(&[(0, 25)]);
    }
}

#[test]
fn retries_slow_down_to_one_a_second() {
    let mut bench = Bench::batch();
    bench.done(0, 20);
    for delay in [100, 200, 400, 800, 1_000, 1_000] {
        let serial = bench.sends(&[(0, 20)]);
        bench.answer(serial, &Err(code::LOCAL_TIMED_OUT));
        bench.wait(delay - 1).sends_nothing().wait(1);
    }
    let serial = bench.sends(&[(0, 20)]);
    bench.ok(serial);
    bench.wait(100).done(0, 21).sends(&[(0, 21)]);
}

#[test]
fn fenced_members_lose_their_partitions_and_send_nothing_more() {
    for code in [25, 82, 110, -150, -144, -142] {
        let mut bench = Bench::batch();
        let serial = bench.done(0, 20).sends(&[(0, 20)]);
        let lost = |partition| CommitEvent::Lost { topic_partition: key(partition), epoch: Epoch::FIRST, code };
        assert_eq!(bench.answer(serial, &Err(code)), [lost(0), lost(1)]);
        bench.wait(60_000).done(0, 30).sends_nothing();
        assert!(!bench.commits.stalled(&key(0), bench.now));
        bench.commits.assign(key(0), Epoch::FIRST.next(), Some(offset(10)));
        assert!(bench.commits.progress(&key(0), Epoch::FIRST.next(), Some(offset(11)), 1));
        bench.sends(&[(0, 11)]);
    }
}

#[test]
fn a_member_that_is_fenced_loses_also_what_the_request_was_not_about() {
    for code in [25, 82, 110, -150, -144, -142] {
        let mut bench = Bench::batch();
        let serial = bench.done(0, 20).sends(&[(0, 20)]);
        bench.done(1, 20);
        let lost = |partition| CommitEvent::Lost { topic_partition: key(partition), epoch: Epoch::FIRST, code };
        assert_eq!(bench.codes(serial, &[(0, code)]), [lost(0), lost(1)]);
        bench.wait(60_000).done(1, 30).sends_nothing();
        assert_eq!(bench.commits.settled(&key(1)), Some(CommitOutcome::Fenced));
    }
}

#[test]
fn a_partition_that_is_refused_does_not_freeze_the_others() {
    for refused in [3, 12, 29, 4_711, -4_711] {
        let mut bench = Bench::batch();
        let serial = bench.done(0, 20).done(1, 20).sends(&[(0, 20), (1, 20)]);
        let events = bench.codes(serial, &[(1, 0), (0, refused)]);
        let failed = CommitEvent::Failed { topic_partition: key(0), offset: offset(20), code: refused, failures: 1 };
        assert_eq!(events[0], failed);
        assert_eq!((bench.acknowledged(0), bench.acknowledged(1)), (10, 20));
        let serial = bench.wait(100).done(1, 21).sends(&[(1, 21)]);
        bench.ok(serial);
        let serial = bench.wait(900).sends(&[(0, 20)]);
        bench.codes(serial, &[(0, refused)]);
        bench.wait(1_999).sends_nothing().wait(1).sends(&[(0, 20)]);
    }
}

#[test]
fn an_error_that_was_put_on_all_partitions_of_a_request_stays_with_the_one_it_is_about() {
    let mut bench = Bench::batch();
    let together = bench.done(0, 20).done(1, 20).sends(&[(0, 20), (1, 20)]);
    bench.codes(together, &[(0, 3), (1, 3)]);
    // Each is asked about alone, and only one of them is at fault.
    bench.wait(1_000);
    let mut acknowledged = 0;
    for _ in 0..2 {
        let request = bench.tick().expect("each is sent again");
        let [(key, _, _)] = &request.offsets[..] else { panic!("{request:?}") };
        let code = if key.partition() == 0 { 3 } else { 0 };
        let events = bench.codes(request.serial, &[(key.partition(), code)]);
        acknowledged += events.iter().filter(|event| matches!(event, CommitEvent::Committed { .. })).count();
    }
    assert_eq!(acknowledged, 1);
    assert_eq!(bench.acknowledged(1), 20);
    // From here on the good one goes on without the other, which comes alone when its time has come.
    let serial = bench.done(0, 30).done(1, 30).wait(100).sends(&[(1, 30)]);
    bench.codes(serial, &[(1, 0)]);
    bench.done(1, 40).wait(10_000).sends(&[(0, 30)]);
}

#[test]
fn a_partition_that_the_answer_leaves_out_is_in_doubt() {
    let mut bench = Bench::batch();
    let serial = bench.done(0, 20).done(1, 20).sends(&[(0, 20), (1, 20)]);
    let events = bench.codes(serial, &[(0, 0)]);
    assert!(matches!(events[1], CommitEvent::Retrying { .. }));
    bench.wait(100).sends(&[(1, 20)]);
}

#[test]
fn an_illegal_generation_is_the_echo_of_a_rebalance_unless_it_lasts() {
    let mut bench = Bench::batch();
    bench.done(0, 20);
    let began = bench.now;
    let mut lost = false;
    while !lost {
        let serial = bench.sends(&[(0, 20)]);
        let events = bench.answer(serial, &Err(code::ILLEGAL_GENERATION));
        lost = matches!(events[..], [CommitEvent::Lost { .. }, ..]);
        bench.wait(1_000);
    }
    let lasted = bench.now.saturating_since(began);
    assert!(
        lasted > POLICY.generation_grace && lasted < POLICY.generation_grace + Duration::from_secs(3),
        "{lasted:?}"
    );
}

#[test]
fn answers_that_waited_behind_joins_do_not_end_the_grace() {
    let mut bench = Bench::batch();
    for _ in 0..5 {
        let serial = bench.done(0, 20).sends(&[(0, 20)]);
        let events = bench.wait(60_000).answer(serial, &Err(code::ILLEGAL_GENERATION));
        assert!(matches!(events[..], [CommitEvent::Retrying { .. }]), "{events:?}");
        bench.wait(1_000);
    }
}

#[test]
fn an_answer_about_another_partition_tells_that_the_membership_goes_on() {
    let mut bench = Bench::with(AckMode::Record);
    let serial = bench.done(0, 20).sends(&[(0, 20)]);
    bench.answer(serial, &Err(code::ILLEGAL_GENERATION));
    let serial = bench.done(1, 20).sends(&[(1, 20)]);
    bench.wait(60_000).ok(serial);
    let serial = bench.sends(&[(0, 20)]);
    let events = bench.answer(serial, &Err(code::ILLEGAL_GENERATION));
    assert!(matches!(events[..], [CommitEvent::Retrying { .. }]), "{events:?}");
}

#[test]
fn an_illegal_generation_is_retried_for_as_long_as_a_rebalance_of_ours_lasts() {
    let mut bench = Bench::batch();
    bench.done(0, 20).commits.set_rebalancing(true);
    for _ in 0..100 {
        let serial = bench.sends(&[(0, 20)]);
        let events = bench.answer(serial, &Err(code::ILLEGAL_GENERATION));
        assert!(matches!(events[..], [CommitEvent::Retrying { .. }]));
        bench.wait(1_000);
    }
}

// ---- stalls

#[test]
fn a_partition_stalls_when_its_commits_do_not_get_through() {
    let mut bench = Bench::batch();
    let serial = bench.done(0, 20).sends(&[(0, 20)]);
    assert_eq!(bench.commits.next_wakeup(bench.now), Some(bench.now + POLICY.max_commit_delay));
    bench.wait(9_999);
    assert!(!bench.commits.stalled(&key(0), bench.now));
    bench.wait(1);
    assert!(bench.commits.stalled(&key(0), bench.now) && !bench.commits.stalled(&key(1), bench.now));
    bench.ok(serial);
    assert!(!bench.commits.stalled(&key(0), bench.now));
}

#[test]
fn refusals_do_not_restart_the_delay() {
    let mut bench = Bench::batch();
    bench.done(0, 20);
    for _ in 0..9 {
        let serial = bench.sends(&[(0, 20)]);
        bench.answer(serial, &Err(code::REQUEST_TIMED_OUT));
        bench.wait(1_100);
    }
    bench.wait(100);
    assert!(bench.commits.stalled(&key(0), bench.now));
}
