//! Producing: any record, acknowledged by all replicas, alone or in a transaction.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::{Kafka, REQUEST_DEADLINE};

/// In milliseconds: a test that is to fail does so for a better reason.
const DELIVERY_TIMEOUT: &str = "300000";

pub(super) type RecordProducer = ThreadedProducer<Deliveries>;

/// A record to produce. Without a payload it is a tombstone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    topic: String,
    partition: Option<i32>,
    key: Option<Vec<u8>>,
    payload: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
    timestamp: Option<i64>,
}

impl Record {
    /// A record of `topic` with neither key nor payload.
    pub fn to(topic: impl Into<String>) -> Self {
        Self { topic: topic.into(), ..Self::default() }
    }

    /// Puts it into this partition instead of the one that its key chooses.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The key, any bytes.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The payload, any bytes.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Vec<u8>>) -> Self {
        self.payload = Some(payload.into());
        self
    }

    /// The payload as JSON.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "made by `json!` at the call")]
    pub fn json(self, payload: serde_json::Value) -> Self {
        self.payload(payload.to_string())
    }

    /// One more header; names may repeat, and `None` is a null value.
    #[must_use]
    pub fn header<V: Into<Vec<u8>>>(mut self, name: impl Into<String>, value: Option<V>) -> Self {
        self.headers.push((name.into(), value.map(Into::into)));
        self
    }

    /// The record's own time, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = Some(millis);
        self
    }
}

/// Where an acknowledged record went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// The record's partition.
    pub partition: i32,
    /// The record's offset.
    pub offset: i64,
}

impl Kafka {
    /// Hands a record to the producer, waiting while its queue is full; the acknowledgement comes through the future.
    ///
    /// # Errors
    ///
    /// When the record is refused at once.
    pub async fn send(
        &self,
        record: &Record,
    ) -> anyhow::Result<impl Future<Output = anyhow::Result<Delivered>> + Send + use<>> {
        let answer = enqueue(self.producer()?, record).await?;
        Ok(async { answer.await.context("the producer is gone")? })
    }

    /// Produces one record and waits for the acknowledgement of all replicas.
    ///
    /// # Errors
    ///
    /// When it was not acknowledged.
    pub async fn produce(&self, record: Record) -> anyhow::Result<Delivered> {
        self.send(&record).await?.await
    }

    /// Produces records in order as fast as the broker takes them; answers where each one went.
    ///
    /// # Errors
    ///
    /// When one was not acknowledged.
    pub async fn produce_all(&self, records: impl IntoIterator<Item = Record>) -> anyhow::Result<Vec<Delivered>> {
        let mut outstanding = Vec::new();
        for record in records {
            outstanding.push(self.send(&record).await?);
        }
        let mut delivered = Vec::with_capacity(outstanding.len());
        for answer in outstanding {
            delivered.push(answer.await?);
        }
        Ok(delivered)
    }

    /// Produces `count` orders round-robin over the topic's partitions, as fast as the broker takes them. Their ids are
    /// `ORDER-0` to `ORDER-(count-1)`.
    ///
    /// # Errors
    ///
    /// When the topic is not there or one was not acknowledged.
    pub async fn produce_orders(&self, topic: &str, count: usize) -> anyhow::Result<Vec<Delivered>> {
        let partitions = self.partitions(topic).await?;
        anyhow::ensure!(!partitions.is_empty(), "there is no topic `{topic}`");
        let orders = partitions.iter().cycle().take(count).enumerate();
        self.produce_all(orders.map(|(n, partition)| Record::to(topic).partition(*partition).payload(order(n)))).await
    }

    /// Begins a transaction on a producer of its own.
    ///
    /// # Errors
    ///
    /// When the broker refuses, or is not there.
    pub async fn transaction(&self) -> anyhow::Result<Transaction> {
        self.blocking(|kafka| {
            let mut config = kafka.client_config();
            // No shorter than a record of it may take.
            config.set("transaction.timeout.ms", DELIVERY_TIMEOUT);
            let producer = create(config.set("transactional.id", crate::unique("transaction")).clone())?;
            producer.init_transactions(REQUEST_DEADLINE)?;
            producer.begin_transaction()?;
            Ok(Transaction { producer })
        })
        .await
    }
}

/// The payload of order number `n`, about 100 bytes of JSON.
pub(crate) fn order(n: usize) -> String {
    let (user, product, quantity) = (n % 1_000, n % 100, n % 5 + 1);
    format!(
        r#"{{"orderId":"ORDER-{n}","userId":"user{user}","productId":"PROD-{product}","quantity":{quantity},"price":50000}}"#
    )
}

/// An open transaction; dropped without an end, the broker aborts it after its time.
pub struct Transaction {
    producer: RecordProducer,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

impl Transaction {
    /// Produces one record inside the transaction.
    ///
    /// # Errors
    ///
    /// When it was not acknowledged.
    pub async fn produce(&self, record: Record) -> anyhow::Result<Delivered> {
        enqueue(&self.producer, &record).await?.await.context("the producer is gone")?
    }

    /// Makes its records visible.
    ///
    /// # Errors
    ///
    /// When the broker refuses, or is not there.
    pub async fn commit(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || Ok(self.producer.commit_transaction(REQUEST_DEADLINE)?)).await?
    }

    /// Leaves its records in the log, never to be read by `read_committed` consumers.
    ///
    /// # Errors
    ///
    /// When the broker refuses, or is not there.
    pub async fn abort(self) -> anyhow::Result<()> {
        tokio::task::spawn_blocking(move || {
            // What is still in the client's queue would be purged instead of aborted.
            self.producer.flush(REQUEST_DEADLINE)?;
            Ok(self.producer.abort_transaction(REQUEST_DEADLINE)?)
        })
        .await?
    }
}

type Answer = oneshot::Receiver<anyhow::Result<Delivered>>;

pub(super) fn create(mut config: ClientConfig) -> anyhow::Result<RecordProducer> {
    config
        .set("acks", "all")
        .set("enable.idempotence", "true")
        .set("linger.ms", "2")
        .set("message.max.bytes", "67108864")
        .set("queue.buffering.max.messages", "1000000")
        .set("delivery.timeout.ms", DELIVERY_TIMEOUT);
    Ok(config.create_with_context(Deliveries)?)
}

/// Hands a record to the producer, waiting while its queue is full.
async fn enqueue(producer: &RecordProducer, record: &Record) -> anyhow::Result<Answer> {
    let (tell, answer) = oneshot::channel();
    let mut tell = Box::new(tell);
    loop {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: value.as_ref() }));
        let mut to_send = BaseRecord::with_opaque_to(&record.topic, tell);
        to_send.partition = record.partition;
        to_send.key = record.key.as_deref();
        to_send.payload = record.payload.as_deref();
        to_send.timestamp = record.timestamp;
        to_send.headers = (!record.headers.is_empty()).then_some(headers);
        match producer.send::<[u8], [u8]>(to_send) {
            Ok(()) => return Ok(answer),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                tell = refused.delivery_opaque;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err((err, _)) => return Err(anyhow!(err).context(format!("produce to `{}`", record.topic))),
        }
    }
}

/// Hands each acknowledgement to whoever waits for it.
pub(super) struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<anyhow::Result<Delivered>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, tell: Self::DeliveryOpaque) {
        let answer = match result {
            Ok(message) => Ok(Delivered { partition: message.partition(), offset: message.offset() }),
            Err((err, message)) => Err(anyhow!(err.clone()).context(format!("produce to `{}`", message.topic()))),
        };
        // An error here means that nobody waits any more: the test has ended.
        tell.send(answer).ok();
    }
}
