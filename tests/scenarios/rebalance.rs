//! Members that join and leave under load: nothing lost, nothing twice, and what stays goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kafka_listener::ListenerRegistry;
use serde_json::json;
use support::{CommitSampler, Record, broker, eventually, unique};

use super::common::{LogLine, log_of};
use super::desk::{Desk, Journal, LISTENER, SOON, Step, registry};

const PARTITIONS: i32 = 6;
/// The default.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(5);
/// What the pulse of the loop and a busy machine may add to a budget.
const SLACK: Duration = Duration::from_millis(500);

/// Produces orders until told to stop, and tells how many.
struct Load {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Load {
    fn start(topic: &str) -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let topic = topic.to_owned();
        let task = tokio::spawn(async move {
            while stopped.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
                let order = |n| Record::to(&topic).partition(n % PARTITIONS).json(json!({"orderId": "ORDER-1"}));
                let orders: Vec<Record> = (0..120).map(order).collect();
                broker().produce_all(orders).await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Self { stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

async fn owns(listeners: &ListenerRegistry, partitions: usize) {
    let container = listeners.container(LISTENER).unwrap();
    let owned = || async {
        let owned = container.status().partitions.len();
        anyhow::ensure!(owned == partitions, "it owns {owned} of {partitions}");
        Ok(())
    };
    eventually(SOON, "the member owns its partitions", owned).await.unwrap();
}

/// Waits until this desk has handled `more` records from now on.
async fn flows(journal: &Journal, desk: &str, more: usize) {
    let handled = || journal.entries().iter().filter(|line| line.desk == desk && line.step == Step::Ended).count();
    let before = handled();
    eventually(SOON, "the desk handles records", || async { handled() >= before + more }).await.unwrap();
}

async fn members_come_and_go(strategy: &str) {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, PARTITIONS).await.unwrap();
    let journal = Journal::default();
    let start = |name| {
        let desk = Desk::new(name, &journal).with_pace(Duration::from_millis(2));
        registry(broker(), &topic, &group, &desk).set("listener.partition_assignment_strategy", strategy).start()
    };
    let first = start("first").await.unwrap();
    let sampler = CommitSampler::start(broker(), &group, &topic, Duration::from_millis(20)).await.unwrap();
    let load = Load::start(&topic);
    flows(&journal, "first", 200).await;
    for _ in 0..3 {
        let second = start("second").await.unwrap();
        owns(&second, 3).await;
        owns(&first, 3).await;
        flows(&journal, "second", 200).await;
        second.shutdown().await.into_result().unwrap();
        owns(&first, 6).await;
        flows(&journal, "first", 200).await;
    }
    load.stop().await;
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    let status = first.container(LISTENER).unwrap().status();
    first.shutdown().await.into_result().unwrap();

    journal.assert_each_once(&broker().end_offsets(&topic).await.unwrap());
    assert_eq!(journal.count(Step::Started), journal.count(Step::Ended));
    assert_eq!(status.possibly_repeated, 0);
    assert!(sampler.stop().await.unwrap().regressions().is_empty());
    let stood_still = stood_still(&group);
    if strategy == "cooperative-sticky" {
        assert!(stood_still.len() >= 3, "the first member gave something up three times: {stood_still:?}");
        assert!(stood_still.iter().all(|took| *took < REVOKE_TIMEOUT + SLACK), "{stood_still:?}");
    } else {
        assert_eq!(stood_still, [], "an eager member keeps nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_when_members_come_and_go_cooperatively() {
    members_come_and_go("cooperative-sticky").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_repeated_when_members_come_and_go_with_range() {
    members_come_and_go("range").await;
}

/// A duration as the log writes it.
fn duration(text: &str) -> Duration {
    let units = [("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9), ("s", 1.0)];
    let (number, seconds) = units.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds))).unwrap();
    Duration::from_secs_f64(number.parse::<f64>().unwrap() * seconds)
}

/// How long the partitions that stayed stood still in each revoke of the group's members, as its line says; every line says
/// so where something stays, and no other.
fn stood_still(group: &str) -> Vec<Duration> {
    let revoked = log_of(group).into_iter().filter(|line| line.field("kind") == "revoked");
    let told = revoked.filter_map(|line| {
        let told = line.message().split_once("the others stood still ").map(|(_, rest)| {
            let time = &rest[..rest.find([',', ')']).unwrap()];
            // Printed twice, as a field and in the sentence.
            assert_eq!(time, line.field("took"), "{line:?}");
            duration(time)
        });
        assert_eq!(told.is_some(), !line.field("assignment").is_empty(), "{line:?}");
        told
    });
    told.collect()
}

/// Members of one group on two partitions with a record each held by the first member; the second one joins.
struct Tug {
    topic: String,
    group: String,
    journal: Journal,
    desk: Desk,
    first: ListenerRegistry,
}

impl Tug {
    /// `revoke_timeout` in milliseconds.
    async fn new(revoke_timeout: i64) -> Self {
        let (topic, group) = (unique("orders"), unique("group"));
        broker().create_topic(&topic, 2).await.unwrap();
        broker().produce_orders(&topic, 200).await.unwrap();
        let journal = Journal::default();
        let desk = Desk::new("first", &journal);
        (0..2).for_each(|partition| desk.hold(partition, 10));
        let first = registry(broker(), &topic, &group, &desk)
            .set("listener.revoke_timeout", revoke_timeout)
            .start()
            .await
            .unwrap();
        journal.wait_for(Step::Started, 0, 10).await;
        journal.wait_for(Step::Started, 1, 10).await;
        Self { topic, group, journal, desk, first }
    }

    async fn second(&self) -> ListenerRegistry {
        let desk = Desk::new("second", &self.journal);
        registry(broker(), &self.topic, &self.group, &desk).start().await.unwrap()
    }

    /// The partition that the first member is giving up: the one whose gate has closed.
    async fn revoked(&self) -> i32 {
        // Which one is decided by the group: it is the one that the broker assigns to nobody or to the other.
        let group = || async {
            let group = broker().group(&self.group).await?;
            let of_first = group.members.iter().map(|member| member.assignment.clone()).collect::<Vec<_>>();
            anyhow::ensure!(group.members.len() == 2 && group.state == "Stable", "{group:?}");
            anyhow::ensure!(of_first.iter().map(Vec::len).sum::<usize>() == 1, "{of_first:?}");
            Ok(())
        };
        eventually(SOON, "the group leaves one partition with the first member", group).await.unwrap();
        let group = broker().group(&self.group).await.unwrap();
        let retained = group.members.iter().flat_map(|member| &member.assignment).next().unwrap().1;
        1 - retained
    }
}

/// The line of the rebalance in which a member of the group gave something up: written when the next owner may have it
/// already.
async fn revoke_line(group: &str) -> LogLine {
    let line = || log_of(group).into_iter().find(|line| line.field("kind") == "revoked");
    eventually(SOON, "the rebalance is logged", || async { line().is_some() }).await.unwrap();
    line().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_goes_on_while_the_handler_of_what_goes_is_still_running() {
    const BUDGET: Duration = Duration::from_secs(150);
    const LOOKS: u32 = 20;
    const STEP: Duration = Duration::from_millis(100);
    let tug = Tug::new(150_000).await;
    let joining = Instant::now();
    let second = tug.second().await;
    let revoked = tug.revoked().await;
    let retained = 1 - revoked;

    // The worker of the retained partition lives on what it holds, and what it has done is committed.
    tug.desk.release(retained, 10);
    tug.journal.wait_for(Step::Ended, retained, 11).await;
    let committed = || async { broker().committed(&tug.group, &tug.topic).await };
    let goes_on = || async {
        let committed = committed().await?;
        anyhow::ensure!(committed.get(&retained).is_some_and(|offset| *offset >= 12), "{committed:?}");
        Ok(())
    };
    eventually(BUDGET / 2, "what the retained partition has done is committed", goes_on).await.unwrap();
    for _ in 0..LOOKS {
        assert!(!tug.journal.has(Step::Ended, revoked, 10), "the revoked partition is still at its record");
        assert_eq!(committed().await.unwrap().get(&revoked), Some(&10));
        tokio::time::sleep(STEP).await;
    }
    tug.desk.release(revoked, 10);
    tug.journal.wait_for_ended(200).await;
    broker().wait_for_commits_to_end(&tug.group, &tug.topic, SOON).await.unwrap();
    revoke_line(&tug.group).await;
    for listeners in [tug.first, second] {
        listeners.shutdown().await.into_result().unwrap();
    }

    let [stood_still] = stood_still(&tug.group)[..] else { panic!("{:?}", stood_still(&tug.group)) };
    // No shorter than the revoked partition's drain, which began before the looks; no longer than all of it took.
    assert!(stood_still >= STEP * LOOKS && stood_still < joining.elapsed(), "{stood_still:?}");
    assert!(stood_still < BUDGET, "{stood_still:?}");
    tug.journal.assert_each_once(&broker().end_offsets(&tug.topic).await.unwrap());
    let by_second = tug.journal.entries().into_iter().filter(|line| line.desk == "second");
    assert!(by_second.map(|line| line.partition).all(|partition| partition == revoked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_outlives_revoke_timeout_is_cancelled_and_its_record_goes_to_the_next_owner() {
    const BUDGET: Duration = Duration::from_secs(3);
    let tug = Tug::new(3_000).await;
    let second = tug.second().await;

    let cancelled = || async { tug.journal.count(Step::Cancelled) == 1 };
    eventually(SOON, "the handler is cancelled", cancelled).await.unwrap();
    let (revoked, offset) = tug.journal.places(Step::Cancelled)[0];
    assert_eq!(offset, 10);
    let line = revoke_line(&tug.group).await;
    assert!(line.message().contains("cancelled 1 still running"), "{}", line.message());
    // About 70 % are the drain's. The pulse of the loop and a busy machine may add a little, the budget holds.
    let took = duration(line.field("took"));
    assert!(took >= BUDGET.mul_f64(0.65) && took < BUDGET + SLACK, "{took:?}");
    assert_eq!(stood_still(&tug.group), [took], "what stays stands still no longer than the drain's part and its end");

    let again = || async {
        let lines = tug.journal.entries();
        let ended =
            lines.iter().find(|line| line.step == Step::Ended && (line.partition, line.offset) == (revoked, 10));
        anyhow::ensure!(ended.is_some_and(|line| line.desk == "second"), "{ended:?}");
        Ok(())
    };
    eventually(SOON, "the next owner handles the record", again).await.unwrap();
    assert_eq!(tug.first.container(LISTENER).unwrap().status().possibly_repeated, 1);
    tug.desk.release(1 - revoked, 10);
    broker().wait_for_commits_to_end(&tug.group, &tug.topic, SOON).await.unwrap();
    for listeners in [tug.first, second] {
        listeners.shutdown().await.into_result().unwrap();
    }

    tug.journal.assert_each_once(&broker().end_offsets(&tug.topic).await.unwrap());
    let mut starts: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for place in tug.journal.places(Step::Started) {
        *starts.entry(place).or_default() += 1;
    }
    let twice: BTreeSet<_> = starts.into_iter().filter(|(_, starts)| *starts > 1).map(|(place, _)| place).collect();
    assert_eq!(twice, BTreeSet::from([(revoked, 10)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_has_nothing_to_do_gives_its_partitions_up_at_once() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 2).await.unwrap();
    broker().produce(Record::to(&topic).partition(0).json(json!({"orderId": "ORDER-0"}))).await.unwrap();
    let journal = Journal::default();
    let first = registry(broker(), &topic, &group, &Desk::new("first", &journal))
        // Far more than a busy machine adds to a rebalance that waits for nothing.
        .set("listener.revoke_timeout", "1m")
        .start()
        .await
        .unwrap();
    journal.wait_for_ended(1).await;

    let second = registry(broker(), &topic, &group, &Desk::new("second", &journal)).start().await.unwrap();
    owns(&second, 1).await;
    owns(&first, 1).await;
    let line = revoke_line(&group).await;
    assert!(duration(line.field("took")) < Duration::from_secs(5), "{}", line.message());
    assert_eq!(stood_still(&group), [duration(line.field("took"))]);
    for name in ["group", "member", "partitions", "assignment"] {
        assert_ne!(line.field(name), "", "{name}: {line:?}");
    }
    for listeners in [second, first] {
        listeners.shutdown().await.into_result().unwrap();
    }
}
