//! One task per assigned partition and epoch: takes hand-overs, runs the handler, deals with failures, reports
//! progress.
//!
//! Knows nothing of librdkafka and never commits: it publishes what is done and the poll loop commits it.

mod acks;
mod control;
mod elsewhere;
mod failed;
mod guarded;
mod left_behind;
mod membership;
mod metrics;
mod publication;
mod put_off;
mod reply;
mod requests;
mod run;
mod timer;
mod unordered;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::time::Duration;

use tokio::sync::mpsc;

use failed::Next;
use put_off::Due;
use timer::HandlerTimer;

pub(crate) use acks::{AckSlot, ManualAcks};
pub(crate) use control::{PartitionControl, gate};
pub(crate) use left_behind::{LeftBehind, LeftBehindUnit};
pub(crate) use membership::Membership;
pub(crate) use metrics::{ConsumerGauges, ListenerMetrics, Load, number};
pub(crate) use requests::{HeldAction, HeldAnswer, HeldDecision, WorkerRequest};
pub(crate) use run::ErasedHandler;
pub use run::erase;
pub(crate) use run::{RunEnd, Unit};

use crate::clock::Instant;
use crate::config::{Codec, FailurePolicies, ListenerSettings, OnCorrupt, OnFailure};
use crate::dead_letter::DeadLetters;
use crate::error_handler::ErrorHandlers;
use crate::failure::ListenerError;
use crate::interceptor::Interceptors;
use crate::kafka::ffi::PartitionError;
use crate::ownership::{OwnerKey, PartitionLease};
use crate::phase::Phase;
use crate::producer::Producer;
use crate::record::RecordBatch;
use crate::reply::Replies;
use crate::retry::{AttemptMemory, Decision};
use crate::retry_topics::{Place, RetryTopics};
use crate::slots::{Slots, WorkPermit};
use crate::state::States;

/// What all workers of one listener share.
#[derive(Debug)]
pub(crate) struct ListenerContext {
    pub(crate) id: Arc<str>,
    pub(crate) group_id: Arc<str>,
    /// The group that records are handled for: another one where the records of retry topics are read.
    pub(crate) handles_for: Arc<str>,
    pub(crate) handler: ErasedHandler,
    pub(crate) states: States,
    pub(crate) producer: Producer,
    pub(crate) dead_letters: Arc<DeadLetters>,
    /// Where records are put off.
    pub(crate) retry_topics: Option<Arc<RetryTopics>>,
    /// Where the listener replies.
    pub(crate) replies: Option<Arc<Replies>>,
    pub(crate) slots: Slots,
    pub(crate) failures: FailurePolicies,
    pub(crate) error_handlers: ErrorHandlers,
    pub(crate) interceptors: Interceptors,
    pub(crate) handler_timeout: Option<Duration>,
    pub(crate) on_corrupt: OnCorrupt,
    pub(crate) max_payload: u64,
    pub(crate) codec: Codec,
    /// Whether any parameter of the listener looks at headers.
    pub(crate) reads_headers: bool,
    pub(crate) sync_commits: bool,
    /// `ack_mode = "record"`: the poll loop is woken after each record.
    pub(crate) commits_each_record: bool,
    pub(crate) settling: Settling,
    /// Taken by workers when a record fails or is got past, never across an await; `None` where nothing limits attempts.
    pub(crate) attempts: Option<Mutex<AttemptMemory>>,
    pub(crate) metrics: Arc<ListenerMetrics>,
    pub(crate) left_behind: Arc<LeftBehind>,
}

impl ListenerContext {
    /// The same for the consumer of the retry topics, which reads every header. Slots and counts are shared.
    pub(crate) fn of_retry_topics(&self, settings: &ListenerSettings) -> Self {
        Self {
            id: Arc::clone(&self.id),
            group_id: settings.group_id.as_str().into(),
            handles_for: Arc::clone(&self.handles_for),
            handler: self.handler.clone(),
            states: self.states.clone(),
            producer: self.producer.clone(),
            dead_letters: Arc::clone(&self.dead_letters),
            retry_topics: self.retry_topics.clone(),
            replies: self.replies.clone(),
            slots: self.slots.clone(),
            failures: self.failures.clone(),
            error_handlers: self.error_handlers.clone(),
            interceptors: self.interceptors.clone(),
            handler_timeout: self.handler_timeout,
            on_corrupt: self.on_corrupt,
            max_payload: self.max_payload,
            codec: self.codec,
            reads_headers: true,
            sync_commits: self.sync_commits,
            commits_each_record: self.commits_each_record,
            settling: self.settling,
            attempts: self.attempts.as_ref().map(|_| Mutex::default()),
            metrics: Arc::clone(&self.metrics),
            left_behind: Arc::clone(&self.left_behind),
        }
    }

    /// How many deliveries there are at most, those in retry topics included, of errors of the default policy.
    pub(crate) fn attempt_limit(&self) -> Option<u32> {
        self.all_stops(self.failures.default.retry.attempts)
    }

    /// The same for a limit that holds in each topic.
    fn all_stops(&self, attempts: Option<u32>) -> Option<u32> {
        let stops = self.retry_topics.as_ref().map_or(1, |topics| topics.stops());
        attempts.map(|attempts| attempts.saturating_mul(stops))
    }
}

impl ListenerContext {
    /// Whether a commit is asked for as soon as there is something to commit, whatever the interval.
    pub(crate) fn commits_at_once(&self) -> bool {
        match self.settling {
            Settling::Return => self.commits_each_record,
            Settling::Acknowledgment { acks, .. } => acks.is_immediate,
            Settling::CommitFirst => true,
        }
    }
}

/// What says that a record is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settling {
    /// Its handler's return.
    Return,
    /// Its `Acknowledgment`; a worker that has to leave waits for those that are out for as long as `drain` says.
    Acknowledgment { acks: ManualAcks, drain: Option<Duration> },
    /// The commit that comes before its handler.
    CommitFirst,
}

/// What one worker has for itself.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    pub(crate) listener: Arc<ListenerContext>,
    pub(crate) control: Arc<PartitionControl>,
    pub(crate) membership: Arc<Membership>,
    pub(crate) permit: WorkPermit,
    commits_each_record: bool,
    /// Where the partition is one of a retry topic.
    place: Option<Place>,
    /// Where `handler_timeout` is set.
    timer: Option<HandlerTimer>,
}

/// What travels from the poll loop to a worker, in the order of the partition.
#[derive(Debug)]
pub(crate) enum HandOver {
    Records(RecordBatch),
    /// The log cannot be read here; everything before it has been handed over.
    Unreadable(PartitionError),
}

/// Marks the partition's control as ended whatever ends the task: return, panic, or a runtime that goes away.
struct EndMark(Arc<PartitionControl>);

impl Drop for EndMark {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The worker's life, to be spawned as a task: waits for the partition to be free in this process, works until a gate
/// says stop, ends.
pub(crate) fn work(
    listener: Arc<ListenerContext>,
    control: Arc<PartitionControl>,
    membership: Arc<Membership>,
    owner: OwnerKey,
    hand_overs: mpsc::Receiver<HandOver>,
) -> impl Future<Output = ()> + Send {
    // Made here and not inside the task: a runtime that is gone drops the task before its first poll.
    let end = EndMark(Arc::clone(&control));
    async move {
        let _end = end;
        live(listener, control, membership, owner, hand_overs).await;
    }
}

async fn live(
    listener: Arc<ListenerContext>,
    control: Arc<PartitionControl>,
    membership: Arc<Membership>,
    owner: OwnerKey,
    mut hand_overs: mpsc::Receiver<HandOver>,
) {
    control.enter(Phase::WaitingForPrevious);
    let lease = tokio::select! {
        biased;
        () = stopped(&control) => return,
        lease = PartitionLease::acquire(owner) => lease,
    };
    control.works_under(&lease);
    let context = WorkerContext {
        permit: WorkPermit::new(listener.slots.clone(), lease),
        commits_each_record: listener.commits_each_record,
        place: listener.retry_topics.as_ref().and_then(|topics| topics.place_of(control.topic_partition.topic())),
        timer: listener.handler_timeout.map(HandlerTimer::new),
        listener,
        control,
        membership,
    };
    if context.listener.settling.is_unordered() {
        return context.live_unordered(hand_overs).await;
    }
    loop {
        context.control.enter(Phase::Idle);
        let hand_over = tokio::select! {
            biased;
            () = stopped(&context.control) => return,
            hand_over = hand_overs.recv() => hand_over,
        };
        let go_on = match hand_over {
            Some(HandOver::Records(batch)) => context.handle(&batch).await,
            Some(HandOver::Unreadable(error)) => context.unreadable(&error).await,
            None => return,
        };
        if !go_on {
            return;
        }
    }
}

/// Drops a user's error. Its destructor is user code and may panic, which must not end the worker.
fn drop_guarded(error: ListenerError) {
    if catch_unwind(AssertUnwindSafe(|| drop(error))).is_err() {
        tracing::error!("the destructor of a handler's error panicked");
    }
}

/// Resolves when the worker has to leave.
async fn stopped(control: &PartitionControl) {
    while control.gates() & gate::STOP == 0 {
        control.changed().await;
    }
}

impl Settling {
    /// A record that was committed before it was handled cannot be tried again or held, whoever asks for it.
    fn permitted(self, decision: Decision) -> Decision {
        match decision {
            Decision::RetryAfter(_)
            | Decision::PutOff
            | Decision::Exhausted(OnFailure::Hold | OnFailure::DeadLetter)
                if self == Self::CommitFirst =>
            {
                Decision::Exhausted(OnFailure::Skip)
            }
            decision => decision,
        }
    }

    fn is_unordered(self) -> bool {
        matches!(self, Self::Acknowledgment { acks: ManualAcks { is_unordered: true, .. }, .. })
    }
}

impl WorkerContext {
    /// Whether the handler that began at `began`, and awaits, has had its time. Blocking code cannot be cancelled, and
    /// its record must not be delivered beside it: it is waited for.
    fn poll_timeout(&self, began: Instant, task: &mut Context<'_>) -> bool {
        let Some(timer) = &self.timer else { return false };
        timer.poll_expired(began, task).is_ready() && !self.permit.is_passed_on()
    }

    /// The failure of a handler that has had its time.
    #[cold]
    fn timed_out(&self) -> ListenerError {
        self.listener.metrics.timed_out();
        match &self.timer {
            Some(timer) => timer.expired(),
            None => unreachable!("only a timer says so"),
        }
    }

    /// Works through one hand-over. `false`: the worker has to leave.
    async fn handle(&self, batch: &RecordBatch) -> bool {
        let Some(first) = batch.records.first() else { return true };
        let index = AtomicUsize::new(0);
        // The failures of the record at `retried`; every other one is at its first delivery.
        let mut retry = self.recall(first.offset);
        let mut retried = 0;
        let seen = Instant::now();
        let go_on = loop {
            let from = index.load(Ordering::Relaxed);
            if from == batch.records.len() {
                break true;
            }
            let mut attempt = if from == retried { retry.attempt() } else { 1 };
            let mut until = batch.records.len();
            if self.place.is_some() {
                // One at a time: each has a time and a number of its own.
                until = from + 1;
                match self.wait_until_due(batch, from, seen).await {
                    Due::Now => attempt = attempt.saturating_add(self.deliveries_before(batch, from)),
                    Due::OfAnotherGroup => {
                        self.pass_over(batch, from);
                        index.store(until, Ordering::Relaxed);
                        continue;
                    }
                    Due::Leave => break false,
                }
            }
            let unit = Unit { batch, index: &index, until, yields_to_returned: false, attempt, context: self };
            let end = tokio::select! {
                biased;
                () = self.control.cancelled() => break false,
                end = self.listener.handler.run_guarded(unit) => end,
            };
            let at = index.load(Ordering::Relaxed);
            if at != retried && !matches!(end, RunEnd::Completed) {
                self.forget(retry);
                (retry, retried) = (self.recall(batch.records[at].offset), at);
            }
            match end {
                RunEnd::Completed => {}
                RunEnd::Interrupted => {
                    if !self.wait_for_gates().await {
                        break false;
                    }
                }
                RunEnd::NotYet(delay) => {
                    retry.not_yet();
                    self.listener.metrics.retried();
                    if self.sleep(delay).await == Next::Leave {
                        break false;
                    }
                }
                RunEnd::Reply(replies) => match self.reply(batch, at, &mut retry, &replies).await {
                    Next::Again => {}
                    Next::Onwards => index.store(at + 1, Ordering::Relaxed),
                    Next::Leave => break false,
                },
                RunEnd::Failed(error) => {
                    let next = if self.is_acknowledged(batch.records[at].offset, &error) {
                        Next::Onwards
                    } else {
                        self.failed(batch, at, &mut retry, &error).await
                    };
                    drop_guarded(error);
                    match next {
                        Next::Again => {}
                        Next::Onwards => index.store(at + 1, Ordering::Relaxed),
                        Next::Leave => break false,
                    }
                }
            }
        };
        if go_on {
            self.forget(retry);
            self.control.give_back(batch.records.len() as u64, batch.arena.len() as u64);
        }
        go_on
    }

    /// Waits until the next record may start. `false`: the worker has to leave.
    async fn wait_for_gates(&self) -> bool {
        /// The membership is confirmed by the poll loop, which nudges; this bounds a missed nudge.
        const RECHECK: Duration = Duration::from_millis(50);
        loop {
            let gates = self.control.gates();
            if gates & gate::STOP != 0 {
                return false;
            }
            let phase = if gates & gate::PAUSE != 0 {
                Phase::Paused
            } else if gates & gate::STALLED != 0 {
                Phase::CommitStalled
            } else if self.membership.is_trusted(Instant::now()) {
                return true;
            } else {
                Phase::WaitingForMembership
            };
            self.control.enter(phase);
            if gates == 0 {
                // Either wakes: the timer is a bound, not the signal.
                drop(tokio::time::timeout(RECHECK, self.control.changed()).await);
            } else {
                self.control.changed().await;
            }
        }
    }

    /// Waits for a slot; `false` when something else has to be looked at first.
    pub(crate) async fn wait_for_slot(&self, offset: i64) -> bool {
        self.control.at(offset);
        self.control.enter(Phase::WaitingForSlot);
        tokio::select! {
            biased;
            () = self.closed_gate() => return false,
            () = self.permit.wait_for_slot() => {}
        }
        // The slot may have taken long: the pulse has to be looked at again.
        let may_start = self.control.gates() == 0 && self.membership.is_trusted(Instant::now());
        if may_start {
            self.control.enter(Phase::Running);
        }
        may_start
    }

    async fn closed_gate(&self) {
        while self.control.gates() == 0 {
            self.control.changed().await;
        }
    }

    /// `ack_mode = "record"`: asks for a commit, and with `sync_commits` waits until it is acknowledged or the worker
    /// has to leave.
    pub(crate) async fn wait_for_commit(&self, offset: i64) {
        self.control.wake_loop();
        if self.listener.sync_commits {
            self.wait_for_answer(offset).await;
        }
    }

    /// Waits until the commit behind `offset` is acknowledged, or the worker has to leave.
    pub(crate) async fn wait_for_answer(&self, offset: i64) {
        self.permit.give_back_slot();
        self.control.enter(Phase::WaitingForCommit);
        while self.control.committed().is_none_or(|committed| committed <= offset)
            && self.control.gates() & gate::STOP == 0
        {
            self.control.changed().await;
        }
        self.control.enter(Phase::Running);
    }

    /// `ack_mode = "at_most_once"`: waits until the record is committed and there is a slot for it. A gate that closes
    /// meanwhile lets it through, since a committed record that is left is lost; whoever cancels the worker says so.
    pub(crate) async fn commit_first(&self, offset: i64) {
        self.permit.give_back_slot();
        self.control.at(offset);
        self.control.commit_first(offset);
        self.control.enter(Phase::AtMostOnceCommit);
        while self.control.committed().is_none_or(|committed| committed <= offset) {
            self.control.changed().await;
        }
        if !self.permit.renew_slot() {
            self.permit.wait_for_slot().await;
        }
        self.control.enter(Phase::Running);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_was_committed_first_is_not_tried_again_whoever_asks_for_it() {
        let skip = Decision::Exhausted(OnFailure::Skip);
        let decisions = [
            Decision::RetryAfter(Duration::ZERO),
            Decision::PutOff,
            Decision::Exhausted(OnFailure::Hold),
            Decision::Exhausted(OnFailure::DeadLetter),
        ];
        for decision in decisions {
            assert_eq!(
                (Settling::CommitFirst.permitted(decision), Settling::Return.permitted(decision)),
                (skip, decision)
            );
        }
        let stop = Decision::Exhausted(OnFailure::Stop);
        assert_eq!(Settling::CommitFirst.permitted(stop), stop);
    }
}
