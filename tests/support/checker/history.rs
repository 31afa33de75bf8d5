//! Puts the events in order: per partition who ran what, who owned it when, and what disturbed whom.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Content, History, nanos};
use crate::event::{Event, Outcome, Place, Signal, What};
use crate::kafka::Samples;

/// How far the traces of a rebalance in the logs may be from what it held up.
const REBALANCE_SLACK: u64 = 1_000_000_000;

/// The history, sorted for the checks.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) logs: BTreeMap<(&'a str, i32), PartitionLog<'a>>,
    pub(super) members: BTreeMap<&'a str, Member>,
    pub(super) disturbances: Vec<Disturbance<'a>>,
    pub(super) samples: &'a BTreeMap<String, Samples>,
    /// When the group's committed offsets were deleted, and all begins anew.
    pub(super) forgotten: Vec<u64>,
    /// What was promised for the row in particular and has not come about.
    pub(super) broken: Vec<&'a str>,
    /// When a commit was sent, and whose.
    commits_sent: Vec<(u64, &'a str)>,
    /// When a commit was acknowledged, whose, and how long that took.
    round_trips: Vec<(u64, &'a str, u64)>,
    /// When somebody came, went or was given something: the group was not settled.
    unsettled: Vec<u64>,
    /// When the run was over.
    pub(super) end: u64,
}

/// One partition over the whole run.
#[derive(Debug, Default)]
pub(super) struct PartitionLog<'a> {
    pub(super) content: BTreeMap<i64, &'a Content>,
    /// When the harness saw the record acknowledged, and its value.
    pub(super) acked: BTreeMap<i64, (u64, &'a str)>,
    /// In the order of their starts.
    pub(super) runs: Vec<Run<'a>>,
    /// When a record was first done: handled, dead-lettered or skipped by a policy.
    pub(super) done: BTreeMap<i64, u64>,
    /// Done without a handler's word: dead-lettered, or skipped by a policy.
    pub(super) by_policy: BTreeSet<i64>,
    /// The log begins here, because the harness deleted what was before.
    pub(super) begins_at: i64,
    pub(super) ownerships: Vec<Ownership<'a>>,
    /// When, by whom, which offset.
    pub(super) commits: Vec<(u64, &'a str, i64)>,
}

/// One handler call.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) member: &'a str,
    pub(super) offset: i64,
    pub(super) value: &'a str,
    pub(super) started: u64,
    pub(super) ended: Option<(u64, Outcome)>,
    /// Index into [`PartitionLog::ownerships`]; `None` when the member did not have the partition.
    pub(super) ownership: Option<usize>,
    /// The first start after the member woke from a freeze, which may have passed its check before: what comes of it
    /// is excused, once for each freeze and partition.
    pub(super) woken: bool,
}

/// One assignment of a partition to a member, from its assigned hook on.
#[derive(Debug)]
pub(super) struct Ownership<'a> {
    pub(super) member: &'a str,
    pub(super) from: u64,
    /// When the member said that it had stopped feeding the partition.
    pub(super) drained: Option<u64>,
    /// When it was revoked or lost, or the process was gone.
    pub(super) until: Option<u64>,
}

/// One life of a member process.
#[derive(Debug, Default)]
pub(super) struct Member {
    pub(super) signals: Vec<(u64, Signal)>,
    /// When, with which code, by which signal.
    pub(super) exit: Option<(u64, Option<i32>, Option<i32>)>,
    /// Something was done to it that it has to end with an error for.
    pub(super) may_fail: bool,
}

/// A time in which a member, or everybody, could be kept from committing or from noticing a rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disturbance<'a> {
    /// `None` is everybody.
    pub(super) member: Option<&'a str>,
    pub(super) kind: Kind,
    pub(super) from: u64,
    pub(super) until: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The process ended without a chance to commit.
    Killed,
    /// The process stood still.
    Frozen,
    /// The group went on without the member.
    Lost,
    /// The same, from a moment that is known.
    Evicted,
    /// A broker was away, or the network between.
    Fault,
}

impl Disturbance<'_> {
    pub(super) fn concerns(&self, member: &str) -> bool {
        self.member.is_none_or(|concerned| concerned == member)
    }

    /// Whether it falls into the time between two moments.
    pub(super) fn meets(&self, from: u64, until: u64) -> bool {
        self.from <= until && from <= self.until
    }
}

impl<'a> Index<'a> {
    pub(super) fn new(history: &'a History, session_timeout: Duration, recovery: Duration) -> Self {
        let mut events: Vec<&Event> = history.events.iter().collect();
        // Stable: events of one process keep their order even where the clock did not move.
        events.sort_by_key(|event| event.at);

        let mut index = Self {
            logs: BTreeMap::new(),
            members: BTreeMap::new(),
            disturbances: Vec::new(),
            samples: &history.samples,
            forgotten: Vec::new(),
            broken: Vec::new(),
            commits_sent: Vec::new(),
            round_trips: Vec::new(),
            unsettled: Vec::new(),
            end: events.last().map_or(0, |event| event.at),
        };
        for content in &history.content {
            index.log(&content.place).content.insert(content.place.offset, content);
        }
        for event in &events {
            index.add(event);
        }
        index.find_disturbances(&events, session_timeout, recovery);
        index.find_woken();
        index
    }

    fn log(&mut self, place: &'a Place) -> &mut PartitionLog<'a> {
        self.logs.entry((&place.topic, place.partition)).or_default()
    }

    fn add(&mut self, event: &'a Event) {
        let (at, by) = (event.at, event.by.as_str());
        if matches!(
            event.what,
            What::Up { .. }
                | What::Assigned { .. }
                | What::Revoked { .. }
                | What::Lost { .. }
                | What::Signal { .. }
                | What::Exit { .. }
        ) {
            self.unsettled.push(at);
        }
        match &event.what {
            What::Start { place, value } => self.log(place).start(at, by, place.offset, value),
            What::End { place, outcome } => self.log(place).end(at, by, place.offset, *outcome),
            What::Skipped { place } | What::DeadLettered { place } => {
                let log = self.log(place);
                log.done.entry(place.offset).or_insert(at);
                log.by_policy.insert(place.offset);
            }
            What::Assigned { partitions } => self.each(partitions, |log| {
                log.ownerships.push(Ownership { member: by, from: at, drained: None, until: None });
            }),
            What::Revoking { partitions } => self.each(partitions, |log| {
                if let Some(ownership) = log.open_ownership(by) {
                    ownership.drained = Some(at);
                }
            }),
            What::Revoked { partitions } | What::Lost { partitions } => {
                self.each(partitions, |log| log.end_ownership(by, at));
            }
            What::CommitRequested { place } => {
                self.commits_sent.push((at, by));
                self.log(place).commits.push((at, by, place.offset));
            }
            What::CommitAcknowledged { round_trip } => {
                // In microseconds; too long to be counted is long enough.
                self.round_trips.push((at, by, round_trip.saturating_mul(1_000)));
            }
            What::Acked { place, value } => {
                self.log(place).acked.entry(place.offset).or_insert((at, value));
            }
            What::Up { .. } => {
                self.members.entry(by).or_default();
            }
            What::Signal { member, signal } => {
                self.members.entry(member).or_default().signals.push((at, *signal));
            }
            What::Exit { member, code, signal } => {
                self.members.entry(member).or_default().exit = Some((at, *code, *signal));
                for log in self.logs.values_mut() {
                    log.end_ownership(member, at);
                }
            }
            What::MayFail { member } => self.members.entry(member).or_default().may_fail = true,
            What::Truncated { place } => self.log(place).begins_at = place.offset,
            What::OffsetsDeleted => self.forgotten.push(at),
            What::Broken { promise } => self.broken.push(promise),
            // Looked for among all events, or taken apart before.
            What::Report { .. }
            | What::FaultBegan { .. }
            | What::FaultEnded { .. }
            | What::Evicted { .. }
            | What::Recreated { .. } => {}
            What::Finished => self.end = at,
        }
    }

    fn each(&mut self, partitions: &'a [(String, i32)], mut change: impl FnMut(&mut PartitionLog<'a>)) {
        for (topic, partition) in partitions {
            change(self.logs.entry((topic, *partition)).or_default());
        }
    }

    fn find_disturbances(&mut self, events: &[&'a Event], session_timeout: Duration, recovery: Duration) {
        let end = self.end;
        for (name, member) in &self.members {
            let gone = member.exit.map_or(end, |(at, ..)| at);
            let of_member = |kind, from, until| Disturbance { member: Some(name), kind, from, until };
            for (at, signal) in &member.signals {
                match signal {
                    Signal::Kill => self.disturbances.push(of_member(Kind::Killed, *at, gone)),
                    Signal::Stop => {
                        let woken = member.signals.iter().find(|(later, s)| later > at && *s == Signal::Cont);
                        let until = woken.map_or(gone, |(woken, _)| *woken);
                        self.disturbances.push(of_member(Kind::Frozen, *at, until));
                    }
                    Signal::Term | Signal::Cont => {}
                }
            }
            // A crash is found elsewhere; what it repeats is judged like a kill.
            let was_killed = member.signals.iter().any(|(_, signal)| *signal == Signal::Kill);
            if !was_killed && member.exit.is_some_and(|(_, code, _)| code != Some(0)) {
                self.disturbances.push(of_member(Kind::Killed, gone, gone));
            }
        }
        for (n, event) in events.iter().enumerate() {
            let What::FaultBegan { fault, member } = &event.what else { continue };
            let its_end = |later: &&&Event| matches!(&later.what, What::FaultEnded { fault: ended } if ended == fault);
            let ended = events[n..].iter().find(its_end);
            let until = ended.map_or(end, |ended| ended.at.saturating_add(nanos(recovery)));
            self.disturbances.push(Disturbance { member: member.as_deref(), kind: Kind::Fault, from: event.at, until });
        }
        for (n, event) in events.iter().enumerate() {
            let What::Evicted { member } = &event.what else { continue };
            let heard = |later: &&&Event| matches!(later.what, What::Lost { .. }) && later.by == *member;
            let until = events[n..].iter().find(heard).map_or(end, |lost| lost.at);
            self.disturbances.push(Disturbance { member: Some(member), kind: Kind::Evicted, from: event.at, until });
        }
        let known = self.disturbances.len();
        for event in events.iter().filter(|event| matches!(event.what, What::Lost { .. })) {
            // The coordinator had not heard from it for a session.
            let from = event.at.saturating_sub(nanos(session_timeout));
            // A loss that another disturbance explains excuses nothing more than that one; an earlier loss explains none.
            let explained = |one: &Disturbance<'_>| one.concerns(&event.by) && one.meets(from, event.at);
            if !self.disturbances[..known].iter().any(explained) {
                let lost = Disturbance { member: Some(&event.by), kind: Kind::Lost, from, until: event.at };
                self.disturbances.push(lost);
            }
        }
    }

    fn find_woken(&mut self) {
        for freeze in self.disturbances.iter().filter(|one| one.kind == Kind::Frozen) {
            for log in self.logs.values_mut() {
                let ownerships = &log.ownerships;
                let stale = |run: &&mut Run<'_>| {
                    freeze.concerns(run.member)
                        && run.started >= freeze.until
                        && run.ownership.is_some_and(|ownership| ownerships[ownership].from < freeze.from)
                };
                if let Some(run) = log.runs.iter_mut().find(stale) {
                    run.woken = true;
                }
            }
        }
    }

    /// The largest commit round trip that a member saw while no broker was away and no rebalance held it up.
    pub(super) fn round_trip(&self) -> Option<u64> {
        let faults = || self.disturbances.iter().filter(|disturbance| disturbance.kind == Kind::Fault);
        let calm = self.round_trips.iter().filter(|(at, _, round_trip)| {
            let sent = at.saturating_sub(*round_trip);
            !faults().any(|fault| fault.meets(sent, *at))
                && !self.was_unsettled(sent.saturating_sub(REBALANCE_SLACK), at.saturating_add(REBALANCE_SLACK))
        });
        calm.map(|(.., round_trip)| *round_trip).max()
    }

    /// Whether somebody came, went or was given something between two moments.
    fn was_unsettled(&self, from: u64, until: u64) -> bool {
        // In the order of time, as the events were added.
        let first = self.unsettled.partition_point(|when| *when < from);
        self.unsettled.get(first).is_some_and(|when| *when < until)
    }

    /// When the member sent its last commit before `at` that was acknowledged, or its first one where none was, where a
    /// rebalance can have held up the next one: its answer waits on the same connection for that of the join.
    pub(super) fn held_up_since(&self, member: &str, at: u64, session_timeout: Duration) -> Option<u64> {
        let theirs = self.round_trips.iter().filter(|(acknowledged, by, _)| *by == member && *acknowledged <= at);
        let last = theirs.map(|(acknowledged, _, round_trip)| (*acknowledged, *round_trip)).max();
        let sent = || self.commits_sent.iter().find(|(sent, by)| *by == member && *sent <= at);
        let (last, round_trip) = last.or_else(|| sent().map(|(sent, _)| (*sent, 0)))?;
        // A member that fell silent holds up the others until its session is over.
        let unsettled = self.was_unsettled(last.saturating_sub(nanos(session_timeout)), at);
        unsettled.then(|| last.saturating_sub(round_trip))
    }

    /// What disturbed a member between two moments.
    pub(super) fn disturbed(&self, member: &str, from: u64, until: u64) -> impl Iterator<Item = &Disturbance<'a>> {
        self.disturbances
            .iter()
            .filter(move |disturbance| disturbance.concerns(member) && disturbance.meets(from, until))
    }

    /// When a run was over: it ended, or its process did. `None` when it may run still.
    pub(super) fn end_of(&self, run: &Run<'_>) -> Option<u64> {
        let exit = || self.members.get(run.member).and_then(|member| member.exit).map(|(at, ..)| at);
        run.ended.map(|(at, _)| at).or_else(exit)
    }
}

impl<'a> PartitionLog<'a> {
    /// The records that a `read_committed` reader gets.
    pub(super) fn visible(&self) -> impl DoubleEndedIterator<Item = (i64, &'a Content)> {
        self.content.iter().filter(|(_, content)| !content.aborted).map(|(offset, content)| (*offset, *content))
    }

    /// When a record was there to be handled.
    pub(super) fn available(&self, offset: i64) -> Option<u64> {
        self.acked.get(&offset).map(|(at, _)| *at)
    }

    fn start(&mut self, at: u64, member: &'a str, offset: i64, value: &'a str) {
        let owned = |ownership: &Ownership<'_>| {
            ownership.member == member && ownership.until.is_none() && ownership.drained.is_none()
        };
        let ownership = self.ownerships.iter().rposition(owned);
        self.runs.push(Run { member, offset, value, started: at, ended: None, ownership, woken: false });
    }

    fn end(&mut self, at: u64, member: &str, offset: i64, outcome: Outcome) {
        let open = self.runs.iter_mut().rev().take(1_000);
        let mut open = open.filter(|run| run.member == member && run.offset == offset && run.ended.is_none());
        if let Some(run) = open.next() {
            run.ended = Some((at, outcome));
        }
        if outcome == Outcome::Ok {
            self.done.entry(offset).or_insert(at);
        }
    }

    fn open_ownership(&mut self, member: &str) -> Option<&mut Ownership<'a>> {
        self.ownerships.iter_mut().rev().find(|owned| owned.member == member && owned.until.is_none())
    }

    fn end_ownership(&mut self, member: &str, at: u64) {
        if let Some(ownership) = self.open_ownership(member) {
            ownership.until = Some(at);
        }
    }
}

impl Run<'_> {
    /// Whether it had come to a good end by then.
    pub(super) fn was_ok_by(&self, at: u64) -> bool {
        self.ended.is_some_and(|(ended, outcome)| outcome == Outcome::Ok && ended <= at)
    }

    /// Whether it had come to a bad end by then, so that the same member tries again.
    pub(super) fn had_failed_by(&self, at: u64) -> bool {
        self.ended.is_some_and(|(ended, outcome)| outcome != Outcome::Ok && ended <= at)
    }
}
