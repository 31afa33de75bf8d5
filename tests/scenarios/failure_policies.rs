//! Each class of error has attempts, delays, a limit of time and an action of its own.
#![expect(clippy::panic, reason = "a handler that panics is one of the classes")]

use std::fmt;

use anyhow::bail;
use kafka_listener::extract::State;
use kafka_listener::{Classify, ListenerDefinition, ListenerRegistryBuilder, RecordMetadata, kafka_listener, listener};
use serde_json::Value;
use support::{Record, broker};

use crate::common::{Diary, Ground, SOON};

#[derive(Debug, Classify)]
enum StockError {
    #[classify(name = "busy")]
    Busy,
    #[classify(terminal)]
    UnknownProduct,
    Unreachable,
}

impl fmt::Display for StockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stock: {self:?}")
    }
}

impl std::error::Error for StockError {}

#[kafka_listener(id = "policies-scripted")]
async fn scripted(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> Result<(), StockError> {
    let _running = diary.begin(&meta);
    match (meta.offset(), meta.attempt()) {
        (1, _) | (4, 1) => Err(StockError::Busy),
        (2, _) => panic!("the handler is broken"),
        (3 | 4, _) => Err(StockError::Unreachable),
        (5, _) => Err(StockError::UnknownProduct),
        _ => Ok(()),
    }
}

#[kafka_listener(id = "policies-failing")]
async fn failing(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> anyhow::Result<()> {
    let _running = diary.begin(&meta);
    if meta.offset() == 1 {
        bail!("the warehouse does not answer");
    }
    Ok(())
}

/// A ground of one partition with so many records, and a listener on it that retries at once.
async fn ground_with(records: usize, definition: ListenerDefinition) -> (Ground, Diary, ListenerRegistryBuilder) {
    let ground = Ground::new(1).await;
    broker().produce_all((0..records).map(|_| Record::to(&ground.topic).payload("{}"))).await.unwrap();
    let diary = Diary::default();
    let builder = ground.registry().register(definition).state(diary.clone());
    let builder = builder.set("listener.retry.delay", "1ms").set("listener.retry.jitter", 0.0);
    (ground, diary, builder)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_class_has_its_own_attempts_and_action() {
    let (ground, diary, builder) = ground_with(7, listener!(scripted)).await;
    let builder = builder.set("listener.retry.attempts", 4).set("listener.on_failure.default", "skip");
    let builder = builder.set("listener.on_failure.busy.attempts", 2);
    let builder = builder.set("listeners.policies-scripted.on_failure.panic.attempts", 3);
    let listeners = builder.start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    let attempts = |offset| -> Vec<u32> {
        diary.entries().iter().filter(|one| one.offset == offset).map(|one| one.attempt).collect()
    };
    assert_eq!(attempts(1), [1, 2], "`busy` has two");
    assert_eq!(attempts(2), [1, 2, 3], "`panic` has three");
    assert_eq!(attempts(3), [1, 2, 3, 4], "the others have four");
    assert_eq!(attempts(4), [1, 2, 3, 4], "deliveries that failed in another class count");
    assert_eq!((attempts(5), attempts(6)), (vec![1], vec![1]));
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (2, 14, 9, 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_end_when_the_limit_of_time_is_over() {
    let (ground, diary, builder) = ground_with(3, listener!(failing)).await;
    let builder = builder.set("listener.retry.delay", "50ms").set("listener.retry.multiplier", 1.0);
    let builder = builder.set("listener.retry.max_elapsed", "400ms").set("listener.on_failure", "skip");
    let listeners = builder.start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    let deliveries = diary.entries().iter().filter(|one| one.offset == 1).count();
    // Eight waits of 50 ms fit; a slow machine makes fewer.
    assert!((2..=9).contains(&deliveries), "{deliveries} deliveries");
    assert_eq!((status.handled, status.skipped), (2, 1));
}

#[tokio::test]
async fn a_class_that_no_error_of_the_listener_has_fails_the_start() {
    let ground = Ground { topic: "orders".to_owned(), group: "orders".to_owned() };
    let builder = ground.registry().register(listener!(scripted)).state(Diary::default());
    let refused = builder.set("listener.on_failure.bussy", "skip").start().await.unwrap_err().to_string();
    assert!(refused.contains("no error of listener `policies-scripted` has the class `bussy`"), "{refused}");
    assert!(refused.contains("did you mean `busy`?"), "{refused}");
}
