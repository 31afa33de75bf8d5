//! Acknowledgements: given inside the handler or long after it, in any order, not yet, never, or too late.

use std::time::Duration;

use super::{Ack, Assigned, Member, Surroundings};
use crate::clock::Instant;
use crate::offset_tracker::{AckWindow, Settlement};
use crate::phase::{Lifecycle, Phase};
use crate::simulation::ledger::{Anomaly, Checked, EpochId, RecordId, broken};
use crate::simulation::{Bug, Scenario, Settling};

/// Records that may be out where nobody waits for them.
const WINDOW: u64 = 8;

impl Assigned {
    /// Whether a record may be delivered as far as those that are out are concerned.
    pub(super) fn has_room_for(&self, offset: i64, settling: Settling) -> bool {
        let is_again = self.delivered >= Some(offset);
        match settling {
            Settling::Return => true,
            _ if is_again => true,
            Settling::Acks => self.window.open() == 0,
            Settling::AsyncAcks => self.window.open() < WINDOW,
        }
    }

    /// Delivers a record: somebody gets its acknowledgement and uses it sometime, or does not.
    pub(super) fn deliver(&mut self, partition: usize, offset: i64, world: &mut Surroundings<'_>) -> Ack {
        let delivery = self.window.deliver(offset, 1);
        self.delivered = self.delivered.max(Some(offset));
        let (at, says) = if world.healed {
            (world.rng.millis(0..12), Settlement::Acknowledged)
        } else {
            let after = match world.rng.below(0..20) {
                0..13 => 0..12,
                13..19 => 0..60,
                _ => 0..2_000,
            };
            let says = match world.rng.below(0..12) {
                0 => Settlement::Dropped,
                1 => Settlement::NotYet(world.rng.millis(1..50)),
                _ => Settlement::Acknowledged,
            };
            (world.rng.millis(after), says)
        };
        let (epoch, incarnation) = (self.id, self.incarnation);
        Ack { partition, epoch, offset, incarnation, delivery, at: world.now + at, says }
    }
}

impl Member {
    /// The operators see to it that everything that is out is settled soon.
    pub(in crate::simulation) fn hurry_acks(&mut self, now: Instant) {
        for ack in &mut self.acks {
            ack.at = ack.at.min(now + Duration::from_millis(50));
        }
    }

    pub(super) fn close_window(&mut self, epoch: EpochId, mut window: AckWindow, scenario: &Scenario) {
        if scenario.bug != Bug::LateAcksCount {
            window.close();
        }
        self.closed.insert(epoch, window);
    }

    pub(super) fn take_acks(&mut self, world: &mut Surroundings<'_>) -> Checked {
        let due: Vec<Ack> = self.acks.extract_if(.., |ack| ack.at <= world.now).collect();
        for ack in due {
            self.take_ack(ack, world)?;
        }
        let partitions: Vec<usize> = self.partitions.keys().copied().collect();
        for partition in partitions {
            self.take_returned(partition, world)?;
        }
        Ok(())
    }

    fn take_ack(&mut self, ack: Ack, world: &mut Surroundings<'_>) -> Checked {
        let Ack { partition, epoch, offset, incarnation, delivery, says, .. } = ack;
        let assigned = self.partitions.get_mut(&partition).filter(|assigned| assigned.id == epoch);
        let Some(assigned) = assigned else {
            let settled = self.closed.get_mut(&epoch).map(|window| window.settle(offset, delivery, says));
            if settled.is_some_and(|settled| settled.is_ok()) {
                return broken(Anomaly::LateAck, format!("{offset} of epoch {epoch} was settled after its end"));
            }
            return Ok(());
        };
        let Ok(progress) = assigned.window.settle(offset, delivery, says) else { return Ok(()) };
        if says != Settlement::Acknowledged {
            return Ok(());
        }
        world.ledger.finished(RecordId { partition, incarnation, offset }, epoch, world.now);
        if world.scenario.bug == Bug::AcksPassOpenRecords {
            assigned.tracker.done_through(offset);
        } else if let Some(done) = progress.done
            && assigned.tracker.done_through(done) != progress.records
        {
            return broken(Anomaly::IllegalState, format!("{done} was not what the window took it for"));
        }
        if assigned.machine.phase() == Phase::AckOutstanding {
            assigned.rest(self.paused)?;
        }
        self.publish(partition, world);
        Ok(())
    }

    /// What came back without being acknowledged: one failing record at a time.
    fn take_returned(&mut self, partition: usize, world: &mut Surroundings<'_>) -> Checked {
        let Some(assigned) = self.partitions.get_mut(&partition) else { return Ok(()) };
        let is_busy = !assigned.runs.is_empty() || assigned.retry_at.is_some() || assigned.held;
        if is_busy
            || assigned.machine.lifecycle() != Lifecycle::Consuming
            || world.scenario.bug == Bug::DroppedAcksForgotten
        {
            return Ok(());
        }
        if let Some(due) = assigned.later.iter().position(|(at, _)| *at <= world.now) {
            let (_, offset) = assigned.later.swap_remove(due);
            assigned.queue.push_front(offset);
            return Ok(());
        }
        let Some(returned) = assigned.window.take_returned() else { return Ok(()) };
        if let Some(delay) = returned.again_after {
            assigned.later.push((world.now + delay, returned.offset));
            return Ok(());
        }
        assigned.enter(Phase::AckOutstanding)?;
        if self.fail(partition, returned.offset, world) {
            self.finish(partition, returned.offset, world)?;
        }
        self.rest(partition)?;
        self.publish(partition, world);
        Ok(())
    }
}
