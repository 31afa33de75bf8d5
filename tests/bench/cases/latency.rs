//! How late a record is handled when records are due at a fixed rate, whatever the consumer does.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Context as _;

use super::{Plan, assignment};
use crate::child;
use crate::report::{Column, Report, Run};
use crate::statistics::Better;
use crate::subject::{Figures, Measure, Subject};
use crate::topics::{OpenLoop, drive};

/// The columns of the table.
pub(crate) const COLUMNS: [Column; 5] = [
    Column { name: "p50 ms", better: Better::Lower, decimals: 3 },
    Column { name: "p99 ms", better: Better::Lower, decimals: 3 },
    Column { name: "p99.9 ms", better: Better::Lower, decimals: 3 },
    Column { name: "max ms", better: Better::Lower, decimals: 1 },
    Column { name: "cpu µs/record", better: Better::Lower, decimals: 1 },
];

const RATE: u32 = 5_000;
const SECONDS: usize = 10;
const PARTITIONS: i32 = 6;

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let kafka = support::broker();
    report.begin(&COLUMNS)?;
    let measured = plan.records.unwrap_or(RATE as usize * SECONDS);
    let one = async |subject: Subject| {
        let topic = support::unique("bench-latency");
        kafka.create_topic(&topic, PARTITIONS).await?;
        let consuming = Arc::new(AtomicBool::new(false));
        let open_loop = OpenLoop { rate: RATE, measured, warm_up: Duration::from_secs(1) };
        let producing = tokio::task::spawn_blocking({
            let (topic, consuming) = (topic.clone(), Arc::clone(&consuming));
            move || drive(kafka, &topic, PARTITIONS, open_loop, &consuming)
        });
        let assignment = assignment(subject, kafka, &topic, Measure::Latencies { records: measured });
        let figures = child::run(&assignment, &consuming).await?;
        producing.await??;
        kafka.delete_topic(&topic).await?;
        anyhow::Ok(figures)
    };
    // Not reported: the broker's own code gets warm in it.
    one(Subject::Loop).await?;
    for round in 0..plan.rounds {
        for subject in plan.subjects(round) {
            let figures = one(subject).await?;
            report.run(Run { round, setting: "5000/s", subject, values: values(&figures)?, figures })?;
        }
    }
    report.summarize("5000/s")
}

fn values(figures: &Figures) -> anyhow::Result<Vec<f64>> {
    let latency = figures.latency.context("a subject measured no latency")?;
    Ok(vec![latency.p50, latency.p99, latency.p999, latency.max, figures.cpu_micros_per_record])
}
