//! Code that panics, blocks, or goes away: it costs an attempt, a hook or a container, never a neighbour.
#![expect(clippy::panic, reason = "code that panics is the subject")]

use std::fmt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use kafka_listener::__private::test_hooks;
use kafka_listener::extract::{FromRecord, State};
use kafka_listener::rebalance::{Partitions, RebalanceListener, StartOffset};
use kafka_listener::{
    ContainerState, HoldOutcome, ListenerDefinition, ListenerRegistry, ListenerRegistryBuilder, Phase, RecordContext,
    RecordMetadata, TopicPartition, kafka_listener, listener,
};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use support::{Record, broker, eventually};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::common::{Diary, Entry, Ground, Latch, SOON};

/// The record that makes code panic, in partition 0.
const BAD: i64 = 1;

fn is_bad(meta: &RecordMetadata) -> bool {
    meta.partition() == 0 && meta.offset() == BAD
}

#[kafka_listener(id = "panics-in-handler")]
async fn in_handler(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    tokio::task::yield_now().await;
    assert!(!is_bad(&meta), "no idea what to do with it");
}

#[kafka_listener(id = "panics-in-blocking-handler")]
fn in_blocking_handler(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    assert!(!is_bad(&meta), "no idea what to do with it");
}

struct Explosive;

impl FromRecord for Explosive {
    type Rejection = std::convert::Infallible;

    fn from_record(record: RecordContext<'_>) -> Result<Self, Self::Rejection> {
        assert!(!is_bad(&RecordMetadata::of(record)), "an extractor gave up");
        Ok(Self)
    }
}

#[kafka_listener(id = "panics-in-extractor")]
async fn in_extractor(_order: Value, _explosive: Explosive, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
}

/// Reads `{"bad":true}` and panics.
struct Undecodable;

impl<'de> Deserialize<'de> for Undecodable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let order = Value::deserialize(deserializer)?;
        assert!(order.get("bad").is_none(), "the decoder gave up");
        Ok(Self)
    }
}

#[kafka_listener(id = "panics-in-decoder")]
async fn in_decoder(_order: Undecodable, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
}

#[derive(Deserialize)]
struct PanicsOnDrop {
    #[serde(default)]
    bad: bool,
}

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        assert!(!self.bad || thread::panicking(), "the payload would not go");
    }
}

#[kafka_listener(id = "panics-in-payload-drop")]
async fn in_payload_drop(order: PanicsOnDrop, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    drop(order);
}

#[derive(Debug)]
struct RudeError;

impl fmt::Display for RudeError {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no text from me")
    }
}

impl std::error::Error for RudeError {}

#[kafka_listener(id = "panics-in-display")]
async fn in_display(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> Result<(), RudeError> {
    let _running = diary.begin(&meta);
    if is_bad(&meta) { Err(RudeError) } else { Ok(()) }
}

#[derive(Debug, thiserror::Error)]
#[error("an error that does not go quietly")]
struct StickyError;

impl Drop for StickyError {
    fn drop(&mut self) {
        assert!(thread::panicking(), "the error would not go");
    }
}

#[kafka_listener(id = "panics-in-error-drop")]
async fn in_error_drop(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> Result<(), StickyError> {
    let _running = diary.begin(&meta);
    if is_bad(&meta) { Err(StickyError) } else { Ok(()) }
}

/// Latched at the first record of partition 0.
#[kafka_listener(id = "panics-latched")]
async fn latched(_order: Value, meta: RecordMetadata, State(diary): State<Diary>, State(latch): State<Latch>) {
    let _running = diary.begin(&meta);
    if meta.partition() == 0 && meta.offset() == 0 {
        latch.passed().await;
    }
}

#[kafka_listener(id = "panics-neighbour")]
async fn neighbour(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
}

async fn produce(ground: &Ground, partition: i32, count: usize) {
    let record = || Record::to(&ground.topic).partition(partition).payload("{}");
    broker().produce_all(std::iter::repeat_with(record).take(count)).await.unwrap();
}

/// The bad record costs its three attempts and is held, with what status says of it; skipped, all the rest is handled.
async fn check_a_panic_is_a_failed_attempt(definition: ListenerDefinition, text: &str) {
    let id = definition.id;
    let ground = Ground::new(2).await;
    let order = |partition, payload: &str| Record::to(&ground.topic).partition(partition).payload(payload);
    broker().produce_all([order(0, "{}"), order(0, r#"{"bad":true}"#), order(0, "{}")]).await.unwrap();
    produce(&ground, 1, 10).await;
    let diary = Diary::default();
    let builder = ground.registry().register(definition).state(diary.clone());
    let builder = builder.set("listener.retry.attempts", 3).set("listener.retry.delay", "1ms");
    let listeners = builder.set("listener.concurrency", 1).start().await.unwrap();
    let container = listeners.container(id).unwrap();

    let held = || async {
        let status = listeners.status();
        let partition = status.listeners[0].partitions.first().context("nothing is assigned yet")?;
        ensure!(partition.phase == Phase::Held, "{status}");
        let blocking = partition.blocking.as_ref().expect("a held partition names its record");
        ensure!((blocking.offset, blocking.attempt) == (BAD, 3), "{status}");
        ensure!(blocking.error.as_deref() == Some(text), "{status}");
        Ok(())
    };
    eventually(SOON, "the record is held", held).await.unwrap();
    diary
        .wait("the other partition flows, so the slot came back", |entries| {
            entries.iter().filter(|one| one.partition == 1 && one.ended.is_some()).count() == 10
        })
        .await;
    assert_eq!((container.state(), listeners.health().live.ok), (ContainerState::Running, true));

    let bad = TopicPartition::new(ground.topic.as_str(), 0);
    assert_eq!(container.skip_held(&bad, BAD).await, HoldOutcome::Applied { offset: BAD });
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    assert_eq!(listeners.status().listeners[0].rebalances, 1);
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (12, 3, 2, 1));
    assert_eq!(status.possibly_repeated, 0);
    assert!(diary.begun(0).iter().all(|offset| *offset <= 2) && diary.begun(0).ends_with(&[2]));
    diary.check_each_once_in_order(1, 10);
    diary.check_one_at_a_time_in_a_partition();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_handler_is_a_failed_attempt() {
    check_a_panic_is_a_failed_attempt(listener!(in_handler), "panicked: no idea what to do with it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_blocking_handler_is_a_failed_attempt() {
    check_a_panic_is_a_failed_attempt(listener!(in_blocking_handler), "panicked: no idea what to do with it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_an_extractor_is_a_failed_attempt() {
    check_a_panic_is_a_failed_attempt(listener!(in_extractor), "panicked: an extractor gave up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_a_decoder_is_a_failed_attempt() {
    check_a_panic_is_a_failed_attempt(listener!(in_decoder), "panicked: the decoder gave up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_drop_of_a_payload_is_a_failed_attempt() {
    check_a_panic_is_a_failed_attempt(listener!(in_payload_drop), "panicked: the payload would not go").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_display_of_an_error_leaves_the_attempt_failed() {
    check_a_panic_is_a_failed_attempt(listener!(in_display), "(the error's `Display` panicked)").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_in_the_drop_of_an_error_leaves_the_attempt_failed() {
    check_a_panic_is_a_failed_attempt(listener!(in_error_drop), "an error that does not go quietly").await;
}

/// Panics at every event.
struct PanickingHook;

#[async_trait::async_trait]
impl RebalanceListener for PanickingHook {
    async fn on_partitions_assigned(&self, _: Partitions) -> Vec<StartOffset> {
        panic!("no hook for this")
    }

    async fn on_partitions_revoked_before_commit(&self, _: Partitions) {
        panic!("no hook for this")
    }

    async fn on_partitions_revoked_after_commit(&self, _: Partitions) {
        panic!("no hook for this")
    }
}

/// Holds its thread for ten minutes at every event.
struct BlockingHook;

impl BlockingHook {
    fn block() {
        Latch::closed().pass_blocking_within(Duration::from_secs(600));
    }
}

#[async_trait::async_trait]
impl RebalanceListener for BlockingHook {
    async fn on_partitions_assigned(&self, _: Partitions) -> Vec<StartOffset> {
        Self::block();
        Vec::new()
    }

    async fn on_partitions_revoked_before_commit(&self, _: Partitions) {
        Self::block();
    }

    async fn on_partitions_revoked_after_commit(&self, _: Partitions) {
        Self::block();
    }
}

/// A member whose hooks fail gives half of its partitions to a second one, and at last everything to it. Both times
/// the rebalance is over within its budget and nothing is handled twice.
async fn check_rebalances_go_on_without_the_hook(
    first: ListenerRegistry,
    second: ListenerRegistryBuilder,
    case: &Case,
) {
    // Of the stop. Hooks may take 95 % of it, the rest is for leaving the group.
    const BUDGET: Duration = Duration::from_secs(20);
    let Case { ground, diary } = case;
    first.wait_until_assigned(SOON).await.unwrap();
    for partition in 0..4 {
        produce(ground, partition, 10).await;
    }
    diary.wait("the first member works", |entries| entries.len() == 40).await;
    // What a hook leaves of the budget may be too little for a commit.
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();

    let second = second.start().await.unwrap();
    broker().wait_for_members(&ground.group, 2, SOON).await.unwrap();
    let shared = || async {
        let (one, other) = (partitions(&first), partitions(&second));
        ensure!(one == 2 && other == 2, "{one} and {other}");
        Ok(())
    };
    eventually(SOON, "both have their share", shared).await.unwrap();
    assert!(first.health().live.ok, "{:?}", first.health());
    for partition in 0..4 {
        produce(ground, partition, 10).await;
    }
    diary.wait("both members work", |entries| entries.len() == 80).await;
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();

    let began = Instant::now();
    first.shutdown_within(BUDGET).await.into_result().unwrap();
    let took = began.elapsed();
    assert!(took < BUDGET + Duration::from_secs(1), "the stop took {took:?}");
    let all = || async { partitions(&second) == 4 };
    eventually(SOON, "the second member has everything", all).await.unwrap();
    second.shutdown().await.into_result().unwrap();
    for partition in 0..4 {
        diary.check_each_once_in_order(partition, 20);
    }
}

struct Case {
    ground: Ground,
    diary: Diary,
}

impl Case {
    async fn new() -> Self {
        Self { ground: Ground::new(4).await, diary: Diary::default() }
    }

    fn builder(&self) -> ListenerRegistryBuilder {
        let builder = self.ground.registry().register(listener!(neighbour)).state(self.diary.clone());
        builder.set("listener.revoke_timeout", "1s")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_panics_is_left_behind() {
    let case = Case::new().await;
    let first = case.builder().rebalance_listener(PanickingHook).start().await.unwrap();
    check_rebalances_go_on_without_the_hook(first, case.builder(), &case).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_that_sleeps_its_thread_for_ten_minutes_is_left_behind() {
    let case = Case::new().await;
    // One thread for each event that blocks one, and two to work with. The process's end is the end of the blocked ones.
    let (first, runtime) = on_a_runtime_of_its_own(multi_thread(8), case.builder().rebalance_listener(BlockingHook));
    check_rebalances_go_on_without_the_hook(first, case.builder(), &case).await;
    runtime.drop_it();
}

async fn check_a_dropped_runtime_ends_the_container(runtime: Runtime) {
    let ground = Ground::new(2).await;
    let (diary, latch) = (Diary::default(), Latch::closed());
    let builder = ground.registry().register(listener!(latched)).state(diary.clone()).state(latch.clone());
    let builder = builder.set("listener.shutdown_timeout", "10s");
    let (listeners, runtime) = on_a_runtime_of_its_own(runtime, builder);
    produce(&ground, 0, 2).await;
    produce(&ground, 1, 10).await;
    diary
        .wait("one handler is latched and the rest is done", |entries| {
            entries.len() == 11 && entries.iter().filter(|one| one.ended.is_none()).count() == 1
        })
        .await;

    let began = Instant::now();
    runtime.drop_it();
    let container = listeners.container("panics-latched").unwrap();
    let ended = || async {
        ensure!(container.state() == ContainerState::Failed, "{}", listeners.status());
        Ok(())
    };
    eventually(Duration::from_secs(20), "the container has failed", ended).await.unwrap();
    let took = began.elapsed();
    assert!(took < Duration::from_secs(11), "it took {took:?}");
    let failure = container.failure().unwrap();
    assert!(failure.contains("runtime"), "{failure}");
    assert!(!listeners.health().live.ok && !listeners.health().ready.ok, "{:?}", listeners.health());
    broker().wait_for_members(&ground.group, 0, SOON).await.unwrap();
    let committed = broker().committed(&ground.group, &ground.topic).await.unwrap();
    assert_eq!(committed.get(&1), Some(&10), "what was done is committed");
    assert!(committed.get(&0).is_none_or(|offset| *offset == 0), "what was not done is not");
    let gone = |entries: &[Entry]| entries.iter().all(|one| one.ended.is_some());
    diary.wait("the latched handler is gone", gone).await;

    // Whoever takes over handles what was left, and only that.
    latch.open();
    let builder = ground.registry().register(listener!(latched)).state(diary.clone()).state(latch);
    let next = builder.start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    next.shutdown().await.into_result().unwrap();
    assert_eq!(diary.begun(0), [0, 0, 1]);
    diary.check_each_once_in_order(1, 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_that_is_dropped_ends_its_containers() {
    check_a_dropped_runtime_ends_the_container(multi_thread(2)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_current_thread_runtime_that_is_dropped_ends_its_containers() {
    check_a_dropped_runtime_ends_the_container(Builder::new_current_thread().enable_all().build().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_loop_that_panics_ends_its_container_and_commits_nothing_more() {
    let (ground, other) = (Ground::new(2).await, Ground::new(1).await);
    let (diary, others, latch) = (Diary::default(), Diary::default(), Latch::closed());
    // Nothing of what is done is committed when the loop panics.
    let builder = ground.registry().register(listener!(latched)).state(diary.clone()).state(latch.clone());
    let builder = builder.set("listener.ack_mode", "time").set("listener.ack_time", "1h");
    let listeners = builder.start().await.unwrap();
    let builder = other.registry().register(listener!(neighbour)).state(others.clone());
    let neighbours = builder.start().await.unwrap();
    produce(&ground, 0, 2).await;
    produce(&ground, 1, 10).await;
    diary
        .wait("one handler is latched and the rest is done", |entries| {
            entries.len() == 11 && entries.iter().filter(|one| one.ended.is_none()).count() == 1
        })
        .await;
    let container = listeners.container("panics-latched").unwrap();
    // A handler is at its end a little before the listener knows.
    eventually(SOON, "the listener counts ten", || async { container.status().handled == 10 }).await.unwrap();

    test_hooks::panic_in_poll_loop(ground.group.as_str());
    let failed = || async { container.state() == ContainerState::Failed };
    eventually(SOON, "the container has failed", failed).await.unwrap();
    let failure = container.failure().unwrap();
    assert!(failure.contains("the poll loop panicked"), "{failure}");
    assert!(!listeners.health().live.ok, "{:?}", listeners.health());
    let gone = |entries: &[Entry]| entries.iter().all(|one| one.ended.is_some());
    diary.wait("the latched handler is cancelled", gone).await;
    assert!(listeners.shutdown().await.into_result().is_err());
    broker().wait_for_members(&ground.group, 0, SOON).await.unwrap();
    let committed = broker().committed(&ground.group, &ground.topic).await.unwrap();
    assert!(committed.values().all(|offset| *offset == 0), "{committed:?}");
    let repeated = listeners.status().listeners[0].possibly_repeated;
    assert_eq!(repeated, 11, "ten were done and not committed, one was running");

    produce(&other, 0, 3).await;
    others.wait("the neighbour goes on", |entries| entries.len() == 3).await;
    neighbours.shutdown().await.into_result().unwrap();

    latch.open();
    container.start().unwrap();
    let all = |entries: &[Entry]| entries.iter().filter(|one| one.ended.is_some()).count() == 23;
    diary.wait("a container started anew handles it all", all).await;
    listeners.shutdown().await.into_result().unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    assert_eq!(diary.begun(0), [0, 0, 1]);
    diary.check_one_at_a_time_in_a_partition();
}

fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().unwrap()
}

/// A runtime in a thread of its own.
struct OwnRuntime {
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl OwnRuntime {
    /// Drops it; threads of it that are blocked are left to the process's end.
    fn drop_it(self) {
        drop(self.stop);
        self.thread.join().unwrap();
    }
}

fn on_a_runtime_of_its_own(runtime: Runtime, builder: ListenerRegistryBuilder) -> (ListenerRegistry, OwnRuntime) {
    let (stop, stopped) = oneshot::channel::<()>();
    let (started, listeners) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        runtime.block_on(async {
            started.send(builder.start().await.unwrap()).unwrap();
            stopped.await.ok();
        });
        runtime.shutdown_background();
    });
    (listeners.recv().unwrap(), OwnRuntime { stop, thread })
}

fn partitions(listeners: &ListenerRegistry) -> usize {
    listeners.status().listeners[0].partitions.len()
}
