//! Commits that the network holds up, in the modes whose next step waits for the broker's answer.

use kafka_listener::extract::State;
use kafka_listener::{
    AckOutcome, Acknowledgment, ListenerDefinition, ListenerRegistry, Phase, RecordMetadata, kafka_listener, listener,
};
use rdkafka::types::RDKafkaApiKey as Api;
use serde_json::Value;
use support::{Effect, Fault, Requests, eventually};

use crate::common::{Diary, SOON};
use crate::wire::Wire;

#[kafka_listener(id = "unanswered-immediate", ack_mode = "manual_immediate")]
async fn immediate(_order: Value, meta: RecordMetadata, ack: Acknowledgment, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    assert_eq!(ack.acknowledge().outcome(), AckOutcome::Acknowledged);
}

#[kafka_listener(id = "unanswered-first", ack_mode = "at_most_once")]
async fn commits_first(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
}

/// A listener of two records whose first commit meets a fault, waiting in this phase.
async fn wait_for(
    definition: ListenerDefinition,
    phase: Phase,
    effect: Effect,
) -> (Wire, ListenerRegistry, Diary, Fault) {
    let wire = Wire::new(1, 2).await;
    let diary = Diary::default();
    let fault = wire.inject(Requests::to(Api::OffsetCommit).first(1), effect);
    let builder = wire.registry().register(definition).state(diary.clone()).set("listener.shutdown_timeout", "3s");
    let listeners = builder.start().await.unwrap();
    fault.wait_for_hits(1, SOON).await.unwrap();
    let is_in_phase = || async { listeners.status().listeners[0].partitions[0].phase == phase };
    eventually(SOON, "the worker waits for the answer", is_in_phase).await.unwrap();
    (wire, listeners, diary, fault)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_record_waits_for_the_answer_to_an_immediate_commit() {
    let (wire, listeners, diary, fault) =
        wait_for(listener!(immediate), Phase::WaitingForCommit, Effect::HoldAnswerAlone).await;
    assert_eq!(diary.begun(0), [0]);
    fault.lift();
    wire.wait_for_commits_to_end().await;
    listeners.shutdown().await.into_result().unwrap();
    diary.check_each_once_in_order(0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_is_not_started_before_its_commit_is_answered() {
    let (wire, listeners, diary, fault) =
        wait_for(listener!(commits_first), Phase::AtMostOnceCommit, Effect::HoldAnswerAlone).await;
    assert!(diary.entries().is_empty());
    fault.lift();
    wire.wait_for_commits_to_end().await;
    listeners.shutdown().await.into_result().unwrap();
    diary.check_each_once_in_order(0, 2);
    assert_eq!(listeners.status().listeners[0].possibly_lost, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_whose_commit_is_not_answered_is_not_started_and_counted() {
    let (_wire, listeners, diary, fault) =
        wait_for(listener!(commits_first), Phase::AtMostOnceCommit, Effect::HoldAnswerAlone).await;
    let report = listeners.shutdown().await;
    assert!(report.into_result().is_err(), "a record was given up");
    assert_eq!((diary.entries().len(), listeners.status().listeners[0].possibly_lost), (0, 1));
    fault.lift();
}
