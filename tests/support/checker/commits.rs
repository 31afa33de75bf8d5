//! Committed offsets: never above what is done, never back, never by somebody who does not own the partition.

use std::collections::BTreeSet;

use super::history::{Index, PartitionLog};
use super::{Anomaly, Findings};
use crate::kafka::Samples;

pub(super) fn check(index: &Index<'_>, findings: &mut Findings) {
    for (topic, samples) in index.samples {
        let mut began_anew = BTreeSet::new();
        for step in samples.regressions() {
            let forgotten = index.forgotten.iter().rposition(|at| *at <= step.at);
            // Once for each time that the offsets were deleted.
            if forgotten.is_some_and(|which| began_anew.insert((step.partition, which))) {
                continue;
            }
            let to = step.to.map_or("nothing".to_owned(), |to| to.to_string());
            let detail = format!("{topic}-{} went back from {} to {to}", step.partition, step.from);
            findings.add(Anomaly::CommitRegress, detail);
        }
    }
    for (&(topic, partition), log) in &index.logs {
        let name = format!("{topic}-{partition}");
        if let Some(samples) = index.samples.get(topic) {
            above_what_is_done(&name, partition, log, samples, findings);
        }
        by_owners(&name, log, findings);
    }
}

fn above_what_is_done(name: &str, partition: i32, log: &PartitionLog<'_>, samples: &Samples, findings: &mut Findings) {
    // For every record the moment from which it and all before it were done.
    let mut all_done = 0;
    let prefix: Vec<(i64, u64)> = log
        .visible()
        .map(|(offset, _)| {
            all_done = log.done.get(&offset).copied().unwrap_or(u64::MAX).max(all_done);
            (offset, all_done)
        })
        .collect();
    let mut told = BTreeSet::new();
    for sample in &samples.samples {
        let Some(&committed) = sample.committed.get(&partition) else { continue };
        let below = prefix.partition_point(|(offset, _)| *offset < committed);
        let Some(&(_, done)) = below.checked_sub(1).and_then(|last| prefix.get(last)) else { continue };
        if done > sample.answered && told.insert(committed) {
            let first = prefix.iter().find(|(_, done)| *done > sample.answered).map_or(0, |(offset, _)| *offset);
            let detail = format!("{name} was committed to {committed} before {first} was done");
            findings.add(Anomaly::PrematureCommit, detail);
        }
    }
}

fn by_owners(name: &str, log: &PartitionLog<'_>, findings: &mut Findings) {
    for (at, member, offset) in &log.commits {
        let mut theirs = log.ownerships.iter().filter(|owned| owned.member == *member && owned.from <= *at).peekable();
        if theirs.peek().is_none() {
            let detail = format!("{member} committed {name} to {offset} and never had it");
            findings.add(Anomaly::CommitOfUnowned, detail);
        } else if theirs.all(|owned| owned.until.is_some_and(|until| until < *at)) {
            let detail = format!("{member} committed {name} to {offset} after it had given it up");
            findings.add(Anomaly::CommitAfterRevoke, detail);
        }
    }
}
