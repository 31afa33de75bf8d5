//! Control of partitions that no group gives: seek, replay and pause, beside the ends and the commits of such listeners.

use kafka_listener::{CommitOutcome, ContainerState, ListenerContainer, ListenerRegistry, SeekOutcome, SeekTo};
use kafka_listener::{PauseOutcome, TopicPartition};
use support::{Record, broker, eventually, unique};

use super::{SOON, Shelf, reader};

const RECORDS: i64 = 20;

async fn topic() -> String {
    let topic = unique("prices");
    broker().create_topic(&topic, 1).await.unwrap();
    produce(&topic, RECORDS).await;
    topic
}

async fn produce(topic: &str, count: i64) {
    let records = (0..count).map(|n| Record::to(topic).partition(0).payload(n.to_string()));
    broker().produce_all(records.collect::<Vec<_>>()).await.unwrap();
}

/// A reader that is through with what is in the topic.
async fn through(topic: &str, group: Option<&str>) -> (Shelf, ListenerRegistry, ListenerContainer, TopicPartition) {
    let shelf = Shelf::default();
    let mut builder = reader(topic, &shelf);
    if let Some(group) = group {
        builder = builder.set("listener.group_id", group).set("listener.commit", true);
    }
    let listeners = builder.start().await.unwrap();
    shelf.wait_for(20).await;
    let container = listeners.container("reader").unwrap();
    (shelf, listeners, container, TopicPartition::new(topic, 0))
}

fn applied(offset: i64, commit: Option<CommitOutcome>) -> SeekOutcome {
    SeekOutcome::Applied { offset, skipped: 0, commit }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_from_where_a_seek_tells_and_says_of_no_commit_that_it_was_made() {
    let topic = topic().await;
    let (shelf, listeners, container, partition) = through(&topic, None).await;
    assert_eq!(container.seek(&partition, SeekTo::Offset(15)).await, applied(15, None));
    shelf.wait_for(25).await;
    assert_eq!(container.seek(&partition, SeekTo::Relative(-3)).await, applied(17, None));
    shelf.wait_for(28).await;
    assert_eq!(container.seek_and_commit(&partition, SeekTo::Beginning).await, applied(0, None));
    shelf.wait_for(48).await;
    assert_eq!(container.replay(&partition, SeekTo::Offset(5), SeekTo::Offset(8)).await, applied(5, None));
    shelf.wait_for(51).await;
    // It goes on where it was, by itself.
    produce(&topic, 2).await;
    shelf.wait_for(53).await;
    let expected = (0..20).chain(15..20).chain(17..20).chain(0..20).chain(5..8).chain(20..22);
    assert_eq!(shelf.offsets(0), expected.collect::<Vec<_>>());
    let nowhere = SeekOutcome::OutOfRange { first: 0, end: RECORDS + 2 };
    assert_eq!(container.seek(&partition, SeekTo::Offset(99)).await, nowhere);
    assert_eq!(container.seek(&TopicPartition::new(topic.as_str(), 7), SeekTo::End).await, SeekOutcome::NotAssigned);
    let status = container.status();
    assert_eq!((status.possibly_repeated, status.partitions[0].committed), (0, None));
    listeners.shutdown().await.into_result().unwrap();
    assert!(broker().committed("kafka-listener-reader", &topic).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_commits_a_target_is_committed_under_the_group_without_members() {
    let (topic, group) = (topic().await, unique("group"));
    let (shelf, listeners, container, partition) = through(&topic, Some(&group)).await;
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    assert_eq!(container.pause_partition(&partition).await.unwrap(), PauseOutcome::Applied);
    let outcome = container.seek_and_commit(&partition, SeekTo::Offset(12)).await;
    assert_eq!(outcome, applied(12, Some(CommitOutcome::Committed)));
    assert_eq!(broker().committed(&group, &topic).await.unwrap()[&0], 12);
    container.resume_partition(&partition).await.unwrap();
    shelf.wait_for(28).await;
    assert_eq!(shelf.offsets(0), (0..20).chain(12..20).collect::<Vec<_>>());
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_reads_to_an_end_completes_when_it_has_come_there_from_where_it_was_sent() {
    let topic = topic().await;
    let shelf = Shelf::default();
    let listeners = reader(&topic, &shelf).set("listener.until", "end").start().await.unwrap();
    let container = listeners.container("reader").unwrap();
    let partition = TopicPartition::new(topic.as_str(), 0);
    // Paused before anything of it is done, it stays open for as long as the test needs.
    container.pause().await.unwrap();
    let is_taken = || async { Ok(container.status().partitions.len() == 1) };
    eventually(SOON, "the partition is taken", is_taken).await.unwrap();
    produce(&topic, 5).await;
    let ahead = container.seek(&partition, SeekTo::Offset(16)).await;
    assert!(matches!(ahead, SeekOutcome::Applied { offset: 16, .. }), "{ahead}");
    assert_eq!(container.seek(&partition, SeekTo::Offset(3)).await, applied(3, None));
    assert_eq!(container.state(), ContainerState::Paused);
    let before = shelf.offsets(0);
    container.resume().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    assert_eq!(container.state(), ContainerState::Completed, "{:?}", container.failure());
    assert_eq!(shelf.offsets(0)[before.len()..], (3..RECORDS).collect::<Vec<_>>());
    assert_eq!(container.seek(&partition, SeekTo::Beginning).await, SeekOutcome::NotAssigned);
}
