//! Where partitions begin, which of them are read, and what is read of partitions that come later.

use kafka_listener::ContainerState;
use support::{Record, broker, eventually, unique};

use super::{SOON, Shelf, reader};

const OLD: i64 = 1_700_000_000_000;

/// A topic of one partition with ten records a minute apart, whose group has committed 4.
async fn topic_and_group() -> (String, String) {
    let (topic, group) = (unique("prices"), unique("group"));
    broker().create_topic(&topic, 1).await.unwrap();
    for n in 0..10 {
        let record = Record::to(&topic).partition(0).timestamp(OLD + n * 60_000).payload(n.to_string());
        broker().produce(record).await.unwrap();
    }
    let shelf = Shelf::default();
    let builder = reader(&topic, &shelf).set("listener.group_id", group.as_str()).set("listener.commit", true);
    let listeners = builder.set("listener.initial_offset", 4).start().await.unwrap();
    shelf.wait_for(6).await;
    listeners.shutdown().await.into_result().unwrap();
    broker().produce(Record::to(&topic).partition(0).timestamp(OLD + 600_000).payload("10")).await.unwrap();
    (topic, group)
}

/// The first offset that is read of such a topic, of which the group has committed 10, and of which the end is 11.
async fn check(initial_offset: &str, first: Option<i64>) {
    let (topic, group) = topic_and_group().await;
    let shelf = Shelf::default();
    let mut builder =
        reader(&topic, &shelf).set("listener.initial_offset", initial_offset).set("listener.until", "end");
    if initial_offset.starts_with("committed") {
        builder = builder.set("listener.group_id", group.as_str());
    }
    let listeners = builder.start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let expected: Vec<i64> = first.map_or_else(Vec::new, |first| (first..11).collect());
    assert_eq!(shelf.offsets(0), expected, "{initial_offset}");
    // Reading commits nothing by itself.
    assert_eq!(broker().committed(&group, &topic).await.unwrap()[&0], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_begin_where_they_are_told_to() {
    for (initial_offset, first) in [
        ("beginning", Some(0)),
        ("beginning+3", Some(3)),
        ("beginning+99", None),
        ("end", None),
        ("end-2", Some(9)),
        ("end-99", Some(0)),
        ("7", Some(7)),
        ("committed", Some(10)),
        ("committed-4", Some(6)),
        ("committed+1", None),
        ("timestamp:1700000300000", Some(5)),
        ("timestamp:2023-11-14T22:13:21Z", Some(1)),
        ("timestamp:1800000000000", None),
        ("by_duration:1h", None),
        ("by_duration:1000w", Some(0)),
    ] {
        check(initial_offset, first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_partitions_named_are_read_each_from_its_own_place() {
    let topic = unique("prices");
    broker().create_topic(&topic, 6).await.unwrap();
    broker().produce_orders(&topic, 60).await.unwrap();
    let shelf = Shelf::default();
    let builder =
        reader(&topic, &shelf).set("listeners.reader.partitions", "0-1,4@7,5@end").set("listener.until", "end");
    let listeners = builder.start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let expected = (0..10).map(|n| (0, n)).chain((0..10).map(|n| (1, n))).chain((7..10).map(|n| (4, n)));
    assert_eq!(shelf.places(), expected.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_consumers_share_the_partitions_between_them() {
    let topic = unique("prices");
    broker().create_topic(&topic, 5).await.unwrap();
    broker().produce_orders(&topic, 500).await.unwrap();
    let shelf = Shelf::default();
    let listeners =
        reader(&topic, &shelf).set("listener.consumers", 2).set("listener.until", "end").start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    assert_eq!(listeners.container("reader").unwrap().state(), ContainerState::Completed);
    shelf.check_whole(&topic).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_later_are_read_from_their_beginning() {
    let topic = unique("prices");
    broker().create_topic(&topic, 1).await.unwrap();
    let shelf = Shelf::default();
    let listeners = reader(&topic, &shelf).start().await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    broker().create_partitions(&topic, 3).await.unwrap();
    broker().produce_orders(&topic, 30).await.unwrap();
    shelf.wait_for(30).await;
    shelf.check_whole(&topic).await;
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_comes_later_is_waited_for_and_a_topic_that_comes_anew_is_read_anew() {
    let topic = unique("prices");
    let shelf = Shelf::default();
    let listeners = reader(&topic, &shelf).start().await.unwrap();
    let container = listeners.container("reader").unwrap();
    let said = || async { Ok(!super::super::common::log_of(&format!("topic `{topic}`")).is_empty()) };
    eventually(SOON, "the missing topic is named", said).await.unwrap();
    assert_eq!(container.state(), ContainerState::Starting);
    assert!(!listeners.health().ready.ok);

    broker().create_topic(&topic, 1).await.unwrap();
    broker().produce_orders(&topic, 5).await.unwrap();
    shelf.wait_for(5).await;
    assert!(listeners.health().ready.ok, "{:?}", listeners.health());

    broker().delete_topic(&topic).await.unwrap();
    eventually(SOON, "its partition is given back", || async { Ok(container.status().partitions.is_empty()) })
        .await
        .unwrap();
    broker().create_topic(&topic, 1).await.unwrap();
    broker().produce_orders(&topic, 7).await.unwrap();
    shelf.wait_for(12).await;
    assert_eq!(shelf.offsets(0)[5..], (0..7).collect::<Vec<_>>());
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_missing_fails_the_start_where_that_is_asked_for() {
    let topic = unique("prices");
    broker().create_topic(&topic, 2).await.unwrap();
    let shelf = Shelf::default();
    let builder =
        reader(&topic, &shelf).set("listeners.reader.partitions", "0-3").set("listener.missing_topics", "fail");
    let listeners = builder.start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let failure = listeners.container("reader").unwrap().failure().unwrap();
    assert!(failure.contains(&format!("`{topic}-2` of 2")) && failure.contains(&format!("`{topic}-3`")), "{failure}");
}
