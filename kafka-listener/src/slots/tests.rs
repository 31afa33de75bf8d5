use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::ownership::OwnerKey;
use crate::record::TopicPartition;

/// The permit of a partition that nobody else works on.
fn permit(slots: &Slots, partition: usize) -> Arc<WorkPermit> {
    let topic = format!("slots-tests-{:p}", slots.0.as_ref().map_or(std::ptr::null(), Arc::as_ptr));
    let owner = OwnerKey {
        cluster: "slots-tests".into(),
        group_id: "group".into(),
        topic_partition: TopicPartition::new(topic, i32::try_from(partition).unwrap()),
    };
    let mut lease = pin!(PartitionLease::acquire(owner));
    match lease.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(lease) => Arc::new(WorkPermit::new(slots.clone(), lease)),
        Poll::Pending => panic!("somebody else works on partition {partition}"),
    }
}

/// What can happen between workers and slots.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The next record of this worker's hand-over comes.
    Start(usize),
    /// Its handler has returned.
    End(usize),
    /// It waits for something: the next hand-over, a backoff, a closed gate.
    Rest(usize),
    /// Its handler goes over to code that outlives its future, which is then cancelled.
    LeaveBehind(usize),
    /// Its task is looked at while it stands in line.
    Poll(usize),
    /// It leaves the line: revoked, or stopped.
    Leave(usize),
    /// One of the pieces of code left behind ends.
    EndBehind(usize),
}

type Line = Pin<Box<dyn Future<Output = ()>>>;

/// What a worker does, as the model knows it.
enum Doing {
    Nothing,
    Handling,
    /// Between two records: it may have kept its slot.
    Between {
        has_slot: bool,
    },
    InLine(Line),
}

/// Slots and workers beside a model: a number of slots, those who have one, and one line.
struct Model {
    total: usize,
    workers: Vec<(Arc<WorkPermit>, Doing)>,
    /// Workers in line, first come first.
    line: VecDeque<usize>,
    behind: Vec<Tenure>,
}

impl Model {
    fn taken(&self) -> usize {
        let has_slot = |doing: &Doing| matches!(doing, Doing::Handling | Doing::Between { has_slot: true });
        self.workers.iter().filter(|(_, doing)| has_slot(doing)).count() + self.behind.len()
    }

    fn running(&self) -> usize {
        self.workers.iter().filter(|(_, doing)| matches!(doing, Doing::Handling)).count() + self.behind.len()
    }

    fn apply(&mut self, event: Event) -> Result<(), TestCaseError> {
        match event {
            Event::Start(at) => self.start(at)?,
            Event::End(at) => self.change(at, |doing| match doing {
                Doing::Handling => Doing::Between { has_slot: true },
                other => other,
            }),
            Event::Rest(at) => {
                if let (permit, doing @ Doing::Between { .. }) = &mut self.workers[at] {
                    drop(permit.gives_back_at_the_end());
                    *doing = Doing::Nothing;
                }
            }
            Event::LeaveBehind(at) => {
                if let (permit, doing @ Doing::Handling) = &mut self.workers[at] {
                    self.behind.push(permit.tenure());
                    *doing = Doing::Between { has_slot: false };
                }
            }
            Event::Poll(at) => self.poll(at)?,
            Event::Leave(at) => {
                self.line.retain(|one| *one != at);
                self.change(at, |doing| match doing {
                    Doing::InLine(_) => Doing::Nothing,
                    other => other,
                });
            }
            Event::EndBehind(at) => {
                if !self.behind.is_empty() {
                    drop(self.behind.swap_remove(at % self.behind.len()));
                }
            }
        }
        prop_assert!(self.running() <= self.total, "{} handlers run in {} slots", self.running(), self.total);
        Ok(())
    }

    fn change(&mut self, at: usize, change: impl FnOnce(Doing) -> Doing) {
        let doing = &mut self.workers[at].1;
        *doing = change(std::mem::replace(doing, Doing::Nothing));
    }

    fn start(&mut self, at: usize) -> Result<(), TestCaseError> {
        let (permit, doing) = &self.workers[at];
        let has_slot = match doing {
            Doing::Nothing => false,
            Doing::Between { has_slot } => *has_slot,
            Doing::Handling | Doing::InLine(_) => return Ok(()),
        };
        let permit = Arc::clone(permit);
        let renewed = permit.renew_slot();
        // Nobody who waits is passed by: whoever has a slot keeps it only if there is no line, or nobody in it needs it.
        let free = self.total - self.taken() + usize::from(has_slot);
        prop_assert_eq!(renewed, free > self.line.len(), "{} free for a line of {}", free, self.line.len());
        if renewed {
            self.workers[at].1 = Doing::Handling;
        } else {
            self.workers[at].1 = Doing::InLine(Box::pin(async move { permit.wait_for_slot().await }));
            self.line.push_back(at);
            self.poll(at)?;
        }
        Ok(())
    }

    /// A slot that is free goes to the first in line, and to nobody else.
    fn poll(&mut self, at: usize) -> Result<(), TestCaseError> {
        let Some(place) = self.line.iter().position(|one| *one == at) else { return Ok(()) };
        let free = self.total - self.taken();
        let Doing::InLine(line) = &mut self.workers[at].1 else { unreachable!("only those in line are listed") };
        let has_come = line.as_mut().poll(&mut Context::from_waker(Waker::noop())) == Poll::Ready(());
        prop_assert_eq!(has_come, place < free, "place {} with {} free", place, free);
        if has_come {
            self.line.remove(place);
            self.workers[at].1 = Doing::Handling;
        }
        Ok(())
    }

    /// Everybody leaves: every slot is back, and none more than there were.
    fn end(mut self) -> Result<(), TestCaseError> {
        for (permit, doing) in &mut self.workers {
            *doing = Doing::Nothing;
            permit.give_back_slot();
        }
        self.behind.clear();
        let shared = self.workers[0].0.slots.0.as_ref().expect("there are slots");
        prop_assert_eq!(shared.free.available_permits(), self.total);
        prop_assert_eq!(shared.waiting.load(Ordering::Relaxed), 0);
        Ok(())
    }
}

const WORKERS: usize = 5;

fn event() -> impl Strategy<Value = Event> {
    let worker = 0..WORKERS;
    // Starts and ends carry most of the weight, as they do in life: else the line would seldom be a long one.
    prop_oneof![
        6 => worker.clone().prop_map(Event::Start),
        5 => worker.clone().prop_map(Event::End),
        2 => worker.clone().prop_map(Event::Rest),
        2 => worker.clone().prop_map(Event::LeaveBehind),
        5 => worker.clone().prop_map(Event::Poll),
        1 => worker.prop_map(Event::Leave),
        2 => (0..WORKERS).prop_map(Event::EndBehind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn there_are_never_more_handlers_than_slots_and_a_free_one_goes_to_the_first_in_line(
        total in 1..=4_usize,
        events in proptest::collection::vec(event(), 0..60),
    ) {
        let slots = Slots::new(Some(total));
        let workers = (0..WORKERS).map(|at| (permit(&slots, at), Doing::Nothing)).collect();
        let mut model = Model { total, workers, line: VecDeque::new(), behind: Vec::new() };
        for event in events {
            model.apply(event)?;
        }
        model.end()?;
    }
}

/// What happens between two instructions, the model cannot see: many workers on many threads, each of which handles and
/// rests and leaves code behind by turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn workers_on_many_threads_share_two_slots_and_leave_both_free() {
    const RECORDS: usize = 3_000;
    let slots = Slots::new(Some(2));
    let running = Arc::new(AtomicUsize::new(0));
    let begin = |running: &AtomicUsize| assert!(running.fetch_add(1, Ordering::SeqCst) < 2, "a third handler runs");
    let workers: Vec<_> = (0..6)
        .map(|at| {
            let (slots, running) = (slots.clone(), Arc::clone(&running));
            tokio::spawn(async move {
                let permit = permit(&slots, at);
                for record in 0..RECORDS {
                    if !permit.renew_slot() {
                        permit.wait_for_slot().await;
                    }
                    begin(&running);
                    if record % 100 == at {
                        let (tenure, running) = (permit.tenure(), Arc::clone(&running));
                        tokio::task::spawn_blocking(move || {
                            running.fetch_sub(1, Ordering::SeqCst);
                            drop(tenure);
                        });
                    } else {
                        if record % 5 == 0 {
                            tokio::task::yield_now().await;
                        }
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                    if record % 7 == 0 {
                        permit.give_back_slot();
                        tokio::task::yield_now().await;
                    }
                }
                permit.give_back_slot();
            })
        })
        .collect();
    for worker in workers {
        tokio::time::timeout(Duration::from_secs(60), worker).await.expect("nobody waits for ever").unwrap();
    }
    let shared = slots.0.as_ref().unwrap();
    let both_free = async {
        while shared.free.available_permits() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), both_free).await.expect("what was left behind has ended");
    assert_eq!((shared.free.available_permits(), shared.waiting.load(Ordering::SeqCst)), (2, 0));
}
