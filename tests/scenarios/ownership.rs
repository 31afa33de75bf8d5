//! One owner per partition in a process: whoever gets a partition next waits for the code of the one before.

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::status::{LeftBehindStatus, PartitionStatus};
use kafka_listener::{ContainerState, ListenerRegistry, Outcome, Phase, RecordMetadata, kafka_listener, listener};
use serde_json::Value;
use support::{Record, broker, eventually};

use crate::common::{Diary, Ground, Latch, SOON};

const PARTITIONS: i32 = 6;

#[derive(Clone)]
struct Stage {
    diary: Diary,
    latch: Latch,
}

/// Blocks at the first record of every partition; nobody can cancel it.
#[kafka_listener(id = "ownership-blocks", blocking = true)]
async fn blocks(_order: Value, meta: RecordMetadata, State(stage): State<Stage>) {
    let _running = stage.diary.begin(&meta);
    if meta.offset() == 0 {
        stage.latch.pass_blocking();
    }
}

async fn produce(ground: &Ground) {
    let records = (0..PARTITIONS).flat_map(|partition| vec![partition; 5]);
    let records = records.map(|partition| Record::to(&ground.topic).partition(partition).payload("{}"));
    broker().produce_all(records).await.unwrap();
}

fn waiting_for_previous(listeners: &ListenerRegistry) -> usize {
    let status = listeners.status();
    let partitions = status.listeners.iter().flat_map(|listener| &listener.partitions);
    partitions.filter(|partition| partition.phase == Phase::WaitingForPrevious).count()
}

/// The partitions whose handlers were cancelled and run on, all of them at their first record.
fn left_behind(listeners: &ListenerRegistry) -> Vec<i32> {
    let status = listeners.status();
    let left_behind = status.listeners.iter().flat_map(|listener| &listener.left_behind);
    let partition = |handler: &LeftBehindStatus| {
        assert_eq!((handler.phase, handler.offset), (Phase::Cancelled, Some(0)), "{status}");
        assert!(handler.cancelled_for.is_some_and(|ago| ago <= handler.running_for), "{status}");
        assert!(status.to_string().contains("cancelled, still running"), "{status}");
        handler.topic_partition.partition()
    };
    left_behind.map(partition).collect()
}

/// Status tells of no handler that was cancelled and runs on, and of nobody who waits for one.
async fn nobody_waits(registries: &[&ListenerRegistry]) {
    let gone = || async {
        for listeners in registries {
            let waiting = waiting_for_previous(listeners);
            ensure!(left_behind(listeners).is_empty() && waiting == 0, "{}", listeners.status());
        }
        Ok(())
    };
    eventually(SOON, "what was left behind has ended and its successors go on", gone).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_consumer_of_the_process_waits_for_the_handler_that_still_blocks() {
    let ground = Ground::new(PARTITIONS).await;
    produce(&ground).await;
    let stage = Stage { diary: Diary::default(), latch: Latch::closed() };
    let _release = stage.latch.opens_at_the_end();
    let builder = || {
        let builder = ground.registry().register(listener!(blocks)).state(stage.clone());
        builder.set("listener.revoke_timeout", "1s")
    };
    let first = builder().start().await.unwrap();
    stage.diary.wait("every partition blocks", |entries| entries.len() == 6).await;

    // The revoke cannot wait for blocked handlers: their partitions go while they run.
    let second = builder().start().await.unwrap();
    let moved = || async {
        let (stay, go) = (assigned(&first), assigned(&second));
        ensure!(stay == 3 && go == 3, "{stay} stayed, {go} went");
        let waiting = waiting_for_previous(&second);
        ensure!(waiting == 3, "{waiting} wait for the code before them");
        Ok(())
    };
    eventually(SOON, "half of the partitions have moved and wait", moved).await.unwrap();
    broker().wait_for_members(&ground.group, 2, SOON).await.unwrap();
    assert_eq!(stage.diary.entries().len(), 6, "nothing was begun beside what blocks");
    assert!(second.health().live.ok, "waiting is not stuck");
    let of_the_second = |one: &PartitionStatus| one.topic_partition.partition();
    let waiting: Vec<i32> = second.status().listeners[0].partitions.iter().map(of_the_second).collect();
    assert_eq!(left_behind(&first), waiting, "the code that is waited for is the first one's: {}", first.status());
    assert!(left_behind(&second).is_empty(), "{}", second.status());

    stage.latch.open();
    nobody_waits(&[&first, &second]).await;
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    stage.diary.check_one_at_a_time_in_a_partition();
    let twice = (0..PARTITIONS).filter(|partition| stage.diary.begun(*partition) == [0, 0, 1, 2, 3, 4]).count();
    let once = (0..PARTITIONS).filter(|partition| stage.diary.begun(*partition) == [0, 1, 2, 3, 4]).count();
    assert_eq!((twice, once), (3, 3), "what ran when it was taken away is repeated and nothing else");
    assert_eq!(first.status().listeners[0].possibly_repeated, 3);
    for listeners in [first, second] {
        listeners.shutdown().await.into_result().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_container_waits_for_the_handler_that_still_blocks() {
    let ground = Ground::new(PARTITIONS).await;
    produce(&ground).await;
    let stage = Stage { diary: Diary::default(), latch: Latch::closed() };
    let _release = stage.latch.opens_at_the_end();
    let builder = ground.registry().register(listener!(blocks)).state(stage.clone());
    // Slots are taken too: cancelled code keeps its slot, so that six new handlers would have none.
    let builder = builder.set("listener.shutdown_timeout", "2s").set("listener.concurrency", 6);
    let listeners = builder.start().await.unwrap();
    let container = listeners.container("ownership-blocks").unwrap();
    stage.diary.wait("every partition blocks", |entries| entries.len() == 6).await;

    let report = container.stop().await;
    let Outcome::Left(left) = &report.outcome else { panic!("six handlers were left running: {report}") };
    assert_eq!(left.iter().filter(|line| line.contains("was still running")).count(), 6, "{report}");
    assert_eq!(container.state(), ContainerState::Stopped);
    container.start().unwrap();
    let waiting = || async {
        let waiting = waiting_for_previous(&listeners);
        ensure!(waiting == 6, "{waiting} wait: {}", listeners.status());
        Ok(())
    };
    eventually(SOON, "the new workers wait for the old code", waiting).await.unwrap();
    assert_eq!(stage.diary.entries().len(), 6, "nothing was begun beside what blocks");
    assert_eq!(left_behind(&listeners), [0, 1, 2, 3, 4, 5], "they are told of across the restart");

    stage.latch.open();
    nobody_waits(&[&listeners]).await;
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown_within(SOON).await.into_result().unwrap();
    stage.diary.check_one_at_a_time_in_a_partition();
    for partition in 0..PARTITIONS {
        assert_eq!(stage.diary.begun(partition), [0, 0, 1, 2, 3, 4]);
    }
}

/// The members of one container are consumers of one process too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_move_between_the_consumers_of_a_container_have_one_owner_at_a_time() {
    let ground = Ground::new(PARTITIONS).await;
    let stage = Stage { diary: Diary::default(), latch: Latch::closed() };
    let _release = stage.latch.opens_at_the_end();
    let builder = || {
        let builder = ground.registry().register(listener!(blocks)).state(stage.clone());
        let builder = builder.set("listener.consumers", 2).set("listener.revoke_timeout", "500ms");
        builder.set("listener.partition_assignment_strategy", "roundrobin")
    };
    let first = builder().start().await.unwrap();
    first.wait_until_assigned(SOON).await.unwrap();
    produce(&ground).await;
    stage.diary.wait("every partition blocks", |entries| entries.len() == 6).await;

    // Eager: everything is taken away from both members and dealt anew, over four.
    let second = builder().start().await.unwrap();
    broker().wait_for_members(&ground.group, 4, SOON).await.unwrap();
    let waiting = || async {
        let waiting = waiting_for_previous(&first) + waiting_for_previous(&second);
        ensure!(waiting == 6, "{waiting} wait for the code before them");
        Ok(())
    };
    eventually(SOON, "all partitions were dealt anew and wait", waiting).await.unwrap();
    assert_eq!(stage.diary.entries().len(), 6, "nothing was begun beside what blocks");

    stage.latch.open();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    for listeners in [first, second] {
        listeners.shutdown().await.into_result().unwrap();
    }
    stage.diary.check_one_at_a_time_in_a_partition();
}

fn assigned(listeners: &ListenerRegistry) -> usize {
    listeners.status().listeners[0].partitions.len()
}
