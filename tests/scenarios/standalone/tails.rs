//! `until = "end"` on logs whose tails hold no record for everybody: the end is reached, and exactly what an independent
//! reader finds was read.

use std::time::Duration;

use kafka_listener::{ContainerState, Outcome};
use support::{Record, broker, eventually, unique};

use super::{SOON, Shelf, reader};

/// Reads the topic to its end and compares it with what an independent reader finds.
async fn check(topic: String) -> Shelf {
    let shelf = Shelf::default();
    let builder = reader(&topic, &shelf).set("listener.until", "end").set("listener.until_timeout", "60s");
    let listeners = builder.start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let container = listeners.container("reader").unwrap();
    assert_eq!(container.state(), ContainerState::Completed, "{:?}", container.failure());
    let report = listeners.shutdown().await;
    assert_eq!(report.listeners[0].outcome, Outcome::Completed);
    report.into_result().unwrap();
    shelf.check_whole(&topic).await;
    check_commits(&topic, &shelf).await;
    shelf
}

/// With commits the same is read, and the second time nothing, whatever the tail is.
async fn check_commits(topic: &str, plain: &Shelf) {
    let group = unique("group");
    for expected in [plain.places(), Vec::new()] {
        let shelf = Shelf::default();
        let builder = reader(topic, &shelf).set("listener.group_id", group.as_str()).set("listener.commit", true);
        let listeners = builder.set("listener.until", "end").start().await.unwrap();
        tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
        let container = listeners.container("reader").unwrap();
        assert_eq!(container.state(), ContainerState::Completed, "{:?}", container.failure());
        assert_eq!(shelf.places(), expected);
        listeners.shutdown().await.into_result().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_holes_of_compaction_and_of_aborted_transactions_that_goes_on() {
    let topic = topic().await;
    let shelf = Shelf::default();
    let listeners = reader(&topic, &shelf).start().await.unwrap();
    for round in 0..3 {
        broker().produce(price(&topic, "a", round)).await.unwrap();
        let transaction = broker().transaction().await.unwrap();
        transaction.produce(price(&topic, "b", round)).await.unwrap();
        if round == 1 { transaction.commit().await.unwrap() } else { transaction.abort().await.unwrap() }
    }
    broker().produce(price(&topic, "z", 9)).await.unwrap();
    shelf.wait_for(5).await;
    shelf.check_whole(&topic).await;
    let status = listeners.container("reader").unwrap().status();
    assert_eq!(status.partitions[0].lag, Some(0), "{status}");
    listeners.shutdown().await.into_result().unwrap();
}

async fn topic() -> String {
    let topic = unique("prices");
    broker().create_topic(&topic, 1).await.unwrap();
    topic
}

fn price(topic: &str, key: &str, price: u32) -> Record {
    Record::to(topic).partition(0).key(key).payload(price.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_with_a_record() {
    let topic = topic().await;
    broker().produce_orders(&topic, 700).await.unwrap();
    assert_eq!(check(topic).await.places().len(), 700);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_with_the_marker_of_a_commit() {
    let topic = topic().await;
    broker().produce(price(&topic, "a", 1)).await.unwrap();
    let transaction = broker().transaction().await.unwrap();
    transaction.produce(price(&topic, "b", 2)).await.unwrap();
    transaction.commit().await.unwrap();
    eventually(SOON, "the marker is written", || async { Ok(broker().end_offsets(&topic).await?[&0] == 3) })
        .await
        .unwrap();
    assert_eq!(check(topic).await.offsets(0), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_with_an_aborted_transaction() {
    let topic = topic().await;
    broker().produce(price(&topic, "a", 1)).await.unwrap();
    let transaction = broker().transaction().await.unwrap();
    for n in 0..5 {
        transaction.produce(price(&topic, "b", n)).await.unwrap();
    }
    transaction.abort().await.unwrap();
    eventually(SOON, "the marker is written", || async { Ok(broker().end_offsets(&topic).await?[&0] == 7) })
        .await
        .unwrap();
    assert_eq!(check(topic).await.offsets(0), [0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_nothing_but_an_aborted_transaction() {
    let topic = topic().await;
    let transaction = broker().transaction().await.unwrap();
    transaction.produce(price(&topic, "b", 1)).await.unwrap();
    transaction.abort().await.unwrap();
    eventually(SOON, "the marker is written", || async { Ok(broker().end_offsets(&topic).await?[&0] == 2) })
        .await
        .unwrap();
    assert_eq!(check(topic).await.offsets(0), [0_i64; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_an_open_transaction_ends_before_it() {
    let topic = topic().await;
    broker().produce(price(&topic, "a", 1)).await.unwrap();
    let transaction = broker().transaction().await.unwrap();
    transaction.produce(price(&topic, "b", 2)).await.unwrap();
    // Behind the open transaction nothing is visible, committed or not.
    broker().produce(price(&topic, "c", 3)).await.unwrap();
    assert_eq!(check(topic.clone()).await.offsets(0), [0]);
    transaction.abort().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_is_read_where_uncommitted_records_are() {
    let topic = topic().await;
    broker().produce(price(&topic, "a", 1)).await.unwrap();
    let transaction = broker().transaction().await.unwrap();
    transaction.produce(price(&topic, "b", 2)).await.unwrap();
    let shelf = Shelf::default();
    let builder =
        reader(&topic, &shelf).set("listener.until", "end").set("listener.isolation_level", "read_uncommitted");
    let listeners = builder.start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    assert_eq!(shelf.offsets(0), [0, 1]);
    transaction.abort().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_log_whose_tail_is_a_marker() {
    let topic = unique("prices");
    let compact = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
        ("delete.retention.ms", "0"),
    ];
    broker().create_topic_with(&topic, 1, &compact).await.unwrap();
    for n in 0..20 {
        broker().produce(price(&topic, "same", n)).await.unwrap();
    }
    let compacted = || async {
        // Only what lies in a segment that is closed is compacted, and a segment is closed by the next record.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let transaction = broker().transaction().await?;
        transaction.produce(price(&topic, "same", 99)).await?;
        transaction.commit().await?;
        let left = broker().read_topic(&topic).await?;
        anyhow::ensure!(left[0].offset > 15, "it begins at {}", left[0].offset);
        Ok(())
    };
    eventually(SOON * 2, "the topic is compacted", compacted).await.unwrap();
    let shelf = check(topic.clone()).await;
    let end = broker().end_offsets(&topic).await.unwrap()[&0];
    assert!(shelf.offsets(0).iter().all(|offset| *offset < end - 1), "the tail is no marker: {shelf:?} of {end}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_records_were_all_deleted() {
    let topic = topic().await;
    broker().produce_orders(&topic, 10).await.unwrap();
    broker().delete_records(&topic, 0, 10).await.unwrap();
    assert_eq!(check(topic).await.places(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_first_records_were_deleted() {
    let topic = topic().await;
    broker().produce_orders(&topic, 10).await.unwrap();
    broker().delete_records(&topic, 0, 7).await.unwrap();
    assert_eq!(check(topic).await.offsets(0), [7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_log() {
    let topic = unique("prices");
    broker().create_topic(&topic, 3).await.unwrap();
    assert_eq!(check(topic).await.places(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_partitions_of_which_some_are_empty() {
    let topic = unique("prices");
    broker().create_topic(&topic, 8).await.unwrap();
    let records = (0..3000).map(|n| Record::to(&topic).partition(n % 5).payload(n.to_string()));
    broker().produce_all(records.collect::<Vec<_>>()).await.unwrap();
    assert_eq!(check(topic).await.places().len(), 3000);
}
