//! How a worker publishes a record that failed for good: until the broker has it, or somebody decides otherwise.

use std::time::Duration;

use bytes::Bytes;

use super::control::gate;
use super::failed::{Held, Next, describe, random_share, whole_text};
use super::{WorkerContext, stopped};
use crate::clock::Instant;
use crate::config::RetrySettings;
use crate::dead_letter::{Failed, Letter, Unpublished};
use crate::failure::ListenerError;
use crate::phase::Phase;
use crate::producer::SendResult;
use crate::record::RecordBatch;
use crate::retry::{RetryState, backoff};

/// How soon a dead letter is tried again that the broker did not take; for ever.
const PUBLISH_AGAIN: RetrySettings = RetrySettings {
    attempts: None,
    delay: Duration::from_millis(200),
    multiplier: 2.0,
    max_delay: Duration::from_secs(30),
    jitter: 0.2,
    max_elapsed: None,
};

impl WorkerContext {
    /// Publishes the record at `at` as a dead letter. The record is done when the broker has acknowledged it, and the
    /// partition waits until then: loudly, and open to an operator's decision.
    pub(super) async fn dead_letter(
        &self,
        batch: &RecordBatch,
        at: usize,
        retry: &mut RetryState,
        error: &ListenerError,
    ) -> Next {
        let record = &batch.records[at];
        let (offset, attempt) = (record.offset, retry.failures());
        let mut headers = self.listener.reads_headers.then(|| batch.headers_of(record));
        let (class, message) = (error.class().to_string(), whole_text(error));
        let topic_partition = &self.control.topic_partition;
        let failed = Failed {
            topic: topic_partition.topic(),
            partition: topic_partition.partition(),
            offset,
            timestamp: record.timestamp,
            group_id: &self.listener.group_id,
            class: &class,
            message: &message,
        };
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
                published = self.publish(batch, at, &mut headers, failed) => published,
            };
            let unpublished = match published {
                Ok(stored) => {
                    self.log_dead_letter(offset, attempt, error, &stored);
                    self.listener.metrics.dead_lettered(error.class());
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
            self.log_unpublished(offset, &unpublished, delay);
            self.listener.metrics.not_dead_lettered(unpublished.reason());
            self.control.set_attempt(attempt, Some(format!("dead letter waiting: {unpublished}").into()));
            match self.hold_for(offset, delay).await {
                None | Some(Held::DeadLetter) => {}
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
        batch: &RecordBatch,
        at: usize,
        headers: &mut Option<Bytes>,
        failed: Failed<'_>,
    ) -> Result<SendResult, Unpublished> {
        let record = &batch.records[at];
        let letters = &self.listener.dead_letters;
        let own = if let Some(headers) = headers {
            headers.clone()
        } else {
            let found = letters.headers_of(&self.control.topic_partition, failed.offset).await?;
            let found = found.unwrap_or_else(|| {
                tracing::warn!(
                    listener = %self.listener.id, topic = failed.topic, partition = failed.partition,
                    offset = failed.offset,
                    "the log does not have the record any more: its dead letter goes without its own headers"
                );
                Bytes::new()
            });
            headers.insert(found).clone()
        };
        let letter =
            Letter { key: batch.bytes(record.key), payload: batch.bytes(record.payload), headers: &own, failed };
        letters.publish(&letter).await
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

    fn log_dead_letter(&self, offset: i64, attempt: u32, error: &ListenerError, stored: &SendResult) {
        tracing::warn!(
            listener = %self.listener.id, topic = self.control.topic_partition.topic(),
            partition = self.control.topic_partition.partition(), offset, attempt,
            class = %error.class(), error = %describe(error),
            dead_letter = %format_args!("{}@{}", stored.topic_partition(), stored.offset()),
            "record published as a dead letter"
        );
    }

    fn log_unpublished(&self, offset: i64, error: &Unpublished, retry_in: Duration) {
        tracing::error!(
            listener = %self.listener.id, topic = self.control.topic_partition.topic(),
            partition = self.control.topic_partition.partition(), offset, %error, ?retry_in,
            "dead letter waiting: the partition stands still until the broker takes it; `skip_held` goes past the record"
        );
    }
}
