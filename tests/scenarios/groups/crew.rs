//! A group of member processes on a topic of its own, under a steady load, judged by the checker at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
pub(super) use support::SOON;
use support::checker::{History, Promise, Verdict, check};
use support::event::{Event, EventLog, HARNESS, Outcome, Place, What};
use support::{CommitSampler, Kafka, Member, MemberOptions, Record, broker, eventually, unique};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A group: its topic, the folder of its members' logs, and an outside reader of its commits.
pub(super) struct Crew {
    pub(super) topic: String,
    pub(super) group: String,
    pub(super) partitions: i32,
    kafka: Kafka,
    settings: Vec<(String, String)>,
    directory: TempDir,
    harness: Arc<EventLog>,
    commits: CommitSampler,
    load: Option<Load>,
}

impl Crew {
    pub(super) async fn new(partitions: i32) -> Self {
        let kafka = broker().clone();
        let (topic, group) = (unique("orders"), unique("group"));
        kafka.create_topic(&topic, partitions).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let harness = Arc::new(EventLog::append(&directory.path().join("harness.jsonl"), HARNESS).unwrap());
        let commits = CommitSampler::start(&kafka, &group, &topic, Duration::from_millis(20)).await.unwrap();
        let crew =
            Self { topic, group, partitions, kafka, settings: Vec::new(), directory, harness, commits, load: None };
        crew.with("listener.session_timeout", "6s")
    }

    /// A group that the broker runs: it knows no settings of the classic one.
    pub(super) fn by_the_broker(mut self) -> Self {
        self.settings.retain(|(path, _)| path != "listener.session_timeout");
        self.with("listener.group_protocol", "consumer")
    }

    /// A setting that all members share.
    pub(super) fn with(mut self, path: &str, value: &str) -> Self {
        self.settings.retain(|(known, _)| known != path);
        self.settings.push((path.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn member(&self, name: &str) -> Member {
        self.member_with(name, &[])
    }

    /// A member with settings of its own.
    pub(super) fn member_with(&self, name: &str, own: &[(&str, &str)]) -> Member {
        Member::spawn(name, &self.options(own)).unwrap()
    }

    /// A member that is told what to do with single records.
    pub(super) fn member_told(&self, name: &str, arguments: &[&str]) -> Member {
        Member::spawn(name, &self.options(&[]).with(arguments.iter().copied())).unwrap()
    }

    /// A file that is not there yet.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn options(&self, own: &[(&str, &str)]) -> MemberOptions {
        let program = env!("CARGO_BIN_EXE_member");
        let mut options = MemberOptions::new(program, &self.kafka, &self.topic, &self.group, self.directory.path());
        options.harness = Some(Arc::clone(&self.harness));
        let shared = self.settings.iter().map(|(path, value)| (path.as_str(), value.as_str()));
        shared
            .filter(|(path, _)| own.iter().all(|(other, _)| other != path))
            .chain(own.iter().copied())
            .fold(options, |options, (path, value)| options.set(path, value))
    }

    pub(super) fn log_of(&self, member: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(format!("{member}.log"))).unwrap_or_default()
    }

    /// Orders come to all partitions from now on.
    pub(super) fn start_load(&mut self) {
        self.load = Some(Load::start(&self.kafka, &self.topic, self.partitions, Arc::clone(&self.harness)));
    }

    /// Waits until the members own all partitions, each one at most one more than another, and nobody owns any twice.
    pub(super) async fn wait_until_balanced(&self, members: &[&Member]) {
        let all: BTreeSet<i32> = (0..self.partitions).collect();
        let balanced = || async {
            let owned: BTreeMap<&str, BTreeSet<i32>> =
                members.iter().map(|member| (member.name(), owned_by(&member.events().unwrap()))).collect();
            let together: BTreeSet<i32> = owned.values().flatten().copied().collect();
            let count: usize = owned.values().map(BTreeSet::len).sum();
            let (least, most) = (owned.values().map(BTreeSet::len).min(), owned.values().map(BTreeSet::len).max());
            let even = most.unwrap_or(0) - least.unwrap_or(0) <= 1;
            ensure!(together == all && count == all.len() && even, "{owned:?}");
            Ok(())
        };
        let outcome = eventually(SOON, "the members own all partitions evenly", balanced).await;
        let log = |member: &&Member| format!("{}:\n{}\n", member.name(), self.log_of(member.name()));
        assert!(outcome.is_ok(), "{outcome:?}\n{}", members.iter().map(log).collect::<String>());
    }

    /// Waits until each of the members has handled `more` records from now on.
    pub(super) async fn wait_for_flow(&self, members: &[&Member], more: usize) {
        for member in members {
            let before = handled(&member.events().unwrap());
            let flows = || async {
                let now = handled(&member.events()?);
                ensure!(now >= before + more, "{now} of {before} and {more} more\n{}", member.words());
                Ok(())
            };
            eventually(SOON, &format!("{} handles records", member.name()), flows).await.unwrap();
        }
    }

    /// Ends the load and waits until all of it is committed; tells how many records there were.
    pub(super) async fn end_load(&mut self) -> usize {
        let produced = self.load.take().unwrap().stop().await;
        self.kafka.wait_for_commits_to_end(&self.group, &self.topic, SOON).await.unwrap();
        produced
    }

    /// The checker's judgement, once all members are gone.
    pub(super) async fn verdict(self) -> Verdict {
        let committed = self.commits.stop().await.unwrap();
        self.harness.write(What::Finished).unwrap();
        let history = History::collect(self.directory.path(), &self.kafka, &self.topic, committed).await.unwrap();
        check(&history, &Promise::default())
    }
}

/// Stops a member in good order.
pub(super) async fn stop(member: &mut Member) {
    assert!(member.stop(SOON).await.unwrap().is_clean(), "{}", member.words());
}

/// The partitions that a member owns by its own account.
pub(super) fn owned_by(events: &[Event]) -> BTreeSet<i32> {
    let mut owned = BTreeSet::new();
    for event in events {
        match &event.what {
            What::Assigned { partitions } => owned.extend(partitions.iter().map(|(_, partition)| *partition)),
            What::Revoking { partitions } | What::Lost { partitions } => {
                owned.retain(|owned| partitions.iter().all(|(_, partition)| partition != owned));
            }
            _ => {}
        }
    }
    owned
}

/// How many records a member has handled.
pub(super) fn handled(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event.what, What::End { outcome: Outcome::Ok, .. })).count()
}

/// How many rebalances a member has had by its own account.
pub(super) fn rebalances_of(member: &Member) -> usize {
    let rebalance =
        |event: &&Event| matches!(event.what, What::Assigned { .. } | What::Revoking { .. } | What::Lost { .. });
    member.events().unwrap().iter().filter(rebalance).count()
}

/// About 200 orders a second until it is told to stop.
struct Load {
    stop: watch::Sender<bool>,
    task: JoinHandle<usize>,
}

impl Load {
    fn start(kafka: &Kafka, topic: &str, partitions: i32, harness: Arc<EventLog>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (kafka, topic) = (kafka.clone(), topic.to_owned());
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(50));
            let mut produced = 0;
            while !*stopped.borrow() {
                tick.tick().await;
                let values: Vec<usize> = (produced..produced + 10).collect();
                produced += values.len();
                let order = |value: usize| {
                    let partition = i32::try_from(value).unwrap() % partitions;
                    Record::to(&topic).partition(partition).json(serde_json::json!({"orderId": value.to_string()}))
                };
                let orders: Vec<Record> = values.iter().copied().map(order).collect();
                let delivered = kafka.produce_all(orders).await.unwrap();
                for (value, delivered) in values.iter().zip(delivered) {
                    let place = Place::new(topic.as_str(), delivered.partition, delivered.offset);
                    harness.write(What::Acked { place, value: value.to_string() }).unwrap();
                }
            }
            produced
        });
        Self { stop, task }
    }

    async fn stop(self) -> usize {
        self.stop.send_replace(true);
        self.task.await.unwrap()
    }
}
