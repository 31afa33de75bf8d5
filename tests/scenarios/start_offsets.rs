//! Where a group without a usable committed offset begins to read: `auto_offset_reset`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use kafka_listener::ContainerState;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use support::{Record, broker, eventually, unique};

use super::desk::{Desk, Journal, LISTENER, SOON, Step, registry};

const HOUR: Duration = Duration::from_secs(3600);

/// A topic of one partition with one order per age, written that long ago.
async fn topic_of_ages(ages: &[Duration]) -> String {
    let topic = unique("orders");
    broker().create_topic(&topic, 1).await.unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    for (n, age) in ages.iter().enumerate() {
        let millis = i64::try_from(now.checked_sub(*age).unwrap().as_millis()).unwrap();
        let record = Record::to(&topic).partition(0).timestamp(millis).json(json!({"orderId": format!("ORDER-{n}")}));
        broker().produce(record).await.unwrap();
    }
    topic
}

/// The offsets that a new group handles of a log with one record per age, up to its end.
async fn handled(reset: &str, ages: &[Duration]) -> Vec<i64> {
    let (topic, group) = (topic_of_ages(ages).await, unique("group"));
    let journal = Journal::default();
    let builder = registry(broker(), &topic, &group, &Desk::new("only", &journal));
    let listeners = builder.set("listener.auto_offset_reset", reset).start().await.unwrap();
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    journal.places(Step::Ended).into_iter().map(|(_, offset)| offset).collect()
}

/// The first offset that a new group handles when records keep coming behind those of these ages.
async fn first_handled(reset: &str, ages: &[Duration]) -> i64 {
    let (topic, group) = (topic_of_ages(ages).await, unique("group"));
    let journal = Journal::default();
    let builder = registry(broker(), &topic, &group, &Desk::new("only", &journal));
    let listeners = builder.set("listener.auto_offset_reset", reset).start().await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    // The end of the log is looked up after the assignment; a record written before that is rightly not read.
    eventually(SOON, "a new record is handled", || async {
        broker().produce(Record::to(&topic).partition(0).json(json!({"orderId": "ORDER-NEW"}))).await?;
        anyhow::ensure!(journal.count(Step::Ended) > 0, "none is handled");
        Ok(())
    })
    .await
    .unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let handled = journal.places(Step::Ended);
    assert!(handled.windows(2).all(|pair| pair[0].1 + 1 == pair[1].1), "{handled:?}");
    handled[0].1
}

#[tokio::test(flavor = "multi_thread")]
async fn earliest_reads_a_log_from_its_begin() {
    assert_eq!(handled("earliest", &[HOUR; 5]).await, [0, 1, 2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_reads_only_what_comes_from_now_on() {
    assert!(first_handled("latest", &[HOUR; 5]).await >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_duration_begins_at_the_first_record_that_is_young_enough() {
    let ages = [HOUR * 5, HOUR * 3, HOUR, HOUR / 2, Duration::ZERO];
    assert_eq!(handled("by_duration:2h", &ages).await, [2, 3, 4]);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_duration_begins_at_the_end_when_all_records_are_too_old() {
    assert!(first_handled("by_duration:10m", &[HOUR; 5]).await >= 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn by_duration_also_counts_when_the_committed_offset_is_gone() {
    let ages = [5, 5, 5, 5, 5, 5, 3, 1, 1, 1].map(|hours| HOUR * hours);
    let (topic, group) = (topic_of_ages(&ages).await, unique("group"));
    commit(&group, &topic, 2);
    broker().delete_records(&topic, 0, 5).await.unwrap();
    let journal = Journal::default();
    let builder = registry(broker(), &topic, &group, &Desk::new("only", &journal));
    let listeners = builder.set("listener.auto_offset_reset", "by_duration:2h").start().await.unwrap();

    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    assert_eq!(journal.places(Step::Ended), [(0, 7), (0, 8), (0, 9)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_offset_wins_over_every_reset_policy() {
    for reset in ["earliest", "latest", "error", "by_duration:1h"] {
        let (topic, group) = (topic_of_ages(&[HOUR * 2; 5]).await, unique("group"));
        commit(&group, &topic, 3);
        let journal = Journal::default();
        let builder = registry(broker(), &topic, &group, &Desk::new("only", &journal));
        let listeners = builder.set("listener.auto_offset_reset", reset).start().await.unwrap();
        broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
        listeners.shutdown().await.into_result().unwrap();
        assert_eq!(journal.places(Step::Ended), [(0, 3), (0, 4)], "{reset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn error_fails_the_container_with_the_partition_and_commits_nothing() {
    let (topic, group) = (topic_of_ages(&[HOUR; 5]).await, unique("group"));
    let journal = Journal::default();
    let builder = registry(broker(), &topic, &group, &Desk::new("only", &journal));
    let listeners = builder.set("listener.auto_offset_reset", "error").start().await.unwrap();

    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();

    let container = listeners.container(LISTENER).unwrap();
    assert_eq!(container.state(), ContainerState::Failed);
    let failure = container.failure().unwrap();
    assert!(failure.contains("auto_offset_reset") && failure.contains(&format!("{topic}-0")), "{failure}");
    assert_eq!(journal.entries(), []);
    assert_eq!(broker().committed(&group, &topic).await.unwrap(), BTreeMap::new());
}

/// Commits from outside of the group, before it has members.
fn commit(group: &str, topic: &str, offset: i64) {
    let consumer: BaseConsumer = broker().client_config().set("group.id", group).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(offset)).unwrap();
    consumer.commit(&offsets, CommitMode::Sync).unwrap();
}
