//! Damage on the broker's disk: a batch that fails its checksum holds its partition or is skipped, exactly, and is never
//! taken for records.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};
use kafka_listener::extract::State;
use kafka_listener::{HoldOutcome, ListenerRegistry, Phase, RecordMetadata, TopicPartition, kafka_listener, listener};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;
use support::{Cluster, Record, eventually, unique};

use crate::common::{Diary, Ground, SOON};

/// In each of the two partitions.
const BATCHES: usize = 10;
const RECORDS_PER_BATCH: usize = 10;

#[kafka_listener(id = "corruption-reader")]
async fn reader(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
}

/// A cluster of its own with a topic of which these batches of partition 0 have one wrong byte on the disk.
async fn damaged(batches: &[usize]) -> (Cluster, Ground) {
    let cluster = Cluster::start(1).await.unwrap();
    let ground = Ground { topic: unique("orders"), group: unique("group") };
    cluster.create_topic(&ground.topic, 2).await.unwrap();
    damage(&cluster, &ground.topic, BATCHES, batches).await;
    (cluster, ground)
}

async fn damage(cluster: &Cluster, topic: &str, count: usize, batches: &[usize]) {
    let (config, name) = (cluster.client_config(), topic.to_owned());
    tokio::task::spawn_blocking(move || produce_batches(config, &name, count)).await.unwrap();
    let folder = cluster.data_directory(1).unwrap().join(format!("{topic}-0"));
    flip_a_byte_in(&folder.join("00000000000000000000.log"), count, batches);
}

/// Produces so that each batch is a batch on the disk too: nothing leaves before the flush.
fn produce_batches(mut config: ClientConfig, topic: &str, count: usize) {
    let producer: BaseProducer =
        config.set("linger.ms", "60000").set("delivery.timeout.ms", "120000").create().unwrap();
    for batch in 0..2 * count {
        for _ in 0..RECORDS_PER_BATCH {
            let partition = i32::from(batch >= count);
            producer.send::<(), str>(BaseRecord::to(topic).partition(partition).payload("{}")).unwrap();
        }
        producer.flush(SOON).unwrap();
    }
}

/// Under the broker's feet: it sends what the file has and leaves the checksum to the reader.
fn flip_a_byte_in(segment: &Path, count: usize, damaged: &[usize]) {
    const HEADER: usize = 61;
    let file = File::options().read(true).write(true).open(segment).unwrap();
    let log = fs::read(segment).unwrap();
    let int = |at: usize| usize::try_from(i32::from_be_bytes(log[at..at + 4].try_into().unwrap())).unwrap();
    let (mut at, mut batches) = (0, 0);
    while at + HEADER < log.len() {
        let length = 12 + int(at + 8);
        assert_eq!(int(at + 57), RECORDS_PER_BATCH, "batch {batches} is not as it was produced");
        if damaged.contains(&batches) {
            let middle = at + HEADER + (length - HEADER) / 2;
            file.write_all_at(&[log[middle] ^ 0x10], u64::try_from(middle).unwrap()).unwrap();
        }
        at += length;
        batches += 1;
    }
    assert_eq!(batches, count);
}

async fn held_at(listeners: &ListenerRegistry, offset: i64) {
    let held = || async {
        let status = listeners.status();
        let partition = status.listeners[0].partitions.first().context("nothing is assigned yet")?;
        ensure!(partition.phase == Phase::Held, "{status}");
        let blocking = partition.blocking.as_ref().expect("a held partition names its record");
        ensure!(blocking.offset == offset, "{status}");
        ensure!(blocking.error.as_ref().is_some_and(|error| error.contains("_BAD_MSG")), "{status}");
        Ok(())
    };
    eventually(SOON, &format!("the partition is held at {offset}"), held).await.unwrap();
    assert!(listeners.health().live.ok, "{:?}", listeners.health());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_batch_holds_its_partition_until_it_is_skipped() {
    let (cluster, ground) = damaged(&[4]).await;
    let diary = Diary::default();
    let builder = ground.registry_on(&cluster).register(listener!(reader)).state(diary.clone());
    let listeners = builder.start().await.unwrap();
    let container = listeners.container("corruption-reader").unwrap();

    held_at(&listeners, 40).await;
    let before = || async { cluster.committed(&ground.group, &ground.topic).await.unwrap().get(&0) == Some(&40) };
    eventually(SOON, "what lies before the damage is committed", before).await.unwrap();
    cluster.produce(Record::to(&ground.topic).partition(1).payload("{}")).await.unwrap();
    diary.wait("the other partition flows", |entries| entries.len() == 40 + 101).await;
    diary.check_each_once_in_order(0, 40);

    let place = TopicPartition::new(ground.topic.as_str(), 0);
    assert_eq!(container.skip_held(&place, 41).await, HoldOutcome::OtherRecord { held: 40 });
    assert_eq!(container.retry_held(&place).await, HoldOutcome::Applied { offset: 40 });
    held_at(&listeners, 40).await;
    diary.check_each_once_in_order(0, 40);

    let skip = || async {
        ensure!(container.skip_held(&place, 40).await == HoldOutcome::Applied { offset: 40 });
        Ok(())
    };
    eventually(SOON, "the damage is skipped", skip).await.unwrap();
    cluster.wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);
    assert_eq!(diary.begun(0), (0..40).chain(50..100).collect::<Vec<_>>());
    diary.check_each_once_in_order(1, 101);
    assert_eq!((status.handled, status.failed, status.skipped), (90 + 101, 0, 10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_batches_are_skipped_exactly_where_the_policy_says_so() {
    // Two beside each other, and the last one.
    let (cluster, ground) = damaged(&[4, 5, 9]).await;
    let diary = Diary::default();
    let builder = ground.registry_on(&cluster).register(listener!(reader)).state(diary.clone());
    let listeners = builder.set("listener.on_corrupt", "skip").start().await.unwrap();

    cluster.wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    cluster.produce(Record::to(&ground.topic).partition(0).payload("{}")).await.unwrap();
    cluster.wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);
    assert_eq!(diary.begun(0), (0..40).chain(60..90).chain([100]).collect::<Vec<_>>());
    diary.check_each_once_in_order(1, 100);
    assert_eq!((status.handled, status.failed, status.skipped), (71 + 100, 0, 30));
}

/// Behind the damage librdkafka may ask for an offset that it takes out of what is damaged, and the broker's refusal may come
/// when reading goes on elsewhere already. That is a matter of luck, so there is much damage.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_that_librdkafka_reads_out_of_the_damage_moves_nothing() {
    const MANY: usize = 40;
    let cluster = Cluster::start(1).await.unwrap();
    let ground = Ground { topic: unique("orders"), group: unique("group") };
    cluster.create_topic(&ground.topic, 2).await.unwrap();
    damage(&cluster, &ground.topic, MANY, &(1..MANY).step_by(2).collect::<Vec<_>>()).await;
    let diary = Diary::default();
    let builder = ground.registry_on(&cluster).register(listener!(reader)).state(diary.clone());
    let listeners = builder.set("listener.on_corrupt", "skip").start().await.unwrap();

    cluster.wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let readable = (0..MANY).step_by(2).map(|batch| i64::try_from(batch * RECORDS_PER_BATCH).unwrap());
    assert_eq!(diary.begun(0), readable.flat_map(|first| first..first + 10).collect::<Vec<_>>());
    assert_eq!(listeners.status().listeners[0].skipped, 10 * MANY as u64 / 2);
}
