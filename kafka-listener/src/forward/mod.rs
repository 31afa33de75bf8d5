//! Publishes records to other topics because of one that was read: what dead letters, retry topics and replies share.
//!
//! Knows which topics are there. When to publish, and what to do while that does not succeed, is the worker's business.

mod failed;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use failed::{Detail, FailedRecord, put_error, timestamp_type};
#[cfg(test)]
pub(crate) use failed::{LONGEST_TEXT, cut};
pub(crate) use watch::{Wanted, watch};

use crate::clock::Instant;
use crate::kafka::SendFailure;
use crate::kafka::ffi::Outgoing;
use crate::producer::{Producer, SendError, SendResult};

/// How long the cluster is asked for a topic.
const ASK: Duration = Duration::from_secs(5);
/// How long the number of a topic's partitions is believed.
const BELIEVE: Duration = Duration::from_secs(30);

/// Publishes to topics that it knows to be there. Connects to nothing before the first record.
#[derive(Debug)]
pub(crate) struct Forwarder {
    producer: Producer,
    /// What its topics are called in errors.
    kind: &'static str,
    /// Partitions of topics, and when that was asked. Never held across an await.
    partitions: Mutex<HashMap<String, (Instant, i32)>>,
    /// Those that the watch looks for and that were not there when it last asked. Never held across an await.
    missing: Mutex<BTreeSet<String>>,
}

/// The bytes that a record was read with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Original<'r> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) payload: Option<&'r [u8]>,
    /// As `encode_header` writes them.
    pub(crate) headers: &'r [u8],
}

/// Why a record is not published yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unpublished {
    #[error("there is no {kind} `{topic}`; create it, it is not created by itself")]
    NoTopic { kind: &'static str, topic: String },
    #[error("ask for {kind} `{topic}`: {reason}")]
    Ask { kind: &'static str, topic: String, reason: SendFailure },
    #[error("{0}")]
    Headers(String),
    #[error(transparent)]
    Send(SendError),
}

impl Unpublished {
    /// A short word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoTopic { .. } => "unknown_topic",
            Self::Ask { .. } | Self::Headers(_) => "unavailable",
            Self::Send(error) => error.reason(),
        }
    }
}

impl Unpublished {
    /// Whether the broker may have the record all the same.
    pub(crate) fn may_be_stored(&self) -> bool {
        match self {
            Self::NoTopic { .. } | Self::Ask { .. } | Self::Headers(_) => false,
            Self::Send(error) => error.may_be_stored(),
        }
    }
}

impl Forwarder {
    pub(crate) fn new(producer: Producer, kind: &'static str) -> Self {
        Self { producer, kind, partitions: Mutex::default(), missing: Mutex::default() }
    }

    /// Topics that the watch found missing.
    pub(crate) fn missing(&self) -> Vec<String> {
        lock(&self.missing).iter().cloned().collect()
    }

    /// Publishes one record to a topic that is there. Resolves when the broker has acknowledged it.
    ///
    /// Once polled, the record may be stored although the future is dropped.
    pub(crate) async fn publish(&self, record: &Outgoing<'_>) -> Result<SendResult, Unpublished> {
        let partitions = self.partitions(record.topic).await?;
        if let Some(partition) = record.partition.filter(|partition| !(0..partitions).contains(partition)) {
            let topic = record.topic.to_owned();
            return Err(Unpublished::Send(SendError::UnknownPartition { topic, partition }));
        }
        let sent = self.producer.send_outgoing(record).await;
        if sent.is_err() {
            // Whatever was believed of the topic may have been wrong.
            lock(&self.partitions).remove(record.topic);
        }
        sent.map_err(Unpublished::Send)
    }

    /// Publishes a record that failed, its bytes as they were, to the partition of the same number where there is one,
    /// else by its key; `timestamp` in milliseconds, the present time without. One that is too large is sent again with
    /// less of the error's text.
    ///
    /// Once polled, the record may be stored although the future is dropped.
    pub(crate) async fn forward(
        &self,
        topic: &str,
        original: &Original<'_>,
        timestamp: Option<i64>,
        headers: impl Fn(Detail) -> Vec<u8>,
    ) -> Result<SendResult, Unpublished> {
        let partitions = self.partitions(topic).await?;
        let partition = Some(original.partition).filter(|partition| *partition < partitions);
        let mut detail = Detail::Full;
        loop {
            let headers = headers(detail);
            let &Original { key, payload, .. } = original;
            let outgoing = Outgoing { topic, partition, key, payload, timestamp, headers: &headers };
            match (self.publish(&outgoing).await, detail.less()) {
                (Err(Unpublished::Send(SendError::TooLarge { .. })), Some(less)) => detail = less,
                (published, _) => return published,
            }
        }
    }

    async fn partitions(&self, topic: &str) -> Result<i32, Unpublished> {
        let believed = lock(&self.partitions).get(topic).copied();
        if let Some((asked_at, partitions)) = believed
            && Instant::now().saturating_since(asked_at) < BELIEVE
        {
            return Ok(partitions);
        }
        match self.ask(topic, ASK).await? {
            Some(partitions) => Ok(partitions),
            None => Err(Unpublished::NoTopic { kind: self.kind, topic: topic.to_owned() }),
        }
    }

    /// Asks the cluster how many partitions a topic has; `None` where it does not exist.
    pub(crate) async fn ask(&self, topic: &str, limit: Duration) -> Result<Option<i32>, Unpublished> {
        let answer = self.producer.engine().partitions(topic, limit).await;
        let asked = |reason| Unpublished::Ask { kind: self.kind, topic: topic.to_owned(), reason };
        let answer = answer.map_err(asked)?;
        if let Some(partitions) = answer {
            lock(&self.partitions).insert(topic.to_owned(), (Instant::now(), partitions));
            lock(&self.missing).remove(topic);
        }
        Ok(answer)
    }
}

/// Tiny sections without user code: a panic cannot leave them half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
