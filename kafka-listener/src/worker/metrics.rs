//! A listener's counters and timings on the `metrics` facade, and the counters that `status()` shows.
//!
//! Handles are made once, at start; without a recorder they cost a branch.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::failure::ErrorClass;
use crate::record::TopicPartition;

/// Written by the workers and the poll loops of one listener.
pub(crate) struct ListenerMetrics {
    listener: String,
    group: String,
    totals: Totals,
    ok: Counter,
    failed: Counter,
    retries: Counter,
    held: Counter,
    filtered: Counter,
    timeouts: Counter,
    over_time: Counter,
    process: Histogram,
    possibly_repeated: Counter,
    possibly_lost: Counter,
    lost_to_retention: Counter,
    drain_timeouts: Counter,
    left_behind: Gauge,
}

/// What one consumer has to do at this moment. Written by its poll loop a few times a second, never per record.
pub(crate) struct ConsumerGauges {
    assigned: Gauge,
    paused: Gauge,
    in_flight: Gauge,
    uncommitted: Gauge,
    oldest_unfinished: Gauge,
    last_poll: Gauge,
}

/// The values of [`ConsumerGauges`], summed up over the partitions of a consumer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) assigned: u64,
    pub(crate) paused: u64,
    /// Records handed to workers and not finished.
    pub(crate) in_flight: u64,
    /// Records finished whose commit the broker has not acknowledged.
    pub(crate) uncommitted: u64,
    /// How long the oldest record that a worker is at has been waiting or running.
    pub(crate) oldest_unfinished: Duration,
    pub(crate) last_poll: Duration,
}

/// The same counts for `status()`, which works without a recorder.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) handled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) dead_lettered: AtomicU64,
    pub(crate) put_off: AtomicU64,
    pub(crate) replies: AtomicU64,
    pub(crate) filtered: AtomicU64,
    pub(crate) possibly_repeated: AtomicU64,
    pub(crate) possibly_lost: AtomicU64,
    pub(crate) lost_to_retention: AtomicU64,
    pub(crate) rebalances: AtomicU64,
}

impl fmt::Debug for ListenerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerMetrics").field("totals", &self.totals).finish_non_exhaustive()
    }
}

impl ListenerMetrics {
    pub(crate) fn new(listener: &str, group: &str) -> Self {
        let labels = [("listener", listener.to_owned()), ("group", group.to_owned())];
        let records = |result: &'static str| {
            counter!(
                "kafka_listener_records_total",
                &[labels[0].clone(), labels[1].clone(), ("result", result.to_owned()),]
            )
        };
        Self {
            listener: listener.to_owned(),
            group: group.to_owned(),
            totals: Totals::default(),
            ok: records("ok"),
            failed: records("failed"),
            retries: counter!("kafka_listener_retries_total", &labels),
            held: counter!("kafka_listener_held_total", &labels),
            filtered: counter!("kafka_listener_filtered_total", &labels),
            timeouts: counter!("kafka_listener_handler_timeouts_total", &labels),
            over_time: counter!("kafka_listener_handlers_over_time_total", &labels),
            process: histogram!("kafka_listener_process_seconds", &labels),
            possibly_repeated: counter!("kafka_listener_possibly_repeated_total", &labels),
            possibly_lost: counter!("kafka_listener_possibly_lost_total", &labels),
            lost_to_retention: counter!("kafka_listener_records_lost_to_retention_total", &labels),
            drain_timeouts: counter!("kafka_listener_revoke_drain_timeouts_total", &labels),
            left_behind: gauge!("kafka_listener_left_behind_handlers", &labels),
        }
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Counts of one run, added up when it ends.
    pub(crate) fn tally(&self) -> Tally<'_> {
        Tally { metrics: self, ok: 0, filtered: 0 }
    }

    pub(crate) fn failed(&self) {
        self.failed.increment(1);
        self.totals.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.increment(1);
        self.totals.retried.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn held(&self) {
        self.held.increment(1);
    }

    /// A handler was cancelled at `handler_timeout`.
    pub(crate) fn timed_out(&self) {
        self.timeouts.increment(1);
    }

    /// A handler is past `handler_timeout` and cannot be cancelled.
    pub(crate) fn over_time(&self) {
        self.over_time.increment(1);
    }

    pub(crate) fn skipped(&self, class: &ErrorClass) {
        self.totals.skipped.fetch_add(1, Ordering::Relaxed);
        counter!("kafka_listener_skipped_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => class.to_string())
        .increment(1);
    }

    pub(crate) fn dead_lettered(&self, class: &ErrorClass) {
        self.totals.dead_lettered.fetch_add(1, Ordering::Relaxed);
        counter!("kafka_listener_dead_letters_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => class.to_string())
        .increment(1);
    }

    /// The broker did not take a dead letter; it is tried again.
    pub(crate) fn not_dead_lettered(&self, reason: &'static str) {
        counter!("kafka_listener_dead_letter_failures_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => reason)
        .increment(1);
    }

    /// The broker has acknowledged a record in a retry topic.
    pub(crate) fn put_off(&self, class: &ErrorClass) {
        self.totals.put_off.fetch_add(1, Ordering::Relaxed);
        counter!("kafka_listener_put_off_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => class.to_string())
        .increment(1);
    }

    /// The broker did not take a record for a retry topic; it is tried again.
    pub(crate) fn not_put_off(&self, reason: &'static str) {
        counter!("kafka_listener_put_off_failures_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => reason)
        .increment(1);
    }

    /// The broker has acknowledged a reply.
    pub(crate) fn replied(&self) {
        self.totals.replies.fetch_add(1, Ordering::Relaxed);
        counter!("kafka_listener_replies_total", "listener" => self.listener.clone(), "group" => self.group.clone())
            .increment(1);
    }

    /// The broker did not take a reply; it is tried again.
    pub(crate) fn not_replied(&self, reason: &'static str) {
        counter!("kafka_listener_reply_failures_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => reason)
        .increment(1);
    }

    /// A record in a retry topic that another group has put there.
    pub(crate) fn passed_over(&self) {
        counter!("kafka_listener_passed_over_total",
            "listener" => self.listener.clone(), "group" => self.group.clone())
        .increment(1);
    }

    pub(crate) fn skipped_unreadable(&self, records: u64) {
        self.totals.skipped.fetch_add(records, Ordering::Relaxed);
        counter!("kafka_listener_skipped_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => "corrupt")
        .increment(records);
    }

    /// An operator moved the position ahead.
    pub(crate) fn skipped_by_seek(&self, offsets: u64) {
        self.totals.skipped.fetch_add(offsets, Ordering::Relaxed);
        counter!("kafka_listener_skipped_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => "seek")
        .increment(offsets);
    }

    pub(crate) fn possibly_repeated(&self, records: u64) {
        self.possibly_repeated.increment(records);
        self.totals.possibly_repeated.fetch_add(records, Ordering::Relaxed);
    }

    /// Committed before they were handled, and not handled to their end.
    pub(crate) fn possibly_lost(&self, records: u64) {
        self.possibly_lost.increment(records);
        self.totals.possibly_lost.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn lost_to_retention(&self, records: u64) {
        self.lost_to_retention.increment(records);
        self.totals.lost_to_retention.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn commit(&self, result: &'static str, took: Option<Duration>) {
        counter!("kafka_listener_commits_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "result" => result)
        .increment(1);
        if let Some(took) = took {
            histogram!("kafka_listener_commit_seconds",
                "listener" => self.listener.clone(), "group" => self.group.clone())
            .record(took);
        }
    }

    pub(crate) fn rebalance(&self, kind: &'static str, took: Duration) {
        self.totals.rebalances.fetch_add(1, Ordering::Relaxed);
        counter!("kafka_listener_rebalances_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "kind" => kind)
        .increment(1);
        if kind != "assigned" {
            histogram!("kafka_listener_revoke_seconds",
                "listener" => self.listener.clone(), "group" => self.group.clone())
            .record(took);
        }
    }

    /// A handler has been running for longer than `max_poll_interval`.
    pub(crate) fn stuck(&self) {
        counter!("kafka_listener_stuck_total", "listener" => self.listener.clone(), "group" => self.group.clone())
            .increment(1);
    }

    /// A consumer is given another client after a fatal error.
    pub(crate) fn restarted(&self) {
        counter!("kafka_listener_restarts_total",
            "listener" => self.listener.clone(), "group" => self.group.clone())
        .increment(1);
    }

    /// Partitions that stayed with their consumer were not fed for so long.
    pub(crate) fn stood_still(&self, time: Duration) {
        histogram!("kafka_listener_stand_still_seconds",
            "listener" => self.listener.clone(), "group" => self.group.clone())
        .record(time);
    }

    /// Code of a revoked partition was still running when the drain's time was up.
    pub(crate) fn drain_timed_out(&self) {
        self.drain_timeouts.increment(1);
    }

    /// How many handlers run on although their partitions have gone.
    pub(crate) fn left_behind(&self, handlers: usize) {
        self.left_behind.set(number(handlers as u64));
    }

    /// The gauges of one consumer, told apart by its index.
    pub(crate) fn of_consumer(&self, index: usize) -> ConsumerGauges {
        let labels =
            [("listener", self.listener.clone()), ("group", self.group.clone()), ("consumer", index.to_string())];
        ConsumerGauges {
            assigned: gauge!("kafka_listener_assigned_partitions", &labels),
            paused: gauge!("kafka_listener_paused_partitions", &labels),
            in_flight: gauge!("kafka_listener_in_flight", &labels),
            uncommitted: gauge!("kafka_listener_uncommitted_records", &labels),
            oldest_unfinished: gauge!("kafka_listener_oldest_unfinished_seconds", &labels),
            last_poll: gauge!("kafka_listener_last_poll_seconds_ago", &labels),
        }
    }

    /// How far the group is behind the end of one partition.
    pub(crate) fn lag_of(&self, topic_partition: &TopicPartition) -> Gauge {
        gauge!("kafka_listener_lag_records",
            "listener" => self.listener.clone(), "group" => self.group.clone(),
            "topic" => topic_partition.topic().to_owned(), "partition" => topic_partition.partition().to_string())
    }
}

impl fmt::Debug for ConsumerGauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumerGauges").finish_non_exhaustive()
    }
}

impl ConsumerGauges {
    pub(crate) fn set(&self, load: &Load) {
        self.assigned.set(number(load.assigned));
        self.paused.set(number(load.paused));
        self.in_flight.set(number(load.in_flight));
        self.uncommitted.set(number(load.uncommitted));
        self.oldest_unfinished.set(load.oldest_unfinished);
        self.last_poll.set(load.last_poll);
    }

    /// How long ago the poll loop last turned, as somebody else than the loop sees it.
    pub(crate) fn set_last_poll(&self, ago: Duration) {
        self.last_poll.set(ago);
    }
}

/// A count as a gauge takes it.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 records")]
pub(crate) fn number(count: u64) -> f64 {
    count as f64
}

/// Handled records of one run: a register instead of two atomics per record. Added up when dropped, so that a cancelled
/// run counts too.
#[derive(Debug)]
pub(crate) struct Tally<'m> {
    metrics: &'m ListenerMetrics,
    ok: u64,
    filtered: u64,
}

impl Tally<'_> {
    /// One delivery came back, `ok` or not; failures are counted where they are dealt with.
    pub(crate) fn handled(&mut self, took: Duration, ok: bool) {
        self.metrics.process.record(took);
        self.ok += u64::from(ok);
    }

    /// One record was passed over by the listener's filter.
    pub(crate) fn filtered(&mut self) {
        self.filtered += 1;
    }

    /// Adds up what has been counted so far.
    pub(crate) fn flush(&mut self) {
        if self.filtered > 0 {
            self.metrics.filtered.increment(self.filtered);
            self.metrics.totals.filtered.fetch_add(self.filtered, Ordering::Relaxed);
            self.filtered = 0;
        }
        if self.ok > 0 {
            self.metrics.ok.increment(self.ok);
            self.metrics.totals.handled.fetch_add(self.ok, Ordering::Relaxed);
            self.ok = 0;
        }
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}
