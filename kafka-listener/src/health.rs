//! Three answers for an orchestrator, each with its reasons: has it started, may it get work, is it alive.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Instant;
use crate::container::{ConsumerPhase, ContainerState, ListenerContainer, kept_out};

/// A poll loop that has not turned for this long is not alive: it turns every 50 ms, also while it waits.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);

/// The health of all listeners together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Every started consumer has joined its group once.
    pub started: Check,
    /// Every started consumer is in its group, as an owner or as a spare, nothing is stopping, and no partition stands
    /// still because the broker does not take its dead letter or its record for a retry topic. Red while no broker can be
    /// reached.
    pub ready: Check,
    /// Every poll loop turns, no listener has failed for good, and no handler has been running for longer than
    /// `max_poll_interval`. Never red because Kafka is away: a restart would not help. A listener that was stopped on
    /// purpose counts as alive.
    pub live: Check,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Check {
    /// Whether all is well.
    pub ok: bool,
    /// Why not, a line each; empty when all is well.
    pub reasons: Vec<String>,
}

impl Check {
    fn of(reasons: Vec<String>) -> Self {
        Self { ok: reasons.is_empty(), reasons }
    }
}

impl Health {
    pub(crate) fn of(containers: &[ListenerContainer]) -> Self {
        let now = Instant::now();
        let (mut started, mut ready, mut live) = (Vec::new(), Vec::new(), Vec::new());
        for container in containers {
            let (id, state) = (container.id(), container.state());
            match state {
                ContainerState::Running | ContainerState::Paused => {
                    ready.extend(out_of_touch(container));
                    ready.extend(unpublished(container));
                    if container.settings().completes() {
                        ready.push(format!("listener `{id}` has not read to the end yet"));
                    }
                }
                ContainerState::Stopped | ContainerState::Completed => {}
                ContainerState::Waiting => {
                    let after = container.waits_for().join("`, `");
                    let reason = format!("listener `{id}` starts after `{after}`");
                    started.push(reason.clone());
                    ready.push(reason);
                }
                ContainerState::Starting => {
                    let reason = why_not_joined(container);
                    // One that was restarted has started once.
                    if container.consumers().iter().any(|consumer| !consumer.state().has_joined) {
                        started.push(reason.clone());
                    }
                    ready.push(reason);
                }
                ContainerState::WaitingForSeat => ready.extend(seats_taken(container)),
                ContainerState::Stopping => ready.push(format!("listener `{id}` is stopping")),
                ContainerState::Failed => {
                    let reason = container.failure().unwrap_or_default();
                    ready.push(format!("listener `{id}` failed: {reason}"));
                    live.push(format!("listener `{id}` failed: {reason}"));
                }
            }
            if state == ContainerState::Stopped && container.settings().auto_startup {
                ready.push(format!("listener `{id}` is stopped"));
            }
            for consumer in container.consumers() {
                // A loop that does not turn cannot tell so itself.
                let gauges = container.listener().metrics.of_consumer(consumer.index);
                gauges.set_last_poll(consumer.membership.since_tick(now));
            }
            live.extend(silent_loops(container, now));
            live.extend(stuck_records(container, now));
            // Nor can the loop of a container that has stopped tell what that has left running.
            let listener = container.listener();
            listener.metrics.left_behind(listener.left_behind.running().len());
        }
        Self { started: Check::of(started), ready: Check::of(ready), live: Check::of(live) }
    }
}

fn why_not_joined(container: &ListenerContainer) -> String {
    let states = container.consumers().iter().map(|consumer| consumer.state()).collect::<Vec<_>>();
    let id = container.id();
    if let Some(stuck) = states.iter().find_map(|state| state.stuck.as_deref()) {
        format!("listener `{id}` has left its group: {stuck}")
    } else if states.iter().any(|state| state.is_kept_out) {
        format!("listener `{id}` is not in its group yet: {}", kept_out(container.settings()))
    } else if container.settings().standalone.is_some() {
        format!("listener `{id}` has not found its partitions yet")
    } else {
        format!("listener `{id}` is not in its group yet")
    }
}

/// Consumers that were in their group and are not, or cannot reach it.
fn out_of_touch(container: &ListenerContainer) -> Vec<String> {
    let states = container.consumers().iter().map(|consumer| consumer.state()).collect::<Vec<_>>();
    let id = container.id();
    if states.iter().any(|state| state.is_cut_off) {
        return vec![format!("listener `{id}` can reach no broker")];
    }
    let lost = states.iter().any(|state| state.is_expelled);
    if lost {
        vec![format!("listener `{id}` has lost its membership and has not joined again yet")]
    } else {
        Vec::new()
    }
}

/// Partitions that stand still because the broker does not take a dead letter, or a record for a retry topic.
fn unpublished(container: &ListenerContainer) -> Vec<String> {
    let partitions = container.consumers().into_iter().flat_map(|consumer| consumer.partitions());
    let waiting = partitions.filter(|control| control.is_unpublished.load(Ordering::Relaxed));
    waiting
        .map(|control| {
            let reason = control.last_error().unwrap_or_default();
            format!("listener `{}` stands still at `{}`: {reason}", container.id(), control.topic_partition)
        })
        .collect()
}

/// Static members whose place in the group another member holds.
fn seats_taken(container: &ListenerContainer) -> Vec<String> {
    let states = container.consumers().into_iter().filter_map(|consumer| consumer.state().waits_for_seat);
    states
        .map(|id| {
            format!(
                "listener `{}` waits for the seat of its `group_instance_id`: another member holds `{id}`",
                container.id()
            )
        })
        .collect()
}

fn silent_loops(container: &ListenerContainer, now: Instant) -> Vec<String> {
    container
        .consumers()
        .iter()
        .filter(|consumer| consumer.state().phase != ConsumerPhase::Ended)
        .filter_map(|consumer| {
            let silence = consumer.membership.since_tick(now);
            (silence > LONGEST_SILENCE).then(|| {
                format!(
                    "the poll loop {} of listener `{}` has not turned for {silence:.1?}",
                    consumer.index,
                    container.id()
                )
            })
        })
        .collect()
}

fn stuck_records(container: &ListenerContainer, now: Instant) -> Vec<String> {
    let limit = container.settings().max_poll_interval;
    container
        .consumers()
        .iter()
        .flat_map(|consumer| consumer.partitions())
        .chain(container.listener().left_behind.running().into_iter().map(|unit| unit.control))
        .filter_map(|control| {
            let age = control.running_for(now)?;
            (age > limit).then(|| {
                let offset = control.current().map_or_else(String::new, |offset| format!("@{offset}"));
                format!(
                    "listener `{}`: the handler of `{}{offset}` has been running for {age:.1?}, longer than \
                     max_poll_interval",
                    container.id(),
                    control.topic_partition
                )
            })
        })
        .collect()
}
