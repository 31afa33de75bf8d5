//! `health()` from the start to the stop: who is not there yet, who is stuck, and who is not.

use std::time::Duration;

use kafka_listener::extract::State;
use kafka_listener::status::ListenerStatus;
use kafka_listener::{ListenerError, Phase, kafka_listener, listener};
use support::{broker, eventually};

use crate::common::{Desk, Ground, Order, SOON, wait_for_status};

#[kafka_listener(id = "probed")]
async fn probed(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[tokio::test]
async fn health_goes_from_started_to_ready_to_stuck_to_stopping_with_reasons() {
    const TOO_LONG: Duration = Duration::from_secs(6);
    let ground = Ground::without_a_topic();
    let listeners = ground
        .registry()
        .register(listener!(probed))
        .config_str("[kafka.properties]\n\"topic.metadata.refresh.interval.ms\" = 500")
        .set("listener.session_timeout", "6s")
        .set("listener.max_poll_interval", "6s")
        .set("listener.revoke_timeout", "1s")
        .start()
        .await
        .unwrap();

    // Nobody joins for a topic that is not there.
    let health = listeners.health();
    assert_eq!(health.started.reasons, ["listener `probed` is not in its group yet"]);
    assert_eq!(health.ready.reasons, health.started.reasons);
    assert!(health.live.ok && !health.started.ok && !health.ready.ok, "{health:?}");

    broker().create_topic(&ground.topic, 2).await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    let owns_both = |status: &ListenerStatus| status.partitions.len() == 2;
    wait_for_status(&listeners, "it owns both partitions", owns_both).await;
    let health = listeners.health();
    assert!(health.started.ok && health.ready.ok && health.live.ok, "{health:?}");

    ground.order(1, "refuse").await;
    let held = |status: &ListenerStatus| status.partitions.iter().any(|one| one.phase == Phase::Held);
    wait_for_status(&listeners, "one record is held", held).await;
    ground.order(0, "wait").await;
    let stuck = || async { !listeners.health().live.ok };
    eventually(SOON, "the handler has been running for too long", stuck).await.unwrap();

    let (health, status) = (listeners.health(), listeners.status());
    assert_eq!(health.live.reasons.len(), 1, "the record that was held for longer is none of them: {health:?}");
    let reason = ground.anonymous(&health.live.reasons[0]);
    assert!(reason.starts_with("listener `probed`: the handler of `orders-0@0` has been running for "), "{reason}");
    assert!(reason.ends_with(", longer than max_poll_interval"), "{reason}");
    let of = |partition: usize| status.listeners[0].partitions[partition].blocking.as_ref().unwrap().age;
    assert!(of(0) > TOO_LONG && of(1) > of(0), "{status}");
    assert!(health.started.ok && health.ready.ok, "it is in its group all the same: {health:?}");
    assert_eq!(status.listeners[0].rebalances, 1, "and costs no rebalance");

    let stopping = tokio::spawn({
        let listeners = listeners.clone();
        async move { listeners.shutdown().await }
    });
    let told = || async { listeners.health().ready.reasons == ["listener `probed` is stopping"] };
    eventually(SOON, "it is not ready while it drains", told).await.unwrap();
    assert!(listeners.health().started.ok);

    ground.desk.clear();
    stopping.await.unwrap().into_result().unwrap();
    let health = listeners.health();
    assert_eq!(health.ready.reasons, ["listener `probed` is stopped"]);
    assert!(health.live.ok, "one that was stopped on purpose is alive: {health:?}");
}
