//! What a container and one of its poll loops share: wishes going in, state coming out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Instant;
use crate::commit::{CommitOutcome, FinalOutcome};
use crate::config::ListenerSettings;
use crate::kafka::SeekCommand;
use crate::kafka::waker::Waker;
use crate::record::TopicPartition;
use crate::seek::SeekOutcome;
use crate::worker::{Membership, PartitionControl};

/// One consumer of a container: a member of its group with a poll loop of its own.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) index: usize,
    pub(crate) client_id: String,
    /// That of the listener, or the one that reads its retry topics.
    pub(crate) group_id: Arc<str>,
    /// Of a static member.
    pub(crate) group_instance_id: Option<String>,
    pub(crate) waker: Arc<Waker>,
    pub(crate) membership: Arc<Membership>,
    /// Written by the poll loop.
    state: watch::Sender<ConsumerState>,
    /// The assignment. Written by the poll loop at each rebalance, read by `status()`.
    partitions: Mutex<Vec<Arc<PartitionControl>>>,
    /// Written by the container: what is to be paused, and how often that has changed.
    pauses: Mutex<Pauses>,
    pauses_version: AtomicU64,
    /// What callers ask for; `None` when the poll loop is over.
    seeks: Mutex<Option<Vec<SeekCommand>>>,
    has_seeks: AtomicBool,
    /// Written by the container; a later request may only be stricter.
    stop: Mutex<Option<StopRequest>>,
}

/// Seeks that may wait for the poll loop.
const SEEKS: usize = 256;

/// What starts nothing for now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pauses {
    /// The whole listener.
    pub(crate) all: bool,
    /// Single partitions, owned or not.
    pub(crate) partitions: BTreeSet<TopicPartition>,
}

impl Pauses {
    pub(crate) fn holds(&self, topic_partition: &TopicPartition) -> bool {
        self.all || self.partitions.contains(topic_partition)
    }
}

/// The steps in which partitions are given up, each with its share of one budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Running code may finish.
    Drain,
    /// The hook before the commit.
    BeforeCommit,
    Commit,
    /// The hook behind the commit.
    AfterCommit,
    /// The group is left, or gets its answer.
    Leave,
}

impl Step {
    /// When the step has to be over, as a share of the budget: drain and hook leave enough for a commit.
    pub(crate) fn share(self) -> f64 {
        match self {
            Self::Drain => 0.65,
            Self::BeforeCommit => 0.7,
            Self::Commit => 0.9,
            Self::AfterCommit => 0.95,
            Self::Leave => 1.0,
        }
    }
}

/// When a stopping poll loop has to be through with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StopRequest {
    began: Instant,
    budget: Duration,
    /// A second signal: running handlers are not waited for.
    at_once: bool,
}

impl StopRequest {
    pub(crate) fn new(now: Instant, budget: Duration) -> Self {
        Self { began: now, budget, at_once: false }
    }

    /// Nothing is waited for any more, but the commit of what is done is tried for a moment.
    pub(crate) fn at_once(now: Instant) -> Self {
        Self { began: now, budget: Duration::from_secs(1), at_once: true }
    }

    pub(crate) fn until(&self, step: Step) -> Instant {
        match step {
            Step::Drain | Step::BeforeCommit if self.at_once => self.began,
            step => self.began + self.budget.mul_f64(step.share()),
        }
    }

    pub(crate) fn stricter(self, other: Self) -> Self {
        let is_earlier = other.until(Step::Leave) < self.until(Step::Leave);
        if !self.at_once && (other.at_once || is_earlier) { other } else { self }
    }
}

/// What to do where a broker that can be reached does not let a member of `group_protocol = "consumer"` in. The client
/// does not tell what the broker said, so a pattern that it may have refused is named beside the rest.
pub(crate) fn kept_out(settings: &ListenerSettings) -> String {
    let pattern = settings.topic_pattern.as_ref().map(|pattern| {
        format!(
            "the broker may refuse `topic_pattern = \"{pattern}\"`, which it reads as RE2, without references back; or "
        )
    });
    pattern.unwrap_or_default() + KEPT_OUT
}

const KEPT_OUT: &str = "the broker does not take over a group whose classic members deal out their \
    partitions with `partition_assignment_strategy = \"cooperative-sticky\"`; let them use `\"range\"` or \
    `\"roundrobin\"`, or stop them first";

/// Where a consumer stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts: each has its own cause and end")]
pub(crate) struct ConsumerState {
    pub(crate) phase: ConsumerPhase,
    /// Assigned partitions.
    pub(crate) assigned: usize,
    /// Whether the membership has been lost, until the group assigns again.
    pub(crate) is_expelled: bool,
    /// Whether no broker can be reached.
    pub(crate) is_cut_off: bool,
    /// Whether the wish to pause has been carried out.
    pub(crate) paused: bool,
    /// Which version of the wishes to pause has been.
    pub(crate) pauses_version: u64,
    pub(crate) member_id: Option<Arc<str>>,
    pub(crate) generation: Option<i32>,
    /// Whether it was in the group at some time.
    pub(crate) has_joined: bool,
    /// The `group.instance.id` whose seat in the group another member holds.
    pub(crate) waits_for_seat: Option<Arc<str>>,
    /// Whether the broker has been asked in vain for a place in a group that it runs itself, for long enough to say so.
    pub(crate) is_kept_out: bool,
    /// Why it has left its group by itself: a handler is stuck.
    pub(crate) stuck: Option<Arc<str>>,
    /// How often it was given a new client after a fatal error, and why the last time.
    pub(crate) restarts: u32,
    pub(crate) last_fatal: Option<Arc<str>>,
    /// Whether all that there was at its start is read and done: `until = "end"`.
    pub(crate) completed: bool,
    /// Why the listener cannot go on.
    pub(crate) failure: Option<Arc<str>>,
    /// Whether the failure is to end the others too.
    pub(crate) failure_ends_all: bool,
    /// What the stop came to.
    pub(crate) ending: Option<Arc<Ending>>,
}

impl ConsumerState {
    /// Whether it has ended because all was done.
    pub(crate) fn has_completed(&self) -> bool {
        self.completed && self.phase == ConsumerPhase::Ended && self.failure.is_none()
    }

    /// The group has counted this member in. One step, so that nobody can see half of it.
    pub(crate) fn join(&mut self) {
        self.is_expelled = false;
        self.has_joined = true;
        self.waits_for_seat = None;
        self.is_kept_out = false;
        self.stuck = None;
        self.phase = self.phase.max(ConsumerPhase::Joined);
    }
}

/// Where a consumer's life is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConsumerPhase {
    /// Not in the group yet.
    #[default]
    Joining,
    /// In the group, as the owner of partitions or as a spare.
    Joined,
    Stopping,
    /// The poll loop is over.
    Ended,
}

/// What a stop left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ending {
    /// Records that were running when the time was up, and were cancelled.
    pub(crate) cancelled: Vec<(TopicPartition, Option<i64>)>,
    /// Partitions whose finished work is not committed for certain, and why.
    pub(crate) uncommitted: Vec<(TopicPartition, String)>,
    /// Whether the group was left in time.
    pub(crate) left_group: bool,
}

impl Ending {
    /// Adds what giving up some partitions has left.
    pub(crate) fn note(&mut self, cancelled: Vec<(TopicPartition, Option<i64>)>, outcomes: &[FinalOutcome]) {
        self.cancelled.extend(cancelled);
        let uncertain = outcomes.iter().filter(|outcome| outcome.outcome != CommitOutcome::Committed);
        let uncertain = uncertain.map(|outcome| (outcome.topic_partition.clone(), outcome.outcome.to_string()));
        self.uncommitted.extend(uncertain);
    }
}

impl Consumer {
    pub(crate) fn new(
        index: usize,
        client_id: String,
        group_id: Arc<str>,
        group_instance_id: Option<String>,
        session_timeout: Duration,
    ) -> Self {
        Self {
            index,
            client_id,
            group_id,
            group_instance_id,
            waker: Arc::new(Waker::default()),
            membership: Arc::new(Membership::new(session_timeout)),
            state: watch::Sender::default(),
            partitions: Mutex::default(),
            pauses: Mutex::default(),
            pauses_version: AtomicU64::new(0),
            seeks: Mutex::new(Some(Vec::new())),
            has_seeks: AtomicBool::new(false),
            stop: Mutex::default(),
        }
    }

    pub(crate) fn state(&self) -> ConsumerState {
        self.state.borrow().clone()
    }

    /// Waits until the state is as asked, which may be at once.
    pub(crate) async fn wait_for(&self, condition: impl FnMut(&ConsumerState) -> bool) {
        // An error would mean that the sender is gone, and it lives in `self`.
        drop(self.state.subscribe().wait_for(condition).await);
    }

    /// Changes the state. The poll loop's, but for the mark that its thread has ended.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ConsumerState)) {
        self.state.send_modify(change);
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<PartitionControl>> {
        lock(&self.partitions).clone()
    }

    pub(crate) fn set_partitions(&self, partitions: Vec<Arc<PartitionControl>>) {
        let assigned = partitions.len();
        *lock(&self.partitions) = partitions;
        self.update(|state| state.assigned = assigned);
    }

    /// Changes what is paused; gives the version that [`ConsumerState::pauses_version`] shows once that is so.
    pub(crate) fn pause(&self, pauses: Pauses) -> u64 {
        let version = {
            let mut wished = lock(&self.pauses);
            *wished = pauses;
            self.pauses_version.fetch_add(1, Ordering::AcqRel) + 1
        };
        self.waker.wake();
        version
    }

    pub(crate) fn pauses_version(&self) -> u64 {
        self.pauses_version.load(Ordering::Acquire)
    }

    pub(crate) fn pauses(&self) -> (u64, Pauses) {
        let wished = lock(&self.pauses);
        (self.pauses_version(), wished.clone())
    }

    /// Hands a seek to the poll loop. One that is refused is dropped, and whoever waits for it is told by that.
    pub(crate) fn seek(&self, command: SeekCommand) {
        if let Some(seeks) = lock(&self.seeks).as_mut() {
            if seeks.len() < SEEKS {
                seeks.push(command);
                self.has_seeks.store(true, Ordering::Release);
            } else {
                // The asker may have gone.
                command.answer.send(SeekOutcome::Unanswered).ok();
            }
        }
        self.waker.wake();
    }

    pub(crate) fn has_seeks(&self) -> bool {
        self.has_seeks.load(Ordering::Acquire)
    }

    pub(crate) fn take_seeks(&self) -> Vec<SeekCommand> {
        let mut seeks = lock(&self.seeks);
        self.has_seeks.store(false, Ordering::Release);
        seeks.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The poll loop is over: nobody carries a seek out any more.
    pub(crate) fn refuse_seeks(&self) {
        lock(&self.seeks).take();
    }

    pub(crate) fn request_stop(&self, request: StopRequest) {
        {
            let mut stop = lock(&self.stop);
            *stop = Some(stop.map_or(request, |earlier| earlier.stricter(request)));
        }
        self.waker.wake();
    }

    pub(crate) fn stop_requested(&self) -> Option<StopRequest> {
        *lock(&self.stop)
    }
}

/// Tiny sections without user code: a panic cannot leave them half written.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_looks_while_a_member_joins_never_sees_it_joined_and_expelled() {
        let consumer = Consumer::new(0, "shop-0".into(), "shop".into(), None, Duration::from_secs(45));
        let looks_well = |state: &ConsumerState| state.phase != ConsumerPhase::Joined || !state.is_expelled;
        let mut seen = consumer.state.subscribe();
        assert!(looks_well(&seen.borrow_and_update()));
        consumer.update(|state| state.is_expelled = true);
        consumer.update(ConsumerState::join);
        assert_eq!(consumer.state().phase, ConsumerPhase::Joined);
        assert!(looks_well(&seen.borrow_and_update()));
    }

    #[test]
    fn a_later_stop_request_can_only_be_stricter() {
        let consumer = Consumer::new(0, "shop-0".into(), "shop".into(), None, Duration::from_secs(45));
        let now = Instant::now();
        let ample = StopRequest::new(now, Duration::from_secs(30));
        consumer.request_stop(ample);
        let at_once = StopRequest::at_once(now);
        consumer.request_stop(at_once);
        consumer.request_stop(ample);
        assert_eq!(consumer.stop_requested(), Some(at_once));
    }
}
