//! `Acknowledgment`: the listener says itself when its record is done.
//!
//! It may leave the handler and outlive everything: what comes too late says so.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::FromRecord;
use crate::offset_tracker::{DeliveryId, Settlement};
use crate::record::RecordContext;
use crate::worker::{ManualAcks, PartitionControl};

/// Says that the record is done, or that it is not yet. A listener takes it with `ack_mode = "manual"` or
/// `"manual_immediate"`, and with no other mode.
///
/// It is `Send` and owned: it may be moved to a task, a queue or another thread, and be used long after the handler has
/// returned. Until then the partition's next record waits, without a slot; with `async_acks = true` it does not, and the
/// committed offset stays at the oldest record that is not acknowledged.
///
/// One that is dropped unused is a failed delivery: the record is tried again, as the listener's `retry` and
/// `on_failure` say. Where the handler returns an error or panics, that counts, and an acknowledgement that is still out
/// comes too late; one that was given before stands.
///
/// ```
/// use kafka_listener::extract::Acknowledgment;
///
/// # #[derive(serde::Deserialize)] struct Order { order_id: String }
/// # async fn send_mail(_: &str) -> bool { true }
/// # #[cfg(all(feature = "macros", feature = "json"))]
/// #[kafka_listener::kafka_listener(topic = "orders", group_id = "notification-service", ack_mode = "manual")]
/// async fn notify_customer(order: Order, ack: Acknowledgment) {
///     if send_mail(&order.order_id).await {
///         ack.acknowledge();
///     } else {
///         ack.nack(std::time::Duration::from_secs(10));
///     }
/// }
/// ```
#[must_use = "an acknowledgment that is dropped unused is a failed delivery"]
pub struct Acknowledgment {
    /// `None`: used.
    out: Option<Out>,
}

/// What it is good for.
#[derive(Debug)]
struct Out {
    control: Arc<PartitionControl>,
    offset: i64,
    delivery: DeliveryId,
    acks: ManualAcks,
}

impl Acknowledgment {
    /// Says that the record is done.
    ///
    /// It counts at once, and [`AckReceipt::outcome`] says whether it came in time. Its commit follows: with
    /// `ack_mode = "manual"` at the next `commit_interval`, with `"manual_immediate"` now. To wait for the broker's
    /// answer, await the receipt.
    pub fn acknowledge(mut self) -> AckReceipt {
        match self.out.take() {
            Some(out) if out.settle(Settlement::Acknowledged) => {
                AckReceipt { outcome: AckOutcome::Acknowledged, out: Some(out) }
            }
            _ => AckReceipt { outcome: AckOutcome::Superseded, out: None },
        }
    }

    /// Asks for the record to be delivered again after `delay`, not before the handler has returned. That is no failure:
    /// it uses up none of `retry.attempts`. The partition waits; with `async_acks = true` the records behind go on.
    pub fn nack(mut self, delay: Duration) -> AckOutcome {
        match self.out.take() {
            Some(out) if out.settle(Settlement::NotYet(delay)) => AckOutcome::Returned,
            _ => AckOutcome::Superseded,
        }
    }
}

impl Out {
    fn settle(&self, settlement: Settlement) -> bool {
        self.control.settle(self.offset, self.delivery, settlement, self.acks)
    }
}

impl Drop for Acknowledgment {
    fn drop(&mut self) {
        if let Some(out) = self.out.take() {
            out.settle(Settlement::Dropped);
        }
    }
}

impl fmt::Debug for Acknowledgment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.out {
            Some(out) => write!(f, "Acknowledgment({}@{})", out.control.topic_partition, out.offset),
            None => f.write_str("Acknowledgment(used)"),
        }
    }
}

#[diagnostic::do_not_recommend]
impl FromRecord for Acknowledgment {
    type Rejection = NotAcknowledged;

    const READS_HEADERS: bool = false;
    const TAKES_ACKNOWLEDGMENT: bool = true;

    fn from_record(record: RecordContext<'_>) -> Result<Self, NotAcknowledged> {
        let slot = record.take_ack().ok_or(NotAcknowledged(()))?;
        let out = Out {
            control: Arc::clone(slot.control),
            offset: record.offset(),
            delivery: slot.delivery,
            acks: slot.acks,
        };
        Ok(Self { out: Some(out) })
    }
}

/// An extractor asked for an [`Acknowledgment`] and had not declared it by [`FromRecord::TAKES_ACKNOWLEDGMENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this listener's `ack_mode` has no acknowledgments")]
pub struct NotAcknowledged(());

/// What became of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AckOutcome {
    /// It came in time: the record is done, and its commit follows.
    Acknowledged,
    /// The broker has committed the record.
    Committed,
    /// `nack` came in time: the record is delivered again.
    Returned,
    /// It came too late and changed nothing: the partition was revoked or lost, its position was moved, the container
    /// stopped, the handler had failed, or the record is being delivered again. Somebody handles it again, or has.
    Superseded,
    /// It came in time, and the partition went before the broker's answer was known: the record is committed, or will be
    /// handled again.
    Unknown,
}

/// Tells what became of [`Acknowledgment::acknowledge`]: whether it came in time at once, and the broker's answer when
/// awaited.
///
/// Awaiting it ends with [`AckOutcome::Committed`] when the broker has committed the record, and with
/// [`AckOutcome::Unknown`] when the partition goes before that. A commit that fails is sent again, so this may take as
/// long as the broker is away. Where `async_acks` leaves an older record open, it takes until that is acknowledged too;
/// where that one came back, by `nack`, dropped or failed, it ends with [`AckOutcome::Acknowledged`] and the commit
/// follows when the older record is done.
///
/// # Cancel safety
/// The acknowledgement has been given already; dropping the receipt or its future changes nothing.
#[derive(Debug)]
pub struct AckReceipt {
    outcome: AckOutcome,
    /// Present where there is an answer to wait for.
    out: Option<Out>,
}

impl AckReceipt {
    /// [`AckOutcome::Acknowledged`] or [`AckOutcome::Superseded`], without waiting for anything.
    pub fn outcome(&self) -> AckOutcome {
        self.outcome
    }
}

impl IntoFuture for AckReceipt {
    type Output = AckOutcome;
    type IntoFuture = Pin<Box<dyn Future<Output = AckOutcome> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.out {
                Some(out) => out.control.answer_behind(out.offset).await,
                None => self.outcome,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_send<T: Send + 'static>() {}

    #[test]
    fn it_may_leave_the_handler() {
        is_send::<Acknowledgment>();
        is_send::<AckReceipt>();
        is_send::<<AckReceipt as IntoFuture>::IntoFuture>();
    }
}
