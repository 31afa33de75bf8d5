//! Dead letters: records that failed for good, published to a topic of their own with their bytes untouched.
//!
//! Says where one goes, with which headers, and whether its topic is there. When to publish, and what to do while that
//! does not succeed, is the worker's business.

mod extractor;
mod headers;
mod watch;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use extractor::{DeadLetter, NoDeadLetter};
pub(crate) use headers::{Failed, HeaderStyle};
pub(crate) use watch::watch;

use bytes::Bytes;

use crate::clock::Instant;
use crate::config::{DeadLetterSettings, ListenerSettings};
use crate::kafka::ffi::Outgoing;
use crate::kafka::{Reread, Rereader, SendFailure};
use crate::producer::{Producer, SendError, SendResult};
use crate::record::TopicPartition;
use headers::{Detail, dead_letter_headers};

/// How long the cluster is asked for a topic.
const ASK: Duration = Duration::from_secs(5);
/// How long the number of a topic's partitions is believed.
const BELIEVE: Duration = Duration::from_secs(30);

/// What one listener needs to publish dead letters. Connects to nothing before the first one.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    producer: Producer,
    settings: DeadLetterSettings,
    rereader: Rereader,
    /// Partitions of dead letter topics, and when that was asked. Never held across an await, as `missing`.
    partitions: Mutex<HashMap<String, (Instant, i32)>>,
    /// Dead letter topics that were not there when they were last asked for. Written by the watch.
    missing: Mutex<BTreeSet<String>>,
}

/// A record that failed for good, with the bytes that it was read with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Letter<'r> {
    pub(crate) key: Option<&'r [u8]>,
    pub(crate) payload: Option<&'r [u8]>,
    /// As `encode_header` writes them.
    pub(crate) headers: &'r [u8],
    pub(crate) failed: Failed<'r>,
}

/// Why a dead letter is not published yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unpublished {
    #[error("there is no dead letter topic `{0}`; create it, it is not created by itself")]
    NoTopic(String),
    #[error("ask for dead letter topic `{topic}`: {reason}")]
    Ask { topic: String, reason: SendFailure },
    #[error("{0}")]
    Headers(String),
    #[error(transparent)]
    Send(SendError),
}

impl Unpublished {
    /// A short word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NoTopic(_) => "unknown_topic",
            Self::Ask { .. } | Self::Headers(_) => "unavailable",
            Self::Send(error) => error.reason(),
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(producer: Producer, settings: &Arc<ListenerSettings>) -> Self {
        Self {
            producer,
            settings: settings.dead_letter.clone(),
            rereader: Rereader::new(Arc::clone(settings)),
            partitions: Mutex::default(),
            missing: Mutex::default(),
        }
    }

    /// Where the dead letters of `topic` go.
    pub(crate) fn topic_for(&self, topic: &str) -> String {
        self.settings.topic_for(topic)
    }

    /// Dead letter topics that are not there.
    pub(crate) fn missing(&self) -> Vec<String> {
        lock(&self.missing).iter().cloned().collect()
    }

    /// The headers of a record that was read without them. `None`: the log does not have the record any more.
    pub(crate) async fn headers_of(
        &self,
        topic_partition: &TopicPartition,
        offset: i64,
    ) -> Result<Option<Bytes>, Unpublished> {
        match self.rereader.headers(topic_partition, offset).await.map_err(Unpublished::Headers)? {
            Reread::Headers(headers) => Ok(Some(headers)),
            Reread::Gone => Ok(None),
        }
    }

    /// Publishes one dead letter, to the partition of the same number where there is one. Resolves when the broker has
    /// acknowledged it. One that is too large is sent again with less of the error's text.
    ///
    /// Once polled, the dead letter may be stored although the future is dropped.
    pub(crate) async fn publish(&self, letter: &Letter<'_>) -> Result<SendResult, Unpublished> {
        let topic = self.topic_for(letter.failed.topic);
        let partitions = self.partitions(&topic).await?;
        let partition = Some(letter.failed.partition).filter(|partition| *partition < partitions);
        let mut detail = Detail::Full;
        loop {
            let headers = dead_letter_headers(letter.headers, &letter.failed, self.settings.headers, detail);
            let outgoing = Outgoing {
                topic: &topic,
                partition,
                key: letter.key,
                payload: letter.payload,
                timestamp: letter.failed.timestamp.to_millis().filter(|millis| *millis > 0),
                headers: &headers,
            };
            let error = match self.producer.send_outgoing(&outgoing).await {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            if let (SendError::TooLarge { .. }, Some(less)) = (&error, detail.less()) {
                detail = less;
            } else {
                // Whatever was believed of the topic may have been wrong.
                lock(&self.partitions).remove(&topic);
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
            None => Err(Unpublished::NoTopic(topic.to_owned())),
        }
    }

    /// Asks the cluster how many partitions a topic has; `None` where it does not exist.
    async fn ask(&self, topic: &str, limit: Duration) -> Result<Option<i32>, Unpublished> {
        let answer = self.producer.engine().partitions(topic, limit).await;
        let answer = answer.map_err(|reason| Unpublished::Ask { topic: topic.to_owned(), reason })?;
        if let Some(partitions) = answer {
            lock(&self.partitions).insert(topic.to_owned(), (Instant::now(), partitions));
            lock(&self.missing).remove(topic);
        }
        Ok(answer)
    }
}

impl DeadLetterSettings {
    /// Where the dead letters of `topic` go.
    pub(crate) fn topic_for(&self, topic: &str) -> String {
        self.topic.replace("{topic}", topic)
    }
}

impl fmt::Display for HeaderStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spring => "spring",
            Self::Plain => "plain",
        })
    }
}

/// Tiny sections without user code: a panic cannot leave them half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
