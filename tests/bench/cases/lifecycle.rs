//! How long a member takes to start and to stop.

use super::{Plan, assignment};
use crate::member::Member;
use crate::protocol::{Measure, Subject};
use crate::report::{Column, Report, Run};
use crate::statistics::{Better, to_f64};
use crate::{order, topics};

/// The columns of the table.
pub(crate) const COLUMNS: [Column; 2] = [
    // From the start of the process to its first record, joining a group of its own included.
    Column { name: "first record ms", better: Better::Lower, decimals: 0 },
    // From SIGTERM to the end of the process, with everything handled and committed.
    Column { name: "stop ms", better: Better::Lower, decimals: 0 },
];

const SUBJECTS: [Subject; 2] = [Subject::Stream, Subject::Listener];
const RECORDS: usize = 1_000;
const PARTITIONS: i32 = 6;

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let kafka = support::broker();
    let topic =
        topics::filled_with(kafka, PARTITIONS, &order::traced_payload(0, 0), plan.records.unwrap_or(RECORDS)).await?;
    let folder = tempfile::tempdir()?;
    report.begin(&COLUMNS, Subject::Stream)?;
    for round in 0..plan.rounds {
        for subject in plan.subjects(round, &SUBJECTS) {
            let file = folder.path().join(support::unique("trace"));
            let assignment = assignment(subject, kafka, &topic, Measure::Trace { file: file.clone() });
            let mut member = Member::start(&assignment, &file)?;
            let all = plan.records.unwrap_or(RECORDS);
            member.until(|handled| handled.len() >= all).await?;
            let first = member.trace()?.iter().map(|handled| handled.at).min().unwrap_or(u64::MAX);
            let stop = member.stop().await?;
            let values = vec![to_f64(first.saturating_sub(member.started())) / 1e6, stop.as_secs_f64() * 1e3];
            report.run(Run { round, setting: "6 partitions".to_owned(), subject, values, figures: None })?;
        }
    }
    report.summarize("6 partitions")?;
    kafka.delete_topic(&topic).await
}
