//! The life of one partition in one epoch as the table means it: consuming, draining, stopped.
//!
//! A model. The simulation drives it; the worker and its control are built to the same table out of atomics.

use super::{Interrupt, Phase, Reaction};
use crate::clock::Instant;

/// Where an epoch of a partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifecycle {
    /// Records are fed and started.
    Consuming,
    /// Nothing new starts; running code has until then.
    Draining {
        /// When it is cancelled.
        until: Instant,
    },
    /// The epoch is over. Nothing that it does counts any more.
    Stopped,
}

/// A phase that cannot follow the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a partition that is `{from}` cannot become `{to}`")]
pub(crate) struct IllegalPhase {
    from: Phase,
    to: Phase,
}

/// Phase and lifecycle of one partition in one epoch. A new assignment makes a new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartitionMachine {
    phase: Phase,
    lifecycle: Lifecycle,
}

impl PartitionMachine {
    pub(crate) fn new() -> Self {
        Self { phase: Phase::Idle, lifecycle: Lifecycle::Consuming }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) fn lifecycle(&self) -> Lifecycle {
        self.lifecycle
    }

    /// Whether the next record may be started, as far as the epoch is concerned.
    pub(crate) fn may_start(&self) -> bool {
        self.lifecycle == Lifecycle::Consuming && self.phase.may_become(Phase::Running)
    }

    /// Whether its slot and its partition are taken: for as long as its code runs, whatever became of its result.
    pub(crate) fn holds_slot(&self) -> bool {
        self.phase.is_running()
    }

    /// The code that was cancelled has really ended. An epoch that is over has nothing more to do; one that goes on
    /// decides what becomes of the record.
    pub(crate) fn code_ended(&mut self) {
        if self.phase == Phase::Cancelled && self.lifecycle == Lifecycle::Stopped {
            self.phase = Phase::Idle;
        }
    }

    /// Whether a drain has nothing to wait for.
    pub(crate) fn is_drained(&self) -> bool {
        self.lifecycle == Lifecycle::Stopped
    }

    /// Notes what the worker does now. A unit that ends while draining ends the epoch with it.
    ///
    /// # Errors
    ///
    /// The phase cannot follow the present one, or something would start in an epoch that is ending.
    pub(crate) fn enter(&mut self, phase: Phase) -> Result<(), IllegalPhase> {
        let starts = self.phase != phase && matches!(phase, Phase::Running | Phase::AtMostOnceCommit);
        // A record whose offset is being committed has started as far as a drain is concerned.
        let is_under_way =
            self.phase == Phase::AtMostOnceCommit && matches!(self.lifecycle, Lifecycle::Draining { .. });
        let is_refused = starts && self.lifecycle != Lifecycle::Consuming && !is_under_way;
        // Only the end of its code ends what an ended epoch has left running.
        let is_left_behind = self.phase == Phase::Cancelled && self.lifecycle == Lifecycle::Stopped;
        let leaves_code = is_left_behind && phase != Phase::Cancelled;
        if !self.phase.may_become(phase) || leaves_code || is_refused {
            return Err(IllegalPhase { from: self.phase, to: phase });
        }
        self.phase = phase;
        let goes_on = phase.on(Interrupt::Stop) == Reaction::FinishFirst;
        if matches!(self.lifecycle, Lifecycle::Draining { .. }) && !goes_on {
            self.lifecycle = Lifecycle::Stopped;
        }
        Ok(())
    }

    /// Applies an interrupt; running code gets until `deadline` where the table lets it finish.
    pub(crate) fn interrupt(&mut self, interrupt: Interrupt, deadline: Instant) -> Reaction {
        let reaction = self.phase.on(interrupt);
        match reaction {
            Reaction::LeaveNow | Reaction::LeaveBehind => self.lifecycle = Lifecycle::Stopped,
            Reaction::FinishFirst if interrupt.ends_epoch() => {
                self.lifecycle = match self.lifecycle {
                    Lifecycle::Consuming => Lifecycle::Draining { until: deadline },
                    // A shorter budget cuts a longer one short, never the other way round.
                    Lifecycle::Draining { until } => Lifecycle::Draining { until: until.min(deadline) },
                    Lifecycle::Stopped => Lifecycle::Stopped,
                };
            }
            Reaction::Cancel => {
                self.phase = Phase::Cancelled;
                // A drain waits for results, and this one has none any more.
                if interrupt.ends_epoch() || self.lifecycle != Lifecycle::Consuming {
                    self.lifecycle = Lifecycle::Stopped;
                }
            }
            Reaction::Park => self.phase = Phase::Paused,
            Reaction::FinishFirst | Reaction::Unaffected => {}
        }
        reaction
    }

    /// Ends a drain whose deadline has passed: what still runs is to be cancelled. `true`: it was so.
    pub(crate) fn expire(&mut self, now: Instant) -> bool {
        match self.lifecycle {
            Lifecycle::Draining { until } if until <= now => {
                if self.phase.is_running() {
                    self.phase = Phase::Cancelled;
                }
                self.lifecycle = Lifecycle::Stopped;
                true
            }
            _ => false,
        }
    }
}

impl Phase {
    /// Whether a worker in this phase may go over to `next` by itself.
    pub(crate) fn may_become(self, next: Self) -> bool {
        match (self, next) {
            (same, other) if same == other => true,
            // Only running code can be cancelled.
            (from, Self::Cancelled) => from == Self::Running,
            // Only what has run can have a record out, or done and waiting for its commit.
            (from, Self::AckOutstanding) => !matches!(from, Self::Idle | Self::WaitingForPrevious | Self::Cancelled),
            (from, Self::AckedOutOfOrder) => from == Self::AckOutstanding,
            (from, Self::WaitingForCommit) => {
                matches!(from, Self::Running | Self::Producing | Self::Replying | Self::AckOutstanding)
            }
            // Only running code can fail; what a pause or a stall came upon goes on after it.
            (from, Self::RetrySleep | Self::Held) => {
                from.is_running()
                    || matches!(from, Self::Paused | Self::CommitStalled | Self::RetrySleep)
                    // A reply that will never do is a failure of its record.
                    || from == Self::Replying
                    // A record that came back without being acknowledged.
                    || matches!(from, Self::AckOutstanding | Self::AckedOutOfOrder)
            }
            // A start passes the queue: an idle worker has no record and a held one no leave. Cancelled code has a
            // slot, and its record's fate is not decided.
            (from, Self::Running) => !from.takes_decisions() && !matches!(from, Self::Idle | Self::Cancelled),
            (from, Self::DeadLetterWaiting | Self::RetryTopicWaiting) => from == Self::Producing,
            (from, Self::ReplyWaiting) => from == Self::Replying,
            _ => true,
        }
    }
}
