//! `until = "end"`: cutting what comes behind the end, and telling when all that was there is done.

use std::sync::Arc;
use std::time::Duration;

use super::ffi::Drained;
use super::partition::{Partition, Reading};
use super::poll_loop::PollLoop;
use super::rebuild::End;
use super::supervise::code;
use crate::clock::Instant;
use crate::config::OnFatal;
use crate::offset_tracker::next_offset_after;
use crate::phase::Phase;
use crate::read_to_end::ReadToEnd;
use crate::record::TopicPartition;

/// How long the question for an end may hold up the loop, and how often it is asked where a log looks shorter than it was.
const ASK: Duration = Duration::from_millis(200);
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked whether all is done: turns are many.
const WATCH_EVERY: Duration = Duration::from_millis(10);

/// The ends that the partitions had at the start.
#[derive(Debug)]
pub(super) struct Ends {
    partitions: Vec<(TopicPartition, ReadToEnd)>,
    deadline: Option<Instant>,
    asked_at: Option<Instant>,
    watch_at: Option<Instant>,
}

impl Ends {
    pub(super) fn new(deadline: Option<Instant>) -> Self {
        Self { partitions: Vec::new(), deadline, asked_at: None, watch_at: None }
    }

    pub(super) fn add(&mut self, topic_partition: TopicPartition, start: Option<i64>, end: i64) {
        self.partitions.retain(|(known, _)| *known != topic_partition);
        self.partitions.push((topic_partition, ReadToEnd::new(start, end)));
    }

    fn of(&mut self, topic_partition: &TopicPartition) -> Option<&mut ReadToEnd> {
        self.partitions.iter_mut().find(|(known, _)| known == topic_partition).map(|(_, read)| read)
    }
}

impl PollLoop {
    /// Cuts off what does not belong to what was there at the start, and takes the broker's word for the end of a log.
    pub(super) fn cut_at_end(&mut self, index: usize, drained: &mut Drained) {
        let Some(ends) = self.own.as_mut().and_then(|own| own.ends.as_mut()) else { return };
        let partition = &mut self.partitions[index];
        let Some(read) = ends.of(&partition.topic_partition) else { return };
        let is_search = matches!(partition.reading, Reading::Searching(_));
        if !is_search {
            let admitted = read.admit(drained.batch.records.iter().map(|record| record.offset));
            drained.batch.records.truncate(admitted);
        }
        let Some(error) = drained.error.take_if(|error| error.error.code == code::PARTITION_EOF) else { return };
        read.no_more_at(error.offset);
        let is_reached = read.is_reached();
        // Behind the word there may be records that came later: they are read again where they are wanted.
        if drained.behind_error > 0 && !is_reached && !is_search {
            let next = drained.batch.records.last().map(|record| next_offset_after(record.offset));
            if let Some(next) = next.or(self.partitions[index].expected()) {
                self.seek(index, next.get());
            }
        }
    }

    /// A new epoch of a partition begins: what was handed over is read again.
    pub(super) fn read_to_end_again(&mut self, topic_partition: &TopicPartition) {
        if let Some(read) =
            self.own.as_mut().and_then(|own| own.ends.as_mut()).and_then(|ends| ends.of(topic_partition))
        {
            read.begin_again();
            self.client.resume_one(topic_partition);
        }
    }

    /// Whether all is done, or will not be in time.
    pub(super) fn watch_ends(&mut self, now: Instant) {
        if self.stopping || self.failed || self.end.is_some() {
            return;
        }
        self.ask_for_short_logs(now);
        let Some(own) = &mut self.own else { return };
        let has_found_all = own.has_found_all();
        let Some(ends) = &mut own.ends else { return };
        if ends.watch_at.is_some_and(|at| now < at) {
            return;
        }
        ends.watch_at = Some(now + WATCH_EVERY);
        let (mut is_open, mut held) = (!has_found_all, Vec::new());
        for (topic_partition, read) in &ends.partitions {
            let Some(partition) = self.partitions.iter_mut().find(|one| one.topic_partition == *topic_partition) else {
                is_open = true;
                continue;
            };
            if partition.control.phase() == Phase::Held {
                held.push(Arc::clone(&partition.control));
                continue;
            }
            if read.is_reached() && partition.reading == Reading::On {
                partition.reading = Reading::Complete;
                // Nothing more of it is wanted.
                self.client.pause(topic_partition);
            }
            is_open |= !is_done(partition);
        }
        if !is_open {
            let held = held.iter().map(|control| {
                let record = control.current().map_or_else(String::new, |offset| format!("@{offset}"));
                let error = control.last_error().map_or_else(String::new, |error| format!(": {error}"));
                format!("record `{}{record}` is on hold{error}", control.topic_partition)
            });
            let held: Vec<String> = held.collect();
            self.complete(&held);
        } else if ends.deadline.is_some_and(|deadline| now >= deadline) {
            let missing = self.what_is_missing();
            let limit = self.parts.settings.standalone.as_ref().and_then(|standalone| standalone.until_timeout);
            self.fail_as_told(format!(
                "until = \"end\" is not reached within until_timeout ({:?}): {missing}",
                limit.unwrap_or_default()
            ));
        }
    }

    fn complete(&mut self, held: &[String]) {
        if !held.is_empty() {
            self.fail_as_told(format!("read to the end, but not all of it is done: {}", held.join("; ")));
            return;
        }
        tracing::info!(listener = %self.parts.listener.id, consumer = self.parts.consumer.index,
            partitions = self.partitions.len(), "complete: all that was there at the start is read and done");
        self.end = Some(End::Complete);
    }

    /// Also a failure that another client would not mend ends the process where it is asked for.
    fn fail_as_told(&mut self, reason: String) {
        let ends_all = self.parts.settings.on_fatal == OnFatal::Exit;
        self.parts.consumer.update(|state| state.failure_ends_all |= ends_all);
        self.fail(reason);
    }

    /// Per partition what keeps it from being complete.
    fn what_is_missing(&self) -> String {
        let Some(own) = &self.own else { return String::new() };
        let mut missing: Vec<String> = own.missing.iter().map(|what| format!("{what} is not there")).collect();
        let ends = own.ends.iter().flat_map(|ends| &ends.partitions);
        for (topic_partition, read) in ends {
            let partition = self.partitions.iter().find(|one| one.topic_partition == *topic_partition);
            let Some(partition) = partition else {
                missing.push(format!("`{topic_partition}` was deleted"));
                continue;
            };
            let control = &partition.control;
            if partition.reading == Reading::Complete && control.in_flight() == 0 {
                continue;
            }
            let position = partition.expected().map_or_else(|| "its beginning".to_owned(), |at| at.get().to_string());
            let read_to = format!("`{topic_partition}` is read to {position} of {}", read.end());
            if control.in_flight() > 0
                && let Some(offset) = control.current()
            {
                let error = control.last_error().map_or_else(String::new, |error| format!(": {error}"));
                missing.push(format!("{read_to}, and record {offset} is {}{error}", control.phase()));
            } else {
                missing.push(read_to);
            }
        }
        if missing.is_empty() {
            missing.push("the cluster has not told its partitions yet".to_owned());
        }
        missing.join("; ")
    }

    /// A log whose end was below the one it had may have been cut: then what is missing never comes.
    fn ask_for_short_logs(&mut self, now: Instant) {
        let Some(ends) = self.own.as_mut().and_then(|own| own.ends.as_mut()) else { return };
        let short = ends.partitions.iter().find(|(_, read)| read.is_short()).map(|(name, _)| name.clone());
        let Some(topic_partition) = short else { return };
        if ends.asked_at.is_some_and(|asked| now.saturating_since(asked) < ASK_EVERY) {
            return;
        }
        ends.asked_at = Some(now);
        let answer = self.client.query_ends(&topic_partition, ASK);
        self.tick();
        let (Ok((_, end)), Some(ends)) = (answer, self.own.as_mut().and_then(|own| own.ends.as_mut())) else { return };
        let Some(read) = ends.of(&topic_partition) else { return };
        let was = read.end();
        if read.ends_now_at(end) {
            tracing::warn!(listener = %self.parts.listener.id, %topic_partition, was, end,
                "the log ends below the end that it had at the start: it was truncated or created anew");
        }
    }
}

/// Whether nothing of what was handed over is left to do.
fn is_done(partition: &mut Partition) -> bool {
    partition.take_progress();
    partition.reading == Reading::Complete
        && partition.tracker.watermark() == partition.tracker.expected()
        && partition.retired.iter().all(|retired| retired.has_ended())
}
