//! What was handled again, against what may be.
//!
//! A repeat is charged to the assignment that had handled the record before. Where nothing disturbed that assignment,
//! only a record may start again that was failing, or that ran for longer than a drain waits. Where it was killed, frozen, lost, or a broker was away, so
//! may what it finished and could not commit in time: all that it finished later than the disturbance less one commit
//! interval and one commit round trip, and one record more, which was running. A commit that a rebalance held up has a
//! round trip that nobody saw the end of: then all that it finished since its last acknowledged commit may.

use std::collections::BTreeMap;

use serde::Serialize;

use super::history::{Index, PartitionLog, Run};
use super::{Anomaly, Findings, Promise, nanos};
use crate::event::Outcome;

/// Assumed where no member could see how long its commits take.
const UNSEEN_ROUND_TRIP: u64 = 1_000_000_000;

/// Repeats of one assignment against what they may be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// How many records were handled again.
    pub repeats: usize,
    /// How many may be.
    pub bound: usize,
    /// Which member and partition.
    pub assignment: String,
}

pub(super) fn check(index: &Index<'_>, promise: &Promise, findings: &mut Findings) -> Duplicates {
    let round_trip = index.round_trip().unwrap_or(UNSEEN_ROUND_TRIP);
    let mut worst = Duplicates::default();
    for (&(topic, partition), log) in &index.logs {
        for ((member, ownership), repeats) in repeats(log, &index.forgotten) {
            let assignment = format!("{topic}-{partition} of {member}");
            let bound = ownership.map_or(0, |ownership| bound(index, promise, log, ownership, &repeats, round_trip));
            let duplicates = Duplicates { repeats: repeats.len(), bound, assignment };
            if duplicates.repeats > bound {
                let first = repeats.iter().map(|(_, again)| again.offset).min().unwrap_or_default();
                let detail = format!(
                    "{} records of {} were handled again, the first at {first}; at most {bound} may be",
                    duplicates.repeats, duplicates.assignment
                );
                findings.add(Anomaly::DupOverBound, detail);
            }
            if duplicates.excess() > worst.excess() || worst.repeats == 0 {
                worst = duplicates;
            }
        }
    }
    worst
}

impl Duplicates {
    /// How far the repeats are over their bound; below it, negative.
    pub fn excess(&self) -> i64 {
        let signed = |count| i64::try_from(count).unwrap_or(i64::MAX);
        signed(self.repeats) - signed(self.bound)
    }
}

/// A record that was failing waits for nobody; one that was running is waited for.
fn may_be_cut_off(run: &Run<'_>, given_up: u64, promise: &Promise) -> bool {
    // The drain gets 65 % of the budget; the rest is the clocks' and the log's.
    let drain = nanos(promise.revoke_timeout) / 10 * 6;
    let was_failing = run.ended.is_some_and(|(_, outcome)| matches!(outcome, Outcome::Err | Outcome::Panic));
    was_failing || given_up.saturating_sub(run.started) >= drain
}

type Assignment<'a> = (&'a str, Option<usize>);
/// Each with the run before it.
type Repeats<'r, 'a> = Vec<(&'r Run<'a>, &'r Run<'a>)>;

/// Every start beyond a record's first that is no retry, with the run before it, by the assignment of that run.
fn repeats<'r, 'a>(log: &'r PartitionLog<'a>, forgotten: &[u64]) -> BTreeMap<Assignment<'a>, Repeats<'r, 'a>> {
    let mut latest: BTreeMap<i64, &Run<'_>> = BTreeMap::new();
    let mut repeats: BTreeMap<_, Repeats<'_, '_>> = BTreeMap::new();
    for run in log.runs.iter().filter(|run| !run.woken) {
        let Some(before) = latest.insert(run.offset, run) else { continue };
        if forgotten.iter().any(|at| (before.started..run.started).contains(at)) {
            continue;
        }
        let same_assignment = before.member == run.member && before.ownership == run.ownership;
        if !(same_assignment && before.had_failed_by(run.started)) {
            repeats.entry((before.member, before.ownership)).or_default().push((before, run));
        }
    }
    repeats
}

fn bound(
    index: &Index<'_>,
    promise: &Promise,
    log: &PartitionLog<'_>,
    ownership: usize,
    repeats: &Repeats<'_, '_>,
    round_trip: u64,
) -> usize {
    let owned = &log.ownerships[ownership];
    let until = owned.until.unwrap_or(index.end);
    let interval = nanos(promise.commit_interval);
    let mut windows = Vec::new();
    for one in index.disturbed(owned.member, owned.from, until) {
        let uncommitted_since = one.from.saturating_sub(interval + round_trip);
        let held_up = index.held_up_since(owned.member, one.from, promise.session_timeout);
        // A partition whose commits do not get through is not fed for longer.
        let held_up = held_up.map(|since| since.max(one.from.saturating_sub(nanos(promise.max_commit_delay))));
        let since = held_up.map_or(uncommitted_since, |since| uncommitted_since.min(since.saturating_sub(interval)));
        windows.push(since..=one.until);
    }
    if windows.is_empty() {
        // What ended well later than the drain was given up by then.
        let given_up = owned.drained.unwrap_or(until);
        let unfinished = repeats.iter().filter(|(before, _)| !before.was_ok_by(given_up));
        return unfinished.filter(|(before, _)| may_be_cut_off(before, given_up, promise)).count().min(1);
    }
    let theirs = log.runs.iter().filter(|run| run.ownership == Some(ownership));
    let uncommitted =
        theirs.filter(|run| run.ended.is_some_and(|(ended, _)| windows.iter().any(|window| window.contains(&ended))));
    uncommitted.count() + 1
}
