//! The end of a poll loop: drain, commit, leave the group, all within one budget.

use std::sync::Arc;
use std::time::Duration;

use super::ffi::Event;
use super::poll_loop::PollLoop;
use super::reaper;
use super::rebuild::End;
use super::revoke::{HookKind, Serve, describe};
use crate::clock::Instant;
use crate::container::{ConsumerPhase, Step, StopRequest};
use crate::phase::Interrupt;
use crate::record::TopicPartition;
use crate::worker::Load;

/// How long one look at the main queue may wait while the group is being left.
const CLOSE_STEP: Duration = Duration::from_millis(2);

impl PollLoop {
    /// Gives everything up and leaves. Also the end of a loop that failed by itself; then the budget starts now.
    pub(super) fn leave(&mut self) {
        let now = Instant::now();
        if self.parts.consumer.stop_requested().is_none() {
            let settings = &self.parts.settings;
            // Leaving because of a stuck handler is a revoke that the loop gives itself.
            let budget = if self.end == Some(End::Stuck) { settings.revoke_timeout } else { settings.shutdown_timeout };
            self.own_stop = Some(StopRequest::new(now, budget));
        }
        self.stopping = true;
        if matches!(self.end, None | Some(End::Complete)) {
            self.enter(ConsumerPhase::Stopping);
        }
        self.commits.set_rebalancing(true);
        if !self.is_client_dead {
            self.give_up_everything();
        }
        self.close();
        self.parts.consumer.update(|state| state.ending = Some(Arc::new(std::mem::take(&mut self.ending))));
    }

    fn held(&self) -> Vec<TopicPartition> {
        self.partitions.iter().map(|partition| partition.topic_partition.clone()).collect()
    }

    fn give_up_everything(&mut self) {
        let Some(stop) = self.stop_request() else { return };
        let began = Instant::now();
        let given_up = self.held();
        let drained = self.drain(&self.held(), Interrupt::Stop, stop.until(Step::Drain), Serve::Events);
        let drain_took = Instant::now().saturating_since(began);
        // A rebalance that was served meanwhile may have taken some of them.
        self.run_hooks(HookKind::RevokedBeforeCommit, &self.held(), stop.until(Step::BeforeCommit), Serve::Events);
        let held = self.held();
        let commit_began = Instant::now();
        let outcomes = self.final_commit(&held, stop.until(Step::Commit), Serve::Events);
        let commit_took = Instant::now().saturating_since(commit_began);
        let commit = describe(&outcomes);
        self.ending.note(drained.cancelled, &outcomes);
        let held = self.held();
        self.end_partitions(&held);
        self.publish_assignment();
        self.run_hooks(HookKind::RevokedAfterCommit, &held, stop.until(Step::AfterCommit), Serve::Events);
        if !given_up.is_empty() {
            let took = Instant::now().saturating_since(began);
            let how = format!("stopping: drain took {drain_took:?}, commit {commit_took:?}{commit}");
            self.log_rebalance("given up", &given_up, (took, None), &how);
        }
    }

    /// Leaves the group and closes the client; one that is not closed in time goes to the reaper.
    fn close(&mut self) {
        self.discard_removed();
        let is_stopped = self.parts.consumer.stop_requested().is_some();
        let gives_seat_up = self.end == Some(End::Stuck) || (self.parts.settings.leave_on_stop && is_stopped);
        if gives_seat_up && self.parts.consumer.group_instance_id.is_some() && !self.is_client_dead {
            self.give_seat_up();
        }
        loop {
            // A fatal error that nobody has been told of yet shows in the refusal.
            if self.is_client_dead || self.client.leave().is_err() {
                self.is_client_dead |= self.client.fatal_error().is_some();
                // A member that did not get its seat has no group to leave.
                self.ending.left_group = self.end == Some(End::SeatTaken);
                return;
            }
            if let Some(event) = self.client.poll(CLOSE_STEP) {
                self.on_event_while_closing(event);
            }
            self.tick();
            if self.client.is_closed() {
                self.ending.left_group = true;
                return;
            }
            let close_until = self.stop_request().map(|stop| stop.until(Step::Leave));
            if close_until.is_none_or(|until| Instant::now() >= until) {
                self.unread.clear();
                tracing::warn!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id,
                    "the group was not left within shutdown_timeout; the client goes on trying in the background");
                return;
            }
        }
    }

    /// A client that is closed keeps the seat of a static member; one that unsubscribes first gives it up. It is given up
    /// when the client has forgotten its member id.
    fn give_seat_up(&mut self) {
        if let Err(error) = self.client.unsubscribe() {
            tracing::warn!(listener = %self.parts.listener.id, %error, "the seat in the group is not given up");
            return;
        }
        while self.client.member_id().is_some() {
            if let Some(event) = self.client.poll(CLOSE_STEP) {
                self.on_event_while_closing(event);
            }
            self.tick();
            if self.stop_request().is_none_or(|stop| Instant::now() >= stop.until(Step::Leave)) {
                tracing::warn!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id,
                    "the seat in the group was not given up within shutdown_timeout");
                return;
            }
        }
    }

    fn on_event_while_closing(&mut self, event: Event) {
        match event {
            Event::Fatal(error) | Event::Error(error) => {
                tracing::debug!(listener = %self.parts.listener.id, %error, "error while closing");
            }
            event => self.on_event(event),
        }
    }

    /// Hands the client on if it is not closed: dropping it is then somebody else's business.
    pub(super) fn finish(self) {
        self.gauges.set(&Load::default());
        let seat = self.parts.seat().filter(|_| !self.is_client_dead);
        let Self { client, partitions, removed, unread, .. } = self;
        // Every queue goes before its client.
        drop((partitions, removed, unread));
        if !client.is_closed() {
            reaper::adopt(client, seat);
        }
    }
}
