//! `concurrency`: never more handlers than slots, every partition gets its turn, and nothing that waits holds a slot.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::rebalance::{Partitions, RebalanceListener};
use kafka_listener::{ListenerError, ListenerRegistry, Phase, RecordMetadata, kafka_listener, listener};
use serde_json::Value;
use support::{Record, broker, eventually};

use crate::common::{Diary, Ground, Latch, SOON, log_of};

#[kafka_listener(id = "slots-busy")]
async fn busy(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    // Long enough that six of them would overlap.
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[kafka_listener(id = "slots-busy-blocking")]
fn busy_blocking(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    Latch::closed().pass_blocking_within(Duration::from_millis(10));
}

/// Partition 0 has poison in it, partition 1 a record that is tried again much later; the others are well.
#[kafka_listener(id = "slots-waiting")]
async fn waiting(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> Result<(), ListenerError> {
    let _running = diary.begin(&meta);
    match meta.partition() {
        0 => Err(ListenerError::terminal("poison")),
        1 => Err(ListenerError::retryable("away for long")),
        _ => Ok(()),
    }
}

/// The partitions of each revoke.
#[derive(Clone, Debug, Default)]
struct Drained(Arc<Mutex<Vec<Vec<i32>>>>);

#[async_trait::async_trait]
impl RebalanceListener for Drained {
    async fn on_partitions_revoked_before_commit(&self, revoked: Partitions) {
        let partitions = revoked.partitions.iter().map(kafka_listener::TopicPartition::partition).collect();
        self.0.lock().unwrap().push(partitions);
    }
}

async fn produce(ground: &Ground, partitions: std::ops::Range<i32>, count: usize) {
    let records = partitions
        .flat_map(|partition| vec![partition; count])
        .map(|partition| Record::to(&ground.topic).partition(partition).payload("{}"));
    broker().produce_all(records).await.unwrap();
}

async fn check_never_more_than_two(definition: kafka_listener::ListenerDefinition) {
    const COUNT: i64 = 25;
    let ground = Ground::new(6).await;
    let diary = Diary::default();
    let listeners = ground.registry().register(definition).state(diary.clone()).set("listener.concurrency", 2);
    let listeners = listeners.start().await.unwrap();
    // All that there is to do is there before the first record may start: from then on six workers want two slots.
    listeners.wait_until_assigned(SOON).await.unwrap();
    let container = listeners.containers().remove(0);
    container.pause().await.unwrap();
    produce(&ground, 0..6, 25).await;
    let fetched = || async {
        let status = container.status();
        ensure!(status.partitions.iter().filter(|one| one.in_flight == COUNT.unsigned_abs()).count() == 6, "{status}");
        Ok(())
    };
    eventually(SOON, "every partition has its records", fetched).await.unwrap();
    assert_eq!(diary.entries().len(), 0, "it is paused");
    container.resume().await.unwrap();

    diary.wait("all is handled", |entries| entries.iter().filter(|one| one.ended.is_some()).count() == 150).await;
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    assert_eq!(diary.most_at_once(), 2, "two slots, both of use");
    for partition in 0..6 {
        diary.check_each_once_in_order(partition, COUNT);
    }
    // First come, first served: no partition is through before every other one has had a good part of its turns.
    let entries = diary.entries();
    let first_to_end =
        (0..6).map(|partition| entries.iter().rposition(|one| one.partition == partition).unwrap()).min();
    for partition in 0..6 {
        let meanwhile = entries[..first_to_end.unwrap()].iter().filter(|one| one.partition == partition).count();
        assert!(meanwhile >= 5, "partition {partition} had {meanwhile} turns when the first one was through");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_slots_run_two_handlers_at_most_and_serve_six_partitions() {
    check_never_more_than_two(listener!(busy)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_slots_run_two_blocking_handlers_at_most_and_serve_six_partitions() {
    check_never_more_than_two(listener!(busy_blocking)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_or_in_backoff_needs_no_slot_and_is_given_away_at_once() {
    const COUNT: usize = 30;
    let ground = Ground::new(6).await;
    produce(&ground, 0..6, COUNT).await;
    let (diary, drained) = (Diary::default(), Drained::default());
    let builder = || {
        let builder = ground.registry().register(listener!(waiting)).state(diary.clone());
        let builder = builder.set("listener.retry.delay", "10m").set("listener.retry.max_delay", "10m");
        // Far more than a busy machine adds to a rebalance or a stop that waits for nothing.
        let builder = builder.set("listener.revoke_timeout", "1m").set("listener.shutdown_timeout", "4m");
        // With range the second member takes half of the partitions away, in an eager rebalance all of them.
        builder.set("listener.partition_assignment_strategy", "range").set("listener.concurrency", 1)
    };
    let first = builder().rebalance_listener(drained.clone()).start().await.unwrap();

    let well = |entries: &[crate::common::Entry], partition| {
        entries.iter().filter(|one| one.partition == partition && one.ended.is_some()).count() == COUNT
    };
    diary.wait("the others are handled", |entries| (2..6).all(|partition| well(entries, partition))).await;
    let waits = || async {
        ensure!(phase(&first, 0) == Some(Phase::Held), "{}", first.status());
        ensure!(phase(&first, 1) == Some(Phase::RetrySleep), "{}", first.status());
        Ok(())
    };
    eventually(SOON, "one partition is held and one in backoff", waits).await.unwrap();
    assert_eq!(diary.begun(0), [0]);
    assert_eq!(diary.begun(1), [0]);
    assert_eq!(diary.most_at_once(), 1);
    let live = first.health().live;
    assert!(live.ok, "waiting is not stuck: {live:?}");

    // Each newcomer takes everything away from everybody, as the assignor is an eager one.
    let mut members = vec![first];
    for count in 2..=3 {
        members.push(builder().start().await.unwrap());
        broker().wait_for_members(&ground.group, count, SOON).await.unwrap();
    }
    let lines = log_of(&ground.group);
    let drains: Vec<Duration> = lines.iter().filter_map(|line| drain_took(line.message())).collect();
    // The machine may be busy with something else just then, but not each time; a backoff would take all of the drain's
    // share, 39 s.
    let least = drains.iter().min().expect("the first member gave its partitions away");
    assert!(*least < Duration::from_secs(1), "{drains:?}");
    assert!(drains.iter().all(|drain| *drain < Duration::from_secs(10)), "{drains:?}");
    let seen = drained.0.lock().unwrap()[0].clone();
    assert_eq!(seen, [0, 1, 2, 3, 4, 5], "the waiting partitions were among the revoked ones");
    assert_eq!(members[0].status().listeners[0].possibly_repeated, 0, "nothing ran");

    for listeners in members.into_iter().rev() {
        let began = Instant::now();
        listeners.shutdown().await.into_result().unwrap();
        assert!(began.elapsed() < Duration::from_secs(60), "a stop waits for no backoff: {:?}", began.elapsed());
    }
    let committed = broker().committed(&ground.group, &ground.topic).await.unwrap();
    let of_the_well = committed.iter().filter(|(partition, _)| **partition >= 2).map(|(_, offset)| *offset);
    assert_eq!(of_the_well.collect::<Vec<_>>(), [30; 4]);
    assert!((0..2).all(|partition| committed.get(&partition).is_none_or(|offset| *offset == 0)), "{committed:?}");
}

#[derive(Clone)]
struct Stage {
    diary: Diary,
    latch: Latch,
}

/// Blocks in partition 0; nobody can cancel it.
#[kafka_listener(id = "slots-left-behind", blocking = true)]
async fn left_behind(_order: Value, meta: RecordMetadata, State(stage): State<Stage>) {
    let _running = stage.diary.begin(&meta);
    if meta.partition() == 0 {
        stage.latch.pass_blocking();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_handler_that_runs_on_keeps_its_slot_until_it_has_ended() {
    let ground = Ground::new(2).await;
    let stage = Stage { diary: Diary::default(), latch: Latch::closed() };
    let _release = stage.latch.opens_at_the_end();
    let listeners = ground.registry().register(listener!(left_behind)).state(stage.clone());
    let listeners = listeners.set("listener.concurrency", 1).set("listener.shutdown_timeout", "1s");
    let listeners = listeners.start().await.unwrap();
    produce(&ground, 0..1, 1).await;
    stage.diary.wait("it blocks", |entries| entries.len() == 1).await;
    let container = listeners.container("slots-left-behind").unwrap();
    container.stop().await;
    assert_eq!(listeners.status().listeners[0].left_behind.len(), 1, "{}", listeners.status());

    produce(&ground, 1..2, 3).await;
    container.start().unwrap();
    let waits = || async {
        ensure!(phase(&listeners, 0) == Some(Phase::WaitingForPrevious), "{}", listeners.status());
        ensure!(phase(&listeners, 1) == Some(Phase::WaitingForSlot), "{}", listeners.status());
        Ok(())
    };
    eventually(SOON, "one partition waits for the handler, the other one for its slot", waits).await.unwrap();
    assert_eq!(stage.diary.entries().len(), 1);

    stage.latch.open();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    assert_eq!(stage.diary.most_at_once(), 1);
    assert_eq!(listeners.status().listeners[0].left_behind.len(), 0, "{}", listeners.status());
    listeners.shutdown().await.into_result().unwrap();
}

fn phase(listeners: &ListenerRegistry, partition: i32) -> Option<Phase> {
    let status = listeners.status();
    let partitions = status.listeners.into_iter().flat_map(|listener| listener.partitions);
    partitions.into_iter().find(|one| one.topic_partition.partition() == partition).map(|one| one.phase)
}

/// `… (drain took 1.2ms, hooks 3µs, commit 4ms)` → 1.2 ms.
fn drain_took(message: &str) -> Option<Duration> {
    let (_, rest) = message.split_once("drain took ")?;
    let text = &rest[..rest.find([',', ' ']).unwrap()];
    let digits = text.trim_end_matches(|letter: char| letter.is_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        unit => unreachable!("unit `{unit}` of {message}"),
    };
    Some(Duration::from_secs_f64(digits.parse::<f64>().unwrap() * unit))
}
