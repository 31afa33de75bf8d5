//! Reading from somewhere else while the group lives on: seek and replay, and what comes between them and their end.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use kafka_listener::{CommitOutcome, ListenerContainer, ListenerRegistry, SeekOutcome, SeekTo, TopicPartition};
use serde_json::json;
use support::{Record, broker, eventually, unique};

use super::desk::{Desk, Journal, LISTENER, SOON, Step, registry};

const RECORDS: i64 = 20;
/// More than a test waits: what is drained is released by the test, never cancelled by the clock.
const PATIENCE: &str = "150s";

/// A listener on a topic with [`RECORDS`] orders in each partition.
struct Shop {
    topic: String,
    group: String,
    journal: Journal,
    desk: Desk,
    listeners: ListenerRegistry,
    container: ListenerContainer,
}

impl Shop {
    /// `held` is the record of partition 0 at which the handler waits to be released.
    async fn open(partitions: i32, held: Option<i64>) -> Self {
        let (topic, group) = (unique("orders"), unique("group"));
        broker().create_topic(&topic, partitions).await.unwrap();
        let journal = Journal::default();
        let desk = Desk::new("only", &journal);
        if let Some(offset) = held {
            desk.hold(0, offset);
        }
        for partition in 0..partitions {
            produce(&topic, partition, RECORDS).await;
        }
        let builder = registry(broker(), &topic, &group, &desk).set("listener.revoke_timeout", PATIENCE);
        let listeners = builder.start().await.unwrap();
        let container = listeners.container(LISTENER).unwrap();
        let shop = Self { topic, group, journal, desk, listeners, container };
        match held {
            Some(offset) => shop.journal.wait_for(Step::Started, 0, offset).await,
            None => broker().wait_for_commits_to_end(&shop.group, &shop.topic, SOON).await.unwrap(),
        }
        shop
    }

    fn partition(&self, partition: i32) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), partition)
    }

    async fn committed(&self) -> Option<i64> {
        broker().committed(&self.group, &self.topic).await.unwrap().get(&0).copied()
    }

    /// The offsets of partition 0 that were handled from this line of the journal on.
    fn handled(&self, from: usize) -> Vec<i64> {
        let places = self.journal.places(Step::Ended);
        places[from..].iter().filter(|place| place.0 == 0).map(|place| place.1).collect()
    }

    /// Waits until no other record of partition 0 is started.
    async fn drains(&self) {
        let drains = || async { self.container.status().partitions[0].draining };
        eventually(SOON, "the record that runs is the last", drains).await.unwrap();
    }

    async fn close(self) -> Journal {
        broker().wait_for_commits_to_end(&self.group, &self.topic, SOON).await.unwrap();
        self.listeners.shutdown().await.into_result().unwrap();
        self.journal
    }
}

/// The time of the first record of every partition; the others follow a second apart.
static FIRST: LazyLock<SystemTime> = LazyLock::new(|| SystemTime::now() - Duration::from_secs(3_600));

async fn produce(topic: &str, partition: i32, count: i64) {
    let begin = broker().end_offsets(topic).await.unwrap().get(&partition).copied().unwrap_or(0);
    let first = i64::try_from(FIRST.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let order = |offset: i64| {
        let record = Record::to(topic).partition(partition).timestamp(first + offset * 1_000);
        record.json(json!({"orderId": "ORDER-1"}))
    };
    broker().produce_all((begin..begin + count).map(order).collect::<Vec<_>>()).await.unwrap();
}

/// The record written so many seconds after the first.
fn seconds(seconds: u64) -> SeekTo {
    SeekTo::Time(*FIRST + Duration::from_millis(seconds * 1_000 - 500))
}

fn applied(offset: i64, skipped: u64) -> SeekOutcome {
    // The enum is open for more variants, not for more fields.
    SeekOutcome::Applied { offset, skipped, commit: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_goes_where_it_is_told_and_what_is_behind_it_is_handled_once_more() {
    let shop = Shop::open(1, None).await;
    let targets = [
        (SeekTo::Offset(15), 15),
        (SeekTo::Relative(-3), 17),
        (SeekTo::Beginning, 0),
        (SeekTo::Relative(-1_000), 0),
        (seconds(12), 12),
        (SeekTo::Time(SystemTime::now()), RECORDS),
        (SeekTo::End, RECORDS),
    ];
    for (to, offset) in targets {
        let before = shop.journal.count(Step::Ended);
        assert_eq!(shop.container.seek(&shop.partition(0), to).await, applied(offset, 0), "{to:?}");
        shop.journal.wait_for_count(Step::Ended, before + usize::try_from(RECORDS - offset).unwrap()).await;
        broker().wait_for_commits_to_end(&shop.group, &shop.topic, SOON).await.unwrap();
        assert_eq!(shop.handled(before), (offset..RECORDS).collect::<Vec<_>>(), "{to:?}");
    }
    let partition = shop.container.status().partitions[0].clone();
    assert_eq!((partition.position, partition.lag), (Some(RECORDS), Some(0)));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_to_where_nothing_is_says_so_and_changes_nothing() {
    let shop = Shop::open(1, Some(4)).await;
    let nowhere = SeekOutcome::OutOfRange { first: 0, end: RECORDS };
    for offset in [-1, RECORDS + 1] {
        assert_eq!(shop.container.seek(&shop.partition(0), SeekTo::Offset(offset)).await, nowhere);
    }
    assert_eq!(shop.container.seek(&shop.partition(7), SeekTo::End).await, SeekOutcome::NotAssigned);
    shop.desk.release(0, 4);
    shop.close().await.assert_each_once(&BTreeMap::from([(0, RECORDS)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_ahead_lets_the_record_that_runs_finish_and_counts_what_it_skips() {
    let shop = Shop::open(1, Some(4)).await;
    let seek = tokio::spawn({
        let (container, partition) = (shop.container.clone(), shop.partition(0));
        async move { container.seek(&partition, SeekTo::Offset(15)).await }
    });
    shop.drains().await;
    shop.desk.release(0, 4);
    assert_eq!(seek.await.unwrap(), applied(15, 10));
    shop.journal.wait_for(Step::Ended, 0, RECORDS - 1).await;
    assert_eq!(shop.handled(0), (0..=4).chain(15..RECORDS).collect::<Vec<_>>());
    assert_eq!(shop.container.status().skipped, 10);
    assert_eq!(shop.close().await.count(Step::Cancelled), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_does_not_end_in_time_is_cancelled_for_a_seek() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 1).await.unwrap();
    produce(&topic, 0, RECORDS).await;
    let journal = Journal::default();
    let desk = Desk::new("only", &journal);
    desk.hold(0, 4);
    let builder = registry(broker(), &topic, &group, &desk).set("listener.revoke_timeout", "500ms");
    let listeners = builder.start().await.unwrap();
    journal.wait_for(Step::Started, 0, 4).await;
    let container = listeners.container(LISTENER).unwrap();
    let outcome = container.seek(&TopicPartition::new(topic.as_str(), 0), SeekTo::Relative(1)).await;
    assert_eq!(outcome, applied(5, 1), "the record that is stuck is skipped");
    journal.wait_for(Step::Ended, 0, RECORDS - 1).await;
    assert_eq!(journal.places(Step::Cancelled), [(0, 4)]);
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    assert!(!journal.has(Step::Ended, 0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_to_be_committed_is_before_anything_of_it_is_handled() {
    let shop = Shop::open(1, None).await;
    let paused = shop.container.pause_partition(&shop.partition(0)).await.unwrap();
    assert_eq!(paused, kafka_listener::PauseOutcome::Applied);
    let outcome = shop.container.seek_and_commit(&shop.partition(0), SeekTo::Offset(5)).await;
    let commit = Some(CommitOutcome::Committed);
    assert_eq!(outcome, SeekOutcome::Applied { offset: 5, skipped: 0, commit });
    assert_eq!(shop.committed().await, Some(5));
    assert_eq!(shop.journal.count(Step::Started), 20, "the pause stays");
    shop.container.resume_partition(&shop.partition(0)).await.unwrap();
    shop.journal.wait_for_count(Step::Ended, 35).await;
    assert_eq!(shop.handled(20), (5..RECORDS).collect::<Vec<_>>());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_handles_a_range_once_more_and_goes_on_where_it_was() {
    let shop = Shop::open(1, None).await;
    for (from, to) in [(SeekTo::Offset(5), SeekTo::Offset(10)), (seconds(5), seconds(10))] {
        let before = shop.journal.count(Step::Ended);
        let outcome = shop.container.replay(&shop.partition(0), from, to).await;
        assert!(matches!(outcome, SeekOutcome::Applied { offset: 5, skipped: 0, .. }), "{outcome}");
        // The end of the replay commits where the partition was: nothing else brings it back there.
        let back = || async { shop.committed().await == Some(RECORDS) };
        eventually(SOON, "the partition is back where it was", back).await.unwrap();
        assert_eq!(shop.handled(before), [5, 6, 7, 8, 9]);
    }
    // All of what was handled: it goes on by itself.
    let before = shop.journal.count(Step::Ended);
    let outcome = shop.container.replay(&shop.partition(0), SeekTo::Offset(18), SeekTo::End).await;
    assert!(matches!(outcome, SeekOutcome::Applied { offset: 18, .. }), "{outcome}");
    produce(&shop.topic, 0, 3).await;
    shop.journal.wait_for(Step::Ended, 0, RECORDS + 2).await;
    assert_eq!(shop.handled(before), [18, 19, 20, 21, 22]);
    let nothing = SeekOutcome::OutOfRange { first: 0, end: RECORDS + 3 };
    let outcome = shop.container.replay(&shop.partition(0), SeekTo::Offset(7), SeekTo::Offset(7)).await;
    assert_eq!(outcome, nothing);
    let status = shop.container.status();
    assert_eq!((status.skipped, status.possibly_repeated), (0, 0));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_seek_takes_the_place_of_one_that_still_waits() {
    let shop = Shop::open(1, Some(4)).await;
    let seek = |to| {
        let (container, partition) = (shop.container.clone(), shop.partition(0));
        tokio::spawn(async move { container.seek(&partition, to).await })
    };
    let first = seek(SeekTo::Offset(10));
    let second = seek(SeekTo::Offset(18));
    // Whichever came later stands, and waits for the record that runs.
    eventually(SOON, "one is answered", || async { first.is_finished() || second.is_finished() }).await.unwrap();
    shop.drains().await;
    assert!(!(first.is_finished() && second.is_finished()));
    shop.desk.release(0, 4);
    let mut outcomes = [first.await.unwrap(), second.await.unwrap()];
    outcomes.sort_by_key(|outcome| *outcome != SeekOutcome::Superseded);
    let SeekOutcome::Applied { offset, .. } = outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(outcomes[0], SeekOutcome::Superseded);
    shop.journal.wait_for(Step::Ended, 0, RECORDS - 1).await;
    assert_eq!(shop.handled(0), (0..=4).chain(offset..RECORDS).collect::<Vec<_>>());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_goes_takes_its_seek_with_it() {
    let shop = Shop::open(2, Some(4)).await;
    let seek = |partition: i32| {
        let (container, partition) = (shop.container.clone(), shop.partition(partition));
        tokio::spawn(async move { container.seek(&partition, SeekTo::Offset(10)).await })
    };
    let of_one = seek(1).await.unwrap();
    assert!(matches!(of_one, SeekOutcome::Applied { offset: 10, .. }), "{of_one}");
    let of_zero = seek(0);
    shop.drains().await;
    let stopping = tokio::spawn({
        let listeners = shop.listeners.clone();
        async move { listeners.shutdown().await }
    });
    let stops = || async { shop.container.state() == kafka_listener::ContainerState::Stopping };
    eventually(SOON, "it is stopping", stops).await.unwrap();
    shop.desk.release(0, 4);
    stopping.await.unwrap().into_result().unwrap();
    assert_eq!(of_zero.await.unwrap(), SeekOutcome::NotAssigned);
    assert_eq!(shop.committed().await, Some(5));
    assert_eq!(shop.container.seek(&shop.partition(0), SeekTo::End).await, SeekOutcome::NotAssigned);
}
