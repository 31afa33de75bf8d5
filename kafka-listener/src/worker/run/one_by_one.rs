//! The loop over the records of one hand-over where more than the handler's return says that a record is done: its
//! acknowledgement, or the commit before it.

use std::sync::atomic::Ordering;

use super::{LONGEST_RUN, RunEnd, Unit, handle};
use crate::clock::Instant;
use crate::definition::Handler;
use crate::failure::ListenerError;
use crate::interceptor::Call;
use crate::phase::Phase;
use crate::record::RecordContext;
use crate::worker::acks::{AckSlot, Settled};
use crate::worker::{Settling, WorkerContext};

pub(super) async fn run(handler: &dyn Call, filters: bool, unit: Unit<'_>) -> RunEnd {
    let Unit { batch, index, until, attempt, yields_to_returned, context } = unit;
    let WorkerContext { control, permit, membership, listener, .. } = context;
    let mut delivery = context.delivery(attempt);
    let acks = match listener.settling {
        Settling::Acknowledgment { acks, .. } => Some(acks),
        Settling::Return | Settling::CommitFirst => None,
    };
    let mut tally = listener.metrics.tally();
    let mut now = Instant::now();
    let mut run_since = now;
    let mut at = index.load(Ordering::Relaxed);
    let _slot = permit.gives_back_at_the_end();
    while let Some(record) = batch.records[..until].get(at) {
        if control.gates() != 0 || !membership.is_trusted(now) || (yields_to_returned && control.has_returned()) {
            return RunEnd::Interrupted;
        }
        if listener.settling == Settling::CommitFirst {
            tally.flush();
            context.commit_first(record.offset).await;
        } else if !permit.renew_slot() && !context.wait_for_slot(record.offset).await {
            return RunEnd::Interrupted;
        }
        // Waiting is no part of the handler's time.
        now = Instant::now();
        control.at(record.offset);
        control.enter(Phase::Running);
        delivery.ack =
            acks.map(|acks| AckSlot { control, delivery: control.deliver(record.offset, batch.credit(at)), acks });
        let record_context = RecordContext::new(batch, at, &delivery);
        let outcome = handle(&ByPointer(handler), record_context, context, now, &mut tally).await;
        let ended = Instant::now();
        if filters && delivery.filtered.swap(false, Ordering::Relaxed) {
            tally.filtered();
        } else {
            tally.handled(ended.saturating_since(now), outcome.is_ok());
        }
        match delivery.ack {
            None => {
                if let Err(error) = outcome {
                    return RunEnd::Failed(error);
                }
                let replies = delivery.take_replies();
                if !replies.is_empty() {
                    return RunEnd::Reply(replies);
                }
                control.finish(record.offset);
            }
            Some(ack) => {
                tally.flush();
                let is_taken = delivery.ack_taken.swap(false, Ordering::Relaxed);
                match settle(context, record.offset, ack, is_taken, outcome).await {
                    Settled::Done => {}
                    Settled::NotYet(delay) => return RunEnd::NotYet(delay),
                    Settled::Failed(error) => return RunEnd::Failed(error),
                    Settled::Leave => return RunEnd::Interrupted,
                }
            }
        }
        delivery.attempt = 1;
        at += 1;
        index.store(at, Ordering::Relaxed);
        now = Instant::now();
        if now.saturating_since(run_since) >= LONGEST_RUN {
            tally.flush();
            permit.give_back_slot();
            tokio::task::yield_now().await;
            now = Instant::now();
            run_since = now;
        }
    }
    RunEnd::Completed
}

/// A handler without its type.
struct ByPointer<'h>(&'h dyn Call);

impl Handler for ByPointer<'_> {
    fn call<'r>(&'r self, record: RecordContext<'r>) -> impl Future<Output = Result<(), ListenerError>> + Send + 'r {
        self.0.call_boxed(record)
    }
}

/// What becomes of a record whose handler has returned. Where nobody took its acknowledgement, a filter or an interceptor
/// has passed it over, and it is done.
async fn settle(
    context: &WorkerContext,
    offset: i64,
    AckSlot { control, acks, .. }: AckSlot<'_>,
    is_taken: bool,
    outcome: Result<(), ListenerError>,
) -> Settled {
    if let Err(error) = outcome {
        return Settled::Failed(error);
    }
    if !is_taken {
        control.pass_over(offset, acks);
        return Settled::Done;
    }
    if !acks.is_unordered {
        // One that is acknowledged already goes on in the slot it has.
        match context.wait_for_acknowledgement(offset).await {
            Settled::Done if acks.is_immediate => context.wait_for_answer(offset).await,
            Settled::Done => {}
            other => return other,
        }
    }
    Settled::Done
}
