//! A model of one process with one consumer, built from the real machines and nothing else that decides.

mod acks;
mod group;
mod revoke;
mod seek;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::clock::Instant;
use crate::commit::{CommitAnswer, CommitCoordinator, CommitEvent, Serial, code};
use crate::epoch::Epoch;
use crate::offset_tracker::{AckWindow, CommitOffset, DeliveryId, OffsetTracker, Settlement};
use crate::phase::{Interrupt, PartitionMachine, Phase};
use crate::record::TopicPartition;
use crate::retry::{AttemptMemory, RetryState};
use crate::simulation::broker::{Broker, MemberId};
use crate::simulation::ledger::{Checked, End, EpochId, Ledger};
use crate::simulation::rng::Rng;
use crate::simulation::{Bug, Scenario};
use seek::PendingSeek;
pub(super) use seek::any_goal;

/// What a member can see and touch of the world.
pub(super) struct Surroundings<'w> {
    pub(super) now: Instant,
    pub(super) scenario: &'w Scenario,
    pub(super) broker: &'w mut Broker,
    pub(super) ledger: &'w mut Ledger,
    pub(super) rng: &'w mut Rng,
    /// Faults have ended: handlers succeed.
    pub(super) healed: bool,
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: MemberId,
    pub(super) process: u64,
    generation: u64,
    pub(super) coordinator: CommitCoordinator,
    pub(super) partitions: BTreeMap<usize, Assigned>,
    /// Cancelled code that still runs.
    zombies: Vec<Zombie>,
    /// Acknowledgements that have left their handlers.
    acks: Vec<Ack>,
    /// Windows of epochs that are over, for what comes late.
    closed: BTreeMap<EpochId, AckWindow>,
    stage: Stage,
    sync_pending: bool,
    pub(super) paused: bool,
    pub(super) frozen_until: Option<Instant>,
    /// It has slept and may not know yet that the group went on without it.
    drowsy: bool,
    last_turn: Instant,
    woke: Instant,
    /// Since when no rebalance has kept it from anything else.
    worked_since: Instant,
    attempts: AttemptMemory,
    last_epoch: Epoch,
    normal_out: BTreeSet<u64>,
    final_out: BTreeSet<u64>,
    newest_good: Serial,
}

#[derive(Debug)]
pub(super) struct Assigned {
    epoch: Epoch,
    id: EpochId,
    incarnation: u32,
    start: i64,
    position: i64,
    has_started: bool,
    tracker: OffsetTracker,
    pub(super) machine: PartitionMachine,
    retry: RetryState,
    queue: VecDeque<i64>,
    runs: Vec<Run>,
    window: AckWindow,
    /// The last record that was delivered.
    delivered: Option<i64>,
    /// Records that are to be delivered again, and when.
    later: Vec<(Instant, i64)>,
    retry_at: Option<Instant>,
    held: bool,
    /// The record that failed last.
    failed: Option<i64>,
    /// Watermarks that were reached and are not told to be committed, and when they were.
    unacknowledged: VecDeque<(CommitOffset, Instant)>,
    seek: Option<PendingSeek>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    offset: i64,
    ends: Instant,
    is_ok: bool,
}

/// An acknowledgement on its way.
#[derive(Clone, Copy, Debug)]
struct Ack {
    partition: usize,
    epoch: EpochId,
    offset: i64,
    incarnation: u32,
    delivery: DeliveryId,
    at: Instant,
    says: Settlement,
}

#[derive(Clone, Copy, Debug)]
struct Zombie {
    partition: usize,
    epoch: EpochId,
    offset: i64,
    incarnation: u32,
    ends: Instant,
}

#[derive(Debug)]
enum Stage {
    Working,
    Revoking { partitions: Vec<usize>, drain_until: Instant, deadline: Instant, then: Then },
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Join,
    Rejoin,
    Leave,
}

impl Member {
    pub(super) fn new(id: MemberId, scenario: &Scenario, now: Instant) -> Self {
        Self {
            id,
            process: id,
            generation: 0,
            coordinator: CommitCoordinator::new(scenario.policy),
            partitions: BTreeMap::new(),
            zombies: Vec::new(),
            acks: Vec::new(),
            closed: BTreeMap::new(),
            stage: Stage::Working,
            sync_pending: false,
            paused: false,
            frozen_until: None,
            drowsy: false,
            last_turn: now,
            woke: now,
            worked_since: now,
            attempts: AttemptMemory::default(),
            last_epoch: Epoch::FIRST,
            normal_out: BTreeSet::new(),
            final_out: BTreeSet::new(),
            newest_good: Serial::from_raw(0),
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        matches!(self.stage, Stage::Gone)
    }

    pub(super) fn is_working(&self) -> bool {
        matches!(self.stage, Stage::Working)
    }

    /// One turn of the poll loop, with the workers' progress since the last one.
    pub(super) fn turn(&mut self, world: &mut Surroundings<'_>) -> Checked {
        if self.is_gone() || self.frozen_until.is_some_and(|until| world.now < until) {
            return Ok(());
        }
        let gap = world.now.saturating_since(self.last_turn);
        self.last_turn = world.now;
        if self.frozen_until.take().is_some() {
            self.drowsy = true;
            self.woke = world.now;
            world.ledger.note(world.now, || format!("member {} wakes up after {gap:?}", self.id));
        }
        if gap > world.scenario.session_timeout / 3 && world.scenario.bug != Bug::NoFence {
            self.coordinator.doubt_membership();
        }
        if let Some(member) = world.broker.members.get_mut(&self.id) {
            member.seen = world.now;
        }
        let is_lost = self.take_answers(world);
        self.run_workers(world)?;
        self.take_acks(world)?;
        self.follow_group(world, is_lost)?;
        if matches!(self.stage, Stage::Working) {
            self.seek_on(world)?;
            self.feed_and_start(world)?;
            if let Some(request) = self.coordinator.tick(world.now) {
                self.transmit(request, false, world)?;
            }
        } else {
            self.worked_since = world.now;
            self.revoke_on(world)?;
        }
        Ok(())
    }

    /// The process dies with everything in it.
    pub(super) fn crash(&mut self, world: &mut Surroundings<'_>) {
        for (partition, assigned) in &self.partitions {
            let acknowledged = self.coordinator.acknowledged(&world.broker.topic_partitions[*partition]);
            let acknowledged = acknowledged.map(CommitOffset::get);
            world
                .ledger
                .ended(assigned.id, End::Died { acknowledged, at: world.now, stable_since: world.broker.stable_since });
        }
        world.ledger.process_ended(self.process);
        world.ledger.note(world.now, || format!("member {} dies", self.id));
        self.stage = Stage::Gone;
    }

    /// The group goes on without it, and it may not know.
    pub(super) fn kicked(&self, world: &mut Surroundings<'_>) {
        for (partition, assigned) in &self.partitions {
            let acknowledged = self.coordinator.acknowledged(&world.broker.topic_partitions[*partition]);
            world.ledger.kicked(assigned.id, acknowledged.map(CommitOffset::get));
        }
        world.ledger.note(world.now, || format!("member {} is put out of the group", self.id));
        world.broker.leave(self.id);
    }

    /// Begins a graceful stop.
    pub(super) fn stop(&mut self, world: &mut Surroundings<'_>) {
        world.ledger.note(world.now, || format!("member {} is stopped", self.id));
        let all = self.partitions.keys().copied().collect();
        self.begin_revoke(all, Interrupt::Stop, Then::Leave, world);
    }

    pub(super) fn pause(&mut self, now: Instant) {
        self.paused = true;
        for assigned in self.partitions.values_mut() {
            assigned.machine.interrupt(Interrupt::Pause, now);
        }
    }

    pub(super) fn resume(&mut self) -> Checked {
        self.paused = false;
        for assigned in self.partitions.values_mut().filter(|assigned| assigned.machine.phase() == Phase::Paused) {
            assigned.rest(false)?;
        }
        Ok(())
    }

    /// The operator orders all held records to be tried again.
    pub(super) fn retry_held(&mut self, topic_partitions: &[TopicPartition]) -> Checked {
        for (partition, assigned) in self.partitions.iter_mut().filter(|(_, assigned)| assigned.held) {
            self.attempts.forget(&topic_partitions[*partition], i64::MAX);
            assigned.retry = RetryState::new();
            assigned.held = false;
            if assigned.machine.phase() == Phase::Held {
                assigned.rest(self.paused)?;
            }
        }
        Ok(())
    }

    fn take_answers(&mut self, world: &mut Surroundings<'_>) -> bool {
        let mut is_lost = false;
        for (serial, answer) in world.broker.answers(self.id, world.now) {
            self.normal_out.remove(&serial.as_raw());
            self.final_out.remove(&serial.as_raw());
            let mut answer = answer;
            if world.scenario.bug == Bug::LateAnswerIgnored && serial < self.newest_good && answer.is_ok() {
                answer = CommitAnswer::Err(code::COORDINATOR_LOAD_IN_PROGRESS);
            }
            if answer.is_ok() {
                self.newest_good = self.newest_good.max(serial);
            }
            for event in self.coordinator.answered(serial, world.now, &answer) {
                world.ledger.note(world.now, || format!("member {} {serial:?} {event:?}", self.id));
                match event {
                    CommitEvent::Lost { .. } => is_lost = true,
                    CommitEvent::Committed { topic_partition, offset, .. } => {
                        let partition = usize::try_from(topic_partition.partition()).unwrap();
                        if let Some(assigned) = self.partitions.get_mut(&partition) {
                            assigned.unacknowledged.retain(|(watermark, _)| *watermark > offset);
                        }
                    }
                    _ => {}
                }
            }
        }
        is_lost
    }
}
