//! SIGTERM under load, in the calm and in the middle of rebalances: nothing is repeated, nothing goes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use support::checker::{History, Promise, check};
use support::event::{Event, EventLog, HARNESS, Signal, What};
use support::{CommitSampler, Member, MemberOptions, Record, SOON, broker, eventually, unique};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const PARTITIONS: i32 = 6;
/// Members between two stops.
const MEMBERS: usize = 3;
/// So many are stopped while a rebalance is pending.
const PENDING: usize = 10;
/// Every round stops four members, two of them while a rebalance is pending, unless the machine is too busy to look at it
/// in time.
const MOST_ROUNDS: usize = 20;

/// When a member is told to stop, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The group is stable and every partition has its owner.
    Settled,
    /// Another member has joined and the coordinator waits for the others to join again.
    Joined,
    /// Another member has joined, and this one is giving partitions up.
    GivingUp,
    /// Another member has left and the coordinator waits for the others to join again.
    Left,
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_stop_under_load_repeat_nothing_and_take_no_commit_back() {
    let mut run = Run::start().await;
    let load = Load::start(&run.topic);
    for _ in 0..MEMBERS {
        run.join();
    }

    let mut moments = Vec::new();
    let pending = |moments: &[Moment]| moments.iter().filter(|moment| **moment != Moment::Settled).count();
    for round in 0..MOST_ROUNDS {
        if pending(&moments) >= PENDING {
            break;
        }
        run.settle().await;
        moments.push(run.stop_one(Moment::Settled).await);
        moments.push(run.stop_one(Moment::Left).await);
        run.see_off().await;
        run.join();
        run.join();

        run.settle().await;
        moments.push(run.stop_one(Moment::Settled).await);
        run.see_off().await;
        run.join();

        run.settle().await;
        let moment = if round % 2 == 0 { Moment::Joined } else { Moment::GivingUp };
        moments.push(run.stop_one(moment).await);
        run.see_off().await;
    }
    let produced = load.stop().await;
    run.settle().await;
    broker().wait_for_commits_to_end(&run.group, &run.topic, SOON).await.unwrap();
    run.stop_all().await;

    assert!(pending(&moments) >= PENDING, "{moments:?}");
    assert_eq!(run.exits, vec![Some(0); moments.len() + MEMBERS]);
    let ends: i64 = broker().end_offsets(&run.topic).await.unwrap().values().sum();
    let committed: i64 = broker().committed(&run.group, &run.topic).await.unwrap().values().sum();
    let verdict = run.verdict().await;
    assert!(verdict.is_clean(), "{:#?}", verdict.findings);
    assert_eq!((verdict.starts, verdict.done), (produced, produced), "every record was started once and done");
    assert_eq!((usize::try_from(ends), usize::try_from(committed)), (Ok(produced), Ok(produced)));
}

/// A group under way: its members as processes, and an outside reader of its commits.
struct Run {
    topic: String,
    group: String,
    directory: TempDir,
    harness: Arc<EventLog>,
    commits: CommitSampler,
    /// The oldest first.
    members: Vec<Member>,
    /// Told to stop and not seen off.
    leaving: Vec<Member>,
    spawned: usize,
    exits: Vec<Option<i32>>,
}

impl Run {
    async fn start() -> Self {
        let (topic, group) = (unique("orders"), unique("group"));
        broker().create_topic(&topic, PARTITIONS).await.unwrap();
        let directory = tempfile::tempdir().unwrap();
        let harness = Arc::new(EventLog::append(&directory.path().join("harness.jsonl"), HARNESS).unwrap());
        let commits = CommitSampler::start(broker(), &group, &topic, Duration::from_millis(10)).await.unwrap();
        let (members, leaving, exits) = (Vec::new(), Vec::new(), Vec::new());
        Self { topic, group, directory, harness, commits, members, leaving, spawned: 0, exits }
    }

    fn join(&mut self) {
        let member = env!("CARGO_BIN_EXE_member");
        let mut options = MemberOptions::new(member, broker(), &self.topic, &self.group, self.directory.path());
        options.harness = Some(Arc::clone(&self.harness));
        // Members hear of a rebalance with a heartbeat: half a second keeps it pending for long enough to be seen.
        let options = options
            .set("listener.session_timeout", "12s")
            .set("listener.heartbeat_interval", "500ms")
            .with(["--work-ms", "8"]);
        self.spawned += 1;
        self.members.push(Member::spawn(&format!("m{}", self.spawned), &options).unwrap());
    }

    /// Waits until the group is stable and every partition has its owner.
    async fn settle(&mut self) {
        let settled = || async {
            let group = broker().group(&self.group).await?;
            let owned: usize = group.members.iter().map(|member| member.assignment.len()).sum();
            let all = usize::try_from(PARTITIONS)?;
            ensure!(group.state == "Stable" && group.members.len() == MEMBERS && owned == all, "{group:?}");
            Ok(())
        };
        eventually(SOON, "the group is settled", settled).await.unwrap();
        for member in &mut self.members {
            // What the coordinator has answered, the member has still to hear.
            member.wait_until_assigned(SOON).await.unwrap();
        }
    }

    /// Tells a member to stop at this moment; answers which one it was.
    async fn stop_one(&mut self, moment: Moment) -> Moment {
        let (victim, moment) = match moment {
            Moment::Settled => (0, moment),
            Moment::Left => (0, if self.sees_a_rebalance().await { moment } else { Moment::Settled }),
            Moment::Joined => {
                self.join();
                (0, if self.sees_a_rebalance().await { moment } else { Moment::Settled })
            }
            Moment::GivingUp => {
                let before: Vec<usize> = self.members.iter().map(given_up).collect();
                self.join();
                (self.wait_for_giving_up(&before).await, moment)
            }
        };
        let mut member = self.members.remove(victim);
        member.signal(Signal::Term).unwrap();
        self.leaving.push(member);
        moment
    }

    /// Waits for the end of those that were told to stop.
    async fn see_off(&mut self) {
        for mut member in std::mem::take(&mut self.leaving) {
            self.exits.push(member.wait_for_exit(SOON).await.unwrap().code);
        }
    }

    /// Waits until the coordinator has begun to ask the members to join again, or is through with that already.
    async fn sees_a_rebalance(&self) -> bool {
        let seen = AtomicBool::new(false);
        let begun = || async {
            let group = broker().group(&self.group).await?;
            seen.store(group.state.ends_with("Rebalance"), Ordering::Relaxed);
            ensure!(group.state != "Stable" || group.members.len() == self.members.len(), "{group:?}");
            Ok(())
        };
        eventually(SOON, "a rebalance has begun", begun).await.unwrap();
        seen.into_inner()
    }

    /// Waits until a member gives partitions up that it had before; answers which one.
    async fn wait_for_giving_up(&self, before: &[usize]) -> usize {
        let giving_up = || self.members.iter().zip(before).position(|(member, before)| given_up(member) > *before);
        eventually(SOON, "a member gives partitions up", || async { giving_up().is_some() }).await.unwrap();
        giving_up().unwrap()
    }

    async fn stop_all(&mut self) {
        while !self.members.is_empty() {
            self.stop_one(Moment::Settled).await;
        }
        self.see_off().await;
    }

    #[expect(clippy::print_stderr, reason = "the logs are what a fault is found by")]
    async fn verdict(self) -> support::checker::Verdict {
        let committed = self.commits.stop().await.unwrap();
        self.harness.write(What::Finished).unwrap();
        let history = History::collect(self.directory.path(), broker(), &self.topic, committed).await.unwrap();
        let promise = Promise { session_timeout: Duration::from_secs(12), ..Promise::default() };
        let verdict = check(&history, &promise);
        if !verdict.is_clean() {
            eprintln!("the logs of the run are in `{}`", self.directory.keep().display());
        }
        verdict
    }
}

/// How often a member has given partitions up.
fn given_up(member: &Member) -> usize {
    let revoking = |event: &&Event| matches!(&event.what, What::Revoking { partitions } if !partitions.is_empty());
    member.events().unwrap().iter().filter(revoking).count()
}

/// Produces a few hundred records a second until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    producing: JoinHandle<usize>,
}

impl Load {
    fn start(topic: &str) -> Self {
        let (topic, stop) = (topic.to_owned(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let producing = tokio::spawn(async move {
            let mut produced = 0_usize;
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while !stopped.load(Ordering::Relaxed) {
                tick.tick().await;
                let orders = (0..PARTITIONS).map(|partition| {
                    let id = format!("{produced}-{partition}");
                    Record::to(&topic).partition(partition).json(serde_json::json!({"orderId": id}))
                });
                produced += broker().produce_all(orders).await.unwrap().len();
            }
            produced
        });
        Self { stop, producing }
    }

    /// Answers how many records there are now.
    async fn stop(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.producing.await.unwrap()
    }
}
