//! How a worker publishes a record that failed, as a dead letter or to a retry topic: until the broker has it, or somebody
//! decides otherwise.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;

use super::control::gate;
use super::failed::{Held, Next, describe, random_share, whole_text};
use super::{WorkerContext, stopped};
use crate::clock::Instant;
use crate::config::RetrySettings;
use crate::dead_letter::Failed;
use crate::failure::ListenerError;
use crate::forward::{Original, Unpublished};
use crate::phase::Phase;
use crate::producer::SendResult;
use crate::record::{RawRecord, RecordBatch, Timestamp};
use crate::retry::{RetryState, backoff};
use crate::retry_topics::{Later, Waiting};

/// How soon a record is published again that the broker did not take; for ever.
const PUBLISH_AGAIN: RetrySettings = RetrySettings {
    attempts: None,
    delay: Duration::from_millis(200),
    multiplier: 2.0,
    max_delay: Duration::from_secs(30),
    jitter: 0.2,
    max_elapsed: None,
};

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

/// Why a record goes there.
#[derive(Clone, Copy, Debug)]
struct Failure<'f> {
    class: &'f str,
    message: &'f str,
}

/// Where a record was first read from.
struct Origin<'o> {
    topic: &'o str,
    partition: i32,
    offset: i64,
    timestamp: Timestamp,
}

impl Destination {
    /// What it is called in logs.
    fn name(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead letter",
            Self::RetryTopic { .. } => "retry",
        }
    }

    /// What the partition is said to do while the broker does not take the record.
    fn waiting(self) -> Phase {
        match self {
            Self::DeadLetter => Phase::DeadLetterWaiting,
            Self::RetryTopic { .. } => Phase::RetryTopicWaiting,
        }
    }
}

impl WorkerContext {
    /// Publishes the record at `at` elsewhere. It is done here when the broker has acknowledged it, and the partition
    /// waits until then: loudly, and open to an operator's decision.
    pub(super) async fn elsewhere(
        &self,
        destination: Destination,
        batch: &RecordBatch,
        at: usize,
        retry: &mut RetryState,
        error: &ListenerError,
    ) -> Next {
        let next = self.until_published(destination, batch, at, retry, error).await;
        self.control.is_unpublished.store(false, Ordering::Relaxed);
        next
    }

    async fn until_published(
        &self,
        mut destination: Destination,
        batch: &RecordBatch,
        at: usize,
        retry: &mut RetryState,
        error: &ListenerError,
    ) -> Next {
        let record = &batch.records[at];
        let offset = record.offset;
        let attempt = self.deliveries_before(batch, at).saturating_add(retry.failures());
        let mut headers = self.listener.reads_headers.then(|| batch.headers_of(record));
        let (class, message) = (error.class().to_string(), whole_text(error));
        let failure = Failure { class: &class, message: &message };
        let mut tries = 0_u32;
        loop {
            if !self.may_publish().await {
                return Next::Leave;
            }
            self.control.at(offset);
            self.control.enter(Phase::Producing);
            let published = tokio::select! {
                biased;
                () = stopped(&self.control) => return Next::Leave,
                published = self.publish(destination, batch, record, &mut headers, failure) => published,
            };
            let unpublished = match published {
                Ok(stored) => {
                    self.note_published(destination, offset, attempt, error, &stored);
                    self.past(offset);
                    if self.commits_each_record {
                        self.wait_for_commit(offset).await;
                    }
                    return Next::Onwards;
                }
                Err(unpublished) => unpublished,
            };
            let delay = backoff(tries, &PUBLISH_AGAIN, random_share(offset, tries));
            tries = tries.saturating_add(1);
            self.control.is_unpublished.store(true, Ordering::Relaxed);
            self.log_unpublished(destination, offset, &unpublished, delay);
            match destination {
                Destination::DeadLetter => self.listener.metrics.not_dead_lettered(unpublished.reason()),
                Destination::RetryTopic { .. } => self.listener.metrics.not_put_off(unpublished.reason()),
            }
            self.control.set_attempt(attempt, Some(format!("{} waiting: {unpublished}", destination.name()).into()));
            match self.hold_for(offset, delay, destination.waiting()).await {
                None => {}
                Some(Held::DeadLetter) => destination = Destination::DeadLetter,
                Some(Held::Retry) => {
                    *retry = RetryState::new();
                    self.remember(offset, *retry);
                    return Next::Again;
                }
                Some(Held::Skip) => {
                    self.listener.metrics.skipped(error.class());
                    self.past(offset);
                    return Next::Onwards;
                }
                Some(Held::Leave) => return Next::Leave,
            }
        }
    }

    /// One attempt. `headers` are read once; where they were left behind with the message, that takes the broker.
    async fn publish(
        &self,
        destination: Destination,
        batch: &RecordBatch,
        record: &RawRecord,
        headers: &mut Option<Bytes>,
        failure: Failure<'_>,
    ) -> Result<SendResult, Unpublished> {
        let letters = &self.listener.dead_letters;
        let own = if let Some(headers) = headers {
            headers.clone()
        } else {
            let found = letters.headers_of(&self.control.topic_partition, record.offset).await?;
            let found = found.unwrap_or_else(|| {
                tracing::warn!(
                    listener = %self.listener.id, topic = self.control.topic_partition.topic(),
                    partition = self.control.topic_partition.partition(), offset = record.offset,
                    "the log does not have the record any more: it is published without its own headers"
                );
                Bytes::new()
            });
            headers.insert(found).clone()
        };
        let (key, payload) = (batch.bytes(record.key), batch.bytes(record.payload));
        let Failure { class, message } = failure;
        let origin = self.origin(record, &own);
        let group_id = &*self.listener.handles_for;
        match (destination, &self.listener.retry_topics) {
            (Destination::RetryTopic { stage, due }, Some(retry_topics)) => {
                let later = Later {
                    source: origin.topic,
                    topic: self.control.topic_partition.topic(),
                    partition: self.control.topic_partition.partition(),
                    offset: record.offset,
                    timestamp: record.timestamp,
                    group_id,
                    class,
                    message,
                    attempts: stage.saturating_add(1),
                    due,
                };
                let partition = self.control.topic_partition.partition();
                retry_topics.publish(stage, &Original { partition, key, payload, headers: &own }, &later).await
            }
            (Destination::DeadLetter | Destination::RetryTopic { .. }, _) => {
                let Origin { topic, partition, offset, timestamp } = origin;
                let failed = Failed { topic, partition, offset, timestamp, group_id, class, message };
                letters.publish(&Original { partition, key, payload, headers: &own }, &failed).await
            }
        }
    }

    /// Where the record came from before it was put off, if it was.
    fn origin<'o>(&'o self, record: &RawRecord, headers: &[u8]) -> Origin<'o> {
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

    /// Waits until the group is known to count us in: who has been away for long may not own the partition any more.
    /// `false`: the worker has to leave.
    async fn may_publish(&self) -> bool {
        /// The poll loop nudges when it is known; this bounds a missed nudge.
        const RECHECK: Duration = Duration::from_millis(50);
        while self.control.gates() & gate::STOP == 0 {
            if self.membership.is_trusted(Instant::now()) {
                return true;
            }
            self.control.enter(Phase::WaitingForMembership);
            drop(tokio::time::timeout(RECHECK, self.control.changed()).await);
        }
        false
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

    fn log_unpublished(&self, destination: Destination, offset: i64, error: &Unpublished, retry_in: Duration) {
        tracing::error!(
            listener = %self.listener.id, topic = self.control.topic_partition.topic(),
            partition = self.control.topic_partition.partition(), offset, %error, ?retry_in,
            "{} waiting: the partition stands still until the broker takes it; `skip_held` goes past the record",
            destination.name()
        );
    }
}
