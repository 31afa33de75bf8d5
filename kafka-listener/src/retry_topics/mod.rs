//! Retry topics: a record that failed waits for its next try in a topic of its own, and its partition goes on.
//!
//! Says which topic comes next, with which headers, and when a record that lies there is due. When to publish, and the
//! waiting itself, are the worker's business.

mod headers;
mod names;
mod place;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use headers::{Later, Waiting};
pub(crate) use names::Suffix;
pub(crate) use place::{Place, left_to_wait};

use crate::config::RetryTopicSettings;
use crate::forward::{Forwarder, Original, Unpublished};
use crate::producer::{Producer, SendResult};
use headers::retry_headers;

/// What one listener needs to publish to its retry topics and to read from them. Connects to nothing before the first
/// record that fails.
#[derive(Debug)]
pub(crate) struct RetryTopics {
    settings: RetryTopicSettings,
    /// The topics that the listener itself reads.
    sources: Vec<String>,
    group_id: Arc<str>,
    forwarder: Forwarder,
}

impl RetryTopics {
    pub(crate) fn new(
        producer: Producer,
        settings: RetryTopicSettings,
        sources: Vec<String>,
        group_id: Arc<str>,
    ) -> Self {
        Self { settings, sources, group_id, forwarder: Forwarder::new(producer, "retry topic") }
    }

    /// How many deliveries there are in different topics, the first one included.
    pub(crate) fn stops(&self) -> u32 {
        self.settings.stages() + 1
    }

    /// The group that the records are handled for: that of the listener, not the one that reads the retry topics.
    pub(crate) fn group_id(&self) -> &Arc<str> {
        &self.group_id
    }

    /// What a retry topic is in the way of a record; `None` for the listener's own topics.
    pub(crate) fn place_of(&self, topic: &str) -> Option<Place> {
        self.sources.iter().find_map(|source| {
            let topics = self.settings.topics_for(source);
            let stages: Vec<u32> =
                (1..).zip(&topics).filter(|(_, name)| *name == topic).map(|(stage, _)| stage).collect();
            (!stages.is_empty()).then(|| Place::new(source.clone(), stages))
        })
    }

    /// The stage after `stage`, where 0 is the listener's own topic. `None`: there is no further one.
    pub(crate) fn after(&self, stage: u32) -> Option<u32> {
        Some(stage + 1).filter(|next| *next <= self.settings.stages())
    }

    /// How long a record waits at a stage, from 1.
    pub(crate) fn delay(&self, stage: u32) -> Duration {
        self.settings.delay(stage)
    }

    /// Publishes one record to the topic of a stage, to the partition of the same number where there is one. Resolves when
    /// the broker has acknowledged it. Its time is the present one, so that retention counts from now.
    ///
    /// Once polled, the record may be stored although the future is dropped.
    pub(crate) async fn publish(
        &self,
        stage: u32,
        original: &Original<'_>,
        later: &Later<'_>,
    ) -> Result<SendResult, Unpublished> {
        let topics = self.settings.topics_for(later.source);
        let at = usize::try_from(stage).unwrap_or(usize::MAX).saturating_sub(1);
        let topic = topics.get(at).expect("`after` gives no stage beyond the last one");
        self.forwarder.forward(topic, original, None, |detail| retry_headers(original.headers, later, detail)).await
    }
}
