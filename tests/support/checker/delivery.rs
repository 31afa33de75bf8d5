//! Every record once at least, and as it lies in the log.

use std::collections::BTreeMap;

use super::history::{Index, PartitionLog};
use super::{Anomaly, Findings};

pub(super) fn check(index: &Index<'_>, findings: &mut Findings) {
    for (&(topic, partition), log) in &index.logs {
        let name = format!("{topic}-{partition}");
        let last = index.samples.get(topic).and_then(|samples| samples.samples.last());
        let committed = last.and_then(|sample| sample.committed.get(&partition)).copied().unwrap_or(0);
        everything_done(&name, log, committed, findings);
        contents(&name, log, findings);
    }
}

fn everything_done(name: &str, log: &PartitionLog<'_>, committed: i64, findings: &mut Findings) {
    for (offset, content) in log.visible().filter(|(offset, _)| !log.done.contains_key(offset)) {
        if offset < committed {
            let detail = format!("{name}@{offset} `{}` was never done; committed is {committed}", content.value);
            findings.add(Anomaly::Lost, detail);
        } else {
            let detail = format!("{name}@{offset} `{}` was never done, nor committed", content.value);
            findings.add(Anomaly::Unseen, detail);
        }
    }
    let gone = |offset: &i64| *offset >= log.begins_at && !log.content.contains_key(offset);
    for (offset, (_, value)) in log.acked.iter().filter(|(offset, _)| gone(offset)) {
        findings.add(Anomaly::Lost, format!("{name}@{offset} `{value}` was acknowledged and is not in the topic"));
    }
}

fn contents(name: &str, log: &PartitionLog<'_>, findings: &mut Findings) {
    let mut seen: BTreeMap<i64, &str> =
        log.content.iter().map(|(offset, content)| (*offset, content.value.as_str())).collect();
    let acked = log.acked.iter().map(|(offset, (_, value))| ("the producer", *offset, *value));
    for (who, offset, value) in acked.chain(log.runs.iter().map(|run| (run.member, run.offset, run.value))) {
        let first = *seen.entry(offset).or_insert(value);
        if first != value {
            let detail = format!("{name}@{offset} is `{first}`, and `{value}` for {who}");
            findings.add(Anomaly::InconsistentOffset, detail);
        }
    }
    for run in &log.runs {
        match log.content.get(&run.offset) {
            Some(content) if content.aborted => {
                let detail = format!("{} got {name}@{} `{}`, which was aborted", run.member, run.offset, run.value);
                findings.add(Anomaly::AbortedRead, detail);
            }
            Some(_) => {}
            None if run.offset < log.begins_at => {}
            None => {
                let detail = format!("{} got {name}@{}, which the topic does not have", run.member, run.offset);
                findings.add(Anomaly::InconsistentOffset, detail);
            }
        }
    }
}
