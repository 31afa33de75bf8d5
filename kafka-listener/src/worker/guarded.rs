//! Futures of user code, whose panics must not get through: neither from a poll nor from a destructor.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a panic carries.
pub(super) type Panic = Box<dyn Any + Send>;

/// A future that is polled and dropped without letting a panic through, also when it is cancelled.
pub(super) struct Guarded<'f, T>(Option<Pin<Box<dyn Future<Output = T> + Send + 'f>>>);

impl<'f, T> Guarded<'f, T> {
    pub(super) fn new(future: Pin<Box<dyn Future<Output = T> + Send + 'f>>) -> Self {
        Self(Some(future))
    }

    /// Polls the future; not to be called again once it was ready or discarded.
    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<Result<T, Panic>> {
        let Some(future) = self.0.as_mut() else { return Poll::Pending };
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(task))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }

    pub(super) fn discard(&mut self) -> Result<(), Panic> {
        let future = self.0.take();
        catch_unwind(AssertUnwindSafe(|| drop(future)))
    }
}

impl<T> Drop for Guarded<'_, T> {
    fn drop(&mut self) {
        if self.discard().is_err() {
            tracing::error!("a destructor panicked while a cancelled handler was dropped");
        }
    }
}

/// The text of a panic, where it has one.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(the panic carries no text)")
}
