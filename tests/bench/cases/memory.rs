//! Memory behind handlers that are too slow for their topic, so that everything that may be fetched ahead is.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Plan, assignment};
use crate::protocol::{Measure, Subject};
use crate::report::{Column, Report, Run};
use crate::statistics::Better;
use crate::{child, order, topics};

/// The columns of the table.
pub(crate) const COLUMNS: [Column; 1] = [Column { name: "peak MiB", better: Better::Lower, decimals: 0 }];

const SUBJECTS: [Subject; 3] = [Subject::Loop, Subject::Stream, Subject::Listener];
/// Long enough for every partition to be fetched as far as it may.
const SECONDS: u64 = 8;
const PREFETCH_MIB: [u32; 2] = [1, 8];

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let kafka = support::broker();
    report.begin(&COLUMNS, Subject::Loop)?;
    for partitions in [1, 6, 100] {
        let topic =
            topics::filled_with(kafka, partitions, &order::payload(512), plan.records.unwrap_or(600_000)).await?;
        for prefetch in PREFETCH_MIB {
            let setting = format!("{partitions} partitions, prefetch {prefetch} MiB");
            if !plan.wants(&setting) {
                continue;
            }
            for round in 0..plan.rounds {
                for subject in plan.subjects(round, &SUBJECTS) {
                    let mut assignment = assignment(subject, kafka, &topic, Measure::Seconds(SECONDS));
                    assignment.work_micros = 10_000;
                    assignment.client.push(("queued.max.messages.kbytes".to_owned(), (prefetch * 1024).to_string()));
                    assignment.listener.push(("listener.prefetch".to_owned(), format!("{prefetch}MiB")));
                    let figures = child::run(&assignment, &Arc::new(AtomicBool::new(false))).await?;
                    let values = vec![figures.peak_resident_mib];
                    report.run(Run { round, setting: setting.clone(), subject, values, figures: Some(figures) })?;
                }
            }
            report.summarize(&setting)?;
        }
        kafka.delete_topic(&topic).await?;
    }
    Ok(())
}
