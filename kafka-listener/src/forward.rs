//! Publishes a record again in another topic, with its bytes as they are: what dead letters and retry topics share.
//!
//! When to publish, and what to do while that does not succeed, is the worker's business.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Instant;
use crate::kafka::SendFailure;
use crate::kafka::ffi::Outgoing;
use crate::producer::{Producer, SendError, SendResult};
use crate::record::Timestamp;

/// How long the cluster is asked for a topic.
const ASK: Duration = Duration::from_secs(5);
/// How long the number of a topic's partitions is believed.
const BELIEVE: Duration = Duration::from_secs(30);

/// Longest text of an error in a header, in bytes.
pub(crate) const LONGEST_TEXT: usize = 8 * 1024;
const BRIEF_TEXT: usize = 256;

/// Publishes to topics that it knows to be there. Connects to nothing before the first record.
#[derive(Debug)]
pub(crate) struct Forwarder {
    producer: Producer,
    /// What its topics are called in errors.
    kind: &'static str,
    /// Partitions of topics, and when that was asked. Never held across an await.
    partitions: Mutex<HashMap<String, (Instant, i32)>>,
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

/// How much is said of the error. What is cut first when a record becomes too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Full,
    /// The beginning of the text.
    Brief,
    /// Its class alone.
    Class,
    /// Nothing: only where the record came from.
    Origin,
}

impl Detail {
    /// The next smaller one.
    pub(crate) fn less(self) -> Option<Self> {
        match self {
            Self::Full => Some(Self::Brief),
            Self::Brief => Some(Self::Class),
            Self::Class => Some(Self::Origin),
            Self::Origin => None,
        }
    }
}

impl Forwarder {
    pub(crate) fn new(producer: Producer, kind: &'static str) -> Self {
        Self { producer, kind, partitions: Mutex::default() }
    }

    /// Publishes one record, to the partition of the same number where there is one, else by its key; `timestamp` in
    /// milliseconds, the present time without. Resolves when the broker has acknowledged it. One that is too large is
    /// sent again with less of the error's text.
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
            let error = match self.producer.send_outgoing(&outgoing).await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            if let (SendError::TooLarge { .. }, Some(less)) = (&error, detail.less()) {
                detail = less;
            } else {
                // Whatever was believed of the topic may have been wrong.
                lock(&self.partitions).remove(topic);
                return Err(Unpublished::Send(error));
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
        }
        Ok(answer)
    }
}

/// Writes class and text of an error, as much as `detail` leaves of them.
pub(crate) fn put_error(
    put: &mut impl FnMut(&str, &[u8]),
    (class_name, class): (&str, &str),
    (message_name, message): (&str, &str),
    detail: Detail,
) {
    if detail != Detail::Origin {
        put(class_name, class.as_bytes());
    }
    match detail {
        Detail::Full => put(message_name, cut(message, LONGEST_TEXT).as_bytes()),
        Detail::Brief => put(message_name, cut(message, BRIEF_TEXT).as_bytes()),
        Detail::Class | Detail::Origin => {}
    }
}

/// Java's names of the types.
pub(crate) fn timestamp_type(timestamp: Timestamp) -> &'static str {
    match timestamp {
        Timestamp::NotAvailable => "NoTimestampType",
        Timestamp::CreateTime(_) => "CreateTime",
        Timestamp::LogAppendTime(_) => "LogAppendTime",
    }
}

/// The beginning of a text, `limit` bytes at most, cut between characters.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    if text.len() <= limit {
        return text;
    }
    let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

/// Tiny sections without user code: a panic cannot leave them half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
