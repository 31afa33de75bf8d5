//! What a stop came to, listener by listener.

use std::fmt;
use std::sync::Arc;

use crate::container::{Consumer, ConsumerPhase};
use crate::error::Error;

/// What the stop of all listeners came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// One entry per listener, sorted by id.
    pub listeners: Vec<ListenerReport>,
    /// Records given to a [`Producer`](crate::Producer) that the broker had not acknowledged when the time was up.
    pub unsent: usize,
}

/// What the stop of one listener came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerReport {
    /// The listener's id.
    pub id: String,
    /// What became of it.
    pub outcome: Outcome,
}

/// How a listener ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Everything that was started is finished, everything finished is committed, the group was left.
    Drained,
    /// It had read to the end and everything was done: `until = "end"`. What was finished is committed where it commits.
    Completed,
    /// Something is left; a line each says what and why. Records named here may be handled twice, none is lost.
    Left(Vec<String>),
    /// The listener had failed before.
    Failed(String),
    /// It was never started.
    NotStarted,
}

impl ShutdownReport {
    pub(crate) fn new(mut listeners: Vec<ListenerReport>) -> Self {
        listeners.sort_by(|one, other| one.id.cmp(&other.id));
        Self { listeners, unsent: 0 }
    }

    /// Whether every listener was drained and every record that was sent has its answer.
    pub fn is_drained(&self) -> bool {
        self.unsent == 0
            && self
                .listeners
                .iter()
                .all(|listener| matches!(listener.outcome, Outcome::Drained | Outcome::Completed | Outcome::NotStarted))
    }

    /// Turns a stop that left something into an error, so that `main` can end with it.
    ///
    /// # Errors
    ///
    /// [`Error::Failed`] when a listener had failed, else [`Error::NotDrained`] when something was left.
    pub fn into_result(self) -> Result<(), Error> {
        let failed = self.listeners.iter().find_map(|listener| match &listener.outcome {
            Outcome::Failed(reason) => Some((listener.id.clone(), reason.clone())),
            _ => None,
        });
        match failed {
            Some((listener, reason)) => Err(Error::Failed { listener, reason }),
            None if self.is_drained() => Ok(()),
            None => Err(Error::NotDrained(self)),
        }
    }
}

impl fmt::Display for ShutdownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, listener) in self.listeners.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{listener}")?;
        }
        if self.unsent > 0 {
            write!(f, "\n{} records that were sent are not acknowledged and may not be stored", self.unsent)?;
        }
        Ok(())
    }
}

impl fmt::Display for ListenerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Drained => write!(f, "`{}`: drained", self.id),
            Outcome::Completed => write!(f, "`{}`: completed", self.id),
            Outcome::NotStarted => write!(f, "`{}`: was not started", self.id),
            Outcome::Failed(reason) => write!(f, "`{}`: failed: {reason}", self.id),
            Outcome::Left(left) => write!(f, "`{}`: {}", self.id, left.join("; ")),
        }
    }
}

impl ListenerReport {
    pub(crate) fn of(id: &str, failure: Option<String>, consumers: &[Arc<Consumer>]) -> Self {
        let states: Vec<_> = consumers.iter().map(|consumer| consumer.state()).collect();
        let mut left = Vec::new();
        for (consumer, state) in consumers.iter().zip(&states) {
            let Some(ending) = &state.ending else {
                if state.phase != ConsumerPhase::Ended {
                    left.push(format!("consumer {} has not ended within its deadline", consumer.index));
                }
                continue;
            };
            left.extend(ending.cancelled.iter().map(|(topic_partition, offset)| match offset {
                Some(offset) => format!("record `{topic_partition}@{offset}` was still running and was cancelled"),
                None => format!("the worker of `{topic_partition}` was cancelled"),
            }));
            left.extend(ending.uncommitted.iter().map(|(topic_partition, why)| {
                format!("the last commit of `{topic_partition}` is not certain ({why})")
            }));
            if !ending.left_group {
                left.push(format!("consumer {} has not left the group in time", consumer.index));
            }
        }
        let outcome = match failure {
            Some(reason) => Outcome::Failed(reason),
            None if consumers.is_empty() => Outcome::NotStarted,
            None if left.is_empty() && states.iter().all(|state| state.completed) => Outcome::Completed,
            None if left.is_empty() => Outcome::Drained,
            None => Outcome::Left(left),
        };
        Self { id: id.to_owned(), outcome }
    }
}
