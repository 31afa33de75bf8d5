//! `async_acks` and `ack_drain`: acknowledgements in any order, behind a full window, and at the end.

use std::sync::Arc;
use std::time::Duration;

use kafka_listener::extract::State;
use kafka_listener::{AckOutcome, Acknowledgment, Phase, RecordMetadata, kafka_listener, listener};
use serde_json::Value;
use support::eventually;

use super::{Answers, COUNT, Course, Out};
use crate::common::{Diary, Latch, SOON};

#[tokio::test]
async fn async_acks_in_any_order_commit_no_further_than_the_oldest_open_record() {
    let course = Course::new(COUNT).await;
    let listeners = course.builder().set("listener.async_acks", true).start().await.unwrap();
    course.out.wait_for(0..COUNT).await;
    course.wait_for_phase(&listeners, Phase::AckOutstanding).await;
    for (acknowledged, committed) in [(2, 0), (3, 0), (0, 1), (5, 1), (1, 4), (4, 6)] {
        assert_eq!(course.out.acknowledge(acknowledged).outcome(), AckOutcome::Acknowledged);
        if committed > 0 {
            course.wait_for_commit(committed).await;
        }
        assert_eq!(course.committed().await, committed, "after {acknowledged} was acknowledged");
    }
    listeners.shutdown().await.into_result().unwrap();
    course.diary.check_each_once_in_order(0, COUNT);
}

#[tokio::test]
async fn async_acks_stop_at_a_full_window_and_go_on_when_the_oldest_is_acknowledged() {
    const WINDOW: i64 = 10;
    let course = Course::new(40).await;
    let builder = course.builder().set("listener.async_acks", true).set("listener.limits.in_flight_records", WINDOW);
    let listeners = builder.start().await.unwrap();
    course.out.wait_for(0..WINDOW).await;
    course.wait_for_phase(&listeners, Phase::AckedOutOfOrder).await;
    for offset in 1..WINDOW {
        course.out.acknowledge(offset);
    }
    course.wait_for_phase(&listeners, Phase::AckedOutOfOrder).await;
    let status = listeners.status();
    let partition = &status.listeners[0].partitions[0];
    assert_eq!((partition.open_acks, partition.blocking.as_ref().map(|blocking| blocking.offset)), (1, Some(0)));
    assert_eq!(course.out.offsets(), [0], "no more are handed out");
    assert!(listeners.health().live.ok, "waiting is never stuck");

    course.out.acknowledge(0);
    course.out.wait_for(WINDOW..2 * WINDOW).await;
    course.wait_for_commit(WINDOW).await;
    for offset in WINDOW..40 {
        let there = || async { course.out.offsets().contains(&offset) };
        eventually(SOON, "the window goes on", there).await.unwrap();
        course.out.acknowledge(offset);
    }
    course.wait_for_commit(40).await;
    listeners.shutdown().await.into_result().unwrap();
    course.diary.check_each_once_in_order(0, 40);
}

#[tokio::test]
async fn async_acks_that_come_back_are_delivered_again_beside_the_others() {
    let course = Course::new(COUNT).await;
    let builder = course.builder().set("listener.async_acks", true).set("listener.retry.delay", "1ms");
    let listeners = builder.start().await.unwrap();
    course.out.wait_for(0..COUNT).await;
    assert_eq!(course.out.take(1).unwrap().nack(Duration::from_millis(50)), AckOutcome::Returned);
    drop(course.out.take(4));
    course.out.wait_for(0..COUNT).await;
    for offset in 0..COUNT {
        assert_eq!(course.out.acknowledge(offset).outcome(), AckOutcome::Acknowledged);
    }
    course.wait_for_commit(COUNT).await;
    listeners.shutdown().await.into_result().unwrap();
    let mut again: Vec<_> =
        course.diary.entries().iter().filter(|entry| entry.attempt > 1).map(|entry| entry.offset).collect();
    again.sort_unstable();
    assert_eq!((again, course.diary.entries().len()), (vec![1, 4], 8));
}

#[tokio::test]
async fn ack_drain_gives_acknowledgments_that_are_out_so_much_time() {
    let course = Course::new(COUNT).await;
    let builder = course.builder().set("listener.ack_drain", "15s").set("listener.async_acks", true);
    let listeners = builder.start().await.unwrap();
    course.out.wait_for(0..COUNT).await;
    let stopping = tokio::spawn({
        let listeners = listeners.clone();
        async move { listeners.shutdown().await }
    });
    let is_stopping = || async { listeners.status().listeners[0].state != kafka_listener::ContainerState::Running };
    eventually(SOON, "the container is stopping", is_stopping).await.unwrap();
    let mut receipts = Vec::new();
    for offset in 0..COUNT {
        receipts.push(course.out.acknowledge(offset));
    }
    stopping.await.unwrap().into_result().unwrap();
    for receipt in receipts {
        assert_eq!(receipt.await, AckOutcome::Committed);
    }
    assert_eq!(course.committed().await, COUNT);
}

/// Lets the acknowledgments of the first records out and waits in the next.
#[kafka_listener(id = "acks-drain", ack_mode = "manual", async_acks = true)]
async fn waits_at_two(
    _order: Value,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(diary): State<Diary>,
    State(out): State<Out>,
    State(latch): State<Latch>,
) {
    let _running = diary.begin(&meta);
    out.keep(meta.offset(), ack);
    if meta.offset() == 2 {
        latch.passed().await;
    }
}

#[tokio::test]
async fn ack_drain_counts_from_whatever_the_worker_was_at() {
    let course = Course::new(COUNT).await;
    let latch = Latch::closed();
    let builder = course.builder_of(listener!(waits_at_two)).state(latch.clone());
    let listeners = builder.set("listener.ack_drain", "15s").start().await.unwrap();
    course.out.wait_for(0..3).await;
    let stopping = tokio::spawn({
        let listeners = listeners.clone();
        async move { listeners.shutdown().await }
    });
    let is_stopping = || async { listeners.status().listeners[0].state != kafka_listener::ContainerState::Running };
    eventually(SOON, "the container is stopping", is_stopping).await.unwrap();
    latch.open();
    course.wait_for_phase(&listeners, Phase::AckOutstanding).await;
    for offset in 0..3 {
        assert_eq!(course.out.acknowledge(offset).outcome(), AckOutcome::Acknowledged);
    }
    stopping.await.unwrap().into_result().unwrap();
    assert_eq!(course.committed().await, 3, "nothing was started any more, and what was out counts");
    course.diary.check_each_once_in_order(0, 3);
}

/// Its second record waits in the handler for the broker's answer, which cannot come before the first is delivered again.
#[kafka_listener(id = "acks-await", ack_mode = "manual_immediate", async_acks = true)]
async fn awaits_behind_one_that_came_back(
    _order: Value,
    meta: RecordMetadata,
    ack: Acknowledgment,
    State(diary): State<Diary>,
    State(out): State<Out>,
    State(seen): State<Answers>,
) {
    let _running = diary.begin(&meta);
    match meta.offset() {
        0 if meta.attempt() == 1 => out.keep(0, ack),
        offset => {
            let outcome = ack.acknowledge().await;
            seen.lock().unwrap().push((offset, outcome));
        }
    }
}

#[tokio::test]
async fn a_handler_that_awaits_its_commit_does_not_wait_for_a_delivery_that_waits_for_it() {
    let course = Course::new(2).await;
    let seen = Answers::default();
    let builder = course.builder_of(listener!(awaits_behind_one_that_came_back)).state(Arc::clone(&seen));
    let listeners = builder.start().await.unwrap();
    course.diary.wait("the second has begun", |entries| entries.len() == 2).await;
    assert_eq!(course.out.take(0).unwrap().nack(Duration::from_millis(1)), AckOutcome::Returned);
    course.wait_for_commit(2).await;
    let all_seen = || async { seen.lock().unwrap().len() == 2 };
    eventually(SOON, "both have their answers", all_seen).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    assert_eq!(*seen.lock().unwrap(), [(1, AckOutcome::Acknowledged), (0, AckOutcome::Committed)]);
}
