use std::pin::pin;
use std::sync::OnceLock;
use std::task::{Context, Poll, Wake};

use super::*;

/// Notes what the control shows when whoever waits is woken.
struct Asker(Arc<PartitionControl>, OnceLock<Phase>);

impl Wake for Asker {
    fn wake(self: Arc<Self>) {
        self.1.get_or_init(|| self.0.phase());
    }
}

#[test]
fn who_decides_about_a_hold_and_has_the_answer_does_not_see_that_hold_any_more() {
    let waker = Arc::new(Waker::default());
    let ready = Arc::new(Ready::new(true, &waker));
    let control = Arc::new(PartitionControl::new(TopicPartition::new("orders", 0), ready, waker));
    control.begin_hold(7);
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
