//! Giving partitions up: drain, final commit, end of the epoch. And the check of everything that is sent.

use std::collections::BTreeSet;

use super::{Member, Stage, Surroundings, Then};
use crate::commit::{CommitOutcome, CommitRequest, FinalOutcome, FinalStep};
use crate::offset_tracker::CommitOffset;
use crate::phase::{Interrupt, Reaction};
use crate::record::TopicPartition;
use crate::simulation::Bug;
use crate::simulation::ledger::{Anomaly, Checked, End, broken};

impl Member {
    pub(super) fn begin_revoke(
        &mut self,
        partitions: Vec<usize>,
        why: Interrupt,
        then: Then,
        world: &mut Surroundings<'_>,
    ) {
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

    pub(super) fn revoke_on(&mut self, world: &mut Surroundings<'_>) -> Checked {
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
        for partition in &partitions {
            if let Some(assigned) = self.partitions.get_mut(partition)
                && world.scenario.bug != Bug::LateAcksCount
            {
                assigned.window.close();
            }
        }
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

    pub(super) fn end_partition(&mut self, outcome: &FinalOutcome, world: &mut Surroundings<'_>) -> Checked {
        let partition = usize::try_from(outcome.topic_partition.partition()).unwrap();
        let Some(assigned) = self.partitions.remove(&partition) else { return Ok(()) };
        self.coordinator.remove(&outcome.topic_partition);
        let end = match outcome.outcome {
            CommitOutcome::Committed if world.scenario.is_in_order() => End::Clean,
            // What was finished out of order above the watermark is read again.
            CommitOutcome::Committed => End::Unacknowledged(outcome.watermark.map(CommitOffset::get)),
            _ => End::Unacknowledged(outcome.acknowledged.map(CommitOffset::get)),
        };
        // A commit of its own is not the last word where somebody else was told to read from further back.
        let same_log =
            !world.ledger.was_sought(partition) && world.broker.logs[partition].incarnation == assigned.incarnation;
        let stored = world.broker.committed[partition];
        let watermark = outcome.watermark.map(CommitOffset::get);
        if outcome.outcome == CommitOutcome::Committed && same_log && watermark.is_some() && stored < watermark {
            return broken(
                Anomaly::FalselyCommitted,
                format!("partition {partition}: {watermark:?}, stored {stored:?}"),
            );
        }
        world.ledger.ended(assigned.id, end);
        self.close_window(assigned.id, assigned.window, world.scenario);
        Ok(())
    }

    pub(super) fn transmit(&mut self, request: CommitRequest, is_final: bool, world: &mut Surroundings<'_>) -> Checked {
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
            // What somebody has open whom the group has left behind is the next owner's business.
            let is_of_the_group = world.broker.members.contains_key(&self.id);
            if is_of_the_group && world.broker.logs[partition].incarnation == assigned.incarnation {
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
