//! Whether a failed record is tried again, when, and what becomes of it otherwise.
//!
//! Pure: the random share of a delay is an argument, and sleeping is the worker's business.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::Instant;
use crate::config::{FailurePolicies, OnFailure, RetrySettings};
use crate::failure::ErrorClass;
use crate::record::TopicPartition;

/// What to do with a record whose delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Deliver it again after this long.
    RetryAfter(Duration),
    /// It waits for its next delivery in a retry topic.
    PutOff,
    /// It will not be tried again.
    Exhausted(OnFailure),
}

impl Decision {
    /// Where there is a further topic to try a record in, it is not given up.
    pub(crate) fn or_put_off(self, is_possible: bool) -> Self {
        match self {
            Self::Exhausted(_) if is_possible => Self::PutOff,
            decision => decision,
        }
    }
}

/// The failures of the record that a partition is at. A new record gets a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RetryState {
    /// All failed deliveries in this process that are remembered.
    failed: u32,
    /// Those of this assignment: backoff starts fresh with each.
    failed_here: u32,
    /// Deliveries that ended in `nack`: no failures.
    not_yet: u32,
    /// When the first of those that failed here did.
    first_failed: Option<Instant>,
}

/// What is known of one failed delivery.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failed<'e> {
    pub(crate) class: &'e ErrorClass,
    pub(crate) retryable: bool,
    pub(crate) at: Instant,
    /// Drawn from 0.0 to 1.0.
    pub(crate) random: f64,
}

impl RetryState {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Goes on after `failed` deliveries of earlier assignments, as [`AttemptMemory::recall`] knows them.
    pub(crate) fn after(failed: u32) -> Self {
        Self { failed, ..Self::default() }
    }

    /// The number of the delivery that is under way or next, from 1.
    pub(crate) fn attempt(self) -> u32 {
        self.failed.saturating_add(self.not_yet).saturating_add(1)
    }

    /// Counts a delivery that is to be made again and did not fail.
    pub(crate) fn not_yet(&mut self) {
        self.not_yet = self.not_yet.saturating_add(1);
    }

    /// How many deliveries have failed.
    pub(crate) fn failures(self) -> u32 {
        self.failed
    }

    /// Counts a failed delivery and decides. Deliveries are counted over all classes, so that errors that take turns
    /// come to an end too.
    pub(crate) fn failed(&mut self, failed: Failed<'_>, policies: &FailurePolicies) -> Decision {
        let policy = policies.of(failed.class);
        let delay = backoff(self.failed_here, &policy.retry, failed.random);
        self.failed = self.failed.saturating_add(1);
        self.failed_here = self.failed_here.saturating_add(1);
        let first_failed = *self.first_failed.get_or_insert(failed.at);
        let attempts_left = policy.retry.attempts.is_none_or(|attempts| self.failed < attempts);
        let elapsed = failed.at.saturating_since(first_failed).saturating_add(delay);
        let time_left = policy.retry.max_elapsed.is_none_or(|limit| elapsed <= limit);
        if failed.retryable && attempts_left && time_left {
            Decision::RetryAfter(delay)
        } else {
            Decision::Exhausted(policy.action)
        }
    }
}

/// The delay after the failure number `failures_before`, counted from 0: `delay × multiplier ^ n`, at most
/// `max_delay`, of which the share `jitter` is drawn at random.
pub(crate) fn backoff(failures_before: u32, policy: &RetrySettings, random: f64) -> Duration {
    if policy.delay.is_zero() {
        return Duration::ZERO;
    }
    let max = policy.max_delay.as_secs_f64();
    let exponent = i32::try_from(failures_before).unwrap_or(i32::MAX);
    // An overflow is infinite and ends at the cap.
    let full = (policy.delay.as_secs_f64() * policy.multiplier.powi(exponent)).min(max).max(0.0);
    let jitter = policy.jitter.clamp(0.0, 1.0);
    let seconds = full * (1.0 - jitter + jitter * random.clamp(0.0, 1.0));
    Duration::try_from_secs_f64(seconds).unwrap_or(policy.max_delay).min(policy.max_delay)
}

/// Failed deliveries that outlive an assignment: the record that each partition was at when it was taken away.
///
/// Kept where `attempts` is set only; one record per partition, so its size is bounded by the topics.
#[derive(Debug, Default)]
pub(crate) struct AttemptMemory {
    records: HashMap<TopicPartition, (i64, u32)>,
}

impl AttemptMemory {
    /// How many deliveries of this record have failed before.
    pub(crate) fn recall(&self, topic_partition: &TopicPartition, offset: i64) -> u32 {
        match self.records.get(topic_partition) {
            Some(&(remembered, failed)) if remembered == offset => failed,
            _ => 0,
        }
    }

    /// Notes the failed deliveries of the record that a partition is at.
    pub(crate) fn remember(&mut self, topic_partition: &TopicPartition, offset: i64, failed: u32) {
        match self.records.get_mut(topic_partition) {
            Some(record) => *record = (offset, failed),
            None => {
                self.records.insert(topic_partition.clone(), (offset, failed));
            }
        }
    }

    /// The partition has got past the record at `done`, and past its failed record if that is not behind it.
    pub(crate) fn forget(&mut self, topic_partition: &TopicPartition, done: i64) {
        if self.records.get(topic_partition).is_some_and(|(failed, _)| *failed <= done) {
            self.records.remove(topic_partition);
        }
    }
}

#[cfg(test)]
mod tests;
