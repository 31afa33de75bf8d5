//! A listener's counters and timings on the `metrics` facade, and the counters that `status()` shows.
//!
//! Handles are made once, at start; without a recorder they cost a branch.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use metrics::{Counter, Histogram, counter, histogram};

use crate::failure::ErrorClass;

/// Written by the workers and the poll loops of one listener.
pub(crate) struct ListenerMetrics {
    listener: String,
    group: String,
    totals: Totals,
    ok: Counter,
    failed: Counter,
    retries: Counter,
    held: Counter,
    process: Histogram,
    possibly_repeated: Counter,
    lost_to_retention: Counter,
}

/// The same counts for `status()`, which works without a recorder.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) handled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) retried: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) possibly_repeated: AtomicU64,
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
            process: histogram!("kafka_listener_process_seconds", &labels),
            possibly_repeated: counter!("kafka_listener_possibly_repeated_total", &labels),
            lost_to_retention: counter!("kafka_listener_records_lost_to_retention_total", &labels),
        }
    }

    pub(crate) fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Counts of one run, added up when it ends.
    pub(crate) fn tally(&self) -> Tally<'_> {
        Tally { metrics: self, ok: 0 }
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

    pub(crate) fn skipped(&self, class: &ErrorClass) {
        self.totals.skipped.fetch_add(1, Ordering::Relaxed);
        counter!("kafka_listener_skipped_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => class.to_string())
        .increment(1);
    }

    pub(crate) fn skipped_unreadable(&self, records: u64) {
        self.totals.skipped.fetch_add(records, Ordering::Relaxed);
        counter!("kafka_listener_skipped_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "reason" => "corrupt")
        .increment(records);
    }

    pub(crate) fn possibly_repeated(&self, records: u64) {
        self.possibly_repeated.increment(records);
        self.totals.possibly_repeated.fetch_add(records, Ordering::Relaxed);
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

    pub(crate) fn rebalance(&self, kind: &'static str, took: Duration, assigned: usize) {
        self.totals.rebalances.fetch_add(1, Ordering::Relaxed);
        counter!("kafka_listener_rebalances_total",
            "listener" => self.listener.clone(), "group" => self.group.clone(), "kind" => kind)
        .increment(1);
        if kind != "assigned" {
            histogram!("kafka_listener_revoke_seconds",
                "listener" => self.listener.clone(), "group" => self.group.clone())
            .record(took);
        }
        metrics::gauge!("kafka_listener_assigned_partitions",
            "listener" => self.listener.clone(), "group" => self.group.clone())
        .set(u32::try_from(assigned).unwrap_or(u32::MAX));
    }
}

/// Handled records of one run: a register instead of two atomics per record. Added up when dropped, so that a cancelled
/// run counts too.
#[derive(Debug)]
pub(crate) struct Tally<'m> {
    metrics: &'m ListenerMetrics,
    ok: u64,
}

impl Tally<'_> {
    /// One delivery came back, `ok` or not; failures are counted where they are dealt with.
    pub(crate) fn handled(&mut self, took: Duration, ok: bool) {
        self.metrics.process.record(took);
        self.ok += u64::from(ok);
    }

    /// Adds up what has been counted so far.
    pub(crate) fn flush(&mut self) {
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
