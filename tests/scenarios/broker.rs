//! The tests' own ground: brokers that obey and leave nothing behind, and what the outside witness sees of them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::ensure;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{Offset, TopicPartitionList};
use rustix::process::{Pid, test_kill_process};
use support::{Cluster, CommitSampler, Isolation, Kafka, MockKafka, Record, SOON, broker, eventually, unique};

#[tokio::test]
async fn a_produced_record_is_acknowledged_with_its_place_and_read_back_whole() {
    let topic = unique("orders");
    broker().create_topic(&topic, 2).await.unwrap();
    let full = Record::to(&topic).partition(1).key(b"\xff").json(serde_json::json!({"orderId": "ORDER-1"}));
    let full = full.header("trace", Some("a")).header("trace", None::<&str>).timestamp(1_000);

    let first = broker().produce(full).await.unwrap();
    let second = broker().produce(Record::to(&topic).partition(1)).await.unwrap();
    let stored = broker().read_topic(&topic).await.unwrap();

    assert_eq!((first.partition, first.offset), (1, 0));
    assert_eq!((second.partition, second.offset), (1, 1));
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0].key.as_deref(), Some(b"\xff".as_slice()));
    assert_eq!(stored[0].payload.as_deref(), Some(br#"{"orderId":"ORDER-1"}"#.as_slice()));
    assert_eq!(stored[0].headers, [("trace".into(), Some(b"a".to_vec())), ("trace".into(), None)]);
    assert_eq!(stored[0].timestamp, Some(1_000));
    assert_eq!((stored[1].key.as_deref(), stored[1].payload.as_deref()), (None, None));
}

#[tokio::test]
async fn an_aborted_transaction_is_seen_by_read_uncommitted_only() {
    let topic = unique("orders");
    broker().create_topic(&topic, 1).await.unwrap();

    let aborted = broker().transaction().await.unwrap();
    aborted.produce(Record::to(&topic).payload("aborted")).await.unwrap();
    aborted.abort().await.unwrap();
    let committed = broker().transaction().await.unwrap();
    committed.produce(Record::to(&topic).payload("committed")).await.unwrap();
    committed.commit().await.unwrap();

    let read = |isolation| {
        let topic = &topic;
        async move {
            let stored = broker().read_topic_with(topic, isolation).await.unwrap();
            stored.into_iter().map(|record| String::from_utf8(record.payload.unwrap()).unwrap()).collect::<Vec<_>>()
        }
    };
    assert_eq!(read(Isolation::ReadCommitted).await, ["committed"]);
    assert_eq!(read(Isolation::ReadUncommitted).await, ["aborted", "committed"]);
}

#[tokio::test]
async fn orders_are_spread_over_the_partitions_and_can_be_deleted() {
    let topic = unique("orders");
    broker().create_topic_with(&topic, 2, &[("retention.ms", "3600000")]).await.unwrap();

    broker().produce_orders(&topic, 2_001).await.unwrap();
    assert_eq!(broker().end_offsets(&topic).await.unwrap(), BTreeMap::from([(0, 1_001), (1, 1_000)]));

    broker().delete_records(&topic, 0, 400).await.unwrap();
    assert_eq!(broker().watermarks(&topic).await.unwrap()[&0], (400, 1_001));

    broker().create_partitions(&topic, 5).await.unwrap();
    assert_eq!(broker().partitions(&topic).await.unwrap().len(), 5);

    broker().delete_topic(&topic).await.unwrap();
    assert!(broker().read_topic(&topic).await.is_err());
}

#[tokio::test]
async fn the_sampler_sees_commits_and_every_step_back() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 1).await.unwrap();
    broker().produce_orders(&topic, 10).await.unwrap();
    let sampler = CommitSampler::start(broker(), &group, &topic, Duration::from_millis(10)).await.unwrap();

    for offset in [3, 7, 5, 10] {
        commit(broker(), &group, &topic, offset).unwrap();
        let seen = || async { sampler.latest() == BTreeMap::from([(0, offset)]) };
        eventually(SOON, "the commit is seen", seen).await.unwrap();
    }
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    let seen = sampler.stop().await.unwrap();

    let back: Vec<_> = seen.regressions().iter().map(|step| (step.partition, step.from, step.to)).collect();
    assert_eq!(back, [(0, 7, Some(5))]);
    assert_eq!(seen.samples.last().unwrap().committed, BTreeMap::from([(0, 10)]));
}

#[tokio::test]
async fn a_group_is_seen_with_its_members_and_what_they_own() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 2).await.unwrap();
    let mut config = broker().client_config();
    let member: BaseConsumer = config.set("group.id", &group).set("client.id", "witness").create().unwrap();
    member.subscribe(&[&topic]).unwrap();

    let joined = || async {
        ensure!(member.poll(Duration::from_millis(10)).is_none_or(|record| record.is_ok()));
        let seen = broker().group(&group).await?;
        ensure!(seen.state == "Stable", "{seen:?}");
        Ok(())
    };
    eventually(SOON, "the member has joined", joined).await.unwrap();

    let seen = broker().group(&group).await.unwrap();
    assert_eq!(seen.members.len(), 1);
    assert_eq!(seen.members[0].client_id, "witness");
    assert_eq!(seen.members[0].assignment, [(topic.clone(), 0), (topic, 1)]);
    drop(member);
    broker().wait_for_members(&group, 0, SOON).await.unwrap();
}

#[tokio::test]
async fn a_node_keeps_its_records_when_it_is_stopped_killed_or_frozen() {
    let cluster = Cluster::start(1).await.unwrap();
    let topic = unique("orders");
    cluster.create_topic(&topic, 1).await.unwrap();
    cluster.produce_orders(&topic, 10).await.unwrap();

    cluster.stop(1).await.unwrap();
    assert!(!cluster.is_running(1));
    assert!(cluster.brokers().await.is_err());
    cluster.restart(1).await.unwrap();
    cluster.produce_orders(&topic, 10).await.unwrap();
    cluster.kill(1).await.unwrap();
    cluster.restart(1).await.unwrap();
    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 20);

    cluster.freeze(1).unwrap();
    assert!(cluster.is_running(1));
    assert!(cluster.brokers().await.is_err());
    cluster.thaw(1).unwrap();
    let serves = || async { Ok(cluster.brokers().await? == [1]) };
    eventually(SOON, "the node serves again", serves).await.unwrap();

    let data = cluster.data_directory(1).unwrap();
    assert!(data.join(format!("{topic}-0")).is_dir());
    drop(cluster);
    assert!(!data.exists());
}

#[tokio::test]
async fn three_nodes_go_on_without_one_of_them() {
    let cluster = Cluster::start(3).await.unwrap();
    let topic = unique("orders");
    cluster.create_topic(&topic, 3).await.unwrap();
    cluster.produce_orders(&topic, 30).await.unwrap();

    cluster.kill(2).await.unwrap();
    cluster.produce_orders(&topic, 30).await.unwrap();
    cluster.restart(2).await.unwrap();

    assert_eq!(cluster.read_topic(&topic).await.unwrap().len(), 60);
}

#[tokio::test]
async fn a_broker_dies_with_its_owner_even_when_that_is_killed() {
    let mut owner = Command::new(env!("CARGO_BIN_EXE_broker")).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(owner.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    let pid = i32::try_from(started["pids"][0].as_i64().unwrap()).unwrap();
    let pid = Pid::from_raw(pid).unwrap();
    let data = PathBuf::from(started["data"][0].as_str().unwrap());
    assert!(test_kill_process(pid).is_ok());
    assert!(data.join("meta.properties").is_file());

    // `Child::kill` is SIGKILL: nothing of the owner runs any more.
    owner.kill().unwrap();
    owner.wait().unwrap();

    let gone = || async { test_kill_process(pid).is_err() && fs::metadata(data.parent().unwrap()).is_err() };
    eventually(SOON, "the broker and its data are gone", gone).await.unwrap();
}

#[tokio::test]
async fn the_mock_fails_one_request_with_one_code() {
    let mock = MockKafka::start(1).unwrap();
    let (topic, group) = (unique("orders"), unique("group"));
    mock.create_topic(&topic, 1).unwrap();
    mock.produce_orders(&topic, 10).await.unwrap();
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION];
    mock.fail_requests(RDKafkaApiKey::OffsetCommit, &refused).unwrap();

    let first = commit(&mock, &group, &topic, 5);
    let second = commit(&mock, &group, &topic, 6);

    assert_eq!(first, Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::IllegalGeneration)));
    assert_eq!(second, Ok(()));
    assert_eq!(mock.committed(&group, &topic).await.unwrap(), BTreeMap::from([(0, 6)]));
}

#[tokio::test]
async fn a_wait_that_fails_names_the_condition_and_its_last_reason() {
    let never = || async {
        ensure!(false, "handled 3 of 4");
        Ok(())
    };

    let err = eventually(Duration::from_millis(50), "all is handled", never).await.unwrap_err();

    assert_eq!(err.to_string(), "within 50ms it has not come about that all is handled: handled 3 of 4");
}

/// Commits from outside the group, as only a test may.
fn commit(kafka: &Kafka, group: &str, topic: &str, offset: i64) -> Result<(), KafkaError> {
    let mut config = kafka.client_config();
    let consumer: BaseConsumer = config.set("group.id", group).create()?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, Offset::Offset(offset))?;
    consumer.commit(&offsets, CommitMode::Sync)
}
