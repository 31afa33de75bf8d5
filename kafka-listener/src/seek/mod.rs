//! Reading a partition from somewhere else: what a caller may ask for, what became of it, and the steps between.
//!
//! The machine is pure. The poll loop tells it what it sees and does what it is told: find out where the target is, let
//! the worker's unit end, have its finished work committed, begin a new epoch at the target, commit that if asked.

mod outcome;

use std::time::{Duration, SystemTime};

pub use outcome::SeekOutcome;

use crate::clock::Instant;
use crate::commit::CommitOutcome;

/// A place in a partition's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SeekTo {
    /// The oldest record that the broker still has.
    Beginning,
    /// The end of the log: what is written from now on. With `isolation_level = "read_committed"` an open transaction
    /// ends it.
    End,
    /// The record at this offset, or the first one behind it.
    Offset(i64),
    /// So many offsets behind (or, negative, before) the first record that is not done. Bounded by the ends of the log.
    Relative(i64),
    /// The first record whose timestamp is not earlier than this, to the millisecond; the end of the log where there is
    /// none.
    Time(SystemTime),
}

impl SeekTo {
    /// The time to look up, in milliseconds since the Unix epoch.
    pub(crate) fn since_epoch_ms(self) -> Option<i64> {
        let Self::Time(time) = self else { return None };
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Some(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// What one call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) to: SeekTo,
    /// Whether the target is committed before anything of it is handled.
    pub(crate) commits: bool,
    /// Where a replay ends and the partition goes on where it was.
    pub(crate) until: Option<SeekTo>,
}

/// What the broker says of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// The oldest offset.
    pub(crate) first: i64,
    pub(crate) end: i64,
    /// The first offset at the time of `Goal::to` and of `Goal::until`, where these are times and there is such a record.
    pub(crate) to: Option<i64>,
    pub(crate) until: Option<i64>,
}

/// How long the steps may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The broker's answer.
    pub(crate) resolve: Duration,
    /// The end of the unit that runs; then it is cancelled.
    pub(crate) drain: Duration,
    /// Each of the two commits: what was finished, and the target.
    pub(crate) commit: Duration,
}

/// What the poll loop sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// No code of the present epoch runs any more.
    pub(crate) has_ended: bool,
    /// What became of the epoch's commits; `None` while something is out there or to be sent.
    pub(crate) commit: Option<CommitOutcome>,
    /// The first offset that is not done; `None` where nobody knows where the epoch began.
    pub(crate) open_from: Option<i64>,
}

/// What the poll loop has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Wait,
    /// Start nothing more of this epoch.
    Interrupt,
    /// Commit what it has finished.
    Commit,
    /// End what still runs of it, and commit what it has finished.
    Cancel,
    /// Begin a new epoch.
    Begin(Beginning),
    /// Answer; the seek is over.
    Answer(SeekOutcome),
}

/// How the new epoch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// `None`: nobody knows, so where the group and the reset policy say.
    pub(crate) offset: Option<i64>,
    /// Whether the offset is to be committed.
    pub(crate) commits: bool,
    /// Offsets that are passed over for good.
    pub(crate) skipped: u64,
    pub(crate) replay: Option<Replay>,
}

/// The end of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replay {
    /// The first offset that is not replayed.
    pub(crate) until: i64,
    /// Where the partition goes on then.
    pub(crate) resume: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Where the target is, is asked of the broker.
    Resolving,
    /// The unit that runs may finish.
    Draining,
    /// What was finished is committed.
    Settling,
    /// The new epoch has begun and its target is committed; nothing is fed.
    Committing(SeekOutcome),
}

/// One seek of one partition, from the call to its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seek {
    goal: Goal,
    limits: Limits,
    bounds: Option<Bounds>,
    stage: Stage,
    /// When the stage has to be over.
    until: Instant,
    /// Set once the epoch has been interrupted: there is no way back to it, only to where it was.
    drain_until: Option<Instant>,
    /// It turned out that it cannot be done after the epoch was interrupted.
    refused: Option<SeekOutcome>,
}

impl Seek {
    pub(crate) fn new(goal: Goal, limits: Limits, now: Instant) -> Self {
        Self {
            goal,
            limits,
            bounds: None,
            stage: Stage::Resolving,
            until: now + limits.resolve,
            drain_until: None,
            refused: None,
        }
    }

    /// The end of a replay: back to where the partition was. Nobody waits for it, and nothing has to be asked.
    pub(crate) fn end_of(replay: Replay, limits: Limits, now: Instant) -> Self {
        let bounds = Bounds { first: i64::MIN, end: i64::MAX, to: None, until: None };
        let goal = Goal { to: SeekTo::Offset(replay.resume), commits: true, until: None };
        Self { bounds: Some(bounds), ..Self::new(goal, limits, now) }
    }

    pub(crate) fn goal(&self) -> Goal {
        self.goal
    }

    /// Whether the partition only goes on where it was.
    #[cfg(test)]
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }

    /// Another goal takes the place of this one, which is superseded. What was begun is gone on with.
    pub(crate) fn supersede(&mut self, goal: Goal, now: Instant) {
        // Behind the beginning of the new epoch there is an epoch to interrupt again.
        let drain_until = self.drain_until.filter(|_| !matches!(self.stage, Stage::Committing(_)));
        *self = Self { drain_until, ..Self::new(goal, self.limits, now) };
    }

    /// Whether the broker is still to be asked.
    pub(crate) fn needs_bounds(&self) -> bool {
        self.stage == Stage::Resolving && self.bounds.is_none()
    }

    pub(crate) fn resolved(&mut self, bounds: Bounds) {
        self.bounds.get_or_insert(bounds);
    }

    /// Whether the partition must not be fed.
    pub(crate) fn stops_feeding(&self) -> bool {
        self.drain_until.is_some()
    }

    /// The next step. To be asked again until it is [`Action::Wait`] or [`Action::Answer`].
    pub(crate) fn next(&mut self, facts: Facts, now: Instant) -> Action {
        if facts.commit == Some(CommitOutcome::Fenced) {
            // The partition may have another owner: no epoch begins any more.
            return Action::Answer(SeekOutcome::NotAssigned);
        }
        match self.stage {
            Stage::Resolving => match self.bounds.map(|bounds| self.refusal(bounds)) {
                None if now < self.until => Action::Wait,
                None => self.refuse(SeekOutcome::Unresolved, now),
                Some(Some(refusal)) => self.refuse(refusal, now),
                Some(None) => self.drain(now),
            },
            Stage::Draining if facts.has_ended => self.settle(Action::Commit, now),
            Stage::Draining if self.drain_until.is_none_or(|until| until <= now) => self.settle(Action::Cancel, now),
            Stage::Settling if facts.commit.is_some() || self.until <= now => self.begin(facts, now),
            Stage::Draining | Stage::Settling => Action::Wait,
            Stage::Committing(outcome) => self.answer(outcome, facts, now),
        }
    }

    fn drain(&mut self, now: Instant) -> Action {
        self.stage = Stage::Draining;
        self.drain_until.get_or_insert(now + self.limits.drain);
        Action::Interrupt
    }

    /// Says no. An epoch that was interrupted goes on in a new one, where it was.
    fn refuse(&mut self, refusal: SeekOutcome, now: Instant) -> Action {
        if self.drain_until.is_none() {
            return Action::Answer(refusal);
        }
        self.refused = Some(refusal);
        self.drain(now)
    }

    /// Code that is cancelled has no result to wait for, but what was finished before it counts.
    fn settle(&mut self, action: Action, now: Instant) -> Action {
        self.stage = Stage::Settling;
        self.until = now + self.limits.commit;
        action
    }

    fn begin(&mut self, facts: Facts, now: Instant) -> Action {
        let target = match self.refused {
            Some(refusal) => Err(refusal),
            None => self.target(facts.open_from),
        };
        let (beginning, outcome) = match target {
            Err(refusal) => {
                self.refused = Some(refusal);
                (Beginning { offset: facts.open_from, commits: false, skipped: 0, replay: None }, refusal)
            }
            Ok((offset, replay)) => {
                let is_forward =
                    |open: &i64| *open < offset && self.bounds.is_some_and(|bounds| bounds.first > i64::MIN);
                let skipped = facts.open_from.filter(is_forward).map_or(0, |open| offset.abs_diff(open));
                let beginning = Beginning { offset: Some(offset), commits: self.goal.commits, skipped, replay };
                (beginning, SeekOutcome::Applied { offset, skipped, commit: None })
            }
        };
        self.stage = Stage::Committing(outcome);
        self.until = now + self.limits.commit;
        Action::Begin(beginning)
    }

    fn answer(&self, outcome: SeekOutcome, facts: Facts, now: Instant) -> Action {
        match (outcome, facts.commit) {
            (SeekOutcome::Applied { offset, skipped, .. }, commit) if self.goal.commits => match commit {
                None if now < self.until => Action::Wait,
                commit => {
                    let commit = commit.or(Some(CommitOutcome::Unknown));
                    Action::Answer(SeekOutcome::Applied { offset, skipped, commit })
                }
            },
            (outcome, _) => Action::Answer(outcome),
        }
    }

    /// What can be said against the goal before anything is touched.
    fn refusal(&self, Bounds { first, end, .. }: Bounds) -> Option<SeekOutcome> {
        let is_outside = |to: SeekTo| matches!(to, SeekTo::Offset(offset) if offset < first || offset > end);
        is_outside(self.goal.to).then_some(SeekOutcome::OutOfRange { first, end })
    }

    /// Where to go, now that it is known where the partition stands.
    fn target(&self, open_from: Option<i64>) -> Result<(i64, Option<Replay>), SeekOutcome> {
        let Some(bounds) = self.bounds else { return Err(SeekOutcome::Unresolved) };
        let offset = place(self.goal.to, bounds, bounds.to, open_from).ok_or(SeekOutcome::Unresolved)?;
        let Some(until) = self.goal.until else { return Ok((offset, None)) };
        let until = place(until, bounds, bounds.until, open_from).ok_or(SeekOutcome::Unresolved)?;
        let resume = open_from.ok_or(SeekOutcome::Unresolved)?;
        // Only what has been handled can be handled again.
        if offset >= until.min(resume) {
            return Err(SeekOutcome::OutOfRange { first: bounds.first, end: resume });
        }
        Ok((offset, (until < resume).then_some(Replay { until, resume })))
    }
}

fn place(to: SeekTo, bounds: Bounds, at_time: Option<i64>, open_from: Option<i64>) -> Option<i64> {
    match to {
        SeekTo::Beginning => Some(bounds.first),
        SeekTo::End => Some(bounds.end),
        SeekTo::Offset(offset) => Some(offset),
        SeekTo::Relative(by) => open_from.map(|open| open.saturating_add(by).clamp(bounds.first, bounds.end)),
        SeekTo::Time(_) => Some(at_time.unwrap_or(bounds.end)),
    }
}

#[cfg(test)]
mod tests;
