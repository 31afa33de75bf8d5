//! One group under observation: its members as processes, the load, and everything that the verdict will rest on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use support::checker::{self, Content, Promise, second_life_of};
use support::event::{Event, EventLog, HARNESS, Signal, What};
use support::kafka::Samples;
use support::{CommitSampler, Effect, Fault, Kafka, Member, MemberOptions, Requests};

use super::dice::Dice;
use super::load::{Load, Orders, Produced};
use super::say;
use super::setting::Setting;
use super::site::Site;

/// How long the group may take to handle and commit everything once all is healed.
const CATCH_UP: Duration = Duration::from_secs(120);

/// How long a member may take to end, a little over its own budget: what is later is for the checker to name.
const STOP_DEADLINE: Duration = Duration::from_secs(40);

/// How long a member may take to join, on a machine that has a lot else to do.
pub(crate) const JOIN_DEADLINE: Duration = Duration::from_secs(90);

/// How often a committed offset is looked at.
const SAMPLING: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) site: Arc<Site>,
    pub(crate) topic: String,
    /// The group's id.
    pub(crate) id: String,
    pub(crate) dice: Dice,
    pub(crate) members: Vec<Live>,
    pub(crate) harness: Arc<EventLog>,
    directory: PathBuf,
    options: MemberOptions,
    partitions: i32,
    is_cut_off: bool,
    rate: u32,
    prefix: String,
    spawned: usize,
    load: Option<Load>,
    loads: usize,
    sampler: Option<CommitSampler>,
    left: Left,
}

/// What a run leaves to be judged.
#[derive(Debug, Default)]
pub(crate) struct Left {
    pub(crate) content: Vec<Content>,
    pub(crate) samples: BTreeMap<String, Samples>,
    pub(crate) produced: Produced,
    pub(crate) promise: Promise,
}

/// A member that has not ended as far as the harness knows.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) member: Member,
    pub(crate) state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Frozen,
    Stopping,
}

/// The network of one member, disturbed until it is given back.
#[derive(Debug)]
#[must_use = "the checker has to be told of its end"]
pub(crate) struct Disturbed {
    faults: Vec<Fault>,
    name: String,
}

impl Disturbed {
    /// Waits until one of its faults has met a request.
    pub(crate) async fn wait_for_hit(&self) -> anyhow::Result<()> {
        let hit = || async { self.faults.iter().any(|fault| fault.hits() > 0) };
        support::eventually::<_, bool>(Duration::from_secs(60), &format!("{} meets a request", self.name), hit).await
    }
}

impl Group {
    /// A group without members yet on a topic of its own; `name` is what it, its topic and its members are called after.
    pub(crate) async fn start(
        site: &Arc<Site>,
        name: &str,
        seed: u64,
        setting: &Setting,
        directory: &Path,
    ) -> anyhow::Result<Self> {
        let (topic, id) = (format!("orders-{name}-{seed}"), format!("{name}-{seed}"));
        if setting.topic_is_there {
            site.create_topic(&topic, setting.partitions).await?;
        }
        let harness = Arc::new(EventLog::append(&directory.join("harness.jsonl"), HARNESS)?);
        let program: PathBuf = std::env::current_exe().context("the harness does not know its own program")?;
        let mut options = MemberOptions::new(program, &site.for_members()?, &topic, &id, directory);
        options.program.push("member".into());
        options.harness = Some(Arc::clone(&harness));
        options = options.with(setting.arguments.iter().map(String::as_str));
        let mut group = Self {
            site: Arc::clone(site),
            topic,
            id,
            dice: Dice::new(seed),
            members: Vec::new(),
            harness,
            directory: directory.to_owned(),
            options,
            partitions: setting.partitions,
            is_cut_off: setting.is_cut_off,
            rate: setting.rate,
            prefix: name.to_owned(),
            spawned: 0,
            load: None,
            loads: 0,
            sampler: None,
            left: Left { promise: setting.promise.clone(), ..Left::default() },
        };
        if setting.topic_is_there {
            group.watch().await?;
        }
        Ok(group)
    }

    pub(crate) fn kafka(&self) -> &Kafka {
        self.site.kafka()
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Begins to watch what is committed.
    pub(crate) async fn watch(&mut self) -> anyhow::Result<()> {
        self.sampler = Some(CommitSampler::start(self.site.kafka(), &self.id, &self.topic, SAMPLING).await?);
        Ok(())
    }

    /// Begins to produce.
    pub(crate) fn produce(&mut self) {
        self.produce_at(self.rate);
    }

    pub(crate) fn produce_at(&mut self, rate: u32) {
        self.loads += 1;
        let orders = Orders {
            topic: self.topic.clone(),
            partitions: self.partitions,
            rate,
            name: format!("{}.{}", self.id, self.loads),
        };
        self.load = Some(Load::start(self.site.kafka(), orders, Arc::clone(&self.harness)));
    }

    /// From now on there are this many partitions.
    pub(crate) fn spread_to(&mut self, partitions: i32) {
        self.partitions = partitions;
        if let Some(load) = &self.load {
            load.spread_to(partitions);
        }
    }

    pub(crate) async fn stop_producing(&mut self) -> anyhow::Result<()> {
        if let Some(load) = self.load.take() {
            let produced = load.stop().await?;
            self.left.produced.sent += produced.sent;
            self.left.produced.acked += produced.acked;
        }
        Ok(())
    }

    /// A member more, with these arguments beside those of all; the answer is its name.
    pub(crate) fn join_with(&mut self, arguments: &[&str]) -> anyhow::Result<String> {
        self.join_as(&self.options.clone().with(arguments.iter().copied()))
    }

    pub(crate) fn join(&mut self) -> anyhow::Result<String> {
        self.join_with(&[])
    }

    /// What members are started with.
    pub(crate) fn options(&self) -> &MemberOptions {
        &self.options
    }

    pub(crate) fn join_as(&mut self, options: &MemberOptions) -> anyhow::Result<String> {
        self.spawned += 1;
        let name = format!("{}-{}", self.prefix, self.spawned);
        let member = Member::spawn(&name, options)?;
        self.members.push(Live { member, state: State::Running });
        Ok(name)
    }

    /// So many members, all of them with partitions.
    pub(crate) async fn gather(&mut self, members: usize) -> anyhow::Result<Vec<String>> {
        let names = (0..members).map(|_| self.join()).collect::<anyhow::Result<Vec<_>>>()?;
        self.wait_until_assigned(&names).await?;
        Ok(names)
    }

    pub(crate) async fn wait_until_assigned(&mut self, names: &[String]) -> anyhow::Result<()> {
        for name in names {
            self.member(name)?.wait_until_assigned(JOIN_DEADLINE).await?;
        }
        Ok(())
    }

    pub(crate) fn live(&mut self, name: &str) -> anyhow::Result<&mut Live> {
        let live = self.members.iter_mut().find(|live| live.member.name() == name);
        live.with_context(|| format!("there is no member `{name}`"))
    }

    pub(crate) fn member(&mut self, name: &str) -> anyhow::Result<&mut Member> {
        Ok(&mut self.live(name)?.member)
    }

    /// SIGTERM, and nobody waits.
    pub(crate) fn tell_to_stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.may_be_cut_off(name)?;
        let live = self.live(name)?;
        live.state = State::Stopping;
        live.member.signal(Signal::Term)
    }

    fn may_be_cut_off(&self, name: &str) -> anyhow::Result<()> {
        if self.is_cut_off {
            self.harness.write(What::MayFail { member: name.to_owned() })?;
        }
        Ok(())
    }

    /// SIGTERM, and waits for its end; it is no member any more.
    pub(crate) async fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.tell_to_stop(name)?;
        self.wait_for_exit(name).await
    }

    pub(crate) async fn wait_for_exit(&mut self, name: &str) -> anyhow::Result<()> {
        let exit = self.member(name)?.wait_for_exit(STOP_DEADLINE).await?;
        say(&format!("{name} ended: {exit:?}"));
        self.members.retain(|live| live.member.name() != name);
        Ok(())
    }

    pub(crate) async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.member(name)?.kill().await?;
        self.members.retain(|live| live.member.name() != name);
        Ok(())
    }

    pub(crate) fn freeze(&mut self, name: &str) -> anyhow::Result<()> {
        let live = self.live(name)?;
        live.state = State::Frozen;
        live.member.signal(Signal::Stop)
    }

    pub(crate) fn thaw(&mut self, name: &str) -> anyhow::Result<()> {
        let live = self.live(name)?;
        live.state = State::Running;
        live.member.signal(Signal::Cont)
    }

    /// Members in this state that have joined: before that a signal meets a process that is only starting.
    pub(crate) fn settled(&self) -> Vec<String> {
        let running = self.members.iter().filter(|live| live.state == State::Running);
        running.filter(|live| live.member.has_been_assigned()).map(|live| live.member.name().to_owned()).collect()
    }

    /// One of them.
    pub(crate) fn victim(&mut self) -> anyhow::Result<String> {
        let settled = self.settled();
        let weighted: Vec<(usize, u64)> = (0..settled.len()).map(|index| (index, 1)).collect();
        let chosen = self.dice.choose(&weighted).context("there is no member to choose from")?;
        Ok(settled[chosen].clone())
    }

    /// Something that only the checker has to know of begins.
    pub(crate) fn fault_begins(&self, fault: &str, member: Option<&str>) -> anyhow::Result<()> {
        self.harness.write(What::FaultBegan { fault: fault.to_owned(), member: member.map(str::to_owned) })
    }

    pub(crate) fn fault_ends(&self, fault: &str) -> anyhow::Result<()> {
        self.harness.write(What::FaultEnded { fault: fault.to_owned() })
    }

    /// Does this to a member's requests until it is healed.
    pub(crate) fn disturb(&self, member: &str, requests: &Requests, effect: Effect) -> anyhow::Result<Disturbed> {
        let name = format!("{effect:?} of {requests:?} of {member}, at {}", support::clock::monotonic());
        self.fault_begins(&name, Some(member))?;
        // The one consumer of the one listener of the member.
        let faults = self.site.inject(&format!("{member}-member-0"), requests, effect)?;
        Ok(Disturbed { faults, name })
    }

    pub(crate) fn heal(&self, disturbed: Disturbed) -> anyhow::Result<()> {
        drop(disturbed.faults);
        self.fault_ends(&disturbed.name)
    }

    /// A promise of this row has not come about.
    pub(crate) fn broken(&self, promise: impl Into<String>) -> anyhow::Result<()> {
        self.harness.write(What::Broken { promise: promise.into() })
    }

    pub(crate) fn expect(&self, holds: bool, promise: impl FnOnce() -> String) -> anyhow::Result<()> {
        if holds { Ok(()) } else { self.broken(promise()) }
    }

    /// What a member, running or not, has written down.
    pub(crate) fn events_of(&self, name: &str) -> anyhow::Result<Vec<Event>> {
        let path = self.directory.join(format!("{name}.jsonl"));
        let log = std::fs::read_to_string(&path).with_context(|| format!("read `{}`", path.display()))?;
        support::event::parse(&log)
    }

    /// Waits until everything is handled and committed.
    pub(crate) async fn catch_up(&self) -> anyhow::Result<()> {
        self.kafka().wait_for_commits_to_end(&self.id, &self.topic, CATCH_UP).await
    }

    /// Stops every member and waits for their ends.
    pub(crate) async fn stop_all(&mut self) -> anyhow::Result<()> {
        // One that still starts would be ended by the signal itself.
        for live in self.members.iter_mut().filter(|live| live.state == State::Running) {
            let is_there = |events: &[Event]| events.iter().any(|event| matches!(event.what, What::Assigned { .. }));
            if live.member.wait_for(JOIN_DEADLINE, "it has joined", is_there).await.is_err() {
                say(&format!("{} never joined", live.member.name()));
            }
        }
        for live in &self.members {
            self.may_be_cut_off(live.member.name())?;
        }
        for live in &mut self.members {
            if live.state == State::Running && live.member.try_exit()?.is_none() {
                live.state = State::Stopping;
                live.member.signal(Signal::Term)?;
            }
        }
        for live in &mut self.members {
            // A member that does not end is found by the checker; dropping it ends it.
            live.member.wait_for_exit(STOP_DEADLINE).await.ok();
        }
        self.members.clear();
        Ok(())
    }

    /// Ends the topic's first life: reads what it holds before it is deleted.
    pub(crate) async fn end_first_life(&mut self) -> anyhow::Result<()> {
        self.left.content = checker::content_of(self.kafka(), &self.topic).await?;
        self.keep_samples(self.topic.clone()).await
    }

    async fn keep_samples(&mut self, topic: String) -> anyhow::Result<()> {
        if let Some(sampler) = self.sampler.take() {
            self.left.samples.insert(topic, sampler.stop().await?);
        }
        Ok(())
    }

    /// Stops the load, lets the group catch up, stops it, and reads what the topic holds. Without a topic the first life
    /// was all there is.
    pub(crate) async fn finish(mut self, topic_is_there: bool) -> anyhow::Result<Left> {
        self.stop_producing().await?;
        if topic_is_there && let Err(err) = self.catch_up().await {
            say(&format!("not caught up: {err:#}"));
        }
        self.stop_all().await?;
        let is_second = !self.left.content.is_empty();
        if topic_is_there {
            let name = if is_second { second_life_of(&self.topic) } else { self.topic.clone() };
            let mut content = checker::content_of(self.kafka(), &self.topic).await?;
            for content in &mut content {
                content.place.topic.clone_from(&name);
            }
            self.left.content.append(&mut content);
            self.keep_samples(name).await?;
        }
        self.harness.write(What::Finished)?;
        Ok(self.left)
    }
}
