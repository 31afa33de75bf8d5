//! Groups that the broker runs (KIP-848): the same as the classic ones, and the seat of a static member, which belongs to
//! the member that has it.

use std::time::Duration;

use kafka_listener::ContainerState;
use support::{broker, eventually, unique};

use super::assignors::{a_spare_takes_over, nothing_is_lost_or_repeated};
use super::crew::{Crew, SOON, owned_by, rebalances_of, stop};
use crate::desk::{Desk, Journal, LISTENER, registry};

const SEAT: &str = "listener.group_instance_id";

#[tokio::test]
async fn the_brokers_uniform_assignor_hands_over_without_loss_or_repeat() {
    nothing_is_lost_or_repeated(Crew::new(7).await.by_the_broker()).await;
}

#[tokio::test]
async fn the_brokers_range_assignor_hands_over_without_loss_or_repeat() {
    let crew = Crew::new(7).await.by_the_broker().with("listener.group_remote_assignor", "range");
    nothing_is_lost_or_repeated(crew).await;
}

#[tokio::test]
async fn a_member_without_a_partition_is_named_and_takes_over_when_an_owner_dies() {
    a_spare_takes_over(Crew::new(2).await.by_the_broker()).await;
}

#[tokio::test]
async fn a_static_member_that_is_stopped_and_comes_back_disturbs_nobody() {
    let mut crew = Crew::new(4).await.by_the_broker();
    let mut one = crew.member_with("one", &[(SEAT, "one")]);
    let mut two = crew.member_with("two", &[(SEAT, "two")]);
    crew.start_load();
    crew.wait_until_balanced(&[&one, &two]).await;
    crew.wait_for_flow(&[&one, &two], 20).await;
    let (owned, rebalances) = (owned_by(&two.events().unwrap()), rebalances_of(&one));
    stop(&mut two).await;
    let mut again = crew.member_with("two-again", &[(SEAT, "two")]);
    again.wait_until_assigned(SOON).await.unwrap();
    crew.wait_for_flow(&[&one, &again], 20).await;
    assert_eq!(owned_by(&again.events().unwrap()), owned);
    assert_eq!(rebalances_of(&one), rebalances, "the other one did not notice");
    let produced = crew.end_load().await;
    stop(&mut one).await;
    stop(&mut again).await;
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
    assert_eq!((verdict.starts, verdict.done), (produced, produced));
}

#[tokio::test]
async fn a_static_member_that_is_killed_and_restarted_at_once_takes_its_seat_by_itself() {
    let mut crew = Crew::new(4).await.by_the_broker();
    let mut one = crew.member_with("one", &[(SEAT, "one")]);
    let mut two = crew.member_with("two", &[(SEAT, "two")]);
    crew.start_load();
    crew.wait_until_balanced(&[&one, &two]).await;
    // Long enough for the group to have settled for more than a session.
    crew.wait_for_flow(&[&one, &two], 700).await;
    two.kill().await.unwrap();
    let mut again = crew.member_with("two-again", &[(SEAT, "two")]);
    let waits = || async {
        let log = crew.log_of("two-again");
        anyhow::ensure!(log.contains("waiting_for_seat") && log.contains("`two-0`"), "{log}");
        Ok(())
    };
    eventually(SOON, "it waits for its seat", waits).await.unwrap();
    crew.wait_until_balanced(&[&one, &again]).await;
    crew.wait_for_flow(&[&one, &again], 20).await;
    crew.end_load().await;
    stop(&mut one).await;
    stop(&mut again).await;
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_members_with_one_id_the_new_one_waits_until_the_old_one_has_gone() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 2).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();
    let journal = Journal::default();
    let start = |name| {
        let desk = Desk::new(name, &journal).with_pace(Duration::from_millis(1));
        let registry = registry(broker(), &topic, &group, &desk);
        registry.set("listener.group_protocol", "consumer").set("listener.group_instance_id", "pod-7").start()
    };
    let old = start("old").await.unwrap();
    journal.wait_for_ended(20).await;

    let new = start("new").await.unwrap();
    let container = new.container(LISTENER).unwrap();
    let waits = || async { container.state() == ContainerState::WaitingForSeat };
    eventually(SOON, "the new one waits for the seat", waits).await.unwrap();
    let health = new.health();
    assert!(!health.ready.ok && health.live.ok, "{health:?}");
    assert!(health.ready.reasons[0].contains("`pod-7-0`"), "{:?}", health.ready.reasons);
    assert!(new.status().to_string().contains("waits for its seat `pod-7-0`"), "{}", new.status());
    let waiting = &container.status().consumers[0];
    assert!(waiting.waits_for_seat && !waiting.joined && waiting.assigned == 0, "{waiting:?}");
    broker().produce_orders(&topic, 20).await.unwrap();
    journal.wait_for_ended(40).await;
    assert!(journal.entries().iter().all(|line| line.desk == "old"), "the old one goes on");

    old.shutdown().await.into_result().unwrap();
    let runs = || async { container.state() == ContainerState::Running };
    eventually(SOON, "the new one takes the seat by itself", runs).await.unwrap();
    broker().produce_orders(&topic, 20).await.unwrap();
    journal.wait_for_ended(60).await;
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    new.shutdown().await.into_result().unwrap();
    journal.assert_each_once(&broker().end_offsets(&topic).await.unwrap());
}

#[tokio::test]
async fn a_stop_ends_the_wait_for_a_seat() {
    let mut crew = Crew::new(2).await.by_the_broker();
    let mut old = crew.member_with("old", &[(SEAT, "pod-7")]);
    crew.start_load();
    crew.wait_until_balanced(&[&old]).await;
    let mut new = crew.member_with("new", &[(SEAT, "pod-7")]);
    let waits = || async { crew.log_of("new").contains("waiting_for_seat") };
    eventually(SOON, "it waits for its seat", waits).await.unwrap();
    stop(&mut new).await;
    crew.end_load().await;
    stop(&mut old).await;
}

#[tokio::test]
async fn a_group_changes_from_classic_to_consumer_member_by_member() {
    let classic = [("listener.session_timeout", "6s"), ("listener.partition_assignment_strategy", "range")];
    let consumer = [("listener.group_protocol", "consumer")];
    let mut crew = Crew::new(4).await.by_the_broker().with("listener.group_protocol", "classic");
    let mut old = [crew.member_with("old-1", &classic), crew.member_with("old-2", &classic)];
    crew.start_load();
    crew.wait_until_balanced(&[&old[0], &old[1]]).await;
    crew.wait_for_flow(&[&old[0], &old[1]], 20).await;
    let first = crew.member_with("new-1", &consumer);
    crew.wait_until_balanced(&[&old[0], &old[1], &first]).await;
    stop(&mut old[0]).await;
    crew.wait_until_balanced(&[&old[1], &first]).await;
    let second = crew.member_with("new-2", &consumer);
    stop(&mut old[1]).await;
    crew.wait_until_balanced(&[&first, &second]).await;
    crew.wait_for_flow(&[&first, &second], 20).await;
    let produced = crew.end_load().await;
    for mut member in [first, second] {
        stop(&mut member).await;
    }
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
    assert_eq!((verdict.starts, verdict.done), (produced, produced));
}

/// Members of librdkafka that have been through a rebalance with cooperative-sticky keep notes in their assignments,
/// which the broker refuses to lose.
#[tokio::test]
async fn a_group_of_cooperative_sticky_members_is_taken_over_when_they_have_gone() {
    let classic = [("listener.session_timeout", "6s")];
    let consumer = [("listener.group_protocol", "consumer")];
    let mut crew = Crew::new(4).await.by_the_broker().with("listener.group_protocol", "classic");
    let mut old = [crew.member_with("old-1", &classic)];
    crew.start_load();
    crew.wait_until_balanced(&[&old[0]]).await;
    let mut gone = crew.member_with("old-2", &classic);
    crew.wait_until_balanced(&[&old[0], &gone]).await;
    stop(&mut gone).await;
    crew.wait_until_balanced(&[&old[0]]).await;

    let mut new = crew.member_with("new", &consumer);
    let says_why = || async {
        let log = crew.log_of("new");
        anyhow::ensure!(log.contains("not in the group yet") && log.contains("let them use `\"range\"`"), "{log}");
        Ok(())
    };
    eventually(SOON, "the new one says why it is kept out", says_why).await.unwrap();
    assert!(owned_by(&new.events().unwrap()).is_empty());
    crew.wait_for_flow(&[&old[0]], 20).await;

    stop(&mut old[0]).await;
    crew.wait_until_balanced(&[&new]).await;
    crew.wait_for_flow(&[&new], 20).await;
    let produced = crew.end_load().await;
    stop(&mut new).await;
    let verdict = crew.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
    assert_eq!((verdict.starts, verdict.done), (produced, produced));
}
