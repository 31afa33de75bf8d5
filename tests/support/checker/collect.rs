//! Gathers what a run left: the event logs in its folder, and the topics as a reader of its own sees them.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Content, History};
use crate::event::{self, Event, Place, value_of};
use crate::kafka::{Isolation, Kafka, Samples};

impl History {
    /// The history of one group on one topic, whose members and harness wrote their logs (`*.jsonl`) into `directory`.
    ///
    /// # Errors
    ///
    /// When a log holds something else or the topic cannot be read to its end.
    pub async fn collect(directory: &Path, kafka: &Kafka, topic: &str, committed: Samples) -> anyhow::Result<Self> {
        Ok(Self {
            events: events_in(directory)?,
            content: content_of(kafka, topic).await?,
            samples: [(topic.to_owned(), committed)].into(),
        })
    }
}

/// The events of all logs in a folder.
///
/// # Errors
///
/// When a log holds something else.
pub fn events_in(directory: &Path) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            events.extend(event::parse(&std::fs::read_to_string(path)?)?);
        }
    }
    Ok(events)
}

/// Everything that a topic holds, and what of it was aborted.
///
/// # Errors
///
/// When the topic cannot be read to its end.
pub async fn content_of(kafka: &Kafka, topic: &str) -> anyhow::Result<Vec<Content>> {
    let committed = kafka.read_topic_with(topic, Isolation::ReadCommitted).await?;
    let committed: BTreeSet<(i32, i64)> = committed.iter().map(|record| (record.partition, record.offset)).collect();
    let everything = kafka.read_topic_with(topic, Isolation::ReadUncommitted).await?;
    let content = everything.into_iter().map(|record| Content {
        value: value_of(record.payload.as_deref()),
        aborted: !committed.contains(&(record.partition, record.offset)),
        place: Place::new(topic, record.partition, record.offset),
    });
    Ok(content.collect())
}
