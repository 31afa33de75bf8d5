//! One assigned partition as the poll loop sees it: its queue, its worker, its credits, how far it has been read.

use std::cell::Cell;
use std::sync::Arc;

use metrics::Gauge;
use tokio::sync::mpsc;

use super::ffi::Queue;
use super::search::Search;
use super::seek::{PendingSeek, Sought};
use crate::config::Limits;
use crate::epoch::Epoch;
use crate::offset_tracker::{CommitOffset, OffsetTracker, next_offset_after};
use crate::phase::Interrupt;
use crate::record::TopicPartition;
use crate::seek::Replay;
use crate::worker::{HandOver, PartitionControl, gate};

/// Hand-overs that may wait in a worker's channel; credits in records and bytes are the real bound.
pub(super) const CHANNEL_CAPACITY: usize = 64;
/// The first drain of an assignment: nothing is known yet of the size of its records.
const FIRST_DRAIN: usize = 16;

/// Field order is drop order: the sender goes before the queue, so that the worker sees the end of its channel first.
#[derive(Debug)]
#[expect(clippy::struct_field_names, reason = "`topic_partition` is Kafka's word")]
pub(super) struct Partition {
    pub(super) topic_partition: TopicPartition,
    pub(super) epoch: Epoch,
    pub(super) control: Arc<PartitionControl>,
    pub(super) hand_overs: mpsc::Sender<HandOver>,
    pub(super) queue: Queue,
    pub(super) tracker: OffsetTracker,
    /// Where reading starts, as far as it is known before the first record.
    pub(super) start: Option<CommitOffset>,
    pub(super) reading: Reading,
    /// It is to be read from elsewhere.
    pub(super) seek: Option<PendingSeek>,
    pub(super) sought: Option<Sought>,
    /// Set while records are handled once more, up to its end.
    pub(super) replay: Option<Replay>,
    /// All of the replay has been handed over.
    pub(super) is_replayed: bool,
    credits: Credits,
    /// Workers of earlier epochs of this assignment that still finish what they hold: the log was reset under them.
    pub(super) retired: Vec<Arc<PartitionControl>>,
    /// Records whose handlers were cancelled, each with the epoch it ran in.
    cancelled: Vec<(Arc<PartitionControl>, i64)>,
    pub(super) lag: Gauge,
    /// The end of the log as the last fetch told it.
    pub(super) fetched_end: Cell<Option<i64>>,
}

/// Whether records are taken out of the partition's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    On,
    /// The log cannot be read; the worker decides what next.
    Unreadable,
    /// Looking for the end of what cannot be read.
    Searching(Search),
    /// `until = "end"`: all that was there is handed over.
    Complete,
}

/// Bounds what a worker holds. Overshoot by one drain's sizes is carried as debt.
#[derive(Debug)]
struct Credits {
    limits: Limits,
    largest_unit: usize,
    sent_records: u64,
    sent_bytes: u64,
    /// Size of the largest record seen lately, which sets how many fit into the bytes left.
    largest_record: u64,
    arena_hint: usize,
    drained_once: bool,
}

/// How much may be drained now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Records(usize),
    /// Wait until the worker gives credits back.
    None,
}

impl Partition {
    pub(super) fn new(
        topic_partition: TopicPartition,
        epoch: Epoch,
        control: Arc<PartitionControl>,
        hand_overs: mpsc::Sender<HandOver>,
        (queue, lag): (Queue, Gauge),
        (limits, largest_unit): (Limits, usize),
    ) -> Self {
        Self {
            topic_partition,
            epoch,
            control,
            hand_overs,
            queue,
            tracker: OffsetTracker::new(),
            start: None,
            reading: Reading::On,
            seek: None,
            sought: None,
            replay: None,
            is_replayed: false,
            credits: Credits {
                limits,
                largest_unit,
                sent_records: 0,
                sent_bytes: 0,
                largest_record: 0,
                arena_hint: 4096,
                drained_once: false,
            },
            retired: Vec::new(),
            cancelled: Vec::new(),
            lag,
            fetched_end: Cell::new(None),
        }
    }

    /// Starts the credits and the tracker of a new epoch afresh; the queue stays.
    pub(super) fn begin_epoch(
        &mut self,
        epoch: Epoch,
        control: Arc<PartitionControl>,
        hand_overs: mpsc::Sender<HandOver>,
        start: Option<CommitOffset>,
    ) {
        self.epoch = epoch;
        if let Some(end) = self.control.end_offset() {
            control.set_end_offset(end);
        }
        self.fetched_end.set(None);
        self.retired.retain(|retired| !retired.has_ended());
        self.retired.push(std::mem::replace(&mut self.control, control));
        self.hand_overs = hand_overs;
        self.tracker = OffsetTracker::new();
        self.start = start;
        self.reading = Reading::On;
        (self.sought, self.replay, self.is_replayed) = (None, None, false);
        self.credits.sent_records = 0;
        self.credits.sent_bytes = 0;
    }

    /// The offset that the next record should have, if it is known.
    pub(super) fn expected(&self) -> Option<CommitOffset> {
        self.tracker.expected().or(self.start)
    }

    pub(super) fn room(&self) -> Room {
        let (records_back, bytes_back) = self.control.returned();
        if self.hand_overs.capacity() == 0 {
            return Room::None;
        }
        self.credits.room(records_back, bytes_back)
    }

    pub(super) fn arena_hint(&self) -> usize {
        self.credits.arena_hint
    }

    /// Notes what was handed over.
    pub(super) fn sent(&mut self, records: usize, bytes: usize, largest: u64) {
        let credits = &mut self.credits;
        credits.sent_records += records as u64;
        credits.sent_bytes += bytes as u64;
        credits.largest_record = largest.max(credits.largest_record - credits.largest_record / 8);
        credits.arena_hint = (bytes + bytes / 16 + 64).min(1 << 20);
        credits.drained_once = true;
        self.control.set_sent(credits.sent_records);
    }

    /// Takes the worker's progress into the tracker: what may be committed, and how many records are done.
    pub(super) fn take_progress(&mut self) -> (Option<CommitOffset>, u64) {
        let (done, finished) = self.take_done();
        (self.committed_first().max(done), finished)
    }

    /// The same without the record that is to be committed before it is handled.
    pub(super) fn take_done(&mut self) -> (Option<CommitOffset>, u64) {
        if let Some(done) = self.control.last_done() {
            self.tracker.done_through(done);
        }
        (self.tracker.watermark(), self.control.finished())
    }

    /// The commit that a record waits for before it is handled.
    pub(super) fn committed_first(&self) -> Option<CommitOffset> {
        self.control.committed_first().map(next_offset_after)
    }

    /// The workers that may still run code for this partition.
    pub(super) fn controls(&self) -> impl Iterator<Item = &Arc<PartitionControl>> {
        self.retired.iter().chain([&self.control])
    }

    /// Whether no code of this assignment runs any more.
    pub(super) fn has_ended(&self) -> bool {
        self.controls().all(|control| control.has_ended())
    }

    pub(super) fn interrupt(&self, interrupt: Interrupt) {
        self.controls().for_each(|control| control.interrupt(interrupt));
    }

    /// Ends the workers, and notes what their handlers are at: most of them are gone a moment later. Gives the records
    /// that were not noted before.
    pub(super) fn cancel(&mut self, interrupt: Interrupt) -> Vec<i64> {
        let already = self.cancelled.len();
        for control in self.retired.iter().chain([&self.control]) {
            let is_noted = self.cancelled.iter().any(|(noted, _)| Arc::ptr_eq(noted, control));
            if !is_noted
                && control.phase().is_running()
                && let Some(offset) = control.current()
            {
                self.cancelled.push((Arc::clone(control), offset));
            }
        }
        self.interrupt(interrupt);
        self.cancelled[already..].iter().map(|(_, offset)| *offset).collect()
    }

    /// How many records whoever gets the partition next may handle again: what is done and not acknowledged, and what
    /// was cancelled on the way, or left when something was published for it.
    pub(super) fn possibly_repeated(&self, acknowledged: Option<CommitOffset>) -> u64 {
        let unfinished =
            |(control, offset): &&(Arc<PartitionControl>, i64)| control.last_done().is_none_or(|done| done < *offset);
        let cancelled = self.cancelled.iter().filter(unfinished).count();
        // Of a worker that was cancelled, that is the same record.
        let is_cancelled =
            |open: &Arc<PartitionControl>| self.cancelled.iter().any(|(control, _)| Arc::ptr_eq(control, open));
        let published =
            |control: &&Arc<PartitionControl>| control.published_and_open().is_some() && !is_cancelled(control);
        let begun = (cancelled + self.controls().filter(published).count()) as u64;
        // A record that was begun is handed out, where records are acknowledged.
        self.uncommitted(acknowledged) + begun.max(self.control.handed_out())
    }

    /// Records that are finished and whose commit is not acknowledged.
    pub(super) fn uncommitted(&self, acknowledged: Option<CommitOffset>) -> u64 {
        let finished = self.control.finished();
        match (self.control.last_done().map(next_offset_after), acknowledged) {
            (None, _) => 0,
            (Some(_), None) => finished,
            // Gaps between offsets are no records.
            (Some(done), Some(acknowledged)) => {
                u64::try_from(done.get().saturating_sub(acknowledged.get())).unwrap_or(0).min(finished)
            }
        }
    }

    pub(super) fn may_be_fed(&self) -> bool {
        let is_kept_back = self.is_replayed || self.seek.as_ref().is_some_and(PendingSeek::stops_feeding);
        !matches!(self.reading, Reading::Unreadable | Reading::Complete)
            && !is_kept_back
            && !self.control.is_gate_closed(gate::STOP | gate::STALLED)
    }
}

impl Credits {
    fn room(&self, records_back: u64, bytes_back: u64) -> Room {
        let records_out = self.sent_records.saturating_sub(records_back);
        let bytes_out = self.sent_bytes.saturating_sub(bytes_back);
        let in_flight_records = self.limits.in_flight_records;
        let room = in_flight_records.saturating_sub(usize::try_from(records_out).unwrap_or(usize::MAX));
        let largest = self.largest_record.max(1);
        let fit = |bytes: u64| usize::try_from(bytes / largest).unwrap_or(usize::MAX);
        let limit = room.min(self.largest_unit).min(fit(self.limits.in_flight_bytes.saturating_sub(bytes_out)));
        let limit = if self.drained_once { limit } else { limit.min(FIRST_DRAIN) };
        if records_out == 0 {
            return Room::Records(limit.max(1));
        }
        // Small hand-overs cost more than they gain: wait until a good part of the credits is back.
        let worth_it = self
            .largest_unit
            .min(in_flight_records / 2)
            .min(fit(self.limits.in_flight_bytes / 2))
            .clamp(1, if self.drained_once { usize::MAX } else { FIRST_DRAIN });
        if limit >= worth_it { Room::Records(limit) } else { Room::None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credits(sent_records: u64, sent_bytes: u64, largest_record: u64) -> Credits {
        Credits {
            limits: Limits { in_flight_records: 4096, in_flight_bytes: 4 << 20, max_payload: 64 << 20 },
            largest_unit: 500,
            sent_records,
            sent_bytes,
            largest_record,
            arena_hint: 0,
            drained_once: sent_records > 0,
        }
    }

    #[test]
    fn the_first_drain_is_small_and_later_ones_fill_a_unit() {
        assert_eq!(credits(0, 0, 0).room(0, 0), Room::Records(16));
        assert_eq!(credits(16, 1600, 100).room(16, 1600), Room::Records(500));
        assert_eq!(credits(16, 1600, 100).room(0, 0), Room::Records(500));
    }

    #[test]
    fn a_worker_with_most_of_its_credits_out_gets_nothing_until_they_are_back() {
        assert_eq!(credits(4000, 400_000, 100).room(0, 0), Room::None);
        assert_eq!(credits(4000, 400_000, 100).room(500, 50_000), Room::Records(500));
    }

    #[test]
    fn large_records_are_counted_in_bytes_and_one_always_passes() {
        let twenty_megabytes = 20 << 20;
        assert_eq!(credits(1, twenty_megabytes, twenty_megabytes).room(0, 0), Room::None);
        assert_eq!(credits(1, twenty_megabytes, twenty_megabytes).room(1, twenty_megabytes), Room::Records(1));
        let hundred_kilobytes = 100 << 10;
        assert_eq!(credits(10, 10 * hundred_kilobytes, hundred_kilobytes).room(0, 0), Room::Records(30));
    }
}
