//! Dead letters: records that failed for good, published to a topic of their own with their bytes untouched.
//!
//! Says where one goes, with which headers, and whether its topic is there. When to publish, and what to do while that
//! does not succeed, is the worker's business.

mod extractor;
mod headers;
#[cfg(test)]
mod robustness;

use std::fmt;
use std::sync::Arc;

pub use extractor::{DeadLetter, NoDeadLetter};
pub(crate) use headers::HeaderStyle;

use bytes::Bytes;

use crate::config::{DeadLetterSettings, ListenerSettings};
use crate::forward::{FailedRecord, Forwarder, Original, Unpublished, Wanted};
use crate::kafka::{Reread, Rereader};
use crate::producer::{Producer, SendResult};
use crate::record::TopicPartition;
use headers::dead_letter_headers;

/// What one listener needs to publish dead letters. Connects to nothing before the first one.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    settings: DeadLetterSettings,
    rereader: Rereader,
    forwarder: Arc<Forwarder>,
}

impl DeadLetters {
    pub(crate) fn new(producer: Producer, settings: &Arc<ListenerSettings>) -> Self {
        Self {
            settings: settings.dead_letter.clone(),
            rereader: Rereader::new(Arc::clone(settings)),
            forwarder: Arc::new(Forwarder::new(producer, "dead letter topic")),
        }
    }

    /// Where the dead letters of `topic` go.
    pub(crate) fn topic_for(&self, topic: &str) -> String {
        self.settings.topic_for(topic)
    }

    pub(crate) fn forwarder(&self) -> &Arc<Forwarder> {
        &self.forwarder
    }

    /// What has to be there for the records of these topics.
    pub(crate) fn wanted(&self, topics: &[String]) -> Vec<Wanted> {
        topics.iter().map(|topic| Wanted { topic: self.topic_for(topic), like: Some(topic.clone()) }).collect()
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
    /// acknowledged it.
    ///
    /// Once polled, the dead letter may be stored although the future is dropped.
    pub(crate) async fn publish(
        &self,
        original: &Original<'_>,
        failed: &FailedRecord<'_>,
    ) -> Result<SendResult, Unpublished> {
        let topic = self.topic_for(failed.topic);
        let timestamp = failed.timestamp.to_millis().filter(|millis| *millis > 0);
        let headers = |detail| dead_letter_headers(original.headers, failed, self.settings.headers, detail);
        self.forwarder.forward(&topic, original, timestamp, headers).await
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
