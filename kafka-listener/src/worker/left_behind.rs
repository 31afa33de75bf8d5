//! Code that has outlived its partition's epoch: blocking code cannot be interrupted, only waited for.
//!
//! It belongs to the listener and not to a consumer: it may outlive that, and the run of the container.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::PartitionControl;

/// The workers of ended epochs whose code may still run. Written by the poll loops when epochs end, read by `status()`,
/// health and the gauges.
#[derive(Debug, Default)]
pub(crate) struct LeftBehind(Mutex<Vec<LeftBehindUnit>>);

/// A worker of an ended epoch.
#[derive(Clone, Debug)]
pub(crate) struct LeftBehindUnit {
    /// The index of the consumer that owned the partition.
    pub(crate) consumer: usize,
    pub(crate) control: Arc<PartitionControl>,
}

impl LeftBehind {
    /// Notes the worker of an epoch that has ended, unless nothing of it is left.
    pub(crate) fn note(&self, consumer: usize, control: &Arc<PartitionControl>) {
        let mut units = self.units();
        units.retain(|unit| !unit.control.is_over());
        let is_noted = units.iter().any(|unit| Arc::ptr_eq(&unit.control, control));
        if !is_noted && !control.is_over() {
            units.push(LeftBehindUnit { consumer, control: Arc::clone(control) });
        }
    }

    /// Those whose code runs at this moment.
    pub(crate) fn running(&self) -> Vec<LeftBehindUnit> {
        let mut units = self.units();
        units.retain(|unit| !unit.control.is_over());
        // A worker that has only not been told yet to leave runs nothing.
        units.iter().filter(|unit| unit.control.phase().is_running()).cloned().collect()
    }

    /// Never held across an await or user code.
    fn units(&self) -> MutexGuard<'_, Vec<LeftBehindUnit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Instant;
    use crate::extract::sample::Sample;
    use crate::kafka::ffi::Ready;
    use crate::kafka::waker::Waker;
    use crate::ownership::PartitionLease;
    use crate::phase::{Interrupt, Phase};
    use crate::record::TopicPartition;

    /// A worker in this phase, and what keeps its partition.
    fn worker(phase: Phase) -> (Arc<PartitionControl>, Arc<PartitionLease>) {
        let waker = Arc::new(Waker::default());
        let ready = Arc::new(Ready::new(false, &waker));
        let control = Arc::new(PartitionControl::new(TopicPartition::new("orders", 2), ready, waker));
        let Sample { lease, .. } = Sample::new();
        control.works_under(&lease);
        control.at(41);
        control.enter(phase);
        (control, lease)
    }

    #[test]
    fn a_cancelled_handler_is_listed_until_its_code_has_ended() {
        let (control, of_the_worker) = worker(Phase::Running);
        let of_the_code = Arc::clone(&of_the_worker);
        let left_behind = LeftBehind::default();
        control.interrupt(Interrupt::Lost);
        left_behind.note(1, &control);
        left_behind.note(1, &control);
        let listed =
            || left_behind.running().iter().map(|unit| (unit.consumer, unit.control.phase())).collect::<Vec<_>>();
        assert_eq!(listed(), [(1, Phase::Cancelled)], "its task has not been polled since");

        drop(of_the_worker);
        control.end();
        assert_eq!(listed(), [(1, Phase::Cancelled)], "its code runs on another thread");
        let later = Instant::now() + Duration::from_secs(600);
        assert!(control.running_for(later) >= control.cancelled_for(later), "it ran before it was cancelled");
        assert!(control.cancelled_for(later).is_some_and(|ago| ago >= Duration::from_secs(600)));

        drop(of_the_code);
        assert_eq!(listed(), []);
        assert_eq!((control.phase(), control.running_for(later)), (Phase::Idle, None), "nothing runs any more");
    }

    #[test]
    fn a_worker_that_waits_leaves_nothing_behind() {
        for phase in Phase::ALL.into_iter().filter(|phase| phase.is_waiting()) {
            let (control, lease) = worker(phase);
            let left_behind = LeftBehind::default();
            control.interrupt(Interrupt::SecondSignal);
            left_behind.note(0, &control);
            assert!(left_behind.running().is_empty(), "{phase}");
            assert_eq!(control.phase(), phase);
            drop(lease);
            control.end();
            assert_eq!(control.phase(), phase, "where it ended");
        }
    }

    #[test]
    fn code_that_its_worker_did_not_wait_for_is_listed_although_the_worker_waited() {
        let (control, lease) = worker(Phase::RetrySleep);
        let left_behind = LeftBehind::default();
        let of_the_code = Arc::clone(&lease);
        control.interrupt(Interrupt::Revoke);
        drop(lease);
        control.end();
        left_behind.note(0, &control);
        assert_eq!(left_behind.running().len(), 1);
        drop(of_the_code);
        assert!(left_behind.running().is_empty());
    }
}
