//! What one refused partition means for those that shared a request with it.

use std::time::Duration;

use super::{
    CommitAnswer, CommitCoordinator, CommitEvent, CommitOutcome, CommitPolicy, CommitRequest, FinalStep, code,
};
use crate::clock::Instant;
use crate::config::AckMode;
use crate::epoch::Epoch;
use crate::offset_tracker::CommitOffset;
use crate::record::TopicPartition;

/// A coordinator of four partitions, and a cluster that refuses the commits of some.
struct Setting {
    coordinator: CommitCoordinator,
    now: Instant,
    refused: Vec<i32>,
}

fn key(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn partitions(request: &CommitRequest) -> Vec<i32> {
    request.offsets.iter().map(|(key, ..)| key.partition()).collect()
}

impl Setting {
    fn new(refused: &[i32]) -> Self {
        let mut coordinator = CommitCoordinator::new(CommitPolicy {
            ack_mode: AckMode::Record,
            commit_interval: Duration::from_millis(100),
            ack_time: Duration::from_secs(5),
            ack_count: 1,
            max_commit_delay: Duration::from_secs(10),
            generation_grace: Duration::from_secs(45),
        });
        (0..4).for_each(|partition| coordinator.assign(key(partition), Epoch::FIRST, None));
        Self { coordinator, now: Instant::from_nanos(1_000_000_000), refused: refused.to_vec() }
    }

    /// All partitions have finished up to here.
    fn finish(&mut self, offset: i64) {
        for partition in 0..4 {
            let finished = u64::try_from(offset).unwrap();
            self.coordinator.progress(&key(partition), Epoch::FIRST, Some(CommitOffset::at(offset)), finished);
        }
    }

    /// As librdkafka tells it: with one partition all of the request are refused.
    fn answer(&mut self, request: &CommitRequest) -> Vec<CommitEvent> {
        let any = partitions(request).iter().any(|partition| self.refused.contains(partition));
        let code = if any { code::UNKNOWN_TOPIC_OR_PART } else { code::NO_ERROR };
        let codes = partitions(request).into_iter().map(|partition| (key(partition), code)).collect();
        self.now = self.now + Duration::from_millis(2);
        self.coordinator.answered(request.serial, self.now, &CommitAnswer::Ok(codes))
    }

    /// Sends and answers until nothing is to be sent; which partitions shared each request.
    fn settle(&mut self) -> Vec<Vec<i32>> {
        let mut requests = Vec::new();
        while let Some(request) = self.coordinator.tick(self.now) {
            requests.push(partitions(&request));
            assert_eq!(self.coordinator.tick(self.now), None, "one in flight");
            self.answer(&request);
        }
        requests
    }

    fn acknowledged(&self) -> [Option<i64>; 4] {
        [0, 1, 2, 3].map(|partition| self.coordinator.acknowledged(&key(partition)).map(CommitOffset::get))
    }
}

#[test]
fn a_refused_request_is_sent_again_partition_by_partition() {
    let mut setting = Setting::new(&[1]);
    setting.finish(5);

    assert_eq!(setting.settle(), [vec![0, 1, 2, 3], vec![0], vec![1], vec![2], vec![3]]);
    assert_eq!(setting.acknowledged(), [Some(5), None, Some(5), Some(5)]);
}

#[test]
fn the_refused_one_stays_apart_and_waits_and_the_others_share_again() {
    let mut setting = Setting::new(&[1]);
    setting.finish(5);
    setting.settle();

    setting.finish(6);
    assert_eq!(setting.settle(), [[0, 2, 3]]);
    setting.now = setting.now + Duration::from_secs(1);
    assert_eq!(setting.settle(), [[1]]);
    setting.finish(7);
    setting.now = setting.now + Duration::from_secs(1);
    assert_eq!(setting.settle(), [[0, 2, 3]], "it waits longer each time");
    assert_eq!(setting.acknowledged(), [Some(7), None, Some(7), Some(7)]);

    setting.refused.clear();
    setting.now = setting.now + Duration::from_secs(1);
    assert_eq!(setting.settle(), [[1]]);
    setting.finish(8);
    assert_eq!(setting.settle(), [[0, 1, 2, 3]], "it was accepted, so it may share");
}

#[test]
fn only_the_answer_to_a_request_of_its_own_is_told_as_a_failure() {
    let mut setting = Setting::new(&[1]);
    setting.finish(5);
    let shared = setting.coordinator.tick(setting.now).unwrap();
    let events = setting.answer(&shared);
    assert!(events.iter().all(|event| matches!(event, CommitEvent::Retrying { .. })), "{events:?}");

    let own: Vec<_> = std::iter::from_fn(|| {
        let request = setting.coordinator.tick(setting.now)?;
        Some(setting.answer(&request))
    })
    .flatten()
    .collect();
    let failed = own.iter().filter(|event| matches!(event, CommitEvent::Failed { failures: 1, .. })).count();
    assert_eq!((own.len(), failed), (4, 1), "{own:?}");
}

#[test]
fn a_final_commit_finds_out_exactly_as_long_as_there_is_time() {
    use CommitOutcome::{Committed, Failed, Unknown};

    let check = |budget: u64, expected: [CommitOutcome; 4]| {
        let mut setting = Setting::new(&[1]);
        setting.finish(5);
        let held = [0, 1, 2, 3].map(key);
        let deadline = setting.now + Duration::from_millis(budget);
        let outcomes = loop {
            match setting.coordinator.final_step(&held, deadline, setting.now) {
                FinalStep::Send(request) => drop(setting.answer(&request)),
                FinalStep::WaitUntil(until) => setting.now = until,
                FinalStep::Done(outcomes) => break outcomes,
            }
        };
        assert_eq!(outcomes.iter().map(|one| one.outcome).collect::<Vec<_>>(), expected, "{budget} ms");
    };
    check(1_000, [Committed, Failed, Committed, Committed]);
    // Refused together, they may have been stored all the same: that is no failure.
    check(1, [Unknown, Unknown, Unknown, Unknown]);
}

#[test]
fn a_final_commit_sends_those_that_may_share_first() {
    let mut setting = Setting::new(&[1]);
    setting.finish(5);
    setting.settle();
    setting.finish(6);

    let held = [0, 1, 2, 3].map(key);
    let FinalStep::Send(request) = setting.coordinator.final_step(&held, setting.now, setting.now) else { panic!() };
    assert_eq!(partitions(&request), [0, 2, 3]);
}

#[test]
fn a_shared_refusal_that_comes_late_may_have_been_stored() {
    let mut setting = Setting::new(&[1]);
    setting.finish(5);
    let late = setting.coordinator.tick(setting.now).unwrap();
    setting.finish(6);
    let held = [key(0)];
    let deadline = setting.now + Duration::from_secs(1);
    let FinalStep::Send(own) = setting.coordinator.final_step(&held, deadline, setting.now) else { panic!() };
    setting.answer(&own);

    let events = setting.answer(&late);
    assert!(
        events
            .iter()
            .any(|event| matches!(event, CommitEvent::Overtaken { topic_partition, .. } if *topic_partition == key(0)))
    );
    let FinalStep::Send(again) = setting.coordinator.final_step(&held, deadline, setting.now) else { panic!() };
    assert_eq!(partitions(&again), [0]);
}

#[test]
fn one_refused_partition_does_not_keep_the_membership_in_doubt() {
    let mut setting = Setting::new(&[0]);
    setting.finish(5);
    setting.settle();
    setting.refused = vec![0, 1];
    setting.coordinator.doubt_membership();
    let mut tries = 0;
    while !setting.coordinator.is_membership_confirmed() {
        tries += 1;
        assert!(tries < 20, "still in doubt");
        match setting.coordinator.tick(setting.now) {
            Some(request) => drop(setting.answer(&request)),
            None => setting.now = setting.coordinator.next_wakeup(setting.now).unwrap(),
        }
    }
}
