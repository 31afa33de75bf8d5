//! The poll loop: the one thread of a consumer that touches librdkafka.
//!
//! Each turn serves the main queue, the answers to commits, the workers and their queues, and then parks until
//! something of that has news. It never waits for user code outside the bounded waits of a rebalance and a stop.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::runtime::Handle;

use super::ffi::{Client, Event, KafkaError, Queue, RebalanceKind, RebalancePartitions, Scratch};
use super::own::OwnPartitions;
use super::partition::Partition;
use super::rebuild::End;
use super::start::{Restart, Unstarted};
use super::sweep::IdleNotes;
use crate::clock::Instant;
use crate::commit::{CommitCoordinator, CommitEvent, CommitPolicy, CommitRequest, Serial};
use crate::config::ListenerSettings;
use crate::container::{Consumer, ConsumerPhase, Ending, Pauses, StopRequest};
use crate::epoch::Epoch;
use crate::offset_tracker::CommitOffset;
use crate::rebalance::Hooks;
use crate::record::TopicPartition;
use crate::sabotage::{self, Sabotage};
use crate::worker::{ConsumerGauges, ListenerContext, gate};

/// The longest sleep between two turns: bounds a missed wake-up and keeps the pulse.
const LONGEST_PARK: Duration = Duration::from_millis(50);
/// Every queue is looked at this often, whether its callback has fired or not: a missed edge would stall a partition.
const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// Progress is looked at and commits are decided this often at most: they take time per partition, and turns are many.
const COMMIT_STEP: Duration = Duration::from_millis(10);
/// Events served in one turn before the queues get theirs.
const EVENTS_PER_TURN: usize = 64;

/// All that a poll loop is made of; fixed for its life.
#[derive(Clone, Debug)]
pub(crate) struct ConsumerParts {
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) listener: Arc<ListenerContext>,
    pub(crate) settings: Arc<ListenerSettings>,
    pub(crate) hooks: Hooks,
    pub(crate) runtime: Handle,
    /// All consumers of the container, this one included.
    pub(crate) siblings: Vec<Arc<Consumer>>,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts: each has its own cause and end")]
pub(super) struct PollLoop {
    pub(super) parts: ConsumerParts,
    pub(super) client: Client,
    /// The assignment.
    pub(super) partitions: Vec<Partition>,
    /// Queues of partitions that have gone: looked at once after the unassign, then dropped.
    pub(super) removed: Vec<Queue>,
    /// Queues of partitions that came while stopping: nobody reads them.
    pub(super) unread: Vec<Queue>,
    /// Where the worker of a partition ended by itself before: it gets one more try there.
    pub(super) restarted: HashMap<TopicPartition, Option<CommitOffset>>,
    pub(super) commits: CommitCoordinator,
    pub(super) scratch: Scratch,
    /// The last epoch of every partition seen, so that a number is never used twice.
    pub(super) epochs: HashMap<TopicPartition, Epoch>,
    /// The cluster's id, or the bootstrap servers while it is unknown: part of the ownership key.
    pub(super) cluster: Arc<str>,
    /// What is paused, and which version of the wishes that is.
    pauses: (u64, Pauses),
    /// The last question about offsets, and the one about ends of logs that is out there.
    pub(super) last_question: u64,
    pub(super) lag_question: Option<u64>,
    pub(super) asked_ends_at: Instant,
    pub(super) stopping: bool,
    /// The listener cannot go on; the loop is about to leave.
    pub(super) failed: bool,
    /// librdkafka's client is dead: no commit, no call on the group makes sense any more.
    pub(super) is_client_dead: bool,
    pub(super) ending: Ending,
    /// Records whose handlers have been running for longer than `max_poll_interval`.
    pub(super) stuck: Vec<(TopicPartition, Option<i64>)>,
    /// The client is given up, and what comes after it.
    pub(super) end: Option<End>,
    /// The stop that the loop has given itself, to give its client up.
    pub(super) own_stop: Option<StopRequest>,
    /// Partitions that are not known to be read, and what to ask for them.
    pub(super) unstarted: Vec<Unstarted>,
    /// Partitions to be assigned anew within our own assignment, and where they are to be read from.
    pub(super) restarts: Vec<Restart>,
    /// The rebalance that is being carried out: a panic on the way must not leave the group waiting.
    pub(super) unanswered: Option<(RebalanceKind, RebalancePartitions)>,
    /// What an eager rebalance has taken and may give back, and since when it has stood still.
    pub(super) stopped: Option<(Instant, Vec<TopicPartition>)>,
    /// No broker can be reached.
    pub(super) is_cut_off: bool,
    pub(super) probed_at: Instant,
    /// This turn is the first behind a long gap: events that waited through it confirm nothing.
    has_just_woken: bool,
    /// Since when commits have been refused as those of a member that is out of the group, with no rebalance since.
    pub(super) fenced_at: Option<Instant>,
    pub(super) swept_at: Instant,
    /// The last event of a rebalance.
    pub(super) rebalanced_at: Instant,
    pub(super) idle: IdleNotes,
    pub(super) gauges: ConsumerGauges,
    commits_due: Instant,
    /// Commits are held until the one that was outstanding at the last assign is answered.
    pub(super) is_hold_open: bool,
    pub(super) log_limit: super::supervise::LogLimit,
    /// Of a listener that is in no group.
    pub(super) own: Option<OwnPartitions>,
}

impl PollLoop {
    pub(super) fn new(parts: ConsumerParts) -> Result<Self, KafkaError> {
        let settings = &parts.settings;
        let instance_id = parts.consumer.group_instance_id.as_deref().map(|id| ("group.instance.id", id));
        let own = [("client.id", parts.consumer.client_id.as_str())].into_iter().chain(instance_id);
        // Where a log ends matters only to a listener that completes there.
        let own = own.chain(settings.completes().then_some(("enable.partition.eof", "true")));
        let configured = settings.client_properties.iter().map(|(name, value)| (name.as_str(), value.expose_secret()));
        let client = Client::new(configured.chain(own), &parts.consumer.waker)?;
        let cluster = settings.bootstrap_servers();
        let mut policy = CommitPolicy::from(&**settings);
        if parts.listener.commits_at_once() {
            policy.commit_interval = Duration::ZERO;
        }
        let scratch = Scratch::new(settings.max_poll_records.clamp(1, 4096), parts.listener.reads_headers);
        let now = Instant::now();
        Ok(Self {
            client,
            partitions: Vec::new(),
            removed: Vec::new(),
            unread: Vec::new(),
            restarted: HashMap::new(),
            commits: CommitCoordinator::new(policy),
            scratch,
            epochs: HashMap::new(),
            cluster,
            pauses: (0, Pauses::default()),
            last_question: 0,
            lag_question: None,
            asked_ends_at: now,
            stopping: false,
            failed: false,
            is_client_dead: false,
            ending: Ending::default(),
            stuck: Vec::new(),
            end: None,
            own_stop: None,
            unstarted: Vec::new(),
            restarts: Vec::new(),
            unanswered: None,
            stopped: None,
            is_cut_off: false,
            probed_at: now,
            has_just_woken: false,
            fenced_at: None,
            swept_at: now,
            rebalanced_at: now,
            idle: IdleNotes::default(),
            gauges: parts.listener.metrics.of_consumer(parts.consumer.index),
            commits_due: now,
            is_hold_open: false,
            log_limit: super::supervise::LogLimit::default(),
            own: OwnPartitions::new(&parts.settings, now),
            parts,
        })
    }

    pub(super) fn run(&mut self) {
        if !self.topics_are_there() {
            self.leave();
            return;
        }
        if self.own.is_some() {
            self.commits.set_rebalancing(false);
        } else if let Err(error) = self.client.subscribe(self.parts.settings.subscription()) {
            let subscription: Vec<&str> = self.parts.settings.subscription().collect();
            self.cannot_go_on(format!("subscribe to {subscription:?}: {error}"));
        }
        while self.parts.consumer.stop_requested().is_none() && !self.failed && self.end.is_none() {
            self.turn();
        }
        self.leave();
    }

    /// One turn of the loop.
    fn turn(&mut self) {
        #[cfg(feature = "test-hooks")]
        crate::private::test_hooks::before_turn(&self.parts.listener.group_id);
        self.parts.consumer.waker.clear();
        self.has_just_woken = false;
        self.tick();
        if self.serve_events() {
            self.carry_out_restarts();
        }
        self.serve_own_partitions();
        self.supervise_workers();
        self.apply_pause();
        self.serve_seeks();
        self.serve_commits();
        let more = self.feed();
        if !more {
            self.parts.consumer.waker.park(self.park_limit());
        }
    }

    /// The pulse: everything that waits on this thread calls it.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        let membership = &self.parts.consumer.membership;
        let gap = membership.tick(now);
        if sabotage::is_on(Sabotage::NoFence) || self.own.is_some() {
            // Without a group there is no membership to lose.
            membership.confirm(now);
        } else if let Some(gap) = gap {
            self.has_just_woken = true;
            self.commits.doubt_membership();
            tracing::warn!(
                listener = %self.parts.listener.id, group = %self.parts.listener.group_id, ?gap,
                "the poll loop stood still for longer than a third of session_timeout: nothing starts until the group \
                 has confirmed the membership"
            );
        } else if membership.is_in_doubt() && self.commits.is_membership_confirmed() {
            membership.confirm(now);
            for partition in &self.partitions {
                partition.control.nudge();
            }
        }
    }

    /// A rebalance event says that the group counts us in, unless it has waited through a gap.
    pub(super) fn confirm_membership(&mut self, now: Instant) {
        if self.has_just_woken {
            return;
        }
        self.parts.consumer.membership.confirm(now);
        self.commits.confirm_membership();
        self.fenced_at = None;
        self.rebalanced_at = now;
    }

    /// Serves the main queue until it is empty (`true`) or the turn's share is used up.
    pub(super) fn serve_events(&mut self) -> bool {
        for _ in 0..EVENTS_PER_TURN {
            let Some(event) = self.client.poll(Duration::ZERO) else { return true };
            self.on_event(event);
            self.discard_removed();
        }
        false
    }

    /// Looks once at the queues of partitions that have gone, since their records are freed by that only, and drops
    /// them: handles of one queue share a callback, so an old one must not outlive the next split.
    pub(super) fn discard_removed(&mut self) {
        for queue in std::mem::take(&mut self.removed) {
            queue.discard(&mut self.scratch);
        }
    }

    pub(super) fn on_event(&mut self, event: Event) {
        match event {
            Event::Rebalance { kind, partitions } => {
                self.unanswered = Some((kind, partitions.clone()));
                #[cfg(feature = "test-hooks")]
                crate::private::test_hooks::before_rebalance(&self.parts.consumer.client_id, &partitions.to_vec());
                match kind {
                    RebalanceKind::Assign => self.on_assign(partitions),
                    RebalanceKind::Revoke => self.on_revoke(&partitions),
                }
            }
            Event::Fatal(error) => self.on_fatal(error),
            Event::Error(error) => self.on_error(&error),
            Event::Log { level, facility, text } => super::supervise::log(level, &facility, &text),
            Event::StrayRecord { partition, offset } => tracing::error!(
                listener = %self.parts.listener.id, partition, offset,
                "a record came outside its partition's queue: this is a bug in kafka-listener, and the record is not \
                 handled before the partition is assigned anew"
            ),
            Event::Other => {}
        }
    }

    /// Takes answers, passes the workers' progress on, sends what is due.
    pub(super) fn serve_commits(&mut self) {
        if self.client.has_commit_answer() {
            self.serve_commit_answers(Duration::ZERO);
        }
        let now = Instant::now();
        if now < self.commits_due && !self.parts.listener.commits_at_once() {
            return;
        }
        self.check_fence();
        self.commits_due = now + COMMIT_STEP.min(self.parts.settings.commit_interval / 4);
        for index in 0..self.partitions.len() {
            self.note_progress(index);
        }
        if let Some(request) = self.commits.tick(now) {
            self.send_commit(&request);
        }
        for partition in &self.partitions {
            if self.commits.stalled(&partition.topic_partition, now) {
                if !partition.control.is_gate_closed(gate::STALLED) {
                    tracing::warn!(
                        listener = %self.parts.listener.id, topic = partition.topic_partition.topic(),
                        partition = partition.topic_partition.partition(),
                        max_commit_delay = ?self.parts.settings.max_commit_delay,
                        "commit_stalled: commits do not get through, the partition waits until one does"
                    );
                }
                partition.control.close_gate(gate::STALLED);
            } else {
                partition.control.open_gate(gate::STALLED);
            }
        }
    }

    /// Takes what a worker has finished to the commits.
    pub(super) fn note_progress(&mut self, index: usize) {
        let partition = &mut self.partitions[index];
        let (done, finished) = partition.take_progress();
        let watermark = if !self.parts.settings.commits() || sabotage::is_on(Sabotage::NeverCommits) {
            None
        } else if sabotage::is_on(Sabotage::NoPlusOne) {
            partition.control.last_done().map(CommitOffset::at)
        } else if sabotage::is_on(Sabotage::CommitsAtHandOver) {
            partition.tracker.expected()
        } else {
            done
        };
        self.commits.progress(&partition.topic_partition, partition.epoch, watermark, finished);
    }

    pub(super) fn send_commit(&mut self, request: &CommitRequest) {
        let serial = request.serial;
        let strays = sabotage::stray_offsets();
        let strays = strays.iter().map(|(partition, offset)| (partition, *offset));
        let offsets = request.offsets.iter().map(|(partition, _, offset)| (partition, offset.get())).chain(strays);
        let offsets = offsets.inspect(|(partition, offset)| sabotage::committing(partition, *offset));
        if let Err(error) = self.client.send_commit(serial.as_raw(), offsets) {
            let events = self.commits.answered(serial, Instant::now(), &Err(error.code));
            self.on_commit_events(events);
        }
    }

    /// Takes the answers that are there; waits at most `wait` for the first.
    pub(super) fn serve_commit_answers(&mut self, wait: Duration) {
        let mut wait = wait;
        while let Some(answer) = self.client.commit_answer(wait) {
            wait = Duration::ZERO;
            let codes =
                answer.partitions.into_iter().map(|one| (one.topic_partition, one.error.unwrap_or(answer.code)));
            let codes: Vec<_> = codes.collect();
            let answered = if codes.is_empty() { Err(answer.code) } else { Ok(codes) };
            let events = self.commits.answered(Serial::from_raw(answer.serial), Instant::now(), &answered);
            self.on_commit_events(events);
            self.shorten_commit_hold();
        }
    }

    fn on_commit_events(&mut self, events: Vec<CommitEvent>) {
        for event in events {
            match event {
                CommitEvent::Committed { topic_partition, offset, round_trip } => {
                    self.parts.listener.metrics.commit("ok", Some(round_trip));
                    if let Some(partition) = self.partition_mut(&topic_partition) {
                        partition.control.acknowledged(offset.get());
                    }
                }
                CommitEvent::Retrying { topic_partition, offset, code } => {
                    self.parts.listener.metrics.commit("retried", None);
                    tracing::debug!(listener = %self.parts.listener.id, %topic_partition, offset = offset.get(), code,
                        "commit not accepted, will be sent again");
                }
                CommitEvent::Lost { topic_partition, epoch, code } => {
                    self.parts.listener.metrics.commit("fenced", None);
                    tracing::warn!(listener = %self.parts.listener.id, %topic_partition, %epoch, code,
                        "commit refused: this member is out of the group; nothing more is committed in this epoch");
                    self.on_fenced(&topic_partition);
                }
                CommitEvent::Failed { topic_partition, offset, code, failures } => {
                    self.parts.listener.metrics.commit("failed", None);
                    tracing::warn!(listener = %self.parts.listener.id, %topic_partition, offset = offset.get(), code,
                        failures, "the broker refuses to commit this partition; it is tried again, the others go on");
                }
                CommitEvent::Overtaken { topic_partition, offset } => tracing::debug!(
                    listener = %self.parts.listener.id, %topic_partition, offset = offset.get(),
                    "an older commit was answered after a newer one, the newer is sent again"
                ),
                CommitEvent::Ignored { .. } => {}
                CommitEvent::MembershipConfirmed => {
                    tracing::info!(listener = %self.parts.listener.id, "the group has confirmed the membership");
                }
            }
        }
    }

    /// How long the loop may sleep.
    fn park_limit(&self) -> Duration {
        let now = Instant::now();
        let until_commit = self.commits.next_wakeup(now).map(|at| at.saturating_since(now));
        // Progress is looked at on turns only, so the loop may not sleep through a commit interval.
        let interval = self.parts.settings.commit_interval.max(Duration::from_millis(1));
        let limit = LONGEST_PARK.min(interval);
        until_commit.map_or(limit, |until| until.max(Duration::from_millis(1)).min(limit))
    }

    fn apply_pause(&mut self) {
        if self.parts.consumer.pauses_version() == self.pauses.0 {
            return;
        }
        self.pauses = self.parts.consumer.pauses();
        for partition in &self.partitions {
            if self.is_paused(&partition.topic_partition) {
                partition.control.close_gate(gate::PAUSE);
            } else {
                partition.control.open_gate(gate::PAUSE);
            }
        }
        let (version, pauses) = &self.pauses;
        self.parts.consumer.update(|state| {
            state.paused = pauses.all;
            state.pauses_version = *version;
        });
    }

    pub(super) fn is_paused(&self, topic_partition: &TopicPartition) -> bool {
        self.pauses.1.holds(topic_partition)
    }

    pub(super) fn is_sweep_due(&mut self, now: Instant) -> bool {
        let due = now.saturating_since(self.swept_at) >= SWEEP_INTERVAL;
        if due {
            self.swept_at = now;
        }
        due
    }

    pub(super) fn partition_mut(&mut self, topic_partition: &TopicPartition) -> Option<&mut Partition> {
        self.partitions.iter_mut().find(|partition| partition.topic_partition == *topic_partition)
    }

    /// Shows the assignment to the container.
    pub(super) fn publish_assignment(&self) {
        let controls = self.partitions.iter().map(|partition| Arc::clone(&partition.control)).collect();
        self.parts.consumer.set_partitions(controls);
    }

    /// The listener cannot go on; the container stops.
    pub(super) fn fail(&mut self, reason: String) {
        tracing::error!(listener = %self.parts.listener.id, group = %self.parts.listener.group_id, error = %reason,
            "the listener cannot go on");
        self.failed = true;
        self.parts.consumer.update(|state| {
            state.failure.get_or_insert_with(|| reason.into());
        });
    }

    /// The stop to carry out: what was asked for, or the loop's own.
    pub(super) fn stop_request(&self) -> Option<StopRequest> {
        match (self.parts.consumer.stop_requested(), self.own_stop) {
            (Some(asked), Some(own)) => Some(own.stricter(asked)),
            (asked, own) => asked.or(own),
        }
    }

    pub(super) fn enter(&self, phase: ConsumerPhase) {
        self.parts.consumer.update(|state| state.phase = state.phase.max(phase));
    }
}
