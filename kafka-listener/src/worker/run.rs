//! The loop over the records of one hand-over, compiled once per listener: the hot path.
//!
//! Type erasure happens here, once per hand-over. What becomes of a failure is decided elsewhere.

mod one_by_one;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use tracing::Instrument;

use crate::clock::Instant;
use crate::definition::Handler;
use crate::failure::{ErrorClass, ListenerError};
use crate::interceptor::Interceptors;
use crate::phase::Phase;
use crate::record::{Delivery, RecordBatch, RecordContext};
use crate::reply::Reply;
use crate::worker::guarded::{Guarded, panic_text};
use crate::worker::metrics::Tally;
use crate::worker::{Settling, WorkerContext};

/// A worker gives way to other tasks at least this often, also when its handler never awaits.
const LONGEST_RUN: Duration = Duration::from_millis(1);

/// A listener's handler behind a pointer.
#[derive(Clone)]
pub struct ErasedHandler(Arc<dyn RunBatch>);

impl fmt::Debug for ErasedHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErasedHandler")
    }
}

/// Hides the type of a listener's generated handler.
pub fn erase<H: Handler + 'static>(handler: H) -> ErasedHandler {
    ErasedHandler(Arc::new(handler))
}

/// One hand-over, or the rest of one.
#[derive(Debug)]
pub(crate) struct Unit<'u> {
    pub(crate) batch: &'u RecordBatch,
    /// Where to begin; then the record being handled. Read by the worker when the run is cut short.
    pub(crate) index: &'u AtomicUsize,
    /// The first record that is not to be delivered any more.
    pub(crate) until: usize,
    /// Whether records that came back unacknowledged go first.
    pub(crate) yields_to_returned: bool,
    /// Attempt of the first record; the ones after it are at their first.
    pub(crate) attempt: u32,
    pub(crate) context: &'u WorkerContext,
}

/// Why a run came back.
#[derive(Debug)]
pub(crate) enum RunEnd {
    Completed,
    /// A gate closed, or the membership is in doubt; the record at the index was not started.
    Interrupted,
    /// The record at the index is handled, and this is to be published before it is done.
    Reply(Vec<Reply>),
    /// The record at the index is to be delivered again after this long: `nack`.
    NotYet(Duration),
    /// The record at the index failed.
    Failed(ListenerError),
}

trait RunBatch: Send + Sync {
    fn run<'u>(&'u self, unit: Unit<'u>) -> Pin<Box<dyn Future<Output = RunEnd> + Send + 'u>>;
}

impl<H: Handler> RunBatch for H {
    fn run<'u>(&'u self, unit: Unit<'u>) -> Pin<Box<dyn Future<Output = RunEnd> + Send + 'u>> {
        match unit.context.listener.settling {
            Settling::Return => Box::pin(run(self, unit)),
            // Without its type: compiled once for all listeners, and in nobody's way to being inlined above.
            Settling::Acknowledgment { .. } | Settling::CommitFirst => {
                Box::pin(one_by_one::run(self, H::FILTERS, unit))
            }
        }
    }
}

impl ErasedHandler {
    /// Runs a hand-over. A panic anywhere in user code, its destructors included, is a failure of class `panic`.
    pub(crate) async fn run_guarded(&self, unit: Unit<'_>) -> RunEnd {
        let mut run = Guarded::new(self.0.run(unit));
        let end = std::future::poll_fn(|task| run.poll(task)).await;
        let end = end.unwrap_or_else(|panic| RunEnd::Failed(panicked(&*panic)));
        match run.discard() {
            Err(panic) if matches!(end, RunEnd::Completed | RunEnd::Interrupted) => RunEnd::Failed(panicked(&*panic)),
            _ => end,
        }
    }
}

async fn run<H: Handler>(handler: &H, unit: Unit<'_>) -> RunEnd {
    let Unit { batch, index, until, attempt, context, .. } = unit;
    let records = &batch.records[..until];
    let WorkerContext { control, permit, membership, listener, .. } = context;
    let mut delivery = context.delivery(attempt);
    let mut tally = listener.metrics.tally();
    let mut now = Instant::now();
    let mut run_since = now;
    let mut at = index.load(Ordering::Relaxed);
    let _slot = permit.gives_back_at_the_end();
    control.enter(Phase::Running);
    while let Some(record) = records.get(at) {
        if control.gates() != 0 || !membership.is_trusted(now) {
            return RunEnd::Interrupted;
        }
        if !permit.renew_slot() {
            if !context.wait_for_slot(record.offset).await {
                return RunEnd::Interrupted;
            }
            // The wait is no part of the handler's time, and the others have had their turn.
            now = Instant::now();
            run_since = now;
        }
        control.at(record.offset);
        let record_context = RecordContext::new(batch, at, &delivery);
        let outcome = handle(handler, record_context, context, now, &mut tally).await;
        let ended = Instant::now();
        if H::FILTERS && delivery.filtered.swap(false, Ordering::Relaxed) {
            tally.filtered();
        } else {
            tally.handled(ended.saturating_since(now), outcome.is_ok());
        }
        if let Err(error) = outcome {
            return RunEnd::Failed(error);
        }
        if H::REPLIES {
            let replies = delivery.take_replies();
            if !replies.is_empty() {
                return RunEnd::Reply(replies);
            }
        }
        control.finish(record.offset);
        delivery.attempt = 1;
        at += 1;
        index.store(at, Ordering::Relaxed);
        now = ended;
        if context.commits_each_record {
            context.wait_for_commit(record.offset).await;
            now = Instant::now();
        }
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

impl WorkerContext {
    fn delivery(&self, attempt: u32) -> Delivery<'_> {
        let listener = &*self.listener;
        Delivery {
            listener: &listener.id,
            group_id: &listener.handles_for,
            states: &listener.states,
            producer: &listener.producer,
            attempt,
            attempt_limit: listener.attempt_limit(),
            codec: listener.codec,
            filtered: AtomicBool::new(false),
            permit: &self.permit,
            ack: None,
            ack_taken: AtomicBool::new(false),
            replies: listener.replies.as_deref(),
            noted: Mutex::default(),
        }
    }
}

/// Handles one record, unless it is too large.
async fn handle<H: Handler>(
    handler: &H,
    record: RecordContext<'_>,
    context: &WorkerContext,
    began: Instant,
    tally: &mut Tally<'_>,
) -> Result<(), ListenerError> {
    let max_payload = context.listener.max_payload;
    match record.payload() {
        Some(payload) if payload.len() as u64 > max_payload => Err(too_large(payload.len(), max_payload)),
        _ => {
            let mut handling = pin!(call(handler, &context.listener.interceptors, record));
            std::future::poll_fn(|task| {
                let poll = handling.as_mut().poll(task);
                if poll.is_pending() {
                    // It may await for long: what was handled before shows meanwhile.
                    tally.flush();
                    if context.poll_timeout(began, task) {
                        return Poll::Ready(Err(context.timed_out()));
                    }
                }
                poll
            })
            .await
        }
    }
}

/// Calls the handler, inside a span if anybody listens to it.
async fn call<H: Handler>(
    handler: &H,
    interceptors: &Interceptors,
    record: RecordContext<'_>,
) -> Result<(), ListenerError> {
    if !tracing::enabled!(target: "kafka_listener::handler", tracing::Level::INFO) {
        return call_within(handler, interceptors, record).await;
    }
    let span = tracing::info_span!(
        target: "kafka_listener::handler",
        "process",
        messaging.system.name = "kafka",
        messaging.destination.name = record.topic(),
        messaging.destination.partition.id = record.partition(),
        messaging.consumer.group.name = record.group_id(),
        messaging.kafka.offset = record.offset(),
        listener = record.listener_id(),
        attempt = record.attempt(),
    );
    call_within(handler, interceptors, record).instrument(span).await
}

async fn call_within<H: Handler>(
    handler: &H,
    interceptors: &Interceptors,
    record: RecordContext<'_>,
) -> Result<(), ListenerError> {
    if interceptors.is_empty() { handler.call(record).await } else { interceptors.around(handler, record).await }
}

fn too_large(size: usize, limit: u64) -> ListenerError {
    let text = format!("payload of {size} bytes is over `limits.max_payload` of {limit} bytes");
    ListenerError::of_class(text, ErrorClass::TooLarge, false)
}

fn panicked(panic: &(dyn Any + Send)) -> ListenerError {
    let text = panic_text(panic);
    ListenerError::of_class(format!("panicked: {text}"), ErrorClass::Panic, true)
}
