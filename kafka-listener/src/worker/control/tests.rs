//! Decisions about held records: each is answered, and none outlives the hold that it is about.

use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Poll, Wake};
use std::thread;

use tokio::sync::oneshot;

use super::*;
use crate::worker::{HeldAction, HeldAnswer};

fn control() -> PartitionControl {
    let waker = Arc::new(Waker::default());
    PartitionControl::new(TopicPartition::new("orders", 0), Arc::new(Ready::new(true, &waker)), waker)
}

/// Notes what the control shows when whoever waits is woken.
struct Asker(Arc<PartitionControl>, OnceLock<Phase>);

impl Wake for Asker {
    fn wake(self: Arc<Self>) {
        self.1.get_or_init(|| self.0.phase());
    }
}

#[test]
fn who_decides_about_a_hold_and_has_the_answer_does_not_see_that_hold_any_more() {
    let control = Arc::new(control());
    control.begin_hold(7, Phase::Held);
    let (answer, answered) = oneshot::channel();
    control.decide(HeldDecision { action: HeldAction::Retry, answer });
    let asker = Arc::new(Asker(Arc::clone(&control), OnceLock::new()));
    let (mut answered, task_waker) = (pin!(answered), Arc::clone(&asker).into());
    assert!(answered.as_mut().poll(&mut Context::from_waker(&task_waker)).is_pending());

    control.end_hold(7, control.take_decision());

    assert_eq!(asker.1.get(), Some(&Phase::Queued));
    let answer = answered.poll(&mut Context::from_waker(&task_waker));
    assert_eq!(answer, Poll::Ready(Ok(HeldAnswer::Done { offset: 7 })));
}

fn decide(control: &PartitionControl, action: HeldAction) -> oneshot::Receiver<HeldAnswer> {
    let (answer, answered) = oneshot::channel();
    control.decide(HeldDecision { action, answer });
    answered
}

#[test]
fn a_decision_without_a_hold_or_beside_another_is_refused_at_once() {
    let control = control();
    assert_eq!(decide(&control, HeldAction::Retry).try_recv(), Ok(HeldAnswer::NotHeld));
    control.begin_hold(7, Phase::Held);
    let mut first = decide(&control, HeldAction::Skip { offset: 7 });
    assert_eq!(decide(&control, HeldAction::Retry).try_recv(), Ok(HeldAnswer::NotHeld));
    first.try_recv().unwrap_err();
    control.end_hold(7, None);
    assert_eq!(decide(&control, HeldAction::Retry).try_recv(), Ok(HeldAnswer::NotHeld));
}

#[test]
fn a_decision_that_the_worker_did_not_take_ends_with_its_hold() {
    let control = control();
    control.begin_hold(7, Phase::Held);
    let mut late = decide(&control, HeldAction::Skip { offset: 7 });
    control.end_hold(7, None);
    assert_eq!(late.try_recv(), Ok(HeldAnswer::NotHeld));
    control.begin_hold(7, Phase::Held);
    assert!(control.take_decision().is_none(), "it was about the hold before");
}

/// An operator decides again and again while holds come and go: every decision is answered, by the hold that it fell into
/// or by nobody's, and no hold begins with one.
#[test]
fn decisions_that_race_with_the_end_of_a_hold_are_answered_each() {
    const HOLDS: i64 = 20_000;
    let (control, is_over) = (control(), AtomicBool::new(false));
    thread::scope(|scope| {
        let operator = scope.spawn(|| {
            let mut applied = 0;
            while !is_over.load(Ordering::Relaxed) {
                match decide(&control, HeldAction::Retry).blocking_recv() {
                    Ok(HeldAnswer::Done { .. }) => applied += 1,
                    answer => assert_eq!(answer, Ok(HeldAnswer::NotHeld)),
                }
            }
            applied
        });
        let mut taken = 0;
        for offset in 0..HOLDS {
            control.begin_hold(offset, Phase::Held);
            let decision = control.take_decision();
            taken += i64::from(decision.is_some());
            control.end_hold(offset, decision);
            assert!(control.take_decision().is_none(), "a decision outlives hold {offset}");
        }
        is_over.store(true, Ordering::Relaxed);
        assert_eq!(operator.join().unwrap(), taken);
    });
}
