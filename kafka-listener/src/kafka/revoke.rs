//! Partitions that go: drain, hooks, commit, and only then the answer to the group, all within one budget.
//!
//! The steps work on a set of partitions by name, so that a stop, which gives up everything, can use them while it
//! still serves rebalances.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::ffi::{KafkaError, RebalancePartitions};
use super::partition::Partition;
use super::poll_loop::PollLoop;
use crate::clock::Instant;
use crate::commit::{CommitOutcome, FinalOutcome, FinalStep};
use crate::container::Step;
use crate::offset_tracker::CommitOffset;
use crate::phase::Interrupt;
use crate::rebalance::{Partitions, RebalanceListener, StartOffset};
use crate::record::TopicPartition;
use crate::sabotage::{self, Sabotage};
use crate::worker::Settling;

/// The longest sleep while something is waited for: the pulse goes on.
const WAIT_STEP: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HookKind {
    Assigned,
    RevokedBeforeCommit,
    RevokedAfterCommit,
    Lost,
}

impl HookKind {
    /// The step of giving partitions up in which the hook runs.
    fn step(self) -> Step {
        match self {
            Self::Assigned | Self::RevokedBeforeCommit | Self::Lost => Step::BeforeCommit,
            Self::RevokedAfterCommit => Step::AfterCommit,
        }
    }
}

/// What else is done while something is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serve {
    /// Inside a rebalance: the group waits for our answer and has nothing else to say.
    Nothing,
    /// While stopping: rebalances go on and are answered.
    Events,
}

/// What a drain left behind.
#[derive(Debug, Default)]
pub(super) struct Drained {
    /// Partitions whose code had not ended when the time was up, and the record it was at.
    pub(super) cancelled: Vec<(TopicPartition, Option<i64>)>,
}

impl PollLoop {
    pub(super) fn on_revoke(&mut self, partitions: &RebalancePartitions) {
        let began = Instant::now();
        // Asked first: unassigning resets it.
        let lost = self.client.assignment_lost();
        let cooperative = self.client.is_cooperative();
        let revoked = partitions.to_vec();
        if !lost {
            self.confirm_membership(began);
        }
        self.commits.set_rebalancing(true);
        let held: Vec<TopicPartition> = revoked
            .iter()
            .filter(|revoked| self.partitions.iter().any(|partition| partition.topic_partition == **revoked))
            .cloned()
            .collect();
        let how = if lost { self.lose(&held) } else { self.give_up(&held, began) };
        if let Err(error) = self.client.unassign(partitions, cooperative) {
            tracing::error!(listener = %self.parts.listener.id, %error, "give the revoked partitions back");
        }
        self.unanswered = None;
        // What a final commit was told of a membership that is over now says nothing about the next one.
        self.fenced_at = None;
        if lost {
            self.parts.consumer.update(|state| state.is_expelled = true);
        }
        self.publish_assignment();
        let took = Instant::now().saturating_since(began);
        let kind = if lost { "lost" } else { "revoked" };
        self.parts.listener.metrics.rebalance(kind, took);
        let stood_still = (!self.partitions.is_empty()).then_some(took);
        let retained = stood_still.map_or_else(String::new, |time| format!(", the others stood still {time:?}"));
        if let Some(time) = stood_still {
            self.parts.listener.metrics.stood_still(time);
        }
        self.stopped = (!cooperative && !lost).then(|| (began, held.clone()));
        // The revoke that leaving the group brings has nothing to tell: the stop has told it.
        if !(self.stopping && held.is_empty()) {
            self.log_rebalance(kind, &revoked, (took, stood_still), &format!("{how}{retained}"));
        }
    }

    /// The orderly way. Says what took how long.
    fn give_up(&mut self, held: &[TopicPartition], began: Instant) -> String {
        if held.is_empty() {
            return "nothing to drain".to_owned();
        }
        let budget = self.parts.settings.revoke_timeout;
        let until = |step: Step| began + budget.mul_f64(step.share());
        let drained = self.drain(held, Interrupt::Revoke, until(Step::Drain), Serve::Nothing);
        if !drained.cancelled.is_empty() {
            self.parts.listener.metrics.drain_timed_out();
        }
        let drain_took = Instant::now().saturating_since(began);
        let hooks_began = Instant::now();
        self.run_hooks(HookKind::RevokedBeforeCommit, held, until(Step::BeforeCommit), Serve::Nothing);
        let hooks_took = Instant::now().saturating_since(hooks_began);
        let commit_began = Instant::now();
        let outcomes = self.final_commit(held, until(Step::Commit), Serve::Nothing);
        let commit_took = Instant::now().saturating_since(commit_began);
        self.end_partitions(held);
        let hooks_began = Instant::now();
        self.run_hooks(HookKind::RevokedAfterCommit, held, until(Step::AfterCommit), Serve::Nothing);
        let hooks_took = hooks_took + Instant::now().saturating_since(hooks_began);
        let cancelled = match drained.cancelled.len() {
            0 => String::new(),
            many => format!(" and cancelled {many} still running"),
        };
        let commit = describe(&outcomes);
        if self.stopping {
            self.ending.note(drained.cancelled, &outcomes);
        }
        format!("drain took {drain_took:?}{cancelled}, hooks {hooks_took:?}, commit {commit_took:?}{commit}")
    }

    /// The partitions may have another owner already: cancel, commit nothing.
    pub(super) fn lose(&mut self, held: &[TopicPartition]) -> String {
        let mut cut_off = Vec::new();
        for partition in self.partitions.iter_mut().filter(|partition| held.contains(&partition.topic_partition)) {
            if !sabotage::is_on(Sabotage::NoFence) {
                let records = partition.cancel(Interrupt::Lost);
                cut_off.extend(records.into_iter().map(|offset| (partition.topic_partition.clone(), Some(offset))));
            }
        }
        if self.stopping {
            self.ending.note(cut_off, &[]);
        }
        self.end_partitions(held);
        let began = Instant::now();
        let until = began + self.parts.settings.revoke_timeout.mul_f64(Step::BeforeCommit.share());
        self.run_hooks(HookKind::Lost, held, until, Serve::Nothing);
        format!("nothing committed, hooks took {:?}", Instant::now().saturating_since(began))
    }

    /// Lets what runs finish; what waits leaves at once. Cancels what is still running when the time is up.
    pub(super) fn drain(
        &mut self,
        held: &[TopicPartition],
        interrupt: Interrupt,
        until: Instant,
        serve: Serve,
    ) -> Drained {
        if sabotage::is_on(Sabotage::NoFence) {
            return Drained::default();
        }
        for partition in self.partitions.iter().filter(|partition| held.contains(&partition.topic_partition)) {
            partition.interrupt(interrupt);
            // Where commits come first there is nothing finished to keep back, and a record would wait for its commit.
            if !self.parts.hooks.is_empty() && self.parts.listener.settling != Settling::CommitFirst {
                self.commits.keep_back(&partition.topic_partition);
            }
        }
        let ended = |this: &Self| {
            let mut those = this.partitions.iter().filter(|partition| held.contains(&partition.topic_partition));
            those.all(Partition::has_ended)
        };
        let until = if sabotage::is_on(Sabotage::NoDrain) { Instant::now() } else { until };
        self.wait(Step::Drain, until, serve, ended);
        let mut cancelled = Vec::new();
        for partition in self.partitions.iter_mut().filter(|partition| held.contains(&partition.topic_partition)) {
            if !partition.has_ended() {
                partition.cancel(Interrupt::SecondSignal);
                cancelled.push((partition.topic_partition.clone(), partition.control.current()));
                tracing::warn!(
                    listener = %self.parts.listener.id, topic = partition.topic_partition.topic(),
                    partition = partition.topic_partition.partition(), offset = partition.control.current(),
                    "the handler did not end in time and is cancelled: its record may be handled twice"
                );
            }
        }
        Drained { cancelled }
    }

    /// Commits exactly what these partitions have finished, and nothing that they finish from now on.
    pub(super) fn final_commit(&mut self, held: &[TopicPartition], until: Instant, serve: Serve) -> Vec<FinalOutcome> {
        for index in 0..self.partitions.len() {
            if held.contains(&self.partitions[index].topic_partition) {
                self.partitions[index].control.close_acks();
                self.note_progress(index);
                let partition = &mut self.partitions[index];
                if let Some(committed_first) = partition.committed_first() {
                    let (done, _) = partition.take_done();
                    self.commits.withdraw(&partition.topic_partition, done, committed_first);
                }
                self.commits.freeze(&partition.topic_partition);
            }
        }
        loop {
            let now = Instant::now();
            let until = self.cut(Step::Commit, until);
            match self.commits.final_step(held, until, now) {
                FinalStep::Send(request) => self.send_commit(&request),
                FinalStep::WaitUntil(at) => {
                    self.serve_commit_answers(at.saturating_since(now).min(WAIT_STEP));
                    self.tick();
                    if serve == Serve::Events {
                        self.serve_events();
                    }
                }
                FinalStep::Done(outcomes) => {
                    self.log_outcomes(&outcomes);
                    return outcomes;
                }
            }
        }
    }

    /// Ends the epochs: a worker that is still running can no longer make a difference.
    pub(super) fn end_partitions(&mut self, held: &[TopicPartition]) {
        let (gone, stay) = std::mem::take(&mut self.partitions)
            .into_iter()
            .partition::<Vec<_>, _>(|partition| held.contains(&partition.topic_partition));
        self.partitions = stay;
        for mut partition in gone {
            // The lag is the next owner's to tell.
            partition.lag.set(0.0);
            if sabotage::is_on(Sabotage::NoFence) {
                sabotage::turn_loose(&partition.control);
            } else {
                partition.cancel(Interrupt::SecondSignal);
            }
            for control in partition.controls() {
                self.parts.listener.left_behind.note(self.parts.consumer.index, control);
            }
            if self.parts.listener.settling == Settling::CommitFirst {
                self.note_lost(&mut partition);
            } else {
                let repeated = partition.possibly_repeated(self.commits.acknowledged(&partition.topic_partition));
                if repeated > 0 && self.commits_offsets() {
                    self.parts.listener.metrics.possibly_repeated(repeated);
                }
            }
            partition.control.end_epoch();
            self.commits.remove(&partition.topic_partition);
            self.removed.push(partition.queue);
        }
    }

    /// `ack_mode = "at_most_once"`: counts the record that was committed, or may have been, and whose handler was not
    /// started or not let end.
    fn note_lost(&mut self, partition: &mut Partition) {
        let (done, _) = partition.take_done();
        let Some(committed_first) = partition.committed_first() else { return };
        if self.commits.withdraw(&partition.topic_partition, done, committed_first) {
            self.say_lost(partition);
        }
    }

    pub(super) fn say_lost(&self, partition: &Partition) {
        self.parts.listener.metrics.possibly_lost(1);
        tracing::error!(
            listener = %self.parts.listener.id, topic = partition.topic_partition.topic(),
            partition = partition.topic_partition.partition(), offset = partition.control.committed_first(),
            "possibly_lost: the record may be committed and was not handled to its end"
        );
    }

    /// Waits until `done`, at most until `until` or what a stop leaves of it.
    pub(super) fn wait(&mut self, step: Step, until: Instant, serve: Serve, done: impl Fn(&Self) -> bool) -> bool {
        loop {
            self.parts.consumer.waker.clear();
            self.tick();
            // The partitions that stay go on, and so do their commits.
            self.serve_commits();
            if serve == Serve::Events {
                self.serve_events();
            }
            if done(self) {
                return true;
            }
            let now = Instant::now();
            let until = self.cut(step, until);
            if now >= until {
                return false;
            }
            self.parts.consumer.waker.park(until.saturating_since(now).min(WAIT_STEP));
        }
    }

    /// A stop cuts every running wait short.
    fn cut(&self, step: Step, until: Instant) -> Instant {
        self.stop_request().map_or(until, |stop| until.min(stop.until(step)))
    }

    /// Runs the hooks one after the other as tasks of the user's runtime, and goes on without those that are late. A
    /// blocking hook cannot be interrupted and a runtime that is gone has no timers, so the waiting is done here.
    pub(super) fn run_hooks(
        &mut self,
        kind: HookKind,
        partitions: &[TopicPartition],
        until: Instant,
        serve: Serve,
    ) -> Vec<StartOffset> {
        let mut starts = Vec::new();
        if partitions.is_empty() && kind != HookKind::Assigned {
            return starts;
        }
        let hooks: Vec<_> = self.parts.hooks.iter().cloned().collect();
        for hook in hooks {
            let event = Partitions {
                listener_id: Arc::clone(&self.parts.listener.id),
                group_id: Arc::clone(&self.parts.listener.group_id),
                consumer: self.parts.consumer.index,
                partitions: partitions.to_vec(),
            };
            let result = self.spawn_hook(call(hook, kind, event));
            self.wait(kind.step(), until, serve, |_| result.is_over());
            if let Some(answers) = result.take() {
                starts.extend(answers);
            } else {
                tracing::error!(
                    listener = %self.parts.listener.id, hook = ?kind,
                    "a rebalance hook panicked or was not done in time; the rebalance goes on without it"
                );
            }
        }
        starts
    }

    fn spawn_hook(&self, hook: impl Future<Output = Vec<StartOffset>> + Send + 'static) -> HookResult {
        let result = HookResult::default();
        let end = HookEnd { result: result.clone(), waker: Arc::clone(&self.parts.consumer.waker) };
        self.parts.runtime.spawn(async move {
            let end = end;
            let answers = hook.await;
            end.result.set(answers);
        });
        result
    }

    fn log_outcomes(&self, outcomes: &[FinalOutcome]) {
        for outcome in outcomes.iter().filter(|outcome| outcome.outcome != CommitOutcome::Committed) {
            tracing::warn!(
                listener = %self.parts.listener.id, topic_partition = %outcome.topic_partition,
                commit_outcome = %outcome.outcome, watermark = outcome.watermark.map(CommitOffset::get),
                acknowledged = outcome.acknowledged.map(CommitOffset::get), error = %KafkaError::of(outcome.code),
                "the final commit is not certain: records between the two offsets may be handled twice"
            );
        }
    }
}

async fn call(hook: Arc<dyn RebalanceListener>, kind: HookKind, event: Partitions) -> Vec<StartOffset> {
    match kind {
        HookKind::Assigned => return hook.on_partitions_assigned(event).await,
        HookKind::RevokedBeforeCommit => hook.on_partitions_revoked_before_commit(event).await,
        HookKind::RevokedAfterCommit => hook.on_partitions_revoked_after_commit(event).await,
        HookKind::Lost => hook.on_partitions_lost(event).await,
    }
    Vec::new()
}

/// Where a hook's task leaves its answer. Written by the task, read by the poll loop.
#[derive(Clone, Debug, Default)]
struct HookResult(Arc<Mutex<(bool, Option<Vec<StartOffset>>)>>);

impl HookResult {
    fn set(&self, answers: Vec<StartOffset>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(answers);
    }

    fn is_over(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn take(&self) -> Option<Vec<StartOffset>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.take()
    }
}

/// Says that a hook's task is over whatever ended it: return, panic, or a runtime that went away.
struct HookEnd {
    result: HookResult,
    waker: Arc<super::waker::Waker>,
}

impl Drop for HookEnd {
    fn drop(&mut self) {
        self.result.0.lock().unwrap_or_else(PoisonError::into_inner).0 = true;
        self.waker.wake();
    }
}

/// Nothing where all is well.
pub(super) fn describe(outcomes: &[FinalOutcome]) -> String {
    let uncertain = outcomes.iter().filter(|outcome| outcome.outcome != CommitOutcome::Committed).count();
    if uncertain == 0 { String::new() } else { format!(" (not certain for {uncertain})") }
}
