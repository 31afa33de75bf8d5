//! Watching the loop itself and its workers, and what librdkafka reports: nothing here may end unnoticed.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::ffi::{KafkaError, PartitionError, TopicState};
use super::partition::Reading;
use super::poll_loop::PollLoop;
use super::rebuild::End;
use crate::clock::Instant;
use crate::config::MissingTopics;
use crate::container::{Consumer, ConsumerPhase};
use crate::offset_tracker::CommitOffset;
use crate::phase::Interrupt;
use crate::record::TopicPartition;
use crate::worker::{WorkerRequest, gate};

/// Codes of librdkafka and Kafka that say something about a partition's records.
pub(super) mod code {
    pub(in crate::kafka) const BAD_MSG: i32 = -199;
    pub(in crate::kafka) const BAD_COMPRESSION: i32 = -198;
    pub(in crate::kafka) const NOT_IMPLEMENTED: i32 = -170;
    pub(in crate::kafka) const AUTO_OFFSET_RESET: i32 = -140;
    pub(in crate::kafka) const INVALID_MSG: i32 = 2;
    pub(in crate::kafka) const PARTITION_EOF: i32 = -191;
    pub(in crate::kafka) const ALL_BROKERS_DOWN: i32 = -187;
    pub(in crate::kafka) const TOPIC_AUTHORIZATION_FAILED: i32 = 29;
    pub(in crate::kafka) const INVALID_TOPIC: i32 = 17;
}

/// Whether the error says that records cannot be read, and not that the partition cannot be read just now.
pub(super) fn is_unreadable(error: &PartitionError) -> bool {
    matches!(error.error.code, code::BAD_MSG | code::BAD_COMPRESSION | code::NOT_IMPLEMENTED | code::INVALID_MSG)
}

/// Keeps repeated reports to one line in this time per code.
const REPEAT_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct LogLimit(HashMap<i32, Instant>);

impl LogLimit {
    fn allows(&mut self, code: i32) -> bool {
        let now = Instant::now();
        match self.0.get(&code) {
            Some(last) if now.saturating_since(*last) < REPEAT_AFTER => false,
            _ => {
                self.0.insert(code, now);
                true
            }
        }
    }
}

/// Runs a consumer's thread to its end and says so, also when it panics.
pub(super) fn guard(consumer: &Consumer, body: impl FnOnce()) {
    let outcome = catch_unwind(AssertUnwindSafe(body));
    consumer.refuse_seeks();
    for control in consumer.partitions() {
        control.cancel();
        control.end_epoch();
    }
    consumer.update(|state| {
        if outcome.is_err() {
            state.failure.get_or_insert_with(|| "the poll loop panicked: this is a bug in kafka-listener".into());
        }
        state.phase = ConsumerPhase::Ended;
        state.assigned = 0;
        state.waits_for_seat = None;
        state.stuck = None;
    });
}

impl PollLoop {
    /// Runs the loop. A panic inside it ends all epochs, cancels the workers, commits nothing and leaves the group.
    pub(super) fn run_supervised(mut self) -> End {
        let outcome = catch_unwind(AssertUnwindSafe(|| self.run()));
        if outcome.is_err() {
            let cleanup = catch_unwind(AssertUnwindSafe(|| {
                self.fail("the poll loop panicked: this is a bug in kafka-listener".to_owned());
                if let Some((kind, partitions)) = self.unanswered.take()
                    && let Err(error) = self.client.decline(kind, &partitions, self.client.is_cooperative())
                {
                    tracing::debug!(listener = %self.parts.listener.id, %error, "rebalance not answered");
                }
                let held: Vec<TopicPartition> =
                    self.partitions.iter().map(|partition| partition.topic_partition.clone()).collect();
                self.lose(&held);
                self.leave();
            }));
            if cleanup.is_err() {
                tracing::error!(listener = %self.parts.listener.id, "cleaning up after a panic panicked");
            }
        }
        let end = self.end();
        self.finish();
        end
    }

    /// `missing_topics = "fail"`: asks before subscribing. A cluster that does not answer is waited for.
    pub(super) fn topics_are_there(&mut self) -> bool {
        const ASK: Duration = Duration::from_secs(1);
        const PAUSE: Duration = Duration::from_millis(250);
        if self.parts.settings.missing_topics == MissingTopics::Wait {
            return true;
        }
        let mut missing = Vec::new();
        let settings = &self.parts.settings;
        let elsewhere = settings.dead_letter_topics().into_iter().chain(settings.reply_topics());
        let wanted: Vec<String> = settings.topics.iter().cloned().chain(elsewhere).collect();
        for topic in wanted {
            let state = loop {
                self.tick();
                self.serve_events();
                if self.parts.consumer.stop_requested().is_some() {
                    return false;
                }
                match self.client.topic_state(&topic, ASK) {
                    Ok(state) => break state,
                    Err(error) if matches!(error.code, code::TOPIC_AUTHORIZATION_FAILED | code::INVALID_TOPIC) => {
                        self.parts.consumer.update(|state| state.failure_ends_all = true);
                        self.fail(format!("missing_topics = \"fail\": ask for topic `{topic}`: {error}"));
                        return false;
                    }
                    Err(error) => {
                        self.on_error(&error);
                        self.parts.consumer.waker.clear();
                        self.parts.consumer.waker.park(PAUSE);
                    }
                }
            };
            if state == TopicState::Missing {
                missing.push(format!("`{topic}`"));
            }
        }
        if !missing.is_empty() {
            self.parts.consumer.update(|state| state.failure_ends_all = true);
            self.fail(format!(
                "missing_topics = \"fail\": the cluster has no topic {}; create it, or set missing_topics = \"wait\"",
                missing.join(", ")
            ));
        }
        missing.is_empty()
    }

    /// Workers that ended unasked, and what workers ask for.
    pub(super) fn supervise_workers(&mut self) {
        let mut index = 0;
        while index < self.partitions.len() {
            let partition = &self.partitions[index];
            if partition.control.has_ended() && !partition.control.is_gate_closed(gate::STOP) {
                self.on_worker_ended(index);
            } else if let Some(request) = partition.control.take_request() {
                self.on_request(index, request);
            }
            index += 1;
        }
    }

    fn on_worker_ended(&mut self, index: usize) {
        if self.is_runtime_gone() {
            self.fail("the tokio runtime that the listeners were started on has been shut down".to_owned());
            return;
        }
        let (watermark, _) = self.partitions[index].take_progress();
        let partition = &self.partitions[index];
        if partition.committed_first().is_some() {
            self.say_lost(partition);
        }
        let topic_partition = partition.topic_partition.clone();
        let from = watermark.or(partition.start);
        if self.restarted.insert(topic_partition.clone(), from) == Some(from) {
            self.cannot_go_on(format!("the worker of `{topic_partition}` ended by itself twice at the same record"));
            return;
        }
        tracing::error!(listener = %self.parts.listener.id, %topic_partition, from = from.map(CommitOffset::get),
            "the worker ended by itself; the partition is read again from what is done");
        self.begin_epoch(index, from);
        let epoch = self.partitions[index].epoch;
        // What the ended worker had finished is still to be committed.
        self.commits.progress(&topic_partition, epoch, watermark, 0);
        match from {
            Some(from) => self.seek(index, from.get()),
            None => self.lose_position(index),
        }
    }

    /// A runtime that is gone ends every task before its first poll; a task that never ends tells the difference.
    fn is_runtime_gone(&self) -> bool {
        let probe = self.parts.runtime.spawn(std::future::pending::<()>());
        let gone = probe.is_finished();
        probe.abort();
        gone
    }

    fn on_request(&mut self, index: usize, request: WorkerRequest) {
        match request {
            WorkerRequest::ReadFrom(offset) => {
                let partition = &mut self.partitions[index];
                partition.reading = Reading::On;
                // Never below what was handed over: an unreadable batch begins below its first unread record.
                let offset = partition.expected().map_or(offset, CommitOffset::get);
                self.seek(index, offset);
            }
            WorkerRequest::SkipUnreadable { offset } => self.search_readable(index, offset),
            WorkerRequest::Fail { offset, class, error } => {
                let topic_partition = &self.partitions[index].topic_partition;
                let reason =
                    format!("on_failure = \"stop\": record `{topic_partition}@{offset}` failed ({class}): {error}");
                self.fail(reason);
            }
        }
    }

    pub(super) fn on_partition_error(&mut self, index: usize, error: PartitionError) {
        match error.error.code {
            code::PARTITION_EOF => {}
            _ if is_unreadable(&error) => self.stop_reading(index, error),
            code::AUTO_OFFSET_RESET => self.reset_offset(index, &error),
            code => {
                if self.log_limit.allows(code) {
                    tracing::warn!(listener = %self.parts.listener.id,
                        topic_partition = %self.partitions[index].topic_partition, error = %error.error,
                        "the partition cannot be read just now");
                }
                // librdkafka's position has moved past the error, and would skip a record at the next rebalance.
                let expected = self.partitions[index].expected().map(CommitOffset::get);
                match expected.or((error.offset >= 0).then_some(error.offset)) {
                    Some(offset) => self.seek(index, offset),
                    None => self.lose_position(index),
                }
            }
        }
    }

    /// The membership is over, as a commit was told: what we hold may have another owner. librdkafka finds out by
    /// itself and revokes; until then nothing may start.
    pub(super) fn on_fenced(&mut self, topic_partition: &TopicPartition) {
        if self.own.is_some() {
            self.fail(format!(
                "group `{}` refuses the commits of a listener that is no member, as it has members: give listeners with \
                 `partitions` a group of their own",
                self.parts.listener.group_id
            ));
            return;
        }
        self.fenced_at.get_or_insert_with(Instant::now);
        if let Some(partition) = self.partition_mut(topic_partition) {
            let records = partition.cancel(Interrupt::Lost);
            if self.stopping {
                let cut_off = records.into_iter().map(|offset| (topic_partition.clone(), Some(offset))).collect();
                self.ending.note(cut_off, &[]);
            }
        }
    }

    /// A member that is out of its group and hears nothing of it would be silent for ever.
    pub(super) fn check_fence(&mut self) {
        let session_timeout = self.parts.settings.session_timeout;
        if self.fenced_at.is_some_and(|since| Instant::now().saturating_since(since) > session_timeout) {
            self.fenced_at = None;
            self.cannot_go_on(format!(
                "the group refuses this member's commits and no rebalance came within session_timeout ({session_timeout:?})"
            ));
        }
    }

    /// While no broker can be reached: looks now and then whether one can again. librdkafka reports the loss only.
    pub(super) fn probe_brokers(&mut self, now: Instant) {
        const ASK: Duration = Duration::from_millis(50);
        const EVERY: Duration = Duration::from_secs(1);
        if !self.is_cut_off || now.saturating_since(self.probed_at) < EVERY {
            return;
        }
        self.probed_at = now;
        let answer = self.client.ask_any_broker(ASK);
        self.reached_a_broker(answer.as_ref().err());
    }

    /// A broker has answered, unless `error` is one of librdkafka's own: also a refusal is an answer.
    pub(super) fn reached_a_broker(&mut self, error: Option<&KafkaError>) {
        if self.is_cut_off && error.is_none_or(|error| error.code > 0) {
            self.is_cut_off = false;
            self.parts.consumer.update(|state| state.is_cut_off = false);
        }
    }

    pub(super) fn on_error(&mut self, error: &KafkaError) {
        if error.code == code::ALL_BROKERS_DOWN {
            self.is_cut_off = true;
            self.parts.consumer.update(|state| state.is_cut_off = true);
        }
        if self.log_limit.allows(error.code) {
            tracing::warn!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id, %error,
                code = error.code, "librdkafka reports; it goes on by itself");
        }
    }
}

/// Passes a line of librdkafka's log on, at its own level.
pub(super) fn log(level: i32, facility: &str, text: &str) {
    // Syslog levels: 0 to 3 are errors, 4 is a warning.
    match level {
        ..=3 => tracing::error!(target: "kafka_listener::librdkafka", facility, "{text}"),
        4 => tracing::warn!(target: "kafka_listener::librdkafka", facility, "{text}"),
        5 | 6 => tracing::info!(target: "kafka_listener::librdkafka", facility, "{text}"),
        _ => tracing::debug!(target: "kafka_listener::librdkafka", facility, "{text}"),
    }
}
