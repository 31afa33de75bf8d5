//! Handlers that wait: how near the listener comes to tasks that do nothing else.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::{Plan, WORK_PARTITIONS, assignment};
use crate::protocol::{Measure, Subject};
use crate::report::{Column, Report, Run};
use crate::statistics::Better;
use crate::{child, order, topics};

/// The columns of the table.
pub(crate) const COLUMNS: [Column; 2] = [
    Column { name: "records/s", better: Better::Higher, decimals: 0 },
    Column { name: "cpu µs/record", better: Better::Lower, decimals: 1 },
];

const SUBJECTS: [Subject; 2] = [Subject::Bare, Subject::Listener];
const RECORDS: usize = 25_000;
const WORK: [Duration; 4] =
    [Duration::ZERO, Duration::from_micros(100), Duration::from_millis(1), Duration::from_millis(10)];

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let kafka = support::broker();
    let records = plan.records.unwrap_or(RECORDS);
    let topic = topics::filled_with(kafka, WORK_PARTITIONS, &order::payload(0), records).await?;
    let records = u64::try_from(records)?;
    report.begin(&COLUMNS, Subject::Bare)?;
    for work in WORK {
        let setting = format!("{work:?} of work");
        if !plan.wants(&setting) {
            continue;
        }
        for round in 0..plan.rounds {
            for subject in plan.subjects(round, &SUBJECTS) {
                // Without anything to wait for, tasks without a Kafka are done before the clock has started.
                let times = if work.is_zero() && subject == Subject::Bare { 40 } else { 1 };
                let records = records * times;
                // The last records of a run find fewer and fewer partitions that still have any: what comes before counts.
                let measure =
                    Measure::Records { warm_up: records / 10, records: records - records / 10, produced: records };
                let mut assignment = assignment(subject, kafka, &topic, measure);
                assignment.work_micros = u64::try_from(work.as_micros())?;
                let figures = child::run(&assignment, &Arc::new(AtomicBool::new(false))).await?;
                let values = vec![figures.records_per_second(), figures.cpu_micros_per_record];
                report.run(Run { round, setting: setting.clone(), subject, values, figures: Some(figures) })?;
            }
        }
        report.summarize(&setting)?;
    }
    kafka.delete_topic(&topic).await
}
