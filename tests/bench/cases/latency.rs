//! How late a record is handled when records are due at a fixed rate, whatever the consumer does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;

use super::{Plan, assignment};
use crate::child;
use crate::protocol::{Figures, Latency, Measure, Subject};
use crate::report::{Column, Report, Run};
use crate::statistics::{Better, quantile};
use crate::topics::{OpenLoop, drive};

/// The columns of the table.
pub(crate) const COLUMNS: [Column; 7] = [
    Column { name: "p50 ms", better: Better::Lower, decimals: 3 },
    Column { name: "p99 ms", better: Better::Lower, decimals: 3 },
    Column { name: "p99.9 ms", better: Better::Lower, decimals: 3 },
    Column { name: "max ms", better: Better::Lower, decimals: 1 },
    Column { name: "cpu µs/record", better: Better::Lower, decimals: 1 },
    Column { name: "sleeps/record", better: Better::Lower, decimals: 2 },
    // The subjects have no part in it: where it is large, the machine was busy with something else.
    Column { name: "sent late p99 ms", better: Better::Lower, decimals: 3 },
];

const RATE: u32 = 5_000;
const SECONDS: usize = 10;
const PARTITIONS: i32 = 6;

const SUBJECTS: [Subject; 3] = [Subject::Loop, Subject::Stream, Subject::Listener];

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let kafka = support::broker();
    report.begin(&COLUMNS, Subject::Loop)?;
    let measured = plan.records.unwrap_or(RATE as usize * SECONDS);
    let one = async |subject: Subject| {
        let topic = support::unique("bench-latency");
        kafka.create_topic(&topic, PARTITIONS).await?;
        let consuming = Arc::new(AtomicBool::new(false));
        let open_loop = OpenLoop { rate: RATE, measured, warm_up: Duration::from_secs(3) };
        let producing = tokio::task::spawn_blocking({
            let (topic, consuming) = (topic.clone(), Arc::clone(&consuming));
            move || drive(kafka, &topic, PARTITIONS, open_loop, &consuming)
        });
        let assignment = assignment(subject, kafka, &topic, Measure::Latencies { records: measured });
        let figures = child::run(&assignment, &consuming).await?;
        let late = quantile(&producing.await??, 0.99);
        kafka.delete_topic(&topic).await?;
        anyhow::Ok((figures, Duration::from_nanos(late)))
    };
    // Not reported: the broker's own code gets warm in it.
    one(Subject::Loop).await?;
    for round in 0..plan.rounds {
        for subject in plan.subjects(round, &SUBJECTS) {
            let (figures, late) = one(subject).await?;
            report.run(Run {
                round,
                setting: "5000/s".to_owned(),
                subject,
                values: values(&figures, late)?,
                figures: Some(figures),
            })?;
        }
    }
    report.summarize("5000/s")
}

fn values(figures: &Figures, late: Duration) -> anyhow::Result<Vec<f64>> {
    let Latency { p50, p99, p999, max } = figures.latency.context("a subject measured no latency")?;
    let (cpu, sleeps) = (figures.cpu_micros_per_record, figures.sleeps_per_record.unwrap_or(f64::NAN));
    Ok(vec![p50, p99, p999, max, cpu, sleeps, late.as_secs_f64() * 1e3])
}
