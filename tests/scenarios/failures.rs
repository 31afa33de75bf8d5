//! What becomes of a record that fails: tried again for ever, a number of times, or not at all, and then held, skipped,
//! or the end of the container.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use kafka_listener::extract::State;
use kafka_listener::{
    Classification, Classify, ContainerState, HoldOutcome, ListenerDefinition, ListenerError, ListenerRegistry,
    ListenerRegistryBuilder, Phase, RecordMetadata, TopicPartition, kafka_listener, listener,
};
use serde_json::Value;
use support::{Record, broker, eventually};

use crate::common::{Diary, Entry, Ground, SOON};

/// The record that fails, in partition 0.
const BAD: i64 = 2;
/// In each of the two partitions.
const COUNT: i64 = 5;

fn is_bad(meta: &RecordMetadata) -> bool {
    meta.partition() == 0 && meta.offset() == BAD
}

#[kafka_listener(id = "failures-retryable")]
async fn retryable(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> anyhow::Result<()> {
    let _running = diary.begin(&meta);
    ensure!(!is_bad(&meta), "the warehouse does not answer");
    Ok(())
}

#[kafka_listener(id = "failures-passing")]
async fn passing(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> anyhow::Result<()> {
    let _running = diary.begin(&meta);
    ensure!(!is_bad(&meta) || meta.attempt() > 12, "the warehouse does not answer yet");
    Ok(())
}

#[kafka_listener(id = "failures-terminal")]
async fn terminal(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> Result<(), ListenerError> {
    let _running = diary.begin(&meta);
    if is_bad(&meta) { Err(ListenerError::terminal("no such product")) } else { Ok(()) }
}

#[derive(Debug)]
enum PaymentError {
    CardRefused,
    Expired,
}

impl fmt::Display for PaymentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "payment: {self:?}")
    }
}

impl std::error::Error for PaymentError {}

impl Classify for PaymentError {
    fn classify(&self) -> Classification {
        match self {
            Self::CardRefused => Classification::terminal().named("card_refused"),
            Self::Expired => Classification::terminal(),
        }
    }
}

#[kafka_listener(id = "failures-classified")]
async fn classified(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> Result<(), PaymentError> {
    let _running = diary.begin(&meta);
    match (meta.partition(), meta.offset()) {
        (0, 1) => Err(PaymentError::CardRefused),
        (0, BAD) => Err(PaymentError::Expired),
        _ => Ok(()),
    }
}

/// A ground with five records in each of two partitions, and a listener on it that retries at once.
struct Case {
    ground: Ground,
    diary: Diary,
}

impl Case {
    async fn new() -> Self {
        let ground = Ground::new(2).await;
        let records = (0..2).flat_map(|partition| vec![partition; 5]);
        let records = records.map(|partition| Record::to(&ground.topic).partition(partition).payload("{}"));
        broker().produce_all(records).await.unwrap();
        Self { ground, diary: Diary::default() }
    }

    fn builder(&self, definition: ListenerDefinition) -> ListenerRegistryBuilder {
        let builder = self.ground.registry().register(definition).state(self.diary.clone());
        builder.set("listener.retry.delay", "1ms").set("listener.retry.max_delay", "2ms")
    }

    fn bad(&self) -> TopicPartition {
        TopicPartition::new(self.ground.topic.as_str(), 0)
    }

    /// The attempt numbers that the record was delivered with.
    fn attempts(&self, offset: i64) -> Vec<u32> {
        let entries = self.diary.entries();
        let of_it = entries.iter().filter(|one| one.partition == 0 && one.offset == offset);
        of_it.map(|one| one.attempt).collect()
    }

    async fn all_handled(&self) {
        broker().wait_for_commits_to_end(&self.ground.group, &self.ground.topic, SOON).await.unwrap();
        self.diary.check_one_at_a_time_in_a_partition();
        assert_eq!(self.diary.begun(1), (0..COUNT).collect::<Vec<_>>(), "the other partition noticed nothing");
    }

    async fn held(&self, listeners: &ListenerRegistry, attempt: u32) {
        let held = || async {
            let status = listeners.status();
            let partition = status.listeners[0].partitions.first().context("nothing is assigned yet")?;
            ensure!(partition.phase == Phase::Held, "{status}");
            let blocking = partition.blocking.as_ref().expect("a held partition names its record");
            ensure!((blocking.offset, blocking.attempt) == (BAD, attempt), "{status}");
            Ok(())
        };
        eventually(SOON, "the record is on hold", held).await.unwrap();
        assert!(listeners.health().live.ok, "{:?}", listeners.health());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_tried_again_for_ever_unless_told_otherwise() {
    let case = Case::new().await;
    let listeners = case.builder(listener!(passing)).start().await.unwrap();
    case.all_handled().await;
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    assert_eq!(case.attempts(BAD), (1..=13).collect::<Vec<_>>());
    assert_eq!(case.attempts(BAD + 1), [1], "the next record starts to count afresh");
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (10, 12, 12, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delay_between_attempts_doubles() {
    let case = Case::new().await;
    let builder = case.builder(listener!(retryable)).set("listener.retry.delay", "100ms");
    let builder = builder.set("listener.retry.max_delay", "1s").set("listener.retry.jitter", 0.0);
    let builder = builder.set("listener.retry.attempts", 4).set("listener.on_failure", "skip");
    let listeners = builder.start().await.unwrap();
    case.all_handled().await;
    listeners.shutdown().await.into_result().unwrap();

    let deliveries: Vec<Entry> = case.diary.entries().into_iter().filter(|one| one.offset == BAD).collect();
    let deliveries: Vec<&Entry> = deliveries.iter().filter(|one| one.partition == 0).collect();
    let delays = deliveries.windows(2).map(|pair| pair[1].began - pair[0].ended.unwrap());
    for (delay, least) in delays.zip([100, 200, 400]) {
        assert!(delay >= Duration::from_millis(least), "{delay:?} instead of {least} ms");
    }
    assert_eq!(deliveries.len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_used_up_and_skip_goes_on_behind_the_record() {
    let case = Case::new().await;
    let builder = case.builder(listener!(retryable)).set("listener.retry.attempts", 3);
    let listeners = builder.set("listener.on_failure", "skip").start().await.unwrap();
    case.all_handled().await;
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    assert_eq!(case.diary.begun(0), [0, 1, 2, 2, 2, 3, 4]);
    assert_eq!(case.attempts(BAD), [1, 2, 3]);
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (9, 3, 2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_used_up_hold_the_partition_until_an_operator_decides() {
    let case = Case::new().await;
    let listeners = case.builder(listener!(retryable)).set("listener.retry.attempts", 3).start().await.unwrap();
    let container = listeners.container("failures-retryable").unwrap();

    case.held(&listeners, 3).await;
    assert_eq!(case.attempts(BAD), [1, 2, 3]);
    let error = listeners.status().listeners[0].partitions[0].blocking.as_ref().and_then(|one| one.error.clone());
    assert_eq!(error.as_deref(), Some("the warehouse does not answer"));
    let other = TopicPartition::new(case.ground.topic.as_str(), 1);
    let elsewhere = TopicPartition::new(case.ground.topic.as_str(), 7);
    assert_eq!(container.retry_held(&other).await, HoldOutcome::NotHeld);
    assert_eq!(container.skip_held(&elsewhere, BAD).await, HoldOutcome::NotAssigned);
    assert_eq!(container.skip_held(&case.bad(), BAD + 1).await, HoldOutcome::OtherRecord { held: BAD });

    assert_eq!(container.retry_held(&case.bad()).await, HoldOutcome::Applied { offset: BAD });
    case.diary.wait("it was tried three times more", |_| case.attempts(BAD).len() == 6).await;
    case.held(&listeners, 3).await;
    assert_eq!(case.attempts(BAD), [1, 2, 3, 1, 2, 3]);

    // All that took less than a commit interval, perhaps.
    let committed = || async {
        let committed = broker().committed(&case.ground.group, &case.ground.topic).await?;
        ensure!(
            committed.get(&0).is_none_or(|committed| *committed <= BAD),
            "a held record is not done: {committed:?}"
        );
        Ok(committed.get(&0) == Some(&BAD))
    };
    eventually(SOON, "what is done is committed, up to the held record", committed).await.unwrap();
    let committed = broker().committed(&case.ground.group, &case.ground.topic).await.unwrap();
    assert_eq!(committed.get(&0), Some(&BAD), "a held record is not done");
    assert_eq!(container.skip_held(&case.bad(), BAD).await, HoldOutcome::Applied { offset: BAD });
    case.all_handled().await;
    assert_eq!(listeners.status().listeners[0].skipped, 1);
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(case.diary.begun(0), [0, 1, 2, 2, 2, 2, 2, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_used_up_and_stop_ends_this_container_and_no_other() {
    let case = Case::new().await;
    let (ground, others) = (Ground::new(1).await, Diary::default());
    let builder = case.builder(listener!(retryable)).set("listener.retry.attempts", 3);
    let listeners = builder.set("listener.on_failure", "stop").start().await.unwrap();
    let neighbour = ground.registry().register(listener!(passing)).state(others.clone()).start().await.unwrap();

    tokio::time::timeout(SOON, listeners.stopped()).await.expect("the container stops");
    let container = listeners.container("failures-retryable").unwrap();
    eventually(SOON, "the container has failed", || async { container.state() == ContainerState::Failed })
        .await
        .unwrap();
    let failure = container.failure().unwrap();
    assert!(failure.contains(&format!("{}-0@{BAD}", case.ground.topic)), "{failure}");
    assert!(failure.contains("the warehouse does not answer"), "{failure}");
    let health = listeners.health();
    assert!(!health.live.ok && !health.ready.ok, "{health:?}");
    broker().wait_for_members(&case.ground.group, 0, SOON).await.unwrap();
    let committed = broker().committed(&case.ground.group, &case.ground.topic).await.unwrap();
    assert_eq!(committed.get(&0), Some(&BAD), "what was done before is committed");
    assert_eq!(case.attempts(BAD), [1, 2, 3]);
    assert_eq!(case.diary.begun(0), [0, 1, 2, 2, 2]);
    assert!(listeners.shutdown().await.into_result().is_err());

    broker().produce_orders(&ground.topic, 2).await.unwrap();
    others.wait("the neighbour goes on", |entries| entries.len() == 2).await;
    neighbour.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_error_is_not_tried_again() {
    let case = Case::new().await;
    let builder = case.builder(listener!(terminal)).set("listener.retry.attempts", 3);
    let listeners = builder.set("listener.on_failure", "skip").start().await.unwrap();
    case.all_handled().await;
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    case.diary.check_each_once_in_order(0, COUNT);
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (9, 1, 0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_classifies_itself_chooses_the_policy_of_its_name() {
    let case = Case::new().await;
    let builder = case.builder(listener!(classified)).set("listener.on_failure.card_refused", "skip");
    let listeners = builder.set("listener.on_failure.default", "hold").start().await.unwrap();
    let container = listeners.container("failures-classified").unwrap();

    case.held(&listeners, 1).await;
    assert_eq!(case.diary.begun(0), [0, 1, 2], "the refused card was skipped at once");
    assert_eq!(listeners.status().listeners[0].skipped, 1);
    assert_eq!(container.skip_held(&case.bad(), BAD).await, HoldOutcome::Applied { offset: BAD });
    case.all_handled().await;
    listeners.shutdown().await.into_result().unwrap();
    case.diary.check_each_once_in_order(0, COUNT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_are_counted_on_over_assignments_where_they_are_limited() {
    let case = Case::new().await;
    let builder = case.builder(listener!(retryable)).set("listener.retry.delay", "60s");
    let builder = builder.set("listener.retry.max_delay", "60s").set("listener.retry.attempts", 3);
    let listeners = builder.start().await.unwrap();
    let container = listeners.container("failures-retryable").unwrap();
    for attempt in 1..=2 {
        case.diary.wait("it fails and waits for a minute", |_| case.attempts(BAD).len() == attempt).await;
        let sleeps = || async {
            let status = listeners.status();
            let partition = status.listeners[0].partitions.first().context("nothing is assigned yet")?;
            ensure!(partition.phase == Phase::RetrySleep, "{status}");
            Ok(())
        };
        eventually(SOON, "it waits for its retry", sleeps).await.unwrap();
        container.stop().await;
        container.start().unwrap();
    }

    case.held(&listeners, 3).await;
    assert_eq!(case.attempts(BAD), [1, 2, 3]);
    listeners.shutdown().await.into_result().unwrap();
}
