//! A handler may take as long as it needs: the group is kept company by the poll loop, not by the handler.

use std::time::Duration;

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::{ListenerDefinition, RecordMetadata, kafka_listener, listener};
use serde_json::Value;
use support::{broker, eventually};

use crate::common::{Diary, Ground, Latch, SOON, log_of};

const MAX_POLL_INTERVAL: Duration = Duration::from_secs(6);
/// More than two of them, and more than two sessions.
const LONG: Duration = Duration::from_secs(14);

#[kafka_listener(id = "slow-awaits")]
async fn awaits(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    if meta.offset() == 0 {
        tokio::time::sleep(LONG).await;
    }
}

#[kafka_listener(id = "slow-blocks")]
fn blocks(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    if meta.offset() == 0 {
        Latch::closed().pass_blocking_within(LONG);
    }
}

async fn check_one_start_and_no_rebalance(definition: ListenerDefinition) {
    let ground = Ground::new(2).await;
    let diary = Diary::default();
    let builder = ground
        .registry()
        .register(definition)
        .state(diary.clone())
        // A busy machine may keep a heartbeat waiting for a second or two.
        .set("listener.session_timeout", "6s")
        .set("listener.heartbeat_interval", "300ms")
        .set("listener.max_poll_interval", MAX_POLL_INTERVAL)
        .set("listener.revoke_timeout", "1s");
    let listeners = builder.start().await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    let before = broker().group(&ground.group).await.unwrap();
    broker().produce_orders(&ground.topic, 10).await.unwrap();

    // Health says what nobody else would: the handler has been running for longer than max_poll_interval.
    let told = || async {
        let live = listeners.health().live;
        ensure!(live.reasons.iter().any(|reason| reason.contains("longer than max_poll_interval")), "{live:?}");
        Ok(())
    };
    eventually(SOON, "health calls the handler stuck", told).await.unwrap();
    assert_eq!(broker().group(&ground.group).await.unwrap(), before);
    diary.wait("all is handled", |entries| entries.iter().filter(|one| one.ended.is_some()).count() == 10).await;
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();

    assert_eq!(broker().group(&ground.group).await.unwrap(), before, "the member is the same one");
    assert!(listeners.health().live.ok, "{:?}", listeners.health());
    let longest = diary.entries().iter().filter_map(|one| Some(one.ended? - one.began)).max();
    assert!(longest >= Some(2 * MAX_POLL_INTERVAL), "the handler was not long: {longest:?}");
    let rebalances: Vec<_> = log_of(&ground.group).into_iter().filter(|line| !line.field("kind").is_empty()).collect();
    assert_eq!(rebalances.len(), 1, "{rebalances:?}");
    listeners.shutdown().await.into_result().unwrap();
    for partition in 0..2 {
        diary.check_each_once_in_order(partition, 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_awaits_beyond_max_poll_interval_is_started_once_and_costs_no_rebalance() {
    check_one_start_and_no_rebalance(listener!(awaits)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_beyond_max_poll_interval_is_started_once_and_costs_no_rebalance() {
    check_one_start_and_no_rebalance(listener!(blocks)).await;
}
