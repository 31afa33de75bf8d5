//! A member that stops is gone for its group at once, whatever it was in the middle of: nobody waits for its session.

use std::time::Duration;

use anyhow::ensure;
use kafka_listener::{ContainerState, ListenerRegistry, kafka_listener, listener};
use rdkafka::types::RDKafkaApiKey as Api;
use serde_json::Value;
use support::{Effect, Kafka, Requests, broker, eventually};

use crate::common::{Ground, SOON};
use crate::desk::{Desk, LISTENER};
use crate::wire::Wire;

/// Of a member that is missed, the group is rid after `session_timeout` (45 s). One that has left costs a heartbeat or
/// two; the rest is for slow machines.
const AT_ONCE: Duration = Duration::from_secs(15);

#[kafka_listener(id = "leaving")]
async fn handle(_order: Value) {}

async fn member(ground: &Ground, strategy: &str) -> ListenerRegistry {
    let builder = ground.registry().register(listener!(handle));
    builder.set("listener.partition_assignment_strategy", strategy).start().await.unwrap()
}

fn owned(listeners: &ListenerRegistry) -> usize {
    listeners.status().listeners[0].partitions.len()
}

/// Waits until the group has one member, which owns both partitions.
async fn is_alone(kafka: &Kafka, group: &str, keeper: &ListenerRegistry) {
    kafka.wait_for_members(group, 1, AT_ONCE).await.unwrap();
    let has_both = || async {
        ensure!(owned(keeper) == 2, "{}", keeper.status());
        Ok(())
    };
    eventually(AT_ONCE, "whoever stays owns everything", has_both).await.unwrap();
}

/// Waits until the two members own a partition each.
async fn share(keeper: &ListenerRegistry, next: &ListenerRegistry) {
    let shared = || async {
        ensure!((owned(keeper), owned(next)) == (1, 1), "{}\n{}", keeper.status(), next.status());
        Ok(())
    };
    eventually(AT_ONCE, "the next member gets its share", shared).await.unwrap();
}

async fn check_stops_in_the_middle_of_a_join(strategy: &str, rounds: u64) {
    let ground = Ground::new(2).await;
    let keeper = member(&ground, strategy).await;
    keeper.wait_until_assigned(SOON).await.unwrap();
    for round in 0..rounds {
        let newcomer = member(&ground, strategy).await;
        // From before its first word to the group to behind its first assignment: a join takes about a second.
        tokio::time::sleep(Duration::from_millis(round * 1_500 / rounds)).await;
        newcomer.shutdown().await.into_result().unwrap();
        is_alone(broker(), &ground.group, &keeper).await;
    }
    let last = member(&ground, strategy).await;
    share(&keeper, &last).await;
    for listeners in [last, keeper] {
        listeners.shutdown().await.into_result().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_in_the_middle_of_a_join_is_not_missed() {
    check_stops_in_the_middle_of_a_join("cooperative-sticky", 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_in_the_middle_of_an_eager_join_is_not_missed() {
    check_stops_in_the_middle_of_a_join("range", 8).await;
}

/// A member is told to stop while the coordinator's answer to this request of its first join is on its way.
async fn check_stops_before_the_answer_to(api: Api, strategy: &str) {
    let wire = Wire::new(2, 0).await;
    let keeper_desk = Desk::new("keeper", &wire.journal);
    let with = |builder: kafka_listener::ListenerRegistryBuilder| {
        builder.set("listener.partition_assignment_strategy", strategy)
    };
    let keeper = with(wire.neighbour(&keeper_desk)).start().await.unwrap();
    keeper.wait_until_assigned(SOON).await.unwrap();

    let answer = wire.inject(Requests::to(api).first(1), Effect::HoldAnswer);
    let newcomer = with(wire.member()).start().await.unwrap();
    answer.wait_for_hits(1, SOON).await.unwrap();
    let stopping = newcomer.clone();
    let stop = tokio::spawn(async move { stopping.shutdown().await });
    let container = newcomer.container(LISTENER).unwrap();
    let stops = || async { matches!(container.state(), ContainerState::Stopping | ContainerState::Stopped) };
    eventually(SOON, "it stops", stops).await.unwrap();
    // Time for a client that does not wait for the answer to go without it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    answer.lift();
    stop.await.unwrap().into_result().unwrap();

    is_alone(Wire::broker(), &wire.group, &keeper).await;
    // A member that went without a name would hold this one up.
    let next_desk = Desk::new("next", &wire.journal);
    let next = with(wire.neighbour(&next_desk)).start().await.unwrap();
    share(&keeper, &next).await;
    for listeners in [next, keeper] {
        listeners.shutdown().await.into_result().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_before_it_has_a_name_is_not_missed() {
    check_stops_before_the_answer_to(Api::JoinGroup, "cooperative-sticky").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_before_it_has_its_assignment_is_not_missed() {
    check_stops_before_the_answer_to(Api::SyncGroup, "cooperative-sticky").await;
    check_stops_before_the_answer_to(Api::SyncGroup, "range").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spare_that_stops_is_not_missed() {
    let ground = Ground::new(2).await;
    let mut members = Vec::new();
    for count in 1..=3 {
        members.push(member(&ground, "cooperative-sticky").await);
        broker().wait_for_members(&ground.group, count, SOON).await.unwrap();
    }
    let settled = || async {
        let generations: Vec<_> = members.iter().map(|one| one.status().listeners[0].consumers[0].generation).collect();
        ensure!(generations.iter().all(|one| *one == generations[0]), "{generations:?}");
        let mut partitions: Vec<_> = members.iter().map(owned).collect();
        partitions.sort_unstable();
        ensure!(partitions == [0, 1, 1], "{partitions:?}");
        Ok(())
    };
    eventually(SOON, "one of them is a spare", settled).await.unwrap();

    let spare = members.remove(members.iter().position(|one| owned(one) == 0).unwrap());
    spare.shutdown().await.into_result().unwrap();
    broker().wait_for_members(&ground.group, 2, AT_ONCE).await.unwrap();
    members.pop().unwrap().shutdown().await.into_result().unwrap();
    let keeper = members.pop().unwrap();
    is_alone(broker(), &ground.group, &keeper).await;
    keeper.shutdown().await.into_result().unwrap();
}
