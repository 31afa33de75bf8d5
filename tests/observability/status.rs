//! `status()` tells the truth about every partition, for tools and in words.

use kafka_listener::extract::State;
use kafka_listener::status::ListenerStatus;
use kafka_listener::{ContainerState, ListenerError, Phase, TopicPartition, kafka_listener, listener};

use crate::common::{Desk, Ground, Order, wait_for_status};

#[kafka_listener(id = "described")]
async fn described(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[tokio::test]
async fn status_tells_what_each_partition_does_and_what_holds_it() {
    let ground = Ground::new(4).await;
    let listeners = ground
        .registry()
        .register(listener!(described))
        .set("listener.retry.delay", "10m")
        .set("listener.retry.max_delay", "10m")
        .start()
        .await
        .unwrap();
    ground.order(0, "fine").await;
    ground.order(1, "fine").await;
    ground.order(1, "wait").await;
    ground.order(1, "behind it").await;
    ground.order(2, "fail").await;
    ground.order(3, "fine").await;
    ground.order(3, "fine").await;
    ground.order(3, "refuse").await;

    let phases = [Phase::Idle, Phase::Running, Phase::RetrySleep, Phase::Held];
    let settled = |status: &ListenerStatus| {
        let committed = status.partitions.iter().map(|one| one.committed.unwrap_or(0)).collect::<Vec<_>>();
        status.partitions.iter().map(|one| one.phase).eq(phases)
            && committed == [1, 1, 0, 2]
            && status.partitions.iter().map(|one| one.end_offset).eq([1, 3, 1, 3].map(Some))
            && status.partitions.iter().map(|one| one.position).eq([1, 3, 1, 3].map(Some))
            && (status.handled, status.failed, status.retried) == (4, 2, 1)
    };
    wait_for_status(&listeners, "every partition does what its orders tell", settled).await;

    let status = listeners.status();
    let listener = &status.listeners[0];
    assert_eq!(listener.state, ContainerState::Running);
    assert_eq!((listener.skipped, listener.possibly_repeated), (0, 0));
    let [idle, running, retried, held] = &listener.partitions[..] else { panic!("{status}") };
    assert!(idle.blocking.is_none() && idle.in_flight == 0 && idle.lag == Some(0), "{idle}");
    assert_eq!((running.in_flight, running.lag, running.position), (2, Some(2), Some(3)), "{running}");
    let blocking = |one: &kafka_listener::status::PartitionStatus| {
        let blocking = one.blocking.clone().unwrap();
        (blocking.offset, blocking.attempt, blocking.error)
    };
    assert_eq!(blocking(running), (1, 0, None));
    assert_eq!(blocking(retried), (0, 1, Some("the payment service is away".to_owned())));
    assert_eq!(blocking(held), (2, 1, Some("there is no such product".to_owned())));
    let words = without_ages(&ground.anonymous(&status.to_string()));
    insta::assert_snapshot!(words.trim_end(), @r"
    described [group] running: handled 4, failed 2, retried 1, skipped 0, dead letters 0, possibly repeated 0
      orders-0 idle: committed 1 of 1, lag 0, in flight 0
      orders-1 running: committed 1 of 3, lag 2, in flight 2, at 1 for AGE
      orders-2 waiting for retry: committed ? of 1, lag 1, in flight 1, at 0 for AGE, attempt 1: the payment service is away
      orders-3 held: committed 2 of 3, lag 1, in flight 1, at 2 for AGE, attempt 1: there is no such product
    ");
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["listeners"][0]["partitions"][3]["phase"], "held");
    assert_eq!(json["listeners"][0]["partitions"][3]["blocking"]["offset"], 2);

    let container = listeners.container("described").unwrap();
    container.pause().await.unwrap();
    ground.order(0, "while it is paused").await;
    let paused = |status: &ListenerStatus| {
        status.state == ContainerState::Paused
            && status.partitions.first().is_some_and(|one| one.phase == Phase::Paused)
    };
    wait_for_status(&listeners, "the idle partition is paused at its next record", paused).await;
    let status = listeners.status();
    assert_eq!(status.listeners[0].partitions[3].phase, Phase::Held, "a held record stays held: {status}");
    assert_eq!(status.listeners[0].partitions[1].phase, Phase::Running, "a running one goes on: {status}");

    container.resume().await.unwrap();
    ground.desk.clear();
    container.skip_held(&TopicPartition::new(ground.topic.clone(), 3), 2).await;
    let done = |status: &ListenerStatus| {
        let ends = status.partitions.iter().map(|one| (one.phase, one.lag)).collect::<Vec<_>>();
        status.state == ContainerState::Running && [0, 1, 3].iter().all(|one| ends[*one] == (Phase::Idle, Some(0)))
    };
    wait_for_status(&listeners, "all but the one that waits for its retry are done", done).await;
    assert_eq!(listeners.status().listeners[0].skipped, 1);
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status();
    assert_eq!(status.listeners[0].state, ContainerState::Stopped);
    assert!(status.listeners[0].partitions.is_empty(), "{status}");
}

/// Replaces how long something has been going on.
fn without_ages(text: &str) -> String {
    let mut parts = text.split(" for ");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_age = part.starts_with(|first: char| first.is_ascii_digit());
        let end = if is_age { part.find([',', ':', '\n']).unwrap_or(part.len()) } else { 0 };
        said = said + " for " + if is_age { "AGE" } else { "" } + &part[end..];
    }
    said
}
