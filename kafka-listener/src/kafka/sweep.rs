//! What is looked at four times a second and never per record: ages, ends of logs, gauges, and who has nothing to do.

use std::time::Duration;

use super::ffi::{OffsetOf, OffsetsAnswer};
use super::partition::Partition;
use super::poll_loop::PollLoop;
use crate::clock::Instant;
use crate::config::{GroupProtocol, OnStuck};
use crate::container::{ConsumerPhase, ConsumerState, kept_out};
use crate::worker::{Load, PartitionControl, gate, number};

/// How long after `revoke_timeout` a rebalance counts as over. A cooperative one gives a new member nothing at first,
/// and what others have given up a heartbeat or two later.
const SETTLING: Duration = Duration::from_secs(2);

/// How long a broker that runs the group itself may take to let a member in. It answers such a request at once.
const LET_IN: Duration = Duration::from_secs(10);

/// How long after `handler_timeout` a handler that could be cancelled has been.
const UNCANCELLED: Duration = Duration::from_secs(1);

/// What has been said of consumers and slots that have nothing to do.
#[derive(Debug, Default)]
pub(super) struct IdleNotes {
    /// Whether this consumer has been named as a spare since it last had a partition.
    spare: bool,
    slots: bool,
    /// Since when the broker has counted this consumer in without giving it a partition.
    counted_in: Option<Instant>,
    /// Since when it has been asking for a place in such a group.
    asked: Option<Instant>,
}

impl PollLoop {
    pub(super) fn sweep(&mut self, now: Instant) {
        let mut load = Load { last_poll: self.parts.consumer.membership.since_tick(now), ..Load::default() };
        for partition in &self.partitions {
            let control = &partition.control;
            control.observe(now);
            self.report_over_time(control, now);
            if let Some((_, high)) = self.client.cached_watermarks(&partition.topic_partition)
                && partition.fetched_end.replace(Some(high)) != Some(high)
            {
                control.set_end_offset(high);
            }
            if let Some(lag) = control.lag() {
                partition.lag.set(number(lag.unsigned_abs()));
            }
            load.assigned += 1;
            load.paused += u64::from(control.is_gate_closed(gate::PAUSE));
            load.in_flight += control.in_flight();
            if self.commits_offsets() {
                load.uncommitted += partition.uncommitted(self.commits.acknowledged(&partition.topic_partition));
            }
            if control.in_flight() > 0 {
                load.oldest_unfinished = load.oldest_unfinished.max(control.record_age(now));
            }
        }
        self.ask_ends(now);
        self.scratch.trim();
        self.gauges.set(&load);
        let listener = &self.parts.listener;
        listener.metrics.left_behind(listener.left_behind.running().len());
        self.watch_stuck(now);
        self.notice_spare(now);
        self.name_the_idle(now);
    }

    /// The end of a log is told with what is fetched from it, and nothing is fetched behind a full queue: a partition that
    /// is paused, held or slow is asked for by itself, so that its lag stays right.
    fn ask_ends(&mut self, now: Instant) {
        const EVERY: Duration = Duration::from_secs(1);
        if self.lag_question.is_some() && now.saturating_since(self.asked_ends_at) < EVERY * 5 {
            return;
        }
        let stands = |partition: &&Partition| partition.control.gates() != 0 || partition.control.in_flight() > 0;
        if now.saturating_since(self.asked_ends_at) < EVERY || !self.partitions.iter().any(|one| stands(&one)) {
            return;
        }
        self.asked_ends_at = now;
        let serial = self.next_question();
        self.lag_question = Some(serial);
        let standing = self.partitions.iter().filter(stands).map(|one| (&one.topic_partition, OffsetOf::End));
        // The lag is counted to the high watermark.
        self.client.ask_offsets(serial, standing, false, EVERY);
    }

    pub(super) fn take_ends(&self, answer: &OffsetsAnswer) {
        for partition in &self.partitions {
            let one = answer.partitions.iter().find(|one| one.topic_partition == partition.topic_partition);
            if let Some(end) = one.filter(|one| one.error.is_none()).and_then(|one| one.offset) {
                partition.control.set_end_offset(end);
            }
        }
    }

    /// A handler that is past its time and not cancelled blocks its thread: nothing can end it. Said once per record.
    fn report_over_time(&self, control: &PartitionControl, now: Instant) {
        let Some(limit) = self.parts.settings.handler_timeout else { return };
        let Some(running_for) = control.running_for(now).filter(|age| *age > limit + UNCANCELLED) else { return };
        if control.note_over_time() {
            let topic_partition = &control.topic_partition;
            tracing::warn!(listener = %self.parts.listener.id, topic = topic_partition.topic(),
                partition = topic_partition.partition(), offset = control.current(), ?running_for,
                handler_timeout = ?limit,
                "the handler is past `handler_timeout` and blocks its thread: it cannot be cancelled");
            self.parts.listener.metrics.over_time();
        }
    }

    /// Handlers that have been running for longer than `max_poll_interval`: said once per record. Only running code is
    /// stuck; what is retried, held, paused or waiting is not.
    fn watch_stuck(&mut self, now: Instant) {
        let limit = self.parts.settings.max_poll_interval;
        let stuck = |control: &PartitionControl| control.running_for(now).filter(|age| *age > limit);
        let mut still = Vec::new();
        for control in self.partitions.iter().map(|partition| &partition.control) {
            let Some(age) = stuck(control) else { continue };
            let record = (control.topic_partition.clone(), control.current());
            if !self.stuck.contains(&record) {
                tracing::error!(listener = %self.parts.listener.id, topic = control.topic_partition.topic(),
                    partition = control.topic_partition.partition(), offset = control.current(), running_for = ?age,
                    max_poll_interval = ?limit, on_stuck = ?self.parts.settings.on_stuck,
                    "stuck: the handler has been running for longer than max_poll_interval");
                self.parts.listener.metrics.stuck();
            }
            still.push(record);
        }
        self.stuck = still;
        if self.parts.settings.on_stuck == OnStuck::Leave && !self.stuck.is_empty() && !self.stopping {
            self.leave_stuck();
        }
    }

    /// A broker that runs the group tells a member of its assignment only, and nothing to one that gets none.
    fn notice_spare(&mut self, now: Instant) {
        let has_joined = self.parts.consumer.state().phase >= ConsumerPhase::Joined;
        if self.parts.settings.group_protocol == GroupProtocol::Classic || has_joined {
            return;
        }
        if self.client.generation().is_none_or(|epoch| epoch < 1) {
            self.notice_kept_out(now);
            return;
        }
        // An assignment may be on its way.
        if now.saturating_since(*self.idle.counted_in.get_or_insert(now)) < SETTLING {
            return;
        }
        self.confirm_membership(now);
        self.note_membership();
        self.parts.consumer.update(ConsumerState::join);
        tracing::info!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id,
            consumer = self.parts.consumer.index, "in the group, with no partition yet");
    }

    /// librdkafka repeats a request to join that the broker refuses for ever and tells nobody of it.
    fn notice_kept_out(&mut self, now: Instant) {
        let state = self.parts.consumer.state();
        let since = *self.idle.asked.get_or_insert(now);
        let is_asking = !state.is_cut_off && state.waits_for_seat.is_none() && !self.stopping;
        if !is_asking || state.is_kept_out || now.saturating_since(since) < LET_IN {
            return;
        }
        self.parts.consumer.update(|state| state.is_kept_out = true);
        tracing::warn!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id,
            consumer = self.parts.consumer.index, "not in the group yet: {}", kept_out(&self.parts.settings));
    }

    /// Says once, when a rebalance is over, who has nothing to do: consumers without a partition, and slots that no
    /// partition can use.
    fn name_the_idle(&mut self, now: Instant) {
        if !self.partitions.is_empty() {
            self.idle.spare = false;
        }
        let settings = &self.parts.settings;
        let has_joined = self.parts.consumer.state().phase == ConsumerPhase::Joined;
        if !has_joined || now.saturating_since(self.rebalanced_at) < settings.revoke_timeout + SETTLING {
            return;
        }
        let (listener, group) = (&self.parts.listener.id, &self.parts.listener.group_id);
        let index = self.parts.consumer.index;
        if self.own.is_none() && self.partitions.is_empty() && !std::mem::replace(&mut self.idle.spare, true) {
            tracing::warn!(%listener, %group, consumer = index, consumers = settings.consumers,
                "consumer {index} is a spare: the group has more consumers than partitions; it stands by and keeps its \
                 connections open");
        }
        let assigned: usize = self.parts.siblings.iter().map(|sibling| sibling.state().assigned).sum();
        // Cancelled code that still runs has a slot too.
        let used = assigned + self.parts.listener.left_behind.running().len();
        let Some(idle) = settings.concurrency.and_then(|slots| slots.checked_sub(used)) else { return };
        // One of them speaks for all.
        if idle > 0 && assigned > 0 && index == 0 && !std::mem::replace(&mut self.idle.slots, true) {
            tracing::info!(%listener, %group, concurrency = settings.concurrency, assigned, idle,
                "{idle} slots of `concurrency` idle: a partition is handled one record at a time, and this process owns \
                 {assigned}");
        }
    }
}
