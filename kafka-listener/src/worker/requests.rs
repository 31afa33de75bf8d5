//! What an operator wants of a worker, and a worker of the poll loop.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::failure::ErrorClass;

/// An operator's decision about a held record, and where the answer goes.
#[derive(Debug)]
pub(crate) struct HeldDecision {
    pub(crate) action: HeldAction,
    pub(crate) answer: oneshot::Sender<HeldAnswer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldAction {
    Retry,
    /// Skip the record at this offset and no other.
    Skip {
        offset: i64,
    },
    /// Publish the record at this offset as a dead letter, and no other.
    DeadLetter {
        offset: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeldAnswer {
    Done {
        offset: i64,
    },
    NotHeld,
    /// The log cannot be read there: there is no record to publish.
    Unreadable {
        held: i64,
    },
    /// Another record is on hold by now.
    OtherRecord {
        held: i64,
    },
}

/// What only the poll loop can do for a worker.
#[derive(Debug)]
pub(crate) enum WorkerRequest {
    /// Read the partition again from this offset, in this epoch.
    ReadFrom(i64),
    /// Read on behind what cannot be read at this offset.
    SkipUnreadable { offset: i64 },
    /// The listener cannot go on: `on_failure = "stop"`.
    Fail { offset: i64, class: ErrorClass, error: Arc<str> },
}
