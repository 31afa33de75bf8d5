//! What two more groups on the same topic cost in one process.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use support::Kafka;

use super::{Plan, assignment};
use crate::child;
use crate::protocol::{Figures, Measure, Subject};
use crate::report::{Column, Report, Run};
use crate::statistics::{Better, to_f64};
use crate::topics::{self, Shape};

/// The columns of the table.
pub(crate) const COLUMNS: [Column; 4] = [
    Column { name: "records/s, all groups", better: Better::Higher, decimals: 0 },
    // Of all groups together, so that three groups are to be compared with one.
    Column { name: "cpu µs/record of the topic", better: Better::Lower, decimals: 3 },
    // The same by that of one group of the same subject in the same round.
    Column { name: "cpu by one group", better: Better::Lower, decimals: 2 },
    // Over the loopback interface while the subject ran: what the broker sent and what was asked and committed.
    Column { name: "bytes/record of the topic", better: Better::Lower, decimals: 0 },
];

const SUBJECTS: [Subject; 2] = [Subject::Loop, Subject::Listener];

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let kafka = support::broker();
    let records = plan.records.unwrap_or(1_000_000);
    let topic = topics::filled(kafka, Shape::SmallOnSix, records).await?;
    let records = u64::try_from(records)?;
    report.begin(&COLUMNS, Subject::Loop)?;
    // Not reported: the broker's own code gets warm in it.
    one(kafka, &topic, records, Subject::Loop, 1).await?;
    for round in 0..plan.rounds {
        for subject in plan.subjects(round, &SUBJECTS) {
            let mut cpu_of_one = None;
            for groups in [1, 3] {
                let (figures, bytes) = one(kafka, &topic, records, subject, groups).await?;
                let cpu = figures.cpu_micros_per_record * f64::from(groups);
                let by_one = cpu / *cpu_of_one.get_or_insert(cpu);
                let values = vec![figures.records_per_second(), cpu, by_one, to_f64(bytes) / to_f64(records)];
                report.run(Run { round, setting: setting(groups), subject, values, figures: Some(figures) })?;
            }
        }
    }
    report.summarize(&setting(1))?;
    report.summarize(&setting(3))?;
    kafka.delete_topic(&topic).await
}

/// All records of the topic, read by so many groups; answers the bytes that the network has carried, too.
async fn one(
    kafka: &Kafka,
    topic: &str,
    records: u64,
    subject: Subject,
    groups: u32,
) -> anyhow::Result<(Figures, u64)> {
    let produced = records * u64::from(groups);
    // Groups do not begin at the same instant, and start-up is no part of the cost of a record.
    let measure = Measure::Records { warm_up: produced / 10, records: produced, produced };
    let mut assignment = assignment(subject, kafka, topic, measure);
    assignment.groups = groups;
    let before = loopback_bytes()?;
    let figures = child::run(&assignment, &Arc::new(AtomicBool::new(false))).await?;
    Ok((figures, loopback_bytes()? - before))
}

fn setting(groups: u32) -> String {
    format!("{groups} group{}", if groups == 1 { "" } else { "s" })
}

/// What the loopback interface has received since the machine started.
fn loopback_bytes() -> anyhow::Result<u64> {
    let table = fs::read_to_string("/proc/net/dev").context("read what the network has carried")?;
    let line =
        table.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("there is no loopback interface")?;
    line.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).context("the kernel counts no bytes")
}
