//! How a worker of a retry topic waits until its records are due, and where a record that fails goes next.
//!
//! The time stands in the record, so that nothing is lost with a process. No slot is held here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::elsewhere::Destination;
use super::{Settling, WorkerContext, stopped};
use crate::clock::Instant;
use crate::phase::Phase;
use crate::record::RecordBatch;
use crate::retry_topics::{RetryTopics, Waiting, left_to_wait};

/// How often the clock is asked: it may be set, and timers stand still while the machine sleeps.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What becomes of the next record of a partition.
pub(super) enum Due {
    Now,
    /// Another group has put it there, and reads it itself.
    OfAnotherGroup,
    /// The worker has to leave.
    Leave,
}

impl WorkerContext {
    /// Waits until the record at `at` may be delivered. It was first seen here at `seen`.
    pub(super) async fn wait_until_due(&self, batch: &RecordBatch, at: usize, seen: Instant) -> Due {
        let (Some(place), Some(retry_topics)) = (&self.place, &self.listener.retry_topics) else { return Due::Now };
        let record = &batch.records[at];
        let headers = batch.headers_of(record);
        let waiting = Waiting::of(&headers);
        if waiting.is_of_another_group(retry_topics.group_id()) {
            return Due::OfAnotherGroup;
        }
        let delay = retry_topics.delay(place.stage(&waiting));
        loop {
            let seen_for = Instant::now().saturating_since(seen);
            let left = left_to_wait(waiting.due, millis_since_1970(), seen_for, delay);
            if left.is_zero() {
                return Due::Now;
            }
            self.control.at(record.offset);
            self.control.enter(Phase::WaitingUntilDue);
            tokio::select! {
                biased;
                () = stopped(&self.control) => return Due::Leave,
                () = tokio::time::sleep(left.min(ASK_AGAIN)) => {}
            }
        }
    }

    /// The record at `from` is somebody else's: done here, though not handled.
    pub(super) fn pass_over(&self, batch: &RecordBatch, at: usize) {
        let offset = batch.records[at].offset;
        if let Settling::Acknowledgment { .. } = self.listener.settling {
            self.control.deliver(offset, batch.credit(at));
        }
        self.listener.metrics.passed_over();
        self.past(offset);
    }

    /// How often the record at `at` was delivered in the topics that it was in before.
    pub(super) fn deliveries_before(&self, batch: &RecordBatch, at: usize) -> u32 {
        let each = self.listener.failures.default.retry.attempts.unwrap_or(1);
        self.stage(batch, at).saturating_mul(each)
    }

    /// The retry topic that comes next for the record at `at`, if there is one.
    pub(super) fn next_retry_topic(&self, batch: &RecordBatch, at: usize) -> Option<Destination> {
        let retry_topics = self.listener.retry_topics.as_deref()?;
        let stage = retry_topics.after(self.stage(batch, at))?;
        Some(Destination::RetryTopic { stage, due: due_after(retry_topics, stage) })
    }

    /// 0 in the listener's own topics.
    fn stage(&self, batch: &RecordBatch, at: usize) -> u32 {
        let Some(place) = &self.place else { return 0 };
        place.stage(&Waiting::of(&batch.headers_of(&batch.records[at])))
    }
}

fn due_after(retry_topics: &RetryTopics, stage: u32) -> i64 {
    let delay = i64::try_from(retry_topics.delay(stage).as_millis()).unwrap_or(i64::MAX);
    // The millisecond that has begun counts as over: nothing is due early.
    millis_since_1970().saturating_add(delay).saturating_add(1)
}

/// Milliseconds that are over. A clock before 1970 is at 0.
fn millis_since_1970() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
