//! Consumers and slots that have nothing to do are named once, and make nothing red.

use kafka_listener::extract::State;
use kafka_listener::status::ListenerStatus;
use kafka_listener::{ListenerError, kafka_listener, listener};
use support::eventually;

use crate::common::{Desk, Ground, Order, SOON, wait_for_status};
use crate::log::lines_saying;

#[kafka_listener(id = "roomy", consumers = 2, concurrency = 4)]
async fn roomy(order: Order, State(desk): State<Desk>) -> Result<(), ListenerError> {
    desk.handle(order).await
}

#[tokio::test]
async fn a_spare_consumer_is_ready_and_it_and_idle_slots_are_named_once() {
    let ground = Ground::new(1).await;
    let listeners =
        ground.registry().register(listener!(roomy)).set("listener.revoke_timeout", "1s").start().await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    let one_owner = |status: &ListenerStatus| status.consumers.iter().filter(|one| one.assigned == 1).count() == 1;
    wait_for_status(&listeners, "one of the two owns the partition", one_owner).await;

    let (status, health) = (listeners.status(), listeners.health());
    let spare = status.listeners[0].consumers.iter().find(|one| one.assigned == 0).unwrap().index;
    assert!(status.listeners[0].consumers.iter().all(|one| one.joined), "{status:?}");
    assert!(status.to_string().contains(&format!("consumer {spare} is a spare")), "{status}");
    assert!(health.started.ok && health.ready.ok && health.live.ok, "{health:?}");

    let spares = || lines_saying("roomy", "is a spare");
    let slots = || lines_saying("roomy", "slots of `concurrency` idle");
    let named = || async { !spares().is_empty() && !slots().is_empty() };
    eventually(SOON, "they are named", named).await.unwrap();
    // The next news of a log's end comes with a later look than the one that named them.
    for _ in 0..3 {
        let end = listeners.status().listeners[0].partitions[0].end_offset;
        ground.order(0, "one more").await;
        let looked = |status: &ListenerStatus| status.partitions[0].end_offset > end;
        wait_for_status(&listeners, "somebody looked again", looked).await;
    }
    assert_eq!((spares().len(), slots().len()), (1, 1), "once");
    assert_eq!(spares()[0].field("consumer"), spare.to_string());
    assert_eq!(spares()[0].field("group"), ground.group);
    assert_eq!((slots()[0].field("idle"), slots()[0].field("assigned")), ("3", "1"));
    assert_eq!(
        slots()[0].message(),
        "3 slots of `concurrency` idle: a partition is handled one record at a time, and this process owns 1"
    );
    listeners.shutdown().await.into_result().unwrap();
}
