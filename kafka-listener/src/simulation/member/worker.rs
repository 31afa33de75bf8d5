//! The workers: what runs, what ends, what is fed and what may start.

use super::{Assigned, Member, Run, Surroundings, Zombie};
use crate::clock::Instant;
use crate::commit::Serial;
use crate::config::{AckMode, OnFailure};
use crate::failure::ErrorClass;
use crate::offset_jump::OffsetJump;
use crate::offset_tracker::CommitOffset;
use crate::phase::{Interrupt, Lifecycle, Phase, Reaction};
use crate::retry::{Decision, Failed, RetryState};
use crate::simulation::broker::Log;
use crate::simulation::ledger::{Anomaly, Checked, RecordId, broken};
use crate::simulation::{Bug, Settling};

impl Member {
    pub(super) fn run_workers(&mut self, world: &mut Surroundings<'_>) -> Checked {
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

    pub(super) fn run_worker(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let (now, epoch) = (world.now, assigned.id);
        let ended: Vec<Run> = assigned.runs.extract_if(.., |run| run.ends <= now).collect();
        if ended.is_empty() {
            return Ok(());
        }
        for run in ended {
            world.ledger.run_ended(self.process, partition, epoch);
            let done = match world.scenario.settling {
                Settling::Return => run.is_ok || self.fail(partition, run.offset, world),
                // Its acknowledgement says it, unless an error comes first.
                Settling::Acks | Settling::AsyncAcks => {
                    let window = self.partitions.get_mut(&partition).map(|assigned| &mut assigned.window);
                    let has_failed = !run.is_ok && window.is_some_and(|window| window.fail(run.offset).is_ok());
                    has_failed && self.fail(partition, run.offset, world)
                }
            };
            if done {
                self.finish(partition, run.offset, world)?;
            }
        }
        self.rest(partition)?;
        self.publish(partition, world);
        Ok(())
    }

    /// A delivery failed. `true`: a policy gives the record up.
    pub(super) fn fail(&mut self, partition: usize, offset: i64, world: &mut Surroundings<'_>) -> bool {
        let topic_partition = &world.broker.topic_partitions[partition];
        let Some(assigned) = self.partitions.get_mut(&partition) else { return false };
        let failed =
            Failed { class: &ErrorClass::Retryable, retryable: true, at: world.now, random: world.rng.share() };
        assigned.failed = Some(offset);
        let decision = assigned.retry.failed(failed, &world.scenario.failure_policies);
        self.attempts.remember(topic_partition, offset, assigned.retry.failures());
        match decision {
            Decision::RetryAfter(delay) => {
                assigned.queue.push_front(offset);
                assigned.retry_at = Some(world.now + delay);
                false
            }
            // Once the broker has it, it is done here.
            Decision::Exhausted(OnFailure::Skip) | Decision::PutOff => true,
            Decision::Exhausted(_) => {
                assigned.queue.push_front(offset);
                assigned.held = true;
                false
            }
        }
    }

    /// A record is handled, or given up.
    pub(super) fn finish(&mut self, partition: usize, offset: i64, world: &mut Surroundings<'_>) -> Checked {
        let topic_partition = &world.broker.topic_partitions[partition];
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let record = RecordId { partition, incarnation: assigned.incarnation, offset };
        self.attempts.forget(topic_partition, i64::MAX);
        assigned.retry = RetryState::new();
        world.ledger.finished(record, assigned.id, world.now);
        let counted = if world.scenario.settling != Settling::Return {
            let progress = assigned.window.finish(offset);
            progress.done.is_none_or(|done| assigned.tracker.done_through(done) == progress.records)
        } else if assigned.tracker.oldest_open() == Some(offset) {
            assigned.tracker.done_through(offset) == 1
        } else {
            assigned.tracker.done(offset)
        };
        if counted {
            return Ok(());
        }
        broken(Anomaly::IllegalState, format!("{record:?} was not open when it was done"))
    }

    pub(super) fn rest(&mut self, partition: usize) -> Checked {
        let assigned = self.partitions.get_mut(&partition).filter(|assigned| assigned.runs.is_empty());
        assigned.map_or(Ok(()), |assigned| assigned.rest(self.paused))
    }

    /// Tells the commits how far the partition is.
    pub(super) fn publish(&mut self, partition: usize, world: &Surroundings<'_>) {
        let topic_partition = &world.broker.topic_partitions[partition];
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        if let Some(watermark) = assigned.tracker.watermark()
            && assigned.unacknowledged.back().is_none_or(|(last, _)| *last < watermark)
            && self.coordinator.acknowledged(topic_partition) < Some(watermark)
        {
            assigned.unacknowledged.push_back((watermark, world.now));
        }
        let watermark = match world.scenario.bug {
            Bug::CommitAtHandOver => assigned.tracker.expected(),
            Bug::NoPlusOne => assigned.tracker.watermark().map(|offset| CommitOffset::at(offset.get() - 1)),
            Bug::PlusTwo => assigned.tracker.watermark().map(|offset| CommitOffset::at(offset.get() + 1)),
            _ => assigned.tracker.watermark(),
        };
        self.coordinator.progress(topic_partition, assigned.epoch, watermark, assigned.tracker.finished());
    }

    pub(super) fn feed_and_start(&mut self, world: &mut Surroundings<'_>) -> Checked {
        let partitions: Vec<usize> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.feed(partition, world)?;
            self.start(partition, world)?;
        }
        Ok(())
    }

    pub(super) fn feed(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        let topic_partition = world.broker.topic_partitions[partition].clone();
        let stalled =
            self.coordinator.stalled(&topic_partition, world.now) && world.scenario.bug != Bug::FedWhileStalled;
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        if assigned.is_sought() {
            return Ok(());
        }
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
                OffsetJump::Contiguous | OffsetJump::Gap | OffsetJump::LostToRetention { .. } if looks_only => {
                    if !assigned.has_started {
                        // An epoch that has read nothing belongs to the log that it would read.
                        assigned.incarnation = log.incarnation;
                    }
                    break;
                }
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

    pub(super) fn start(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
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
        if !assigned.has_room_for(offset, world.scenario.settling) {
            return Ok(());
        }
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
        if !is_retry && world.scenario.failure_policies.limit_attempts() {
            assigned.retry = RetryState::after(recalled);
        }
        let record = RecordId { partition, incarnation: assigned.incarnation, offset };
        let is_again = is_retry || assigned.delivered >= Some(offset);
        world.ledger.started(record, assigned.id, self.process, is_again)?;
        if world.scenario.settling != Settling::Return {
            let ack = assigned.deliver(partition, offset, world);
            self.acks.push(ack);
        }
        assigned.queue.pop_front();
        assigned.retry_at = None;
        assigned.enter(Phase::Running)?;
        let length = if world.rng.chance(20) { 50..900 } else { 0..12 };
        let is_ok = world.healed || !world.rng.chance(world.scenario.failures);
        assigned.runs.push(Run { offset, ends: world.now + world.rng.millis(length), is_ok });
        Ok(())
    }
}

impl Assigned {
    pub(super) fn enter(&mut self, phase: Phase) -> Checked {
        self.machine.enter(phase).or_else(|error| broken(Anomaly::IllegalState, error.to_string()))
    }

    pub(in crate::simulation) fn has_caught_up(&self, log: &Log) -> bool {
        let expected = self.tracker.expected().map(CommitOffset::get);
        let is_same_log = log.incarnation == self.incarnation;
        let is_at_the_end = is_same_log && expected >= log.goal() && self.tracker.open() == 0;
        self.seek.is_none() && (log.goal().is_none() || is_at_the_end)
    }

    /// What a worker does whose unit has ended.
    pub(super) fn rest(&mut self, paused: bool) -> Checked {
        let phase = match () {
            () if self.held => Phase::Held,
            () if self.retry_at.is_some() => Phase::RetrySleep,
            () if paused => Phase::Paused,
            () if self.window.open() > 0 => Phase::AckOutstanding,
            () if self.queue.is_empty() => Phase::Idle,
            () => Phase::Queued,
        };
        self.enter(phase)
    }

    /// Leaves what runs behind.
    pub(super) fn zombies(&mut self, partition: usize) -> impl Iterator<Item = Zombie> {
        let (epoch, incarnation) = (self.id, self.incarnation);
        let runs = std::mem::take(&mut self.runs).into_iter();
        runs.map(move |run| Zombie { partition, epoch, offset: run.offset, incarnation, ends: run.ends })
    }

    /// Nothing is fed while finished work has been waiting for its commit for too long.
    pub(super) fn check_feeding(&self, woke: Instant, world: &Surroundings<'_>) -> Checked {
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
