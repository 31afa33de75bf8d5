//! A record on hold waits for an operator's decision; a worker waits for what only the poll loop can do. Both are rare, and
//! under locks.

use std::sync::atomic::Ordering;

use super::{PartitionControl, lock};
use crate::phase::Phase;
use crate::worker::requests::{HeldAnswer, HeldDecision, WorkerRequest};

impl PartitionControl {
    // The poll loop's side.

    pub(crate) fn take_request(&self) -> Option<WorkerRequest> {
        if !self.requested.load(Ordering::Acquire) {
            return None;
        }
        self.requested.store(false, Ordering::Release);
        lock(&self.request).take()
    }

    /// Hands an operator's decision to the worker; refused at once unless a record is on hold and undecided.
    pub(crate) fn decide(&self, decision: HeldDecision) {
        {
            // The worker changes this phase under the same lock: a decision never outlives the hold it is about.
            let mut slot = lock(&self.decision);
            if self.phase().takes_decisions() && slot.is_none() {
                *slot = Some(decision);
                self.changed.notify_one();
                return;
            }
        }
        // The asker may have gone; then nobody needs the answer.
        decision.answer.send(HeldAnswer::NotHeld).ok();
    }

    // The worker's side.

    /// From now on an operator may decide about the record at `offset`.
    pub(crate) fn begin_hold(&self, offset: i64, phase: Phase) {
        debug_assert!(phase.takes_decisions(), "{phase}");
        let _slot = lock(&self.decision);
        self.at(offset);
        self.enter(phase);
    }

    pub(crate) fn take_decision(&self) -> Option<HeldDecision> {
        lock(&self.decision).take()
    }

    /// The hold of the record at `held` is over, by this decision if by any; one that came too late is told so. Answered
    /// when nobody can see the hold any more: who asked and sees one then sees the next.
    pub(crate) fn end_hold(&self, held: i64, decided: Option<HeldDecision>) {
        let late = {
            let mut slot = lock(&self.decision);
            self.enter(Phase::Queued);
            slot.take()
        };
        let answers = [(decided, HeldAnswer::Done { offset: held }), (late, HeldAnswer::NotHeld)];
        for (decision, answer) in answers {
            if let Some(decision) = decision {
                // The asker may have gone; the decision holds all the same.
                decision.answer.send(answer).ok();
            }
        }
    }

    pub(crate) fn ask(&self, request: WorkerRequest) {
        *lock(&self.request) = Some(request);
        self.requested.store(true, Ordering::Release);
        self.waker.wake();
    }
}
