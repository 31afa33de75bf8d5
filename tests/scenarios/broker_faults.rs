//! Brokers that go away, come late or answer nobody.

use std::time::{Duration, Instant};

use kafka_listener::{ContainerState, ListenerRegistry, Outcome};
use support::{Cluster, eventually, unique};

use super::desk::{Desk, Journal, LISTENER, SOON, Step, registry};

/// A broker of its own with a topic of six partitions, and a group for it.
async fn cluster() -> (Cluster, String, String) {
    let cluster = Cluster::start(1).await.unwrap();
    let (topic, group) = (unique("orders"), unique("group"));
    cluster.create_topic(&topic, 6).await.unwrap();
    (cluster, topic, group)
}

/// The client tells when it has lost its brokers; that they are back is looked for once a second.
async fn wait_until_ready(listeners: &ListenerRegistry, ready: bool) {
    let so = || async {
        let health = listeners.health().ready;
        anyhow::ensure!(health.ok == ready, "{health:?}");
        Ok(())
    };
    eventually(SOON, &format!("ready is {ready}"), so).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_stopped_and_started_under_load_costs_nothing_but_time() {
    let (cluster, topic, group) = cluster().await;
    cluster.produce_orders(&topic, 6_000).await.unwrap();
    let journal = Journal::default();
    let desk = Desk::new("only", &journal).with_pace(Duration::from_millis(5));
    let builder = registry(&cluster, &topic, &group, &desk);
    // However long this machine takes to start a broker: the membership survives it.
    let listeners = builder.set("listener.session_timeout", "4m").start().await.unwrap();
    journal.wait_for_ended(500).await;

    cluster.stop(1).await.unwrap();
    let container = listeners.container(LISTENER).unwrap();
    assert_eq!(container.state(), ContainerState::Running);
    wait_until_ready(&listeners, false).await;
    assert!(listeners.health().live.ok, "a restart of the process would not bring the broker back");
    cluster.restart(1).await.unwrap();
    wait_until_ready(&listeners, true).await;
    cluster.produce_orders(&topic, 600).await.unwrap();
    cluster.wait_for_commits_to_end(&group, &topic, SOON * 2).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    journal.assert_each_once(&cluster.end_offsets(&topic).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_at_the_start_is_joined_when_it_comes() {
    let (cluster, topic, group) = cluster().await;
    cluster.produce_orders(&topic, 60).await.unwrap();
    cluster.stop(1).await.unwrap();
    let journal = Journal::default();

    let began = Instant::now();
    let listeners = registry(&cluster, &topic, &group, &Desk::new("only", &journal)).start().await.unwrap();
    assert!(began.elapsed() < SOON, "start waits for nobody");
    assert_eq!(listeners.container(LISTENER).unwrap().state(), ContainerState::Starting);
    let health = listeners.health();
    assert_eq!((health.started.ok, health.ready.ok, health.live.ok), (false, false, true));
    assert!(health.ready.reasons[0].contains(LISTENER), "{health:?}");
    assert!(listeners.wait_until_assigned(Duration::from_millis(200)).await.is_err());

    cluster.restart(1).await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    cluster.wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    wait_until_ready(&listeners, true).await;
    let health = listeners.health();
    assert!(health.started.ok && health.live.ok, "{health:?}");
    listeners.shutdown().await.into_result().unwrap();
    journal.assert_each_once(&cluster.end_offsets(&topic).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_never_met_a_broker_stops_at_once() {
    let (cluster, topic, group) = cluster().await;
    cluster.stop(1).await.unwrap();
    let listeners = registry(&cluster, &topic, &group, &Desk::new("only", &Journal::default())).start().await.unwrap();

    let began = Instant::now();
    listeners.shutdown_within(SOON * 2).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_keeps_its_deadline_although_the_broker_is_frozen() {
    const BUDGET: Duration = Duration::from_secs(5);
    let (cluster, topic, group) = cluster().await;
    cluster.produce_orders(&topic, 600).await.unwrap();
    let journal = Journal::default();
    let desk = Desk::new("only", &journal).with_pace(Duration::from_millis(5));
    let listeners = registry(&cluster, &topic, &group, &desk)
        .set("listener.shutdown_timeout", i64::try_from(BUDGET.as_millis()).unwrap())
        .start()
        .await
        .unwrap();
    journal.wait_for_ended(120).await;
    cluster.freeze(1).unwrap();

    let began = Instant::now();
    let report = listeners.shutdown().await;
    let took = began.elapsed();

    assert!(took < BUDGET + Duration::from_secs(1), "{took:?}");
    let Outcome::Left(left) = &report.listeners[0].outcome else { panic!("{report}") };
    assert!(left.iter().any(|line| line.contains("(unknown)")), "the last commit was not answered: {left:?}");
    assert!(left.iter().any(|line| line.contains("has not left the group")), "{left:?}");
    let ended = journal.count(Step::Ended);

    // What could not be left in time goes on trying behind our back, and gets there when the broker is back.
    assert!(ListenerRegistry::unclosed_clients() > 0);
    cluster.thaw(1).unwrap();
    cluster.wait_for_members(&group, 0, SOON).await.unwrap();
    eventually(SOON, "the client is closed", || async { ListenerRegistry::unclosed_clients() == 0 }).await.unwrap();
    assert_eq!(journal.count(Step::Ended), ended, "nothing runs behind a stop");
}
