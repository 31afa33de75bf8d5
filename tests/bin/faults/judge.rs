//! Runs, keeps what the verdict rests on, and says the verdict.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::json;
use support::Isolation;
use support::broker::target_directory;
use support::checker::{self, Content, History, Promise, Verdict};
use support::event::{self, Place, value_of};

use super::run::{self, Finished, TOPIC};
use super::{Options, say};

/// How many findings are printed; all of them are in the file.
const PRINTED: usize = 20;

/// Whether nothing was found.
pub(crate) async fn run_and_judge(options: &Options) -> anyhow::Result<bool> {
    let seed = options.seed.unwrap_or_else(|| support::clock::monotonic() % 1_000_000);
    let directory = target_directory().join("faults").join(seed.to_string());
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    say(&format!("seed {seed}, {} minutes, everything is kept in {}", options.minutes, directory.display()));

    let finished = run::run(options, seed, &directory).await?;
    let history = history(&finished, &directory).await?;
    let verdict = checker::check(&history, &Promise::default());
    fs::write(directory.join("verdict.json"), serde_json::to_vec_pretty(&verdict)?)?;
    report(seed, &finished, &verdict);
    Ok(verdict.is_clean())
}

/// Collects the logs of all members, and reads the topic from its start with a reader of its own.
async fn history(finished: &Finished, directory: &Path) -> anyhow::Result<History> {
    let mut history = History::default();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            history.events.extend(event::parse(&fs::read_to_string(path)?)?);
        }
    }
    let committed = finished.cluster.read_topic_with(TOPIC, Isolation::ReadCommitted).await?;
    let committed: BTreeSet<(i32, i64)> = committed.iter().map(|record| (record.partition, record.offset)).collect();
    let everything = finished.cluster.read_topic_with(TOPIC, Isolation::ReadUncommitted).await?;
    let mut lines = Vec::new();
    for record in everything {
        let place = Place::new(TOPIC, record.partition, record.offset);
        let value = value_of(record.payload.as_deref());
        let aborted = !committed.contains(&(record.partition, record.offset));
        lines.push(json!({ "place": place, "value": value, "aborted": aborted }).to_string());
        history.content.push(Content { place, value, aborted });
    }
    fs::write(directory.join("content.json"), lines.join("\n"))?;
    fs::write(directory.join("samples.json"), serde_json::to_vec(&finished.committed)?)?;
    history.samples.insert(TOPIC.to_owned(), finished.committed.clone());
    Ok(history)
}

fn report(seed: u64, finished: &Finished, verdict: &Verdict) {
    say("row  fault           times");
    for (row, times) in &finished.rows {
        say(&format!("{:<4} {:<15} {times:>5}", row.number(), row.name()));
    }
    for finding in verdict.findings.iter().take(PRINTED) {
        say(&format!("{}: {}", finding.anomaly, finding.detail));
    }
    if verdict.findings.len() > PRINTED {
        say(&format!("… and {} more", verdict.findings.len() - PRINTED));
    }
    let anomalies: serde_json::Map<_, _> =
        verdict.by_name().into_iter().map(|(anomaly, count)| (anomaly.to_string(), json!(count))).collect();
    let rows: serde_json::Map<_, _> =
        finished.rows.iter().map(|(row, times)| (row.name().to_owned(), json!(times))).collect();
    let last = json!({
        "seed": seed,
        "rows": rows,
        "anomalies": anomalies,
        "worst_duplicates": verdict.worst_duplicates,
        "sent": finished.produced.sent,
        "acked": finished.produced.acked,
        "done": verdict.done,
        "starts": verdict.starts,
        "samples": finished.committed.samples.len(),
    });
    say(&last.to_string());
}
