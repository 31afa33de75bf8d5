//! Layers around the handlers: code of the user's that sees each record before its handler and each outcome after it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::definition::Handler;
use crate::failure::ListenerError;
use crate::record::RecordContext;

/// A layer around handlers; given to the builder by `.interceptor(…)` for all listeners, or by `.interceptor_for(id, …)`
/// for one. Those for all are the outer ones, each kind in the order of registration.
///
/// It runs where the handler runs, in its slot, within `handler_timeout` and for every attempt, around decoding,
/// extractors and the handler itself. Not calling [`Next::run`] passes the record over: `Ok` means that it is done. What it
/// returns is the outcome; a panic is one of the handler. Without interceptors there is no cost.
///
/// ```
/// use kafka_listener::interceptor::{Interceptor, Next};
/// use kafka_listener::{ListenerError, RecordContext};
///
/// /// Counts what fails.
/// struct CountFailures(std::sync::atomic::AtomicU64);
///
/// #[async_trait::async_trait]
/// impl Interceptor for CountFailures {
///     async fn intercept(&self, record: RecordContext<'_>, next: Next<'_>) -> Result<(), ListenerError> {
///         let outcome = next.run(record).await;
///         if outcome.is_err() {
///             self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
///         }
///         outcome
///     }
/// }
/// ```
#[async_trait]
pub trait Interceptor: Send + Sync + 'static {
    /// Sees one delivery through.
    ///
    /// # Errors
    ///
    /// What the handler failed with, or a failure of its own.
    async fn intercept(&self, record: RecordContext<'_>, next: Next<'_>) -> Result<(), ListenerError>;
}

/// What an interceptor is around: the interceptors within, and the handler.
#[derive(Clone, Copy)]
pub struct Next<'n> {
    inner: &'n [Arc<dyn Interceptor>],
    handler: &'n dyn Call,
}

impl Next<'_> {
    /// Goes on to what is within. Calling it again delivers the record to the handler again.
    ///
    /// # Errors
    ///
    /// What the handler, or an interceptor within, failed with.
    pub async fn run(self, record: RecordContext<'_>) -> Result<(), ListenerError> {
        match self.inner.split_first() {
            Some((first, inner)) => first.intercept(record, Next { inner, handler: self.handler }).await,
            None => self.handler.call_boxed(record).await,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("interceptors", &self.inner.len()).finish_non_exhaustive()
    }
}

/// A handler without its type.
pub(crate) trait Call: Send + Sync {
    fn call_boxed<'r>(
        &'r self,
        record: RecordContext<'r>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ListenerError>> + Send + 'r>>;
}

impl<H: Handler> Call for H {
    fn call_boxed<'r>(
        &'r self,
        record: RecordContext<'r>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ListenerError>> + Send + 'r>> {
        Box::pin(self.call(record))
    }
}

/// The interceptors of one listener, the outermost first.
#[derive(Clone, Default)]
pub(crate) struct Interceptors(Vec<Arc<dyn Interceptor>>);

impl Interceptors {
    pub(crate) fn new(interceptors: Vec<Arc<dyn Interceptor>>) -> Self {
        Self(interceptors)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls the handler within all of them.
    pub(crate) async fn around(&self, handler: &dyn Call, record: RecordContext<'_>) -> Result<(), ListenerError> {
        Next { inner: &self.0, handler }.run(record).await
    }
}

impl fmt::Debug for Interceptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interceptors").field(&self.0.len()).finish()
    }
}
