//! Judges a run by its event logs, by what the topics hold and by the committed offsets that an outside reader saw.
//!
//! It knows nothing of how the members work. Every [`Anomaly`] has a hand-made bad log in `tests.rs` that it must be
//! found in.

mod collect;
mod commits;
mod delivery;
mod duplicates;
mod history;
mod liveness;
mod lives;
mod order;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::collect::{content_of, events_in};
pub use self::duplicates::Duplicates;
use self::history::Index;
pub use self::lives::second_life_of;
use crate::event::{Event, Place};
use crate::kafka::Samples;

/// Everything that is known of one group's run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The events of all members and of the harness, in any order.
    pub events: Vec<Event>,
    /// What the topics hold, read after the end.
    pub content: Vec<Content>,
    /// The group's committed offsets over time, per topic.
    pub samples: BTreeMap<String, Samples>,
}

/// A record that lies in a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Where.
    pub place: Place,
    /// What identifies its content.
    pub value: String,
    /// It belongs to an aborted transaction: no `read_committed` reader sees it.
    pub aborted: bool,
}

/// What the members were set up to keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Promise {
    /// How long a finished record may wait for its commit.
    pub commit_interval: Duration,
    /// How long a partition is fed whose commits do not get through.
    pub max_commit_delay: Duration,
    /// The budget of a revoke; the drain gets 70 % of it.
    pub revoke_timeout: Duration,
    /// The budget of a stop.
    pub shutdown_timeout: Duration,
    /// How long the broker waits before it gives a silent member's partitions away.
    pub session_timeout: Duration,
    /// How long a returned broker may take to be noticed and to be asked again.
    pub recovery: Duration,
    /// Lag without progress for longer is an anomaly.
    pub stuck_after: Duration,
}

impl Default for Promise {
    /// The library's own defaults, but for the session timeout, which is the shortest usual one.
    fn default() -> Self {
        Self {
            commit_interval: Duration::from_millis(100),
            max_commit_delay: Duration::from_secs(10),
            revoke_timeout: Duration::from_secs(5),
            shutdown_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(6),
            recovery: Duration::from_secs(15),
            stuck_after: Duration::from_secs(30),
        }
    }
}

/// What must not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Anomaly {
    /// A record below the committed offset was never done, or an acknowledged one is not in the topic.
    Lost,
    /// A record at or above the committed offset was never done, although the run waited for lag 0.
    Unseen,
    /// A handler got a record of an aborted transaction.
    AbortedRead,
    /// One offset with two contents, or an offset that the topic does not have.
    InconsistentOffset,
    /// More repeats than what was finished and not yet committed when somebody was disturbed.
    DupOverBound,
    /// Inside one assignment a record started after a later one.
    OrderInversion,
    /// Two handlers at once on one partition, and nobody was frozen, cut off or over his time.
    OverlapOutsideWindow,
    /// A handler started for a partition that its member did not have.
    StartWithoutAssignment,
    /// The committed offset was above a record that was not done.
    PrematureCommit,
    /// The committed offset went back.
    CommitRegress,
    /// A member committed a partition that it had given up.
    CommitAfterRevoke,
    /// A member committed a partition that it never had.
    CommitOfUnowned,
    /// Inside one assignment a record was passed over.
    PollSkip,
    /// A partition had work and made no progress.
    Stuck,
    /// A member took longer to stop than it may.
    LateStop,
    /// A member ended by itself with an error, or crashed.
    BadExit,
    /// What the harness waited for, because this row promises it, has not come about.
    PromiseBroken,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The one place that knows the names is the serializer.
        let name = serde_json::to_value(self).map_err(|_| fmt::Error)?;
        f.write_str(name.as_str().unwrap_or_default())
    }
}

/// One thing that must not have happened, with what it takes to find it in the logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind.
    pub anomaly: Anomaly,
    /// Who, where and when.
    pub detail: String,
}

/// What the checker found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    /// All of them; empty is good.
    pub findings: Vec<Finding>,
    /// How many handler starts there were.
    pub starts: usize,
    /// How many records were done.
    pub done: usize,
    /// The repeats that were nearest to their bound.
    pub worst_duplicates: Duplicates,
    /// The longest that a partition with work stood still while no broker was at fault.
    pub stood_still: Duration,
}

impl Verdict {
    /// Nothing was found.
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }

    /// How often each anomaly was found.
    pub fn by_name(&self) -> BTreeMap<Anomaly, usize> {
        let mut counts = BTreeMap::new();
        for finding in &self.findings {
            *counts.entry(finding.anomaly).or_default() += 1;
        }
        counts
    }
}

/// Judges one group's run.
pub fn check(history: &History, promise: &Promise) -> Verdict {
    let lives = lives::apart(history);
    let index = Index::new(lives.as_ref().unwrap_or(history), promise.session_timeout, promise.recovery);
    let mut findings = Findings::default();
    delivery::check(&index, &mut findings);
    order::check(&index, promise, &mut findings);
    let worst_duplicates = duplicates::check(&index, promise, &mut findings);
    commits::check(&index, &mut findings);
    let stood_still = liveness::check(&index, promise, &mut findings);
    for promise in &index.broken {
        findings.add(Anomaly::PromiseBroken, *promise);
    }
    Verdict {
        findings: findings.0,
        starts: index.logs.values().map(|log| log.runs.len()).sum(),
        done: index.logs.values().map(|log| log.done.len()).sum(),
        worst_duplicates,
        stood_still,
    }
}

/// The anomalies in the order in which they were found.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, anomaly: Anomaly, detail: impl Into<String>) {
        self.0.push(Finding { anomaly, detail: detail.into() });
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
