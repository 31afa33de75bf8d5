//! `handler_timeout`: what awaits for too long is cancelled and tried again; what blocks its thread is reported and
//! waited for.

use kafka_listener::extract::{Attempt, State};
use kafka_listener::{ListenerDefinition, ListenerRegistryBuilder, RecordMetadata, kafka_listener, listener};
use serde_json::Value;
use support::{Record, broker, eventually};

use crate::common::{Diary, Ground, Latch, SOON, log_of};

#[kafka_listener(id = "timeout-awaiting")]
async fn awaiting(_order: Value, meta: RecordMetadata, attempt: Attempt, State(diary): State<Diary>) {
    let _running = diary.begin(&meta);
    tokio::task::yield_now().await;
    if meta.offset() == 2 || (meta.offset() == 1 && attempt.is_first()) {
        assert_eq!(attempt.limit(), Some(9));
        std::future::pending::<()>().await;
    }
}

#[kafka_listener(id = "timeout-blocking-pool")]
fn blocking_pool(_order: Value, meta: RecordMetadata, State(diary): State<Diary>, State(latch): State<Latch>) {
    let _running = diary.begin(&meta);
    if meta.offset() == 1 {
        latch.pass_blocking();
    }
}

#[kafka_listener(id = "timeout-blocking-worker")]
async fn blocking_worker(_order: Value, meta: RecordMetadata, State(diary): State<Diary>, State(latch): State<Latch>) {
    let _running = diary.begin(&meta);
    if meta.offset() == 1 {
        latch.pass_blocking();
    }
}

async fn ground_of_four(definition: ListenerDefinition, diary: &Diary) -> (Ground, ListenerRegistryBuilder) {
    let ground = Ground::new(1).await;
    broker().produce_all((0..4).map(|_| Record::to(&ground.topic).payload("{}"))).await.unwrap();
    let builder = ground.registry().register(definition).state(diary.clone());
    let builder = builder.set("listener.retry.delay", "1ms").set("listener.retry.attempts", 9);
    (ground, builder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_awaits_too_long_is_cancelled_and_fails_as_a_timeout() {
    let diary = Diary::default();
    let (ground, builder) = ground_of_four(listener!(awaiting), &diary).await;
    // A handler that only gives way may find that the machine has taken a good part of a second meanwhile.
    let builder = builder.set("listener.handler_timeout", "3s");
    let builder =
        builder.set("listener.on_failure.timeout.attempts", 2).set("listener.on_failure.timeout.on_failure", "skip");
    let listeners = builder.start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    assert_eq!(diary.begun(0), [0, 1, 1, 2, 2, 3]);
    diary.check_one_at_a_time_in_a_partition();
    for cancelled in diary.entries().iter().filter(|entry| entry.offset == 2) {
        let took = cancelled.ended.unwrap() - cancelled.began;
        assert!(took.as_millis() >= 2_995, "{took:?}");
    }
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (3, 3, 2, 1));
    let log = log_of(&ground.topic);
    let skipped = log.iter().find(|line| line.message().starts_with("record skipped")).expect("the skip is logged");
    assert_eq!(skipped.field("class"), "timeout");
    assert_eq!(skipped.field("error"), "the handler took longer than `handler_timeout` of 3s");
}

/// A handler that cannot be cancelled is reported, waited for, and not delivered beside itself.
async fn check_blocked(definition: ListenerDefinition) {
    let (diary, latch) = (Diary::default(), Latch::closed());
    let _opens = latch.opens_at_the_end();
    let (ground, builder) = ground_of_four(definition, &diary).await;
    let builder = builder.state(latch.clone()).set("listener.handler_timeout", "3s");
    let listeners = builder.start().await.unwrap();

    let reports = || {
        let log = log_of(&ground.topic);
        log.into_iter().filter(|line| line.message().contains("blocks its thread")).collect::<Vec<_>>()
    };
    eventually(SOON, "the blocked handler is reported", || async { !reports().is_empty() }).await.unwrap();
    assert_eq!(reports()[0].field("offset"), "1");
    assert_eq!(diary.begun(0), [0, 1], "it was not delivered again");
    latch.open();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    diary.check_each_once_in_order(0, 4);
    assert_eq!((status.handled, status.failed), (4, 0), "what it came to in the end counts");
    assert_eq!(reports().len(), 1, "once per record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_on_the_blocking_pool_is_reported_and_waited_for() {
    check_blocked(listener!(blocking_pool)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_handler_that_blocks_its_worker_is_reported_and_waited_for() {
    check_blocked(listener!(blocking_worker)).await;
}
