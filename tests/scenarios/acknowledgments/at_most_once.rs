//! `ack_mode = "at_most_once"`: committed before it is handled, so that nothing is handled twice.

use std::sync::Arc;

use anyhow::ensure;
use kafka_listener::extract::State;
use kafka_listener::{RecordMetadata, kafka_listener, listener};
use serde_json::Value;
use support::broker;

use super::{COUNT, Course};
use crate::common::{Diary, Ground, Latch};

#[kafka_listener(id = "acks-at-most-once", ack_mode = "at_most_once")]
async fn at_most_once(
    _order: Value,
    meta: RecordMetadata,
    State(diary): State<Diary>,
    State(course): State<Arc<Ground>>,
) -> anyhow::Result<()> {
    let _running = diary.begin(&meta);
    let committed = broker().committed(&course.group, &course.topic).await?.get(&0).copied().unwrap_or(0);
    assert_eq!(committed, meta.offset() + 1, "committed before it is handled, and no further");
    ensure!(meta.offset() != 2, "it is dropped");
    Ok(())
}

#[tokio::test]
async fn at_most_once_commits_a_record_before_it_is_handled_and_drops_what_fails() {
    let course = Course::new(COUNT).await;
    let builder = course.builder_of(listener!(at_most_once)).state(Arc::new(course.ground.clone()));
    let listeners = builder.start().await.unwrap();
    course.wait_for_commit(COUNT).await;
    course
        .diary
        .wait("all are handled", |entries| entries.iter().filter(|entry| entry.ended.is_some()).count() == 6)
        .await;
    let status = listeners.status();
    listeners.shutdown().await.into_result().unwrap();
    course.diary.check_each_once_in_order(0, COUNT);
    assert_eq!((status.listeners[0].failed, status.listeners[0].skipped, status.listeners[0].retried), (1, 1, 0));
    assert_eq!(listeners.status().listeners[0].possibly_lost, 0);
}

#[kafka_listener(id = "acks-at-most-once-latched", ack_mode = "at_most_once")]
async fn at_most_once_latched(
    _order: Value,
    meta: RecordMetadata,
    State(diary): State<Diary>,
    State(latch): State<Latch>,
) {
    let _running = diary.begin(&meta);
    latch.passed().await;
}

#[tokio::test]
async fn at_most_once_counts_what_it_cuts_off_as_possibly_lost_and_never_repeats_it() {
    let course = Course::new(3).await;
    let latch = Latch::closed();
    let builder = course.builder_of(listener!(at_most_once_latched)).state(latch.clone());
    let first = builder.set("listener.shutdown_timeout", "3s").start().await.unwrap();
    course.diary.wait("the first has begun", |entries| entries.len() == 1).await;
    let report = first.shutdown().await;
    assert!(report.into_result().is_err(), "a handler was cut off");
    let status = first.status();
    assert_eq!((status.listeners[0].possibly_lost, status.listeners[0].possibly_repeated), (1, 0));

    latch.open();
    let second = course.builder_of(listener!(at_most_once_latched)).state(latch).start().await.unwrap();
    course.wait_for_commit(3).await;
    course.diary.wait("the rest is handled", |entries| entries.len() == 3).await;
    second.shutdown().await.into_result().unwrap();
    assert_eq!(course.diary.begun(0), [0, 1, 2]);
}
