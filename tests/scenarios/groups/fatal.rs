//! Fatal errors of a client: what `on_fatal` makes of them, and what becomes of the other listeners.

use std::time::Duration;

use kafka_listener::extract::{RawPayload, State};
use kafka_listener::{ContainerState, Error, ListenerRegistryBuilder, RecordMetadata, kafka_listener, listener};
use support::{Cluster, ClusterOptions, broker, eventually, unique};

use super::crew::SOON;
use crate::common::{Diary, Ground};
use crate::desk::{Desk, Journal, LISTENER, registry};

#[kafka_listener(id = "sound")]
async fn sound(_: RawPayload, meta: RecordMetadata, State(diary): State<Diary>) {
    drop(diary.begin(&meta));
}

#[kafka_listener(id = "broken", group_id = "${app.other-group}")]
async fn broken(_: RawPayload, meta: RecordMetadata, State(diary): State<Diary>) {
    drop(diary.begin(&meta));
}

/// A listener that is well, and one whose group knows no such assignor: a fatal error of its client.
async fn two_listeners(on_fatal: &str) -> (Ground, Diary, ListenerRegistryBuilder) {
    let ground = Ground::new(1).await;
    let diary = Diary::default();
    let builder = ground
        .registry()
        .register(listener!(sound))
        .register(listener!(broken))
        .state(diary.clone())
        .set("app.other-group", unique("group"))
        .set("listener.on_fatal", on_fatal)
        .set("listeners.broken.group_id", unique("group"))
        .set("listeners.broken.group_protocol", "consumer")
        .set("listeners.broken.group_remote_assignor", "by-dice");
    (ground, diary, builder)
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_fails_this_listener_and_the_others_go_on() {
    let (ground, diary, builder) = two_listeners("stop").await;
    let listeners = builder.start().await.unwrap();
    let container = listeners.container("broken").unwrap();
    let state = tokio::time::timeout(SOON, container.stopped()).await.unwrap();
    assert_eq!(state, ContainerState::Failed);
    assert!(container.failure().is_some_and(|reason| reason.contains("fatal error")), "{:?}", container.failure());
    assert!(!listeners.health().live.ok);
    let all = tokio::time::timeout(Duration::from_millis(500), listeners.stopped()).await;
    assert!(all.is_err(), "the registry goes on");
    broker().produce_orders(&ground.topic, 10).await.unwrap();
    diary
        .wait("the sound one handles", |entries| entries.iter().filter(|entry| entry.ended.is_some()).count() >= 10)
        .await;
    assert_eq!(listeners.container("sound").unwrap().state(), ContainerState::Running);
    let report = listeners.shutdown().await;
    assert!(matches!(report.into_result(), Err(Error::Failed { listener, .. }) if listener == "broken"));
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_ends_the_others_too() {
    let (ground, diary, builder) = two_listeners("exit").await;
    let listeners = builder.set("listeners.broken.auto_startup", false).start().await.unwrap();
    broker().produce_orders(&ground.topic, 10).await.unwrap();
    diary
        .wait("the sound one handles", |entries| entries.iter().filter(|entry| entry.ended.is_some()).count() >= 10)
        .await;
    assert_eq!(listeners.container("sound").unwrap().state(), ContainerState::Running);
    listeners.container("broken").unwrap().start().unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.expect("one failure is the end of all");
    let report = listeners.shutdown().await;
    assert!(matches!(report.into_result(), Err(Error::Failed { listener, .. }) if listener == "broken"));
    broker().wait_for_members(&ground.group, 0, SOON).await.unwrap();

    let (_, _, builder) = two_listeners("exit").await;
    let ended = tokio::time::timeout(SOON, builder.run()).await.expect("`run` ends by itself");
    let Err(Error::Failed { listener, reason }) = ended else { panic!("{ended:?}") };
    assert_eq!(listener, "broken");
    assert!(reason.contains("fatal error"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_gives_the_listener_another_client_until_it_can_go_on() {
    let options = ClusterOptions {
        properties: vec![("group.consumer.max.size".to_owned(), "1".to_owned())],
        ..ClusterOptions::default()
    };
    let cluster = Cluster::start_with(1, &options).await.unwrap();
    let (topic, group) = (unique("orders"), unique("group"));
    cluster.create_topic(&topic, 2).await.unwrap();
    cluster.produce_orders(&topic, 20).await.unwrap();
    let journal = Journal::default();
    let start = |name| {
        let registry = registry(&cluster, &topic, &group, &Desk::new(name, &journal));
        registry.set("listener.group_protocol", "consumer").set("listener.on_fatal", "restart").start()
    };
    let first = start("first").await.unwrap();
    journal.wait_for_ended(20).await;

    // The group is full, which is a fatal error.
    let second = start("second").await.unwrap();
    let container = second.container(LISTENER).unwrap();
    let restarted = || async {
        let consumer = &container.status().consumers[0];
        anyhow::ensure!(consumer.restarts >= 2 && consumer.last_fatal.is_some(), "{consumer:?}");
        Ok(())
    };
    eventually(SOON, "it was given another client", restarted).await.unwrap();
    assert!(!second.health().ready.ok && second.health().live.ok, "{:?}", second.health());
    assert!(second.status().to_string().contains("was restarted"), "{}", second.status());
    first.shutdown().await.into_result().unwrap();
    cluster.produce_orders(&topic, 20).await.unwrap();
    journal.wait_for_ended(40).await;
    assert_eq!(container.state(), ContainerState::Running);
    cluster.wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    second.shutdown().await.into_result().unwrap();
    journal.assert_each_once(&cluster.end_offsets(&topic).await.unwrap());
}
