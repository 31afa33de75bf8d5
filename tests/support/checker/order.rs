//! One record of a partition at a time, in the order of offsets, by whoever owns the partition.

use std::collections::{BTreeMap, BTreeSet};

use super::history::{Index, PartitionLog, Run};
use super::{Anomaly, Findings, Promise, nanos};

pub(super) fn check(index: &Index<'_>, promise: &Promise, findings: &mut Findings) {
    for (&(topic, partition), log) in &index.logs {
        let name = format!("{topic}-{partition}");
        inside_assignments(&name, log, findings);
        overlaps(&name, index, log, promise, findings);
    }
}

fn inside_assignments(name: &str, log: &PartitionLog<'_>, findings: &mut Findings) {
    let visible: BTreeSet<i64> = log.visible().map(|(offset, _)| offset).collect();
    let mut latest: BTreeMap<usize, &Run<'_>> = BTreeMap::new();
    for run in &log.runs {
        let Some(ownership) = run.ownership else {
            let detail = format!("{} started {name}@{} and did not have the partition", run.member, run.offset);
            findings.add(Anomaly::StartWithoutAssignment, detail);
            continue;
        };
        if let Some(before) = latest.insert(ownership, run) {
            if run.offset == before.offset && before.had_failed_by(run.started) {
                continue;
            }
            if run.offset <= before.offset {
                let detail = format!("{} started {name}@{} after {}", run.member, run.offset, before.offset);
                findings.add(Anomaly::OrderInversion, detail);
            }
            let passed = visible.range(before.offset + 1..run.offset.max(before.offset + 1));
            let passed: Vec<&i64> = passed.filter(|offset| !log.by_policy.contains(offset)).collect();
            if let Some(first) = passed.first() {
                let detail = format!(
                    "{} went in {name} from {} to {} over {} records, the first at {first}",
                    run.member,
                    before.offset,
                    run.offset,
                    passed.len()
                );
                findings.add(Anomaly::PollSkip, detail);
            }
        }
    }
}

fn overlaps(name: &str, index: &Index<'_>, log: &PartitionLog<'_>, promise: &Promise, findings: &mut Findings) {
    let mut running: Vec<&Run<'_>> = Vec::new();
    for run in &log.runs {
        running.retain(|earlier| index.end_of(earlier).is_none_or(|end| end > run.started));
        for earlier in &running {
            let excused = earlier.member != run.member
                && (index.disturbed(earlier.member, earlier.started, run.started).next().is_some()
                    || outlived_its_drain(log, earlier, run, promise)
                    || run.woken);
            if !excused {
                let detail = format!(
                    "{} started {name}@{} while {} had {} running",
                    run.member, run.offset, earlier.member, earlier.offset
                );
                findings.add(Anomaly::OverlapOutsideWindow, detail);
            }
        }
        running.push(run);
    }
}

/// Whether the earlier handler ran on after its partition had been drained for as long as it may be.
fn outlived_its_drain(log: &PartitionLog<'_>, earlier: &Run<'_>, later: &Run<'_>, promise: &Promise) -> bool {
    let ownership = earlier.ownership.map(|ownership| &log.ownerships[ownership]);
    let revoked = ownership.is_some_and(|ownership| ownership.until.is_some_and(|until| until <= later.started));
    // The drain gets 70 % of the revoke's budget.
    let drain = nanos(promise.revoke_timeout) / 10 * 7;
    revoked && later.started.saturating_sub(earlier.started) >= drain
}
