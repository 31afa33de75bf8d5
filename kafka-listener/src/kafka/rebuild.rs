//! One consumer, as many clients as it takes: librdkafka's client is dead after a fatal error, and a seat in the group
//! that another member holds is asked for again and again.

use std::sync::Arc;
use std::time::Duration;

use super::ffi::KafkaError;
use super::poll_loop::{ConsumerParts, PollLoop};
use super::reaper::{self, Seat};
use super::supervise;
use crate::clock::Instant;
use crate::config::OnFatal;
use crate::container::{Consumer, ConsumerPhase};
use crate::record::TopicPartition;

/// The first pause before another client, doubled for each that failed soon after it.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A seat is free as soon as the broker says so: what waits for it asks more often.
const LONGEST_PAUSE_FOR_SEAT: Duration = Duration::from_secs(3);
/// How long a listener stays out of its group at least after it has left it because of a stuck handler.
const AWAY: Duration = Duration::from_secs(10);
/// A client that lived for so long did not fail at once.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// The longest sleep: the pulse goes on.
const STEP: Duration = Duration::from_millis(50);

/// How the life of a client has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// And the consumer's with it: it was stopped, or cannot go on.
    Over,
    /// It is to have another client: `on_fatal = "restart"`.
    Restart,
    /// Another member of the group holds the seat of our `group.instance.id`.
    SeatTaken,
    /// All that there was at the start is done: `until = "end"`.
    Complete,
    /// A handler is stuck, and another member is to take over: `on_stuck = "leave"`.
    Stuck,
}

/// Runs a consumer until it is told to stop or cannot go on. Called on a thread of its own.
pub(crate) fn run(parts: &ConsumerParts) {
    parts.consumer.waker.attach();
    let consumer = Arc::clone(&parts.consumer);
    supervise::guard(&consumer, || live(parts));
}

fn live(parts: &ConsumerParts) {
    let consumer = &parts.consumer;
    let mut pause = FIRST_PAUSE;
    if !wait_for_own_client(parts) {
        return;
    }
    loop {
        let began = Instant::now();
        let end = match PollLoop::new(parts.clone()) {
            Ok(poll_loop) => poll_loop.run_supervised(),
            Err(error) => {
                consumer.update(|state| {
                    state.failure = Some(format!("create the consumer: {error}").into());
                    state.failure_ends_all = true;
                });
                End::Over
            }
        };
        if end == End::Over || consumer.stop_requested().is_some() {
            return;
        }
        if end == End::Stuck {
            // What was given up is with the others by then, and a group that moves little leaves it there.
            if !wait(consumer, AWAY, || false) || !wait(consumer, Duration::MAX, || !is_code_left(parts)) {
                return;
            }
            continue;
        }
        let longest = if end == End::SeatTaken { LONGEST_PAUSE_FOR_SEAT } else { LONGEST_PAUSE };
        if Instant::now().saturating_since(began) > LONG_LIFE {
            pause = FIRST_PAUSE;
        }
        if !wait(consumer, pause.min(longest), || false) {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether code of this consumer still runs that it has left behind.
fn is_code_left(parts: &ConsumerParts) -> bool {
    parts.listener.left_behind.running().iter().any(|unit| unit.consumer == parts.consumer.index)
}

/// A static member whose last client has not left its group yet would fence that off, or be refused because of it.
fn wait_for_own_client(parts: &ConsumerParts) -> bool {
    let Some(seat) = parts.seat() else { return true };
    if !reaper::is_leaving(&seat) {
        return true;
    }
    tracing::info!(listener = %parts.listener.id, group_instance_id = %seat.instance_id,
        "the member's last client has not left the group yet and is waited for");
    let consumer = &parts.consumer;
    consumer.update(|state| state.waits_for_seat = Some(seat.instance_id.as_str().into()));
    let is_free = wait(consumer, Duration::MAX, || !reaper::is_leaving(&seat));
    consumer.update(|state| state.waits_for_seat = None);
    is_free
}

/// Ticks for so long, or until `done`. `false`: the consumer is to stop.
fn wait(consumer: &Consumer, time: Duration, done: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    loop {
        consumer.waker.clear();
        if consumer.stop_requested().is_some() {
            return false;
        }
        let now = Instant::now();
        // Nothing runs that a gap could mislead, and the next client begins with a membership of its own.
        consumer.membership.tick(now);
        let left = time.saturating_sub(now.saturating_since(began));
        if left.is_zero() || done() {
            return true;
        }
        consumer.waker.park(left.min(STEP));
    }
}

impl ConsumerParts {
    /// The place of a static member in its group.
    pub(super) fn seat(&self) -> Option<Seat> {
        let instance_id = self.consumer.group_instance_id.clone()?;
        Some(Seat {
            cluster: self.settings.bootstrap_servers(),
            group_id: Arc::clone(&self.listener.group_id),
            instance_id,
        })
    }
}

/// Codes of Kafka that say something about a static member's place in its group.
mod code {
    pub(super) const FENCED_INSTANCE_ID: i32 = 82;
    pub(super) const UNRELEASED_INSTANCE_ID: i32 = 111;
}

impl PollLoop {
    /// The client is dead and there will be no revoke: the lost path for everything, then what `on_fatal` says.
    pub(super) fn on_fatal(&mut self, error: KafkaError) {
        if self.is_client_dead {
            return;
        }
        self.is_client_dead = true;
        let held: Vec<TopicPartition> =
            self.partitions.iter().map(|partition| partition.topic_partition.clone()).collect();
        let error = self.client.fatal_error().unwrap_or(error);
        self.lose(&held);
        self.publish_assignment();
        let instance_id = self.parts.consumer.group_instance_id.clone().unwrap_or_default();
        match error.code {
            code::FENCED_INSTANCE_ID => self.fail(format!(
                "fenced: another member has joined group `{}` as `{instance_id}` and holds the seat of this one, which \
                 is never restarted; every process needs a `group_instance_id` of its own ({error})",
                self.parts.listener.group_id
            )),
            code::UNRELEASED_INSTANCE_ID => self.wait_for_seat(&instance_id, &error),
            _ => self.cannot_go_on(format!("fatal error of the client: {error}")),
        }
    }

    /// KIP-848: the seat belongs to a member that is alive, or that was killed and is not missed yet.
    fn wait_for_seat(&mut self, instance_id: &str, error: &KafkaError) {
        let consumer = &self.parts.consumer;
        if consumer.state().waits_for_seat.is_none() {
            tracing::warn!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id,
                group_instance_id = instance_id, %error,
                "waiting_for_seat: another member of the group holds `{instance_id}`; this one joins when it is gone or \
                 the broker has missed it for its session timeout");
        }
        consumer.update(|state| state.waits_for_seat = Some(instance_id.into()));
        self.end = Some(End::SeatTaken);
    }

    /// The listener cannot go on with this client: what `on_fatal` says.
    pub(super) fn cannot_go_on(&mut self, reason: String) {
        if self.parts.settings.on_fatal != OnFatal::Restart || self.stopping {
            let ends_all = self.parts.settings.on_fatal == OnFatal::Exit;
            self.parts.consumer.update(|state| state.failure_ends_all = ends_all);
            self.fail(reason);
            return;
        }
        tracing::error!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id, error = %reason,
            "the listener cannot go on with this client and is given another one: on_fatal = \"restart\"");
        self.parts.listener.metrics.restarted();
        self.parts.consumer.update(|state| {
            state.restarts += 1;
            state.last_fatal = Some(reason.into());
        });
        self.end = Some(End::Restart);
    }

    /// Gives everything up so that another member takes over.
    pub(super) fn leave_stuck(&mut self) {
        let records: Vec<String> = self
            .stuck
            .iter()
            .map(|(topic_partition, offset)| match offset {
                Some(offset) => format!("`{topic_partition}@{offset}`"),
                None => format!("`{topic_partition}`"),
            })
            .collect();
        let reason = format!(
            "the handler of {} has been running for longer than max_poll_interval; it joins again when that code has ended",
            records.join(", ")
        );
        tracing::error!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id, %reason,
            "leaving the group: on_stuck = \"leave\"");
        self.parts.consumer.update(|state| state.stuck = Some(reason.into()));
        self.end = Some(End::Stuck);
    }

    /// What becomes of the consumer, now that its client is left.
    pub(super) fn end(&self) -> End {
        match self.end {
            Some(End::Complete) if !self.failed => {
                self.parts.consumer.update(|state| state.completed = true);
                End::Over
            }
            Some(end) if !self.failed && self.parts.consumer.stop_requested().is_none() => {
                self.parts.consumer.update(|state| {
                    state.phase = ConsumerPhase::Joining;
                    state.ending = None;
                });
                end
            }
            _ => End::Over,
        }
    }
}
