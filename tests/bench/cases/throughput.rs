//! How fast a full topic is consumed, and what that takes.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::{Plan, assignment};
use crate::protocol::{Figures, Measure, Subject};
use crate::report::{Column, Report, Run};
use crate::topics::{self, Shape};
use crate::{child, statistics::Better};

/// The columns of the table.
pub(crate) const COLUMNS: [Column; 4] = [
    Column { name: "records/s", better: Better::Higher, decimals: 0 },
    Column { name: "cpu µs/record", better: Better::Lower, decimals: 3 },
    Column { name: "peak MiB", better: Better::Lower, decimals: 0 },
    Column { name: "allocations/record", better: Better::Lower, decimals: 2 },
];

const SUBJECTS: [Subject; 3] = [Subject::Loop, Subject::Stream, Subject::Listener];

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let kafka = support::broker();
    report.begin(&COLUMNS, Subject::Loop)?;
    for shape in &plan.shapes {
        let records = plan.records.unwrap_or(match shape {
            Shape::SmallOnOne | Shape::SmallOnSix | Shape::SmallOnHundred => 2_000_000,
            Shape::LargeOnOne | Shape::LargeOnSix => 1_000_000,
        });
        let topic = topics::filled(kafka, *shape, records).await?;
        let records = u64::try_from(records)?;
        // The clock starts when fetching runs at full speed; a tenth of the records is more than the client holds at once.
        let measure = Measure::Records { warm_up: records / 10, records, produced: records };
        let one = async |subject: Subject| {
            child::run(&assignment(subject, kafka, &topic, measure.clone()), &Arc::new(AtomicBool::new(false))).await
        };
        // Not reported: the broker's own code gets warm in it.
        one(Subject::Loop).await?;
        for round in 0..plan.rounds {
            for subject in plan.subjects(round, &SUBJECTS) {
                let figures = one(subject).await?;
                report.run(Run {
                    round,
                    setting: shape.name().to_owned(),
                    subject,
                    values: values(&figures),
                    figures: Some(figures),
                })?;
            }
        }
        report.summarize(shape.name())?;
        kafka.delete_topic(&topic).await?;
    }
    Ok(())
}

fn values(figures: &Figures) -> Vec<f64> {
    vec![
        figures.records_per_second(),
        figures.cpu_micros_per_record,
        figures.peak_resident_mib,
        figures.allocations_per_record.unwrap_or(f64::NAN),
    ]
}
