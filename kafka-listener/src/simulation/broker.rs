//! A model of the broker: one log per partition, one group, and commits that take their time or go wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::ledger::{Checked, Ledger, RecordId};
use super::rng::Rng;
use crate::clock::Instant;
use crate::commit::{CommitAnswer, Serial, code};
use crate::record::TopicPartition;

pub(super) type MemberId = u64;

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) incarnation: u32,
    /// Offsets of the records that are there, ascending, with gaps.
    pub(super) records: Vec<i64>,
    pub(super) start: i64,
    pub(super) end: i64,
}

impl Log {
    /// The position after the last record: markers behind it are no work.
    pub(super) fn goal(&self) -> Option<i64> {
        self.records.last().map(|last| last + 1)
    }

    pub(super) fn fetch(&self, position: i64, at_most: usize) -> &[i64] {
        let from = self.records.partition_point(|offset| *offset < position);
        &self.records[from..self.records.len().min(from + at_most)]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupState {
    Stable,
    Preparing,
    Completing { until: Instant },
}

#[derive(Debug)]
pub(super) struct GroupMember {
    pub(super) joined: bool,
    pub(super) owned: BTreeSet<usize>,
    pub(super) seen: Instant,
}

/// How a commit can fail as a whole, and whether it is stored all the same.
const FAULTS: [(i32, bool); 8] = [
    (code::COORDINATOR_LOAD_IN_PROGRESS, false),
    (code::NOT_COORDINATOR, false),
    (code::REQUEST_TIMED_OUT, true),
    (code::LOCAL_TIMED_OUT, true),
    (code::LOCAL_TIMED_OUT, false),
    (code::LOCAL_TRANSPORT, true),
    (code::LOCAL_TRANSPORT, false),
    // A code that nobody has heard of.
    (4_711, false),
];

/// A commit on its way to the broker and back.
#[derive(Debug)]
pub(super) struct CommitInFlight {
    pub(super) member: MemberId,
    pub(super) serial: Serial,
    generation: u64,
    /// Partition, offset, and the incarnation of the log that it was read from: newer brokers compare topic ids.
    offsets: Vec<(usize, i64, u32)>,
    arrives: Instant,
    answered: Instant,
    /// Queued behind a pending join: it arrives when the join has been answered.
    behind_join: bool,
    /// The whole request is refused with this code, after or without being applied.
    fault: Option<(i32, bool)>,
    answer: Option<CommitAnswer>,
}

#[derive(Debug)]
pub(super) struct Broker {
    pub(super) logs: Vec<Log>,
    pub(super) topic_partitions: Vec<TopicPartition>,
    pub(super) committed: Vec<Option<i64>>,
    pub(super) generation: u64,
    pub(super) state: GroupState,
    pub(super) stable_since: Instant,
    pub(super) members: BTreeMap<MemberId, GroupMember>,
    pub(super) target: Vec<Option<MemberId>>,
    pub(super) commits: Vec<CommitInFlight>,
    last_answered: BTreeMap<MemberId, Instant>,
    /// Commits to this partition are refused.
    pub(super) refused: Option<usize>,
    pub(super) longest_round_trip: Duration,
}

impl Broker {
    pub(super) fn new(partitions: usize) -> Self {
        let topic: Arc<str> = "orders".into();
        let number = |index: usize| i32::try_from(index).unwrap();
        Self {
            logs: (0..partitions).map(|_| Log::default()).collect(),
            topic_partitions: (0..partitions).map(|p| TopicPartition::new(Arc::clone(&topic), number(p))).collect(),
            committed: vec![None; partitions],
            generation: 0,
            state: GroupState::Stable,
            stable_since: Instant::from_nanos(0),
            members: BTreeMap::new(),
            target: vec![None; partitions],
            commits: Vec::new(),
            last_answered: BTreeMap::new(),
            refused: None,
            longest_round_trip: Duration::ZERO,
        }
    }

    pub(super) fn produce(&mut self, partition: usize, gap: i64, ledger: &mut Ledger) {
        let log = &mut self.logs[partition];
        // The first record of a log is at 0: nobody could tell a longer new log from the old one otherwise.
        let offset = if log.end == 0 { 0 } else { log.end + gap };
        log.records.push(offset);
        log.end = offset + 1;
        ledger.produced(RecordId { partition, incarnation: log.incarnation, offset });
    }

    /// Retention deletes the oldest `count` records. Not of a recreated log: one that starts above the offset that a
    /// member expects of the old log cannot be told from it.
    pub(super) fn expire(&mut self, partition: usize, count: usize) {
        let log = &mut self.logs[partition];
        if log.incarnation > 0 {
            return;
        }
        let count = count.min(log.records.len().saturating_sub(1));
        log.records.drain(..count);
        log.start = log.records.first().copied().unwrap_or(log.end);
    }

    /// The topic is deleted and created again; the coordinator forgets its offsets.
    pub(super) fn recreate(&mut self, partition: usize) {
        let log = &mut self.logs[partition];
        *log = Log { incarnation: log.incarnation + 1, ..Log::default() };
        self.committed[partition] = None;
    }

    pub(super) fn join(&mut self, member: MemberId, owned: BTreeSet<usize>, now: Instant) {
        let joined = GroupMember { joined: true, owned, seen: now };
        if !self.members.contains_key(&member) {
            self.rebalance();
        }
        self.members.insert(member, joined);
    }

    pub(super) fn leave(&mut self, member: MemberId) {
        if self.members.remove(&member).is_some() {
            self.rebalance();
        }
    }

    pub(super) fn rebalance(&mut self) {
        if self.state != GroupState::Preparing {
            self.state = GroupState::Preparing;
            self.members.values_mut().for_each(|member| member.joined = false);
        }
    }

    pub(super) fn must_join(&self, member: MemberId) -> bool {
        self.state == GroupState::Preparing && self.members.get(&member).is_some_and(|member| !member.joined)
    }

    pub(super) fn has_pending_join(&self, member: MemberId) -> bool {
        self.state == GroupState::Preparing && self.members.get(&member).is_some_and(|member| member.joined)
    }

    pub(super) fn send(
        &mut self,
        (member, generation): (MemberId, u64),
        serial: Serial,
        offsets: Vec<(usize, i64, u32)>,
        (now, rng): (Instant, &mut Rng),
        faults: bool,
    ) {
        let fault = (faults && rng.chance(120)).then(|| rng.pick(&FAULTS));
        let slow = faults && rng.chance(100);
        let leg = if slow { 0..600 } else { 0..15 };
        let arrives = now + rng.millis(leg.clone());
        let answered = arrives + rng.millis(leg);
        let behind_join = self.has_pending_join(member);
        self.commits.push(CommitInFlight {
            member,
            serial,
            generation,
            offsets,
            arrives,
            answered,
            behind_join,
            fault,
            answer: None,
        });
        self.longest_round_trip = self.longest_round_trip.max(answered.saturating_since(now));
    }

    /// Lets arrive what has arrived.
    pub(super) fn turn(&mut self, now: Instant, rng: &mut Rng, ledger: &mut Ledger) -> Checked {
        let mut commits = std::mem::take(&mut self.commits);
        commits.sort_by_key(|commit| commit.arrives);
        for commit in &mut commits {
            if commit.answer.is_some() || commit.arrives > now {
                continue;
            }
            if commit.behind_join && self.has_pending_join(commit.member) {
                continue;
            }
            // What is applied later is answered later: a request is overtaken inside the client, where it waits for a
            // coordinator, not behind the broker's back.
            let last_answered = self.last_answered.entry(commit.member).or_insert(now);
            commit.answered = commit.answered.max(*last_answered);
            *last_answered = commit.answered;
            commit.answer = Some(self.apply(commit, ledger)?);
        }
        self.commits = commits;
        match self.state {
            GroupState::Preparing if !self.members.is_empty() && self.members.values().all(|member| member.joined) => {
                self.generation += 1;
                self.state = GroupState::Completing { until: now + rng.millis(0..40) };
                self.share_out(rng);
                ledger.note(now, || format!("generation {} shares out {:?}", self.generation, self.target));
            }
            GroupState::Completing { until } if until <= now => {
                self.state = GroupState::Stable;
                ledger.note(now, || format!("generation {} is stable", self.generation));
            }
            GroupState::Stable => return Ok(()),
            _ => {}
        }
        self.stable_since = now;
        Ok(())
    }

    /// Whole answers that have reached their member by now.
    pub(super) fn answers(&mut self, member: MemberId, now: Instant) -> Vec<(Serial, CommitAnswer)> {
        let due =
            |commit: &CommitInFlight| commit.member == member && commit.answer.is_some() && commit.answered <= now;
        let (due, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.commits).into_iter().partition(due);
        self.commits = rest;
        let mut due = due;
        due.sort_by_key(|commit| commit.answered);
        due.into_iter().filter_map(|commit| Some((commit.serial, commit.answer?))).collect()
    }

    fn apply(&mut self, commit: &CommitInFlight, ledger: &mut Ledger) -> Checked<CommitAnswer> {
        if let Some((code, applied)) = commit.fault {
            if applied && self.refusal(commit).is_none() {
                self.store(commit, ledger)?;
            }
            return Ok(Err(code));
        }
        if let Some(code) = self.refusal(commit) {
            return Ok(Err(code));
        }
        self.store(commit, ledger).map(Ok)
    }

    fn refusal(&self, commit: &CommitInFlight) -> Option<i32> {
        if !self.members.contains_key(&commit.member) {
            return Some(code::UNKNOWN_MEMBER_ID);
        }
        if commit.generation != self.generation {
            return Some(code::ILLEGAL_GENERATION);
        }
        matches!(self.state, GroupState::Completing { .. }).then_some(code::REBALANCE_IN_PROGRESS)
    }

    fn store(&mut self, commit: &CommitInFlight, ledger: &mut Ledger) -> Checked<Vec<(TopicPartition, i32)>> {
        let mut codes = Vec::new();
        for &(partition, offset, incarnation) in &commit.offsets {
            let log = &self.logs[partition];
            let code = if log.incarnation != incarnation {
                code::UNKNOWN_TOPIC_OR_PART
            } else if self.refused == Some(partition) {
                code::TOPIC_AUTHORIZATION_FAILED
            } else {
                let from = self.committed[partition].unwrap_or(0);
                ledger.nothing_open(partition, incarnation, from, offset)?;
                self.committed[partition] = Some(offset);
                code::NO_ERROR
            };
            codes.push((self.topic_partitions[partition].clone(), code));
        }
        // The client tells the refusal of one partition as that of all, those that are stored included.
        if let Some(refusal) = codes.iter().map(|(_, code)| *code).rfind(|code| *code != code::NO_ERROR) {
            codes.iter_mut().filter(|(_, code)| *code == code::NO_ERROR).for_each(|(_, code)| *code = refusal);
        }
        Ok(codes)
    }

    /// Sticky where it can be, else at random.
    fn share_out(&mut self, rng: &mut Rng) {
        let members: Vec<MemberId> = self.members.keys().copied().collect();
        let fair = self.logs.len().div_ceil(members.len());
        let mut load: BTreeMap<MemberId, usize> = BTreeMap::new();
        for partition in 0..self.logs.len() {
            let owner = self.members.iter().find(|(_, member)| member.owned.contains(&partition)).map(|(id, _)| *id);
            let free: Vec<_> = members.iter().copied().filter(|id| load.get(id).copied().unwrap_or(0) < fair).collect();
            let sticks = owner.filter(|id| free.contains(id));
            let chosen = sticks.unwrap_or_else(|| rng.pick(&free));
            *load.entry(chosen).or_default() += 1;
            self.target[partition] = Some(chosen);
        }
    }
}
