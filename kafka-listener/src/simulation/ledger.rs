//! What really happened to every record, and the judge of it. Knows nothing of how members decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::clock::Instant;

/// A promise that was broken. Its name is what a broken variant must be convicted of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anomaly {
    /// A record below the committed offset was neither handled, skipped nor reported as lost to retention.
    Premature,
    /// A commit below one sent before in the same epoch.
    CommitRegress,
    /// A commit for an epoch that is over.
    CommitAfterEnd,
    /// More than one normal or one final commit in flight.
    TwoInFlight,
    /// A commit was called committed, and the broker holds less.
    FalselyCommitted,
    /// A commit's answer was taken for the end of a membership that goes on.
    FalselyLost,
    /// A record was handled again without a cause that allows it, or later than its bound.
    Duplicate,
    /// A record was handled again, or out of order, inside one epoch.
    OrderInversion,
    /// Two runs of one partition at once in one process.
    Overlap,
    /// A record was started for a partition that the group had given away.
    StartWithoutAssignment,
    /// An acknowledgement was taken for one that counts although its epoch is over.
    LateAck,
    /// Records were fed although commits had not got through for too long.
    FedWhileStalled,
    /// Retention took records that nobody reported.
    SilentLoss,
    /// It did not come to an end.
    Stuck,
    /// A machine was driven into a state that it forbids.
    IllegalState,
}

#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) anomaly: Anomaly,
    pub(super) text: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.anomaly, self.text)
    }
}

pub(super) type Checked<T = ()> = Result<T, Verdict>;

pub(super) fn broken<T>(anomaly: Anomaly, text: impl Into<String>) -> Checked<T> {
    Err(Verdict { anomaly, text: text.into() })
}

/// A partition's epoch in one process, unique in the whole run.
pub(super) type EpochId = u64;

/// Names a record for good: a recreated log has new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RecordId {
    pub(super) partition: usize,
    pub(super) incarnation: u32,
    pub(super) offset: i64,
}

#[derive(Debug, Default)]
struct Fate {
    /// Handled or skipped by policy.
    done: bool,
    /// Retention took it and a member said so.
    reported_lost: bool,
    runs: u32,
    finished: Option<(EpochId, Instant)>,
}

/// How an epoch ended, which says what may be handled again after it.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// All that was finished is committed.
    Clean,
    /// What was finished and is at or above this offset was not acknowledged.
    Unacknowledged(Option<i64>),
    /// The process died then. With commits that never fail, and no rebalance since `stable_since`, only recent work
    /// may repeat.
    Died { acknowledged: Option<i64>, at: Instant, stable_since: Instant },
}

#[derive(Debug, Default)]
struct EpochFate {
    last_started: Option<i64>,
    last_commit: Option<i64>,
    end: Option<End>,
    /// The group has given the partition away, and the process does not know yet.
    kicked: Option<End>,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    records: BTreeMap<RecordId, Fate>,
    /// Those that are not done.
    open: BTreeSet<RecordId>,
    epochs: BTreeMap<EpochId, EpochFate>,
    last_epoch: EpochId,
    /// Epochs of the runs under way, by process and partition.
    running: BTreeMap<(u64, usize), Vec<EpochId>>,
    /// How old work may be that a death repeats, where no commit fails.
    repeat_window: Option<Duration>,
    /// Partitions whose position an operator has moved: whoever has been away may know less of what is committed.
    sought: BTreeSet<usize>,
    /// What happened, kept when a single seed is replayed.
    notes: Option<Vec<String>>,
}

impl Ledger {
    pub(super) fn new(repeat_window: Option<Duration>, keep_notes: bool) -> Self {
        Self { repeat_window, notes: keep_notes.then(Vec::new), ..Self::default() }
    }

    pub(super) fn note(&mut self, now: Instant, text: impl FnOnce() -> String) {
        if let Some(notes) = &mut self.notes {
            notes.push(format!("{now:?} {}", text()));
        }
    }

    /// The last things that happened before now.
    pub(super) fn last_notes(&self) -> String {
        let notes = self.notes.as_deref().unwrap_or_default();
        notes[notes.len().saturating_sub(40)..].join("\n")
    }

    pub(super) fn produced(&mut self, record: RecordId) {
        self.records.insert(record, Fate::default());
        self.open.insert(record);
    }

    pub(super) fn new_epoch(&mut self) -> EpochId {
        self.last_epoch += 1;
        self.last_epoch
    }

    pub(super) fn started(&mut self, record: RecordId, epoch: EpochId, process: u64, is_retry: bool) -> Checked {
        let running = self.running.entry((process, record.partition)).or_default();
        if running.iter().any(|other| *other != epoch) {
            return broken(Anomaly::Overlap, format!("{record:?} in epoch {epoch} beside {running:?}"));
        }
        running.push(epoch);
        let fate = self.records.entry(record).or_default();
        let epoch_fate = self.epochs.entry(epoch).or_default();
        if epoch_fate.end.is_some() {
            return broken(Anomaly::StartWithoutAssignment, format!("{record:?} started in the ended epoch {epoch}"));
        }
        if !is_retry && epoch_fate.last_started.is_some_and(|last| last >= record.offset) {
            return broken(Anomaly::OrderInversion, format!("{record:?} after {:?}", epoch_fate.last_started));
        }
        epoch_fate.last_started = epoch_fate.last_started.max(Some(record.offset));
        fate.runs += 1;
        let Some((finished_in, finished_at)) = fate.finished else { return Ok(()) };
        let end = self.epochs.get(&finished_in).and_then(|earlier| earlier.end.or(earlier.kicked));
        let allowed = match end {
            None | Some(End::Clean) => false,
            Some(End::Unacknowledged(acknowledged)) => Some(record.offset) >= acknowledged,
            Some(End::Died { acknowledged, at, stable_since }) => {
                let recent = self.repeat_window.is_none_or(|window| {
                    at.saturating_since(finished_at) <= window || at.saturating_since(stable_since) <= window * 2
                });
                Some(record.offset) >= acknowledged && recent
            }
        };
        if allowed {
            return Ok(());
        }
        broken(
            Anomaly::Duplicate,
            format!("{record:?} was finished at {finished_at:?} in epoch {finished_in}, {end:?}"),
        )
    }

    pub(super) fn run_ended(&mut self, process: u64, partition: usize, epoch: EpochId) {
        let running = self.running.entry((process, partition)).or_default();
        if let Some(index) = running.iter().position(|other| *other == epoch) {
            running.swap_remove(index);
        }
    }

    pub(super) fn process_ended(&mut self, process: u64) {
        self.running.retain(|(other, _), _| *other != process);
    }

    pub(super) fn finished(&mut self, record: RecordId, epoch: EpochId, now: Instant) {
        let fate = self.records.entry(record).or_default();
        fate.done = true;
        self.open.remove(&record);
        // What somebody finishes whom the group has left behind is no news.
        let left_behind = self.epochs.get(&epoch).is_some_and(|epoch| epoch.kicked.is_some());
        if fate.finished.is_none() || !left_behind {
            fate.finished = Some((epoch, now));
        }
    }

    /// Whether records at or above `log_start` are still to be done.
    pub(super) fn has_open(&self, partition: usize, incarnation: u32, log_start: i64) -> bool {
        let id = |offset| RecordId { partition, incarnation, offset };
        self.open.range(id(log_start)..id(i64::MAX)).next().is_some()
    }

    /// Whether somebody's finished work lies at or above `from`, where no operator has moved the position since.
    pub(super) fn has_finished(&self, partition: usize, incarnation: u32, from: i64) -> bool {
        let id = |offset| RecordId { partition, incarnation, offset };
        self.records.range(id(from)..=id(i64::MAX)).any(|(_, fate)| fate.finished.is_some())
    }

    pub(super) fn reported_lost(&mut self, partition: usize, incarnation: u32, from: i64, to: i64) {
        let id = |offset| RecordId { partition, incarnation, offset };
        for (_, fate) in self.records.range_mut(id(from)..id(to)) {
            fate.reported_lost = true;
        }
    }

    /// An operator moved the position: what lies between counts as skipped, and what is read again may be handled again.
    pub(super) fn sought(&mut self, partition: usize, incarnation: u32, open_from: i64, target: i64) {
        self.sought.insert(partition);
        let id = |offset| RecordId { partition, incarnation, offset };
        for (record, fate) in self.records.range_mut(id(open_from.min(target))..=id(i64::MAX)) {
            if record.offset < target {
                fate.done = true;
                self.open.remove(record);
            }
            fate.finished = None;
        }
    }

    pub(super) fn was_sought(&self, partition: usize) -> bool {
        self.sought.contains(&partition)
    }

    /// A replay from `from` is committed: all that was done up to `to` has to be done once more.
    pub(super) fn reopened(&mut self, partition: usize, incarnation: u32, from: i64, to: i64) {
        let id = |offset| RecordId { partition, incarnation, offset };
        if from >= to {
            return;
        }
        for (record, fate) in self.records.range_mut(id(from)..id(to)) {
            fate.done = false;
            self.open.insert(*record);
        }
    }

    pub(super) fn kicked(&mut self, epoch: EpochId, acknowledged: Option<i64>) {
        self.epochs.entry(epoch).or_default().kicked.get_or_insert(End::Unacknowledged(acknowledged));
    }

    pub(super) fn ended(&mut self, epoch: EpochId, end: End) {
        self.epochs.entry(epoch).or_default().end.get_or_insert(end);
    }

    /// A commit is being sent by an epoch.
    pub(super) fn commit_sent(&mut self, epoch: EpochId, offset: i64) -> Checked {
        let fate = self.epochs.entry(epoch).or_default();
        if fate.end.is_some() {
            return broken(Anomaly::CommitAfterEnd, format!("offset {offset} in epoch {epoch}"));
        }
        if fate.last_commit.is_some_and(|last| offset < last) {
            return broken(Anomaly::CommitRegress, format!("{offset} after {:?} in epoch {epoch}", fate.last_commit));
        }
        fate.last_commit = Some(offset);
        Ok(())
    }

    /// What retention has taken was handled, or somebody said that it was not.
    pub(super) fn nothing_vanished(&self, partition: usize, incarnation: u32, log_start: i64) -> Checked {
        self.nothing_open(partition, incarnation, 0, log_start)
            .or_else(|verdict| broken(Anomaly::SilentLoss, verdict.text))
    }

    /// Nothing between `from` and `to` may be open when `to` is committed.
    pub(super) fn nothing_open(&self, partition: usize, incarnation: u32, from: i64, to: i64) -> Checked {
        let id = |offset| RecordId { partition, incarnation, offset };
        if from >= to {
            return Ok(());
        }
        let open = self.records.range(id(from)..id(to)).find(|(_, fate)| !fate.done && !fate.reported_lost);
        match open {
            Some((record, _)) => broken(Anomaly::Premature, format!("{record:?} is open and {to} was committed")),
            None => Ok(()),
        }
    }
}
