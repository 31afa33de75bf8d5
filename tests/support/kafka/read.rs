//! What a topic holds, read by a plain assigned consumer that is in no group.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::producer::Producer as _;
use rdkafka::{Offset, TopicPartitionList};

use super::{Kafka, REQUEST_DEADLINE};

/// How long reading a whole topic may take.
const READ_DEADLINE: Duration = Duration::from_secs(120);

/// Which records of transactions a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Committed ones only.
    ReadCommitted,
    /// Aborted and open ones too.
    ReadUncommitted,
}

/// A record as it lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
    /// The key's bytes, if it has one.
    pub key: Option<Vec<u8>>,
    /// The payload's bytes; `None` is a tombstone.
    pub payload: Option<Vec<u8>>,
    /// Names and values in the record's order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The record's time in milliseconds since 1970.
    pub timestamp: Option<i64>,
}

impl Kafka {
    /// Reads a whole topic as a `read_committed` consumer sees it, ordered by partition and offset.
    ///
    /// # Errors
    ///
    /// When the topic is not there or its end is not reached in two minutes.
    pub async fn read_topic(&self, topic: &str) -> anyhow::Result<Vec<Stored>> {
        self.read_topic_with(topic, Isolation::ReadCommitted).await
    }

    /// Reads a whole topic in the given isolation, ordered by partition and offset.
    ///
    /// # Errors
    ///
    /// As [`Kafka::read_topic`].
    pub async fn read_topic_with(&self, topic: &str, isolation: Isolation) -> anyhow::Result<Vec<Stored>> {
        let partitions = self.partitions(topic).await?;
        let topic = topic.to_owned();
        self.blocking(move |kafka| read(kafka, &topic, &partitions, isolation)).await
    }

    /// The first offset that is still there and the next one to be written, per partition.
    ///
    /// # Errors
    ///
    /// When the topic is not there or nobody answers.
    pub async fn watermarks(&self, topic: &str) -> anyhow::Result<BTreeMap<i32, (i64, i64)>> {
        let partitions = self.partitions(topic).await?;
        ensure!(!partitions.is_empty(), "there is no topic `{topic}`");
        let topic = topic.to_owned();
        self.blocking(move |kafka| {
            let client = kafka.producer()?.client();
            let ask = |partition| Ok((partition, client.fetch_watermarks(&topic, partition, REQUEST_DEADLINE)?));
            partitions.into_iter().map(ask).collect()
        })
        .await
    }

    /// The next offset to be written, per partition.
    ///
    /// # Errors
    ///
    /// As [`Kafka::watermarks`].
    pub async fn end_offsets(&self, topic: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
        Ok(self.watermarks(topic).await?.into_iter().map(|(partition, (_, end))| (partition, end)).collect())
    }
}

fn read(kafka: &Kafka, topic: &str, partitions: &[i32], isolation: Isolation) -> anyhow::Result<Vec<Stored>> {
    ensure!(!partitions.is_empty(), "there is no topic `{topic}`");
    let mut config = kafka.client_config();
    config
        // librdkafka refuses an assignment without a group; this one is never joined.
        .set("group.id", crate::unique("reader"))
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        .set("fetch.message.max.bytes", "67108864")
        .set("fetch.queue.backoff.ms", "10")
        .set(
            "isolation.level",
            match isolation {
                Isolation::ReadCommitted => "read_committed",
                Isolation::ReadUncommitted => "read_uncommitted",
            },
        );
    let consumer: BaseConsumer = config.create()?;
    let mut assignment = TopicPartitionList::new();
    for partition in partitions {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning)?;
    }
    consumer.assign(&assignment)?;

    let give_up = Instant::now() + READ_DEADLINE;
    let mut open: BTreeSet<i32> = partitions.iter().copied().collect();
    let mut records = Vec::new();
    let mut last_error = None;
    while !open.is_empty() {
        ensure!(Instant::now() < give_up, "the end of `{topic}` was not reached: {last_error:?}, left {open:?}");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(record)) => records.push(stored(&record)),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            // A broker that comes and goes; the deadline above ends it.
            Some(Err(err)) => last_error = Some(err),
        }
    }
    records.sort_by_key(|record| (record.partition, record.offset));
    Ok(records)
}

fn stored(record: &BorrowedMessage<'_>) -> Stored {
    let headers = record.headers().map(|headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Stored {
        partition: record.partition(),
        offset: record.offset(),
        key: record.key().map(<[u8]>::to_vec),
        payload: record.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        timestamp: record.timestamp().to_millis(),
    }
}
