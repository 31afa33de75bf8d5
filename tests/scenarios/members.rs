//! Members as processes, judged by their event logs: a good one passes, and one that never commits is convicted.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use support::checker::{Anomaly, History, Promise, Verdict, check};
use support::event::{Event, EventLog, HARNESS, What};
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
        let mut options =
            MemberOptions::new(env!("CARGO_BIN_EXE_member"), broker(), &self.topic, &self.group, self.directory.path());
        options.harness = Some(Arc::clone(&self.harness));
        let options = options.set("listener.session_timeout", "6s").with(["--engine", engine]);
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
        let committed = self.commits.stop().await.unwrap();
        self.harness.write(What::Finished).unwrap();
        let directory: &Path = self.directory.path();
        let history = History::collect(directory, broker(), &self.topic, committed).await.unwrap();
        check(&history, &Promise::default())
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

/// Kills a member while records come at a steady rate; another one takes over.
async fn kill_under_load(engine: &str) -> Verdict {
    let mut run = Run::start().await;
    let mut first = run.member("first", engine);
    // Long enough for the group to have settled for more than a session before the kill.
    run.produce_and_wait(9_000, &mut first).await;
    let exit = first.kill().await.unwrap();
    assert_eq!(exit.signal, Some(9));

    let mut second = run.member("second", engine);
    run.produce_and_wait(1_000, &mut second).await;
    broker().wait_for_members(&run.group, 1, SOON).await.unwrap();
    assert!(second.stop(SOON).await.unwrap().is_clean(), "{}", second.words());
    run.verdict().await
}
