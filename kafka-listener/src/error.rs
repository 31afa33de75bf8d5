//! What can go wrong with listeners as a whole. Failures of records are `ListenerError`s and stay in the engine.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::config::ConfigError;
use crate::registry::ShutdownReport;

/// Why listeners did not start, did not do as they were told, or did not stop in order.
///
/// Its `Debug` is the same report as its `Display` with all causes, because that is what a `main` that returns it
/// prints.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration does not hold together. One report of all there is to say.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Listeners take states that the builder was not given, or one type was given twice.
    #[error("{0}")]
    State(String),
    /// There is nothing to run.
    #[error(
        "no listener to run: none is linked in and active{hint}; a library crate whose listeners nobody names is dropped \
         by the linker: `use that_crate as _;` or `.register(listener!(path))` keeps them"
    )]
    NoListeners {
        /// Why those that are linked in do not run.
        hint: String,
    },
    /// Called outside a tokio runtime.
    #[error("listeners need a tokio runtime: call `start` or `run` inside one, for example under `#[tokio::main]`")]
    NoRuntime,
    /// No container has this id.
    #[error("no container `{id}`; there are {known}")]
    UnknownContainer {
        /// The id asked for.
        id: String,
        /// The ids there are.
        known: String,
    },
    /// The container is started already.
    #[error("container `{listener}` is running already")]
    AlreadyRunning {
        /// The listener's id.
        listener: String,
    },
    /// The container is not started.
    #[error("container `{listener}` is not running; `start` it first")]
    NotRunning {
        /// The listener's id.
        listener: String,
    },
    /// A poll loop was held up; the wish stands and is carried out at its next turn.
    #[error("container `{listener}` has not answered yet; the call is carried out at its poll loop's next turn")]
    Unanswered {
        /// The listener's id.
        listener: String,
    },
    /// Not all consumers joined their groups in time. The listeners go on trying.
    #[error("not assigned within {waited:?}: {waiting}; is the broker reachable, and does the group rebalance?")]
    NotAssigned {
        /// How long was waited.
        waited: Duration,
        /// The listeners that were waited for.
        waiting: String,
    },
    /// A listener cannot go on.
    #[error("listener `{listener}` failed: {reason}")]
    Failed {
        /// The listener's id.
        listener: String,
        /// Why.
        reason: String,
    },
    /// The stop left something behind.
    #[error("not everything was drained and committed:\n{0}")]
    NotDrained(ShutdownReport),
    /// The system gave no thread for a poll loop.
    #[error("start a thread for listener `{listener}`")]
    Thread {
        /// The listener's id.
        listener: String,
        /// What the system says.
        source: io::Error,
    },
    /// A listener sends records, and the producer cannot be made.
    #[error("create the producer of `[kafka.producer]`: {reason}")]
    Producer {
        /// What librdkafka or the system said.
        reason: String,
    },
    /// The process cannot wait for signals.
    #[error("listen to the signals of the process")]
    Signal(#[source] io::Error),
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut source = std::error::Error::source(self);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}
