//! What rebalance hooks see of the broker when they are called, and what their answers change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kafka_listener::rebalance::{Partitions, RebalanceListener, StartOffset};
use kafka_listener::{ContainerState, TopicPartition};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use support::{Kafka, MockKafka, broker, eventually, mock, unique};

use super::desk::{Desk, Journal, LISTENER, SOON, Step, registry};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Assigned,
    BeforeCommit,
    AfterCommit,
    Lost,
}

/// One call of a hook: of which partitions, and what an outside reader found committed during it.
#[derive(Clone, Debug)]
struct Called {
    call: Call,
    partitions: Vec<i32>,
    committed: BTreeMap<i32, i64>,
}

/// Hooks that look at the broker from outside.
#[derive(Clone)]
struct Witness {
    kafka: Kafka,
    topic: String,
    group: String,
    starts: BTreeMap<i32, i64>,
    called: Arc<Mutex<Vec<Called>>>,
}

impl Witness {
    fn new(kafka: &Kafka, topic: &str, group: &str) -> Self {
        let (topic, group) = (topic.to_owned(), group.to_owned());
        Self { kafka: kafka.clone(), topic, group, starts: BTreeMap::new(), called: Arc::default() }
    }

    async fn note(&self, call: Call, of: &Partitions) {
        assert_eq!((&*of.group_id, &*of.listener_id), (&*self.group, LISTENER));
        // Nobody answers while the broker is away.
        let committed = if call == Call::Lost {
            BTreeMap::new()
        } else {
            self.kafka.committed(&self.group, &self.topic).await.unwrap()
        };
        let mut partitions: Vec<i32> = of.partitions.iter().map(TopicPartition::partition).collect();
        partitions.sort_unstable();
        self.called.lock().unwrap().push(Called { call, partitions, committed });
    }

    fn calls(&self, call: Call) -> Vec<Called> {
        self.called
            .lock()
            .unwrap()
            .iter()
            .filter(|one| one.call == call && !one.partitions.is_empty())
            .cloned()
            .collect()
    }
}

#[async_trait]
impl RebalanceListener for Witness {
    async fn on_partitions_assigned(&self, assigned: Partitions) -> Vec<StartOffset> {
        self.note(Call::Assigned, &assigned).await;
        let start = |topic_partition: TopicPartition| {
            let offset = *self.starts.get(&topic_partition.partition())?;
            Some(StartOffset { topic_partition, offset })
        };
        assigned.partitions.into_iter().filter_map(start).collect()
    }

    async fn on_partitions_revoked_before_commit(&self, revoked: Partitions) {
        self.note(Call::BeforeCommit, &revoked).await;
    }

    async fn on_partitions_revoked_after_commit(&self, revoked: Partitions) {
        self.note(Call::AfterCommit, &revoked).await;
    }

    async fn on_partitions_lost(&self, lost: Partitions) {
        self.note(Call::Lost, &lost).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hook_before_the_commit_does_not_see_it_and_the_one_behind_it_does() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 2).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();
    let journal = Journal::default();
    let witness = Witness::new(broker(), &topic, &group);
    // Nothing is committed but by a revoke or the stop.
    let start = |name| {
        let builder = registry(broker(), &topic, &group, &Desk::new(name, &journal));
        let builder = builder.set("listener.ack_mode", "time").set("listener.ack_time", "1h");
        // The hooks ask the broker.
        builder.set("listener.revoke_timeout", "2m").set("listener.shutdown_timeout", "2m")
    };
    let first = start("first").rebalance_listener(witness.clone()).start().await.unwrap();
    journal.wait_for_ended(20).await;
    assert_eq!(witness.calls(Call::Assigned)[0].partitions, [0, 1]);

    let second = start("second").start().await.unwrap();
    eventually(SOON, "a partition is revoked", || async { !witness.calls(Call::AfterCommit).is_empty() })
        .await
        .unwrap();
    let (before, after) = (witness.calls(Call::BeforeCommit), witness.calls(Call::AfterCommit));
    let revoked = after[0].partitions[0];
    assert_eq!((&before[0].partitions, &after[0].partitions), (&vec![revoked], &vec![revoked]));
    assert_eq!(before[0].committed, BTreeMap::new());
    assert_eq!(after[0].committed, BTreeMap::from([(revoked, 10)]), "exactly the partition that goes");

    // It may be in the middle of its join.
    second.shutdown().await.into_result().unwrap();
    let both = || async { first.container(LISTENER).unwrap().status().partitions.len() == 2 };
    eventually(SOON, "the first member owns both again", both).await.unwrap();
    let already = witness.calls(Call::AfterCommit).len();
    first.shutdown().await.into_result().unwrap();
    let (before, after) = (witness.calls(Call::BeforeCommit), witness.calls(Call::AfterCommit));
    let (before, after) = (&before[already..], &after[already..]);
    assert_eq!((before.len(), after.len()), (1, 1), "a stop is one revoke of everything");
    assert_eq!((&before[0].partitions, &after[0].partitions), (&vec![0, 1], &vec![0, 1]));
    assert_eq!(before[0].committed, BTreeMap::from([(revoked, 10)]));
    assert_eq!(after[0].committed, BTreeMap::from([(0, 10), (1, 10)]));
    assert_eq!(witness.calls(Call::Lost).len(), 0);
    journal.assert_each_once(&broker().end_offsets(&topic).await.unwrap());
}

/// Commits go on while a drain waits, but for the partitions that go: theirs is the final one.
#[tokio::test(flavor = "multi_thread")]
async fn the_hook_before_the_commit_sees_nothing_of_what_was_finished_in_the_drain() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 2).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();
    let journal = Journal::default();
    let witness = Witness::new(broker(), &topic, &group);
    let desk = Desk::new("only", &journal);
    (0..2).for_each(|partition| desk.hold(partition, 5));
    let builder = registry(broker(), &topic, &group, &desk).set("listener.commit_interval", 10);
    let listeners = builder.rebalance_listener(witness.clone()).start().await.unwrap();
    let five = || async { anyhow::Ok(broker().committed(&group, &topic).await? == BTreeMap::from([(0, 5), (1, 5)])) };
    eventually(SOON, "what is finished before is committed", five).await.unwrap();

    let stopping = tokio::spawn({
        let listeners = listeners.clone();
        async move { listeners.shutdown().await }
    });
    let container = listeners.container(LISTENER).unwrap();
    let is_stopping = || async { container.state() == ContainerState::Stopping };
    eventually(SOON, "it is stopping", is_stopping).await.unwrap();
    // One is finished long before the drain ends, which the other one holds up.
    desk.release(0, 5);
    journal.wait_for(Step::Ended, 0, 5).await;
    for _ in 0..20 {
        assert!(five().await.unwrap(), "a partition that goes is committed by its final commit only");
    }
    desk.release(1, 5);
    stopping.await.unwrap().into_result().unwrap();

    let (before, after) = (witness.calls(Call::BeforeCommit), witness.calls(Call::AfterCommit));
    assert_eq!((before.len(), after.len()), (1, 1));
    assert_eq!(before[0].committed, BTreeMap::from([(0, 5), (1, 5)]));
    assert_eq!(after[0].committed, broker().committed(&group, &topic).await.unwrap());
    assert!(after[0].committed.values().all(|offset| *offset >= 6), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assigned_hook_chooses_where_reading_starts() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 3).await.unwrap();
    broker().produce_orders(&topic, 30).await.unwrap();
    for partition in [1, 2] {
        let consumer: BaseConsumer = broker().client_config().set("group.id", &group).create().unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&topic, partition, Offset::Offset(6)).unwrap();
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
    }
    let journal = Journal::default();
    let mut witness = Witness::new(broker(), &topic, &group);
    // Where nothing is committed, and below what is committed; the third partition has no say.
    witness.starts = BTreeMap::from([(0, 4), (1, 2)]);
    let builder = registry(broker(), &topic, &group, &Desk::new("only", &journal));
    let builder = builder.set("listener.revoke_timeout", "2m").set("listener.shutdown_timeout", "2m");
    let listeners = builder.rebalance_listener_for(LISTENER, witness.clone()).start().await.unwrap();

    journal.wait_for_ended(6 + 8 + 4).await;
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    let offsets = |partition| {
        let of_it = journal.places(Step::Ended).into_iter().filter(move |place| place.0 == partition);
        of_it.map(|place| place.1).collect::<Vec<_>>()
    };
    assert_eq!(offsets(0), (4..10).collect::<Vec<_>>());
    assert_eq!(offsets(1), (2..10).collect::<Vec<_>>());
    assert_eq!(offsets(2), (6..10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_cancels_commits_nothing_and_calls_the_lost_hook_only() {
    let kafka = MockKafka::start(1).unwrap();
    let (topic, group) = (unique("orders"), unique("group"));
    kafka.create_topic(&topic, 2).unwrap();
    kafka.produce_orders(&topic, 20).await.unwrap();
    let journal = Journal::default();
    let desk = Desk::new("only", &journal);
    desk.hold(0, 5);
    let witness = Witness::new(&kafka, &topic, &group);
    let listeners = registry(&kafka, &topic, &group, &desk)
        .set("listener.session_timeout", i64::try_from(mock::SESSION.as_millis()).unwrap())
        .set("listener.ack_mode", "time")
        .set("listener.ack_time", "1h")
        .rebalance_listener(witness.clone())
        .start()
        .await
        .unwrap();
    journal.wait_for(Step::Started, 0, 5).await;
    journal.wait_for(Step::Ended, 1, 9).await;

    kafka.down(1).unwrap();
    eventually(SOON, "the loss is told", || async { !witness.calls(Call::Lost).is_empty() }).await.unwrap();
    journal.wait_for(Step::Cancelled, 0, 5).await;
    assert_eq!(witness.calls(Call::Lost)[0].partitions, [0, 1]);
    assert_eq!((witness.calls(Call::BeforeCommit).len(), witness.calls(Call::AfterCommit).len()), (0, 0));
    // Five and ten are done and not committed, one was cancelled.
    assert_eq!(listeners.container(LISTENER).unwrap().status().possibly_repeated, 16);
    desk.release(0, 5);
    kafka.up(1).unwrap();

    // The group has nothing of it, so all is handled again.
    journal.wait_for_count(Step::Ended, 15 + 20).await;
    assert_eq!(kafka.committed(&group, &topic).await.unwrap(), BTreeMap::new());
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(kafka.committed(&group, &topic).await.unwrap(), BTreeMap::from([(0, 10), (1, 10)]));
}
