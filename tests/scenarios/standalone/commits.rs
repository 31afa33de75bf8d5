//! `commit = true`: offsets under a group that has no members, over stops and kills; and nothing without it.

use std::collections::{BTreeMap, BTreeSet};

use kafka_listener::ContainerState;
use support::event::{Event, What};
use support::{Member, MemberOptions, broker, unique};

use super::super::desk::{Desk, Journal, registry};
use super::{SOON, Shelf, reader};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_finished_is_committed_under_a_group_without_members_and_read_on_from_there() {
    let (topic, group) = (unique("prices"), unique("group"));
    broker().create_topic(&topic, 3).await.unwrap();
    let mut ends = BTreeMap::new();
    for round in 1..=3 {
        broker().produce_orders(&topic, 90).await.unwrap();
        let shelf = Shelf::default();
        let builder = reader(&topic, &shelf).set("listener.group_id", group.as_str()).set("listener.commit", true);
        let listeners = builder.start().await.unwrap();
        shelf.wait_for(90).await;
        broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
        assert_eq!(broker().group(&group).await.unwrap().members.len(), 0);
        let status = listeners.container("reader").unwrap().status();
        assert_eq!((status.group_id.as_str(), status.partitions.len()), (group.as_str(), 3));
        listeners.shutdown().await.into_result().unwrap();
        ends = broker().end_offsets(&topic).await.unwrap();
        assert_eq!(broker().committed(&group, &topic).await.unwrap(), ends, "round {round}");
        assert_eq!(shelf.places().len(), 90, "round {round}: nothing is read twice");
    }
    assert_eq!(ends.values().sum::<i64>(), 270);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_commit_every_start_reads_from_the_beginning_and_no_group_comes_into_being() {
    let topic = unique("prices");
    broker().create_topic(&topic, 2).await.unwrap();
    broker().produce_orders(&topic, 40).await.unwrap();
    for _ in 0..2 {
        let shelf = Shelf::default();
        let listeners = reader(&topic, &shelf).start().await.unwrap();
        shelf.wait_for(40).await;
        let status = listeners.status();
        assert!(status.to_string().contains("reader [no group] running"), "{status}");
        let one = &status.listeners[0];
        assert!(one.partitions.iter().all(|partition| partition.committed.is_none()), "{status}");
        assert_eq!((one.possibly_repeated, one.consumers[0].joined), (0, true));
        assert!(listeners.health().ready.ok && listeners.health().live.ok);
        listeners.shutdown().await.into_result().unwrap();
        assert_eq!(shelf.places().len(), 40);
        assert_eq!(broker().committed("kafka-listener-reader", &topic).await.unwrap(), BTreeMap::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_listeners_without_a_group_read_one_topic_at_the_same_time() {
    let topic = unique("prices");
    broker().create_topic(&topic, 1).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();
    let (one, other) = (Shelf::default(), Shelf::default());
    let first = reader(&topic, &one).start().await.unwrap();
    let second = reader(&topic, &other).start().await.unwrap();
    one.wait_for(20).await;
    other.wait_for(20).await;
    first.shutdown().await.into_result().unwrap();
    second.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_has_members_takes_no_commits_and_the_listener_says_so() {
    let (topic, group) = (unique("prices"), unique("group"));
    broker().create_topic(&topic, 1).await.unwrap();
    broker().produce_orders(&topic, 10).await.unwrap();
    let elsewhere = unique("orders");
    broker().create_topic(&elsewhere, 1).await.unwrap();
    let members =
        registry(broker(), &elsewhere, &group, &Desk::new("member", &Journal::default())).start().await.unwrap();
    members.wait_until_assigned(SOON).await.unwrap();
    let shelf = Shelf::default();
    let builder = reader(&topic, &shelf).set("listener.group_id", group.as_str()).set("listener.commit", true);
    let listeners = builder.set("listener.initial_offset", "beginning").start().await.unwrap();
    tokio::time::timeout(SOON, listeners.stopped()).await.unwrap();
    let container = listeners.container("reader").unwrap();
    assert_eq!(container.state(), ContainerState::Failed);
    let failure = container.failure().unwrap();
    assert!(failure.contains(&format!("group `{group}`")) && failure.contains("a group of their own"), "{failure}");
    members.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_killed_reads_on_behind_its_last_commit() {
    let (topic, group) = (unique("prices"), unique("group"));
    broker().create_topic(&topic, 3).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_member");
    let options = MemberOptions::new(program, broker(), &topic, &group, directory.path())
        .set("listeners.member.partitions", "*")
        .set("listeners.member.commit", "true")
        .with(["--work-ms", "2"]);
    let begun = |events: &[Event]| {
        let places = events.iter().filter_map(|event| match &event.what {
            What::Start { place, .. } => Some((place.partition, place.offset)),
            _ => None,
        });
        places.collect::<Vec<_>>()
    };
    let (mut seen, mut repeated, mut wanted) = (BTreeSet::new(), 0, 0);
    for life in 0..4 {
        broker().produce_orders(&topic, 600).await.unwrap();
        wanted += 600;
        let mut member = Member::spawn(&format!("life-{life}"), &options).unwrap();
        if life < 3 {
            member.wait_for(SOON, "it is at work", |events| begun(events).len() > 300).await.unwrap();
            member.kill().await.unwrap();
        } else {
            let known = seen.clone();
            let all =
                |events: &[Event]| known.iter().copied().chain(begun(events)).collect::<BTreeSet<_>>().len() == wanted;
            member.wait_for(SOON, "all is read", all).await.unwrap();
            assert!(member.stop(SOON).await.unwrap().is_clean(), "{}", member.words());
        }
        for place in begun(&member.events().unwrap()) {
            repeated += usize::from(!seen.insert(place));
        }
    }
    assert_eq!(seen.len(), wanted, "nothing is lost");
    // Per kill and partition what 100 ms and a round trip may hold, at two milliseconds a record; with a wide berth for a
    // machine that is slow to answer.
    assert!(repeated < 3 * 3 * 300, "{repeated} are repeated");
    assert_eq!(broker().committed(&group, &topic).await.unwrap(), broker().end_offsets(&topic).await.unwrap());
}
