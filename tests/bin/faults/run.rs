//! One run: a cluster, members, load, and a nemesis that acts every few seconds and heals everything in the end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use support::event::{EventLog, HARNESS, Signal, What};
use support::kafka::Samples;
use support::{Cluster, ClusterOptions, CommitSampler, Member, MemberOptions};
use tokio::time::Instant;

use super::dice::Dice;
use super::load::{Load, Produced};
use super::nemesis::Row;
use super::{Options, say};

pub(crate) const TOPIC: &str = "orders";
const GROUP: &str = "faults";

/// The session timeout of the members, in milliseconds: the broker's usual minimum.
const SESSION: u64 = 6_000;

/// How many members there are after the start, and at most.
const FIRST_MEMBERS: usize = 3;
const MOST_MEMBERS: usize = 5;

/// How long the group may take to handle and commit everything once all is healed.
const CATCH_UP: Duration = Duration::from_secs(120);

/// How long a member may take to end, a little over its own budget: what is later is for the checker to name.
const STOP_DEADLINE: Duration = Duration::from_secs(40);

/// What a run leaves to be judged.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) cluster: Cluster,
    pub(crate) rows: BTreeMap<Row, u32>,
    pub(crate) produced: Produced,
    pub(crate) committed: Samples,
}

/// Makes faults for as long as the options say, then heals, drains and stops.
pub(crate) async fn run(options: &Options, seed: u64, directory: &Path) -> anyhow::Result<Finished> {
    let mut run = Run::start(options, seed, directory).await?;
    let sampler = CommitSampler::start(&run.cluster, GROUP, TOPIC, Duration::from_millis(50)).await?;
    let load = Load::start(&run.cluster, TOPIC, options.partitions, options.rate, seed, Arc::clone(&run.harness));
    for _ in 0..FIRST_MEMBERS {
        run.join()?;
    }
    run.wait_for_members().await?;

    let until = Instant::now() + Duration::from_secs_f64(options.minutes * 60.0);
    run.disturb(options, until).await?;

    run.heal().await?;
    let produced = load.stop().await?;
    if let Err(err) = run.cluster.wait_for_commits_to_end(GROUP, TOPIC, CATCH_UP).await {
        say(&format!("not caught up: {err:#}"));
    }
    run.stop_all().await?;
    let committed = sampler.stop().await?;
    run.harness.write(What::Finished)?;
    Ok(Finished { cluster: run.cluster, rows: run.rows, produced, committed })
}

struct Run {
    cluster: Cluster,
    harness: Arc<EventLog>,
    member_options: MemberOptions,
    dice: Dice,
    members: Vec<Live>,
    spawned: usize,
    /// What has to be undone, and when.
    pending: Vec<(Instant, Undo)>,
    rows: BTreeMap<Row, u32>,
}

struct Live {
    member: Member,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Frozen,
    Stopping,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Undo {
    ThawMember(String),
    ThawNode(usize),
    RestartNode(usize),
}

/// As the command line spells it.
pub(crate) fn name_of(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

impl Run {
    async fn start(options: &Options, seed: u64, directory: &Path) -> anyhow::Result<Self> {
        let cluster_options = ClusterOptions { log_directory: Some(directory.to_owned()), ..ClusterOptions::default() };
        let cluster = Cluster::start_with(options.nodes, &cluster_options).await?;
        cluster.create_topic(TOPIC, options.partitions).await?;
        let harness = Arc::new(EventLog::append(&directory.join("harness.jsonl"), HARNESS)?);
        let program: PathBuf = std::env::current_exe().context("the harness does not know its own program")?;
        let mut member_options = MemberOptions::new(program, &cluster, TOPIC, GROUP, directory);
        member_options.program.push("member".into());
        member_options.harness = Some(Arc::clone(&harness));
        let session = format!("listener.session_timeout={SESSION}ms");
        member_options = member_options.with(["--work-ms", &options.work_ms.to_string(), "--set", &session]);
        member_options = member_options.with(["--engine", &name_of(&options.engine)]);
        member_options = member_options.with(["--acks", &name_of(&options.acks)]);
        if let Some(how) = options.sabotage {
            member_options = member_options.with(["--sabotage", &name_of(&how)]);
        }
        if options.block {
            member_options = member_options.with(["--block"]);
        }
        for setting in &options.settings {
            member_options = member_options.with(["--set", setting]);
        }
        Ok(Self {
            cluster,
            harness,
            member_options,
            dice: Dice::new(seed),
            members: Vec::new(),
            spawned: 0,
            pending: Vec::new(),
            rows: BTreeMap::new(),
        })
    }

    async fn wait_for_members(&mut self) -> anyhow::Result<()> {
        for live in &mut self.members {
            live.member.wait_until_assigned(Duration::from_secs(60)).await?;
        }
        Ok(())
    }

    async fn disturb(&mut self, options: &Options, until: Instant) -> anyhow::Result<()> {
        let rows = if options.only.is_empty() { Row::ALL.to_vec() } else { options.only.clone() };
        let mut next = Instant::now();
        while Instant::now() < until {
            self.tend().await?;
            if Instant::now() >= next {
                let possible: Vec<(Row, u64)> =
                    rows.iter().filter(|row| self.can(**row)).map(|row| (*row, row.weight())).collect();
                if let Some(row) = self.dice.choose(&possible) {
                    say(&format!("{row:?}"));
                    *self.rows.entry(row).or_default() += 1;
                    self.make(row).await?;
                }
                next = Instant::now() + self.dice.millis(1_000..=5_000);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Sees who has ended, undoes what is due, and keeps at least two members.
    async fn tend(&mut self) -> anyhow::Result<()> {
        let mut staying = Vec::new();
        for mut live in std::mem::take(&mut self.members) {
            match live.member.try_exit()? {
                Some(exit) if live.state == State::Stopping && exit.is_clean() => {}
                Some(exit) => say(&format!("{} ended: {exit:?}", live.member.name())),
                None => staying.push(live),
            }
        }
        self.members = staying;
        let now = Instant::now();
        let (due, pending) = std::mem::take(&mut self.pending).into_iter().partition(|(at, _)| *at <= now);
        self.pending = pending;
        let due: Vec<(Instant, Undo)> = due;
        for (_, undo) in due {
            self.undo(undo).await?;
        }
        while self.in_state(State::Running).len() < 2 {
            self.join()?;
        }
        Ok(())
    }

    fn can(&self, row: Row) -> bool {
        let broker_is_away = self.pending.iter().any(|(_, undo)| !matches!(undo, Undo::ThawMember(_)));
        match row {
            Row::Join => self.members.len() < MOST_MEMBERS,
            _ if row.is_of_broker() => !broker_is_away,
            _ => !self.settled().is_empty(),
        }
    }

    async fn make(&mut self, row: Row) -> anyhow::Result<()> {
        match row {
            Row::Join => self.join()?,
            Row::Kill => {
                let victim = self.victim()?;
                self.members[victim].member.kill().await?;
            }
            Row::Stop => {
                let victim = self.victim()?;
                self.stop(victim)?;
            }
            Row::Roll => {
                for victim in self.settled().into_iter().rev() {
                    self.stop(victim)?;
                    self.join()?;
                    let pause = self.dice.millis(500..=2_000);
                    tokio::time::sleep(pause).await;
                }
            }
            Row::Stall => self.freeze_member(500..=SESSION / 2)?,
            Row::Zombie => self.freeze_member(SESSION + 1_500..=SESSION + 6_000)?,
            Row::BrokerKill | Row::BrokerRestart => {
                let node = self.node()?;
                self.harness.write(What::FaultBegan { fault: format!("node {node}") })?;
                if row == Row::BrokerKill {
                    self.cluster.kill(node).await?;
                } else {
                    self.cluster.stop(node).await?;
                }
                let back = Instant::now() + self.dice.millis(500..=8_000);
                self.pending.push((back, Undo::RestartNode(node)));
            }
            Row::BrokerStall => self.freeze_node(500..=SESSION / 2)?,
            Row::BrokerFreeze => self.freeze_node(SESSION + 1_500..=SESSION + 6_000)?,
        }
        Ok(())
    }

    async fn undo(&mut self, undo: Undo) -> anyhow::Result<()> {
        match undo {
            Undo::ThawMember(name) => {
                if let Some(live) = self.members.iter_mut().find(|live| live.member.name() == name) {
                    live.member.signal(Signal::Cont)?;
                    live.state = State::Running;
                }
            }
            Undo::ThawNode(node) => {
                self.cluster.thaw(node)?;
                self.harness.write(What::FaultEnded { fault: format!("node {node}") })?;
            }
            Undo::RestartNode(node) => {
                self.cluster.restart(node).await?;
                self.harness.write(What::FaultEnded { fault: format!("node {node}") })?;
            }
        }
        Ok(())
    }

    fn join(&mut self) -> anyhow::Result<()> {
        self.spawned += 1;
        let member = Member::spawn(&format!("m{}", self.spawned), &self.member_options)?;
        self.members.push(Live { member, state: State::Running });
        Ok(())
    }

    fn stop(&mut self, member: usize) -> anyhow::Result<()> {
        let live = &mut self.members[member];
        live.member.signal(Signal::Term)?;
        live.state = State::Stopping;
        Ok(())
    }

    fn freeze_member(&mut self, millis: std::ops::RangeInclusive<u64>) -> anyhow::Result<()> {
        let victim = self.victim()?;
        let live = &mut self.members[victim];
        live.member.signal(Signal::Stop)?;
        live.state = State::Frozen;
        let name = live.member.name().to_owned();
        self.pending.push((Instant::now() + self.dice.millis(millis), Undo::ThawMember(name)));
        Ok(())
    }

    fn freeze_node(&mut self, millis: std::ops::RangeInclusive<u64>) -> anyhow::Result<()> {
        let node = self.node()?;
        self.harness.write(What::FaultBegan { fault: format!("node {node}") })?;
        self.cluster.freeze(node)?;
        self.pending.push((Instant::now() + self.dice.millis(millis), Undo::ThawNode(node)));
        Ok(())
    }

    fn node(&mut self) -> anyhow::Result<usize> {
        Ok(usize::try_from(self.dice.throw(1..=self.cluster.nodes() as u64))?)
    }

    /// One of the members that have been up for long enough to be told something.
    fn victim(&mut self) -> anyhow::Result<usize> {
        let settled: Vec<(usize, u64)> = self.settled().into_iter().map(|member| (member, 1)).collect();
        self.dice.choose(&settled).context("there is no member to choose from")
    }

    /// Members that run and have joined: before that a signal meets a process that is only starting.
    fn settled(&self) -> Vec<usize> {
        let running = self.in_state(State::Running);
        running.into_iter().filter(|member| self.members[*member].member.has_been_assigned()).collect()
    }

    fn in_state(&self, state: State) -> Vec<usize> {
        (0..self.members.len()).filter(|member| self.members[*member].state == state).collect()
    }

    async fn heal(&mut self) -> anyhow::Result<()> {
        for (_, undo) in std::mem::take(&mut self.pending) {
            self.undo(undo).await?;
        }
        self.tend().await
    }

    async fn stop_all(&mut self) -> anyhow::Result<()> {
        // One that still starts would be ended by the signal itself.
        for live in self.members.iter_mut().filter(|live| live.state == State::Running) {
            if live.member.wait_until_assigned(Duration::from_secs(60)).await.is_err() {
                say(&format!("{} never joined", live.member.name()));
            }
        }
        for live in &mut self.members {
            if live.state == State::Running && live.member.try_exit()?.is_none() {
                live.member.signal(Signal::Term)?;
            }
        }
        for live in &mut self.members {
            // A member that does not end is found by the checker; dropping it ends it.
            live.member.wait_for_exit(STOP_DEADLINE).await.ok();
        }
        Ok(())
    }
}
