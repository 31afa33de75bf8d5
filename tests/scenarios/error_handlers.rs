//! Code that decides about failed deliveries: what it says, when it says nothing, and when it fails itself.
#![expect(clippy::panic, reason = "code that panics is one of the cases")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::bail;
use kafka_listener::error_handler::{ErrorHandler, FailedDelivery, FailureAction};
use kafka_listener::extract::State;
use kafka_listener::{RecordMetadata, kafka_listener, listener};
use serde_json::Value;
use support::{Record, broker, eventually};

use crate::common::{Diary, Ground, SOON, log_of};

#[kafka_listener(id = "error-handlers")]
async fn failing(_order: Value, meta: RecordMetadata, State(diary): State<Diary>) -> anyhow::Result<()> {
    let _running = diary.begin(&meta);
    match meta.offset() {
        0 | 6 => Ok(()),
        offset => bail!("record {offset} fails"),
    }
}

/// What a handler was asked: offset, attempt, its limit, what is done otherwise.
type Asked = Arc<Mutex<Vec<(i64, u32, Option<u32>, FailureAction)>>>;

fn note(asked: &Asked, failure: &FailedDelivery<'_>) -> i64 {
    let (offset, attempt) = (failure.metadata().offset(), failure.attempt());
    asked.lock().unwrap().push((offset, attempt.number(), attempt.limit(), failure.default_action()));
    assert_eq!(failure.error().source().to_string(), format!("record {offset} fails"));
    assert_eq!(failure.metadata().listener_id(), "error-handlers");
    assert!(failure.metadata().timestamp().to_millis().is_some());
    offset
}

/// The listener's own handler.
struct Own(Asked);

#[async_trait::async_trait]
impl ErrorHandler for Own {
    async fn on_failure(&self, failure: FailedDelivery<'_>) -> FailureAction {
        match note(&self.0, &failure) {
            2 if failure.attempt().number() < 4 => FailureAction::RetryAfter(Duration::from_millis(1)),
            1 | 2 => FailureAction::Skip,
            4 => panic!("the error handler is broken"),
            5 => std::future::pending().await,
            _ => FailureAction::Default,
        }
    }
}

/// The handler of all listeners.
struct ForAll(Asked);

#[async_trait::async_trait]
impl ErrorHandler for ForAll {
    async fn on_failure(&self, failure: FailedDelivery<'_>) -> FailureAction {
        note(&self.0, &failure);
        FailureAction::Default
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_handler_decides_and_the_settings_do_where_it_does_not() {
    let ground = Ground::new(1).await;
    broker().produce_all((0..7).map(|_| Record::to(&ground.topic).payload("{}"))).await.unwrap();
    let (diary, own, for_all) = (Diary::default(), Asked::default(), Asked::default());
    let builder = ground.registry().register(listener!(failing)).state(diary.clone());
    let builder = builder.set("listener.retry.delay", "1ms").set("listener.retry.attempts", 2);
    let builder = builder.set("listener.retry.jitter", 0.0).set("listener.on_failure", "skip");
    let builder = builder.set("listener.handler_timeout", "300ms");
    let builder =
        builder.error_handler(ForAll(Arc::clone(&for_all))).error_handler_for("error-handlers", Own(Arc::clone(&own)));
    let listeners = builder.start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    let status = listeners.status().listeners.remove(0);

    assert_eq!(diary.begun(0), [0, 1, 2, 2, 2, 2, 3, 3, 4, 4, 5, 5, 6]);
    let retry = FailureAction::RetryAfter(Duration::from_millis(1));
    let skip = FailureAction::Skip;
    let asked = |offset, attempt, default| (offset, attempt, Some(2), default);
    let third = [asked(3, 1, retry), asked(3, 2, skip)];
    let mut expected = vec![asked(1, 1, retry)];
    expected.extend([asked(2, 1, retry), asked(2, 2, skip), asked(2, 3, skip), asked(2, 4, skip)]);
    expected.extend(third);
    expected.extend([asked(4, 1, retry), asked(4, 2, skip), asked(5, 1, retry), asked(5, 2, skip)]);
    assert_eq!(*own.lock().unwrap(), expected);
    assert_eq!(*for_all.lock().unwrap(), third, "only where the listener's own says nothing");
    assert_eq!((status.handled, status.failed, status.skipped), (2, 11, 5));
    let log = log_of("error-handlers");
    let failed: Vec<_> = log.iter().filter(|line| line.message().starts_with("an error handler failed")).collect();
    let of_this = |reason: &str| {
        let record = |offset| format!("{}-0@{offset}", ground.topic);
        let mine = failed.iter().filter(|line| line.field("reason").contains(reason));
        mine.filter(|line| [record(4), record(5)].iter().any(|record| line.field("record") == *record)).count()
    };
    assert_eq!((of_this("the error handler is broken"), of_this("handler_timeout")), (2, 2));
}

/// Is asked and never answers.
struct Silent(Asked);

#[async_trait::async_trait]
impl ErrorHandler for Silent {
    async fn on_failure(&self, failure: FailedDelivery<'_>) -> FailureAction {
        note(&self.0, &failure);
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_cancels_an_error_handler_when_its_time_is_up_and_the_record_is_not_done() {
    let ground = Ground::new(1).await;
    broker().produce_all((0..2).map(|_| Record::to(&ground.topic).payload("{}"))).await.unwrap();
    let asked = Asked::default();
    let builder = ground.registry().register(listener!(failing)).state(Diary::default());
    let builder = builder.set("listener.shutdown_timeout", "2s").error_handler(Silent(Arc::clone(&asked)));
    let listeners = builder.start().await.unwrap();
    eventually(SOON, "the handler is asked", || async { asked.lock().unwrap().len() == 1 }).await.unwrap();
    let report = listeners.shutdown().await;

    assert!(report.into_result().is_err(), "something was left");
    let committed = broker().committed(&ground.group, &ground.topic).await.unwrap();
    assert_eq!(committed.get(&0), Some(&1));
}

#[tokio::test]
async fn an_error_handler_for_a_listener_that_does_not_exist_is_refused() {
    let ground = Ground { topic: "orders".to_owned(), group: "orders".to_owned() };
    let builder = ground.registry().register(listener!(failing)).state(Diary::default());
    let refused = builder.error_handler_for("failling", Silent(Asked::default())).start().await.unwrap_err();
    assert!(refused.to_string().contains("failling"), "{refused}");
}
