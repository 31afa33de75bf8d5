use std::sync::{Arc, Weak, mpsc};
use std::time::Duration;

use super::*;
use crate::extract::sample::Sample;
use crate::extract::{Key, State};
use crate::ownership::PartitionLease;
use crate::slots::Slots;

/// Runs what generated code would run for a plain function in the only slot there is, and gives what shows when the
/// partition is free again.
fn blocking<R, F>(slots: &Slots, listener: F) -> (impl Future<Output = R> + Send + use<R, F>, Weak<PartitionLease>)
where
    R: Send + 'static,
    F: FnOnce() -> R + Send + 'static,
{
    let sample = Sample::with_slots(slots.clone());
    assert!(sample.permit.renew_slot(), "the slot is free");
    let call = sample.read(|record| run_blocking(record, listener));
    sample.permit.give_back_slot();
    (call, Arc::downgrade(&sample.lease))
}

fn one_slot() -> Slots {
    Slots::new(Some(1))
}

fn is_free(slots: &Slots) -> bool {
    let sample = Sample::with_slots(slots.clone());
    let is_free = sample.permit.renew_slot();
    sample.permit.give_back_slot();
    is_free
}

#[tokio::test]
async fn a_plain_function_runs_on_another_thread() {
    let here = std::thread::current().id();
    let (call, _) = blocking(&one_slot(), || std::thread::current().id());
    assert_ne!(call.await, here);
}

#[tokio::test]
async fn a_blocking_future_is_waited_for_on_another_thread() {
    let here = std::thread::current().id();
    let listener = async {
        tokio::task::yield_now().await;
        std::thread::current().id()
    };
    let call = Sample::new().read(|record| run_blocking_future(record, move || listener));
    assert_ne!(call.await, here);
}

#[tokio::test]
async fn slot_and_partition_are_held_until_the_code_has_ended_although_its_future_was_dropped() {
    let slots = one_slot();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let (end, may_end) = mpsc::channel::<()>();
    let (call, lease) = blocking(&slots, move || {
        started.send(()).unwrap();
        may_end.recv().unwrap();
    });
    let call = tokio::spawn(call);
    has_started.await.unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    assert!(lease.upgrade().is_some(), "the code still runs");
    assert!(!is_free(&slots), "the code still runs");

    end.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(10), async {
        while lease.upgrade().is_some() || !is_free(&slots) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("slot and partition are given back when the code ends");
}

#[test]
fn a_call_that_was_dropped_before_the_pool_started_it_never_starts() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (ran, has_run) = mpsc::channel::<()>();
    runtime.block_on(async {
        let occupied = tokio::task::spawn_blocking(move || released.recv());
        let slots = one_slot();
        let (call, lease) = blocking(&slots, move || ran.send(()));
        let call = tokio::spawn(call);
        tokio::task::yield_now().await;
        call.abort();
        assert!(call.await.unwrap_err().is_cancelled());
        release.send(()).unwrap();
        occupied.await.unwrap().unwrap();
        // The pool has one thread: when this ran, whatever was queued before it has been dealt with.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert!(lease.upgrade().is_none() && is_free(&slots));
    });
    assert_eq!(has_run.try_recv(), Err(mpsc::TryRecvError::Disconnected));
}

#[tokio::test]
async fn a_panic_on_the_blocking_pool_is_that_of_the_listener() {
    let slots = one_slot();
    let (call, lease) = blocking(&slots, || std::panic::panic_any("out of stock"));
    let panic = tokio::spawn(call).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref(), Some(&"out of stock"));
    assert!(lease.upgrade().is_none() && is_free(&slots));
}

#[cfg(feature = "json")]
#[test]
fn a_payload_that_does_not_decode_is_terminal() {
    const PAYLOAD: PayloadOf<u32> = payload::<u32>();
    let error = Sample::of_payload(b"x").read(|record| PAYLOAD.decode(record)).unwrap_err();
    assert_eq!((error.class(), error.is_retryable()), (&ErrorClass::Decode, false));
    assert_eq!(Sample::of_payload(b"7").read(|record| PAYLOAD.decode(record)).unwrap(), 7);
    assert_eq!(PAYLOAD.type_name(), "u32");
}

#[test]
fn a_rejection_is_terminal_and_of_class_decode_where_bytes_are_to_blame() {
    const STATE: ExtractorOf<State<u32>> = extractor::<State<u32>>();
    const KEY: ExtractorOf<Key<String>> = extractor::<Key<String>>();
    let sample = Sample::new().key(b"\xff");
    let error = sample.read(|record| STATE.extract(record)).unwrap_err();
    assert_eq!((error.class(), error.is_retryable()), (&ErrorClass::Terminal, false));
    let error = sample.read(|record| KEY.extract(record)).unwrap_err();
    assert_eq!((error.class(), error.is_retryable()), (&ErrorClass::Decode, false));
}

#[test]
fn constants_are_judged_as_literals_are() {
    let judge = |check: fn(&str), text: &'static str| std::panic::catch_unwind(|| check(text)).is_ok();
    for (text, is_text, is_id) in [
        ("orders", true, true),
        ("a-b.c_D9", true, true),
        ("${ORDERS:-orders}", true, false),
        ("$${", true, false),
        ("$", true, false),
        ("ä", true, false),
        ("", false, false),
        ("${ORDERS", false, false),
        ("${A}-${", false, false),
        ("$$${X", false, false),
    ] {
        assert_eq!((judge(check_text, text), judge(check_id, text)), (is_text, is_id), "{text:?}");
    }
    for (texts, legal) in [(&["a", "b"] as &[_], true), (&[], false), (&["a", "${b"], false)] {
        assert_eq!(std::panic::catch_unwind(|| check_texts(texts)).is_ok(), legal, "{texts:?}");
    }
    for (number, legal) in [(1, true), (i32::MAX as usize, true), (0, false), (i32::MAX as usize + 1, false)] {
        assert_eq!(std::panic::catch_unwind(|| check_count(number)).is_ok(), legal, "{number}");
    }
}
