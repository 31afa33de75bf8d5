//! A topic that is deleted and created again is another one with the same name: its second life is judged by itself.

use std::collections::BTreeMap;

use super::History;
use crate::event::{Event, Place, What};

/// What the second life of a topic is called where the first one is called `topic`.
pub fn second_life_of(topic: &str) -> String {
    format!("{topic} (second life)")
}

/// The history with the second life of each topic under a name of its own; `None` where there is none.
pub(super) fn apart(history: &History) -> Option<History> {
    let mut history = History {
        events: history.events.iter().any(|event| matches!(event.what, What::Recreated { .. })).then(|| {
            let mut events = history.events.clone();
            events.sort_by_key(|event| event.at);
            events
        })?,
        ..history.clone()
    };
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut owners: BTreeMap<(String, i32), Vec<String>> = BTreeMap::new();
    let mut events = Vec::with_capacity(history.events.len());
    for mut event in history.events {
        if let What::Recreated { topic } = &event.what {
            let second = second_life_of(topic);
            for ((_, partition), members) in owners.iter().filter(|((owned, _), _)| owned == topic) {
                let partitions = vec![(second.clone(), *partition)];
                let assigned = |by: &String| Event {
                    by: by.clone(),
                    what: What::Assigned { partitions: partitions.clone() },
                    ..event
                };
                events.extend(members.iter().map(assigned));
            }
            names.insert(topic.clone(), second);
        }
        note(&mut owners, &event);
        rename(&mut event.what, &names);
        events.push(event);
    }
    history.events = events;
    Some(history)
}

/// Keeps account of who has what.
fn note(owners: &mut BTreeMap<(String, i32), Vec<String>>, event: &Event) {
    match &event.what {
        What::Assigned { partitions } => {
            for partition in partitions {
                owners.entry(partition.clone()).or_default().push(event.by.clone());
            }
        }
        What::Revoked { partitions } | What::Lost { partitions } => {
            for partition in partitions {
                owners.entry(partition.clone()).or_default().retain(|member| *member != event.by);
            }
        }
        What::Exit { member, .. } => owners.values_mut().for_each(|members| members.retain(|owner| owner != member)),
        _ => {}
    }
}

fn rename(what: &mut What, names: &BTreeMap<String, String>) {
    let place = |place: &mut Place| {
        if let Some(name) = names.get(&place.topic) {
            place.topic.clone_from(name);
        }
    };
    match what {
        What::Start { place: at, .. }
        | What::End { place: at, .. }
        | What::Skipped { place: at }
        | What::DeadLettered { place: at }
        | What::CommitRequested { place: at }
        | What::Acked { place: at, .. } => place(at),
        What::Assigned { partitions }
        | What::Revoking { partitions }
        | What::Revoked { partitions }
        | What::Lost { partitions } => {
            for (topic, _) in partitions {
                if let Some(name) = names.get(topic) {
                    topic.clone_from(name);
                }
            }
        }
        _ => {}
    }
}
