//! Records that are passed over, payloads that are not valid, and layers around handlers.

use std::sync::{Arc, Mutex};

use kafka_listener::extract::State;
use kafka_listener::interceptor::{Interceptor, Next};
use kafka_listener::{ListenerError, RecordContext, RecordMetadata, Validate, kafka_listener, listener};
use serde::Deserialize;
use support::{Record, broker};

use crate::common::{Diary, Ground, SOON, log_of};

#[derive(Deserialize)]
struct Order {
    quantity: u32,
}

impl Validate for Order {
    type Error = String;

    fn validate(&self) -> Result<(), String> {
        if self.quantity == 0 { Err("an order of nothing".to_owned()) } else { Ok(()) }
    }
}

fn is_european(record: RecordContext<'_>) -> bool {
    record.headers().any(|(name, value)| name == b"region" && value == Some(b"eu"))
}

fn is_small(order: &Order) -> bool {
    order.quantity < 10
}

#[kafka_listener(id = "filters-before", filter = is_european)]
async fn before(_order: Order, meta: RecordMetadata, State(diary): State<Diary>) {
    drop(diary.begin(&meta));
}

#[kafka_listener(id = "filters-after", filter = is_small)]
async fn after(_order: Order, meta: RecordMetadata, State(diary): State<Diary>) {
    drop(diary.begin(&meta));
}

#[kafka_listener(id = "filters-none")]
async fn unfiltered(_order: Option<Order>, meta: RecordMetadata, State(diary): State<Diary>) {
    drop(diary.begin(&meta));
}

/// Records with these payloads and regions, in one partition.
async fn ground_of(records: &[(&str, &str)]) -> Ground {
    let ground = Ground::new(1).await;
    let record =
        |&(payload, region): &(&str, &str)| Record::to(&ground.topic).payload(payload).header("region", Some(region));
    broker().produce_all(records.iter().map(record).collect::<Vec<_>>()).await.unwrap();
    ground
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_passed_over_before_or_after_decoding_and_are_done() {
    let ground = ground_of(&[
        (r#"{"quantity":1}"#, "eu"),
        ("no order at all", "us"),
        (r#"{"quantity":50}"#, "eu"),
        (r#"{"quantity":2}"#, "us"),
    ])
    .await;
    let (first, second) = (Diary::default(), Diary::default());
    let group = format!("{}-after", ground.group);
    let listeners = ground.registry().register(listener!(before)).state(first.clone()).start().await.unwrap();
    let builder = ground.registry().register(listener!(after)).state(second.clone()).set("listener.on_failure", "skip");
    let others = builder.set("listener.group_id", group.as_str()).start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    broker().wait_for_commits_to_end(&group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    others.shutdown().await.into_result().unwrap();

    let status = listeners.status().listeners.remove(0);
    assert_eq!(first.begun(0), [0, 2], "what is not European is not even decoded");
    assert_eq!((status.handled, status.filtered, status.failed), (2, 2, 0));
    let status = others.status().listeners.remove(0);
    assert_eq!(second.begun(0), [0, 3], "what is large is passed over");
    assert_eq!((status.handled, status.filtered, status.failed, status.skipped), (2, 1, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_payload_never_reaches_the_handler() {
    let ground =
        ground_of(&[(r#"{"quantity":1}"#, "eu"), (r#"{"quantity":0}"#, "eu"), (r#"{"quantity":2}"#, "eu")]).await;
    let diary = Diary::default();
    let builder = ground.registry().register(listener!(unfiltered)).state(diary.clone());
    let listeners = builder.set("listener.on_failure.validation", "skip").start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    let status = listeners.status().listeners.remove(0);
    assert_eq!(diary.begun(0), [0, 2]);
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (2, 1, 0, 1));
    let log = log_of(&ground.topic);
    let skipped = log.iter().find(|line| line.message().starts_with("record skipped")).expect("the skip is logged");
    assert_eq!((skipped.field("class"), skipped.field("error")), ("validation", "an order of nothing"));
}

/// Writes what it sees; passes record 1 over, and makes a failure of the second record's success once.
struct Layer(&'static str, Arc<Mutex<Vec<String>>>);

#[async_trait::async_trait]
impl Interceptor for Layer {
    async fn intercept(&self, record: RecordContext<'_>, next: Next<'_>) -> Result<(), ListenerError> {
        let Self(name, seen) = self;
        let (offset, attempt) = (record.offset(), record.attempt());
        seen.lock().unwrap().push(format!("{name} before {offset}"));
        if *name == "outer" && offset == 1 {
            return Ok(());
        }
        let outcome = next.run(record).await;
        seen.lock().unwrap().push(format!("{name} after {offset}: {}", outcome.is_ok()));
        if *name == "inner" && (offset, attempt) == (2, 1) { Err("not yet".into()) } else { outcome }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interceptors_are_layers_around_the_handler_from_the_outside_in() {
    let order = (r#"{"quantity":1}"#, "eu");
    let ground = ground_of(&[order, order, order, ("no order", "eu")]).await;
    let (diary, seen) = (Diary::default(), Arc::default());
    let builder = ground.registry().register(listener!(unfiltered)).state(diary.clone());
    let builder = builder.set("listener.retry.delay", "1ms").set("listener.on_failure", "skip");
    let builder = builder.interceptor_for("filters-none", Layer("inner", Arc::clone(&seen)));
    let listeners = builder.interceptor(Layer("outer", Arc::clone(&seen))).start().await.unwrap();
    broker().wait_for_commits_to_end(&ground.group, &ground.topic, SOON).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();

    assert_eq!(diary.begun(0), [0, 2, 2]);
    let status = listeners.status().listeners.remove(0);
    assert_eq!((status.handled, status.failed, status.retried, status.skipped), (3, 2, 1, 1));
    let through = |offset, inner, outer| {
        [
            format!("outer before {offset}"),
            format!("inner before {offset}"),
            format!("inner after {offset}: {inner}"),
            format!("outer after {offset}: {outer}"),
        ]
    };
    let mut expected = through(0, true, true).to_vec();
    expected.push("outer before 1".to_owned());
    expected.extend(through(2, true, false));
    expected.extend(through(2, true, true));
    expected.extend(through(3, false, false));
    assert_eq!(*seen.lock().unwrap(), expected);
}
