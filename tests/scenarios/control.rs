//! Handles steer containers: pause, resume, stop, start, interrupt, and what dropping the last one does.

use std::collections::{BTreeMap, BTreeSet};

use kafka_listener::{ContainerState, Error, Outcome};
use support::{broker, eventually, unique};

use super::desk::{Desk, Journal, LISTENER, SOON, Step, registry};

/// A topic of two partitions with ten orders each, and a group for it.
async fn twenty_orders() -> (String, String) {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 2).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();
    (topic, group)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_container_starts_nothing_whatever_the_group_does() {
    let (topic, group) = twenty_orders().await;
    let (journal, others) = (Journal::default(), Journal::default());
    let first = registry(broker(), &topic, &group, &Desk::new("first", &journal)).start().await.unwrap();
    journal.wait_for_ended(20).await;
    let container = first.container(LISTENER).unwrap();
    container.pause().await.unwrap();
    assert_eq!(container.state(), ContainerState::Paused);
    broker().produce_orders(&topic, 20).await.unwrap();

    // A second member takes one partition, works it off and gives it back: two rebalances for the first.
    let second = registry(broker(), &topic, &group, &Desk::new("second", &others)).start().await.unwrap();
    others.wait_for_ended(10).await;
    broker().produce_orders(&topic, 20).await.unwrap();
    others.wait_for_ended(20).await;
    second.shutdown().await.into_result().unwrap();
    let both = || async { container.status().partitions.len() == 2 };
    eventually(SOON, "the paused member owns both partitions", both).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();
    // What is fetched is seen in the position; nothing of it may start.
    let fetched = || async { container.status().partitions.iter().all(|one| one.end_offset == Some(40)) };
    eventually(SOON, "the paused member has seen the ends of its partitions", fetched).await.unwrap();
    assert_eq!(journal.count(Step::Started), 20);
    assert_eq!(container.state(), ContainerState::Paused);

    container.resume().await.unwrap();
    journal.wait_for_ended(60).await;
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    first.shutdown().await.into_result().unwrap();

    let by_first: BTreeSet<_> = journal.places(Step::Ended).into_iter().collect();
    let by_second: BTreeSet<_> = others.places(Step::Ended).into_iter().collect();
    assert_eq!((journal.count(Step::Ended), others.count(Step::Ended)), (60, 20));
    assert!(by_first.is_disjoint(&by_second));
    assert_eq!(by_first.len() + by_second.len(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_container_starts_again_where_it_was() {
    let (topic, group) = twenty_orders().await;
    let journal = Journal::default();
    let listeners = registry(broker(), &topic, &group, &Desk::new("only", &journal)).start().await.unwrap();
    let container = listeners.container(LISTENER).unwrap();
    journal.wait_for_ended(20).await;
    assert!(matches!(container.start(), Err(Error::AlreadyRunning { .. })));

    let report = container.stop().await;
    assert_eq!(report.outcome, Outcome::Drained);
    assert_eq!(container.state(), ContainerState::Stopped);
    assert!(matches!(container.pause().await, Err(Error::NotRunning { .. })));
    assert_eq!(broker().committed(&group, &topic).await.unwrap(), BTreeMap::from([(0, 10), (1, 10)]));
    broker().wait_for_members(&group, 0, SOON).await.unwrap();

    broker().produce_orders(&topic, 20).await.unwrap();
    container.start().unwrap();
    journal.wait_for_ended(40).await;
    listeners.shutdown().await.into_result().unwrap();

    journal.assert_each_once(&broker().end_offsets(&topic).await.unwrap());
    assert_eq!(broker().committed(&group, &topic).await.unwrap(), BTreeMap::from([(0, 20), (1, 20)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_cuts_a_stop_short_and_the_record_is_handled_again() {
    let (topic, group) = twenty_orders().await;
    let journal = Journal::default();
    let desk = Desk::new("only", &journal);
    desk.hold(0, 4);
    // Far more than the test waits: only the interrupt can end this stop.
    let builder = registry(broker(), &topic, &group, &desk).set("listener.shutdown_timeout", "10m");
    let listeners = builder.start().await.unwrap();
    journal.wait_for(Step::Started, 0, 4).await;
    journal.wait_for(Step::Ended, 1, 9).await;

    let stopping = tokio::spawn({
        let listeners = listeners.clone();
        async move { listeners.shutdown().await }
    });
    let container = listeners.container(LISTENER).unwrap();
    eventually(SOON, "it is stopping", || async { container.state() == ContainerState::Stopping }).await.unwrap();
    // The interrupt leaves a second for the last commit, which a busy machine may need for itself.
    let told = || async {
        let partitions = container.status().partitions;
        partitions.iter().map(|one| one.committed).collect::<Vec<_>>() == [Some(4), Some(10)]
    };
    eventually(SOON, "what is finished is committed", told).await.unwrap();
    assert!(!stopping.is_finished() && !journal.has(Step::Cancelled, 0, 4));
    listeners.interrupt();
    let report = tokio::time::timeout(SOON, stopping).await.unwrap().unwrap();

    assert!(journal.has(Step::Cancelled, 0, 4));
    let Outcome::Left(left) = &report.listeners[0].outcome else { panic!("{report}") };
    assert!(left.iter().any(|line| line.contains(&format!("{topic}-0@4"))), "{left:?}");
    assert_eq!(broker().committed(&group, &topic).await.unwrap(), BTreeMap::from([(0, 4), (1, 10)]));
    assert_eq!(container.status().possibly_repeated, 1);

    desk.release(0, 4);
    container.start().unwrap();
    journal.wait_for_ended(20).await;
    listeners.shutdown().await.into_result().unwrap();
    journal.assert_each_once(&broker().end_offsets(&topic).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_last_handle_stops_in_order() {
    let (topic, group) = twenty_orders().await;
    let journal = Journal::default();
    let desk = Desk::new("only", &journal);
    desk.hold(0, 4);
    let listeners = registry(broker(), &topic, &group, &desk).start().await.unwrap();
    journal.wait_for(Step::Started, 0, 4).await;
    let container = listeners.container(LISTENER).unwrap();
    drop(listeners);
    // One handle is left: records still flow.
    journal.wait_for(Step::Ended, 1, 9).await;
    assert_ne!(container.state(), ContainerState::Stopping);

    drop(container);
    desk.release(0, 4);
    broker().wait_for_members(&group, 0, SOON).await.unwrap();

    let handled = journal.places(Step::Ended);
    let done = |partition| i64::try_from(handled.iter().filter(|place| place.0 == partition).count()).unwrap();
    assert_eq!(broker().committed(&group, &topic).await.unwrap(), BTreeMap::from([(0, done(0)), (1, done(1))]));
    assert_eq!(journal.count(Step::Cancelled), 0);
}
