//! Hand-made logs: clean ones pass, and every anomaly is found in a log that has it.

mod rows;

use std::time::Duration;

use super::{Anomaly, Content, History, Promise, Verdict, check};
use crate::event::{Event, Outcome, Place, Signal, What};
use crate::kafka::Sample;

const MS: u64 = 1_000_000;
const TOPIC: &str = "orders";

/// A log that is written by hand: one partition, a clock that moves a millisecond with each event.
struct Log {
    now: u64,
    history: History,
}

impl Log {
    /// `records` acknowledged records, nobody there yet.
    fn with(records: i64) -> Self {
        let mut log = Self { now: 1_000 * MS, history: History::default() };
        for offset in 0..records {
            let (place, value) = (place(offset), value(offset));
            log.history.content.push(Content { place: place.clone(), value: value.clone(), aborted: false });
            log = log.event("harness", What::Acked { place, value });
        }
        log
    }

    fn event(mut self, by: &str, what: What) -> Self {
        self.now += MS;
        self.history.events.push(Event { at: self.now, wall: 0, by: by.to_owned(), what });
        self
    }

    fn after(mut self, millis: u64) -> Self {
        self.now += millis * MS;
        self
    }

    /// Long enough for the group to have settled after what was before, and not long enough to be stuck.
    fn settles(self) -> Self {
        self.after(20_000)
    }

    fn assigned(self, member: &str) -> Self {
        let up = self.event(member, What::Up { pid: 1 });
        up.event(member, What::Assigned { partitions: vec![(TOPIC.to_owned(), 0)] })
    }

    fn revoked(self, member: &str) -> Self {
        let partitions = vec![(TOPIC.to_owned(), 0)];
        let drained = self.event(member, What::Revoking { partitions: partitions.clone() });
        drained.event(member, What::Revoked { partitions })
    }

    fn lost(self, member: &str) -> Self {
        self.event(member, What::Lost { partitions: vec![(TOPIC.to_owned(), 0)] })
    }

    fn starts(self, member: &str, offset: i64) -> Self {
        self.event(member, What::Start { place: place(offset), value: value(offset) })
    }

    fn ends(self, member: &str, offset: i64, outcome: Outcome) -> Self {
        self.event(member, What::End { place: place(offset), outcome })
    }

    fn handles(self, member: &str, offsets: impl IntoIterator<Item = i64>) -> Self {
        offsets.into_iter().fold(self, |log, offset| log.starts(member, offset).ends(member, offset, Outcome::Ok))
    }

    fn commits(self, member: &str, offset: i64) -> Self {
        let sent = self.event(member, What::CommitRequested { place: place(offset) });
        sent.event(member, What::CommitAcknowledged { round_trip: 2_000 }).sampled(offset)
    }

    /// An outside reader sees this committed offset.
    fn sampled(mut self, offset: i64) -> Self {
        self.now += MS;
        let sample = Sample { asked: self.now - MS / 2, answered: self.now, committed: [(0, offset)].into() };
        self.history.samples.entry(TOPIC.to_owned()).or_default().samples.push(sample);
        self
    }

    fn signal(self, member: &str, signal: Signal) -> Self {
        self.event("harness", What::Signal { member: member.to_owned(), signal })
    }

    fn exits(self, member: &str, code: Option<i32>, signal: Option<i32>) -> Self {
        self.event("harness", What::Exit { member: member.to_owned(), code, signal })
    }

    fn killed(self, member: &str) -> Self {
        self.signal(member, Signal::Kill).exits(member, None, Some(9))
    }

    fn stopped(self, member: &str) -> Self {
        self.signal(member, Signal::Term).revoked(member).exits(member, Some(0), None)
    }

    fn verdict(self) -> Verdict {
        let log = self.event("harness", What::Finished);
        check(&log.history, &Promise::default())
    }

    #[track_caller]
    fn passes(self) -> Verdict {
        let verdict = self.verdict();
        assert!(verdict.is_clean(), "{:#?}", verdict.findings);
        verdict
    }

    /// Has exactly this anomaly.
    #[track_caller]
    fn shows(self, anomaly: Anomaly) {
        self.shows_all(&[anomaly]);
    }

    #[track_caller]
    fn shows_all(self, anomalies: &[Anomaly]) {
        let verdict = self.verdict();
        let found: Vec<Anomaly> = verdict.by_name().into_keys().collect();
        assert_eq!(found, anomalies, "{:#?}", verdict.findings);
    }
}

fn place(offset: i64) -> Place {
    Place::new(TOPIC, 0, offset)
}

fn value(offset: i64) -> String {
    format!("ORDER-{offset}")
}

#[test]
fn a_run_that_hands_over_in_good_order_passes() {
    let log = Log::with(10).assigned("a").handles("a", 0..4).commits("a", 4).revoked("a");
    let log = log.assigned("b").handles("b", 4..10).commits("b", 10).stopped("a").stopped("b");

    let verdict = log.passes();

    assert_eq!((verdict.starts, verdict.done), (10, 10));
    assert_eq!(verdict.worst_duplicates.repeats, 0);
}

#[test]
fn a_failed_record_is_tried_again_without_being_a_repeat() {
    let log = Log::with(2).assigned("a").starts("a", 0).ends("a", 0, Outcome::Err);
    let log = log.starts("a", 0).ends("a", 0, Outcome::Panic).handles("a", 0..2).commits("a", 2);
    assert_eq!(log.stopped("a").passes().worst_duplicates.repeats, 0);
}

#[test]
fn gaps_of_aborted_records_and_skips_by_a_policy_pass() {
    let mut log = Log::with(4);
    log.history.content[1].aborted = true;
    let log = log.assigned("a").handles("a", [0]).event("a", What::Skipped { place: place(2) }).handles("a", [3]);
    log.commits("a", 4).stopped("a").passes();
}

#[test]
fn a_kill_may_repeat_what_was_not_committed_in_time_and_what_was_running() {
    let log = Log::with(10).assigned("a").settles().handles("a", 0..4).commits("a", 4).after(1_000);
    let log = log.handles("a", 4..7).starts("a", 7).killed("a");
    let log = log.after(6_000).assigned("b").handles("b", 4..10).commits("b", 10).stopped("b");

    let worst = log.passes().worst_duplicates;

    assert_eq!((worst.repeats, worst.bound), (4, 4));
}

#[test]
fn a_frozen_member_may_finish_what_it_ran_and_start_one_record_when_it_wakes() {
    let log = Log::with(10).assigned("a").handles("a", 0..4).commits("a", 4).starts("a", 4);
    let log = log.signal("a", Signal::Stop).after(7_000).assigned("b").handles("b", 4..6).starts("b", 6);
    let log = log.signal("a", Signal::Cont).ends("a", 4, Outcome::Ok).handles("a", [5]).lost("a");
    let log = log.ends("b", 6, Outcome::Ok).handles("b", 7..10).commits("b", 10);
    log.stopped("a").stopped("b").passes();
}

#[test]
fn a_unit_cut_off_by_a_revoke_starts_again_elsewhere() {
    let log = Log::with(2).assigned("a").starts("a", 0).after(4_000).ends("a", 0, Outcome::Cancelled).revoked("a");
    let log = log.assigned("b").handles("b", 0..2).commits("b", 2).stopped("a").stopped("b");
    assert_eq!(log.passes().worst_duplicates.bound, 1);
}

#[test]
fn a_unit_that_a_revoke_did_not_wait_for_is_a_repeat_too_many() {
    let log = Log::with(2).assigned("a").starts("a", 0).after(100).ends("a", 0, Outcome::Cancelled).revoked("a");
    let log = log.assigned("b").handles("b", 0..2).commits("b", 2).stopped("a").stopped("b");
    log.shows(Anomaly::DupOverBound);
}

#[test]
fn a_record_that_fails_is_not_waited_for_and_starts_again_elsewhere() {
    let log = Log::with(2).assigned("a").starts("a", 0).ends("a", 0, Outcome::Err).revoked("a");
    log.assigned("b").handles("b", 0..2).commits("b", 2).stopped("a").stopped("b").passes();
}

#[test]
fn a_broker_that_was_away_excuses_repeats_and_standing_still() {
    let fault = || "node 1 was stopped".to_owned();
    let log = Log::with(6).assigned("a").handles("a", 0..2).commits("a", 2);
    let log = log
        .event("harness", What::FaultBegan { fault: fault(), member: None })
        .handles("a", 2..4)
        .after(40_000)
        .lost("a");
    let log = log.event("harness", What::FaultEnded { fault: fault() }).assigned("a").handles("a", 2..6);
    log.commits("a", 6).stopped("a").passes();
}

#[test]
fn a_record_below_the_committed_offset_that_nobody_did_is_lost() {
    let log = Log::with(4).assigned("a").handles("a", 0..2).starts("a", 2).ends("a", 2, Outcome::Err);
    let log = log.handles("a", [3]).commits("a", 4).stopped("a");
    // It was committed before it was done, too.
    log.shows_all(&[Anomaly::Lost, Anomaly::PrematureCommit]);
}

#[test]
fn an_acknowledged_record_that_the_topic_does_not_have_is_lost() {
    let mut log = Log::with(3);
    log.history.content.pop();
    log.assigned("a").handles("a", 0..2).commits("a", 2).stopped("a").shows(Anomaly::Lost);
}

#[test]
fn a_record_that_nobody_saw_is_unseen() {
    Log::with(3).assigned("a").handles("a", 0..2).commits("a", 2).stopped("a").shows(Anomaly::Unseen);
}

#[test]
fn a_record_of_an_aborted_transaction_is_an_aborted_read() {
    let mut log = Log::with(3);
    log.history.content[1].aborted = true;
    log.assigned("a").handles("a", 0..3).commits("a", 3).stopped("a").shows(Anomaly::AbortedRead);
}

#[test]
fn two_contents_of_one_offset_are_inconsistent() {
    let log = Log::with(2).assigned("a").handles("a", [0]);
    let log = log.event("a", What::Start { place: place(1), value: "ORDER-0".to_owned() });
    log.ends("a", 1, Outcome::Ok).commits("a", 2).stopped("a").shows(Anomaly::InconsistentOffset);
}

#[test]
fn an_offset_that_the_topic_does_not_have_is_inconsistent() {
    Log::with(2).assigned("a").handles("a", 0..3).commits("a", 2).stopped("a").shows(Anomaly::InconsistentOffset);
}

#[test]
fn a_repeat_after_an_orderly_handover_is_over_the_bound() {
    let log = Log::with(4).assigned("a").handles("a", 0..3).commits("a", 2).revoked("a");
    let log = log.assigned("b").handles("b", 2..4).commits("b", 4).stopped("a").stopped("b");
    log.shows(Anomaly::DupOverBound);
}

#[test]
fn a_killed_member_that_had_never_committed_repeats_over_the_bound() {
    let log = Log::with(10).assigned("a").handles("a", 0..5).after(1_000).handles("a", 5..7).starts("a", 7);
    let log = log.killed("a").after(6_000).assigned("b").handles("b", 0..10);
    let log = log.settles().event("b", What::CommitAcknowledged { round_trip: 2_000 }).sampled(10);
    let log = log.settles().stopped("b");

    let verdict = log.verdict();

    assert_eq!(verdict.by_name().into_keys().collect::<Vec<_>>(), [Anomaly::DupOverBound]);
    assert_eq!((verdict.worst_duplicates.repeats, verdict.worst_duplicates.bound), (8, 3));
}

#[test]
fn a_woken_member_without_a_fence_repeats_over_the_bound() {
    let log = Log::with(8).assigned("a").handles("a", 0..4).commits("a", 4).signal("a", Signal::Stop);
    let log = log.after(7_000).assigned("b").handles("b", 4..8).commits("b", 8);
    let log = log.signal("a", Signal::Cont).handles("a", 4..7).lost("a").stopped("a").stopped("b");
    log.shows(Anomaly::DupOverBound);
}

#[test]
fn a_record_after_a_later_one_is_an_order_inversion() {
    let log = Log::with(3).assigned("a").handles("a", [0]).starts("a", 1).ends("a", 1, Outcome::Err);
    let log = log.handles("a", [2, 1]).sampled(3).stopped("a");
    log.shows(Anomaly::OrderInversion);
}

#[test]
fn two_handlers_at_once_on_one_partition_overlap() {
    let log = Log::with(2).assigned("a").starts("a", 0).starts("a", 1);
    let log = log.ends("a", 0, Outcome::Ok).ends("a", 1, Outcome::Ok);
    log.commits("a", 2).stopped("a").shows(Anomaly::OverlapOutsideWindow);
}

#[test]
fn a_successor_that_does_not_wait_for_the_drain_overlaps() {
    let log = Log::with(2).assigned("a").starts("a", 0).revoked("a").assigned("b").starts("b", 0);
    let log = log.ends("a", 0, Outcome::Ok).ends("b", 0, Outcome::Ok).handles("b", [1]).commits("b", 2);
    log.stopped("a").stopped("b").shows_all(&[Anomaly::DupOverBound, Anomaly::OverlapOutsideWindow]);
}

#[test]
fn a_start_before_the_assignment_or_after_the_revoke_is_without_assignment() {
    let early = Log::with(1).handles("a", [0]).assigned("a").commits("a", 1).stopped("a");
    early.shows(Anomaly::StartWithoutAssignment);
    let late = Log::with(2).assigned("a").handles("a", [0]).commits("a", 1).revoked("a").handles("a", [1]);
    late.stopped("a").shows(Anomaly::StartWithoutAssignment);
}

#[test]
fn a_commit_above_an_unfinished_record_is_premature() {
    let log = Log::with(2).assigned("a").handles("a", [0]).starts("a", 1).commits("a", 2);
    log.ends("a", 1, Outcome::Ok).stopped("a").shows(Anomaly::PrematureCommit);
}

#[test]
fn a_committed_offset_that_goes_back_is_a_regress() {
    let log = Log::with(3).assigned("a").handles("a", 0..3).commits("a", 3).commits("a", 2).commits("a", 3);
    log.stopped("a").shows(Anomaly::CommitRegress);
}

#[test]
fn a_commit_of_a_partition_given_up_is_after_the_revoke() {
    let log = Log::with(2).assigned("a").handles("a", 0..2).revoked("a").commits("a", 2);
    log.stopped("a").shows(Anomaly::CommitAfterRevoke);
}

#[test]
fn a_commit_of_a_partition_never_had_is_of_an_unowned_one() {
    let log = Log::with(2).assigned("a").handles("a", 0..2).event("b", What::Up { pid: 2 }).commits("b", 2);
    log.stopped("a").stopped("b").shows(Anomaly::CommitOfUnowned);
}

#[test]
fn a_record_passed_over_inside_an_assignment_is_a_poll_skip() {
    let log = Log::with(4).assigned("a").handles("a", [0, 2, 3]).sampled(1).revoked("a");
    // Somebody else does it in the end, so nothing is lost.
    let log = log.assigned("b").handles("b", [1]).commits("b", 4).stopped("a").stopped("b");
    log.shows(Anomaly::PollSkip);
}

#[test]
fn a_partition_with_work_and_no_progress_is_stuck() {
    let log = Log::with(2).assigned("a").handles("a", [0]).after(31_000).handles("a", [1]).commits("a", 2);
    log.stopped("a").shows(Anomaly::Stuck);
}

#[test]
fn a_partition_without_work_is_not_stuck() {
    let log = Log::with(1).assigned("a").handles("a", [0]).commits("a", 1).after(60_000);
    log.stopped("a").passes();
}

#[test]
fn a_member_that_takes_longer_than_its_budget_stops_late() {
    let ready = || Log::with(1).assigned("a").handles("a", [0]).commits("a", 1).signal("a", Signal::Term);
    ready().after(32_000).exits("a", Some(0), None).shows(Anomaly::LateStop);
    ready().after(32_000).shows(Anomaly::LateStop);
    ready().after(30_500).exits("a", Some(0), None).passes();
}

#[test]
fn a_crash_an_error_and_an_end_unasked_are_bad_exits() {
    let ready = || Log::with(1).assigned("a").handles("a", [0]).commits("a", 1);
    ready().signal("a", Signal::Term).exits("a", None, Some(11)).shows(Anomaly::BadExit);
    ready().signal("a", Signal::Term).exits("a", Some(1), None).shows(Anomaly::BadExit);
    ready().exits("a", Some(0), None).shows(Anomaly::BadExit);
    ready().exits("a", None, Some(9)).shows(Anomaly::BadExit);
}

#[test]
fn a_member_that_stops_while_the_broker_is_away_may_say_that_it_could_not_commit() {
    let fault = "node 1 frozen".to_owned();
    let log = Log::with(1).assigned("a").handles("a", [0]).commits("a", 1);
    let log = log.event("harness", What::FaultBegan { fault, member: None }).signal("a", Signal::Term);
    log.exits("a", Some(1), None).passes();
}

#[test]
fn a_long_round_trip_seen_before_a_kill_widens_the_bound() {
    let log = |round_trip| {
        let log = Log::with(3).assigned("a").settles().event("a", What::CommitAcknowledged { round_trip });
        let log = log.after(2_000).handles("a", 0..2).after(500).killed("a").after(6_000);
        log.assigned("b").handles("b", 0..3).commits("b", 3).stopped("b")
    };
    log(1_000_000).passes();
    log(2_000).shows(Anomaly::DupOverBound);
}

#[test]
fn a_round_trip_that_a_rebalance_held_up_does_not_widen_later_bounds() {
    let log = Log::with(3).assigned("a").event("b", What::Up { pid: 2 });
    let log = log.event("a", What::CommitAcknowledged { round_trip: 2_000_000 }).settles();
    let log = log.event("a", What::CommitAcknowledged { round_trip: 2_000 }).after(2_000).handles("a", 0..2);
    let log = log.after(500).killed("a").after(6_000).assigned("b").handles("b", 0..3).commits("b", 3);
    log.stopped("b").shows(Anomaly::DupOverBound);
}

#[test]
fn a_commit_that_a_rebalance_holds_up_widens_the_bound_as_far_as_the_feeding_goes() {
    let log = |settled: bool, millis| {
        let log = Log::with(5).assigned("a").handles("a", 0..2).commits("a", 2).settles();
        let log = log.handles("a", [2]).commits("a", 3);
        let log = if settled { log } else { log.event("b", What::Up { pid: 2 }) };
        let log = log.handles("a", [3, 4]).after(millis).killed("a").after(6_000);
        let log = log.assigned("b").handles("b", [3, 4]).commits("b", 5).stopped("b");
        log.verdict().by_name().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(log(false, 4_000), []);
    assert_eq!(log(false, 11_000), [Anomaly::DupOverBound]);
    assert_eq!(log(true, 4_000), [Anomaly::DupOverBound]);
}

#[test]
fn a_first_commit_that_a_rebalance_holds_up_widens_the_bound_from_when_it_was_sent() {
    let log = |sent: bool| {
        let log = Log::with(6).assigned("a").handles("a", 0..2);
        let log = if sent { log.event("a", What::CommitRequested { place: place(2) }) } else { log };
        let log = log.after(1_400).handles("a", 2..5).after(1_500).killed("a").after(6_000);
        let log = log.assigned("b").handles("b", 0..6).commits("b", 6).stopped("b");
        log.verdict().by_name().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(log(true), []);
    assert_eq!(log(false), [Anomaly::DupOverBound]);
}

#[test]
fn every_anomaly_has_the_name_that_reports_use() {
    assert_eq!(Anomaly::OverlapOutsideWindow.to_string(), "overlap-outside-window");
    assert_eq!(Promise::default().commit_interval, Duration::from_millis(100));
}
