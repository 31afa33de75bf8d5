//! What a worker does about a record that failed: sleep and try again, hold it, skip it, or ask to stop.
//!
//! No slot is held here: all of it is waiting.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::control::gate;
use super::elsewhere::Destination;
use super::guarded::{Guarded, panic_text};
use super::requests::{HeldAction, HeldAnswer, HeldDecision, WorkerRequest};
use super::{Settling, WorkerContext, stopped};
use crate::clock::Instant;
use crate::config::{OnCorrupt, OnFailure};
use crate::error_handler::FailedDelivery;
use crate::extract::{Attempt, RecordMetadata};
use crate::failure::{ErrorClass, ListenerError};
use crate::kafka::ffi::PartitionError;
use crate::offset_tracker::next_offset_after;
use crate::phase::Phase;
use crate::record::{RawRecord, RecordBatch};
use crate::retry::{Decision, Failed, RetryState};

/// Characters of an error that a log line bears.
const LONGEST: usize = 1000;

/// How the worker goes on after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Deliver the record once more.
    Again,
    /// The record is done with: skipped by a policy or an operator.
    Onwards,
    /// A gate says stop.
    Leave,
}

/// Whether there is a record where the partition is on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readable {
    Yes,
    No,
}

/// How a wait for an operator's decision ended.
pub(super) enum Held {
    Retry,
    Skip,
    DeadLetter,
    Leave,
}

impl WorkerContext {
    pub(super) async fn failed(
        &self,
        batch: &RecordBatch,
        at: usize,
        retry: &mut RetryState,
        error: &ListenerError,
    ) -> Next {
        let listener = &*self.listener;
        let record = batch.records[at];
        let (offset, attempt) = (record.offset, self.deliveries_before(batch, at).saturating_add(retry.attempt()));
        listener.metrics.failed();
        let text = describe(error);
        let failed = Failed {
            class: error.class(),
            retryable: error.is_retryable(),
            at: Instant::now(),
            random: random_share(offset, attempt),
        };
        let next_topic = self.next_retry_topic(batch, at);
        let policy = listener.failures.of(error.class());
        let decision = retry.failed(failed, &listener.failures);
        let decision = decision.or_put_off(error.is_retryable() && next_topic.is_some());
        self.remember(offset, *retry);
        self.control.set_attempt(attempt, Some(Arc::clone(&text)));
        let Some(decision) = self.decide(record, attempt, error, decision).await else { return Next::Leave };
        // Only an error handler asks for a further retry topic where there is none.
        let decision = match (decision, next_topic) {
            (Decision::PutOff, None) => Decision::Exhausted(policy.action),
            (decision, _) => decision,
        };
        match self.listener.settling.permitted(decision) {
            Decision::PutOff => match next_topic {
                Some(topic) => self.elsewhere(topic, batch, at, retry, error).await,
                None => unreachable!("replaced above"),
            },
            Decision::RetryAfter(delay) => {
                self.log_retry(offset, attempt, delay, error.class(), &text);
                listener.metrics.retried();
                self.sleep(delay).await
            }
            Decision::Exhausted(OnFailure::Skip) => {
                tracing::error!(
                    listener = %listener.id, topic = self.control.topic_partition.topic(),
                    partition = self.control.topic_partition.partition(), offset, attempt,
                    class = %error.class(), error = %text,
                    "record skipped: on_failure = \"skip\", or an error handler"
                );
                listener.metrics.skipped(error.class());
                self.past(offset);
                Next::Onwards
            }
            Decision::Exhausted(OnFailure::Hold) => {
                self.log_hold(offset, attempt, error.class(), &text);
                listener.metrics.held();
                match self.hold(offset, Readable::Yes).await {
                    Held::Retry => {
                        *retry = RetryState::new();
                        self.remember(offset, *retry);
                        Next::Again
                    }
                    Held::Skip => {
                        listener.metrics.skipped(error.class());
                        self.past(offset);
                        Next::Onwards
                    }
                    Held::DeadLetter => self.elsewhere(Destination::DeadLetter, batch, at, retry, error).await,
                    Held::Leave => Next::Leave,
                }
            }
            Decision::Exhausted(OnFailure::DeadLetter) => {
                self.elsewhere(Destination::DeadLetter, batch, at, retry, error).await
            }
            Decision::Exhausted(OnFailure::Stop) => {
                self.control.enter(Phase::Held);
                self.control.ask(WorkerRequest::Fail { offset, class: error.class().clone(), error: text });
                stopped(&self.control).await;
                Next::Leave
            }
        }
    }

    /// What the error handlers make of what the settings decided. `None`: the worker was cancelled meanwhile.
    async fn decide(
        &self,
        record: RawRecord,
        attempt: u32,
        error: &ListenerError,
        decision: Decision,
    ) -> Option<Decision> {
        let listener = &*self.listener;
        if listener.error_handlers.is_empty() {
            return Some(decision);
        }
        let metadata = RecordMetadata::new(
            self.control.topic_partition.clone(),
            (record.offset, record.timestamp),
            Arc::clone(&listener.handles_for),
            Arc::clone(&listener.id),
            attempt,
        );
        let limit = listener.all_stops(listener.failures.of(error.class()).retry.attempts);
        let attempt = Attempt::new(attempt, limit);
        let failure = FailedDelivery::new(&metadata, error, attempt, decision);
        self.control.enter(Phase::Running);
        let mut asked = Guarded::new(Box::pin(listener.error_handlers.on_failure(failure)));
        let limit = async {
            match listener.handler_timeout {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        let action = tokio::select! {
            biased;
            () = self.control.cancelled() => return None,
            action = poll_fn(|task| asked.poll(task)) => action.map_err(|panic| panic_text(&*panic).to_owned()),
            () = limit => Err("it took longer than `handler_timeout`".to_owned()),
        };
        match action {
            Ok(action) => Some(action.decision().unwrap_or(decision)),
            Err(reason) => {
                tracing::error!(listener = %listener.id, record = %metadata, reason = %Escaped(&reason, LONGEST),
                    "an error handler failed: the settings decide");
                Some(decision)
            }
        }
    }

    /// Whether a record whose handler failed had been acknowledged before: that stands, as its offset may be committed by
    /// now. An acknowledgement that is still out comes too late from here on.
    pub(super) fn is_acknowledged(&self, offset: i64, error: &ListenerError) -> bool {
        if !matches!(self.listener.settling, Settling::Acknowledgment { .. }) || self.control.fail_delivery(offset) {
            return false;
        }
        self.listener.metrics.failed();
        tracing::error!(
            listener = %self.listener.id, topic = self.control.topic_partition.topic(),
            partition = self.control.topic_partition.partition(), offset,
            class = %error.class(), error = %describe(error),
            "the handler failed after it had acknowledged the record, which stays acknowledged"
        );
        true
    }

    /// The log cannot be read at this place: everything before it is done by now. `false`: the worker has to leave.
    pub(super) async fn unreadable(&self, error: &PartitionError) -> bool {
        let listener = &*self.listener;
        let resume_at = self.control.last_done().map(|offset| next_offset_after(offset).get());
        self.control.set_attempt(0, Some(error.error.text.as_str().into()));
        self.control.at(error.offset);
        if listener.on_corrupt == OnCorrupt::Skip {
            self.control.ask(WorkerRequest::SkipUnreadable { offset: error.offset });
            return true;
        }
        tracing::error!(
            listener = %listener.id, topic = self.control.topic_partition.topic(),
            partition = self.control.topic_partition.partition(), offset = error.offset, error = %error.error,
            "partition on hold: the log cannot be read here; `retry_held` reads it again, `skip_held` goes past it"
        );
        listener.metrics.held();
        match self.hold(error.offset, Readable::No).await {
            Held::Retry => {
                self.control.ask(WorkerRequest::ReadFrom(resume_at.unwrap_or(error.offset)));
                true
            }
            Held::Skip => {
                self.control.ask(WorkerRequest::SkipUnreadable { offset: error.offset });
                true
            }
            Held::DeadLetter | Held::Leave => false,
        }
    }

    /// Waits for a decision about the record at `held`.
    async fn hold(&self, held: i64, readable: Readable) -> Held {
        self.control.begin_hold(held, Phase::Held);
        let (end, decision) = self.decided(held, readable).await;
        self.control.end_hold(held, decision);
        end
    }

    /// The same for a record that the broker did not take, for so long. `None`: nobody has decided.
    pub(super) async fn hold_for(&self, held: i64, delay: Duration, phase: Phase) -> Option<Held> {
        self.control.begin_hold(held, phase);
        let ended = tokio::select! {
            biased;
            ended = self.decided(held, Readable::Yes) => Some(ended),
            () = tokio::time::sleep(delay) => None,
        };
        let (end, decision) = ended.map_or((None, None), |(end, decision)| (Some(end), decision));
        self.control.end_hold(held, decision);
        end
    }

    /// How the hold ends, and the decision that ends it.
    async fn decided(&self, held: i64, readable: Readable) -> (Held, Option<HeldDecision>) {
        loop {
            if self.control.gates() & gate::STOP != 0 {
                return (Held::Leave, None);
            }
            let Some(decision) = self.control.take_decision() else {
                self.control.changed().await;
                continue;
            };
            let end = match decision.action {
                HeldAction::Retry => Held::Retry,
                HeldAction::Skip { offset } if offset == held => Held::Skip,
                HeldAction::DeadLetter { offset } if offset == held && readable == Readable::Yes => Held::DeadLetter,
                HeldAction::DeadLetter { offset } if offset == held => {
                    decision.answer.send(HeldAnswer::Unreadable { held }).ok();
                    continue;
                }
                HeldAction::Skip { .. } | HeldAction::DeadLetter { .. } => {
                    decision.answer.send(HeldAnswer::OtherRecord { held }).ok();
                    continue;
                }
            };
            tracing::warn!(
                listener = %self.listener.id, topic = self.control.topic_partition.topic(),
                partition = self.control.topic_partition.partition(), offset = held, action = ?decision.action,
                "hold ended by an operator"
            );
            return (end, Some(decision));
        }
    }

    /// A retry sleep: ends early when the worker has to leave.
    pub(super) async fn sleep(&self, delay: Duration) -> Next {
        self.control.enter(Phase::RetrySleep);
        tokio::select! {
            biased;
            () = stopped(&self.control) => Next::Leave,
            () = tokio::time::sleep(delay) => Next::Again,
        }
    }

    /// The record at `offset` is done with, though not handled.
    pub(super) fn past(&self, offset: i64) {
        self.control.set_attempt(0, None);
        match self.listener.settling {
            Settling::Acknowledgment { acks, .. } => self.control.pass_over(offset, acks),
            Settling::Return | Settling::CommitFirst => self.control.finish(offset),
        }
        self.control.wake_loop();
    }

    /// The failures of earlier assignments, where they count.
    pub(super) fn recall(&self, offset: i64) -> RetryState {
        let Some(attempts) = &self.listener.attempts else { return RetryState::new() };
        let attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
        RetryState::after(attempts.recall(&self.control.topic_partition, offset))
    }

    pub(super) fn remember(&self, offset: i64, retry: RetryState) {
        if let Some(attempts) = &self.listener.attempts {
            let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
            attempts.remember(&self.control.topic_partition, offset, retry.failures());
        }
    }

    /// The partition has got past its failed record.
    pub(super) fn forget(&self, retry: RetryState) {
        if retry.failures() > 0 {
            self.control.set_attempt(0, None);
        }
        if let (Some(attempts), Some(done)) = (&self.listener.attempts, self.control.last_done()) {
            let mut attempts = attempts.lock().unwrap_or_else(PoisonError::into_inner);
            attempts.forget(&self.control.topic_partition, done);
        }
    }

    fn log_retry(&self, offset: i64, attempt: u32, delay: Duration, class: &ErrorClass, error: &str) {
        tracing::warn!(
            listener = %self.listener.id, topic = self.control.topic_partition.topic(),
            partition = self.control.topic_partition.partition(), offset, attempt, %class, error, retry_in = ?delay,
            "record failed, will be tried again"
        );
    }

    fn log_hold(&self, offset: i64, attempt: u32, class: &ErrorClass, error: &str) {
        tracing::error!(
            listener = %self.listener.id, topic = self.control.topic_partition.topic(),
            partition = self.control.topic_partition.partition(), offset, attempt, %class, error,
            "partition on hold at this record: `retry_held` tries it again, `skip_held` goes past it, \
             `dead_letter_held` publishes it as a dead letter"
        );
    }
}

/// The error and its causes, one line, control characters escaped, cut to a length that a log line bears. `Display` is
/// user code and may panic.
pub(super) fn describe(error: &ListenerError) -> Arc<str> {
    Escaped(&whole_text(error), LONGEST).to_string().into()
}

/// The error and its causes as they say it. `Display` is user code and may panic.
pub(super) fn whole_text(error: &ListenerError) -> String {
    /// No further cause is asked for beyond this.
    const WHOLE: usize = 16 * 1024;
    let text = catch_unwind(AssertUnwindSafe(|| {
        let mut text = error.source().to_string();
        let mut cause: Option<&(dyn Error + 'static)> = error.source().source();
        while let Some(error) = cause {
            // Writing to a string fails only where `Display` itself fails.
            if write!(text, ": {error}").is_err() || text.len() > WHOLE {
                break;
            }
            cause = error.source();
        }
        text
    }));
    text.unwrap_or_else(|_| "(the error's `Display` panicked)".to_owned())
}

/// Text of others on its way into a log line.
struct Escaped<'t>(&'t str, usize);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars().take(self.1) {
            if character.is_control() {
                write!(f, "{}", character.escape_default())?;
            } else {
                f.write_char(character)?;
            }
        }
        if self.0.chars().nth(self.1).is_some() { f.write_str(" …") } else { Ok(()) }
    }
}

/// The random share of a delay. Jitter only has to differ between records, attempts and processes.
pub(super) fn random_share(offset: i64, attempt: u32) -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let hash = RandomState::new().hash_one((offset, attempt));
    // 53 bits fill a double exactly.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let share = (hash >> 11) as f64 / (1_u64 << 53) as f64;
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_described_with_its_causes_on_one_escaped_line() {
        #[derive(Debug, thiserror::Error)]
        #[error("reserve stock")]
        struct Outer(#[source] std::num::ParseIntError);
        let cause = "x".parse::<i32>().unwrap_err();
        let text = describe(&ListenerError::retryable(Outer(cause)));
        assert_eq!(&*text, "reserve stock: invalid digit found in string");
        assert_eq!(&*describe(&ListenerError::retryable("two\nlines\u{1b}[31m")), "two\\nlines\\u{1b}[31m");
    }

    #[test]
    fn a_panicking_display_is_described_all_the_same() {
        #[derive(Debug)]
        struct Rude;
        impl fmt::Display for Rude {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("no text from me")
            }
        }
        impl Error for Rude {}
        assert_eq!(&*describe(&ListenerError::retryable(Rude)), "(the error's `Display` panicked)");
    }

    #[test]
    fn random_shares_lie_between_zero_and_one() {
        assert!((0..1000).all(|attempt| (0.0..1.0).contains(&random_share(7, attempt))));
    }
}
