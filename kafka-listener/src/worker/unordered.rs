//! `async_acks`: the worker of a partition whose records do not wait for the acknowledgement of those before them.
//!
//! Handlers still run one after the other; what is out is bounded by the partition's credits, which come back only as
//! the records before it are done. A record that fails holds up its partition while it is tried again, as everywhere.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::acks::{Linger, dropped};
use super::control::gate;
use super::failed::Next;
use super::run::{RunEnd, Unit};
use super::{HandOver, WorkerContext, drop_guarded};
use crate::failure::ListenerError;
use crate::kafka::ffi::PartitionError;
use crate::phase::Phase;
use crate::record::RecordBatch;
use crate::retry::RetryState;

/// What the worker remembers of the records that are out.
struct Unordered<'w> {
    context: &'w WorkerContext,
    /// Hand-overs of which not all records are done. The last one may not have been delivered to its end.
    batches: VecDeque<RecordBatch>,
    /// Where the last one goes on.
    next: Option<usize>,
    /// Failures of records that are not done.
    retries: HashMap<i64, RetryState>,
    /// Records to be delivered again, and when.
    later: Vec<(Instant, i64)>,
    /// The log cannot be read behind what has been handed over.
    unreadable: Option<PartitionError>,
}

impl WorkerContext {
    /// The worker's life between its first record and a gate that says stop.
    pub(super) async fn live_unordered(&self, mut hand_overs: mpsc::Receiver<HandOver>) {
        let mut work = Unordered {
            context: self,
            batches: VecDeque::new(),
            next: None,
            retries: HashMap::new(),
            later: Vec::new(),
            unreadable: None,
        };
        loop {
            let go_on = tokio::select! {
                biased;
                () = self.control.cancelled() => return,
                go_on = work.step(&mut hand_overs) => go_on,
            };
            if !go_on {
                break;
            }
        }
        // What is out may still be acknowledged, whatever the worker was at when it had to leave.
        let mut linger = Linger::default();
        while self.control.is_any_out() {
            self.control.enter(Phase::AckOutstanding);
            let has_news = tokio::select! {
                biased;
                () = self.control.cancelled() => return,
                has_news = linger.news(self) => has_news,
            };
            if !has_news {
                return;
            }
        }
    }
}

impl Unordered<'_> {
    /// Does the next thing that is to be done, or waits. `false`: the worker has to leave.
    async fn step(&mut self, hand_overs: &mut mpsc::Receiver<HandOver>) -> bool {
        self.forget_what_is_done();
        if let Some(returned) = self.context.control.take_returned() {
            return match returned.again_after {
                Some(delay) => {
                    self.context.listener.metrics.retried();
                    self.retries.entry(returned.offset).or_default().not_yet();
                    self.later.push((Instant::now() + delay, returned.offset));
                    true
                }
                None => self.failing(returned.offset, dropped()).await,
            };
        }
        let now = Instant::now();
        if let Some(due) = self.later.iter().position(|(at, _)| *at <= now) {
            let (_, offset) = self.later.swap_remove(due);
            return match self.deliver_again(offset).await {
                Ok(go_on) => go_on,
                Err(error) => self.failing(offset, error).await,
            };
        }
        match self.next {
            Some(next) => self.deliver_on(next).await,
            None if self.unreadable.is_some() && self.batches.is_empty() => match self.unreadable.take() {
                Some(error) => self.context.unreadable(&error).await,
                None => true,
            },
            None => self.wait(hand_overs).await,
        }
    }

    /// Delivers the last hand-over from its record `next` on.
    async fn deliver_on(&mut self, next: usize) -> bool {
        let Some(batch) = self.batches.back() else { return true };
        let index = AtomicUsize::new(next);
        let attempt = batch.records.get(next).map_or(1, |record| self.context.recall(record.offset).attempt());
        let unit = Unit {
            batch,
            index: &index,
            until: batch.records.len(),
            yields_to_returned: true,
            attempt,
            context: self.context,
        };
        let end = self.context.listener.handler.run_guarded(unit).await;
        let at = index.load(Ordering::Relaxed);
        match end {
            RunEnd::Completed => {
                self.next = None;
                true
            }
            RunEnd::Reply(_) => unreachable!("a listener that replies takes no acknowledgement"),
            RunEnd::Interrupted | RunEnd::NotYet(_) => {
                self.next = Some(at);
                self.context.wait_for_gates().await
            }
            RunEnd::Failed(error) => {
                self.next = (at + 1 < batch.records.len()).then_some(at + 1);
                let offset = batch.records[at].offset;
                self.failing(offset, error).await
            }
        }
    }

    /// A record failed: it is tried again, or got past, before anything else is started.
    async fn failing(&mut self, offset: i64, error: ListenerError) -> bool {
        let mut error = error;
        loop {
            if self.context.is_acknowledged(offset, &error) {
                drop_guarded(error);
                return true;
            }
            let mut retry = self.retries.get(&offset).copied().unwrap_or_else(|| self.context.recall(offset));
            let Some((batch, at)) = self.find(offset) else { return true };
            let next = self.context.failed(batch, at, &mut retry, &error).await;
            drop_guarded(error);
            self.retries.insert(offset, retry);
            match next {
                Next::Again => match self.deliver_again(offset).await {
                    Ok(go_on) => return go_on,
                    Err(again) => error = again,
                },
                Next::Onwards => return true,
                Next::Leave => return false,
            }
        }
    }

    /// Delivers one record once more.
    async fn deliver_again(&mut self, offset: i64) -> Result<bool, ListenerError> {
        let Some((batch, at)) = self.find(offset) else { return Ok(true) };
        let attempt = self.retries.get(&offset).map_or(1, |retry| retry.attempt());
        loop {
            let index = AtomicUsize::new(at);
            let unit =
                Unit { batch, index: &index, until: at + 1, yields_to_returned: false, attempt, context: self.context };
            match self.context.listener.handler.run_guarded(unit).await {
                RunEnd::Completed => return Ok(true),
                RunEnd::Failed(error) => return Err(error),
                RunEnd::Reply(_) => unreachable!("a listener that replies takes no acknowledgement"),
                RunEnd::Interrupted | RunEnd::NotYet(_) => {
                    if !self.context.wait_for_gates().await {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Nothing can be started: waits for acknowledgements, hand-overs, and the time of what is to be delivered again.
    async fn wait(&mut self, hand_overs: &mut mpsc::Receiver<HandOver>) -> bool {
        let control = &self.context.control;
        if control.gates() & gate::STOP != 0 {
            return false;
        }
        match control.oldest_open() {
            None => control.enter(Phase::Idle),
            Some(oldest) => {
                control.at(oldest);
                if !control.is_starved() {
                    control.enter(Phase::AckOutstanding);
                }
                // After that, not instead: either this worker sees that the loop starves or the loop sees its phase.
                if control.is_starved() {
                    control.enter(Phase::AckedOutOfOrder);
                }
            }
        }
        let takes_more = self.unreadable.is_none();
        let due = self.later.iter().map(|(at, _)| *at).min();
        let due_at = due.unwrap_or_else(Instant::now);
        let hand_over = tokio::select! {
            biased;
            () = control.changed() => return true,
            () = tokio::time::sleep_until(due_at), if due.is_some() => return true,
            hand_over = hand_overs.recv(), if takes_more => hand_over,
        };
        match hand_over {
            Some(HandOver::Records(batch)) => {
                self.next = (!batch.records.is_empty()).then_some(0);
                self.batches.push_back(batch);
            }
            Some(HandOver::Unreadable(error)) => self.unreadable = Some(error),
            None => return false,
        }
        true
    }

    /// Lets go of hand-overs and failures of records that are done with all before them.
    fn forget_what_is_done(&mut self) {
        let Some(done) = self.context.control.last_done() else { return };
        let is_done = |batch: &RecordBatch| batch.records.last().is_none_or(|last| last.offset <= done);
        while self.batches.front().is_some_and(is_done) {
            self.batches.pop_front();
        }
        self.later.retain(|(_, offset)| *offset > done);
        for (_, retry) in self.retries.extract_if(|offset, _| *offset <= done) {
            self.context.forget(retry);
        }
    }

    fn find(&self, offset: i64) -> Option<(&RecordBatch, usize)> {
        self.batches.iter().find_map(|batch| {
            let at = batch.records.binary_search_by_key(&offset, |record| record.offset).ok()?;
            Some((batch, at))
        })
    }
}
