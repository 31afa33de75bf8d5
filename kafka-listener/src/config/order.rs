//! `start_after`: what it names exists, runs, completes, and waits for nothing that waits for it.

use super::report::{Problem, Report, listed, nearest, shown};
use super::select::ResolvedListener;

/// Adds what is wrong with the order of the listeners that run.
pub(super) fn check(listeners: &[ResolvedListener], left_out: &[(String, String)], report: &mut Report) {
    let find = |id: &str| listeners.iter().find(|listener| listener.definition.id == id);
    for listener in listeners {
        let id = listener.definition.id;
        for (named, origin) in &listener.start_after {
            let problem = |message: String| Problem::new(origin, message);
            let Some(first) = find(named) else {
                report.add(match left_out.iter().find(|(left_out, _)| left_out == named) {
                    Some((_, why)) => {
                        problem(format!("`{id}` would wait for `{named}` for ever, which does not run: {why}"))
                            .help(format!("`start_after = []` in `[listeners.{id}]` starts it without"))
                    }
                    None => unknown(named, listeners, problem(format!("there is no listener `{}`", shown(named)))),
                });
                continue;
            };
            if !first.settings.completes() {
                report.add(
                    problem(format!("`{id}` would wait for `{named}` for ever, which never completes"))
                        .help("a listener with `partitions` and `until = \"end\"` does"),
                );
            } else if let Some(circle) = circle(listeners, id, named) {
                report.add(problem(format!("listeners wait for each other: {}", circle.join(" after "))));
            } else if !listener.settings.auto_startup {
                report.add(
                    problem("`start_after` is not read with `auto_startup = false`".to_owned())
                        .help("such a listener starts when its handle is told to"),
                );
            }
        }
    }
}

fn unknown(named: &str, listeners: &[ResolvedListener], problem: Problem) -> Problem {
    let ids = || listeners.iter().map(|listener| listener.definition.id);
    match nearest(named, ids()) {
        Some(near) => problem.help(format!("did you mean `{near}`?")),
        None => problem.help(format!("there are {}", listed(ids()))),
    }
}

/// The way from `id` over `next` back to `id`, if there is one.
fn circle(listeners: &[ResolvedListener], id: &str, next: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![id.to_owned(), next.to_owned()]];
    let mut seen: Vec<String> = Vec::new();
    while let Some(way) = ways.pop() {
        let last = way.last()?;
        if last == id {
            return Some(way.iter().map(|id| format!("`{id}`")).collect());
        }
        if seen.contains(last) {
            continue;
        }
        seen.push(last.clone());
        let after = listeners.iter().find(|listener| listener.definition.id == last);
        for (further, _) in after.map_or(&[][..], |listener| &listener.start_after) {
            ways.push(way.iter().cloned().chain([further.clone()]).collect());
        }
    }
    None
}
