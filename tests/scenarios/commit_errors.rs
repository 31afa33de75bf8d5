//! Commits that go wrong, and logs that are not what they were: what is done is committed, what is lost is counted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_listener::{ContainerState, HoldOutcome, Outcome, Phase, TopicPartition};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use serde_json::json;
use support::{CommitSampler, MockKafka, Record, broker, eventually, unique};

use super::common::log_of;
use super::desk::{Desk, Journal, LISTENER, SOON, Step, registry};

/// A mock with a topic of two partitions of ten orders each, and a group.
async fn mocked() -> (MockKafka, String, String) {
    let kafka = MockKafka::start(1).unwrap();
    let (topic, group) = (unique("orders"), unique("group"));
    kafka.create_topic(&topic, 2).unwrap();
    kafka.produce_orders(&topic, 20).await.unwrap();
    (kafka, topic, group)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_for_now_is_sent_again_until_it_gets_through() {
    use RDKafkaRespErr as Code;
    let (kafka, topic, group) = mocked().await;
    let codes = [
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        Code::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    ];
    kafka.fail_requests(RDKafkaApiKey::OffsetCommit, &codes).unwrap();
    let journal = Journal::default();
    let builder = registry(&kafka, &topic, &group, &Desk::new("only", &journal));
    let listeners = builder.set("listener.session_timeout", 6_000).start().await.unwrap();

    kafka.wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    let status = listeners.container(LISTENER).unwrap().status();
    assert_eq!((status.state, status.possibly_repeated), (ContainerState::Running, 0));
    listeners.shutdown().await.into_result().unwrap();
    journal.assert_each_once(&BTreeMap::from([(0, 10), (1, 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_the_group_has_forgotten_loses_what_it_holds_and_joins_again() {
    let kafka = MockKafka::start(1).unwrap();
    let (topic, group) = (unique("orders"), unique("group"));
    kafka.create_topic(&topic, 3).unwrap();
    let order = |partition| Record::to(&topic).partition(partition).json(json!({"orderId": "ORDER-1"}));
    kafka.produce_all((0..20).map(|n| order(n % 2))).await.unwrap();
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID];
    kafka.fail_requests(RDKafkaApiKey::OffsetCommit, &refused).unwrap();
    let journal = Journal::default();
    let desk = Desk::new("only", &journal);
    desk.hold(0, 9);
    desk.hold(1, 9);
    let listeners = registry(&kafka, &topic, &group, &desk)
        .set("listener.session_timeout", 6_000)
        .set("listener.ack_mode", "count")
        .set("listener.ack_count", 19)
        .start()
        .await
        .unwrap();
    journal.wait_for(Step::Started, 0, 9).await;
    journal.wait_for(Step::Started, 1, 9).await;
    // The nineteenth that is done is the first to have a commit asked for.
    kafka.produce(order(2)).await.unwrap();

    journal.wait_for(Step::Cancelled, 0, 9).await;
    journal.wait_for(Step::Cancelled, 1, 9).await;
    desk.release(0, 9);
    desk.release(1, 9);
    journal.wait_for_count(Step::Ended, 19 + 21).await;
    listeners.container(LISTENER).unwrap().stop().await;

    // Nine of two and one of the third were done and refused, one of each of the two was cancelled; all came once more.
    let status = listeners.container(LISTENER).unwrap().status();
    assert_eq!(status.possibly_repeated, 21);
    assert_eq!((journal.count(Step::Ended), journal.count(Step::Cancelled)), (19 + 21, 2));
    assert_eq!(kafka.committed(&group, &topic).await.unwrap(), BTreeMap::from([(0, 10), (1, 10), (2, 1)]));
    assert!(log_of(&group).iter().any(|line| line.field("kind") == "lost"));
    listeners.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_instance_fails_its_container_and_commits_nothing() {
    let (kafka, topic, group) = mocked().await;
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID];
    kafka.fail_requests(RDKafkaApiKey::OffsetCommit, &refused).unwrap();
    let journal = Journal::default();
    let builder = registry(&kafka, &topic, &group, &Desk::new("only", &journal));
    let listeners = builder.set("listener.session_timeout", 6_000).start().await.unwrap();

    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let container = listeners.container(LISTENER).unwrap();
    assert_eq!(container.state(), ContainerState::Failed);
    assert!(container.failure().unwrap().contains("fenced"), "{:?}", container.failure());
    assert_eq!(kafka.committed(&group, &topic).await.unwrap(), BTreeMap::new());
}

/// An error of the new group protocol in the answer to a member of the old one: librdkafka does nothing about it.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_fenced_and_hears_of_no_rebalance_fails_within_its_session() {
    let (kafka, topic, group) = mocked().await;
    kafka.fail_requests(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH]).unwrap();
    let journal = Journal::default();
    let builder = registry(&kafka, &topic, &group, &Desk::new("only", &journal));
    let listeners = builder.set("listener.session_timeout", 6_000).start().await.unwrap();

    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let container = listeners.container(LISTENER).unwrap();
    assert_eq!(container.state(), ContainerState::Failed);
    let failure = container.failure().unwrap();
    assert!(failure.contains("no rebalance came within session_timeout (6s)"), "{failure}");
    assert_eq!(kafka.committed(&group, &topic).await.unwrap(), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_overtakes_a_commit_that_is_still_on_its_way() {
    let (kafka, topic, group) = mocked().await;
    let journal = Journal::default();
    let desk = Desk::new("only", &journal);
    (0..2).for_each(|partition| desk.hold(partition, 5));
    let builder = registry(&kafka, &topic, &group, &desk).set("listener.session_timeout", 6_000);
    let listeners = builder.start().await.unwrap();
    journal.wait_for(Step::Started, 0, 5).await;
    journal.wait_for(Step::Started, 1, 5).await;
    let sampler = CommitSampler::start(&kafka, &group, &topic, Duration::from_millis(20)).await.unwrap();
    let five = || async { sampler.latest() == BTreeMap::from([(0, 5), (1, 5)]) };
    eventually(SOON, "what is finished is committed", five).await.unwrap();

    // From here an answer takes a second: the commit of what is released is out when the stop makes its own.
    kafka.round_trip_time(1, Duration::from_secs(1)).unwrap();
    (0..2).for_each(|partition| {
        desk.hold(partition, 7);
        desk.release(partition, 5);
    });
    journal.wait_for(Step::Started, 0, 7).await;
    journal.wait_for(Step::Started, 1, 7).await;
    let stopping = tokio::spawn(async move { listeners.shutdown().await });
    (0..2).for_each(|partition| desk.release(partition, 7));
    stopping.await.unwrap().into_result().unwrap();
    kafka.round_trip_time(1, Duration::ZERO).unwrap();

    let done = |partition| {
        let of_it = journal.places(Step::Ended).into_iter().filter(|place| place.0 == partition);
        i64::try_from(of_it.count()).unwrap()
    };
    let committed = kafka.committed(&group, &topic).await.unwrap();
    assert_eq!(committed, BTreeMap::from([(0, done(0)), (1, done(1))]));
    assert!(done(0) >= 8 && done(1) >= 8);
    assert_eq!(sampler.stop().await.unwrap().regressions(), []);
}

/// Two topics of one listener: `alive` with two partitions of ten orders each, `dead` with one of five.
async fn two_topics() -> (String, String, String) {
    let (alive, dead, group) = (unique("alive"), unique("dead"), unique("group"));
    broker().create_topic(&alive, 2).await.unwrap();
    broker().create_topic(&dead, 1).await.unwrap();
    broker().produce_orders(&alive, 20).await.unwrap();
    broker().produce_orders(&dead, 5).await.unwrap();
    (alive, dead, group)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_gone_holds_up_no_commit_of_the_others() {
    let (alive, dead, group) = two_topics().await;
    let journal = Journal::default();
    let listeners = registry(broker(), &alive, &group, &Desk::new("only", &journal))
        .set("listeners.desk.topics", vec![alive.clone(), dead.clone()])
        .set("listener.ack_mode", "count_time")
        .set("listener.ack_count", 27)
        .set("listener.ack_time", "1h")
        // A loop that stands still for a third of it has its membership confirmed by a commit.
        .set("listener.session_timeout", "4m")
        .start()
        .await
        .unwrap();
    journal.wait_for_count(Step::Ended, 25).await;
    broker().delete_topic(&dead).await.unwrap();
    assert_eq!(broker().committed(&group, &alive).await.unwrap(), BTreeMap::new());

    // With these two so much is done that the first commit is asked for, of all three partitions.
    broker().produce_orders(&alive, 2).await.unwrap();
    broker().wait_for_commits_to_end(&group, &alive, SOON).await.unwrap();
    let container = listeners.container(LISTENER).unwrap();
    // As the listener was told, not only as the broker has it.
    let told = || async {
        let partitions = container.status().partitions;
        let alive = partitions.iter().filter(|one| one.topic_partition.topic() == alive);
        alive.map(|one| one.committed).collect::<Vec<_>>() == [Some(11), Some(11)]
    };
    eventually(SOON, "the commits are acknowledged", told).await.unwrap();
    broker().produce_orders(&alive, 27).await.unwrap();
    broker().wait_for_commits_to_end(&group, &alive, SOON).await.unwrap();
    let refused: BTreeSet<String> = log_of(LISTENER)
        .into_iter()
        .filter(|line| line.message().contains("refuses to commit"))
        .map(|line| line.field("topic_partition").to_owned())
        .filter(|partition| partition.starts_with(&alive) || partition.starts_with(&dead))
        .collect();
    assert_eq!(refused, BTreeSet::from([format!("{dead}-0")]));
    listeners.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_commit_names_the_topic_that_is_gone_and_no_other() {
    let (alive, dead, group) = two_topics().await;
    let journal = Journal::default();
    let listeners = registry(broker(), &alive, &group, &Desk::new("only", &journal))
        .set("listeners.desk.topics", vec![alive.clone(), dead.clone()])
        .set("listener.ack_mode", "time")
        .set("listener.ack_time", "1h")
        .start()
        .await
        .unwrap();
    journal.wait_for_count(Step::Ended, 25).await;
    broker().delete_topic(&dead).await.unwrap();

    let report = listeners.shutdown().await;

    let Outcome::Left(left) = &report.listeners[0].outcome else { panic!("{report}") };
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].contains(&format!("`{dead}-0`")), "{left:?}");
    assert_eq!(broker().committed(&group, &alive).await.unwrap(), BTreeMap::from([(0, 10), (1, 10)]));
    assert_eq!(listeners.container(LISTENER).unwrap().status().possibly_repeated, 5);
}

/// How many records of a long log a listener says that retention took while its partition stood still at record 5; checked
/// against those that it has not handled.
async fn retention_overtakes(is_on_hold: bool) {
    const RECORDS: i64 = 200;
    const KEPT: i64 = 150;
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 1).await.unwrap();
    // 100 KB each, so that what is fetched ahead ends long before the log does.
    let filler = "x".repeat(100_000);
    let order = |n| {
        let record = Record::to(&topic).partition(0);
        if is_on_hold && n == 5 {
            record.payload("no order")
        } else {
            record.json(json!({"orderId": format!("ORDER-{n}"), "filler": filler}))
        }
    };
    broker().produce_all((0..RECORDS).map(order)).await.unwrap();
    let journal = Journal::default();
    let desk = Desk::new("only", &journal);
    desk.hold(0, 5);
    let listeners = registry(broker(), &topic, &group, &desk)
        .set("listener.prefetch", "1MiB")
        .set("listener.limits.in_flight_bytes", "1MiB")
        .start()
        .await
        .unwrap();
    let container = listeners.container(LISTENER).unwrap();
    let stands_still = || async {
        let phase = container.status().partitions.first().map(|one| one.phase);
        if is_on_hold { phase == Some(Phase::Held) } else { journal.has(Step::Started, 0, 5) }
    };
    eventually(SOON, "the partition stands still", stands_still).await.unwrap();

    broker().delete_records(&topic, 0, KEPT).await.unwrap();
    if is_on_hold {
        let held = TopicPartition::new(topic.as_str(), 0);
        assert_eq!(container.skip_held(&held, 5).await, HoldOutcome::Applied { offset: 5 });
    }
    desk.release(0, 5);
    journal.wait_for(Step::Ended, 0, RECORDS - 1).await;
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    let status = container.status();
    listeners.shutdown().await.into_result().unwrap();

    let handled: Vec<i64> = journal.places(Step::Ended).into_iter().map(|place| place.1).collect();
    let before = handled.iter().take_while(|offset| **offset < KEPT).last().unwrap() + 1;
    let expected = (0..before).chain(KEPT..RECORDS).filter(|offset| !(is_on_hold && *offset == 5));
    assert_eq!(handled, expected.collect::<Vec<_>>());
    assert!(before < KEPT, "all was fetched ahead: nothing was lost");
    assert_eq!(status.lost_to_retention, u64::try_from(KEPT - before).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_takes_before_they_are_read_are_counted_exactly() {
    retention_overtakes(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_takes_behind_a_partition_on_hold_are_counted_exactly() {
    retention_overtakes(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_anew_with_fewer_records_is_handled_from_its_begin() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 1).await.unwrap();
    broker().produce_orders(&topic, 50).await.unwrap();
    let journal = Journal::default();
    let listeners = registry(broker(), &topic, &group, &Desk::new("only", &journal)).start().await.unwrap();
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    assert_eq!(journal.count(Step::Ended), 50);

    broker().delete_topic(&topic).await.unwrap();
    broker().create_topic(&topic, 1).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();
    journal.wait_for_count(Step::Ended, 70).await;
    broker().produce_orders(&topic, 20).await.unwrap();
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    let offsets: Vec<i64> = journal.places(Step::Ended).into_iter().map(|place| place.1).collect();
    assert_eq!(offsets, (0..50).chain(0..40).collect::<Vec<_>>());
}
