//! Code of the user's that decides about failed deliveries, where settings do not suffice.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::config::OnFailure;
use crate::extract::{Attempt, RecordMetadata};
use crate::failure::ListenerError;
use crate::retry::Decision;

/// What is to become of a record whose delivery failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureAction {
    /// What the next error handler says, and behind the last one what `retry` and `on_failure` say.
    Default,
    /// Deliver it again after this long, whatever the limits of attempts and time are.
    RetryAfter(Duration),
    /// Put it off to the next retry topic; where there is none, what `on_failure` says.
    PutOff,
    /// Park the partition at the record until an operator decides.
    Hold,
    /// Publish the record as a dead letter; it counts as done when the broker has acknowledged that.
    DeadLetter,
    /// Go on behind the record, which then counts as done.
    Skip,
    /// End the container.
    Stop,
}

impl FailureAction {
    /// `None`: the handler leaves it to others.
    pub(crate) fn decision(self) -> Option<Decision> {
        Some(match self {
            Self::Default => return None,
            Self::RetryAfter(delay) => Decision::RetryAfter(delay),
            Self::PutOff => Decision::PutOff,
            Self::Hold => Decision::Exhausted(OnFailure::Hold),
            Self::DeadLetter => Decision::Exhausted(OnFailure::DeadLetter),
            Self::Skip => Decision::Exhausted(OnFailure::Skip),
            Self::Stop => Decision::Exhausted(OnFailure::Stop),
        })
    }

    fn of(decision: Decision) -> Self {
        match decision {
            Decision::RetryAfter(delay) => Self::RetryAfter(delay),
            Decision::PutOff => Self::PutOff,
            Decision::Exhausted(OnFailure::Hold) => Self::Hold,
            Decision::Exhausted(OnFailure::DeadLetter) => Self::DeadLetter,
            Decision::Exhausted(OnFailure::Skip) => Self::Skip,
            Decision::Exhausted(OnFailure::Stop) => Self::Stop,
        }
    }
}

/// One failed delivery, as an [`ErrorHandler`] sees it.
#[derive(Clone, Copy, Debug)]
pub struct FailedDelivery<'f> {
    metadata: &'f RecordMetadata,
    error: &'f ListenerError,
    attempt: Attempt,
    default: Decision,
}

impl<'f> FailedDelivery<'f> {
    pub(crate) fn new(
        metadata: &'f RecordMetadata,
        error: &'f ListenerError,
        attempt: Attempt,
        default: Decision,
    ) -> Self {
        Self { metadata, error, attempt, default }
    }

    /// Which record failed, and in which listener.
    pub fn metadata(&self) -> &'f RecordMetadata {
        self.metadata
    }

    /// The failure: its error, its class, and whether trying again may help.
    pub fn error(&self) -> &'f ListenerError {
        self.error
    }

    /// Which delivery failed.
    pub fn attempt(&self) -> Attempt {
        self.attempt
    }

    /// What [`FailureAction::Default`] comes to unless another handler has its say: what `retry` and `on_failure` say.
    pub fn default_action(&self) -> FailureAction {
        FailureAction::of(self.default)
    }
}

/// Decides what becomes of records whose delivery failed; given to the builder by `.error_handler(…)` for all listeners,
/// or by `.error_handler_for(id, …)` for one. A listener's own handlers are asked before those for all, each kind in the
/// order of registration, until one says something else than [`FailureAction::Default`].
///
/// It is called in the partition's worker after every failed delivery, decode errors and panics included, and holds no
/// slot of `concurrency`. The partition waits for it; a revocation and a stop wait as for a running handler and then
/// cancel it, and the record is delivered again. It has `handler_timeout`, where that is set. When it panics or takes
/// longer, the settings decide, and the log says so.
///
/// ```
/// use kafka_listener::error_handler::{ErrorHandler, FailedDelivery, FailureAction};
///
/// /// Gives up on orders that are too old to matter.
/// struct GiveUpOnOld;
///
/// #[async_trait::async_trait]
/// impl ErrorHandler for GiveUpOnOld {
///     async fn on_failure(&self, failure: FailedDelivery<'_>) -> FailureAction {
///         let sent = failure.metadata().timestamp().to_system_time();
///         match sent.and_then(|sent| sent.elapsed().ok()) {
///             Some(age) if age.as_secs() > 3600 => FailureAction::Skip,
///             _ => FailureAction::Default,
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait ErrorHandler: Send + Sync + 'static {
    /// Decides about one failed delivery.
    async fn on_failure(&self, failure: FailedDelivery<'_>) -> FailureAction;
}

/// The error handlers of one listener, in the order in which they are asked.
#[derive(Clone, Default)]
pub(crate) struct ErrorHandlers(Vec<Arc<dyn ErrorHandler>>);

impl ErrorHandlers {
    pub(crate) fn new(handlers: Vec<Arc<dyn ErrorHandler>>) -> Self {
        Self(handlers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Asks one after the other.
    pub(crate) async fn on_failure(&self, failure: FailedDelivery<'_>) -> FailureAction {
        for handler in &self.0 {
            match handler.on_failure(failure).await {
                FailureAction::Default => {}
                action => return action,
            }
        }
        FailureAction::Default
    }
}

impl fmt::Debug for ErrorHandlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ErrorHandlers").field(&self.0.len()).finish()
    }
}
