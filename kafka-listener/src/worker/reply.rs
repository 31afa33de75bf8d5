//! How a worker publishes what a listener returned: the record is done when the broker has every reply to it.
//!
//! No slot is held here. A drain waits for a reply on its way, so that an orderly stop repeats none.

use super::elsewhere::Destination;
use super::failed::{Held, Next};
use super::publication::{Publication, Published};
use super::{Settling, WorkerContext};
use crate::failure::{ErrorClass, ListenerError};
use crate::forward::Unpublished;
use crate::phase::Phase;
use crate::producer::{SendError, SendResult};
use crate::record::{HeaderIter, RawRecord, RecordBatch};
use crate::reply::{Replies, Reply, Route, is_fault_of_the_record};
use crate::retry::RetryState;

/// One reply on its way.
struct Sending<'s> {
    context: &'s WorkerContext,
    replies: &'s Replies,
    reply: &'s Reply,
    route: &'s Route,
    /// The key and the headers of the record that is replied to.
    key: Option<&'s [u8]>,
    headers: &'s [u8],
}

/// Why a record failed that was handled.
#[derive(Debug, thiserror::Error)]
#[error("the reply is not published")]
struct NotPublished(#[source] Unpublished);

impl WorkerContext {
    /// Publishes the replies to the record at `at` in their order.
    pub(super) async fn reply(&self, batch: &RecordBatch, at: usize, retry: &mut RetryState, sent: &[Reply]) -> Next {
        let Some(replies) = self.listener.replies.as_deref() else {
            unreachable!("a listener that replies and has no `send_to` is refused at start")
        };
        let record = &batch.records[at];
        let attempt = self.deliveries_before(batch, at).saturating_add(retry.attempt());
        let headers = batch.headers_of(record);
        let route = match replies.route(self.origin(record, &headers).topic, HeaderIter::new(&headers)) {
            Ok(route) => route,
            Err(none) => return self.failed(batch, at, retry, &ListenerError::terminal(none)).await,
        };
        let key = batch.bytes(record.key);
        for reply in sent {
            let mut sending = Sending { context: self, replies, reply, route: &route, key, headers: &headers };
            match self.until_taken(&mut sending, record.offset, attempt).await {
                Published::Stored(stored) => self.note_replied(record, &stored),
                Published::GivenUp(unpublished) => {
                    let error = failure(unpublished);
                    return self.failed(batch, at, retry, &error).await;
                }
                Published::Decided(held, unpublished) => {
                    return self.decided_instead(batch, at, retry, held, unpublished).await;
                }
                Published::Leave => return Next::Leave,
            }
        }
        self.control.set_attempt(0, None);
        self.control.finish(record.offset);
        if self.commits_each_record {
            self.wait_for_commit(record.offset).await;
        }
        Next::Onwards
    }

    /// An operator does not wait for the broker to take the reply.
    async fn decided_instead(
        &self,
        batch: &RecordBatch,
        at: usize,
        retry: &mut RetryState,
        held: Held,
        unpublished: Unpublished,
    ) -> Next {
        let offset = batch.records[at].offset;
        let error = ListenerError::retryable(NotPublished(unpublished));
        match held {
            Held::Retry => {
                *retry = RetryState::new();
                self.remember(offset, *retry);
                Next::Again
            }
            Held::Skip => {
                self.listener.metrics.skipped(error.class());
                self.past(offset);
                Next::Onwards
            }
            Held::DeadLetter => self.elsewhere(Destination::DeadLetter, batch, at, retry, &error).await,
            Held::Leave => Next::Leave,
        }
    }

    fn note_replied(&self, record: &RawRecord, stored: &SendResult) {
        self.listener.metrics.replied();
        let topic_partition = &self.control.topic_partition;
        tracing::debug!(
            listener = %self.listener.id, topic = topic_partition.topic(), partition = topic_partition.partition(),
            offset = record.offset, reply = %format_args!("{}@{}", stored.topic_partition(), stored.offset()),
            "replied"
        );
    }
}

/// The failure of a record whose reply will never do.
fn failure(unpublished: Unpublished) -> ListenerError {
    let class = match &unpublished {
        Unpublished::Send(SendError::TooLarge { .. }) => ErrorClass::TooLarge,
        _ => ErrorClass::Terminal,
    };
    ListenerError::of_class(NotPublished(unpublished), class, false)
}

impl Publication for Sending<'_> {
    fn name(&self) -> &'static str {
        "reply"
    }

    fn on_its_way(&self) -> Phase {
        Phase::Replying
    }

    fn waiting(&self) -> Phase {
        Phase::ReplyWaiting
    }

    async fn publish(&mut self) -> Result<SendResult, Unpublished> {
        self.replies.publish(self.reply, self.route, self.key, HeaderIter::new(self.headers)).await
    }

    fn count_failure(&self, reason: &'static str) {
        self.context.listener.metrics.not_replied(reason);
    }

    fn is_given_up(&self, unpublished: &Unpublished) -> bool {
        // Who is told at most once is not told again what may have been stored.
        let is_once = self.context.listener.settling == Settling::CommitFirst;
        is_fault_of_the_record(unpublished, self.route, self.reply) || (is_once && unpublished.may_be_stored())
    }
}
