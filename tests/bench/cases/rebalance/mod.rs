//! How long partitions stand still when a member joins, leaves, dies or is replaced, by group protocol.
//!
//! A trickle of records with a number each runs all the time. Members write down what they handle and when, so a partition
//! that stands still is a gap between two of its records, whoever handled them.

mod stand_still;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::Kafka;

use self::stand_still::{Event, Still, accounts, stand_still};
use super::{Plan, assignment};
use crate::measure::monotonic_nanos;
use crate::member::{Handled, Member};
use crate::protocol::{Assignment, Measure, Subject};
use crate::report::{Column, Report, Run};
use crate::statistics::Better;
use crate::topics;

/// The columns of the table: of partitions that got another owner, and of those that did not.
pub(crate) const COLUMNS: [Column; 6] = [
    Column { name: "moved p50 ms", better: Better::Lower, decimals: 0 },
    Column { name: "moved max ms", better: Better::Lower, decimals: 0 },
    Column { name: "stays p50 ms", better: Better::Lower, decimals: 0 },
    Column { name: "stays max ms", better: Better::Lower, decimals: 0 },
    Column { name: "repeated", better: Better::Lower, decimals: 0 },
    Column { name: "lost", better: Better::Lower, decimals: 0 },
];

const SUBJECTS: [Subject; 2] = [Subject::Stream, Subject::Listener];
const PARTITIONS: i32 = 6;
const RATE: u32 = 2_000;
/// A group is watched for so long after an event: longer than a rebalance of any protocol takes here.
const SETTLED: Duration = Duration::from_secs(5);
/// How long the group takes a silent member for alive; for `consumer` the test broker says the same.
const SESSION: Duration = Duration::from_secs(6);

#[derive(Debug, Clone, Copy)]
enum Protocol {
    CooperativeSticky,
    Range,
    Consumer,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::CooperativeSticky, Self::Range, Self::Consumer];

    fn name(self) -> &'static str {
        match self {
            Self::CooperativeSticky => "cooperative-sticky",
            Self::Range => "range",
            Self::Consumer => "consumer",
        }
    }

    /// The same for hand-written consumers, rivals and listeners.
    fn set(self, assignment: &mut Assignment) {
        let seconds = SESSION.as_secs();
        assignment.client.retain(|(name, _)| name != "partition.assignment.strategy");
        let (client, listener) = match self {
            Self::Consumer => {
                (vec![("group.protocol", "consumer".to_owned())], vec![("group_protocol", "consumer".to_owned())])
            }
            classic => (
                vec![
                    ("partition.assignment.strategy", classic.name().to_owned()),
                    ("session.timeout.ms", (seconds * 1_000).to_string()),
                    ("heartbeat.interval.ms", "1000".to_owned()),
                ],
                vec![
                    ("partition_assignment_strategy", classic.name().to_owned()),
                    ("session_timeout", format!("{seconds}s")),
                ],
            ),
        };
        assignment.client.extend(client.into_iter().map(|(name, value)| (name.to_owned(), value)));
        assignment.listener.extend(listener.into_iter().map(|(key, value)| (format!("listener.{key}"), value)));
    }
}

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let kafka = support::broker();
    let folder = tempfile::tempdir()?;
    report.begin(&COLUMNS, Subject::Stream)?;
    for protocol in Protocol::ALL.into_iter().filter(|protocol| plan.wants(protocol.name())) {
        for round in 0..plan.rounds {
            for subject in plan.subjects(round, &SUBJECTS) {
                // Spring's own annotation has no word for it, and ruststream refuses it.
                if matches!(protocol, Protocol::Consumer) && !matches!(subject, Subject::Stream | Subject::Listener) {
                    continue;
                }
                for (event, values) in one(kafka, folder.path(), protocol, subject).await? {
                    report.run(Run { round, setting: setting(protocol, event), subject, values, figures: None })?;
                }
            }
        }
        for event in Event::ALL {
            report.summarize(&setting(protocol, event))?;
        }
    }
    Ok(())
}

fn setting(protocol: Protocol, event: Event) -> String {
    format!("{}: {}", protocol.name(), event.name())
}

/// A group's life: one member, a second one joins and leaves, a third one joins and dies, a fourth one joins, and the first
/// is replaced as a deployment does.
async fn one(
    kafka: &'static Kafka,
    folder: &Path,
    protocol: Protocol,
    subject: Subject,
) -> anyhow::Result<Vec<(Event, Vec<f64>)>> {
    let topic = support::unique("bench-rebalance");
    kafka.create_topic(&topic, PARTITIONS).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let producing = tokio::task::spawn_blocking({
        let (topic, stop) = (topic.clone(), Arc::clone(&stop));
        move || topics::trickle(kafka, &topic, PARTITIONS, RATE, &stop)
    });
    let group = support::unique(subject.name());
    let start = || {
        let file = folder.join(support::unique("trace"));
        let mut assignment = assignment(subject, kafka, &topic, Measure::Trace { file: file.clone() });
        assignment.group.clone_from(&group);
        protocol.set(&mut assignment);
        Member::start(&assignment, &file)
    };
    let lived = live(start).await;
    stop.store(true, Ordering::Release);
    let produced = producing.await??;
    let (mut members, windows) = lived?;
    // What was produced last is on its way; all of it is handled before the accounts are made.
    for member in &mut members {
        if member.is_running()? {
            let last =
                |handled: &[Handled]| handled.iter().map(|record| record.number).max() == produced.checked_sub(1);
            member.until(last).await?;
        }
    }
    tokio::time::sleep(SETTLED).await;
    for member in &mut members {
        if member.is_running()? {
            member.stop().await?;
        }
    }
    let traces = members.iter().map(Member::trace).collect::<anyhow::Result<Vec<_>>>()?;
    let accounts = accounts(&traces, PARTITIONS, produced);
    kafka.delete_topic(&topic).await?;
    Ok(windows
        .into_iter()
        .map(|(event, from, until)| {
            let Still { moved, stays } = stand_still(&traces, from, until);
            let repeated = accounts.repeated(from, until);
            let values = [moved.p50, moved.max, stays.p50, stays.max, repeated, accounts.lost];
            (event, values.to_vec())
        })
        .collect())
}

/// Members that ran, and from when to when which event is looked at.
type Lived = (Vec<Member>, Vec<(Event, u64, u64)>);

async fn live(start: impl Fn() -> anyhow::Result<Member>) -> anyhow::Result<Lived> {
    let handles = |handled: &[Handled]| !handled.is_empty();
    let mut first = start()?;
    first
        .until(|handled| (0..PARTITIONS).all(|partition| handled.iter().any(|one| one.partition == partition)))
        .await?;
    tokio::time::sleep(SETTLED).await;
    let mut windows = Vec::new();

    let from = monotonic_nanos();
    let mut second = start()?;
    second.until(handles).await?;
    tokio::time::sleep(SETTLED).await;
    windows.push((Event::Join, from, monotonic_nanos()));

    let from = monotonic_nanos();
    second.stop().await?;
    tokio::time::sleep(SETTLED).await;
    windows.push((Event::Leave, from, monotonic_nanos()));

    let mut third = start()?;
    third.until(handles).await?;
    tokio::time::sleep(SETTLED).await;
    let from = monotonic_nanos();
    third.kill().await?;
    tokio::time::sleep(SESSION + SETTLED).await;
    windows.push((Event::Crash, from, monotonic_nanos()));

    let mut fourth = start()?;
    fourth.until(handles).await?;
    tokio::time::sleep(SETTLED).await;
    let from = monotonic_nanos();
    first.stop().await?;
    let mut fifth = start()?;
    fifth.until(handles).await?;
    tokio::time::sleep(SETTLED).await;
    windows.push((Event::Replaced, from, monotonic_nanos()));
    Ok((vec![first, second, third, fourth, fifth], windows))
}
