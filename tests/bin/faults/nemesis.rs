//! The nemesis: throws its dice every few seconds, does to the group what they say, and heals everything in the end.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use rdkafka::types::RDKafkaApiKey as Api;
use support::event::What;
use support::{Effect, Requests};
use tokio::time::Instant;

use super::group::{Disturbed, Group, State};
use super::row::Row;
use super::say;
use super::setting::SESSION;

/// How many members there are after the start, at least, and at most.
const FIRST_MEMBERS: usize = 3;
const FEWEST_MEMBERS: usize = 2;
const MOST_MEMBERS: usize = 5;

/// What is the usual pause between two disturbances, in milliseconds.
pub(crate) const PAUSE: RangeInclusive<u64> = 1_000..=5_000;

#[derive(Debug)]
pub(crate) struct Nemesis<'g> {
    group: &'g mut Group,
    /// What has to be undone, and when.
    pending: Vec<(Instant, Undo)>,
    rows: BTreeMap<Row, u32>,
}

#[derive(Debug)]
enum Undo {
    Thaw(String),
    Heal(Disturbed),
    ThawNode(usize),
    RestartNode(usize),
}

impl Undo {
    fn is_of_broker(&self) -> bool {
        matches!(self, Self::ThawNode(_) | Self::RestartNode(_))
    }
}

/// Disturbs a group that has just begun for so long; the answer is how often each row was made.
pub(crate) async fn disturb(
    group: &mut Group,
    rows: &[Row],
    pause: RangeInclusive<u64>,
    how_long: Duration,
) -> anyhow::Result<BTreeMap<Row, u32>> {
    group.produce();
    group.gather(FIRST_MEMBERS).await?;
    let mut nemesis = Nemesis { group, pending: Vec::new(), rows: BTreeMap::new() };
    let until = Instant::now() + how_long;
    let mut next = Instant::now();
    while Instant::now() < until {
        nemesis.tend().await?;
        if Instant::now() >= next {
            let can = rows.iter().filter(|row| nemesis.can(**row));
            let possible: Vec<(Row, u64)> = can.map(|row| (*row, row.about().weight.max(1))).collect();
            if let Some(row) = nemesis.group.dice.choose(&possible) {
                say(&format!("{}: {row:?}", nemesis.group.id));
                *nemesis.rows.entry(row).or_default() += 1;
                nemesis.make(row).await?;
            }
            next = Instant::now() + nemesis.group.dice.millis(pause.clone());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for (_, undo) in std::mem::take(&mut nemesis.pending) {
        nemesis.undo(undo).await?;
    }
    nemesis.tend().await?;
    Ok(nemesis.rows)
}

impl Nemesis<'_> {
    /// Sees who has ended, undoes what is due, and keeps enough members.
    async fn tend(&mut self) -> anyhow::Result<()> {
        let mut staying = Vec::new();
        for mut live in std::mem::take(&mut self.group.members) {
            match live.member.try_exit()? {
                Some(exit) if live.state == State::Stopping && exit.is_clean() => {}
                Some(exit) => say(&format!("{} ended: {exit:?}", live.member.name())),
                None => staying.push(live),
            }
        }
        self.group.members = staying;
        let now = Instant::now();
        let (due, pending): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|(at, _)| *at <= now);
        self.pending = pending;
        for (_, undo) in due {
            self.undo(undo).await?;
        }
        while self.running() < FEWEST_MEMBERS {
            self.group.join()?;
        }
        Ok(())
    }

    fn running(&self) -> usize {
        self.group.members.iter().filter(|live| live.state == State::Running).count()
    }

    fn can(&self, row: Row) -> bool {
        let broker_is_away = self.pending.iter().any(|(_, undo)| undo.is_of_broker());
        match row {
            Row::Join => self.group.members.len() < MOST_MEMBERS,
            // Both need a coordinator that answers.
            Row::Evicted | Row::KillInLastCommit => !broker_is_away && !self.group.settled().is_empty(),
            _ if row.is_of_broker() => !broker_is_away,
            _ => !self.group.settled().is_empty(),
        }
    }

    async fn make(&mut self, row: Row) -> anyhow::Result<()> {
        match row {
            Row::Join => drop(self.group.join()?),
            Row::Kill => {
                let victim = self.group.victim()?;
                self.group.kill(&victim).await?;
            }
            Row::Stop => {
                let victim = self.group.victim()?;
                self.group.tell_to_stop(&victim)?;
            }
            Row::KillInLastCommit => self.kill_in_last_commit().await?,
            Row::Roll => {
                for victim in self.group.settled().into_iter().rev() {
                    self.group.tell_to_stop(&victim)?;
                    self.group.join()?;
                    self.pause(500..=2_000).await;
                }
            }
            Row::Flap => self.flap().await?,
            Row::Evicted => {
                let victim = self.group.victim()?;
                let (id, client) = (&self.group.id, format!("{victim}-member-0"));
                // It may hear of it before we do.
                let began = support::clock::monotonic();
                match self.group.kafka().evict(id, &client).await {
                    Ok(()) => self.group.harness.write_as_of(began, What::Evicted { member: victim })?,
                    // It may be joining just now, and then it has no seat to be thrown from.
                    Err(err) => say(&format!("{victim} stays: {err:#}")),
                }
            }
            Row::Stall => self.freeze_member(500..=SESSION / 2)?,
            Row::Zombie => self.freeze_member(SESSION + 1_500..=SESSION + 6_000)?,
            Row::Mute => self.disturb_network(&Requests::all(), Effect::HoldRequest, 500..=2_500)?,
            Row::Lost => {
                self.disturb_network(&Requests::all(), Effect::HoldRequest, SESSION + 1_500..=SESSION + 6_000)?;
            }
            Row::Wire => {
                let (requests, effect) = match self.group.dice.throw(0..=3) {
                    0 => (Requests::all().first(3), Effect::Reset),
                    1 => (Requests::to(Api::OffsetCommit).first(3), Effect::ResetAfterApply),
                    2 => (Requests::to(Api::Fetch).first(3), Effect::Reset),
                    _ => (Requests::all(), Effect::Delay(Duration::from_millis(300))),
                };
                self.disturb_network(&requests, effect, 1_000..=4_000)?;
            }
            Row::BrokerKill | Row::BrokerRestart | Row::LeaderMoves => {
                let node = self.node()?;
                self.end_node(node, row == Row::BrokerKill).await?;
            }
            Row::CoordinatorKill => {
                let node = self.group.site.coordinator(&self.group.id).await?;
                self.end_node(node, true).await?;
            }
            Row::BrokerStall => self.freeze_node(500..=SESSION / 2)?,
            Row::BrokerFreeze => self.freeze_node(SESSION + 1_500..=SESSION + 6_000)?,
            _ => anyhow::bail!("{row:?} is none of the nemesis's"),
        }
        Ok(())
    }

    async fn undo(&mut self, undo: Undo) -> anyhow::Result<()> {
        match undo {
            Undo::Thaw(name) => {
                if self.group.live(&name).is_ok() {
                    self.group.thaw(&name)?;
                }
            }
            Undo::Heal(disturbed) => self.group.heal(disturbed)?,
            Undo::ThawNode(node) => {
                self.group.site.cluster()?.thaw(node)?;
                self.group.fault_ends(&format!("node {node}"))?;
            }
            Undo::RestartNode(node) => {
                self.group.site.cluster()?.restart(node).await?;
                self.group.fault_ends(&format!("node {node}"))?;
            }
        }
        Ok(())
    }

    /// The last commit reaches the broker when its sender is dead already.
    async fn kill_in_last_commit(&mut self) -> anyhow::Result<()> {
        let victim = self.group.victim()?;
        let held = self.group.disturb(&victim, &Requests::to(Api::OffsetCommit), Effect::HoldRequest)?;
        self.pause(50..=500).await;
        self.group.tell_to_stop(&victim)?;
        self.pause(50..=1_500).await;
        // With nothing to commit it has ended by itself.
        if self.group.member(&victim)?.try_exit()?.is_none() {
            self.group.kill(&victim).await?;
        }
        self.group.heal(held)
    }

    async fn flap(&mut self) -> anyhow::Result<()> {
        for _ in 0..10 {
            let settled = self.group.settled();
            let oldest = settled.first().filter(|_| self.running() > FEWEST_MEMBERS);
            match oldest {
                Some(oldest) if self.group.dice.throw(0..=1) == 0 => self.group.tell_to_stop(oldest)?,
                _ if self.group.members.len() < MOST_MEMBERS => drop(self.group.join()?),
                _ => {}
            }
            self.pause(300..=500).await;
            self.tend_members()?;
        }
        Ok(())
    }

    /// Forgets those who have ended as they were told.
    fn tend_members(&mut self) -> anyhow::Result<()> {
        let mut staying = Vec::new();
        for mut live in std::mem::take(&mut self.group.members) {
            if live.member.try_exit()?.is_none() {
                staying.push(live);
            }
        }
        self.group.members = staying;
        Ok(())
    }

    async fn pause(&mut self, millis: RangeInclusive<u64>) {
        let pause = self.group.dice.millis(millis);
        tokio::time::sleep(pause).await;
    }

    fn freeze_member(&mut self, millis: RangeInclusive<u64>) -> anyhow::Result<()> {
        let victim = self.group.victim()?;
        self.group.freeze(&victim)?;
        self.later(millis, Undo::Thaw(victim));
        Ok(())
    }

    fn disturb_network(
        &mut self,
        requests: &Requests,
        effect: Effect,
        millis: RangeInclusive<u64>,
    ) -> anyhow::Result<()> {
        let victim = self.group.victim()?;
        let disturbed = self.group.disturb(&victim, requests, effect)?;
        self.later(millis, Undo::Heal(disturbed));
        Ok(())
    }

    async fn end_node(&mut self, node: usize, by_force: bool) -> anyhow::Result<()> {
        self.group.fault_begins(&format!("node {node}"), None)?;
        let cluster = self.group.site.cluster()?;
        if by_force {
            cluster.kill(node).await?;
        } else {
            cluster.stop(node).await?;
        }
        self.later(500..=8_000, Undo::RestartNode(node));
        Ok(())
    }

    fn freeze_node(&mut self, millis: RangeInclusive<u64>) -> anyhow::Result<()> {
        let node = self.node()?;
        self.group.fault_begins(&format!("node {node}"), None)?;
        self.group.site.cluster()?.freeze(node)?;
        self.later(millis, Undo::ThawNode(node));
        Ok(())
    }

    fn later(&mut self, millis: RangeInclusive<u64>, undo: Undo) {
        self.pending.push((Instant::now() + self.group.dice.millis(millis), undo));
    }

    fn node(&mut self) -> anyhow::Result<usize> {
        let nodes = self.group.site.cluster()?.nodes() as u64;
        Ok(usize::try_from(self.group.dice.throw(1..=nodes))?)
    }
}
