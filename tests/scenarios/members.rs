//! Members as processes, judged by their event logs: a good one passes, and one that never commits is convicted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::checker::{Anomaly, History, Promise, Verdict, check};
use support::event::{Event, EventLog, HARNESS, Place, What};
use support::{CommitSampler, Member, MemberOptions, Record, SOON, broker, unique};
use tempfile::TempDir;

/// A group's run: its topic, its folder of event logs, and an outside reader of its commits.
struct Run {
    topic: String,
    group: String,
    directory: TempDir,
    harness: Arc<EventLog>,
    commits: CommitSampler,
    produced: usize,
}

impl Run {
    async fn start() -> Self {
        let (topic, group) = (unique("orders"), unique("group"));
        broker().create_topic(&topic, 3).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let harness = Arc::new(EventLog::append(&directory.path().join("harness.jsonl"), HARNESS).unwrap());
        let commits = CommitSampler::start(broker(), &group, &topic, Duration::from_millis(20)).await.unwrap();
        Self { topic, group, directory, harness, commits, produced: 0 }
    }

    fn member(&self, name: &str, engine: &str) -> Member {
        self.member_with(name, &["--engine", engine])
    }

    fn member_with(&self, name: &str, arguments: &[&str]) -> Member {
        let mut options =
            MemberOptions::new(env!("CARGO_BIN_EXE_member"), broker(), &self.topic, &self.group, self.directory.path());
        options.harness = Some(Arc::clone(&self.harness));
        let options = options.set("listener.session_timeout", "6s").with(arguments.iter().copied());
        Member::spawn(name, &options).unwrap()
    }

    /// Produces at about 1,000 records a second and waits until the member has begun with all of them.
    async fn produce_and_wait(&mut self, records: usize, member: &mut Member) {
        let first = self.produced;
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        for n in (self.produced..self.produced + records).collect::<Vec<_>>().chunks(10) {
            tick.tick().await;
            let orders = n.iter().map(|n| {
                let partition = i32::try_from(n % 3).unwrap();
                Record::to(&self.topic).partition(partition).json(serde_json::json!({"orderId": n.to_string()}))
            });
            broker().produce_all(orders).await.unwrap();
        }
        self.produced += records;
        let started = |event: &Event| match &event.what {
            What::Start { value, .. } => value.parse().ok().filter(|n: &usize| *n >= first),
            _ => None,
        };
        let all = |events: &[Event]| events.iter().filter_map(started).collect::<BTreeSet<_>>().len() == records;
        member.wait_for(SOON, &format!("it has begun with {records} new records"), all).await.unwrap();
    }

    async fn verdict(self) -> Verdict {
        check(&self.history().await, &Promise::default())
    }

    async fn history(self) -> History {
        let committed = self.commits.stop().await.unwrap();
        self.harness.write(What::Finished).unwrap();
        let directory: &Path = self.directory.path();
        History::collect(directory, broker(), &self.topic, committed).await.unwrap()
    }
}

#[tokio::test]
async fn a_member_that_is_stopped_leaves_nothing_to_repeat() {
    let mut run = Run::start().await;
    let mut first = run.member("first", "listener");
    run.produce_and_wait(2_000, &mut first).await;
    assert!(first.stop(SOON).await.unwrap().is_clean(), "{}", first.words());
    let mut second = run.member("second", "listener");
    run.produce_and_wait(500, &mut second).await;
    assert!(second.stop(SOON).await.unwrap().is_clean(), "{}", second.words());

    let verdict = run.verdict().await;

    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
    assert_eq!((verdict.starts, verdict.done), (2_500, 2_500));
}

#[tokio::test]
async fn a_killed_member_repeats_no_more_than_its_last_commit_interval() {
    let verdict = kill_under_load("listener").await;

    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}

#[tokio::test]
async fn a_killed_member_that_never_commits_is_convicted() {
    let verdict = kill_under_load("never-commits").await;

    assert!(verdict.by_name().contains_key(&Anomaly::DupOverBound), "{:#?}", verdict.worst_duplicates);
}

#[tokio::test]
async fn a_killed_member_with_manual_acks_repeats_no_more_than_its_last_commit_interval() {
    let run = kill_under_load_with(&["--acks", "inside", "--set", "listener.ack_mode=manual"]).await;

    let verdict = run.verdict().await;

    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}

#[tokio::test]
async fn a_killed_member_with_immediate_acks_repeats_one_record_per_partition() {
    let run = kill_under_load_with(&["--acks", "inside", "--set", "listener.ack_mode=manual_immediate"]).await;

    let history = run.history().await;

    let repeats = starts(&history).into_values().filter(|starts| *starts > 1).count();
    assert!(repeats <= 3, "{repeats} records of three partitions were handled again");
    let verdict = check(&history, &Promise { commit_interval: Duration::ZERO, ..Promise::default() });
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}

#[tokio::test]
async fn a_killed_member_with_async_acks_repeats_what_was_out() {
    let arguments = ["--acks", "outside", "--set", "listener.ack_mode=manual", "--set", "listener.async_acks=true"];
    let run = kill_under_load_with(&arguments).await;

    let history = run.history().await;

    // A record counts as finished when its handler returns, up to 20 ms before it is acknowledged, and timers are late.
    let out = Duration::from_millis(100);
    let promise = Promise::default();
    let verdict = check(&history, &Promise { commit_interval: promise.commit_interval + out, ..promise });
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
}

#[tokio::test]
async fn a_killed_member_that_commits_first_repeats_nothing_and_loses_one_record_per_partition() {
    let run = kill_under_load_with(&["--set", "listener.ack_mode=at_most_once"]).await;

    let history = run.history().await;

    let starts = starts(&history);
    let repeated: Vec<_> = starts.iter().filter(|(_, starts)| **starts > 1).collect();
    assert!(repeated.is_empty(), "{repeated:?}");
    let mut lost: BTreeMap<i32, usize> = BTreeMap::new();
    for content in history.content.iter().filter(|content| !starts.contains_key(&content.place)) {
        *lost.entry(content.place.partition).or_default() += 1;
    }
    assert!(lost.values().all(|lost| *lost <= 1), "{lost:?}");
}

/// How often each record was started.
fn starts(history: &History) -> BTreeMap<Place, usize> {
    let mut starts = BTreeMap::new();
    for event in &history.events {
        if let What::Start { place, .. } = &event.what {
            *starts.entry(place.clone()).or_default() += 1;
        }
    }
    starts
}

/// Kills a member while records come at a steady rate; another one takes over.
async fn kill_under_load(engine: &str) -> Verdict {
    kill_under_load_with(&["--engine", engine]).await.verdict().await
}

async fn kill_under_load_with(arguments: &[&str]) -> Run {
    let mut run = Run::start().await;
    let mut first = run.member_with("first", arguments);
    // Long enough for the group to have settled for more than a session before the kill.
    run.produce_and_wait(9_000, &mut first).await;
    let exit = first.kill().await.unwrap();
    assert_eq!(exit.signal, Some(9));

    let mut second = run.member_with("second", arguments);
    run.produce_and_wait(1_000, &mut second).await;
    broker().wait_for_members(&run.group, 1, SOON).await.unwrap();
    assert!(second.stop(SOON).await.unwrap().is_clean(), "{}", second.words());
    run
}
