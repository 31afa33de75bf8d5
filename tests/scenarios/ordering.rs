//! Order inside a partition, and freedom between partitions: a handler that awaits, or blocks its thread, holds its own
//! partition and no other.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::{ListenerDefinition, ListenerRegistry, ListenerRegistryBuilder, RecordMetadata};
use kafka_listener::{kafka_listener, listener};
use serde_json::Value;
use support::{Record, broker, eventually};

use crate::common::{Diary, Ground, Latch, SOON, log_of, on_current_thread};

#[derive(Clone)]
struct Stage {
    diary: Diary,
    latch: Latch,
}

impl Stage {
    fn new() -> Self {
        Self { diary: Diary::default(), latch: Latch::closed() }
    }
}

fn is_latched(meta: &RecordMetadata) -> bool {
    meta.partition() == 0 && meta.offset() == 0
}

#[kafka_listener(id = "ordering-awaits")]
async fn awaits(_order: Value, meta: RecordMetadata, State(stage): State<Stage>) {
    let _running = stage.diary.begin(&meta);
    if is_latched(&meta) {
        stage.latch.passed().await;
    }
}

#[kafka_listener(id = "ordering-blocks-its-thread")]
async fn blocks_its_thread(_order: Value, meta: RecordMetadata, State(stage): State<Stage>) {
    let _running = stage.diary.begin(&meta);
    if is_latched(&meta) {
        stage.latch.pass_blocking();
    }
}

#[kafka_listener(id = "ordering-blocking", blocking = true)]
async fn blocks_in_the_pool(_order: Value, meta: RecordMetadata, State(stage): State<Stage>) {
    let _running = stage.diary.begin(&meta);
    if is_latched(&meta) {
        stage.latch.pass_blocking();
    }
}

#[kafka_listener(id = "ordering-plain-function")]
fn plain_function(_order: Value, meta: RecordMetadata, State(stage): State<Stage>) {
    let _running = stage.diary.begin(&meta);
    if is_latched(&meta) {
        stage.latch.pass_blocking();
    }
}

/// Awaits for a moment that differs from record to record, and fails some of them at their first delivery.
#[kafka_listener(id = "ordering-uneven")]
async fn uneven(_order: Value, meta: RecordMetadata, State(stage): State<Stage>) -> anyhow::Result<()> {
    let _running = stage.diary.begin(&meta);
    for _ in 0..meta.offset() % 5 {
        tokio::task::yield_now().await;
    }
    if meta.offset() % 7 == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        ensure!(meta.attempt() > 1, "first delivery refused");
    }
    Ok(())
}

/// Holds the thread of a current-thread runtime for longer than the group waits for a poll or a heartbeat.
#[kafka_listener(id = "ordering-stops-the-runtime")]
async fn stops_the_runtime(_order: Value, meta: RecordMetadata, State(stage): State<Stage>) {
    const LONGER_THAN_ANY_TIMEOUT: Duration = Duration::from_secs(14);
    let _running = stage.diary.begin(&meta);
    if is_latched(&meta) {
        stage.latch.pass_blocking_within(LONGER_THAN_ANY_TIMEOUT);
    }
}

async fn produce(ground: &Ground, partition: i32, count: usize) {
    let record = || Record::to(&ground.topic).partition(partition).payload("{}");
    broker().produce_all(std::iter::repeat_with(record).take(count)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_partition_are_handled_in_order_also_when_some_are_tried_again() {
    const COUNT: i64 = 300;
    let ground = Ground::new(4).await;
    for partition in 0..4 {
        produce(&ground, partition, 300).await;
    }
    let stage = Stage::new();
    let builder = ground.registry().register(listener!(uneven)).state(stage.clone());
    let listeners = builder.set("listener.retry.delay", "1ms").start().await.unwrap();

    let (first_deliveries, retries) = (4 * 300, 4 * 43);
    stage.diary.wait("all is handled", |entries| entries.len() >= first_deliveries + retries).await;
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    stage.diary.check_one_at_a_time_in_a_partition();
    for partition in 0..4 {
        let expected: Vec<i64> =
            (0..COUNT).flat_map(|offset| vec![offset; if offset % 7 == 0 { 2 } else { 1 }]).collect();
        assert_eq!(stage.diary.begun(partition), expected);
    }
}

/// Partition 0 is latched at its first record; the others are handled to their end meanwhile, twice, and then it.
async fn check_others_progress_while_one_is_latched(definition: ListenerDefinition) {
    const COUNT: usize = 40;
    let ground = Ground::new(3).await;
    for partition in 0..3 {
        produce(&ground, partition, COUNT).await;
    }
    let stage = Stage::new();
    let _release = stage.latch.opens_at_the_end();
    let listeners = ground.registry().register(definition).state(stage.clone()).start().await.unwrap();
    let done = |partition, count| {
        stage.diary.entries().iter().filter(|one| one.partition == partition && one.ended.is_some()).count() >= count
    };

    eventually(SOON, "partition 0 is latched", || async { stage.diary.begun(0) == [0] }).await.unwrap();
    eventually(SOON, "the others get to their end", || async { done(1, COUNT) && done(2, COUNT) }).await.unwrap();
    produce(&ground, 1, COUNT).await;
    produce(&ground, 2, COUNT).await;
    eventually(SOON, "the others take what is new", || async { done(1, 2 * COUNT) && done(2, 2 * COUNT) })
        .await
        .unwrap();
    assert_eq!(stage.diary.begun(0), [0], "partition 0 was passed over");
    assert!(!done(0, 1), "the latch did not hold");

    stage.latch.open();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    stage.diary.check_each_once_in_order(0, 40);
    stage.diary.check_each_once_in_order(1, 80);
    stage.diary.check_each_once_in_order(2, 80);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_awaits_holds_its_own_partition_only() {
    check_others_progress_while_one_is_latched(listener!(awaits)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_holds_its_own_partition_only() {
    check_others_progress_while_one_is_latched(listener!(blocks_its_thread)).await;
}

#[test]
fn on_a_current_thread_runtime_a_handler_that_awaits_holds_its_own_partition_only() {
    on_current_thread(check_others_progress_while_one_is_latched(listener!(awaits)));
}

#[test]
fn on_a_current_thread_runtime_a_blocking_handler_holds_its_own_partition_only() {
    on_current_thread(check_others_progress_while_one_is_latched(listener!(blocks_in_the_pool)));
}

#[test]
fn on_a_current_thread_runtime_a_plain_function_holds_its_own_partition_only() {
    on_current_thread(check_others_progress_while_one_is_latched(listener!(plain_function)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_stops_a_current_thread_runtime_costs_no_rebalance_and_the_others_resume_after_it() {
    const COUNT: usize = 20;
    let ground = Ground::new(3).await;
    let stage = Stage::new();
    let builder = ground
        .registry()
        .register(listener!(stops_the_runtime))
        .state(stage.clone())
        // A busy machine may keep a heartbeat waiting for a second or two.
        .set("listener.session_timeout", "6s")
        .set("listener.heartbeat_interval", "300ms")
        .set("listener.max_poll_interval", "6s")
        .set("listener.revoke_timeout", "1s");
    let (listeners, stop) = on_a_runtime_of_its_own(builder);
    listeners.wait_until_assigned(SOON).await.unwrap();
    let before = broker().group(&ground.group).await.unwrap();
    assert_eq!(before.members.len(), 1);

    produce(&ground, 0, COUNT).await;
    eventually(SOON, "the runtime stands still", || async { stage.diary.begun(0) == [0] }).await.unwrap();
    produce(&ground, 1, COUNT).await;
    produce(&ground, 2, COUNT).await;
    while stage.diary.ended() == 0 {
        let now = broker().group(&ground.group).await.unwrap();
        assert_eq!(now, before, "the group took the member's silence for its end");
        let health = listeners.health();
        let loops: Vec<_> = health.live.reasons.iter().filter(|reason| reason.contains("poll loop")).collect();
        assert!(loops.is_empty(), "{health:?}");
    }
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();

    assert_eq!(broker().group(&ground.group).await.unwrap(), before);
    let rebalances = log_of(&ground.group).into_iter().filter(|line| !line.field("kind").is_empty()).count();
    assert_eq!(rebalances, 1, "the assignment at the start is the only one");
    listeners.shutdown().await.into_result().unwrap();
    drop(stop);
    for partition in 0..3 {
        stage.diary.check_each_once_in_order(partition, 20);
    }
}

/// Starts listeners on a current-thread runtime in a thread of its own, which lives until the sender is dropped.
fn on_a_runtime_of_its_own(builder: ListenerRegistryBuilder) -> (ListenerRegistry, tokio::sync::oneshot::Sender<()>) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (started, listeners) = mpsc::sync_channel(1);
    thread::spawn(move || {
        on_current_thread(async {
            started.send(builder.start().await.unwrap()).unwrap();
            stopped.await.ok();
        });
    });
    (listeners.recv().unwrap(), stop)
}
