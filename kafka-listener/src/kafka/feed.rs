//! From the partitions' queues to their workers, under credits; and what the order of offsets tells on the way.

use super::ffi::{Drained, PartitionError};
use super::partition::{Reading, Room};
use super::poll_loop::PollLoop;
use super::supervise::{code, is_unreadable};
use crate::clock::Instant;
use crate::offset_jump::OffsetJump;
use crate::offset_tracker::{CommitOffset, next_offset_after};
use crate::record::RecordBatch;
use crate::worker::HandOver;

impl PollLoop {
    /// Drains every queue that is ready and has credits, once. `true`: more may be waiting.
    pub(super) fn feed(&mut self) -> bool {
        let now = Instant::now();
        let sweep = self.is_sweep_due(now);
        if sweep {
            self.ask_again(now);
            self.probe_brokers(now);
            self.sweep(now);
        }
        let mut more = false;
        let mut index = 0;
        while index < self.partitions.len() {
            let partition = &self.partitions[index];
            if (partition.queue.ready().take() || sweep) && partition.may_be_fed() && !self.is_to_restart(partition) {
                more |= self.feed_one(index);
            }
            index += 1;
        }
        more
    }

    fn feed_one(&mut self, index: usize) -> bool {
        let partition = &mut self.partitions[index];
        let limit = match partition.room() {
            Room::Records(limit) => limit,
            Room::None => {
                partition.control.starve();
                // Credits that came back before the flag was set would wake nobody.
                match partition.room() {
                    Room::Records(limit) => limit,
                    Room::None => return false,
                }
            }
        };
        let hint = partition.arena_hint();
        let Some(drained) = partition.queue.drain(&partition.topic_partition, &mut self.scratch, limit, hint) else {
            return false;
        };
        let full = drained.full;
        if full {
            // The callback fires when a queue turns non-empty, and this one may never have been empty.
            partition.queue.ready().mark_quietly();
        }
        self.hand_over(index, drained);
        full
    }

    fn hand_over(&mut self, index: usize, mut drained: Drained) {
        self.cut_at_end(index, &mut drained);
        let Drained { batch, error, behind_error, .. } = drained;
        if let Reading::Searching(search) = self.partitions[index].reading {
            let record = batch.records.first().map(|record| record.offset);
            if record.is_none_or(|record| record >= search.tried()) {
                match error {
                    Some(error) if record.is_none() && error.error.code == code::AUTO_OFFSET_RESET => {
                        self.reset_offset(index, &error);
                    }
                    // Says nothing about the records: the same offset is tried again.
                    Some(error) if record.is_none() && !is_unreadable(&error) => self.seek(index, search.tried()),
                    error => self.searched(index, search, record, error.as_ref()),
                }
                return;
            }
            // The log is another one now, as is found out below.
            self.partitions[index].reading = Reading::On;
        }
        if !batch.records.is_empty() {
            self.hand_over_records(index, batch);
        }
        if let Some(error) = error {
            tracing::debug!(listener = %self.parts.listener.id, offset = error.offset, error = %error.error, behind_error,
                topic_partition = %self.partitions[index].topic_partition, "error in the partition's queue");
            self.on_partition_error(index, error);
        }
    }

    /// Hands a batch to the worker, unless the log turns out to be another one.
    fn hand_over_records(&mut self, index: usize, mut batch: RecordBatch) {
        if self.is_read_from_elsewhere(index, &batch) {
            return;
        }
        self.cut_replay(index, &mut batch);
        let Some(got) = self.check_order(index, &batch) else { return self.send(index, batch) };
        let partition = &mut self.partitions[index];
        tracing::warn!(
            listener = %self.parts.listener.id, topic = partition.topic_partition.topic(),
            partition = partition.topic_partition.partition(),
            expected = partition.expected().map(CommitOffset::get), got,
            "log_reset: the log goes on below what was read already, so it was truncated or created anew; it is \
             handled from here as new"
        );
        let (watermark, _) = partition.take_progress();
        // What is not done and still lies below is read again with the rest: nothing of this batch is handed over.
        let start = watermark.or(partition.start).map_or(got, |open| open.get().min(got));
        self.begin_epoch(index, Some(CommitOffset::at(start)));
        // librdkafka's own position never moves back by itself; left where it was, it would skip records at the next
        // rebalance.
        self.seek(index, start);
    }

    /// Looks for jumps in the offsets of a batch. Returns the first offset that is below what was expected.
    fn check_order(&mut self, index: usize, batch: &RecordBatch) -> Option<i64> {
        let partition = &self.partitions[index];
        let mut expected = partition.expected();
        for record in &batch.records {
            if expected.is_some_and(|expected| expected.get() != record.offset) {
                let low = self.client.cached_watermarks(&partition.topic_partition).map(|(low, _)| low);
                match OffsetJump::judge(expected, record.offset, low) {
                    OffsetJump::LostToRetention { from, to } => {
                        let lost = to.saturating_sub(from).unsigned_abs();
                        self.parts.listener.metrics.lost_to_retention(lost);
                        tracing::error!(
                            listener = %self.parts.listener.id, topic = partition.topic_partition.topic(),
                            partition = partition.topic_partition.partition(), from, to, lost,
                            "records were deleted by retention before they were read; reading goes on behind them"
                        );
                    }
                    OffsetJump::LogReset { got, .. } => return Some(got),
                    OffsetJump::Contiguous | OffsetJump::Gap => {}
                }
            }
            expected = Some(next_offset_after(record.offset));
        }
        None
    }

    fn send(&mut self, index: usize, batch: RecordBatch) {
        let partition = &mut self.partitions[index];
        let (Some(first), Some(last)) = (batch.records.first(), batch.records.last()) else { return };
        let (first, last) = (first.offset, last.offset);
        if let Err(error) = partition.tracker.handed_over(batch.records.iter().map(|record| record.offset)) {
            // `check_order` has split the batch there.
            tracing::error!(topic_partition = %partition.topic_partition, ?error, "offsets out of order: a bug");
        }
        let largest = batch.records.iter().map(crate::record::RawRecord::size).max().unwrap_or(0);
        let (records, bytes) = (batch.records.len(), batch.arena.len());
        if partition.start.is_none() {
            partition.start = Some(CommitOffset::at(first));
        }
        if partition.control.position().is_none() {
            partition.control.set_began_at(first);
        }
        if partition.hand_overs.try_send(HandOver::Records(batch)).is_err() {
            // The worker is gone; supervision reads these records again from the watermark.
            return;
        }
        partition.sent(records, bytes, largest);
        partition.control.set_position(next_offset_after(last).get());
        self.commits.started_at(&partition.topic_partition, partition.epoch, first);
    }

    /// Moves the reading position; what was fetched from the old one is dropped by librdkafka.
    pub(super) fn seek(&mut self, index: usize, offset: i64) {
        const WAIT: std::time::Duration = std::time::Duration::from_millis(500);
        let topic_partition = &self.partitions[index].topic_partition;
        if let Err(error) = self.client.seek(topic_partition, offset, WAIT) {
            tracing::debug!(listener = %self.parts.listener.id, %topic_partition, offset, %error,
                "seek refused: the partition is assigned anew within our own assignment");
            self.restart(topic_partition.clone(), offset);
        } else {
            self.forget_restart(index);
        }
        self.partitions[index].queue.ready().mark_quietly();
    }

    pub(super) fn stop_reading(&mut self, index: usize, error: PartitionError) {
        let partition = &mut self.partitions[index];
        partition.reading = Reading::Unreadable;
        let expected = partition.expected().map_or(error.offset, CommitOffset::get);
        if partition.hand_overs.try_send(HandOver::Unreadable(error)).is_err() {
            // No room: the same error comes again when the queue is read the next time.
            partition.reading = Reading::On;
        }
        self.seek(index, expected);
    }
}
