//! Listeners that say themselves when a record is done: order, commit points, what comes late, what is never said.

mod async_acks;
mod at_most_once;
mod interplay;
mod unanswered;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::ensure;
use kafka_listener::extract::{AckReceipt, State};
use kafka_listener::interceptor::{Interceptor, Next};
use kafka_listener::rebalance::{Partitions, RebalanceListener};
use kafka_listener::{
    AckOutcome, Acknowledgment, ListenerDefinition, ListenerError, ListenerRegistry, ListenerRegistryBuilder, Phase,
    RecordContext, RecordMetadata, kafka_listener, listener,
};
use serde_json::Value;
use support::{broker, eventually};

use crate::common::{Diary, Ground, Latch, SOON, log_of};

const COUNT: i64 = 6;

/// Acknowledgments that have left their handlers, by offset, and how often each record came.
#[derive(Clone, Default)]
struct Out(Arc<Mutex<BTreeMap<i64, (Acknowledgment, Instant)>>>);

impl Out {
    fn keep(&self, offset: i64, ack: Acknowledgment) {
        // An older one of the same record is dropped outside of the lock: it is superseded.
        let older = self.0.lock().unwrap().insert(offset, (ack, Instant::now()));
        drop(older);
    }

    fn take(&self, offset: i64) -> Option<Acknowledgment> {
        self.0.lock().unwrap().remove(&offset).map(|(ack, _)| ack)
    }

    fn offsets(&self) -> Vec<i64> {
        self.0.lock().unwrap().keys().copied().collect()
    }

    async fn wait_for(&self, offsets: impl IntoIterator<Item = i64>) {
        let offsets: Vec<i64> = offsets.into_iter().collect();
        let there = || async {
            let out = self.offsets();
            ensure!(out == offsets, "{out:?} are out");
            Ok(())
        };
        eventually(SOON, &format!("{offsets:?} are out"), there).await.unwrap();
    }

    fn acknowledge(&self, offset: i64) -> AckReceipt {
        self.take(offset).unwrap().acknowledge()
    }
}

#[kafka_listener(id = "acks-out", ack_mode = "manual")]
async fn lets_out(
    _order: Value,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(diary): State<Diary>,
    State(out): State<Out>,
) {
    let _running = diary.begin(&meta);
    out.keep(meta.offset(), ack);
}

/// One partition of six records, each acknowledged by the test.
struct Course {
    ground: Ground,
    diary: Diary,
    out: Out,
}

impl Course {
    async fn new(records: i64) -> Self {
        let ground = Ground::new(1).await;
        broker().produce_orders(&ground.topic, usize::try_from(records).unwrap()).await.unwrap();
        Self { ground, diary: Diary::default(), out: Out::default() }
    }

    fn builder(&self) -> ListenerRegistryBuilder {
        self.builder_of(listener!(lets_out))
    }

    fn builder_of(&self, definition: ListenerDefinition) -> ListenerRegistryBuilder {
        self.ground.registry().register(definition).state(self.diary.clone()).state(self.out.clone())
    }

    async fn wait_for_commit(&self, offset: i64) {
        let there = || async {
            let committed = self.read_committed().await?;
            ensure!(committed == offset, "{committed} is committed");
            Ok(())
        };
        eventually(SOON, &format!("{offset} is committed"), there).await.unwrap();
    }

    async fn committed(&self) -> i64 {
        let committed = std::sync::atomic::AtomicI64::new(0);
        let read = || async {
            committed.store(self.read_committed().await?, std::sync::atomic::Ordering::Relaxed);
            Ok::<_, anyhow::Error>(())
        };
        eventually(SOON, "the coordinator answers", read).await.unwrap();
        committed.into_inner()
    }

    async fn read_committed(&self) -> anyhow::Result<i64> {
        let committed = broker().committed(&self.ground.group, &self.ground.topic).await?;
        Ok(committed.get(&0).copied().unwrap_or(0))
    }

    async fn wait_for_phase(&self, listeners: &ListenerRegistry, phase: Phase) {
        let there = || async {
            let status = listeners.status();
            let partition = status.listeners[0].partitions.first();
            ensure!(partition.is_some_and(|partition| partition.phase == phase), "{partition:?}");
            Ok(())
        };
        eventually(SOON, &format!("the worker's phase is {phase}"), there).await.unwrap();
    }
}

#[tokio::test]
async fn manual_starts_a_record_when_the_one_before_it_is_acknowledged_and_commits_it_then() {
    let course = Course::new(COUNT).await;
    let listeners = course.builder().start().await.unwrap();
    for offset in 0..COUNT {
        course.out.wait_for([offset]).await;
        course.wait_for_phase(&listeners, Phase::AckOutstanding).await;
        assert_eq!(course.committed().await, offset, "what is not acknowledged is not committed");
        assert_eq!(course.out.acknowledge(offset).outcome(), AckOutcome::Acknowledged);
        course.wait_for_commit(offset + 1).await;
    }
    listeners.shutdown().await.into_result().unwrap();
    course.diary.check_each_once_in_order(0, COUNT);
}

#[tokio::test]
async fn an_acknowledgment_that_is_dropped_is_a_failed_delivery_and_no_stall() {
    let course = Course::new(2).await;
    let listeners =
        course.builder().set("listener.retry.delay", "1ms").set("listener.retry.jitter", 0.0).start().await.unwrap();
    course.out.wait_for([0]).await;
    drop(course.out.take(0));
    course.out.wait_for([0]).await;
    let status = listeners.status();
    assert_eq!((status.listeners[0].failed, status.listeners[0].retried), (1, 1));
    course.out.acknowledge(0);
    course.out.wait_for([1]).await;
    course.out.acknowledge(1);
    course.wait_for_commit(2).await;
    listeners.shutdown().await.into_result().unwrap();
    let attempts: Vec<_> = course.diary.entries().iter().map(|entry| (entry.offset, entry.attempt)).collect();
    assert_eq!(attempts, [(0, 1), (0, 2), (1, 1)]);
    assert!(log_of(&course.ground.topic).iter().any(|line| line.field("error").contains("was dropped")));
}

#[tokio::test]
async fn an_acknowledgment_that_is_dropped_for_the_last_time_goes_to_on_failure() {
    let course = Course::new(2).await;
    let builder = course.builder().set("listener.retry.attempts", 1).set("listener.on_failure", "skip");
    let listeners = builder.start().await.unwrap();
    course.out.wait_for([0]).await;
    drop(course.out.take(0));
    course.out.wait_for([1]).await;
    course.out.acknowledge(1);
    course.wait_for_commit(2).await;
    assert_eq!(listeners.status().listeners[0].skipped, 1);
    listeners.shutdown().await.into_result().unwrap();
}

const PAUSE: Duration = Duration::from_millis(300);

/// The replay of Spring's `ManualNackRecordTests`: not yet, at the fourth of six.
#[kafka_listener(id = "acks-nack", ack_mode = "manual")]
async fn not_yet(_order: Value, meta: RecordMetadata, ack: Acknowledgment, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    if meta.offset() == 3 && meta.attempt() == 1 {
        assert_eq!(ack.nack(PAUSE), AckOutcome::Returned);
    } else {
        ack.acknowledge();
    }
}

#[tokio::test]
async fn a_record_that_is_not_acknowledged_yet_comes_again_after_its_delay_and_before_the_next() {
    let course = Course::new(COUNT).await;
    let builder = course.builder_of(listener!(not_yet)).set("listener.retry.attempts", 1);
    let listeners = builder.start().await.unwrap();
    course.wait_for_commit(COUNT).await;
    let status = listeners.status();
    listeners.shutdown().await.into_result().unwrap();

    assert_eq!(course.diary.begun(0), [0, 1, 2, 3, 3, 4, 5]);
    let entries = course.diary.entries();
    assert!(entries[4].began - entries[3].began >= PAUSE, "{entries:?}");
    // It used up no attempt, of which there is one.
    assert_eq!((status.listeners[0].failed, status.listeners[0].skipped), (0, 0));
    assert_eq!((entries[4].attempt, entries[5].attempt), (2, 1));
}

/// What awaiting the receipts told.
type Answers = Arc<Mutex<Vec<(i64, AckOutcome)>>>;

#[kafka_listener(id = "acks-immediate", ack_mode = "manual_immediate")]
async fn immediate(
    _order: Value,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(seen): State<Answers>,
    State(course): State<Arc<Ground>>,
) -> anyhow::Result<()> {
    // What the broker holds when the record starts, and what the awaited answer says is there.
    let before = broker().committed(&course.group, &course.topic).await?.get(&0).copied().unwrap_or(0);
    let outcome = ack.acknowledge().await;
    let after = broker().committed(&course.group, &course.topic).await?.get(&0).copied().unwrap_or(0);
    assert_eq!((before, after), (meta.offset(), meta.offset() + 1));
    seen.lock().unwrap().push((meta.offset(), outcome));
    Ok(())
}

#[tokio::test]
async fn manual_immediate_commits_at_once_and_the_call_resolves_with_the_brokers_answer() {
    let course = Course::new(COUNT).await;
    let seen = Answers::default();
    let builder = course.builder_of(listener!(immediate)).state(Arc::clone(&seen));
    let builder = builder.set("listener.commit_interval", "30m").set("listener.max_commit_delay", "1h");
    let listeners = builder.state(Arc::new(course.ground.clone())).start().await.unwrap();
    course.wait_for_commit(COUNT).await;
    listeners.shutdown().await.into_result().unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, (0..COUNT).map(|offset| (offset, AckOutcome::Committed)).collect::<Vec<_>>());
}

#[expect(clippy::panic, reason = "the handler panics on purpose")]
#[kafka_listener(id = "acks-errors", ack_mode = "manual")]
async fn errs_with_its_ack_out(
    _order: Value,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(diary): State<Diary>,
    State(out): State<Out>,
) -> anyhow::Result<()> {
    let _running = diary.begin(&meta);
    match meta.offset() {
        // Its acknowledgement is out when the handler fails.
        0 if meta.attempt() == 1 => {
            out.keep(0, ack);
            anyhow::bail!("the mail server does not answer");
        }
        // It acknowledges, then fails.
        1 => {
            ack.acknowledge();
            anyhow::bail!("cannot say goodbye to the mail server");
        }
        // It acknowledges, then panics.
        2 => {
            ack.acknowledge();
            panic!("no goodbye at all");
        }
        _ => {
            ack.acknowledge();
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_error_wins_over_an_acknowledgment_that_is_out_and_not_over_one_that_was_given() {
    let course = Course::new(COUNT).await;
    let builder = course.builder_of(listener!(errs_with_its_ack_out)).set("listener.retry.delay", "1ms");
    let listeners = builder.start().await.unwrap();
    course.wait_for_commit(COUNT).await;
    let status = listeners.status();
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(course.diary.begun(0), [0, 0, 1, 2, 3, 4, 5]);
    assert_eq!((status.listeners[0].failed, status.listeners[0].retried), (3, 1));
    assert_eq!(course.out.acknowledge(0).outcome(), AckOutcome::Superseded);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_acknowledgments_and_late_ones_say_so() {
    let course = Course::new(COUNT).await;
    let listeners = course.builder().start().await.unwrap();
    course.out.wait_for([0]).await;
    let began = Instant::now();
    let report = listeners.shutdown().await;
    assert!(began.elapsed() < Duration::from_secs(20), "{report}");
    report.into_result().unwrap();
    assert_eq!(listeners.status().listeners[0].possibly_repeated, 1);

    let receipt = course.out.acknowledge(0);
    assert_eq!(receipt.outcome(), AckOutcome::Superseded);
    assert_eq!(receipt.await, AckOutcome::Superseded);
    assert_eq!(course.committed().await, 0);
}

fn is_even(record: RecordContext<'_>) -> bool {
    record.offset() % 2 == 0
}

#[kafka_listener(id = "acks-filtered", ack_mode = "manual", filter = is_even)]
async fn takes_even_ones(_order: Value, meta: RecordMetadata, ack: Acknowledgment, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    ack.acknowledge();
}

/// Passes one record over, and hands another to the handler twice.
struct PassesOver;

#[async_trait::async_trait]
impl Interceptor for PassesOver {
    async fn intercept(&self, record: RecordContext<'_>, next: Next<'_>) -> Result<(), ListenerError> {
        match record.offset() {
            0 => Ok(()),
            2 => {
                next.run(record).await?;
                next.run(record).await
            }
            _ => next.run(record).await,
        }
    }
}

#[tokio::test]
async fn what_a_filter_or_an_interceptor_passes_over_needs_no_acknowledgment() {
    for async_acks in [false, true] {
        let course = Course::new(COUNT).await;
        let builder = course.builder_of(listener!(takes_even_ones)).interceptor(PassesOver);
        let listeners = builder.set("listener.async_acks", async_acks).start().await.unwrap();
        course.wait_for_commit(COUNT).await;
        listeners.shutdown().await.into_result().unwrap();
        assert_eq!(course.diary.begun(0), [2, 2, 4], "async_acks = {async_acks}");
        assert_eq!(listeners.status().listeners[0].failed, 0);
    }
}

/// Acknowledges in the hook before the commit, which is the last moment that counts, and behind it.
struct Hooks {
    out: Out,
    outcomes: Arc<Mutex<BTreeSet<(i64, String)>>>,
    behind: Latch,
}

#[async_trait::async_trait]
impl RebalanceListener for Hooks {
    async fn on_partitions_revoked_before_commit(&self, _: Partitions) {
        let outcome = self.out.acknowledge(0).outcome();
        self.outcomes.lock().unwrap().insert((0, format!("{outcome:?}")));
    }

    async fn on_partitions_revoked_after_commit(&self, _: Partitions) {
        let outcome = self.out.acknowledge(1).outcome();
        self.outcomes.lock().unwrap().insert((1, format!("{outcome:?}")));
        self.behind.open();
    }
}

#[tokio::test]
async fn an_acknowledgment_counts_until_the_last_commit_is_made() {
    let course = Course::new(2).await;
    let (outcomes, behind) = (Arc::default(), Latch::closed());
    let hooks = Hooks { out: course.out.clone(), outcomes: Arc::clone(&outcomes), behind: behind.clone() };
    let builder = course.builder().set("listener.async_acks", true).rebalance_listener(hooks);
    let listeners = builder.start().await.unwrap();
    course.out.wait_for(0..2).await;
    listeners.shutdown().await.into_result().unwrap();
    behind.passed().await;
    let expected = [(0, "Acknowledged".to_owned()), (1, "Superseded".to_owned())];
    assert_eq!(*outcomes.lock().unwrap(), BTreeSet::from(expected));
    assert_eq!(course.committed().await, 1);
}
