//! `handler_timeout`: one timer per worker, armed only while a handler awaits.
//!
//! A handler that finishes at once costs no timer. One that awaits finds the timer of an earlier record still armed and
//! leaves it: it fires too early at most once per timeout and is then set to what is left.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant as TokioInstant, Sleep, sleep};

use crate::clock::Instant;
use crate::failure::{ErrorClass, ListenerError};

/// The timer of one worker. Its lock is taken by the worker's task alone, while a handler awaits.
#[derive(Debug)]
pub(crate) struct HandlerTimer {
    limit: Duration,
    sleep: Mutex<Option<Pin<Box<Sleep>>>>,
}

impl HandlerTimer {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, sleep: Mutex::new(None) }
    }

    /// Ready when the handler that began at `began` has had its time; else its task is woken by then.
    pub(crate) fn poll_expired(&self, began: Instant, task: &mut Context<'_>) -> Poll<()> {
        let mut sleep_slot = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        let left = || self.limit.saturating_sub(Instant::now().saturating_since(began));
        let armed = sleep_slot.get_or_insert_with(|| Box::pin(sleep(left())));
        while armed.as_mut().poll(task).is_ready() {
            let left = left();
            if left.is_zero() {
                return Poll::Ready(());
            }
            armed.as_mut().reset(TokioInstant::now() + left);
        }
        Poll::Pending
    }

    /// The failure of a handler that has had its time.
    pub(crate) fn expired(&self) -> ListenerError {
        let text = format!("the handler took longer than `handler_timeout` of {:?}", self.limit);
        ListenerError::of_class(text, ErrorClass::Timeout, true)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn a_timer_that_was_armed_for_an_earlier_record_gives_a_later_one_its_whole_time() {
        let timer = HandlerTimer::new(LIMIT);
        let first = Instant::now();
        assert!(poll_fn(|task| Poll::Ready(timer.poll_expired(first, task))).await.is_pending());
        // The first record is done after half of its time; the timer stays armed.
        sleep(LIMIT / 2).await;
        let second = Instant::now();
        poll_fn(|task| timer.poll_expired(second, task)).await;
        let took = Instant::now().saturating_since(second);
        assert!(took >= LIMIT, "{took:?}");

        // And an expired one serves the next record.
        let third = Instant::now();
        assert!(poll_fn(|task| Poll::Ready(timer.poll_expired(third, task))).await.is_pending());
        poll_fn(|task| timer.poll_expired(third, task)).await;
        let took = Instant::now().saturating_since(third);
        assert!(took >= LIMIT, "{took:?}");
    }

    #[test]
    fn what_took_too_long_is_tried_again_as_a_timeout() {
        let error = HandlerTimer::new(LIMIT).expired();
        assert_eq!((error.class(), error.is_retryable()), (&ErrorClass::Timeout, true));
        assert_eq!(error.source().to_string(), "the handler took longer than `handler_timeout` of 500ms");
    }
}
