//! How a worker publishes a record because of the one that it is at: until the broker has it, or somebody decides
//! otherwise. Dead letters, records for retry topics and replies all go this way.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::control::gate;
use super::failed::{Held, random_share};
use super::{WorkerContext, stopped};
use crate::clock::Instant;
use crate::config::RetrySettings;
use crate::forward::Unpublished;
use crate::phase::{Interrupt, Phase, Reaction};
use crate::producer::SendResult;
use crate::retry::backoff;

/// How soon a record is published again that the broker did not take; for ever.
const PUBLISH_AGAIN: RetrySettings = RetrySettings {
    attempts: None,
    delay: Duration::from_millis(200),
    multiplier: 2.0,
    max_delay: Duration::from_secs(30),
    jitter: 0.2,
    max_elapsed: None,
};

/// A record to be published because of another one.
pub(super) trait Publication: Send {
    /// What it is called in logs and in `status()`.
    fn name(&self) -> &'static str;

    /// What the partition does while it is on its way. Where a drain waits for that, it is let come to its end.
    fn on_its_way(&self) -> Phase;

    /// What the partition does while the broker does not take it.
    fn waiting(&self) -> Phase;

    /// One attempt. The record may be stored although the future is dropped.
    fn publish(&mut self) -> impl Future<Output = Result<SendResult, Unpublished>> + Send;

    /// Counts an attempt that failed.
    fn count_failure(&self, reason: &'static str);

    /// Whether publishing it again is of no use, or not allowed.
    fn is_given_up(&self, unpublished: &Unpublished) -> bool;
}

/// What became of it.
pub(super) enum Published {
    /// The broker has acknowledged it.
    Stored(SendResult),
    /// It will not be tried again.
    GivenUp(Unpublished),
    /// An operator decided about the record that it is published for, as the broker does not take it.
    Decided(Held, Unpublished),
    /// The worker has to leave. It may be stored all the same.
    Leave,
}

impl WorkerContext {
    /// Publishes it for the record at `offset`, at its delivery `attempt`. The partition waits meanwhile: loudly, and open
    /// to an operator's decision.
    pub(super) async fn until_taken(&self, publication: &mut impl Publication, offset: i64, attempt: u32) -> Published {
        let published = self.try_until_taken(publication, offset, attempt).await;
        self.control.is_unpublished.store(false, Ordering::Relaxed);
        published
    }

    async fn try_until_taken(&self, publication: &mut impl Publication, offset: i64, attempt: u32) -> Published {
        let control = &self.control;
        let finishes = publication.on_its_way().on(Interrupt::Stop) == Reaction::FinishFirst;
        let mut tries = 0_u32;
        loop {
            if !self.may_publish(finishes).await {
                return Published::Leave;
            }
            control.at(offset);
            control.enter(publication.on_its_way());
            control.publishes(offset);
            let published = tokio::select! {
                biased;
                () = control.cancelled() => return Published::Leave,
                () = stopped(control), if !finishes => return Published::Leave,
                published = publication.publish() => published,
            };
            let unpublished = match published {
                Ok(stored) => return Published::Stored(stored),
                Err(unpublished) if publication.is_given_up(&unpublished) => return Published::GivenUp(unpublished),
                Err(unpublished) => unpublished,
            };
            let delay = backoff(tries, &PUBLISH_AGAIN, random_share(offset, tries));
            tries = tries.saturating_add(1);
            control.is_unpublished.store(true, Ordering::Relaxed);
            publication.count_failure(unpublished.reason());
            self.log_unpublished(publication.name(), offset, &unpublished, delay);
            control.set_attempt(attempt, Some(format!("{} waiting: {unpublished}", publication.name()).into()));
            match self.hold_for(offset, delay, publication.waiting()).await {
                None => {}
                Some(Held::Leave) => return Published::Leave,
                Some(held) => return Published::Decided(held, unpublished),
            }
        }
    }

    /// Waits until the group is known to count us in: who has been away for long may not own the partition any more.
    /// `false`: the worker has to leave.
    async fn may_publish(&self, finishes: bool) -> bool {
        /// The poll loop nudges when it is known; this bounds a missed nudge.
        const RECHECK: Duration = Duration::from_millis(50);
        loop {
            let leaves = self.control.gates() & gate::STOP != 0;
            if self.membership.is_trusted(Instant::now()) {
                return finishes || !leaves;
            }
            if leaves {
                return false;
            }
            self.control.enter(Phase::WaitingForMembership);
            drop(tokio::time::timeout(RECHECK, self.control.changed()).await);
        }
    }

    fn log_unpublished(&self, name: &str, offset: i64, error: &Unpublished, retry_in: Duration) {
        tracing::error!(
            listener = %self.listener.id, topic = self.control.topic_partition.topic(),
            partition = self.control.topic_partition.partition(), offset, %error, ?retry_in,
            "{name} waiting: the partition stands still until the broker takes it; `skip_held` goes past the record",
        );
    }
}
