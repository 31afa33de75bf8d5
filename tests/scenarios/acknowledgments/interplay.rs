//! Acknowledgements that are out while something else happens: timeouts, dead letters, slots, pauses, rebalances, holds.

use std::collections::BTreeSet;
use std::time::Duration;

use kafka_listener::extract::State;
use kafka_listener::{
    AckOutcome, Acknowledgment, HoldOutcome, ListenerError, ListenerRegistry, Phase, RecordMetadata, TopicPartition,
    kafka_listener, listener,
};
use serde_json::Value;
use support::{Record, broker, eventually};

use super::{Course, Out, lets_out};
use crate::common::{Diary, Ground, SOON};

/// Its first delivery awaits for ever, with its acknowledgement out.
#[kafka_listener(id = "acks-timeout", ack_mode = "manual")]
async fn times_out(
    _order: Value,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(diary): State<Diary>,
    State(out): State<Out>,
) {
    let _running = diary.begin(&meta);
    if meta.attempt() == 1 {
        out.keep(meta.offset(), ack);
        std::future::pending::<()>().await;
    } else {
        ack.acknowledge();
    }
}

#[tokio::test]
async fn an_acknowledgment_of_a_handler_that_was_timed_out_comes_too_late() {
    let course = Course::new(1).await;
    let builder = course.builder_of(listener!(times_out)).set("listener.handler_timeout", "200ms");
    let listeners = builder.set("listener.retry.delay", "1ms").start().await.unwrap();
    course.wait_for_commit(1).await;
    assert_eq!(course.out.acknowledge(0).outcome(), AckOutcome::Superseded);
    let status = listeners.status().listeners.remove(0);
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!((course.diary.begun(0), status.failed, status.retried), (vec![0, 0], 1, 1));
}

/// Fails for good with its acknowledgement out.
#[kafka_listener(id = "acks-terminal", ack_mode = "manual")]
async fn fails_for_good(
    _order: Value,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(diary): State<Diary>,
    State(out): State<Out>,
) -> Result<(), ListenerError> {
    let _running = diary.begin(&meta);
    if meta.offset() == 1 && meta.attempt() == 1 {
        out.keep(1, ack);
        return Err(ListenerError::terminal("no such customer"));
    }
    ack.acknowledge();
    Ok(())
}

#[tokio::test]
async fn a_dead_letter_makes_a_record_done_and_not_its_late_acknowledgment() {
    for async_acks in [false, true] {
        let course = Course::new(3).await;
        let dead = format!("{}-dlt", course.ground.topic);
        broker().create_topic(&dead, 1).await.unwrap();
        let builder = course.builder_of(listener!(fails_for_good)).set("listener.on_failure", "dead_letter");
        let listeners = builder.set("listener.async_acks", async_acks).start().await.unwrap();
        course.wait_for_commit(3).await;
        assert_eq!(course.out.acknowledge(1).outcome(), AckOutcome::Superseded);
        listeners.shutdown().await.into_result().unwrap();
        course.diary.check_each_once_in_order(0, 3);
        let letters = broker().read_topic(&dead).await.unwrap();
        assert_eq!(letters.len(), 1, "async_acks = {async_acks}");
    }
}

#[tokio::test]
async fn a_record_on_hold_is_done_by_an_operator_and_not_by_its_late_acknowledgment() {
    let course = Course::new(3).await;
    let listeners = course.builder_of(listener!(fails_for_good)).start().await.unwrap();
    course.wait_for_phase(&listeners, Phase::Held).await;
    assert_eq!(course.out.acknowledge(1).outcome(), AckOutcome::Superseded);
    course.wait_for_commit(1).await;
    let place = TopicPartition::new(course.ground.topic.as_str(), 0);
    let answer = listeners.containers()[0].skip_held(&place, 1).await;
    assert!(matches!(answer, HoldOutcome::Applied { offset: 1 }), "{answer:?}");
    course.wait_for_commit(3).await;
    listeners.shutdown().await.into_result().unwrap();
    course.diary.check_each_once_in_order(0, 3);
}

#[tokio::test]
async fn a_record_that_waits_for_its_acknowledgment_holds_no_slot() {
    let ground = Ground::new(3).await;
    let records = (0..3).map(|partition| Record::to(&ground.topic).partition(partition).payload("{}"));
    broker().produce_all(records).await.unwrap();
    let (diary, acks) = (Diary::default(), Acks::default());
    let builder = ground.registry().register(listener!(lets_out_by_partition)).state(diary.clone());
    let listeners = builder.state(acks.clone()).set("listener.concurrency", 1).start().await.unwrap();
    let all_out = || async { acks.0.lock().unwrap().len() == 3 };
    eventually(SOON, "one of each partition is out", all_out).await.unwrap();
    for ack in std::mem::take(&mut *acks.0.lock().unwrap()) {
        assert_eq!(ack.acknowledge().outcome(), AckOutcome::Acknowledged);
    }
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(diary.most_at_once(), 1);
}

#[derive(Clone, Default)]
struct Acks(std::sync::Arc<std::sync::Mutex<Vec<Acknowledgment>>>);

#[kafka_listener(id = "acks-by-partition", ack_mode = "manual")]
async fn lets_out_by_partition(
    _order: Value,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(diary): State<Diary>,
    State(acks): State<Acks>,
) {
    let _running = diary.begin(&meta);
    acks.0.lock().unwrap().push(ack);
}

#[tokio::test]
async fn acknowledgments_count_during_a_pause_and_start_nothing() {
    for async_acks in [false, true] {
        let course = Course::new(3).await;
        let builder = course.builder().set("listener.async_acks", async_acks);
        let listeners = builder.set("listener.limits.in_flight_records", 1).start().await.unwrap();
        course.out.wait_for([0]).await;
        let container = listeners.containers().remove(0);
        container.pause().await.unwrap();
        assert_eq!(course.out.acknowledge(0).outcome(), AckOutcome::Acknowledged);
        course.wait_for_commit(1).await;
        course.wait_for_phase(&listeners, Phase::Paused).await;
        assert_eq!(course.diary.begun(0), [0], "async_acks = {async_acks}");
        container.resume().await.unwrap();
        for offset in 1..3 {
            course.out.wait_for([offset]).await;
            course.out.acknowledge(offset);
        }
        course.wait_for_commit(3).await;
        listeners.shutdown().await.into_result().unwrap();
        course.diary.check_each_once_in_order(0, 3);
    }
}

#[tokio::test]
async fn a_partition_that_goes_takes_what_is_out_along_and_its_next_owner_handles_that_again() {
    let ground = Ground::new(2).await;
    let records = (0..2).map(|partition| Record::to(&ground.topic).partition(partition).payload("{}"));
    broker().produce_all(records).await.unwrap();
    let member = async |acks: &Placed| -> ListenerRegistry {
        let builder = ground.registry().register(listener!(lets_out_by_place)).state(acks.clone());
        builder.set("listener.session_timeout", "6s").start().await.unwrap()
    };
    let (mine, others) = (Placed::default(), Placed::default());
    let first = member(&mine).await;
    mine.wait_for([0, 1]).await;
    let second = member(&others).await;
    let moved = || async { others.partitions().len() == 1 };
    eventually(SOON, "the second member handles what is out again", moved).await.unwrap();
    let moved = *others.partitions().first().unwrap();

    assert_eq!(mine.acknowledge(moved), AckOutcome::Superseded, "its partition is gone");
    assert_eq!(mine.acknowledge(1 - moved), AckOutcome::Acknowledged, "its partition has stayed");
    assert_eq!(broker().committed(&ground.group, &ground.topic).await.unwrap().get(&moved).copied().unwrap_or(0), 0);
    assert_eq!(others.acknowledge(moved), AckOutcome::Acknowledged);
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    assert_eq!(first.status().listeners[0].possibly_repeated, 1);
    first.shutdown().await.into_result().unwrap();
    second.shutdown().await.into_result().unwrap();
}

/// One acknowledgement of each partition.
#[derive(Clone, Default)]
struct Placed(std::sync::Arc<std::sync::Mutex<std::collections::BTreeMap<i32, Acknowledgment>>>);

impl Placed {
    fn partitions(&self) -> BTreeSet<i32> {
        self.0.lock().unwrap().keys().copied().collect()
    }

    async fn wait_for(&self, partitions: impl IntoIterator<Item = i32>) {
        let partitions: BTreeSet<i32> = partitions.into_iter().collect();
        let there = || async { self.partitions() == partitions };
        eventually(SOON, "the acknowledgments are out", there).await.unwrap();
    }

    fn acknowledge(&self, partition: i32) -> AckOutcome {
        let ack = self.0.lock().unwrap().remove(&partition);
        ack.unwrap().acknowledge().outcome()
    }
}

#[kafka_listener(id = "acks-by-place", ack_mode = "manual")]
async fn lets_out_by_place(_order: Value, meta: RecordMetadata, ack: Acknowledgment, State(placed): State<Placed>) {
    placed.0.lock().unwrap().insert(meta.partition(), ack);
}

/// A nack that is out of time ends with the epoch: its delay is no reason to wait.
#[tokio::test]
async fn a_stop_does_not_wait_for_the_delay_of_a_record_that_came_back() {
    for async_acks in [false, true] {
        let course = Course::new(1).await;
        let listeners =
            course.builder_of(listener!(lets_out)).set("listener.async_acks", async_acks).start().await.unwrap();
        course.out.wait_for([0]).await;
        assert_eq!(course.out.take(0).unwrap().nack(Duration::from_secs(600)), AckOutcome::Returned);
        let began = std::time::Instant::now();
        listeners.shutdown().await.into_result().unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "async_acks = {async_acks}");
        assert_eq!(course.committed().await, 0);
    }
}
