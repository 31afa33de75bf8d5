//! What a partition's worker is doing, and what interrupts what: one table for the engine, status, events and logs.

#[cfg(test)]
mod machine;

use std::fmt;

use serde::Serialize;

#[cfg(test)]
pub(crate) use machine::{Lifecycle, PartitionMachine};

/// What the worker of a partition is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Phase {
    /// It has caught up: nothing is handed over.
    Idle,
    /// Records are handed over and their turn comes.
    Queued,
    /// The code that owned the partition before has not ended: in another consumer, or in a restarted container.
    WaitingForPrevious,
    /// All slots of `concurrency` are taken.
    WaitingForSlot,
    /// The handler runs.
    Running,
    /// The handler was cancelled and has not ended: blocking code cannot be interrupted.
    Cancelled,
    /// The record failed and is tried again after its backoff.
    RetrySleep,
    /// The record lies in a retry topic, and its time has not come.
    WaitingUntilDue,
    /// The record will not be tried again by itself: `on_failure = "hold"`.
    Held,
    /// A dead letter, or a record for a retry topic, is on its way to the broker.
    Producing,
    /// The broker did not take the record's dead letter: it is tried again, for ever, or an operator decides.
    DeadLetterWaiting,
    /// The broker did not take the record for its retry topic: it is tried again, for ever, or an operator decides.
    RetryTopicWaiting,
    /// What the handler returned is on its way to the broker: `send_to`.
    Replying,
    /// The broker did not take the reply: it is tried again, for ever, or an operator decides.
    ReplyWaiting,
    /// Paused by the container's `pause`.
    Paused,
    /// `sync_commits`: the record is done and the broker has not acknowledged its commit yet.
    WaitingForCommit,
    /// The handler has returned, and the record's `Acknowledgment` is still out.
    AckOutstanding,
    /// `async_acks`: the window of records that are handed out is full, and the oldest of them is not acknowledged.
    AckedOutOfOrder,
    /// `ack_mode = "at_most_once"`: the record's offset is being committed, and its handler starts when it is.
    AtMostOnceCommit,
    /// The process was away for long: nothing starts until the group confirms the membership.
    WaitingForMembership,
    /// Commits have not got through for `max_commit_delay`: nothing is fed until they do.
    CommitStalled,
}

impl Phase {
    /// All phases, in the order in which a record meets them.
    pub(crate) const ALL: [Self; 21] = [
        Self::Idle,
        Self::Queued,
        Self::WaitingForPrevious,
        Self::WaitingForSlot,
        Self::Running,
        Self::Cancelled,
        Self::RetrySleep,
        Self::WaitingUntilDue,
        Self::Held,
        Self::Producing,
        Self::DeadLetterWaiting,
        Self::RetryTopicWaiting,
        Self::Replying,
        Self::ReplyWaiting,
        Self::Paused,
        Self::WaitingForCommit,
        Self::AckOutstanding,
        Self::AckedOutOfOrder,
        Self::AtMostOnceCommit,
        Self::WaitingForMembership,
        Self::CommitStalled,
    ];

    /// The phase whose discriminant this is.
    pub(crate) fn from_u8(raw: u8) -> Self {
        Self::ALL.get(usize::from(raw)).copied().unwrap_or(Self::Idle)
    }

    /// Whether an operator may decide about the record that the worker is at.
    pub(crate) fn takes_decisions(self) -> bool {
        matches!(self, Self::Held | Self::DeadLetterWaiting | Self::RetryTopicWaiting | Self::ReplyWaiting)
    }

    /// Whether user code runs.
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running | Self::Cancelled)
    }

    /// Whether the worker waits for something and no user code runs.
    pub fn is_waiting(self) -> bool {
        !self.is_running()
    }

    /// Whether being in this phase for longer than `max_poll_interval` means stuck. Waiting is never stuck.
    pub fn counts_as_stuck(self) -> bool {
        self.is_running()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "idle",
            Self::Queued => "queued",
            Self::WaitingForPrevious => "waiting for previous owner",
            Self::WaitingForSlot => "waiting for slot",
            Self::Running => "running",
            Self::Cancelled => "cancelled, still running",
            Self::RetrySleep => "waiting for retry",
            Self::WaitingUntilDue => "waiting until due",
            Self::Held => "held",
            Self::Producing => "producing",
            Self::DeadLetterWaiting => "dead letter waiting",
            Self::RetryTopicWaiting => "retry waiting",
            Self::Replying => "replying",
            Self::ReplyWaiting => "reply waiting",
            Self::Paused => "paused",
            Self::WaitingForCommit => "waiting for commit",
            Self::AckOutstanding => "waiting for acknowledgement",
            Self::AckedOutOfOrder => "acknowledged out of order",
            Self::AtMostOnceCommit => "at-most-once commit",
            Self::WaitingForMembership => "waiting for membership",
            Self::CommitStalled => "commits stalled",
        })
    }
}

/// What can come between a worker and its work.
#[cfg_attr(not(test), expect(dead_code, reason = "columns of features that come later"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Interrupt {
    /// The group takes the partition away and waits for us.
    Revoke,
    /// The membership is over; somebody else may own the partition already.
    Lost,
    /// The container stops, within its budget.
    Stop,
    /// The operator asked twice: nothing is waited for.
    SecondSignal,
    /// The position changes: a new epoch begins.
    Seek,
    /// The container pauses.
    Pause,
    /// `handler_timeout` passed.
    HandlerTimeout,
    /// The client failed for good and brings no revoke.
    Fatal,
}

impl Interrupt {
    /// All interrupts, in the order of the specification's columns.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 8] = [
        Self::Revoke,
        Self::Lost,
        Self::Stop,
        Self::SecondSignal,
        Self::Seek,
        Self::Pause,
        Self::HandlerTimeout,
        Self::Fatal,
    ];

    /// Whether it ends the worker's epoch.
    pub(crate) fn ends_epoch(self) -> bool {
        !matches!(self, Self::Pause | Self::HandlerTimeout)
    }
}

/// What an interrupt does to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reaction {
    /// The unit ends here and now, and counts as drained. Nothing of it was done twice.
    LeaveNow,
    /// The running unit is waited for until the deadline, then cancelled.
    FinishFirst,
    /// The future is dropped. Slot and ownership stay taken until its code has really ended.
    Cancel,
    /// Nobody waits for it; its result is void. Slot and ownership stay taken until its code has really ended.
    LeaveBehind,
    /// Nothing new starts until `resume`; what was waited for is not forgotten.
    Park,
    /// It goes on as if nothing had happened.
    Unaffected,
}

/// The phases that every interrupt treats alike.
enum Row {
    /// For records, a turn, a slot, a timer, the broker or the group.
    Waits,
    /// Waits for an operator.
    Parked,
    Runs,
    Cancelled,
    /// The broker is being told of the record: that it is behind us, before it is, or what was replied to it.
    EndsFirst,
}

impl Phase {
    fn row(self) -> Row {
        match self {
            Self::Idle
            | Self::Queued
            | Self::WaitingForPrevious
            | Self::WaitingForSlot
            | Self::RetrySleep
            | Self::WaitingUntilDue
            | Self::Producing
            | Self::WaitingForCommit
            | Self::AckOutstanding
            | Self::AckedOutOfOrder
            | Self::WaitingForMembership
            | Self::CommitStalled => Row::Waits,
            Self::Held | Self::DeadLetterWaiting | Self::RetryTopicWaiting | Self::ReplyWaiting | Self::Paused => {
                Row::Parked
            }
            Self::Running => Row::Runs,
            Self::Cancelled => Row::Cancelled,
            Self::AtMostOnceCommit | Self::Replying => Row::EndsFirst,
        }
    }

    /// What `interrupt` does to a worker in this phase. This table is the specification.
    pub(crate) fn on(self, interrupt: Interrupt) -> Reaction {
        use Interrupt::{Fatal, HandlerTimeout, Lost, Pause, Revoke, SecondSignal, Seek, Stop};
        use Reaction::{Cancel, FinishFirst, LeaveBehind, LeaveNow, Park, Unaffected};
        match (self.row(), interrupt) {
            // Running code is waited for where there is time, and cancelled where there is none. A record that is
            // committed before it is handled is lost if it is then left, and one that is being replied to is handled and
            // replied to again: where there is time, its unit ends first.
            (Row::Runs | Row::EndsFirst, Revoke | Stop | Seek | Pause) => FinishFirst,
            (Row::Runs, Lost | SecondSignal | HandlerTimeout | Fatal) => Cancel,

            // What was cancelled already has no result to wait for.
            (Row::Cancelled, Revoke | Lost | Stop | SecondSignal | Seek | Fatal) => LeaveBehind,

            // Whatever waits leaves at once. It holds no slot; its record is not done and will be read again. Only a
            // record that waits for its commit is done: the final commit covers it. Acknowledgements out in the wild are
            // not waited for, unless `ack_drain` gives them time.
            (Row::Waits | Row::Parked, Revoke | Stop | Seek)
            | (Row::Waits | Row::Parked | Row::EndsFirst, Lost | SecondSignal | Fatal) => LeaveNow,

            // A pause lets the timers and answers that are waited for come, and starts nothing after them.
            (Row::Waits, Pause) => Park,

            // A held record stays held. Only running code can time out.
            (Row::Parked | Row::Cancelled, Pause | HandlerTimeout) | (Row::Waits | Row::EndsFirst, HandlerTimeout) => {
                Unaffected
            }
        }
    }
}

#[cfg(test)]
mod tests;
