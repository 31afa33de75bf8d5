//! Pauses of single partitions, and control calls of all kinds while the group rebalances.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_listener::{ListenerContainer, ListenerRegistry, PauseOutcome, Phase, SeekOutcome, SeekTo, TopicPartition};
use serde_json::json;
use support::{Record, broker, eventually, unique};

use super::desk::{Desk, Journal, LISTENER, SOON, Step, registry};

async fn produce(topic: &str, partition: i32, count: usize, padding: usize) {
    let order = json!({"orderId": "ORDER-1", "padding": "x".repeat(padding)});
    let orders = (0..count).map(|_| Record::to(topic).partition(partition).json(order.clone()));
    broker().produce_all(orders.collect::<Vec<_>>()).await.unwrap();
}

async fn owns(container: &ListenerContainer, partitions: usize) {
    let owned = || async {
        let owned = container.status().partitions.len();
        anyhow::ensure!(owned == partitions, "it owns {owned} of {partitions}");
        Ok(())
    };
    eventually(SOON, "the member owns its partitions", owned).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_partition_stays_so_across_rebalances_while_the_others_go_on() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 2).await.unwrap();
    let (journal, others) = (Journal::default(), Journal::default());
    let first = registry(broker(), &topic, &group, &Desk::new("first", &journal)).start().await.unwrap();
    let container = first.container(LISTENER).unwrap();
    owns(&container, 2).await;
    let (paused, free) = (TopicPartition::new(topic.as_str(), 0), TopicPartition::new(topic.as_str(), 1));
    assert_eq!(container.pause_partition(&paused).await.unwrap(), PauseOutcome::Applied);
    let elsewhere = TopicPartition::new(topic.as_str(), 9);
    assert_eq!(container.pause_partition(&elsewhere).await.unwrap(), PauseOutcome::Remembered);
    produce(&topic, 0, 10, 0).await;
    produce(&topic, 1, 10, 0).await;
    journal.wait_for(Step::Ended, 1, 9).await;

    // Another member takes one of the two and gives it back.
    let second = registry(broker(), &topic, &group, &Desk::new("second", &others)).start().await.unwrap();
    owns(&container, 1).await;
    second.shutdown().await.into_result().unwrap();
    owns(&container, 2).await;
    let by_others = others.places(Step::Ended).into_iter().filter(|place| place.0 == 0).count();
    produce(&topic, 0, 10, 0).await;
    produce(&topic, 1, 10, 0).await;
    journal.wait_for(Step::Ended, 1, 19).await;
    let seen = || async { container.status().partitions[0].end_offset == Some(20) };
    eventually(SOON, "the end of the paused partition's log is told", seen).await.unwrap();
    let status = container.status();
    assert!(status.partitions[0].paused && !status.partitions[1].paused, "{status}");
    assert_eq!(container.paused_partitions(), BTreeSet::from([paused.clone(), elsewhere]));
    assert!(!journal.places(Step::Started).iter().any(|place| place.0 == 0));

    assert_eq!(container.resume_partition(&paused).await.unwrap(), PauseOutcome::Applied);
    assert_eq!(container.resume_partition(&free).await.unwrap(), PauseOutcome::Applied, "it was not paused");
    journal.wait_for_ended(40 - by_others).await;
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    first.shutdown().await.into_result().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_paused_partition_is_right_although_nothing_is_fetched_any_more() {
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, 1).await.unwrap();
    let journal = Journal::default();
    // Room for a few records: the client stops fetching long before the end of the log.
    let listeners = registry(broker(), &topic, &group, &Desk::new("only", &journal))
        .set("listener.prefetch", "64KiB")
        .set("listener.limits.in_flight_records", 4)
        .start()
        .await
        .unwrap();
    let container = listeners.container(LISTENER).unwrap();
    let partition = TopicPartition::new(topic.as_str(), 0);
    assert_eq!(container.pause_partition(&partition).await.unwrap(), PauseOutcome::Remembered);
    let lags = |records: i64| {
        let container = container.clone();
        move || {
            let partition = container.status().partitions.first().cloned();
            async move {
                anyhow::ensure!(partition.as_ref().is_some_and(|one| one.lag == Some(records)), "{partition:?}");
                Ok(())
            }
        }
    };
    let mut records = 0;
    for _ in 0..3 {
        produce(&topic, 0, 300, 4_000).await;
        records += 300;
        eventually(SOON, "the lag is all of it", lags(records)).await.unwrap();
        assert_eq!(container.status().partitions[0].phase, Phase::Paused);
    }
    assert_eq!(journal.count(Step::Started), 0);
    container.resume_partition(&partition).await.unwrap();
    eventually(SOON, "the lag is gone", lags(0)).await.unwrap();
    listeners.shutdown().await.into_result().unwrap();
    journal.assert_each_once(&BTreeMap::from([(0, records)]));
}

const PARTITIONS: i32 = 4;

/// One call that steered a partition, and the lines of the journal that were there when it began and when it was answered.
#[derive(Clone, Debug)]
struct Call {
    desk: &'static str,
    partition: i32,
    kind: Kind,
    began: usize,
    answered: usize,
    is_replay: bool,
    /// Nobody came or went between the beginning of this call and that of the next one of the partition.
    is_calm: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Paused(PauseOutcome),
    Resumed,
    Sought(SeekOutcome),
}

/// What an operator does for a while, drawn from a seed.
struct Operator {
    state: u64,
    seed: u64,
    journal: Journal,
    topic: String,
    calls: Vec<Call>,
}

impl Operator {
    fn below(&mut self, limit: u64) -> u64 {
        // xorshift*: small, and the same everywhere.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }

    fn lines(&self) -> usize {
        self.journal.entries().len()
    }

    /// Steers one partition through one of the members.
    async fn act(&mut self, members: &[(&'static str, ListenerContainer)], is_calm: bool) {
        let number = i32::try_from(self.below(u64::from(PARTITIONS.unsigned_abs()))).unwrap();
        let member = usize::try_from(self.below(members.len() as u64)).unwrap();
        let (desk, container) = members[member].clone();
        let partition = TopicPartition::new(self.topic.as_str(), number);
        let end = broker().end_offsets(&self.topic).await.unwrap().get(&number).copied().unwrap_or(0);
        let offset = i64::try_from(self.below(end.unsigned_abs() + 1)).unwrap();
        let to = match self.below(4) {
            0 => SeekTo::Beginning,
            1 => SeekTo::Relative(-7),
            _ => SeekTo::Offset(offset),
        };
        let began = self.lines();
        let choice = self.below(8);
        let kind = match choice {
            0 | 1 => Kind::Paused(container.pause_partition(&partition).await.unwrap()),
            2 | 3 => {
                container.resume_partition(&partition).await.unwrap();
                Kind::Resumed
            }
            4 | 5 => Kind::Sought(container.seek(&partition, to).await),
            6 => Kind::Sought(container.seek_and_commit(&partition, to).await),
            _ => Kind::Sought(container.replay(&partition, SeekTo::Offset(offset / 2), SeekTo::Offset(offset)).await),
        };
        let answered = self.lines();
        self.calls.push(Call { desk, partition: number, kind, began, answered, is_replay: choice == 7, is_calm });
    }

    /// Compares what the handlers did with what the calls say.
    fn judge(&self) {
        let lines = self.journal.entries();
        for (index, call) in self.calls.iter().enumerate() {
            let context = format!("CONTROL_SEED={} {call:?}", self.seed);
            let of_partition = |other: &&Call| other.partition == call.partition;
            let next = self.calls[index + 1..].iter().find(of_partition);
            let until = next.map_or(lines.len(), |next| next.began);
            let is_calm = call.is_calm && next.is_none_or(|next| next.is_calm);
            let started = |from: usize| -> Vec<i64> {
                let starts = lines[from.min(until)..until].iter().filter(|line| {
                    line.desk == call.desk && line.partition == call.partition && line.step == Step::Started
                });
                starts.map(|line| line.offset).collect()
            };
            match &call.kind {
                Kind::Paused(PauseOutcome::Applied) => {
                    // A start that had passed its check may still write its line.
                    assert!(started(call.answered).len() <= 1, "{context}: started {:?}", started(call.answered));
                }
                Kind::Sought(SeekOutcome::Applied { offset, .. }) if is_calm => {
                    let after = started(call.answered);
                    let all = started(call.began);
                    let is_break = |pair: &[i64]| pair[0] + 1 != pair[1];
                    let last_run = all.windows(2).rposition(is_break).map_or(0, |at| at + 1);
                    // Behind a replay comes where the partition was.
                    let is_there = after.is_empty() || all[last_run..].contains(offset);
                    assert!(is_there || call.is_replay, "{context}: started {all:?}");
                }
                kind => {
                    let is_answered = !matches!(kind, Kind::Sought(SeekOutcome::Unanswered | SeekOutcome::Unresolved));
                    assert!(is_answered, "{context}");
                }
            }
        }
        // One handler at a time in a partition, whoever owns it.
        let mut running: BTreeMap<i32, i64> = BTreeMap::new();
        for line in &lines {
            match line.step {
                Step::Started => {
                    let other = running.insert(line.partition, line.offset);
                    assert_eq!(other, None, "CONTROL_SEED={} beside {line:?}", self.seed);
                }
                Step::Ended | Step::Cancelled => {
                    running.remove(&line.partition);
                }
            }
        }
    }
}

async fn start(topic: &str, group: &str, desk: &Desk) -> (ListenerRegistry, ListenerContainer) {
    let listeners = registry(broker(), topic, group, desk).start().await.unwrap();
    let container = listeners.container(LISTENER).unwrap();
    (listeners, container)
}

/// `CONTROL_SEED=n` runs the one that failed once more.
#[tokio::test(flavor = "multi_thread")]
async fn control_calls_of_all_kinds_hold_while_members_come_and_go() {
    let drawn = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let asked = std::env::var("CONTROL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = asked.unwrap_or_else(|| u64::try_from(drawn).unwrap()) | 1;
    let (topic, group) = (unique("orders"), unique("group"));
    broker().create_topic(&topic, PARTITIONS).await.unwrap();
    let journal = Journal::default();
    let pace = Duration::from_millis(2);
    let desk = Desk::new("first", &journal).with_pace(pace);
    let (first, container) = start(&topic, &group, &desk).await;
    owns(&container, 4).await;
    let mut operator =
        Operator { state: seed, seed, journal: journal.clone(), topic: topic.clone(), calls: Vec::new() };
    for round in 0..4 {
        for partition in 0..PARTITIONS {
            produce(&topic, partition, 40, 0).await;
        }
        let alone = [("first", container.clone())];
        for _ in 0..8 {
            operator.act(&alone, round == 0).await;
        }
        // Both of them are steered while the second one joins and while it leaves.
        let (second, other) = start(&topic, &group, &desk.named("second")).await;
        let both = [("first", container.clone()), ("second", other.clone())];
        for _ in 0..10 {
            operator.act(&both, false).await;
        }
        owns(&other, 2).await;
        let leaving = tokio::spawn(async move { second.shutdown().await });
        for _ in 0..6 {
            operator.act(&both, false).await;
        }
        leaving.await.unwrap().into_result().unwrap();
        owns(&container, 4).await;
    }
    operator.judge();
    for partition in 0..PARTITIONS {
        let partition = TopicPartition::new(topic.as_str(), partition);
        container.resume_partition(&partition).await.unwrap();
        // From somewhere that is known, to the end.
        let outcome = container.seek_and_commit(&partition, SeekTo::Beginning).await;
        let is_done = matches!(outcome, SeekOutcome::Applied { offset: 0, .. });
        assert!(is_done, "CONTROL_SEED={seed}: {outcome}");
    }
    broker().wait_for_commits_to_end(&group, &topic, SOON).await.unwrap();
    let status = first.status().to_string();
    first.shutdown().await.into_result().unwrap();
    let handled: BTreeSet<_> = journal.places(Step::Ended).into_iter().collect();
    assert_eq!(handled.len(), 4 * 40 * 4, "CONTROL_SEED={seed}: every record was handled at last\n{status}");
    let sought = operator.calls.iter().filter(|call| matches!(call.kind, Kind::Sought(SeekOutcome::Applied { .. })));
    assert!(sought.count() > 3, "CONTROL_SEED={seed}: {:?}", operator.calls);
}
