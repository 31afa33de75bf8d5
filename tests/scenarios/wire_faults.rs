//! Connections that break, stall and lie: what a member does when the network between it and its group is not well.

use std::time::{Duration, Instant};

use kafka_listener::{ContainerState, ListenerRegistry, Outcome};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::{Offset, TopicPartitionList};
use support::event::Signal;
use support::member::Exit;
use support::{Effect, Member, MemberOptions, Requests, eventually, unique};

use super::common::log_of;
use super::desk::{LISTENER, SOON, Step};
use super::wire::{Wire, possibly_repeated};

const ORDERS: usize = 600;

/// How often the group's members were dealt partitions, or lost them.
fn rebalances(wire: &Wire) -> usize {
    log_of(&wire.group).into_iter().filter(|line| !line.field("kind").is_empty()).count()
}

/// A member works off its records while this befalls it; then all are handled once and committed, no commit went back,
/// and the group has noticed nothing.
async fn costs_nothing_but_time(requests: Requests, effect: Effect) {
    let mut wire = Wire::new(2, ORDERS).await;
    wire.desk = wire.desk.with_pace(Duration::from_millis(5));
    let sampler = wire.sampler().await;
    // A machine that is busy too must not cost the session.
    let listeners = wire.impatient_member().set("listener.session_timeout", "4m").start().await.unwrap();
    wire.journal.wait_for_ended(50).await;
    let fault = wire.inject(requests, effect);
    wire.wait_for_commits_to_end().await;

    assert!(fault.hits() > 0, "nothing has happened");
    drop(fault);
    assert_eq!(listeners.health().live.reasons, Vec::<String>::new());
    assert_eq!((possibly_repeated(&listeners), rebalances(&wire)), (0, 1));
    assert_eq!(listeners.shutdown().await.listeners[0].outcome, Outcome::Drained);
    assert_eq!(sampler.stop().await.unwrap().regressions(), []);
    wire.assert_each_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_stored_and_answered_by_a_reset_cost_nothing_but_time() {
    costs_nothing_but_time(Requests::to(Api::OffsetCommit).first(5), Effect::ResetAfterApply).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_stored_and_never_answered_costs_nothing_but_time() {
    costs_nothing_but_time(Requests::to(Api::OffsetCommit).first(1), Effect::LoseAnswer).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_are_reset_on_their_way_cost_nothing_but_time() {
    costs_nothing_but_time(Requests::to(Api::OffsetCommit).first(5), Effect::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fetches_that_are_reset_on_their_way_cost_nothing_but_time() {
    costs_nothing_but_time(Requests::to(Api::Fetch).first(5), Effect::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_to_the_coordinator_costs_nothing_but_time() {
    costs_nothing_but_time(Requests::to(Api::Heartbeat).first(1), Effect::HalfOpen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_take_half_a_second_cost_nothing_but_time() {
    costs_nothing_but_time(Requests::all(), Effect::Delay(Duration::from_millis(500))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stall_that_outlasts_the_session_is_a_loss_and_all_is_handled_by_the_next_owner() {
    let wire = Wire::new(2, 20).await;
    wire.hold(2, 5);
    let listeners = wire.member().set("listener.session_timeout", "6s").start().await.unwrap();
    for partition in 0..2 {
        wire.journal.wait_for(Step::Started, partition, 5).await;
    }
    let before = || async { wire.committed().await.into_iter().eq([(0, 5), (1, 5)]) };
    eventually(SOON, "what is done is committed", before).await.unwrap();

    let stall = wire.inject(Requests::all(), Effect::HoldRequest);
    for partition in 0..2 {
        wire.journal.wait_for(Step::Cancelled, partition, 5).await;
    }
    let lost = || async { log_of(&wire.group).iter().any(|line| line.field("kind") == "lost") };
    eventually(SOON, "the loss is told", lost).await.unwrap();
    assert_eq!(possibly_repeated(&listeners), 2, "the two that were cancelled");
    let other = wire.desk.clone().named("other");
    (0..2).for_each(|partition| other.hold(partition, 7));
    let neighbour = wire.neighbour(&other).start().await.unwrap();
    for partition in 0..2 {
        wire.journal.wait_for(Step::Started, partition, 7).await;
    }
    let late = wire.journal.entries().into_iter().filter(|line| line.desk == "wired" && line.offset > 5).count();
    assert_eq!(late, 0, "nothing is started behind a loss");

    stall.lift();
    (0..2).for_each(|partition| other.release(partition, 7));
    wire.wait_for_commits_to_end().await;
    let back = || async { listeners.container(LISTENER).unwrap().status().partitions.len() == 1 };
    eventually(SOON, "the member is back in the group", back).await.unwrap();
    assert_eq!(listeners.container(LISTENER).unwrap().state(), ContainerState::Running);
    for listeners in [listeners, neighbour] {
        assert_eq!(listeners.shutdown().await.listeners[0].outcome, Outcome::Drained);
    }
    wire.assert_each_once().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_keeps_its_deadline_although_nobody_hears_it() {
    const BUDGET: Duration = Duration::from_secs(5);
    let wire = Wire::new(2, 20).await;
    wire.hold(2, 5);
    let listeners = wire.member().set("listener.shutdown_timeout", BUDGET).start().await.unwrap();
    for partition in 0..2 {
        wire.journal.wait_for(Step::Started, partition, 5).await;
    }
    let stall = wire.inject(Requests::all(), Effect::HoldRequest);
    (0..2).for_each(|partition| wire.desk.release(partition, 5));

    let began = Instant::now();
    let report = listeners.shutdown().await;
    let took = began.elapsed();
    assert!(took < BUDGET + Duration::from_secs(1), "{took:?}");
    let Outcome::Left(left) = &report.listeners[0].outcome else { panic!("{report}") };
    assert!(left.iter().any(|line| line.contains("(unknown)")), "the last commit was not answered: {left:?}");
    assert!(left.iter().any(|line| line.contains("has not left the group")), "{left:?}");

    // What was on its way arrives: the commit, and the leaving behind our back.
    stall.lift();
    Wire::broker().wait_for_members(&wire.group, 0, SOON).await.unwrap();
    let done = |partition| {
        let of_it = wire.journal.places(Step::Ended).into_iter().filter(|place| place.0 == partition);
        i64::try_from(of_it.count()).unwrap()
    };
    assert!(wire.committed().await.into_iter().eq([(0, done(0)), (1, done(1))]));
}

/// The same where the end of the process counts: nothing that is left behind may keep it.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_keeps_its_deadline_although_nobody_hears_it() {
    const BUDGET: Duration = Duration::from_secs(5);
    let wire = Wire::new(2, 20).await;
    let directory = tempfile::tempdir().unwrap();
    let name = unique("member");
    let program = env!("CARGO_BIN_EXE_member");
    let options = MemberOptions::new(program, wire.behind(), &wire.topic, &wire.group, directory.path())
        .set("listener.shutdown_timeout", "5s");
    let mut member = Member::spawn(&name, &options).unwrap();
    member.wait_until_assigned(SOON).await.unwrap();
    wire.wait_for_commits_to_end().await;
    let stall = Wire::proxy().inject(Requests::all().of_client(&format!("{name}-member-0")), Effect::HoldRequest);
    stall.wait_for_hits(1, SOON).await.unwrap();

    member.signal(Signal::Term).unwrap();
    let told = Instant::now();
    let exit = member.wait_for_exit(SOON).await.unwrap();
    let took = told.elapsed();
    assert_eq!(exit, Exit { code: Some(1), signal: None }, "{}", member.words());
    assert!(took > BUDGET / 2 && took < BUDGET + Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_a_loss_cuts_off_during_a_stop_is_named_in_the_report() {
    let wire = Wire::new(2, 20).await;
    wire.desk.hold(0, 5);
    let builder = wire.member().set("listener.session_timeout", "6s").set("listener.shutdown_timeout", "2m");
    let listeners = builder.start().await.unwrap();
    wire.journal.wait_for(Step::Started, 0, 5).await;
    let done = || async { wire.committed().await.into_iter().eq([(0, 5), (1, 10)]) };
    eventually(SOON, "what is done is committed", done).await.unwrap();
    let stopping = tokio::spawn({
        let listeners = listeners.clone();
        async move { listeners.shutdown().await }
    });
    let is_stopping = || async { listeners.container(LISTENER).unwrap().state() == ContainerState::Stopping };
    eventually(SOON, "it is stopping", is_stopping).await.unwrap();

    let stall = wire.inject(Requests::all(), Effect::HoldRequest);
    wire.journal.wait_for(Step::Cancelled, 0, 5).await;
    stall.lift();
    let report = tokio::time::timeout(SOON, stopping).await.unwrap().unwrap();

    let Outcome::Left(left) = &report.listeners[0].outcome else { panic!("{report}") };
    let named = format!("record `{}-0@5` was still running", wire.topic);
    assert_eq!(left.iter().filter(|line| line.contains("was still running")).count(), 1, "{left:?}");
    assert!(left.iter().any(|line| line.contains(&named)), "{left:?}");
    assert_eq!(possibly_repeated(&listeners), 1);
}

/// Commits from outside of the group, before it has members.
fn commit(wire: &Wire, offsets: &[(i32, i64)]) {
    let consumer: BaseConsumer = Wire::broker().client_config().set("group.id", &wire.group).create().unwrap();
    let mut list = TopicPartitionList::new();
    for (partition, offset) in offsets {
        list.add_partition_offset(&wire.topic, *partition, Offset::Offset(*offset)).unwrap();
    }
    consumer.commit(&list, CommitMode::Sync).unwrap();
}

async fn stop(wire: &Wire, listeners: ListenerRegistry) {
    wire.wait_for_commits_to_end().await;
    assert_eq!(listeners.shutdown().await.listeners[0].outcome, Outcome::Drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_committed_offset_that_nobody_tells_is_asked_for_until_somebody_does() {
    let wire = Wire::new(2, 20).await;
    commit(&wire, &[(0, 6), (1, 3)]);
    let silence = wire.inject(Requests::to(Api::OffsetFetch), Effect::LoseAnswer);
    let listeners = wire.member().start().await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    // In the assignment by the library and by librdkafka, and then each partition again and again.
    silence.wait_for_hits(6, SOON).await.unwrap();
    assert_eq!(wire.journal.entries(), [], "nothing is read from a place that is not known");
    silence.lift();

    stop(&wire, listeners).await;
    let mut handled = wire.journal.places(Step::Ended);
    handled.sort_unstable();
    assert_eq!(handled, (6..10).map(|offset| (0, offset)).chain((3..10).map(|offset| (1, offset))).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offset_by_duration_that_nobody_tells_is_asked_for_until_somebody_does() {
    let wire = Wire::new(2, 20).await;
    let silence = wire.inject(Requests::to(Api::ListOffsets), Effect::LoseAnswer);
    let listeners = wire.member().set("listener.auto_offset_reset", "by_duration:1h").start().await.unwrap();
    listeners.wait_until_assigned(SOON).await.unwrap();
    silence.wait_for_hits(4, SOON).await.unwrap();
    assert_eq!(wire.journal.entries(), [], "nothing is read from a place that is not known");
    silence.lift();

    stop(&wire, listeners).await;
    wire.assert_each_once().await;
}
