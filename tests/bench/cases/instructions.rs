//! Instructions and allocations per record: figures that do not depend on the machine's mood.
//!
//! Every subject consumes a short topic and a long one under callgrind. What starting, joining and leaving take is in both,
//! so the difference is what the additional records took.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;

use super::{Plan, assignment};
use crate::child;
use crate::protocol::{Assignment, Figures, Measure, Subject};
use crate::report::{Column, Report, Run};
use crate::statistics::Better;
use crate::topics;

/// The columns of the table.
pub(crate) const COLUMNS: [Column; 2] = [
    Column { name: "instructions/record", better: Better::Lower, decimals: 0 },
    Column { name: "allocations/record", better: Better::Lower, decimals: 2 },
];

const SHORT: usize = 10_000;
const LONG: usize = 110_000;

const SUBJECTS: [Subject; 3] = [Subject::Loop, Subject::Stream, Subject::Listener];

pub(crate) async fn run(plan: &Plan, report: &mut Report) -> anyhow::Result<()> {
    let found = tokio::process::Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().await;
    anyhow::ensure!(found.is_ok_and(|status| status.success()), "this case counts with callgrind: install valgrind");
    let kafka = support::broker();
    let folder = tempfile::tempdir()?;
    let long = plan.records.unwrap_or(LONG).max(2 * SHORT);
    report.begin(&COLUMNS, Subject::Loop)?;
    for shape in &plan.shapes {
        let short_topic = topics::filled(kafka, *shape, SHORT).await?;
        let long_topic = topics::filled(kafka, *shape, long).await?;
        for round in 0..plan.rounds {
            for subject in plan.subjects(round, &SUBJECTS) {
                let count = async |topic: &str, records: usize| {
                    let records = u64::try_from(records)?;
                    let measure = Measure::Records { warm_up: 0, records, produced: records };
                    count(&assignment(subject, kafka, topic, measure), folder.path()).await
                };
                let (few, _) = count(&short_topic, SHORT).await?;
                let (many, figures) = count(&long_topic, long).await?;
                let additional = u32::try_from(long - SHORT)?;
                let values = values(many.saturating_sub(few), additional, &figures);
                report.run(Run { round, setting: shape.name().to_owned(), subject, values, figures: Some(figures) })?;
            }
        }
        report.summarize(shape.name())?;
        kafka.delete_topic(&short_topic).await?;
        kafka.delete_topic(&long_topic).await?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "instructions of one run are far below 2^52")]
fn values(instructions: u64, records: u32, figures: &Figures) -> Vec<f64> {
    vec![instructions as f64 / f64::from(records), figures.allocations_per_record.unwrap_or(f64::NAN)]
}

/// Instructions of all threads from the start of the subject's process to its end.
async fn count(assignment: &Assignment, folder: &Path) -> anyhow::Result<(u64, Figures)> {
    let file = folder.join(&assignment.group);
    let mut output = OsString::from("--callgrind-out-file=");
    output.push(&file);
    let program = ["valgrind".into(), "--tool=callgrind".into(), "--quiet".into(), output];
    let figures = child::run_under(&program, assignment, &Arc::new(AtomicBool::new(false))).await?;
    let counted = std::fs::read_to_string(&file).with_context(|| format!("read `{}`", file.display()))?;
    let total = counted
        .lines()
        .find_map(|line| line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: ")))
        .and_then(|total| total.trim().parse().ok())
        .context("callgrind wrote no total")?;
    Ok((total, figures))
}
