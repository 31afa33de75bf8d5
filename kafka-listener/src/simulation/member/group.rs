//! Following the group: joining, taking what is assigned, losing everything.

use std::collections::{BTreeSet, VecDeque};

use super::{Assigned, Member, Stage, Surroundings, Then};
use crate::commit::{CommitEvent, Serial, code};
use crate::offset_tracker::{AckWindow, CommitOffset, OffsetTracker};
use crate::phase::{Interrupt, PartitionMachine};
use crate::retry::RetryState;
use crate::simulation::broker::GroupState;
use crate::simulation::ledger::{Anomaly, Checked, End, broken};

impl Member {
    pub(super) fn follow_group(&mut self, world: &mut Surroundings<'_>, is_lost: bool) -> Checked {
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

    pub(super) fn take_assignment(&mut self, world: &mut Surroundings<'_>) -> Checked {
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

    pub(super) fn begin_epoch(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        self.last_epoch = self.last_epoch.next();
        let topic_partition = &world.broker.topic_partitions[partition];
        let log = &world.broker.logs[partition];
        let is_reset = self.partitions.contains_key(&partition);
        let mut seek = None;
        if let Some(old) = self.partitions.remove(&partition) {
            seek = old.seek;
            if !old.runs.is_empty() {
                return broken(Anomaly::IllegalState, "a new epoch began while a record of the old one ran");
            }
            world.ledger.ended(old.id, End::Unacknowledged(None));
            self.close_window(old.id, old.window, world.scenario);
        }
        let committed = world.broker.committed[partition].filter(|_| !is_reset);
        self.coordinator.assign(topic_partition.clone(), self.last_epoch, committed.map(CommitOffset::at));
        let start = committed.unwrap_or(log.start);
        let incarnation = log.incarnation;
        self.insert_epoch(partition, (start, incarnation), committed.map(CommitOffset::at), world);
        if let Some(assigned) = self.partitions.get_mut(&partition) {
            assigned.seek = seek;
        }
        Ok(())
    }

    /// The epoch that the coordinator was told of begins to read at `start`; `expected` is what its first record is
    /// measured by.
    pub(super) fn insert_epoch(
        &mut self,
        partition: usize,
        (start, incarnation): (i64, u32),
        expected: Option<CommitOffset>,
        world: &mut Surroundings<'_>,
    ) {
        let assigned = Assigned {
            epoch: self.last_epoch,
            id: world.ledger.new_epoch(),
            incarnation,
            start,
            position: start,
            has_started: false,
            tracker: expected.map_or_else(OffsetTracker::new, OffsetTracker::starting_at),
            machine: PartitionMachine::new(),
            retry: RetryState::new(),
            queue: VecDeque::new(),
            runs: Vec::new(),
            window: AckWindow::default(),
            delivered: None,
            later: Vec::new(),
            retry_at: None,
            held: false,
            failed: None,
            unacknowledged: VecDeque::new(),
            seek: None,
        };
        let (id, epoch) = (self.id, self.last_epoch);
        world.ledger.note(world.now, || format!("member {id} partition {partition} epoch {epoch} from {start}"));
        self.partitions.insert(partition, assigned);
        if self.paused {
            self.pause(world.now);
        }
    }

    pub(super) fn lose_everything(&mut self, world: &mut Surroundings<'_>) {
        let was_leaving = matches!(self.stage, Stage::Revoking { then: Then::Leave, .. });
        for (partition, mut assigned) in std::mem::take(&mut self.partitions) {
            let topic_partition = &world.broker.topic_partitions[partition];
            assigned.machine.interrupt(Interrupt::Lost, world.now);
            let acknowledged = self.coordinator.acknowledged(topic_partition).map(CommitOffset::get);
            world.ledger.ended(assigned.id, End::Unacknowledged(acknowledged));
            self.coordinator.remove(topic_partition);
            self.zombies.extend(assigned.zombies(partition));
            let window = std::mem::take(&mut assigned.window);
            self.close_window(assigned.id, window, world.scenario);
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
}
