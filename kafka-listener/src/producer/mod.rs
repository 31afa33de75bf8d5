//! `Producer`: sends records and says where each was stored.
//!
//! A thin, typed handle. The client behind it belongs to the registry and is made when it is first needed.

mod error;
mod record;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use error::SendError;
pub use record::ProducerRecord;

use crate::extract::{FromRecord, Requirements};
use crate::kafka::ProducerEngine;
use crate::kafka::ffi::Outgoing;
use crate::record::{RecordContext, TopicPartition};

/// Sends records to the cluster of `[kafka]`, as `[kafka.producer]` says: acknowledged by all replicas in sync and
/// idempotent, unless it says otherwise.
///
/// There is one per registry, shared by all handles: a listener takes it as a parameter, other code gets it from
/// [`ListenerRegistry::producer`](crate::ListenerRegistry::producer). Nothing connects unless something needs it.
///
/// ```
/// use kafka_listener::{Producer, ProducerRecord, kafka_listener};
///
/// # #[derive(serde::Deserialize)] struct Order { order_id: String }
/// # #[derive(serde::Serialize)] struct Invoice { order_id: String }
/// # #[cfg(all(feature = "macros", feature = "json"))]
/// #[kafka_listener(topic = "orders", group_id = "billing")]
/// async fn bill(order: Order, producer: Producer) -> anyhow::Result<()> {
///     let invoice = Invoice { order_id: order.order_id };
///     let record = ProducerRecord::to("invoices").key(&invoice.order_id).json(&invoice);
///     let stored = producer.send(record).await?;
///     tracing::info!(partition = stored.partition(), offset = stored.offset(), "invoiced");
///     Ok(())
/// }
/// ```
///
/// The order is billed again where the process dies between the send and the commit: whoever reads the invoices sees some
/// twice.
#[derive(Clone)]
pub struct Producer {
    engine: Arc<ProducerEngine>,
}

/// Where the broker stored a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendResult {
    topic_partition: TopicPartition,
    offset: i64,
}

impl SendResult {
    /// Topic and partition.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.topic_partition
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        self.topic_partition.topic()
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.topic_partition.partition()
    }

    /// The offset; -1 with `acks = "0"`, where nobody tells.
    pub fn offset(&self) -> i64 {
        self.offset
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Producer")
    }
}

impl Producer {
    pub(crate) fn new(engine: Arc<ProducerEngine>) -> Self {
        Self { engine }
    }

    /// Sends a record. Resolves when the broker has acknowledged it, or when it is known that it will not: within
    /// `kafka.producer.delivery_timeout` (2 minutes) of waiting for room in the queue and as long again for the answer.
    ///
    /// # Errors
    ///
    /// [`SendError`]; [`SendError::is_retryable`] says whether sending it again may help. After
    /// [`SendError::TimedOut`] and [`SendError::Interrupted`] the record may be stored all the same.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the record may be stored although the future is dropped.
    pub async fn send(&self, record: ProducerRecord) -> Result<SendResult, SendError> {
        self.send_outgoing(&record.outgoing()?).await
    }

    pub(crate) async fn send_outgoing(&self, record: &Outgoing<'_>) -> Result<SendResult, SendError> {
        match self.engine.send(record).await {
            Ok((partition, offset)) => {
                let topic_partition = TopicPartition::new(record.topic, partition);
                Ok(SendResult { topic_partition, offset })
            }
            Err(failure) => Err(SendError::of(failure, record)),
        }
    }

    /// Waits until every record that was sent has its answer, for at most `limit`. Returns how many have none yet.
    ///
    /// [`ListenerRegistry::shutdown`](crate::ListenerRegistry::shutdown) does this within its budget.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn flush(&self, limit: Duration) -> usize {
        self.engine.flush(limit).await
    }

    pub(crate) fn engine(&self) -> &Arc<ProducerEngine> {
        &self.engine
    }
}

#[diagnostic::do_not_recommend]
impl FromRecord for Producer {
    type Rejection = std::convert::Infallible;

    const READS_HEADERS: bool = false;

    fn requirements(requirements: &mut Requirements) {
        requirements.needs_producer = true;
    }

    fn from_record(record: RecordContext<'_>) -> Result<Self, Self::Rejection> {
        Ok(record.producer().clone())
    }
}
