//! A model of one process with one consumer, built from the real machines and nothing else that decides.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::broker::{Broker, GroupState, Log, MemberId};
use super::ledger::{Anomaly, Checked, End, EpochId, Ledger, RecordId, broken};
use super::rng::Rng;
use super::{Bug, Scenario};
use crate::clock::Instant;
use crate::commit::{
    CommitAnswer, CommitCoordinator, CommitEvent, CommitOutcome, CommitRequest, FinalOutcome, FinalStep, Serial, code,
};
use crate::config::{AckMode, OnFailure};
use crate::epoch::Epoch;
use crate::failure::ErrorClass;
use crate::offset_jump::OffsetJump;
use crate::offset_tracker::{CommitOffset, OffsetTracker};
use crate::phase::{Interrupt, Lifecycle, PartitionMachine, Phase, Reaction};
use crate::record::TopicPartition;
use crate::retry::{AttemptMemory, Decision, RetryState};

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
    stage: Stage,
    sync_pending: bool,
    pub(super) paused: bool,
    pub(super) frozen_until: Option<Instant>,
    /// It has slept and may not know yet that the group went on without it.
    drowsy: bool,
    last_turn: Instant,
    woke: Instant,
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
    retry_at: Option<Instant>,
    held: bool,
    /// The record that failed last.
    failed: Option<i64>,
    /// Watermarks that were reached and are not told to be committed, and when they were.
    unacknowledged: VecDeque<(CommitOffset, Instant)>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    offset: i64,
    ends: Instant,
    is_ok: bool,
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
            stage: Stage::Working,
            sync_pending: false,
            paused: false,
            frozen_until: None,
            drowsy: false,
            last_turn: now,
            woke: now,
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
        }
        if gap > world.scenario.session_timeout / 3 && world.scenario.bug != Bug::NoFence {
            self.coordinator.doubt_membership();
        }
        if let Some(member) = world.broker.members.get_mut(&self.id) {
            member.seen = world.now;
        }
        let is_lost = self.take_answers(world);
        self.run_workers(world)?;
        self.follow_group(world, is_lost)?;
        if matches!(self.stage, Stage::Working) {
            self.feed_and_start(world)?;
            if let Some(request) = self.coordinator.tick(world.now) {
                self.transmit(request, false, world)?;
            }
        } else {
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
        self.stage = Stage::Gone;
    }

    /// The group goes on without it, and it may not know.
    pub(super) fn kicked(&self, world: &mut Surroundings<'_>) {
        for (partition, assigned) in &self.partitions {
            let acknowledged = self.coordinator.acknowledged(&world.broker.topic_partitions[*partition]);
            world.ledger.kicked(assigned.id, acknowledged.map(CommitOffset::get));
        }
        world.broker.leave(self.id);
    }

    /// Begins a graceful stop.
    pub(super) fn stop(&mut self, world: &mut Surroundings<'_>) {
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
            self.attempts.forget(&topic_partitions[*partition]);
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

    // ---- workers

    fn run_workers(&mut self, world: &mut Surroundings<'_>) -> Checked {
        let ended: Vec<Zombie> = self.zombies.extract_if(.., |zombie| zombie.ends <= world.now).collect();
        for zombie in ended {
            world.ledger.run_ended(self.process, zombie.partition, zombie.epoch);
            if world.scenario.bug == Bug::NoEpochCheck {
                // The late result is committed as if nothing had happened.
                world.ledger.commit_sent(zombie.epoch, zombie.offset + 1)?;
                world.broker.send(
                    (self.id, self.generation),
                    Serial::from_raw(u64::MAX),
                    vec![(zombie.partition, zombie.offset + 1, zombie.incarnation)],
                    (world.now, world.rng),
                    false,
                );
            }
        }
        let partitions: Vec<usize> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.run_worker(partition, world)?;
        }
        Ok(())
    }

    fn run_worker(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        let (paused, process) = (self.paused, self.process);
        let topic_partition = &world.broker.topic_partitions[partition];
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let now = world.now;
        let ended: Vec<Run> = assigned.runs.extract_if(.., |run| run.ends <= now).collect();
        if ended.is_empty() {
            return Ok(());
        }
        for run in ended {
            world.ledger.run_ended(process, partition, assigned.id);
            let record = RecordId { partition, incarnation: assigned.incarnation, offset: run.offset };
            let done = run.is_ok || {
                let (policy, table) = (&world.scenario.retry, &world.scenario.on_failure);
                let random = world.rng.share();
                assigned.failed = Some(run.offset);
                let decision = assigned.retry.failed(&ErrorClass::Retryable, true, policy, table, random);
                self.attempts.remember(topic_partition, run.offset, assigned.retry.failures());
                match decision {
                    Decision::RetryAfter(delay) => {
                        assigned.queue.push_front(run.offset);
                        assigned.retry_at = Some(now + delay);
                        false
                    }
                    Decision::Exhausted(OnFailure::Skip) => true,
                    Decision::Exhausted(_) => {
                        assigned.queue.push_front(run.offset);
                        assigned.held = true;
                        false
                    }
                }
            };
            if done {
                self.attempts.forget(topic_partition);
                assigned.retry = RetryState::new();
                world.ledger.finished(record, assigned.id, now);
                let in_order = assigned.tracker.oldest_open() == Some(run.offset);
                let counted = if in_order {
                    assigned.tracker.done_through(run.offset) == 1
                } else {
                    assigned.tracker.done(run.offset)
                };
                if !counted {
                    return broken(Anomaly::IllegalState, format!("{record:?} was not open when it was done"));
                }
            }
        }
        if assigned.runs.is_empty() {
            assigned.rest(paused)?;
        }
        if let Some(watermark) = assigned.tracker.watermark()
            && assigned.unacknowledged.back().is_none_or(|(last, _)| *last < watermark)
            && self.coordinator.acknowledged(topic_partition) < Some(watermark)
        {
            assigned.unacknowledged.push_back((watermark, now));
        }
        let watermark = match world.scenario.bug {
            Bug::CommitAtHandOver => assigned.tracker.expected(),
            Bug::NoPlusOne => assigned.tracker.watermark().map(|offset| CommitOffset::at(offset.get() - 1)),
            Bug::PlusTwo => assigned.tracker.watermark().map(|offset| CommitOffset::at(offset.get() + 1)),
            _ => assigned.tracker.watermark(),
        };
        self.coordinator.progress(topic_partition, assigned.epoch, watermark, assigned.tracker.finished());
        Ok(())
    }

    fn feed_and_start(&mut self, world: &mut Surroundings<'_>) -> Checked {
        let partitions: Vec<usize> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.feed(partition, world)?;
            self.start(partition, world)?;
        }
        Ok(())
    }

    fn feed(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        let topic_partition = world.broker.topic_partitions[partition].clone();
        let stalled =
            self.coordinator.stalled(&topic_partition, world.now) && world.scenario.bug != Bug::FedWhileStalled;
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        if assigned.machine.lifecycle() == Lifecycle::Stopped {
            // A seek or a log reset ended the epoch: the next one begins where the log begins.
            return self.begin_epoch(partition, world);
        }
        let phase = assigned.machine.phase();
        if stalled && phase == Phase::Idle {
            assigned.enter(Phase::CommitStalled)?;
        } else if !stalled && phase == Phase::CommitStalled {
            assigned.enter(Phase::Idle)?;
        }
        let looks_only = stalled || assigned.queue.len() >= 8;
        if assigned.machine.lifecycle() != Lifecycle::Consuming {
            return Ok(());
        }
        let log = &world.broker.logs[partition];
        // The fetcher finds its position out of range, or in another log, and resets it to the earliest record.
        let is_new_log = log.incarnation != assigned.incarnation;
        let position = if is_new_log { log.start } else { assigned.position.max(log.start) };
        let at_most = usize::try_from(world.rng.below(1..6)).unwrap();
        let mut handed_over = Vec::new();
        let is_unknown_start = assigned.tracker.expected().is_none();
        for &offset in log.fetch(position, at_most) {
            match OffsetJump::judge(assigned.tracker.expected(), offset, Some(log.start)) {
                // Whether the log is still the same must be looked at when nothing may be fed, too: commits of a
                // recreated topic may never get through before a new epoch has begun.
                OffsetJump::Contiguous | OffsetJump::Gap | OffsetJump::LostToRetention { .. } if looks_only => break,
                OffsetJump::Contiguous | OffsetJump::Gap => {}
                OffsetJump::LostToRetention { from, to } => {
                    world.ledger.reported_lost(partition, log.incarnation, from, to);
                }
                OffsetJump::LogReset { .. } if world.scenario.bug == Bug::LogResetDropped => continue,
                OffsetJump::LogReset { .. } => {
                    let deadline = world.now + world.scenario.revoke_timeout;
                    if assigned.machine.interrupt(Interrupt::Seek, deadline) == Reaction::LeaveNow {
                        return self.begin_epoch(partition, world);
                    }
                    return Ok(());
                }
            }
            if let Err(error) = assigned.tracker.handed_over([offset]) {
                return broken(Anomaly::IllegalState, error.to_string());
            }
            handed_over.push(offset);
        }
        let Some(first) = handed_over.first() else { return Ok(()) };
        if is_unknown_start {
            // Nobody has a claim on what retention took before the group knew the log.
            world.ledger.reported_lost(partition, log.incarnation, 0, *first);
        }
        assigned.check_feeding(self.woke, world)?;
        if !assigned.has_started {
            self.coordinator.started_at(&topic_partition, assigned.epoch, *first);
            assigned.has_started = true;
        }
        assigned.incarnation = log.incarnation;
        assigned.position = assigned.tracker.expected().map_or(position, CommitOffset::get);
        assigned.queue.extend(handed_over);
        if assigned.machine.phase() == Phase::Idle {
            assigned.enter(Phase::Queued)?;
        }
        Ok(())
    }

    fn start(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        let slots_taken =
            self.partitions.values().map(|assigned| assigned.runs.len()).sum::<usize>() + self.zombies.len();
        let slot_free = world.scenario.slots.is_none_or(|slots| slots_taken < slots);
        let previous_runs =
            world.scenario.bug != Bug::NoOwnership && self.zombies.iter().any(|zombie| zombie.partition == partition);
        let confirmed = self.coordinator.is_membership_confirmed();
        let topic_partition = &world.broker.topic_partitions[partition];
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        if self.paused || assigned.held || assigned.runs.len() >= world.scenario.parallel {
            return Ok(());
        }
        if assigned.retry_at.is_some_and(|at| world.now < at) || assigned.machine.lifecycle() != Lifecycle::Consuming {
            return Ok(());
        }
        let Some(&offset) = assigned.queue.front() else { return Ok(()) };
        let waits = match () {
            () if previous_runs => Some(Phase::WaitingForPrevious),
            () if !confirmed => Some(Phase::WaitingForMembership),
            () if !slot_free => Some(Phase::WaitingForSlot),
            () => None,
        };
        if let Some(phase) = waits {
            return if assigned.runs.is_empty() { assigned.enter(phase) } else { Ok(()) };
        }
        if !assigned.machine.may_start() {
            return broken(Anomaly::IllegalState, format!("{:?} may not start", assigned.machine));
        }
        if !world.broker.members.contains_key(&self.id) {
            return broken(Anomaly::StartWithoutAssignment, format!("member {} started {offset}", self.id));
        }
        let recalled = self.attempts.recall(topic_partition, offset);
        let is_retry = assigned.failed == Some(offset);
        if !is_retry && world.scenario.retry.attempts.is_some() {
            assigned.retry = RetryState::after(recalled);
        }
        let record = RecordId { partition, incarnation: assigned.incarnation, offset };
        world.ledger.started(record, assigned.id, self.process, is_retry)?;
        assigned.queue.pop_front();
        assigned.retry_at = None;
        assigned.enter(Phase::Running)?;
        let length = if world.rng.chance(20) { 50..900 } else { 0..12 };
        let is_ok = world.healed || !world.rng.chance(world.scenario.failures);
        assigned.runs.push(Run { offset, ends: world.now + world.rng.millis(length), is_ok });
        Ok(())
    }

    // ---- group

    fn follow_group(&mut self, world: &mut Surroundings<'_>, is_lost: bool) -> Checked {
        let known = world.broker.members.contains_key(&self.id);
        if !known && (self.generation > 0 || !self.partitions.is_empty()) {
            // A drowsy client needs a while to find out; one that was awake has been told.
            if is_lost || !self.drowsy || world.rng.chance(300) {
                self.lose_everything(world);
            }
            return Ok(());
        }
        self.drowsy = false;
        if is_lost {
            return broken(Anomaly::FalselyLost, format!("member {} is in the group", self.id));
        }
        if !known {
            if matches!(self.stage, Stage::Working) {
                world.broker.join(self.id, BTreeSet::new(), world.now);
            }
            return Ok(());
        }
        if world.broker.must_join(self.id) {
            if !matches!(self.stage, Stage::Working) || !world.rng.chance(500) {
                return Ok(());
            }
            if world.scenario.cooperative || self.partitions.is_empty() {
                world.broker.join(self.id, self.partitions.keys().copied().collect(), world.now);
            } else {
                let all = self.partitions.keys().copied().collect();
                self.begin_revoke(all, Interrupt::Revoke, Then::Join, world);
            }
            return Ok(());
        }
        if world.broker.state != GroupState::Preparing && self.generation != world.broker.generation {
            self.generation = world.broker.generation;
            self.sync_pending = true;
        }
        if self.sync_pending && world.broker.state == GroupState::Stable && matches!(self.stage, Stage::Working) {
            self.sync_pending = false;
            self.take_assignment(world)?;
        }
        Ok(())
    }

    fn take_assignment(&mut self, world: &mut Surroundings<'_>) -> Checked {
        let target = |partition: &usize| world.broker.target[*partition] == Some(self.id);
        let revoked: Vec<usize> = self.partitions.keys().copied().filter(|partition| !target(partition)).collect();
        self.coordinator.confirm_membership();
        if !revoked.is_empty() {
            self.begin_revoke(revoked, Interrupt::Revoke, Then::Rejoin, world);
            return Ok(());
        }
        let owned_by_others = |partition: &usize| {
            let mut others = world.broker.members.iter().filter(|(id, _)| **id != self.id);
            others.any(|(_, member)| member.owned.contains(partition))
        };
        let added = (0..world.broker.logs.len()).filter(|p| target(p) && !self.partitions.contains_key(p));
        let added: Vec<usize> = added.filter(|partition| !owned_by_others(partition)).collect();
        for &partition in &added {
            self.begin_epoch(partition, world)?;
        }
        if let Some(member) = world.broker.members.get_mut(&self.id) {
            member.owned = self.partitions.keys().copied().collect();
        }
        self.coordinator.set_rebalancing(false);
        if !added.is_empty() {
            self.coordinator.hold_until(world.now + world.scenario.hold);
        }
        Ok(())
    }

    fn begin_epoch(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        self.last_epoch = self.last_epoch.next();
        let topic_partition = &world.broker.topic_partitions[partition];
        let log = &world.broker.logs[partition];
        let is_reset = self.partitions.contains_key(&partition);
        if let Some(old) = self.partitions.remove(&partition) {
            if !old.runs.is_empty() {
                return broken(Anomaly::IllegalState, "a new epoch began while a record of the old one ran");
            }
            world.ledger.ended(old.id, End::Unacknowledged(None));
        }
        let committed = world.broker.committed[partition].filter(|_| !is_reset);
        self.coordinator.assign(topic_partition.clone(), self.last_epoch, committed.map(CommitOffset::at));
        let start = committed.unwrap_or(log.start);
        let assigned = Assigned {
            epoch: self.last_epoch,
            id: world.ledger.new_epoch(),
            incarnation: log.incarnation,
            start,
            position: start,
            has_started: false,
            tracker: committed
                .map_or_else(OffsetTracker::new, |offset| OffsetTracker::starting_at(CommitOffset::at(offset))),
            machine: PartitionMachine::new(),
            retry: RetryState::new(),
            queue: VecDeque::new(),
            runs: Vec::new(),
            retry_at: None,
            held: false,
            failed: None,
            unacknowledged: VecDeque::new(),
        };
        let (id, epoch) = (self.id, self.last_epoch);
        world.ledger.note(world.now, || format!("member {id} partition {partition} epoch {epoch} from {start}"));
        self.partitions.insert(partition, assigned);
        if self.paused {
            self.pause(world.now);
        }
        Ok(())
    }

    fn lose_everything(&mut self, world: &mut Surroundings<'_>) {
        let was_leaving = matches!(self.stage, Stage::Revoking { then: Then::Leave, .. });
        for (partition, mut assigned) in std::mem::take(&mut self.partitions) {
            let topic_partition = &world.broker.topic_partitions[partition];
            assigned.machine.interrupt(Interrupt::Lost, world.now);
            let acknowledged = self.coordinator.acknowledged(topic_partition).map(CommitOffset::get);
            world.ledger.ended(assigned.id, End::Unacknowledged(acknowledged));
            self.coordinator.remove(topic_partition);
            self.zombies.extend(assigned.zombies(partition));
        }
        self.id += 1_000;
        self.generation = 0;
        self.sync_pending = false;
        self.drowsy = false;
        self.coordinator.confirm_membership();
        // The client drops what it had queued for the old membership, and answers it.
        for serial in std::mem::take(&mut self.normal_out).into_iter().chain(std::mem::take(&mut self.final_out)) {
            let events = self.coordinator.answered(Serial::from_raw(serial), world.now, &Err(code::LOCAL_DESTROY));
            debug_assert!(events.iter().all(|event| matches!(event, CommitEvent::Ignored { .. })));
        }
        self.stage = if was_leaving { Stage::Gone } else { Stage::Working };
    }

    // ---- revoke and stop

    fn begin_revoke(&mut self, partitions: Vec<usize>, why: Interrupt, then: Then, world: &mut Surroundings<'_>) {
        let budget = world.scenario.revoke_timeout;
        let drain_until = world.now + budget.mul_f64(0.7);
        for partition in &partitions {
            let Some(assigned) = self.partitions.get_mut(partition) else { continue };
            let zombies: Vec<_> = match assigned.machine.interrupt(why, drain_until) {
                Reaction::Cancel | Reaction::LeaveBehind => assigned.zombies(*partition).collect(),
                _ => Vec::new(),
            };
            self.zombies.extend(zombies);
            assigned.queue.clear();
        }
        self.coordinator.set_rebalancing(true);
        self.stage = Stage::Revoking { partitions, drain_until, deadline: world.now + budget, then };
    }

    fn revoke_on(&mut self, world: &mut Surroundings<'_>) -> Checked {
        let Stage::Revoking { partitions, drain_until, deadline, then } = &self.stage else { return Ok(()) };
        let (partitions, drain_until, deadline, then) = (partitions.clone(), *drain_until, *deadline, *then);
        for partition in &partitions {
            let Some(assigned) = self.partitions.get_mut(partition) else { continue };
            assigned.queue.clear();
            if assigned.machine.expire(world.now) {
                self.zombies.extend(assigned.zombies(*partition).collect::<Vec<_>>());
            }
            if !assigned.machine.is_drained() {
                debug_assert!(world.now < drain_until);
                return Ok(());
            }
        }
        let keys: Vec<_> =
            partitions.iter().map(|partition| world.broker.topic_partitions[*partition].clone()).collect();
        for key in &keys {
            self.coordinator.freeze(key);
        }
        let outcomes = loop {
            if world.scenario.bug == Bug::NoFinalCommit {
                let clean = |key: &TopicPartition| FinalOutcome {
                    topic_partition: key.clone(),
                    outcome: CommitOutcome::Committed,
                    watermark: None,
                    acknowledged: None,
                    code: 0,
                };
                break keys.iter().map(clean).collect();
            }
            match self.coordinator.final_step(&keys, deadline, world.now) {
                FinalStep::Send(request) => self.transmit(request, true, world)?,
                FinalStep::WaitUntil(until) if until <= world.now => {
                    return broken(Anomaly::IllegalState, "the final commit waits for the past");
                }
                FinalStep::WaitUntil(_) => return Ok(()),
                FinalStep::Done(outcomes) => break outcomes,
            }
        };
        for outcome in outcomes {
            self.end_partition(&outcome, world)?;
        }
        let owned: BTreeSet<usize> = self.partitions.keys().copied().collect();
        self.stage = Stage::Working;
        match then {
            // The group does not know it any more: it will be told that it has lost everything.
            Then::Join | Then::Rejoin if !world.broker.members.contains_key(&self.id) => {}
            Then::Join => world.broker.join(self.id, owned, world.now),
            Then::Rejoin => {
                world.broker.rebalance();
                world.broker.join(self.id, owned, world.now);
            }
            Then::Leave => {
                world.broker.leave(self.id);
                world.ledger.process_ended(self.process);
                self.stage = Stage::Gone;
            }
        }
        Ok(())
    }

    fn end_partition(&mut self, outcome: &FinalOutcome, world: &mut Surroundings<'_>) -> Checked {
        let partition = usize::try_from(outcome.topic_partition.partition()).unwrap();
        let Some(assigned) = self.partitions.remove(&partition) else { return Ok(()) };
        self.coordinator.remove(&outcome.topic_partition);
        let end = match outcome.outcome {
            CommitOutcome::Committed if world.scenario.parallel == 1 => End::Clean,
            // What was finished out of order above the watermark is read again.
            CommitOutcome::Committed => End::Unacknowledged(outcome.watermark.map(CommitOffset::get)),
            _ => End::Unacknowledged(outcome.acknowledged.map(CommitOffset::get)),
        };
        let same_log = world.broker.logs[partition].incarnation == assigned.incarnation;
        let stored = world.broker.committed[partition];
        let watermark = outcome.watermark.map(CommitOffset::get);
        if outcome.outcome == CommitOutcome::Committed && same_log && watermark.is_some() && stored < watermark {
            return broken(
                Anomaly::FalselyCommitted,
                format!("partition {partition}: {watermark:?}, stored {stored:?}"),
            );
        }
        world.ledger.ended(assigned.id, end);
        Ok(())
    }

    fn transmit(&mut self, request: CommitRequest, is_final: bool, world: &mut Surroundings<'_>) -> Checked {
        let out = if is_final { &mut self.final_out } else { &mut self.normal_out };
        out.insert(request.serial.as_raw());
        if out.len() > 1 {
            return broken(Anomaly::TwoInFlight, format!("{out:?}"));
        }
        let mut offsets = Vec::new();
        for (topic_partition, epoch, offset) in request.offsets {
            let partition = usize::try_from(topic_partition.partition()).unwrap();
            let Some(assigned) = self.partitions.get(&partition).filter(|assigned| assigned.epoch == epoch) else {
                return broken(Anomaly::CommitAfterEnd, format!("{topic_partition} in epoch {epoch}"));
            };
            world.ledger.commit_sent(assigned.id, offset.get())?;
            if world.broker.logs[partition].incarnation == assigned.incarnation {
                world.ledger.nothing_open(partition, assigned.incarnation, assigned.start, offset.get())?;
            }
            offsets.push((partition, offset.get(), assigned.incarnation));
        }
        let serial = request.serial;
        world.ledger.note(world.now, || {
            format!("member {} {serial:?} of generation {} sent {offsets:?}", self.id, self.generation)
        });
        if world.scenario.bug != Bug::NeverCommit {
            let faults = world.scenario.faults && !world.healed;
            world.broker.send((self.id, self.generation), request.serial, offsets, (world.now, world.rng), faults);
        }
        Ok(())
    }
}

impl Assigned {
    fn enter(&mut self, phase: Phase) -> Checked {
        self.machine.enter(phase).or_else(|error| broken(Anomaly::IllegalState, error.to_string()))
    }

    pub(super) fn has_caught_up(&self, log: &Log) -> bool {
        let expected = self.tracker.expected().map(CommitOffset::get);
        let is_same_log = log.incarnation == self.incarnation;
        log.goal().is_none() || (is_same_log && expected >= log.goal() && self.tracker.open() == 0)
    }

    /// What a worker does whose unit has ended.
    fn rest(&mut self, paused: bool) -> Checked {
        let phase = match () {
            () if self.held => Phase::Held,
            () if self.retry_at.is_some() => Phase::RetrySleep,
            () if paused => Phase::Paused,
            () if self.queue.is_empty() => Phase::Idle,
            () => Phase::Queued,
        };
        self.enter(phase)
    }

    /// Leaves what runs behind.
    fn zombies(&mut self, partition: usize) -> impl Iterator<Item = Zombie> {
        let (epoch, incarnation) = (self.id, self.incarnation);
        let runs = std::mem::take(&mut self.runs).into_iter();
        runs.map(move |run| Zombie { partition, epoch, offset: run.offset, incarnation, ends: run.ends })
    }

    /// Nothing is fed while finished work has been waiting for its commit for too long.
    fn check_feeding(&self, woke: Instant, world: &Surroundings<'_>) -> Checked {
        let scenario = world.scenario;
        if !matches!(scenario.policy.ack_mode, AckMode::Record | AckMode::Batch) {
            return Ok(());
        }
        // Nothing is asked for while a revoke waits for its drain.
        let asked_late = scenario.revoke_timeout + scenario.policy.commit_interval + scenario.longest_step * 2;
        let patience = scenario.policy.max_commit_delay + asked_late;
        match self.unacknowledged.front() {
            Some((watermark, reached)) if world.now.saturating_since(woke.max(*reached)) > patience => {
                broken(Anomaly::FedWhileStalled, format!("{watermark} was reached at {reached:?}, now {:?}", world.now))
            }
            _ => Ok(()),
        }
    }
}
