//! Work goes on while there is work, and processes end as they should.

use std::time::Duration;

use super::history::{Disturbance, Index, Kind, Member, PartitionLog};
use super::{Anomaly, Findings, Promise, nanos};
use crate::event::Signal;

/// What a stop may take beyond its own budget: the runtime's and the process's end.
const STOP_SLACK: Duration = Duration::from_secs(1);

pub(super) fn check(index: &Index<'_>, promise: &Promise, findings: &mut Findings) {
    let excused = excused(&index.disturbances, promise);
    for (&(topic, partition), log) in &index.logs {
        progress(&format!("{topic}-{partition}"), index.end, log, &excused, promise, findings);
    }
    for (name, member) in &index.members {
        stop(name, index.end, member, promise, findings);
        exit(name, index, member, findings);
    }
}

/// The times in which nobody has to make progress: a disturbance, and a session to notice it. Merged and sorted.
fn excused(disturbances: &[Disturbance<'_>], promise: &Promise) -> Vec<(u64, u64)> {
    let notice = nanos(promise.session_timeout) + nanos(promise.recovery);
    let mut times: Vec<(u64, u64)> = disturbances
        .iter()
        .filter(|one| one.kind != Kind::Lost)
        .map(|one| (one.from, one.until.saturating_add(notice)))
        .collect();
    times.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (from, until) in times {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(until),
            _ => merged.push((from, until)),
        }
    }
    merged
}

fn progress(
    name: &str,
    end: u64,
    log: &PartitionLog<'_>,
    excused: &[(u64, u64)],
    promise: &Promise,
    findings: &mut Findings,
) {
    let mut since = 0;
    for (offset, _) in log.visible() {
        let Some(available) = log.available(offset) else { continue };
        let done = log.done.get(&offset).copied();
        let (waited_from, waited_until) = (available.max(since), done.unwrap_or(end));
        let excused: u64 = excused
            .iter()
            .map(|(from, until)| (*until).min(waited_until).saturating_sub((*from).max(waited_from)))
            .sum();
        let waited = waited_until.saturating_sub(waited_from).saturating_sub(excused);
        if waited > nanos(promise.stuck_after) {
            let detail = format!("{name} stood at {offset} for {:?}", Duration::from_nanos(waited));
            findings.add(Anomaly::Stuck, detail);
        }
        since = since.max(waited_until);
    }
}

fn stop(name: &str, end: u64, member: &Member, promise: &Promise, findings: &mut Findings) {
    let Some((asked, _)) = member.signals.iter().find(|(_, signal)| matches!(signal, Signal::Term | Signal::Kill))
    else {
        return;
    };
    let gone = member.exit.map(|(at, ..)| at);
    // While it is frozen it cannot hear.
    let woken = member.signals.iter().filter(|(at, signal)| *signal == Signal::Cont && at > asked).map(|(at, _)| at);
    let heard = woken.max().unwrap_or(asked);
    let took = Duration::from_nanos(gone.unwrap_or(end).saturating_sub(*heard));
    if gone.is_none() {
        findings.add(Anomaly::LateStop, format!("{name} was told to stop and has not ended after {took:?}"));
    } else if took > promise.shutdown_timeout + STOP_SLACK {
        let detail = format!("{name} took {took:?} to stop; its budget is {:?}", promise.shutdown_timeout);
        findings.add(Anomaly::LateStop, detail);
    }
}

fn exit(name: &str, index: &Index<'_>, member: &Member, findings: &mut Findings) {
    let Some((at, code, signal)) = member.exit else { return };
    let sent =
        |asked| member.signals.iter().find(|(sent, signal)| *signal == asked && *sent <= at).map(|(sent, _)| *sent);
    let detail = match (code, signal) {
        (Some(0), _) if sent(Signal::Term).is_some() => return,
        (_, Some(9)) if sent(Signal::Kill).is_some() => return,
        // Without a broker it cannot commit, and must say so.
        (Some(_), None) if sent(Signal::Term).is_some_and(|asked| without_broker(index, asked, at)) => return,
        (Some(0), _) => format!("{name} ended by itself"),
        (Some(code), _) => format!("{name} ended with code {code}"),
        (None, signal) => format!("{name} was ended by signal {}", signal.unwrap_or_default()),
    };
    findings.add(Anomaly::BadExit, detail);
}

fn without_broker(index: &Index<'_>, from: u64, until: u64) -> bool {
    index.disturbances.iter().any(|one| one.kind == Kind::Fault && one.meets(from, until))
}
