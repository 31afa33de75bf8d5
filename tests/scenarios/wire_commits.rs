//! Commits that the network delays, loses or answers out of order: what is committed ends at the newest and is never left
//! behind.

use std::collections::BTreeMap;

use kafka_listener::{ListenerRegistry, Outcome};
use rdkafka::types::RDKafkaApiKey as Api;
use support::{CommitSampler, Effect, Requests, eventually};

use super::desk::{SOON, Step};
use super::wire::{Wire, possibly_repeated, wait_for_commit};

/// Of one topic with two partitions of ten orders each, five of each are committed and the handlers wait at the sixth.
async fn half_done() -> Wire {
    let wire = Wire::new(2, 20).await;
    wire.hold(2, 5);
    wire
}

async fn at_five(wire: &Wire) {
    for partition in 0..2 {
        wire.journal.wait_for(Step::Started, partition, 5).await;
    }
}

/// The commit of seven is out when the stop makes its own of ten. What becomes of the first is up to `effect`.
async fn the_second_commit_is_answered_first(effect: Effect) {
    let wire = half_done().await;
    let sampler = wire.sampler().await;
    let listeners = wire.member().start().await.unwrap();
    at_five(&wire).await;
    wait_for_commit(&sampler, &[(0, 5), (1, 5)]).await;

    let first = wire.inject(Requests::to(Api::OffsetCommit).first(1), effect);
    wire.go_on(2, 5, 7).await;
    first.wait_for_hits(1, SOON).await.unwrap();
    let later = wire.count(Requests::to(Api::OffsetCommit));
    let stopping = tokio::spawn({
        let listeners = listeners.clone();
        async move { listeners.shutdown().await }
    });
    (0..2).for_each(|partition| wire.desk.release(partition, 7));
    later.wait_for_hits(1, SOON).await.unwrap();
    let of = |partition| wire.journal.places(Step::Ended).iter().filter(|place| place.0 == partition).count();
    let done = [(0, i64::try_from(of(0)).unwrap()), (1, i64::try_from(of(1)).unwrap())];
    assert!(done.iter().all(|(_, done)| *done >= 8), "{done:?}");
    wait_for_commit(&sampler, &done).await;
    assert!(!stopping.is_finished(), "the first commit may still be stored last");

    first.lift();
    let report = stopping.await.unwrap();
    assert_eq!(report.listeners[0].outcome, Outcome::Drained, "{report}");
    assert_eq!(later.hits(), 2, "the newest is sent once more");
    assert_eq!(wire.committed().await, BTreeMap::from(done));
    assert_eq!(possibly_repeated(&listeners), 0);
    if effect == Effect::HoldAnswerAlone {
        assert_eq!(sampler.stop().await.unwrap().regressions(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_answered_after_a_newer_one_takes_nothing_back() {
    the_second_commit_is_answered_first(Effect::HoldAnswerAlone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_stored_after_a_newer_one_is_put_right_before_the_group_is_left() {
    the_second_commit_is_answered_first(Effect::HoldRequestAlone).await;
}

/// Ten are committed, and then a commit of fewer arrives, which its sender has given up and sent again on another
/// connection.
async fn an_older_commit_arrives() -> (Wire, ListenerRegistry, CommitSampler) {
    let wire = half_done().await;
    let sampler = wire.sampler().await;
    let listeners = wire.impatient_member().start().await.unwrap();
    at_five(&wire).await;
    wait_for_commit(&sampler, &[(0, 5), (1, 5)]).await;

    let older = wire.inject(Requests::to(Api::OffsetCommit).first(1), Effect::HoldRequest);
    wire.go_on(2, 5, 7).await;
    older.wait_for_hits(1, SOON).await.unwrap();
    (0..2).for_each(|partition| wire.desk.release(partition, 7));
    wait_for_commit(&sampler, &[(0, 10), (1, 10)]).await;
    older.lift();
    let back = || async {
        let latest = sampler.latest();
        anyhow::ensure!(latest.values().any(|offset| *offset < 10), "{latest:?} is committed");
        Ok(())
    };
    eventually(SOON, "the older commit is stored", back).await.unwrap();
    (wire, listeners, sampler)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_arrives_when_its_sender_has_given_it_up_is_put_right_by_and_by() {
    let (wire, listeners, sampler) = an_older_commit_arrives().await;
    wait_for_commit(&sampler, &[(0, 10), (1, 10)]).await;
    assert_eq!(listeners.shutdown().await.listeners[0].outcome, Outcome::Drained);
    wire.assert_each_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_arrives_when_its_sender_has_given_it_up_is_put_right_by_a_stop() {
    let (wire, listeners, _sampler) = an_older_commit_arrives().await;
    assert_eq!(listeners.shutdown().await.listeners[0].outcome, Outcome::Drained);
    assert_eq!(wire.committed().await, BTreeMap::from([(0, 10), (1, 10)]));
    wire.assert_each_once().await;
}
