//! What a worker publishes of a record that failed: a dead letter, or the record itself to a retry topic.

use bytes::Bytes;

use super::WorkerContext;
use super::failed::{Held, Next, describe, whole_text};
use super::publication::{Publication, Published};
use crate::failure::ListenerError;
use crate::forward::{FailedRecord, Original, Unpublished};
use crate::phase::Phase;
use crate::producer::SendResult;
use crate::record::{RawRecord, RecordBatch, Timestamp};
use crate::retry::RetryState;
use crate::retry_topics::{Later, Waiting};

/// Where a record goes whose partition goes on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Destination {
    DeadLetter,
    /// The topic of this stage, from 1; the record is due there at this time, in milliseconds since 1970.
    RetryTopic {
        stage: u32,
        due: i64,
    },
}

/// A record that failed, on its way there.
struct Elsewhere<'e> {
    context: &'e WorkerContext,
    destination: Destination,
    batch: &'e RecordBatch,
    record: &'e RawRecord,
    /// Read once; `None` where they were left behind with the message.
    headers: Option<Bytes>,
    /// The error's class and text.
    class: String,
    message: String,
}

/// Where a record was first read from.
pub(super) struct Origin<'o> {
    pub(super) topic: &'o str,
    partition: i32,
    offset: i64,
    timestamp: Timestamp,
}

impl WorkerContext {
    /// Publishes the record at `at` elsewhere. It is done here when the broker has acknowledged it.
    pub(super) async fn elsewhere(
        &self,
        destination: Destination,
        batch: &RecordBatch,
        at: usize,
        retry: &mut RetryState,
        error: &ListenerError,
    ) -> Next {
        let record = &batch.records[at];
        let offset = record.offset;
        let attempt = self.deliveries_before(batch, at).saturating_add(retry.failures());
        let mut elsewhere = Elsewhere {
            context: self,
            destination,
            batch,
            record,
            headers: self.listener.reads_headers.then(|| batch.headers_of(record)),
            class: error.class().to_string(),
            message: whole_text(error),
        };
        loop {
            match self.until_taken(&mut elsewhere, offset, attempt).await {
                Published::Stored(stored) => {
                    self.note_published(elsewhere.destination, offset, attempt, error, &stored);
                    self.past(offset);
                    if self.commits_each_record {
                        self.wait_for_commit(offset).await;
                    }
                    return Next::Onwards;
                }
                Published::Decided(Held::DeadLetter, _) => elsewhere.destination = Destination::DeadLetter,
                Published::Decided(Held::Retry, _) => {
                    *retry = RetryState::new();
                    self.remember(offset, *retry);
                    return Next::Again;
                }
                Published::Decided(Held::Skip, _) => {
                    self.listener.metrics.skipped(error.class());
                    self.past(offset);
                    return Next::Onwards;
                }
                Published::Decided(Held::Leave, _) | Published::Leave => return Next::Leave,
                Published::GivenUp(_) => unreachable!("what failed is never given up"),
            }
        }
    }

    /// Where the record came from before it was put off, if it was.
    pub(super) fn origin<'o>(&'o self, record: &RawRecord, headers: &[u8]) -> Origin<'o> {
        let topic_partition = &self.control.topic_partition;
        let here = Origin {
            topic: topic_partition.topic(),
            partition: topic_partition.partition(),
            offset: record.offset,
            timestamp: record.timestamp,
        };
        let Some(place) = &self.place else { return here };
        let topic = place.source();
        match Waiting::of(headers) {
            Waiting { partition: Some(partition), offset: Some(offset), timestamp, .. } => {
                Origin { topic, partition, offset, timestamp: timestamp.unwrap_or(Timestamp::NotAvailable) }
            }
            // Put there by hand: what is known is where it lies.
            _ => Origin { topic, ..here },
        }
    }

    fn note_published(
        &self,
        destination: Destination,
        offset: i64,
        attempt: u32,
        error: &ListenerError,
        stored: &SendResult,
    ) {
        let topic_partition = &self.control.topic_partition;
        let (topic, partition) = (topic_partition.topic(), topic_partition.partition());
        match destination {
            Destination::DeadLetter => {
                self.listener.metrics.dead_lettered(error.class());
                tracing::warn!(
                    listener = %self.listener.id, topic, partition, offset, attempt,
                    class = %error.class(), error = %describe(error),
                    dead_letter = %format_args!("{}@{}", stored.topic_partition(), stored.offset()),
                    "record published as a dead letter"
                );
            }
            Destination::RetryTopic { .. } => {
                self.listener.metrics.put_off(error.class());
                tracing::warn!(
                    listener = %self.listener.id, topic, partition, offset, attempt,
                    class = %error.class(), error = %describe(error),
                    retry = %format_args!("{}@{}", stored.topic_partition(), stored.offset()),
                    "record failed, waits in a retry topic for its next try"
                );
            }
        }
    }
}

impl Publication for Elsewhere<'_> {
    fn name(&self) -> &'static str {
        match self.destination {
            Destination::DeadLetter => "dead letter",
            Destination::RetryTopic { .. } => "retry",
        }
    }

    fn on_its_way(&self) -> Phase {
        Phase::Producing
    }

    fn waiting(&self) -> Phase {
        match self.destination {
            Destination::DeadLetter => Phase::DeadLetterWaiting,
            Destination::RetryTopic { .. } => Phase::RetryTopicWaiting,
        }
    }

    async fn publish(&mut self) -> Result<SendResult, Unpublished> {
        let own = self.own_headers().await?;
        let Self { context, destination, batch, record, class, message, .. } = self;
        let (key, payload) = (batch.bytes(record.key), batch.bytes(record.payload));
        let here = &context.control.topic_partition;
        let origin = context.origin(record, &own);
        let failed = FailedRecord {
            topic: origin.topic,
            partition: origin.partition,
            offset: origin.offset,
            timestamp: origin.timestamp,
            group_id: &context.listener.handles_for,
            class,
            message,
        };
        match (*destination, &context.listener.retry_topics) {
            (Destination::RetryTopic { stage, due }, Some(retry_topics)) => {
                let partition = here.partition();
                let read_at = FailedRecord {
                    topic: here.topic(),
                    partition,
                    offset: record.offset,
                    timestamp: record.timestamp,
                    ..failed
                };
                let later = Later { source: origin.topic, failed: read_at, attempts: stage.saturating_add(1), due };
                retry_topics.publish(stage, &Original { partition, key, payload, headers: &own }, &later).await
            }
            (Destination::DeadLetter | Destination::RetryTopic { .. }, _) => {
                let original = Original { partition: origin.partition, key, payload, headers: &own };
                context.listener.dead_letters.publish(&original, &failed).await
            }
        }
    }

    fn count_failure(&self, reason: &'static str) {
        let metrics = &self.context.listener.metrics;
        match self.destination {
            Destination::DeadLetter => metrics.not_dead_lettered(reason),
            Destination::RetryTopic { .. } => metrics.not_put_off(reason),
        }
    }

    fn is_given_up(&self, _: &Unpublished) -> bool {
        false
    }
}

impl Elsewhere<'_> {
    /// The record's own headers. Where they were left behind with the message, that takes the broker, once.
    async fn own_headers(&mut self) -> Result<Bytes, Unpublished> {
        if let Some(headers) = &self.headers {
            return Ok(headers.clone());
        }
        let (listener, topic_partition) = (&self.context.listener, &self.context.control.topic_partition);
        let found = listener.dead_letters.headers_of(topic_partition, self.record.offset).await?;
        let found = found.unwrap_or_else(|| {
            tracing::warn!(
                listener = %listener.id, topic = topic_partition.topic(), partition = topic_partition.partition(),
                offset = self.record.offset,
                "the log does not have the record any more: it is published without its own headers"
            );
            Bytes::new()
        });
        Ok(self.headers.insert(found).clone())
    }
}
