//! Reading a partition from somewhere else while the group lives on.

use std::time::Duration;

use super::{Assigned, Member, Surroundings};
use crate::clock::Instant;
use crate::commit::CommitOutcome;
use crate::offset_tracker::CommitOffset;
use crate::phase::{Interrupt, Lifecycle, Reaction};
use crate::seek::{Action, Beginning, Bounds, Facts, Goal, Limits, Seek, SeekOutcome, SeekTo};
use crate::simulation::Bug;
use crate::simulation::ledger::{Anomaly, Checked, End, broken};

/// A seek that is asked for and not answered; dropped with its partition.
#[derive(Debug)]
pub(super) struct PendingSeek {
    seek: Seek,
    asked_at: Instant,
    /// When the broker says where the log begins and ends.
    resolved_at: Instant,
    /// The log that it spoke of.
    incarnation: Option<u32>,
    /// Where it stood when the new epoch began, and which log that was.
    from: Option<(i64, u32)>,
}

const LIMITS: Limits = Limits {
    resolve: Duration::from_millis(300),
    drain: Duration::from_millis(300),
    commit: Duration::from_millis(300),
};

impl Member {
    /// An operator asks for it.
    pub(in crate::simulation) fn ask_seek(&mut self, partition: usize, goal: Goal, world: &mut Surroundings<'_>) {
        let resolved_at = world.now + world.rng.millis(0..350);
        let Some(assigned) = self.partitions.get_mut(&partition) else { return };
        let mut seek = Seek::new(goal, LIMITS, world.now);
        if let Some(pending) = assigned.seek.take() {
            seek = pending.seek;
            seek.supersede(goal, world.now);
        }
        assigned.seek = Some(PendingSeek { seek, asked_at: world.now, resolved_at, incarnation: None, from: None });
    }

    pub(super) fn seek_on(&mut self, world: &mut Surroundings<'_>) -> Checked {
        let partitions: Vec<usize> = self.partitions.keys().copied().collect();
        partitions.into_iter().try_for_each(|partition| self.seek_partition(partition, world))
    }

    fn seek_partition(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        let key = world.broker.topic_partitions[partition].clone();
        loop {
            let log = &world.broker.logs[partition];
            let bounds = Bounds { first: log.start, end: log.end, to: None, until: None };
            let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
            let has_ended = assigned.runs.is_empty() && assigned.machine.lifecycle() == Lifecycle::Stopped;
            let has_ended = has_ended || world.scenario.bug == Bug::SeekBesideRunning;
            let open_from = assigned.tracker.watermark().map_or(assigned.start, CommitOffset::get);
            let Some(pending) = &mut assigned.seek else { return Ok(()) };
            if pending.seek.needs_bounds() && pending.resolved_at <= world.now {
                pending.seek.resolved(bounds);
                pending.incarnation = Some(log.incarnation);
            }
            let facts = Facts { has_ended, commit: self.coordinator.settled(&key), open_from: Some(open_from) };
            match pending.seek.next(facts, world.now) {
                Action::Wait => {
                    let longest = LIMITS.resolve + LIMITS.drain + LIMITS.commit * 2 + world.scenario.longest_step * 5;
                    // It waits for a rebalance and sleeps with its process.
                    let since = pending.asked_at.max(self.woke).max(self.worked_since);
                    if world.now.saturating_since(since) > longest {
                        return broken(Anomaly::Stuck, format!("{:?}", pending.seek));
                    }
                    return Ok(());
                }
                Action::Interrupt => {
                    let deadline = world.now + LIMITS.drain;
                    let zombies: Vec<_> = match assigned.machine.interrupt(Interrupt::Seek, deadline) {
                        Reaction::LeaveBehind => assigned.zombies(partition).collect(),
                        _ => Vec::new(),
                    };
                    self.zombies.extend(zombies);
                    assigned.queue.clear();
                }
                Action::Commit => self.coordinator.ask_now(&key, world.now),
                Action::Cancel => {
                    assigned.machine.interrupt(Interrupt::SecondSignal, world.now);
                    let zombies: Vec<_> = assigned.zombies(partition).collect();
                    self.zombies.extend(zombies);
                    self.coordinator.ask_now(&key, world.now);
                }
                Action::Begin(beginning) => self.begin_at(partition, beginning, facts, world)?,
                Action::Answer(outcome) => {
                    let from = pending.from;
                    assigned.seek = None;
                    world.ledger.note(world.now, || format!("member {} partition {partition}: {outcome}", self.id));
                    return self.check_answer(partition, outcome, from, world);
                }
            }
        }
    }

    fn begin_at(
        &mut self,
        partition: usize,
        beginning: Beginning,
        facts: Facts,
        world: &mut Surroundings<'_>,
    ) -> Checked {
        let (Some(mut old), Some(offset), Some(open_from)) =
            (self.partitions.remove(&partition), beginning.offset, facts.open_from)
        else {
            return broken(Anomaly::IllegalState, "a seek without a partition or a target");
        };
        if !old.runs.is_empty() && world.scenario.bug != Bug::SeekBesideRunning {
            return broken(Anomaly::IllegalState, "a new epoch began while a record of the old one ran");
        }
        // Nobody knows better whose offsets these are; that of a log created since is found out by reading.
        let resolved = old.seek.as_ref().filter(|pending| !pending.seek.is_refused());
        let incarnation = resolved.and_then(|pending| pending.incarnation).unwrap_or(old.incarnation);
        let is_same_log = incarnation == old.incarnation;
        let acknowledged = self.coordinator.acknowledged(&world.broker.topic_partitions[partition]);
        let is_settled = facts.commit == Some(CommitOutcome::Committed) && world.scenario.parallel == 1;
        let end = if is_settled { End::Clean } else { End::Unacknowledged(acknowledged.map(CommitOffset::get)) };
        let skipped_from = if is_same_log { open_from } else { 0 };
        world.ledger.sought(partition, incarnation, skipped_from, offset);
        let window = std::mem::take(&mut old.window);
        self.close_window(old.id, window, world.scenario);
        if world.scenario.bug == Bug::SeekKeepsEpoch {
            old.rewind(offset);
            self.partitions.insert(partition, old);
        } else {
            world.ledger.ended(old.id, end);
            let commits = beginning.commits && world.scenario.bug != Bug::ReplayUncommitted;
            let start = (Some(CommitOffset::at(offset)), commits);
            self.last_epoch = self.last_epoch.next();
            let topic_partition = &world.broker.topic_partitions[partition];
            self.coordinator.reposition(topic_partition, self.last_epoch, start, world.now);
            let seek = old.seek.take();
            self.insert_epoch(partition, (offset, incarnation), Some(CommitOffset::at(offset)), world);
            if let Some(assigned) = self.partitions.get_mut(&partition) {
                assigned.seek = seek;
            }
        }
        let assigned = self.partitions.get_mut(&partition);
        if let Some(pending) = assigned.and_then(|assigned| assigned.seek.as_mut()) {
            pending.from = is_same_log.then_some((open_from, incarnation));
        }
        Ok(())
    }

    /// What was asked to be committed is, and has to be handled again.
    fn check_answer(
        &self,
        partition: usize,
        outcome: SeekOutcome,
        from: Option<(i64, u32)>,
        world: &mut Surroundings<'_>,
    ) -> Checked {
        let SeekOutcome::Applied { offset, commit: Some(CommitOutcome::Committed), .. } = outcome else {
            return Ok(());
        };
        let Some((from, incarnation)) = from else { return Ok(()) };
        let log = &world.broker.logs[partition];
        if log.incarnation != incarnation {
            return Ok(());
        }
        if !world.broker.members.contains_key(&self.id) {
            // The answer waited until it woke up, and another member has gone on since.
            return Ok(());
        }
        if world.scenario.bug == Bug::None && world.broker.committed[partition] != Some(offset) {
            let committed = world.broker.committed[partition];
            return broken(Anomaly::FalselyCommitted, format!("partition {partition}: {committed:?}, not {offset}"));
        }
        world.ledger.reopened(partition, incarnation, offset.max(log.start), from);
        Ok(())
    }
}

impl Assigned {
    /// What nobody may do: read from elsewhere in the same epoch.
    fn rewind(&mut self, offset: i64) {
        self.position = offset;
        self.tracker = crate::offset_tracker::OffsetTracker::starting_at(CommitOffset::at(offset));
        self.machine = crate::phase::PartitionMachine::new();
    }

    pub(super) fn is_sought(&self) -> bool {
        self.seek.as_ref().is_some_and(|pending| pending.seek.stops_feeding())
    }
}

/// What an operator may come up with.
pub(in crate::simulation) fn any_goal(rng: &mut crate::simulation::rng::Rng, end: i64) -> Goal {
    let offset = i64::try_from(rng.below(0..end.unsigned_abs() + 2)).unwrap();
    let to = rng.pick(&[
        SeekTo::Beginning,
        SeekTo::End,
        SeekTo::Offset(offset),
        SeekTo::Offset(offset),
        SeekTo::Relative(-5),
        SeekTo::Relative(3),
    ]);
    Goal { to, commits: rng.chance(500), until: None }
}
