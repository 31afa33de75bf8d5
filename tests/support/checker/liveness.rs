//! Work goes on while there is work, and processes end as they should.

use std::time::Duration;

use super::history::{Disturbance, Index, Kind, Member, PartitionLog};
use super::{Anomaly, Findings, Promise, nanos};
use crate::event::Signal;

/// What a stop may take beyond its own budget: the runtime's and the process's end.
const STOP_SLACK: Duration = Duration::from_secs(1);

/// The answer is the longest that a partition with work stood still while no broker was away.
pub(super) fn check(index: &Index<'_>, promise: &Promise, findings: &mut Findings) -> Duration {
    let recovery = nanos(promise.recovery);
    let without_broker = index.disturbances.iter().filter(|one| one.kind == Kind::Fault && one.member.is_none());
    let without_broker = merged(without_broker.map(|one| (one.from, one.until.saturating_sub(recovery))).collect());
    let excused = excused(&index.disturbances, promise);
    let mut longest = 0;
    for (&(topic, partition), log) in &index.logs {
        let name = format!("{topic}-{partition}");
        for (offset, from, until) in waits(index.end, log) {
            let waited = Duration::from_nanos(without(&excused, from, until));
            if waited > promise.stuck_after {
                findings.add(Anomaly::Stuck, format!("{name} stood at {offset} for {waited:?}"));
            }
            longest = longest.max(without(&without_broker, from, until));
        }
    }
    for (name, member) in &index.members {
        stop(name, index.end, member, promise, findings);
        exit(name, index, member, findings);
    }
    Duration::from_nanos(longest)
}

/// The times in which nobody has to make progress: a disturbance, and a session to notice it. Merged and sorted.
fn excused(disturbances: &[Disturbance<'_>], promise: &Promise) -> Vec<(u64, u64)> {
    let notice = nanos(promise.session_timeout) + nanos(promise.recovery);
    let disturbances = disturbances.iter().filter(|one| one.kind != Kind::Lost);
    merged(disturbances.map(|one| (one.from, one.until.saturating_add(notice))).collect())
}

fn merged(mut times: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
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

/// How long it is between two moments without these times.
fn without(times: &[(u64, u64)], from: u64, until: u64) -> u64 {
    let excused: u64 = times.iter().map(|(began, ended)| (*ended).min(until).saturating_sub((*began).max(from))).sum();
    until.saturating_sub(from).saturating_sub(excused)
}

/// Every record that the partition stood at, from when to when.
fn waits(end: u64, log: &PartitionLog<'_>) -> impl Iterator<Item = (i64, u64, u64)> {
    let mut since = 0;
    log.visible().filter_map(move |(offset, _)| {
        let from = log.available(offset)?.max(since);
        let until = log.done.get(&offset).copied().unwrap_or(end);
        since = since.max(until);
        Some((offset, from, until))
    })
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
        (Some(_), None) if sent(Signal::Term).is_some_and(|asked| without_broker(name, index, asked, at)) => return,
        (Some(code), None) if member.may_fail && code != 0 => return,
        (Some(0), _) => format!("{name} ended by itself"),
        (Some(code), _) => format!("{name} ended with code {code}"),
        (None, signal) => format!("{name} was ended by signal {}", signal.unwrap_or_default()),
    };
    findings.add(Anomaly::BadExit, detail);
}

fn without_broker(name: &str, index: &Index<'_>, from: u64, until: u64) -> bool {
    index.disturbed(name, from, until).any(|one| one.kind == Kind::Fault)
}
